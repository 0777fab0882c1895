-- {"table": "public.organizations", "user": "id", "columns": {"api_key": "retellApiKey"}, "holds": "plaintext", "provider": "retell"}
create schema if not exists "public";
create type "public"."UserRole" as enum ('ADMIN', 'ORG_USER');
create type "public"."CallStatus" as enum ('INITIATED', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'NO_ANSWER');
create table "public"."organizations" (
  "id" text not null,
  "name" text not null,
  "description" text,
  "n8nWebhookUrl" text,
  "retellApiKey" text,
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamp(3) not null,
  primary key ("id")
);
create table "public"."users" (
  "id" text not null,
  "email" text not null,
  "name" text,
  "password" text not null,
  "role" "public"."UserRole" default 'ORG_USER' not null,
  "organizationId" text,
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamp(3) not null,
  primary key ("id"),
  unique ("email"),
  foreign key ("organizationId") references "public"."organizations" ("id")
);
create table "public"."contacts" (
  "id" text not null,
  "name" text not null,
  "phoneNumber" text not null,
  "email" text,
  "notes" text,
  "organizationId" text not null,
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamp(3) not null,
  primary key ("id"),
  foreign key ("organizationId") references "public"."organizations" ("id")
);
create table "public"."calls" (
  "id" text not null,
  "contactId" text not null,
  "organizationId" text not null,
  "retellCallId" text,
  "status" "public"."CallStatus" default 'INITIATED' not null,
  "duration" integer,
  "startedAt" timestamp(3),
  "endedAt" timestamp(3),
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamp(3) not null,
  primary key ("id"),
  unique ("retellCallId"),
  foreign key ("contactId") references "public"."contacts" ("id"),
  foreign key ("organizationId") references "public"."organizations" ("id")
);
create table "public"."call_summaries" (
  "id" text not null,
  "callId" text not null,
  "transcript" text,
  "summary" text,
  "sentiment" text,
  "keyPoints" text[],
  "metadata" jsonb,
  "createdAt" timestamp(3) default CURRENT_TIMESTAMP not null,
  "updatedAt" timestamp(3) not null,
  primary key ("id"),
  unique ("callId"),
  foreign key ("callId") references "public"."calls" ("id")
);
insert into "public"."organizations" ("id", "name", "description", "n8nWebhookUrl", "retellApiKey", "createdAt", "updatedAt") values ('cmrroxi0ym1bzdffxadzkqs5b', 'Acme Dental', 'sample description 1', 'https://example.com/n8n_webhook_url/1', 'key_test_75c16db3fcfe954aa606be81', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."organizations" ("id", "name", "description", "n8nWebhookUrl", "retellApiKey", "createdAt", "updatedAt") values ('cmbjl3u058kogns456u99gnq4', 'Bluebird HVAC', 'sample description 2', 'https://example.com/n8n_webhook_url/2', 'key_test_06acc439b9c218b88255a94b', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."organizations" ("id", "name", "description", "n8nWebhookUrl", "retellApiKey", "createdAt", "updatedAt") values ('cm9cnjdp4op3q79eoh90ze269', 'Corner Bistro', 'sample description 3', 'https://example.com/n8n_webhook_url/3', 'key_test_eaaa572a98632527595fbd68', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."users" ("id", "email", "name", "password", "role", "organizationId", "createdAt", "updatedAt") values ('cml6uxis2gi9brb837syn282o', 'user1@example.com', 'Ada Example', '$2b$10$e.zBXZ06ZsZ9LuBxIZUyRrHGeqr.zy5BJrvQRK1sD/UYu2PXY9y.v', 'ADMIN', 'cmrroxi0ym1bzdffxadzkqs5b', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."users" ("id", "email", "name", "password", "role", "organizationId", "createdAt", "updatedAt") values ('cm4r25rx6hr5zgdflvw7u278f', 'user2@example.com', 'Ben Sample', '$2b$10$WJJR8ui1nPXsBp6iZuPcczPoeLNP8KaVvHEwiVYuL.b8Ei7qSawnE', 'ORG_USER', 'cmbjl3u058kogns456u99gnq4', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."users" ("id", "email", "name", "password", "role", "organizationId", "createdAt", "updatedAt") values ('cm7su4vm326m7go8wxg3zh0by', 'user3@example.com', 'Cleo Testova', '$2b$10$2tRZoX4ppfQyx55pzB0NKBhRRlJXWQXewhhK.mMCNafY9oNz1qUCs', 'ADMIN', 'cm9cnjdp4op3q79eoh90ze269', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."contacts" ("id", "name", "phoneNumber", "email", "notes", "organizationId", "createdAt", "updatedAt") values ('cm5uz9fpvt8o4kvvvslg3g9yk', 'Ada Example', '+15125550115', 'user1@example.com', 'sample notes 1', 'cmrroxi0ym1bzdffxadzkqs5b', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."contacts" ("id", "name", "phoneNumber", "email", "notes", "organizationId", "createdAt", "updatedAt") values ('cmnq62xk58ey31xmdknsdvgah', 'Ben Sample', '+15125550148', 'user2@example.com', 'sample notes 2', 'cmbjl3u058kogns456u99gnq4', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."contacts" ("id", "name", "phoneNumber", "email", "notes", "organizationId", "createdAt", "updatedAt") values ('cmena3dftgn3vz6jlb81fb2zl', 'Cleo Testova', '+15125550182', 'user3@example.com', 'sample notes 3', 'cm9cnjdp4op3q79eoh90ze269', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."calls" ("id", "contactId", "organizationId", "retellCallId", "status", "duration", "startedAt", "endedAt", "createdAt", "updatedAt") values ('cm1qqkrifx2c8tcmon6xwrr5w', 'cm5uz9fpvt8o4kvvvslg3g9yk', 'cmrroxi0ym1bzdffxadzkqs5b', 'retell_84b1707b1346', 'INITIATED', 3, '2025-03-10 09:30:00', '2025-03-10 09:30:00', '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."calls" ("id", "contactId", "organizationId", "retellCallId", "status", "duration", "startedAt", "endedAt", "createdAt", "updatedAt") values ('cmmkcgdpvulis9s93bgw829c4', 'cmnq62xk58ey31xmdknsdvgah', 'cmbjl3u058kogns456u99gnq4', 'retell_69a643efe5fc', 'IN_PROGRESS', 17, '2025-04-11 09:30:00', '2025-04-11 09:30:00', '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."calls" ("id", "contactId", "organizationId", "retellCallId", "status", "duration", "startedAt", "endedAt", "createdAt", "updatedAt") values ('cmxs8fnqhbfvgxzsleg3v0n3d', 'cmena3dftgn3vz6jlb81fb2zl', 'cm9cnjdp4op3q79eoh90ze269', 'retell_c5a077e60e95', 'COMPLETED', 42, '2025-05-12 09:30:00', '2025-05-12 09:30:00', '2025-05-12 09:30:00', '2025-05-12 09:30:00');
insert into "public"."call_summaries" ("id", "callId", "transcript", "summary", "sentiment", "keyPoints", "metadata", "createdAt", "updatedAt") values ('cm25tvco30icg1ds8k17rpp2q', 'cm1qqkrifx2c8tcmon6xwrr5w', 'Agent: Hello. Caller: I would like to book an appointment.', 'sample summary 1', 'sample sentiment 1', '{}', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00', '2025-03-10 09:30:00');
insert into "public"."call_summaries" ("id", "callId", "transcript", "summary", "sentiment", "keyPoints", "metadata", "createdAt", "updatedAt") values ('cmu6ydo2ea1kbqc3cg505zu11', 'cmmkcgdpvulis9s93bgw829c4', 'Agent: Hello. Caller: I would like to book an appointment.', 'sample summary 2', 'sample sentiment 2', '{"alpha"}', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00', '2025-04-11 09:30:00');
insert into "public"."call_summaries" ("id", "callId", "transcript", "summary", "sentiment", "keyPoints", "metadata", "createdAt", "updatedAt") values ('cmqm0t131d71lnmk86cscz1ix', 'cmxs8fnqhbfvgxzsleg3v0n3d', 'Agent: Hello. Caller: I would like to book an appointment.', 'sample summary 3', 'sample sentiment 3', '{"alpha","beta"}', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00', '2025-05-12 09:30:00');
