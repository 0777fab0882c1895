//! Databases and servers for tests.
//!
//! `scripts/test` starts the server that [`TestDb`] uses, and it deletes what a test
//! that was killed could not.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::thread;
use std::time::Duration;

use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::process::Command;
use tokio::runtime;
use url::Url;

// --- A database ---

/// A database of its own for one test, on the server that all tests share.
/// Dropping it drops the database, with everybody who is still connected.
pub struct TestDb {
    /// Where the database is, without detours.
    pub url: String,
    pub name: String,
}

impl TestDb {
    /// Makes an empty database with a random name.
    pub async fn create() -> Self {
        let name = format!("test_{:032x}", rand::random::<u128>());
        run_sql(&server_url(), &format!("CREATE DATABASE {name}")).await.expect("the database is created");
        let url = with_database(&server_url(), &name);
        Self { url, name }
    }

    /// Another database with everything that is in this one, to which nobody may be connected.
    pub async fn copy(&self) -> Self {
        let name = format!("test_{:032x}", rand::random::<u128>());
        let sql = format!("CREATE DATABASE {name} TEMPLATE {}", self.name);
        run_sql(&server_url(), &sql).await.expect("the database is copied");
        let url = with_database(&server_url(), &name);
        Self { url, name }
    }

    /// A new pool, as a process of its own would have. It connects when it is first used.
    pub fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(10).connect_lazy(&self.url).expect("our own URL is valid")
    }

    /// Runs a script of one or more statements, on a connection of its own.
    pub async fn exec(&self, sql: &str) {
        if let Err(error) = run_sql(&self.url, sql).await {
            panic!("{error}\nin: {sql}");
        }
    }

    /// The same database through PgBouncer, in transaction mode and with two connections.
    pub fn bouncer_url(&self) -> String {
        with_database(&variable("RETELL_VAULT_TEST_BOUNCER"), &self.name)
    }
}

impl Drop for TestDb {
    /// In a thread, because a runtime cannot start inside of the one that the test runs in.
    /// The test is over, so errors are of no interest.
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let drop_database = move || {
            let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            let run = async { tokio::time::timeout(LONG, run_sql(&server_url(), &sql)).await };
            let _ = runtime.block_on(run);
        };
        let _ = thread::spawn(drop_database).join();
    }
}

/// Longer than anything takes that works.
const LONG: Duration = Duration::from_secs(30);

pub async fn run_sql(url: &str, sql: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}

fn server_url() -> String {
    variable("RETELL_VAULT_TEST_PG")
}

fn variable(name: &str) -> String {
    env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run scripts/test, which starts a throw-away Postgres"))
}

fn with_database(url: &str, name: &str) -> String {
    let mut url = Url::parse(url).expect("the server's URL is valid");
    url.set_path(name);
    url.into()
}

// --- A server ---

/// A Postgres server of its own, for a test that kills it. Dropping it deletes it.
pub struct Cluster {
    folder: PathBuf,
    options: Vec<String>,
    url: String,
}

impl Cluster {
    /// Starts a new server. The options are those of `postgres`, as `&["-c", "fsync=off"]`.
    /// Without that one, what the server has confirmed survives [`Cluster::kill`] and more.
    pub async fn start(options: &[&str]) -> Self {
        let mut cluster = Self {
            folder: env::temp_dir().join(format!("cluster-{:016x}", rand::random::<u64>())),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            url: String::new(),
        };
        cluster.url = cluster.script("start").await;
        cluster
    }

    /// The database `postgres` of this server. The same for life.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// As [`TestDb::exec`], in the database `postgres`.
    pub async fn exec(&self, sql: &str) {
        if let Err(error) = run_sql(&self.url, sql).await {
            panic!("{error}\nin: {sql}");
        }
    }

    /// SIGKILL to every process of the server. When this returns, the port refuses.
    pub async fn kill(&self) {
        self.script("kill").await;
    }

    /// A clean shutdown, which disconnects everybody.
    pub async fn stop(&self) {
        self.script("stop").await;
    }

    /// Starts the server again after [`Cluster::kill`] or [`Cluster::stop`], on the same port
    /// and with the same options. Returns when it accepts connections.
    pub async fn restart(&self) {
        self.script("start").await;
    }

    /// Does not block the runtime, so a test can have load on the server meanwhile.
    async fn script(&self, command: &str) -> String {
        let output = Command::new(cluster_script())
            .arg(command)
            .arg(&self.folder)
            .args(&self.options)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("scripts/cluster runs");
        checked(output)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::process::Command::new(cluster_script())
            .arg("remove")
            .arg(&self.folder)
            .stdin(Stdio::null())
            .output();
    }
}

fn cluster_script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cluster")
}

fn checked(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/cluster failed: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
