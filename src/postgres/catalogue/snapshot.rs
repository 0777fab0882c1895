//! A snapshot of the catalogue.

use serde::Deserialize;
use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};

use crate::error::{Error, ErrorKind};
use crate::layout::layout::Layout;
use crate::postgres::catalogue::access::{TableAccess, access_query};
use crate::postgres::catalogue::definitions::TableDefinitions;
use crate::postgres::catalogue::row_visibility::{RowAction, may_hide};
use crate::postgres::catalogue::table::{Index, Persistence, Table, TextColumn, missing_table};
use crate::postgres::catalogue::table_column::TableColumn;
use crate::postgres::catalogue::trusted::with_trust;
use crate::postgres::connection::acting_owner::acting_role;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};
use crate::postgres::sql::names::relation;

/// The query, with placeholders for two expressions and with optional parts.
const SNAPSHOT: &str = include_str!("snapshot.sql");

/// An optional part of the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The conditions of partial indexes, needed if the layout has a filter.
    Predicates,
    /// [`TableDefinitions`].
    Definitions,
    /// Every [`TextColumn`].
    TextColumns,
}

impl Part {
    /// The name of the markers around it.
    fn name(self) -> &'static str {
        match self {
            Self::Predicates => "predicates",
            Self::Definitions => "definitions",
            Self::TextColumns => "text_columns",
        }
    }
}

/// The result of the query.
#[derive(Deserialize)]
struct SnapshotAnswer {
    table: Option<TableAnswer>,
    text_columns: Option<Vec<TextColumn>>,
}

/// The relation that the layout names, whether the vault can use it or not.
#[derive(Deserialize)]
pub(crate) struct TableAnswer {
    /// As in pg_class.relkind: `r` a table, `p` a partitioned one, `v` a view.
    pub(crate) kind: char,
    pub(crate) persistence: Persistence,
    pub(crate) columns: Vec<TableColumn>,
    pub(crate) indexes: Vec<Index>,
    definitions: Option<TableDefinitions>,
}

/// Everything about the table, from one snapshot of the database.
pub(crate) struct DetailedSnapshot {
    pub(crate) table: Table,
    pub(crate) definitions: TableDefinitions,
    pub(crate) text_columns: Vec<TextColumn>,
    /// The result of the access query, which may fail alone.
    pub(crate) access: Result<TableAccess, DatabaseError>,
}

/// The table. `None` if the default table is missing, so that the database cannot hold records.
///
/// # Errors
/// `Schema` for a named table that is missing, and for a table that cannot be used.
pub(crate) async fn take(database: &Database, layout: &Layout) -> Result<Option<Table>, DatabaseError> {
    match ask(database, layout, &[]).await?.table {
        Some(answer) => answer.check(layout)?.table(layout).map(Some),
        None if layout.table_was_named => Err(missing_table(layout).into()),
        None => Ok(None),
    }
}

/// The table with its definitions.
///
/// # Errors
/// `Schema` for a table that is missing or cannot be used.
pub(crate) async fn take_with_definitions(
    database: &Database,
    layout: &Layout,
) -> Result<(Table, TableDefinitions), DatabaseError> {
    let (table, definitions, _) = ask(database, layout, &[Part::Definitions]).await?.defined(layout)?;
    Ok((table, definitions))
}

/// The object with the name of the table, whatever it is.
pub(crate) async fn take_unchecked(
    database: &Database,
    layout: &Layout,
) -> Result<Option<TableAnswer>, DatabaseError> {
    Ok(ask(database, layout, &[]).await?.table)
}

/// Only the definitions, also of a table whose owners the vault cannot distinguish. If the session may act as the owner
/// of the table, the role in them is that owner.
///
/// # Errors
/// `Schema` if the table is missing or is not a table.
pub(crate) async fn take_definitions(
    database: &Database,
    layout: &Layout,
) -> Result<TableDefinitions, DatabaseError> {
    let query = query(layout, &[Part::Definitions])?;
    let answer = parse(&Box::pin(database.inspect_as_owner(&relation(layout), query)).await?)?;
    answer.table.ok_or_else(|| missing_table(layout))?.check(layout)?.definitions()
}

/// The table with its definitions and its access.
///
/// # Errors
/// Those of [`take_with_definitions`].
pub(crate) async fn take_with_access(
    database: &Database,
    layout: &Layout,
) -> Result<DetailedSnapshot, DatabaseError> {
    const PARTS: [Part; 2] = [Part::Definitions, Part::TextColumns];
    let queries = vec![query(layout, &PARTS)?, access_query(layout)?];
    let (answer, access) = match database.inspect_together(queries).await {
        Ok(answers) => (parse(rows_of(&answers, 0))?, TableAccess::parse(layout, rows_of(&answers, 1))),
        // the whole transaction failed, perhaps only because of its second query
        Err(fault) => (ask(database, layout, &PARTS).await?, Err(fault)),
    };
    let (table, definitions, text_columns) = answer.defined(layout)?;
    Ok(DetailedSnapshot { table, definitions, text_columns, access })
}

