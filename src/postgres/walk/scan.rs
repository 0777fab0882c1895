//! Rows for the doctor, which only reads: some of them, or all of them page by page. Texts are not copied.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Row as _, ValueRef as _};

use crate::layout::layout::Layout;
use crate::postgres::catalogue::row_filter::RowFilter;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Query, bind};
use crate::postgres::sql::names::quote;
use crate::postgres::statements::answer::{owner_of, parse_owner};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::walk::cursor::{Cursor, Position};
use crate::record::owner::Owner;

/// A column to read.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) column: String,
    /// Longer texts are cut, so that no row takes much memory.
    pub(crate) longest: usize,
    pub(crate) is_json: bool,
    /// Whether rows outside of the filter are read for tokens only, because other text in them is not the vault's.
    pub(crate) of_rows_that_count: bool,
}

impl Watched {
    /// Counting characters, as `left` does, or printing JSON twice would cost more than everything else.
    fn selected(&self, filter: &RowFilter) -> String {
        let (text, enough) = (format!("t.{}::text", quote(&self.column)), self.longest + 4);
        let selected = match self.is_json {
            true => format!("pg_catalog.substr(pg_catalog.convert_to({text}, 'UTF8'), 1, {enough})"),
            false => format!(
                "CASE WHEN pg_catalog.octet_length({text}) <= {} THEN {text} ELSE pg_catalog.left({text}, {enough}) END",
                self.longest
            ),
        };
        let ours = filter.may_be_ours(&[text]).filter(|_| self.of_rows_that_count);
        ours.map_or_else(|| selected.clone(), |ours| format!("CASE WHEN {ours} THEN {selected} END"))
    }
}

/// Which rows to read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Portion {
    /// All, unless there are more than this.
    First(u64),
    /// The rows on about this percentage of the table's pages, but not more than this number.
    Sample(f64, u64),
}

/// A scan of the table.
pub(crate) struct Scan {
    cursor: Cursor,
    relation: String,
    selected: String,
}

/// A row as it arrived.
pub(crate) struct Scanned {
    row: PgRow,
    first: usize,
}

impl Scanned {
    /// The owner as stored in the row, and as an [`Owner`] if it is valid.
    pub(crate) fn owner(&self) -> Result<(String, Option<Owner>), DatabaseError> {
        let owner = owner_of(&self.row, self.first)?;
        let name = match &owner {
            (Some(tenant), user) => format!("{tenant}/{user}"),
            (None, user) => user.clone(),
        };
        Ok((name, parse_owner(owner)))
    }

    /// The database's clock.
    pub(crate) fn now(&self) -> Result<u64, DatabaseError> {
        let now: i64 = self.row.try_get(self.first + 2).map_err(reading)?;
        Ok(u64::try_from(now).unwrap_or_default())
    }

    /// The text of one of the columns. The last character of a cut text may be missing.
    pub(crate) fn text(&self, at: usize) -> Result<Option<&str>, DatabaseError> {
        let value = self.row.try_get_raw(self.first + 3 + at).map_err(reading)?;
        if value.is_null() {
            return Ok(None);
        }
        let bytes = value.as_bytes().map_err(|error| reading(sqlx::Error::Decode(error)))?;
        let text = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        Ok(Some(text))
    }
}

fn reading(error: sqlx::Error) -> DatabaseError {
    DatabaseError::of(&error, Phase::Reading)
}

impl Postgres {
    /// # Errors
    /// `Schema` if the default table is missing; errors of the database.
    pub(crate) async fn scan(&self, plan: &Plan, watched: &[Watched]) -> Result<Scan, DatabaseError> {
        let table = plan.some_table(self.layout())?;
        let cursor = Cursor::find(&self.database, self.layout(), table).await?;
        Ok(Scan {
            cursor,
            relation: self.relation(),
            selected: selected(self.layout(), &table.filter, watched),
        })
    }

    /// Reads some rows. The server gives up after `limit`.
    pub(crate) async fn some_rows(
        &self,
        scan: &Scan,
        portion: Portion,
        limit: Duration,
    ) -> Result<Vec<Scanned>, DatabaseError> {
        let (sample, most) = match portion {
            Portion::First(most) => (String::new(), most),
            Portion::Sample(percent, most) => (format!(" TABLESAMPLE SYSTEM ({percent:.6})"), most),
        };
        let sql = format!("SELECT {} FROM {} AS t{sample} LIMIT {most}", scan.selected, scan.relation);
        let query = Query { sql: sql.into(), arguments: PgArguments::default() };
        let rows = self.database.quick_check(&[&scan.relation], query, limit).await?;
        Ok(rows.into_iter().map(|row| Scanned { row, first: 0 }).collect())
    }

    /// The rows after a position, in the order of the table's key, and the position of the last one.
    pub(crate) async fn rows_after(
        &self,
        scan: &Scan,
        after: Option<&Position>,
        limit: u32,
        patience: Duration,
    ) -> Result<(Vec<Scanned>, Option<Position>), DatabaseError> {
        let mut arguments = PgArguments::default();
        after.into_iter().flatten().try_for_each(|text| bind(&mut arguments, text.clone()))?;
        let query = Query { sql: page(scan, after.is_some(), limit), arguments };
        let rows = self.database.quick_check(&[&scan.relation], query, patience).await?;
        let last = rows.last().map(|row| scan.cursor.position(row)).transpose()?;
        let first = scan.cursor.width();
        Ok((rows.into_iter().map(|row| Scanned { row, first }).collect(), last))
    }

    /// The number of rows.
    pub(crate) async fn number_of_rows(&self, scan: &Scan) -> Result<u64, DatabaseError> {
        let sql = format!("SELECT count(*) FROM {}", scan.relation).into();
        let rows = self
            .database
            .fetch_from_all_rows(&[&scan.relation], Query { sql, arguments: PgArguments::default() })
            .await?;
        let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(reading)?;
        Ok(count.try_into().unwrap_or(0))
    }
}

// --- SQL ---

fn selected(layout: &Layout, filter: &RowFilter, watched: &[Watched]) -> String {
    let tenant = layout.tenant_column.as_ref().map_or("NULL".to_owned(), |name| format!("t.{}", quote(name)));
    let mut columns = vec![
        format!("t.{}::text", quote(&layout.user_column)),
        format!("{tenant}::text"),
        "(pg_catalog.date_part('epoch', pg_catalog.statement_timestamp()) * 1000)::int8".to_owned(),
    ];
    columns.extend(watched.iter().map(|watched| watched.selected(filter)));
    columns.join(", ")
}

/// The position comes first. All rows of one position are in one page, because the next page would skip the rest.
fn page(scan: &Scan, after: bool, limit: u32) -> Arc<str> {
    let Scan { cursor, relation, selected } = scan;
    let mut conditions = vec![cursor.has_position()];
    conditions.extend(after.then(|| cursor.compared(">", 1)));
    let limit = match cursor.unique {
        true => format!("LIMIT {limit}"),
        false => format!("FETCH FIRST {limit} ROWS WITH TIES"),
    };
    let (position, order, conditions) = (cursor.selected(), cursor.order(), conditions.join(" AND "));
    format!("SELECT {position}, {selected} FROM {relation} AS t WHERE {conditions} ORDER BY {order} {limit}")
        .into()
}
