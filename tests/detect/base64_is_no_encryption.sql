-- {"table": "public.account_configs", "user": "account_id", "columns": {"api_key": "retell_key_encrypted"}, "holds": "plaintext", "provider": "retell", "says": "base64"}
create table public.accounts (id uuid primary key, name text);
create table public.account_configs (account_id uuid primary key references public.accounts (id), retell_key_encrypted text, language text);
insert into public.accounts values ('00000000-0000-4000-8000-000000000001', 'One'), ('00000000-0000-4000-8000-000000000002', 'Two');
insert into public.account_configs values ('00000000-0000-4000-8000-000000000001', 'a2V5X3Rlc3RfYTViZDQyYWMwOGRjM2ZiY2QyZWI1NDNh', 'en'), ('00000000-0000-4000-8000-000000000002', 'a2V5X3Rlc3RfNjg1NzA3OTI0ODRmMmFhOGNjZDhjNWQz', 'de');
