//! Connections to the database: bounded in time, safe behind a transaction pooler.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Row};
use tokio::time::timeout;

use crate::error::{Error, ErrorKind, Result};
use crate::observe::metrics::{self, PoolWait};
use crate::observe::subject::Subject;
use crate::postgres::connection::errors::{DatabaseError, Outcome, Phase, standby};
use crate::postgres::connection::options::{self, PoolerMode, Timeouts};

/// One statement and its bound values.
#[derive(Clone)]
pub(crate) struct Query {
    pub(crate) sql: Arc<str>,
    pub(crate) arguments: PgArguments,
}

/// How long to wait for a pool that can still grow, before asking the server directly.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// How often to check a pool that cannot grow for a returned connection.
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(crate) struct Database {
    pool: RwLock<PgPool>,
    /// `None` for a pool of the service, which the vault never replaces.
    own: Option<PgConnectOptions>,
    /// Every operation in one explicit transaction, with unnamed statements.
    transactional: AtomicBool,
    mode: PoolerMode,
    /// Set after a connection broke. Other connections of the pool may be dead too, so each is tested before use.
    suspicious: AtomicBool,
    subject: Subject,
    pub(in crate::postgres) timeouts: Timeouts,
}

impl Database {
    /// Creates a pool of the vault's own. It connects on first use.
    ///
    /// # Errors
    /// `Configuration` for an invalid URL, which the error does not show.
    pub(crate) fn from_url(url: &str, mode: PoolerMode, timeouts: Timeouts) -> Result<Self> {
        let (options, says_pooler) = options::parse(url)?;
        let transactional = match mode {
            PoolerMode::Transaction => true,
            PoolerMode::None => false,
            PoolerMode::Auto => says_pooler || options.get_port() == 6543,
        };
        let pool = RwLock::new(options::pool(&options, transactional, timeouts));
        Ok(Self::new(pool, Some(options), transactional, mode, timeouts))
    }

    /// Uses the service's pool.
    pub(crate) fn from_pool(pool: PgPool, mode: PoolerMode, timeouts: Timeouts) -> Self {
        let transactional = match mode {
            PoolerMode::Transaction => true,
            PoolerMode::None => false,
            PoolerMode::Auto => pool.connect_options().get_port() == 6543,
        };
        Self::new(RwLock::new(pool), None, transactional, mode, timeouts)
    }

    fn new(
        pool: RwLock<PgPool>,
        own: Option<PgConnectOptions>,
        transactional: bool,
        mode: PoolerMode,
        timeouts: Timeouts,
    ) -> Self {
        let (transactional, suspicious) = (AtomicBool::new(transactional), AtomicBool::new(false));
        Self { pool, own, transactional, mode, suspicious, subject: Subject::default(), timeouts }
    }

    /// Measures its pool as that of a vault.
    pub(crate) fn measured_as(mut self, subject: Subject) -> Self {
        self.subject = subject;
        self
    }

    /// Reports the size of the pool, and how much of it is in use.
    pub(crate) fn sample_pool(&self) {
        metrics::set_pool(&self.subject, &self.pool());
    }

    /// Whether operations run in the pooler-safe mode.
    pub(crate) fn is_transactional(&self) -> bool {
        self.transactional.load(Ordering::Relaxed)
    }

    /// How long one call may keep trying. A server that is busy for longer is an error.
    pub(crate) fn patience(&self) -> Duration {
        self.timeouts.operation
    }

    /// Whether the pool belongs to the service and has no connection left. Its last ones may be those of callers that wait
    /// for the vault.
    pub(crate) fn is_used_up(&self) -> bool {
        let pool = self.pool();
        self.own.is_none() && pool.num_idle() == 0 && pool.size() >= pool.options().get_max_connections()
    }

    /// Closes a pool of the vault's own. It does not wait for a connection on a silent network, which never returns to
    /// the pool.
    pub(crate) async fn close(&self) {
        if self.own.is_some() {
            timeout(self.timeouts.operation, self.pool().close()).await.ok();
        }
    }

