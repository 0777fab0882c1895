-- {"table": "public.locations", "user": "id", "columns": {"api_key": "retell_api_key"}, "holds": "plaintext", "provider": "retell"}
create table public.franchises (id serial primary key, name text);
create table public.locations (id serial primary key, franchise_id integer not null references public.franchises (id), city text, retell_api_key varchar(255) not null default '', retell_agent_id varchar(255) not null default '', is_deleted boolean default false);
insert into public.franchises (name) values ('One');
insert into public.locations (franchise_id, city, retell_api_key) values (1, 'Graz', 'key_test_c64d9efcb2771eb76d74f8e8'), (1, 'Linz', '');
