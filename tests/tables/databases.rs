//! Every kind of table that exists in the wild: what goes in comes back, and nothing lies in the clear.

use retell_vault::config::Field;
use retell_vault::layout::Place;
use retell_vault::records::Source;
use retell_vault::{ErrorKind, Layout, Owner, Vault};

use crate::support::faults::{local, unplugged};
use crate::support::vaults::*;
use crate::support::*;

const FIELDS: [&str; 7] = [
    "api_key",
    "call_agent_id",
    "sms_agent_id",
    "webhook_key",
    "phone_number",
    "webhook_config",
    "integration_status",
];

/// Stores, loads and deletes on a table, and searches everything for secrets.
async fn round_trip(table: &str, user: &str, layout: Layout, expected: &[&str; 7]) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    let vault = hosts.host(0, &db.url).layout(layout).build().await.unwrap();
    let owner = owner(user);

    for (mark, config) in [(1, full_config(1)), (2, full_config(2)), (3, small_config(3))] {
        let stored = vault.store(&owner, &config).await.unwrap();
        let kinds: Vec<_> = stored.places.iter().map(|(field, place)| (*field, place.kind())).collect();
        let wanted: Vec<_> = FIELDS.map(Field::named).into_iter().zip(*expected).collect();
        let wanted: Vec<_> =
            wanted.into_iter().filter(|(field, _)| mark < 3 || *field == Field::named("api_key")).collect();
        assert_eq!(kinds, wanted);
        assert_eq!(stored.degraded.is_some(), expected[0] == "local");

        let loaded = vault.load(&owner).await.unwrap();
        assert_eq!(loaded.config, config);
        assert_eq!(loaded.version, stored.version);
        assert_eq!(loaded.source == Source::Local, expected[0] == "local");
        assert!(!loaded.stale);
    }
    vault.store(&owner, &full_config(4)).await.unwrap();
    assert_no_secret(&dump(&db).await, "the dump of the database");
    assert_no_secret(&hosts.files(), "the local files");

    vault.delete(&owner).await.unwrap();
    assert_eq!(vault.load(&owner).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(vault.delete(&owner).await.unwrap_err().kind(), ErrorKind::NotFound);
}

async fn dump(db: &TestDb) -> Vec<u8> {
    let output = tokio::process::Command::new("pg_dump").arg(&db.url).output().await.unwrap();
    assert!(output.status.success() && output.stdout.len() > 500, "pg_dump failed");
    output.stdout
}

const UUID: &str = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";
const PACKED: [&str; 7] = ["column", "packed", "packed", "packed", "packed", "packed", "packed"];

#[tokio::test]
async fn all_columns() {
    let places = ["column", "column", "column", "json", "column", "column", "column"];
    round_trip(ALL_COLUMNS, "user-1", Layout::new(), &places).await;
}

#[tokio::test]
async fn only_the_jsonb_column() {
    let table = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)";
    round_trip(table, "user-1", Layout::new(), &["json"; 7]).await;
}

#[tokio::test]
async fn only_the_api_key_column_with_text_ids() {
    let table = "CREATE TABLE user_profiles (user_id text UNIQUE, encrypted_retell_api_key text)";
    round_trip(table, "user-1", Layout::new(), &PACKED).await;
}

#[tokio::test]
async fn only_the_api_key_column_with_uuid_ids() {
    let table = "CREATE TABLE user_profiles (user_id uuid PRIMARY KEY, encrypted_retell_api_key text)";
    round_trip(table, UUID, Layout::new(), &PACKED).await;
}

#[tokio::test]
async fn only_the_api_key_column_without_a_unique_constraint() {
    let table = "CREATE TABLE user_profiles (user_id text, encrypted_retell_api_key text)";
    round_trip(table, "user-1", Layout::new(), &PACKED).await;
}

#[tokio::test]
async fn no_usable_column() {
    let table = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key varchar(50))";
    round_trip(table, "user-1", Layout::new(), &["local"; 7]).await;
}

