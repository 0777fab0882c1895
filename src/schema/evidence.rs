//! What a bounded read of the rows shows beyond the catalogue.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};

use crate::error::ErrorKind;
use crate::layout::layout::Layout;
use crate::layout::placement::placement;
use crate::postgres::catalogue::definitions::TableDefinitions;
use crate::postgres::catalogue::table::Table;
use crate::postgres::catalogue::table_column::TableColumn;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query};
use crate::postgres::sql::names::{owner_columns, quote, relation};
use crate::postgres::sql::token::{Kind, holds_unknown_word, holds_unrecognised};
use crate::schema::wanted::Extent;

/// A table up to this size is read as a whole. Of a larger table this much is read, about 10,000 rows.
const LOOKED_AT: i64 = 8 << 20;
/// The time limit for one read.
const PATIENCE: Duration = Duration::from_millis(700);

/// What a bounded read of the rows found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// Columns for tokens that hold other text, and columns of fields with a list of values that hold another value.
    pub(crate) foreign: Vec<String>,
    /// Whether every row was checked for this, or only a sample.
    pub(crate) foreign_is_proved: bool,
    /// Columns with a value that cannot get the planned type.
    pub(crate) unconvertible: Vec<String>,
    /// Whether owners have several rows. Unknown if the check took too long.
    pub(crate) duplicates: Option<bool>,
    /// Whether rows of one owner differ in columns that are not the vault's. Also unknown if the plan did not ask.
    pub(crate) rows_differ: Option<bool>,
}

/// A bounded read of the rows of a table.
pub(crate) struct RowInspection<'a> {
    pub(crate) database: &'a Database,
    pub(crate) layout: &'a Layout,
    pub(crate) table: &'a Table,
    pub(crate) definitions: &'a TableDefinitions,
    pub(crate) extent: Extent,
    /// Columns whose type may change, each with its new value in SQL.
    pub(crate) conversions: Vec<(String, String)>,
    /// Whether the plan removes duplicates.
    pub(crate) compares_rows: bool,
}

