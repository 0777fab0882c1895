//! What the vault answers with.

use std::path::PathBuf;
use std::time::Instant;

use crate::config::RetellConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::field::Field;
use crate::keyring::KeyInfo;
use crate::local::LocalRecord;
use crate::owner::Owner;
use crate::placement::Place;
use crate::postgres::Postgres;
use crate::record::{Record, Row, Survey};
use crate::router::{Read, Router, Written};
use crate::version::{Millis, Version};

/// What became of a store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stored {
    /// The version of the record now.
    pub version: Version,
    /// Where every field that was set is.
    pub places: Vec<(Field, Place)>,
    /// Why the record is in the local file although a database was named.
    pub degraded: Option<String>,
    /// Why records that could not be read were replaced. Their text is kept in the local file.
    pub replaced: Vec<String>,
}

impl From<Written> for Stored {
    fn from(written: Written) -> Self {
        let Written { version, places, degraded, replaced } = written;
        Self { version, places, degraded, replaced }
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The database.
    Database,
    /// The local file.
    Local,
}

impl Source {
    /// `database` or `local`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Local => "local",
        }
    }
}

/// A configuration, and where it came from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// The configuration.
    pub config: RetellConfig,
    /// The version of its record.
    pub version: Version,
    /// Where it came from.
    pub source: Source,
    /// The database was not asked, and may hold a newer one.
    pub stale: bool,
    /// Plain fields that are left out because their column holds something that is not a valid value.
    pub ignored: Vec<Field>,
}

impl TryFrom<Read> for Loaded {
    type Error = Error;

    fn try_from(read: Read) -> Result<Self> {
        let config = read.opened.config.ok_or(ErrorKind::NotFound)?;
        let source = if read.local { Source::Local } else { Source::Database };
        Ok(Self { config, version: read.version, source, stale: read.stale, ignored: read.opened.ignored })
    }
}

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

pub(super) async fn forget(router: &Router, owner: &Owner) -> Result<Forgotten> {
    let local = router.local.as_ref();
    let local = local.ok_or_else(|| Error::new(ErrorKind::Configuration, "the vault has no local file"))?;
    let counts = local.forget(owner).await?;
    let kept = counts.losers + counts.replaced + counts.dead_letters;
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

pub(super) async fn list(router: &Router, after: Option<&Owner>, limit: u32) -> Result<ListPage> {
    let limit = limit.max(1);
    let mut entries = match &router.postgres {
        Some(postgres) => list_database(router, postgres, after, limit).await.map_err(|fault| fault.error)?,
        None => Vec::new(),
    };
    let mut more = entries.len() >= limit as usize;
    if let Some(local) = &router.local {
        let pending = local.pending_after(after, limit).await?;
        more |= pending.len() >= limit as usize;
        entries.extend(pending.iter().map(|pending| list_pending(router, pending)));
    }
    // of one owner's two entries the newer comes first, and stays
    entries.sort_by(|a, b| a.owner.cmp(&b.owner).then(b.version.cmp(&a.version)));
    entries.dedup_by(|later, first| later.owner == first.owner);
    more |= entries.len() > limit as usize;
    entries.truncate(limit as usize);
    Ok(ListPage { entries, more })
}

async fn list_database(
    router: &Router,
    postgres: &Postgres,
    after: Option<&Owner>,
    limit: u32,
) -> Result<Vec<ListEntry>, crate::classify::Fault> {
    let plan = postgres.plan().await?;
    if !plan.has_slots() {
        return Ok(Vec::new());
    }
    let rows = postgres.list(&plan, after, limit).await?;
    let entries =
        rows.into_iter().map(|(owner, row, now)| list_row(router, owner, row, now, &plan.placement.slots));
    Ok(entries.collect())
}

fn list_row(
    router: &Router,
    owner: Owner,
    row: Row,
    now: Millis,
    slots: &[crate::placement::Slot],
) -> ListEntry {
    let survey = Survey::of(&[row], slots, now);
    let version = survey.candidates.first().and_then(|candidate| candidate.version);
    let state = state_of(router, &owner, survey.newest());
    ListEntry { owner, version, source: Source::Database, state }
}

fn list_pending(router: &Router, pending: &LocalRecord) -> ListEntry {
    let state = state_of(router, &pending.owner, router.local_record(&pending.text));
    ListEntry { owner: pending.owner.clone(), version: Some(pending.version), source: Source::Local, state }
}

fn state_of(router: &Router, owner: &Owner, record: Result<Record>) -> RecordState {
    match record.and_then(|record| router.is_tombstone(&record, owner)) {
        Ok(false) => RecordState::Readable,
        Ok(true) => RecordState::Deleted,
        Err(error) => RecordState::Unreadable(error.kind()),
    }
}

/// How things stand.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// The database, if one was named.
    pub database: Option<DatabaseStatus>,
    /// The local file, if there is one.
    pub local: Option<LocalStatus>,
    /// Where the keyring lies.
    pub keyring: PathBuf,
    /// The keys, oldest first.
    pub keys: Vec<KeyInfo>,
}

