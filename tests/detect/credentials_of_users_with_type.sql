-- {"table": "public.credentials", "user": "id", "where": {"type": "retellApi"}, "columns": {"config": "data"}, "holds": "ciphertext", "provider": "retell"}
create table public.users (id serial primary key, email text not null unique);
create table public.credentials (id serial primary key, user_id integer not null references public.users (id), name varchar(128) not null, type varchar(128) not null, data text not null, created_at timestamptz default now());
insert into public.users (email) values ('one@example.com'), ('two@example.com');
insert into public.credentials (user_id, name, type, data) values (1, 'Retell', 'retellApi', 'U2FsdGVkX1aovI7IDzmfejabqAbktcYg9HcRpMEunPCNFGN7fGGh1LR3tqK+buodDOtRv2w6RIlD2qHT2/rXRYLxpv'), (1, 'Mail', 'smtp', 'U2FsdGVkX1bRMlJJ5vLNcCl1JmXlrPPCHAOSBmlQjiMHCYIRuMR+C9WVVnLezObi5/WYDMdZE5c0JCZdsDQi8spMBc'), (2, 'Retell', 'retellApi', 'U2FsdGVkX1c8zcqpfF/n4KvGDT3ciULMd4StzgxnNoWNZtNSXHgqhOEjVtpiXG2FBInwXa1vt81RP+TcsBjZI+WYJL');
