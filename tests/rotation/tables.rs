//! Odd tables: whatever there is to walk along, every token is found, and nothing else is touched.

use retell_vault::config::Field;
use retell_vault::{ErrorKind, Layout, Owner};

use crate::support::rotation::*;
use crate::support::rows::{owners, table, value};
use crate::support::vaults::*;

const USERS: usize = 23;

fn uuids() -> Vec<Owner> {
    (0..USERS).map(|n| owner(&format!("A0EEBC99-9C0B-4EF8-BB6D-{n:012X}"))).collect()
}

fn in_tenants(users: Vec<Owner>) -> Vec<Owner> {
    let tenants = ["acme", "zenith", "O'Hara \"& Sons\""];
    users.into_iter().enumerate().map(|(n, user)| user.in_tenant(tenants[n % 3]).unwrap()).collect()
}

#[tokio::test]
async fn keys_of_every_type() {
    let slots = "encrypted_retell_api_key text, encrypted_agent_config jsonb";
    for key in [
        "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id text",
        "id smallserial PRIMARY KEY, user_id text UNIQUE",
        "id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id text",
        r#"id text PRIMARY KEY DEFAULT chr(65 + (random() * 60)::int) || ' "' || random() || $$',{\é$$, user_id text"#,
        r#"id varchar(40) COLLATE "C" PRIMARY KEY DEFAULT md5(random()::text), user_id text"#,
        r#"id text COLLATE "en-x-icu" PRIMARY KEY DEFAULT md5(random()::text) || 'ä', user_id text"#,
        "id timestamptz PRIMARY KEY DEFAULT 'epoch'::timestamptz + random() * interval '900 years', user_id text",
        "id timestamp PRIMARY KEY DEFAULT now()::timestamp - random() * interval '3000 years', user_id text",
        "id date DEFAULT '2024-02-29', n serial, user_id text NOT NULL, PRIMARY KEY (id, user_id, n)",
        // none of these can be walked along
        "id numeric PRIMARY KEY DEFAULT random(), user_id text UNIQUE",
        "id float8 PRIMARY KEY DEFAULT random(), user_id text",
        "id serial UNIQUE DEFERRABLE INITIALLY DEFERRED, user_id text",
        "id serial UNIQUE DEFERRABLE INITIALLY DEFERRED, user_id text UNIQUE",
        "n int, id text GENERATED ALWAYS AS (md5(user_id)) STORED PRIMARY KEY, user_id varchar(60)",
    ] {
        let columns = format!(
            "CREATE TABLE user_profiles ({key}, {slots});
            DO $do$ BEGIN EXECUTE format('ALTER DATABASE %I SET datestyle = ''Postgres, DMY''; ALTER DATABASE %1$I SET timezone = ''Asia/Kolkata''', current_database()); END $do$"
        );
        let stage = Stage::on(&columns, USERS).await;
        let rotation = stage.rotates("user_profiles").await;
        assert_eq!(rotation.progress.resealed, USERS as u64, "{key}");
        assert_eq!(rotation.progress.visited, USERS as u64, "{key}");
    }
}

#[tokio::test]
async fn owners_of_every_kind() {
    let tenants = || Layout::new().tenant_column("tenant_id").unwrap();
    let slots = "encrypted_retell_api_key text, encrypted_agent_config jsonb";
    for (columns, layout, owners) in [
        ("user_id uuid PRIMARY KEY", Layout::new(), uuids()),
        ("user_id text PRIMARY KEY", Layout::new(), uuids()),
        ("user_id uuid", Layout::new(), uuids()),
        (
            "tenant_id text, user_id text, PRIMARY KEY (tenant_id, user_id)",
            tenants(),
            in_tenants(owners(USERS)),
        ),
        ("tenant_id text, user_id uuid", tenants(), in_tenants(uuids())),
        (
            "day date DEFAULT '2024-02-29', user_id text, tenant_id varchar(50), PRIMARY KEY (day, tenant_id, user_id)",
            tenants(),
            in_tenants(owners(USERS)),
        ),
    ] {
        let create = format!("CREATE TABLE user_profiles ({columns}, {slots})");
        let stage = Stage::with(&create, layout, owners).await;
        let rotation = stage.rotates("user_profiles").await;
        assert_eq!(rotation.progress.resealed, USERS as u64, "{columns}");
    }
}

