-- {"table": "public.org_voice", "user": "org_id", "columns": {"api_key": "retell_api_key_path"}, "holds": "references", "provider": "retell"}
create table public.orgs (id bigserial primary key, name text);
create table public.org_voice (org_id bigint primary key references public.orgs (id), retell_api_key_path text, enabled boolean not null default true);
insert into public.orgs (name) values ('One'), ('Two');
insert into public.org_voice values (1, 'vault://secret/data/orgs/1/retell#api_key', true), (2, 'vault://secret/data/orgs/2/retell#api_key', true);
