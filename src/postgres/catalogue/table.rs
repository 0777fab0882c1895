//! The application's table, as the catalogue describes it.

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::filter::Rows;
use crate::layout::layout::{Layout, shown};
use crate::layout::placement::Column;
use crate::postgres::catalogue::id_kind::IdKind;
use crate::postgres::catalogue::row_filter::RowFilter;
use crate::postgres::catalogue::table_column::TableColumn;
use crate::postgres::connection::errors::DatabaseError;

/// Whether a table survives a crash of the server, as in pg_class.relpersistence. A table with an unlogged partition
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

/// The parts of the catalogue that every role may read without a lock: all that the vault itself needs.
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
    pub(crate) filter: RowFilter,
    /// Whether the application or the vault creates the row of an owner.
    pub(crate) rows: Rows,
    /// Whether a usable unique constraint covers exactly the owner's columns, and perhaps columns that the filter fixes.
    /// It is usable if it is valid, covers all rows or at least those that pass the filter, has no expression, is not
    /// deferrable, and the tenant is NOT NULL or NULLS NOT DISTINCT.
    pub(crate) unique: bool,
    /// The columns of that constraint.
    pub(crate) unique_columns: Vec<String>,
    /// Whether it covers only some rows, which include those that pass the filter.
    pub(crate) unique_is_partial: bool,
    /// Whether any unique constraint is deferrable: Postgres then refuses `ON CONFLICT` without a target.
    pub(crate) deferrable: bool,
}

impl Table {
    /// # Errors
    /// `Schema` if a column of the owner is missing, or has a type that cannot distinguish owners.
    pub(super) fn new(
        layout: &Layout,
        (kind, persistence): (char, Persistence),
        columns: Vec<TableColumn>,
        indexes: Vec<Index>,
    ) -> Result<Self, DatabaseError> {
        let named = layout.all_columns();
        let used = || columns.iter().filter(|column| named.contains(&column.name.as_str()));
        let layout_columns = used().map(|column| placed(column, layout, &indexes)).collect();
        let user = id_kind(layout, &columns, &layout.user_column)?;
        let tenant = layout.tenant_column.as_ref().map(|name| id_kind(layout, &columns, name)).transpose()?;
        let filter = RowFilter::new(layout, &columns)?;
        let rows = rows(layout, &columns)?;
        let unique = indexes.iter().find(|index| index.keeps_owners_unique(layout, &filter, &columns));
        let unique_columns = unique.map(|index| index.columns.clone());
        let unique_is_partial = unique.is_some_and(|index| index.partial);
        let deferrable = indexes.iter().any(|index| !index.immediate);
        Ok(Self {
            kind,
            persistence,
            columns,
            indexes,
            layout_columns,
            user,
            tenant,
            filter,
            rows,
            unique: unique_columns.is_some(),
            unique_columns: unique_columns.unwrap_or_default(),
            unique_is_partial,
            deferrable,
        })
    }

    pub(crate) fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether a usable index that covers all rows begins with this column.
    pub(crate) fn finds_by(&self, column: &str, method: &str) -> bool {
        self.indexes.iter().any(|index| {
            let begins = index.columns.first().is_some_and(|first| first == column) && !index.has_expressions;
            begins && index.method == method && index.valid && index.live && !index.partial
        })
    }

    /// # Errors
    /// `Schema` for a table that a server crash empties, or that disappears with its session.
    pub(crate) fn check_durable(&self, layout: &Layout) -> Result<()> {
        let (what, hint) = match self.persistence {
            Persistence::Permanent => return Ok(()),
            Persistence::Unlogged => (
                "is UNLOGGED, so a server crash empties it",
                "run ALTER TABLE … SET LOGGED for the table and each of its partitions",
            ),
            Persistence::Temporary => {
                ("is temporary, so it disappears with its session", "name a permanent table in the layout")
            }
        };
        let message = format!("table {} {what}; the vault stores no record there", layout.table_name());
        Err(Error::new(ErrorKind::Schema, message).with_hint(hint))
    }

    pub(crate) fn is_partitioned(&self) -> bool {
        self.kind == 'p'
    }
}

/// A column as the placement reads it.
pub(crate) fn placed(column: &TableColumn, layout: &Layout, indexes: &[Index]) -> Column {
    let is_in = |names: &[String]| names.contains(&column.name);
    Column {
        kind: column.column_type(),
        name: column.name.clone(),
        not_null: column.not_null,
        writable: column.writable,
        unique: indexes
            .iter()
            .any(|index| index.unique && (is_in(&index.columns) || is_in(&index.in_expressions))),
        adopted: column.is_adopted(layout),
    }
}

