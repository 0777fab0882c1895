-- {"table": "public.organizations", "user": "id", "columns": {"api_key": "retell_api_key", "call_agent_id": "retell_agent_id"}, "holds": "ciphertext", "provider": "retell"}
create schema if not exists "public";
create table "public"."organizations" (
  "id" uuid default gen_random_uuid() not null,
  "name" text not null,
  "domain" text,
  "branding" jsonb,
  "retell_api_key" text,
  "retell_agent_id" text,
  "cogs_per_minute" numeric(10,4),
  "billing_rate_per_minute" numeric(10,4),
  "created_at" timestamptz,
  "updated_at" timestamptz,
  primary key ("id"),
  unique ("domain")
);
create table "public"."agents" (
  "id" uuid default gen_random_uuid() not null,
  "organization_id" uuid,
  "agent_id" text not null,
  "name" text not null,
  "webhook_url" text not null,
  "status" text not null,
  "is_validated" boolean default false,
  "error_message" text,
  "created_at" timestamptz,
  primary key ("id"),
  unique ("webhook_url"),
  unique ("organization_id", "agent_id"),
  foreign key ("organization_id") references "public"."organizations" ("id")
);
create table "public"."system_users" (
  "id" uuid default gen_random_uuid() not null,
  "email" text,
  "role" text,
  "created_at" timestamptz,
  primary key ("id"),
  unique ("email")
);
create table "public"."calls" (
  "id" uuid default gen_random_uuid() not null,
  "organization_id" uuid,
  "agent_id" uuid,
  "call_id" text,
  "duration_seconds" integer,
  "cost" numeric(10,4),
  "transcript" text,
  "created_at" timestamptz,
  primary key ("id"),
  unique ("call_id"),
  foreign key ("organization_id") references "public"."organizations" ("id"),
  foreign key ("agent_id") references "public"."agents" ("id")
);
insert into "public"."organizations" ("id", "name", "domain", "branding", "retell_api_key", "retell_agent_id", "cogs_per_minute", "billing_rate_per_minute", "created_at", "updated_at") values ('a7ed6c0e-bafa-4517-8b67-7d4f327456c1', 'Acme Dental', 'acme-dental', '{"note": "sample 1"}'::jsonb, 'U2FsdGVkX1cGIszlScA6kBGKBl0AaseychKvfdfSdEPRxyGiTd2OvSK1ej9lULwJpPe+6RUgzVR/X7qZBlnvLjmNe97Xontl', 'agent_8caa30db8a4b24933bb9c46be2', 1.25, 1.25, '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00');
insert into "public"."organizations" ("id", "name", "domain", "branding", "retell_api_key", "retell_agent_id", "cogs_per_minute", "billing_rate_per_minute", "created_at", "updated_at") values ('138e74ab-09c9-4d55-ab7c-ea2e7391dcdc', 'Bluebird HVAC', 'bluebird-hvac', '{"note": "sample 2"}'::jsonb, 'U2FsdGVkX1BBq/Z2ywF9ZozpFsYDjTwwJgCZOiQbfLEUVttQrP3YBo1MXTAr9x5Rh624YaH9Bvt+3Eq6jCjyfNv+9V3Dm2Uh', 'agent_9b8042bb55a4dac7e04c9bb0d9', 3.5, 3.5, '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00');
insert into "public"."organizations" ("id", "name", "domain", "branding", "retell_api_key", "retell_agent_id", "cogs_per_minute", "billing_rate_per_minute", "created_at", "updated_at") values ('e5548151-0aa2-458b-ba0e-964038f67214', 'Corner Bistro', 'corner-bistro', '{"note": "sample 3"}'::jsonb, 'U2FsdGVkX10N0NdAp9BA1Pi2DDTR2Nkl+Acxhq37nj3UmQMscImZZPkCEtLH5uaEllmIZb0FrNW9lzPWqZPI0q0SSjafw4rZ', 'agent_92a258674c663adb26a0c7cd35', 0.75, 0.75, '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00');
insert into "public"."agents" ("id", "organization_id", "agent_id", "name", "webhook_url", "status", "is_validated", "error_message", "created_at") values ('336cf1c4-2e40-416a-8d0b-16e804b4eba7', 'a7ed6c0e-bafa-4517-8b67-7d4f327456c1', 'agent_e454562b95abd0296583898261', 'Acme Dental', 'https://example.com/webhook_url/1', 'active', true, 'sample error message 1', '2025-03-10 09:30:00+00');
insert into "public"."agents" ("id", "organization_id", "agent_id", "name", "webhook_url", "status", "is_validated", "error_message", "created_at") values ('438ff5db-52c8-461a-a33a-a644a3b81255', '138e74ab-09c9-4d55-ab7c-ea2e7391dcdc', 'agent_9257574441cab624f67f2772dd', 'Bluebird HVAC', 'https://example.com/webhook_url/2', 'pending', true, 'sample error message 2', '2025-04-11 09:30:00+00');
insert into "public"."agents" ("id", "organization_id", "agent_id", "name", "webhook_url", "status", "is_validated", "error_message", "created_at") values ('e6ba4a14-caef-4b7c-a18d-202a86de2081', 'e5548151-0aa2-458b-ba0e-964038f67214', 'agent_ce72eea4bb94e62fe224240e1c', 'Corner Bistro', 'https://example.com/webhook_url/3', 'completed', false, 'sample error message 3', '2025-05-12 09:30:00+00');
insert into "public"."system_users" ("id", "email", "role", "created_at") values ('89f87b50-6742-46d8-ae5c-7b0582a67f92', 'user1@example.com', 'owner', '2025-03-10 09:30:00+00');
insert into "public"."system_users" ("id", "email", "role", "created_at") values ('097887c7-4828-4201-b13d-19db4434daa2', 'user2@example.com', 'admin', '2025-04-11 09:30:00+00');
insert into "public"."system_users" ("id", "email", "role", "created_at") values ('f29a9ffa-22b4-478b-b87e-1530e45b8f46', 'user3@example.com', 'member', '2025-05-12 09:30:00+00');
insert into "public"."calls" ("id", "organization_id", "agent_id", "call_id", "duration_seconds", "cost", "transcript", "created_at") values ('f8e8d343-b4e7-4b17-82a6-c21b443493ef', 'a7ed6c0e-bafa-4517-8b67-7d4f327456c1', '336cf1c4-2e40-416a-8d0b-16e804b4eba7', 'call_7a3393e6948a', 3, 1.25, 'Agent: Hello. Caller: I would like to book an appointment.', '2025-03-10 09:30:00+00');
insert into "public"."calls" ("id", "organization_id", "agent_id", "call_id", "duration_seconds", "cost", "transcript", "created_at") values ('254649ed-4644-4efb-9ba4-505c0f7d41a5', '138e74ab-09c9-4d55-ab7c-ea2e7391dcdc', '438ff5db-52c8-461a-a33a-a644a3b81255', 'call_a72bd160460f', 17, 3.5, 'Agent: Hello. Caller: I would like to book an appointment.', '2025-04-11 09:30:00+00');
insert into "public"."calls" ("id", "organization_id", "agent_id", "call_id", "duration_seconds", "cost", "transcript", "created_at") values ('43d5f98c-b9f8-407b-895f-7f3c09c0cf3f', 'e5548151-0aa2-458b-ba0e-964038f67214', 'e6ba4a14-caef-4b7c-a18d-202a86de2081', 'call_26821eb825a1', 42, 0.75, 'Agent: Hello. Caller: I would like to book an appointment.', '2025-05-12 09:30:00+00');
