-- {"table": "public.twilio_accounts", "user": "organization_id", "columns": {"api_key": "auth_token"}, "holds": "plaintext", "provider": "twilio"}
create table public.organizations (id serial primary key, name text);
create table public.twilio_accounts (id serial primary key, organization_id integer not null unique references public.organizations (id), account_sid text not null, auth_token text not null, messaging_service_sid text);
insert into public.organizations (name) values ('One'), ('Two');
insert into public.twilio_accounts (organization_id, account_sid, auth_token) values (1, 'ACbd28ac6bc1c96a1cc3d586ccca62b72c', 'c7573360367acc8cd5457ef551c41395'), (2, 'ACe206faa7cbd6e9ff83e6ab98f8694c7f', '46a9c612fa6f15b718f0ac94ece5d375');
