//! What the doctor looks at beyond the usual, and how far that is.

use std::time::Duration;

use crate::record::owner::Owner;

/// How old a primary key may become before the doctor says so: a year, a common rotation period.
const KEY_AGE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What the doctor looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoctorOptions {
    pub(crate) deep: bool,
    pub(crate) key_age: Duration,
    pub(crate) users_table: Option<(String, String)>,
    pub(crate) probe: Option<(Owner, Owner)>,
}

impl Default for DoctorOptions {
    fn default() -> Self {
        Self { deep: false, key_age: KEY_AGE, users_table: None, probe: None }
    }
}

impl DoctorOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads and opens every record. Not by default, since it takes time in proportion to the table.
    pub fn deep(mut self) -> Self {
        self.deep = true;
        self
    }

    /// How old the primary key may be. A year by default.
    pub fn key_age(mut self, age: Duration) -> Self {
        self.key_age = age;
        self
    }

    /// The table of the application's users and its id column: `auth.users` and `id`. Rows of owners who
    /// are not in it are found. None by default.
    pub fn users_table(mut self, table: &str, column: &str) -> Self {
        self.users_table = Some((table.to_owned(), column.to_owned()));
        self
    }

    /// Acts as the first owner, and tries to read and write the row of the second. Always rolled back.
    pub fn probe(mut self, actor: Owner, other: Owner) -> Self {
        self.probe = Some((actor, other));
        self
    }
}

/// How far a deep examination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DoctorProgress {
    /// Rows in the table when it began; of a large table about so many.
    pub rows: u64,
    /// Rows that were opened.
    pub opened: u64,
}
