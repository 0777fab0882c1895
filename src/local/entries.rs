//! What the local file takes and returns.

use std::fmt;

use crate::chain::numbers::KnownHead;
use crate::record::owner::Owner;
use crate::record::token::KeyId;
use crate::record::version::{Millis, Version};

/// What a pending record was based on when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// The row was never read.
    Unknown,
    /// There was no row.
    NoRow,
    /// There was a row, and no record in it.
    NoRecord,
    /// The row held this version.
    Version(Version),
}

/// How a write knows what it is based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// It has read the row itself.
    Read,
    /// It has not read the row: this process or the local file remembers it, or nothing does.
    Remembered,
}

/// One record of the local file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalRecord {
    pub(crate) owner: Owner,
    pub(crate) version: Version,
    /// All tokens, packed.
    pub(crate) text: String,
    /// Always `Unknown` in a replica.
    pub(crate) base: Base,
    pub(crate) at: Millis,
    /// Empty if it was stored without a database.
    pub(crate) rows: OwnerRows,
}

/// A line of the ledger that this host wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LedgerLine {
    pub(crate) writer: String,
    /// Of the entry, or the last one that a head covers.
    pub(crate) number: i64,
    /// Of the entry's owner; empty without one, as in a head.
    pub(crate) tenant: String,
    pub(crate) user: String,
    /// Whether the entry names a state of the owner's record: only these show whom a restore concerns.
    pub(crate) is_state: bool,
    pub(crate) line: String,
}

/// Lines of the ledger that this host wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LedgerLines {
    pub(crate) heads: Vec<LedgerLine>,
    pub(crate) entries: Vec<LedgerLine>,
}

/// An entry of the ledger about a change of this file, which the ledger does not have yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnsentEntry {
    pub(crate) id: i64,
    pub(crate) line: String,
    /// Over this entry and those before it. `None` if the file is damaged there.
    pub(crate) head: Option<KnownHead>,
    /// Whether a copy may stay here once it is sent: not of an owner who was forgotten.
    pub(crate) keeps_copy: bool,
}

/// What the local file notes of its pushes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PushNote {
    /// The id of the file.
    pub(crate) id: String,
    /// How many pushes were counted.
    pub(crate) count: u64,
    /// The mark of the last of them; empty if there is none.
    pub(crate) mark: String,
    /// The mark of the push that was begun and may be counted or not; empty if none was.
    pub(crate) begun: String,
}

impl PushNote {
    pub(crate) fn first(id: &str) -> Self {
        Self { id: id.to_owned(), count: 0, mark: String::new(), begun: String::new() }
    }
}

/// The rows of an owner that a record is for. An unknown part is empty, and may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OwnerRows {
    /// The table, the columns of the owner, and the filter.
    pub(crate) table: String,
    /// What distinguishes the database from others.
    pub(crate) database: String,
}

impl OwnerRows {
    /// Whether both may be the same rows.
    pub(crate) fn may_be(&self, other: &Self) -> bool {
        let may_be = |a: &str, b: &str| a == b || a.is_empty() || b.is_empty();
        may_be(&self.table, &other.table) && may_be(&self.database, &other.database)
    }
}

impl fmt::Display for OwnerRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.database.as_str() {
            "" => f.write_str(&self.table),
            database => write!(f, "{} in database {database}", self.table),
        }
    }
}

/// The outcome of adding a pending record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PutPending {
    /// It is durable, now or since an earlier attempt.
    Written,
    /// Nothing was written: the version that is there is as new or newer.
    Newer(Version),
    /// Nothing was written: the record that is there is for other rows.
    Elsewhere(OwnerRows),
}

/// Why a text is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeptKind {
    /// A record that a newer one superseded.
    Superseded,
    /// A text of the database that was unreadable and was replaced.
    Replaced,
    /// A pending record that the database refuses, or whose row is not the one that it was for.
    DeadLetter,
}

/// A text that stays until an operator drops it or its retention ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) id: i64,
    pub(crate) owner: Owner,
    pub(crate) kind: KeptKind,
    pub(crate) text: String,
    pub(crate) reason: String,
    pub(crate) at: Millis,
}

/// How many entries of each sort there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) pending: u64,
    pub(crate) replicas: u64,
    pub(crate) superseded: u64,
    pub(crate) replaced: u64,
    pub(crate) dead_letters: u64,
}

/// A table that holds tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LocalPlace {
    Pending,
    Replica,
    Kept,
}

/// One text of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalText {
    /// The rowid. Identifies the text only together with the text itself, because SQLite reuses rowids.
    pub(crate) id: i64,
    pub(crate) owner: Owner,
    pub(crate) text: String,
}

/// A text, and what it is to be replaced with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Swap {
    pub(crate) id: i64,
    pub(crate) old: String,
    pub(crate) new: String,
}

/// How many tokens of a place name a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalCount {
    /// What a table says about the row in `kind`, else the name of the table.
    pub(crate) place: String,
    /// `None`: pieces of text that name no key.
    pub(crate) key: Option<KeyId>,
    pub(crate) tokens: u64,
}

impl LocalPlace {
    pub(crate) const ALL: [Self; 3] = [Self::Pending, Self::Replica, Self::Kept];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Replica => "replica",
            Self::Kept => "kept",
        }
    }
}
