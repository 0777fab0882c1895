-- {"table": "public.business_settings", "user": "business_id", "columns": {"api_key": "retell_api_key", "inbound_agent_id": "retell_inbound_agent_id", "outbound_agent_id": "retell_outbound_agent_id"}, "holds": "plaintext", "provider": "retell"}
create table public.businesses (id uuid primary key, name text, phone text);
create table public.business_settings (business_id uuid primary key references public.businesses (id), retell_api_key text, retell_inbound_agent_id text, retell_outbound_agent_id text, timezone text default 'UTC');
insert into public.businesses values ('00000000-0000-4000-8000-000000000001', 'One', '+14155550101'), ('00000000-0000-4000-8000-000000000002', 'Two', null);
insert into public.business_settings (business_id, retell_api_key, retell_inbound_agent_id) values ('00000000-0000-4000-8000-000000000001', 'key_test_ad24f4340a47ec80125af3c9', 'agent_93546fd8b8b7c6a0ef2fa5da8a'), ('00000000-0000-4000-8000-000000000002', null, null);
