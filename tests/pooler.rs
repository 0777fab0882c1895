//! PgBouncer in transaction mode with two servers: every caller gets the answer to its own question.

mod support;

use std::sync::Arc;
use std::time::Instant;

use retell_vault::connection::PoolerMode;
use retell_vault::{ErrorKind, Owner, Vault};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use support::rows::owners;
use support::vaults::*;
use support::*;
use tokio::task::JoinSet;

const CALLERS: usize = 50;
const OPERATIONS: usize = 10_000;
/// Owners of one caller alone, so that it knows every answer beforehand.
const OWNERS: usize = 4;

/// One caller's share of mixed operations. Panics at the first wrong answer, and says how many
/// operations were done.
async fn caller(vault: Vault, number: usize, operations: usize) -> usize {
    let mine: Vec<Owner> = owners((number + 1) * OWNERS).split_off(number * OWNERS);
    let mut expected: Vec<Option<String>> = vec![None; OWNERS];
    for n in 0..operations {
        let at = (n * 7 + number) % OWNERS;
        let (owner, mark) = (&mine[at], format!("{number}-{n}"));
        match n % 10 {
            0 | 4 | 7 => {
                let stored = vault.store(owner, &small_config(&mark)).await.unwrap();
                assert!(stored.degraded.is_none(), "{:?}", stored.degraded);
                expected[at] = Some(mark);
            }
            2 | 6 => {
                let loaded = vault.load_many(&mine).await;
                loaded.into_iter().zip(&expected).for_each(|(loaded, expected)| check(loaded, expected));
            }
            9 => {
                let deleted = vault.delete(owner).await;
                match expected[at].take() {
                    Some(_) => assert!(deleted.unwrap().degraded.is_none()),
                    None => assert_eq!(deleted.unwrap_err().kind(), ErrorKind::NotFound),
                }
            }
            _ => check(vault.load(owner).await, &expected[at]),
        }
    }
    operations
}

fn check(loaded: retell_vault::Result<retell_vault::records::Loaded>, expected: &Option<String>) {
    match expected {
        Some(mark) => assert_eq!(loaded.unwrap().config, small_config(mark)),
        None => assert_eq!(loaded.unwrap_err().kind(), ErrorKind::NotFound),
    }
}

async fn crowd(vaults: &[Vault], operations: usize) {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..CALLERS {
        tasks.spawn(caller(vaults[number % vaults.len()].clone(), number, operations / CALLERS));
    }
    let mut done = 0;
    while let Some(task) = tasks.join_next().await {
        done += task.unwrap();
    }
    assert_eq!(done, operations);
    println!("{done} operations in {:?}", started.elapsed());
    for vault in vaults {
        let status = vault.status().await.unwrap();
        assert!(status.database.unwrap().transaction_pooler);
        assert_eq!(status.local.unwrap().pending, 0);
    }
}

async fn database() -> (TestDb, Hosts) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    (db, hosts)
}

/// The refused start-up parameter tells, and nobody has to configure anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_through_a_pooler_that_is_recognised() {
    let (db, hosts) = database().await;
    let vault = hosts.host(0, &db.bouncer_url()).build().await.unwrap();
    crowd(&[vault], OPERATIONS).await;
}

/// Several processes share the two servers, each with a pool of its own kind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_hosts_in_every_way_to_connect() {
    let (db, hosts) = database().await;
    let named = hosts.host(0, &format!("{}?pgbouncer=true", db.bouncer_url())).build().await.unwrap();
    let set = hosts.host(1, &db.bouncer_url()).pooler(PoolerMode::Transaction).build().await.unwrap();
    let options: PgConnectOptions = db.bouncer_url().parse().unwrap();
    // a service's pool as it has to be behind PgBouncer, and no more than that
    let pool = PgPoolOptions::new().max_connections(5).connect_lazy_with(options.extra_float_digits(None));
    let pooled = hosts.offline(2).pool(pool).pooler(PoolerMode::Transaction).build().await.unwrap();
    crowd(&[named, set, pooled], OPERATIONS / 4).await;
}

/// Row creation without a constraint takes a lock, which has to stay on one server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_created_once_through_a_pooler() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE user_profiles (user_id text, encrypted_agent_config jsonb)").await;
    let mut tasks = JoinSet::new();
    for host in 0..4 {
        let vault = hosts.host(host, &db.bouncer_url()).build().await.unwrap();
        tasks.spawn(async move {
            for owner in &owners(25) {
                assert!(vault.store(owner, &small_config(host)).await.unwrap().degraded.is_none());
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let rows: i64 = rows::value(&db, "SELECT count(*) FROM user_profiles").await;
    assert_eq!(rows, 25);
}

/// Other clients of the pooler leave named statements behind on its servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_statements_of_others_do_no_harm() {
    let (db, hosts) = database().await;
    let vault = Arc::new(hosts.host(0, &db.bouncer_url()).build().await.unwrap());
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    let options: PgConnectOptions = db.bouncer_url().parse().unwrap();
    let careless = PgPoolOptions::new().connect_lazy_with(options.extra_float_digits(None));
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let (careless, vault) = (careless.clone(), vault.clone());
        tasks.spawn(async move {
            for round in 0..40 {
                // sqlx calls its statements sqlx_s_1 and so on, whatever they say; it fails, or not
                let sql =
                    format!("SELECT 'key_wrong_{n}_{round}'::text FROM user_profiles WHERE user_id = $1");
                let _ = sqlx::query(sqlx::AssertSqlSafe(sql)).bind("user-1").fetch_all(&careless).await;
                assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, full_config(1));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// What was set wrong is an error while the vault is built, and not another owner's key later.
#[tokio::test]
async fn a_pooler_that_was_ruled_out_is_an_error_at_the_start() {
    let (db, hosts) = database().await;
    let error = hosts.host(0, &db.bouncer_url()).pooler(PoolerMode::None).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.hint().contains("transaction"), "{}", error.hint());
}
