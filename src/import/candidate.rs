//! The owners of a page while they are imported, and what all pages share.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crate::error::Result;
use crate::import::decide::Offer;
use crate::import::report::{ImportOptions, ImportProgress};
use crate::import::sources::{ExaminedText, FoundField, Sources};
use crate::import::tally::SourceTally;
use crate::postgres::walk::old_values::OldTable;
use crate::record::owner::Owner;
use crate::record::record::Head;
use crate::record::values::Values;
use crate::store::core::{Core, ImportedRecord};

/// What all pages share.
pub(super) struct ImportRun<C> {
    pub(super) core: Arc<Core>,
    pub(super) sources: Sources<C>,
    pub(super) tables: Vec<OldTable>,
    pub(super) options: ImportOptions,
    /// The sources that are columns in which the vault seals.
    pub(super) own: BTreeSet<usize>,
    pub(super) tally: Mutex<Vec<SourceTally>>,
    /// The rows of the last page were all without a record. The next are probably too, so they are filled without a look at them.
    pub(super) rows_are_empty: AtomicBool,
}

/// The result of one page.
#[derive(Default)]
pub(super) struct PageResult {
    pub(super) progress: ImportProgress,
    pub(super) found: Vec<FoundField>,
    pub(super) exposed: Vec<FoundField>,
}

/// One owner of a page.
pub(super) struct ImportCandidate {
    pub(super) owner: Owner,
    pub(super) texts: Vec<ExaminedText>,
    pub(super) offer: Offer,
    /// What the record must hold to be read back.
    pub(super) record: Option<Values>,
    /// What was stored in this run.
    pub(super) stored: bool,
    /// The record that was read back.
    pub(super) head: Option<Head>,
    pub(super) import: ImportedRecord,
}

/// Tells that values are about to be cleared, and waits for the answer.
pub(super) trait Announce: Send + Sync {
    fn clearing(&self, values: Vec<FoundField>) -> impl Future<Output = Result<()>> + Send;
}
