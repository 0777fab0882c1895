-- {"table": "public.customers", "user": "id", "columns": {"api_key": "retellApiKey"}, "holds": "plaintext", "provider": "retell"}
create schema if not exists "public";
create type "public"."active_inactive" as enum ('active', 'inactive');
create table "public"."customers" (
  "id" serial not null,
  "name" varchar(255) not null,
  "email" varchar(320),
  "companyName" varchar(255),
  "telnyxConnectionId" varchar(64),
  "telnyxApiKey" text,
  "telnyxMessagingProfileId" varchar(255),
  "retellApiKey" text,
  "createdAt" timestamp default now() not null,
  primary key ("id")
);
create table "public"."sipEndpoints" (
  "id" serial not null,
  "customerId" integer not null,
  "username" varchar(128) not null,
  "password" varchar(255) not null,
  "telnyxCredentialId" varchar(64),
  "createdAt" timestamp default now() not null,
  primary key ("id"),
  foreign key ("customerId") references "public"."customers" ("id")
);
create table "public"."phoneNumbers" (
  "id" serial not null,
  "customerId" integer not null,
  "number" varchar(32) not null,
  "telnyxPhoneNumberId" varchar(64),
  "callControlAppId" varchar(64),
  "retellAgentId" varchar(128),
  "createdAt" timestamp default now() not null,
  primary key ("id"),
  unique ("number"),
  foreign key ("customerId") references "public"."customers" ("id")
);
create table "public"."systemSettings" (
  "id" serial not null,
  "key" varchar(128) not null,
  "value" text,
  "updatedAt" timestamp default now() not null,
  primary key ("id"),
  unique ("key")
);
create table "public"."retellAgents" (
  "id" serial not null,
  "customerId" integer not null,
  "retellAgentId" varchar(128) not null,
  "agentName" varchar(255) not null,
  "voiceId" varchar(128),
  "llmId" varchar(128),
  "webhookUrl" text,
  "status" "public"."active_inactive" default 'active' not null,
  "lastSyncedAt" timestamp,
  "createdAt" timestamp default now() not null,
  "updatedAt" timestamp default now() not null,
  primary key ("id")
);
insert into "public"."customers" ("id", "name", "email", "companyName", "telnyxConnectionId", "telnyxApiKey", "telnyxMessagingProfileId", "retellApiKey", "createdAt") values (1, 'Ada Example', 'user1@example.com', 'Acme Dental', 'telnyx_8a43ea60b166', 'T51gQHC6_NURha7y8gPCixy79Agicf8ecKL3--zP', 'telnyx_b9fd3c5f9be6', 'key_test_962ce46119e73d1f16959178', '2025-03-10 09:30:00');
insert into "public"."customers" ("id", "name", "email", "companyName", "telnyxConnectionId", "telnyxApiKey", "telnyxMessagingProfileId", "retellApiKey", "createdAt") values (2, 'Ben Sample', 'user2@example.com', 'Bluebird HVAC', 'telnyx_d32e5e1f57f4', '6q_0bhNMfj8w4naK5X3MR9jM5D-dH_o7GDAkMn19', 'telnyx_ebd55fe5554c', 'key_test_dc476e8b3d7b00fcda63bad6', '2025-04-11 09:30:00');
insert into "public"."customers" ("id", "name", "email", "companyName", "telnyxConnectionId", "telnyxApiKey", "telnyxMessagingProfileId", "retellApiKey", "createdAt") values (3, 'Cleo Testova', 'user3@example.com', 'Corner Bistro', 'telnyx_1b0771ddbf54', 'cZQgpu5SwLxyq-scKBU7kdtWKQPjFU8gZ0mXC3Gv', 'telnyx_a83228c9925b', 'key_test_97d87be68967ec773808d6d2', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."customers"', 'id'), (select max("id") from "public"."customers"));
insert into "public"."sipEndpoints" ("id", "customerId", "username", "password", "telnyxCredentialId", "createdAt") values (1, 1, 'user1', '$2b$10$A9eXAt9qzaTY/hdWMWhIqq/rQRCnq1SgRFr/2golic.0KDYpJTKcv', null, '2025-03-10 09:30:00');
insert into "public"."sipEndpoints" ("id", "customerId", "username", "password", "telnyxCredentialId", "createdAt") values (2, 2, 'user2', '$2b$10$ScmFO6d4AjHbHbH4.GVA25M2iyjgQ0sWZokGdiM9l36Eosdes.MY6', null, '2025-04-11 09:30:00');
insert into "public"."sipEndpoints" ("id", "customerId", "username", "password", "telnyxCredentialId", "createdAt") values (3, 3, 'user3', '$2b$10$Ry15MqcdJo/q7zjJZy6cjTTn6mXrlxafIctHOan6UVGYZlv2Qge9V', null, '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."sipEndpoints"', 'id'), (select max("id") from "public"."sipEndpoints"));
insert into "public"."phoneNumbers" ("id", "customerId", "number", "telnyxPhoneNumberId", "callControlAppId", "retellAgentId", "createdAt") values (1, 1, '+14155550110', 'telnyx_3199030aaafa', 'call_f29cdd58d68e', 'agent_317ded507e38ea3613a8814462', '2025-03-10 09:30:00');
insert into "public"."phoneNumbers" ("id", "customerId", "number", "telnyxPhoneNumberId", "callControlAppId", "retellAgentId", "createdAt") values (2, 2, '+14155550143', 'telnyx_992bac9cff9a', 'call_81f9bbb41a1e', 'agent_3efea809014fdcedfa46a28702', '2025-04-11 09:30:00');
insert into "public"."phoneNumbers" ("id", "customerId", "number", "telnyxPhoneNumberId", "callControlAppId", "retellAgentId", "createdAt") values (3, 3, '+14155550177', 'telnyx_55071f819896', 'call_bbc5ddd33839', 'agent_38a1d9540c4ef8b58bb157e1e8', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."phoneNumbers"', 'id'), (select max("id") from "public"."phoneNumbers"));
insert into "public"."systemSettings" ("id", "key", "value", "updatedAt") values (1, 'smtp_host', 'smtp.example.com', '2025-03-10 09:30:00');
insert into "public"."systemSettings" ("id", "key", "value", "updatedAt") values (2, 'retell_master_key', 'key_test_c8b841ef12ad2e84a0813ded', '2025-04-11 09:30:00');
insert into "public"."systemSettings" ("id", "key", "value", "updatedAt") values (3, 'telnyx_api_key', 'ddbeHmbTbB3AxcnLY9_wlAdYir7w1ZFxSUFwAde3', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."systemSettings"', 'id'), (select max("id") from "public"."systemSettings"));
insert into "public"."retellAgents" ("id", "customerId", "retellAgentId", "agentName", "voiceId", "llmId", "webhookUrl", "status", "lastSyncedAt", "createdAt", "updatedAt") values (1, 1, 'agent_a4cdd15280b8cb375b6dec4426', 'Acme Dental', 'voice_58547eb41ddf', 'llm_0015fad4ebcd435e6a4bcf53c866', 'https://example.com/webhook_url/1', 'active', '2025-03-10 09:30:00', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."retellAgents" ("id", "customerId", "retellAgentId", "agentName", "voiceId", "llmId", "webhookUrl", "status", "lastSyncedAt", "createdAt", "updatedAt") values (2, 2, 'agent_9357c9a4c891f92a61b704d0a0', 'Bluebird HVAC', 'voice_671daa87321c', 'llm_da4446e926b4dacbae8d774362d4', 'https://example.com/webhook_url/2', 'inactive', '2025-04-11 09:30:00', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."retellAgents" ("id", "customerId", "retellAgentId", "agentName", "voiceId", "llmId", "webhookUrl", "status", "lastSyncedAt", "createdAt", "updatedAt") values (3, 3, 'agent_4343f25cd07cf46c0648630a0c', 'Corner Bistro', 'voice_31aded3f30fa', 'llm_d2c3e20d6758f24b0df4820929d1', 'https://example.com/webhook_url/3', 'active', '2025-05-12 09:30:00', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."retellAgents"', 'id'), (select max("id") from "public"."retellAgents"));
