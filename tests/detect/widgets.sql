-- {"table": "public.widgets", "user": "id", "where": {"provider": "retell"}, "columns": {"api_key": "retell_api_key", "call_agent_id": "retell_agent_id", "config": "config"}, "holds": "plaintext", "provider": "retell"}
create schema if not exists "public";
create table "public"."users" (
  "id" uuid default gen_random_uuid() not null,
  "email" text not null,
  "created_at" timestamptz default now(),
  primary key ("id"),
  unique ("email")
);
create table "public"."widgets" (
  "id" text not null,
  "name" text not null,
  "provider" text not null,
  "retell_api_key" text,
  "retell_agent_id" text,
  "vapi_api_key" text,
  "vapi_assistant_id" text,
  "config" jsonb not null,
  "created_at" timestamptz default now() not null,
  primary key ("id"),
  check ("provider" in ('retell', 'vapi'))
);
alter table "public"."widgets" enable row level security;
create table "public"."widget_events" (
  "id" uuid default gen_random_uuid() not null,
  "widget_id" text,
  "event" text,
  "payload" jsonb,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("widget_id") references "public"."widgets" ("id")
);
create table "public"."leads" (
  "id" uuid default gen_random_uuid() not null,
  "widget_id" text,
  "name" text,
  "phone" text,
  "email" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("widget_id") references "public"."widgets" ("id")
);
insert into "public"."users" ("id", "email", "created_at") values ('5f729e46-3762-4c7f-a22f-4bec4122a4fe', 'user1@example.com', '2025-03-10 09:30:00+00');
insert into "public"."users" ("id", "email", "created_at") values ('4be1280c-1183-4fb1-af05-80171050b328', 'user2@example.com', '2025-04-11 09:30:00+00');
insert into "public"."users" ("id", "email", "created_at") values ('e65e69e9-8dde-459e-9858-770ac566b439', 'user3@example.com', '2025-05-12 09:30:00+00');
insert into "public"."widgets" ("id", "name", "provider", "retell_api_key", "retell_agent_id", "vapi_api_key", "vapi_assistant_id", "config", "created_at") values ('cm8grl3gkb7sniqxeftiu14jh', 'Acme Dental', 'retell', 'key_test_08311fd667eaa4d512468da4', 'agent_3d5b389df970db390befef9989', null, null, '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "public"."widgets" ("id", "name", "provider", "retell_api_key", "retell_agent_id", "vapi_api_key", "vapi_assistant_id", "config", "created_at") values ('cmvnu2t38ukeg65h8ph5kvnvw', 'Bluebird HVAC', 'vapi', null, null, '484bb367-1607-4206-a983-9ab2d5affc9a', '46672778-3b7f-4551-b616-17cd1654194a', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "public"."widgets" ("id", "name", "provider", "retell_api_key", "retell_agent_id", "vapi_api_key", "vapi_assistant_id", "config", "created_at") values ('cme4uk0symq75zvcd6369h5f9', 'Corner Bistro', 'retell', 'key_test_c2919dad8c1a9e1f0ab55076', 'agent_a7a88158d637ae9874363e407a', null, null, '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
insert into "public"."widget_events" ("id", "widget_id", "event", "payload", "created_at") values ('fa420d91-a6eb-48c8-bb46-9eb5e5bbf293', 'cm8grl3gkb7sniqxeftiu14jh', 'sample event 1', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "public"."widget_events" ("id", "widget_id", "event", "payload", "created_at") values ('e87b2828-7b4d-411a-b3aa-f022b92b79a4', 'cmvnu2t38ukeg65h8ph5kvnvw', 'sample event 2', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "public"."widget_events" ("id", "widget_id", "event", "payload", "created_at") values ('ca14d66a-66dd-45a6-af0c-45ea13a009d5', 'cme4uk0symq75zvcd6369h5f9', 'sample event 3', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
insert into "public"."leads" ("id", "widget_id", "name", "phone", "email", "created_at") values ('f7dd2ac2-6385-423d-8927-f71f6365acce', 'cm8grl3gkb7sniqxeftiu14jh', 'Ada Example', '+17135550109', 'user1@example.com', '2025-03-10 09:30:00+00');
insert into "public"."leads" ("id", "widget_id", "name", "phone", "email", "created_at") values ('235ce3e7-3845-4a02-9186-e0014d775826', 'cmvnu2t38ukeg65h8ph5kvnvw', 'Ben Sample', '+17135550142', 'user2@example.com', '2025-04-11 09:30:00+00');
insert into "public"."leads" ("id", "widget_id", "name", "phone", "email", "created_at") values ('9e2a83c0-8977-4b82-92e9-30f7119a3283', 'cme4uk0symq75zvcd6369h5f9', 'Cleo Testova', '+17135550176', 'user3@example.com', '2025-05-12 09:30:00+00');
