//! A store while the database is away and the breaker is open, beside a bare upsert into SQLite with
//! the same durability.

#[path = "../tests/support/mod.rs"]
mod fixture;
mod support;

use fixture::vaults::{Hosts, full_config, owner};
use retell_vault::{Owner, RetellConfig};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use support::{Comparison, is_wanted};

const OWNERS: usize = 1000;
const UPSERT: &str = "INSERT INTO bare (tenant, user, version, text, base, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (tenant, user) DO UPDATE SET version = excluded.version, text = excluded.text, at = excluded.at";

/// The vault's own table and settings, without the vault.
async fn bare_pool(folder: &std::path::Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(folder.join("bare.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Truncate)
        .synchronous(SqliteSynchronous::Full)
        .pragma("secure_delete", "ON")
        .pragma("temp_store", "MEMORY");
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .expect("the file is made");
    let table = "CREATE TABLE bare (tenant TEXT NOT NULL, user TEXT NOT NULL, version TEXT NOT NULL,
        text TEXT NOT NULL, base TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (tenant, user)) STRICT";
    sqlx::raw_sql(table).execute(&pool).await.expect("the table is made");
    pool
}

async fn bare_store(pool: &SqlitePool, user: &str, text: &str) {
    let query = sqlx::query(UPSERT).bind("").bind(user).bind("019000a1b2c3d4e5").bind(text);
    query.bind("unknown").bind(1_700_000_000_000i64).execute(pool).await.expect("it is written");
}

/// A port where nobody listens.
fn dead_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    format!("postgres://nobody@127.0.0.1:{}/nothing", listener.local_addr().expect("it is bound").port())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if !is_wanted() {
        return;
    }
    let hosts = Hosts::new().await;
    let vault = hosts.host(1, &dead_url()).build().await.expect("it starts without the database");
    let configs: Vec<(Owner, RetellConfig)> =
        (0..OWNERS).map(|n| (owner(&format!("user-{n:08}")), full_config(n))).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let bare = bare_pool(folder.path()).await;
    for (owner, config) in &configs {
        let stored = vault.store(owner, config).await.expect("it is kept in the local file");
        assert!(stored.degraded.is_some());
    }
    let texts = texts(&hosts).await;
    for (owner, _) in &configs {
        bare_store(&bare, owner.user_id().as_str(), &texts[0]).await;
    }

    let (mut ours, mut theirs) = ((0..OWNERS).cycle(), 0);
    let store = async || {
        let (owner, config) = &configs[ours.next().expect("it goes round")];
        vault.store(owner, config).await.expect("it is kept in the local file");
    };
    let upsert = async || {
        // another text every time: SQLite does not write what is there already
        theirs += 1;
        let (owner, text) = (&configs[theirs % OWNERS].0, &texts[(theirs + theirs / OWNERS) % OWNERS]);
        bare_store(&bare, owner.user_id().as_str(), text).await;
    };
    Comparison::new("store during an outage", 1.5).run_async(200, 20, store, upsert).await;
}

/// The texts that the vault has in its file, so that both write the same.
async fn texts(hosts: &Hosts) -> Vec<String> {
    let options = SqliteConnectOptions::new().filename(hosts.local_file(1));
    let pool = SqlitePool::connect_with(options).await.expect("the file of the vault");
    let texts = sqlx::query_scalar("SELECT text FROM pending").fetch_all(&pool).await;
    texts.expect("every owner has one")
}
