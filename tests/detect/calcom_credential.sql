-- {"table": "public.Credential", "user": "userId", "where": {"type": "retell_other"}, "columns": {"config": "key"}, "holds": "plaintext", "provider": "retell"}
create table public.users (id serial primary key, username text, email text not null unique);
create table public."Team" (id serial primary key, name text not null, slug text);
create table public."App" (slug text primary key, "dirName" text not null unique, keys jsonb, categories text[], enabled boolean not null default false);
create table public."Credential" (id serial primary key, type text not null, key jsonb not null, "userId" integer references public.users (id), "teamId" integer references public."Team" (id), "appId" text references public."App" (slug), invalid boolean default false);
create table public."ApiKey" (id text primary key, "userId" integer not null references public.users (id), note text, "expiresAt" timestamp, "hashedKey" text not null unique);
insert into public.users (username, email) values ('one', 'one@example.com'), ('two', 'two@example.com');
insert into public."Team" (name, slug) values ('Team', 'team');
insert into public."App" values ('retell-ai', 'retell-ai', '{}', '{other}', true), ('google-calendar', 'googlecalendar', '{"client_id": "fake", "client_secret": "fake-client-secret-0001"}', '{calendar}', true);
insert into public."Credential" (type, key, "userId", "teamId", "appId") values ('google_calendar', '{"scope": "calendar", "token_type": "Bearer", "access_token": "ya29.fake1bb6d58b7738f82e9fb7c665", "refresh_token": "1//fake00b537eebc383cef"}', 1, null, 'google-calendar'), ('retell_other', '{"apiKey": "key_test_1c3284db67d0e49246758448"}', 1, null, 'retell-ai'), ('retell_other', '{"apiKey": "key_test_8937f6f4a81215e87c22d750"}', 2, null, 'retell-ai');
insert into public."ApiKey" values ('k1', 1, 'zapier', null, '9b1091c1ca591dc3ede9d4cfefd1cda0b26ac51b01d08ae03a319245d395f2f7');