    /// The address of the server, without user and password.
    pub(crate) fn address(&self) -> String {
        let options = self.pool().connect_options();
        let host = match options.get_host() {
            address if address.contains(':') => format!("[{address}]"), // IPv6
            host => host.to_owned(),
        };
        format!("{host}:{}/{}", options.get_port(), options.get_database().unwrap_or_default())
    }

    pub(super) fn pool(&self) -> PgPool {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Drops every connection that is not in use. A pool of the service stays unchanged.
    pub(crate) fn rebuild(&self) {
        if let Some(options) = &self.own {
            let pool = options::pool(options, self.is_transactional(), self.timeouts);
            *self.pool.write().unwrap_or_else(PoisonError::into_inner) = pool;
        }
    }

    /// Switches to the pooler-safe mode, unless the caller ruled it out. Returns whether that changed anything.
    pub(crate) fn suspect_pooler(&self) -> bool {
        if self.mode == PoolerMode::None || self.transactional.swap(true, Ordering::Relaxed) {
            return false;
        }
        tracing::info!("detected a transaction pooler: every operation runs in its own transaction");
        self.rebuild();
        true
    }

    /// Runs one statement. In the pooler-safe mode it runs in its own transaction.
    pub(crate) async fn fetch(&self, query: Query, phase: Phase) -> Result<Vec<PgRow>, DatabaseError> {
        if self.is_transactional() {
            return self.transaction(vec![query], phase).await;
        }
        let mut connection = self.acquire().await?;
        let statement = sqlx::query_with(AssertSqlSafe(query.sql), query.arguments);
        let done = timeout(self.timeouts.operation, statement.fetch_all(&mut *connection)).await;
        let done = self.conclude(done.ok(), phase);
        if done.as_ref().is_err_and(|(_, broken)| *broken) {
            drop(connection.detach());
        }
        done.map_err(|(fault, _)| fault)
    }

    /// Runs one reading statement, and passes on each row as it arrives.
    pub(crate) async fn fetch_each(
        &self,
        query: Query,
        mut each: impl FnMut(&PgRow) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        if self.is_transactional() {
            return self.fetch(query, Phase::Reading).await?.iter().try_for_each(each);
        }
        let mut connection = self.acquire().await?;
        let statement = sqlx::query_with(AssertSqlSafe(query.sql), query.arguments);
        let mut rows = statement.fetch(&mut *connection);
        let broken = loop {
            let next = timeout(self.timeouts.operation, rows.try_next()).await;
            match self.conclude(next.ok(), Phase::Reading) {
                Ok(Some(row)) => each(&row)?,
                Ok(None) => return Ok(()),
                Err(broken) => break broken,
            }
        };
        drop(rows);
        if broken.1 {
            drop(connection.detach());
        }
        Err(broken.0)
    }

    /// Concludes from an answer, or from `None` without one. The flag says whether the connection must not be used again.
    pub(super) fn conclude<T>(
        &self,
        done: Option<sqlx::Result<T>>,
        phase: Phase,
    ) -> Result<T, (DatabaseError, bool)> {
        let error = match done {
            Some(Ok(value)) => return Ok(value),
            Some(Err(error)) => error,
            None => return Err((DatabaseError::timed_out(phase), true)),
        };
        let fault = DatabaseError::of(&error, phase);
        let lost = matches!(fault.outcome, Outcome::Fallback | Outcome::Ambiguous);
        let session = error
            .as_database_error()
            .and_then(|error| error.code())
            .is_some_and(|code| code.starts_with("25"));
        if lost {
            self.suspicious.store(true, Ordering::Relaxed);
        }
        if fault.outcome == Outcome::Pooler {
            self.suspect_pooler();
        }
        Err((fault, lost || session))
    }

    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>, DatabaseError> {
        if !self.suspicious.load(Ordering::Relaxed) {
            return self.acquire_untested().await;
        }
        let most = self.pool().size() + 1;
        for _ in 0..most {
            let mut connection = self.acquire_untested().await?;
            if matches!(timeout(self.timeouts.connect, connection.ping()).await, Ok(Ok(()))) {
                self.suspicious.store(false, Ordering::Relaxed);
                return Ok(connection);
            }
            drop(connection.detach());
        }
        self.acquire_untested().await
    }

    async fn acquire_untested(&self) -> Result<PoolConnection<Postgres>, DatabaseError> {
        let pool = self.pool();
        let _waiting = PoolWait::start(&self.subject, &pool);
        let is_full = pool.size() >= pool.options().get_max_connections();
        let first = if is_full { self.timeouts.connect } else { self.timeouts.connect.min(FIRST_WAIT) };
        if let Some(connection) = self.acquire_within(&pool, first).await? {
            return Ok(connection);
        }
        // the pool keeps trying silently while the server refuses, so ask the server directly
        if let Err((fault, full)) = self.probe().await {
            let idle = if full { self.acquire_idle(&pool).await } else { None };
            return idle.ok_or(fault);
        }
        if !is_full && let Some(connection) = self.acquire_within(&pool, self.timeouts.connect).await? {
            return Ok(connection);
        }
        self.rebuild();
        metrics::count_pool_timeout(&self.subject);
        let error =
            Error::new(ErrorKind::Busy, "no connection in the pool is free, although the server answers");
        let error = error.with_hint("make the pool larger, or find connections that are never returned");
        Err(DatabaseError::new(Outcome::Retry, error))
    }

    /// A connection from the pool. `None` if none was free in time.
    async fn acquire_within(
        &self,
        pool: &PgPool,
        limit: Duration,
    ) -> Result<Option<PoolConnection<Postgres>>, DatabaseError> {
        match timeout(limit, pool.acquire()).await {
            Ok(Ok(connection)) => Ok(Some(connection)),
            Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => Ok(None),
            Ok(Err(error)) => Err(self.connecting_failed(&error)),
        }
    }

    /// Waits for an existing connection of the pool while the server accepts no more connections. The pool itself checks
    /// these only before it opens a new one.
    async fn acquire_idle(&self, pool: &PgPool) -> Option<PoolConnection<Postgres>> {
        let look = async {
            loop {
                match pool.try_acquire() {
                    None if pool.size() == 0 => return None,
                    None => tokio::time::sleep(LOOK_EVERY).await,
                    connection => return connection,
                }
            }
        };
        timeout(self.timeouts.connect, look).await.ok().flatten()
    }

    pub(super) fn connecting_failed(&self, error: &sqlx::Error) -> DatabaseError {
        let fault = DatabaseError::of(error, Phase::Connecting);
        let refused_parameter =
            error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "08P01");
        // PgBouncer refuses a start-up parameter that sqlx sends
        match refused_parameter && self.suspect_pooler() {
            true => DatabaseError::new(Outcome::Pooler, fault.error),
            false => fault,
        }
    }

