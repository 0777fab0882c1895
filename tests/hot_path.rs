//! What a call costs in statements, as the server counts them.

mod support;

use std::collections::BTreeMap;

use retell_vault::{Owner, RetellConfig, Vault};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use support::rows::owners;
use support::vaults::*;
use support::*;

/// The index column with its indexes, as the schema planner creates them.
const INDEX: &str = "ALTER TABLE user_profiles ADD retell_vault_index bytea[];
    CREATE INDEX ON user_profiles USING gin (retell_vault_index) WITH (fastupdate = off);
    CREATE INDEX ON user_profiles (user_id) WHERE retell_vault_index IS NULL";

/// The statements of one database since they were last asked for.
struct Statements {
    pool: PgPool,
}

impl Statements {
    async fn count(db: &TestDb) -> Self {
        db.exec("CREATE EXTENSION pg_stat_statements").await;
        let statements = Self { pool: db.pool() };
        statements.take().await;
        statements
    }

    /// The first word of every statement, and how often it was called.
    async fn take(&self) -> BTreeMap<String, i64> {
        let calls: Vec<(String, i64)> = sqlx::query_as(
            "SELECT upper(split_part(ltrim(query), ' ', 1)), sum(calls)::int8 FROM pg_stat_statements
             WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND query NOT LIKE '%pg_stat_statements%' GROUP BY 1",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let reset =
            "SELECT pg_stat_statements_reset(0, oid, 0) FROM pg_database WHERE datname = current_database()";
        sqlx::query(reset).execute(&self.pool).await.unwrap();
        calls.into_iter().collect()
    }

    async fn assert(&self, expected: &[(&str, i64)], what: &str) {
        let expected = expected.iter().map(|(word, calls)| (word.to_string(), *calls)).collect();
        assert_eq!(self.take().await, expected, "{what}");
    }
}

fn configs(owners: &[Owner], mark: &str) -> Vec<(Owner, RetellConfig)> {
    owners.iter().map(|owner| (owner.clone(), full_config(mark))).collect()
}

async fn store_many(vault: &Vault, owners: &[Owner], mark: &str) {
    for stored in vault.store_many(&configs(owners, mark)).await.unwrap() {
        assert!(stored.unwrap().degraded.is_none());
    }
}

async fn hot_paths(table: &str, count: usize, is_unique: bool) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    let (vault, owners) = (hosts.host(0, &db.url).build().await.unwrap(), owners(count));
    // warm up: the rows exist, the columns are known
    store_many(&vault, &owners, "first").await;
    let statements = Statements::count(&db).await;

    for _ in 0..5 {
        vault.load(&owners[7]).await.unwrap();
    }
    statements.assert(&[("SELECT", 5)], "load is one statement").await;

    for mark in 0..5 {
        vault.store(&owners[7], &full_config(mark)).await.unwrap();
    }
    statements.assert(&[("UPDATE", 5)], "store on a row that exists is one statement").await;

    vault.delete(&owners[8]).await.unwrap();
    statements.assert(&[("SELECT", 1), ("UPDATE", 1)], "delete looks first").await;
    vault.store(&owners[8], &full_config("again")).await.unwrap();
    statements.take().await;

    let loaded = vault.load_many(&owners).await;
    assert!(loaded.iter().all(|loaded| loaded.is_ok()));
    statements.assert(&[("SELECT", 1)], "load_many is one statement").await;

    store_many(&vault, &owners, "second").await;
    // the next 250 are sealed while the server writes these; without a constraint every owner may have several rows, and
    // each is written by itself
    let updates = if is_unique { count.div_ceil(250) } else { count } as i64;
    statements.assert(&[("UPDATE", updates)], "store_many").await;
    let loaded = vault.load_many(&owners).await;
    assert!(loaded.iter().all(|loaded| loaded.as_ref().unwrap().config == full_config("second")));
}

#[tokio::test]
async fn with_every_column() {
    hot_paths(ALL_COLUMNS, 1000, true).await;
}

#[tokio::test]
async fn with_only_the_jsonb_column() {
    hot_paths(
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)",
        1000,
        true,
    )
    .await;
}

#[tokio::test]
async fn with_only_the_api_key_column() {
    hot_paths(
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)",
        1000,
        true,
    )
    .await;
}

#[tokio::test]
async fn without_a_unique_constraint() {
    let table = "CREATE TABLE user_profiles (user_id text, encrypted_retell_api_key text); CREATE INDEX ON user_profiles (user_id)";
    hot_paths(table, 100, false).await;
}

