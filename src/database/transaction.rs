//! Several statements in one transaction, which nobody can leave open.

use std::time::Duration;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::timeout;

use crate::classify::{Fault, Phase};
use crate::database::sight::all_or_nothing;
use crate::database::{Database, Query};

/// How long going over a whole table may take: long enough for any.
const SURVEY: Duration = Duration::from_secs(24 * 60 * 60);

/// How a look at the catalogue begins. What it prints is to read the same whatever the role's own settings are, and to
/// mean the same in another session.
const INSPECTION: &str = "SELECT pg_catalog.set_config('search_path', '', true),
    pg_catalog.set_config('transaction_read_only', 'on', true), pg_catalog.set_config('quote_all_identifiers', 'off', true),
    pg_catalog.set_config('standard_conforming_strings', 'on', true), pg_catalog.set_config('datestyle', 'ISO', true)";

impl Database {
    /// Runs statements in one transaction, in a task that the caller's cancellation cannot tear:
    /// otherwise an open transaction could go back into the pool. Answers with the last one's rows.
    pub(crate) async fn transaction(&self, queries: Vec<Query>, phase: Phase) -> Result<Vec<PgRow>, Fault> {
        self.transaction_within(self.timeouts.operation, queries, phase).await
    }

    /// Runs a reading statement that goes over a whole relation, for as long as it takes. It fails when row
    /// level security would hide something from it, also when policies change meanwhile.
    pub(crate) async fn survey(&self, relation: &str, query: Query) -> Result<Vec<PgRow>, Fault> {
        let queries = vec![
            setting(
                "SELECT pg_catalog.set_config('statement_timeout', '0', true), \
                 pg_catalog.set_config('row_security', 'on', true)",
            ),
            // holds the relation, so that its policies stay as they are until the end; unlike LOCK TABLE, it asks
            // for no right on more than a column
            setting(&format!("SELECT 1 FROM {relation} LIMIT 0")),
            all_or_nothing(&[relation])?,
            query,
        ];
        self.transaction_within(SURVEY, queries, Phase::Reading).await
    }

    /// Runs a reading statement with an empty search path, so that nobody can put objects of their own in
    /// the way of the built-in ones, and what the catalogue prints is qualified.
    pub(crate) async fn inspect(&self, query: Query) -> Result<Vec<PgRow>, Fault> {
        let queries = vec![setting(INSPECTION), query];
        self.transaction(queries, Phase::Reading).await
    }

    /// As [`Database::inspect`]; the server gives up after the limit, which is `Busy`.
    pub(crate) async fn inspect_within(&self, limit: Duration, query: Query) -> Result<Vec<PgRow>, Fault> {
        let millis = limit.as_millis();
        let limit = format!("SELECT pg_catalog.set_config('statement_timeout', '{millis}', true)");
        let queries = vec![setting(INSPECTION), setting(&limit), query];
        self.transaction(queries, Phase::Reading).await
    }

    /// As [`inspect`](Self::inspect), for rows of some relations: the server gives up after `limit`, and refuses
    /// when row level security would hide some.
    pub(crate) async fn glance(
        &self,
        relations: &[&str],
        query: Query,
        limit: Duration,
    ) -> Result<Vec<PgRow>, Fault> {
        let settings = format!(
            "SELECT pg_catalog.set_config('search_path', '', true), pg_catalog.set_config('transaction_read_only', 'on', true), \
             pg_catalog.set_config('statement_timeout', '{}', true)",
            limit.as_millis().max(1)
        );
        let queries = vec![setting(&settings), all_or_nothing(relations)?, query];
        self.transaction_within(limit + self.timeouts.operation, queries, Phase::Reading).await
    }

    async fn transaction_within(
        &self,
        limit: Duration,
        queries: Vec<Query>,
        phase: Phase,
    ) -> Result<Vec<PgRow>, Fault> {
        let connection = self.acquire().await?;
        let persistent = !self.is_transactional();
        let task = tokio::spawn(async move {
            let mut connection = connection;
            let done = timeout(limit, run_transaction(&mut connection, queries, persistent)).await;
            if !matches!(done, Ok(Ok(_))) {
                // it may still be inside the transaction: close it
                drop(connection.detach());
            }
            done
        });
        let done = task.await.map_err(|_| Fault::timed_out(phase))?;
        self.conclude(done, phase).map_err(|(fault, _)| fault)
    }
}

fn setting(sql: &str) -> Query {
    Query { sql: sql.into(), arguments: PgArguments::default() }
}

async fn run_transaction(
    connection: &mut PgConnection,
    queries: Vec<Query>,
    persistent: bool,
) -> sqlx::Result<Vec<PgRow>> {
    // every statement sees what was committed before the locks that it or an earlier one waited for
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    let mut rows = Vec::new();
    for query in queries {
        let statement = sqlx::query_with(AssertSqlSafe(query.sql), query.arguments).persistent(persistent);
        rows = statement.fetch_all(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(rows)
}
