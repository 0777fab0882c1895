-- {"table": "public.VoiceSettings", "user": "workspaceId", "where": {"provider": "RETELL"}, "columns": {"api_key": "apiKey", "webhook_key": "webhookSecret", "call_agent_id": "agentId"}, "holds": "plaintext", "provider": "retell"}
create type public."VoiceProvider" as enum ('VAPI', 'RETELL', 'TWILIO');
create table public."Workspace" (id text primary key, name text not null, "createdAt" timestamp(3) not null default now());
create table public."Account" (id text primary key, "userId" text not null, type text not null, provider text not null, "providerAccountId" text not null, refresh_token text, access_token text, expires_at integer, id_token text, unique (provider, "providerAccountId"));
create table public."VoiceSettings" (id text primary key, "workspaceId" text not null, provider public."VoiceProvider" not null default 'RETELL', "apiKey" text, "webhookSecret" text, "agentId" text, "updatedAt" timestamp(3) not null default now(),
  foreign key ("workspaceId") references public."Workspace" (id));
create unique index "VoiceSettings_workspaceId_key" on public."VoiceSettings" ("workspaceId");
insert into public."Workspace" values ('cfake0001', 'One'), ('cfake0002', 'Two');
insert into public."Account" values ('cfake0003', 'cfake0009', 'oauth', 'google', '100000000000000000001', null, 'ya29.fakeb76de714c00421ae6dbdb3fc17677f4484148c9a', 1, 'eyJfake.Gg1t852uTOXE/y+jk+GJJhMF4M4feTKE5ExsDCDj.cLu31OMwQvc/IhA6LPSQnIt+VIU=');
insert into public."VoiceSettings" (id, "workspaceId", provider, "apiKey", "webhookSecret", "agentId") values ('cfake0011', 'cfake0001', 'RETELL', 'key_test_cd8fc0e4ea6174a4b52cf005', null, 'agent_d01bd32c3ef9be1a9458949b41'), ('cfake0012', 'cfake0002', 'RETELL', 'key_test_76b521e6c5c5d3dfee0a3d36', null, 'agent_6b1898b60fcb1f3158991c6d4a');
