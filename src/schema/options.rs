//! Options, events and results of applying a plan and rolling it back.

use std::time::Duration;

use crate::schema::step::Step;

/// Options for applying a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyOptions {
    pub(crate) allow_rewrite: bool,
    pub(crate) lock_timeout: Duration,
    pub(crate) patience: Duration,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self {
            allow_rewrite: false,
            lock_timeout: Duration::from_millis(500),
            patience: Duration::from_secs(300),
        }
    }
}

impl ApplyOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also applies steps that rewrite the table. Off by default, because a rewrite blocks all reads and writes of the
    /// table.
    pub fn allow_rewrite(mut self) -> Self {
        self.allow_rewrite = true;
        self
    }

    /// How long a step waits for its lock before it lets other sessions go first. 500 ms by default, because sessions
    /// that ask for a lock after the step wait too.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// How long a run retries the same step, and waits for another run. 5 minutes by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// Options for rolling back recorded steps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RollBackOptions {
    pub(crate) apply: ApplyOptions,
    pub(crate) allow_data_loss: bool,
}

impl RollBackOptions {
    /// The defaults of [`ApplyOptions`]. A rollback drops nothing that holds data.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also drops columns that hold data, after it copies the data to a table `retell_vault_backup_…`.
    pub fn allow_data_loss(mut self) -> Self {
        self.allow_data_loss = true;
        self
    }

    /// See [`ApplyOptions::allow_rewrite`].
    pub fn allow_rewrite(mut self) -> Self {
        self.apply.allow_rewrite = true;
        self
    }

    /// See [`ApplyOptions::lock_timeout`].
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.apply.lock_timeout = timeout;
        self
    }

    /// See [`ApplyOptions::patience`].
    pub fn patience(mut self, patience: Duration) -> Self {
        self.apply.patience = patience;
        self
    }
}

/// An event while steps are applied or rolled back.
#[derive(Debug)]
#[non_exhaustive]
pub enum SchemaEvent<'a> {
    /// Another run is changing this schema; this run waits for it.
    Waiting,
    /// A step begins.
    Begins(&'a Step),
    /// The lock of a step was not free in time; the run tries again.
    Locked(&'a Step),
    /// A step took its other form, because the table holds text that is not a token.
    Instead(&'a Step),
    /// A step was applied.
    Applied(&'a Step),
    /// The step with this id was rolled back.
    Undone(&'a str),
    /// Data was copied to this table, `schema.table`, before it was dropped.
    BackedUp(&'a str),
}

/// The result of applying a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The ids of the steps that this run applied, in order. Empty if another run had applied them.
    pub steps: Vec<String>,
}

/// The result of a rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RolledBack {
    /// The ids of the steps that were rolled back, latest first.
    pub steps: Vec<String>,
    /// The tables that hold copies of dropped data, as `schema.table`.
    pub backups: Vec<String>,
}
