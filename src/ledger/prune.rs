//! Removes the entries of writers that ended long ago, below a signed checkpoint.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use crate::chain::acceptance::Acceptance;
use crate::chain::entry::{Event, operation};
use crate::chain::numbers::Gap;
use crate::chain::owner_check::Difference;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::accept::{PART, note_gone, write};
use crate::ledger::begin::Notes;
use crate::ledger::copies::LedgerCopies;
use crate::ledger::list::millis;
use crate::ledger::owners::Owners;
use crate::ledger::verify::verify_ledger;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::walk::ended_writers::{WriterEnd, ended_writers, remove_entries, remove_notes};
use crate::store::core::{Core, keeps_changing};
use crate::store::ledger::begun;

/// Owners that change meanwhile make a further pass necessary.
const PASSES: u32 = 5;

/// The result of [`Vault::prune_ledger`](crate::Vault::prune_ledger).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerPruned {
    /// Writers whose entries were removed.
    pub writers: u64,
    /// How many entries these were.
    pub entries: u64,
    /// Owners that got a new entry, because the last one that named their record was removed.
    pub noted: u64,
    /// Notes of removed rows from before the time, which no entry needs any more. They were removed too.
    pub removals: u64,
}

/// Every step can be repeated: what a call that was killed has left is found again.
pub(crate) async fn prune_ledger(
    core: &Arc<Core>,
    copies: &LedgerCopies,
    before: SystemTime,
) -> Result<LedgerPruned> {
    let checkpoint = copies.last.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "no signed checkpoint of the ledger was given").with_hint(
            "give the folder of the checkpoints and the key that verifies them (`--with`, `--verifying-key`)",
        )
    })?;
    if !verify_ledger(core, copies).await?.is_unbroken() {
        let problem = "the ledger and the records do not agree, so nothing of the ledger was removed";
        return Err(Error::new(ErrorKind::LedgerBroken, problem)
            .with_hint("look at `ledger verify`; `ledger accept` makes what it finds the new truth"));
    }
    let (postgres, place) = begun(core)?;
    let ended = ended_writers(&postgres.database, &place, millis(before)).await;
    let own: BTreeSet<Uuid> = core.ledger.known_heads().iter().map(|head| head.writer).collect();
    let covers = |end: &WriterEnd| {
        let head = checkpoint.heads.get(&end.writer);
        head.is_some_and(|head| head.settled >= end.last) && !own.contains(&end.writer)
    };
    let ended: Vec<_> = ended.map_err(|fault| fault.error)?.into_iter().filter(covers).collect();
    let mut pruned = match ended.as_slice() {
        [] => LedgerPruned::default(),
        ended => prune_writers(core, ended).await?,
    };
    let removals = remove_notes(&postgres.database, &postgres.layout().rows_name(), millis(before)).await;
    pruned.removals = removals.map_err(|fault| fault.error)?;
    Ok(pruned)
}

async fn prune_writers(core: &Arc<Core>, ended: &[WriterEnd]) -> Result<LedgerPruned> {
    let (postgres, _) = begun(core)?;
    let mut pruned = LedgerPruned::default();
    let writers: BTreeSet<Uuid> = ended.iter().map(|end| end.writer).collect();
    pruned.noted = note_owners(core, &writers).await?;
    let ranges: Vec<_> =
        ended.iter().map(|end| Gap { writer: end.writer, first: 1, last: end.last }).collect();
    for part in ranges.chunks(PART) {
        let detail = Some(Acceptance::of(part).print());
        write(core, Event { detail, ..core.event_of_place(operation::PRUNE) }).await?;
    }
    for end in ended {
        pruned.entries += remove_entries(&postgres.database, end).await.map_err(|fault| fault.error)?;
        pruned.writers += 1;
    }
    Ok(pruned)
}

/// Adds an entry for every owner whose record only entries of these writers name.
async fn note_owners(core: &Arc<Core>, writers: &BTreeSet<Uuid>) -> Result<u64> {
    let mut noted = 0;
    for _ in 0..PASSES {
        let (done, missed) = pass(core, writers).await.map_err(|fault| fault.error)?;
        noted += done;
        if missed == 0 {
            return Ok(noted);
        }
    }
    Err(keeps_changing())
}

/// Returns how many entries were added, and how many owners changed meanwhile.
async fn pass(core: &Arc<Core>, writers: &BTreeSet<Uuid>) -> Result<(u64, u64), DatabaseError> {
    let (postgres, place) = begun(core)?;
    let plan = postgres.refresh().await?;
    let mut reading = postgres.read_ledger(&plan, &place).await?;
    let mut owners = Owners::new(core, &plan, Default::default()).without(writers.clone());
    let mut notes = Notes::new(core, postgres, &plan, operation::PRUNE);
    let mut gone = 0;
    while let Some(owner) = owners.next(&mut reading).await? {
        if owner.difference == Some(Difference::Vanished) {
            let before = owner.known.map(|known| known.after);
            note_gone(core, operation::PRUNE, &owner.owner, before).await?;
            gone += 1;
        } else if owner.held.is_some() && (owner.known.is_none() || owner.difference.is_some()) {
            // also of a row that does not count now: it may count again later
            notes.add(owner).await?;
        }
    }
    let (noted, missed) = notes.end().await?;
    reading.end().await?;
    Ok((gone + noted, missed))
}
