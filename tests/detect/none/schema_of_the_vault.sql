create schema retell_vault;
create table retell_vault.user_profiles (user_id text primary key, retell_api_key text, retell_agent_id text);
insert into retell_vault.user_profiles values ('user-1', 'key_test_planted_beside_the_keyring', 'agent_test_planted');
