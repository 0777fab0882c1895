create table public.organizations (id uuid primary key, name text not null, signing_secret text not null);
create table public.webhook_endpoints (id uuid primary key, organization_id uuid not null references public.organizations (id), url text not null, secret text not null, events text[] not null, enabled boolean not null default true);
create table public.webhook_deliveries (id bigserial primary key, endpoint_id uuid not null references public.webhook_endpoints (id), event_type text not null, payload jsonb not null, signature text, status text);
insert into public.organizations values ('00000000-0000-4000-8000-000000000001', 'One', 'whsec_fake87e3e26f2e9c0ec853d0d6a196e9c96f');
insert into public.webhook_endpoints values ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', 'https://example.com/hook', 'whsec_fakef0d1d5fa5688e32e14643034f8e0ab66', '{call.ended}', true);
insert into public.webhook_deliveries (endpoint_id, event_type, payload, signature) values ('00000000-0000-4000-8000-000000000002', 'call.ended', '{"call_id": "call_1", "token": "abc"}', 'sha256=288c619116639c295369ae3500201ecc33cabd2105e8eaa63a074c48564d3355');
