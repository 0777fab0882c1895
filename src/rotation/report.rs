//! What a rotation and a promotion tell while they run, and at their end.

use serde_json::{Value, json};

use crate::error::{Error, ErrorKind};
use crate::record::token::KeyId;
use crate::rotation::token_count::TokenCounts;
use crate::store::sync::SyncReport;
use std::time::Duration;

/// How far a rotation is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotateProgress {
    /// Which pass over all places this is, from 1.
    pub pass: u32,
    /// Rows in the table when the pass began.
    pub rows: u64,
    /// Rows that this pass has looked at.
    pub visited: u64,
    /// Rows that were re-encrypted, in all passes.
    pub resealed: u64,
    /// Rows that somebody else wrote or held meanwhile, in this pass: they are met again.
    pub changed: u64,
    /// Rows with something that could not be opened, in this pass.
    pub unreadable: u64,
    /// Texts of the local file that were re-encrypted, in all passes.
    pub local: u64,
    /// Since the start.
    pub elapsed: Duration,
}

impl RotateProgress {
    /// The numbers of rows, as a metric names them.
    pub(crate) fn rows_by_state(&self) -> [(&'static str, u64); 5] {
        [
            ("total", self.rows),
            ("visited", self.visited),
            ("reencrypted", self.resealed),
            ("changed", self.changed),
            ("unreadable", self.unreadable),
        ]
    }
}

impl Rotation {
    /// What the ledger is told.
    pub(crate) fn counts(&self) -> Value {
        let RotateProgress { rows, resealed, changed, unreadable, local, pass, .. } = self.progress;
        json!({
            "key": self.key.to_string(), "complete": self.complete, "passes": pass, "rows": rows,
            "reencrypted": resealed, "changed": changed, "unreadable": unreadable, "local": local,
        })
    }
}

impl Promotion {
    /// What the ledger is told.
    pub(crate) fn counts(&self) -> Value {
        json!({
            "complete": self.complete, "passes": self.passes, "rows": self.rows,
            "promoted": self.promoted, "changed": self.changed, "unreadable": self.unreadable,
        })
    }
}

impl IndexReport {
    /// What the ledger is told.
    pub(crate) fn counts(&self) -> Value {
        json!({
            "epoch": self.epoch, "complete": self.complete, "passes": self.passes, "rows": self.rows,
            "indexed": self.indexed, "changed": self.changed, "unreadable": self.unreadable,
        })
    }
}

/// Something that could not be opened. It stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreadableRow {
    /// The owner as it stands in the row: `user`, or `tenant/user`.
    pub owner: String,
    /// The column, or the part of the local file, where that can be told.
    pub place: Option<String>,
    /// What kind of failure it is: `UnknownKey`, `Unsealable`, `ForeignValue` and so on.
    pub kind: ErrorKind,
    /// The same in words.
    pub reason: String,
}

impl UnreadableRow {
    pub(crate) fn new(owner: &str, place: Option<String>, error: &Error) -> Self {
        Self { owner: owner.to_owned(), place, kind: error.kind(), reason: error.to_string() }
    }
}

/// A step towards the new key of a rotation with [`RotateOptions::new_key`](crate::rotation::RotateOptions::new_key).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NewKeyStep {
    /// The key was made. It is pending.
    #[non_exhaustive]
    Added {
        /// The new key.
        key: KeyId,
    },
    /// The key was pending already, for example since a run that was interrupted. No new key is made.
    #[non_exhaustive]
    ResumedPending {
        /// The pending key.
        key: KeyId,
    },
    /// Tokens are left under retired keys, so an earlier rotation goes on. No new key is made.
    #[non_exhaustive]
    ResumedRotation {
        /// The primary key.
        key: KeyId,
        /// How many tokens are left under retired keys.
        tokens: u64,
    },
    /// The key is the primary one: it seals from now on.
    #[non_exhaustive]
    Promoted {
        /// The new primary key.
        key: KeyId,
        /// The primary key before. It opens, and seals no more.
        retired: KeyId,
    },
}

