-- own credentials table keyed by the owner, agents in another table
create schema if not exists "public";
create schema if not exists "auth";
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
create table "public"."clinics" (
  "id" uuid default gen_random_uuid() not null,
  "name" text not null,
  "kind" text,
  "created_at" timestamptz default now() not null,
  primary key ("id")
);
create table "public"."users" (
  "id" uuid not null,
  "clinic_id" uuid not null,
  "full_name" text,
  "role" text,
  "created_at" timestamptz default now() not null,
  primary key ("id"),
  foreign key ("id") references "auth"."users" ("id"),
  foreign key ("clinic_id") references "public"."clinics" ("id")
);
create table "public"."retell_credentials" (
  "clinic_id" uuid not null,
  "api_key_encrypted" text not null,
  "updated_at" timestamptz default now() not null,
  primary key ("clinic_id"),
  foreign key ("clinic_id") references "public"."clinics" ("id")
);
alter table "public"."retell_credentials" enable row level security;
create table "public"."agent_configs" (
  "id" uuid default gen_random_uuid() not null,
  "clinic_id" uuid not null,
  "greeting" text,
  "system_prompt" text,
  "retell_agent_id" text,
  "retell_llm_id" text,
  "retell_phone_number" text,
  "retell_outbound_agent_id" text,
  "retell_outbound_llm_id" text,
  "updated_at" timestamptz default now() not null,
  primary key ("id"),
  unique ("clinic_id"),
  foreign key ("clinic_id") references "public"."clinics" ("id")
);
alter table "public"."agent_configs" enable row level security;
create table "public"."calls" (
  "id" uuid default gen_random_uuid() not null,
  "clinic_id" uuid not null,
  "retell_call_id" text,
  "from_number" text,
  "summary" text,
  "created_at" timestamptz default now() not null,
  primary key ("id"),
  unique ("retell_call_id"),
  foreign key ("clinic_id") references "public"."clinics" ("id")
);
alter table "public"."calls" enable row level security;
create table "public"."appointments" (
  "id" uuid default gen_random_uuid() not null,
  "clinic_id" uuid not null,
  "patient_name" text,
  "starts_at" timestamptz not null,
  "reminder_called_at" timestamptz,
  primary key ("id"),
  foreign key ("clinic_id") references "public"."clinics" ("id")
);
alter table "public"."appointments" enable row level security;
create table "public"."orders" (
  "id" uuid default gen_random_uuid() not null,
  "clinic_id" uuid not null,
  "total" numeric(10,2),
  "status" text,
  "order_ready_called_at" timestamptz,
  primary key ("id"),
  foreign key ("clinic_id") references "public"."clinics" ("id")
);
alter table "public"."orders" enable row level security;
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('6c9bd845-1564-4013-8437-57607a9f9304', 'user1@example.com', 'fake-test-value-324', 'fake-test-value-325', 'fake-test-value-326', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('3c5e08b6-bbad-453e-be10-2e7cb2ce6211', 'user2@example.com', 'fake-test-value-327', 'fake-test-value-328', 'fake-test-value-329', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('b695bc77-9ef8-49b4-aece-46888aeaffca', 'user3@example.com', 'fake-test-value-330', 'fake-test-value-331', 'fake-test-value-332', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
insert into "public"."clinics" ("id", "name", "kind", "created_at") values ('a7197661-4c89-4278-9958-1cbc2c800942', 'Acme Dental', 'sample kind 1', '2025-03-10 09:30:00+00');
insert into "public"."clinics" ("id", "name", "kind", "created_at") values ('e25e587b-b0b5-4a38-a0d0-721077432982', 'Bluebird HVAC', 'sample kind 2', '2025-04-11 09:30:00+00');
insert into "public"."clinics" ("id", "name", "kind", "created_at") values ('f829336b-ae73-48b0-b933-038c61d63eb7', 'Corner Bistro', 'sample kind 3', '2025-05-12 09:30:00+00');
insert into "public"."users" ("id", "clinic_id", "full_name", "role", "created_at") values ('6c9bd845-1564-4013-8437-57607a9f9304', 'a7197661-4c89-4278-9958-1cbc2c800942', 'Ada Example', 'owner', '2025-03-10 09:30:00+00');
insert into "public"."users" ("id", "clinic_id", "full_name", "role", "created_at") values ('3c5e08b6-bbad-453e-be10-2e7cb2ce6211', 'e25e587b-b0b5-4a38-a0d0-721077432982', 'Ben Sample', 'admin', '2025-04-11 09:30:00+00');
insert into "public"."users" ("id", "clinic_id", "full_name", "role", "created_at") values ('b695bc77-9ef8-49b4-aece-46888aeaffca', 'f829336b-ae73-48b0-b933-038c61d63eb7', 'Cleo Testova', 'member', '2025-05-12 09:30:00+00');
insert into "public"."retell_credentials" ("clinic_id", "api_key_encrypted", "updated_at") values ('a7197661-4c89-4278-9958-1cbc2c800942', 'fake-test-value-333', '2025-03-10 09:30:00+00');
insert into "public"."retell_credentials" ("clinic_id", "api_key_encrypted", "updated_at") values ('e25e587b-b0b5-4a38-a0d0-721077432982', 'fake-test-value-334', '2025-04-11 09:30:00+00');
insert into "public"."retell_credentials" ("clinic_id", "api_key_encrypted", "updated_at") values ('f829336b-ae73-48b0-b933-038c61d63eb7', 'fake-test-value-335', '2025-05-12 09:30:00+00');
insert into "public"."agent_configs" ("id", "clinic_id", "greeting", "system_prompt", "retell_agent_id", "retell_llm_id", "retell_phone_number", "retell_outbound_agent_id", "retell_outbound_llm_id", "updated_at") values ('a83d8827-b2b3-4bbe-89ff-786f9440b5c7', 'a7197661-4c89-4278-9958-1cbc2c800942', 'sample greeting 1', 'sample system prompt 1', 'fake-test-value-336', 'fake-test-value-337', '+15125550123', 'fake-test-value-338', 'fake-test-value-339', '2025-03-10 09:30:00+00');
insert into "public"."agent_configs" ("id", "clinic_id", "greeting", "system_prompt", "retell_agent_id", "retell_llm_id", "retell_phone_number", "retell_outbound_agent_id", "retell_outbound_llm_id", "updated_at") values ('d0f942e4-0387-4043-90c8-56265b8fe27a', 'e25e587b-b0b5-4a38-a0d0-721077432982', 'sample greeting 2', 'sample system prompt 2', 'fake-test-value-340', 'fake-test-value-341', '+15125550156', 'fake-test-value-342', 'fake-test-value-343', '2025-04-11 09:30:00+00');
insert into "public"."agent_configs" ("id", "clinic_id", "greeting", "system_prompt", "retell_agent_id", "retell_llm_id", "retell_phone_number", "retell_outbound_agent_id", "retell_outbound_llm_id", "updated_at") values ('afe4e716-aa3e-4563-875f-88911e5f4beb', 'f829336b-ae73-48b0-b933-038c61d63eb7', 'sample greeting 3', 'sample system prompt 3', 'fake-test-value-344', 'fake-test-value-345', '+15125550190', 'fake-test-value-346', 'fake-test-value-347', '2025-05-12 09:30:00+00');
insert into "public"."calls" ("id", "clinic_id", "retell_call_id", "from_number", "summary", "created_at") values ('48503e29-e324-4a49-bb35-bae53fce65db', 'a7197661-4c89-4278-9958-1cbc2c800942', 'retell_3ce3127ca1d2', '+12125550115', 'sample summary 1', '2025-03-10 09:30:00+00');
insert into "public"."calls" ("id", "clinic_id", "retell_call_id", "from_number", "summary", "created_at") values ('dd306cc3-9a13-4295-8d4f-5762cc3b4148', 'e25e587b-b0b5-4a38-a0d0-721077432982', 'retell_e93c5473b373', '+12125550148', 'sample summary 2', '2025-04-11 09:30:00+00');
insert into "public"."calls" ("id", "clinic_id", "retell_call_id", "from_number", "summary", "created_at") values ('721508a2-1f0a-465b-8410-937be37e089f', 'f829336b-ae73-48b0-b933-038c61d63eb7', 'retell_10bfab05e435', '+12125550182', 'sample summary 3', '2025-05-12 09:30:00+00');
insert into "public"."appointments" ("id", "clinic_id", "patient_name", "starts_at", "reminder_called_at") values ('39da3a07-53e2-4024-a817-1cf838ae750c', 'a7197661-4c89-4278-9958-1cbc2c800942', 'Acme Dental', '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00');
insert into "public"."appointments" ("id", "clinic_id", "patient_name", "starts_at", "reminder_called_at") values ('b69d3525-6636-4afc-829e-fb5f590b3a4a', 'e25e587b-b0b5-4a38-a0d0-721077432982', 'Bluebird HVAC', '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00');
insert into "public"."appointments" ("id", "clinic_id", "patient_name", "starts_at", "reminder_called_at") values ('bd97a7cc-f408-4f11-8abd-a6b108b0a447', 'f829336b-ae73-48b0-b933-038c61d63eb7', 'Corner Bistro', '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00');
insert into "public"."orders" ("id", "clinic_id", "total", "status", "order_ready_called_at") values ('e353cb20-46d7-49e1-aa54-65c1f524f772', 'a7197661-4c89-4278-9958-1cbc2c800942', 1.25, 'active', '2025-03-10 09:30:00+00');
insert into "public"."orders" ("id", "clinic_id", "total", "status", "order_ready_called_at") values ('75f020ee-821d-46c1-a706-b3e5359de2e4', 'e25e587b-b0b5-4a38-a0d0-721077432982', 3.5, 'pending', '2025-04-11 09:30:00+00');
insert into "public"."orders" ("id", "clinic_id", "total", "status", "order_ready_called_at") values ('b18fe2dc-85de-4940-90b1-4460b484eb9d', 'f829336b-ae73-48b0-b933-038c61d63eb7', 0.75, 'completed', '2025-05-12 09:30:00+00');
