-- owner's own row (integer id), 30 other tokens in the table
create schema if not exists "public";
create table "public"."businesses" (
  "id" serial not null,
  "name" text not null,
  "is_active" boolean default true not null,
  "type" text not null,
  "parent_id" integer,
  "city" text,
  "address" text,
  "system_prompt" text,
  "telegram_token" text,
  "instagram_token" text,
  "beauty_pro_token" text,
  "wins_token" text,
  "doctor_eleks_token" text,
  "altegio_token" text,
  "cleverbox_token" text,
  "appointer_token" text,
  "easyweek_token" text,
  "trendis_token" text,
  "integrica_token" text,
  "luckyfit_token" text,
  "uspacy_token" text,
  "monobank_token" text,
  "wayforpay_key" text,
  "fondy_secret_key" text,
  "stripe_secret_key" text,
  "facebook_token" text,
  "openai_api_key" text,
  "google_maps_api_key" text,
  "binotel_key" text,
  "binotel_secret" text,
  "ringostat_token" text,
  "twilio_sid" text,
  "twilio_token" text,
  "groq_api_key" text,
  "viber_token" text,
  "whatsapp_token" text,
  "sms_token" text,
  "smtp_password" text,
  "vapi_api_key" text,
  "vapi_assistant_id" text,
  "retell_api_key" text,
  "transfer_phone_number" text,
  "retell_agent_id" text,
  "smtp_username" text,
  "payment_iban" text,
  "payment_card_number" text,
  "webhook_secret" text,
  "created_at" timestamp default now(),
  primary key ("id")
);
create table "public"."masters" (
  "id" serial not null,
  "business_id" integer not null,
  "name" text not null,
  "telegram_chat_id" text,
  "personal_bot_token" text,
  "commission_rate" double precision not null,
  "is_active" boolean not null,
  primary key ("id"),
  foreign key ("business_id") references "public"."businesses" ("id")
);
create table "public"."users" (
  "id" serial not null,
  "username" text not null,
  "password" text not null,
  "role" text not null,
  "business_id" integer,
  "master_id" integer,
  "tg_bot_token" text,
  "tg_chat_id" text,
  primary key ("id"),
  unique ("username"),
  foreign key ("business_id") references "public"."businesses" ("id"),
  foreign key ("master_id") references "public"."masters" ("id")
);
create table "public"."customers" (
  "id" serial not null,
  "business_id" integer not null,
  "phone_number" text not null,
  "name" text,
  "telegram_id" text,
  "is_ai_enabled" boolean not null,
  "notes" text,
  primary key ("id"),
  foreign key ("business_id") references "public"."businesses" ("id")
);
create table "public"."appointments" (
  "id" serial not null,
  "business_id" integer not null,
  "customer_id" integer not null,
  "appointment_time" timestamp not null,
  "service_type" text not null,
  "status" text not null,
  "cost" double precision not null,
  "ttn" text,
  primary key ("id"),
  foreign key ("business_id") references "public"."businesses" ("id"),
  foreign key ("customer_id") references "public"."customers" ("id")
);
create table "public"."chat_logs" (
  "id" serial not null,
  "business_id" integer not null,
  "user_identifier" text not null,
  "role" text not null,
  "content" text not null,
  "created_at" timestamp not null,
  primary key ("id"),
  foreign key ("business_id") references "public"."businesses" ("id")
);
create table "public"."api_keys" (
  "id" serial not null,
  "business_id" integer not null,
  "key_hash" text not null,
  "name" text,
  "created_at" timestamp,
  primary key ("id"),
  foreign key ("business_id") references "public"."businesses" ("id")
);
insert into "public"."businesses" ("id", "name", "is_active", "type", "parent_id", "city", "address", "system_prompt", "telegram_token", "instagram_token", "beauty_pro_token", "wins_token", "doctor_eleks_token", "altegio_token", "cleverbox_token", "appointer_token", "easyweek_token", "trendis_token", "integrica_token", "luckyfit_token", "uspacy_token", "monobank_token", "wayforpay_key", "fondy_secret_key", "stripe_secret_key", "facebook_token", "openai_api_key", "google_maps_api_key", "binotel_key", "binotel_secret", "ringostat_token", "twilio_sid", "twilio_token", "groq_api_key", "viber_token", "whatsapp_token", "sms_token", "smtp_password", "vapi_api_key", "vapi_assistant_id", "retell_api_key", "transfer_phone_number", "retell_agent_id", "smtp_username", "payment_iban", "payment_card_number", "webhook_secret", "created_at") values (1, 'Acme Dental', true, 'sample type 1', null, 'sample city 1', 'sample address 1', 'sample system prompt 1', 'fake-test-value-205', 'fake-test-value-206', 'fake-test-value-207', 'fake-test-value-208', 'fake-test-value-209', 'fake-test-value-210', 'fake-test-value-211', 'fake-test-value-212', 'fake-test-value-213', 'fake-test-value-214', 'fake-test-value-215', 'fake-test-value-216', 'fake-test-value-217', 'fake-test-value-218', 'fake-test-value-219', 'fake-test-value-220', 'sk_test_fake_010dc9a02f3cae649782ec11', 'fake-test-value-221', 'fake-test-value-222', 'fake-test-value-223', 'fake-test-value-224', 'fake-test-value-225', 'fake-test-value-226', 'fake-test-value-227', 'fake-test-value-228', 'fake-test-value-229', 'fake-test-value-230', 'fake-test-value-231', 'fake-test-value-232', 'fake-test-value-233', '0cb6904c-2a1a-459e-be0a-75fad6f45105', '22fb6244-9eda-4863-a869-06bd3cd290a7', null, '+14045550105', null, 'sample smtp username 1', 'sample payment iban 1', '0000000000000000', 'whsec_test_7604dbc8e5a3a2bd347718df', '2025-03-10 09:30:00');
insert into "public"."businesses" ("id", "name", "is_active", "type", "parent_id", "city", "address", "system_prompt", "telegram_token", "instagram_token", "beauty_pro_token", "wins_token", "doctor_eleks_token", "altegio_token", "cleverbox_token", "appointer_token", "easyweek_token", "trendis_token", "integrica_token", "luckyfit_token", "uspacy_token", "monobank_token", "wayforpay_key", "fondy_secret_key", "stripe_secret_key", "facebook_token", "openai_api_key", "google_maps_api_key", "binotel_key", "binotel_secret", "ringostat_token", "twilio_sid", "twilio_token", "groq_api_key", "viber_token", "whatsapp_token", "sms_token", "smtp_password", "vapi_api_key", "vapi_assistant_id", "retell_api_key", "transfer_phone_number", "retell_agent_id", "smtp_username", "payment_iban", "payment_card_number", "webhook_secret", "created_at") values (2, 'Bluebird HVAC', true, 'sample type 2', null, 'sample city 2', 'sample address 2', 'sample system prompt 2', 'fake-test-value-234', 'fake-test-value-235', 'fake-test-value-236', 'fake-test-value-237', 'fake-test-value-238', 'fake-test-value-239', 'fake-test-value-240', 'fake-test-value-241', 'fake-test-value-242', 'fake-test-value-243', 'fake-test-value-244', 'fake-test-value-245', 'fake-test-value-246', 'fake-test-value-247', 'fake-test-value-248', 'fake-test-value-249', 'sk_test_fake_90b99fe188f9376477bf79b4', 'fake-test-value-250', 'fake-test-value-251', 'fake-test-value-252', 'fake-test-value-253', 'fake-test-value-254', 'fake-test-value-255', 'fake-test-value-256', 'fake-test-value-257', 'fake-test-value-258', 'fake-test-value-259', 'fake-test-value-260', 'fake-test-value-261', 'fake-test-value-262', 'f9c6e019-20c5-4e65-9b5f-2768664f7f66', '85a33dc1-2629-4adb-b13d-d5fdda021308', 'key_test_1c9073105389ce593c3ddcbc', '+14045550138', 'fake-test-value-263', 'sample smtp username 2', 'sample payment iban 2', '0000000000000000', 'whsec_test_261232d780603a3d6144ba38', '2025-04-11 09:30:00');
insert into "public"."businesses" ("id", "name", "is_active", "type", "parent_id", "city", "address", "system_prompt", "telegram_token", "instagram_token", "beauty_pro_token", "wins_token", "doctor_eleks_token", "altegio_token", "cleverbox_token", "appointer_token", "easyweek_token", "trendis_token", "integrica_token", "luckyfit_token", "uspacy_token", "monobank_token", "wayforpay_key", "fondy_secret_key", "stripe_secret_key", "facebook_token", "openai_api_key", "google_maps_api_key", "binotel_key", "binotel_secret", "ringostat_token", "twilio_sid", "twilio_token", "groq_api_key", "viber_token", "whatsapp_token", "sms_token", "smtp_password", "vapi_api_key", "vapi_assistant_id", "retell_api_key", "transfer_phone_number", "retell_agent_id", "smtp_username", "payment_iban", "payment_card_number", "webhook_secret", "created_at") values (3, 'Corner Bistro', false, 'sample type 3', null, 'sample city 3', 'sample address 3', 'sample system prompt 3', 'fake-test-value-264', 'fake-test-value-265', 'fake-test-value-266', 'fake-test-value-267', 'fake-test-value-268', 'fake-test-value-269', 'fake-test-value-270', 'fake-test-value-271', 'fake-test-value-272', 'fake-test-value-273', 'fake-test-value-274', 'fake-test-value-275', 'fake-test-value-276', 'fake-test-value-277', 'fake-test-value-278', 'fake-test-value-279', 'sk_test_fake_205f8df00be39d2d99e30e28', 'fake-test-value-280', 'fake-test-value-281', 'fake-test-value-282', 'fake-test-value-283', 'fake-test-value-284', 'fake-test-value-285', 'fake-test-value-286', 'fake-test-value-287', 'fake-test-value-288', 'fake-test-value-289', 'fake-test-value-290', 'fake-test-value-291', 'fake-test-value-292', '0a522f0c-b60a-4df2-b6ea-62f59a41688c', 'b5ebafe7-1b0f-481d-9814-c13ab4d0212b', 'key_test_f2ac9f21a1eb129e0c4634fe', '+14045550172', 'fake-test-value-293', 'sample smtp username 3', 'sample payment iban 3', '0000000000000000', 'whsec_test_a0b3b77ed122d496ce440303', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."businesses"', 'id'), (select max("id") from "public"."businesses"));
insert into "public"."masters" ("id", "business_id", "name", "telegram_chat_id", "personal_bot_token", "commission_rate", "is_active") values (1, 1, 'Acme Dental', 'fake-test-value-294', 'fake-test-value-295', 1.25, true);
insert into "public"."masters" ("id", "business_id", "name", "telegram_chat_id", "personal_bot_token", "commission_rate", "is_active") values (2, 2, 'Bluebird HVAC', 'fake-test-value-296', 'fake-test-value-297', 3.5, true);
insert into "public"."masters" ("id", "business_id", "name", "telegram_chat_id", "personal_bot_token", "commission_rate", "is_active") values (3, 3, 'Corner Bistro', 'fake-test-value-298', 'fake-test-value-299', 0.75, false);
select setval(pg_get_serial_sequence('"public"."masters"', 'id'), (select max("id") from "public"."masters"));
insert into "public"."users" ("id", "username", "password", "role", "business_id", "master_id", "tg_bot_token", "tg_chat_id") values (1, 'user1', 'fake-test-value-300', 'owner', 1, 1, 'fake-test-value-301', 'tg_f7f1f45d826e');
insert into "public"."users" ("id", "username", "password", "role", "business_id", "master_id", "tg_bot_token", "tg_chat_id") values (2, 'user2', 'fake-test-value-302', 'admin', 2, 2, 'fake-test-value-303', 'tg_5c832716fbaf');
insert into "public"."users" ("id", "username", "password", "role", "business_id", "master_id", "tg_bot_token", "tg_chat_id") values (3, 'user3', 'fake-test-value-304', 'member', 3, 3, 'fake-test-value-305', 'tg_cf0798786a6a');
select setval(pg_get_serial_sequence('"public"."users"', 'id'), (select max("id") from "public"."users"));
insert into "public"."customers" ("id", "business_id", "phone_number", "name", "telegram_id", "is_ai_enabled", "notes") values (1, 1, '+14155550116', 'Ada Example', 'fake-test-value-306', true, 'sample notes 1');
insert into "public"."customers" ("id", "business_id", "phone_number", "name", "telegram_id", "is_ai_enabled", "notes") values (2, 2, '+14155550149', 'Ben Sample', 'fake-test-value-307', true, 'sample notes 2');
insert into "public"."customers" ("id", "business_id", "phone_number", "name", "telegram_id", "is_ai_enabled", "notes") values (3, 3, '+14155550183', 'Cleo Testova', 'fake-test-value-308', false, 'sample notes 3');
select setval(pg_get_serial_sequence('"public"."customers"', 'id'), (select max("id") from "public"."customers"));
insert into "public"."appointments" ("id", "business_id", "customer_id", "appointment_time", "service_type", "status", "cost", "ttn") values (1, 1, 1, '2025-03-10 09:30:00', 'sample service type 1', 'active', 1.25, 'sample ttn 1');
insert into "public"."appointments" ("id", "business_id", "customer_id", "appointment_time", "service_type", "status", "cost", "ttn") values (2, 2, 2, '2025-04-11 09:30:00', 'sample service type 2', 'pending', 3.5, 'sample ttn 2');
insert into "public"."appointments" ("id", "business_id", "customer_id", "appointment_time", "service_type", "status", "cost", "ttn") values (3, 3, 3, '2025-05-12 09:30:00', 'sample service type 3', 'completed', 0.75, 'sample ttn 3');
select setval(pg_get_serial_sequence('"public"."appointments"', 'id'), (select max("id") from "public"."appointments"));
insert into "public"."chat_logs" ("id", "business_id", "user_identifier", "role", "content", "created_at") values (1, 1, 'sample user identifier 1', 'owner', 'sample content 1', '2025-03-10 09:30:00');
insert into "public"."chat_logs" ("id", "business_id", "user_identifier", "role", "content", "created_at") values (2, 2, 'sample user identifier 2', 'admin', 'sample content 2', '2025-04-11 09:30:00');
insert into "public"."chat_logs" ("id", "business_id", "user_identifier", "role", "content", "created_at") values (3, 3, 'sample user identifier 3', 'member', 'sample content 3', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."chat_logs"', 'id'), (select max("id") from "public"."chat_logs"));
insert into "public"."api_keys" ("id", "business_id", "key_hash", "name", "created_at") values (1, 1, 'fake-test-value-309', 'Acme Dental', '2025-03-10 09:30:00');
insert into "public"."api_keys" ("id", "business_id", "key_hash", "name", "created_at") values (2, 2, 'fake-test-value-310', 'Bluebird HVAC', '2025-04-11 09:30:00');
insert into "public"."api_keys" ("id", "business_id", "key_hash", "name", "created_at") values (3, 3, 'fake-test-value-311', 'Corner Bistro', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."api_keys"', 'id'), (select max("id") from "public"."api_keys"));
