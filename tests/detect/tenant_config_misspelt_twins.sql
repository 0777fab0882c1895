-- {"table": "public.tenant_config", "user": "tenant_id", "columns": {"api_key": "retell_api_key", "call_agent_id": "retell_agent_id", "phone_number": "retell_agent_number", "webhook_key": "retell_webhook_secret"}, "holds": "plaintext", "provider": "retell"}
create schema if not exists "public";
create table "public"."tenants" (
  "id" uuid default gen_random_uuid() not null,
  "name" varchar(255) not null,
  "company_name" varchar(255),
  "tenant_number" varchar(50),
  "status" varchar(50) default 'active',
  "contact_email" varchar(255),
  "created_at" timestamp default now(),
  "updated_at" timestamp default now(),
  primary key ("id"),
  unique ("name"),
  unique ("tenant_number")
);
create table "public"."users" (
  "id" uuid default gen_random_uuid() not null,
  "email" varchar(255) not null,
  "hashed_password" text not null,
  "full_name" varchar(255) not null,
  "tenant_id" uuid not null,
  "role" varchar(50) default 'client_user' not null,
  "is_active" boolean default true,
  "created_at" timestamp default now(),
  "updated_at" timestamp default now(),
  primary key ("id"),
  unique ("email")
);
create table "public"."contacts" (
  "id" uuid default gen_random_uuid() not null,
  "tenant_id" uuid not null,
  "name" varchar(255) not null,
  "phone" varchar(50) not null,
  "email" varchar(255),
  "appointment_time" timestamp,
  "call_before_hours" integer default 24,
  "notes" text,
  "created_at" timestamp default now(),
  primary key ("id")
);
create table "public"."call_sessions" (
  "id" uuid default gen_random_uuid() not null,
  "session_id" varchar(255),
  "contact_id" uuid,
  "tenant_id" uuid not null,
  "status" varchar(50) default 'queued',
  "retell_call_id" varchar(255),
  "error_message" text,
  "created_at" timestamp default now(),
  primary key ("id"),
  unique ("session_id")
);
create table "public"."tenant_config" (
  "id" uuid default gen_random_uuid() not null,
  "tenant_id" uuid not null,
  "retell_agent_id" varchar(255),
  "retell_agent_number" varchar(50),
  "retell_api_key" text,
  "retell_webhook_secret" text,
  "retail_agent_id" varchar(255),
  "retail_agent_number" varchar(50),
  "retail_api_key" text,
  "retail_webhook_secret" text,
  "cal_api_key" text,
  "cal_event_type_id" integer,
  "cal_webhook_secret" text,
  "calendly_api_key" text,
  "calendly_access_token" text,
  "calendly_organization" varchar(255),
  "calendly_webhook_secret" text,
  "timezone" varchar(100) default 'Europe/London',
  "is_paused" boolean default false,
  "max_calls_per_day" integer default 300,
  "quiet_start" time default '20:00',
  "created_at" timestamp default now(),
  primary key ("id"),
  unique ("tenant_id")
);
create table "public"."system_settings" (
  "id" uuid default gen_random_uuid() not null,
  "key" varchar(255) not null,
  "value" text,
  "description" text,
  "is_active" boolean default true,
  primary key ("id"),
  unique ("key")
);
insert into "public"."tenants" ("id", "name", "company_name", "tenant_number", "status", "contact_email", "created_at", "updated_at") values ('eec06b96-7138-469d-889b-c1556199bb5e', 'Acme Dental', 'Acme Dental', '+15125550117', 'active', 'user1@example.com', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."tenants" ("id", "name", "company_name", "tenant_number", "status", "contact_email", "created_at", "updated_at") values ('6ef20fee-2d22-4606-8c72-8b19f029ec39', 'Bluebird HVAC', 'Bluebird HVAC', '+15125550150', 'pending', 'user2@example.com', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."tenants" ("id", "name", "company_name", "tenant_number", "status", "contact_email", "created_at", "updated_at") values ('faff2283-619e-4434-a7df-7ad295f5441f', 'Corner Bistro', 'Corner Bistro', '+15125550184', 'completed', 'user3@example.com', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."users" ("id", "email", "hashed_password", "full_name", "tenant_id", "role", "is_active", "created_at", "updated_at") values ('c83199c7-5fee-4a6e-885b-9c40f51fe9b9', 'user1@example.com', '$2b$10$Py1AazRjcyzbpMiF2GMJxUKcmIMZh5N3oSOs3QEZ.P2yj3NBSYpwk', 'Ada Example', '3456005a-b2f8-45f5-ace1-8d33a1dd8ab0', 'owner', true, '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."users" ("id", "email", "hashed_password", "full_name", "tenant_id", "role", "is_active", "created_at", "updated_at") values ('cd5d81aa-16a1-45e2-ad80-e92ba68cb2e4', 'user2@example.com', '$2b$10$TLco9jF.tsot2CfGUfViqhMJ.hcGUhCwlfNcn2jLhCYknRQpY9xIW', 'Ben Sample', '011d9f71-b3be-46ef-be1a-4fd13e70e809', 'admin', true, '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."users" ("id", "email", "hashed_password", "full_name", "tenant_id", "role", "is_active", "created_at", "updated_at") values ('7e65ff2a-bdba-4464-ad56-56235be55db9', 'user3@example.com', '$2b$10$KWAuM5fd90e9HXN2pK9YZotor.g62Er4cqgUHSF6V8MHZcRimthZd', 'Cleo Testova', '61cf728c-a258-454d-ae60-1b31ae294779', 'member', false, '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."contacts" ("id", "tenant_id", "name", "phone", "email", "appointment_time", "call_before_hours", "notes", "created_at") values ('dadffa53-78ab-4f26-91f0-45bc6db692e4', 'ee58d568-e9e5-469a-bf11-22517aedf12a', 'Ada Example', '+13055550109', 'user1@example.com', '2025-03-10 09:30:00', 3, 'sample notes 1', '2025-03-10 09:30:00');
insert into "public"."contacts" ("id", "tenant_id", "name", "phone", "email", "appointment_time", "call_before_hours", "notes", "created_at") values ('eb8d5ce4-73d4-49e7-a1f5-de3983e8b743', 'de9cab73-167e-4494-9e10-1e0c3ad1856b', 'Ben Sample', '+13055550142', 'user2@example.com', '2025-04-11 09:30:00', 17, 'sample notes 2', '2025-04-11 09:30:00');
insert into "public"."contacts" ("id", "tenant_id", "name", "phone", "email", "appointment_time", "call_before_hours", "notes", "created_at") values ('ebb6b72d-c7ad-47ba-83ed-2a60c6972e1a', 'cf276390-793a-4811-b6bb-cc887ed48eee', 'Cleo Testova', '+13055550176', 'user3@example.com', '2025-05-12 09:30:00', 42, 'sample notes 3', '2025-05-12 09:30:00');
insert into "public"."call_sessions" ("id", "session_id", "contact_id", "tenant_id", "status", "retell_call_id", "error_message", "created_at") values ('b0bd2f4c-29d5-48e1-a807-59cd243af107', 'session_57b4d95e1351', '45adb658-2b1a-40be-88af-13a3eca41d0e', '6dbfbbe5-2510-4c42-896a-0f627869ae26', 'active', 'retell_ce07bc32b905', 'sample error message 1', '2025-03-10 09:30:00');
insert into "public"."call_sessions" ("id", "session_id", "contact_id", "tenant_id", "status", "retell_call_id", "error_message", "created_at") values ('b71a745d-9ac2-47b2-879d-43bf54936a53', 'session_271ba092d6f9', 'aec2f7e6-cdba-47ab-92dd-9535f5f4af9c', '8466eb0a-349d-42bc-9497-033bf2e7ce24', 'pending', 'retell_2178e10c5247', 'sample error message 2', '2025-04-11 09:30:00');
insert into "public"."call_sessions" ("id", "session_id", "contact_id", "tenant_id", "status", "retell_call_id", "error_message", "created_at") values ('1be57c41-33c1-4678-a105-5fabe604764f', 'session_1e4666b892a0', '0c996f61-56bd-44ce-b35e-d251c85c4aed', '6ed15b52-7d1f-4ada-9486-d85a6cbb9f9c', 'completed', 'retell_684cce7237c1', 'sample error message 3', '2025-05-12 09:30:00');
insert into "public"."tenant_config" ("id", "tenant_id", "retell_agent_id", "retell_agent_number", "retell_api_key", "retell_webhook_secret", "retail_agent_id", "retail_agent_number", "retail_api_key", "retail_webhook_secret", "cal_api_key", "cal_event_type_id", "cal_webhook_secret", "calendly_api_key", "calendly_access_token", "calendly_organization", "calendly_webhook_secret", "timezone", "is_paused", "max_calls_per_day", "quiet_start", "created_at") values ('12082f2f-d10c-4710-ada7-b22920c50eee', 'c9f0ecbf-ff4a-4fc7-8d81-260708ac09ec', 'agent_05960c887731d1ff38ebe14a7b', '+13125550123', 'key_test_452ad52dc4b820544d292392', 'whsec_test_979cfab21f04514b0504886a', null, null, null, null, 'xXGtWcrkNWQ0_eVJ1hstJLt7G6URjSwLdoj6I9fW', 1, 'whsec_test_afd35595c785b25ed5944d73', 'f6nIO2UK-xUFVRLvcIBzB-HIU7mH--pRTu2A7rWa', 'hgbDhigaREkr9dnF4EHujKE2XBQSgq8jUc9Up5lS', 'sample calendly organization 1', 'whsec_test_81f66b0a24a58474f32bd29a', 'America/New_York', true, 3, '08:00:00', '2025-03-10 09:30:00');
insert into "public"."tenant_config" ("id", "tenant_id", "retell_agent_id", "retell_agent_number", "retell_api_key", "retell_webhook_secret", "retail_agent_id", "retail_agent_number", "retail_api_key", "retail_webhook_secret", "cal_api_key", "cal_event_type_id", "cal_webhook_secret", "calendly_api_key", "calendly_access_token", "calendly_organization", "calendly_webhook_secret", "timezone", "is_paused", "max_calls_per_day", "quiet_start", "created_at") values ('8b3aaa90-47c6-4b95-9cd8-cb0a6a8f2714', '57c6c963-0b9f-4074-83c8-e12c0f5dba1d', 'agent_a9478cbff78f3c8362641df359', '+13125550156', 'key_test_de547744f875d550ca6a76ae', 'whsec_test_e55b11be3b1b5bacc2ceced8', null, null, null, null, 'NXrQOuz1xMDNO1QwdWEvkm52nBsSAtvz06iNZGZd', 2, 'whsec_test_b8c4c6a08935db2f215aad1f', '4fpGGTIWm3QsfcVkmdP8QYMyMcIWx_oqpB_mtMD-', 'bQhMrJeXbSfgfwHkN5cCzMlV24OJc850BjoqZDXc', 'sample calendly organization 2', 'whsec_test_8dac76e0d9acb4d675a8a226', 'Europe/London', true, 17, '09:00:00', '2025-04-11 09:30:00');
insert into "public"."tenant_config" ("id", "tenant_id", "retell_agent_id", "retell_agent_number", "retell_api_key", "retell_webhook_secret", "retail_agent_id", "retail_agent_number", "retail_api_key", "retail_webhook_secret", "cal_api_key", "cal_event_type_id", "cal_webhook_secret", "calendly_api_key", "calendly_access_token", "calendly_organization", "calendly_webhook_secret", "timezone", "is_paused", "max_calls_per_day", "quiet_start", "created_at") values ('ffa7e079-2a38-4936-80a1-34eea6523a7d', '23c0de5e-d668-49ba-b37c-72afc8e34763', 'agent_5bd912973b15692429cfd529b2', '+13125550190', 'key_test_f711a529f1dbaa6d37d8e818', 'whsec_test_a4a7d7d3b72553dbe6a845f9', null, null, null, null, 'LFrYeIt1qkU1_O1Djblaxv9XSm_YfBpPbftCshhT', 3, 'whsec_test_e45fdc71e45a130fd83c7975', 'USY3AfdYTXXvtMDWNufeKEv42PMikQ5dQGFI9b9x', 'mDOG3nvVGzMUTnegO-iviUmTLgOn2z3nV1X-JR8d', 'sample calendly organization 3', 'whsec_test_cef2994ec37dec2f4b41402b', 'America/Toronto', false, 42, '010:00:00', '2025-05-12 09:30:00');
insert into "public"."system_settings" ("id", "key", "value", "description", "is_active") values ('dc829075-8623-4903-970c-a668e22eba09', 'sample key 1', 'sample value 1', 'sample description 1', true);
insert into "public"."system_settings" ("id", "key", "value", "description", "is_active") values ('91861dae-21eb-467c-b89a-ba8d9f59911e', 'sample key 2', 'sample value 2', 'sample description 2', true);
insert into "public"."system_settings" ("id", "key", "value", "description", "is_active") values ('76cc2a69-4f36-443c-839a-c3e80bf5d2ed', 'sample key 3', 'sample value 3', 'sample description 3', false);
