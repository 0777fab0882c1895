//! Reads the columns in which an application keeps credentials today.

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};
use zeroize::Zeroizing;

use crate::layout::old_source::OldSource;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query};
use crate::postgres::sql::names::quote;

/// One row of a source. The values are wiped when they are dropped.
pub(crate) struct SourceRow {
    pub(crate) user: String,
    pub(crate) tenant: Option<String>,
    pub(crate) content: Zeroizing<String>,
    /// The column is of type `json` or `jsonb`.
    pub(crate) is_json: bool,
    pub(crate) iv: Option<Zeroizing<String>>,
    pub(crate) tag: Option<Zeroizing<String>>,
}

impl Database {
    /// The rows of a source with an owner and a value, by owner. Reads only.
    pub(crate) async fn old_values(&self, source: &OldSource) -> Result<Vec<SourceRow>, DatabaseError> {
        let relation = format!("{}.{}", quote(&source.schema), quote(&source.table));
        let (user, column) = (quote(&source.user_column), quote(&source.column));
        let optional = |name: &Option<String>| match name {
            Some(name) => format!("{}::text", quote(name)),
            None => "NULL::text".to_owned(),
        };
        let (tenant, iv, tag) =
            (optional(&source.tenant_column), optional(&source.iv_column), optional(&source.tag_column));
        let sql = format!(
            "SELECT {user}::text, {tenant}, {column}::text, pg_typeof({column})::text IN ('json', 'jsonb'), {iv}, {tag}
            FROM {relation} WHERE {column} IS NOT NULL AND {user} IS NOT NULL ORDER BY 1, 2"
        );
        let query = Query { sql: sql.into(), arguments: PgArguments::default() };
        let rows = self.inspect_as_owner(&relation, query).await?;
        rows.iter()
            .map(source_row)
            .collect::<sqlx::Result<_>>()
            .map_err(|error| DatabaseError::of(&error, Phase::Reading))
    }
}

fn source_row(row: &PgRow) -> sqlx::Result<SourceRow> {
    let part = |at: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<String>, _>(at)?.map(Zeroizing::new));
    Ok(SourceRow {
        user: row.try_get(0)?,
        tenant: row.try_get(1)?,
        content: Zeroizing::new(row.try_get(2)?),
        is_json: row.try_get(3)?,
        iv: part(4)?,
        tag: part(5)?,
    })
}
