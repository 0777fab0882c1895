//! The schema moves while a vault is at work: the next call fits the new one, nothing stored is lost
//! with a column that did not hold it, and what is lost is never taken for "not set".

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use retell_vault::records::StoreOptions;
use retell_vault::{ErrorKind, RetellConfig, Vault};
use tokio::task::JoinSet;

use crate::support::faults::until;
use crate::support::rows::*;
use crate::support::vaults::*;
use crate::support::*;

async fn vault_on(table: &str) -> (TestDb, Hosts, Vault) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    (db, hosts, vault)
}

async fn store(vault: &Vault, config: &RetellConfig) {
    let stored = vault.store(&owner("user-1"), config).await.unwrap();
    assert_eq!(stored.degraded, None);
}

async fn load(vault: &Vault) -> RetellConfig {
    vault.load(&owner("user-1")).await.unwrap().config
}

async fn load_error(vault: &Vault) -> ErrorKind {
    let bulk = vault.load_many(&[owner("user-1")]).await.remove(0).unwrap_err().kind();
    let single = vault.load(&owner("user-1")).await.unwrap_err().kind();
    assert_eq!(bulk, single);
    single
}

/// Every step is followed by a store and by a load, each of which has to notice by itself.
#[tokio::test]
async fn one_migration_after_another() {
    let (db, _hosts, vault) = vault_on(ALL_COLUMNS).await;
    let steps = [
        "DROP COLUMN encrypted_sms_agent_id",
        "DROP COLUMN webhook_config, DROP COLUMN last_retell_sync",
        "RENAME COLUMN encrypted_call_agent_id TO something_else",
        "ALTER COLUMN encrypted_agent_config TYPE json USING NULL",
        "ALTER COLUMN phone_number TYPE varchar(2) USING NULL",
        "ADD COLUMN encrypted_call_agent_id text",
        "ALTER COLUMN encrypted_call_agent_id TYPE varchar(400)",
        "ALTER COLUMN encrypted_call_agent_id TYPE bytea USING NULL",
        "ALTER COLUMN encrypted_agent_config TYPE jsonb USING NULL",
        "ALTER COLUMN encrypted_agent_config SET DEFAULT '{}'",
        "ADD COLUMN webhook_config json",
        "ALTER COLUMN webhook_config TYPE jsonb USING NULL",
        "RENAME COLUMN something_else TO encrypted_sms_agent_id",
        "ALTER COLUMN phone_number TYPE text",
        "ADD COLUMN last_retell_sync timestamptz",
        "ALTER COLUMN encrypted_retell_api_key TYPE varchar(30) USING NULL",
        "DROP COLUMN encrypted_retell_api_key",
        "ADD COLUMN encrypted_retell_api_key varchar",
        "ALTER COLUMN user_id TYPE varchar(40)",
    ];
    for (mark, step) in steps.into_iter().enumerate() {
        db.exec(&format!("ALTER TABLE user_profiles {step}")).await;
        // some steps take a part of the record away, and the rest of it does not open
        let options = StoreOptions::new().replace_unreadable();
        let stored = vault.store_with(&owner("user-1"), &full_config(mark), options).await.unwrap();
        assert_eq!(stored.degraded, None);
        assert_eq!(load(&vault).await, full_config(mark), "{step}");
    }
}

/// What a step takes away nobody can bring back, but whatever it leaves has to be found.
#[tokio::test]
async fn a_load_is_the_first_to_notice() {
    let (db, hosts, vault) =
        vault_on("CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)").await;
    store(&vault, &full_config(1)).await;
    let harmless = [
        "ADD COLUMN encrypted_retell_api_key text",
        "ADD COLUMN phone_number text, ADD COLUMN webhook_config jsonb",
        "ADD COLUMN encrypted_call_agent_id varchar(10)",
        "ALTER COLUMN phone_number TYPE varchar(3)",
        "RENAME COLUMN phone_number TO phone",
        "DROP COLUMN webhook_config, DROP COLUMN encrypted_retell_api_key",
    ];
    for step in harmless {
        db.exec(&format!("ALTER TABLE user_profiles {step}")).await;
        assert_eq!(load(&vault).await, full_config(1), "{step}");
        assert_eq!(vault.load_many(&[owner("user-1")]).await.remove(0).unwrap().config, full_config(1));
    }
    // another host moved everything to a column that this one does not know of
    db.exec("ALTER TABLE user_profiles ADD COLUMN encrypted_retell_api_key text").await;
    let other = hosts.host(1, &db.url).build().await.unwrap();
    db.exec("ALTER TABLE user_profiles DROP COLUMN encrypted_agent_config").await;
    store(&other, &full_config(2)).await;
    assert_eq!(load(&vault).await, full_config(2));
}

