//! Every table that the role can see, in all schemas, and a sample of its values.

use std::time::Duration;

use serde::Deserialize;
use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};
use crate::postgres::catalogue::row_visibility::{RowAction, may_hide};
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::sql::names::{quote, text};

/// The names of all relations. `$1` is a schema, or NULL for all. Objects of extensions are left out.
const NAMES: &str = "SELECT c.oid::int8, c.relkind::text, n.nspname::text, c.relname::text,
    (SELECT coalesce(array_agg(a.attname::text), '{}') FROM pg_attribute a
     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
    AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    AND has_schema_privilege(n.oid, 'USAGE') AND ($1::text IS NULL OR n.nspname = $1)
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')";

const DETAILS: &str = include_str!("all_tables.sql");

/// The most tables in one query for their details.
const AT_ONCE: usize = 200;

/// A relation and the names of its columns.
pub(crate) struct RelationNames {
    pub(crate) oid: i64,
    /// As in pg_class.relkind.
    pub(crate) kind: char,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
}

/// A table, as the catalogue describes it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FoundTable {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// The oid of its owner.
    pub(crate) owner: i64,
    /// An estimate; 0 if the server has none.
    pub(crate) rows: u64,
    pub(crate) readable: bool,
    pub(crate) hides_rows: bool,
    pub(crate) columns: Vec<FoundColumn>,
    /// Unique indexes, the primary key first.
    pub(crate) keys: Vec<UniqueKey>,
    pub(crate) foreign: Vec<ForeignKey>,
    /// Tables that refer to this one and to another one.
    pub(crate) links: Vec<String>,
    pub(crate) checks: Vec<ColumnCheck>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FoundKind {
    Text,
    Texts,
    Json,
    Jsonb,
    Bytea,
    Enum,
    Uuid,
    Integer,
    Bool,
    Time,
    Other,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FoundColumn {
    pub(crate) name: String,
    pub(crate) kind: FoundKind,
    /// Whether a layout may name it as the owner's column.
    pub(crate) is_for_ids: bool,
    /// The longest text that it takes, if its type says so.
    pub(crate) longest: Option<usize>,
    /// The values of an enum.
    pub(crate) labels: Vec<String>,
    /// Whether its type takes tokens, and no constraint or unique index of the application is about it.
    pub(crate) takes_tokens: bool,
    pub(crate) not_null: bool,
    pub(crate) readable: bool,
    pub(crate) comment: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct UniqueKey {
    pub(crate) columns: Vec<String>,
    pub(crate) primary: bool,
    pub(crate) partial: bool,
}

/// A foreign key of one column.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ForeignKey {
    pub(crate) column: String,
    pub(crate) table: String,
}

/// A CHECK constraint of one column.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ColumnCheck {
    pub(crate) column: String,
    pub(crate) definition: String,
}

impl FoundTable {
    pub(crate) fn column(&self, name: &str) -> Option<&FoundColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    fn relation(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }
}

impl FoundKind {
    /// Whether its values may be credentials.
    pub(crate) fn is_for_values(self) -> bool {
        matches!(self, Self::Text | Self::Texts | Self::Json | Self::Jsonb | Self::Bytea | Self::Enum)
    }
}

/// The values of some columns in one row. They are wiped when they are dropped.
pub(crate) type SampledRow = Vec<Option<Zeroizing<String>>>;

impl Database {
    /// Passes on the names of every table and view. Memory does not grow with their number.
    pub(crate) async fn each_relation(
        &self,
        schema: Option<&str>,
        mut each: impl FnMut(RelationNames) + Send,
    ) -> Result<(), DatabaseError> {
        let mut arguments = PgArguments::default();
        bind(&mut arguments, schema.map(str::to_owned))?;
        self.inspect_each(Query { sql: NAMES.into(), arguments }, |row| {
            let names = (|| {
                let kind: String = row.try_get(1)?;
                Ok(RelationNames {
                    oid: row.try_get(0)?,
                    kind: kind.chars().next().unwrap_or('?'),
                    schema: row.try_get(2)?,
                    name: row.try_get(3)?,
                    columns: row.try_get(4)?,
                })
            })();
            each(names.map_err(|error: sqlx::Error| DatabaseError::of(&error, Phase::Reading))?);
            Ok(())
        })
        .await
    }

    /// The tables with these oids, in this order. Those that are gone meanwhile are left out.
    pub(crate) async fn described(&self, oids: &[i64]) -> Result<Vec<FoundTable>, DatabaseError> {
        let sql = DETAILS.replace("{hides_rows}", &may_hide("c.oid", RowAction::Read));
        let mut found = Vec::new();
        for some in oids.chunks(AT_ONCE) {
            let mut arguments = PgArguments::default();
            bind(&mut arguments, some.to_vec())?;
            for row in self.inspect(Query { sql: sql.as_str().into(), arguments }).await? {
                found.push(parse(&row)?);
            }
        }
        found.sort_by_key(|(oid, _)| oids.iter().position(|wanted| wanted == oid));
        Ok(found.into_iter().map(|(_, table)| table).collect())
    }

    /// Values of some rows of a table. Long ones are cut. The server gives up after `limit`.
    ///
    /// If the table is large, the rows are from pages all over it. With `set`, they are only rows in which that column is
    /// neither NULL nor empty.
    pub(crate) async fn sample(
        &self,
        table: &FoundTable,
        columns: &[&FoundColumn],
        set: Option<&FoundColumn>,
        (most, limit): (u64, Duration),
    ) -> Result<Vec<SampledRow>, DatabaseError> {
        let selected: Vec<String> = columns.iter().map(|column| selected(column)).collect();
        let (portion, condition) = match set {
            Some(column) => (String::new(), format!(" WHERE {} <> ''", value(column))),
            None => (portion(table, most), String::new()),
        };
        let (selected, relation) = (selected.join(", "), table.relation());
        let sql = format!("SELECT {selected} FROM {relation} AS t{portion}{condition} LIMIT {most}");
        let query = Query { sql: sql.into(), arguments: PgArguments::default() };
        let rows = self.inspect_within(limit, &relation, query).await?;
        rows.iter().map(|row| values(row, columns.len())).collect()
    }

    /// Whether some rows of each table hold a text like those of Retell. The tables have one owner.
    pub(crate) async fn hold_texts_like(
        &self,
        tables: &[(&FoundTable, Vec<&FoundColumn>)],
        most: u64,
        limit: Duration,
    ) -> Result<Vec<bool>, DatabaseError> {
        let Some((first, _)) = tables.first() else { return Ok(Vec::new()) };
        let holds = |(table, columns): &(&FoundTable, Vec<&FoundColumn>)| {
            let names: Vec<String> = columns.iter().map(|column| quote(&column.name)).collect();
            let some = format!(
                "SELECT {} FROM {}{} LIMIT {most}",
                names.join(", "),
                table.relation(),
                portion(table, most)
            );
            let likes: Vec<String> = columns.iter().map(|column| is_like_retell(column)).collect();
            format!("EXISTS (SELECT FROM ({some}) AS t WHERE {})", likes.join(" OR "))
        };
        let sql = format!("SELECT ARRAY[{}]", tables.iter().map(holds).collect::<Vec<_>>().join(",\n"));
        let query = Query { sql: sql.into(), arguments: PgArguments::default() };
        let rows = self.inspect_within(limit, &first.relation(), query).await?;
        let held = rows.first().map(|row| row.try_get(0)).transpose();
        Ok(held.map_err(|error| DatabaseError::of(&error, Phase::Reading))?.unwrap_or_default())
    }
}

/// Of a large table, pages all over it.
fn portion(table: &FoundTable, most: u64) -> String {
    match most * 10 < table.rows {
        true => format!(" TABLESAMPLE SYSTEM ({:.6})", 200.0 * most as f64 / table.rows as f64),
        false => String::new(),
    }
}

fn value(column: &FoundColumn) -> String {
    format!("t.{}", text(&quote(&column.name)))
}

/// Whether a value starts like a key or an agent id of Retell, or is JSON that has one or names Retell.
fn is_like_retell(column: &FoundColumn) -> String {
    let value = value(column);
    match column.kind {
        FoundKind::Json | FoundKind::Jsonb => {
            format!("{value} LIKE '%\"key\\_%' OR {value} LIKE '%\"agent\\_%' OR {value} ILIKE '%retell%'")
        }
        _ => format!("{value} LIKE 'key\\_%' OR {value} LIKE 'agent\\_%'"),
    }
}

/// A cut value. A key is shorter than 256 bytes; of JSON more is needed to parse it.
fn selected(column: &FoundColumn) -> String {
    let value = format!("t.{}", quote(&column.name));
    match column.kind {
        FoundKind::Bytea => format!("'\\x' || encode(substr({value}, 1, 32), 'hex')"),
        FoundKind::Json | FoundKind::Jsonb | FoundKind::Texts => {
            format!("CASE WHEN octet_length({0}) <= 8192 THEN {0} END", text(&value))
        }
        _ => format!("CASE WHEN octet_length({0}) <= 512 THEN {0} ELSE left({0}, 512) END", text(&value)),
    }
}

fn values(row: &PgRow, columns: usize) -> Result<SampledRow, DatabaseError> {
    let value = |at| row.try_get::<Option<String>, _>(at).map(|value| value.map(Zeroizing::new));
    let values: sqlx::Result<_> = (0..columns).map(value).collect();
    values.map_err(|error| DatabaseError::of(&error, Phase::Reading))
}

fn parse(row: &PgRow) -> Result<(i64, FoundTable), DatabaseError> {
    let of_database = |error: sqlx::Error| DatabaseError::of(&error, Phase::Reading);
    let (oid, json) =
        (row.try_get(0).map_err(of_database)?, row.try_get::<String, _>(1).map_err(of_database)?);
    let table = serde_json::from_str(&json)
        .map_err(|_| Error::new(ErrorKind::Schema, "the catalogue's answer is not as expected"))?;
    Ok((oid, table))
}
