-- {"table": "public.restaurants", "user": "id", "columns": {"api_key": "retell_api_key", "phone_number": "retell_phone_number"}, "holds": "plaintext", "provider": "retell"}
create table public.users (id uuid primary key, email text not null);
create table public.restaurants (id uuid primary key default gen_random_uuid(), owner_id uuid references public.users (id), name text not null, slug text unique, phone text, retell_api_key text, retell_agent_id text, retell_phone_number text, twilio_account_sid text, twilio_auth_token text);
insert into public.users values ('00000000-0000-4000-8000-000000000001', 'one@example.com');
insert into public.restaurants (owner_id, name, slug, retell_api_key, retell_agent_id) values ('00000000-0000-4000-8000-000000000001', 'One', 'one', 'key_test_c1bca085abe9066a604983ce', 'agent_8629ad4d57fce2f51780995d4a'), ('00000000-0000-4000-8000-000000000001', 'Two', 'two', 'key_test_3f5fb82cfd9d1fc4b53884b4', 'agent_cec047b4ef96498a6d6650a947');
