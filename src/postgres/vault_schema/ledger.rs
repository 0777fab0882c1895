//! The table `retell_vault.ledger`: whether entries can be added, and entries that void a number.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::types::Uuid;

use crate::chain::entry::{Event, LedgerEntry, SealedEntry, StoredEntry};
use crate::display::visible;
use crate::postgres::connection::errors::{DatabaseError, NUMBER_OF_ENTRY, Outcome, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::connection::transaction::local_setting;
use crate::postgres::sql::names::literal;
use crate::postgres::statements::with_entry::{COLUMNS, LEDGER, bind_entries, column_names, only_entries};
use crate::postgres::vault_schema::newest::{self, NAME};
use crate::postgres::vault_schema::objects::{SCHEMA, SCHEMA_OBJECT, check_tables, column, statement};
use crate::record::owner::{Owner, TenantId};

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

/// The same for entries that keep their numbers, so that they can be sent again. Those that are there stay as they are.
pub(crate) async fn add_entries_once(
    database: &Database,
    entries: &[&SealedEntry],
) -> Result<(), DatabaseError> {
    let Query { sql, arguments } = insert(entries)?;
    // without names of columns it needs no right to read them
    let sql = format!("{} ON CONFLICT DO NOTHING", &*sql).into();
    database.fetch(Query { sql, arguments }, Phase::Writing).await.map(drop)
}

fn insert(entries: &[&SealedEntry]) -> Result<Query, DatabaseError> {
    let numbered: Vec<_> = entries.iter().enumerate().map(|(at, sealed)| (at as i32, *sealed)).collect();
    let mut arguments = PgArguments::default();
    bind_entries(&mut arguments, &numbered)?;
    Ok(Query { sql: only_entries().into(), arguments })
}

/// An entry, read by the columns of `COLUMNS` in their order.
pub(in crate::postgres) fn stored_entry(row: &PgRow) -> Result<StoredEntry, DatabaseError> {
    let entry = LedgerEntry {
        writer: column::<Uuid>(row, 0)?,
        seq: column(row, 1)?,
        epoch: column(row, 2)?,
        settled: column(row, 3)?,
        head: column(row, 4)?,
        at_ms: column(row, 5)?,
        event: Event {
            operation: column(row, 6)?,
            place: column(row, 7)?,
            user: column(row, 8)?,
            tenant: column(row, 9)?,
            before: column(row, 10)?,
            after: column(row, 11)?,
            digest: column(row, 12)?,
            outcome: column(row, 13)?,
            actor: column(row, 14)?,
            reason: column(row, 15)?,
            request: column(row, 16)?,
            host: column(row, 17)?,
            release: column(row, 18)?,
            detail: column(row, 19)?,
        },
    };
    Ok(StoredEntry { entry, mac: column(row, 20)? })
}

/// Why the ledger cannot be asked for the last entries of an owner, if it cannot: the function is missing, is not as the vault
/// made it, or this role may not call it.
pub(crate) async fn problem_of_newest(database: &Database) -> Result<Option<String>, DatabaseError> {
    let sql = format!(
        "SELECT p.prosrc = {} AND p.prosecdef AND p.proconfig = ARRAY['search_path=\"\"'] AND p.proowner = n.nspowner,
        has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = {} AND p.proname = 'newest' AND oidvectortypes(p.proargtypes) = 'text, text, text'",
        literal(&newest::body()),
        literal(SCHEMA)
    );
    let rows = database.inspect(statement(sql)).await?;
    let Some(row) = rows.first() else {
        return Ok(Some(format!("the function {NAME} does not exist")));
    };
    if column::<Option<bool>>(row, 0)? != Some(true) {
        return Ok(Some(format!("{NAME} is not the function that the vault made")));
    }
    Ok((!column::<bool>(row, 1)?).then(|| format!("this role may not call {NAME}")))
}

/// The last entries of an owner that name a version, the newest version first, and whether the removal of a row was noted
/// after each.
pub(crate) async fn newest_entries(
    database: &Database,
    place: &str,
    owner: &Owner,
) -> Result<Vec<(StoredEntry, bool)>, DatabaseError> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, place)?;
    bind(&mut arguments, owner.user_id().as_str())?;
    bind(&mut arguments, owner.tenant_id().map(TenantId::as_str))?;
    let sql = format!(
        "SELECT {}, was_removed FROM {NAME}($1::pg_catalog.text, $2::pg_catalog.text, $3::pg_catalog.text)",
        column_names()
    );
    let rows = database.fetch(Query { sql: sql.into(), arguments }, Phase::Reading).await?;
    rows.iter().map(|row| Ok((stored_entry(row)?, column(row, COLUMNS.len())?))).collect()
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
