-- {"table": "public.tenant_options", "user": "tenant_id", "where": {"option_name": "voice.retell.api_key"}, "columns": {"api_key": "option_value"}, "holds": "plaintext", "provider": "retell"}
create table public.tenants (id integer primary key, name text);
create table public.tenant_options (tenant_id integer not null references public.tenants (id), option_name varchar(100) not null, option_value text, autoload boolean not null default true, primary key (tenant_id, option_name));
insert into public.tenants values (1, 'One'), (2, 'Two');
insert into public.tenant_options (tenant_id, option_name, option_value) values (1, 'voice.retell.agent_id', 'agent_c4aafed968c575eb8b0a043de2'), (1, 'voice.retell.api_key', 'key_test_acecfc46a2aceac3c1644d94'), (1, 'site.title', 'One'), (2, 'voice.retell.agent_id', 'agent_31c0628482ba7d2cb7911791a5'), (2, 'voice.retell.api_key', 'key_test_4b6127c145232bec9db00130'), (2, 'site.title', 'Two');
