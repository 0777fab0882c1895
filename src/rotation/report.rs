//! What a rotation tells while it runs, and at its end.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::record::token::KeyId;
use crate::rotation::token_count::Census;

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
    /// Rows that were sealed anew, in all passes.
    pub resealed: u64,
    /// Rows that somebody else wrote or held meanwhile, in this pass: they are met again.
    pub changed: u64,
    /// Rows with something that could not be opened, in this pass.
    pub unreadable: u64,
    /// Texts of the local file that were sealed anew, in all passes.
    pub local: u64,
    /// Since the start.
    pub elapsed: Duration,
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

/// What happens during a rotation.
#[derive(Debug)]
#[non_exhaustive]
pub enum RotateEvent<'a> {
    /// A pass over all places begins. What cannot be opened is met again, and told again.
    Pass(&'a RotateProgress),
    /// A batch is done.
    Batch(&'a RotateProgress),
    /// Something could not be opened.
    Unreadable(&'a UnreadableRow),
    /// It waits, for this reason, and looks again in half a second.
    Paused(&'a str),
}

/// What a rotation did, and what the recount after it says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rotation {
    /// The primary key.
    pub key: KeyId,
    /// The recount found no token under any other key, in any place.
    pub complete: bool,
    /// The last state of affairs.
    pub progress: RotateProgress,
    /// What could not be opened in the last pass, by kind.
    pub unreadable: Vec<(ErrorKind, u64)>,
    /// The recount.
    pub census: Census,
}

/// What there is to do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RotateEstimate {
    /// The primary key.
    pub key: KeyId,
    /// All tokens, by place and key.
    pub census: Census,
    /// Rows in the table.
    pub rows: u64,
    /// Rows with something not under the primary key.
    pub to_do: u64,
    /// About how long it would take: from reading and sealing one batch, times three for writing it.
    pub time: Duration,
}
