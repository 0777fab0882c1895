-- {"table": "public.credentials_entity", "user": "id", "where": {"type": "openAiApi"}, "columns": {"config": "data"}, "holds": "ciphertext", "provider": "openai", "says": "shared_credentials"}
create schema if not exists "public";
create table "public"."user" (
  "id" uuid default gen_random_uuid() not null,
  "email" varchar(255),
  "firstName" varchar(32),
  "lastName" varchar(32),
  "password" varchar(255),
  "mfaSecret" text,
  "disabled" boolean default false not null,
  "createdAt" timestamptz(3) default CURRENT_TIMESTAMP(3) not null,
  primary key ("id"),
  unique ("email")
);
create table "public"."project" (
  "id" varchar(36) not null,
  "name" varchar(255) not null,
  "type" varchar(36) not null,
  "createdAt" timestamptz(3) default CURRENT_TIMESTAMP(3) not null,
  "icon" json,
  "creatorId" uuid,
  primary key ("id"),
  foreign key ("creatorId") references "public"."user" ("id")
);
create table "public"."credentials_entity" (
  "name" varchar(128) not null,
  "data" text not null,
  "type" varchar(128) not null,
  "createdAt" timestamptz(3) default CURRENT_TIMESTAMP(3) not null,
  "updatedAt" timestamptz(3) default CURRENT_TIMESTAMP(3) not null,
  "id" varchar(36) not null,
  "isManaged" boolean default false not null,
  "isGlobal" boolean default false not null,
  "isResolvable" boolean default false not null,
  "resolverId" varchar(16),
  primary key ("id")
);
create table "public"."shared_credentials" (
  "credentialsId" varchar(36) not null,
  "projectId" varchar(36) not null,
  "role" text not null,
  "createdAt" timestamptz(3) default CURRENT_TIMESTAMP(3) not null,
  primary key ("credentialsId", "projectId"),
  foreign key ("credentialsId") references "public"."credentials_entity" ("id"),
  foreign key ("projectId") references "public"."project" ("id")
);
create table "public"."dynamic_credential_resolver" (
  "id" varchar(16) not null,
  "name" varchar(128) not null,
  "type" varchar(128) not null,
  "config" text not null,
  "createdAt" timestamptz(3) default CURRENT_TIMESTAMP(3) not null,
  primary key ("id")
);
create table "public"."oauth_access_tokens" (
  "token" varchar not null,
  "clientId" varchar not null,
  "userId" uuid not null,
  primary key ("token"),
  foreign key ("userId") references "public"."user" ("id")
);
create table "public"."execution_data" (
  "executionId" integer not null,
  "workflowData" json not null,
  "data" text not null,
  "workflowVersionId" varchar(36),
  primary key ("executionId")
);
create table "public"."secrets_provider_connection" (
  "id" serial not null,
  "providerKey" varchar(128) not null,
  "type" varchar(36) not null,
  "encryptedSettings" text not null,
  "isEnabled" boolean default false not null,
  primary key ("id")
);
insert into "public"."user" ("id", "email", "firstName", "lastName", "password", "mfaSecret", "disabled", "createdAt") values ('a8279b37-a43e-452c-9c99-74eddf659e1f', 'user1@example.com', 'Acme Dental', 'Acme Dental', '$2b$10$WtEGAyT3OgRQa2qWsJKFYIU8yZ0F16LH5eKQ2.QILaFTrtlvf90sk', null, true, '2025-03-10 09:30:00+00');
insert into "public"."user" ("id", "email", "firstName", "lastName", "password", "mfaSecret", "disabled", "createdAt") values ('d1765d72-430c-401a-813c-f06bce33c4d9', 'user2@example.com', 'Bluebird HVAC', 'Bluebird HVAC', '$2b$10$C.GAtFB7a7KSN1kKELj9ViE1qZLmnk0gDOvMWbeEBeW/ybLw2NcgG', null, true, '2025-04-11 09:30:00+00');
insert into "public"."user" ("id", "email", "firstName", "lastName", "password", "mfaSecret", "disabled", "createdAt") values ('b6327c07-80d8-4172-9a79-369b42dc2137', 'user3@example.com', 'Corner Bistro', 'Corner Bistro', '$2b$10$h9dEDtzzBNmXniTTe3zGoaObuGZKcPim185NRZeXFrBG3m.sr.K6H', null, false, '2025-05-12 09:30:00+00');
insert into "public"."project" ("id", "name", "type", "createdAt", "icon", "creatorId") values ('f4948566-2443-4136-8581-ea67e0285d49', 'Acme Dental', 'sample type 1', '2025-03-10 09:30:00+00', '{"note": "sample 1"}'::json, 'a8279b37-a43e-452c-9c99-74eddf659e1f');
insert into "public"."project" ("id", "name", "type", "createdAt", "icon", "creatorId") values ('5baa39c5-98d5-4cef-94b8-8e950c8d5c50', 'Bluebird HVAC', 'sample type 2', '2025-04-11 09:30:00+00', '{"note": "sample 2"}'::json, 'd1765d72-430c-401a-813c-f06bce33c4d9');
insert into "public"."project" ("id", "name", "type", "createdAt", "icon", "creatorId") values ('c4776b7d-1a93-4634-9146-c16f32ec22d0', 'Corner Bistro', 'sample type 3', '2025-05-12 09:30:00+00', '{"note": "sample 3"}'::json, 'b6327c07-80d8-4172-9a79-369b42dc2137');
insert into "public"."credentials_entity" ("name", "data", "type", "createdAt", "updatedAt", "id", "isManaged", "isGlobal", "isResolvable", "resolverId") values ('Acme Dental', 'U2FsdGVkX1K4v/2O7gfAr9aYjksVL6hx5aI6KhqGQ1Kxkteuza9OKMlql9NV6WuPJ1CRF+jfhPmFdev1jbyOjFNswq3MA7DG', 'openAiApi', '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00', '8ba6c1ff-8217-4a95-ada1-20869b9f3ab5', true, true, true, null);
insert into "public"."credentials_entity" ("name", "data", "type", "createdAt", "updatedAt", "id", "isManaged", "isGlobal", "isResolvable", "resolverId") values ('Bluebird HVAC', 'U2FsdGVkX14ZHnTMj94Rja5Vj8uvDBcwRvqhtq3OxEt3VxwXwxiAZd3B5yvL0AtmcPI/RYRoSNhpaFK2cP5G8waGWkoOmLrS', 'twilioApi', '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00', 'e4f4fd4c-7a96-4129-9846-802879c59e63', true, true, true, null);
insert into "public"."credentials_entity" ("name", "data", "type", "createdAt", "updatedAt", "id", "isManaged", "isGlobal", "isResolvable", "resolverId") values ('Corner Bistro', 'U2FsdGVkX1ipWvqUkIn4jG5W8SPOkGy1P3daHjyGrpfofnohkyaFem63UXvqEiHtFkJLn1RldLFm1iOQFuXcwjA9mWeKB1Er', 'openAiApi', '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00', '9c451bd4-3438-4ae2-b581-4ca449b5713d', false, false, false, null);
insert into "public"."shared_credentials" ("credentialsId", "projectId", "role", "createdAt") values ('8ba6c1ff-8217-4a95-ada1-20869b9f3ab5', 'f4948566-2443-4136-8581-ea67e0285d49', 'owner', '2025-03-10 09:30:00+00');
insert into "public"."shared_credentials" ("credentialsId", "projectId", "role", "createdAt") values ('e4f4fd4c-7a96-4129-9846-802879c59e63', '5baa39c5-98d5-4cef-94b8-8e950c8d5c50', 'admin', '2025-04-11 09:30:00+00');
insert into "public"."shared_credentials" ("credentialsId", "projectId", "role", "createdAt") values ('9c451bd4-3438-4ae2-b581-4ca449b5713d', 'c4776b7d-1a93-4634-9146-c16f32ec22d0', 'member', '2025-05-12 09:30:00+00');
insert into "public"."dynamic_credential_resolver" ("id", "name", "type", "config", "createdAt") values ('13g0qlxxjqdcvyt7', 'Acme Dental', 'sample type 1', 'U2FsdGVkX1ib48w5fSGUPEqUK+2EzxhuKReNSGcmoI/FOj1FgRHeeu28QTxxH4tTsChvMzKYRnx8rqMLfBYtSSoA+MtzN1dZ', '2025-03-10 09:30:00+00');
insert into "public"."dynamic_credential_resolver" ("id", "name", "type", "config", "createdAt") values ('9948xj96ke8bimoh', 'Bluebird HVAC', 'sample type 2', 'U2FsdGVkX1YcmN+1AqemDqnKb05GpJ9DIlaEeG1Ph4Fkqvsl3lpWMlFZqmsEYlF1+/1u9cNGC6x/OQ32pzk7IWcvvD88qOAF', '2025-04-11 09:30:00+00');
insert into "public"."dynamic_credential_resolver" ("id", "name", "type", "config", "createdAt") values ('wvzyy1loc6a5lyqh', 'Corner Bistro', 'sample type 3', 'U2FsdGVkX1bxvdUHh461QtH2hKjAxDJXIpDSb1tQC48M8GlOO9HgVQrKQjYP5AnaVxg750SsWFI4nwUzXuzPpQm2j3Gy+OIi', '2025-05-12 09:30:00+00');
insert into "public"."oauth_access_tokens" ("token", "clientId", "userId") values ('2Vl0mPkRSsoE4rrk6j9PZJG4uXfr-RJTSyGadWqg', 'client_78eb7843d161', 'a8279b37-a43e-452c-9c99-74eddf659e1f');
insert into "public"."oauth_access_tokens" ("token", "clientId", "userId") values ('xlZDOfrWyPBp8pRhT02WLHYjYqE-3WDrV3gfHl5e', 'client_977008d44034', 'd1765d72-430c-401a-813c-f06bce33c4d9');
insert into "public"."oauth_access_tokens" ("token", "clientId", "userId") values ('6JRvTJyqHN2NEQS2i7_5zwhBs-nViwVVFM5tGZey', 'client_fdfa2417263c', 'b6327c07-80d8-4172-9a79-369b42dc2137');
insert into "public"."execution_data" ("executionId", "workflowData", "data", "workflowVersionId") values (1, '{"note": "sample 1"}'::json, '[{"startData":"1"}]', 'workflow_e2bea323ce01');
insert into "public"."execution_data" ("executionId", "workflowData", "data", "workflowVersionId") values (2, '{"note": "sample 2"}'::json, '[{"startData":"1"}]', 'workflow_15f4f11d7c1e');
insert into "public"."execution_data" ("executionId", "workflowData", "data", "workflowVersionId") values (3, '{"note": "sample 3"}'::json, '[{"startData":"1"}]', 'workflow_5aae626c8c3c');
insert into "public"."secrets_provider_connection" ("id", "providerKey", "type", "encryptedSettings", "isEnabled") values (1, 'oZ_R5tsL2Pg4jQyIZinYlxX-wHoeoUoOS6xfu6bR', 'sample type 1', 'U2FsdGVkX11vQ5eVIzkrprewvFtgFHW1o+sEZUcWHPmQ+cr0QYVunGMuL35CveajYD0N7MtCMZ85ayAkalLR3H9KfTu1Ium7', true);
insert into "public"."secrets_provider_connection" ("id", "providerKey", "type", "encryptedSettings", "isEnabled") values (2, 'FxC8xfWMdS35Yh6mTYyv1TwiQNdB_4tCSSC_-QOO', 'sample type 2', 'U2FsdGVkX12QyoBeMmA/S1Lb/DbZswSNG1xZzVbjGuvlJjpshTzTK4mNXtcng/uWYLu7qydgS0UxMQnAtBNuFDwQyCMAZp9p', true);
insert into "public"."secrets_provider_connection" ("id", "providerKey", "type", "encryptedSettings", "isEnabled") values (3, 'Xp3JJigma46cLFrIDzQNbbyAk45feKJEr5iMepYP', 'sample type 3', 'U2FsdGVkX1/VmFo1yPQO67IbcXgPbJhTrLTVsJae0bPDKulvsepvXJCeotDD5I2YkZtjNuaqdIieW6Wr7lqgj/HUQk98viHR', false);
select setval(pg_get_serial_sequence('"public"."secrets_provider_connection"', 'id'), (select max("id") from "public"."secrets_provider_connection"));
