-- {"table": "public.clients", "user": "id", "columns": {"api_key": "retell_api_key"}, "holds": "plaintext", "provider": "retell", "says": "retel_api_key"}
create table public.clients (id uuid primary key, company_name text not null, retel_api_key text, retell_api_key text, notes text);
insert into public.clients values ('00000000-0000-4000-8000-000000000001', 'One', null, 'key_test_b96566cf49cb6af3c48875de', null), ('00000000-0000-4000-8000-000000000002', 'Two', null, 'key_test_f4ca68789ff310c6f439cd39', null);
