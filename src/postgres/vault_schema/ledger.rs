//! The table `retell_vault.ledger`: whether entries can be added, and entries that void a number.

use sqlx::postgres::PgArguments;

use crate::chain::entry::SealedEntry;
use crate::display::visible;
use crate::postgres::connection::errors::{DatabaseError, NUMBER_OF_ENTRY, Outcome, Phase};
use crate::postgres::connection::pool::{Database, Query};
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
