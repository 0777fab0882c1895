-- {"table": "public.workspaces", "user": "id", "columns": {"api_key": "retell_api_key_secret_id"}, "holds": "references", "provider": "retell"}
create schema vault;
create table vault.secrets (id uuid primary key default gen_random_uuid(), name text unique, description text not null default '', secret text not null,
  key_id uuid, nonce bytea, created_at timestamptz not null default now(), updated_at timestamptz not null default now());
create table public.workspaces (id uuid primary key default gen_random_uuid(), name text not null, owner_id uuid not null,
  retell_api_key_secret_id uuid references vault.secrets (id), created_at timestamptz default now());
create table public.workspace_members (workspace_id uuid references public.workspaces (id), user_id uuid not null, role text not null, primary key (workspace_id, user_id));
insert into vault.secrets (id, name, secret, nonce) values ('00000000-0000-4000-8000-000000000011', 'workspace-one', 'en1e70I2m9vAdNQ0eF7h34lJ7FrAjzDMkhE5UJAqMDnWUj5OmDPC7G/8A7oZJOmCdr6ja6EaPDuqEsCTdA==', '\xe59d36d70cf37c6b92d3577d'), ('00000000-0000-4000-8000-000000000012', 'workspace-two', 'Gq02FEYZC3a7oI+Q8tONzFehJlwTIHZwwFXSkUQBrlC1uSLuVqyrsUAoRKVTwFlzSKm0Z8Yu4sZRLxPdzw==', '\xf6a6c3fe39d3da109b73817d');
insert into public.workspaces (id, name, owner_id, retell_api_key_secret_id) values ('00000000-0000-4000-8000-000000000001', 'One', '00000000-0000-4000-8000-000000000021', '00000000-0000-4000-8000-000000000011'), ('00000000-0000-4000-8000-000000000002', 'Two', '00000000-0000-4000-8000-000000000022', '00000000-0000-4000-8000-000000000012'), ('00000000-0000-4000-8000-000000000003', 'Three', '00000000-0000-4000-8000-000000000023', null);
insert into public.workspace_members values ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000021', 'owner'), ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000022', 'owner');
