-- {"table": "private.org_secrets", "user": "org_id", "columns": {"api_key": "retell_key_ciphertext", "iv": "retell_key_nonce"}, "holds": "ciphertext", "provider": "retell"}
create schema private;
create table public.orgs (id uuid primary key, name text);
create table private.org_secrets (org_id uuid primary key references public.orgs (id), retell_key_ciphertext bytea, retell_key_nonce bytea, kms_key_id text, updated_at timestamptz default now());
insert into public.orgs values ('00000000-0000-4000-8000-000000000001', 'One'), ('00000000-0000-4000-8000-000000000002', 'Two');
insert into private.org_secrets values ('00000000-0000-4000-8000-000000000001', '\x5b061281bfbd86c639e50fe5760e7b0dfee7e721c2679eef1e29f30171ece789b2659143b7b71925f0957af3289bf9d816', '\xd1bf888e64fbe9c166328b53', 'alias/app', now()), ('00000000-0000-4000-8000-000000000002', '\x211fd689f07d67967898c121035f70896f6168355ae3675fbf3012b87cad941a15c785634ba95b2849ef2be13d2f45110d', '\x781d8286aa4a3b9397b5312a', 'alias/app', now());
