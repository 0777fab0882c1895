//! Accepts what a verification found: afterwards it is no alarm any more.

use std::sync::Arc;

use uuid::Uuid;

use crate::chain::acceptance::Acceptance;
use crate::chain::entry::{Event, digest, operation};
use crate::chain::numbers::Gap;
use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::copies::LedgerCopies;
use crate::ledger::verify::{LedgerGap, LedgerVerification, verify_alone, verify_ledger};
use crate::record::contents::Contents;
use crate::record::owner::Owner;
use crate::record::values::Values;
use crate::record::version::Version;
use crate::store::actor::acting_now;
use crate::store::core::{Core, StoreRequest};
use crate::store::ledger::{begun, require_ledger};
use crate::store::ledger_work::write_alone;
use crate::store::modify::{Changed, modify};
use crate::store::options::StoreOptions;
use crate::store::store::store;

/// How many ranges one entry accepts: the table takes a detail of at most 8,000 bytes, and a range has up to 81.
pub(super) const PART: usize = 90;

/// The result of [`Vault::accept_ledger`](crate::Vault::accept_ledger).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerAccepted {
    /// Ranges of entries that are missing, altered or replaced.
    pub ranges: u64,
    /// Records that were stored again as they are, under a new version.
    pub stored: u64,
    /// Owners whose record is gone.
    pub gone: u64,
    /// Owners that stay as they are: their tokens do not open, or their record cannot be stored.
    pub left: Vec<Owner>,
}

pub(crate) async fn accept_ledger(core: &Arc<Core>, copies: &LedgerCopies) -> Result<LedgerAccepted> {
    if acting_now().is_none_or(|actor| actor.reason().is_none()) {
        return Err(Error::new(ErrorKind::InvalidInput, "the ledger is accepted without a reason")
            .with_hint(
                "say what happened, for example which backup was restored (`--reason`, `Vault::as_actor`)",
            ));
    }
    let (postgres, _) = begun(core)?;
    require_ledger(core, postgres).await.map_err(|fault| fault.error)?;
    let found = verify_ledger(core, copies).await?;
    let mut done = LedgerAccepted::default();
    let ranges: Vec<Gap> = [&found.missing, &found.altered, &found.replaced, &found.ledger_went_back]
        .into_iter()
        .flatten()
        .filter_map(range)
        .collect();
    done.ranges = ranges.len() as u64;
    for part in ranges.chunks(PART) {
        let detail = Some(Acceptance::of(part).print());
        write(core, Event { detail, ..core.event_of_place(operation::ACCEPT) }).await?;
    }
    accept_owners(core, &found, &mut done).await?;
    // an owner whose entry is gone or altered, and of which only a copy names the state
    accept_owners(core, &verify_alone(core).await?, &mut done).await?;
    Ok(done)
}

async fn accept_owners(core: &Core, found: &LedgerVerification, done: &mut LedgerAccepted) -> Result<()> {
    for one in found.went_back.iter().chain(&found.appeared) {
        match store_again(core, &one.owner).await {
            Ok(()) => done.stored += 1,
            Err(error) if error.is_retryable() => return Err(error),
            Err(_) => done.leave(&one.owner),
        }
    }
    for one in &found.vanished {
        note_gone(core, operation::ACCEPT, &one.owner, one.expected).await?;
        done.gone += 1;
    }
    found.unreadable.iter().for_each(|one| done.leave(&one.owner));
    Ok(())
}

impl LedgerAccepted {
    fn leave(&mut self, owner: &Owner) {
        if !self.left.contains(owner) {
            self.left.push(owner.clone());
        }
    }
}

/// The record as it is, under a version that is newer than any that the ledger names.
async fn store_again(core: &Core, owner: &Owner) -> Result<()> {
    let unchanged = modify(core, owner, |values, _| Ok(Changed { before: values.clone(), after: values }));
    match unchanged.await {
        // a deleted record
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let nothing = Values::new();
            store(core, StoreRequest::new(owner, &nothing, StoreOptions::new())).await.map(drop)
        }
        stored => stored.map(drop),
    }
}

/// An entry by which the owner's record was deleted after this version.
pub(super) async fn note_gone(
    core: &Core,
    operation: &'static str,
    owner: &Owner,
    before: Option<Version>,
) -> Result<()> {
    let random = u16::from_be_bytes(random::system_bytes()?);
    let after = Version::next(core.now(), before, random);
    let digest = core.ledger_key().map(|key| digest(&key, owner, after, &Contents::default()).to_vec());
    let before = before.map(|version| version.to_string());
    let event = core.event(operation, owner);
    write(core, Event { before, after: Some(after.to_string()), digest, ..event }).await
}

pub(super) async fn write(core: &Core, event: Event) -> Result<()> {
    write_alone(core, &[(core.now_ms(), event)]).await.map(drop).map_err(|fault| fault.error)
}

fn range(gap: &LedgerGap) -> Option<Gap> {
    let number = |number: u64| i64::try_from(number).ok();
    Some(Gap {
        writer: Uuid::parse_str(&gap.writer).ok()?,
        first: number(gap.first)?,
        last: number(gap.last)?,
    })
}
