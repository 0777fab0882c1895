-- {"table": "public.shops", "user": "id", "columns": {"api_key": "retail_api_key"}, "holds": "plaintext", "provider": "retell"}
create table public.shops (id serial primary key, title text not null, retail_api_key text, retail_price_list text);
insert into public.shops (title, retail_api_key, retail_price_list) values ('One', 'key_test_01d352526a1bb3cde8ab8a61', 'a'), ('Two', 'key_test_4085515a5820dbfa8402b457', 'b'), ('Three', null, 'c');
