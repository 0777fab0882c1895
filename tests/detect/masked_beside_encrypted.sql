-- {"table": "public.integration_credentials", "user": "team_id", "where": {"service": "retell"}, "columns": {"api_key": "api_key_enc"}, "holds": "ciphertext", "provider": "retell"}
create table public.teams (id serial primary key, name text);
create table public.integration_credentials (id serial primary key, team_id integer not null references public.teams (id), service varchar(50) not null, api_key varchar(64), api_key_enc text, last_verified_at timestamptz, unique (team_id, service));
insert into public.teams (name) values ('One'), ('Two');
insert into public.integration_credentials (team_id, service, api_key, api_key_enc) values (1, 'retell', 'key_****a012', '4pLMLbAiA7EuG4CHlW28s7NbZk7LDLFBl/0aN0YMIz1YDmN/4xY+QCLXXPtnp2x+Uzxh2i+yWi/7x5vWPA=='), (2, 'retell', 'key_****7ed7', 'Qu7rzavoVXzwxLjvZyf8XmjnLSk7Bgzgou38hMPE5aVMnKioPY74Ngs4BPM4uTHupK9Cj83O0NkKSAKImg=='), (2, 'deepgram', '****89c5', 'Evp5oqGF5cklXFb4bANTtnHsKlR7OV+fbI/dHJWqsc9fsA6Z/o3FClHy60JubnfEW7RlD9td6jh7y/kJWg==');
