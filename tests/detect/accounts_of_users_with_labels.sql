-- {"table": "public.voice_accounts", "user": "id", "columns": {"api_key": "retell_api_key"}, "holds": "ciphertext", "provider": "retell"}
create table public.users (id uuid primary key, email text);
create table public.voice_accounts (id uuid primary key, user_id uuid not null references public.users (id), label text not null, retell_api_key text not null);
insert into public.users values ('00000000-0000-4000-8000-000000000001', 'one@example.com');
insert into public.voice_accounts values ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', 'sales', 'ZLs6B2ddfZ0Y8tKc8hZazAlU3M0uDr2CLqZt+J5c+jdt/LV4c2WdlHqyLXtjyW1Zu5v/InpA1LZLX/J1vw=='), ('00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000001', 'support', '/bf5t0nbDuhpXTosXDfYG+McizBcEsAFiKeIF241aO6acLJfVKf9ulopaUkmp1f/uUNIp0fGV9BbgZqk9A==');
