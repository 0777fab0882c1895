-- {"table": "public.shops", "user": "id", "columns": {"api_key": "shopify_access_token"}, "holds": "plaintext", "provider": "shopify"}
create table public.shops (id bigserial primary key, domain text not null unique, shopify_access_token text, shopify_scope text, installed_at timestamptz, uninstalled_at timestamptz);
insert into public.shops (domain, shopify_access_token) values ('one.example.com', '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'), ('two.example.com', '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');
