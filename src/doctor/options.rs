//! Options and progress of an examination.

use std::time::Duration;

use crate::record::owner::Owner;

/// The default age at which the doctor reports a primary key: a year, a common rotation period.
const KEY_AGE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What the doctor examines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoctorOptions {
    pub(crate) deep: bool,
    pub(crate) key_age: Duration,
    pub(crate) users_table: Option<(String, String)>,
    pub(crate) probe: Option<(Owner, Owner)>,
    pub(crate) after_restore: bool,
}

impl Default for DoctorOptions {
    fn default() -> Self {
        Self { deep: false, key_age: KEY_AGE, users_table: None, probe: None, after_restore: false }
    }
}

impl DoctorOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads and opens every record. Off by default, because it takes time in proportion to the table.
    pub fn deep(mut self) -> Self {
        self.deep = true;
        self
    }

    /// Also verifies the [ledger](crate::ledger) with the copies of this host, and reports what a restore of the database put back.
    /// Off by default, because it opens every record.
    pub fn after_restore(mut self) -> Self {
        self.after_restore = true;
        self
    }

    /// The age at which the doctor reports the primary key. A year by default.
    pub fn key_age(mut self, age: Duration) -> Self {
        self.key_age = age;
        self
    }

    /// The application's table of users and its id column, such as `auth.users` and `id`. The doctor then reports rows of
    /// owners that are not in it. None by default.
    pub fn users_table(mut self, table: &str, column: &str) -> Self {
        self.users_table = Some((table.to_owned(), column.to_owned()));
        self
    }

    /// Acts as the first owner, and tries to read and write the row of the second. The attempts are always rolled back.
    pub fn probe(mut self, actor: Owner, other: Owner) -> Self {
        self.probe = Some((actor, other));
        self
    }
}

/// The progress of a deep examination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DoctorProgress {
    /// Rows in the table when the examination began. For a large table this is an estimate.
    pub rows: u64,
    /// Rows opened so far.
    pub opened: u64,
}
