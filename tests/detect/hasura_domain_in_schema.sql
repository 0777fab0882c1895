-- {"table": "voice.tenant_settings", "user": "tenant_id", "columns": {"api_key": "retell_key"}, "holds": "ciphertext", "provider": "retell"}
create schema voice;
create schema core;
create domain core.secret as text check (value <> '');
create domain core.tenant as uuid;
create table core.tenants (id core.tenant primary key, name text not null);
create table voice.tenant_settings (tenant_id core.tenant primary key references core.tenants (id), retell_key core.secret, retell_from_number text, greeting text);
create table public.events (id bigserial primary key, tenant_id uuid, name text, payload jsonb);
insert into core.tenants values ('00000000-0000-4000-8000-000000000001', 'One'), ('00000000-0000-4000-8000-000000000002', 'Two');
insert into voice.tenant_settings values ('00000000-0000-4000-8000-000000000001', 'v1:GqSTevbJMf/DqSp5:+bZm6xfI33ep1713qJOomKP3yysTnbRuwSCCEbBtTmzzPCZGmrTB7LeLG3EY3/f5vQ==', '+14155550100', 'Hello'), ('00000000-0000-4000-8000-000000000002', 'v1:VjxAP+vqQ6rbcX/y:miw9+iSiGAbGBrFzvjIeVUi4m2cY0inmUoTmppoFSCs7nbkIjRpEq+yYhJVU7nz+AA==', null, null);
