-- {"table": "public.retell_connections", "user": "id", "columns": {"api_key": "history_secret_reference", "webhook_key": "webhook_secret_reference"}, "holds": "references", "provider": "retell"}
create schema if not exists "public";
create schema if not exists "auth";
create type "public"."user_status" as enum ('active', 'suspended', 'archived');
create type "public"."agent_kind" as enum ('voice', 'chat');
create table "auth"."users" (
  "id" uuid default gen_random_uuid() not null,
  "email" varchar(255),
  "encrypted_password" varchar(255),
  "confirmation_token" varchar(255),
  "recovery_token" varchar(255),
  "raw_user_meta_data" jsonb,
  "created_at" timestamptz,
  primary key ("id")
);
create table "public"."profiles" (
  "id" uuid not null,
  "email" text not null,
  "display_name" text,
  "status" "public"."user_status" default 'active' not null,
  "mfa_required" boolean default false not null,
  "created_at" timestamptz default now() not null,
  primary key ("id"),
  foreign key ("id") references "auth"."users" ("id")
);
alter table "public"."profiles" enable row level security;
create table "public"."tenants" (
  "id" uuid default gen_random_uuid() not null,
  "slug" text not null,
  "legal_name" text not null,
  "display_name" text not null,
  "timezone" text default 'UTC' not null,
  "created_at" timestamptz default now() not null,
  primary key ("id"),
  unique ("slug")
);
alter table "public"."tenants" enable row level security;
create table "public"."retell_connections" (
  "id" uuid default gen_random_uuid() not null,
  "name" text not null,
  "external_workspace_reference" text,
  "public_webhook_id" uuid default gen_random_uuid() not null,
  "history_secret_reference" text not null,
  "admin_secret_reference" text,
  "webhook_secret_reference" text not null,
  "status" text default 'active' not null,
  "last_sync_at" timestamptz,
  "created_at" timestamptz default now() not null,
  primary key ("id"),
  unique ("public_webhook_id")
);
alter table "public"."retell_connections" enable row level security;
create table "public"."retell_agents" (
  "id" uuid default gen_random_uuid() not null,
  "connection_id" uuid not null,
  "provider_agent_id" text not null,
  "kind" "public"."agent_kind" not null,
  "display_name" text not null,
  "safe_metadata" jsonb default '{}'::jsonb not null,
  "created_at" timestamptz default now() not null,
  primary key ("id"),
  unique ("connection_id", "provider_agent_id", "kind"),
  foreign key ("connection_id") references "public"."retell_connections" ("id")
);
alter table "public"."retell_agents" enable row level security;
create table "public"."agent_assignments" (
  "id" uuid default gen_random_uuid() not null,
  "tenant_id" uuid not null,
  "agent_id" uuid not null,
  "valid_from" timestamptz default now() not null,
  "valid_to" timestamptz,
  "assigned_by" uuid not null,
  "assignment_reason" text not null,
  primary key ("id"),
  foreign key ("tenant_id") references "public"."tenants" ("id"),
  foreign key ("agent_id") references "public"."retell_agents" ("id"),
  foreign key ("assigned_by") references "public"."profiles" ("id")
);
alter table "public"."agent_assignments" enable row level security;
create table "public"."calls" (
  "id" uuid default gen_random_uuid() not null,
  "tenant_id" uuid not null,
  "connection_id" uuid not null,
  "agent_id" uuid not null,
  "provider_call_id" text not null,
  "status" text not null,
  "contact_masked" text,
  "transcript_text" text,
  "created_at" timestamptz default now() not null,
  primary key ("id"),
  unique ("connection_id", "provider_call_id"),
  foreign key ("tenant_id") references "public"."tenants" ("id"),
  foreign key ("connection_id") references "public"."retell_connections" ("id"),
  foreign key ("agent_id") references "public"."retell_agents" ("id")
);
alter table "public"."calls" enable row level security;
create table "public"."webhook_events" (
  "id" uuid default gen_random_uuid() not null,
  "connection_id" uuid not null,
  "provider" text not null,
  "deduplication_key" text not null,
  "payload_sha256" text not null,
  "payload_encrypted" text,
  "received_at" timestamptz default now() not null,
  primary key ("id"),
  unique ("provider", "connection_id", "deduplication_key"),
  foreign key ("connection_id") references "public"."retell_connections" ("id"),
  check ("provider" in ('retell', 'stripe'))
);
alter table "public"."webhook_events" enable row level security;
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('74e78d72-83e7-4e12-8476-6988d8b2b530', 'user1@example.com', '$2b$10$dxdxJdwCi3I433bOBxeQxOD1TZJjwIkzAUQo6qCQHO7PHPXU5cLHT', 'F1rdEtRUPsItLti0Sii0XPxwNdd3HEGody41QPeq', 'V8jXt_pqrxbifcFvo9MPpJjAjM6kzXRXLByoA6Mg', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('ce160d56-b6a2-4141-bb99-c346580c2310', 'user2@example.com', '$2b$10$gohD2cAVyxK9dAWtGrk0sIzHwnyQJgNK8KTHA3lHTwpDmB.MuNjup', 'J7-DQRbZWrd947UES8vFdGTLj6egmPc8xlmll93o', 'l7uJRnDrnDzTyIgqhy81h26oNvJlYDcJ-F-Wc3pt', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('d4ef4a37-f2f5-4bfd-b9d6-057df174b508', 'user3@example.com', '$2b$10$xkvYi6HK74pCH5yBH25eD3mg4GLEzCYp5nGW/vZHOlksvQZjnkbXb', '9xWHqOn83aCNDnxn5l3NumyH6unnqUoFo6DpIOSR', 'YAb6kr3abzdX6GVRSpsCZNc2Ff3mA3g3AWwXxJsN', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
insert into "public"."profiles" ("id", "email", "display_name", "status", "mfa_required", "created_at") values ('74e78d72-83e7-4e12-8476-6988d8b2b530', 'user1@example.com', 'Ada Example', 'active', true, '2025-03-10 09:30:00+00');
insert into "public"."profiles" ("id", "email", "display_name", "status", "mfa_required", "created_at") values ('ce160d56-b6a2-4141-bb99-c346580c2310', 'user2@example.com', 'Ben Sample', 'suspended', true, '2025-04-11 09:30:00+00');
insert into "public"."profiles" ("id", "email", "display_name", "status", "mfa_required", "created_at") values ('d4ef4a37-f2f5-4bfd-b9d6-057df174b508', 'user3@example.com', 'Cleo Testova', 'archived', false, '2025-05-12 09:30:00+00');
insert into "public"."tenants" ("id", "slug", "legal_name", "display_name", "timezone", "created_at") values ('a48863ce-83b9-45f5-956e-e0bf487311ff', 'acme-dental', 'Acme Dental', 'Acme Dental', 'America/New_York', '2025-03-10 09:30:00+00');
insert into "public"."tenants" ("id", "slug", "legal_name", "display_name", "timezone", "created_at") values ('af87e27e-8f40-43ae-a0d6-4a9b573e920e', 'bluebird-hvac', 'Bluebird HVAC', 'Bluebird HVAC', 'Europe/London', '2025-04-11 09:30:00+00');
insert into "public"."tenants" ("id", "slug", "legal_name", "display_name", "timezone", "created_at") values ('f64f60ec-2640-4149-ba7d-3e3e82c9a0b1', 'corner-bistro', 'Corner Bistro', 'Corner Bistro', 'America/Toronto', '2025-05-12 09:30:00+00');
insert into "public"."retell_connections" ("id", "name", "external_workspace_reference", "public_webhook_id", "history_secret_reference", "admin_secret_reference", "webhook_secret_reference", "status", "last_sync_at", "created_at") values ('fd6c2b57-eef4-4371-9392-e5626c6865b8', 'Acme Dental', 'sample external workspace reference 1', '7ce0e0fb-0da6-4acd-8c2a-2af0aaaaea1d', 'env:RETELL_API_KEY', null, 'env:RETELL_WEBHOOK_API_KEY', 'active', '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00');
insert into "public"."retell_agents" ("id", "connection_id", "provider_agent_id", "kind", "display_name", "safe_metadata", "created_at") values ('5afc60a1-e081-4ac4-b043-cb1da89b67e8', 'fd6c2b57-eef4-4371-9392-e5626c6865b8', 'agent_bbaaf3415044fc5fcf1f4c6168', 'voice', 'Acme Dental', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "public"."retell_agents" ("id", "connection_id", "provider_agent_id", "kind", "display_name", "safe_metadata", "created_at") values ('ed220a66-f2b6-4efa-a6a5-4fb149f2229a', 'fd6c2b57-eef4-4371-9392-e5626c6865b8', 'agent_3354abc1e25d7b973dcb3b8e3b', 'chat', 'Bluebird HVAC', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "public"."retell_agents" ("id", "connection_id", "provider_agent_id", "kind", "display_name", "safe_metadata", "created_at") values ('27a26e19-5f4f-4de7-8226-1a6f71d52dde', 'fd6c2b57-eef4-4371-9392-e5626c6865b8', 'agent_c59b5245867201a65c1515295f', 'voice', 'Corner Bistro', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
insert into "public"."agent_assignments" ("id", "tenant_id", "agent_id", "valid_from", "valid_to", "assigned_by", "assignment_reason") values ('ebce6ae2-5972-4536-8fee-2d614a247b82', 'a48863ce-83b9-45f5-956e-e0bf487311ff', '5afc60a1-e081-4ac4-b043-cb1da89b67e8', '2025-03-10 09:30:00+00', null, '74e78d72-83e7-4e12-8476-6988d8b2b530', 'sample assignment reason 1');
insert into "public"."agent_assignments" ("id", "tenant_id", "agent_id", "valid_from", "valid_to", "assigned_by", "assignment_reason") values ('e7538047-510d-427f-969f-bd23612f1c59', 'af87e27e-8f40-43ae-a0d6-4a9b573e920e', 'ed220a66-f2b6-4efa-a6a5-4fb149f2229a', '2025-04-11 09:30:00+00', null, 'ce160d56-b6a2-4141-bb99-c346580c2310', 'sample assignment reason 2');
insert into "public"."agent_assignments" ("id", "tenant_id", "agent_id", "valid_from", "valid_to", "assigned_by", "assignment_reason") values ('e373740d-518d-479d-a9ee-ea9547e9bfaf', 'f64f60ec-2640-4149-ba7d-3e3e82c9a0b1', '27a26e19-5f4f-4de7-8226-1a6f71d52dde', '2025-05-12 09:30:00+00', null, 'd4ef4a37-f2f5-4bfd-b9d6-057df174b508', 'sample assignment reason 3');
insert into "public"."calls" ("id", "tenant_id", "connection_id", "agent_id", "provider_call_id", "status", "contact_masked", "transcript_text", "created_at") values ('72b45478-63e9-4c0c-a023-7c24743def21', 'a48863ce-83b9-45f5-956e-e0bf487311ff', 'fd6c2b57-eef4-4371-9392-e5626c6865b8', '5afc60a1-e081-4ac4-b043-cb1da89b67e8', 'provider_668338afe930', 'active', 'sample contact masked 1', 'Agent: Hello. Caller: I would like to book an appointment.', '2025-03-10 09:30:00+00');
insert into "public"."calls" ("id", "tenant_id", "connection_id", "agent_id", "provider_call_id", "status", "contact_masked", "transcript_text", "created_at") values ('d0ab9701-a8a4-47a2-a397-8005b0698da9', 'af87e27e-8f40-43ae-a0d6-4a9b573e920e', 'fd6c2b57-eef4-4371-9392-e5626c6865b8', 'ed220a66-f2b6-4efa-a6a5-4fb149f2229a', 'provider_aa8649b4b346', 'pending', 'sample contact masked 2', 'Agent: Hello. Caller: I would like to book an appointment.', '2025-04-11 09:30:00+00');
insert into "public"."calls" ("id", "tenant_id", "connection_id", "agent_id", "provider_call_id", "status", "contact_masked", "transcript_text", "created_at") values ('7836e137-825c-4fe3-80ff-c82351ad8713', 'f64f60ec-2640-4149-ba7d-3e3e82c9a0b1', 'fd6c2b57-eef4-4371-9392-e5626c6865b8', '27a26e19-5f4f-4de7-8226-1a6f71d52dde', 'provider_b572158e492e', 'completed', 'sample contact masked 3', 'Agent: Hello. Caller: I would like to book an appointment.', '2025-05-12 09:30:00+00');
insert into "public"."webhook_events" ("id", "connection_id", "provider", "deduplication_key", "payload_sha256", "payload_encrypted", "received_at") values ('a81bc96b-3fba-4c4e-add1-791c9eb096d9', 'fd6c2b57-eef4-4371-9392-e5626c6865b8', 'retell', 'call_1', '748c2d329c29d3726109260bb1ce3463e7ff48c5bab732aabc1da6a479c83d63', 'er2A5GJTdAfY/eWwHEkl14MlEe6U01O6i+4cw3ddHZnsjnnv0+IxVFa07fyhH9n1Gh35grnXwaIOjD5iUg==', '2025-03-10 09:30:00+00');
insert into "public"."webhook_events" ("id", "connection_id", "provider", "deduplication_key", "payload_sha256", "payload_encrypted", "received_at") values ('4f3cf2f6-3af1-4d39-9c20-6cc9e4018202', 'fd6c2b57-eef4-4371-9392-e5626c6865b8', 'stripe', 'call_2', 'a56e28d5bd744d59ba74aad70f1d056f88d300ef633c097370b8f94ece5d8cda', '0jpBgPIUtFDHKUwOGjEo6DBEd2hjgZPKGt6/t+6a93PE0j7oXE4mupQy7LcAnXJJCn6iZ0Jv+cPrx8M/EQ==', '2025-04-11 09:30:00+00');
insert into "public"."webhook_events" ("id", "connection_id", "provider", "deduplication_key", "payload_sha256", "payload_encrypted", "received_at") values ('993105a0-5ff7-40ef-a569-bf733fcb9721', 'fd6c2b57-eef4-4371-9392-e5626c6865b8', 'retell', 'call_3', '8e9c8073e1cfb8c8ab4ece96c5d315d5d22cf9b62ae247c725efc9247069837d', 'CtnCMZUuMFAYNORjDK+Ont6ENh2EYpkaN9fY1DGELbAXecstX7tEl6V/V/Fj3PdT8GQMr3dFQ54wMFHJyA==', '2025-05-12 09:30:00+00');