#[tokio::test]
async fn a_table_that_is_dropped_and_made_again() {
    let (db, _hosts, vault) = vault_on(ALL_COLUMNS).await;
    for (mark, table) in [
        ALL_COLUMNS,
        "CREATE TABLE user_profiles (user_id uuid PRIMARY KEY, encrypted_agent_config jsonb)",
        "CREATE TABLE user_profiles (user_id text, encrypted_retell_api_key text)",
        "CREATE TABLE user_profiles (encrypted_agent_config jsonb, user_id varchar(50) PRIMARY KEY)",
        ALL_COLUMNS,
    ]
    .into_iter()
    .enumerate()
    {
        let owner = owner("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
        let stored = vault.store(&owner, &full_config(mark)).await.unwrap();
        assert_eq!(stored.degraded, None, "{table}");
        db.exec(&format!("DROP TABLE user_profiles; {table}")).await;
        assert_eq!(vault.load(&owner).await.unwrap_err().kind(), ErrorKind::NotFound, "{table}");
        vault.store(&owner, &full_config(mark)).await.unwrap();
        assert_eq!(vault.load(&owner).await.unwrap().config, full_config(mark), "{table}");
    }
}

/// Without the default table every call fails, and the local file does not take over: the table may just have another name.
/// With it the database answers again.
#[tokio::test]
async fn a_table_that_goes_and_comes_back() {
    let (db, _hosts, vault) = vault_on(ALL_COLUMNS).await;
    store(&vault, &full_config(1)).await;
    db.exec("DROP TABLE user_profiles").await;
    let refused = vault.store(&owner("user-1"), &full_config(2)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Schema);
    assert_eq!(vault.load(&owner("user-1")).await.unwrap_err().kind(), ErrorKind::Schema);
    assert_eq!(vault.status().await.unwrap().local.unwrap().pending, 0);
    db.exec(ALL_COLUMNS).await;
    tokio::time::sleep(Duration::from_millis(1100)).await; // a missing table is looked for once a second
    store(&vault, &full_config(3)).await;
    assert_eq!(load(&vault).await, full_config(3));
    assert_eq!(vault.status().await.unwrap().local.unwrap().pending, 0);
    let rows: i64 = value(&db, "SELECT count(*) FROM user_profiles").await;
    assert_eq!(rows, 1);
}

/// Migrations run while callers of two hosts store and load. Steps that only take plain columns, empty
/// ones or none leave every record whole at every moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_in_the_middle_of_many_calls() {
    let (db, hosts, vault) = vault_on(
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, encrypted_agent_config jsonb)",
    )
    .await;
    let other = hosts.host(1, &db.url).build().await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut callers = JoinSet::new();
    let calls_of: Arc<[AtomicUsize; 4]> = Arc::default();
    for (number, vault) in
        [vault.clone(), other.clone(), vault.clone(), other.clone()].into_iter().enumerate()
    {
        let (stopped, calls_of) = (stopped.clone(), calls_of.clone());
        callers.spawn(async move {
            let owner = owner(&format!("user-{number}"));
            let mut calls = 0;
            while !*stopped.borrow() {
                let config = small_config(format!("{number}-{calls}"));
                let stored = match calls % 3 {
                    0 => vault.store_many(&[(owner.clone(), config.clone())]).await.unwrap().remove(0),
                    _ => vault.store(&owner, &config).await,
                };
                assert_eq!(stored.unwrap().degraded, None);
                assert_eq!(vault.load(&owner).await.unwrap().config, config);
                let loaded = vault.load_many(std::slice::from_ref(&owner)).await.remove(0);
                assert_eq!(loaded.unwrap().config, config);
                calls += 1;
                calls_of[number].store(calls, Ordering::Relaxed);
            }
            calls
        });
    }
    // every caller makes one whole round or more between two steps
    let all_get_through = async || {
        let calls = || calls_of.iter().map(|calls| calls.load(Ordering::Relaxed));
        let before: Vec<usize> = calls().collect();
        until(async || calls().zip(&before).all(|(now, before)| now > before + 1)).await;
    };
    let steps = [
        "ADD COLUMN encrypted_call_agent_id text",
        "ADD COLUMN phone_number text, ADD COLUMN webhook_config jsonb",
        "ALTER COLUMN phone_number TYPE varchar(30)",
        "ADD COLUMN encrypted_sms_agent_id varchar(10)",
        "DROP COLUMN encrypted_sms_agent_id",
        "DROP COLUMN phone_number",
        "ALTER COLUMN encrypted_retell_api_key TYPE varchar",
        "ALTER COLUMN encrypted_call_agent_id TYPE varchar(3000)",
        "ALTER COLUMN webhook_config TYPE json",
        "DROP COLUMN webhook_config",
    ];
    for step in steps {
        all_get_through().await;
        db.exec(&format!("ALTER TABLE user_profiles {step}")).await;
    }
    all_get_through().await;
    stop.send(true).unwrap();
    while let Some(caller) = callers.join_next().await {
        assert!(caller.unwrap() > 5, "a caller hardly got through");
    }
}