#[tokio::test]
async fn slots_of_every_kind() {
    for columns in [
        "encrypted_retell_api_key text",
        "encrypted_retell_api_key varchar",
        "encrypted_sms_agent_id text, encrypted_call_agent_id varchar(4000)",
        "encrypted_retell_api_key varchar(2000), encrypted_agent_config jsonb",
        "encrypted_retell_api_key varchar(20), encrypted_agent_config jsonb",
        "encrypted_retell_api_key text NOT NULL DEFAULT '', encrypted_agent_config jsonb NOT NULL DEFAULT '{}'",
        "encrypted_retell_api_key text NOT NULL DEFAULT '', encrypted_call_agent_id text NOT NULL DEFAULT '',
            encrypted_sms_agent_id text NOT NULL, encrypted_agent_config jsonb NOT NULL, phone_number text NOT NULL",
    ] {
        let create = format!(
            "CREATE TABLE user_profiles (user_id text PRIMARY KEY DEFAULT 'without-' || random(), {columns}); {ADOPT}"
        );
        let stage = Stage::on(&create, USERS).await;
        if !columns.contains("sms_agent_id text NOT NULL") {
            stage.db.exec("INSERT INTO user_profiles DEFAULT VALUES").await;
        }
        let rotation = stage.rotates("user_profiles").await;
        assert_eq!(rotation.progress.resealed, USERS as u64, "{columns}");
    }
}

/// Rows that are the same, and rows of which the owner has a newer one that is done already.
#[tokio::test]
async fn no_key_at_all_and_duplicates() {
    for kind in ["text", "varchar(30)"] {
        let columns = format!(
            "CREATE TABLE user_profiles (user_id {kind}, full_name text, encrypted_retell_api_key text, encrypted_agent_config jsonb)"
        );
        let stage = Stage::on(&columns, USERS).await;
        let before = "CREATE TABLE before AS SELECT * FROM user_profiles WHERE user_id < 'user-2'";
        stage.db.exec(before).await;
        let vault = stage.vault(1).await;
        for (number, owner) in stage.owners.iter().enumerate().take(6) {
            vault.store(owner, &full_config(number)).await.unwrap();
        }
        stage.db.exec("INSERT INTO user_profiles TABLE before; INSERT INTO user_profiles TABLE before").await;
        let rows = stage.rotates("user_profiles").await.progress.rows;
        assert_eq!(rows, (USERS + 2 * 12) as u64);
    }
}

#[tokio::test]
async fn partitions() {
    for columns in [
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text) PARTITION BY HASH (user_id);
        CREATE TABLE part_0 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE part_1 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "CREATE TABLE user_profiles (user_id text, region int NOT NULL DEFAULT random() * 3, encrypted_retell_api_key text, encrypted_agent_config jsonb) PARTITION BY LIST (region);
        CREATE TABLE here PARTITION OF user_profiles FOR VALUES IN (1, 2); CREATE TABLE there PARTITION OF user_profiles DEFAULT",
    ] {
        let stage = Stage::on(columns, USERS).await;
        let rotation = stage.rotates("user_profiles").await;
        assert_eq!(rotation.progress.resealed, USERS as u64);
    }
}

/// A key of the parent holds for the parent alone: a child may have the same position once more.
#[tokio::test]
async fn children() {
    let columns =
        "CREATE TABLE user_profiles (id serial PRIMARY KEY, user_id text, encrypted_retell_api_key text);
        CREATE TABLE child (note text) INHERITS (user_profiles)";
    let stage = Stage::on(columns, USERS).await;
    let clash = "INSERT INTO child SELECT id - 11, user_id, encrypted_retell_api_key FROM ONLY user_profiles WHERE id > 11;
        DELETE FROM ONLY user_profiles WHERE id > 11";
    stage.db.exec(clash).await;
    let vault = stage.vault(0).await;
    for options in [single(), small()] {
        let (rotation, _) = rotate(&vault, &options).await.unwrap();
        assert!(rotation.complete, "{rotation:?}");
    }
    stage.all_load().await;
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    stage.all_load().await;
}

