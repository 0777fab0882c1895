-- {"table": "public.integrations_hooks", "user": "account_id", "where": {"app_id": "openai"}, "columns": {"config": "settings"}, "holds": "plaintext", "provider": "openai"}
create table public.accounts (id serial primary key, name varchar not null, feature_flags bigint not null default 0);
create table public.integrations_hooks (id bigserial primary key, status integer default 1, inbox_id integer, account_id integer, app_id varchar, hook_type integer default 0,
  reference_id varchar, access_token varchar, settings jsonb default '{}', created_at timestamp not null default now(), updated_at timestamp not null default now());
create table public.access_tokens (id bigserial primary key, owner_type varchar, owner_id bigint, token varchar, created_at timestamp not null default now());
create table public.channel_api (id bigserial primary key, account_id integer not null, webhook_url varchar, identifier varchar, hmac_token varchar, additional_attributes jsonb default '{}');
create table public.agent_bots (id bigserial primary key, name varchar, description varchar, outgoing_url varchar, account_id bigint, bot_type integer default 0, bot_config jsonb default '{}');
insert into public.accounts (name) values ('One'), ('Two');
insert into public.integrations_hooks (account_id, app_id, settings) values (1, 'openai', '{"api_key": "sk-test-ca197010aecd970a497c5f739040d9e4", "label_suggestion": "true"}'), (2, 'openai', '{"api_key": "sk-test-6c8f350f0fb8caf14a564b41c8418b28"}'), (1, 'dyte', '{"organization_id": "00000000-0000-4000-8000-000000000007", "api_key": "492fa2d2792dfb7fa490"}');
insert into public.access_tokens (owner_type, owner_id, token) values ('User', 1, '72e6207bb3935bdfee3bf7f9');
insert into public.channel_api (account_id, webhook_url, identifier, hmac_token) values (1, 'https://example.com', '75089a7fc53f050bec461480', 'd7ffcb0f94707679c9e6ffd7');
