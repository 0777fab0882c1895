//! Many owners at once: one statement for all, and a result for each.

use std::collections::HashSet;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::join;

use crate::error::{Error, ErrorKind, Result};
use crate::local::file::LocalFile;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::answer::Answer;
use crate::postgres::statements::bind::BulkEntry;
use crate::postgres::statements::found_records::{FoundRecords, Row};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::version::{Millis, Version};
use crate::store::core::{Core, LoadedRecord, StoreRequest, StoredRecord};
use crate::store::fallback::{pending, remains_unknown, remember_stored};
use crate::store::keyring_check::{require_own_keyring, wrong_keyring};
use crate::store::ledger::require_ledger;
use crate::store::ledger_writers::Noted;
use crate::store::load::{Found, load, may_lie_elsewhere, newest, read_database, remember};
use crate::store::reload::{has_key_now, reload_keyring};
use crate::store::store::store;

/// How many owners are processed individually at the same time.
pub(super) const CONCURRENT: usize = 8;
/// How many owners one statement of a bulk store writes.
pub(super) const PART: usize = 250;
/// How many of them are sealed before other tasks get a turn: about a tenth of a millisecond of work.
const FEW: usize = 16;

/// Loads many owners. Those whose records name a key that another process has just made are loaded again.
pub(crate) async fn load_many(core: &Core, owners: &[Owner]) -> Vec<Result<LoadedRecord>> {
    let mut results = load_each(core, owners).await;
    let (mut again, mut places) = (Vec::new(), Vec::new());
    for (at, result) in results.iter().enumerate() {
        if let Err(error) = result
            && has_key_now(core, error).await
        {
            again.push(owners[at].clone());
            places.push(at);
        }
    }
    if !again.is_empty() {
        let loaded = Box::pin(load_each(core, &again)).await;
        places.into_iter().zip(loaded).for_each(|(at, result)| results[at] = result);
    }
    explain_all(core, results).await
}

/// With one statement. Owners that need a second look are loaded individually.
async fn load_each(core: &Core, owners: &[Owner]) -> Vec<Result<LoadedRecord>> {
    reload_keyring(core).await;
    let started = Instant::now();
    let mut results: Vec<Option<Result<LoadedRecord>>> = owners.iter().map(|_| None).collect();
    if let Some(postgres) = &core.postgres
        && !core.breaker.is_open(Instant::now())
        && owners.iter().all(|owner| postgres.check_owner(owner).is_ok())
        && let Err(fault) = load_by_one_statement(core, postgres, owners, &mut results).await
    {
        // each owner is loaded individually below, and gets its own error
        tracing::debug!(error = %fault.error, "the bulk load failed");
        core.note(&fault).await;
        if waited_in_vain(postgres, &fault, started) {
            return owners.iter().map(|_| Err(fault.error.clone())).collect();
        }
        results.iter_mut().for_each(|result| *result = None);
    }
    // only unresolved owners need a future, which takes some kilobytes; the futures are collected before the stream,
    // because with a closure that creates them the compiler cannot prove that the whole may be spawned
    let open: Vec<usize> = (0..owners.len()).filter(|at| results[*at].is_none()).collect();
    if !open.is_empty() {
        let single: Vec<_> = open.iter().map(|at| load(core, &owners[*at])).collect();
        let single: Vec<_> = futures_util::stream::iter(single).buffered(CONCURRENT).collect().await;
        open.into_iter().zip(single).for_each(|(at, result)| results[at] = Some(result));
    }
    results.into_iter().map(|result| result.expect("every owner has a result")).collect()
}

/// If the keyring knows none of the table's keys, it is the wrong keyring. Checked once for all owners.
async fn explain_all(core: &Core, results: Vec<Result<LoadedRecord>>) -> Vec<Result<LoadedRecord>> {
    let is_unknown =
        |result: &Result<LoadedRecord>| matches!(result, Err(error) if error.kind() == ErrorKind::UnknownKey);
    let wrong = match results.iter().any(is_unknown) {
        true => wrong_keyring(core).await,
        false => None,
    };
    let Some(wrong) = wrong else { return results };
    let explained = |result| if is_unknown(&result) { Err(wrong.clone()) } else { result };
    results.into_iter().map(explained).collect()
}

