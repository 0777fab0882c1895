-- {"table": "public.integrations", "user": "org_id", "where": {"type": "retell"}, "columns": {"config": "config"}, "holds": "plaintext", "provider": "retell"}
create schema if not exists "public";
create schema if not exists "auth";
create type "public"."app_role" as enum ('owner', 'admin', 'agent', 'viewer');
create type "public"."agent_status" as enum ('draft', 'published', 'paused', 'archived');
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
create table "public"."organizations" (
  "id" uuid default gen_random_uuid() not null,
  "name" text not null,
  "service_area" text,
  "industry" text default 'real_estate' not null,
  "brand_colors" jsonb default '{}',
  "subscription_tier" text default 'starter',
  "created_at" timestamptz default now() not null,
  primary key ("id")
);
alter table "public"."organizations" enable row level security;
create table "public"."org_members" (
  "id" uuid default gen_random_uuid() not null,
  "org_id" uuid not null,
  "user_id" uuid not null,
  "role" "public"."app_role" default 'viewer' not null,
  "created_at" timestamptz default now() not null,
  primary key ("id"),
  unique ("org_id", "user_id"),
  foreign key ("org_id") references "public"."organizations" ("id"),
  foreign key ("user_id") references "auth"."users" ("id")
);
alter table "public"."org_members" enable row level security;
create table "public"."integrations" (
  "id" uuid default gen_random_uuid() not null,
  "org_id" uuid not null,
  "type" text not null,
  "config" jsonb default '{}',
  "is_connected" boolean default false,
  "created_at" timestamptz default now() not null,
  "updated_at" timestamptz default now() not null,
  primary key ("id"),
  unique ("org_id", "type"),
  foreign key ("org_id") references "public"."organizations" ("id")
);
alter table "public"."integrations" enable row level security;
create table "public"."agents" (
  "id" uuid default gen_random_uuid() not null,
  "org_id" uuid not null,
  "name" text not null,
  "category" text default 'real_estate' not null,
  "status" "public"."agent_status" default 'draft' not null,
  "retell_agent_id" text,
  "retell_flow_id" text,
  "service_areas" text[],
  "calendly_link" text,
  "phone_number" text,
  "forwarding_number" text,
  "draft_workflow" jsonb default '{}',
  "created_at" timestamptz default now() not null,
  primary key ("id"),
  foreign key ("org_id") references "public"."organizations" ("id")
);
alter table "public"."agents" enable row level security;
create table "public"."leads" (
  "id" uuid default gen_random_uuid() not null,
  "org_id" uuid not null,
  "agent_id" uuid,
  "caller_phone" text,
  "name" text,
  "email" text,
  "must_haves" jsonb default '{}',
  "tags" text[] default '{}',
  "created_at" timestamptz default now() not null,
  primary key ("id"),
  foreign key ("org_id") references "public"."organizations" ("id"),
  foreign key ("agent_id") references "public"."agents" ("id")
);
alter table "public"."leads" enable row level security;
create table "public"."calls" (
  "id" uuid default gen_random_uuid() not null,
  "org_id" uuid not null,
  "agent_id" uuid,
  "lead_id" uuid,
  "retell_call_id" text,
  "transcript" text,
  "extracted_data" jsonb default '{}',
  "created_at" timestamptz default now() not null,
  primary key ("id"),
  foreign key ("org_id") references "public"."organizations" ("id"),
  foreign key ("agent_id") references "public"."agents" ("id"),
  foreign key ("lead_id") references "public"."leads" ("id")
);
alter table "public"."calls" enable row level security;
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('8521e9e3-a273-466b-a333-399bf3fbb0a6', 'user1@example.com', '$2b$10$T7tm15MVnkLhiBwsT53tx2I1o8TAjmppqW8qw5YBEB/NnROyPy/Oq', 'tpJeD73tIIN66YcJhwgSgovsXJNnrfgdqPRfsqIK', 'gPDH1Hu4G4gr2x9lelycKpaJ2z3LcT_uN7HosXYB', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('20123e8b-a61f-4c5d-8146-0a9315c4c23c', 'user2@example.com', '$2b$10$2r9vDzIbxKTFMst.t07xoywvK37U926wmUHpvy52MuE4R2MvNCm79', 'CuKG4v1cazSgtJcAITxyeHv_d86_JMiQHGm77ZrX', 'rc9Gfn9PDU6CHiqtB9IqsfHIPYRAjwYyJ9tpHxTk', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('4eda79e7-fef1-47ac-9bc3-72046ec91836', 'user3@example.com', '$2b$10$GSV9.9TcabwNRUz8j3DLqCABBxHfk71rL8SVdvSI4z/ZvW3n9rjGT', 'ShynxxAMR1n85YXVcB6PIFQ8WHxXAV3yWu09_3HL', 'jKnXdPJtjSjlEwGo2Azfq9_EhEUg91oomgUs4y-J', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
insert into "public"."organizations" ("id", "name", "service_area", "industry", "brand_colors", "subscription_tier", "created_at") values ('df863d63-678b-45d0-9247-4cf6ee84f5a1', 'Acme Dental', 'sample service area 1', 'sample industry 1', '{"note": "sample 1"}'::jsonb, 'sample subscription tier 1', '2025-03-10 09:30:00+00');
insert into "public"."organizations" ("id", "name", "service_area", "industry", "brand_colors", "subscription_tier", "created_at") values ('646c52c2-3f69-48ee-9080-8b83fc68dc77', 'Bluebird HVAC', 'sample service area 2', 'sample industry 2', '{"note": "sample 2"}'::jsonb, 'sample subscription tier 2', '2025-04-11 09:30:00+00');
insert into "public"."organizations" ("id", "name", "service_area", "industry", "brand_colors", "subscription_tier", "created_at") values ('85882159-5019-4d87-b0e6-ea53c0fa79ae', 'Corner Bistro', 'sample service area 3', 'sample industry 3', '{"note": "sample 3"}'::jsonb, 'sample subscription tier 3', '2025-05-12 09:30:00+00');
insert into "public"."org_members" ("id", "org_id", "user_id", "role", "created_at") values ('18fe989c-769c-4637-9c2d-c8d6afebb5c2', 'df863d63-678b-45d0-9247-4cf6ee84f5a1', '8521e9e3-a273-466b-a333-399bf3fbb0a6', 'owner', '2025-03-10 09:30:00+00');
insert into "public"."org_members" ("id", "org_id", "user_id", "role", "created_at") values ('9bd05f8f-b28e-41a8-9242-2e861a3b97cb', '646c52c2-3f69-48ee-9080-8b83fc68dc77', '20123e8b-a61f-4c5d-8146-0a9315c4c23c', 'admin', '2025-04-11 09:30:00+00');
insert into "public"."org_members" ("id", "org_id", "user_id", "role", "created_at") values ('4c84791b-c532-43fe-bed1-c3ac02e9d6f9', '85882159-5019-4d87-b0e6-ea53c0fa79ae', '4eda79e7-fef1-47ac-9bc3-72046ec91836', 'agent', '2025-05-12 09:30:00+00');
insert into "public"."integrations" ("id", "org_id", "type", "config", "is_connected", "created_at", "updated_at") values ('66b2a226-b1ac-406f-9110-174a193e03d1', 'df863d63-678b-45d0-9247-4cf6ee84f5a1', 'retell', '{"api_key": "key_test_aaaaaaaaaaaaaaaaaaaa0001"}'::jsonb, true, '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00');
insert into "public"."integrations" ("id", "org_id", "type", "config", "is_connected", "created_at", "updated_at") values ('363e6c00-368c-448b-b29c-9bbfa7760225', '646c52c2-3f69-48ee-9080-8b83fc68dc77', 'calendly', '{"token": "fake-calendly"}'::jsonb, true, '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00');
insert into "public"."integrations" ("id", "org_id", "type", "config", "is_connected", "created_at", "updated_at") values ('c5856283-4775-411e-9549-a33db74621d1', '85882159-5019-4d87-b0e6-ea53c0fa79ae', 'retell', '{"api_key": "key_test_aaaaaaaaaaaaaaaaaaaa0002", "webhook_secret": "whsec_test_0001"}'::jsonb, false, '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00');
insert into "public"."agents" ("id", "org_id", "name", "category", "status", "retell_agent_id", "retell_flow_id", "service_areas", "calendly_link", "phone_number", "forwarding_number", "draft_workflow", "created_at") values ('5c3a78c2-ef37-403c-8013-df503d89f80f', 'df863d63-678b-45d0-9247-4cf6ee84f5a1', 'Acme Dental', 'sample category 1', 'draft', 'agent_41ca3d5193b27007f5d8a081ec', 'retell_88f2a54aef29', '{}', 'sample calendly link 1', '+17025550116', '+16175550121', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "public"."agents" ("id", "org_id", "name", "category", "status", "retell_agent_id", "retell_flow_id", "service_areas", "calendly_link", "phone_number", "forwarding_number", "draft_workflow", "created_at") values ('4f709724-807e-428e-994e-42c95e23aabd', '646c52c2-3f69-48ee-9080-8b83fc68dc77', 'Bluebird HVAC', 'sample category 2', 'published', 'agent_9816d5316d5dee8cafb0cb7c7f', 'retell_80f434190e96', '{"alpha"}', 'sample calendly link 2', '+17025550149', '+16175550154', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "public"."agents" ("id", "org_id", "name", "category", "status", "retell_agent_id", "retell_flow_id", "service_areas", "calendly_link", "phone_number", "forwarding_number", "draft_workflow", "created_at") values ('96498986-18b6-4186-a719-55b22c86f04a', '85882159-5019-4d87-b0e6-ea53c0fa79ae', 'Corner Bistro', 'sample category 3', 'paused', 'agent_7f1e068f0dd3751dbe184390bb', 'retell_01d5f3b89768', '{"alpha","beta"}', 'sample calendly link 3', '+17025550183', '+16175550188', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
insert into "public"."leads" ("id", "org_id", "agent_id", "caller_phone", "name", "email", "must_haves", "tags", "created_at") values ('54847272-15e1-48d5-9f41-e6ba52bf13d4', 'df863d63-678b-45d0-9247-4cf6ee84f5a1', '5c3a78c2-ef37-403c-8013-df503d89f80f', '+17865550116', 'Ada Example', 'user1@example.com', '{"note": "sample 1"}'::jsonb, '{}', '2025-03-10 09:30:00+00');
insert into "public"."leads" ("id", "org_id", "agent_id", "caller_phone", "name", "email", "must_haves", "tags", "created_at") values ('7ffad713-4e5c-45a7-9253-e278c0f54615', '646c52c2-3f69-48ee-9080-8b83fc68dc77', '4f709724-807e-428e-994e-42c95e23aabd', '+17865550149', 'Ben Sample', 'user2@example.com', '{"note": "sample 2"}'::jsonb, '{"alpha"}', '2025-04-11 09:30:00+00');
insert into "public"."leads" ("id", "org_id", "agent_id", "caller_phone", "name", "email", "must_haves", "tags", "created_at") values ('9eaebdbe-6297-46b0-9c2b-cda97c4103f1', '85882159-5019-4d87-b0e6-ea53c0fa79ae', '96498986-18b6-4186-a719-55b22c86f04a', '+17865550183', 'Cleo Testova', 'user3@example.com', '{"note": "sample 3"}'::jsonb, '{"alpha","beta"}', '2025-05-12 09:30:00+00');
insert into "public"."calls" ("id", "org_id", "agent_id", "lead_id", "retell_call_id", "transcript", "extracted_data", "created_at") values ('a371ab26-3779-4b77-bfc6-651c302f0d0d', 'df863d63-678b-45d0-9247-4cf6ee84f5a1', '5c3a78c2-ef37-403c-8013-df503d89f80f', '54847272-15e1-48d5-9f41-e6ba52bf13d4', 'retell_a631284280cd', 'Agent: Hello. Caller: I would like to book an appointment.', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "public"."calls" ("id", "org_id", "agent_id", "lead_id", "retell_call_id", "transcript", "extracted_data", "created_at") values ('5a382b6d-2f1c-467e-8447-e8577a92d264', '646c52c2-3f69-48ee-9080-8b83fc68dc77', '4f709724-807e-428e-994e-42c95e23aabd', '7ffad713-4e5c-45a7-9253-e278c0f54615', 'retell_a892aa26df37', 'Agent: Hello. Caller: I would like to book an appointment.', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "public"."calls" ("id", "org_id", "agent_id", "lead_id", "retell_call_id", "transcript", "extracted_data", "created_at") values ('f4b1d904-66eb-4f39-9520-3913180ffa98', '85882159-5019-4d87-b0e6-ea53c0fa79ae', '96498986-18b6-4186-a719-55b22c86f04a', '9eaebdbe-6297-46b0-9c2b-cda97c4103f1', 'retell_e9bd12cb8873', 'Agent: Hello. Caller: I would like to book an appointment.', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