impl RowInspection<'_> {
    /// # Errors
    /// Errors of the database. Rows that the role may not see are not an error; the result is then unknown.
    pub(crate) async fn gather(&self) -> Result<Evidence, DatabaseError> {
        let unique = self.table.unique;
        if self.definitions.relation.hides_rows {
            return Ok(Evidence { duplicates: unique.then_some(false), ..Evidence::default() });
        }
        let ((foreign, foreign_is_proved), unconvertible, duplicates, rows_differ) = tokio::try_join!(
            self.foreign(),
            self.unconvertible(),
            self.duplicates(unique),
            self.rows_differ()
        )?;
        Ok(Evidence { foreign, foreign_is_proved, unconvertible, duplicates, rows_differ })
    }

    async fn rows_differ(&self) -> Result<Option<bool>, DatabaseError> {
        if !self.compares_rows {
            return Ok(None);
        }
        let row = self.ask(format!("SELECT {}", rows_differ(self.layout, self.table))).await?;
        row.map(|row| row.try_get(0)).transpose().map_err(|error| DatabaseError::of(&error, Phase::Reading))
    }

    async fn duplicates(&self, unique: bool) -> Result<Option<bool>, DatabaseError> {
        if unique {
            return Ok(Some(false));
        }
        let row = self.ask(format!("SELECT {}", duplicates_exist(self.layout, self.table))).await?;
        row.map(|row| row.try_get(0)).transpose().map_err(|error| DatabaseError::of(&error, Phase::Reading))
    }

    /// The columns that hold foreign values, and whether every row was checked.
    async fn foreign(&self) -> Result<(Vec<String>, bool), DatabaseError> {
        let conditions = conditions(self.layout, self.table);
        if conditions.is_empty() {
            return Ok((Vec::new(), true));
        }
        let found: Vec<String> =
            conditions.iter().map(|(_, sql)| format!("coalesce(pg_catalog.bool_or({sql}), false)")).collect();
        let sample = self.sample();
        let sql = format!(
            "SELECT ARRAY[{}] FROM {} AS t{}",
            found.join(", "),
            relation(self.layout),
            sample.as_deref().unwrap_or_default()
        );
        let Some(row) = self.ask(sql).await? else { return Ok((Vec::new(), false)) };
        let found: Vec<bool> = row.try_get(0).map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
        let foreign = conditions.into_iter().zip(found).filter(|(_, found)| *found);
        Ok((foreign.map(|((name, _), _)| name).collect(), sample.is_none()))
    }

    /// The columns with a value that the server refuses to convert (class 22).
    async fn unconvertible(&self) -> Result<Vec<String>, DatabaseError> {
        let mut refused = Vec::new();
        for (column, value) in &self.conversions {
            let (relation, sample) = (relation(self.layout), self.sample().unwrap_or_default());
            match self.ask(format!("SELECT pg_catalog.count({value}) FROM {relation} AS t{sample}")).await {
                Err(fault) if fault.error.sqlstate().is_some_and(|code| code.starts_with("22")) => {
                    refused.push(column.clone());
                }
                asked => drop(asked?),
            }
        }
        Ok(refused)
    }

    /// The part of the rows to read. `None` for all.
    fn sample(&self) -> Option<String> {
        match self.extent {
            Extent::Bounded => sample(self.definitions.relation.bytes),
            Extent::EveryRow => None,
        }
    }

    /// One row. `None` if the query took too long or the role may not see the rows.
    async fn ask(&self, sql: String) -> Result<Option<PgRow>, DatabaseError> {
        let query = Query { sql: sql.into(), arguments: PgArguments::default() };
        let table = relation(self.layout);
        let asked = match self.extent {
            Extent::Bounded => self.database.inspect_within(PATIENCE, &table, query).await,
            Extent::EveryRow => self.database.fetch_from_all_rows(&[&table], query).await,
        };
        match asked {
            Ok(rows) => Ok(rows.into_iter().next()),
            Err(fault) => match fault.error.kind() {
                ErrorKind::Busy | ErrorKind::AccessDenied => Ok(None),
                _ => Err(fault),
            },
        }
    }
}

/// For every existing column, the condition that it holds a foreign value.
fn conditions(layout: &Layout, table: &Table) -> Vec<(String, String)> {
    let is_there = |name: &&str| table.column(name).is_some_and(TableColumn::casts_to_text);
    let value = |name: &str| format!("t.{}::text", quote(name));
    let secrets = layout.secret_columns().filter(is_there);
    let secrets = secrets.map(|name| (name.to_owned(), holds_unrecognised(&value(name), Kind::Text)));
    let words = layout.word_columns().filter(|(name, _)| is_there(name));
    let words = words.map(|(name, words)| (name.to_owned(), holds_unknown_word(&value(name), words)));
    // a column of another type holds no token of the vault
    let config = table.column(&layout.config_column).filter(|column| column.kind == "jsonb");
    let config = config.map(|column| {
        let ours = layout.fields.member();
        (column.name.clone(), holds_unrecognised(&format!("t.{}", quote(&column.name)), Kind::Json(&ours)))
    });
    // a column of another type has to become JSONB, and text that is not an object blocks that
    let textual = table.column(&layout.config_column).filter(|column| is_text(column));
    let textual = textual.map(|column| {
        let value = format!("t.{}::text", quote(&column.name));
        (
            column.name.clone(),
            format!(
                "pg_catalog.btrim({value}) NOT LIKE '{{%' AND pg_catalog.btrim({value}) NOT IN ('', 'null')"
            ),
        )
    });
    let counts = table.filter.and("t.");
    let guarded = secrets.chain(words).chain(config).map(|(name, sql)| (name, format!("({sql}){counts}")));
    // a change of type affects all rows
    guarded.chain(textual).collect()
}

