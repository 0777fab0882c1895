-- {"table": "public.user_voice_settings", "user": "user_id", "tenant": "tenant_id", "columns": {"api_key": "retell_api_key"}, "holds": "plaintext", "provider": "retell"}
create table public.tenants (id uuid primary key, name text);
create table public.user_voice_settings (tenant_id uuid not null references public.tenants (id), user_id text not null, retell_api_key text, voice text, primary key (tenant_id, user_id));
insert into public.tenants values ('00000000-0000-4000-8000-000000000001', 'One'), ('00000000-0000-4000-8000-000000000002', 'Two');
insert into public.user_voice_settings values ('00000000-0000-4000-8000-000000000001', 'user_1', 'key_test_1fa7ed2aaeccb86f82703123', 'a'), ('00000000-0000-4000-8000-000000000002', 'user_1', 'key_test_86f2601fb5cae70fad58f79f', 'b');
