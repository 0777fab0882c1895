//! What the server has counted about the table.

use serde::Deserialize;
use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::error::{Error, ErrorKind};
use crate::layout::layout::Layout;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Database, Query, bind};

/// The query. It returns [`TableStatistics`].
const STATISTICS: &str = include_str!("statistics.sql");

/// The counters of the table. A reset, or a crash of the server, sets them to zero.
#[derive(Debug, Deserialize)]
pub(crate) struct TableStatistics {
    /// Whether the server counts at all (`track_counts`).
    pub(crate) counting: bool,
    /// Whether the server has an autovacuum.
    pub(crate) autovacuum: bool,
    /// A standby has counters of its own.
    pub(crate) is_standby: bool,
    /// The seconds since the counters were reset. `None` if nobody has reset them, or before Postgres 15.
    pub(crate) reset_ago: Option<i64>,
    /// The table, or its partitions that hold rows.
    pub(crate) tables: Vec<RowStatistics>,
    indexes: Vec<IndexScans>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RowStatistics {
    /// Qualified and quoted.
    pub(crate) relation: String,
    pub(crate) name: String,
    /// The planner's estimate of the rows. -1 or 0 without an estimate.
    pub(crate) rows: i64,
    /// The rows by the counters.
    pub(crate) live: i64,
    pub(crate) dead: i64,
    /// Whether the autovacuum may work on it.
    pub(crate) autovacuum: bool,
    /// The number of dead rows that starts the autovacuum.
    pub(crate) allowed: i64,
    /// Whether the counters know of an ANALYZE, which also counts the rows.
    pub(crate) counted: bool,
    /// Whether the planner has statistics about a column that the role may read.
    pub(crate) analysed: bool,
    /// Whether the server hides the planner's statistics from the role.
    pub(crate) hidden: bool,
    /// Index blocks found in memory.
    pub(crate) index_hits: i64,
    /// Index blocks read from the disk.
    pub(crate) index_reads: i64,
}

#[derive(Debug, Deserialize)]
struct IndexScans {
    name: String,
    scans: i64,
}

impl TableStatistics {
    /// How often an index of the table was used.
    pub(crate) fn scans_of(&self, index: &str) -> i64 {
        self.indexes.iter().find(|found| found.name == index).map_or(0, |found| found.scans)
    }

    /// How often the indexes of the table were used.
    pub(crate) fn scans(&self) -> i64 {
        self.indexes.iter().map(|index| index.scans).sum()
    }
}

/// # Errors
/// `AccessDenied` if the role may not read the views; errors of the database.
pub(crate) async fn take_statistics(
    database: &Database,
    layout: &Layout,
) -> Result<TableStatistics, DatabaseError> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, layout.schema.clone())?;
    bind(&mut arguments, layout.table.clone())?;
    let rows = database.inspect(Query { sql: STATISTICS.into(), arguments }).await?;
    let odd = || Error::new(ErrorKind::Schema, "the answer of the statistics views is not as expected");
    let json: Result<String, _> = rows.first().ok_or_else(odd)?.try_get(0);
    let json = json.map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
    serde_json::from_str(&json).map_err(|_| odd().into())
}
