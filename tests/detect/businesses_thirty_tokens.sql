-- {"table": "public.businesses", "user": "id", "columns": {"api_key": "retell_api_key", "call_agent_id": "retell_agent_id"}, "holds": "plaintext", "provider": "retell"}
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
insert into "public"."businesses" ("id", "name", "is_active", "type", "parent_id", "city", "address", "system_prompt", "telegram_token", "instagram_token", "beauty_pro_token", "wins_token", "doctor_eleks_token", "altegio_token", "cleverbox_token", "appointer_token", "easyweek_token", "trendis_token", "integrica_token", "luckyfit_token", "uspacy_token", "monobank_token", "wayforpay_key", "fondy_secret_key", "stripe_secret_key", "facebook_token", "openai_api_key", "google_maps_api_key", "binotel_key", "binotel_secret", "ringostat_token", "twilio_sid", "twilio_token", "groq_api_key", "viber_token", "whatsapp_token", "sms_token", "smtp_password", "vapi_api_key", "vapi_assistant_id", "retell_api_key", "transfer_phone_number", "retell_agent_id", "smtp_username", "payment_iban", "payment_card_number", "webhook_secret", "created_at") values (1, 'Acme Dental', true, 'sample type 1', null, 'sample city 1', 'sample address 1', 'sample system prompt 1', 'laF-o4_NutByHZKr1UbZPDYeUR2n2HjnVE_kp3BO', 'xb5xtBRkP-xsEIsZNnwrUJ_GKoTCkOYBeaXjgM-p', 'cqE9uGaxQRCIA-GTOozP_2C0ITmm1ROxWuw3Z3uY', 'j1LfqmYIoAK_tR_VaCJ0wgBz22nyIHgmdn7wFnJA', 'vIuf3D1OJSsggjSsBDI6RGZTAwt7jAf-FAHUH0OJ', 'KMcE_5cQdyI85tBL7YZPRDUthrXIKDpHnhz8-No_', 'ra8pXUXBdaegzZN_1Bln95ZhlMd5QQSWsBS6Yquq', '568Hm72vQG5OjKSy9qi5vB-mpAaTEMARE8mGIeo5', 'q9Cai9tKX-6vx3R_4--MpHEdhZup42BQMQQZ11Kq', 'uAatWB86w8lSf2wV_ChEv3koOX1afh8GesGZWJOX', 'Wuqc68LJa_ceAiEAgU5qkZxO8pTAMuSIXoyGqA5n', 'cyrgtecwlcf6IZ1QskKuVceG3-eu3ht2SLLH1MKT', 'tq0U6ZrqHBc1P_Hx4ySAUUc5Mmccscx7Qa3f_YV0', 'BGaSqt53295tOV8EPQb-Be1gYnbcXVQVMfIkAYe1', 'KpAPX1Jz-1jlwEpbYP9YHL1vwrBNDq9VuRHKQVLf', 'voe0CCRkeBiHEI1SaXAwAJ7vl_8VHwe1YpXmN3SQ', 'sk_test_fake_010dc9a02f3cae649782ec11', '5lfdOUUpkQ6u3Q15vDCyX25uaBcd2GpOzo2V52Ii', 'sk-test-fake-4b238866fa90ba1783f4051466b62042', 'CWGM4qkz0h0zi1UKUvf0jxEIUf8-hkIdQXWRe_1i', 'HR-VNQTs4dFfJYg89AsNkzod55LFLIhuQSkfD1hZ', 'jhhfPQ7Qc5xxsfJ7fgAtLf7LYPjVPaM6YcimfpVg', 'kgkPzIWkFu57I5_qbL_L7cgLzXmWjSVgbHr6DZN6', 'ACtestaabf304bf497552f779bd9f600d4', 'h4nLC7DfmYvKoiKNGbEcM_2xIkzNyYVq26HQhCs6', 'sk-test-fake-67041d0c2aec52e7caa89244d8ca6864', 's9SGpUG_0iO1V35tg6N6dJsboowVkd5UlMM_N9St', 'kOmYvjw_2TaDRz7XNaoFaEocvsVIecDRYLnt6MWZ', '47LbqWEO3bQ43lXLZRSNN_4keZPJpAvmx-5Hg0SU', '$2b$10$wIhLAVGQF1vDd3Q3ToAORAIf/eQvZNrBSWZi9kIyg2oAVQN1zBetM', '0cb6904c-2a1a-459e-be0a-75fad6f45105', '22fb6244-9eda-4863-a869-06bd3cd290a7', null, '+14045550105', null, 'sample smtp username 1', 'sample payment iban 1', '0000000000000000', 'whsec_test_7604dbc8e5a3a2bd347718df', '2025-03-10 09:30:00');
insert into "public"."businesses" ("id", "name", "is_active", "type", "parent_id", "city", "address", "system_prompt", "telegram_token", "instagram_token", "beauty_pro_token", "wins_token", "doctor_eleks_token", "altegio_token", "cleverbox_token", "appointer_token", "easyweek_token", "trendis_token", "integrica_token", "luckyfit_token", "uspacy_token", "monobank_token", "wayforpay_key", "fondy_secret_key", "stripe_secret_key", "facebook_token", "openai_api_key", "google_maps_api_key", "binotel_key", "binotel_secret", "ringostat_token", "twilio_sid", "twilio_token", "groq_api_key", "viber_token", "whatsapp_token", "sms_token", "smtp_password", "vapi_api_key", "vapi_assistant_id", "retell_api_key", "transfer_phone_number", "retell_agent_id", "smtp_username", "payment_iban", "payment_card_number", "webhook_secret", "created_at") values (2, 'Bluebird HVAC', true, 'sample type 2', null, 'sample city 2', 'sample address 2', 'sample system prompt 2', 'oFpBipeXkoQ3xeeGBv4bLgEvyRlpOr6tHbViYY4O', 'qV9IvfKO2Pt512_CuoJs_iaIOh4scmV0PROB7t5z', 'GMvUrq332Vu_rTS1jeNmPaWuw1Wa6jUldfhKSVzv', 'lFhzOBqLs2YeZe522-Z9ZcPC2Ylp5OhzS7V6Mcj5', 'UUgcmYnqJ2JAYlt382QK295Nw0pGAapc_ztivMai', 'G6ZB8lhGDtX6aEBeJEyN3GmK00reI8rFVCFkFkhD', '-xrv5StzrWza3wrHB-Wzlmw5SKT5Y3HkiWLdaTpM', 'PGND84-HmGCxjGnG2WmmPjz15c_dR2aNqqjZYM0Z', 'aWt_qPmfKRhQYe8Z2AZPz_RwqOZ31sAUwJ_pqTka', 'lLH57_Rh8h2cudMq-NqH9JwgpcsJe-T-5GqKTDHY', 'cBRG6Ne6m2dTyvgxg-qeGpSWpo6-wVAFcKOSj5p-', 'QXherRexFrYJsireicfi8iXOxMBoJRECp4E3lnZ6', 'WoE8_PaJ-P9tf2v1Cq4ucAzvWXt7nXLQUFeD6naI', 'bs7EP2wF7U5auT-wAaDnZV9cHqKAYv4yr30ZF6gQ', 'vL7S1kV5mtvPsDfhVGw2IcYAul_IBx9uebR67fHI', 'FSitkZ6KwHnV54xtnJ3hEHps5RUAbpnHT7RnibWB', 'sk_test_fake_90b99fe188f9376477bf79b4', 'wt8Z7OyPzXaQ3uWzVnMd-i4N1ZO4x3f_TfDda_2n', 'sk-test-fake-3af8a3b27f3eec2d42c9d0b57f573814', 'N0isHimtt0j9-6QqlnojzVzlf4pr3ToQHSqYEXZw', 'MbE8IYwff7gZ9gh1FZHT6Oh2u44MrWm3BcwJiTl3', 'hvwsUmVSBH1-6AH19CIlUv2WmcszbteVG462Y0IC', 'lKTHxgklbvzL0ZgNLQBNVHxrQwtcGm1PBBOSCQQC', 'ACtest219223a1f7eaf0fad4cfcc488f74', 'ZmIy51t2LRcimIQXO1aPDXq_mPiRbnStuEUGxldR', 'sk-test-fake-49bacf4da5984352c697c122b55cc64b', '8xO5iQ-gMUxZoA1ZHiHkUbkBwA4jp5LSkIIwG4hF', 'bFfXrcRL61HxP6zQTkDUw7xGDtLYz-CY3pBBCEei', 'AyNwBOiRXlSmtv6Cjr46QX7DwoDOSsedY-LOKaQY', '$2b$10$pp3l0AQiEbOlFV44yTYWHQIU/xW.u6Yj/v4ZRg6zSNq6ciVFVH8Qa', 'f9c6e019-20c5-4e65-9b5f-2768664f7f66', '85a33dc1-2629-4adb-b13d-d5fdda021308', 'key_test_1c9073105389ce593c3ddcbc', '+14045550138', 'agent_c8d542174fd001e54ecb86a8a0', 'sample smtp username 2', 'sample payment iban 2', '0000000000000000', 'whsec_test_261232d780603a3d6144ba38', '2025-04-11 09:30:00');
insert into "public"."businesses" ("id", "name", "is_active", "type", "parent_id", "city", "address", "system_prompt", "telegram_token", "instagram_token", "beauty_pro_token", "wins_token", "doctor_eleks_token", "altegio_token", "cleverbox_token", "appointer_token", "easyweek_token", "trendis_token", "integrica_token", "luckyfit_token", "uspacy_token", "monobank_token", "wayforpay_key", "fondy_secret_key", "stripe_secret_key", "facebook_token", "openai_api_key", "google_maps_api_key", "binotel_key", "binotel_secret", "ringostat_token", "twilio_sid", "twilio_token", "groq_api_key", "viber_token", "whatsapp_token", "sms_token", "smtp_password", "vapi_api_key", "vapi_assistant_id", "retell_api_key", "transfer_phone_number", "retell_agent_id", "smtp_username", "payment_iban", "payment_card_number", "webhook_secret", "created_at") values (3, 'Corner Bistro', false, 'sample type 3', null, 'sample city 3', 'sample address 3', 'sample system prompt 3', 'iMlkuFaQe2_9IQcX2P47oka-F5xXCPJausX1zGwe', 'g18S-Ad8N7Rn4tbK1KzkJ2NUAF37ATWx5EyEycg1', 'AKvTK9a5ZBYaBpTBu2MV9wZYX8vSp0SHQYOqrWyM', '04LmXYNafm8j4jdNSP_OpUgcH81s7qihPKa34fj-', 'PCK2bQyYskHYyvhgxGikzPzw743higRg5FTiqN_p', 'sgsZxC2fBELnGVUiJ4LbxEEP53jf1BaqqRDx-2QX', 'IDa4zrAVVFX2ZhmW71i_YKQsb73b1uZfXIrnV7c5', '-g54IXUFzeXCXapRWn8XSxLpt-coDljtzwlAJIOF', 'fLkj9JtWJmA20_Anm5iLphrCPjUHoPHPsHD2BB2j', 'cmdT01KbJ0kAt8c2r1qhzPH25H6Q_u7prY8FRCUs', 'ASt3MND-c8KeQfYlM_t_MW3sY31lMTNoPzGPMGH9', 'Bvk-UahhWSNPNpFuyyB0RBnLLjNrhd3zKTZ8Y0SH', 'R5LZ9QdjHRp9BkFxiCuZyHkwVX6yRxF7WcRJc8VS', 'a0bels_bN3K7gKW6rJtkka5HS48olzZPrz6VbSIS', 'nY1NUcIRZ-R5Xg1Zv36axtojAokd2EkdD6GZzJya', 'JZfiOl6ifsvhzH6Rn5wmsJgpAJyShDuiSPJLhesF', 'sk_test_fake_205f8df00be39d2d99e30e28', 'eftgufmEjLL6dHHkZF9c76eeWczvfDpN5dYvzVwt', 'sk-test-fake-c37bd67ccb4a47b8a0a4e6e339233543', 'K3S_sQVRN6TWhaVvcGIBGaDpZb5y3zpq2tpVH2Rg', '4hLyA8BKxd0TCTuQTN-S9SAZ6mL93MX0aeAbe6GH', 'RjamRo86yRgK41SRoJ8_ojqhI801mu-KNPbAW_Qg', 'wFHhZSj08N7POnD_uoUeb6dojhvly3XtRaD3Cer4', 'ACtestd45aa22cf6a34d9196f4d6ec6550', 'Iog8PGGCtglIuOvowIdvbSMoQlrbi1TEYvtPYlng', 'sk-test-fake-381eda4f60db9b19ab0a5529d6ff5dd1', 'Vn733xv0hGjHf5Vok2i1_J6S3kJQEqPHSC_ysT2G', 'ksH7Cv9v7UrCjh3A16xPMRd6wixQ2u0i6uUss4-f', 'xVNGBCgCx-qiJEBkLJnGDpqoAmY2lO36hsClRQo-', '$2b$10$hEkdL19HQYfLOXifizvQ2gYka3iDrhH0R3uRobyegh3GObEjAbiKB', '0a522f0c-b60a-4df2-b6ea-62f59a41688c', 'b5ebafe7-1b0f-481d-9814-c13ab4d0212b', 'key_test_f2ac9f21a1eb129e0c4634fe', '+14045550172', 'agent_6a482036c6a09a849895b52a98', 'sample smtp username 3', 'sample payment iban 3', '0000000000000000', 'whsec_test_a0b3b77ed122d496ce440303', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."businesses"', 'id'), (select max("id") from "public"."businesses"));
insert into "public"."masters" ("id", "business_id", "name", "telegram_chat_id", "personal_bot_token", "commission_rate", "is_active") values (1, 1, 'Acme Dental', 'telegram_c648314a41a6', 'uOwUuWE26xo53AUlOKn1bjr5_ATTIbUB-kj3kVVr', 1.25, true);
insert into "public"."masters" ("id", "business_id", "name", "telegram_chat_id", "personal_bot_token", "commission_rate", "is_active") values (2, 2, 'Bluebird HVAC', 'telegram_3d8ceb4e90d9', 'HQ40xNhn9wF_Px2_3doCam5cWTilgVio8W4RRBeM', 3.5, true);
insert into "public"."masters" ("id", "business_id", "name", "telegram_chat_id", "personal_bot_token", "commission_rate", "is_active") values (3, 3, 'Corner Bistro', 'telegram_98204fe61908', 'kPeDg4MfqrVZlnxdEgCRzWK7TI-XZbivZX1qrpND', 0.75, false);
select setval(pg_get_serial_sequence('"public"."masters"', 'id'), (select max("id") from "public"."masters"));
insert into "public"."users" ("id", "username", "password", "role", "business_id", "master_id", "tg_bot_token", "tg_chat_id") values (1, 'user1', '$2b$10$zP9xNSCPfTkB/sUIFsCHbOfQ3lxvTPhrC7IN3Y4ocGzFJFVIDzyYx', 'owner', 1, 1, 'CvBo3ITpDyl8Vi9EQM1jOotbP6e0iMwffgUZiDr4', 'tg_f7f1f45d826e');
insert into "public"."users" ("id", "username", "password", "role", "business_id", "master_id", "tg_bot_token", "tg_chat_id") values (2, 'user2', '$2b$10$Ky4dx.ZKjCYC.s0jttjXTLdiUxUn0P.AxTLyJfZvsCeq/GPVC161B', 'admin', 2, 2, 'H8rAOz4xM5ibICNuSm0DLXOGpBEV2SYnoMracj3L', 'tg_5c832716fbaf');
insert into "public"."users" ("id", "username", "password", "role", "business_id", "master_id", "tg_bot_token", "tg_chat_id") values (3, 'user3', '$2b$10$yrkIHx42lP1sEOks1a896qe7RXFJunFAybbemiPbCc1LvnZJuQ39Z', 'member', 3, 3, 'TrivYWOjFQh6mGWp91KzZ67cSjamCdkGAeTXO4wp', 'tg_cf0798786a6a');
select setval(pg_get_serial_sequence('"public"."users"', 'id'), (select max("id") from "public"."users"));
insert into "public"."customers" ("id", "business_id", "phone_number", "name", "telegram_id", "is_ai_enabled", "notes") values (1, 1, '+14155550116', 'Ada Example', 'telegram_348a0bf8a035', true, 'sample notes 1');
insert into "public"."customers" ("id", "business_id", "phone_number", "name", "telegram_id", "is_ai_enabled", "notes") values (2, 2, '+14155550149', 'Ben Sample', 'telegram_b8c7c80f0858', true, 'sample notes 2');
insert into "public"."customers" ("id", "business_id", "phone_number", "name", "telegram_id", "is_ai_enabled", "notes") values (3, 3, '+14155550183', 'Cleo Testova', 'telegram_fd4b3e7c4b8c', false, 'sample notes 3');
select setval(pg_get_serial_sequence('"public"."customers"', 'id'), (select max("id") from "public"."customers"));
insert into "public"."appointments" ("id", "business_id", "customer_id", "appointment_time", "service_type", "status", "cost", "ttn") values (1, 1, 1, '2025-03-10 09:30:00', 'sample service type 1', 'active', 1.25, 'sample ttn 1');
insert into "public"."appointments" ("id", "business_id", "customer_id", "appointment_time", "service_type", "status", "cost", "ttn") values (2, 2, 2, '2025-04-11 09:30:00', 'sample service type 2', 'pending', 3.5, 'sample ttn 2');
insert into "public"."appointments" ("id", "business_id", "customer_id", "appointment_time", "service_type", "status", "cost", "ttn") values (3, 3, 3, '2025-05-12 09:30:00', 'sample service type 3', 'completed', 0.75, 'sample ttn 3');
select setval(pg_get_serial_sequence('"public"."appointments"', 'id'), (select max("id") from "public"."appointments"));
insert into "public"."chat_logs" ("id", "business_id", "user_identifier", "role", "content", "created_at") values (1, 1, 'sample user identifier 1', 'owner', 'sample content 1', '2025-03-10 09:30:00');
insert into "public"."chat_logs" ("id", "business_id", "user_identifier", "role", "content", "created_at") values (2, 2, 'sample user identifier 2', 'admin', 'sample content 2', '2025-04-11 09:30:00');
insert into "public"."chat_logs" ("id", "business_id", "user_identifier", "role", "content", "created_at") values (3, 3, 'sample user identifier 3', 'member', 'sample content 3', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."chat_logs"', 'id'), (select max("id") from "public"."chat_logs"));
insert into "public"."api_keys" ("id", "business_id", "key_hash", "name", "created_at") values (1, 1, '6aae09f400f1c70b27f6239e8c0bfc2afb70d48ab38c5e4e4d2c66b26c1a7179', 'Acme Dental', '2025-03-10 09:30:00');
insert into "public"."api_keys" ("id", "business_id", "key_hash", "name", "created_at") values (2, 2, '7d58d64a99a17c0bc8a72581cb141944770647d345cd51176c86260a8dd90e47', 'Bluebird HVAC', '2025-04-11 09:30:00');
insert into "public"."api_keys" ("id", "business_id", "key_hash", "name", "created_at") values (3, 3, 'ff0f74e9560c8c975e01605020dffffa47c68107074050a0268a72ae58d64c0a', 'Corner Bistro', '2025-05-12 09:30:00');
select setval(pg_get_serial_sequence('"public"."api_keys"', 'id'), (select max("id") from "public"."api_keys"));
