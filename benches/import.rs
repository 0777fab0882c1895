//! An import of plaintext beside the bare batched UPDATE of texts that are as long, in the same table.
//!
//! `IMPORT_ROWS` sets the number of rows (50,000). Not pinned: an import uses all processors.

#[path = "support/databases.rs"]
mod databases;
#[path = "../tests/support/mod.rs"]
mod fixture;
mod support;

use std::time::Instant;

use databases::Databases;
use fixture::vaults::Hosts;
use retell_vault::Layout;
use retell_vault::config::import::{ImportOptions, Passwords};
use retell_vault::layout::OldSource;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Connection, PgConnection, Row};
use support::{Comparison, is_wanted};

const BATCH: usize = 1000;
const ROUNDS: u32 = 3;
const TABLE: &str =
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, old_key text, encrypted_retell_api_key text)";
const FILL: &str = "INSERT INTO user_profiles SELECT 'user-' || to_char(n, 'FM00000000'), 'key_test_' || md5(n::text) FROM generate_series(1, $1) n";
const UPDATE: &str = "UPDATE user_profiles AS t SET encrypted_retell_api_key = n.a FROM unnest($1::text[], $2::text[]) AS n (u, a) WHERE t.user_id = n.u";

fn rows() -> usize {
    std::env::var("IMPORT_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(50_000)
}

fn layout() -> Layout {
    let source =
        OldSource::new("user_profiles", "user_id", "old_key", "plaintext").expect("the names are valid");
    let source = source.field("api_key".parse().expect("it is a field"));
    Layout::new().source(source).expect("the field is known")
}

async fn exec(url: &str, sql: &'static str) {
    let mut connection = PgConnection::connect(url).await.expect("the server answers");
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("it runs");
}

/// Every round finds the table without any record.
async fn reset(url: &str) {
    exec(url, "UPDATE user_profiles SET encrypted_retell_api_key = NULL").await;
    exec(url, "VACUUM FULL ANALYZE user_profiles").await;
}

async fn import(hosts: &Hosts, url: &str, rows: usize) {
    // a process that has seen none of the records
    let vault = hosts.host(0, url).layout(layout()).build().await.expect("the vault is built");
    let report =
        vault.import(&Passwords::new(), &ImportOptions::new(), |_| Ok(())).await.expect("it imports");
    assert_eq!((report.progress.sealed, report.progress.verified), (rows as u64, rows as u64));
    vault.close().await;
}

/// The users and the sealed texts of one batch.
type Batch = (Vec<String>, Vec<String>);

async fn batches(pool: &PgPool) -> Vec<Batch> {
    let rows = sqlx::query("SELECT user_id, encrypted_retell_api_key FROM user_profiles ORDER BY user_id");
    let rows = rows.fetch_all(pool).await.expect("the rows are there");
    rows.chunks(BATCH)
        .map(|rows| rows.iter().map(|row| (row.get::<String, _>(0), row.get::<String, _>(1))).unzip())
        .collect()
}

async fn bare(pool: &PgPool, batches: &[Batch]) {
    for (users, texts) in batches {
        sqlx::query(UPDATE).bind(users).bind(texts).execute(pool).await.expect("the rows are written");
    }
}

#[tokio::main]
async fn main() {
    if !is_wanted() {
        return;
    }
    let databases = Databases::make().await;
    let [url, _] = databases.urls();
    let (rows, hosts) = (rows(), Hosts::new().await);
    exec(&url, "DROP TABLE IF EXISTS user_profiles").await;
    exec(&url, TABLE).await;
    let pool = PgPoolOptions::new().max_connections(1).connect(&url).await.expect("the server answers");
    sqlx::query(FILL).bind(rows as i64).execute(&pool).await.expect("the rows are inserted");
    import(&hosts, &url, rows).await;
    let batches = batches(&pool).await;
    let mut comparison = Comparison::of_rates("import, rows a second of one bare connection", 0.6);
    for _ in 0..ROUNDS {
        reset(&url).await;
        let started = Instant::now();
        bare(&pool, &batches).await;
        let plain = started.elapsed();
        reset(&url).await;
        let started = Instant::now();
        import(&hosts, &url, rows).await;
        comparison.add(plain, started.elapsed());
    }
    let rate = |time: f64| rows as f64 / (time / 1e9);
    let (plain, ours) = comparison.print();
    println!("      {:.0} rows/s / {:.0} rows/s, {rows} rows", rate(ours), rate(plain));
}