/// Several rows of an owner may come into being where there could be one: the newest is the answer.
#[tokio::test]
async fn a_constraint_that_goes_away() {
    let (db, _hosts, vault) = vault_on(ALL_COLUMNS).await;
    store(&vault, &full_config(1)).await;
    db.exec("CREATE TABLE before AS TABLE user_profiles").await;
    store(&vault, &full_config(2)).await;
    db.exec("ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey; INSERT INTO user_profiles TABLE before").await;
    for _ in 0..2 {
        assert_eq!(load(&vault).await, full_config(2));
        assert_eq!(vault.load_many(&[owner("user-1")]).await.remove(0).unwrap().config, full_config(2));
        // the newest comes first, and last
        db.exec("DELETE FROM user_profiles WHERE (encrypted_retell_api_key) IN (SELECT encrypted_retell_api_key FROM before); INSERT INTO user_profiles TABLE before; CREATE TABLE other AS SELECT DISTINCT * FROM user_profiles ORDER BY encrypted_retell_api_key; TRUNCATE user_profiles; INSERT INTO user_profiles SELECT * FROM other ORDER BY encrypted_retell_api_key; DROP TABLE other").await;
    }
    store(&vault, &full_config(3)).await;
    assert_eq!(load(&vault).await, full_config(3));
}

#[tokio::test]
async fn columns_that_become_not_null() {
    let (db, _hosts, vault) = vault_on(ALL_COLUMNS).await;
    for (mark, step) in [
        "ALTER COLUMN phone_number SET NOT NULL",
        "ALTER COLUMN webhook_config SET NOT NULL, ALTER COLUMN retell_integration_status SET NOT NULL",
        "ALTER COLUMN encrypted_sms_agent_id SET NOT NULL, ALTER COLUMN encrypted_agent_config SET NOT NULL",
    ]
    .into_iter()
    .enumerate()
    {
        store(&vault, &full_config(mark)).await;
        db.exec(&format!("ALTER TABLE user_profiles {step}")).await;
        store(&vault, &small_config(mark)).await;
        // a status that may not be null says that nothing is configured
        let loaded = load(&vault).await;
        assert_eq!(loaded.api_key(), small_config(mark).api_key(), "{step}");
        assert_eq!((loaded.phone_number(), loaded.webhook_config()), (None, None), "{step}");
    }
    db.exec("TRUNCATE user_profiles").await;
    store(&vault, &small_config("new")).await;
    assert_eq!(load(&vault).await.api_key(), small_config("new").api_key());
}

/// A record is whole or unreadable: a protection that was set never goes away by itself.
#[tokio::test]
async fn a_lost_token_is_an_error_and_so_is_a_lost_plain_column() {
    let (db, _hosts, vault) = vault_on(ALL_COLUMNS).await;
    for lost in [
        "encrypted_retell_api_key = NULL",
        "encrypted_call_agent_id = ''",
        "encrypted_sms_agent_id = NULL",
        "encrypted_agent_config = NULL",
        "encrypted_agent_config = encrypted_agent_config #- '{retell_vault,webhook_key}'",
        "encrypted_agent_config = encrypted_agent_config - 'retell_vault'",
    ] {
        store(&vault, &full_config(1)).await;
        db.exec(&format!("UPDATE user_profiles SET {lost}")).await;
        assert_eq!(load_error(&vault).await, ErrorKind::Incomplete, "{lost}");
        let state = vault.list(None, 1).await.unwrap().entries[0].state;
        assert_eq!(state, retell_vault::records::RecordState::Unreadable(ErrorKind::Incomplete), "{lost}");
        store(&vault, &full_config(2)).await;
        assert_eq!(load(&vault).await, full_config(2), "{lost}");
    }
    db.exec("ALTER TABLE user_profiles DROP COLUMN encrypted_call_agent_id").await;
    assert_eq!(load_error(&vault).await, ErrorKind::Incomplete);
    store(&vault, &full_config(3)).await;
    db.exec("ALTER TABLE user_profiles DROP COLUMN phone_number").await;
    assert_eq!(load_error(&vault).await, ErrorKind::Incomplete);
    let error = vault.load(&owner("user-1")).await.unwrap_err();
    assert!(error.to_string().contains("lacks phone_number"), "{error}");
    store(&vault, &full_config(4)).await;
    assert_eq!(load(&vault).await, full_config(4));
}

