-- {"table": "public.voice_integrations", "user": "workspace_id", "where": {"provider": "retell"}, "columns": {"api_key": "api_key_encrypted"}, "holds": "empty", "provider": "retell"}
create table public.workspaces (id uuid primary key default gen_random_uuid(), name text not null);
create table public.voice_integrations (id uuid primary key default gen_random_uuid(), workspace_id uuid not null references public.workspaces (id) on delete cascade,
  provider text not null check (provider in ('bland', 'retell', 'vapi')), api_key_encrypted text, status text not null default 'pending' check (status in ('pending', 'active', 'error')), created_at timestamptz not null default now(), unique (workspace_id, provider));
insert into public.workspaces (name) values ('One');
