//! The rows of `retell_vault.hosts`: which generation of the keyring each running process has loaded.

use sqlx::postgres::PgArguments;

use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::vault_schema::objects::{HOSTS, column, statement};

/// A process writes a note every minute. After this time without one, it counts as stopped.
const LIVES: &str = "'5 minutes'::pg_catalog.interval";

/// Whether the time of a note is in the future: no process writes such a time, and the note would never expire. The clock of
/// a standby that took over may be a little behind.
fn is_ahead() -> String {
    format!("(at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) {LIVES}))")
}

/// Whether a note counts.
fn is_live() -> String {
    format!(
        "(at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) {LIVES}) AND NOT {})",
        is_ahead()
    )
}

/// A process that was killed leaves its note, which others remove after this time. Until then an operator can see it.
const REMOVED_AFTER: &str = "'1 day'::pg_catalog.interval";

/// The note of one process.
pub(crate) struct HostRow {
    pub(crate) host: String,
    pub(crate) generation: i64,
    /// Whether it was renewed lately.
    pub(crate) is_live: bool,
    /// Whether its time is in the future.
    pub(crate) is_ahead: bool,
}

/// Notes the generation of a process, and removes notes of processes that are long gone, and from the future. Several processes may do so at once:
/// none waits for another one's row.
pub(crate) async fn note(database: &Database, host: &str, generation: i64) -> Result<(), DatabaseError> {
    let sql = format!(
        "WITH gone AS (SELECT host FROM {HOSTS} WHERE host OPERATOR(pg_catalog.<>) $1 AND (at OPERATOR(pg_catalog.<)
            (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) {REMOVED_AFTER}) OR {}) LIMIT 100 FOR UPDATE SKIP LOCKED),
        removed AS (DELETE FROM {HOSTS} h USING gone WHERE h.host OPERATOR(pg_catalog.=) gone.host)
        INSERT INTO {HOSTS} AS h (host, generation, at) VALUES ($1, $2, pg_catalog.clock_timestamp())
        ON CONFLICT (host) DO UPDATE SET generation = excluded.generation, at = excluded.at",
        is_ahead()
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
    let notes = all(database).await?.into_iter().filter(|note| note.is_live);
    Ok(notes.map(|note| (note.host, note.generation)).collect())
}

/// All notes, live ones first, of those the oldest generation first.
pub(crate) async fn all(database: &Database) -> Result<Vec<HostRow>, DatabaseError> {
    let sql = format!(
        "SELECT host, generation, {} AS is_live, {} FROM {HOSTS} ORDER BY is_live DESC, generation, host LIMIT 1000",
        is_live(),
        is_ahead()
    );
    let rows = database.fetch(statement(sql), Phase::Reading).await?;
    let read = |row| {
        let (host, generation) = (column(row, 0)?, column(row, 1)?);
        Ok(HostRow { host, generation, is_live: column(row, 2)?, is_ahead: column(row, 3)? })
    };
    rows.iter().map(read).collect()
}

/// The statement that removes the notes that are not live.
pub(crate) fn remove_stale_sql() -> String {
    format!("DELETE FROM {HOSTS} WHERE NOT {}", is_live())
}
