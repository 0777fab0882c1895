//! Several statements in one transaction, which is never left open.

use std::borrow::Cow;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::timeout;

use crate::postgres::connection::acting_owner::{Until, act_as_owner};
use crate::postgres::connection::errors::{DatabaseError, Outcome, Phase};
use crate::postgres::connection::options::Timeouts;
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::connection::watch::SessionWatch;

/// The start of a catalogue query. Its output must not depend on the role's settings, and must mean the same in another
/// session.
pub(super) const INSPECTION: &str = "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
    pg_catalog.set_config('transaction_read_only', 'on', true), pg_catalog.set_config('quote_all_identifiers', 'off', true),
    pg_catalog.set_config('standard_conforming_strings', 'on', true), pg_catalog.set_config('datestyle', 'ISO', true)";

/// Every statement sees everything that was committed before it started, including commits that it waited for.
const READ_COMMITTED: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// The same, read-only.
pub(in crate::postgres) const READ_ONLY: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";

/// Every statement sees the same snapshot as the first.
const REPEATABLE_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";

impl Database {
    /// Runs statements in one transaction, in a task that the caller's cancellation does not interrupt. Otherwise an open
    /// transaction could return to the pool. Returns the rows of the last statement.
    pub(crate) async fn transaction(
        &self,
        queries: Vec<Query>,
        phase: Phase,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        self.transaction_within(self.timeouts.operation, queries, phase).await
    }

    /// As [`Database::transaction`], for one statement and with another `BEGIN`. Settings after `BEGIN` need no extra
    /// round trip.
    pub(in crate::postgres) async fn begun_with(
        &self,
        begin: Cow<'static, str>,
        query: Query,
        phase: Phase,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        let done = Box::pin(self.run_within(self.timeouts.operation, begin, vec![query], phase)).await?;
        Ok(done.into_iter().next_back().unwrap_or_default())
    }

    /// Runs a reading statement with only built-in objects on the search path. Other roles cannot substitute their own
    /// objects, and the catalogue prints qualified names.
    pub(crate) async fn inspect(&self, query: Query) -> Result<Vec<PgRow>, DatabaseError> {
        let queries = vec![setting(INSPECTION), query];
        self.transaction(queries, Phase::Reading).await
    }

    /// As [`Database::inspect`], and passes on each row.
    pub(in crate::postgres) async fn inspect_each(
        &self,
        query: Query,
        each: impl FnMut(PgRow) -> Result<(), DatabaseError> + Send,
    ) -> Result<(), DatabaseError> {
        self.stream(vec![setting(INSPECTION)], query, each).await
    }

    /// As [`Database::inspect`], as the owner of a table, for statements that read its rows.
    pub(crate) async fn inspect_as_owner(
        &self,
        relation: &str,
        query: Query,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        let act = setting(&act_as_owner(relation, Until::TheTransactionEnds));
        self.transaction(vec![setting(INSPECTION), act, query], Phase::Reading).await
    }

    /// As [`Database::inspect`], for statements that must see the same snapshot. Returns the rows of each.
    pub(crate) async fn inspect_together(
        &self,
        queries: Vec<Query>,
    ) -> Result<Vec<Vec<PgRow>>, DatabaseError> {
        let queries = [setting(INSPECTION)].into_iter().chain(queries).collect();
        let done = self.run_within(self.timeouts.operation, REPEATABLE_READ.into(), queries, Phase::Reading);
        // the first answer is from the settings
        Ok(done.await?.split_off(1))
    }

    /// The statement that makes a transaction run as the owner of a table. `None` if it would change nothing.
    pub(in crate::postgres) async fn acts_as_owner(
        &self,
        relation: &str,
    ) -> Result<Option<String>, DatabaseError> {
        let act = act_as_owner(relation, Until::TheTransactionEnds);
        let changes = !self.inspect(setting(&act)).await?.is_empty();
        Ok(changes.then_some(act))
    }

    /// As [`Database::inspect_as_owner`]. The server gives up after the limit, with `Busy`.
    pub(crate) async fn inspect_within(
        &self,
        limit: Duration,
        relation: &str,
        query: Query,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        let millis = limit.as_millis();
        let limit = format!("SELECT pg_catalog.set_config('statement_timeout', '{millis}', true)");
        let act = setting(&act_as_owner(relation, Until::TheTransactionEnds));
        let queries = vec![setting(INSPECTION), setting(&limit), act, query];
        self.transaction(queries, Phase::Reading).await
    }

