-- {"table": "App.\"Org.Settings\"", "user": "OrgId", "columns": {"api_key": "Retell API Key"}, "holds": "plaintext", "provider": "retell"}
create schema "App";
create table "App"."Orgs" ("Id" integer generated always as identity primary key, "Name" text not null);
create table "App"."Org.Settings" ("OrgId" integer not null unique references "App"."Orgs" ("Id"), "Retell API Key" text, "Webhook.Url" text, "Id" integer generated always as identity primary key);
insert into "App"."Orgs" ("Name") values ('One'), ('Two');
insert into "App"."Org.Settings" ("OrgId", "Retell API Key", "Webhook.Url") values (1, 'key_test_d7e2ab9c04c875adb349a375', 'https://example.com/hook'), (2, 'key_test_c699eb71fa54ce07d26b0156', null);
