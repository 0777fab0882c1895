//! How a plan is applied or taken back, and what is told meanwhile.

use std::time::Duration;

use crate::schema::step::Step;

/// How a plan is applied.
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

    /// Applies steps that rewrite the table too. Not by default: nobody reads or writes it meanwhile.
    pub fn allow_rewrite(mut self) -> Self {
        self.allow_rewrite = true;
        self
    }

    /// How long a step waits for its lock before it lets others go first. 500 ms by default: everybody
    /// who comes after it waits too.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// How long the same step is tried again, and another run is waited for. 5 minutes by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// How recorded steps are taken back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RollBackOptions {
    pub(crate) apply: ApplyOptions,
    pub(crate) allow_data_loss: bool,
}

impl RollBackOptions {
    /// The defaults: as those of [`ApplyOptions`], and nothing that holds data is dropped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Drops columns that hold data too, after copying it to a table `retell_vault_backup_…` beside.
    pub fn allow_data_loss(mut self) -> Self {
        self.allow_data_loss = true;
        self
    }

    /// As [`ApplyOptions::allow_rewrite`].
    pub fn allow_rewrite(mut self) -> Self {
        self.apply.allow_rewrite = true;
        self
    }

    /// As [`ApplyOptions::lock_timeout`].
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.apply.lock_timeout = timeout;
        self
    }

    /// As [`ApplyOptions::patience`].
    pub fn patience(mut self, patience: Duration) -> Self {
        self.apply.patience = patience;
        self
    }
}

/// What happens while steps are applied or taken back.
#[derive(Debug)]
#[non_exhaustive]
pub enum SchemaEvent<'a> {
    /// Another run is at work on this table; it is waited for.
    Waiting,
    /// A step begins.
    Begins(&'a Step),
    /// The lock of a step was not free in time; it is tried again.
    Locked(&'a Step),
    /// A step took its other form, since the table holds text that is not a token.
    Instead(&'a Step),
    /// A step was applied.
    Applied(&'a Step),
    /// A step was taken back; this is its id.
    Undone(&'a str),
    /// Data was copied to this table, `schema.table`, before it was dropped.
    BackedUp(&'a str),
}

/// What became of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The ids of the steps that this run applied, in order. None: another run had done it.
    pub steps: Vec<String>,
}

/// What was taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RolledBack {
    /// The ids of the steps that were taken back, the latest first.
    pub steps: Vec<String>,
    /// The tables that hold what was dropped, as `schema.table`.
    pub backups: Vec<String>,
}
