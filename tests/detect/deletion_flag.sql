-- {"table": "public.provider_accounts", "user": "tenant_id", "where": {"provider": "retell", "is_deleted": false}, "columns": {"api_key": "api_key"}, "holds": "plaintext", "provider": "retell"}
create table public.tenants (id bigserial primary key, name text not null);
create table public.provider_accounts (id bigserial primary key, tenant_id bigint not null references public.tenants (id), provider text not null, api_key text not null, is_deleted boolean not null default false, created_at timestamptz not null default now());
create unique index one_active on public.provider_accounts (tenant_id, provider) where not is_deleted;
insert into public.tenants (name) values ('One'), ('Two');
insert into public.provider_accounts (tenant_id, provider, api_key, is_deleted) values (1, 'retell', 'key_test_6c5988387302729d41e36849', true), (1, 'retell', 'key_test_58c158d05e595468e9736ab3', false), (2, 'retell', 'key_test_bdd335a5152e4178263831a6', false), (2, 'elevenlabs', '51eaada06e2620addea51667d21d24be', false);
