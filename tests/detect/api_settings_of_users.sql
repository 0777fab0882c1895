-- {"table": "public.api_settings", "user": "user_id", "columns": {"api_key": "retell_api_key"}, "holds": "plaintext", "provider": "retell"}
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
create table "public"."api_settings" (
  "id" bigserial not null,
  "user_id" uuid not null,
  "cal_api_key" text,
  "cal_event_type_id" text,
  "retell_api_key" text,
  "created_at" timestamptz default now() not null,
  "updated_at" timestamptz default now() not null,
  primary key ("id"),
  unique ("user_id"),
  foreign key ("user_id") references "auth"."users" ("id")
);
alter table "public"."api_settings" enable row level security;
create table "public"."agents" (
  "id" bigserial not null,
  "user_id" uuid not null,
  "agent_id" text not null,
  "name" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("user_id") references "auth"."users" ("id")
);
create table "public"."bookings" (
  "id" bigserial not null,
  "user_id" uuid not null,
  "cal_booking_id" text,
  "attendee_email" text,
  "starts_at" timestamptz,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("user_id") references "auth"."users" ("id")
);
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('76ef776e-b55b-4649-b65a-54609392a096', 'user1@example.com', '$2b$10$8NpEyex5dDW9lTCGf2NyXfDbdb9nymVaxfx2xkLqg85RGMO6bh9jy', '6T6m-NPp2BDIT9AicpdHDi4BWGedhy4Kw-oD3n0E', 'lGggWSWllwBGom3zT4R2QKHaFNvimagHq1VAtNes', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('43cb23e5-6767-4a2c-89c0-254ceb41b7c4', 'user2@example.com', '$2b$10$3vk0yL.XkcXM49sZ9YRutaW8w8AcYwQ.O9ct5DKIT2i/nOYFT2Cxs', 'iJ_P8lOPWORxd8INmLEl4SPRRE3_SdX7-WKY8zb_', 'RbHriEkbCi6dAns26om28qyIxbAZh6nfaTwvs95P', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00');
insert into "auth"."users" ("id", "email", "encrypted_password", "confirmation_token", "recovery_token", "raw_user_meta_data", "created_at") values ('dfba0761-d4da-43bf-ab22-a9de4d5fd8e1', 'user3@example.com', '$2b$10$fu4eR/02S1sHZspSUaI8mxyyS5L8pMAXDsGCWpyzknAhor8iFYs3A', 'Mqf6TrxU2wxdI1amS4yFF653Iwcu_CK-6V_yMwD-', '0nx2xYxfJhtqnzr-mTBGOmaUg_IH2piIFgvcKZ0-', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00');
insert into "public"."profiles" ("id", "email", "full_name", "created_at") values ('76ef776e-b55b-4649-b65a-54609392a096', 'user1@example.com', 'Ada Example', '2025-03-10 09:30:00+00');
insert into "public"."profiles" ("id", "email", "full_name", "created_at") values ('43cb23e5-6767-4a2c-89c0-254ceb41b7c4', 'user2@example.com', 'Ben Sample', '2025-04-11 09:30:00+00');
insert into "public"."profiles" ("id", "email", "full_name", "created_at") values ('dfba0761-d4da-43bf-ab22-a9de4d5fd8e1', 'user3@example.com', 'Cleo Testova', '2025-05-12 09:30:00+00');
insert into "public"."api_settings" ("id", "user_id", "cal_api_key", "cal_event_type_id", "retell_api_key", "created_at", "updated_at") values (1, '76ef776e-b55b-4649-b65a-54609392a096', 'ZXFJmEiovedR1rrZpIQHtLkOpnT4Jk98CGfh3O-G', 'cal_6512093842d3', 'key_test_a1d84f6cb362baab03bca352', '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00');
insert into "public"."api_settings" ("id", "user_id", "cal_api_key", "cal_event_type_id", "retell_api_key", "created_at", "updated_at") values (2, '43cb23e5-6767-4a2c-89c0-254ceb41b7c4', 'KChyoj7-u6_tLnRM27OyocGofDn3dRnPjXdYOtHe', 'cal_00cc08b48d04', 'key_test_cd65681ea7a0d7bf74806a04', '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00');
insert into "public"."api_settings" ("id", "user_id", "cal_api_key", "cal_event_type_id", "retell_api_key", "created_at", "updated_at") values (3, 'dfba0761-d4da-43bf-ab22-a9de4d5fd8e1', 'FL1gbIhaI__c-XhkkAQimrdCVpGOLO0OH5FX4F8z', 'cal_d0d892db7f79', 'key_test_76d1acd9e87e3e1f6e80fb42', '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00');
select setval(pg_get_serial_sequence('"public"."api_settings"', 'id'), (select max("id") from "public"."api_settings"));
insert into "public"."agents" ("id", "user_id", "agent_id", "name", "created_at") values (1, '76ef776e-b55b-4649-b65a-54609392a096', 'agent_199a396b1ff1abc00e0ccdd39f', 'Acme Dental', '2025-03-10 09:30:00+00');
insert into "public"."agents" ("id", "user_id", "agent_id", "name", "created_at") values (2, '43cb23e5-6767-4a2c-89c0-254ceb41b7c4', 'agent_38fd82bef9c2a469651126bba3', 'Bluebird HVAC', '2025-04-11 09:30:00+00');
insert into "public"."agents" ("id", "user_id", "agent_id", "name", "created_at") values (3, 'dfba0761-d4da-43bf-ab22-a9de4d5fd8e1', 'agent_b082d0a1fe603b3e4e4f660f48', 'Corner Bistro', '2025-05-12 09:30:00+00');
select setval(pg_get_serial_sequence('"public"."agents"', 'id'), (select max("id") from "public"."agents"));
insert into "public"."bookings" ("id", "user_id", "cal_booking_id", "attendee_email", "starts_at", "created_at") values (1, '76ef776e-b55b-4649-b65a-54609392a096', 'cal_ac1a21d6e0d0', 'user1@example.com', '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00');
insert into "public"."bookings" ("id", "user_id", "cal_booking_id", "attendee_email", "starts_at", "created_at") values (2, '43cb23e5-6767-4a2c-89c0-254ceb41b7c4', 'cal_e6af377a750a', 'user2@example.com', '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00');
insert into "public"."bookings" ("id", "user_id", "cal_booking_id", "attendee_email", "starts_at", "created_at") values (3, 'dfba0761-d4da-43bf-ab22-a9de4d5fd8e1', 'cal_f636ce4780a4', 'user3@example.com', '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00');
select setval(pg_get_serial_sequence('"public"."bookings"', 'id'), (select max("id") from "public"."bookings"));
