-- owner's own row (customers.id), integer owner, camelCase, Drizzle
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
insert into "public"."customers" ("id", "name", "email", "companyName", "telnyxConnectionId", "telnyxApiKey", "telnyxMessagingProfileId", "retellApiKey", "createdAt") values (1, 'Ada Example', 'user1@example.com', 'Acme Dental', 'telnyx_8a43ea60b166', 'fake-test-value-46', 'telnyx_b9fd3c5f9be6', 'key_test_962ce46119e73d1f16959178', '2025-03-10 09:30:00');
insert into "public"."customers" ("id", "name", "email", "companyName", "telnyxConnectionId", "telnyxApiKey", "telnyxMessagingProfileId", "retellApiKey", "createdAt") values (2, 'Ben Sample', 'user2@example.com', 'Bluebird HVAC', 'telnyx_d32e5e1f57f4', 'fake-test-value-47', 'telnyx_ebd55fe5554c', 'key_test_dc476e8b3d7b00fcda63bad6', '2025-04-11 09:30:00');
insert into "public"."customers" ("id", "name", "email", "companyName", "telnyxConnectionId", "telnyxApiKey", "telnyxMessagingProfileId", "retellApiKey", "createdAt") values (3, 'Cleo Testova', 'user3@example.com', 'Corner Bistro', 'telnyx_1b0771ddbf54', 'fake-test-value-48', 'telnyx_a83228c9925b', 'key_test_97d87be68967ec773808d6d2', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."customers"', 'id'), (select max("id") from "public"."customers"));
insert into "public"."sipEndpoints" ("id", "customerId", "username", "password", "telnyxCredentialId", "createdAt") values (1, 1, 'user1', 'fake-test-value-49', null, '2025-03-10 09:30:00');
insert into "public"."sipEndpoints" ("id", "customerId", "username", "password", "telnyxCredentialId", "createdAt") values (2, 2, 'user2', 'fake-test-value-50', null, '2025-04-11 09:30:00');
insert into "public"."sipEndpoints" ("id", "customerId", "username", "password", "telnyxCredentialId", "createdAt") values (3, 3, 'user3', 'fake-test-value-51', null, '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."sipEndpoints"', 'id'), (select max("id") from "public"."sipEndpoints"));
insert into "public"."phoneNumbers" ("id", "customerId", "number", "telnyxPhoneNumberId", "callControlAppId", "retellAgentId", "createdAt") values (1, 1, '+14155550110', 'telnyx_3199030aaafa', 'call_f29cdd58d68e', 'fake-test-value-52', '2025-03-10 09:30:00');
insert into "public"."phoneNumbers" ("id", "customerId", "number", "telnyxPhoneNumberId", "callControlAppId", "retellAgentId", "createdAt") values (2, 2, '+14155550143', 'telnyx_992bac9cff9a', 'call_81f9bbb41a1e', 'fake-test-value-53', '2025-04-11 09:30:00');
insert into "public"."phoneNumbers" ("id", "customerId", "number", "telnyxPhoneNumberId", "callControlAppId", "retellAgentId", "createdAt") values (3, 3, '+14155550177', 'telnyx_55071f819896', 'call_bbc5ddd33839', 'fake-test-value-54', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."phoneNumbers"', 'id'), (select max("id") from "public"."phoneNumbers"));
insert into "public"."systemSettings" ("id", "key", "value", "updatedAt") values (1, 'smtp_host', 'smtp.example.com', '2025-03-10 09:30:00');
insert into "public"."systemSettings" ("id", "key", "value", "updatedAt") values (2, 'retell_master_key', 'key_test_c8b841ef12ad2e84a0813ded', '2025-04-11 09:30:00');
insert into "public"."systemSettings" ("id", "key", "value", "updatedAt") values (3, 'telnyx_api_key', 'fake-test-value-55', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."systemSettings"', 'id'), (select max("id") from "public"."systemSettings"));
insert into "public"."retellAgents" ("id", "customerId", "retellAgentId", "agentName", "voiceId", "llmId", "webhookUrl", "status", "lastSyncedAt", "createdAt", "updatedAt") values (1, 1, 'fake-test-value-56', 'Acme Dental', 'voice_58547eb41ddf', 'fake-test-value-57', 'https://example.com/webhook_url/1', 'active', '2025-03-10 09:30:00', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."retellAgents" ("id", "customerId", "retellAgentId", "agentName", "voiceId", "llmId", "webhookUrl", "status", "lastSyncedAt", "createdAt", "updatedAt") values (2, 2, 'fake-test-value-58', 'Bluebird HVAC', 'voice_671daa87321c', 'fake-test-value-59', 'https://example.com/webhook_url/2', 'inactive', '2025-04-11 09:30:00', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."retellAgents" ("id", "customerId", "retellAgentId", "agentName", "voiceId", "llmId", "webhookUrl", "status", "lastSyncedAt", "createdAt", "updatedAt") values (3, 3, 'fake-test-value-60', 'Corner Bistro', 'voice_31aded3f30fa', 'fake-test-value-61', 'https://example.com/webhook_url/3', 'active', '2025-05-12 09:30:00', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."retellAgents"', 'id'), (select max("id") from "public"."retellAgents"));
