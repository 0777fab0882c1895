-- {"table": "public.retell_credentials", "user": "clinic_id", "columns": {"api_key": "api_key_encrypted"}, "holds": "ciphertext", "also": ["public.agent_configs"], "provider": "retell"}
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
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('6c9bd845-1564-4013-8437-57607a9f9304', 'user1@example.com', '$2b$10$tBS5GKvzpnqCdFhcWJGqPIM2hHL4dB..AcH4xMSF0F3q6G/57mVEL', 'mtrh8_j5aPVvv8Nhjfvd9hbB9bA9__l5XH15MwLl', 'XXPSvONYMQqgRe62UlW0_P53dmPYrFXlCx2OnbCJ', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('3c5e08b6-bbad-453e-be10-2e7cb2ce6211', 'user2@example.com', '$2b$10$nQ6AESH5ORDIhg7VLO4rYCrZ5PHtwOFKhv7Ni5tlGssPHG5q2tgl0', 'c8U1Z1AWCj_ukAEjx_wDhQunoOCsjfujuPxFD74A', '07A9ms2q8fbNmIerAQPkospzlVb4DDTU7fo0Bea1', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('b695bc77-9ef8-49b4-aece-46888aeaffca', 'user3@example.com', '$2b$10$Ec4P/uOmCHE9LEFcFRG8I1Int7UyIKNoAFUxY9lcJccay0Oizb9Mn', 'nGXz1phLrkS6JeVaAw6qAcr-QXkpQXkDpIKibaqA', 'JCSnaCnKn5Jr2RVgYMqLEVhe7UhdNHx8k-p3B3g6', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
insert into "public"."clinics" ("id", "name", "kind", "created_at") values ('a7197661-4c89-4278-9958-1cbc2c800942', 'Acme Dental', 'sample kind 1', '2025-03-10 09:30:00+00');
insert into "public"."clinics" ("id", "name", "kind", "created_at") values ('e25e587b-b0b5-4a38-a0d0-721077432982', 'Bluebird HVAC', 'sample kind 2', '2025-04-11 09:30:00+00');
insert into "public"."clinics" ("id", "name", "kind", "created_at") values ('f829336b-ae73-48b0-b933-038c61d63eb7', 'Corner Bistro', 'sample kind 3', '2025-05-12 09:30:00+00');
insert into "public"."users" ("id", "clinic_id", "full_name", "role", "created_at") values ('6c9bd845-1564-4013-8437-57607a9f9304', 'a7197661-4c89-4278-9958-1cbc2c800942', 'Ada Example', 'owner', '2025-03-10 09:30:00+00');
insert into "public"."users" ("id", "clinic_id", "full_name", "role", "created_at") values ('3c5e08b6-bbad-453e-be10-2e7cb2ce6211', 'e25e587b-b0b5-4a38-a0d0-721077432982', 'Ben Sample', 'admin', '2025-04-11 09:30:00+00');
insert into "public"."users" ("id", "clinic_id", "full_name", "role", "created_at") values ('b695bc77-9ef8-49b4-aece-46888aeaffca', 'f829336b-ae73-48b0-b933-038c61d63eb7', 'Cleo Testova', 'member', '2025-05-12 09:30:00+00');
insert into "public"."retell_credentials" ("clinic_id", "api_key_encrypted", "updated_at") values ('a7197661-4c89-4278-9958-1cbc2c800942', 'l/DhjLj8BB5gJR8HsIyiQcXESA9fF+F53ni6mn6aLdVNR5ECry9ebVR+oDmoe2sXA7m8N0mRc5FVM+zDdQ==', '2025-03-10 09:30:00+00');
insert into "public"."retell_credentials" ("clinic_id", "api_key_encrypted", "updated_at") values ('e25e587b-b0b5-4a38-a0d0-721077432982', 'ABM9vs0f9SgBvAFGwvyKL/lQmFTP2FwYItQUOsUFFIsqSba3l8HfUsFAfBqy71pILbHO0/Bm/d4mSLVguQ==', '2025-04-11 09:30:00+00');
insert into "public"."retell_credentials" ("clinic_id", "api_key_encrypted", "updated_at") values ('f829336b-ae73-48b0-b933-038c61d63eb7', 'Myyw/GhuaK1mVhfobCRAT8iiIkPLBaAM3tuhPcFQZuRYDe4r7UFDNVMncDfwEnrhOSYZxeluSCRmzd8Cyg==', '2025-05-12 09:30:00+00');
insert into "public"."agent_configs" ("id", "clinic_id", "greeting", "system_prompt", "retell_agent_id", "retell_llm_id", "retell_phone_number", "retell_outbound_agent_id", "retell_outbound_llm_id", "updated_at") values ('a83d8827-b2b3-4bbe-89ff-786f9440b5c7', 'a7197661-4c89-4278-9958-1cbc2c800942', 'sample greeting 1', 'sample system prompt 1', 'agent_6d4f689527f0aa859172e8c732', 'llm_7c67f007b3e6faa79c5db0f705ab', '+15125550123', 'agent_28ec5d7a9709e3e67c10d0ae81', 'llm_1514bd52da671a370a2133e8323b', '2025-03-10 09:30:00+00');
insert into "public"."agent_configs" ("id", "clinic_id", "greeting", "system_prompt", "retell_agent_id", "retell_llm_id", "retell_phone_number", "retell_outbound_agent_id", "retell_outbound_llm_id", "updated_at") values ('d0f942e4-0387-4043-90c8-56265b8fe27a', 'e25e587b-b0b5-4a38-a0d0-721077432982', 'sample greeting 2', 'sample system prompt 2', 'agent_170d9547c9057483e6a8b0b641', 'llm_386a57c2adce45f896e3bb669e6e', '+15125550156', 'agent_198e7306bc765d157094a1e5b4', 'llm_23598307b6a8c1a11ada4e1b655f', '2025-04-11 09:30:00+00');
insert into "public"."agent_configs" ("id", "clinic_id", "greeting", "system_prompt", "retell_agent_id", "retell_llm_id", "retell_phone_number", "retell_outbound_agent_id", "retell_outbound_llm_id", "updated_at") values ('afe4e716-aa3e-4563-875f-88911e5f4beb', 'f829336b-ae73-48b0-b933-038c61d63eb7', 'sample greeting 3', 'sample system prompt 3', 'agent_309ac07bf1c0b79b318205deca', 'llm_22971034fec77f7ea3ab08030e23', '+15125550190', 'agent_68e0220bc1b4b1faff93ebd172', 'llm_042dfa1907196e5ffd1f6e6eb262', '2025-05-12 09:30:00+00');
insert into "public"."calls" ("id", "clinic_id", "retell_call_id", "from_number", "summary", "created_at") values ('48503e29-e324-4a49-bb35-bae53fce65db', 'a7197661-4c89-4278-9958-1cbc2c800942', 'retell_3ce3127ca1d2', '+12125550115', 'sample summary 1', '2025-03-10 09:30:00+00');
insert into "public"."calls" ("id", "clinic_id", "retell_call_id", "from_number", "summary", "created_at") values ('dd306cc3-9a13-4295-8d4f-5762cc3b4148', 'e25e587b-b0b5-4a38-a0d0-721077432982', 'retell_e93c5473b373', '+12125550148', 'sample summary 2', '2025-04-11 09:30:00+00');
insert into "public"."calls" ("id", "clinic_id", "retell_call_id", "from_number", "summary", "created_at") values ('721508a2-1f0a-465b-8410-937be37e089f', 'f829336b-ae73-48b0-b933-038c61d63eb7', 'retell_10bfab05e435', '+12125550182', 'sample summary 3', '2025-05-12 09:30:00+00');
insert into "public"."appointments" ("id", "clinic_id", "patient_name", "starts_at", "reminder_called_at") values ('39da3a07-53e2-4024-a817-1cf838ae750c', 'a7197661-4c89-4278-9958-1cbc2c800942', 'Acme Dental', '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00');
insert into "public"."appointments" ("id", "clinic_id", "patient_name", "starts_at", "reminder_called_at") values ('b69d3525-6636-4afc-829e-fb5f590b3a4a', 'e25e587b-b0b5-4a38-a0d0-721077432982', 'Bluebird HVAC', '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00');
insert into "public"."appointments" ("id", "clinic_id", "patient_name", "starts_at", "reminder_called_at") values ('bd97a7cc-f408-4f11-8abd-a6b108b0a447', 'f829336b-ae73-48b0-b933-038c61d63eb7', 'Corner Bistro', '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00');
insert into "public"."orders" ("id", "clinic_id", "total", "status", "order_ready_called_at") values ('e353cb20-46d7-49e1-aa54-65c1f524f772', 'a7197661-4c89-4278-9958-1cbc2c800942', 1.25, 'active', '2025-03-10 09:30:00+00');
insert into "public"."orders" ("id", "clinic_id", "total", "status", "order_ready_called_at") values ('75f020ee-821d-46c1-a706-b3e5359de2e4', 'e25e587b-b0b5-4a38-a0d0-721077432982', 3.5, 'pending', '2025-04-11 09:30:00+00');
insert into "public"."orders" ("id", "clinic_id", "total", "status", "order_ready_called_at") values ('b18fe2dc-85de-4940-90b1-4460b484eb9d', 'f829336b-ae73-48b0-b933-038c61d63eb7', 0.75, 'completed', '2025-05-12 09:30:00+00');
