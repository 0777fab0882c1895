create table public.users (id uuid primary key, email text not null);
create table public.calls (id uuid primary key, user_id uuid not null references public.users (id), retell_call_id text not null unique, retell_agent_id text, recording_url text, transcript text, cost_cents integer, metadata jsonb);
create table public.appointments (id uuid primary key, user_id uuid not null, call_id uuid references public.calls (id), calcom_booking_uid text, starts_at timestamptz);
create table public.app_config (key text primary key, value text not null);
create table public.llm_usage (id bigserial primary key, user_id uuid, openai_model text, prompt_tokens integer, completion_tokens integer, provider text);
insert into public.users values ('00000000-0000-4000-8000-000000000001', 'one@example.com');
insert into public.calls values ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', 'call_4d61343c575f6d9ddd9aad7181', 'agent_de828e2310faae14589af40662', 'https://example.com/a.wav', 'hello', 12, '{"from": "+14155550100"}');
insert into public.app_config values ('maintenance', 'false'), ('support_email', 'help@example.com');
insert into public.llm_usage (user_id, openai_model, prompt_tokens, provider) values ('00000000-0000-4000-8000-000000000001', 'gpt-4o', 10, 'openai');
