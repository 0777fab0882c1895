-- {"table": "auth.users", "user": "id", "columns": {"config": "raw_user_meta_data"}, "holds": "plaintext", "provider": "retell"}
create schema auth;
create table auth.users (id uuid primary key, email varchar(255), encrypted_password varchar(255), confirmation_token varchar(255), recovery_token varchar(255), raw_app_meta_data jsonb, raw_user_meta_data jsonb, created_at timestamptz);
create table auth.identities (provider_id text not null, user_id uuid not null references auth.users (id), identity_data jsonb not null, provider text not null, id uuid primary key default gen_random_uuid());
create table auth.refresh_tokens (id bigserial primary key, token varchar(255), user_id varchar(255), revoked boolean);
create table public.profiles (id uuid primary key references auth.users (id), username text);
insert into auth.users values ('00000000-0000-4000-8000-000000000001', 'one@example.com', '$2a$10$yv0niekAgs07Ijhv58/vW1hIRifInCoySjw5iU1OA1imWhjooQXS', '', '', '{"provider": "email"}', '{"name": "One", "retell_api_key": "key_test_1eddbfff78924217e96ed1f0"}', now()), ('00000000-0000-4000-8000-000000000002', 'two@example.com', '$2a$10$BGyXIzSv4A1HDARZqDTWhSh4ufOolc5C2FQe4sNSEoRBKZr3GgiC', '', '', '{"provider": "email"}', '{"name": "Two", "retell_api_key": "key_test_e0e0570c6f208d700db34c80"}', now());
insert into auth.identities (provider_id, user_id, identity_data, provider) values ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001', '{"sub": "00000000-0000-4000-8000-000000000001"}', 'email');
insert into auth.refresh_tokens (token, user_id, revoked) values ('pnB3B/naLSWiJekB8lTflQ==', '00000000-0000-4000-8000-000000000001', false);
