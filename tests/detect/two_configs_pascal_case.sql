-- {"table": "public.AiReceptionistConfig", "user": "id", "columns": {"api_key": "retellApiKey", "call_agent_id": "retellAgentId"}, "holds": "plaintext", "also": ["public.PhoneNumber"], "provider": "retell", "is_unclear": true}
create schema if not exists "public";
create type "public"."AppointmentSource" as enum ('MANUAL', 'ONLINE', 'AI_RECEPTIONIST');
create type "public"."CallDirection" as enum ('INBOUND', 'OUTBOUND');
create type "public"."CallStatus" as enum ('RINGING', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'BUSY', 'NO_ANSWER', 'CANCELLED');
create table "public"."Organization" (
  "id" text not null,
  "name" text not null,
  "businessHours" jsonb,
  "timezone" text default 'UTC' not null,
  "updatedAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  primary key ("id")
);
create table "public"."PhoneNumber" (
  "id" text not null,
  "orgId" text not null,
  "phoneNumber" text not null,
  "friendlyName" text,
  "provider" text not null,
  "providerId" text,
  "isActive" boolean default true not null,
  "isPrimary" boolean default false not null,
  "capabilities" text[] default ARRAY[]::text[],
  "webhookUrl" text,
  "retellAgentId" text,
  "retellApiKey" text,
  "n8nWorkflowId" text,
  "n8nWebhookSecret" text,
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamp(3) not null,
  primary key ("id"),
  unique ("phoneNumber"),
  unique ("orgId", "phoneNumber"),
  foreign key ("orgId") references "public"."Organization" ("id")
);
create table "public"."AiReceptionistConfig" (
  "id" text not null,
  "orgId" text not null,
  "name" text not null,
  "isActive" boolean default true not null,
  "retellAgentId" text,
  "retellApiKey" text,
  "voiceSettings" jsonb,
  "greetingMessage" text,
  "businessHoursMessage" text,
  "escalationRules" jsonb,
  "appointmentSettings" jsonb,
  "n8nWorkflowId" text,
  "n8nWebhookUrl" text,
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamp(3) not null,
  primary key ("id"),
  unique ("orgId", "name"),
  foreign key ("orgId") references "public"."Organization" ("id")
);
create table "public"."Call" (
  "id" text not null,
  "orgId" text not null,
  "phoneNumberId" text,
  "externalId" text,
  "fromNumber" text not null,
  "toNumber" text not null,
  "direction" "public"."CallDirection" not null,
  "status" "public"."CallStatus" not null,
  "duration" integer default 0 not null,
  "recordingUrl" text,
  "transcript" text,
  "tags" text[] default ARRAY[]::text[],
  "cost" numeric(10,4),
  "metadata" jsonb,
  "startedAt" timestamp(3) not null,
  "endedAt" timestamp(3),
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamp(3) not null,
  primary key ("id"),
  foreign key ("orgId") references "public"."Organization" ("id"),
  foreign key ("phoneNumberId") references "public"."PhoneNumber" ("id")
);
create table "public"."Appointment" (
  "id" text not null,
  "orgId" text not null,
  "source" "public"."AppointmentSource" not null,
  "title" text,
  "startsAt" timestamp(3) not null,
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  primary key ("id"),
  foreign key ("orgId") references "public"."Organization" ("id")
);
insert into "public"."Organization" ("id", "name", "businessHours", "timezone", "updatedAt") values ('cmh5t3px8xcxvgyfs7hf6d4vm', 'Acme Dental', '{"note": "sample 1"}'::jsonb, 'America/New_York', '2025-03-10 09:30:00');
insert into "public"."Organization" ("id", "name", "businessHours", "timezone", "updatedAt") values ('cmz9uqsdvfuj9q1em11nhcpc3', 'Bluebird HVAC', '{"note": "sample 2"}'::jsonb, 'Europe/London', '2025-04-11 09:30:00');
insert into "public"."Organization" ("id", "name", "businessHours", "timezone", "updatedAt") values ('cmf6fqt9h8v9g0o2kogf2h788', 'Corner Bistro', '{"note": "sample 3"}'::jsonb, 'America/Toronto', '2025-05-12 09:30:00');
insert into "public"."PhoneNumber" ("id", "orgId", "phoneNumber", "friendlyName", "provider", "providerId", "isActive", "isPrimary", "capabilities", "webhookUrl", "retellAgentId", "retellApiKey", "n8nWorkflowId", "n8nWebhookSecret", "createdAt", "updatedAt") values ('cm5lzbguj1g7ctc8rt4oqbpam', 'cmh5t3px8xcxvgyfs7hf6d4vm', '+16025550115', 'Acme Dental', 'retell', 'provider_f82458da198a', true, true, '{}', 'https://example.com/webhook_url/1', 'agent_131ead20d94f6b22ba28e2b9f4', 'key_test_9bffbd50517b537e57a0fe55', 'n8n_9b116c976454', 'whsec_test_2ffe5d0f4bf2220204196f70', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."PhoneNumber" ("id", "orgId", "phoneNumber", "friendlyName", "provider", "providerId", "isActive", "isPrimary", "capabilities", "webhookUrl", "retellAgentId", "retellApiKey", "n8nWorkflowId", "n8nWebhookSecret", "createdAt", "updatedAt") values ('cm4it9ud6nf341r5cbs8p92h8', 'cmz9uqsdvfuj9q1em11nhcpc3', '+16025550148', 'Bluebird HVAC', 'twilio', 'provider_23058f0cb8eb', true, true, '{"alpha"}', 'https://example.com/webhook_url/2', 'agent_a1e036c81765ee577e5dc02633', null, 'n8n_5b17ee2c0e59', 'whsec_test_7603b7588fcf264fbe20b178', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."PhoneNumber" ("id", "orgId", "phoneNumber", "friendlyName", "provider", "providerId", "isActive", "isPrimary", "capabilities", "webhookUrl", "retellAgentId", "retellApiKey", "n8nWorkflowId", "n8nWebhookSecret", "createdAt", "updatedAt") values ('cm15gxwuq38mnoq3kxzngmj9c', 'cmf6fqt9h8v9g0o2kogf2h788', '+16025550182', 'Corner Bistro', 'retell', 'provider_9962ce8544b4', false, false, '{"alpha","beta"}', 'https://example.com/webhook_url/3', 'agent_7105628468a7a0167a788949cc', 'key_test_6f4ab540b1c05db208e71b1b', 'n8n_323b51906a87', 'whsec_test_12f6ef42b75b5fe40b40f11e', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."AiReceptionistConfig" ("id", "orgId", "name", "isActive", "retellAgentId", "retellApiKey", "voiceSettings", "greetingMessage", "businessHoursMessage", "escalationRules", "appointmentSettings", "n8nWorkflowId", "n8nWebhookUrl", "createdAt", "updatedAt") values ('cmyuw70l61zrus6ibf3ziiu6t', 'cmh5t3px8xcxvgyfs7hf6d4vm', 'Acme Dental', true, 'agent_95f1824dd4951fac8f7cff2bca', 'key_test_96483242ae17363140a3cee7', '{"note": "sample 1"}'::jsonb, 'sample greeting message 1', 'sample business hours message 1', '{"note": "sample 1"}'::jsonb, '{"note": "sample 1"}'::jsonb, 'n8n_d350dd1ef064', 'https://example.com/n8n_webhook_url/1', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."AiReceptionistConfig" ("id", "orgId", "name", "isActive", "retellAgentId", "retellApiKey", "voiceSettings", "greetingMessage", "businessHoursMessage", "escalationRules", "appointmentSettings", "n8nWorkflowId", "n8nWebhookUrl", "createdAt", "updatedAt") values ('cm8dzw9pzc6g3ygtli5n17726', 'cmz9uqsdvfuj9q1em11nhcpc3', 'Bluebird HVAC', true, 'agent_b79255d6598d2a7a659329c7d4', 'key_test_7f854171dd6d39c6bc829a9c', '{"note": "sample 2"}'::jsonb, 'sample greeting message 2', 'sample business hours message 2', '{"note": "sample 2"}'::jsonb, '{"note": "sample 2"}'::jsonb, 'n8n_f6bc6d1d4d6a', 'https://example.com/n8n_webhook_url/2', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."AiReceptionistConfig" ("id", "orgId", "name", "isActive", "retellAgentId", "retellApiKey", "voiceSettings", "greetingMessage", "businessHoursMessage", "escalationRules", "appointmentSettings", "n8nWorkflowId", "n8nWebhookUrl", "createdAt", "updatedAt") values ('cmq3839z1gsowzuh386eqp59p', 'cmf6fqt9h8v9g0o2kogf2h788', 'Corner Bistro', false, 'agent_334cfcfae80a7f480465ad61c8', null, '{"note": "sample 3"}'::jsonb, 'sample greeting message 3', 'sample business hours message 3', '{"note": "sample 3"}'::jsonb, '{"note": "sample 3"}'::jsonb, 'n8n_c50fc11a1778', 'https://example.com/n8n_webhook_url/3', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."Call" ("id", "orgId", "phoneNumberId", "externalId", "fromNumber", "toNumber", "direction", "status", "duration", "recordingUrl", "transcript", "tags", "cost", "metadata", "startedAt", "endedAt", "createdAt", "updatedAt") values ('cmoyzafthitev36ff3j159ahk', 'cmh5t3px8xcxvgyfs7hf6d4vm', 'cm5lzbguj1g7ctc8rt4oqbpam', 'external_6e9bf8977ee2', '+15125550114', '+14045550112', 'INBOUND', 'RINGING', 3, 'https://example.com/recording_url/1', 'Agent: Hello. Caller: I would like to book an appointment.', '{}', 1.25, '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00', '2025-03-10 09:30:00', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."Call" ("id", "orgId", "phoneNumberId", "externalId", "fromNumber", "toNumber", "direction", "status", "duration", "recordingUrl", "transcript", "tags", "cost", "metadata", "startedAt", "endedAt", "createdAt", "updatedAt") values ('cm6e3a4r2z77k75xzmshivhkm', 'cmz9uqsdvfuj9q1em11nhcpc3', 'cm4it9ud6nf341r5cbs8p92h8', 'external_43df9cf16733', '+15125550147', '+14045550145', 'OUTBOUND', 'IN_PROGRESS', 17, 'https://example.com/recording_url/2', 'Agent: Hello. Caller: I would like to book an appointment.', '{"alpha"}', 3.5, '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00', '2025-04-11 09:30:00', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."Call" ("id", "orgId", "phoneNumberId", "externalId", "fromNumber", "toNumber", "direction", "status", "duration", "recordingUrl", "transcript", "tags", "cost", "metadata", "startedAt", "endedAt", "createdAt", "updatedAt") values ('cmey7kj80msjtnqt3gigw9mtw', 'cmf6fqt9h8v9g0o2kogf2h788', 'cm15gxwuq38mnoq3kxzngmj9c', 'external_65459b7978d2', '+15125550181', '+14045550179', 'INBOUND', 'COMPLETED', 42, 'https://example.com/recording_url/3', 'Agent: Hello. Caller: I would like to book an appointment.', '{"alpha","beta"}', 0.75, '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00', '2025-05-12 09:30:00', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."Appointment" ("id", "orgId", "source", "title", "startsAt", "createdAt") values ('cmjpb3tb7438pgjefmpc3rytx', 'cmh5t3px8xcxvgyfs7hf6d4vm', 'MANUAL', 'sample title 1', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."Appointment" ("id", "orgId", "source", "title", "startsAt", "createdAt") values ('cmqapbi1f7rv3d8r3jjhcfpv1', 'cmz9uqsdvfuj9q1em11nhcpc3', 'ONLINE', 'sample title 2', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."Appointment" ("id", "orgId", "source", "title", "startsAt", "createdAt") values ('cmk5sjfjh2ffi3o93bj35vr9l', 'cmf6fqt9h8v9g0o2kogf2h788', 'AI_RECEPTIONIST', 'sample title 3', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
