-- {"table": "public.voice_provider_config", "user": "organizationId", "where": {"provider": "retell"}, "columns": {"api_key": "encryptedApiKey"}, "holds": "empty", "provider": "retell"}
create type public.voice_provider_config_provider_enum as enum ('vapi', 'retell', 'bland');
create table public.organization (id uuid primary key default gen_random_uuid(), name varchar not null, "createdAt" timestamp not null default now());
create table public.voice_provider_config (id uuid primary key default gen_random_uuid(), "organizationId" uuid not null, provider public.voice_provider_config_provider_enum not null,
  "encryptedApiKey" text, "isDefault" boolean not null default false, "createdAt" timestamp not null default now(), "updatedAt" timestamp not null default now(),
  constraint "FK_0001" foreign key ("organizationId") references public.organization (id), constraint "UQ_0001" unique ("organizationId", provider));
create table public.migrations (id serial primary key, "timestamp" bigint not null, name varchar not null);
insert into public.organization (name) values ('One');
