//! What the tests of faults share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use retell_vault::connection::Timeouts;
use retell_vault::records::Version;
use retell_vault::status::LocalStatus;
use retell_vault::{Owner, RetellConfig, Vault};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, SqliteConnection};

use super::vaults::{Hosts, full_config, owner};

/// Short enough for tests, long enough for a busy machine.
pub const QUICK: Timeouts =
    Timeouts { connect: Duration::from_millis(500), operation: Duration::from_millis(1000) };

/// The limit for "it ends": far more than it takes, and far less than forever.
pub const BOUND: Duration = Duration::from_secs(20);

/// No server listens there.
pub const DEAD_URL: &str = "postgres://nobody@127.0.0.1:1/nowhere";

/// Records every write to the table of [`super::vaults::ALL_COLUMNS`].
pub const NOTE_WRITES: &str = "CREATE TABLE writes (user_id text, key text);
    CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO writes VALUES (NEW.user_id, NEW.encrypted_retell_api_key); RETURN NULL; END $$;
    CREATE TRIGGER note_write AFTER INSERT OR UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION note_write()";

/// Raises an SQLSTATE for every write to the table.
pub fn raising(sqlstate: &str) -> String {
    format!(
        "CREATE FUNCTION raise_it() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{sqlstate}'; END $$;
        CREATE TRIGGER raise_it BEFORE INSERT OR UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION raise_it()"
    )
}

pub async fn connect(url: &str) -> PgConnection {
    // what a test itself plants must not be found in the logs
    let options: PgConnectOptions = url.parse().expect("the test's own URL");
    options.disable_statement_logging().connect().await.expect("the test's own connection")
}

/// Runs a script on any server, as `TestDb::exec` does on its own.
pub async fn exec(url: &str, sql: &str) {
    let mut connection = connect(url).await;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect(sql);
}

/// The one number that a query returns.
pub async fn number(url: &str, sql: &str) -> i64 {
    let mut connection = connect(url).await;
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.expect(sql)
}

/// A session that holds the rows of an owner locked until it is released.
pub struct Lock {
    connection: PgConnection,
}

impl Lock {
    pub async fn on_all_rows(url: &str) -> Self {
        Self::by(url, "BEGIN; SELECT * FROM user_profiles FOR UPDATE").await
    }

    pub async fn on_row(url: &str, user: &str) -> Self {
        Self::by(url, &format!("BEGIN; SELECT * FROM user_profiles WHERE user_id = '{user}' FOR UPDATE"))
            .await
    }

    /// Other sessions cannot even read.
    pub async fn on_table(url: &str) -> Self {
        Self::by(url, "BEGIN; LOCK TABLE user_profiles").await
    }

    pub async fn by(url: &str, sql: &str) -> Self {
        let mut connection = connect(url).await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("the lock");
        Self { connection }
    }

    pub async fn release(mut self) {
        sqlx::raw_sql("COMMIT").execute(&mut self.connection).await.expect("the lock's end");
    }
}

/// Waits until this many sessions of the database wait for a lock.
pub async fn until_waiting(url: &str, sessions: i64) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until(async || number(url, sql).await >= sessions).await;
}

/// Waits until the server's counters hold it. A session reports its own when it ends, and the client does not wait for that.
pub async fn until_counted(url: &str, condition: &str) {
    let sql = format!("SELECT coalesce(({condition}), false)::int::int8");
    until(async || number(url, &sql).await == 1).await;
}

/// Waits until it holds; panics if it never does.
pub async fn until(holds: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < BOUND * 2, "what was waited for did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn local(vault: &Vault) -> LocalStatus {
    vault.status().await.expect("status").local.expect("a local file")
}

/// The local file of a host, as `sqlite3` sees it.
pub async fn sqlite(hosts: &Hosts, host: usize) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(hosts.local_file(host));
    options.pragma("synchronous", "OFF").connect().await.expect("the local file")
}

/// A vault of a host whose database is unreachable.
pub async fn unplugged(hosts: &Hosts, host: usize) -> Vault {
    hosts.host(host, DEAD_URL).timeouts(QUICK).build().await.expect("it starts without its database")
}

/// What every vault returns for an owner: its key, or why there is none.
pub async fn said(vaults: &[&Vault], owner: &Owner) -> Vec<String> {
    let mut said = Vec::new();
    for vault in vaults {
        said.push(match vault.load(owner).await {
            Ok(loaded) => loaded.config.api_key().unwrap().expose_secret().to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        });
    }
    said
}

/// What was acknowledged last.
pub struct Last {
    pub config: RetellConfig,
    pub version: Version,
    pub stores: u32,
    pub degraded: u32,
}

/// Stores one configuration after another, and returns the last one that was acknowledged.
pub async fn write_until(stop: Arc<AtomicBool>, vault: Vault, user: String) -> Last {
    let (mut stores, mut degraded, mut last) = (0, 0, None::<Last>);
    while !stop.load(Ordering::Relaxed) {
        stores += 1;
        let config = full_config(format!("{user}_{stores}"));
        let stored = vault.store(&owner(&user), &config).await.expect("with a local file a store succeeds");
        assert!(last.as_ref().is_none_or(|last| last.version < stored.version), "versions only go up");
        degraded += u32::from(stored.degraded.is_some());
        last = Some(Last { config, version: stored.version, stores, degraded });
    }
    last.unwrap()
}
