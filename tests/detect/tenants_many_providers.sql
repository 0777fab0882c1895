-- {"table": "public.tenants", "user": "id", "columns": {"api_key": "retell_api_key", "call_agent_id": "retell_agent_id", "phone_number": "retell_phone_number"}, "holds": "plaintext", "provider": "retell"}
create schema if not exists "public";
create table "public"."tenants" (
  "id" uuid default gen_random_uuid() not null,
  "slug" text not null,
  "name" text not null,
  "whatsapp_phone_number_id" text,
  "whatsapp_access_token" text,
  "whatsapp_webhook_secret" text,
  "whatsapp_business_id" text,
  "google_calendar_id" text,
  "google_service_account_email" text,
  "google_private_key" text,
  "retell_api_key" text,
  "retell_agent_id" text,
  "retell_phone_number" text,
  "timezone" text default 'America/Mexico_City' not null,
  "logo_url" text,
  "primary_color" text,
  "plan" text default 'free' not null,
  "stripe_customer_id" text,
  "stripe_subscription_id" text,
  "max_leads" integer default 500,
  "active" boolean default true not null,
  "trial_ends_at" timestamptz,
  "created_at" timestamptz default now() not null,
  "updated_at" timestamptz default now() not null,
  primary key ("id"),
  unique ("slug")
);
create table "public"."leads" (
  "id" uuid default gen_random_uuid() not null,
  "tenant_id" uuid not null,
  "name" text,
  "phone" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("tenant_id") references "public"."tenants" ("id")
);
alter table "public"."leads" enable row level security;
create table "public"."team_members" (
  "id" uuid default gen_random_uuid() not null,
  "tenant_id" uuid not null,
  "name" text,
  "phone" text,
  "role" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("tenant_id") references "public"."tenants" ("id")
);
alter table "public"."team_members" enable row level security;
create table "public"."call_logs" (
  "id" uuid default gen_random_uuid() not null,
  "tenant_id" uuid not null,
  "lead_id" uuid,
  "call_id" text,
  "duration" integer,
  "transcript" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("tenant_id") references "public"."tenants" ("id"),
  foreign key ("lead_id") references "public"."leads" ("id")
);
alter table "public"."call_logs" enable row level security;
create table "public"."webhooks" (
  "id" uuid default gen_random_uuid() not null,
  "tenant_id" uuid not null,
  "url" text,
  "secret" text,
  "active" boolean default true,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("tenant_id") references "public"."tenants" ("id")
);
alter table "public"."webhooks" enable row level security;
create table "public"."system_config" (
  "id" uuid default gen_random_uuid() not null,
  "tenant_id" uuid not null,
  "key" text,
  "value" jsonb,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("tenant_id") references "public"."tenants" ("id")
);
alter table "public"."system_config" enable row level security;
insert into "public"."tenants" ("id", "slug", "name", "whatsapp_phone_number_id", "whatsapp_access_token", "whatsapp_webhook_secret", "whatsapp_business_id", "google_calendar_id", "google_service_account_email", "google_private_key", "retell_api_key", "retell_agent_id", "retell_phone_number", "timezone", "logo_url", "primary_color", "plan", "stripe_customer_id", "stripe_subscription_id", "max_leads", "active", "trial_ends_at", "created_at", "updated_at") values ('e681c30e-9bba-4cc8-bd7e-aaab34fd1a01', 'acme-dental', 'Acme Dental', 'whatsapp_112330247786', 'GWAjVBR8cbnlWbHoDp4UtB94nfXHlT8U8DZI5idr', 'whsec_test_4516c7fa7bcf120691a5c2bd', 'whatsapp_b279f4feb8c8', 'google_b3e13eec3721', 'user1@example.com', '-----BEGIN PRIVATE KEY-----\nFAKE1FyGRU2G3xQuncLJXTci0hl6DOvEQuHu/UQiMs/tLI9d9vl+8r6/m8mGWszhjN0d\n-----END PRIVATE KEY-----', 'key_test_084c6ac53e8d78a2cfb5588c', 'agent_50a2cc2e3ab82f245e8a8702ff', '+13055550123', 'America/New_York', 'https://example.com/logo_url/1', '#14b8a6', 'free', 'stripe_d0ae20e2f94c', 'stripe_e54542e9d191', 3, true, '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00');
insert into "public"."tenants" ("id", "slug", "name", "whatsapp_phone_number_id", "whatsapp_access_token", "whatsapp_webhook_secret", "whatsapp_business_id", "google_calendar_id", "google_service_account_email", "google_private_key", "retell_api_key", "retell_agent_id", "retell_phone_number", "timezone", "logo_url", "primary_color", "plan", "stripe_customer_id", "stripe_subscription_id", "max_leads", "active", "trial_ends_at", "created_at", "updated_at") values ('085332cc-ee71-4851-babe-448f48be4693', 'bluebird-hvac', 'Bluebird HVAC', 'whatsapp_93ee16e50e7c', 'Kq8BiEyJaz8Q_otQX6rXeJlt4S-e3tmTcYEbWC4m', 'whsec_test_cfd758169064676e57f7b134', 'whatsapp_131a5d37e787', 'google_1d1649d9eb8b', 'user2@example.com', null, 'key_test_c7566067b5703b598d033633', 'agent_09e5f91ff8c8137416a5628759', '+13055550156', 'Europe/London', 'https://example.com/logo_url/2', '#0f172a', 'pro', 'stripe_0e4ad58551e0', 'stripe_4b05788bfac0', 17, true, '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00');
insert into "public"."tenants" ("id", "slug", "name", "whatsapp_phone_number_id", "whatsapp_access_token", "whatsapp_webhook_secret", "whatsapp_business_id", "google_calendar_id", "google_service_account_email", "google_private_key", "retell_api_key", "retell_agent_id", "retell_phone_number", "timezone", "logo_url", "primary_color", "plan", "stripe_customer_id", "stripe_subscription_id", "max_leads", "active", "trial_ends_at", "created_at", "updated_at") values ('48af0161-70b2-4607-b644-7d6bfe06b8a7', 'corner-bistro', 'Corner Bistro', 'whatsapp_607328a64c24', 'h-1TOSSGZI4TWMZxIEOpC2pGpwfiSqzQXrT-zbtE', 'whsec_test_8d6ffe267770341e984372b4', 'whatsapp_d5f9ade87888', 'google_f6c7aa8893da', 'user3@example.com', null, null, 'agent_54ac4315a1074321b0c4306c07', '+13055550190', 'America/Toronto', 'https://example.com/logo_url/3', '#2563eb', 'enterprise', 'stripe_e69c46f74018', 'stripe_f02264a8f18f', 42, false, '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00');
insert into "public"."leads" ("id", "tenant_id", "name", "phone", "created_at") values ('ee94b9f1-6257-4e83-95ed-00c54ff2b6b4', 'e681c30e-9bba-4cc8-bd7e-aaab34fd1a01', 'Ada Example', '+17135550109', '2025-03-10 09:30:00+00');
insert into "public"."leads" ("id", "tenant_id", "name", "phone", "created_at") values ('f7d62532-e7f9-4565-9ec8-aab44f97cdad', '085332cc-ee71-4851-babe-448f48be4693', 'Ben Sample', '+17135550142', '2025-04-11 09:30:00+00');
insert into "public"."leads" ("id", "tenant_id", "name", "phone", "created_at") values ('b64694dd-24fc-49a6-b3cd-80487e516f56', '48af0161-70b2-4607-b644-7d6bfe06b8a7', 'Cleo Testova', '+17135550176', '2025-05-12 09:30:00+00');
insert into "public"."team_members" ("id", "tenant_id", "name", "phone", "role", "created_at") values ('bc992421-ea75-4e2c-99a0-b8bf0a91ca80', 'e681c30e-9bba-4cc8-bd7e-aaab34fd1a01', 'Acme Dental', '+13055550109', 'owner', '2025-03-10 09:30:00+00');
insert into "public"."team_members" ("id", "tenant_id", "name", "phone", "role", "created_at") values ('d1404c15-e665-4e07-a733-231d96a430a6', '085332cc-ee71-4851-babe-448f48be4693', 'Bluebird HVAC', '+13055550142', 'admin', '2025-04-11 09:30:00+00');
insert into "public"."team_members" ("id", "tenant_id", "name", "phone", "role", "created_at") values ('29cdb8fe-c24b-4f91-a564-d23a3d1e8118', '48af0161-70b2-4607-b644-7d6bfe06b8a7', 'Corner Bistro', '+13055550176', 'member', '2025-05-12 09:30:00+00');
insert into "public"."call_logs" ("id", "tenant_id", "lead_id", "call_id", "duration", "transcript", "created_at") values ('9362ef1b-3bfe-4996-bf45-497108724b74', 'e681c30e-9bba-4cc8-bd7e-aaab34fd1a01', 'ee94b9f1-6257-4e83-95ed-00c54ff2b6b4', 'call_7e73cd7ec56e', 3, 'Agent: Hello. Caller: I would like to book an appointment.', '2025-03-10 09:30:00+00');
insert into "public"."call_logs" ("id", "tenant_id", "lead_id", "call_id", "duration", "transcript", "created_at") values ('2dab4841-a05b-4ffc-a37d-a2efca321e3f', '085332cc-ee71-4851-babe-448f48be4693', 'f7d62532-e7f9-4565-9ec8-aab44f97cdad', 'call_42d27920cc7c', 17, 'Agent: Hello. Caller: I would like to book an appointment.', '2025-04-11 09:30:00+00');
insert into "public"."call_logs" ("id", "tenant_id", "lead_id", "call_id", "duration", "transcript", "created_at") values ('6b641b8f-510c-4288-b099-67a243e839d5', '48af0161-70b2-4607-b644-7d6bfe06b8a7', 'b64694dd-24fc-49a6-b3cd-80487e516f56', 'call_a8797f2f05da', 42, 'Agent: Hello. Caller: I would like to book an appointment.', '2025-05-12 09:30:00+00');
insert into "public"."webhooks" ("id", "tenant_id", "url", "secret", "active", "created_at") values ('efbacdb8-16ce-41db-ac04-c4290f12c416', 'e681c30e-9bba-4cc8-bd7e-aaab34fd1a01', 'https://example.com/url/1', 'swPfLTqf68agx3Ikso5Ya55ioyVGov1s4UbX-xwJ', true, '2025-03-10 09:30:00+00');
insert into "public"."webhooks" ("id", "tenant_id", "url", "secret", "active", "created_at") values ('ea6e2644-dcd7-43f3-864f-58fd1caaa69f', '085332cc-ee71-4851-babe-448f48be4693', 'https://example.com/url/2', 'tyWzVeHMrhAk34gYiooFWmeD0-qIQZzC_N3BNw6r', true, '2025-04-11 09:30:00+00');
insert into "public"."webhooks" ("id", "tenant_id", "url", "secret", "active", "created_at") values ('24bf772a-05e5-4408-ab76-5c102961da9a', '48af0161-70b2-4607-b644-7d6bfe06b8a7', 'https://example.com/url/3', '4btv-H8zKMJSYeJKPdJTSzcese2vsifipoFnv5Jp', false, '2025-05-12 09:30:00+00');
insert into "public"."system_config" ("id", "tenant_id", "key", "value", "created_at") values ('1cb18b35-a638-458b-b168-3616473f881c', 'e681c30e-9bba-4cc8-bd7e-aaab34fd1a01', 'sample key 1', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "public"."system_config" ("id", "tenant_id", "key", "value", "created_at") values ('1ba4f7e9-b474-4a0e-a62e-72b2dd165d48', '085332cc-ee71-4851-babe-448f48be4693', 'sample key 2', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "public"."system_config" ("id", "tenant_id", "key", "value", "created_at") values ('d71cccce-a0b2-4c4b-9da1-43649ec066ef', '48af0161-70b2-4607-b644-7d6bfe06b8a7', 'sample key 3', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
