//! The table changes between and during calls, over old and fresh connections, direct and through PgBouncer: no record is
//! ever written where others do not look. Domains, enums and arrays are among its columns.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retell_vault::Vault;
use retell_vault::connection::PoolerMode;
use retell_vault::records::Version;
use tokio::task::JoinSet;

use crate::support::vaults::*;
use crate::support::*;

const TABLE: &str = "CREATE SCHEMA app; CREATE DOMAIN app.short_text AS text CHECK (length(VALUE) < 4000);
    CREATE TYPE app.state AS ENUM ('active', 'inactive', 'error', 'pending');
    CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb,
        retell_integration_status app.state, encrypted_sms_agent_id text[])";

/// None of them takes anything away that the vault keeps: a column of a domain, an enum or an array is no place for a token.
const STEPS: [&str; 19] = [
    "ADD encrypted_retell_api_key text",
    "ADD encrypted_call_agent_id app.short_text",
    "ALTER retell_integration_status TYPE text",
    "ALTER encrypted_call_agent_id TYPE text",
    "ALTER encrypted_sms_agent_id TYPE text USING NULL",
    "ADD encrypted_other app.short_text, ADD encrypted_more app.state[]",
    "ALTER encrypted_retell_api_key TYPE varchar",
    "ADD phone_number app.short_text",
    "ADD webhook_config json",
    "ALTER webhook_config TYPE jsonb USING webhook_config::jsonb",
    "ALTER encrypted_call_agent_id TYPE varchar(3000)",
    "ADD last_retell_sync timestamptz",
    "ALTER last_retell_sync TYPE text",
    "ALTER phone_number TYPE text",
    "ADD unrelated text[], ADD another app.state DEFAULT 'active'",
    "DROP unrelated, DROP another",
    "DROP last_retell_sync",
    "ALTER encrypted_sms_agent_id TYPE varchar",
    "ALTER encrypted_sms_agent_id TYPE text",
];

/// The ways to the database.
const WAYS: [PoolerMode; 2] = [PoolerMode::None, PoolerMode::Transaction];

async fn vault(hosts: &Hosts, db: &TestDb, host: usize, way: PoolerMode) -> Vault {
    let url = if way == PoolerMode::None { db.url.clone() } else { db.bouncer_url() };
    hosts.host(host, &url).pooler(way).build().await.unwrap()
}

fn user(number: usize) -> String {
    format!("user-{number}")
}

/// Between calls: each is the first to notice.
#[tokio::test]
async fn a_step_between_two_calls_is_noticed_by_whoever_comes_first() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(TABLE).await;
    let mut old = Vec::new();
    for (host, way) in WAYS.into_iter().enumerate() {
        old.push(vault(&hosts, &db, host, way).await);
    }
    for (step, sql) in STEPS.into_iter().enumerate() {
        let mut all = old.clone();
        for (host, way) in WAYS.into_iter().enumerate() {
            all.push(vault(&hosts, &db, 2 + host, way).await);
        }
        // every connection has every statement before the step
        for (number, vault) in all.iter().enumerate() {
            store(vault, number, step).await;
            vault.load(&owner(&user(number))).await.unwrap();
        }
        db.exec(&format!("ALTER TABLE user_profiles {sql}")).await;
        for (number, vault) in all.iter().enumerate() {
            match step % 3 {
                0 => store(vault, number, step + 100).await,
                1 => {
                    let many = [(owner(&user(number)), full_config(step + 100))];
                    let stored = vault.store_many(&many).await.unwrap().remove(0).unwrap();
                    assert_eq!(stored.degraded, None, "{sql}");
                }
                _ => {
                    let loaded = vault.load(&owner(&user(number))).await.unwrap();
                    assert_eq!(loaded.config, full_config(step), "{sql}");
                    store(vault, number, step + 100).await;
                }
            }
            for vault in &all {
                let loaded = vault.load(&owner(&user(number))).await.unwrap();
                assert_eq!((loaded.config, loaded.stale), (full_config(step + 100), false), "{sql}");
            }
        }
    }
}

async fn store(vault: &Vault, number: usize, mark: usize) {
    let stored = vault.store(&owner(&user(number)), &full_config(mark)).await.unwrap();
    assert_eq!(stored.degraded, None);
}

/// During calls: writers go on while the steps are made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_during_calls_lose_nothing() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(TABLE).await;
    let (acknowledged, stop) = (Arc::new(Mutex::new(HashMap::new())), Arc::new(AtomicBool::new(false)));
    let mut writers = JoinSet::new();
    for number in 0..6 {
        let vault = vault(&hosts, &db, number, WAYS[number % 2]).await;
        writers.spawn(write(vault, number, acknowledged.clone(), stop.clone()));
    }
    for round in 0..2 {
        for sql in STEPS {
            db.exec(&format!("ALTER TABLE user_profiles {sql}")).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
            let then: HashMap<usize, Version> = acknowledged.lock().unwrap().clone();
            let fresh = vault(&hosts, &db, 9, WAYS[round % 2]).await;
            for (number, version) in then {
                let loaded = fresh.load(&owner(&user(number))).await;
                let loaded = loaded.unwrap_or_else(|error| panic!("{sql}: {error}"));
                assert!(loaded.version >= version, "{sql}: an acknowledged store is gone");
            }
            fresh.close().await;
        }
        // the same again, from the start
        let back = "DROP encrypted_retell_api_key, DROP encrypted_call_agent_id, DROP phone_number, DROP webhook_config, DROP encrypted_other,
            DROP encrypted_more, DROP encrypted_sms_agent_id, DROP retell_integration_status, ADD retell_integration_status app.state,
            ADD encrypted_sms_agent_id text[]";
        if round == 0 {
            // what lies in the columns goes to the JSONB column before they are dropped
            stop.store(true, Ordering::Relaxed);
            while let Some(done) = writers.join_next().await {
                done.unwrap();
            }
            db.exec(&format!("DELETE FROM user_profiles; ALTER TABLE user_profiles {back}")).await;
            acknowledged.lock().unwrap().clear();
            stop.store(false, Ordering::Relaxed);
            for number in 0..6 {
                let vault = vault(&hosts, &db, number, WAYS[number % 2]).await;
                writers.spawn(write(vault, number, acknowledged.clone(), stop.clone()));
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = writers.join_next().await {
        assert!(done.unwrap() > 20, "a writer hardly wrote");
    }
}

/// Stores and loads until it is told to stop. Answers with how often.
async fn write(
    vault: Vault,
    number: usize,
    acknowledged: Arc<Mutex<HashMap<usize, Version>>>,
    stop: Arc<AtomicBool>,
) -> usize {
    let mut stores = 0;
    while !stop.load(Ordering::Relaxed) {
        let stored = vault.store(&owner(&user(number)), &full_config(stores)).await.unwrap();
        assert_eq!(stored.degraded, None);
        acknowledged.lock().unwrap().insert(number, stored.version);
        let loaded = vault.load(&owner(&user(number))).await.unwrap();
        assert_eq!((loaded.version, loaded.config), (stored.version, full_config(stores)));
        stores += 1;
    }
    stores
}
