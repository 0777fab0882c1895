-- {"table": "public.users", "user": "id", "columns": {"api_key": "retell_api_key_encrypted", "call_agent_id": "retell_agent_id"}, "holds": "ciphertext", "provider": "retell"}
create schema if not exists "public";
create table "public"."users" (
  "id" uuid default gen_random_uuid() not null,
  "email" varchar(255) not null,
  "password_hash" varchar(255) not null,
  "name" varchar(255) not null,
  "plan" varchar(50) default 'INITIATE' not null,
  "is_admin" boolean default false not null,
  "avatar_url" varchar(500),
  "retell_api_key_encrypted" varchar(500),
  "retell_agent_id" varchar(255),
  "created_at" timestamp default now() not null,
  "updated_at" timestamp default now() not null,
  primary key ("id"),
  unique ("email")
);
create table "public"."call_logs" (
  "id" uuid default gen_random_uuid() not null,
  "user_id" uuid not null,
  "retell_call_id" varchar(255) not null,
  "agent_id" varchar(255),
  "from_number" varchar(50),
  "to_number" varchar(50),
  "call_status" varchar(50),
  "user_sentiment" numeric(3,2),
  "duration_ms" integer,
  "cost_cents" integer,
  "recording_url" text,
  "transcript" jsonb,
  "metadata" jsonb,
  "created_at" timestamp default now() not null,
  primary key ("id"),
  unique ("retell_call_id"),
  foreign key ("user_id") references "public"."users" ("id")
);
create table "public"."voice_agents" (
  "id" uuid default gen_random_uuid() not null,
  "user_id" uuid not null,
  "retell_agent_id" varchar(255) not null,
  "name" varchar(255) not null,
  "industry" varchar(100),
  "system_prompt" text,
  "voice_config" jsonb,
  "is_active" boolean default true not null,
  "created_at" timestamp default now() not null,
  primary key ("id"),
  unique ("retell_agent_id"),
  foreign key ("user_id") references "public"."users" ("id")
);
create table "public"."alert_configs" (
  "id" uuid default gen_random_uuid() not null,
  "user_id" uuid not null,
  "email" varchar(255),
  "phone" varchar(50),
  "is_active" boolean default true not null,
  "created_at" timestamp default now() not null,
  primary key ("id"),
  foreign key ("user_id") references "public"."users" ("id")
);
create table "public"."workflow_triggers" (
  "id" uuid default gen_random_uuid() not null,
  "user_id" uuid not null,
  "name" varchar(255) not null,
  "n8n_webhook_url" text not null,
  "trigger_event" varchar(100),
  "filter_criteria" jsonb,
  "is_active" boolean default true not null,
  primary key ("id"),
  foreign key ("user_id") references "public"."users" ("id")
);
create table "public"."webhook_events" (
  "id" uuid default gen_random_uuid() not null,
  "event_type" varchar(100),
  "retell_call_id" varchar(255),
  "payload" jsonb,
  "processed" boolean default false not null,
  primary key ("id")
);
insert into "public"."users" ("id", "email", "password_hash", "name", "plan", "is_admin", "avatar_url", "retell_api_key_encrypted", "retell_agent_id", "created_at", "updated_at") values ('088c598d-7b93-465a-a997-c5b2e63b29b8', 'user1@example.com', '$2b$10$dlNQ/om1FT7gRXlhA3t40YyIsd6a/ZlrPSPEJ79SDtId5KGy1x5l9', 'Ada Example', 'free', true, 'https://example.com/avatar_url/1', '2246ff95710b20e645623bb384959265:b817c6bd46da3bee4811aeb613c89151:897574591d90ee4f2be0f17652899316193924055a4992be844bf20b1c91c8ab1d', 'agent_97d4b35d2d88f2ae5caabbb4f9', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."users" ("id", "email", "password_hash", "name", "plan", "is_admin", "avatar_url", "retell_api_key_encrypted", "retell_agent_id", "created_at", "updated_at") values ('2a6690ce-a5c9-4c94-9360-f059c8771b06', 'user2@example.com', '$2b$10$0tmETNR5/mW8KJvbcXYy6FT3z33ysPN2IbUIiA9naf1vzbl3jUxGP', 'Ben Sample', 'pro', true, 'https://example.com/avatar_url/2', '5e038f033e3758c75a1876455dbfe6b3:57a53937064c530c2ea1c39ec7ee899d:23354e294bd3d0dac93dfdc6e272cb9d881d2962ab87d6cf7ff199beb8d2e38136', 'agent_913fbebb9ed62079081fa2c130', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."users" ("id", "email", "password_hash", "name", "plan", "is_admin", "avatar_url", "retell_api_key_encrypted", "retell_agent_id", "created_at", "updated_at") values ('32eb062f-6630-4c33-9748-1d39719fb4f8', 'user3@example.com', '$2b$10$dhPyPkB6RhVueqI/kfKZe/kylNA.HzfuZ0dSM.rrYbt9m6qvLPypf', 'Cleo Testova', 'enterprise', false, 'https://example.com/avatar_url/3', null, null, '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."call_logs" ("id", "user_id", "retell_call_id", "agent_id", "from_number", "to_number", "call_status", "user_sentiment", "duration_ms", "cost_cents", "recording_url", "transcript", "metadata", "created_at") values ('66d7c25e-ef41-4c03-b19e-85646a5ba280', '088c598d-7b93-465a-a997-c5b2e63b29b8', 'retell_ff487b89d012', 'agent_de3a03a095b61aa44c0978d9c5', '+14155550115', '+12125550113', 'active', 1.25, 3, 3, 'https://example.com/recording_url/1', '[{"role": "agent", "text": "Hello, how can I help?"}]'::jsonb, '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00');
insert into "public"."call_logs" ("id", "user_id", "retell_call_id", "agent_id", "from_number", "to_number", "call_status", "user_sentiment", "duration_ms", "cost_cents", "recording_url", "transcript", "metadata", "created_at") values ('a56d75f2-5d47-4dd6-ad7c-6e02a6c513c5', '2a6690ce-a5c9-4c94-9360-f059c8771b06', 'retell_92214f0156e9', 'agent_c8769e692112c8331676be1b90', '+14155550148', '+12125550146', 'pending', 3.5, 17, 17, 'https://example.com/recording_url/2', '[{"role": "agent", "text": "Hello, how can I help?"}]'::jsonb, '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00');
insert into "public"."call_logs" ("id", "user_id", "retell_call_id", "agent_id", "from_number", "to_number", "call_status", "user_sentiment", "duration_ms", "cost_cents", "recording_url", "transcript", "metadata", "created_at") values ('2612434f-1d9b-415f-b7c3-552da8093874', '32eb062f-6630-4c33-9748-1d39719fb4f8', 'retell_652623a5f610', 'agent_fa93a4bcd2eacefda17048cf19', '+14155550182', '+12125550180', 'completed', 0.75, 42, 42, 'https://example.com/recording_url/3', '[{"role": "agent", "text": "Hello, how can I help?"}]'::jsonb, '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00');
insert into "public"."voice_agents" ("id", "user_id", "retell_agent_id", "name", "industry", "system_prompt", "voice_config", "is_active", "created_at") values ('f8cad217-5222-4576-8767-59407e5c5f54', '088c598d-7b93-465a-a997-c5b2e63b29b8', 'agent_941b39ee7e7ab24f90ce6525d3', 'Acme Dental', 'sample industry 1', 'sample system prompt 1', '{"note": "sample 1"}'::jsonb, true, '2025-03-10 09:30:00');
insert into "public"."voice_agents" ("id", "user_id", "retell_agent_id", "name", "industry", "system_prompt", "voice_config", "is_active", "created_at") values ('13b48869-60e1-4109-879d-1da297ce42b4', '2a6690ce-a5c9-4c94-9360-f059c8771b06', 'agent_991e540daf9d8d2e1ba7f8d3ca', 'Bluebird HVAC', 'sample industry 2', 'sample system prompt 2', '{"note": "sample 2"}'::jsonb, true, '2025-04-11 09:30:00');
insert into "public"."voice_agents" ("id", "user_id", "retell_agent_id", "name", "industry", "system_prompt", "voice_config", "is_active", "created_at") values ('e93bed90-4a8a-4d77-92af-f6717949cc7d', '32eb062f-6630-4c33-9748-1d39719fb4f8', 'agent_a065ee86d364076d3305c58efa', 'Corner Bistro', 'sample industry 3', 'sample system prompt 3', '{"note": "sample 3"}'::jsonb, false, '2025-05-12 09:30:00');
insert into "public"."alert_configs" ("id", "user_id", "email", "phone", "is_active", "created_at") values ('c0d381e2-4ff9-4d85-92ef-fa4d625a27c7', '088c598d-7b93-465a-a997-c5b2e63b29b8', 'user1@example.com', '+13125550109', true, '2025-03-10 09:30:00');
insert into "public"."alert_configs" ("id", "user_id", "email", "phone", "is_active", "created_at") values ('a7608b58-de78-4332-851f-6fc1f111a028', '2a6690ce-a5c9-4c94-9360-f059c8771b06', 'user2@example.com', '+13125550142', true, '2025-04-11 09:30:00');
insert into "public"."alert_configs" ("id", "user_id", "email", "phone", "is_active", "created_at") values ('b799035b-3c1b-4161-8ba3-bb21528740ef', '32eb062f-6630-4c33-9748-1d39719fb4f8', 'user3@example.com', '+13125550176', false, '2025-05-12 09:30:00');
insert into "public"."workflow_triggers" ("id", "user_id", "name", "n8n_webhook_url", "trigger_event", "filter_criteria", "is_active") values ('2e599a0d-59cb-4a97-a3cd-d49e3cb493ad', '088c598d-7b93-465a-a997-c5b2e63b29b8', 'Acme Dental', 'https://example.com/n8n_webhook_url/1', 'sample trigger event 1', '{"note": "sample 1"}'::jsonb, true);
insert into "public"."workflow_triggers" ("id", "user_id", "name", "n8n_webhook_url", "trigger_event", "filter_criteria", "is_active") values ('27a860b4-991d-4efa-bd03-0e5a53b4738f', '2a6690ce-a5c9-4c94-9360-f059c8771b06', 'Bluebird HVAC', 'https://example.com/n8n_webhook_url/2', 'sample trigger event 2', '{"note": "sample 2"}'::jsonb, true);
insert into "public"."workflow_triggers" ("id", "user_id", "name", "n8n_webhook_url", "trigger_event", "filter_criteria", "is_active") values ('9b09c6ff-8550-43c3-aa8f-ecd6d67ad16b', '32eb062f-6630-4c33-9748-1d39719fb4f8', 'Corner Bistro', 'https://example.com/n8n_webhook_url/3', 'sample trigger event 3', '{"note": "sample 3"}'::jsonb, false);
insert into "public"."webhook_events" ("id", "event_type", "retell_call_id", "payload", "processed") values ('aa7e7f01-6c5a-4093-bf9f-c91ae5c9b323', 'sample event type 1', 'retell_b957358b5a9b', '{"note": "sample 1"}'::jsonb, true);
insert into "public"."webhook_events" ("id", "event_type", "retell_call_id", "payload", "processed") values ('09369beb-4a6e-4823-9586-84dc76e2eae0', 'sample event type 2', 'retell_847c95bce5c9', '{"note": "sample 2"}'::jsonb, true);
insert into "public"."webhook_events" ("id", "event_type", "retell_call_id", "payload", "processed") values ('47332e15-cd16-4000-ad2d-71e9bcd24bf6', 'sample event type 3', 'retell_9f6cd4064180', '{"note": "sample 3"}'::jsonb, false);
