//! Statements that are only tried: whatever comes of them, it is rolled back.

use sqlx::postgres::PgArguments;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::timeout;

use crate::classify::{Fault, Outcome, Phase, classify};
use crate::database::{Database, Query, bind};

/// What came of a trial.
pub(crate) enum Trial {
    /// How many rows the last statement found or changed.
    Done { affected: u64 },
    /// The server refused a statement, with this SQLSTATE; whether it names a table, as it does for constraints of
    /// its own, and not for what a trigger raises.
    Refused { last: bool, code: String, names_table: bool },
}

/// A setting for the rest of a transaction.
pub(crate) fn local_setting(name: &str, value: &str) -> Result<Query, Fault> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, name)?;
    bind(&mut arguments, value)?;
    Ok(Query { sql: "SELECT pg_catalog.set_config($1, $2, true)".into(), arguments })
}

impl Database {
    /// Runs statements in one transaction that never commits, in a task that the caller's cancellation
    /// cannot tear. A refusal is an answer; what the server could not judge now is a fault.
    pub(crate) async fn attempt(&self, queries: Vec<Query>) -> Result<Trial, Fault> {
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
        // nothing is ever written, so a lost answer leaves nothing in doubt
        let done = task.await.map_err(|_| Fault::timed_out(Phase::Reading))?;
        match self.conclude(done, Phase::Reading).map_err(|(fault, _)| fault)? {
            Ran::Done { affected } => Ok(Trial::Done { affected }),
            Ran::Failed { last, error } => refused(last, &error),
        }
    }
}

fn refused(last: bool, error: &sqlx::Error) -> Result<Trial, Fault> {
    let fault = classify(error, Phase::Reading);
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
