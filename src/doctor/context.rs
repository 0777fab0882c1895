//! The state that the examinations share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgRow;

use crate::display::visible;
use crate::doctor::options::{DoctorOptions, DoctorProgress};
use crate::layout::layout::Layout;
use crate::postgres::catalogue::access::TableAccess;
use crate::postgres::catalogue::definitions::TableDefinitions;
use crate::postgres::catalogue::snapshot::DetailedSnapshot;
use crate::postgres::catalogue::statistics::TableStatistics;
use crate::postgres::catalogue::table::Table;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::connection::pool::Query;
use crate::postgres::sql::names;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::store::core::Core;

/// The total time limit for the examinations of a table that can be cut short.
const BUDGET: Duration = Duration::from_millis(1200);
/// The minimum time for an examination, however little is left.
const LEAST: Duration = Duration::from_millis(30);

/// The state that the examinations of this host share: keyring and local file.
pub(crate) struct HostContext<'a> {
    pub(crate) core: &'a Arc<Core>,
    pub(crate) options: &'a DoctorOptions,
    notes: Mutex<Vec<String>>,
    tell: &'a (dyn Fn(&DoctorProgress) + Sync),
}

impl<'a> HostContext<'a> {
    pub(super) fn new(
        core: &'a Arc<Core>,
        options: &'a DoctorOptions,
        tell: &'a (dyn Fn(&DoctorProgress) + Sync),
    ) -> Self {
        Self { core, options, notes: Mutex::default(), tell }
    }

    /// Adds to the notes of the diagnosis: what was sampled, skipped or counted.
    pub(crate) fn note(&self, note: impl Into<String>) {
        let note = visible(&note.into()).into_owned();
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    /// Reports the progress of a deep examination.
    pub(crate) fn tell(&self, progress: &DoctorProgress) {
        (self.tell)(progress);
    }

    pub(super) fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The state that the examinations of a table share.
pub(crate) struct TableContext<'a> {
    pub(crate) host: &'a HostContext<'a>,
    pub(crate) core: &'a Arc<Core>,
    pub(crate) postgres: &'a Postgres,
    pub(crate) layout: &'a Layout,
    pub(crate) table: &'a Table,
    pub(crate) definitions: &'a TableDefinitions,
    pub(crate) snapshot: &'a DetailedSnapshot,
    pub(crate) plan: &'a Plan,
    pub(crate) options: &'a DoctorOptions,
    statistics: &'a Result<TableStatistics, DatabaseError>,
    started: Instant,
}

impl<'a> TableContext<'a> {
    pub(super) fn new(
        host: &'a HostContext<'a>,
        postgres: &'a Postgres,
        plan: &'a Plan,
        snapshot: &'a DetailedSnapshot,
        statistics: &'a Result<TableStatistics, DatabaseError>,
    ) -> Self {
        let (core, options, layout) = (host.core, host.options, postgres.layout());
        let (table, definitions, started) = (&snapshot.table, &snapshot.definitions, Instant::now());
        Self {
            host,
            core,
            postgres,
            layout,
            table,
            definitions,
            snapshot,
            plan,
            options,
            statistics,
            started,
        }
    }

    /// The roles that may reach the table.
    ///
    /// # Errors
    /// Those of the one query that serves all examinations.
    pub(crate) fn access(&self) -> Result<&'a TableAccess, DatabaseError> {
        self.snapshot.access.as_ref().map_err(DatabaseError::copy)
    }

    /// What the server has counted about the table.
    ///
    /// # Errors
    /// Those of the one query that serves all examinations.
    pub(crate) fn statistics(&self) -> Result<&'a TableStatistics, DatabaseError> {
        self.statistics.as_ref().map_err(DatabaseError::copy)
    }

    /// The table as the object of a finding.
    pub(crate) fn object(&self) -> String {
        format!("table {}", self.layout.table_name())
    }

    /// The table in SQL.
    pub(crate) fn relation(&self) -> String {
        names::relation(self.layout)
    }

    /// Reads rows of the table, as its owner if the session may act as the owner.
    pub(crate) async fn as_owner(&self, query: Query) -> Result<Vec<PgRow>, DatabaseError> {
        self.postgres.database.inspect_as_owner(&self.relation(), query).await
    }

    /// The time limit for an examination that can be cut short: `most`, or the remaining time.
    pub(crate) fn patience(&self, most: Duration) -> Duration {
        most.min(BUDGET.saturating_sub(self.started.elapsed())).max(LEAST)
    }
}
