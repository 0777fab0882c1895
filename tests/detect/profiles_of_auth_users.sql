-- {"table": "public.profiles", "user": "id", "columns": {"api_key": "retell_api_key"}, "holds": "plaintext", "provider": "retell"}
create schema auth;
create table auth.users (id uuid primary key, email varchar(255), encrypted_password varchar(255), raw_user_meta_data jsonb);
insert into auth.users values ('00000000-0000-4000-8000-000000000001', 'one@example.com', '', '{}'), ('00000000-0000-4000-8000-000000000002', 'two@example.com', '', '{}');
create table public.profiles (id uuid primary key references auth.users (id), full_name text, company_name text, retell_api_key text, retell_phone_number text, onboarding_completed boolean default false);
alter table public.profiles enable row level security;
insert into public.profiles (id, full_name, retell_api_key, retell_phone_number) values ('00000000-0000-4000-8000-000000000001', 'One', 'key_test_4ca2306878abe009091cad67', '+14155550100'), ('00000000-0000-4000-8000-000000000002', 'Two', null, null);
