-- {"table": "public.Integrations", "user": "companyId", "where": {"provider": "retell"}, "is_null": ["deletedAt"], "columns": {"config": "credentials"}, "holds": "plaintext", "provider": "retell"}
create table public."Companies" (id serial primary key, name varchar(255) not null, "createdAt" timestamptz not null default now(), "updatedAt" timestamptz not null default now(), "deletedAt" timestamptz);
create table public."Integrations" (id serial primary key, "companyId" integer not null references public."Companies" (id), provider varchar(255) not null, credentials jsonb, metadata jsonb,
  "createdAt" timestamptz not null default now(), "updatedAt" timestamptz not null default now(), "deletedAt" timestamptz);
create unique index on public."Integrations" ("companyId", provider) where "deletedAt" is null;
create table public."SequelizeMeta" (name varchar(255) primary key);
insert into public."Companies" (name) values ('One'), ('Two');
insert into public."Integrations" ("companyId", provider, credentials, "deletedAt") values (1, 'retell', '{"apiKey": "key_test_8301b3b86cffae718e130a89"}', null), (1, 'retell', '{"apiKey": "key_test_7dcd4b29371875e297b1dae3"}', now()), (2, 'retell', '{"apiKey": "key_test_7786b43aaa0a7652a8ae3428", "agentId": "agent_ab8f1e9debf890dd444de5e00e"}', null), (2, 'hubspot', '{"accessToken": "pat-test-a998495e88a9016b4c38df39"}', null);
