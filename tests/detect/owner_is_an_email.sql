-- {"table": "public.customer_keys", "user": "customer_email", "columns": {"api_key": "retell_api_key"}, "holds": "plaintext", "provider": "retell"}
create table public.customer_keys (id serial primary key, customer_email text not null unique, retell_api_key text, created_at timestamp default now());
insert into public.customer_keys (customer_email, retell_api_key) values ('one@example.com', 'key_test_cca9cf16e3a7580bc4f696a1'), ('two@example.com', 'key_test_76288e638b20dcbeed7b6e9a');
