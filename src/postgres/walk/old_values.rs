//! Reads the columns in which an application keeps credentials today.

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};
use zeroize::Zeroizing;

use crate::layout::filter::{Filter, FilterValue};
use crate::layout::old_source::OldSource;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query};
use crate::postgres::sql::names::{literal, quote};

/// One row of a source. The values are wiped when they are dropped.
pub(crate) struct SourceRow {
    pub(crate) user: String,
    pub(crate) tenant: Option<String>,
    /// Of a column of type `bytea`: hex digits.
    pub(crate) content: Zeroizing<String>,
    /// The column is of type `json` or `jsonb`.
    pub(crate) is_json: bool,
    /// The column is of type `bytea`.
    pub(crate) is_bytes: bool,
    pub(crate) iv: Option<Zeroizing<String>>,
    pub(crate) tag: Option<Zeroizing<String>>,
}

impl Database {
    /// The rows of a source with an owner and a value, by owner. Reads only.
    pub(crate) async fn old_values(&self, source: &OldSource) -> Result<Vec<SourceRow>, DatabaseError> {
        let relation = format!("{}.{}", quote(&source.schema), quote(&source.table));
        let (user, column) = (quote(&source.user_column), quote(&source.column));
        let tenant = match &source.tenant_column {
            Some(name) => format!("{}::text", quote(name)),
            None => "NULL::text".to_owned(),
        };
        let part = |name: &Option<String>| {
            name.as_ref().map_or("NULL::text".to_owned(), |name| text_or_hex(&quote(name)))
        };
        let (content, iv, tag) = (text_or_hex(&column), part(&source.iv_column), part(&source.tag_column));
        let sql = format!(
            "SELECT {user}::text, {tenant}, {content}, pg_typeof({column})::text IN ('json', 'jsonb'), {}, {iv}, {tag}
            FROM {relation} WHERE {column} IS NOT NULL AND {user} IS NOT NULL{} ORDER BY 1, 2",
            is_bytes(&column),
            counts(&source.filter)
        );
        let query = Query { sql: sql.into(), arguments: PgArguments::default() };
        let rows = self.inspect_as_owner(&relation, query).await?;
        rows.iter()
            .map(source_row)
            .collect::<sqlx::Result<_>>()
            .map_err(|error| DatabaseError::of(&error, Phase::Reading))
    }
}

pub(super) fn is_bytes(column: &str) -> String {
    format!("pg_typeof({column}) = 'bytea'::regtype")
}

/// The text of a column, or the hex digits of its bytes. The setting `bytea_output` decides how bytes are printed as text, and both
/// ways can be read back.
pub(super) fn text_or_hex(column: &str) -> String {
    let is_bytes = is_bytes(column);
    format!("CASE WHEN {is_bytes} THEN encode({column}::text::bytea, 'hex') ELSE {column}::text END")
}

/// The conditions that a row of a source counts, each after an `AND`. Compared as text, a constant fits a column of any type.
pub(super) fn counts(filter: &Filter) -> String {
    let constant = |value: &FilterValue| match value {
        FilterValue::Text(text) => literal(text),
        FilterValue::Integer(number) => literal(&number.to_string()),
        FilterValue::Boolean(is_set) => literal(&is_set.to_string()),
    };
    let equals =
        filter.equals.iter().map(|(column, value)| format!("{}::text = {}", quote(column), constant(value)));
    let is_null = filter.is_null.iter().map(|column| format!("{} IS NULL", quote(column)));
    equals.chain(is_null).map(|condition| format!(" AND {condition}")).collect()
}

fn source_row(row: &PgRow) -> sqlx::Result<SourceRow> {
    let part = |at: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<String>, _>(at)?.map(Zeroizing::new));
    Ok(SourceRow {
        user: row.try_get(0)?,
        tenant: row.try_get(1)?,
        content: Zeroizing::new(row.try_get(2)?),
        is_json: row.try_get(3)?,
        is_bytes: row.try_get(4)?,
        iv: part(5)?,
        tag: part(6)?,
    })
}
