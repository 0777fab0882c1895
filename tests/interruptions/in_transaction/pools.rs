//! Pools of the service: behind PgBouncer, shared with the vault, and acting as the end user under row level security.

use std::time::Duration;

use retell_vault::connection::PoolerMode;
use retell_vault::{ErrorKind, Owner, Vault};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool, PgTransaction};
use tokio::task::JoinSet;

use super::rename;
use crate::support::supabase::supabase;
use crate::support::vaults::*;
use crate::support::*;

const OWN_ROWS: &str =
    "CREATE TABLE user_profiles (user_id uuid PRIMARY KEY, encrypted_retell_api_key text, encrypted_agent_config jsonb);
     ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY;
     CREATE POLICY own_rows ON user_profiles TO authenticated USING (user_id = auth.uid())";

const USERS: [&str; 2] = ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"];

/// A pool of the service through PgBouncer, as it has to be for that and no more.
fn bouncer_pool(db: &TestDb) -> PgPool {
    let options: PgConnectOptions = db.bouncer_url().parse().unwrap();
    PgPoolOptions::new().max_connections(4).connect_lazy_with(options.extra_float_digits(None))
}

/// A transaction in which the service acts as one of its users.
async fn acting_as(pool: &PgPool, user: &str) -> PgTransaction<'static> {
    let mut transaction = pool.begin().await.unwrap();
    let act = "SELECT set_config('role', 'authenticated', true), set_config('request.jwt.claims', $1, true)";
    let act = sqlx::query(act).bind(format!(r#"{{"sub":"{user}"}}"#));
    act.persistent(false).execute(&mut *transaction).await.unwrap();
    transaction
}

/// Each user reaches their own record and no other, in transactions of many users at once.
async fn users_are_kept_apart(vault: &Vault, pool: PgPool) {
    let mut tasks = JoinSet::new();
    for [user, another] in [USERS, [USERS[1], USERS[0]]] {
        let (vault, pool) = (vault.clone(), pool.clone());
        tasks.spawn(async move {
            let (own, other): (Owner, Owner) = (owner(user), owner(another));
            for round in 0..8 {
                let config = small_config(format!("{}_{round}", &user[..1]));
                let mut transaction = acting_as(&pool, user).await;
                vault.store_in(&mut transaction, &own, &config).await.unwrap();
                assert_eq!(vault.load_in(&mut transaction, &own).await.unwrap().config, config);
                for error in [
                    vault.load_in(&mut transaction, &other).await.map(drop).unwrap_err(),
                    vault.modify_in(&mut transaction, &other, rename).await.map(drop).unwrap_err(),
                    vault.delete_in(&mut transaction, &other).await.map(drop).unwrap_err(),
                ] {
                    assert_eq!(error.kind(), ErrorKind::NotFound);
                }
                transaction.commit().await.unwrap();

                let mut transaction = acting_as(&pool, user).await;
                vault.delete_in(&mut transaction, &own).await.unwrap();
                let error = vault.store_in(&mut transaction, &other, &config).await.unwrap_err();
                assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::AccessDenied, Some("42501")));
                transaction.rollback().await.unwrap();
                assert_eq!(vault.load(&own).await.unwrap().config, config, "{user}, round {round}");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

async fn own_rows() -> (TestDb, Hosts) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    supabase(&db).await;
    db.exec(OWN_ROWS).await;
    (db, hosts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_the_end_user() {
    let (db, hosts) = own_rows().await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    users_are_kept_apart(&vault, db.pool()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_the_end_user_through_a_pooler() {
    let (db, hosts) = own_rows().await;
    let vault = hosts.host(0, &db.bouncer_url()).build().await.unwrap();
    assert!(vault.status().await.unwrap().database.unwrap().transaction_pooler);
    users_are_kept_apart(&vault, bouncer_pool(&db)).await;
}

/// The vault connects directly, so it does not know of the pooler. Other clients leave named statements on its servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_pooler_that_the_vault_does_not_know() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..4 {
        // a process each, whose names for statements are the same
        let (vault, pool, user) = (vault.clone(), bouncer_pool(&db), owner(&format!("user-{number}")));
        tasks.spawn(async move {
            for round in 0..10 {
                let careless = format!("SELECT 'key_wrong_{number}_{round}'::text");
                let _ = sqlx::query(AssertSqlSafe(careless)).fetch_all(&pool).await;
                let config = full_config(format!("{number}_{round}"));
                let mut transaction = pool.begin().await.unwrap();
                vault.store_in(&mut transaction, &user, &config).await.unwrap();
                assert_eq!(vault.load_in(&mut transaction, &user).await.unwrap().config, config);
                transaction.commit().await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert!(!vault.status().await.unwrap().database.unwrap().transaction_pooler);
}

#[tokio::test]
async fn a_pool_that_the_vault_shares_and_that_is_used_up() {
    used_up(Duration::ZERO).await;
}

#[tokio::test]
#[ignore = "waits for a minute, until the vault would read the table again"]
async fn a_pool_that_is_used_up_when_the_table_would_be_read_again() {
    used_up(Duration::from_secs(61)).await;
}

/// The service holds the only connection of the pool while it waits for the vault.
async fn used_up(wait: Duration) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy(&db.url).unwrap();
    let vault = hosts.offline(0).pool(pool.clone()).pooler(PoolerMode::None).build().await.unwrap();
    let user = owner("user-1");
    vault.store(&user, &full_config("old")).await.unwrap();
    tokio::time::sleep(wait).await;
    let mut transaction = pool.begin().await.unwrap();
    assert_eq!(vault.load_in(&mut transaction, &user).await.unwrap().config, full_config("old"));
    assert_eq!(
        vault.load_in(&mut transaction, &owner("nobody")).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    vault.modify_in(&mut transaction, &user, rename).await.unwrap();
    vault.delete_in(&mut transaction, &user).await.unwrap();
    vault.store_in(&mut transaction, &user, &full_config("new")).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(vault.load(&user).await.unwrap().config, full_config("new"));
}
