//! Notes which values callers get to see, and which operations were refused. Most of these entries are written in the background.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use crate::chain::entry::{Event, operation};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::errors::DatabaseError;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::values::Values;
use crate::store::actor::{acting_now, refuse_secrets_in_actor};
use crate::store::core::Core;
use crate::store::ledger_work::write_alone;
use crate::store::waiting_entries::{IfNotNoted, Reads, RefusedOperation, Taken, WaitingEntry, of_fields};

/// How long reads are folded.
const FOLD: Duration = Duration::from_secs(60);
/// How many entries one statement writes.
const PART: usize = 250;
/// So many owners that are read at once do not leave their entries to the background: memory is bounded.
const MANY_OWNERS: usize = 1000;

/// Fields of an owner that a caller is about to see.
pub(crate) type Read<'a> = (&'a Owner, Vec<Field>);

/// The names of the fields that a caller is about to see. `None`: there is nothing to note.
///
/// # Errors
/// `InvalidInput` if a text about the actor holds a secret value of them.
pub(crate) fn visible_fields(core: &Core, values: Option<&Values>) -> Result<Option<Vec<Field>>> {
    let Some(values) = values else { return Ok(None) };
    refuse_secrets_in_actor(&core.fields, values)?;
    Ok(has_ledger(core).then(|| values.fields().collect()))
}

/// Notes that a caller is about to see these fields. Returns why they could not be noted, if they may be served all the same.
///
/// # Errors
/// With [`IfNotNoted::Refuse`] why they could not be noted.
pub(crate) async fn note_reads(core: &Core, reads: Vec<Read<'_>>) -> Result<Option<Error>> {
    if reads.is_empty() || !has_ledger(core) {
        return Ok(None);
    }
    // boxed: the futures of most loads are small
    match core.ledger.waiting.mode {
        Reads::Folded if reads.len() <= MANY_OWNERS && core.host.is_some() => {
            fold(core, reads);
            Ok(None)
        }
        Reads::Folded => {
            Box::pin(fold_many(core, reads)).await;
            Ok(None)
        }
        Reads::Before(if_not_noted) => Box::pin(note_before(core, reads, if_not_noted)).await,
    }
}

/// Notes later that these fields were read.
pub(crate) fn fold_read(core: &Core, owner: &Owner, fields: Vec<Field>) {
    if has_ledger(core) {
        core.ledger.waiting.read(owner, fields, acting_now(), core.now_ms());
    }
}

fn fold(core: &Core, reads: Vec<Read<'_>>) {
    reads.into_iter().for_each(|(owner, fields)| fold_read(core, owner, fields));
}

/// Writes what waits in between: nothing else may do it in time.
async fn fold_many(core: &Core, reads: Vec<Read<'_>>) {
    let mut reads = reads.into_iter().peekable();
    while reads.peek().is_some() {
        fold(core, reads.by_ref().take(MANY_OWNERS).collect());
        if core.ledger.waiting.are_many() {
            write_waiting(core, Taken::All).await;
        }
    }
}

async fn note_before(core: &Core, reads: Vec<Read<'_>>, if_not_noted: IfNotNoted) -> Result<Option<Error>> {
    let Err(fault) = write_reads(core, &reads).await else { return Ok(None) };
    let error = fault.about("the read could not be noted");
    match if_not_noted {
        IfNotNoted::Refuse => Err(error),
        IfNotNoted::ServeAndSay => {
            warn_once(core, &error);
            fold(core, reads);
            Ok(Some(error))
        }
    }
}

