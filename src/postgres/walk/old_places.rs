//! What is left in old places, within limits: values in the sources of a layout, and copies of them in other tables.

use std::time::Duration;

use serde::Deserialize;
use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};
use crate::layout::old_source::OldSource;
use crate::postgres::catalogue::row_visibility::{RowAction, may_hide};
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::sql::names::{literal, quote};
use crate::postgres::walk::old_values::counts;

/// The most rows that are read of a source.
pub(crate) const MOST_VALUES: usize = 10_000;
/// The most rows that are read of a table with copies.
const MOST_COPIES: usize = 1_000;
/// Longer texts are cut, in characters.
const LONGEST_TEXT: usize = 600;
/// Longer JSON is not read, in bytes.
const LONGEST_JSON: usize = 16 * 1024;

/// Relations with a column like the source's beside the same owner's column, and those that are named.
///
/// Parameters: the schema, table, column and owner's column of the source; the named relations. Plain views are left out: they show
/// their tables. Runs with a safe search path.
const PLACES: &str = "SELECT json_build_object('schema', n.nspname, 'name', r.relname, 'owner', pg_get_userbyid(r.relowner),
      'kind', r.relkind, 'forced', r.relforcerowsecurity, 'hides_rows', {hides_rows},
      'columns', (SELECT coalesce(json_agg(json_build_object('name', a.attname, 'kind', t.typname, 'not_null', a.attnotnull,
            'generated', a.attgenerated <> '', 'is_same', a.attname = $3) ORDER BY a.attnum), '[]')
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped AND t.typname IN ('text', 'varchar', 'bpchar', 'json', 'jsonb')
          AND (a.attname = $3 OR named.is)))::text
    FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
    CROSS JOIN LATERAL (SELECT r.oid IN (SELECT to_regclass(x)::oid FROM unnest($5::text[]) AS x) AS is) AS named
    WHERE r.relkind IN ('r', 'p', 'm') AND NOT r.relispartition AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
      AND n.nspname NOT LIKE 'retell\\_vault%' AND r.relname NOT LIKE 'retell\\_vault\\_%' AND (n.nspname, r.relname) <> ($1::name, $2::name)
      AND (named.is OR 2 = (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
                            AND a.attname IN ($3, $4)))
    ORDER BY n.nspname, r.relname";

/// A value in a source. It is wiped when it is dropped.
pub(crate) struct LeftValue {
    pub(crate) user: String,
    pub(crate) tenant: Option<String>,
    /// Cut, and hex digits of bytes. `None` for long JSON.
    pub(crate) text: Option<Zeroizing<String>>,
    pub(crate) is_json: bool,
    pub(crate) is_bytes: bool,
}

/// A table or a materialized view that may hold copies of a source.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CopyPlace {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) owner: String,
    /// As in pg_class.relkind.
    pub(crate) kind: char,
    /// Whether row level security applies to its owner too.
    pub(crate) forced: bool,
    pub(crate) hides_rows: bool,
    pub(crate) columns: Vec<CopyColumn>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CopyColumn {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) not_null: bool,
    pub(crate) generated: bool,
    /// Whether it has the name of the source's column. Others may hold whole rows as JSON.
    pub(crate) is_same: bool,
}

impl CopyPlace {
    pub(crate) fn relation(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }
}

impl CopyColumn {
    pub(crate) fn is_json(&self) -> bool {
        self.kind.starts_with("json")
    }
}

fn is_bytes(column: &str) -> String {
    format!("pg_typeof({column}) = 'bytea'::regtype")
}

/// The text of a column, or the hex digits of its bytes. The setting `bytea_output` decides how bytes are printed as text, and both
/// ways can be read back.
fn text_or_hex(column: &str) -> String {
    let is_bytes = is_bytes(column);
    format!("CASE WHEN {is_bytes} THEN encode({column}::text::bytea, 'hex') ELSE {column}::text END")
}

