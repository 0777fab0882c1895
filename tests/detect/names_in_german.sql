-- {"table": "public.mandanten", "user": "id", "columns": {"api_key": "retell_api_schluessel"}, "holds": "plaintext", "provider": "retell"}
create table public.mandanten (id serial primary key, firma text not null, retell_api_schluessel text, erstellt_am timestamp default now());
insert into public.mandanten (firma, retell_api_schluessel) values ('Eins', 'key_test_ac568bb969590bbea96696f1'), ('Zwei', 'key_test_2b405eea8ae5894412938583');