#[tokio::test]
async fn names_that_need_quotes() {
    let layout = Layout::new().table(r#""My Schema"."User; Profiles""#).unwrap();
    let layout = layout.user_column("User ID").unwrap().tenant_column("Tenant").unwrap();
    let layout =
        layout.column(Field::named("api_key"), "Key's %s $1").unwrap().config_column("Config").unwrap();
    let columns = r#"CREATE SCHEMA "My Schema"; CREATE TABLE "My Schema"."User; Profiles" ("Id" serial PRIMARY KEY,
        "User ID" varchar(30), "Tenant" text, "Key's %s $1" text, "Config" jsonb, "user_id" text)"#;
    let stage = Stage::with(columns, layout, in_tenants(owners(USERS))).await;
    let rotation = stage.rotates(r#""My Schema"."User; Profiles""#).await;
    let mut columns = columns_of(&rotation, stage.new);
    columns.sort();
    assert_eq!((columns.len(), rotation.progress.resealed), (2, USERS as u64), "{columns:?}");
}

#[tokio::test]
async fn what_others_wrote_stays_as_it_is() {
    let stage = Stage::on(ALL_COLUMNS, USERS).await;
    let theirs = r#"UPDATE user_profiles SET full_name = 'Ada', last_retell_sync = 'epoch', phone_number = ' 555 ',
            retell_integration_status = 'rv1.nothing', webhook_config = '{"b":  1.10, "a": [null, "é\u0001"]}',
            encrypted_agent_config = encrypted_agent_config || '{"z": 1.500, "retell": {"vault": [1, {}]}, "": null}'
            WHERE user_id > 'user-15'"#;
    let legacy = r#"INSERT INTO user_profiles (user_id, encrypted_retell_api_key, encrypted_agent_config) VALUES
        ('plain', 'key_test_legacy', '{"voice": 1.0}'), ('base64', 'a2V5X3Rlc3Q= a2V5', NULL), ('array', NULL, '[1, 2.50]'),
        ('scalar', NULL, '"text"'), ('null', '', 'null'), ('ours', NULL, '{"retell_vault": "legacy"}'),
        ('list', NULL, '{"retell_vault": [1]}'), ('empty', NULL, '{"retell_vault": {}}')"#;
    // what a load says of these is not of interest here
    stage.db.exec(&theirs.replace('\\', "")).await;
    stage.db.exec(legacy).await;
    let before = (stage.forms("user_profiles").await, theirs_of(&stage).await);
    let vault = stage.vault(0).await;
    let (rotation, unreadable) = rotate(&vault, &small()).await.unwrap();
    assert!(rotation.complete, "{rotation:?}");
    let mut named: Vec<_> = unreadable.iter().map(|row| row.owner.as_str()).collect();
    named.sort();
    assert_eq!(named, ["base64", "list", "ours", "plain"]);
    assert!(unreadable.iter().all(|row| row.place.is_some() && !row.reason.contains("legacy")));
    assert_eq!((stage.forms("user_profiles").await, theirs_of(&stage).await), before);
    assert_eq!(rotation.progress.resealed, USERS as u64);
}

/// Everything but the slots and what is ours in the JSONB column, as text.
async fn theirs_of(stage: &Stage) -> String {
    let sql = "SELECT string_agg(row(user_id, full_name, phone_number, webhook_config, retell_integration_status,
        last_retell_sync, CASE jsonb_typeof(encrypted_agent_config) WHEN 'object' THEN encrypted_agent_config - 'retell_vault'
        ELSE encrypted_agent_config END)::text, '; ' ORDER BY user_id) FROM user_profiles";
    value(&stage.db, sql).await
}

/// Tokens in a row without an owner are nobody's, and counted all the same.
#[tokio::test]
async fn rows_without_an_owner() {
    for id in ["", "id serial PRIMARY KEY, "] {
        let columns =
            format!("CREATE TABLE user_profiles ({id}user_id text UNIQUE, encrypted_retell_api_key text)");
        let stage = Stage::on(&columns, USERS).await;
        let orphans = "INSERT INTO user_profiles (encrypted_retell_api_key)
            SELECT encrypted_retell_api_key FROM user_profiles WHERE user_id < 'user-11'";
        stage.db.exec(orphans).await;
        let vault = stage.vault(0).await;
        let (rotation, unreadable) = rotate(&vault, &small()).await.unwrap();
        assert!(!rotation.complete);
        assert_eq!(rotation.token_counts.tokens_of(stage.old), 3 * 8, "{rotation:?}");
        assert_eq!(unreadable.len(), if id.is_empty() { 0 } else { 3 });
        assert!(unreadable.iter().all(|row| row.kind == ErrorKind::InvalidInput), "{unreadable:?}");
        refuses_to_destroy(&vault, stage.old, "24 in column encrypted_retell_api_key").await;
        stage.all_load().await;
        stage.db.exec("DELETE FROM user_profiles WHERE user_id IS NULL").await;
        completes(&vault).await;
        vault.destroy_key(stage.old, at_once()).await.unwrap();
        stage.all_load().await;
    }
}

#[tokio::test]
async fn an_estimate_writes_nothing() {
    let stage = Stage::on(ALL_COLUMNS, USERS).await;
    let before = table(&stage.db, "user_profiles").await;
    let vault = stage.vault(0).await;
    for (to_do, options) in [(USERS as u64, small()), (USERS as u64, single().rate(1))] {
        let estimate = vault.estimate_rotation(&options).await.unwrap();
        assert_eq!((estimate.key, estimate.rows, estimate.to_do), (stage.new, USERS as u64, to_do));
        assert_eq!(estimate.token_counts, vault.count_tokens().await.unwrap());
    }
    assert_eq!(table(&stage.db, "user_profiles").await, before);
    completes(&vault).await;
    assert_eq!(vault.estimate_rotation(&small()).await.unwrap().to_do, 0);
}
