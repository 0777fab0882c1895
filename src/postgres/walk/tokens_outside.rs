//! Tokens outside of the layout: in other columns of the table, and in the vault's own tables.

use std::time::Duration;

use serde::Deserialize;
use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};

use crate::error::{Error, ErrorKind};
use crate::layout::layout::Layout;
use crate::postgres::catalogue::snapshot::text_columns;
use crate::postgres::catalogue::table::TextColumn;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::Query;
use crate::postgres::sql::names::quote;
use crate::postgres::sql::token::TokenSearch;
use crate::postgres::statements::answer::parse_owner;
use crate::postgres::statements::plan::Postgres;
use crate::postgres::walk::token_count::printed;
use crate::record::owner::Owner;
use crate::record::token::START_LEN;

/// The tokens of a longer text are not returned in full, so that no row takes much memory.
const LONGEST: u32 = 1024 * 1024;

/// The approximate number of rows in a sample.
const SAMPLE: u32 = 1000;

/// The time limit for a sample.
const LIMIT: Duration = Duration::from_millis(700);

impl TextColumn {
    /// For messages: `public.user_profiles.notes`.
    pub(crate) fn place(&self) -> String {
        format!("{}.{}.{}", self.schema, self.table, self.name)
    }

    /// Whether `TABLE.COLUMN` or `SCHEMA.TABLE.COLUMN` names this column.
    pub(crate) fn is_named(&self, layout: &Layout, name: &str) -> bool {
        let in_schema = self.schema == layout.schema && name == format!("{}.{}", self.table, self.name);
        in_schema || name == self.place()
    }

    /// Whether it is in the layout's table itself.
    pub(crate) fn is_in_table(&self, layout: &Layout) -> bool {
        (&self.schema, &self.table) == (&layout.schema, &layout.table)
    }

    fn relation(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.table))
    }

    fn is_of_the_same_table(&self, other: &Self) -> bool {
        (&self.schema, &self.table) == (&other.schema, &other.table)
    }

    /// # Errors
    /// `AccessDenied` if the role may not read it, or if its table belongs to a role that is not trusted. The error names
    /// the column or the table.
    pub(crate) fn check_readable(&self, layout: &Layout) -> Result<(), Error> {
        match (self.trusted, self.readable) {
            (true, true) => Ok(()),
            (false, _) => Err(is_not_trusted(self, layout)),
            (true, false) => Err(may_not_be_read(self)),
        }
    }
}

/// A row that holds tokens of the search.
#[derive(Debug)]
pub(crate) struct RowTokens {
    /// `None` for a row of one of the vault's own tables, and if the row's owner is not valid.
    pub(crate) owner: Option<Owner>,
    pub(crate) values: Vec<ValueTokens>,
}

/// The tokens of one value of a row.
#[derive(Debug)]
pub(crate) struct ValueTokens {
    /// The index of the searched column.
    pub(crate) column: usize,
    /// The head of each token, with the following text that may belong to it.
    pub(crate) tokens: Vec<String>,
    /// Whether the value is long. It then has only the starts of its tokens, each once.
    pub(crate) is_long: bool,
}

#[derive(Deserialize)]
struct RowAnswer {
    user: Option<String>,
    tenant: Option<String>,
    values: Vec<(usize, bool, Vec<String>)>,
}

impl RowTokens {
    /// `None` for a row without tokens.
    fn of(row: &PgRow) -> Result<Option<Self>, DatabaseError> {
        let json: Option<&str> = row.try_get(0).map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
        let Some(json) = json else { return Ok(None) };
        let answer: RowAnswer = serde_json::from_str(json).map_err(|_| {
            Error::new(ErrorKind::Schema, "the answer to a search for tokens is not as expected")
        })?;
        let owner = answer.user.and_then(|user| parse_owner((answer.tenant, user)));
        let values = answer.values.into_iter();
        let values =
            values.map(|(column, is_long, tokens)| ValueTokens { column, tokens, is_long }).collect();
        Ok(Some(Self { owner, values }))
    }
}

/// The places that can hold tokens and are not examined, in words: columns of the table that are not in `looked_at`, and
/// the vault's own tables as a whole.
pub(crate) fn not_looked_at(layout: &Layout, columns: &[TextColumn], looked_at: &[&str]) -> Vec<String> {
    let mut places: Vec<String> = Vec::new();
    for column in columns {
        let place = match column.is_in_table(layout) {
            true if looked_at.contains(&column.name.as_str()) => continue,
            true => format!("column {}", column.place()),
            false => format!("table {}.{}", column.schema, column.table),
        };
        if places.last() != Some(&place) {
            places.push(place);
        }
    }
    places
}

impl Postgres {
    /// Every column that can hold text, in the table, in tables that inherit from it, and in the vault's own tables.
    pub(crate) async fn text_columns(&self) -> Result<Vec<TextColumn>, DatabaseError> {
        text_columns(&self.database, self.layout()).await
    }

    /// Searches columns in all rows, in one snapshot, because rows move between the tables. It calls `each` for every row
    /// in turn, with `None` for a row without tokens. Dropping the future ends the search.
    ///
    /// # Errors
    /// `AccessDenied` if the role may not see every row. The error names the tables.
    pub(crate) async fn search_every_row(
        &self,
        columns: &[TextColumn],
        search: &TokenSearch,
        mut each: impl FnMut(Option<RowTokens>) -> Result<(), DatabaseError> + Send,
    ) -> Result<(), DatabaseError> {
        let tables: Vec<_> = columns.chunk_by(TextColumn::is_of_the_same_table).map(|of| &of[0]).collect();
        if tables.is_empty() {
            return Ok(());
        }
        let relations = self.read_as_owner(tables.iter().copied());
        let relations: Vec<_> = relations.iter().map(String::as_str).collect();
        let query = query(&searches(self.layout(), columns, search, |_| String::new()));
        let done = self.database.each_of_all_rows(&relations, query, |row| each(RowTokens::of(&row)?)).await;
        done.map_err(|fault| about(fault, &tables))
    }

