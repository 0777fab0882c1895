-- {"table": "public.system_settings", "user": "id", "columns": {"api_key": "retell_api_key"}, "holds": "plaintext", "provider": "retell"}
create table public.system_settings (id integer primary key default 1 check (id = 1), site_name text, retell_api_key text, smtp_password text, stripe_secret_key text, updated_by integer);
insert into public.system_settings (site_name, retell_api_key, smtp_password) values ('One', 'key_test_e9a1ada9cb70a2d35cf873a3', 'fake-password');
