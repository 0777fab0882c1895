-- owner's own row (organizations.id), camelCase, Prisma
create schema if not exists "public";
create type "public"."UserRole" as enum ('ADMIN', 'ORG_USER');
create type "public"."CallStatus" as enum ('INITIATED', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'NO_ANSWER');
create table "public"."organizations" (
  "id" text not null,
  "name" text not null,
  "description" text,
  "n8nWebhookUrl" text,
  "retellApiKey" text,
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamp(3) not null,
  primary key ("id")
);
create table "public"."users" (
  "id" text not null,
  "email" text not null,
  "name" text,
  "password" text not null,
  "role" "public"."UserRole" default 'ORG_USER' not null,
  "organizationId" text,
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamp(3) not null,
  primary key ("id"),
  unique ("email"),
  foreign key ("organizationId") references "public"."organizations" ("id")
);
create table "public"."contacts" (
  "id" text not null,
  "name" text not null,
  "phoneNumber" text not null,
  "email" text,
  "notes" text,
  "organizationId" text not null,
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamp(3) not null,
  primary key ("id"),
  foreign key ("organizationId") references "public"."organizations" ("id")
);
create table "public"."calls" (
  "id" text not null,
  "contactId" text not null,
  "organizationId" text not null,
  "retellCallId" text,
  "status" "public"."CallStatus" default 'INITIATED' not null,
  "duration" integer,
  "startedAt" timestamp(3),
  "endedAt" timestamp(3),
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamp(3) not null,
  primary key ("id"),
  unique ("retellCallId"),
  foreign key ("contactId") references "public"."contacts" ("id"),
  foreign key ("organizationId") references "public"."organizations" ("id")
);
create table "public"."call_summaries" (
  "id" text not null,
  "callId" text not null,
  "transcript" text,
  "summary" text,
  "sentiment" text,
  "keyPoints" text[],
  "metadata" jsonb,
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamp(3) not null,
  primary key ("id"),
  unique ("callId"),
  foreign key ("callId") references "public"."calls" ("id")
);
insert into "public"."organizations" ("id", "name", "description", "n8nWebhookUrl", "retellApiKey", "createdAt", "updatedAt") values ('fake-test-value-1', 'Acme Dental', 'sample description 1', 'https://example.com/n8n_webhook_url/1', 'key_test_75c16db3fcfe954aa606be81', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."organizations" ("id", "name", "description", "n8nWebhookUrl", "retellApiKey", "createdAt", "updatedAt") values ('fake-test-value-2', 'Bluebird HVAC', 'sample description 2', 'https://example.com/n8n_webhook_url/2', 'key_test_06acc439b9c218b88255a94b', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."organizations" ("id", "name", "description", "n8nWebhookUrl", "retellApiKey", "createdAt", "updatedAt") values ('fake-test-value-3', 'Corner Bistro', 'sample description 3', 'https://example.com/n8n_webhook_url/3', 'key_test_eaaa572a98632527595fbd68', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."users" ("id", "email", "name", "password", "role", "organizationId", "createdAt", "updatedAt") values ('fake-test-value-4', 'user1@example.com', 'Ada Example', 'fake-test-value-5', 'ADMIN', 'fake-test-value-1', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."users" ("id", "email", "name", "password", "role", "organizationId", "createdAt", "updatedAt") values ('fake-test-value-6', 'user2@example.com', 'Ben Sample', 'fake-test-value-7', 'ORG_USER', 'fake-test-value-2', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."users" ("id", "email", "name", "password", "role", "organizationId", "createdAt", "updatedAt") values ('fake-test-value-8', 'user3@example.com', 'Cleo Testova', 'fake-test-value-9', 'ADMIN', 'fake-test-value-3', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."contacts" ("id", "name", "phoneNumber", "email", "notes", "organizationId", "createdAt", "updatedAt") values ('fake-test-value-10', 'Ada Example', '+15125550115', 'user1@example.com', 'sample notes 1', 'fake-test-value-1', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."contacts" ("id", "name", "phoneNumber", "email", "notes", "organizationId", "createdAt", "updatedAt") values ('fake-test-value-11', 'Ben Sample', '+15125550148', 'user2@example.com', 'sample notes 2', 'fake-test-value-2', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."contacts" ("id", "name", "phoneNumber", "email", "notes", "organizationId", "createdAt", "updatedAt") values ('fake-test-value-12', 'Cleo Testova', '+15125550182', 'user3@example.com', 'sample notes 3', 'fake-test-value-3', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."calls" ("id", "contactId", "organizationId", "retellCallId", "status", "duration", "startedAt", "endedAt", "createdAt", "updatedAt") values ('fake-test-value-13', 'fake-test-value-10', 'fake-test-value-1', 'retell_84b1707b1346', 'INITIATED', 3, '2025-03-10 09:30:00', '2025-03-10 09:30:00', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."calls" ("id", "contactId", "organizationId", "retellCallId", "status", "duration", "startedAt", "endedAt", "createdAt", "updatedAt") values ('fake-test-value-14', 'fake-test-value-11', 'fake-test-value-2', 'retell_69a643efe5fc', 'IN_PROGRESS', 17, '2025-04-11 09:30:00', '2025-04-11 09:30:00', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."calls" ("id", "contactId", "organizationId", "retellCallId", "status", "duration", "startedAt", "endedAt", "createdAt", "updatedAt") values ('fake-test-value-15', 'fake-test-value-12', 'fake-test-value-3', 'retell_c5a077e60e95', 'COMPLETED', 42, '2025-05-12 09:30:00', '2025-05-12 09:30:00', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."call_summaries" ("id", "callId", "transcript", "summary", "sentiment", "keyPoints", "metadata", "createdAt", "updatedAt") values ('fake-test-value-16', 'fake-test-value-13', 'Agent: Hello. Caller: I would like to book an appointment.', 'sample summary 1', 'sample sentiment 1', '{}', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."call_summaries" ("id", "callId", "transcript", "summary", "sentiment", "keyPoints", "metadata", "createdAt", "updatedAt") values ('fake-test-value-17', 'fake-test-value-14', 'Agent: Hello. Caller: I would like to book an appointment.', 'sample summary 2', 'sample sentiment 2', '{"alpha"}', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."call_summaries" ("id", "callId", "transcript", "summary", "sentiment", "keyPoints", "metadata", "createdAt", "updatedAt") values ('fake-test-value-18', 'fake-test-value-15', 'Agent: Hello. Caller: I would like to book an appointment.', 'sample summary 3', 'sample sentiment 3', '{"alpha","beta"}', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00', '2025-05-12 09:30:00');
