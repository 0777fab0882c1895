-- {"table": "public.studios", "user": "id", "is_null": ["deleted_at"], "columns": {"api_key": "retell_api_key"}, "holds": "plaintext", "provider": "retell"}
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
create table "public"."profiles" (
  "id" uuid not null,
  "email" text,
  "full_name" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("id") references "auth"."users" ("id")
);
create table "public"."studios" (
  "id" uuid default gen_random_uuid() not null,
  "owner_id" uuid,
  "name" text not null,
  "location" text,
  "street_address" text default '' not null,
  "city" text default '' not null,
  "postal_code" text default '' not null,
  "country" text default '' not null,
  "calendar_start_hour" integer default 6 not null,
  "calendar_end_hour" integer default 22 not null,
  "appointment_slots" jsonb default '{}'::jsonb not null,
  "ghl_calendar_id" text,
  "retell_api_key" text,
  "deleted_at" timestamptz,
  primary key ("id"),
  foreign key ("owner_id") references "auth"."users" ("id")
);
create table "public"."calls" (
  "id" uuid default gen_random_uuid() not null,
  "studio_id" uuid not null,
  "retell_call_id" text,
  "status" text,
  "summary" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("studio_id") references "public"."studios" ("id")
);
create table "public"."appointments" (
  "id" uuid default gen_random_uuid() not null,
  "studio_id" uuid not null,
  "client_name" text not null,
  "starts_at" timestamptz not null,
  "status" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("studio_id") references "public"."studios" ("id")
);
create table "public"."leads" (
  "id" uuid default gen_random_uuid() not null,
  "studio_id" uuid not null,
  "name" text,
  "phone" text,
  "email" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("studio_id") references "public"."studios" ("id")
);
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('71d87c4c-66e2-41ee-8a78-232662806c21', 'user1@example.com', '$2b$10$x1670surOG0.hBA1DsnslIxEnmKG9U4X9KJGagJFgmZQ0gaPEshZ6', 'mrPScGO05Lljiu-XV9AnsEmsZGlUg4gCTVluqZ8d', 'NO5-2Jpl4RSpzajsE1TRWxUId9XYHjPes1iqFT_y', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('4068f4c5-cc49-494c-b752-d8c67cb430e9', 'user2@example.com', '$2b$10$7ZYFLzFFQcbi9YlL5Yr2xvQezYmUqw57BGKrwasUxGmC8N7jDO1ae', 'T_0tVsRqj1sDgf_xcxRkEfuEHK1OxjpNuAlTNUJ6', 'lZtgzc1DOL6zmoTNngsEqY314pm_Il7EPGazWzz4', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('39511cd2-f540-4f2c-bf4c-dd22a27ae09d', 'user3@example.com', '$2b$10$xurxjPZcHAfczOOzM5Rl191oL88KYP//QjyKjCbDzRZGmRMvPDTjY', 'DOmY8e_j6DQxzm6ZMMmTJG7drDVK36Jbl7_oBmMO', 'xHETduwE1UT1zRekJQ9OcKk8Nk3vNrGUz5Plcz76', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
insert into "public"."profiles" ("id", "email", "full_name", "created_at") values ('71d87c4c-66e2-41ee-8a78-232662806c21', 'user1@example.com', 'Ada Example', '2025-03-10 09:30:00+00');
insert into "public"."profiles" ("id", "email", "full_name", "created_at") values ('4068f4c5-cc49-494c-b752-d8c67cb430e9', 'user2@example.com', 'Ben Sample', '2025-04-11 09:30:00+00');
insert into "public"."profiles" ("id", "email", "full_name", "created_at") values ('39511cd2-f540-4f2c-bf4c-dd22a27ae09d', 'user3@example.com', 'Cleo Testova', '2025-05-12 09:30:00+00');
insert into "public"."studios" ("id", "owner_id", "name", "location", "street_address", "city", "postal_code", "country", "calendar_start_hour", "calendar_end_hour", "appointment_slots", "ghl_calendar_id", "retell_api_key", "deleted_at") values ('3b8abc20-caf4-419a-9e81-021e02d249b2', '71d87c4c-66e2-41ee-8a78-232662806c21', 'Acme Dental', 'sample location 1', 'sample street address 1', 'sample city 1', 'sample postal code 1', 'sample country 1', 3, 3, '{"note": "sample 1"}'::jsonb, 'ghl_49e777895587', 'key_test_e377bbd6958ba86de878dc7f', null);
insert into "public"."studios" ("id", "owner_id", "name", "location", "street_address", "city", "postal_code", "country", "calendar_start_hour", "calendar_end_hour", "appointment_slots", "ghl_calendar_id", "retell_api_key", "deleted_at") values ('74a258de-b919-49d6-936e-66e8f46c7bce', '4068f4c5-cc49-494c-b752-d8c67cb430e9', 'Bluebird HVAC', 'sample location 2', 'sample street address 2', 'sample city 2', 'sample postal code 2', 'sample country 2', 17, 17, '{"note": "sample 2"}'::jsonb, 'ghl_aa5f9a28c187', null, null);
insert into "public"."studios" ("id", "owner_id", "name", "location", "street_address", "city", "postal_code", "country", "calendar_start_hour", "calendar_end_hour", "appointment_slots", "ghl_calendar_id", "retell_api_key", "deleted_at") values ('f4883920-2508-4115-a606-3127b358d58f', '39511cd2-f540-4f2c-bf4c-dd22a27ae09d', 'Corner Bistro', 'sample location 3', 'sample street address 3', 'sample city 3', 'sample postal code 3', 'sample country 3', 42, 42, '{"note": "sample 3"}'::jsonb, 'ghl_6b1e57c1672a', 'key_test_653703e57a0026dc5bd66e82', '2025-04-01 10:00:00+00');
insert into "public"."calls" ("id", "studio_id", "retell_call_id", "status", "summary", "created_at") values ('ae257c98-a20c-40d4-8e6a-bc55d980c9f3', '3b8abc20-caf4-419a-9e81-021e02d249b2', 'retell_c8eb771d73aa', 'active', 'sample summary 1', '2025-03-10 09:30:00+00');
insert into "public"."calls" ("id", "studio_id", "retell_call_id", "status", "summary", "created_at") values ('98462043-6476-4fbc-bba6-c7aa989efe64', '74a258de-b919-49d6-936e-66e8f46c7bce', 'retell_bfd89e5b6e49', 'pending', 'sample summary 2', '2025-04-11 09:30:00+00');
insert into "public"."calls" ("id", "studio_id", "retell_call_id", "status", "summary", "created_at") values ('d90ec452-dc6f-47b4-b664-f4d702e0e379', 'f4883920-2508-4115-a606-3127b358d58f', 'retell_b4e0e60b9b7f', 'completed', 'sample summary 3', '2025-05-12 09:30:00+00');
insert into "public"."appointments" ("id", "studio_id", "client_name", "starts_at", "status", "created_at") values ('a8ab615a-2cef-4ccd-9b88-119abe8569c4', '3b8abc20-caf4-419a-9e81-021e02d249b2', 'Acme Dental', '2025-03-10 09:30:00+00', 'active', '2025-03-10 09:30:00+00');
insert into "public"."appointments" ("id", "studio_id", "client_name", "starts_at", "status", "created_at") values ('39f3bd45-1e57-426b-b2f4-57d986817999', '74a258de-b919-49d6-936e-66e8f46c7bce', 'Bluebird HVAC', '2025-04-11 09:30:00+00', 'pending', '2025-04-11 09:30:00+00');
insert into "public"."appointments" ("id", "studio_id", "client_name", "starts_at", "status", "created_at") values ('5fc8d403-037c-47b8-9455-017a97d831bc', 'f4883920-2508-4115-a606-3127b358d58f', 'Corner Bistro', '2025-05-12 09:30:00+00', 'completed', '2025-05-12 09:30:00+00');
insert into "public"."leads" ("id", "studio_id", "name", "phone", "email", "created_at") values ('27bd6f45-a2df-4b1a-b66c-77f6bf5ef685', '3b8abc20-caf4-419a-9e81-021e02d249b2', 'Ada Example', '+17135550109', 'user1@example.com', '2025-03-10 09:30:00+00');
insert into "public"."leads" ("id", "studio_id", "name", "phone", "email", "created_at") values ('31cea140-838f-48db-b023-180bc1493ce5', '74a258de-b919-49d6-936e-66e8f46c7bce', 'Ben Sample', '+17135550142', 'user2@example.com', '2025-04-11 09:30:00+00');
insert into "public"."leads" ("id", "studio_id", "name", "phone", "email", "created_at") values ('fde1b002-5b94-4446-84d6-b1b3e5c5169e', 'f4883920-2508-4115-a606-3127b358d58f', 'Cleo Testova', '+17135550176', 'user3@example.com', '2025-05-12 09:30:00+00');
