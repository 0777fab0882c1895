//! Options, progress and result of an import.

use crate::import::sources::FoundField;

/// How to import.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImportOptions {
    pub(super) clear_source: bool,
    pub(super) dry_run: bool,
    pub(super) rate: Option<u32>,
}

impl ImportOptions {
    /// Old values stay where they are, everything is written, at full speed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Clears each old value whose record was read back and opened.
    pub fn clear_source(mut self) -> Self {
        self.clear_source = true;
        self
    }

    /// Writes nothing, and reports what an import would do.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// At most this many owners a second.
    pub fn rate(mut self, owners_per_second: u32) -> Self {
        self.rate = Some(owners_per_second.max(1));
        self
    }
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImportProgress {
    /// Rows of the sources that held something when it began. A row of several sources counts once.
    pub rows: u64,
    /// Rows whose owners are done.
    pub visited: u64,
    /// Owners whose record was stored.
    pub sealed: u64,
    /// Of these, owners whose record was read back, and opens to the values of the sources.
    pub verified: u64,
    /// Old values that were cleared.
    pub cleared: u64,
    /// Owners with nothing to store, because the vault holds what the sources give, or something newer.
    pub already: u64,
}

impl ImportProgress {
    pub(super) fn add(&mut self, more: &Self) {
        self.visited += more.visited;
        self.sealed += more.sealed;
        self.verified += more.verified;
        self.cleared += more.cleared;
        self.already += more.already;
    }
}

/// What happens during an import.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportEvent<'a> {
    /// This source is a column in which the vault seals: code that reads the old text there stops working now.
    OwnColumn(&'a str),
    /// Some owners are done.
    Batch(&'a ImportProgress),
    /// A value that was not imported, or not cleared, and why.
    Found(&'a FoundField),
    /// These values are cleared when the listener returns. Nothing is cleared if it returns an error.
    Clearing(&'a [FoundField]),
}

/// The result of an import.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ImportReport {
    /// The counts.
    pub progress: ImportProgress,
    /// Values that nobody can open.
    pub unrecoverable: Vec<FoundField>,
    /// Values that are damaged, or that no key opens.
    pub corrupt: Vec<FoundField>,
    /// Values that are something else.
    pub not_credentials: Vec<FoundField>,
    /// Values that differ from the record, and the reason why the record was not changed.
    pub disagreed: Vec<FoundField>,
    /// Values that others may have read, which should be replaced at the provider.
    pub exposed: Vec<FoundField>,
    /// Values that the vault does not take, or could not store, and the reason.
    pub failed: Vec<FoundField>,
    /// Imported values that are still in their source, and the reason.
    pub not_cleared: Vec<FoundField>,
}

impl ImportReport {
    /// Adds a value to the list that it belongs to. Returns whether it is a problem.
    pub(super) fn add(&mut self, found: FoundField) -> bool {
        let list = match found.result {
            "opened" => return false,
            "unrecoverable" => &mut self.unrecoverable,
            "corrupt" => &mut self.corrupt,
            "not_a_credential" => &mut self.not_credentials,
            "disagreed" => &mut self.disagreed,
            "not_cleared" => &mut self.not_cleared,
            _ => &mut self.failed,
        };
        list.push(found);
        true
    }
}
