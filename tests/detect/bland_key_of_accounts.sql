-- {"table": "public.accounts", "user": "id", "columns": {"api_key": "bland_api_key"}, "holds": "plaintext", "provider": "bland"}
create table public.accounts (id uuid primary key, name text, bland_api_key text, bland_pathway_id text);
insert into public.accounts values ('00000000-0000-4000-8000-000000000001', 'One', 'org_c50f67f9af80ae1f8575f6d82f0582136d8260c0', null), ('00000000-0000-4000-8000-000000000002', 'Two', 'org_b93b45fe16b762c9315d124e4301b6bce26ebd7f', null);
