//! Records that an import stores: many owners at once, each only where there is nothing newer.

use futures_util::StreamExt;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::bind::BulkEntry;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::record::owner::Owner;
use crate::store::core::{Core, LoadedRecord, StoreRequest, StoredRecord};
use crate::store::fallback::pending;
use crate::store::keyring_check::require_own_keyring;
use crate::store::ledger::require_ledger;
use crate::store::ledger_writers::Noted;
use crate::store::load::read_database;
use crate::store::load_many::{CONCURRENT, nothing_pending};
use crate::store::options::Expected;
use crate::store::reload::reload_keyring;
use crate::store::store::store_expected;
use crate::store::store_many::PART;

/// Reads the records of many owners with one statement. `None`: there is none, or the owner must be loaded individually.
pub(crate) async fn peek_many(core: &Core, owners: &[&Owner]) -> Result<Vec<Option<LoadedRecord>>> {
    let mut found: Vec<Option<LoadedRecord>> = owners.iter().map(|_| None).collect();
    let Some(postgres) = &core.postgres else { return Ok(found) };
    let plan = postgres.plan().await.map_err(|fault| fault.error)?;
    let places = one_by_one(core, postgres, &plan, owners).await?;
    if places.is_empty() {
        return Ok(found);
    }
    let read: Vec<&Owner> = places.iter().map(|at| owners[*at]).collect();
    let done = postgres.read_many(&plan, &read, |at, answer| {
        if let Some(record) = answer.only_record()? {
            found[places[at]] = read_database(core, read[at], record).ok();
        }
        Ok(())
    });
    match done.await {
        Ok(()) => Ok(found),
        Err(fault) if fault.outcome == Outcome::Redetect => {
            postgres.refresh().await.map_err(|fault| fault.error)?;
            Ok(owners.iter().map(|_| None).collect())
        }
        Err(fault) => {
            core.note(&fault).await;
            Err(fault.error)
        }
    }
}

/// The owners that a statement for many can handle: with one row, and without a pending record.
async fn one_by_one(core: &Core, postgres: &Postgres, plan: &Plan, owners: &[&Owner]) -> Result<Vec<usize>> {
    let mut places = Vec::with_capacity(owners.len());
    if !plan.is_unique() || plan.placement.is_local() {
        return Ok(places);
    }
    let nothing_pending = nothing_pending(core);
    for (at, owner) in owners.iter().enumerate() {
        let fits = postgres.check_owner(owner).is_ok() && plan.has_one_row(owner) && owner.has_one_form();
        if fits && (nothing_pending || pending(core, owner).await?.is_none()) {
            places.push(at);
        }
    }
    Ok(places)
}

/// What became of each request. `None`: it was not stored yet.
pub(crate) type StoreResults = Vec<Option<Result<StoredRecord>>>;

/// Fills the rows that hold no record, with one statement for many. The others stay open.
///
/// # Errors
/// `WrongKeyring`; what was written until then stays.
pub(crate) async fn fill_rows(core: &Core, requests: &[StoreRequest<'_>]) -> Result<StoreResults> {
    reload_keyring(core).await;
    let mut results: StoreResults = requests.iter().map(|_| None).collect();
    if let Some(postgres) = &core.postgres
        && let Err(fault) = fill_empty_rows(core, postgres, requests, &mut results).await
    {
        core.note(&fault).await;
        if fault.error.kind() == ErrorKind::WrongKeyring {
            return Err(fault.error);
        }
        // each is stored individually below, and meets the same fault if it lasts
        tracing::debug!(error = %fault.error, "a statement of the import failed");
    }
    Ok(results)
}

/// Stores each request that is still open, as its options expect.
pub(crate) async fn store_open(core: &Core, requests: &[StoreRequest<'_>], results: &mut StoreResults) {
    let open: Vec<usize> = (0..results.len()).filter(|at| results[*at].is_none()).collect();
    let single: Vec<_> = open.iter().map(|at| store_expected(core, requests[*at])).collect();
    let single: Vec<_> = futures_util::stream::iter(single).buffered(CONCURRENT).collect().await;
    for (at, result) in open.into_iter().zip(single) {
        results[at] = Some(result.map_err(|not_stored| not_stored.error));
    }
}

async fn fill_empty_rows(
    core: &Core,
    postgres: &Postgres,
    requests: &[StoreRequest<'_>],
    results: &mut StoreResults,
) -> Result<(), DatabaseError> {
    let plan = postgres.plan_with_room().await?;
    if postgres.check_writable(&plan).is_err() {
        return Ok(()); // the individual stores say why
    }
    let owners: Vec<&Owner> = requests.iter().map(|request| request.owner).collect();
    let mut places = one_by_one(core, postgres, &plan, &owners).await?;
    // a plain column that the application has filled is not overwritten, so its row is read first
    let sets_plain = |at: usize| {
        let mut plain = plan.placement.plain.iter();
        plain.any(|plain| requests[at].values.get(plain.field).is_some())
    };
    places.retain(|at| may_be_first(core, requests[*at]) && !sets_plain(*at));
    if places.is_empty() {
        return Ok(());
    }
    require_own_keyring(core, postgres).await?;
    require_ledger(core, postgres).await?;
    // two imports rarely wait for each other if both go in the order of the ids
    places.sort_by_key(|at| owners[*at]);
    let in_the_clear = plan.placement.in_the_clear();
    for part in places.chunks(PART) {
        let (mut entries, mut noted) = (Vec::with_capacity(part.len()), Vec::with_capacity(part.len()));
        for at in part {
            let record = core.seal(requests[*at], None, &in_the_clear)?;
            // no row holds this record yet, so only rows without any are written
            let entry = core.note_store(requests[*at], None, &record)?;
            let (seen, of_ledger) = (record.head(), entry.entry().cloned());
            entries.push(BulkEntry { owner: owners[*at], seen, record, noted: of_ledger });
            noted.push(entry);
        }
        let done = postgres.update_many(&plan, &entries).await;
        let done = match Noted::settle_each(noted, done) {
            Err(fault) if fault.outcome == Outcome::Redetect => {
                postgres.refresh().await?;
                return Ok(());
            }
            done => done?,
        };
        for ((at, entry), _) in part.iter().zip(entries).zip(done).filter(|(_, done)| *done) {
            core.seen.holds(entry.owner, entry.record.head());
            results[*at] = Some(Ok(StoredRecord {
                version: entry.record.version,
                rows: 1,
                places: Vec::new(),
                degraded: None,
                replaced: Vec::new(),
            }));
        }
    }
    Ok(())
}

/// Whether the owner may have no record yet, as far as this process knows.
fn may_be_first(core: &Core, request: StoreRequest<'_>) -> bool {
    let replaces_text = request.import.is_some_and(|import| !import.over.is_empty());
    request.options.expected == Some(Expected::Absent)
        && !replaces_text
        && core.seen.get(request.owner).is_none()
}

/// Whether an import should stop: the next owners would meet the same.
pub(crate) fn stops_import(error: &Error) -> bool {
    use ErrorKind::{AccessDenied, LedgerUnavailable, OutcomeUnknown, Schema, Unavailable, WrongKeyring};
    matches!(
        error.kind(),
        Unavailable | OutcomeUnknown | WrongKeyring | AccessDenied | Schema | LedgerUnavailable
    )
}
