//! One owner's newest record: the local file's pending one, or the database's.

use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::local::entries::LocalRecord;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::found_records::FoundRecords;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::record::owner::Owner;
use crate::record::record::Record;
use crate::record::values::Values;
use crate::store::core::{Core, LoadedRecord, ROUNDS, StoreRequest, pause};
use crate::store::fallback::{forget_seen, pending, remember_stored};
use crate::store::faults::{Call, Way, unreachable};
use crate::store::keyring_check::explain;
use crate::store::options::StoreOptions;
use crate::store::reload::{has_key_now, reload_keyring};

const KEEPS_CHANGING: &str = "the schema of the table keeps changing";

/// The newest record of an owner. A tombstone is an answer too.
///
/// # Errors
/// `NotFound`; `Unavailable` if the database is unreachable and nothing is kept locally; `WrongKeyring` if the record is
/// under an unknown key, like all of the table; any other error of the newest record. An older record is never returned
/// instead.
pub(crate) async fn load(core: &Core, owner: &Owner) -> Result<LoadedRecord> {
    match load_newest(core, owner).await {
        Err(error) if has_key_now(core, &error).await => load_newest(core, owner).await,
        Err(error) => Err(explain(core, error).await),
        loaded => loaded,
    }
}

async fn load_newest(core: &Core, owner: &Owner) -> Result<LoadedRecord> {
    reload_keyring(core).await;
    let pending = pending(core, owner).await?;
    let Some(postgres) = &core.postgres else {
        return load_without_database(core, owner, pending);
    };
    postgres.check_owner(owner)?;
    if let Some(error) = core.breaker.blocks(Instant::now()) {
        return load_offline(core, owner, pending, error).await;
    }
    match find_records(postgres, owner).await {
        Ok(found) => {
            core.breaker.success();
            if found.is_empty() {
                forget_seen(core, owner).await;
            }
            let mut read = match newest(core, owner, found, pending.clone()) {
                Err(error) if error.kind() == ErrorKind::Incomplete => {
                    look_again(core, postgres, owner, pending, error).await?
                }
                read => read?,
            };
            remember(core, owner, &mut read).await;
            Ok(read)
        }
        Err(fault) => {
            core.note(&fault).await;
            match fault.outcome {
                Outcome::Fallback => load_offline(core, owner, pending, fault.error).await,
                _ => Err(fault.error),
            }
        }
    }
}

/// From the local file alone. In a vault in memory that is the database, unless a fault is switched on.
fn load_without_database(core: &Core, owner: &Owner, found: Option<LocalRecord>) -> Result<LoadedRecord> {
    let Some(faults) = &core.faults else {
        return read_local(core, owner, &found.ok_or(ErrorKind::NotFound)?, false);
    };
    let is_local = faults.way(Call::Load, owner)? == Way::LocalFile;
    let nothing = || if is_local { unreachable() } else { ErrorKind::NotFound.into() };
    let read = read_local(core, owner, &found.ok_or_else(nothing)?, is_local)?;
    Ok(LoadedRecord { local: is_local, ..read })
}

/// What the database holds for an owner.
pub(super) enum Found {
    /// One record and nothing else, as almost always.
    Record(Record),
    Records(FoundRecords),
}

impl Found {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Records(found) if found.records.is_empty())
    }
}

/// A missing token may be in a column that this process does not know yet.
async fn look_again(
    core: &Core,
    postgres: &Postgres,
    owner: &Owner,
    pending: Option<LocalRecord>,
    error: Error,
) -> Result<LoadedRecord> {
    match postgres.refresh_if_older().await.map_err(|fault| fault.error)? {
        Some(_) => {
            let found = find_records(postgres, owner).await.map_err(|fault| fault.error)?;
            newest(core, owner, found, pending)
        }
        None => Err(error),
    }
}

fn read_local(core: &Core, owner: &Owner, record: &LocalRecord, stale: bool) -> Result<LoadedRecord> {
    let record = core.local_record(&record.text)?;
    let opened = core.open(&record, owner)?;
    Ok(LoadedRecord {
        opened,
        version: record.version,
        local: true,
        stale,
        seen: None,
        record: None,
        not_stored: None,
    })
}

pub(super) fn read_database(core: &Core, owner: &Owner, record: Record) -> Result<LoadedRecord> {
    let opened = core.open(&record, owner)?;
    let version = record.version;
    Ok(LoadedRecord {
        opened,
        version,
        local: false,
        stale: false,
        seen: None,
        record: Some(record),
        not_stored: None,
    })
}

