-- {"table": "public.orgs", "user": "id", "columns": {"api_key": "retell_api_key"}, "holds": "plaintext", "provider": "retell"}
create schema if not exists "public";
create table "public"."orgs" (
  "id" uuid default gen_random_uuid() not null,
  "name" text,
  "slug" text,
  "vapi_api_key" text,
  "retell_api_key" text,
  "webhook_secret" text default gen_random_uuid()::text,
  "posthog_api_key" text,
  "mixpanel_token" text,
  "slack_webhook_url" text,
  "linear_api_key" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  unique ("slug")
);
create table "public"."org_users" (
  "id" uuid default gen_random_uuid() not null,
  "org_id" uuid,
  "email" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  unique ("email"),
  foreign key ("org_id") references "public"."orgs" ("id")
);
create table "public"."calls" (
  "id" uuid default gen_random_uuid() not null,
  "org_id" uuid,
  "external_call_id" text,
  "platform" text,
  "started_at" timestamptz,
  "duration_seconds" integer,
  "transcript" jsonb,
  "raw_payload" jsonb,
  "intent" text,
  "outcome_confidence" double precision,
  "flags" text[],
  "caller_phone" text,
  "analysis_status" text default 'pending',
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("org_id") references "public"."orgs" ("id")
);
create table "public"."weekly_briefings" (
  "id" uuid default gen_random_uuid() not null,
  "org_id" uuid,
  "week_start" date,
  "total_calls" integer,
  "gap_points" integer,
  "top_failing_intents" jsonb,
  "briefing_markdown" text,
  "pushed_to_slack" boolean default false,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("org_id") references "public"."orgs" ("id")
);
insert into "public"."orgs" ("id", "name", "slug", "vapi_api_key", "retell_api_key", "webhook_secret", "posthog_api_key", "mixpanel_token", "slack_webhook_url", "linear_api_key", "created_at") values ('e2ea547d-2374-412c-b7f4-ed0b238511e7', 'Acme Dental', 'acme-dental', '710c7d18-1e08-497d-8c88-db95f9c58d90', 'key_test_90e55974cce774b1a2e329b9', '9e93a0d9-0d12-4149-97c3-8aeb7dff9318', 'cCD8ixj8AvXfmT-8ZKwH7wgnj57EW4RgkHcUij2R', 'nZM0z-WagjuFxWTyudP3kiHjaNNwateccths6r0P', 'https://example.com/slack_webhook_url/1', 'SNUaHhQZ0BRoS1gvTjb-vBVQR51o3Nkf2ZTX9M4v', '2025-03-10 09:30:00+00');
insert into "public"."orgs" ("id", "name", "slug", "vapi_api_key", "retell_api_key", "webhook_secret", "posthog_api_key", "mixpanel_token", "slack_webhook_url", "linear_api_key", "created_at") values ('63e58e24-3e5f-4689-ad87-cd6eb29ec64e', 'Bluebird HVAC', 'bluebird-hvac', 'cd58933f-c601-4e64-b601-b38feb06171d', null, 'b124efcd-f49c-4f88-94fa-f8efc8872e13', 'hiFto_KEQ8e_t9z_7G-mJnZxCfxGRwy8jrwynklo', 'rzcsNq8orj98Oi8FLnd_IYhuh733TkNZqiNsMhFZ', 'https://example.com/slack_webhook_url/2', 'oDnnu8IytZ5Z5rOdjuy9256OnirA-K85SuwAo_LO', '2025-04-11 09:30:00+00');
insert into "public"."orgs" ("id", "name", "slug", "vapi_api_key", "retell_api_key", "webhook_secret", "posthog_api_key", "mixpanel_token", "slack_webhook_url", "linear_api_key", "created_at") values ('da42570e-9ec9-4539-9a71-91ceb8cc634d', 'Corner Bistro', 'corner-bistro', '3694b7c5-b087-425a-9622-b6832218ff29', 'key_test_7d2f5f233790f32ae3b2a4ce', 'a343cffa-9a87-4117-ab20-732a6383861b', 'SRvTurUsLBDj5SZCHlh7VYSo3F9_wnnyIWYdE4Jg', '-ykqp7WI2Hx3ZW8pKcM_x6BCEMYU-Lbqfez5EDK8', 'https://example.com/slack_webhook_url/3', 'JaPuT-N8J4Ckc9cn_G1N0O5CEJX_wQ_AucOI88G1', '2025-05-12 09:30:00+00');
insert into "public"."org_users" ("id", "org_id", "email", "created_at") values ('a36133f5-4770-4a62-ab77-4ca71f5bd01b', 'e2ea547d-2374-412c-b7f4-ed0b238511e7', 'user1@example.com', '2025-03-10 09:30:00+00');
insert into "public"."org_users" ("id", "org_id", "email", "created_at") values ('93746797-0ec5-487f-94b6-f5ff11262653', '63e58e24-3e5f-4689-ad87-cd6eb29ec64e', 'user2@example.com', '2025-04-11 09:30:00+00');
insert into "public"."org_users" ("id", "org_id", "email", "created_at") values ('616ec5ea-3814-4d31-81c7-19b234397205', 'da42570e-9ec9-4539-9a71-91ceb8cc634d', 'user3@example.com', '2025-05-12 09:30:00+00');
insert into "public"."calls" ("id", "org_id", "external_call_id", "platform", "started_at", "duration_seconds", "transcript", "raw_payload", "intent", "outcome_confidence", "flags", "caller_phone", "analysis_status", "created_at") values ('94ef7a17-e8e7-40fc-acd9-6d427f31db2f', 'e2ea547d-2374-412c-b7f4-ed0b238511e7', 'external_e16b4489b1bf', 'retell', '2025-03-10 09:30:00+00', 3, '[{"role": "agent", "text": "Hello, how can I help?"}]'::jsonb, '{"note": "sample 1"}'::jsonb, 'sample intent 1', 1.25, '{}', '+13055550116', 'sample analysis status 1', '2025-03-10 09:30:00+00');
insert into "public"."calls" ("id", "org_id", "external_call_id", "platform", "started_at", "duration_seconds", "transcript", "raw_payload", "intent", "outcome_confidence", "flags", "caller_phone", "analysis_status", "created_at") values ('3197b9c0-84e4-4fdc-92f7-bb1aa010b7ab', '63e58e24-3e5f-4689-ad87-cd6eb29ec64e', 'external_f167f25e167e', 'vapi', '2025-04-11 09:30:00+00', 17, '[{"role": "agent", "text": "Hello, how can I help?"}]'::jsonb, '{"note": "sample 2"}'::jsonb, 'sample intent 2', 3.5, '{"alpha"}', '+13055550149', 'sample analysis status 2', '2025-04-11 09:30:00+00');
insert into "public"."calls" ("id", "org_id", "external_call_id", "platform", "started_at", "duration_seconds", "transcript", "raw_payload", "intent", "outcome_confidence", "flags", "caller_phone", "analysis_status", "created_at") values ('f7ec3daa-4ae3-459f-a882-be15bbc91e46', 'da42570e-9ec9-4539-9a71-91ceb8cc634d', 'external_be6f95bffc40', 'retell', '2025-05-12 09:30:00+00', 42, '[{"role": "agent", "text": "Hello, how can I help?"}]'::jsonb, '{"note": "sample 3"}'::jsonb, 'sample intent 3', 0.75, '{"alpha","beta"}', '+13055550183', 'sample analysis status 3', '2025-05-12 09:30:00+00');
insert into "public"."weekly_briefings" ("id", "org_id", "week_start", "total_calls", "gap_points", "top_failing_intents", "briefing_markdown", "pushed_to_slack", "created_at") values ('c23c0290-0ef8-4d24-895c-7f683f81cbee', 'e2ea547d-2374-412c-b7f4-ed0b238511e7', '2025-03-10', 3, 3, '{"note": "sample 1"}'::jsonb, 'sample briefing markdown 1', true, '2025-03-10 09:30:00+00');
insert into "public"."weekly_briefings" ("id", "org_id", "week_start", "total_calls", "gap_points", "top_failing_intents", "briefing_markdown", "pushed_to_slack", "created_at") values ('7d702d32-f9e9-4ac3-8cf0-cddb4f581056', '63e58e24-3e5f-4689-ad87-cd6eb29ec64e', '2025-04-11', 17, 17, '{"note": "sample 2"}'::jsonb, 'sample briefing markdown 2', true, '2025-04-11 09:30:00+00');
insert into "public"."weekly_briefings" ("id", "org_id", "week_start", "total_calls", "gap_points", "top_failing_intents", "briefing_markdown", "pushed_to_slack", "created_at") values ('93b8f9fd-5fed-43fa-99a9-3b7c0b43daa5', 'da42570e-9ec9-4539-9a71-91ceb8cc634d', '2025-05-12', 42, 42, '{"note": "sample 3"}'::jsonb, 'sample briefing markdown 3', false, '2025-05-12 09:30:00+00');
