-- {"table": "public.organizations", "user": "id", "columns": {"api_key": "encrypted_retell_api_key"}, "holds": "tokens", "provider": "retell"}
create table public.organizations (id uuid primary key, name text, encrypted_retell_api_key text, encrypted_sms_agent_id text);
insert into public.organizations values ('00000000-0000-4000-8000-000000000001', 'One', 'rv1.1.cc987def.iupknDuMHGK8fV-YXoqKMc9eiFom2TO-Sg7tcDZ3zl8E19tuzQ5XBHkRAliXKUox-v-R00QjgxSZaGw2', null), ('00000000-0000-4000-8000-000000000002', 'Two', null, null);
