-- {"table": "public.agencies", "user": "id", "columns": {"api_key": "retell_api_key"}, "holds": "plaintext", "also": ["public.call_logs", "public.agencies_backup_2024"], "provider": "retell"}
create table public.agencies (id serial primary key, name text not null, retell_api_key text);
create table public.call_logs (id bigserial primary key, agency_id integer not null references public.agencies (id), retell_call_id text, retell_api_key text, duration integer, created_at timestamptz default now());
create table public.agencies_backup_2024 as select * from public.agencies;
create table public.audit_log (id bigserial primary key, table_name text not null, row_id text, old_row jsonb, new_row jsonb, at timestamptz default now());
insert into public.agencies (name, retell_api_key) values ('One', 'key_test_e9df013e6d60d7ca84e37437'), ('Two', 'key_test_fe162065892ef6fa936fab6d');
insert into public.call_logs (agency_id, retell_call_id, retell_api_key, duration) select id, 'call_test_1', retell_api_key, 10 from public.agencies;
insert into public.agencies_backup_2024 select * from public.agencies;
insert into public.audit_log (table_name, row_id, new_row) select 'agencies', id::text, to_jsonb(a) from public.agencies a;