/// Fills in the result of every owner whose row is conclusive; leaves the others open.
async fn load_by_one_statement(
    core: &Core,
    postgres: &Postgres,
    owners: &[Owner],
    results: &mut [Option<Result<LoadedRecord>>],
) -> Result<(), DatabaseError> {
    let plan = postgres.plan().await?;
    // read before the database, as in a single load: a record that is pushed in between is then found in the database
    let nothing_pending = nothing_pending(core);
    let mut waiting = Vec::with_capacity(owners.len());
    for owner in owners {
        waiting.push(!nothing_pending && pending(core, owner).await?.is_some());
    }
    // checked only now: a caller that passes an open breaker must report how the server is
    if !plan.has_slots() || core.breaker.blocks(Instant::now()).is_some() {
        return Ok(());
    }
    let all: Vec<&Owner> = owners.iter().collect();
    let mut rows: Vec<(usize, Row, Millis)> = Vec::new();
    let (mut met, mut several) = (vec![false; owners.len()], Vec::new());
    let read = postgres.read_many(&plan, &all, |at, answer| {
        if !plan.is_unique() {
            rows.push((at, answer.read()?, answer.now()?));
        } else if !plan.has_one_row(&owners[at]) || std::mem::replace(&mut met[at], true) {
            several.push(at);
        } else {
            // opened while the next rows arrive
            results[at] = read_row(core, &plan, &owners[at], answer)?;
        }
        Ok(())
    });
    match read.await {
        Err(fault) if fault.outcome == Outcome::Redetect => {
            results.iter_mut().for_each(|result| *result = None);
            postgres.refresh().await?;
            return Ok(());
        }
        read => read?,
    }
    several.into_iter().for_each(|at| results[at] = None);
    core.breaker.success();
    rows.sort_by_key(|(at, _, _)| *at);
    for group in rows.chunk_by(|(a, _, _), (b, _, _)| a == b) {
        let (at, now) = (group[0].0, group[0].2);
        let group: Vec<Row> = group.iter().map(|(_, row, _)| row.clone()).collect();
        let found = FoundRecords::of(&group, &plan.placement.slots, now);
        results[at] = read_found(core, &owners[at], found);
    }
    for ((owner, result), waits) in owners.iter().zip(results).zip(waiting) {
        if waits {
            *result = None;
        } else if let Some(Ok(read)) = result {
            remember(core, owner, read).await;
        }
    }
    Ok(())
}

/// `None` when the catalogue must be read again first.
fn read_row(
    core: &Core,
    plan: &Plan,
    owner: &Owner,
    answer: Answer<'_>,
) -> Result<Option<Result<LoadedRecord>>, DatabaseError> {
    if let Some(record) = answer.only_record()? {
        let read = read_database(core, owner, record);
        return Ok(Some(read).filter(|read| !is_incomplete(read)));
    }
    let found = FoundRecords::of(&[answer.read()?], &plan.placement.slots, answer.now()?);
    Ok(read_found(core, owner, found))
}

fn read_found(core: &Core, owner: &Owner, found: FoundRecords) -> Option<Result<LoadedRecord>> {
    if may_lie_elsewhere(&found) {
        return None;
    }
    Some(newest(core, owner, Found::Records(found), None)).filter(|read| !is_incomplete(read))
}

fn is_incomplete(read: &Result<LoadedRecord>) -> bool {
    read.as_ref().is_err_and(|error| error.kind() == ErrorKind::Incomplete)
}

/// Checked once for a bulk call: a thousand checks would cost more than the rest of it.
pub(super) fn nothing_pending(core: &Core) -> bool {
    core.local.as_ref().is_none_or(LocalFile::nothing_pending)
}

