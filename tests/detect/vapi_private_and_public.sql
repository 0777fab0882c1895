-- {"table": "public.agencies", "user": "id", "columns": {"api_key": "vapi_private_key"}, "holds": "plaintext", "provider": "vapi"}
create table public.agencies (id uuid primary key, name text not null, vapi_public_key text, vapi_private_key text, vapi_assistant_id text, logo_url text);
insert into public.agencies values ('00000000-0000-4000-8000-000000000001', 'One', '00000000-0000-4000-8000-000000a1b2c3', '9e10bbab-40a2-4d1b-8a3a-1ae3456c7c32', '77a5ece3-fcb1-4cff-95df-fb30f9bcfa91', null), ('00000000-0000-4000-8000-000000000002', 'Two', null, null, null, null);
