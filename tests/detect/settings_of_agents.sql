-- {"table": "public.agent_settings", "user": "agent_id", "columns": {"api_key": "retell_api_key", "call_agent_id": "retell_agent_id"}, "holds": "plaintext", "provider": "retell"}
create table public.agents (id serial primary key, name text not null, prompt text);
create table public.agent_settings (id serial primary key, agent_id integer not null unique references public.agents (id), retell_api_key text, retell_agent_id text, voice_id text);
insert into public.agents (name) values ('One'), ('Two');
insert into public.agent_settings (agent_id, retell_api_key, retell_agent_id) values (1, 'key_test_c5a5e676e86734e2cec9f1ba', 'agent_6f366677a4f1f3753b44874209'), (2, 'key_test_39a4210fab90c307ee7704b5', 'agent_a865bd32811d766dfd26cbaa41');