    pub(in crate::postgres) async fn transaction_within(
        &self,
        limit: Duration,
        queries: Vec<Query>,
        phase: Phase,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        // in a box: an application's futures would become too deep for the compiler otherwise
        let done = Box::pin(self.run_within(limit, READ_COMMITTED.into(), queries, phase)).await?;
        Ok(done.into_iter().next_back().unwrap_or_default())
    }

    /// Runs statements in one read-only transaction, and passes on each row of the last one. It has no time limit while
    /// the server works.
    ///
    /// An early end, including a dropped future, closes the connection. The server notices when it sends the next row.
    pub(in crate::postgres) async fn stream(
        &self,
        before: Vec<Query>,
        last: Query,
        mut each: impl FnMut(PgRow) -> Result<(), DatabaseError> + Send,
    ) -> Result<(), DatabaseError> {
        let mut busy = BusyConnection(Some(self.acquire().await?));
        let connection = busy.connection();
        let (limit, persistent) = (self.timeouts.operation, !self.is_transactional());
        let answered = |fault: (DatabaseError, bool)| fault.0;
        let options = PgConnectOptions::clone(&self.pool().connect_options());
        let begun = timeout(limit, begin_reading(connection, options, self.timeouts)).await;
        let mut watch = self.conclude(begun.ok(), Phase::Reading).map_err(answered)?;
        for query in before {
            let done = watch.over(run(connection, query, persistent)).await;
            self.conclude(done, Phase::Reading).map_err(answered)?;
        }
        let mut rows = sqlx::query_with(AssertSqlSafe(last.sql), last.arguments)
            .persistent(persistent)
            .fetch(&mut *connection);
        loop {
            let next = watch.over(rows.try_next()).await;
            match self.conclude(next, Phase::Reading).map_err(answered)? {
                Some(row) => each(row)?,
                None => break,
            }
        }
        drop(rows);
        let ended = timeout(limit, sqlx::raw_sql("COMMIT").execute(connection)).await;
        self.conclude(ended.ok(), Phase::Reading).map_err(answered)?;
        busy.give_back();
        Ok(())
    }

    /// Locks rows, and runs the other statements if all answers together are as expected. Returns false if they were not,
    /// or if one of the statements changed no row. Nothing was written then.
    pub(crate) async fn transaction_if(
        &self,
        locks: Vec<Query>,
        is_expected: impl FnOnce(&[PgRow]) -> bool + Send + 'static,
        queries: Vec<Query>,
        phase: Phase,
    ) -> Result<bool, DatabaseError> {
        let connection = self.acquire().await?;
        let (limit, persistent) = (self.timeouts.operation, !self.is_transactional());
        let task = tokio::spawn(async move {
            let mut connection = connection;
            let work = async {
                let mut transaction = connection.begin_with(READ_COMMITTED).await?;
                let mut locked = Vec::new();
                for lock in locks {
                    locked.extend(run(&mut transaction, lock, persistent).await?);
                }
                let mut is_done = is_expected(&locked);
                for query in queries {
                    is_done = is_done && !run(&mut transaction, query, persistent).await?.is_empty();
                }
                match is_done {
                    true => transaction.commit().await?,
                    false => transaction.rollback().await?,
                }
                Ok(is_done)
            };
            let done = timeout(limit, work).await;
            if !matches!(done, Ok(Ok(_))) {
                // it may still be inside the transaction: close it
                drop(connection.detach());
            }
            done
        });
        let done = task.await.map_err(|_| DatabaseError::timed_out(phase))?;
        self.conclude(done.ok(), phase).map_err(|(fault, _)| fault)
    }

    async fn run_within(
        &self,
        limit: Duration,
        begin: Cow<'static, str>,
        queries: Vec<Query>,
        phase: Phase,
    ) -> Result<Vec<Vec<PgRow>>, DatabaseError> {
        let connection = self.acquire().await?;
        let persistent = !self.is_transactional();
        let task = tokio::spawn(async move {
            let mut connection = connection;
            let done = timeout(limit, run_transaction(&mut connection, begin, queries, persistent)).await;
            if !matches!(done, Ok(Ok(_))) {
                // it may still be inside the transaction: close it
                drop(connection.detach());
            }
            done
        });
        let done = task.await.map_err(|_| DatabaseError::timed_out(phase))?;
        self.conclude(done.ok(), phase).map_err(|(fault, _)| fault)
    }
}

/// A connection inside a transaction. It does not return to the pool.
pub(super) struct BusyConnection(pub(super) Option<PoolConnection<sqlx::Postgres>>);

