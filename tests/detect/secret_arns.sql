-- {"table": "public.voice_credentials", "user": "tenant_id", "where": {"provider": "retell"}, "columns": {"api_key": "secret_arn"}, "holds": "references", "provider": "retell"}
create table public.tenants (id uuid primary key, name text);
create table public.voice_credentials (id uuid primary key default gen_random_uuid(), tenant_id uuid not null references public.tenants (id), provider text not null, secret_arn text not null, created_at timestamptz default now(), unique (tenant_id, provider));
insert into public.tenants values ('00000000-0000-4000-8000-000000000001', 'One'), ('00000000-0000-4000-8000-000000000002', 'Two');
insert into public.voice_credentials (tenant_id, provider, secret_arn) values ('00000000-0000-4000-8000-000000000001', 'retell', 'arn:aws:secretsmanager:eu-west-1:000000000000:secret:tenant-one/retell-AbCdEf'), ('00000000-0000-4000-8000-000000000002', 'retell', 'arn:aws:secretsmanager:eu-west-1:000000000000:secret:tenant-two/retell-AbCdEf');
