//! Statements in a transaction that the caller began and will end.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use tokio::time::timeout;

use crate::error::{Error, ErrorKind};
use crate::postgres::connection::errors::{DatabaseError, Outcome, Phase};
use crate::postgres::connection::pool::{Database, Query};
use crate::postgres::connection::transaction::{run, setting};

/// A transaction of the caller. Its statements are unnamed, because the connection may lead through a pooler that this vault
/// does not know. The pool and the breaker of the vault learn nothing from its errors.
pub(crate) struct CallersTransaction<'a> {
    connection: &'a mut PgConnection,
    limit: Duration,
}

impl<'a> CallersTransaction<'a> {
    pub(crate) fn new(connection: &'a mut PgConnection, database: &Database) -> Self {
        Self { connection, limit: database.patience() }
    }

    /// Runs one statement.
    ///
    /// On error the transaction can only be rolled back, unless the answer did not have the expected form.
    pub(in crate::postgres) async fn fetch(&mut self, query: Query) -> Result<Vec<PgRow>, DatabaseError> {
        match timeout(self.limit, run(self.connection, query, false)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(explained(DatabaseError::of(&error, Phase::CallersTransaction))),
            Err(_) => Err(explained(DatabaseError::timed_out(Phase::CallersTransaction))),
        }
    }

    /// Runs statements that each write at least one row. If one of them writes none, none of them takes effect, and the
    /// result is false.
    ///
    /// On error, or if the future is dropped, the transaction can only be rolled back.
    pub(in crate::postgres) async fn all_or_none(
        &mut self,
        queries: Vec<Query>,
    ) -> Result<bool, DatabaseError> {
        // not a nested transaction of the driver: if its beginning is cancelled, it rolls the outer one back
        self.fetch(setting("SAVEPOINT retell_vault_rows")).await?;
        let mut is_done = true;
        for query in queries {
            is_done = is_done && !self.fetch(query).await?.is_empty();
        }
        if !is_done {
            self.fetch(setting("ROLLBACK TO SAVEPOINT retell_vault_rows")).await?;
        }
        self.fetch(setting("RELEASE SAVEPOINT retell_vault_rows")).await?;
        Ok(is_done)
    }
}

/// The same fault, with what it means for the transaction.
fn explained(fault: DatabaseError) -> DatabaseError {
    let error = fault.error.clone();
    let error = match (error.sqlstate(), fault.outcome) {
        (Some("25P02"), _) => {
            Error::new(ErrorKind::Rejected, "the transaction is aborted: an earlier statement in it failed")
                .with_details_of(&error)
                .with_hint("roll it back, and repeat all of it")
        }
        (Some("25006"), _) => {
            Error::new(ErrorKind::AccessDenied, "the transaction is aborted: it may only read")
                .with_details_of(&error)
                .with_hint("begin it without READ ONLY, on the primary server, as a role that may write")
        }
        (Some(_), Outcome::Fallback) => error.about("the transaction is lost"),
        (Some(_), _) => error.about("the transaction is aborted"),
        (None, Outcome::Fallback) => error.about("the transaction must be rolled back"),
        (None, _) => error,
    };
    DatabaseError { error, ..fault }
}