impl Database {
    /// Values of a source that are set, at most one more than [`MOST_VALUES`]. Reads as the owner of the table.
    pub(crate) async fn left_values(
        &self,
        source: &OldSource,
        limit: Duration,
    ) -> Result<Vec<LeftValue>, DatabaseError> {
        let relation = format!("{}.{}", quote(&source.schema), quote(&source.table));
        let (user, column) = (quote(&source.user_column), quote(&source.column));
        let tenant = match &source.tenant_column {
            Some(name) => format!("{}::text", quote(name)),
            None => "NULL::text".to_owned(),
        };
        let is_json = format!("pg_typeof({column})::text IN ('json', 'jsonb')");
        let sql = format!(
            "SELECT {user}::text, {tenant}, CASE WHEN NOT {is_json} THEN left({}, {LONGEST_TEXT})
                WHEN octet_length({column}::text) <= {LONGEST_JSON} THEN {column}::text END, {is_json}, {}
            FROM {relation} AS t WHERE {column} IS NOT NULL AND {user} IS NOT NULL
            AND {column}::text NOT IN ('', '\\x', 'null', '{{}}', '[]', '\"\"'){} LIMIT {}",
            text_or_hex(&column),
            is_bytes(&column),
            counts("t", &source.filter),
            MOST_VALUES + 1
        );
        let query = Query { sql: sql.into(), arguments: PgArguments::default() };
        let rows = self.inspect_within(limit, &relation, query).await?;
        rows.iter().map(left_value).collect::<sqlx::Result<_>>().map_err(reading)
    }

    /// The relations that may hold copies of a source. `named`: those that the catalogue tells by triggers, rules and names.
    pub(crate) async fn copy_places(
        &self,
        source: &OldSource,
        named: &[String],
    ) -> Result<Vec<CopyPlace>, DatabaseError> {
        let mut arguments = PgArguments::default();
        for name in [&source.schema, &source.table, &source.column, &source.user_column] {
            bind(&mut arguments, name.clone())?;
        }
        bind(&mut arguments, named.to_vec())?;
        let sql = PLACES.replace("{hides_rows}", &may_hide("r.oid", RowAction::Read));
        let rows = self.inspect(Query { sql: sql.into(), arguments }).await?;
        let place = |row: &PgRow| {
            let json: String = row.try_get(0).map_err(reading)?;
            let odd = || Error::new(ErrorKind::Schema, "the catalogue's answer is not as expected");
            serde_json::from_str(&json).map_err(|_| DatabaseError::from(odd()))
        };
        rows.iter().map(place).collect()
    }

    /// Texts of a column that may be copies of a source's column: its values, or JSON with a member of its name.
    pub(crate) async fn copied_texts(
        &self,
        place: &CopyPlace,
        column: &CopyColumn,
        source: &OldSource,
        limit: Duration,
    ) -> Result<Vec<Zeroizing<String>>, DatabaseError> {
        let text = format!("{}::text", quote(&column.name));
        let condition = match column.is_same {
            true => format!("{text} NOT IN ('', 'null', '{{}}', '[]', '\"\"')"),
            false => format!("strpos({text}, {}) > 0", literal(&format!("\"{}\"", source.column))),
        };
        let relation = place.relation();
        let sql = format!(
            "SELECT {text} FROM {relation} WHERE {condition} AND octet_length({text}) <= {LONGEST_JSON} LIMIT {MOST_COPIES}"
        );
        let query = Query { sql: sql.into(), arguments: PgArguments::default() };
        let rows = self.inspect_within(limit, &relation, query).await?;
        rows.iter()
            .map(|row| row.try_get(0).map(Zeroizing::new))
            .collect::<sqlx::Result<_>>()
            .map_err(reading)
    }
}

fn left_value(row: &PgRow) -> sqlx::Result<LeftValue> {
    Ok(LeftValue {
        user: row.try_get(0)?,
        tenant: row.try_get(1)?,
        text: row.try_get::<Option<String>, _>(2)?.map(Zeroizing::new),
        is_json: row.try_get(3)?,
        is_bytes: row.try_get(4)?,
    })
}

fn reading(error: sqlx::Error) -> DatabaseError {
    DatabaseError::of(&error, Phase::Reading)
}