async fn write_reads(core: &Core, reads: &[Read<'_>]) -> Result<()> {
    for part in reads.chunks(PART) {
        let event = |(owner, fields): &Read<'_>| {
            let event = core.event(operation::READ, owner);
            (core.now_ms(), Event { detail: Some(of_fields(fields).to_string()), ..event })
        };
        write(core, &part.iter().map(event).collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Does not wait for a server that was dead a moment ago, unless this is the last chance.
async fn write(core: &Core, events: &[(i64, Event)]) -> Result<()> {
    if !core.is_closed()
        && let Some(error) = core.breaker.blocks(Instant::now())
    {
        return Err(error);
    }
    match write_alone(core, events).await {
        Ok(_) => {
            core.breaker.success();
            Ok(())
        }
        Err(fault) => {
            core.note(&fault).await;
            let DatabaseError { error, .. } = fault;
            Err(error)
        }
    }
}

/// Does an operation, and notes if it was refused because of the record that is there.
///
/// It is not an `async fn`, which would hold the call twice.
pub(crate) fn noting_refusal<T>(
    core: &Core,
    operation: &'static str,
    owner: &Owner,
    call: impl Future<Output = Result<T>>,
) -> impl Future<Output = Result<T>> {
    let note = move |error: &Error| note_refusal(core, operation, owner, error);
    call.map(move |result| result.inspect_err(note))
}

/// Notes that an operation was refused because of the record that is there. It is written later, and at most once a second for
/// each owner and kind.
pub(crate) fn note_refusal(core: &Core, operation: &'static str, owner: &Owner, error: &Error) {
    if !is_of_record(error.kind()) || !has_ledger(core) {
        return;
    }
    let refusal = RefusedOperation {
        at_ms: core.now_ms(),
        operation,
        owner: owner.clone(),
        actor: acting_now(),
        kind: error.kind(),
        skipped: 0,
    };
    core.ledger.waiting.refused(Instant::now(), refusal);
}

/// Whether the record that is there is the reason. A process with the keyring of another table has no key for its ledger.
fn is_of_record(kind: ErrorKind) -> bool {
    use ErrorKind::{
        Conflict, ForeignValue, Incomplete, LedgerBroken, Malformed, UnknownKey, Unsealable,
        UnsupportedFormat,
    };
    matches!(
        kind,
        Conflict
            | ForeignValue
            | Incomplete
            | LedgerBroken
            | Malformed
            | UnknownKey
            | Unsealable
            | UnsupportedFormat
    )
}

fn has_ledger(core: &Core) -> bool {
    core.postgres.is_some() && core.keyring.has_ledger()
}

/// Writes what waits, for as long as the vault lives.
pub(crate) fn write_in_background(core: &Arc<Core>) {
    if core.host.is_some() && core.postgres.is_some() {
        tokio::spawn(keep_writing(Arc::downgrade(core)));
    }
}

async fn keep_writing(core: Weak<Core>) {
    let mut next = tokio::time::Instant::now() + FOLD;
    loop {
        let Some(wake) = core.upgrade().map(|core| core.ledger.waiting.wake.clone()) else { return };
        let what = tokio::select! {
            () = tokio::time::sleep_until(next) => Taken::All,
            () = wake.many.notified() => Taken::All,
            () = wake.refused.notified() => Taken::Refusals,
        };
        if what == Taken::All {
            next = tokio::time::Instant::now() + FOLD;
        }
        let Some(core) = core.upgrade().filter(|core| !core.is_closed()) else { return };
        Box::pin(write_waiting(&core, what)).await;
    }
}

/// Writes what waits now. What cannot be written waits on.
pub(crate) async fn write_waiting(core: &Core, what: Taken) {
    if !has_ledger(core) {
        return;
    }
    let _alone = core.ledger.waiting.writing.lock().await;
    let mut unwritten = Unwritten { core, entries: core.ledger.waiting.take(what) };
    while !unwritten.entries.is_empty() {
        let part = unwritten.entries.len().min(PART);
        let events: Vec<_> =
            unwritten.entries.range(..part).map(|entry| core.event_of_waiting(entry)).collect();
        match write(core, &events).await {
            Ok(()) => {
                drop(unwritten.entries.drain(..part));
                core.ledger.waiting.written(part);
            }
            // if its answer was lost, these entries may be written twice, which is better than never
            Err(error) => return warn_once(core, &error),
        }
    }
}

fn warn_once(core: &Core, error: &Error) {
    if core.ledger.waiting.failed(error.clone()) {
        tracing::warn!(%error, "the ledger does not take entries about reads and refused operations; they wait in memory");
    }
}

/// Taken and not written yet. It goes back when it is dropped.
struct Unwritten<'a> {
    core: &'a Core,
    entries: VecDeque<WaitingEntry>,
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        if !self.entries.is_empty() {
            self.core.ledger.waiting.put_back(std::mem::take(&mut self.entries));
        }
    }
}
