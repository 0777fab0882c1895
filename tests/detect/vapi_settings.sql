-- {"table": "public.integration_settings", "user": "org_id", "columns": {"api_key": "vapi_api_key", "webhook_key": "vapi_webhook_secret"}, "holds": "ciphertext", "provider": "vapi"}
create schema if not exists "public";
create table "public"."organizations" (
  "id" uuid default gen_random_uuid() not null,
  "name" text not null,
  "created_at" timestamptz default now(),
  primary key ("id")
);
create table "public"."users" (
  "id" uuid default gen_random_uuid() not null,
  "org_id" uuid,
  "email" text not null,
  "created_at" timestamptz default now(),
  primary key ("id"),
  unique ("email"),
  foreign key ("org_id") references "public"."organizations" ("id")
);
create table "public"."integration_settings" (
  "id" uuid default gen_random_uuid() not null,
  "org_id" uuid not null,
  "vapi_api_key" text,
  "vapi_webhook_secret" text,
  "twilio_account_sid" text,
  "twilio_auth_token" text,
  "twilio_from_number" text,
  "test_destination_number" text,
  "created_at" timestamptz default now(),
  "updated_at" timestamptz default now(),
  "last_verified_at" timestamptz,
  primary key ("id"),
  unique ("org_id"),
  foreign key ("org_id") references "public"."organizations" ("id")
);
create table "public"."call_logs" (
  "id" uuid default gen_random_uuid() not null,
  "org_id" uuid,
  "vapi_call_id" text,
  "status" text,
  "from_number" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("org_id") references "public"."organizations" ("id")
);
create table "public"."leads" (
  "id" uuid default gen_random_uuid() not null,
  "org_id" uuid,
  "name" text,
  "phone" text,
  "created_at" timestamptz default now(),
  primary key ("id"),
  foreign key ("org_id") references "public"."organizations" ("id")
);
insert into "public"."organizations" ("id", "name", "created_at") values ('d40a4762-a6a1-48c6-9442-2b637ee11793', 'Acme Dental', '2025-03-10 09:30:00+00');
insert into "public"."organizations" ("id", "name", "created_at") values ('fbf59104-8f40-42f0-b003-cd270c50762e', 'Bluebird HVAC', '2025-04-11 09:30:00+00');
insert into "public"."organizations" ("id", "name", "created_at") values ('df01c7ad-33f0-4ba1-8d8c-5b07f43bc0bb', 'Corner Bistro', '2025-05-12 09:30:00+00');
insert into "public"."users" ("id", "org_id", "email", "created_at") values ('8d7bddb7-952e-43f3-ab98-8f9e23accecc', 'd40a4762-a6a1-48c6-9442-2b637ee11793', 'user1@example.com', '2025-03-10 09:30:00+00');
insert into "public"."users" ("id", "org_id", "email", "created_at") values ('02eb9e39-2fc1-40c7-a589-5b293661aedd', 'fbf59104-8f40-42f0-b003-cd270c50762e', 'user2@example.com', '2025-04-11 09:30:00+00');
insert into "public"."users" ("id", "org_id", "email", "created_at") values ('855faed0-3296-42e6-a353-83913743bc1b', 'df01c7ad-33f0-4ba1-8d8c-5b07f43bc0bb', 'user3@example.com', '2025-05-12 09:30:00+00');
insert into "public"."integration_settings" ("id", "org_id", "vapi_api_key", "vapi_webhook_secret", "twilio_account_sid", "twilio_auth_token", "twilio_from_number", "test_destination_number", "created_at", "updated_at", "last_verified_at") values ('0657e0dc-e5ce-486f-8352-373d49e9ae0b', 'd40a4762-a6a1-48c6-9442-2b637ee11793', '3fda218068ad4001ac01cde2154a26bd:edbb282777c0bbedb4d47f53593587be:cc53f4054193090d0a8010747a75008056ddf1bfdaba4af55e01d05442c28fdee9', '0a3ab797b2d268131a9152725ffb2470:a9135208fe840c224742e510094dd808:4fe6d901e450f0dc861f042d16509fdaf64b765d190cf036e2e498cca0da0a21c6', '25b5e7fd7e107c5356bbfcc313858393:c49719ed5a83d3918606fb8af4a063fe:d23e280d29b0e74435b737e3d0ba80e5974995f134d01e29c583fe18cae728989c', '63919efec2821208f0eb50b45ea735e8:eba3524f4e492c8f2c9bfe0d33666136:7c516ed0b12abb81a454c307661001ec4b5eb289a6d50dfc3147e847504b752049', '+12125550122', '+15035550107', '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00');
insert into "public"."integration_settings" ("id", "org_id", "vapi_api_key", "vapi_webhook_secret", "twilio_account_sid", "twilio_auth_token", "twilio_from_number", "test_destination_number", "created_at", "updated_at", "last_verified_at") values ('15cbc174-8014-4b72-9d27-5d072d916921', 'fbf59104-8f40-42f0-b003-cd270c50762e', 'ae1b378aa077bed4ff90a27070d75ef0:1d369687902916bc1a2f1819f3265458:442c2b8699f830ae2c18ef4a6dfed594ef0b319c380c6e80d4246a4012136077ad', 'f265b2edfe70fdb9bc60a73d38425c08:8e3c357cf0e5662ad30156e04e90cdac:f107af26ec50fd298f77af9fb9691e5802698dfd61aecf3a8229fc717fea231588', 'd8840beea05b5855332da5502bfd85ba:494a26cdf635e5df983d3a3282f27a95:6dd355c7543a56b4f3ec7bd0b1f66bb49debc16531a72feeb5d564326de962c197', 'd2931a750ed7949888e82248de9d772a:d36c9805132f8469b3b282d86df5984d:2e531ab33996095af4d661b0daac0311c2aef8bae2f475588c085c29a92b257f5a', '+12125550155', '+15035550140', '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00');
insert into "public"."integration_settings" ("id", "org_id", "vapi_api_key", "vapi_webhook_secret", "twilio_account_sid", "twilio_auth_token", "twilio_from_number", "test_destination_number", "created_at", "updated_at", "last_verified_at") values ('6ba861ec-d452-4378-a65b-54d27544eaee', 'df01c7ad-33f0-4ba1-8d8c-5b07f43bc0bb', 'd1a937e021aec72b1d05eff4da76179f:333a6cc2787006154214f54975ed0d73:2fed9e2454438e1bd92a2690ef7f36ce13565b628afcdccec90252b40c0f8ecb76', '4873dcf017186fc9daa9b9f41e1f34dc:6b2005472bc9468e0488485a8b603d8d:f3458ebe72825214bcbb176ccc7d05bf666b6931eff36615c7cf79807bfef50ab2', '573fc32fa75ded5557c0c2ae882d938d:6362d1dc88cb8a1a3fda0806c80238d4:24802cb78c807873d5f04ea6825b8febbbebb5c24fdd70ed7ddd0666a7bbb09a3d', '188a876dc30240d3551eb665db5bd6c8:26e2d8274dc1093f5778fab3bdc3101c:29e488066f878ac154a6c155bf3cfacf59188392d7a4c6d4eb4cb825f2d51e84bb', '+12125550189', '+15035550174', '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00');
insert into "public"."call_logs" ("id", "org_id", "vapi_call_id", "status", "from_number", "created_at") values ('ce287a29-a422-4ea3-bcd9-6ce3f6285c27', 'd40a4762-a6a1-48c6-9442-2b637ee11793', 'vapi_ab51736d3b07', 'active', '+14155550115', '2025-03-10 09:30:00+00');
insert into "public"."call_logs" ("id", "org_id", "vapi_call_id", "status", "from_number", "created_at") values ('18efe910-1b00-437e-a289-574f4553fc53', 'fbf59104-8f40-42f0-b003-cd270c50762e', 'vapi_2674a855d435', 'pending', '+14155550148', '2025-04-11 09:30:00+00');
insert into "public"."call_logs" ("id", "org_id", "vapi_call_id", "status", "from_number", "created_at") values ('6b24734b-9b59-4757-a7f6-b68d7ae9a2eb', 'df01c7ad-33f0-4ba1-8d8c-5b07f43bc0bb', 'vapi_9bbcbd2d930e', 'completed', '+14155550182', '2025-05-12 09:30:00+00');
insert into "public"."leads" ("id", "org_id", "name", "phone", "created_at") values ('b7b095f0-29bc-4d1b-9d67-003f47064fbb', 'd40a4762-a6a1-48c6-9442-2b637ee11793', 'Ada Example', '+17135550109', '2025-03-10 09:30:00+00');
insert into "public"."leads" ("id", "org_id", "name", "phone", "created_at") values ('e1c813d0-2fd9-4769-8e2d-a4b3792fdcb8', 'fbf59104-8f40-42f0-b003-cd270c50762e', 'Ben Sample', '+17135550142', '2025-04-11 09:30:00+00');
insert into "public"."leads" ("id", "org_id", "name", "phone", "created_at") values ('56a571e0-bfd1-4fc9-b6cc-d71251d505d0', 'df01c7ad-33f0-4ba1-8d8c-5b07f43bc0bb', 'Cleo Testova', '+17135550176', '2025-05-12 09:30:00+00');
