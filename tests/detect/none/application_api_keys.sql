create table public.users (id uuid primary key, email text not null unique, password_hash text not null, mfa_secret text, reset_token text);
create table public.api_keys (id uuid primary key, user_id uuid not null references public.users (id), name text not null, key_prefix text not null, key_hash text not null unique, scopes text[], last_used_at timestamptz, revoked_at timestamptz);
create table public.sessions (id text primary key, user_id uuid not null references public.users (id), token text not null unique, expires_at timestamptz not null, ip_address text);
insert into public.users values ('00000000-0000-4000-8000-000000000001', 'one@example.com', '$argon2id$v=19$m=65536,t=3,p=4$eQ+JPH4RlPzdbeO17TnzeQ==$2HSAUb0Q0jpF7aE6j/fCYDzD+yNIVBxNmlQoQWHSLZE=', null, null);
insert into public.api_keys values ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', 'CI', 'app_live_', 'e83bfb1f1bb30d4ce23a8447f3afc29e7e586b89bd2b47b35c1d72dbeb51a63c', '{read}', null, null);
insert into public.sessions values ('s1', '00000000-0000-4000-8000-000000000001', '99bbc9c6f879a17dc48dac5c404f4d7eaf8ebdec1bf979ff6897dc5983a264ed', now(), '192.0.2.1');
