//! Going through what is stored: owners page by page, what was kept, and forgetting it.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::placement::Slot;
use crate::local::file::{Kept, KeptKind, LocalFile, LocalRecord};
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::found_records::{FoundRecords, Row};
use crate::postgres::statements::plan::Postgres;
use crate::record::credentials::Credentials;
use crate::record::owner::Owner;
use crate::record::record::Record;
use crate::record::version::{Millis, Version};
use crate::retell::config::RetellConfig;
use crate::store::core::Core;
use crate::vault::answers::{Source, credentials};

/// What was erased from the local file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forgotten {
    /// Records that the database had not got yet, or that lay only here.
    pub pending: u64,
    /// Copies of what the database holds.
    pub replicas: u64,
    /// Losers, replaced texts and dead letters.
    pub kept: u64,
}

pub(super) async fn forget(core: &Core, owner: &Owner) -> Result<Forgotten> {
    let counts = local_file(core)?.forget(owner).await?;
    let kept = counts.superseded + counts.replaced + counts.dead_letters;
    Ok(Forgotten { pending: counts.pending, replicas: counts.replicas, kept })
}

/// How the newest record of an owner does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordState {
    /// It opens.
    Readable,
    /// It was deleted: a tombstone.
    Deleted,
    /// It cannot be read, for this reason.
    Unreadable(ErrorKind),
}

/// One owner with a record.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListEntry {
    /// The owner.
    pub owner: Owner,
    /// The version of the newest record, where that can be told.
    pub version: Option<Version>,
    /// Where the newest record is.
    pub source: Source,
    /// How it does.
    pub state: RecordState,
}

/// One page of owners.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListPage {
    /// The owners, in the order of tenant and user.
    pub entries: Vec<ListEntry>,
    /// Whether there may be more after the last one.
    pub more: bool,
}

pub(super) async fn list(core: &Core, after: Option<&Owner>, limit: u32) -> Result<ListPage> {
    let limit = limit.max(1);
    let mut entries = match &core.postgres {
        Some(postgres) => list_database(core, postgres, after, limit).await.map_err(|fault| fault.error)?,
        None => Vec::new(),
    };
    let mut more = entries.len() >= limit as usize;
    if let Some(local) = &core.local {
        let pending = local.pending_after(after, limit).await?;
        more |= pending.len() >= limit as usize;
        entries.extend(pending.iter().map(|pending| list_pending(core, pending)));
    }
    // of one owner's two entries the newer comes first, and stays
    entries.sort_by(|a, b| a.owner.cmp(&b.owner).then(b.version.cmp(&a.version)));
    entries.dedup_by(|later, first| later.owner == first.owner);
    more |= entries.len() > limit as usize;
    entries.truncate(limit as usize);
    Ok(ListPage { entries, more })
}

async fn list_database(
    core: &Core,
    postgres: &Postgres,
    after: Option<&Owner>,
    limit: u32,
) -> Result<Vec<ListEntry>, DatabaseError> {
    let plan = postgres.plan().await?;
    if !plan.has_slots() {
        return Ok(Vec::new());
    }
    let rows = postgres.list(&plan, after, limit).await?;
    let entries =
        rows.into_iter().map(|(owner, row, now)| list_row(core, owner, row, now, &plan.placement.slots));
    Ok(entries.collect())
}

fn list_row(core: &Core, owner: Owner, row: Row, now: Millis, slots: &[Slot]) -> ListEntry {
    let found = FoundRecords::of(&[row], slots, now);
    let version = found.records.first().and_then(|found| found.version);
    let state = state_of(core, &owner, found.newest());
    ListEntry { owner, version, source: Source::Database, state }
}

fn list_pending(core: &Core, pending: &LocalRecord) -> ListEntry {
    let state = state_of(core, &pending.owner, core.local_record(&pending.text));
    ListEntry { owner: pending.owner.clone(), version: Some(pending.version), source: Source::Local, state }
}

fn state_of(core: &Core, owner: &Owner, record: Result<Record>) -> RecordState {
    match record.and_then(|record| core.open(&record, owner)) {
        Ok(opened) if opened.values.is_some() => RecordState::Readable,
        Ok(_) => RecordState::Deleted,
        Err(error) => RecordState::Unreadable(error.kind()),
    }
}

/// Why a record was kept aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeptReason {
    /// It lost against another record of its owner.
    Loser,
    /// It could not be read, and a store replaced it.
    Replaced,
    /// The database will never take it.
    DeadLetter,
}

/// A record that was kept aside in the local file.
#[derive(Debug)]
#[non_exhaustive]
pub struct KeptRecord<C = RetellConfig> {
    /// Its number, in the order in which records were kept.
    pub id: i64,
    /// Whose it is.
    pub owner: Owner,
    /// Why it was kept.
    pub why: KeptReason,
    /// The same in words.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// What it holds, if it can be read: `None` for a tombstone.
    pub config: Result<Option<C>>,
}

pub(super) async fn kept<C: Credentials>(core: &Core, after: i64, limit: u32) -> Result<Vec<KeptRecord<C>>> {
    let kept = local_file(core)?.kept_after(after, limit).await?;
    Ok(kept.into_iter().map(|kept| open_kept(core, kept)).collect())
}

fn open_kept<C: Credentials>(core: &Core, kept: Kept) -> KeptRecord<C> {
    let record = core.local_record(&kept.text);
    let opened = record.and_then(|record| core.open(&record, &kept.owner));
    let why = match kept.kind {
        KeptKind::Superseded => KeptReason::Loser,
        KeptKind::Replaced => KeptReason::Replaced,
        KeptKind::DeadLetter => KeptReason::DeadLetter,
    };
    let config = opened.and_then(|opened| credentials(opened.values, &opened.unknown));
    KeptRecord { id: kept.id, owner: kept.owner, why, reason: kept.reason, at: kept.at, config }
}

fn local_file(core: &Core) -> Result<&LocalFile> {
    core.local.as_ref().ok_or_else(|| Error::new(ErrorKind::Configuration, "the vault has no local file"))
}
