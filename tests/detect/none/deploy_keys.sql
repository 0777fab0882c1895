create table public.projects (id bigserial primary key, name text not null, repository_url text);
create table public.deploy_keys (id bigserial primary key, project_id bigint not null references public.projects (id), title text not null, public_key text not null, fingerprint text not null, read_only boolean not null default true);
create table public.gpg_keys (id bigserial primary key, user_id bigint not null, key text not null, primary_keyid text, fingerprint text);
create table public.commits (id bigserial primary key, project_id bigint not null, sha text not null, github_author text, github_author_id bigint);
insert into public.projects (name) values ('One');
insert into public.deploy_keys (project_id, title, public_key, fingerprint) values (1, 'ci', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI/QiT1PCTtB1lmlv5IcdLiIxC2ptPx+Wv74tUXeP84gU=', 'SHA256:83r+wOIJu877KbJ6jaOmMWp0VM/DkIDUUfjNmmRXsZk=');
insert into public.gpg_keys (user_id, key, primary_keyid, fingerprint) values (1, '-----BEGIN PGP PUBLIC KEY BLOCK-----jWmzNyw1QA3HCU9bVB4FNrrn5MI60KdsSLXpMXWNZg44MfEPI63ZvJ1P1DhA/JRskHt9IpY0ZiE0cnvo', '198f7b37d472e2e8', 'cd55b9aec713c8cf8dd19f6ef91ef9d4d2197886');
insert into public.commits (project_id, sha, github_author) values (1, '19255ec060507d32a0c0de8f63b9c446f17863bf', 'one');