/// The newer of the database's record and the pending one.
pub(super) fn newest(
    core: &Core,
    owner: &Owner,
    found: Found,
    pending: Option<LocalRecord>,
) -> Result<LoadedRecord> {
    let found = match found {
        Found::Records(found) => found,
        Found::Record(record) => {
            let newer = pending.filter(|pending| pending.version > record.version);
            return match newer {
                Some(pending) => read_local(core, owner, &pending, false),
                None => read_database(core, owner, record),
            };
        }
    };
    let nothing_there = found.records.is_empty() && found.unrecognised_error().is_none();
    let older_there = found.records.first().is_some_and(|first| {
        let pending = pending.as_ref().map(|pending| pending.version);
        first.ahead || first.version.is_some_and(|version| Some(version) < pending)
    });
    if let (Some(pending), true) = (pending, nothing_there || older_there) {
        return read_local(core, owner, &pending, false);
    }
    let unrecognised = found.unrecognised_error();
    let others = core.of_other_credentials(&found);
    let problem = found.records.first().and_then(|found| core.problem(found));
    let read = found.newest().and_then(|record| read_database(core, owner, record));
    read.map_err(|error| match (unrecognised, others, problem) {
        (Some(unrecognised), _, _) => unrecognised,
        (_, Some(others), _) if error.kind() == ErrorKind::Incomplete => others,
        (_, _, problem) => problem.unwrap_or(error),
    })
}

/// Answers without the database, and says so.
pub(super) async fn load_offline(
    core: &Core,
    owner: &Owner,
    pending: Option<LocalRecord>,
    error: Error,
) -> Result<LoadedRecord> {
    let replica = match (&core.local, core.offline_reads) {
        (Some(local), true) => local.replica(owner, &core.rows()).await?,
        _ => None,
    };
    let newest = pending.into_iter().chain(replica).max_by_key(|record| record.version);
    match newest {
        Some(record) => read_local(core, owner, &record, true),
        None => Err(error),
    }
}

/// Notes an answer of the database, and keeps it for times when the database is down, if that was requested. An answer
/// older than what this process has already seen is stale: it comes from a replica, or from a restored database.
pub(super) async fn remember(core: &Core, owner: &Owner, read: &mut LoadedRecord) {
    if let (false, Some(record)) = (read.local, &read.record)
        && core.plausible(Some(read.version)).is_some()
    {
        let newest = core.seen.holds(owner, record.head()).version;
        read.seen = Some(newest).filter(|newest| *newest > read.version);
        read.stale |= read.seen.is_some();
    }
    if core.offline_reads {
        let nothing = Values::new();
        let values = read.opened.values.as_ref().unwrap_or(&nothing);
        let request = StoreRequest::new(owner, values, StoreOptions::new());
        remember_stored(core, request, read.record.clone()).await;
    }
}

/// Everything that the database holds for an owner.
pub(super) async fn find_records(postgres: &Postgres, owner: &Owner) -> Result<Found, DatabaseError> {
    let (started, limit) = (Instant::now(), postgres.database.patience());
    let (mut last, mut plan, mut round) = (None, None, 0);
    while round < ROUNDS {
        let mut moves = false;
        match find_records_once(postgres, owner).await {
            Ok(found) => return Ok(found),
            Err(fault) => match fault.outcome {
                Outcome::Redetect => {
                    let now = postgres.refresh().await?;
                    let then = plan.replace(now.clone());
                    moves = then.is_none_or(|then| then.placement != now.placement);
                }
                Outcome::Retry | Outcome::Pooler => {
                    pause(round).await;
                    last = Some(fault);
                }
                // an old connection may be dead while the server is fine: retry once, on a tested one
                Outcome::Fallback if round == 0 => last = Some(fault),
                _ => return Err(fault),
            },
        }
        if started.elapsed() > limit {
            break;
        }
        // if columns are added one after another, only time ends it
        round += u32::from(!moves);
    }
    Err(last.unwrap_or_else(|| Error::new(ErrorKind::Busy, KEEPS_CHANGING).into()))
}

async fn find_records_once(postgres: &Postgres, owner: &Owner) -> Result<Found, DatabaseError> {
    let plan = postgres.plan_with_table().await?;
    let found = read(postgres, &plan, owner).await?;
    if !matches!(&found, Found::Records(found) if may_lie_elsewhere(found)) {
        return Ok(found);
    }
    // columns that are not known yet may hold it
    match postgres.refresh_if_older().await? {
        Some(plan) => read(postgres, &plan, owner).await,
        None => Ok(found),
    }
}

async fn read(postgres: &Postgres, plan: &Plan, owner: &Owner) -> Result<Found, DatabaseError> {
    if !plan.has_slots() {
        return Ok(Found::Records(FoundRecords::default()));
    }
    if let Some(record) = postgres.read_record(plan, owner).await? {
        return Ok(Found::Record(record));
    }
    let found = postgres.read(plan, owner).await?;
    Ok(Found::Records(FoundRecords::of(&found.rows, &plan.placement.slots, found.now)))
}

/// Before `NotFound` and `Incomplete` are returned, the catalogue is read again.
pub(super) fn may_lie_elsewhere(found: &FoundRecords) -> bool {
    match found.records.first() {
        None => true,
        Some(found) => found.record.as_ref().is_err_and(|error| error.kind() == ErrorKind::Incomplete),
    }
}
