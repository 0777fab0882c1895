//! The rows of `retell_vault.keyring`: sealed generations, each added only after the one before.

use sha2::{Digest, Sha256};
use sqlx::postgres::{PgArguments, PgRow};

use crate::error::{Error, ErrorKind};
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::statements::fragments::DURABLE;
use crate::postgres::vault_schema::objects::{KEYRING, column, statement};

/// A text that is longer is cut, and then is no keyring.
const LONGEST: u32 = 1024 * 1024;
/// How many rows a repair looks at.
const ROWS: u32 = 100;

/// One row.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct GenerationRow {
    pub(crate) generation: i64,
    pub(crate) sealed: String,
}

/// The newest row.
///
/// # Errors
/// `AccessDenied` if row level security is in force for this role, which may hide rows.
pub(crate) async fn newest(database: &Database) -> Result<Option<GenerationRow>, DatabaseError> {
    let sql = format!(
        "SELECT pg_catalog.row_security_active({}), k.generation, k.sealed FROM (VALUES (0)) AS one(row)
    LEFT JOIN (SELECT generation, {} AS sealed FROM {KEYRING} ORDER BY generation DESC LIMIT 1) AS k ON true",
        "'retell_vault.keyring'::pg_catalog.text",
        cut(),
    );
    let rows = database.fetch(statement(sql), Phase::Reading).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    if column::<bool>(row, 0)? {
        let message = format!("row level security may hide rows of {KEYRING} from this role");
        return Err(Error::new(ErrorKind::AccessDenied, message)
            .with_hint("switch it off for this table: only grants decide who may read it")
            .into());
    }
    match column::<Option<i64>>(row, 1)? {
        None => Ok(None),
        Some(generation) => Ok(Some(GenerationRow { generation, sealed: column(row, 2)? })),
    }
}

/// What was added with a row for processes that cannot open it.
pub(crate) async fn voucher(database: &Database, generation: i64) -> Result<Option<String>, DatabaseError> {
    let sql = format!(
        "SELECT pg_catalog.left(voucher, 64) FROM {KEYRING} WHERE generation OPERATOR(pg_catalog.=) $1"
    );
    let mut arguments = PgArguments::default();
    bind(&mut arguments, generation)?;
    let rows = database.fetch(Query { sql: sql.into(), arguments }, Phase::Reading).await?;
    rows.first().map_or(Ok(None), |row| column(row, 0))
}

/// The newest rows, in descending order.
pub(crate) async fn newest_rows(database: &Database) -> Result<Vec<GenerationRow>, DatabaseError> {
    let sql = format!("SELECT generation, {} FROM {KEYRING} ORDER BY generation DESC LIMIT {ROWS}", cut());
    let rows = database.fetch(statement(sql), Phase::Reading).await?;
    let read = |row: &PgRow| Ok(GenerationRow { generation: column(row, 0)?, sealed: column(row, 1)? });
    rows.iter().map(read).collect()
}

/// Adds a row if `before` is the newest, or if there is none and none is expected. With `alone` it removes all others in the
/// same statement. False: another row is the newest, and nothing was changed.
pub(crate) async fn append(
    database: &Database,
    before: Option<&GenerationRow>,
    next: &GenerationRow,
    voucher: &str,
    alone: bool,
) -> Result<bool, DatabaseError> {
    let predecessor = before.map(|row| digest(&row.sealed));
    let expected = match before {
        Some(_) => format!(
            "(SELECT k.generation OPERATOR(pg_catalog.=) $4 AND pg_catalog.encode(pg_catalog.sha256(
        pg_catalog.convert_to(k.sealed, 'UTF8')), 'hex') OPERATOR(pg_catalog.=) $2
        FROM {KEYRING} AS k ORDER BY k.generation DESC LIMIT 1)"
        ),
        None => {
            format!("$4 OPERATOR(pg_catalog.=) 0::pg_catalog.int8 AND NOT EXISTS (SELECT FROM {KEYRING})")
        }
    };
    let removed = match alone {
        true => format!(
            ", gone AS (DELETE FROM {KEYRING} AS k USING added
        WHERE k.generation OPERATOR(pg_catalog.<) added.generation)"
        ),
        false => String::new(),
    };
    let sql = format!(
        "WITH added AS (INSERT INTO {KEYRING} (generation, predecessor, sealed, voucher)
        SELECT $1::pg_catalog.int8, $2::pg_catalog.text, $3::pg_catalog.text, $5::pg_catalog.text WHERE {expected}
        ON CONFLICT DO NOTHING RETURNING generation){removed} SELECT generation, {DURABLE} FROM added"
    );
    let mut arguments = PgArguments::default();
    bind(&mut arguments, next.generation)?;
    bind(&mut arguments, predecessor)?;
    bind(&mut arguments, next.sealed.as_str())?;
    bind(&mut arguments, before.map_or(0, |row| row.generation))?;
    bind(&mut arguments, voucher)?;
    let rows = database.fetch(Query { sql: sql.into(), arguments }, Phase::Writing).await?;
    Ok(!rows.is_empty())
}

/// Removes the rows before a generation.
pub(crate) async fn remove_before(database: &Database, generation: i64) -> Result<(), DatabaseError> {
    let sql = format!(
        "WITH gone AS (DELETE FROM {KEYRING} WHERE generation OPERATOR(pg_catalog.<) $1 RETURNING generation)
        SELECT pg_catalog.count(*), {DURABLE} FROM gone"
    );
    let mut arguments = PgArguments::default();
    bind(&mut arguments, generation)?;
    database.fetch(Query { sql: sql.into(), arguments }, Phase::Writing).await.map(drop)
}

/// Removes one row, if it still holds this text.
pub(crate) async fn remove(database: &Database, row: &GenerationRow) -> Result<(), DatabaseError> {
    let sql = format!(
        "DELETE FROM {KEYRING} WHERE generation OPERATOR(pg_catalog.=) $1 AND {} OPERATOR(pg_catalog.=) $2 RETURNING {DURABLE}",
        cut()
    );
    let mut arguments = PgArguments::default();
    bind(&mut arguments, row.generation)?;
    bind(&mut arguments, row.sealed.as_str())?;
    database.fetch(Query { sql: sql.into(), arguments }, Phase::Writing).await.map(drop)
}

fn cut() -> String {
    format!(
        "CASE WHEN pg_catalog.octet_length(sealed) OPERATOR(pg_catalog.<=) {LONGEST} THEN sealed
        ELSE pg_catalog.left(sealed, 1) END"
    )
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