/// What happens during a rotation.
#[derive(Debug)]
#[non_exhaustive]
pub enum RotateEvent<'a> {
    /// A step towards the new key, before the first pass.
    NewKey(NewKeyStep),
    /// A pass over all places begins. What cannot be opened is met again, and told again.
    Pass(&'a RotateProgress),
    /// A batch is done.
    Batch(&'a RotateProgress),
    /// Something could not be opened.
    Unreadable(&'a UnreadableRow),
    /// It waits, for this reason, and looks again in half a second.
    Paused(&'a str),
}

/// What a rotation did, and what the token count after it says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rotation {
    /// The primary key.
    pub key: KeyId,
    /// The token count found no token under any other key, in any column of the layout and in the local file.
    pub complete: bool,
    /// The last state of affairs.
    pub progress: RotateProgress,
    /// What could not be opened in the last pass, by kind.
    pub unreadable: Vec<(ErrorKind, u64)>,
    /// The token count.
    pub token_counts: TokenCounts,
}

/// What there is to do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RotateEstimate {
    /// The primary key.
    pub key: KeyId,
    /// All tokens, by place and key.
    pub token_counts: TokenCounts,
    /// Rows in the table.
    pub rows: u64,
    /// Rows with something not under the primary key.
    pub to_do: u64,
    /// About how long it would take: from reading and sealing one batch, times three for writing it.
    pub time: Duration,
}

/// How far a promotion is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PromoteProgress {
    /// Which pass over the table this is, from 1.
    pub pass: u32,
    /// Rows in the table when the pass began.
    pub rows: u64,
    /// Rows that this pass has looked at.
    pub visited: u64,
    /// Rows whose record was moved, in all passes.
    pub promoted: u64,
    /// Rows that somebody else wrote or held meanwhile, in this pass: they are met again.
    pub changed: u64,
    /// Rows of which something stays where it is, in this pass.
    pub unreadable: u64,
    /// Since the start.
    pub elapsed: Duration,
}

/// What happens during a promotion.
#[derive(Debug)]
#[non_exhaustive]
pub enum PromoteEvent<'a> {
    /// What waited in the local file was taken to the database, as far as that is possible.
    Synced(&'a SyncReport),
    /// A pass over the table begins. What stays where it is is met again, and told again.
    Pass(&'a PromoteProgress),
    /// A batch is done.
    Batch(&'a PromoteProgress),
    /// Something stays where it is: it cannot be opened, the vault did not write it, or a plain column holds
    /// another value than the record.
    Unreadable(&'a UnreadableRow),
}

/// What a promotion did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Promotion {
    /// Rows in the table when the last pass began.
    pub rows: u64,
    /// Rows whose record was moved.
    pub promoted: u64,
    /// Rows that somebody else wrote or held in the last pass.
    pub changed: u64,
    /// Rows of which something stays where it is, in the last pass.
    pub unreadable: u64,
    /// What became of the records that waited in the local file.
    pub local: SyncReport,
    /// A count found everything where it belongs, and nothing waits in the local file of this host.
    pub complete: bool,
    /// How often it went over the table.
    pub passes: u32,
    /// How long it took.
    pub elapsed: Duration,
}

/// How far the building of the index is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexProgress {
    /// Which pass over the table this is, from 1. The last one only checks.
    pub pass: u32,
    /// Rows in the table when the pass began.
    pub rows: u64,
    /// Rows that this pass has looked at.
    pub visited: u64,
    /// Rows whose entries were written, in all passes.
    pub indexed: u64,
    /// Rows whose record does not open, in this pass.
    pub unreadable: u64,
    /// Since the start.
    pub elapsed: Duration,
}

/// What happens while the index is built.
#[derive(Debug)]
#[non_exhaustive]
pub enum IndexEvent<'a> {
    /// A pass over the table begins. Records that do not open are met again, and told again.
    Pass(&'a IndexProgress),
    /// A batch is done.
    Batch(&'a IndexProgress),
    /// A record does not open, so it has no entries.
    Unreadable(&'a UnreadableRow),
}

/// What the building of the index did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct IndexReport {
    /// The newest epoch of the index key.
    pub epoch: u32,
    /// Earlier keys that are still in the keyring. [`Vault::rotate_index_key`](crate::Vault::rotate_index_key) removes them once every
    /// host has the newest.
    pub earlier_keys: u32,
    /// Rows in the table when the last pass began.
    pub rows: u64,
    /// Rows whose entries were written.
    pub indexed: u64,
    /// Rows that others wrote or held in the last pass.
    pub changed: u64,
    /// Rows whose record does not open, in the last pass. They have no entries.
    pub unreadable: u64,
    /// A pass found the right entries in every row.
    pub complete: bool,
    /// How often it went over the table.
    pub passes: u32,
    /// How long it took.
    pub elapsed: Duration,
}