pub(crate) fn id_kind(layout: &Layout, columns: &[TableColumn], name: &str) -> Result<IdKind, DatabaseError> {
    let table = layout.table_name();
    let Some(column) = columns.iter().find(|column| column.name == name) else {
        let error = Error::new(ErrorKind::Schema, format!("table {table} has no column {}", shown(name)));
        let error = error.with_column(name);
        return Err(error
            .with_hint("name the column that holds the id (`--user-column`, `--tenant-column`)")
            .into());
    };
    // the values of an enum are fixed by its owner, so it can name tenants but not users
    let is_for_users = name == layout.user_column && column.enum_type.is_some();
    let base = if is_for_users { "enum" } else { column.value_type() };
    IdKind::of(base, column.deterministic).map_err(|reason| {
        let message = format!("column {name} of {table} has type {}: {reason}", column.kind);
        let hint = "an id column must be text, varchar, uuid, smallint, integer, bigint or a domain over one of them, with a deterministic collation; a tenant may be an enum";
        Error::new(ErrorKind::Schema, message).with_column(name).with_hint(hint).into()
    })
}

/// Whether the application or the vault creates the row of an owner. The application does if the row's own id is the
/// owner, or if other rows refer to it.
fn rows(layout: &Layout, columns: &[TableColumn]) -> Result<Rows> {
    let user = columns.iter().find(|column| column.name == layout.user_column);
    let is_computed = user.is_some_and(|column| column.generated || column.always_identity);
    if layout.rows == Some(Rows::Create) && is_computed {
        let message = format!(
            "the database generates column {} of {}, so a store cannot create a row",
            layout.user_column,
            layout.table_name()
        );
        return Err(Error::new(ErrorKind::Schema, message)
            .with_column(&layout.user_column)
            .with_hint("set `rows = \"existing\"` in the layout"));
    }
    let numbered = user.is_some_and(|column| column.identity || column.referenced);
    let is_theirs = layout.user_column == "id" || is_computed || numbered;
    Ok(layout.rows.unwrap_or(if is_theirs { Rows::Existing } else { Rows::Create }))
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
    /// The condition of a partial index, as the server prints it. Queried only if the layout has a filter.
    #[serde(default)]
    predicate: Option<String>,
    pub(crate) has_expressions: bool,
    /// Key columns in order, without expressions.
    pub(crate) columns: Vec<String>,
    /// Columns of its expressions and of its condition.
    in_expressions: Vec<String>,
}

impl Index {
    fn keeps_owners_unique(&self, layout: &Layout, filter: &RowFilter, columns: &[TableColumn]) -> bool {
        let tenant = layout.tenant_column.as_ref();
        let owner = [Some(&layout.user_column), tenant];
        let (mut keys, mut owner): (Vec<_>, Vec<_>) =
            (self.columns.iter().collect(), owner.into_iter().flatten().collect());
        // every row that passes the filter has the same value there
        keys.retain(|key| !filter.fixes(key));
        keys.sort();
        owner.sort();
        let never_null = |name: &String| columns.iter().any(|column| column.name == *name && column.not_null);
        self.unique
            && self.valid
            && self.live
            && self.immediate
            && (!self.partial || self.predicate.as_ref().is_some_and(|predicate| filter.implies(predicate)))
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
    /// Whether it is in a table that the vault created: removed duplicates, backups, the journal.
    pub(crate) own: bool,
    /// The server's estimate of the rows of its table. -1 without an estimate.
    pub(crate) rows: i64,
    pub(crate) name: String,
    /// Whether the owner of its table has the rights of the owner of the layout's table. Reading a table of another role
    /// may run that role's functions, because the planner evaluates constants in index expressions, constraints and
    /// policies.
    pub(crate) trusted: bool,
    pub(crate) readable: bool,
}

pub(crate) fn missing_table(layout: &Layout) -> Error {
    let hint = match layout.table_was_named {
        true => "check schema and table name (case matters), and that the URL names the right database",
        false => {
            "this is the default name: name your own table (`--table`, `Layout::table`, a layout file); \
             `retell-vault layout detect` and `Layout::detect` find it. The local file replaces a table only if you name \
             no database"
        }
    };
    let name = format!("{}.{}", shown(&layout.schema), shown(&layout.table));
    Error::new(ErrorKind::Schema, format!("table {name} does not exist")).with_hint(hint)
}