/// Where no table was named, the default one may be just another name than the application's: what is stored must not stay
/// on one host, and be pushed over somebody's record from there later.
#[tokio::test]
async fn without_the_default_table_every_call_fails_and_nothing_stays_on_the_host() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let (user, config) = (owner("user-1"), full_config(1));
    let configs = [(user.clone(), config.clone()), (owner("user-2"), config.clone())];
    let mut errors = vec![
        vault.store(&user, &config).await.unwrap_err(),
        vault.load(&user).await.unwrap_err(),
        vault.delete(&user).await.unwrap_err(),
        vault.modify(&user, |_| Ok(())).await.unwrap_err(),
        vault.list(None, 10).await.unwrap_err(),
    ];
    errors.extend(vault.store_many(&configs).await.unwrap().into_iter().map(Result::unwrap_err));
    errors.extend(vault.load_many(std::slice::from_ref(&user)).await.into_iter().map(Result::unwrap_err));
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Schema);
        assert_eq!(error.to_string(), "table public.user_profiles does not exist");
        assert!(error.hint().contains("name your own table (`--table`"), "{}", error.hint());
    }
    let status = vault.status().await.unwrap();
    let problem = status.database.unwrap().problem.unwrap().to_string();
    assert_eq!(
        (problem.as_str(), status.local.unwrap().pending),
        ("table public.user_profiles does not exist", 0)
    );
    let named = hosts.host(1, &db.url).layout(named_table("user_profiles")).build().await.unwrap_err();
    assert_eq!(named.kind(), ErrorKind::Schema);

    // a server that is away is another matter
    assert!(unplugged(&hosts, 0).await.store(&user, &config).await.unwrap().degraded.is_some());
    let stopped = vault.sync().await.unwrap();
    assert_eq!(stopped.stopped.unwrap().to_string(), "table public.user_profiles does not exist");
    assert_eq!(vault.load(&user).await.unwrap_err().kind(), ErrorKind::Schema);
    assert_eq!(local(&vault).await.pending, 1);

    db.exec("CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)").await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await; // the catalogue is looked at once a second
    assert_eq!(vault.sync().await.unwrap().pushed, 1);
    assert_eq!(vault.load(&user).await.unwrap().config, config);
}

#[tokio::test]
async fn another_schema_with_quoted_mixed_case_names() {
    let table = r#"CREATE SCHEMA "My.App"; CREATE TABLE "My.App"."Pro'files" ("User Id" text PRIMARY KEY, "Retell""Key" varchar, "Cfg" jsonb NOT NULL DEFAULT '{}')"#;
    let layout = Layout::new().table(r#""My.App"."Pro'files""#).unwrap().user_column("User Id").unwrap();
    let layout = layout.column(Field::named("api_key"), "Retell\"Key").unwrap().config_column("Cfg").unwrap();
    round_trip(table, "user-1", layout, &["column", "json", "json", "json", "json", "json", "json"]).await;
}

#[tokio::test]
async fn columns_that_must_not_be_null() {
    let table = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text NOT NULL,
        encrypted_call_agent_id varchar(40) NOT NULL DEFAULT '', encrypted_agent_config jsonb NOT NULL DEFAULT '{}')";
    round_trip(table, "user-1", Layout::new(), &["column", "json", "json", "json", "json", "json", "json"])
        .await;
}

#[tokio::test]
async fn json_webhooks_and_short_status_columns() {
    let table = "CREATE TABLE user_profiles (user_id varchar(64) PRIMARY KEY, encrypted_retell_api_key text,
        webhook_config json, retell_integration_status varchar(3), phone_number varchar(20));
        COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell';
        COMMENT ON COLUMN user_profiles.webhook_config IS 'retell-vault: webhook_config of retell'";
    round_trip(
        table,
        "user-1",
        Layout::new(),
        &["column", "packed", "packed", "packed", "column", "column", "packed"],
    )
    .await;
}

