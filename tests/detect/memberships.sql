-- {"table": "public.memberships", "user": "user_id", "tenant": "workspace_id", "columns": {"api_key": "retell_api_key"}, "holds": "ciphertext", "provider": "retell"}
create table public.users (id bigserial primary key, email text);
create table public.workspaces (id bigserial primary key, name text);
create table public.memberships (id bigserial primary key, workspace_id bigint not null references public.workspaces (id), user_id bigint not null references public.users (id), role text not null default 'member', retell_api_key text, unique (workspace_id, user_id));
insert into public.users (email) values ('one@example.com'), ('two@example.com');
insert into public.workspaces (name) values ('One'), ('Two');
insert into public.memberships (workspace_id, user_id, retell_api_key) values (1, 1, 'gAAAAA023bGFW7xCd1574J44uTL-TKAO6Nv-ecRr9XsGhzCcL6BM2wZf0WHlqHgri1RLryywnfwpLw1zoJ_DRYkcQcNC5-NZE09q9vD7A7F4gOnS5KB0Dv7NX_Fil2'), (1, 2, 'gAAAAATcQsFHiqKOImHVwIywz6krQPjSbrrw0nbTDrrVM1yblm2ajHNr1mKDQk0cXL3IQ0db3ganlt6Qqxx7vAcpS1Wkn2fB2lIp-udHNo3U5hLmfW6vRote5PQm8f'), (2, 1, null);
