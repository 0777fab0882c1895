//! The key that a walk over the whole table follows: the primary key or another unique key.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};

use crate::error::{Error, ErrorKind};
use crate::layout::layout::Layout;
use crate::postgres::catalogue::table::Table;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::sql::names::{EQ, quote, text};

/// The best key: unique, never null, and of types whose text converts back to the same value. The primary key comes
/// first, then the key with the fewest columns. A table with INHERITS children has none, because each child has only its
/// own keys. Parameters: $1 schema, $2 table.
const KEY: &str = "
SELECT (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attname, t.typname) ORDER BY k.at)::text
  FROM pg_catalog.unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (number, at)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid) AS columns
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = x.relam
WHERE n.nspname = $1 AND c.relname = $2 AND m.amname = 'btree'
  AND i.indisunique AND i.indisvalid AND i.indisready AND i.indislive AND i.indpred IS NULL AND i.indexprs IS NULL
  AND (c.relkind = 'p' OR NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid))
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) AS k (number)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
    WHERE NOT a.attnotnull OR NOT coalesce(l.collisdeterministic, true)
      OR NOT has_column_privilege(c.oid, a.attnum, 'SELECT')
      OR t.typnamespace <> 'pg_catalog'::regnamespace::oid
      OR t.typname NOT IN ('int2', 'int4', 'int8', 'uuid', 'text', 'varchar', 'date', 'timestamp', 'timestamptz'))
ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1";

/// A place in the order of the cursor: one text for each of its columns.
pub(crate) type Position = Vec<String>;

/// The columns that a walk follows, and their SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Name and type.
    columns: Vec<(String, String)>,
    /// If false, these are the owner's columns, and several rows can have one position.
    pub(in crate::postgres) unique: bool,
}

impl Cursor {
    /// Finds the best key. A table without one is walked along the owner's columns.
    pub(in crate::postgres) async fn find(
        database: &Database,
        layout: &Layout,
        table: &Table,
    ) -> Result<Self, DatabaseError> {
        let key = Self::best_key(database, &layout.schema, &layout.table).await?;
        Ok(key.unwrap_or_else(|| Self::along_the_owner(layout, table)))
    }

    /// As [`find`](Self::find), for a table from which values are imported. Without a key it is walked along the texts of one
    /// column. So is a view.
    pub(in crate::postgres) async fn find_in(
        database: &Database,
        schema: &str,
        table: &str,
        column: &str,
    ) -> Result<Self, DatabaseError> {
        let along = || Self { columns: vec![(column.to_owned(), "text".to_owned())], unique: false };
        Ok(Self::best_key(database, schema, table).await?.unwrap_or_else(along))
    }

    async fn best_key(database: &Database, schema: &str, table: &str) -> Result<Option<Self>, DatabaseError> {
        let mut arguments = PgArguments::default();
        bind(&mut arguments, schema.to_owned())?;
        bind(&mut arguments, table.to_owned())?;
        let rows = database.inspect(Query { sql: Arc::from(KEY), arguments }).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let json: String = row.try_get(0).map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
        let columns = serde_json::from_str(&json)
            .map_err(|_| Error::new(ErrorKind::Schema, "the catalogue's answer is not as expected"))?;
        Ok(Some(Self { columns, unique: true }))
    }

    fn along_the_owner(layout: &Layout, table: &Table) -> Self {
        let tenant = layout.tenant_column.clone().zip(table.tenant.map(|kind| kind.sql().to_owned()));
        let user = (layout.user_column.clone(), table.user.sql().to_owned());
        Self { columns: tenant.into_iter().chain([user]).collect(), unique: false }
    }

    /// Whether it follows this one column, whose values are unique.
    pub(in crate::postgres) fn is_unique_column(&self, column: &str) -> bool {
        self.unique && matches!(self.columns.as_slice(), [(name, _)] if name == column)
    }

    /// The number of texts in a position.
    pub(in crate::postgres) fn width(&self) -> usize {
        self.columns.len()
    }

    /// The columns, to order by and to compare.
    pub(in crate::postgres) fn order(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(|(name, kind)| column(name, kind)).collect();
        columns.join(", ")
    }

    /// The position of a row.
    pub(in crate::postgres) fn selected(&self) -> String {
        let columns: Vec<_> =
            self.columns.iter().map(|(name, _)| text(&format!("t.{}", quote(name)))).collect();
        columns.join(", ")
    }

    /// A position that is bound, as values to compare with.
    fn bound(&self, first: usize) -> String {
        let values: Vec<_> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, (_, kind))| to_kind(&text(&format!("${}", first + at)), kind))
            .collect();
        values.join(", ")
    }

    /// `comparison` is `>` or `<=`.
    pub(in crate::postgres) fn compared(&self, comparison: &str, first: usize) -> String {
        format!("ROW({}) OPERATOR(pg_catalog.{comparison}) ROW({})", self.order(), self.bound(first))
    }

    /// The row of `t` is the one at the position in `n.k0`, `n.k1` and so on.
    pub(in crate::postgres) fn is_at(&self) -> String {
        let equal: Vec<_> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, (name, kind))| {
                format!("{} {EQ} {}", column(name, kind), to_kind(&format!("n.k{at}"), kind))
            })
            .collect();
        equal.join(" AND ")
    }

    /// A condition that a row has a position. A row without an owner has none, and nothing in it can be opened.
    pub(in crate::postgres) fn has_position(&self) -> String {
        let columns: Vec<_> =
            self.columns.iter().map(|(name, _)| format!("t.{} IS NOT NULL", quote(name))).collect();
        columns.join(" AND ")
    }

    /// The position in the first columns of a result.
    pub(in crate::postgres) fn position(&self, row: &PgRow) -> Result<Position, DatabaseError> {
        let get = |at: usize| row.try_get(at).map_err(|error| DatabaseError::of(&error, Phase::Reading));
        (0..self.width()).map(get).collect()
    }
}

/// A column, cast to a type for which no other operator can take precedence over Postgres' own.
fn column(name: &str, kind: &str) -> String {
    match kind {
        "varchar" | "text" => text(&format!("t.{}", quote(name))),
        // the column may have a domain over this type
        _ => format!("t.{}::pg_catalog.{kind}", quote(name)),
    }
}

/// A text as a value to compare with such a column.
fn to_kind(value: &str, kind: &str) -> String {
    match kind {
        "varchar" | "text" => value.to_owned(),
        _ => format!("{value}::pg_catalog.{kind}"),
    }
}