/// Stores many owners with few statements. Owners that these did not write are stored individually, so that every owner
/// gets its own result.
///
/// # Errors
/// `InvalidInput` if an owner appears twice; nothing was written.
pub(crate) async fn store_many(
    core: &Core,
    requests: &[StoreRequest<'_>],
) -> Result<Vec<Result<StoredRecord>>> {
    let mut seen = HashSet::with_capacity(requests.len());
    if let Some(request) = requests.iter().find(|request| !seen.insert(request.owner)) {
        return Err(Error::new(ErrorKind::InvalidInput, format!("owner {} appears twice", request.owner)));
    }
    reload_keyring(core).await;
    let started = Instant::now();
    let mut written: Vec<Option<StoredRecord>> = requests.iter().map(|_| None).collect();
    let mut unknown: Option<Unknown> = None;
    if let Some(postgres) = &core.postgres
        && !core.breaker.is_open(Instant::now())
        && let Err(fault) = store_by_statements(core, postgres, requests, &mut written, &mut unknown).await
    {
        // each owner is stored individually below, and gets its own result
        tracing::debug!(error = %fault.error, "the bulk store failed");
        core.note(&fault).await;
        if waited_in_vain(postgres, &fault, started) || fault.error.kind() == ErrorKind::WrongKeyring {
            return Ok(requests.iter().map(|_| Err(fault.error.clone())).collect());
        }
    }
    let open: Vec<usize> = (0..requests.len()).filter(|at| written[*at].is_none()).collect();
    let single: Vec<_> = open.iter().map(|at| store(core, requests[*at])).collect();
    let single: Vec<_> = futures_util::stream::iter(single).buffered(CONCURRENT).collect().await;
    let mut results: Vec<_> = written.into_iter().map(|written| written.map(Ok)).collect();
    open.into_iter().zip(single).for_each(|(at, result)| results[at] = Some(result));
    for at in unknown.iter().flat_map(|unknown| &unknown.places) {
        results[*at] = results[*at].take().map(|result| {
            result.map_err(|error| match error.kind() {
                ErrorKind::OutcomeUnknown => error,
                _ => remains_unknown(&unknown.as_ref().expect("it has places").error, error),
            })
        });
    }
    Ok(results.into_iter().map(|result| result.expect("every request has a result")).collect())
}

/// The requests that were sent in a statement whose answer was lost.
struct Unknown {
    places: Vec<usize>,
    error: Error,
}

async fn store_by_statements(
    core: &Core,
    postgres: &Postgres,
    requests: &[StoreRequest<'_>],
    written: &mut [Option<StoredRecord>],
    unknown: &mut Option<Unknown>,
) -> Result<(), DatabaseError> {
    let plan = postgres.plan().await?;
    if plan.placement.is_local() || postgres.check_writable(&plan).is_err() || !plan.is_unique() {
        return Ok(());
    }
    let in_the_clear = plan.placement.in_the_clear();
    let mut order: Vec<usize> = Vec::with_capacity(requests.len());
    let nothing_pending = nothing_pending(core);
    for (at, request) in requests.iter().enumerate() {
        // an owner with a pending record, with two forms, or that does not fit the table, is stored individually
        let fits = postgres.check_owner(request.owner).is_ok()
            && plan.has_one_row(request.owner)
            && request.owner.has_one_form();
        if fits && (nothing_pending || pending(core, request.owner).await?.is_none()) {
            order.push(at);
        }
    }
    // checked only now, as in a bulk load
    if order.is_empty() || core.breaker.blocks(Instant::now()).is_some() {
        return Ok(());
    }
    require_own_keyring(core, postgres).await?;
    require_ledger(core, postgres).await?;
    look_at_unseen(core, postgres, &plan, &order.iter().map(|at| requests[*at].owner).collect::<Vec<_>>())
        .await?;
    // owners still not seen are stored individually, in the order of their ids, so that two bulk writers rarely wait for
    // each other
    order.retain(|at| core.seen.get(requests[*at].owner).is_some());
    order.sort_by_key(|at| requests[*at].owner);
    let mut parts = order.chunks(PART);
    let mut versions = HashSet::with_capacity(order.len());
    let mut seal_next = async || {
        let part = parts.next().unwrap_or_default();
        seal_part(core, requests, part, &in_the_clear, &mut versions).await
    };
    let mut part = seal_next().await?;
    while !part.places.is_empty() {
        let SealedPart { places, entries, noted } = part;
        // while the server writes these, the next ones are sealed
        let (done, next) = join(update_many(core, postgres, &plan, &entries, noted), seal_next()).await;
        let done = done.inspect_err(|fault| {
            if fault.outcome == Outcome::Ambiguous {
                *unknown = Some(Unknown { places: places.clone(), error: fault.error.clone() });
            }
        });
        let Some(done) = done? else { return Ok(()) };
        for ((at, entry), _) in places.into_iter().zip(entries).zip(done).filter(|(_, done)| *done) {
            core.seen.holds(entry.owner, entry.record.head());
            let version = entry.record.version;
            if core.offline_reads {
                remember_stored(core, requests[at], Some(entry.record)).await;
            }
            let places = core.places(requests[at], |field| plan.placement.place(field));
            written[at] =
                Some(StoredRecord { version, rows: 1, places, degraded: None, replaced: Vec::new() });
        }
        part = next?;
    }
    Ok(())
}

/// Sealed requests of a bulk write.
#[derive(Default)]
struct SealedPart<'a, 'c> {
    /// Their positions in the call.
    places: Vec<usize>,
    entries: Vec<BulkEntry<'a>>,
    noted: Vec<Noted<'c>>,
}

/// Seals the requests at these positions, and yields to other tasks every few requests.
async fn seal_part<'a, 'c>(
    core: &'c Core,
    requests: &[StoreRequest<'a>],
    part: &[usize],
    in_the_clear: &[Field],
    versions: &mut HashSet<Version>,
) -> Result<SealedPart<'a, 'c>> {
    let mut sealed = SealedPart::default();
    for few in part.chunks(FEW) {
        for at in few {
            let owner = requests[*at].owner;
            let Some(seen) = core.seen.get(owner) else { continue };
            let mut record = core.seal(requests[*at], core.plausible(Some(seen.version)), in_the_clear)?;
            // a record that is moved to another owner of this call must be known by its head
            while !versions.insert(record.version) {
                record = core.seal(requests[*at], Some(record.version), in_the_clear)?;
            }
            let noted = core.note_store(requests[*at], Some(seen.version), &record)?;
            sealed.places.push(*at);
            sealed.entries.push(BulkEntry { owner, record, seen, noted: noted.entry().cloned() });
            sealed.noted.push(noted);
        }
        tokio::task::yield_now().await;
    }
    Ok(sealed)
}

/// Reads the rows of owners that this process has not seen, with one statement, and notes the records that open. The other
/// owners are stored individually.
async fn look_at_unseen(
    core: &Core,
    postgres: &Postgres,
    plan: &Plan,
    owners: &[&Owner],
) -> Result<(), DatabaseError> {
    let unseen: Vec<&Owner> = owners.iter().copied().filter(|owner| core.seen.get(owner).is_none()).collect();
    if unseen.is_empty() {
        return Ok(());
    }
    let read = postgres.read_many(plan, &unseen, |at, answer| {
        if let Some(record) = answer.only_record()?
            && core.verify(&record, unseen[at]).is_ok()
        {
            core.seen.holds(unseen[at], record.head());
        }
        Ok(())
    });
    match read.await {
        Err(fault) if fault.outcome == Outcome::Redetect => postgres.refresh().await.map(drop),
        read => read,
    }
}

/// Whether each was written. `None`: the statement was certainly not applied, and its owners are left to the individual
/// stores.
async fn update_many(
    core: &Core,
    postgres: &Postgres,
    plan: &Plan,
    entries: &[BulkEntry<'_>],
    noted: Vec<Noted<'_>>,
) -> Result<Option<Vec<bool>>, DatabaseError> {
    let started = Instant::now();
    let done = postgres.update_many(plan, entries).await;
    match Noted::settle_each(noted, done) {
        Ok(done) => {
            core.breaker.success();
            Ok(Some(done))
        }
        Err(fault) if matches!(fault.outcome, Outcome::Redetect) => {
            postgres.refresh().await?;
            Ok(None)
        }
        Err(fault)
            if matches!(fault.outcome, Outcome::Fallback | Outcome::Ambiguous)
                || waited_in_vain(postgres, &fault, started) =>
        {
            Err(fault)
        }
        Err(_) => Ok(None),
    }
}

/// The statement waited as long as it may, most likely for a lock. A thousand owners that wait one by one would take hours,
/// so all of them get that answer.
fn waited_in_vain(postgres: &Postgres, fault: &DatabaseError, started: Instant) -> bool {
    fault.outcome == Outcome::Retry && started.elapsed() >= postgres.database.patience() * 8 / 10
}
