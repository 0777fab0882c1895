-- {"table": "public.connections", "user": "tenant_id", "where": {"adapter_key": "shopify"}, "columns": {"config": "encrypted_credentials", "settings": "config"}, "holds": "ciphertext", "provider": "shopify"}
create schema if not exists "public";
create type "public"."tenant_status" as enum ('active', 'suspended');
create type "public"."connection_system_type" as enum ('commerce', 'wms', 'carrier', 'billing');
create type "public"."connection_status" as enum ('active', 'disabled', 'error', 'reauth_required');
create table "public"."tenants" (
  "id" uuid not null,
  "slug" text not null,
  "name" text not null,
  "status" "public"."tenant_status" default 'active' not null,
  "created_at" timestamptz not null,
  "updated_at" timestamptz not null,
  primary key ("id"),
  unique ("slug")
);
create table "public"."connections" (
  "id" uuid not null,
  "tenant_id" uuid not null,
  "system_type" "public"."connection_system_type" not null,
  "adapter_key" text not null,
  "status" "public"."connection_status" default 'active' not null,
  "encrypted_credentials" bytea,
  "config" jsonb default '{}'::jsonb not null,
  "last_verified_at" timestamptz,
  "created_at" timestamptz not null,
  "updated_at" timestamptz not null,
  primary key ("id"),
  unique ("tenant_id", "system_type"),
  foreign key ("tenant_id") references "public"."tenants" ("id")
);
create table "public"."users" (
  "id" uuid not null,
  "tenant_id" uuid not null,
  "email" text not null,
  "password_hash" text not null,
  "created_at" timestamptz not null,
  primary key ("id"),
  unique ("email"),
  foreign key ("tenant_id") references "public"."tenants" ("id")
);
create table "public"."orders" (
  "id" uuid not null,
  "tenant_id" uuid not null,
  "external_id" text,
  "total" numeric(12,2),
  "status" text,
  "created_at" timestamptz not null,
  primary key ("id"),
  foreign key ("tenant_id") references "public"."tenants" ("id")
);
create table "public"."invoices" (
  "id" uuid not null,
  "tenant_id" uuid not null,
  "number" text,
  "amount" numeric(12,2),
  "created_at" timestamptz not null,
  primary key ("id"),
  foreign key ("tenant_id") references "public"."tenants" ("id")
);
insert into "public"."tenants" ("id", "slug", "name", "status", "created_at", "updated_at") values ('a0b1cf09-b9c9-4251-8886-2ea3a836242b', 'acme-dental', 'Acme Dental', 'active', '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00');
insert into "public"."tenants" ("id", "slug", "name", "status", "created_at", "updated_at") values ('03e23433-4c70-415e-8e81-50b45422268b', 'bluebird-hvac', 'Bluebird HVAC', 'suspended', '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00');
insert into "public"."tenants" ("id", "slug", "name", "status", "created_at", "updated_at") values ('34df8fa3-1230-4318-9773-bd8669290f33', 'corner-bistro', 'Corner Bistro', 'active', '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00');
insert into "public"."connections" ("id", "tenant_id", "system_type", "adapter_key", "status", "encrypted_credentials", "config", "last_verified_at", "created_at", "updated_at") values ('85b60cef-1c30-4bca-9c7a-d85078f31650', 'a0b1cf09-b9c9-4251-8886-2ea3a836242b', 'commerce', 'shopify', 'active', '\x545ef5bf032a3f961ae866fc3ae006f9923163e945b3a4568a5f8f54946eb6639a2cc78940a77fcecfd2e03648630379f73cfa2ec49e172b5b6b4e5fbbe5c475c32323944a550a050f7fd8ff65', '{"note": "sample 1"}'::jsonb, '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00', '2025-03-10 09:30:00+00');
insert into "public"."connections" ("id", "tenant_id", "system_type", "adapter_key", "status", "encrypted_credentials", "config", "last_verified_at", "created_at", "updated_at") values ('5e3a8609-ca36-488e-9116-f2c2816bc1df', '03e23433-4c70-415e-8e81-50b45422268b', 'wms', 'shiphero', 'disabled', '\xaffcbfc33be46c106d40c935acf6c2b558bbb5404d2f410ccf248dea6050b2d1d5c2ab5a3a680d87e7f0efcc7ceefeda9e13c6b6d8b0510abb4dfaa18fa1c62047da5bc945216f85719a458408', '{"note": "sample 2"}'::jsonb, '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00', '2025-04-11 09:30:00+00');
insert into "public"."connections" ("id", "tenant_id", "system_type", "adapter_key", "status", "encrypted_credentials", "config", "last_verified_at", "created_at", "updated_at") values ('7444ccc8-af92-407a-bc13-77cc71d98a80', '34df8fa3-1230-4318-9773-bd8669290f33', 'carrier', 'fedex', 'error', '\x4342feea6ab6909a70c586f88ba34358541a95816a3c79a999873b8a92a7d0928353430f39e7c5ba359bbae482c244466f1245d77d6cfc0da7fe94b88e5cfe2781369c744774b124b319a9a500', '{"note": "sample 3"}'::jsonb, '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00', '2025-05-12 09:30:00+00');
insert into "public"."users" ("id", "tenant_id", "email", "password_hash", "created_at") values ('8d20c11d-c563-40ea-8d7e-3444041890a7', 'a0b1cf09-b9c9-4251-8886-2ea3a836242b', 'user1@example.com', '$2b$10$i2.6beQUEHoKDeF9YCwHg9jIwU2bPHg7gFDNPlQqDtBpwRufaz/SD', '2025-03-10 09:30:00+00');
insert into "public"."users" ("id", "tenant_id", "email", "password_hash", "created_at") values ('1c4a4ecd-701e-4738-a884-ae6618ba6222', '03e23433-4c70-415e-8e81-50b45422268b', 'user2@example.com', '$2b$10$6SwDFg7LwpPHVzsrDJ6XkgeE8RRj2MGHCkcl9dLMapkHydgkTy2Sy', '2025-04-11 09:30:00+00');
insert into "public"."users" ("id", "tenant_id", "email", "password_hash", "created_at") values ('2d376047-eac5-4295-a880-8d2dbed42648', '34df8fa3-1230-4318-9773-bd8669290f33', 'user3@example.com', '$2b$10$ZIwxLRl4b8krzhAaO/5JNG9d.Hc1y0Q/rqCMED0wbZ8dso6owN.vC', '2025-05-12 09:30:00+00');
insert into "public"."orders" ("id", "tenant_id", "external_id", "total", "status", "created_at") values ('17fb9bd4-a89f-4b8f-b292-60e6dfdfe143', 'a0b1cf09-b9c9-4251-8886-2ea3a836242b', 'external_869372828183', 1.25, 'active', '2025-03-10 09:30:00+00');
insert into "public"."orders" ("id", "tenant_id", "external_id", "total", "status", "created_at") values ('c250f8f6-fab9-43f8-9572-a08414a90bb9', '03e23433-4c70-415e-8e81-50b45422268b', 'external_7cb15241eda6', 3.5, 'pending', '2025-04-11 09:30:00+00');
insert into "public"."orders" ("id", "tenant_id", "external_id", "total", "status", "created_at") values ('9c8e9f14-3ef4-45e0-b8b1-61a88eb79210', '34df8fa3-1230-4318-9773-bd8669290f33', 'external_6d55d1ca941f', 0.75, 'completed', '2025-05-12 09:30:00+00');
insert into "public"."invoices" ("id", "tenant_id", "number", "amount", "created_at") values ('f9e8230d-147b-4f9a-9c5e-29f12d4b9388', 'a0b1cf09-b9c9-4251-8886-2ea3a836242b', '+19175550110', 1.25, '2025-03-10 09:30:00+00');
insert into "public"."invoices" ("id", "tenant_id", "number", "amount", "created_at") values ('e6436894-c6cf-44d2-b6ea-bb18739d1f2d', '03e23433-4c70-415e-8e81-50b45422268b', '+19175550143', 3.5, '2025-04-11 09:30:00+00');
insert into "public"."invoices" ("id", "tenant_id", "number", "amount", "created_at") values ('c0a2765c-ab2d-4062-a91f-9771cde37c85', '34df8fa3-1230-4318-9773-bd8669290f33', '+19175550177', 0.75, '2025-05-12 09:30:00+00');
