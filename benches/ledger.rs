//! Stores with the ledger beside stores without it, and beside a bare statement that changes a row and adds one of the same
//! length; loads whose reads the ledger notes; and the verification.
//!
//! Uses the server that `RETELL_VAULT_TEST_PG` names, or starts a throw-away one without fsync. `OWNERS` is how many owners the
//! verification reads: 20,000 unless it is set.

#[path = "../tests/support/mod.rs"]
mod fixture;
mod support;

use std::time::Instant;

use fixture::vaults::{ALL_COLUMNS, Hosts, full_config, named_table, owner};
use fixture::{Cluster, TestDb};
use retell_vault::ledger::LedgerCopies;
use retell_vault::schema::{ApplyOptions, Profile, Wanted};
use retell_vault::{Owner, RetellConfig, Vault};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgPool, PgPoolOptions};
use support::{Comparison, is_wanted};

const OWNERS: usize = 1000;
const PART: usize = 1000;

/// Both tables as an application without a vault would have them. Its rows are as long as those of the vault.
const BARE: &str = "CREATE TABLE bare AS SELECT user_id, encrypted_retell_api_key, encrypted_call_agent_id, encrypted_sms_agent_id,
        encrypted_agent_config FROM with_ledger;
    ALTER TABLE bare ADD PRIMARY KEY (user_id);
    CREATE TABLE bare_entries (id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id text, at_ms int8, text text,
        received timestamptz NOT NULL DEFAULT now());
    CREATE INDEX ON bare_entries (user_id, at_ms DESC);
    CREATE INDEX ON bare_entries USING brin (received)";
const CHANGE: &str = "WITH w AS (UPDATE bare SET encrypted_retell_api_key = b.encrypted_retell_api_key,
        encrypted_call_agent_id = b.encrypted_call_agent_id, encrypted_sms_agent_id = b.encrypted_sms_agent_id,
        encrypted_agent_config = b.encrypted_agent_config
    FROM (SELECT $2 AS encrypted_retell_api_key, $3 AS encrypted_call_agent_id, $4 AS encrypted_sms_agent_id,
        $5::jsonb AS encrypted_agent_config) AS b WHERE user_id = $1 RETURNING 1)
    INSERT INTO bare_entries (user_id, at_ms, text) SELECT $1, $6, $7 WHERE EXISTS (SELECT FROM w)";

struct Bench {
    pool: PgPool,
    with: Vault,
    without: Vault,
    configs: Vec<(Owner, RetellConfig)>,
}

/// A vault on a table of its own, with these records.
async fn vault(
    host: usize,
    table: &str,
    pool: &PgPool,
    configs: &[(Owner, RetellConfig)],
    has_ledger: bool,
) -> Vault {
    let hosts = Hosts::new().await;
    exec(pool, &ALL_COLUMNS.replace("user_profiles", table)).await;
    let vault = hosts.offline(host).pool(pool.clone()).layout(named_table(table)).build().await;
    let vault = vault.expect("the vault is built");
    if has_ledger {
        let wanted = Wanted::from(Profile::Credentials).vault_schema();
        let plan = vault.schema().plan(wanted).await.expect("a plan");
        vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.expect("it is applied");
        vault.begin_ledger().await.expect("it begins");
    } else {
        let plan = vault.schema().plan(Wanted::from(Profile::Credentials)).await.expect("a plan");
        vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.expect("it is applied");
    }
    for part in configs.chunks(PART) {
        for stored in vault.store_many(part).await.expect("no owner is there twice") {
            assert!(stored.expect("it is stored").degraded.is_none());
        }
    }
    exec(pool, &format!("VACUUM ANALYZE {table}")).await;
    vault
}

async fn exec(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.expect("it runs");
}

fn next(numbers: &mut impl Iterator<Item = usize>) -> usize {
    numbers.next().expect("it goes round")
}

fn configs(count: usize) -> Vec<(Owner, RetellConfig)> {
    (0..count).map(|n| (owner(&format!("user-{n:08}")), full_config(n))).collect()
}

impl Bench {
    async fn store(&self, vault: &Vault, at: usize) {
        let (owner, config) = &self.configs[at];
        assert!(vault.store(owner, config).await.expect("it is stored").degraded.is_none());
    }

