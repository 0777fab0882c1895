-- {"table": "public.vendor_secrets", "user": "org_id", "where": {"vendor": "retell"}, "columns": {"api_key": "secret"}, "holds": "plaintext", "provider": "retell"}
create table public.orgs (id bigserial primary key, name text);
create table public.vendor_secrets (org_id bigint not null, vendor text not null, secret text, updated_at timestamptz);
create table public.knex_migrations (id serial primary key, name varchar(255), batch integer, migration_time timestamptz);
insert into public.orgs (name) values ('One'), ('Two');
insert into public.vendor_secrets values (1, 'retell', 'key_test_d9547e6be36e5fbd3f6691e0', now()), (1, 'openai', 'sk-test-84358e2b1c294e5fb1cf08c00951c091', now()), (2, 'retell', 'key_test_d4da8a25841e5480ffe45f2c', now());
