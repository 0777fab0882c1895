//! A separate connection directly to the server, for long statements and session locks.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};
use tokio::time::timeout;

use crate::error::{Error, ErrorKind};
use crate::postgres::connection::acting_owner::{Until, act_as_owner};
use crate::postgres::connection::errors::{DatabaseError, Outcome, Phase};
use crate::postgres::connection::pool::{Database, Query};
use crate::postgres::connection::watch::SessionWatch;

/// The name of the connection in `pg_stat_activity`.
const NAME: &str = "retell-vault schema";

/// Switches off all time limits of the role or of a pool that this version of the server has. SQL that the catalogue
/// printed keeps its meaning. Commits wait for the disk. From version 14 on the server checks every 5 s whether the
/// client is still connected, so that a killed run does not hold its locks while an index is built. A host that
/// disappears silently counts as gone after about two minutes, not two hours.
const SETTINGS: &str =
    "SELECT pg_catalog.set_config(name, CASE name WHEN 'client_connection_check_interval' THEN '5s'
        WHEN 'tcp_keepalives_idle' THEN '60' WHEN 'tcp_keepalives_interval' THEN '10' WHEN 'tcp_keepalives_count' THEN '6'
        WHEN 'tcp_user_timeout' THEN '120s'
        WHEN 'standard_conforming_strings' THEN 'on' WHEN 'DateStyle' THEN 'ISO'
        WHEN 'synchronous_commit' THEN CASE setting WHEN 'off' THEN 'on' ELSE setting END ELSE '0' END, false)
    FROM pg_catalog.pg_settings WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout',
        'idle_in_transaction_session_timeout', 'idle_session_timeout', 'client_connection_check_interval',
        'standard_conforming_strings', 'DateStyle', 'synchronous_commit', 'tcp_keepalives_idle', 'tcp_keepalives_interval',
        'tcp_keepalives_count', 'tcp_user_timeout')";

/// Excludes schemas in which other roles can create objects. The path names the temporary schema last, because the server
/// would otherwise search it first.
const SAFE_PATH: &str = "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)";

const SETTINGS_HOLD: &str = "SELECT pg_catalog.current_setting('statement_timeout') = '0'
    AND pg_catalog.current_setting('search_path') = 'pg_catalog, pg_temp' AND pg_catalog.pg_backend_pid() = ";

const PID: &str = "SELECT pg_catalog.pg_backend_pid()";

/// A statement that the server refused or did not complete.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The SQLSTATE. Empty if the server sent none.
    pub(crate) code: String,
    pub(crate) fault: DatabaseError,
}

impl Refusal {
    /// Whether another session held a lock or caused a conflict. The statement was not applied and can be tried again.
    pub(crate) fn is_locked(&self) -> bool {
        ["55P03", "40P01", "40001"].contains(&self.code.as_str())
    }
}

/// A refusal by the vault itself.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { code: String::new(), fault: error.into() }
    }
}

impl From<Refusal> for DatabaseError {
    fn from(refusal: Refusal) -> Self {
        refusal.fault
    }
}

/// A connection outside of the pool, without time limits and with a safe search path. Dropping it ends the session, rolls
/// back an open transaction and releases session locks.
///
/// A statement has no time limit while the server works on it. If the session has ended or the network is silent, it
/// fails with `OutcomeUnknown`.
pub(crate) struct Direct {
    connection: PgConnection,
    /// `None` while the connection is established, which has a time limit of its own.
    watch: Option<SessionWatch>,
}

impl Database {
    /// # Errors
    /// `Configuration` if the connection goes through a transaction pooler; errors of connecting.
    pub(crate) async fn direct(&self) -> Result<Direct, DatabaseError> {
        if self.is_transactional() {
            return Err(pooled().into());
        }
        let options = PgConnectOptions::clone(&self.pool().connect_options());
        let options = options.application_name(NAME).disable_statement_logging();
        let mut direct = self.connect(&options).await?;
        let mut other = self.connect(&options).await?;
        let checks = async {
            if shares_a_session(&mut direct, &mut other).await? {
                return Err(DatabaseError::from(pooled()));
            }
            let pid: i32 = direct.value(PID).await?;
            direct.query(SAFE_PATH).await?;
            direct.query(SETTINGS).await?;
            if !direct.value(&format!("{SETTINGS_HOLD}{pid}")).await? {
                return Err(pooled().into());
            }
            let watch = SessionWatch::of(&mut direct.connection, options.clone(), self.timeouts).await;
            direct.watch = Some(watch.map_err(|error| DatabaseError::of(&error, Phase::Connecting))?);
            Ok(())
        };
        timeout(self.timeouts.operation, checks)
            .await
            .map_err(|_| DatabaseError::timed_out(Phase::Connecting))??;
        other.close().await;
        Ok(direct)
    }

