-- {"table": "public.companies", "user": "id", "columns": {"config": "voice_config"}, "holds": "plaintext", "provider": "retell"}
create table public.companies (id bigserial primary key, name text not null, voice_config jsonb, billing jsonb, owner_email text);
insert into public.companies (name, voice_config, billing) values ('One', '{"provider": "retell", "api_key": "key_test_6120950158c0fb859e63815f", "agent_id": "agent_d0e01b3cb933697da9ed8d274f"}', '{"plan": "pro"}'), ('Two', '{"provider": "retell", "api_key": "key_test_1a8ce24dc31b00513162fc75"}', null);
