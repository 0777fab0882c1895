//! Which columns exist: one catalogue query.

use std::sync::Arc;

use serde::Deserialize;
use sqlx::Row;
use sqlx::postgres::PgArguments;

use crate::error::{Error, ErrorKind};
use crate::postgres::connection::errors::{Fault, Phase, classify};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::record::layout::Layout;
use crate::record::placement::{Column, ColumnType};

/// The type of an id column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdKind {
    Text,
    Uuid,
}

/// What the catalogue says about the table of the layout.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    /// [`TYPE_NUMBER`] of the same columns in the order of the table, to notice when one changes.
    pub(crate) types: Vec<i64>,
    pub(crate) user: IdKind,
    pub(crate) tenant: Option<IdKind>,
    /// A usable unique constraint on exactly the owner's columns: valid, not partial, not an
    /// expression, not deferrable, the tenant NOT NULL or NULLS NOT DISTINCT.
    pub(crate) unique: bool,
    /// Whether any unique constraint is deferrable: Postgres then refuses `ON CONFLICT` without a target.
    pub(crate) deferrable: bool,
}

/// The type of a column with its modifier as one number, as [`Table::types`] has it.
pub(crate) const TYPE_NUMBER: &str = "(atttypid::int8 << 32) + atttypmod";

/// $1 schema, $2 table, $3 the names of the layout, $4 the owner's columns in order, $5 the tenant column
const CATALOGUE: &str = "
SELECT c.relkind::text AS kind,
  (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
      'name', a.attname, 'type', CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace::oid THEN t.typname::text ELSE 'other '::text || t.typname::text END,
      'number', (a.atttypid::int8 << 32) + a.atttypmod, 'modifier', a.atttypmod, 'not_null', a.attnotnull, 'deterministic', coalesce(l.collisdeterministic, true),
      'writable', a.attgenerated = '' AND has_column_privilege(c.oid, a.attnum, 'UPDATE')) ORDER BY a.attnum), '[]')::text
   FROM pg_catalog.pg_attribute a
   JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
   LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY($3)) AS columns,
  EXISTS (SELECT 1 FROM pg_catalog.pg_index i
   WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indisready AND i.indislive
     AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
     AND (SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attname::text COLLATE \"C\")
          FROM pg_catalog.unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) AS k
          JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k)::text = ($4::text[])::text
     AND ($5::text IS NULL OR coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct'::text)::bool, false)
          OR EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $5 AND a.attnotnull))
  ) AS is_unique,
  EXISTS (SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND NOT i.indimmediate) AS has_deferrable
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2";

/// Looks at the catalogue. `None`: the default table is missing, which only means that there is no
/// room in the database.
///
/// # Errors
/// `Schema` for a named table that is missing, or one that cannot be used.
pub(crate) async fn detect(database: &Database, layout: &Layout) -> Result<Option<Table>, Fault> {
    let rows = database.fetch(catalogue_query(layout)?, Phase::Reading).await?;
    let Some(row) = rows.first() else {
        return match layout.table_was_named {
            false => Ok(None),
            true => Err(missing_table(layout).into()),
        };
    };
    let get = |error: sqlx::Error| classify(&error, Phase::Reading);
    let kind: String = row.try_get("kind").map_err(get)?;
    let columns: String = row.try_get("columns").map_err(get)?;
    let unique: bool = row.try_get("is_unique").map_err(get)?;
    let deferrable: bool = row.try_get("has_deferrable").map_err(get)?;
    if !["r", "p"].contains(&kind.as_str()) {
        let message = format!("{} is not a table", layout.table_name());
        return Err(Error::new(ErrorKind::Schema, message)
            .with_hint("name the table itself, not a view of it")
            .into());
    }
    let columns = parse_columns(&columns)?;
    let user = id_kind(layout, &columns, &layout.user_column)?;
    let tenant = layout.tenant_column.as_ref().map(|name| id_kind(layout, &columns, name)).transpose()?;
    let types = columns.iter().map(|column| column.number).collect();
    let columns = columns.into_iter().map(CatalogueColumn::into_column).collect();
    Ok(Some(Table { columns, types, user, tenant, unique, deferrable }))
}

fn catalogue_query(layout: &Layout) -> Result<Query, Fault> {
    let names: Vec<String> = layout.all_columns().into_iter().map(str::to_owned).collect();
    let mut owner: Vec<String> =
        [Some(&layout.user_column), layout.tenant_column.as_ref()].into_iter().flatten().cloned().collect();
    owner.sort();
    let mut arguments = PgArguments::default();
    bind(&mut arguments, layout.schema.clone())?;
    bind(&mut arguments, layout.table.clone())?;
    bind(&mut arguments, names)?;
    bind(&mut arguments, owner)?;
    bind(&mut arguments, layout.tenant_column.clone())?;
    Ok(Query { sql: Arc::from(CATALOGUE), arguments })
}

#[derive(Deserialize)]
struct CatalogueColumn {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    number: i64,
    modifier: i32,
    not_null: bool,
    deterministic: bool,
    writable: bool,
}

impl CatalogueColumn {
    fn column_type(&self) -> ColumnType {
        match self.kind.as_str() {
            "text" => ColumnType::Text,
            // the type modifier of varchar(n) is n + 4, and -1 without a length
            "varchar" if self.modifier < 0 => ColumnType::Text,
            "varchar" => ColumnType::Varchar(usize::try_from(self.modifier - 4).unwrap_or_default()),
            "uuid" => ColumnType::Uuid,
            "json" => ColumnType::Json,
            "jsonb" => ColumnType::Jsonb,
            "timestamptz" => ColumnType::Timestamptz,
            other => ColumnType::Other(other.to_owned()),
        }
    }

    fn into_column(self) -> Column {
        Column { kind: self.column_type(), name: self.name, not_null: self.not_null, writable: self.writable }
    }
}

fn parse_columns(json: &str) -> Result<Vec<CatalogueColumn>, Fault> {
    serde_json::from_str(json)
        .map_err(|_| Error::new(ErrorKind::Schema, "the catalogue's answer is not as expected").into())
}

fn id_kind(layout: &Layout, columns: &[CatalogueColumn], name: &str) -> Result<IdKind, Fault> {
    let table = layout.table_name();
    let Some(column) = columns.iter().find(|column| column.name == name) else {
        let error = Error::new(ErrorKind::Schema, format!("table {table} has no column {name}"));
        return Err(error
            .with_hint("name the column that holds the id (`--user-column`, `--tenant-column`)")
            .into());
    };
    match column.column_type() {
        ColumnType::Uuid => Ok(IdKind::Uuid),
        ColumnType::Text | ColumnType::Varchar(_) if column.deterministic => Ok(IdKind::Text),
        _ => {
            let message = format!(
                "column {name} of {table} has type {}, which cannot tell owners apart safely",
                column.kind
            );
            let hint = "an id column must be text, varchar or uuid, with a deterministic collation";
            Err(Error::new(ErrorKind::Schema, message).with_hint(hint).into())
        }
    }
}

pub(crate) fn missing_table(layout: &Layout) -> Error {
    Error::new(ErrorKind::Schema, format!("table {} does not exist", layout.table_name()))
        .with_hint("check schema and table name (case matters), and that the URL names the right database")
}
