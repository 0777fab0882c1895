//! Stores many owners: few statements, and a result for each.

use std::collections::HashSet;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::join;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::bind::BulkEntry;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::version::Version;
use crate::store::core::{Core, StoreRequest, StoredRecord};
use crate::store::fallback::{pending, remains_unknown, remember_stored};
use crate::store::keyring_check::require_own_keyring;
use crate::store::ledger::require_ledger;
use crate::store::ledger_writers::Noted;
use crate::store::load_many::{CONCURRENT, READ, nothing_pending, waited_in_vain};
use crate::store::reload::reload_keyring;
use crate::store::store::store;

/// How many owners one statement writes.
pub(super) const PART: usize = 250;
/// How many of them are sealed before other tasks get a turn: about a tenth of a millisecond of work.
const FEW: usize = 16;

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
            return Ok(written.into_iter().map(|done| done.ok_or_else(|| fault.error.clone())).collect());
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

/// Reads the rows of owners that this process has not seen, many with one statement, and notes the records that open. The
/// other owners are stored individually.
async fn look_at_unseen(
    core: &Core,
    postgres: &Postgres,
    plan: &Plan,
    owners: &[&Owner],
) -> Result<(), DatabaseError> {
    let unseen: Vec<&Owner> = owners.iter().copied().filter(|owner| core.seen.get(owner).is_none()).collect();
    for part in unseen.chunks(READ) {
        let read = postgres.read_many(plan, part, |at, answer| {
            if let Some(record) = answer.only_record()?
                && core.verify(&record, part[at]).is_ok()
            {
                core.seen.holds(part[at], record.head());
            }
            Ok(())
        });
        match read.await {
            Err(fault) if fault.outcome == Outcome::Redetect => return postgres.refresh().await.map(drop),
            read => read?,
        }
    }
    Ok(())
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