/// Dropping one token of a packed column, or of the JSONB column, is noticed for each of the four.
#[tokio::test]
async fn a_lost_token_is_noticed_wherever_it_was() {
    let (db, _hosts, vault) =
        vault_on("CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)")
            .await;
    store(&vault, &full_config(1)).await;
    db.exec("CREATE TABLE before AS TABLE user_profiles").await;
    for field in ["api_key", "call_agent_id", "sms_agent_id", "webhook_key"] {
        db.exec(&format!(r"UPDATE user_profiles SET encrypted_retell_api_key = trim(regexp_replace(b.encrypted_retell_api_key, 'rv1\.[0-9a-f]+\.[0-9a-f]+\.{field}\.\S+ ?', '')) FROM before b")).await;
        assert_eq!(load_error(&vault).await, ErrorKind::Incomplete, "{field}");
    }
    let (db, _hosts, vault) =
        vault_on("CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)").await;
    store(&vault, &full_config(1)).await;
    db.exec("CREATE TABLE before AS TABLE user_profiles").await;
    for field in ["api_key", "call_agent_id", "sms_agent_id", "webhook_key"] {
        db.exec(&format!("UPDATE user_profiles SET encrypted_agent_config = b.encrypted_agent_config #- '{{retell_vault,{field}}}' FROM before b")).await;
        assert_eq!(load_error(&vault).await, ErrorKind::Incomplete, "{field}");
    }
    for field in ["phone_number", "webhook_config", "integration_status"] {
        db.exec(&format!("UPDATE user_profiles SET encrypted_agent_config = b.encrypted_agent_config #- '{{retell_vault,{field}}}' FROM before b")).await;
        assert_eq!(load_error(&vault).await, ErrorKind::Incomplete, "{field}");
        let error = vault.load(&owner("user-1")).await.unwrap_err();
        assert!(error.to_string().contains(&format!("lacks {field}")), "{error}");
    }
}

/// What other code keeps in the JSONB column is its own, unless it is an object or nothing.
#[tokio::test]
async fn json_that_is_no_object_is_refused_and_stays() {
    let (db, _hosts, vault) = vault_on(ALL_COLUMNS).await;
    for foreign in ["[1]", "\"text\"", "7", "true", "[]"] {
        let row = format!(
            "DELETE FROM user_profiles; INSERT INTO user_profiles (user_id, encrypted_agent_config) VALUES ('user-1', '{foreign}')"
        );
        db.exec(&row).await;
        let before = table(&db, "user_profiles").await;
        let error = vault.store(&owner("user-1"), &full_config(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ForeignValue, "{foreign}");
        let bulk = vault.store_many(&[(owner("user-1"), full_config(1))]).await.unwrap().remove(0);
        assert_eq!(bulk.unwrap_err().kind(), ErrorKind::ForeignValue, "{foreign}");
        assert_eq!(load_error(&vault).await, ErrorKind::ForeignValue, "{foreign}");
        let forced = retell_vault::records::StoreOptions::new().replace_foreign().replace_unreadable();
        let error = vault.store_with(&owner("user-1"), &full_config(1), forced).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ForeignValue, "{foreign}");
        assert_eq!(table(&db, "user_profiles").await, before, "{foreign}");
    }
    for nothing in ["'null'", "NULL", "'{}'", "'{\"retell_vault\": null}'"] {
        db.exec(&format!("UPDATE user_profiles SET encrypted_agent_config = {nothing}, encrypted_retell_api_key = NULL, encrypted_call_agent_id = NULL, encrypted_sms_agent_id = NULL")).await;
        assert_eq!(load_error(&vault).await, ErrorKind::NotFound, "{nothing}");
        store(&vault, &full_config(2)).await;
        assert_eq!(load(&vault).await, full_config(2), "{nothing}");
    }
    assert_eq!(vault.status().await.unwrap().local.unwrap().pending, 0);
}