/// The entries of the index are written in the record's own statement, and a look-up is one statement.
#[tokio::test]
async fn with_the_index() {
    let indexed = format!("{ALL_COLUMNS}; {INDEX}");
    hot_paths(&indexed, 500, true).await;

    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(&indexed).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    let agent = "agent_test_canary_call_1".parse().unwrap();
    assert!(vault.find_by_agent(&agent).await.unwrap().is_complete);
    let statements = Statements::count(&db).await;
    for _ in 0..5 {
        assert_eq!(vault.find_by_agent(&agent).await.unwrap().owners.len(), 1);
    }
    let taken = statements.take().await;
    // whether the index is complete is asked once a second
    let asked = taken.get("SELECT").copied().unwrap_or_default();
    assert!(
        taken["WITH"] == 5
            && asked < 5
            && taken.keys().all(|word| ["WITH", "SELECT"].contains(&word.as_str())),
        "{taken:?}"
    );
}

/// Postgres plans a statement anew each time if a plan for the bound values looks much better than one for any. That can take
/// longer than the statement itself, and appears only in a table that is large.
#[tokio::test]
async fn every_statement_is_planned_once_also_in_a_large_table() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    db.exec(INDEX).await;
    db.exec("ALTER TABLE user_profiles SET (autovacuum_enabled = false)").await;
    let pool = PgPoolOptions::new().max_connections(1).connect(&db.url).await.unwrap();
    let filler = hosts.host(1, &db.url).build().await.unwrap();
    store_many(&filler, &owners(500), "first").await;
    // as many pages as of 500 rows, with the rows of a table that is two thousand times as large
    db.exec("ANALYZE user_profiles; UPDATE pg_class SET reltuples = 1000000 WHERE oid = 'user_profiles'::regclass").await;
    let vault = hosts.offline(0).pool(pool.clone()).build().await.unwrap();
    let (agent, owners) = ("agent_test_canary_call_first".parse().unwrap(), owners(20));
    for round in 0..20 {
        vault.load(&owners[7]).await.unwrap();
        vault.store(&owners[7], &full_config(round)).await.unwrap();
        let change = vault.modify(&owners[6], |config| {
            *config = full_config(round);
            Ok(())
        });
        change.await.unwrap();
        assert!(vault.load_many(&owners).await.iter().all(Result::is_ok));
        store_many(&vault, &owners[..5], &format!("round_{round}")).await;
        vault.delete(&owners[8]).await.unwrap();
        vault.store(&owners[8], &full_config(round)).await.unwrap();
    }
    // by itself, because a table that grows meanwhile makes later plans look worse
    for _ in 0..20 {
        vault.find_by_agent(&agent).await.unwrap();
    }
    let planned: Vec<(String, i64, i64)> =
        sqlx::query_as("SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements")
            .fetch_all(&pool)
            .await
            .unwrap();
    let often: Vec<_> = planned.iter().filter(|(_, once, anew)| once + anew >= 15).collect();
    assert!(often.len() >= 5, "{planned:#?}");
    let anew: Vec<_> = often.iter().filter(|(.., anew)| *anew > 5).collect();
    assert!(anew.is_empty(), "{anew:#?}");
}

/// Each statement ends long before its time limit, however many owners there are.
#[tokio::test]
async fn more_owners_than_one_statement_reads() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let (vault, owners) = (hosts.host(0, &db.url).build().await.unwrap(), owners(2100));
    let each: Vec<_> = owners.iter().cloned().zip((0..).map(full_config)).collect();
    assert!(vault.store_many(&each).await.unwrap().iter().all(Result::is_ok));
    let statements = Statements::count(&db).await;
    let loaded = vault.load_many(&owners).await;
    statements.assert(&[("SELECT", 3)], "1,000 owners for each statement").await;
    assert_eq!(loaded.len(), owners.len());
    assert!(loaded.into_iter().zip(&each).all(|(loaded, (_, config))| loaded.unwrap().config == *config));

    // a process that has seen none of the records reads them first
    let vault = hosts.host(1, &db.url).build().await.unwrap();
    vault.store(&owners[0], &full_config(0)).await.unwrap();
    statements.take().await;
    assert!(vault.store_many(&each).await.unwrap().iter().all(Result::is_ok));
    statements.assert(&[("SELECT", 3), ("UPDATE", 9)], "they are read in parts too").await;
}

/// With replicas in the local file the database is asked no more often.
#[tokio::test]
async fn offline_reads_cost_the_database_nothing() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).offline_reads().build().await.unwrap();
    let owner = owner("user-1");
    vault.store(&owner, &full_config(1)).await.unwrap();
    let statements = Statements::count(&db).await;
    vault.load(&owner).await.unwrap();
    vault.store(&owner, &full_config(2)).await.unwrap();
    statements.assert(&[("SELECT", 1), ("UPDATE", 1)], "one load and one store").await;
}
