//! Loads many owners: one statement for many, and a result for each.

use std::time::Instant;

use futures_util::{FutureExt, StreamExt};

use crate::error::{ErrorKind, Result};
use crate::local::file::LocalFile;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::answer::Answer;
use crate::postgres::statements::found_records::{FoundRecords, Row};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::record::owner::Owner;
use crate::record::version::Millis;
use crate::store::core::{Core, LoadedRecord};
use crate::store::fallback::pending;
use crate::store::keyring_check::wrong_keyring;
use crate::store::load::{Found, load, may_lie_elsewhere, newest, read_database, remember};
use crate::store::reload::{has_key_now, reload_keyring};

/// How many owners are processed individually at the same time.
pub(super) const CONCURRENT: usize = 8;
/// How many owners one statement reads, so that it ends long before its time limit.
pub(super) const READ: usize = 1000;

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

/// Part by part. Once a statement has waited in vain, the owners that are left get the same answer.
async fn load_each(core: &Core, owners: &[Owner]) -> Vec<Result<LoadedRecord>> {
    reload_keyring(core).await;
    let mut results = Vec::with_capacity(owners.len());
    for part in owners.chunks(READ) {
        // boxed without its type: otherwise an application's futures become too deep for the compiler
        match load_part(core, part).boxed().await {
            Ok(loaded) => results.extend(loaded),
            Err(error) => {
                results.resize_with(owners.len(), || Err(error.clone()));
                break;
            }
        }
    }
    results
}

/// With one statement. Owners that need a second look are loaded individually.
///
/// # Errors
/// The statement waited as long as it may.
async fn load_part(core: &Core, owners: &[Owner]) -> Result<Vec<Result<LoadedRecord>>> {
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
            return Err(fault.error);
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
    Ok(results.into_iter().map(|result| result.expect("every owner has a result")).collect())
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

/// The statement waited as long as it may, most likely for a lock. A thousand owners that wait one by one would take hours,
/// so all of them get that answer.
pub(super) fn waited_in_vain(postgres: &Postgres, fault: &DatabaseError, started: Instant) -> bool {
    fault.outcome == Outcome::Retry && started.elapsed() >= postgres.database.patience() * 8 / 10
}
