//! What a bounded look at the rows says, where the catalogue cannot.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};

use crate::classify::{Fault, Phase, classify};
use crate::database::{Database, Query};
use crate::error::ErrorKind;
use crate::field::Field;
use crate::layout::{Layout, quote};
use crate::schema::duplicates::duplicates_exist;
use crate::schema::names::relation;
use crate::schema::picture::Picture;
use crate::schema::tokens::{Kind, holds_foreign, holds_unknown_status};

/// A table of this size is looked at as a whole; of a larger one as much is looked at: some 10,000 rows.
const LOOKED_AT: i64 = 8 << 20;
/// How long one look may take.
const PATIENCE: Duration = Duration::from_millis(700);

/// What a bounded look at the rows found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// Columns made for tokens in which text that is no token was seen, and the status column when it holds
    /// another status than ours.
    pub(crate) foreign: Vec<String>,
    /// Whether every row was looked at for that, or only a sample.
    pub(crate) foreign_is_proved: bool,
    /// Whether owners have several rows; unknown where looking would have taken too long.
    pub(crate) duplicates: Option<bool>,
}

impl Evidence {
    /// Looks for less than a second, however large the table is. `unique`: owners cannot have several rows.
    ///
    /// # Errors
    /// Those of asking the database. Rows that we may not see are no error: nothing is known then.
    pub(crate) async fn gather(
        database: &Database,
        layout: &Layout,
        picture: &Picture,
        unique: bool,
    ) -> Result<Self, Fault> {
        if picture.table.hides_rows {
            return Ok(Self { duplicates: unique.then_some(false), ..Self::default() });
        }
        let (foreign, duplicates) = tokio::try_join!(
            foreign(database, layout, picture),
            duplicates(database, layout, picture, unique)
        )?;
        let (foreign, foreign_is_proved) = foreign;
        Ok(Self { foreign, foreign_is_proved, duplicates })
    }
}

async fn duplicates(
    database: &Database,
    layout: &Layout,
    picture: &Picture,
    unique: bool,
) -> Result<Option<bool>, Fault> {
    if unique {
        return Ok(Some(false));
    }
    let sql = format!("SELECT {}", duplicates_exist(layout, picture));
    let row = look(database, sql).await?;
    row.map(|row| row.try_get(0)).transpose().map_err(|error| classify(&error, Phase::Reading))
}

/// The columns in which something foreign was seen, and whether every row was looked at.
async fn foreign(
    database: &Database,
    layout: &Layout,
    picture: &Picture,
) -> Result<(Vec<String>, bool), Fault> {
    let conditions = conditions(layout, picture);
    if conditions.is_empty() {
        return Ok((Vec::new(), true));
    }
    let found: Vec<String> =
        conditions.iter().map(|(_, sql)| format!("coalesce(pg_catalog.bool_or({sql}), false)")).collect();
    let sample = sample(picture.table.bytes);
    let sql = format!(
        "SELECT ARRAY[{}] FROM {} AS t{}",
        found.join(", "),
        relation(layout),
        sample.as_deref().unwrap_or_default()
    );
    let Some(row) = look(database, sql).await? else { return Ok((Vec::new(), false)) };
    let found: Vec<bool> = row.try_get(0).map_err(|error| classify(&error, Phase::Reading))?;
    let foreign = conditions.into_iter().zip(found).filter(|(_, found)| *found);
    Ok((foreign.map(|((name, _), _)| name).collect(), sample.is_none()))
}

/// For every column that is there, the condition that it holds something foreign.
fn conditions(layout: &Layout, picture: &Picture) -> Vec<(String, String)> {
    let is_there = |name: &&str| picture.column(name).is_some();
    let value = |name: &str| format!("t.{}::text", quote(name));
    let secrets = Field::SECRET.into_iter().filter_map(|field| layout.column_of(field)).filter(is_there);
    let secrets = secrets.map(|name| (name.to_owned(), holds_foreign(&value(name), Kind::Text)));
    let status = layout.column_of(Field::IntegrationStatus).filter(is_there);
    let status = status.map(|name| (name.to_owned(), holds_unknown_status(&value(name))));
    // a column of another type holds nothing of ours
    let config = picture.column(&layout.config_column).filter(|column| column.kind == "jsonb");
    let config = config.map(|column| {
        (column.name.clone(), holds_foreign(&format!("t.{}", quote(&column.name)), Kind::Json))
    });
    secrets.chain(status).chain(config).collect()
}

/// Always the same blocks, so that a plan made a moment later is the same.
fn sample(bytes: i64) -> Option<String> {
    let share = || LOOKED_AT as f64 * 100.0 / bytes as f64;
    (bytes > LOOKED_AT).then(|| format!(" TABLESAMPLE SYSTEM ({:.6}) REPEATABLE (0)", share()))
}

/// One row; `None` when that would have taken too long, or we may not see it.
async fn look(database: &Database, sql: String) -> Result<Option<PgRow>, Fault> {
    let query = Query { sql: sql.into(), arguments: PgArguments::default() };
    match database.inspect_within(PATIENCE, query).await {
        Ok(rows) => Ok(rows.into_iter().next()),
        Err(fault) => match fault.error.kind() {
            ErrorKind::Busy | ErrorKind::AccessDenied => Ok(None),
            _ => Err(fault),
        },
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
