//! Records that were kept aside in the local file, and erasing an owner from it.

use crate::crypto::sealer::Opened;
use crate::error::{Error, ErrorKind, Result};
use crate::local::entries::{Kept, KeptKind};
use crate::local::file::LocalFile;
use crate::record::credentials::Credentials;
use crate::record::owner::Owner;
use crate::retell::config::RetellConfig;
use crate::store::core::Core;
use crate::store::ledger_reads::{note_reads, visible_fields};
use crate::store::reload::learn_keys;
use crate::vault::answers::credentials;

/// What was erased from the local file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Forgotten {
    /// Records that were not in the database yet, or only in the local file.
    pub pending: u64,
    /// Copies of records in the database.
    pub replicas: u64,
    /// Losers, replaced texts and dead letters.
    pub kept: u64,
}

pub(super) async fn forget(core: &Core, owner: &Owner) -> Result<Forgotten> {
    let event = core.is_forgotten(owner)?;
    let counts = local_file(core)?.forget(owner, event.as_ref()).await?;
    let kept = counts.superseded + counts.replaced + counts.dead_letters;
    Ok(Forgotten { pending: counts.pending, replicas: counts.replicas, kept })
}

pub(super) async fn retry_dead_letters(core: &Core, owner: Option<&Owner>) -> Result<u64> {
    // of an owner who is named somebody has looked at what became of it
    let (now, event) = (owner.map(|_| core.now()), core.waits_again(owner)?);
    local_file(core)?.retry_dead_letters(owner, now, event.as_ref()).await
}

/// Why a record was kept aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeptReason {
    /// It lost against another record of its owner.
    Loser,
    /// It could not be read, and a store replaced it.
    Replaced,
    /// It was pending, but the database rejected it, or holds a record that it must not replace.
    DeadLetter,
}

/// A record that was kept aside in the local file.
#[derive(Debug)]
#[non_exhaustive]
pub struct KeptRecord<C = RetellConfig> {
    /// Its number, in the order in which records were kept.
    pub id: i64,
    /// Its owner.
    pub owner: Owner,
    /// Why it was kept.
    pub why: KeptReason,
    /// The same in words.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Its credentials, if it can be read; `None` for a tombstone.
    pub config: Result<Option<C>>,
    /// Why the [ledger](crate::ledger) could not take this read before it was served. Set only with
    /// [`IfNotNoted::ServeAndSay`](crate::ledger::IfNotNoted::ServeAndSay).
    pub not_noted: Option<Error>,
}

pub(super) async fn kept<C: Credentials>(core: &Core, after: i64, limit: u32) -> Result<Vec<KeptRecord<C>>> {
    let kept = local_file(core)?.kept_after(after, limit).await?;
    let records = kept.iter().filter_map(|kept| core.local_record(&kept.text).ok());
    learn_keys(core, records.map(|record| record.key).collect()).await;
    let opened: Vec<(Kept, Result<Opened>)> = kept.into_iter().map(|kept| open_kept(core, kept)).collect();
    let mut reads = Vec::new();
    for (kept, opened) in &opened {
        let values = opened.as_ref().ok().and_then(|opened| opened.values.as_ref());
        reads.extend(visible_fields(core, values)?.map(|fields| (&kept.owner, fields)));
    }
    let not_noted = note_reads(core, reads).await?;
    Ok(opened.into_iter().map(|(kept, opened)| kept_record(kept, opened, &not_noted)).collect())
}

fn open_kept(core: &Core, kept: Kept) -> (Kept, Result<Opened>) {
    let record = core.local_record(&kept.text);
    let opened = record.and_then(|record| core.open(&record, &kept.owner));
    (kept, opened)
}

fn kept_record<C: Credentials>(
    kept: Kept,
    opened: Result<Opened>,
    not_noted: &Option<Error>,
) -> KeptRecord<C> {
    let why = match kept.kind {
        KeptKind::Superseded => KeptReason::Loser,
        KeptKind::Replaced => KeptReason::Replaced,
        KeptKind::DeadLetter => KeptReason::DeadLetter,
    };
    let config = opened.and_then(|opened| credentials(opened.values, &opened.unknown));
    let Kept { id, owner, reason, at, .. } = kept;
    KeptRecord { id, owner, why, reason, at, config, not_noted: not_noted.clone() }
}

fn local_file(core: &Core) -> Result<&LocalFile> {
    core.local.as_ref().ok_or_else(|| Error::new(ErrorKind::Configuration, "the vault has no local file"))
}
