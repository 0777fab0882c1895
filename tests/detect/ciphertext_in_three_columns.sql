-- {"table": "public.integration_auths", "user": "projectId", "where": {"integration": "github"}, "columns": {"api_key": "accessCiphertext", "iv": "accessIV", "tag": "accessTag", "refresh": "refreshCiphertext"}, "holds": "ciphertext", "provider": "github"}
create schema if not exists "public";
create table "public"."projects" (
  "id" varchar(255) not null,
  "name" varchar(255) not null,
  "slug" varchar(255),
  "createdAt" timestamptz default now() not null,
  primary key ("id"),
  unique ("slug")
);
create table "public"."project_environments" (
  "id" uuid default gen_random_uuid() not null,
  "name" varchar(255) not null,
  "slug" varchar(255) not null,
  "projectId" varchar(255) not null,
  primary key ("id"),
  foreign key ("projectId") references "public"."projects" ("id")
);
create table "public"."integration_auths" (
  "id" uuid default gen_random_uuid() not null,
  "integration" varchar(255) not null,
  "teamId" varchar(255),
  "url" varchar(255),
  "namespace" varchar(255),
  "accountId" varchar(255),
  "refreshCiphertext" text,
  "refreshIV" varchar(255),
  "refreshTag" varchar(255),
  "accessIdCiphertext" varchar(255),
  "accessIdIV" varchar(255),
  "accessIdTag" varchar(255),
  "accessCiphertext" text,
  "accessIV" varchar(255),
  "accessTag" varchar(255),
  "accessExpiresAt" timestamptz,
  "metadata" jsonb,
  "algorithm" varchar(255) not null,
  "keyEncoding" varchar(255) not null,
  "projectId" varchar(255) not null,
  "createdAt" timestamptz default now() not null,
  "updatedAt" timestamptz default now() not null,
  primary key ("id"),
  foreign key ("projectId") references "public"."projects" ("id")
);
create table "public"."integrations" (
  "id" uuid default gen_random_uuid() not null,
  "isActive" boolean not null,
  "url" varchar(255),
  "app" varchar(255),
  "appId" varchar(255),
  "owner" varchar(255),
  "integration" varchar(255) not null,
  "integrationAuthId" uuid not null,
  "envId" uuid not null,
  "secretPath" varchar(255) default '/' not null,
  "createdAt" timestamptz default now() not null,
  primary key ("id"),
  foreign key ("integrationAuthId") references "public"."integration_auths" ("id"),
  foreign key ("envId") references "public"."project_environments" ("id")
);
create table "public"."service_tokens" (
  "id" varchar(255) not null,
  "name" varchar(255) not null,
  "secretHash" varchar(255) not null,
  "expiresAt" timestamptz,
  "createdBy" varchar(255),
  "projectId" varchar(255) not null,
  primary key ("id"),
  foreign key ("projectId") references "public"."projects" ("id")
);
insert into "public"."projects" ("id", "name", "slug", "createdAt") values ('adedc6f4-4797-4535-8572-b20447a6ff86', 'Acme Dental', 'acme-dental', '2025-03-10 09:30:00+00');
insert into "public"."projects" ("id", "name", "slug", "createdAt") values ('6e8b5961-df2e-41fa-b954-d05de4c37f0e', 'Bluebird HVAC', 'bluebird-hvac', '2025-04-11 09:30:00+00');
insert into "public"."projects" ("id", "name", "slug", "createdAt") values ('51f7858b-97d5-4031-a00b-575823198dec', 'Corner Bistro', 'corner-bistro', '2025-05-12 09:30:00+00');
insert into "public"."project_environments" ("id", "name", "slug", "projectId") values ('27632d50-000d-4873-bc1b-fc0688922052', 'Acme Dental', 'acme-dental', 'adedc6f4-4797-4535-8572-b20447a6ff86');
insert into "public"."project_environments" ("id", "name", "slug", "projectId") values ('2ffc2416-a4d8-4483-9ca4-9ed87188fb5c', 'Bluebird HVAC', 'bluebird-hvac', '6e8b5961-df2e-41fa-b954-d05de4c37f0e');
insert into "public"."project_environments" ("id", "name", "slug", "projectId") values ('4bee79a3-ac8e-48ee-b18f-b97162b0ffaf', 'Corner Bistro', 'corner-bistro', '51f7858b-97d5-4031-a00b-575823198dec');
insert into "public"."integration_auths" ("id", "integration", "teamId", "url", "namespace", "accountId", "refreshCiphertext", "refreshIV", "refreshTag", "accessIdCiphertext", "accessIdIV", "accessIdTag", "accessCiphertext", "accessIV", "accessTag", "accessExpiresAt", "metadata", "algorithm", "keyEncoding", "projectId", "createdAt", "updatedAt") values ('8ebf6132-a18d-4626-9596-a3f1a3a5258a', 'github', 'team_4454440c926e', 'https://example.com/url/1', 'sample namespace 1', 'account_2e41e6cd6947', null, null, null, null, null, null, 'qlFwMLCma14sWkDNJUdeny5hLErGOz4MiHruEYPcgQoYaGVQA7+vZBkwsvo=', 'ep69Plk2cg8SSN0K', 'eWFhohj8jgqt23z55lKWCg==', '2025-03-10 09:30:00+00', '{"note": "sample 1"}'::jsonb, 'aes-256-gcm', 'base64', 'adedc6f4-4797-4535-8572-b20447a6ff86', '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00');
insert into "public"."integration_auths" ("id", "integration", "teamId", "url", "namespace", "accountId", "refreshCiphertext", "refreshIV", "refreshTag", "accessIdCiphertext", "accessIdIV", "accessIdTag", "accessCiphertext", "accessIV", "accessTag", "accessExpiresAt", "metadata", "algorithm", "keyEncoding", "projectId", "createdAt", "updatedAt") values ('fc3148d2-e188-42ed-99ce-33e37abaa212', 'vercel', 'team_5a97ab9f87e8', 'https://example.com/url/2', 'sample namespace 2', 'account_1277de2bbc36', 'VkQT+r58z+JfBve9aRhWBCi+nQbr+fUidJvmV8aVZahWwekLzZ76D7KxmuU=', 'Tyfzm/1TM6cVN733', 'kbC16qh52CKOYq3OCsqqXg==', null, null, null, 'D2LpL4Fy+QRy9PjGxjHcRmDoxpJRpgQrr7jXjOHfmrUb4EkjDHjPkUWI5AY=', 'a4thxwhir6VBYyw8', '/RgPInpqN++nuAwiRS8yEg==', '2025-04-11 09:30:00+00', '{"note": "sample 2"}'::jsonb, 'aes-256-gcm', 'base64', '6e8b5961-df2e-41fa-b954-d05de4c37f0e', '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00');
insert into "public"."integration_auths" ("id", "integration", "teamId", "url", "namespace", "accountId", "refreshCiphertext", "refreshIV", "refreshTag", "accessIdCiphertext", "accessIdIV", "accessIdTag", "accessCiphertext", "accessIV", "accessTag", "accessExpiresAt", "metadata", "algorithm", "keyEncoding", "projectId", "createdAt", "updatedAt") values ('7c7338f1-06e7-433e-a3cf-f6069832d62e', 'github', 'team_da57616d29d0', 'https://example.com/url/3', 'sample namespace 3', 'account_44ae67d6c79f', null, null, null, null, null, null, 'MR0d5Jc9278sqk9ETmLHpAagxIi17MaFe/dp2HZ+yxRwnWHw1UjCSOyw8Rg=', '9ZI3KcFwxAlDh+xN', 'cqpmaElh0eX46MyBETLO7Q==', '2025-05-12 09:30:00+00', '{"note": "sample 3"}'::jsonb, 'aes-256-gcm', 'base64', '51f7858b-97d5-4031-a00b-575823198dec', '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00');
insert into "public"."integrations" ("id", "isActive", "url", "app", "appId", "owner", "integration", "integrationAuthId", "envId", "secretPath", "createdAt") values ('f2a96b8a-6dae-4e47-948b-fb9ba8691c25', true, 'https://example.com/url/1', 'sample app 1', 'app_382457129428', 'sample owner 1', 'github', '8ebf6132-a18d-4626-9596-a3f1a3a5258a', '27632d50-000d-4873-bc1b-fc0688922052', 'KFEo2B2im7s6x_3zkfyhX4gBueSjhwuTDB-DSDg4', '2025-03-10 09:30:00+00');
insert into "public"."integrations" ("id", "isActive", "url", "app", "appId", "owner", "integration", "integrationAuthId", "envId", "secretPath", "createdAt") values ('c6ed896f-1853-431a-9f83-7a9b5e4af9a8', true, 'https://example.com/url/2', 'sample app 2', 'app_f82ab9bef300', 'sample owner 2', 'vercel', 'fc3148d2-e188-42ed-99ce-33e37abaa212', '2ffc2416-a4d8-4483-9ca4-9ed87188fb5c', 'k_3_1rztDooNwpxjWoC8iEeMAm8gBBkFxa4Rw-BV', '2025-04-11 09:30:00+00');
insert into "public"."integrations" ("id", "isActive", "url", "app", "appId", "owner", "integration", "integrationAuthId", "envId", "secretPath", "createdAt") values ('f5342bff-3a0a-4cb5-b2fb-4053d7c33f28', false, 'https://example.com/url/3', 'sample app 3', 'app_233d20719705', 'sample owner 3', 'github', '7c7338f1-06e7-433e-a3cf-f6069832d62e', '4bee79a3-ac8e-48ee-b18f-b97162b0ffaf', 'LZhvbwy1m6Z7pNJS4o2BaVZHKspNaoa_hYtmkHFV', '2025-05-12 09:30:00+00');
insert into "public"."service_tokens" ("id", "name", "secretHash", "expiresAt", "createdBy", "projectId") values ('e067abbf-2b91-4b33-a579-009c67ba32b7', 'Acme Dental', '9694c2dba85cef82c9815f8a79c42e49178fdcb81dd0fe4063588223d62fecb0', '2025-03-10 09:30:00+00', 'sample created by 1', 'adedc6f4-4797-4535-8572-b20447a6ff86');
insert into "public"."service_tokens" ("id", "name", "secretHash", "expiresAt", "createdBy", "projectId") values ('a0638e2f-b7ac-4114-a0e4-8a451550202c', 'Bluebird HVAC', '1e798037e964600d832b9a35ada9a0f16f1aaf447f6a6b79af2bfb738c0f937d', '2025-04-11 09:30:00+00', 'sample created by 2', '6e8b5961-df2e-41fa-b954-d05de4c37f0e');
insert into "public"."service_tokens" ("id", "name", "secretHash", "expiresAt", "createdBy", "projectId") values ('251da154-df99-4b5a-a3b5-f43eed0ebce3', 'Corner Bistro', '0b7e37e21095b49aa9ea3c95fe81989b450a1948c1df3d70eff0b315fbdabef8', '2025-05-12 09:30:00+00', 'sample created by 3', '51f7858b-97d5-4031-a00b-575823198dec');