/// How the database does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DatabaseStatus {
    /// Host, port and database name.
    pub address: String,
    /// The table, with its schema.
    pub table: String,
    /// Whether it answers.
    pub reachable: bool,
    /// What is wrong: why it does not answer, or why nothing can be stored in it.
    pub problem: Option<String>,
    /// Whether every operation runs in a transaction of its own, for a transaction pooler.
    pub transaction_pooler: bool,
    /// Whether callers are being kept from waiting for a dead server.
    pub breaker_open: bool,
    /// The columns that can hold tokens.
    pub slots: Vec<SlotStatus>,
    /// Where a write would put every field.
    pub places: Vec<(Field, Place)>,
}

/// A column that can hold tokens.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SlotStatus {
    /// Its name.
    pub column: String,
    /// Whether it is the JSONB config column; else it is a text column.
    pub json: bool,
    /// The fields that a write puts there.
    pub fields: Vec<Field>,
}

/// How the local file does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LocalStatus {
    /// Where it lies.
    pub path: PathBuf,
    /// Records that the database has not got yet. Without a database: all records.
    pub pending: u64,
    /// Copies for reading while the database is away.
    pub replicas: u64,
    /// Records that lost against a newer one.
    pub losers: u64,
    /// Texts that could not be read and were replaced.
    pub replaced: u64,
    /// Records that the database refused.
    pub dead_letters: u64,
    /// Damaged local files that were set aside.
    pub set_aside: Vec<PathBuf>,
}

pub(super) async fn status(router: &Router) -> Result<Status> {
    let database = match &router.postgres {
        Some(postgres) => Some(database_status(router, postgres).await),
        None => None,
    };
    let local = match &router.local {
        None => None,
        Some(local) => {
            let counts = local.counts().await?;
            Some(LocalStatus {
                path: local.path().to_owned(),
                pending: counts.pending,
                replicas: counts.replicas,
                losers: counts.losers,
                replaced: counts.replaced,
                dead_letters: counts.dead_letters,
                set_aside: local.set_aside(),
            })
        }
    };
    Ok(Status { database, local, keyring: router.keyring.path().to_owned(), keys: router.keyring.keys() })
}

async fn database_status(router: &Router, postgres: &Postgres) -> DatabaseStatus {
    let mut status = DatabaseStatus {
        address: postgres.database.address(),
        table: postgres.table_name(),
        reachable: true,
        problem: None,
        transaction_pooler: postgres.database.is_transactional(),
        breaker_open: router.breaker.is_open(Instant::now()),
        slots: Vec::new(),
        places: Vec::new(),
    };
    let plan = match postgres.refresh().await {
        Ok(plan) => plan,
        Err(fault) => {
            router.note(&fault);
            status.reachable = fault.outcome == crate::classify::Outcome::Reject;
            status.problem = Some(fault.error.to_string());
            return status;
        }
    };
    router.breaker.success();
    let slot = |slot: &crate::placement::Slot| SlotStatus {
        column: slot.column.clone(),
        json: slot.json,
        fields: slot.fields.clone(),
    };
    status.slots = plan.placement.slots.iter().map(slot).collect();
    status.places =
        Field::ALL.into_iter().map(|field| (field, plan.placement.place(field).clone())).collect();
    status.problem = match (&plan.placement.unwritable, plan.placement.is_local()) {
        (Some(column), _) => Some(format!("column {column} may not be written")),
        (None, true) => Some(format!("{} has no column that can hold a configuration", status.table)),
        (None, false) => None,
    };
    status
}
