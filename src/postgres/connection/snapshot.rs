//! A read-only transaction in which every statement sees the same snapshot, for reading several results side by side.

use sqlx::postgres::{PgConnectOptions, PgRow};
use tokio::time::timeout;

use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query};
use crate::postgres::connection::transaction::{BusyConnection, INSPECTION, run, setting};
use crate::postgres::connection::watch::SessionWatch;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// An open snapshot. Dropping it closes its connection, which ends the transaction.
///
/// A statement has no time limit while the server works on it.
pub(crate) struct Snapshot<'d> {
    database: &'d Database,
    busy: BusyConnection,
    watch: SessionWatch,
}

impl Database {
    /// Only built-in objects are on the search path.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot<'_>, DatabaseError> {
        let mut busy = BusyConnection(Some(self.acquire().await?));
        let connection = busy.connection();
        let options = PgConnectOptions::clone(&self.pool().connect_options());
        let begun = async {
            sqlx::raw_sql(BEGIN).execute(&mut *connection).await?;
            SessionWatch::of(connection, options, self.timeouts).await
        };
        let begun = timeout(self.timeouts.operation, begun).await;
        let watch = self.conclude(begun.ok(), Phase::Reading).map_err(|(fault, _)| fault)?;
        let mut snapshot = Snapshot { database: self, busy, watch };
        snapshot.fetch(setting(INSPECTION)).await?;
        Ok(snapshot)
    }
}

impl Snapshot<'_> {
    pub(in crate::postgres) async fn fetch(&mut self, query: Query) -> Result<Vec<PgRow>, DatabaseError> {
        // a prepared FETCH would keep the columns of an earlier cursor
        let done = self.watch.over(run(self.busy.connection(), query, false)).await;
        self.database.conclude(done, Phase::Reading).map_err(|(fault, _)| fault)
    }

    /// Ends the transaction, and returns the connection to the pool.
    pub(in crate::postgres) async fn end(mut self) -> Result<(), DatabaseError> {
        self.fetch(setting("COMMIT")).await?;
        self.busy.give_back();
        Ok(())
    }
}