#[tokio::test]
async fn tenants_are_kept_apart() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE user_profiles (org uuid NOT NULL, user_id text, encrypted_agent_config jsonb, UNIQUE (org, user_id))").await;
    let layout = Layout::new().tenant_column("org").unwrap();
    let vault = hosts.host(0, &db.url).layout(layout).build().await.unwrap();
    let tenant =
        |last: &str| owner("user-1").in_tenant(&format!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a{last}")).unwrap();
    vault.store(&tenant("11"), &full_config(1)).await.unwrap();
    vault.store(&tenant("22"), &full_config(2)).await.unwrap();
    assert_eq!(vault.load(&tenant("11")).await.unwrap().config, full_config(1));
    let owners = [tenant("22"), tenant("11"), tenant("33")];
    let loaded = vault.load_many(&owners).await;
    assert_eq!(loaded[0].as_ref().unwrap().config, full_config(2));
    assert_eq!(loaded[1].as_ref().unwrap().config, full_config(1));
    assert_eq!(loaded[2].as_ref().unwrap_err().kind(), ErrorKind::NotFound);

    let error = vault.store(&owner("user-1"), &full_config(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error =
        vault.store(&owner("user-1").in_tenant("not-a-uuid").unwrap(), &full_config(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn siblings_and_the_rest_of_the_row_survive() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    db.exec(r#"INSERT INTO user_profiles (user_id, full_name, encrypted_agent_config, phone_number) VALUES ('user-1', 'Ada', '{"voice":{"speed":1}}', '+14155550199')"#).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    // the first store keeps plain values that it does not set
    vault.store(&owner("user-1"), &small_config(1)).await.unwrap();
    assert_eq!(
        vault.load(&owner("user-1")).await.unwrap().config.phone_number().unwrap().as_str(),
        "+14155550199"
    );
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    // later stores replace
    vault.store(&owner("user-1"), &small_config(2)).await.unwrap();
    assert!(vault.load(&owner("user-1")).await.unwrap().config.phone_number().is_none());
    vault.delete(&owner("user-1")).await.unwrap();
    let (name, voice): (String, String) =
        sqlx::query_as("SELECT full_name, encrypted_agent_config #>> '{voice,speed}' FROM user_profiles")
            .fetch_one(&db.pool())
            .await
            .unwrap();
    assert_eq!((name.as_str(), voice.as_str()), ("Ada", "1"));
}

#[tokio::test]
async fn duplicates_are_all_written_and_the_newest_is_read() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE user_profiles (n serial, user_id text, encrypted_retell_api_key text)").await;
    db.exec("INSERT INTO user_profiles (user_id) VALUES ('user-1'), ('user-1'), ('user-1')").await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    let distinct: (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT encrypted_retell_api_key) FROM user_profiles")
            .fetch_one(&db.pool())
            .await
            .unwrap();
    assert_eq!(distinct, (3, 1));
    db.exec("CREATE TABLE before AS TABLE user_profiles").await;
    vault.store(&owner("user-1"), &full_config(2)).await.unwrap();
    db.exec("UPDATE user_profiles t SET encrypted_retell_api_key = b.encrypted_retell_api_key FROM before b WHERE b.n = t.n AND t.n <> 2").await;
    assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, full_config(2));
    assert_eq!(vault.load_many(&[owner("user-1")]).await[0].as_ref().unwrap().config, full_config(2));
}

#[tokio::test]
async fn many_owners_at_once() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let configs: Vec<_> = (0..250).map(|n| (owner(&format!("user-{n}")), full_config(n))).collect();
    for _ in 0..2 {
        for stored in vault.store_many(&configs).await.unwrap() {
            assert!(stored.unwrap().degraded.is_none());
        }
    }
    let owners: Vec<Owner> = configs.iter().map(|(owner, _)| owner.clone()).collect();
    for (loaded, (_, config)) in vault.load_many(&owners).await.into_iter().zip(&configs) {
        assert_eq!(&loaded.unwrap().config, config);
    }
    let twice = vec![configs[0].clone(), configs[0].clone()];
    assert_eq!(vault.store_many(&twice).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn an_owner_that_the_database_refuses_is_an_error_and_nothing_is_kept() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE users (id text PRIMARY KEY); CREATE TABLE user_profiles (user_id text PRIMARY KEY REFERENCES users, encrypted_retell_api_key text)").await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let error = vault.store(&owner("nobody"), &full_config(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownOwner);
    let local = vault.status().await.unwrap().local.unwrap();
    assert_eq!(local.pending + local.dead_letters + local.losers, 0);
}

#[tokio::test]
async fn a_text_column_finds_either_form_of_a_uuid() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)").await;
    db.exec(&format!("INSERT INTO user_profiles VALUES ('{UUID}')")).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner(UUID), &full_config(1)).await.unwrap();
    let rows: (i64,) =
        sqlx::query_as("SELECT count(*) FROM user_profiles").fetch_one(&db.pool()).await.unwrap();
    assert_eq!(rows.0, 1);
    assert_eq!(vault.load(&owner(UUID)).await.unwrap().config, full_config(1));
    assert_eq!(vault.load_many(&[owner(UUID)]).await[0].as_ref().unwrap().config, full_config(1));
    assert_eq!(
        vault.store_many(&[(owner(UUID), full_config(2))]).await.unwrap()[0].as_ref().unwrap().places[0]
            .1
            .kind(),
        "column"
    );
    let page = vault.list(None, 10).await.unwrap();
    assert_eq!(page.entries.len(), 1);
    assert_eq!(page.entries[0].owner.user(), UUID.to_lowercase());
}

