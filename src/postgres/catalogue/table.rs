//! The application's table, as the catalogue describes it.

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::layout::Layout;
use crate::layout::placement::{Column, ColumnType};
use crate::postgres::connection::errors::DatabaseError;

/// The type of an id column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdKind {
    Text,
    Uuid,
}

/// Whether a table outlives a crash of the server, as pg_class.relpersistence says. A table with an unlogged part
/// counts as unlogged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Persistence {
    #[serde(rename = "p")]
    Permanent,
    #[serde(rename = "u")]
    Unlogged,
    #[serde(rename = "t")]
    Temporary,
}

/// What every role may know of the table, without a lock: all that the vault itself needs.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// As in pg_class.relkind: `r` a table, `p` a partitioned one.
    pub(crate) kind: char,
    pub(crate) persistence: Persistence,
    /// In the order of the table.
    pub(crate) columns: Vec<TableColumn>,
    pub(crate) indexes: Vec<Index>,
    /// The columns that the layout names and that exist, as the placement reads them.
    pub(crate) layout_columns: Vec<Column>,
    pub(crate) user: IdKind,
    pub(crate) tenant: Option<IdKind>,
    /// A usable unique constraint on exactly the owner's columns: valid, not partial, not an
    /// expression, not deferrable, the tenant NOT NULL or NULLS NOT DISTINCT.
    pub(crate) unique: bool,
    /// Whether any unique constraint is deferrable: Postgres then refuses `ON CONFLICT` without a target.
    pub(crate) deferrable: bool,
}

impl Table {
    /// # Errors
    /// `Schema` when a column of the owner is missing, or has a type that cannot tell owners apart.
    pub(super) fn new(
        layout: &Layout,
        (kind, persistence): (char, Persistence),
        columns: Vec<TableColumn>,
        indexes: Vec<Index>,
    ) -> Result<Self, DatabaseError> {
        let named = layout.all_columns();
        let used = || columns.iter().filter(|column| named.contains(&column.name.as_str()));
        let layout_columns = used().map(|column| column.to_column(layout, &indexes)).collect();
        let user = id_kind(layout, &columns, &layout.user_column)?;
        let tenant = layout.tenant_column.as_ref().map(|name| id_kind(layout, &columns, name)).transpose()?;
        let unique = indexes.iter().any(|index| index.keeps_owners_unique(layout, &columns));
        let deferrable = indexes.iter().any(|index| !index.immediate);
        Ok(Self { kind, persistence, columns, indexes, layout_columns, user, tenant, unique, deferrable })
    }

    pub(crate) fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// # Errors
    /// `Schema` for a table that a crash of the server empties, or that ends with its session.
    pub(crate) fn check_durable(&self, layout: &Layout) -> Result<()> {
        let (what, hint) = match self.persistence {
            Persistence::Permanent => return Ok(()),
            Persistence::Unlogged => (
                "is UNLOGGED: a crash of the server empties it",
                "ALTER TABLE … SET LOGGED, the table and every partition of it",
            ),
            Persistence::Temporary => {
                ("is temporary: it ends with its session", "name a permanent table in the layout")
            }
        };
        let message = format!("table {} {what}, so no record is kept there", layout.table_name());
        Err(Error::new(ErrorKind::Schema, message).with_hint(hint))
    }

    pub(crate) fn is_partitioned(&self) -> bool {
        self.kind == 'p'
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TableColumn {
    pub(crate) name: String,
    /// As `format_type` writes it: `character varying(50)`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The name of its type in pg_type, after `other ` when it is no built-in one.
    base: String,
    modifier: i32,
    /// The type of an array of its values as SQL names it; absent when we may not name it.
    pub(crate) array_type: Option<String>,
    pub(crate) not_null: bool,
    deterministic: bool,
    pub(crate) generated: bool,
    pub(crate) identity: bool,
    comment: Option<String>,
    /// Whether we may select it.
    pub(crate) readable: bool,
    /// Whether we may update it.
    pub(crate) writable: bool,
}

impl TableColumn {
    /// Whether its type is an array, of a built-in type.
    pub(crate) fn is_array(&self) -> Option<bool> {
        (!self.base.starts_with("other ")).then(|| self.base.starts_with('_'))
    }

    fn column_type(&self) -> ColumnType {
        match self.base.as_str() {
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

    /// Whether its comment gives it to the plain field that the layout has it for.
    fn is_adopted(&self, layout: &Layout) -> bool {
        layout.fields.plain().any(|(field, _)| {
            layout.column_of(field) == Some(&self.name)
                && self.comment.as_deref().is_some_and(|comment| comment.trim() == layout.comment_for(field))
        })
    }

    fn to_column(&self, layout: &Layout, indexes: &[Index]) -> Column {
        let is_in = |names: &[String]| names.contains(&self.name);
        Column {
            kind: self.column_type(),
            name: self.name.clone(),
            not_null: self.not_null,
            writable: self.writable,
            unique: indexes
                .iter()
                .any(|index| index.unique && (is_in(&index.columns) || is_in(&index.in_expressions))),
            adopted: self.is_adopted(layout),
        }
    }
}

fn id_kind(layout: &Layout, columns: &[TableColumn], name: &str) -> Result<IdKind, DatabaseError> {
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
                column.base
            );
            let hint = "an id column must be text, varchar or uuid, with a deterministic collation";
            Err(Error::new(ErrorKind::Schema, message).with_hint(hint).into())
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Index {
    pub(crate) name: String,
    /// `btree`, `gin`, …
    pub(crate) method: String,
    pub(crate) unique: bool,
    pub(crate) primary: bool,
    pub(crate) immediate: bool,
    /// False for the leftover of a `CREATE INDEX CONCURRENTLY` that failed.
    pub(crate) valid: bool,
    live: bool,
    pub(crate) nulls_not_distinct: bool,
    partial: bool,
    pub(crate) has_expressions: bool,
    /// Key columns in order, without expressions.
    pub(crate) columns: Vec<String>,
    /// Columns of its expressions and of its condition.
    in_expressions: Vec<String>,
}

impl Index {
    fn keeps_owners_unique(&self, layout: &Layout, columns: &[TableColumn]) -> bool {
        let tenant = layout.tenant_column.as_ref();
        let owner = [Some(&layout.user_column), tenant];
        let (mut keys, mut owner): (Vec<_>, Vec<_>) =
            (self.columns.iter().collect(), owner.into_iter().flatten().collect());
        keys.sort();
        owner.sort();
        let never_null = |name: &String| columns.iter().any(|column| column.name == *name && column.not_null);
        self.unique
            && self.valid
            && self.live
            && self.immediate
            && !self.partial
            && !self.has_expressions
            && keys == owner
            && (self.nulls_not_distinct || tenant.is_none_or(never_null))
    }
}

/// A column that can hold a token as text.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TextColumn {
    pub(crate) schema: String,
    pub(crate) table: String,
    /// It is in a table that the vault made: removed duplicates, the journal.
    pub(crate) own: bool,
    /// How many rows its table has by the server's estimate; -1 when there is none.
    pub(crate) rows: i64,
    pub(crate) name: String,
    /// The owner of its table has the rights of the owner of the layout's table. Reading another's table may run his
    /// functions: the planner evaluates constants in index expressions, constraints and policies.
    pub(crate) trusted: bool,
    pub(crate) readable: bool,
}

pub(crate) fn missing_table(layout: &Layout) -> Error {
    Error::new(ErrorKind::Schema, format!("table {} does not exist", layout.table_name()))
        .with_hint("check schema and table name (case matters), and that the URL names the right database")
}
