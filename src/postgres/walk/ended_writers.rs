//! The writers of the ledger that ended before a time, and the removal of their entries and of notes that nothing needs any more.

use sqlx::postgres::PgArguments;
use uuid::Uuid;

use crate::chain::entry::operation;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::sql::names::literal;
use crate::postgres::statements::with_entry::LEDGER;
use crate::postgres::vault_schema::objects::column;
use crate::postgres::vault_schema::removed::REMOVED;

/// A writer, and the last number that it used.
pub(crate) struct WriterEnd {
    pub(crate) writer: Uuid,
    pub(crate) last: i64,
}

/// How many numbers one statement removes.
const REMOVED_AT_ONCE: i64 = 10_000;

/// The writers whose last entry arrived before this time, in milliseconds since 1970. Not those of another place, nor those with an
/// entry that a verification needs for ever.
pub(crate) async fn ended_writers(
    database: &Database,
    place: &str,
    before_ms: i64,
) -> Result<Vec<WriterEnd>, DatabaseError> {
    let sql = format!(
        "SELECT writer, max(seq) FROM {LEDGER} GROUP BY writer
        HAVING max(received) < to_timestamp($2::float8 / 1000) AND NOT bool_or(op IN ({}, {}) AND detail IS NOT NULL)
        AND NOT bool_or(after IS NOT NULL AND place IS DISTINCT FROM $1)",
        literal(operation::ACCEPT),
        literal(operation::PRUNE)
    );
    let mut arguments = PgArguments::default();
    bind(&mut arguments, place)?;
    bind(&mut arguments, before_ms)?;
    let rows = database.inspect(Query { sql: sql.into(), arguments }).await?;
    rows.iter().map(|row| Ok(WriterEnd { writer: column(row, 0)?, last: column(row, 1)? })).collect()
}

/// Removes the notes of removed rows of this place from before this time, in milliseconds since 1970, unless an entry from before
/// the note is left, of whatever credentials in these rows. Returns how many there were.
pub(crate) async fn remove_notes(
    database: &Database,
    rows: &str,
    before_ms: i64,
) -> Result<u64, DatabaseError> {
    let sql = format!("SELECT to_regclass('{REMOVED}') IS NOT NULL");
    let there = Query { sql: sql.into(), arguments: PgArguments::default() };
    if !database.inspect(there).await?.first().map_or(Ok(false), |row| column(row, 0))? {
        return Ok(0);
    }
    let sql = format!(
        "WITH places AS (SELECT DISTINCT l.place FROM {LEDGER} AS l
            WHERE pg_catalog.substr(l.place, pg_catalog.strpos(l.place, ' ') OPERATOR(pg_catalog.+) 1) OPERATOR(pg_catalog.=) $1),
        gone AS (DELETE FROM {REMOVED} AS r WHERE r.place OPERATOR(pg_catalog.=) $1
            AND r.at OPERATOR(pg_catalog.<) pg_catalog.to_timestamp($2::pg_catalog.float8 OPERATOR(pg_catalog./) 1000)
            AND NOT EXISTS (SELECT FROM places AS p JOIN {LEDGER} AS l ON l.place OPERATOR(pg_catalog.=) p.place
                WHERE l.after IS NOT NULL AND l.usr COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.=) r.usr
                AND (l.tenant COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.=) r.tenant OR coalesce(l.tenant, r.tenant) IS NULL)
                AND l.received OPERATOR(pg_catalog.<) r.at) RETURNING 1)
        SELECT pg_catalog.count(*) FROM gone"
    );
    let mut arguments = PgArguments::default();
    bind(&mut arguments, rows)?;
    bind(&mut arguments, before_ms)?;
    let rows = database.fetch(Query { sql: sql.into(), arguments }, Phase::Writing).await?;
    let count = rows.first().map(|row| column::<i64>(row, 0)).transpose()?.unwrap_or_default();
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Removes every entry of a writer. Returns how many there were.
pub(crate) async fn remove_entries(database: &Database, end: &WriterEnd) -> Result<u64, DatabaseError> {
    let sql = format!(
        "WITH gone AS (DELETE FROM {LEDGER} WHERE writer OPERATOR(pg_catalog.=) $1 AND seq OPERATOR(pg_catalog.<=) $2 RETURNING 1)
        SELECT pg_catalog.count(*) FROM gone"
    );
    let (mut removed, mut upto) = (0, 0);
    while upto < end.last {
        upto = end.last.min(upto + REMOVED_AT_ONCE);
        let mut arguments = PgArguments::default();
        bind(&mut arguments, end.writer)?;
        bind(&mut arguments, upto)?;
        let rows = database.fetch(Query { sql: sql.clone().into(), arguments }, Phase::Writing).await?;
        let count = rows.first().map(|row| column::<i64>(row, 0)).transpose()?.unwrap_or_default();
        removed += u64::try_from(count).unwrap_or_default();
    }
    Ok(removed)
}
