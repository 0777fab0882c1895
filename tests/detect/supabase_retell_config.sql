-- {"table": "public.retell_config", "user": "user_id", "columns": {"api_key": "api_key", "call_agent_id": "agent_id", "phone_number": "phone_number"}, "holds": "plaintext", "provider": "retell"}
create schema auth;
create table auth.users (id uuid primary key, email varchar(255), encrypted_password varchar(255), raw_user_meta_data jsonb);
insert into auth.users values ('00000000-0000-4000-8000-000000000001', 'one@example.com', '', '{}'), ('00000000-0000-4000-8000-000000000002', 'two@example.com', '', '{}');
create table public.retell_config (id uuid primary key default gen_random_uuid(), user_id uuid not null references auth.users (id) on delete cascade, api_key text not null, agent_id text, phone_number text, webhook_url text, is_active boolean default true, created_at timestamptz default now(), unique (user_id));
create table public.call_history (id uuid primary key default gen_random_uuid(), user_id uuid references auth.users (id), call_id text, agent_id text, status text);
insert into public.retell_config (user_id, api_key, agent_id, phone_number) values ('00000000-0000-4000-8000-000000000001', 'key_test_abc18c5c6ff81e78f4c7007b', 'agent_d565f1485a68bd6ad562053a72', '+14155550100'), ('00000000-0000-4000-8000-000000000002', 'key_test_e69e7f01d405d668a6b2a8da', 'agent_b6685fa8063104b6b65844423c', null);