    /// As [`search_every_row`](Self::search_every_row), in a sample of each table. Returns the rows that hold tokens, and
    /// the number of rows that were searched.
    ///
    /// # Errors
    /// Those of `search_every_row`, and `Busy` if the server takes too long.
    pub(crate) async fn search_some_rows(
        &self,
        columns: &[TextColumn],
        search: &TokenSearch,
    ) -> Result<(Vec<RowTokens>, u64), DatabaseError> {
        if columns.is_empty() {
            return Ok(Default::default());
        }
        let relations =
            self.read_as_owner(columns.chunk_by(TextColumn::is_of_the_same_table).map(|of| &of[0]));
        let relations: Vec<_> = relations.iter().map(String::as_str).collect();
        let query = query(&searches(self.layout(), columns, search, sample));
        let rows = self.database.fetch_of_all_rows_within(LIMIT, &relations, query).await?;
        let found: Vec<_> = rows.iter().map(RowTokens::of).collect::<Result<_, _>>()?;
        Ok((found.into_iter().flatten().collect(), rows.len() as u64))
    }
}

impl Postgres {
    /// The relations of some columns, the layout's table first. All of them are read as its owner.
    fn read_as_owner<'a>(&self, tables: impl Iterator<Item = &'a TextColumn>) -> Vec<String> {
        let beside = tables.map(TextColumn::relation).filter(|relation| *relation != self.relation());
        [self.relation()].into_iter().chain(beside).collect()
    }
}

// --- SQL ---

fn query(sql: &str) -> Query {
    Query { sql: sql.into(), arguments: PgArguments::default() }
}

/// The sample clause for the table of a column, to append to its name in a statement.
fn sample(column: &TextColumn) -> String {
    let percent = f64::from(SAMPLE) * 100.0 / column.rows.max(1) as f64;
    match column.rows > i64::from(2 * SAMPLE) {
        true => format!(" TABLESAMPLE SYSTEM ({percent:.6}) LIMIT {}", 2 * SAMPLE),
        false => format!(" LIMIT {}", 2 * SAMPLE),
    }
}

/// One statement with a row for each row of the tables: NULL, or a [`RowAnswer`].
fn searches(
    layout: &Layout,
    columns: &[TextColumn],
    search: &TokenSearch,
    portion: impl Fn(&TextColumn) -> String,
) -> String {
    let mut at = 0..columns.len();
    let tables = columns.chunk_by(TextColumn::is_of_the_same_table).map(|of| {
        let text = |(column, at): (&TextColumn, usize)| {
            format!("({at}, {})", printed(&format!("t.{}", quote(&column.name))))
        };
        let texts: Vec<_> = of.iter().zip(at.by_ref()).map(text).collect();
        let id = |column: Option<&String>| match column.filter(|_| !of[0].own) {
            // without a cast: the owner of a type may have created a cast that runs a function
            Some(column) => {
                let id = format!("t.{}", quote(column));
                format!("CASE WHEN {id} IS NOT NULL THEN {} END", printed(&id))
            }
            None => "NULL::text".to_owned(),
        };
        format!(
            "(SELECT (SELECT pg_catalog.json_build_object('user', {}, 'tenant', {}, 'values', pg_catalog.json_agg(\
             pg_catalog.json_build_array(v.at, pg_catalog.octet_length(v.text) > {LONGEST}, CASE \
             WHEN pg_catalog.octet_length(v.text) > {LONGEST} \
             THEN ARRAY(SELECT DISTINCT pg_catalog.left(m.found[1], {START_LEN}) FROM {} AS m (found)) \
             ELSE ARRAY(SELECT m.found[1] FROM {} AS m (found)) END)))::text \
             FROM (VALUES {}) AS v (at, text) WHERE {} HAVING count(*) > 0) FROM {} AS t{})",
            id(Some(&layout.user_column)),
            id(layout.tenant_column.as_ref()),
            search.each_head_in("v.text"),
            search.each_in("v.text"),
            texts.join(", "),
            search.is_in("v.text"),
            of[0].relation(),
            portion(&of[0]),
        )
    });
    tables.collect::<Vec<_>>().join(" UNION ALL ")
}

/// Adds the names of the tables to the error.
fn about(fault: DatabaseError, tables: &[&TextColumn]) -> DatabaseError {
    let names: Vec<_> = tables.iter().map(|column| format!("{}.{}", column.schema, column.table)).collect();
    DatabaseError::new(fault.outcome, fault.error.about(format!("table {}", names.join(" or "))))
}

fn is_not_trusted(column: &TextColumn, layout: &Layout) -> Error {
    let message = format!(
        "table {}.{} belongs to a role without the rights of the owner of {}, so the vault does not read it",
        column.schema,
        column.table,
        layout.table_name()
    );
    let hint = "if the vault created it, transfer it to that owner; if you do not recognise it, drop it";
    Error::new(ErrorKind::AccessDenied, message).with_hint(hint)
}

fn may_not_be_read(column: &TextColumn) -> Error {
    let (place, owner) =
        (column.place(), if column.own { "the owner of that table" } else { "the table's owner" });
    Error::new(
        ErrorKind::AccessDenied,
        format!("the role may not read column {place}, so tokens in it cannot be counted"),
    )
    .with_hint(format!(
        "run this as {owner}, or GRANT SELECT ON the table to the role that connects; if you need nothing in this \
         column, repeat with --not-evidence"
    ))
}