    /// Opens one direct connection to learn why the pool returns none. The flag says that the server, or a pooler before
    /// it, has no connection left.
    async fn probe(&self) -> Result<(), (DatabaseError, bool)> {
        let options = self.pool().connect_options();
        match timeout(self.timeouts.connect, PgConnection::connect_with(&options)).await {
            Err(_) => Err((DatabaseError::timed_out(Phase::Connecting), false)),
            Ok(Err(error)) => {
                let fault = self.connecting_failed(&error);
                let code = error.as_database_error().and_then(|error| error.code());
                let full = fault.outcome == Outcome::Fallback && code.is_some_and(|code| code != "57P03");
                Err((fault, full))
            }
            Ok(Ok(connection)) => {
                connection.close().await.ok(); // it has served its purpose, however it ends
                Ok(())
            }
        }
    }

    /// Checks over a new connection whether the server answers, independently of other connections.
    pub(crate) async fn answers(&self) -> bool {
        let ask = async {
            let mut connection = PgConnection::connect_with(&self.pool().connect_options()).await?;
            sqlx::query("SELECT 1").persistent(false).execute(&mut connection).await?;
            connection.close().await
        };
        matches!(timeout(self.timeouts.connect, ask).await, Ok(Ok(())))
    }

    /// Whether a session may write: the server is not a standby, and neither the role nor the database is read-only.
    pub(crate) async fn takes_writes(&self) -> Result<bool, DatabaseError> {
        let sql = "SELECT pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'off'";
        let query = Query { sql: sql.into(), arguments: PgArguments::default() };
        let rows = self.fetch(query, Phase::Reading).await?;
        rows.first()
            .map_or(Ok(true), |row| row.try_get(0))
            .map_err(|error| DatabaseError::of(&error, Phase::Reading))
    }

