-- {"table": "public.IntegrationConfig", "user": "organizationId", "where": {"type": "RETELL_AI"}, "columns": {"config": "config"}, "holds": "ciphertext", "provider": "retell"}
create type public."IntegrationType" as enum ('GOOGLE_CALENDAR', 'RETELL_AI', 'SLACK');
create table public."Organization" (id text primary key, name text);
create table public."IntegrationConfig" (id text primary key, "organizationId" text not null references public."Organization" (id), type public."IntegrationType" not null, config text not null, "isActive" boolean not null default true, unique ("organizationId", type));
insert into public."Organization" values ('o1', 'One'), ('o2', 'Two');
insert into public."IntegrationConfig" values ('i1', 'o1', 'RETELL_AI', 'aaa4e8e18fd830b7a0a386a3:cdaeb5115cb3274f0c6be0689107f514:daa9dd81af2995f0d2f6d5db6b845e799c88e2a3813b0fffaad89599965d4024ae', true), ('i2', 'o1', 'SLACK', '2c9eeccfd6dc9e68728c39d0:d3ce8d81a87b83eb17241d5626ca9004:3cceca6ebc07485fc91e5b92c62d3a0d58e399e5c95a85c0f2b427bd0ecdc95a0c', true), ('i3', 'o2', 'RETELL_AI', '4a22a2f5723b2c7a50cbf45f:a3ea7f94696f3dc6270652010b6627de:5217cc67369a2b3d3195f91dc2888b8e686ebe3675a717f5ad44a23f2415e486f5', true);
