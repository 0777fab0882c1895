//! What the examinations share.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::doctor::options::{DoctorOptions, DoctorProgress};
use crate::postgres::catalogue::picture::Picture;
use crate::postgres::sql::names;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::record::layout::Layout;
use crate::store::core::Core;

/// How long the looks at a table that can be cut short may take together.
const BUDGET: Duration = Duration::from_millis(1200);
/// However late it is, a look gets this much.
const LEAST: Duration = Duration::from_millis(30);

/// What the examinations of this host share: keyring and local file.
pub(crate) struct HostContext<'a> {
    pub(crate) router: &'a Core,
    pub(crate) options: &'a DoctorOptions,
    notes: Mutex<Vec<String>>,
    tell: &'a (dyn Fn(&DoctorProgress) + Sync),
}

impl<'a> HostContext<'a> {
    pub(super) fn new(
        router: &'a Core,
        options: &'a DoctorOptions,
        tell: &'a (dyn Fn(&DoctorProgress) + Sync),
    ) -> Self {
        Self { router, options, notes: Mutex::default(), tell }
    }

    /// Adds to the notes of the diagnosis: what was sampled, skipped or counted.
    pub(crate) fn note(&self, note: impl Into<String>) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note.into());
    }

    /// Tells the caller how far a deep look is.
    pub(crate) fn tell(&self, progress: &DoctorProgress) {
        (self.tell)(progress);
    }

    pub(super) fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the examinations of a table share.
pub(crate) struct TableContext<'a> {
    pub(crate) host: &'a HostContext<'a>,
    pub(crate) router: &'a Core,
    pub(crate) postgres: &'a Postgres,
    pub(crate) layout: &'a Layout,
    pub(crate) picture: &'a Picture,
    pub(crate) plan: &'a Plan,
    pub(crate) options: &'a DoctorOptions,
    started: Instant,
}

impl<'a> TableContext<'a> {
    pub(super) fn new(
        host: &'a HostContext<'a>,
        postgres: &'a Postgres,
        picture: &'a Picture,
        plan: &'a Plan,
    ) -> Self {
        let (router, options, layout) = (host.router, host.options, postgres.layout());
        Self { host, router, postgres, layout, picture, plan, options, started: Instant::now() }
    }

    /// The table as the object of a finding.
    pub(crate) fn object(&self) -> String {
        format!("table {}", self.layout.table_name())
    }

    /// The table as it stands in SQL.
    pub(crate) fn relation(&self) -> String {
        names::relation(self.layout)
    }

    /// How long the server may take for a look that can be cut short: `most`, or what is left.
    pub(crate) fn patience(&self, most: Duration) -> Duration {
        most.min(BUDGET.saturating_sub(self.started.elapsed())).max(LEAST)
    }
}
