//! What a promotion tells while it runs, and at its end.

use std::time::Duration;

use crate::rotation::report::UnreadableRow;
use crate::store::sync::SyncReport;

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
    /// A recount found everything where it belongs, and nothing waits in the local file of this host.
    pub complete: bool,
    /// How often it went over the table.
    pub passes: u32,
    /// How long it took.
    pub elapsed: Duration,
}
