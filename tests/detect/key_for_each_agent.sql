-- {"table": "public.agents", "user": "id", "columns": {"api_key": "retell_api_key", "call_agent_id": "agent_id", "config": "config"}, "holds": "plaintext", "provider": "retell"}
create schema if not exists "public";
create table "public"."users" (
  "id" serial not null,
  "username" text not null,
  "password" text not null,
  "created_at" timestamp default now(),
  primary key ("id"),
  unique ("username")
);
create table "public"."agents" (
  "id" serial not null,
  "name" text not null,
  "agent_id" text,
  "voice_id" text,
  "language" text,
  "config" jsonb not null,
  "retell_api_key" text,
  "is_deployed" text default 'false',
  "created_at" timestamp default now(),
  "updated_at" timestamp default now(),
  primary key ("id")
);
create table "public"."activity_logs" (
  "id" serial not null,
  "agent_id" integer,
  "type" text not null,
  "status" text not null,
  "details" text,
  "timestamp" timestamp default now(),
  primary key ("id"),
  foreign key ("agent_id") references "public"."agents" ("id")
);
create table "public"."sessions" (
  "sid" varchar not null,
  "sess" json not null,
  "expire" timestamp not null,
  primary key ("sid")
);
insert into "public"."users" ("id", "username", "password", "created_at") values (1, 'user1', '$2b$10$wcEaPkKgcsHXw1GQe6QKcwd51wnFw50/.aD1gpgsUHPVIxXpdXmfi', '2025-03-10 09:30:00');
insert into "public"."users" ("id", "username", "password", "created_at") values (2, 'user2', '$2b$10$2IJ5CtPpQEuBZaxSuZyAoeUdTSYe.KeSjpEh.TCrHAiP3n0cBI3DX', '2025-04-11 09:30:00');
insert into "public"."users" ("id", "username", "password", "created_at") values (3, 'user3', '$2b$10$J1VGbk1V4feuHmu4JelD5h4L0JciAxgPM6dzosiKRkyjmK3LAu3kA', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."users"', 'id'), (select max("id") from "public"."users"));
insert into "public"."agents" ("id", "name", "agent_id", "voice_id", "language", "config", "retell_api_key", "is_deployed", "created_at", "updated_at") values (1, 'Acme Dental', 'agent_8e20e769fd0bca3d81ccf50c7f', 'voice_f649d1e73aa7', 'en-US', '{"voice": "11labs-Adrian", "prompt": "You are a receptionist"}'::jsonb, 'key_test_80ca0befb827f172ac6e1fdf', 'sample is deployed 1', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."agents" ("id", "name", "agent_id", "voice_id", "language", "config", "retell_api_key", "is_deployed", "created_at", "updated_at") values (2, 'Bluebird HVAC', 'agent_ab5f522548b5734aa3775bc2e0', 'voice_bf8db26a8d16', 'es', '{"voice": "11labs-Adrian", "prompt": "You are a receptionist"}'::jsonb, 'key_test_677d08a4b2100f319157e700', 'sample is deployed 2', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."agents" ("id", "name", "agent_id", "voice_id", "language", "config", "retell_api_key", "is_deployed", "created_at", "updated_at") values (3, 'Corner Bistro', 'agent_29c2907466afd044def5f68fb1', 'voice_ba1b9cddc395', 'fr', '{"voice": "11labs-Adrian", "prompt": "You are a receptionist"}'::jsonb, 'key_test_198460c1f063104874467268', 'sample is deployed 3', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."agents"', 'id'), (select max("id") from "public"."agents"));
insert into "public"."activity_logs" ("id", "agent_id", "type", "status", "details", "timestamp") values (1, 1, 'sample type 1', 'active', 'sample details 1', '2025-03-10 09:30:00');
insert into "public"."activity_logs" ("id", "agent_id", "type", "status", "details", "timestamp") values (2, 2, 'sample type 2', 'pending', 'sample details 2', '2025-04-11 09:30:00');
insert into "public"."activity_logs" ("id", "agent_id", "type", "status", "details", "timestamp") values (3, 3, 'sample type 3', 'completed', 'sample details 3', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."activity_logs"', 'id'), (select max("id") from "public"."activity_logs"));
insert into "public"."sessions" ("sid", "sess", "expire") values ('s1', '{"note": "sample 1"}'::json, '2025-03-10 09:30:00');
insert into "public"."sessions" ("sid", "sess", "expire") values ('s2', '{"note": "sample 2"}'::json, '2025-04-11 09:30:00');
insert into "public"."sessions" ("sid", "sess", "expire") values ('s3', '{"note": "sample 3"}'::json, '2025-05-12 09:30:00');