    async fn connect(&self, options: &PgConnectOptions) -> Result<Direct, DatabaseError> {
        match timeout(self.timeouts.connect, PgConnection::connect_with(options)).await {
            Ok(Ok(connection)) => Ok(Direct { connection, watch: None }),
            Ok(Err(error)) => match self.connecting_failed(&error) {
                fault if fault.outcome == Outcome::Pooler => Err(pooled().into()),
                fault => Err(fault),
            },
            Err(_) => Err(DatabaseError::timed_out(Phase::Connecting)),
        }
    }
}

/// Whether both connections share a session. A transaction pooler gives a session to the client that runs a transaction,
/// so another client may get an idle client's session.
async fn shares_a_session(idle: &mut Direct, busy: &mut Direct) -> Result<bool, DatabaseError> {
    let before: i32 = idle.value(PID).await?;
    busy.run("BEGIN").await?;
    let theirs: i32 = busy.value(PID).await?;
    let shares = theirs == before || idle.value::<i32>(PID).await? != before;
    busy.run("ROLLBACK").await?;
    Ok(shares)
}

fn pooled() -> Error {
    Error::new(ErrorKind::Configuration, "the connection goes through a transaction pooler").with_hint(
        "schema changes need a direct connection: use the URL of the server, not of the pooler (on Supabase port \
         5432 instead of 6543)",
    )
}

impl Direct {
    /// Runs statements without results in one round trip, outside of a transaction unless one is open.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), Refusal> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection);
        watched(&mut self.watch, done).await.map(drop)
    }

    /// Runs statements as one transaction. It waits at most this long for each lock.
    pub(crate) async fn transaction(
        &mut self,
        statements: &[String],
        lock_timeout: Duration,
    ) -> Result<(), Refusal> {
        self.run("BEGIN").await?;
        let limit = format!("SET LOCAL lock_timeout = {}", milliseconds(lock_timeout));
        for statement in [&limit].into_iter().chain(statements) {
            if let Err(refusal) = self.run(statement).await {
                self.run("ROLLBACK").await.ok(); // what counts is why it failed
                return Err(refusal);
            }
        }
        self.run("COMMIT").await
    }

    /// Runs one statement outside of a transaction. It waits at most this long for each lock.
    pub(crate) async fn alone(&mut self, statement: &str, lock_timeout: Duration) -> Result<(), Refusal> {
        self.run(&format!("SET lock_timeout = {}", milliseconds(lock_timeout))).await?;
        let done = self.run(statement).await;
        self.run("SET lock_timeout = 0").await.ok(); // a lost connection has failed the statement already
        done
    }

    /// Acts as the owner of a table from now on, if the session may.
    pub(crate) async fn act_as_owner(&mut self, relation: &str) -> Result<(), Refusal> {
        self.query(&act_as_owner(relation, Until::TheSessionEnds)).await.map(drop)
    }

    /// Asks for rows.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<PgRow>, Refusal> {
        self.fetch(Query { sql: Arc::from(sql), arguments: PgArguments::default() }).await
    }

    /// Asks for rows, with values bound.
    pub(crate) async fn fetch(&mut self, query: Query) -> Result<Vec<PgRow>, Refusal> {
        let statement = sqlx::query_with(AssertSqlSafe(query.sql), query.arguments).persistent(false);
        watched(&mut self.watch, statement.fetch_all(&mut self.connection)).await
    }

    /// Asks for the value of a query that returns one row.
    pub(crate) async fn value<T>(&mut self, sql: &str) -> Result<T, Refusal>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let rows = self.query(sql).await?;
        let value = rows.first().ok_or(sqlx::Error::RowNotFound).and_then(|row| row.try_get(0));
        value.map_err(|error| refused(&error, Phase::Reading))
    }

    /// Closes the connection. The server would notice the end without this, only later.
    pub(crate) async fn close(self) {
        self.connection.close().await.ok();
    }
}

async fn watched<T>(
    watch: &mut Option<SessionWatch>,
    statement: impl Future<Output = sqlx::Result<T>> + Send,
) -> Result<T, Refusal> {
    let done = match watch {
        Some(watch) => watch.over(statement).await,
        None => Some(statement.await),
    };
    match done {
        Some(done) => done.map_err(|error| refused(&error, Phase::Writing)),
        None => Err(Refusal { code: String::new(), fault: DatabaseError::timed_out(Phase::Writing) }),
    }
}

/// A limit as a server setting. 0 would mean no limit, so the minimum is 1. A larger limit than the setting allows
/// becomes 24 days.
fn milliseconds(limit: Duration) -> i32 {
    i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).max(1)
}

fn refused(error: &sqlx::Error, phase: Phase) -> Refusal {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    Refusal { code, fault: DatabaseError::of(error, phase) }
}