    /// Whether the server is a standby, which may become a primary. Otherwise the role or the database is read-only.
    pub(crate) async fn is_standby(&self) -> Result<bool, DatabaseError> {
        let query =
            Query { sql: "SELECT pg_catalog.pg_is_in_recovery()".into(), arguments: PgArguments::default() };
        let rows = self.fetch(query, Phase::Reading).await?;
        rows.first()
            .map_or(Ok(false), |row| row.try_get(0))
            .map_err(|error| DatabaseError::of(&error, Phase::Reading))
    }

    /// The reason why a session may only read: `Unavailable` on a standby, otherwise `AccessDenied`.
    pub(crate) async fn why_read_only(&self) -> Error {
        match self.is_standby().await.unwrap_or(false) {
            true => standby(),
            false => Error::new(ErrorKind::AccessDenied, "the database accepts only reads from this role")
                .with_hint("check default_transaction_read_only of the role and of the database"),
        }
    }

    /// Asks for a random tag and compares the answer. Behind an undetected transaction pooler it may be another client's
    /// answer.
    pub(crate) async fn canary(&self, tag: &str) -> Result<(), DatabaseError> {
        let mut arguments = PgArguments::default();
        bind(&mut arguments, tag)?;
        let query = Query { sql: "SELECT $1::pg_catalog.text".into(), arguments };
        let rows = self.fetch(query, Phase::Reading).await?;
        let answer: Option<String> = rows.first().and_then(|row| row.try_get(0).ok());
        match answer.as_deref() == Some(tag) {
            true => Ok(()),
            false if self.suspect_pooler() => Err(DatabaseError::new(Outcome::Retry, wrong_answer())),
            false => Err(wrong_answer().into()),
        }
    }
}

fn wrong_answer() -> Error {
    Error::new(ErrorKind::Configuration, "the database returned another client's answer")
        .with_hint("the connection goes through a transaction pooler: set the pooler mode to `transaction`")
}

/// Binds one value.
pub(crate) fn bind<'q, T>(arguments: &mut PgArguments, value: T) -> Result<(), DatabaseError>
where
    T: sqlx::Encode<'q, Postgres> + sqlx::Type<Postgres> + Send + 'q,
{
    sqlx::Arguments::add(arguments, value)
        .map_err(|_| Error::new(ErrorKind::InvalidInput, "a value is too long for the database").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_is_refused_without_repeating_it() {
        for bad in [
            "",
            "hunter2",
            "http://user:hunter2@host/db",
            "postgres://user:hunter2@host:port/db",
            "postgres://u:hunter2@h/db?sslmode=hunter2",
        ] {
            let error = Database::from_url(bad, PoolerMode::Auto, Timeouts::default()).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[tokio::test]
    async fn the_port_is_told_from_an_ipv6_address() {
        let address = |url| Database::from_url(url, PoolerMode::Auto, Timeouts::default()).unwrap().address();
        assert_eq!(address("postgres://u@[::1]:5433/db"), "[::1]:5433/db");
        assert_eq!(address("postgres://u@h:5433/db"), "h:5433/db");
    }

    #[tokio::test]
    async fn transaction_poolers_are_recognised() {
        let recognised =
            |url: &str, mode| Database::from_url(url, mode, Timeouts::default()).unwrap().is_transactional();
        assert!(recognised("postgres://u@h:6543/db", PoolerMode::Auto));
        assert!(recognised("postgres://u@h:5432/db?pgbouncer=true", PoolerMode::Auto));
        assert!(recognised("postgres://u@h:5432/db", PoolerMode::Transaction));
        assert!(!recognised("postgres://u@h:5432/db", PoolerMode::Auto));
        assert!(!recognised("postgres://u@h:6543/db", PoolerMode::None));
    }
}