/// The columns that can hold a token as text: in the table, in tables that inherit from it, and in the vault's own
/// tables, which may exist even if the table does not.
pub(crate) async fn text_columns(
    database: &Database,
    layout: &Layout,
) -> Result<Vec<TextColumn>, DatabaseError> {
    Ok(ask(database, layout, &[Part::TextColumns]).await?.text_columns.unwrap_or_default())
}

fn rows_of(answers: &[Vec<PgRow>], at: usize) -> &[PgRow] {
    answers.get(at).map(Vec::as_slice).unwrap_or_default()
}

async fn ask(database: &Database, layout: &Layout, parts: &[Part]) -> Result<SnapshotAnswer, DatabaseError> {
    parse(&Box::pin(database.inspect(query(layout, parts)?)).await?)
}

fn query(layout: &Layout, parts: &[Part]) -> Result<Query, DatabaseError> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, layout.schema.clone())?;
    bind(&mut arguments, layout.table.clone())?;
    let predicates = (!layout.filter.is_empty()).then_some(Part::Predicates);
    let parts: Vec<_> = parts.iter().copied().chain(predicates).collect();
    Ok(Query { sql: with_parts(&parts).into(), arguments })
}

/// The query with only the wanted parts.
fn with_parts(parts: &[Part]) -> String {
    let all = [Part::Predicates, Part::Definitions, Part::TextColumns];
    let unwanted = all.into_iter().filter(|part| !parts.contains(part));
    let sql = unwanted.fold(SNAPSHOT.to_owned(), |sql, part| {
        let (from, to) = (format!("-- [{}\n", part.name()), format!("-- {}]\n", part.name()));
        let (before, rest) = sql.split_once(&from).expect("the part begins with its mark");
        let (_, after) = rest.split_once(&to).expect("the part ends with its mark");
        format!("{before}{after}")
    });
    with_trust(&sql, "c.relowner")
        .replace("{hides_rows}", &may_hide("c.oid", RowAction::Read))
        .replace("{holds_back}", &may_hide("c.oid", RowAction::Everything))
        .replace("{acting}", &acting_role("(SELECT t.owner FROM relations AS t WHERE t.root)"))
}

fn parse(rows: &[PgRow]) -> Result<SnapshotAnswer, DatabaseError> {
    let row = rows.first().ok_or_else(unexpected)?;
    let json: String = row.try_get(0).map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
    serde_json::from_str(&json).map_err(|_| unexpected().into())
}

impl SnapshotAnswer {
    fn defined(self, layout: &Layout) -> Result<(Table, TableDefinitions, Vec<TextColumn>), DatabaseError> {
        let mut answer = self.table.ok_or_else(|| missing_table(layout))?.check(layout)?;
        let definitions = answer.definitions.take().ok_or_else(unexpected)?;
        Ok((answer.table(layout)?, definitions, self.text_columns.unwrap_or_default()))
    }
}

impl TableAnswer {
    /// # Errors
    /// `Schema` if it is not a table.
    fn check(self, layout: &Layout) -> Result<Self, DatabaseError> {
        match self.kind {
            'r' | 'p' => Ok(self),
            _ => Err(Error::new(ErrorKind::Schema, format!("{} is not a table", layout.table_name()))
                .with_hint("name the table itself, not a view of it")
                .into()),
        }
    }

    fn table(self, layout: &Layout) -> Result<Table, DatabaseError> {
        Table::new(layout, (self.kind, self.persistence), self.columns, self.indexes)
    }

    fn definitions(self) -> Result<TableDefinitions, DatabaseError> {
        self.definitions.ok_or_else(|| unexpected().into())
    }
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Schema, "the catalogue's answer is not as expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vault_asks_for_nothing_that_takes_a_lock_or_that_a_role_may_be_denied() {
        let sql = with_parts(&[]);
        for not in [
            "pg_get_",
            "_size(",
            "pg_proc",
            "pg_policy",
            "pg_roles",
            "pg_stat",
            "pg_partition_tree",
            "-- [",
            "{",
        ] {
            assert!(!sql.contains(not), "{not}");
        }
        let all = with_parts(&[Part::Definitions, Part::TextColumns]);
        assert!(all.contains("'definitions'") && all.contains("'text_columns'"));
    }
}
