-- {"table": "public.agents", "user": "id", "tenant": "organization_id", "columns": {"api_key": "retell_api_key_encrypted", "call_agent_id": "retell_agent_id"}, "holds": "ciphertext", "also": ["public.integrations"], "provider": "retell", "is_unclear": true}
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
create table "public"."organizations" (
  "id" uuid default gen_random_uuid() not null,
  "name" text not null,
  "slug" text not null,
  "custom_domain" text,
  "logo_url" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  unique ("slug")
);
alter table "public"."organizations" enable row level security;
create table "public"."clients" (
  "id" uuid default gen_random_uuid() not null,
  "organization_id" uuid not null,
  "name" text not null,
  "slug" text not null,
  "status" text default 'active',
  "language" text default 'English',
  "created_at" timestamptz default now(),
  primary key ("id"),
  unique ("organization_id", "slug"),
  foreign key ("organization_id") references "public"."organizations" ("id")
);
alter table "public"."clients" enable row level security;
create table "public"."users" (
  "id" uuid not null,
  "email" text not null,
  "name" text not null,
  "role" text not null,
  "organization_id" uuid,
  "client_id" uuid,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("id") references "auth"."users" ("id"),
  foreign key ("organization_id") references "public"."organizations" ("id"),
  foreign key ("client_id") references "public"."clients" ("id")
);
alter table "public"."users" enable row level security;
create table "public"."agents" (
  "id" uuid default gen_random_uuid() not null,
  "organization_id" uuid not null,
  "client_id" uuid,
  "name" text not null,
  "description" text,
  "platform" text default 'retell',
  "retell_agent_id" text not null,
  "retell_api_key_encrypted" text not null,
  "knowledge_base_id" text,
  "webhook_url" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("organization_id") references "public"."organizations" ("id"),
  foreign key ("client_id") references "public"."clients" ("id")
);
alter table "public"."agents" enable row level security;
create table "public"."integrations" (
  "id" uuid default gen_random_uuid() not null,
  "organization_id" uuid not null,
  "provider" text not null,
  "name" text default 'Default Integration' not null,
  "api_key_encrypted" text not null,
  "is_connected" boolean default true,
  "connected_at" timestamptz default now(),
  "created_at" timestamptz default now(),
  primary key ("id"),
  unique ("organization_id", "provider", "name"),
  foreign key ("organization_id") references "public"."organizations" ("id"),
  check ("provider" in ('retell', 'elevenlabs', 'openai'))
);
create table "public"."phone_numbers" (
  "id" uuid default gen_random_uuid() not null,
  "organization_id" uuid not null,
  "agent_id" uuid,
  "number" text not null,
  "retell_number_id" text,
  "type" text default 'standard',
  primary key ("id"),
  foreign key ("organization_id") references "public"."organizations" ("id"),
  foreign key ("agent_id") references "public"."agents" ("id")
);
alter table "public"."phone_numbers" enable row level security;
create table "public"."call_logs" (
  "id" uuid default gen_random_uuid() not null,
  "organization_id" uuid not null,
  "agent_id" uuid,
  "retell_call_id" text not null,
  "direction" text,
  "from_number" text,
  "to_number" text,
  "transcript" jsonb,
  "tags" text[],
  "metadata" jsonb,
  "created_at" timestamptz default now(),
  primary key ("id"),
  unique ("retell_call_id"),
  foreign key ("organization_id") references "public"."organizations" ("id"),
  foreign key ("agent_id") references "public"."agents" ("id")
);
alter table "public"."call_logs" enable row level security;
create table "public"."organization_settings" (
  "id" uuid default gen_random_uuid() not null,
  "organization_id" uuid not null,
  "openai_api_key_encrypted" text,
  "gdpr_enabled" boolean default true,
  "created_at" timestamptz default now(),
  primary key ("id"),
  unique ("organization_id"),
  foreign key ("organization_id") references "public"."organizations" ("id")
);
create table "public"."agent_templates" (
  "id" uuid default gen_random_uuid() not null,
  "organization_id" uuid not null,
  "name" text not null,
  "text_provider" text default 'OpenAI',
  "voice_provider" text default 'Retell',
  "retell_agent_id" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("organization_id") references "public"."organizations" ("id")
);
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('a3d8ab55-f99e-4470-94e7-77c999260fb0', 'user1@example.com', '$2b$10$ARH986NaYdA6TDGkBhYCv8kxV7Mya67/S9bX7iw6J3iOR.FsDmiaP', 'nyYRlf--2toEqWVx3phwZ3h11hSsjniR76CFFNLd', '7aClBVGv8hYjRCxGBIlTwFpVo8HA8_VJf-vXCf8A', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('271d23ef-9a4d-4b0a-8e27-92cbf60888e7', 'user2@example.com', '$2b$10$v2xKvtxjFd4vQnXYaaLKtwAvXsP3E8VIZq0LVuRMNlGx41PlGYeUg', 'XjXequHk3_uEouvrLIShlnZFdQJK-g0_CGXusjcx', 'MM9dzX84yVxhIT8t3_4N_RfKMnCeOiOmZvMnPb0T', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('33309df8-fa30-4b6f-a37e-e076532597b6', 'user3@example.com', '$2b$10$ZKLJQyPJW.rUjZTTVW1BxXPXPPWVbXoHaP1T7U5I1kLOEaf3x7yUm', 'AeB0TTV_NDGxTz2WwgUZxrh79ojAc3YEWuK8mdyi', '_taWuFL1OHfZkTGHBJJd_pwabhObseKCbuSsQUuj', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
insert into "public"."organizations" ("id", "name", "slug", "custom_domain", "logo_url", "created_at") values ('00a762fd-e94f-46a9-a043-c8351478984b', 'Acme Dental', 'acme-dental', 'acme-dental', 'https://example.com/logo_url/1', '2025-03-10 09:30:00+00');
insert into "public"."organizations" ("id", "name", "slug", "custom_domain", "logo_url", "created_at") values ('f611e7de-a9f3-4a85-88b0-02bfd37336f5', 'Bluebird HVAC', 'bluebird-hvac', 'bluebird-hvac', 'https://example.com/logo_url/2', '2025-04-11 09:30:00+00');
insert into "public"."organizations" ("id", "name", "slug", "custom_domain", "logo_url", "created_at") values ('27604628-abb0-4c1f-89e4-55e2612bc4cf', 'Corner Bistro', 'corner-bistro', 'corner-bistro', 'https://example.com/logo_url/3', '2025-05-12 09:30:00+00');
insert into "public"."clients" ("id", "organization_id", "name", "slug", "status", "language", "created_at") values ('2f19a2f0-876d-4c2e-86f9-49f6e2e0c331', '00a762fd-e94f-46a9-a043-c8351478984b', 'Acme Dental', 'acme-dental', 'active', 'en-US', '2025-03-10 09:30:00+00');
insert into "public"."clients" ("id", "organization_id", "name", "slug", "status", "language", "created_at") values ('0edb1e92-17d5-41e5-8d78-28b6d5de3c5e', 'f611e7de-a9f3-4a85-88b0-02bfd37336f5', 'Bluebird HVAC', 'bluebird-hvac', 'pending', 'es', '2025-04-11 09:30:00+00');
insert into "public"."clients" ("id", "organization_id", "name", "slug", "status", "language", "created_at") values ('95d32190-abae-434f-a26c-4f74a9a8246b', '27604628-abb0-4c1f-89e4-55e2612bc4cf', 'Corner Bistro', 'corner-bistro', 'completed', 'fr', '2025-05-12 09:30:00+00');
insert into "public"."users" ("id", "email", "name", "role", "organization_id", "client_id", "created_at") values ('a3d8ab55-f99e-4470-94e7-77c999260fb0', 'user1@example.com', 'Ada Example', 'startup_admin', '00a762fd-e94f-46a9-a043-c8351478984b', '2f19a2f0-876d-4c2e-86f9-49f6e2e0c331', '2025-03-10 09:30:00+00');
insert into "public"."users" ("id", "email", "name", "role", "organization_id", "client_id", "created_at") values ('271d23ef-9a4d-4b0a-8e27-92cbf60888e7', 'user2@example.com', 'Ben Sample', 'client_admin', 'f611e7de-a9f3-4a85-88b0-02bfd37336f5', '0edb1e92-17d5-41e5-8d78-28b6d5de3c5e', '2025-04-11 09:30:00+00');
insert into "public"."users" ("id", "email", "name", "role", "organization_id", "client_id", "created_at") values ('33309df8-fa30-4b6f-a37e-e076532597b6', 'user3@example.com', 'Cleo Testova', 'client_member', '27604628-abb0-4c1f-89e4-55e2612bc4cf', '95d32190-abae-434f-a26c-4f74a9a8246b', '2025-05-12 09:30:00+00');
insert into "public"."agents" ("id", "organization_id", "client_id", "name", "description", "platform", "retell_agent_id", "retell_api_key_encrypted", "knowledge_base_id", "webhook_url", "created_at") values ('16b72c65-d670-4b32-a8f0-a4f00f8ba6a5', '00a762fd-e94f-46a9-a043-c8351478984b', '2f19a2f0-876d-4c2e-86f9-49f6e2e0c331', 'Acme Dental', 'sample description 1', 'retell', 'agent_98b9527d86fa5ce857fd6aff11', '9e10bbab40a21d1b4a3a1ae3456c7c32:77a5ece3fcb18cffd5f2dfb30f9bcfa9:62cc481e99618da451d77f34132cf72873f2237de8c8e5778515fb0a3a75497f16', 'knowledge_00fe7e1766e8', 'https://example.com/webhook_url/1', '2025-03-10 09:30:00+00');
insert into "public"."agents" ("id", "organization_id", "client_id", "name", "description", "platform", "retell_agent_id", "retell_api_key_encrypted", "knowledge_base_id", "webhook_url", "created_at") values ('8ec2f342-dca8-4b7e-8c48-e5ae0009adb7', 'f611e7de-a9f3-4a85-88b0-02bfd37336f5', '0edb1e92-17d5-41e5-8d78-28b6d5de3c5e', 'Bluebird HVAC', 'sample description 2', 'retell-chat', 'agent_93ffaea1ba322fd96577eccadb', 'fd35917b512fd7c62112013f29796174:4a04ffe1e9be2eaf61056e9f7a21d9e4:82996d24cd314dee6d471d7b20f104cdd2dbb57592505ca9cec2d72d550de2186c', 'knowledge_55ce797e88ec', 'https://example.com/webhook_url/2', '2025-04-11 09:30:00+00');
insert into "public"."agents" ("id", "organization_id", "client_id", "name", "description", "platform", "retell_agent_id", "retell_api_key_encrypted", "knowledge_base_id", "webhook_url", "created_at") values ('4e1ee14a-19f6-4326-b266-1a05d6c6b733', '27604628-abb0-4c1f-89e4-55e2612bc4cf', '95d32190-abae-434f-a26c-4f74a9a8246b', 'Corner Bistro', 'sample description 3', 'retell-sms', 'agent_e79373e886acc575063a1316d2', '287b4290fc57fd7169e968ac02fe0b84:f3c0998d6984178be6f378e7e7d20561:ff65bac54c9db8d366f737da53e940e7d0371a90a9c27130ad84f3efdf21c91f0a', 'knowledge_2a9ffef0b05a', 'https://example.com/webhook_url/3', '2025-05-12 09:30:00+00');
insert into "public"."integrations" ("id", "organization_id", "provider", "name", "api_key_encrypted", "is_connected", "connected_at", "created_at") values ('95777a42-de58-4ff5-b1e3-8652905ca503', '00a762fd-e94f-46a9-a043-c8351478984b', 'retell', 'Default Integration', '4bdf6f504bcd14442918603fa9af146a:9ce45e6d6e55650f26e75e449d3ce1cf:d2d522f66426039020fbb563f5cad6808cda9350357d1cb9e432fa84e6e031e56a', true, '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00');
insert into "public"."integrations" ("id", "organization_id", "provider", "name", "api_key_encrypted", "is_connected", "connected_at", "created_at") values ('a600aea5-fb5a-4861-be2f-57a0f19cc348', 'f611e7de-a9f3-4a85-88b0-02bfd37336f5', 'elevenlabs', 'Default Integration', 'fd7c60cd9743056fd097ad508c3e5002:733c582360bd50f6992fe05545fbf1c6:d37945a4e3a32256fb9e6e9e50eb6bdeedb65630c6b452bfb65cca2aebaceff75d', true, '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00');
insert into "public"."integrations" ("id", "organization_id", "provider", "name", "api_key_encrypted", "is_connected", "connected_at", "created_at") values ('541ca34b-3af7-4a4f-9f90-11d529fbebde', '27604628-abb0-4c1f-89e4-55e2612bc4cf', 'openai', 'Default Integration', 'eb6047f2e9ffe868cb3f67a77edeb4a6:49f239ca10acab1be543b22e18b0149c:f175425aaa4ffd1c539cdad05c9d8b141bd240cb8a2751d09faf6615d1e3a1eda4', false, '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00');
insert into "public"."phone_numbers" ("id", "organization_id", "agent_id", "number", "retell_number_id", "type") values ('4e99903e-102b-4c96-9963-8db10fb7b6c8', '00a762fd-e94f-46a9-a043-c8351478984b', '16b72c65-d670-4b32-a8f0-a4f00f8ba6a5', '+15125550110', null, 'sample type 1');
insert into "public"."phone_numbers" ("id", "organization_id", "agent_id", "number", "retell_number_id", "type") values ('995b727c-3f89-40f4-af72-92f0512b0c85', 'f611e7de-a9f3-4a85-88b0-02bfd37336f5', '8ec2f342-dca8-4b7e-8c48-e5ae0009adb7', '+15125550143', null, 'sample type 2');
insert into "public"."phone_numbers" ("id", "organization_id", "agent_id", "number", "retell_number_id", "type") values ('df2ab8b3-e57f-404c-a685-33a6b35200fc', '27604628-abb0-4c1f-89e4-55e2612bc4cf', '4e1ee14a-19f6-4326-b266-1a05d6c6b733', '+15125550177', null, 'sample type 3');
insert into "public"."call_logs" ("id", "organization_id", "agent_id", "retell_call_id", "direction", "from_number", "to_number", "transcript", "tags", "metadata", "created_at") values ('66ab4e4a-f221-4a07-b61e-da7b289fa1be', '00a762fd-e94f-46a9-a043-c8351478984b', '16b72c65-d670-4b32-a8f0-a4f00f8ba6a5', 'retell_b7f3111263a2', 'sample direction 1', '+14155550115', '+12125550113', '[{"role": "agent", "text": "Hello, how can I help?"}]'::jsonb, '{}', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "public"."call_logs" ("id", "organization_id", "agent_id", "retell_call_id", "direction", "from_number", "to_number", "transcript", "tags", "metadata", "created_at") values ('c4654fdf-f280-4a12-ab16-2a8ce0ee1124', 'f611e7de-a9f3-4a85-88b0-02bfd37336f5', '8ec2f342-dca8-4b7e-8c48-e5ae0009adb7', 'retell_a3af8cbc117a', 'sample direction 2', '+14155550148', '+12125550146', '[{"role": "agent", "text": "Hello, how can I help?"}]'::jsonb, '{"alpha"}', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "public"."call_logs" ("id", "organization_id", "agent_id", "retell_call_id", "direction", "from_number", "to_number", "transcript", "tags", "metadata", "created_at") values ('3234987a-9f0c-4f17-ae70-9f2ccf7c5df1', '27604628-abb0-4c1f-89e4-55e2612bc4cf', '4e1ee14a-19f6-4326-b266-1a05d6c6b733', 'retell_1fa7daeb5367', 'sample direction 3', '+14155550182', '+12125550180', '[{"role": "agent", "text": "Hello, how can I help?"}]'::jsonb, '{"alpha","beta"}', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
insert into "public"."organization_settings" ("id", "organization_id", "openai_api_key_encrypted", "gdpr_enabled", "created_at") values ('1335087c-937e-409c-ac1f-977673696467', '00a762fd-e94f-46a9-a043-c8351478984b', '48ce4e6b7e66d08d698d7240e0a378f8:61ddd5cffdde1a3d1d46e5dfb2475e1c:11f33fac71c0ed99e39514dcc0a91535cfecf504eb11c95cd02557ff65f23eccd4', true, '2025-03-10 09:30:00+00');
insert into "public"."organization_settings" ("id", "organization_id", "openai_api_key_encrypted", "gdpr_enabled", "created_at") values ('f2a4ed4b-2937-432c-aeba-ecf58ed91e8b', 'f611e7de-a9f3-4a85-88b0-02bfd37336f5', 'f93ae05fb932cbd1844f9bf6e313afd5:bb2cb132bf6511dc6e43516da92ea48e:1c94898d204918a15f368e190391b6a9d44ae2ec018a303caf7b51cb6559fb7199', true, '2025-04-11 09:30:00+00');
insert into "public"."organization_settings" ("id", "organization_id", "openai_api_key_encrypted", "gdpr_enabled", "created_at") values ('7e490be2-2740-4171-ab98-5a552676df18', '27604628-abb0-4c1f-89e4-55e2612bc4cf', '442a42a4ac0e051948f071af26c93866:aa2e161ac4fc741d6756717250a1147f:ae11d3a9703ac2e2cf7d1d11d912e8b6941a3b1e6c8206beeac77b303654408ae8', false, '2025-05-12 09:30:00+00');
insert into "public"."agent_templates" ("id", "organization_id", "name", "text_provider", "voice_provider", "retell_agent_id", "created_at") values ('8289ad28-e507-407d-8f33-d4f51a05e22a', '00a762fd-e94f-46a9-a043-c8351478984b', 'Acme Dental', 'twilio', 'twilio', 'agent_6c43c74d53957944134235a6c5', '2025-03-10 09:30:00+00');
insert into "public"."agent_templates" ("id", "organization_id", "name", "text_provider", "voice_provider", "retell_agent_id", "created_at") values ('29fb8b31-8779-481b-a7c1-79b212ae7ae4', 'f611e7de-a9f3-4a85-88b0-02bfd37336f5', 'Bluebird HVAC', 'openai', 'openai', 'agent_e8815dd6f8baa8c72b4dc00289', '2025-04-11 09:30:00+00');
insert into "public"."agent_templates" ("id", "organization_id", "name", "text_provider", "voice_provider", "retell_agent_id", "created_at") values ('3a4485d7-fa7a-4d07-9331-9915bdabe17f', '27604628-abb0-4c1f-89e4-55e2612bc4cf', 'Corner Bistro', 'stripe', 'stripe', 'agent_3b48e1fd9119854dd8c3f99b4f', '2025-05-12 09:30:00+00');
