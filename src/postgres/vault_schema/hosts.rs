//! The rows of `retell_vault.hosts`: which generation of the keyring each running process has loaded.

use sqlx::postgres::PgArguments;

use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::vault_schema::objects::{HOSTS, column};

/// A note that is older counts as gone: a process writes one every minute.
const GONE_AFTER: &str = "interval '5 minutes'";
/// A process that was killed leaves its note, which others remove after this time. Until then an operator can see it.
const REMOVED_AFTER: &str = "interval '1 day'";

/// Notes the generation of a process, and removes notes of processes that are long gone. Several processes may do so at once:
/// none waits for another one's row.
pub(crate) async fn note(database: &Database, host: &str, generation: i64) -> Result<(), DatabaseError> {
    let sql = format!(
        "WITH gone AS (SELECT host FROM {HOSTS} WHERE host OPERATOR(pg_catalog.<>) $1 AND at OPERATOR(pg_catalog.<)
            (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) {REMOVED_AFTER}) LIMIT 100 FOR UPDATE SKIP LOCKED),
        removed AS (DELETE FROM {HOSTS} h USING gone WHERE h.host OPERATOR(pg_catalog.=) gone.host)
        INSERT INTO {HOSTS} AS h (host, generation, at) VALUES ($1, $2, pg_catalog.clock_timestamp())
        ON CONFLICT (host) DO UPDATE SET generation = excluded.generation, at = excluded.at"
    );
    let mut arguments = PgArguments::default();
    bind(&mut arguments, host)?;
    bind(&mut arguments, generation)?;
    database.fetch(Query { sql: sql.into(), arguments }, Phase::Writing).await.map(drop)
}

/// Removes the note of a process that ends.
pub(crate) async fn remove(database: &Database, host: &str) -> Result<(), DatabaseError> {
    let sql = format!("DELETE FROM {HOSTS} WHERE host OPERATOR(pg_catalog.=) $1");
    let mut arguments = PgArguments::default();
    bind(&mut arguments, host)?;
    database.fetch(Query { sql: sql.into(), arguments }, Phase::Writing).await.map(drop)
}

/// The live processes and their generations, the oldest generation first.
pub(crate) async fn live(database: &Database) -> Result<Vec<(String, i64)>, DatabaseError> {
    let sql = format!(
        "SELECT host, generation FROM {HOSTS} WHERE at OPERATOR(pg_catalog.>)
        (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) {GONE_AFTER}) ORDER BY generation, host LIMIT 1000"
    );
    let rows =
        database.fetch(Query { sql: sql.into(), arguments: PgArguments::default() }, Phase::Reading).await?;
    rows.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?))).collect()
}
