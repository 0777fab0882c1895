-- {"table": "public.workspace_settings", "user": "workspace_id", "columns": {"api_key": "retell_api_key"}, "holds": "ciphertext", "provider": "retell"}
create table public.users (id uuid primary key, email text unique);
create table public.accounts (id uuid primary key, user_id uuid not null references public.users (id));
create table public.workspaces (id uuid primary key, account_id uuid not null references public.accounts (id), name text);
create table public.workspace_settings (id uuid primary key, workspace_id uuid not null unique references public.workspaces (id), retell_api_key text, timezone text);
insert into public.users values ('00000000-0000-4000-8000-000000000001', 'one@example.com');
insert into public.accounts values ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001');
insert into public.workspaces values ('00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000002', 'One'), ('00000000-0000-4000-8000-000000000004', '00000000-0000-4000-8000-000000000002', 'Two');
insert into public.workspace_settings values ('00000000-0000-4000-8000-000000000005', '00000000-0000-4000-8000-000000000003', '1574d570d19301cb2e454ef3:7c5e627b1a58b03860ffabb08805f724:aebd63aee190722bb040c081a1c5d99eb8dccc6338fd35fe84d45b3d630f10cbb8', 'UTC'), ('00000000-0000-4000-8000-000000000006', '00000000-0000-4000-8000-000000000004', '5d781238fca840fb855ffeb7:e403d1f7dd8caff3a8e58eec54fa286d:ec8c11d927f6ff548c70efa7c6d63bce0e14db7e97123c0ccbbbe51e52b9b1c4cc', 'UTC');
