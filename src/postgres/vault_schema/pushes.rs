//! The rows of `retell_vault.local_files`: how often each local file was pushed to this database.

use sqlx::postgres::PgArguments;

use crate::error::{Error, ErrorKind};
use crate::local::entries::PushNote;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::statements::fragments::DURABLE;
use crate::postgres::vault_schema::objects::{LOCAL_FILES, column};

/// Counts a push that a local file has begun. Can be repeated: a push that is counted already is not counted again. False:
/// the database has counted pushes that this file does not know, so the file is an older state of itself, or a copy.
///
/// A count that is lower than the file's is of a database that was restored, or of another one that the file was also used
/// with; it is raised.
pub(crate) async fn count(database: &Database, note: &PushNote) -> Result<bool, DatabaseError> {
    let sql = format!(
        "WITH counted AS (INSERT INTO {LOCAL_FILES} AS f (id, pushes, mark, at)
        VALUES ($1, $2 OPERATOR(pg_catalog.+) 1::pg_catalog.int8, $4, pg_catalog.clock_timestamp())
        ON CONFLICT (id) DO UPDATE SET pushes = excluded.pushes, mark = excluded.mark, at = excluded.at
        WHERE f.pushes OPERATOR(pg_catalog.<) $2 OR f.mark OPERATOR(pg_catalog.=) $3 OR f.mark OPERATOR(pg_catalog.=) $4
        RETURNING 1) SELECT EXISTS (SELECT FROM counted), {DURABLE}"
    );
    let count = i64::try_from(note.count);
    let count = count.map_err(|_| Error::new(ErrorKind::LocalStore, "the count of pushes is too large"))?;
    let mut arguments = PgArguments::default();
    bind(&mut arguments, note.id.as_str())?;
    bind(&mut arguments, count)?;
    bind(&mut arguments, note.mark.as_str())?;
    bind(&mut arguments, note.begun.as_str())?;
    let rows = database.fetch(Query { sql: sql.into(), arguments }, Phase::Writing).await?;
    rows.first().map_or(Ok(false), |row| column(row, 0))
}
