-- {"table": "public.businesses", "user": "id", "columns": {"api_key": "encrypted_retell_api_key"}, "holds": "plaintext", "provider": "retell", "says": "plaintext"}
create table public.businesses (id uuid primary key, name text not null, encrypted_retell_api_key varchar(255), encrypted_openai_key varchar(255));
insert into public.businesses values ('00000000-0000-4000-8000-000000000001', 'One', 'key_test_45b6d160af98225493bc29aa', 'sk-test-3e159955037ab118c32c2ec648acb821'), ('00000000-0000-4000-8000-000000000002', 'Two', 'key_test_1e7d0f7fc7d2c0394c0a91f5', null);
