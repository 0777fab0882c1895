//! What a caller may choose about a write, and about a load.

use crate::record::version::Version;

/// What happens to a write that the database cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fallback {
    /// It goes to the local file, sealed, and to the database when that is reachable again.
    #[default]
    LocalFile,
    /// It fails; nothing is kept locally.
    Refuse,
}

/// What a store may overwrite. By default it overwrites any older record that opens, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreOptions {
    pub(crate) replace_unreadable: bool,
    pub(crate) replace_foreign: bool,
    pub(crate) expected: Option<Expected>,
}

/// How a record is loaded. By default the newest one that can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadOptions {
    pub(crate) fresh: bool,
}

impl LoadOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compares the record with the ledger: what is loaded is the record of the last change that the ledger names, or one that
    /// waits in the local file since. A record that went back, vanished or appeared is `LedgerBroken`. Takes one more statement,
    /// the database, and a ledger that was begun. Nothing is imported on the way: an owner whose values were not imported yet has no
    /// record.
    ///
    /// A database that was restored as a whole has an older ledger too. That is noticed for owners of whom this process has seen
    /// a newer record, and for all by `ledger verify` with copies from outside.
    pub fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }
}

/// What an owner must have, or the store is refused. See [`StoreOptions::expect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// The record of this version.
    Version(Version),
    /// No record, or one that was deleted.
    Absent,
}

impl StoreOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Overwrites a record that does not open: its key is unknown, its format is a later one, it is damaged, or it was
    /// moved here from another owner. Its text is kept in the local file, if there is one.
    pub fn replace_unreadable(mut self) -> Self {
        self.replace_unreadable = true;
        self
    }

    /// Overwrites text that the vault did not write. That text is lost: read it and store it first.
    pub fn replace_foreign(mut self) -> Self {
        self.replace_foreign = true;
        self
    }

    /// Stores only if the owner has what is expected. Otherwise nothing is written and the error is `Conflict`. If a record
    /// of this owner is pending in the local file, it is synchronised first. Nothing falls back to the local file.
    ///
    /// A record that is pending in the local file of another host may still win later, if it is newer.
    pub fn expect(mut self, expected: Expected) -> Self {
        self.expected = Some(expected);
        self
    }
}