impl BusyConnection {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.0.as_deref_mut().expect("it is there until it is given back")
    }

    /// The transaction has ended: the connection is fit for others.
    pub(super) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for BusyConnection {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

async fn begin_reading(
    connection: &mut PgConnection,
    options: PgConnectOptions,
    timeouts: Timeouts,
) -> sqlx::Result<SessionWatch> {
    sqlx::raw_sql(READ_ONLY).execute(&mut *connection).await?;
    SessionWatch::of(connection, options, timeouts).await
}

/// A statement without parameters.
pub(in crate::postgres) fn setting(sql: &str) -> Query {
    Query { sql: sql.into(), arguments: PgArguments::default() }
}

async fn run_transaction(
    connection: &mut PgConnection,
    begin: Cow<'static, str>,
    queries: Vec<Query>,
    persistent: bool,
) -> sqlx::Result<Vec<Vec<PgRow>>> {
    let mut transaction = connection.begin_with(AssertSqlSafe(begin.into_owned())).await?;
    let mut rows = Vec::new();
    for query in queries {
        rows.push(run(&mut transaction, query, persistent).await?);
    }
    transaction.commit().await?;
    Ok(rows)
}

pub(super) async fn run(
    connection: &mut PgConnection,
    query: Query,
    persistent: bool,
) -> sqlx::Result<Vec<PgRow>> {
    let statement = sqlx::query_with(AssertSqlSafe(query.sql), query.arguments).persistent(persistent);
    statement.fetch_all(connection).await
}

/// The result of a trial.
pub(crate) enum Trial {
    /// The number of rows that the last statement found or changed.
    Done { affected: u64 },
    /// The server refused a statement with this SQLSTATE. It names a table for its own constraints, but not for an error
    /// that a trigger raises.
    Refused { last: bool, code: String, names_table: bool },
}

/// A setting for the rest of a transaction.
pub(crate) fn local_setting(name: &str, value: &str) -> Result<Query, DatabaseError> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, name)?;
    bind(&mut arguments, value)?;
    Ok(Query { sql: "SELECT pg_catalog.set_config($1, $2, true)".into(), arguments })
}

impl Database {
    /// Runs statements in one transaction that never commits, in a task that the caller's cancellation does not
    /// interrupt. A refusal is a result. An error is a statement that the server could not decide now.
    pub(crate) async fn attempt(&self, queries: Vec<Query>) -> Result<Trial, DatabaseError> {
        let connection = self.acquire().await?;
        let (limit, persistent) = (self.timeouts.operation, !self.is_transactional());
        let task = tokio::spawn(async move {
            let mut connection = connection;
            let done = timeout(limit, run_trial(&mut connection, queries, persistent)).await;
            if !matches!(done, Ok(Ok(_))) {
                // it may still be inside the transaction: closing it rolls back
                drop(connection.detach());
            }
            done
        });
        // nothing is ever written, so a lost answer is harmless
        let done = task.await.map_err(|_| DatabaseError::timed_out(Phase::Reading))?;
        match self.conclude(done.ok(), Phase::Reading).map_err(|(fault, _)| fault)? {
            Ran::Done { affected } => Ok(Trial::Done { affected }),
            Ran::Failed { last, error } => refused(last, &error),
        }
    }
}

fn refused(last: bool, error: &sqlx::Error) -> Result<Trial, DatabaseError> {
    let fault = DatabaseError::of(error, Phase::Reading);
    let names_table = error.as_database_error().is_some_and(|error| error.table().is_some());
    let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
    match (fault.outcome, code) {
        (Outcome::Reject | Outcome::Redetect, Some(code)) => Ok(Trial::Refused { last, code, names_table }),
        _ => Err(fault),
    }
}

enum Ran {
    Done { affected: u64 },
    Failed { last: bool, error: sqlx::Error },
}

async fn run_trial(
    connection: &mut PgConnection,
    queries: Vec<Query>,
    persistent: bool,
) -> sqlx::Result<Ran> {
    let mut transaction = connection.begin().await?;
    let (mut ran, count) = (Ran::Done { affected: 0 }, queries.len());
    for (at, query) in queries.into_iter().enumerate() {
        let statement = sqlx::query_with(AssertSqlSafe(query.sql), query.arguments).persistent(persistent);
        match statement.execute(&mut *transaction).await {
            Ok(done) => ran = Ran::Done { affected: done.rows_affected() },
            Err(error) if error.as_database_error().is_some() => {
                ran = Ran::Failed { last: at + 1 == count, error };
                break;
            }
            Err(error) => return Err(error),
        }
    }
    transaction.rollback().await?;
    Ok(ran)
}
