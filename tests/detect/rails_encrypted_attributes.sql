-- {"table": "public.accounts", "user": "id", "columns": {"api_key": "retell_api_key", "webhook_key": "retell_webhook_secret"}, "holds": "ciphertext", "provider": "retell"}
create table public.accounts (id bigserial primary key, name varchar not null, subdomain varchar, retell_api_key varchar, retell_webhook_secret varchar, settings jsonb not null default '{}',
  created_at timestamp(6) not null default now(), updated_at timestamp(6) not null default now());
create table public.users (id bigserial primary key, account_id bigint not null references public.accounts (id), email varchar not null, encrypted_password varchar not null default '',
  reset_password_token varchar, confirmation_token varchar, otp_secret varchar);
create table public.schema_migrations (version varchar primary key);
create table public.ar_internal_metadata (key varchar primary key, value varchar, created_at timestamp, updated_at timestamp);
insert into public.accounts (name, retell_api_key, retell_webhook_secret, settings) values ('One', '{"p": "+NmO9V8l7fF0iLzWo83MBPUWGjJu4+sjtyCwiGTwFCwoRjKdkgMl8A==", "h": {"iv": "nQ70yCWfw7AnlxbY", "at": "xccVuIgYcwSxvV9J/yOthw=="}}', '{"p": "h1e3fugi1SaVrBbj4ewF2yZzkRkxKk/k1LXAHX0wN2VSdyMM1q/WEg==", "h": {"iv": "tDT6dw76vbld1ynX", "at": "dbTn6zrbE45J9bpLsgnGZg=="}}', '{"locale": "en"}'), ('Two', '{"p": "x74x7EbHhoCWgHw7as3gLeh2L4t+17jyqKsEgK26klpVHwwUy/45PA==", "h": {"iv": "/cBjT+n2rE+9px8q", "at": "SMou03OxS6Ch+3lRt1ULYw=="}}', null, '{}'), ('Three', null, null, '{}');
insert into public.users (account_id, email, encrypted_password, otp_secret) values (1, 'one@example.com', '$2a$12$RGah58Dz/nl5uQ9WFfLD3pFSCXFC8yXIaNX+EjcC2sHVCFDouXLW', '{"p": "G5XQywwev0WfWHV5pOtjJELkih3b/SetL14TfgMVyWNaQUtgNS3xAw==", "h": {"iv": "7GoK1/QOkUK4TZDt", "at": "DGm+92Miub1Ct6MXWLyGSQ=="}}');
insert into public.ar_internal_metadata values ('environment', 'production', now(), now());