fn is_text(column: &TableColumn) -> bool {
    column.kind == "text" || column.kind.starts_with("character varying")
}

/// Samples always the same blocks, so that a plan a moment later is the same.
fn sample(bytes: i64) -> Option<String> {
    let share = || LOOKED_AT as f64 * 100.0 / bytes as f64;
    (bytes > LOOKED_AT).then(|| format!(" TABLESAMPLE SYSTEM ({:.6}) REPEATABLE (0)", share()))
}

// --- Owners with several rows ---

/// Whether NULL counts as a value in an owner's column. That is so only if the tenant may be NULL.
pub(super) fn nulls_count(layout: &Layout, table: &Table) -> bool {
    let tenant = layout.tenant_column.as_ref().and_then(|name| table.column(name));
    tenant.is_some_and(|column| !column.not_null)
}

/// A condition that an owner has several rows.
pub(super) fn duplicates_exist(layout: &Layout, table: &Table) -> String {
    format!(
        "EXISTS (SELECT FROM {} AS t{} GROUP BY {} HAVING pg_catalog.count(*) > 1)",
        relation(layout),
        with_owner(layout, table),
        owner_columns(layout).join(", ")
    )
}

/// A condition that rows of one owner differ in a column of the application. Columns that differ in any two rows do not
/// count: keys and generated values; of a time only whether it is null counts. Types with functions of other roles do not
/// count either, because the comparison would run these functions.
pub(super) fn rows_differ(layout: &Layout, table: &Table) -> String {
    let (named, placement) = (layout.all_columns(), placement(layout, &table.layout_columns));
    let is_ours =
        |name: &str| named.contains(&name) && !placement.left_alone.iter().any(|(_, column)| column == name);
    let is_key = |column: &TableColumn| {
        table.indexes.iter().any(|index| index.unique && index.columns == [column.name.as_str()])
    };
    let is_made = |column: &TableColumn| column.generated || column.identity;
    let compared = table
        .columns
        .iter()
        .filter(|column| column.readable && !(is_ours(&column.name) || is_made(column) || is_key(column)));
    let differs = compared.filter_map(|column| {
        let (name, kind) = (format!("t.{}", quote(&column.name)), column.value_type());
        let is_missing = format!("pg_catalog.count(DISTINCT {name} IS NULL) > 1");
        match kind {
            _ if kind.starts_with("other ") => None,
            // this column decides which row is the newest
            "timestamp" | "timestamptz" if column.name == "updated_at" => None,
            "timestamp" | "timestamptz" | "date" => Some(is_missing),
            _ => Some(format!("pg_catalog.count(DISTINCT {name}::text) > 1 OR {is_missing}")),
        }
    });
    let differs: Vec<_> = differs.collect();
    let differs = if differs.is_empty() { "false".to_owned() } else { differs.join(" OR ") };
    format!(
        "EXISTS (SELECT FROM {} AS t{} GROUP BY {} HAVING pg_catalog.count(*) > 1 AND ({differs}))",
        relation(layout),
        with_owner(layout, table),
        owner_columns(layout).join(", ")
    )
}

/// Rows that pass the filter and whose owner other rows can have too.
pub(super) fn with_owner(layout: &Layout, table: &Table) -> String {
    let named = owner_columns(layout).into_iter().map(|column| format!("t.{column} IS NOT NULL"));
    let named = named.filter(|_| !nulls_count(layout, table));
    let conditions: Vec<_> = named.chain(table.filter.conditions("t.")).collect();
    match conditions.is_empty() {
        true => String::new(),
        false => format!(" WHERE {}", conditions.join(" AND ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_tables_are_sampled_and_small_ones_are_not() {
        assert_eq!(sample(0), None);
        assert_eq!(sample(LOOKED_AT), None);
        let share = " TABLESAMPLE SYSTEM (25.000000) REPEATABLE (0)";
        assert_eq!(sample(4 * LOOKED_AT).as_deref(), Some(share));
    }
}