    async fn stores(&self) {
        let (mut ours, mut others) = ((0..OWNERS).cycle(), (0..OWNERS).cycle());
        let with = async || self.store(&self.with, next(&mut ours)).await;
        let without = async || self.store(&self.without, next(&mut others)).await;
        Comparison::new("store, with the ledger beside without", 1.45)
            .run_async(400, 20, with, without)
            .await;

        exec(&self.pool, BARE).await;
        exec(&self.pool, "VACUUM ANALYZE").await;
        let rows: Vec<(String, String, String, String, serde_json::Value)> =
            sqlx::query_as("SELECT * FROM bare ORDER BY user_id")
                .fetch_all(&self.pool)
                .await
                .expect("they are there");
        // as long as the columns of an entry besides the owner
        let text = "x".repeat(330);
        let (mut ours, mut others) = ((0..OWNERS).cycle(), (0..OWNERS).cycle());
        let with = async || self.store(&self.with, next(&mut ours)).await;
        let bare = async || {
            let (user, a, b, c, config) = &rows[next(&mut others)];
            let query = sqlx::query(CHANGE).bind(user).bind(a).bind(b).bind(c).bind(config).bind(1_i64);
            query.bind(&text).execute(&self.pool).await.expect("it is written");
        };
        Comparison::new("store, with the ledger beside a bare UPDATE and INSERT", 1.15)
            .run_async(400, 20, with, bare)
            .await;
    }

    async fn loads(&self) {
        let (mut ours, mut others) = ((0..OWNERS).cycle(), (0..OWNERS).cycle());
        let load = async |vault: &Vault, at: usize| {
            drop(vault.load(&self.configs[at].0).await.expect("it is there"));
        };
        let with = async || load(&self.with, next(&mut ours)).await;
        let without = async || load(&self.without, next(&mut others)).await;
        Comparison::new("load, with folded reads in the ledger beside without a ledger", 1.03)
            .run_async(1000, 20, with, without)
            .await;
    }
}

/// The verification beside a program that only fetches the same rows.
async fn verification(pool: &PgPool, owners: usize) {
    exec(pool, "TRUNCATE retell_vault.ledger").await;
    let vault = vault(3, "verified", pool, &configs(owners), true).await;
    exec(pool, "VACUUM ANALYZE retell_vault.ledger").await;
    let mut comparison = Comparison::new("verify, beside fetching the same rows", f64::INFINITY);
    let mut found = None;
    for _ in 0..3 {
        let started = Instant::now();
        found = Some(vault.verify_ledger(&LedgerCopies::new()).await.expect("it is verified"));
        let ours = started.elapsed();
        let started = Instant::now();
        for sql in [
            "SELECT * FROM retell_vault.ledger ORDER BY writer, seq",
            "SELECT * FROM verified ORDER BY user_id",
        ] {
            sqlx::query(sql).fetch_all(pool).await.expect("they are read");
        }
        comparison.add(ours, started.elapsed());
    }
    let found = found.expect("it was verified");
    assert!(found.is_unbroken(), "{found:?}");
    let (ours, _) = comparison.print();
    let rate = |count: u64| count as f64 / (ours / 1e9);
    println!("      {:.0} entries and {:.0} owners a second", rate(found.entries), rate(found.owners));
    let size: i64 = sqlx::query_scalar("SELECT pg_total_relation_size('retell_vault.ledger')")
        .fetch_one(pool)
        .await
        .expect("it has a size");
    println!(
        "      {} bytes for an entry, with its indexes",
        size / i64::try_from(found.entries).expect("few")
    );
}

async fn measure(url: &str) {
    let owners = std::env::var("OWNERS").map_or(20_000, |owners| owners.parse().expect("a number of owners"));
    let options = PgPoolOptions::new().max_connections(4).test_before_acquire(false);
    let pool = options.connect(url).await.expect("the server answers");
    let configs = configs(OWNERS);
    let with = vault(1, "with_ledger", &pool, &configs, true).await;
    let without = vault(2, "without_ledger", &pool, &configs, false).await;
    let bench = Bench { pool: pool.clone(), with, without, configs };
    bench.stores().await;
    bench.loads().await;
    bench.with.close().await;
    verification(&pool, owners).await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if !is_wanted() {
        return;
    }
    if std::env::var_os("RETELL_VAULT_TEST_PG").is_some() {
        let database = TestDb::create().await;
        measure(&database.url).await;
    } else {
        let cluster = Cluster::start(&["-c", "fsync=off"]).await;
        measure(cluster.url()).await;
    }
}
