-- {"table": "public.user_preferences", "user": "user_id", "columns": {"api_key": "elevenlabs_api_key"}, "holds": "plaintext", "provider": "elevenlabs"}
create table public.users (id text primary key, email text);
create table public.user_preferences (user_id text primary key references public.users (id), theme text, elevenlabs_api_key text, elevenlabs_voice_id text);
insert into public.users values ('u1', 'one@example.com');
insert into public.user_preferences values ('u1', 'dark', '48ca227c8a104a05e29cfd9e676a6e90', 'voice');
