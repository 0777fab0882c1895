//! The table `retell_vault.ledger`: whether entries can be added, and entries that void a number.

use sqlx::postgres::PgArguments;
use uuid::Uuid;

use crate::chain::entry::{SealedEntry, operation};
use crate::display::visible;
use crate::postgres::connection::errors::{DatabaseError, NUMBER_OF_ENTRY, Outcome, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::connection::transaction::local_setting;
use crate::postgres::sql::names::literal;
use crate::postgres::statements::with_entry::{COLUMNS, LEDGER, bind_entries, only_entries};
use crate::postgres::vault_schema::objects::{SCHEMA, SCHEMA_OBJECT, check_tables, column, statement};

/// How long to wait for a statement that may still write the number: a store waits meanwhile, and asks again later.
const PATIENCE: &str = "50ms";

/// Why an entry cannot be added, if it cannot: the table is missing, is not as the vault made it, or this role may not write
/// it.
pub(crate) async fn problem(database: &Database) -> Result<Option<String>, DatabaseError> {
    let names: Vec<_> = COLUMNS.iter().map(|(name, _)| literal(name)).collect();
    let sql = format!(
        "SELECT c.relkind = 'r' AND c.relpersistence = 'p', has_schema_privilege(n.oid, 'USAGE'),
        (SELECT count(*) = {} FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
            AND a.attname::text = ANY (ARRAY[{}])),
        (SELECT string_agg(a.attname::text, ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid
            AND NOT a.attisdropped AND a.attname::text = ANY (ARRAY[{}])
            AND NOT has_column_privilege(c.oid, a.attnum, 'INSERT')),
        EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p' AND k.conname = {}),
        row_security_active(c.oid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = {} AND c.relname = 'ledger'",
        names.len(),
        names.join(", "),
        names.join(", "),
        literal(NUMBER_OF_ENTRY),
        literal(SCHEMA),
    );
    let rows = database.inspect(statement(sql)).await?;
    let Some(row) = rows.first() else { return Ok(Some(format!("the table {LEDGER} does not exist"))) };
    if !column::<bool>(row, 0)? || !column::<bool>(row, 4)? {
        return Ok(Some(format!("{LEDGER} is not the table that the vault made")));
    }
    if !column::<bool>(row, 1)? {
        return Ok(Some(format!("this role lacks USAGE on the {SCHEMA_OBJECT}")));
    }
    if !column::<bool>(row, 2)? {
        return Ok(Some(format!("{LEDGER} lacks a column")));
    }
    if let Some(columns) = column::<Option<String>>(row, 3)? {
        return Ok(Some(format!("this role may not INSERT into {LEDGER} ({})", visible(&columns))));
    }
    if column::<bool>(row, 5)? {
        return Ok(Some(format!("row level security of {LEDGER} is in force for this role")));
    }
    match check_tables(database).await {
        Ok(()) => Ok(None),
        Err(fault) if fault.outcome == Outcome::Reject => Ok(Some(fault.error.to_string())),
        Err(fault) => Err(fault),
    }
}

/// Adds entries that belong to no write: all of them, or none.
pub(crate) async fn add_entries(database: &Database, entries: &[&SealedEntry]) -> Result<(), DatabaseError> {
    database.fetch(insert(entries)?, Phase::Writing).await.map(drop)
}

fn insert(entries: &[&SealedEntry]) -> Result<Query, DatabaseError> {
    let numbered: Vec<_> = entries.iter().enumerate().map(|(at, sealed)| (at as i32, *sealed)).collect();
    let mut arguments = PgArguments::default();
    bind_entries(&mut arguments, &numbered)?;
    Ok(Query { sql: only_entries().into(), arguments })
}

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

/// What became of a number.
pub(crate) enum Voided {
    /// It holds the void entry: nothing else can take it any more.
    Void,
    /// It held an entry before.
    Stands,
    /// A statement that may still write it is under way.
    AskLater,
}

/// Writes an entry under a number that may have been used.
pub(crate) async fn void(database: &Database, sealed: &SealedEntry) -> Result<Voided, DatabaseError> {
    let queries = vec![local_setting("lock_timeout", PATIENCE)?, insert(&[sealed])?];
    match database.transaction(queries, Phase::Writing).await {
        Ok(_) => Ok(Voided::Void),
        Err(fault) if fault.is_number_taken => Ok(Voided::Stands),
        Err(fault) if fault.outcome == Outcome::Retry => Ok(Voided::AskLater),
        Err(fault) => Err(fault),
    }
}
