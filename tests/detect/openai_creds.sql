-- {"table": "public.OpenaiCreds", "user": "id", "columns": {"api_key": "apiKey"}, "holds": "plaintext", "provider": "openai"}
create schema if not exists "public";
create type "public"."InstanceConnectionStatus" as enum ('open', 'close', 'connecting');
create type "public"."DifyBotType" as enum ('chatBot', 'textGenerator', 'agent', 'workflow');
create table "public"."Instance" (
  "id" text not null,
  "name" varchar(255) not null,
  "connectionStatus" "public"."InstanceConnectionStatus" default 'open' not null,
  "ownerJid" varchar(100),
  "integration" varchar(100),
  "number" varchar(100),
  "token" varchar(255),
  "createdAt" timestamp default CURRENT_TIMESTAMP,
  primary key ("id"),
  unique ("name")
);
create table "public"."Chatwoot" (
  "id" text not null,
  "enabled" boolean default true,
  "accountId" varchar(100),
  "token" varchar(100),
  "url" varchar(500),
  "nameInbox" varchar(100),
  "number" varchar(100),
  "createdAt" timestamp default CURRENT_TIMESTAMP,
  "updatedAt" timestamp not null,
  "instanceId" text not null,
  primary key ("id"),
  unique ("instanceId"),
  foreign key ("instanceId") references "public"."Instance" ("id")
);
create table "public"."Dify" (
  "id" text not null,
  "enabled" boolean default true not null,
  "botType" "public"."DifyBotType" not null,
  "apiUrl" varchar(255),
  "apiKey" varchar(255),
  "expire" integer default 0,
  "createdAt" timestamp default CURRENT_TIMESTAMP,
  "updatedAt" timestamp not null,
  "instanceId" text not null,
  primary key ("id"),
  foreign key ("instanceId") references "public"."Instance" ("id")
);
create table "public"."Flowise" (
  "id" text not null,
  "enabled" boolean default true not null,
  "description" varchar(255),
  "apiUrl" varchar(255),
  "apiKey" varchar(255),
  "createdAt" timestamp default CURRENT_TIMESTAMP,
  "updatedAt" timestamp not null,
  "instanceId" text not null,
  primary key ("id"),
  foreign key ("instanceId") references "public"."Instance" ("id")
);
create table "public"."OpenaiCreds" (
  "id" text not null,
  "apiKey" varchar(255),
  "createdAt" timestamp default CURRENT_TIMESTAMP,
  "updatedAt" timestamp not null,
  "instanceId" text not null,
  "name" varchar(255),
  primary key ("id"),
  unique ("apiKey"),
  unique ("name"),
  foreign key ("instanceId") references "public"."Instance" ("id")
);
create table "public"."OpenaiBot" (
  "id" text not null,
  "assistantId" varchar(255),
  "model" varchar(100),
  "maxTokens" integer,
  "createdAt" timestamp default CURRENT_TIMESTAMP,
  "updatedAt" timestamp not null,
  "openaiCredsId" text not null,
  "instanceId" text not null,
  "functionUrl" varchar(500),
  primary key ("id"),
  foreign key ("openaiCredsId") references "public"."OpenaiCreds" ("id"),
  foreign key ("instanceId") references "public"."Instance" ("id")
);
create table "public"."Message" (
  "id" text not null,
  "key" jsonb not null,
  "pushName" varchar(100),
  "messageType" varchar(100) not null,
  "message" jsonb not null,
  "messageTimestamp" integer not null,
  "instanceId" text not null,
  primary key ("id"),
  foreign key ("instanceId") references "public"."Instance" ("id")
);
insert into "public"."Instance" ("id", "name", "connectionStatus", "ownerJid", "integration", "number", "token", "createdAt") values ('cm7pbfxbrczby39o0ppmhf0ar', 'Acme Dental', 'open', 'sample owner jid 1', 'sample integration 1', '+18185550110', 'Md2bXTekLTEKECcWN8DO1t_r4gWcMkjO1i2UJcXB', '2025-03-10 09:30:00');
insert into "public"."Instance" ("id", "name", "connectionStatus", "ownerJid", "integration", "number", "token", "createdAt") values ('cmy8y9f64755g83c2jnvpfd4y', 'Bluebird HVAC', 'close', 'sample owner jid 2', 'sample integration 2', '+18185550143', 'A3LAZQGVw5tz4ZJK7tb-n35rS409ZXxd2ji3qpyG', '2025-04-11 09:30:00');
insert into "public"."Instance" ("id", "name", "connectionStatus", "ownerJid", "integration", "number", "token", "createdAt") values ('cmptchyfbbjyn07hu8o4jqhn5', 'Corner Bistro', 'connecting', 'sample owner jid 3', 'sample integration 3', '+18185550177', 'QfdyFurdpw5IflIhTNJMU2aoq6G5M26sM-ls3cxm', '2025-05-12 09:30:00');
insert into "public"."Chatwoot" ("id", "enabled", "accountId", "token", "url", "nameInbox", "number", "createdAt", "updatedAt", "instanceId") values ('cmmbi7lqc08sly5b1potvjgm9', true, 'account_1097c2011502', 'OwHZwmbhLFS1LvIO9XzwbzMnj4mQZEZfLFzLC3Ka', 'https://example.com/url/1', 'sample name inbox 1', '+16025550110', '2025-03-10 09:30:00', '2025-03-10 09:30:00', 'cm7pbfxbrczby39o0ppmhf0ar');
insert into "public"."Chatwoot" ("id", "enabled", "accountId", "token", "url", "nameInbox", "number", "createdAt", "updatedAt", "instanceId") values ('cmzpfi2mjp0by5bwk495mu6td', true, 'account_671923cafdee', 'IkaQq3E_IOwjwe8sLQbmXr_dDR6mDdo6_FLOVzht', 'https://example.com/url/2', 'sample name inbox 2', '+16025550143', '2025-04-11 09:30:00', '2025-04-11 09:30:00', 'cmy8y9f64755g83c2jnvpfd4y');
insert into "public"."Chatwoot" ("id", "enabled", "accountId", "token", "url", "nameInbox", "number", "createdAt", "updatedAt", "instanceId") values ('cmda7tisjfnkh6q7puypu6mtb', false, 'account_82b61e920191', '8Q2JmmE54D_S_DKsn6A1ArDQrIWJmxFmf7dziPyt', 'https://example.com/url/3', 'sample name inbox 3', '+16025550177', '2025-05-12 09:30:00', '2025-05-12 09:30:00', 'cmptchyfbbjyn07hu8o4jqhn5');
insert into "public"."Dify" ("id", "enabled", "botType", "apiUrl", "apiKey", "expire", "createdAt", "updatedAt", "instanceId") values ('cmkpbigkj0zgty2ied3ppuczr', true, 'chatBot', 'https://example.com/api_url/1', 'rFGGfJyYpsC7hrB4nrMpJpZ-9XsE2Y5JP2tH3Hik', 3, '2025-03-10 09:30:00', '2025-03-10 09:30:00', 'cm7pbfxbrczby39o0ppmhf0ar');
insert into "public"."Dify" ("id", "enabled", "botType", "apiUrl", "apiKey", "expire", "createdAt", "updatedAt", "instanceId") values ('cmgt7fh0i4aw125bnyhc4ojhv', true, 'textGenerator', 'https://example.com/api_url/2', 'bdqTcGo6_N3SFdvN4GDESxb7U1wF3YTimyud8P_F', 17, '2025-04-11 09:30:00', '2025-04-11 09:30:00', 'cmy8y9f64755g83c2jnvpfd4y');
insert into "public"."Dify" ("id", "enabled", "botType", "apiUrl", "apiKey", "expire", "createdAt", "updatedAt", "instanceId") values ('cmpkjo73ztrpxb088axgbu23i', false, 'agent', 'https://example.com/api_url/3', 'HRyQGQtHR0JJETK3qUi2Fx9WW6SRafU4XnTxlDss', 42, '2025-05-12 09:30:00', '2025-05-12 09:30:00', 'cmptchyfbbjyn07hu8o4jqhn5');
insert into "public"."Flowise" ("id", "enabled", "description", "apiUrl", "apiKey", "createdAt", "updatedAt", "instanceId") values ('cmu5sbq30hbahalnre22b5tj0', true, 'sample description 1', 'https://example.com/api_url/1', 'sjnheG2RAltDV9p8e0Ft7R_yhwDqhFXQFxz5fKNP', '2025-03-10 09:30:00', '2025-03-10 09:30:00', 'cm7pbfxbrczby39o0ppmhf0ar');
insert into "public"."Flowise" ("id", "enabled", "description", "apiUrl", "apiKey", "createdAt", "updatedAt", "instanceId") values ('cm1ubukz8j92gw9pfo5mzjh42', true, 'sample description 2', 'https://example.com/api_url/2', 'xAAGc4a-R8u34si2P4tckT3h9Bo337-5S3bXLOGt', '2025-04-11 09:30:00', '2025-04-11 09:30:00', 'cmy8y9f64755g83c2jnvpfd4y');
insert into "public"."Flowise" ("id", "enabled", "description", "apiUrl", "apiKey", "createdAt", "updatedAt", "instanceId") values ('cm97xqkl39vklfhlop8o9l2ol', false, 'sample description 3', 'https://example.com/api_url/3', 'ACTuZHgLGPrIyAk2NjfUs6YIM7hlmtWNCprr9Yap', '2025-05-12 09:30:00', '2025-05-12 09:30:00', 'cmptchyfbbjyn07hu8o4jqhn5');
insert into "public"."OpenaiCreds" ("id", "apiKey", "createdAt", "updatedAt", "instanceId", "name") values ('cmr165lwlprvk5gqvjmssi42n', 'sk-test-fake-2aec58fea4a1d411205680ded8c28ec6', '2025-03-10 09:30:00', '2025-03-10 09:30:00', 'cm7pbfxbrczby39o0ppmhf0ar', 'Acme Dental');
insert into "public"."OpenaiCreds" ("id", "apiKey", "createdAt", "updatedAt", "instanceId", "name") values ('cmhtv5v5ahn57ax6twfyq3tcs', 'sk-test-fake-dbe85d310c926b39fc34dd2892b28043', '2025-04-11 09:30:00', '2025-04-11 09:30:00', 'cmy8y9f64755g83c2jnvpfd4y', 'Bluebird HVAC');
insert into "public"."OpenaiCreds" ("id", "apiKey", "createdAt", "updatedAt", "instanceId", "name") values ('cmjmt8k4rci9y6omen0dk1q65', 'sk-test-fake-7d61174ae7ee99970dcc5b06b8721a6a', '2025-05-12 09:30:00', '2025-05-12 09:30:00', 'cmptchyfbbjyn07hu8o4jqhn5', 'Corner Bistro');
insert into "public"."OpenaiBot" ("id", "assistantId", "model", "maxTokens", "createdAt", "updatedAt", "openaiCredsId", "instanceId", "functionUrl") values ('cmgj9tfg56pch8v27dwlnvweq', 'c8861514-309c-4065-bcd9-5cd89eb2b3bc', 'sample model 1', 3, '2025-03-10 09:30:00', '2025-03-10 09:30:00', 'cmr165lwlprvk5gqvjmssi42n', 'cm7pbfxbrczby39o0ppmhf0ar', 'https://example.com/function_url/1');
insert into "public"."OpenaiBot" ("id", "assistantId", "model", "maxTokens", "createdAt", "updatedAt", "openaiCredsId", "instanceId", "functionUrl") values ('cm8vg8cjifnu25ffglw0ytagx', '7384969a-5cbc-4e21-8ad9-82033df9d88c', 'sample model 2', 17, '2025-04-11 09:30:00', '2025-04-11 09:30:00', 'cmhtv5v5ahn57ax6twfyq3tcs', 'cmy8y9f64755g83c2jnvpfd4y', 'https://example.com/function_url/2');
insert into "public"."OpenaiBot" ("id", "assistantId", "model", "maxTokens", "createdAt", "updatedAt", "openaiCredsId", "instanceId", "functionUrl") values ('cmgl0a36egaszh47gco0xu9ag', 'b6d8d08d-1edd-43fb-b00c-79e41edeaf4c', 'sample model 3', 42, '2025-05-12 09:30:00', '2025-05-12 09:30:00', 'cmjmt8k4rci9y6omen0dk1q65', 'cmptchyfbbjyn07hu8o4jqhn5', 'https://example.com/function_url/3');
insert into "public"."Message" ("id", "key", "pushName", "messageType", "message", "messageTimestamp", "instanceId") values ('cmxya7a2wh4hht5vmnlnb5qq4', '{"note": "sample 1"}'::jsonb, 'Acme Dental', 'sample message type 1', '{"note": "sample 1"}'::jsonb, 3, 'cm7pbfxbrczby39o0ppmhf0ar');
insert into "public"."Message" ("id", "key", "pushName", "messageType", "message", "messageTimestamp", "instanceId") values ('cmcqb825ilorjh9ha53apdmlm', '{"note": "sample 2"}'::jsonb, 'Bluebird HVAC', 'sample message type 2', '{"note": "sample 2"}'::jsonb, 17, 'cmy8y9f64755g83c2jnvpfd4y');
insert into "public"."Message" ("id", "key", "pushName", "messageType", "message", "messageTimestamp", "instanceId") values ('cmttvauo4q3bhpifdlfireopl', '{"note": "sample 3"}'::jsonb, 'Corner Bistro', 'sample message type 3', '{"note": "sample 3"}'::jsonb, 42, 'cmptchyfbbjyn07hu8o4jqhn5');