#[tokio::test]
async fn a_named_table_that_is_missing_and_other_misfits_are_errors() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE plain (user_id text); CREATE VIEW seen AS TABLE plain; CREATE TABLE numbers (user_id numeric)").await;
    let kind = async |layout: Layout| {
        hosts.host(0, &db.url).layout(layout).build().await.map(drop).unwrap_err().kind()
    };
    assert_eq!(kind(named_table("absent")).await, ErrorKind::Schema);
    assert_eq!(kind(named_table("seen")).await, ErrorKind::Schema);
    assert_eq!(kind(named_table("numbers")).await, ErrorKind::Schema);
    assert_eq!(kind(named_table("plain").user_column("uid").unwrap()).await, ErrorKind::Schema);
    assert_eq!(kind(named_table("plain").tenant_column("org").unwrap()).await, ErrorKind::Schema);
}

#[tokio::test]
async fn places_name_their_columns() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let vault: Vault = hosts.host(0, &db.url).build().await.unwrap();
    let stored = vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    assert_eq!(stored.places[0], (Field::named("api_key"), Place::Column("encrypted_retell_api_key".into())));
    assert_eq!(stored.places[3], (Field::named("webhook_key"), Place::Json("encrypted_agent_config".into())));
}

const UPPER: &str = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";
const LOWER: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

/// A text column may hold one UUID in both forms, each in a row of its own.
async fn stage_of_two_forms() -> (TestDb, Hosts) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    db.exec(&format!("INSERT INTO user_profiles (user_id) VALUES ('{UPPER}')")).await;
    (db, hosts)
}

#[tokio::test]
async fn a_bulk_load_gives_every_form_of_a_uuid_what_a_single_load_gives() {
    let (db, hosts) = stage_of_two_forms().await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner(UPPER), &full_config(1)).await.unwrap();
    vault.store(&owner(LOWER), &full_config(2)).await.unwrap();
    assert_eq!(vault.load(&owner(UPPER)).await.unwrap().config, full_config(2));
    for forms in [[UPPER, LOWER, UPPER], [LOWER, UPPER, LOWER]] {
        for loaded in vault.load_many(&forms.map(owner)).await {
            assert_eq!(loaded.unwrap().config, full_config(2));
        }
    }
}

#[tokio::test]
async fn a_store_over_both_forms_of_a_uuid_is_later_than_either() {
    for bulk in [false, true] {
        let (db, hosts) = stage_of_two_forms().await;
        let ahead = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64 + 3_600_000;
        let ahead = hosts.host(1, &db.url).clock(ahead).build().await.unwrap();
        ahead.store(&owner(LOWER), &full_config(1)).await.unwrap();

        let vault = hosts.host(0, &db.url).build().await.unwrap();
        let stored = match bulk {
            false => vault.store(&owner(UPPER), &full_config(2)).await.unwrap(),
            true => vault.store_many(&[(owner(UPPER), full_config(2))]).await.unwrap().remove(0).unwrap(),
        };
        let loaded = vault.load(&owner(UPPER)).await.unwrap();
        assert_eq!((loaded.version, loaded.config), (stored.version, full_config(2)));
        assert_eq!(ahead.load(&owner(LOWER)).await.unwrap().config, full_config(2));
    }
}
