//! Databases and servers for tests.
//!
//! `scripts/test` starts the server that [`TestDb`] uses, and deletes what a killed test could not.

use std::env;
use std::fs;
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

/// The first version with `NULLS NOT DISTINCT`, with `security_invoker` of views, and in which not every role may create in
/// `public`.
pub const POSTGRES_15: i32 = 150_000;

/// A database for one test, on the server that all tests share. Dropping it drops the database and ends its connections.
pub struct TestDb {
    /// The URL of the database, without a pooler.
    pub url: String,
    pub name: String,
}

impl TestDb {
    /// Creates an empty database with a random name. As Postgres 15 does by default, only its owner may create in `public`,
    /// so a test must grant that to others.
    pub async fn create() -> Self {
        let name = format!("test_{:032x}", rand::random::<u128>());
        run_sql(&server_url(), &format!("CREATE DATABASE {name}")).await.expect("the database is created");
        let db = Self { url: with_database(&server_url(), &name), name };
        db.exec("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
        db
    }

    /// The version of the server, as `server_version_num` has it.
    pub async fn version(&self) -> i32 {
        let mut connection = PgConnection::connect(&self.url).await.expect("a connection");
        let version =
            sqlx::query_scalar("SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4")
                .fetch_one(&mut connection)
                .await;
        connection.close().await.expect("nobody may be connected to a database that is copied");
        version.expect("the server says its version")
    }

    /// A copy of this database. No session may be connected to this one.
    pub async fn copy(&self) -> Self {
        let name = format!("test_{:032x}", rand::random::<u128>());
        let sql = format!("CREATE DATABASE {name} TEMPLATE {}", self.name);
        run_sql(&server_url(), &sql).await.expect("the database is copied");
        let url = with_database(&server_url(), &name);
        Self { url, name }
    }

    /// A new pool, as a separate process would have. It connects when it is first used.
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
    /// In a thread, because a runtime cannot start inside the runtime of the test. The test is over, so errors are ignored.
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

/// Longer than anything that works takes.
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

/// A Postgres server for a test that kills it. Dropping it deletes it.
pub struct Cluster {
    folder: PathBuf,
    options: Vec<String>,
    url: String,
}

impl Cluster {
    /// Starts a new server. The options are those of `postgres`, as `&["-c", "fsync=off"]`. Without that option, what the
    /// server has confirmed survives [`Cluster::kill`] and worse.
    pub async fn start(options: &[&str]) -> Self {
        Self::start_in(&env::temp_dir(), options).await
    }

    /// As [`Cluster::start`], below this folder.
    pub async fn start_in(folder: &Path, options: &[&str]) -> Self {
        let mut cluster = Self {
            folder: folder.join(format!("cluster-{:016x}", rand::random::<u64>())),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            url: String::new(),
        };
        cluster.url = cluster.script("start").await;
        cluster
    }

    /// Starts a streaming standby of this server. The server is down while its files are copied. From then on it confirms
    /// no commit that the standby has not applied.
    pub async fn standby(&self, options: &[&str]) -> Self {
        let port = Url::parse(&self.url).expect("the server's URL is valid").port().expect("a port");
        let source = format!("primary_conninfo=host=127.0.0.1 port={port} user=postgres");
        let options = [options, &["-c", &source]].concat();
        let mut standby = Self {
            folder: env::temp_dir().join(format!("cluster-{:016x}", rand::random::<u64>())),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            url: String::new(),
        };
        self.stop().await;
        fs::create_dir(&standby.folder).expect("a folder for the standby");
        fs::write(standby.folder.join(".throw-away"), "").expect("its marker");
        let copy =
            Command::new("cp").arg("-a").arg(self.folder.join("data")).arg(&standby.folder).status().await;
        assert!(copy.expect("cp runs").success());
        fs::write(standby.folder.join("data/standby.signal"), "").expect("the signal");
        self.restart().await;
        standby.url = standby.script("start").await;

        let sql = "ALTER SYSTEM SET synchronous_commit = remote_apply;
            ALTER SYSTEM SET synchronous_standby_names = '*'; SELECT pg_reload_conf()";
        for statement in sql.split(';') {
            self.exec(statement).await;
        }
        standby
    }

    /// The database `postgres` of this server. The URL never changes.
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

    /// A clean shutdown, which ends all connections.
    pub async fn stop(&self) {
        self.script("stop").await;
    }

    /// Starts the server again after [`Cluster::kill`] or [`Cluster::stop`], on the same port
    /// and with the same options. Returns when it accepts connections.
    pub async fn restart(&self) {
        self.script("start").await;
    }

    /// Does not block the runtime, so a test can keep load on the server.
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
