//! Moves a record to its owner's new id: it is re-encrypted for the new id, and a tombstone stays under the old one.

use std::time::Instant;

use crate::chain::entry::operation;
use crate::crypto::sealer;
use crate::error::{Error, ErrorKind, Result};
use crate::local::entries::KeptKind;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::bind::Written;
use crate::postgres::statements::found_records::FoundRecords;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::read::FoundRows;
use crate::postgres::statements::write::Rewrite;
use crate::record::contents::Contents;
use crate::record::owner::Owner;
use crate::record::record::Record;
use crate::record::values::Values;
use crate::record::version::Version;
use crate::store::actor::refuse_secrets_in_actor;
use crate::store::core::{Change, Core, ROUNDS, StoreRequest, StoredRecord, pause};
use crate::store::fallback::{keep, pending};
use crate::store::judge::with_vouched;
use crate::store::keyring_check::{explain, require_own_keyring};
use crate::store::ledger::require_ledger;
use crate::store::options::StoreOptions;
use crate::store::reload::{has_key_now, reload_keyring};
use crate::store::sync::sync_owner;

/// Moves the record of one owner to another, which has none. The record is in the row of `from`, or in the row of `to` if
/// the application has already moved the row.
///
/// # Errors
/// On error nothing was moved, except with `OutcomeUnknown`: then it may have been, and the same call finds out.
/// `NotFound`; `Conflict` if `to` has a record; `UnknownOwner` if `to` has no row and the application creates the rows;
/// `Incomplete` if a token is in a column that this program does not know; `Unavailable` in an outage; otherwise as a
/// store.
pub(crate) async fn rename_owner(core: &Core, from: &Owner, to: &Owner) -> Result<StoredRecord> {
    reload_keyring(core).await;
    let Some(postgres) = &core.postgres else {
        return Err(Error::new(
            ErrorKind::Configuration,
            "moving a record needs a database, and none is configured",
        ));
    };
    if from == to {
        return Err(Error::new(ErrorKind::InvalidInput, "both owners are the same"));
    }
    [from, to].into_iter().try_for_each(|owner| postgres.check_owner(owner))?;
    if let Some(error) = core.breaker.blocks(Instant::now()) {
        return Err(error);
    }
    let renaming = Renaming { core, postgres, from, to };
    let mut done = renaming.run().await;
    if let Err(fault) = &done
        && has_key_now(core, &fault.error).await
    {
        done = Box::pin(renaming.run()).await;
    }
    match done {
        Ok(stored) => {
            core.breaker.success();
            Ok(stored)
        }
        Err(fault) => {
            core.note(&fault).await;
            Err(explain(core, fault.error).await)
        }
    }
}

struct Renaming<'a> {
    core: &'a Core,
    postgres: &'a Postgres,
    from: &'a Owner,
    to: &'a Owner,
}

/// A record that opens, and what belongs to it.
type OpenedRecord = (Record, Contents);

impl Renaming<'_> {
    async fn run(&self) -> Result<StoredRecord, DatabaseError> {
        require_own_keyring(self.core, self.postgres).await?;
        require_ledger(self.core, self.postgres).await?;
        self.sync_both().await?;
        let mut sent = None;
        let mut last: Option<DatabaseError> = None;
        for round in 0..ROUNDS {
            let fault = match self.round(&mut sent).await {
                Ok(Some(stored)) => return Ok(stored),
                Ok(None) => {
                    pause(round).await;
                    continue;
                }
                Err(fault) => fault,
            };
            // from here on no error may claim that nothing was moved
            let was_lost = last.as_ref().is_some_and(|last| last.outcome == Outcome::Ambiguous);
            match fault.outcome {
                Outcome::Redetect if !was_lost => drop(self.postgres.refresh().await?),
                Outcome::Retry | Outcome::Pooler => pause(round).await,
                // the next round sees whether it arrived
                Outcome::Ambiguous => {}
                Outcome::Duplicate if last.is_none() => {}
                Outcome::ReadOnly if !was_lost => {
                    return Err(self.postgres.database.why_read_only().await.into());
                }
                _ => return Err(last.filter(|last| last.outcome == Outcome::Ambiguous).unwrap_or(fault)),
            }
            last = last.filter(|last| last.outcome == Outcome::Ambiguous).or(Some(fault));
        }
        let busy = || {
            Error::new(
                ErrorKind::Busy,
                "gave up after several attempts: other writers kept changing these rows",
            )
        };
        Err(last.unwrap_or_else(|| busy().into()))
    }

    /// The pending record is newer than the record in the database.
    async fn sync_both(&self) -> Result<(), DatabaseError> {
        let plan = self.postgres.plan_with_room().await?;
        if pending(self.core, self.from).await?.is_some()
            && self.postgres.read(&plan, self.from).await?.rows.is_empty()
        {
            let message = format!(
                "a record of {} is pending in the local file, and this owner no longer has a row",
                self.from
            );
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("restore the row's old id and synchronise, or erase the pending record with `retell-vault forget`")
                .into());
        }
        for owner in [self.from, self.to] {
            sync_owner(self.core, owner).await?;
        }
        Ok(())
    }

    /// `None`: the rows changed, so they must be read again. `sent` is what an earlier round may have written.
    async fn round(&self, sent: &mut Option<Version>) -> Result<Option<StoredRecord>, DatabaseError> {
        let Self { core, postgres, from, to } = self;
        let plan = postgres.plan_with_room().await?;
        let (theirs, target) = (postgres.read(&plan, from).await?, postgres.read(&plan, to).await?);
        let Look { own, moved } = self.look(&plan, to, &target)?;
        if let Some((there, _)) = own.as_ref().filter(|(there, _)| Some(there.version) == *sent) {
            let values = core.open(there, to)?.values.unwrap_or_default();
            let left = self.look(&plan, from, &theirs).ok().and_then(|look| look.own);
            self.conclude(there, left.as_ref().map(|(left, _)| left)).await?;
            return Ok(Some(self.stored(&plan, &values, there.version, &target)));
        }
        let left = self.look(&plan, from, &theirs)?.own;
        let there = [&own, &moved, &left].into_iter().flatten().map(|(there, _)| Some(there.version));
        let seen = there.chain([from, to].map(|owner| core.seen_version(owner))).max().flatten();
        if let Some((there, _)) = own.filter(|(_, contents)| !contents.is_tombstone()) {
            return Err(conflict(to, there.version).into());
        }
        let is_moved = moved.is_some();
        let mut sources: Vec<OpenedRecord> = [left, moved].into_iter().flatten().collect();
        sources.retain(|(_, contents)| !contents.is_tombstone());
        sources.sort_by_key(|(record, _)| record.version);
        let Some((record, before)) = sources.pop() else {
            return Err(Error::from(ErrorKind::NotFound).into());
        };
        for (older, _) in sources {
            keep(core, from, KeptKind::Superseded, &older.packed(), "a newer record was moved").await?;
        }
        let (values, change) = self.values(&record, before)?;
        let request =
            StoreRequest { change: Some(&change), ..StoreRequest::new(to, &values, StoreOptions::new()) };
        let moved = core.seal(request, seen, &plan.placement.in_the_clear())?;
        let nothing = Values::new();
        let tombstone = StoreRequest::new(from, &nothing, StoreOptions::new());
        let tombstone = core.seal(tombstone, seen, &[])?;

        let kept = core.seal_rest(StoreRequest::new(from, &values, StoreOptions::new()), record)?;
        let reason = format!("the record as it was before it was moved to {to}");
        keep(core, from, KeptKind::Superseded, &kept.packed(), &reason).await?;
        *sent = Some(moved.version);
        let arrives = core.note_change(operation::RENAME, to, None, &moved)?;
        let leaves = core.note_change(operation::RENAME, from, Some(kept.version), &tombstone)?;
        let moves = [
            Rewrite {
                owner: to,
                written: Written { record: &moved, vouched: None, only: None, entry: arrives.entry() },
                // a value that moved with its row is vouched for by the previous owner's record
                old: with_vouched(core, &plan, if is_moved { from } else { to }, &target.rows),
            },
            Rewrite {
                owner: from,
                written: Written { record: &tombstone, vouched: None, only: None, entry: leaves.entry() },
                old: with_vouched(core, &plan, from, &theirs.rows),
            },
        ];
        let done = postgres.move_record(&plan, moves).await;
        let done = arrives.settle(done, |is_done| *is_done);
        if !leaves.settle(done, |is_done| *is_done)? {
            return Ok(None);
        }
        self.conclude(&moved, (!theirs.rows.is_empty()).then_some(&tombstone)).await?;
        Ok(Some(self.stored(&plan, &values, moved.version, &target)))
    }

    /// The newest record in the rows of an owner that opens for this owner, and the newest that opens for the previous one.
    ///
    /// # Errors
    /// The error of anything else that is there: it may belong to another owner.
    fn look(&self, plan: &Plan, owner: &Owner, rows: &FoundRows) -> Result<Look> {
        let found = FoundRecords::of(&rows.rows, &plan.placement.slots, rows.now);
        if let Some(error) = found.unrecognised_error() {
            return Err(error.about(owner));
        }
        let mut look = Look::default();
        for found in &found.records {
            let record = match (&found.record, self.core.problem(found)) {
                (Ok(record), None) if !found.ahead => record,
                (_, Some(problem)) => return Err(problem.about(owner)),
                _ => {
                    let error =
                        Error::new(ErrorKind::Malformed, "its version is more than a day in the future");
                    return Err(error.about(owner));
                }
            };
            let (place, contents) = match self.core.verify(record, owner) {
                Ok(contents) => (&mut look.own, contents),
                Err(error) => match self.core.verify(record, self.from) {
                    Ok(contents) => (&mut look.moved, contents),
                    Err(_) => return Err(error.about(owner)),
                },
            };
            place.get_or_insert_with(|| (record.clone(), contents));
        }
        Ok(look)
    }

    /// The values of the record, and how the new record vouches for them: as the previous one did.
    fn values(&self, record: &Record, before: Contents) -> Result<(Values, Change)> {
        let core = self.core;
        let keyring = core.keyring.holding(record.key);
        sealer::check_whole(record, core.scope(self.from), keyring.opener(record.key)?, |_| false)?;
        let opened = core.open(record, self.from)?;
        let mut values = opened.values.ok_or(ErrorKind::NotFound)?;
        refuse_secrets_in_actor(&core.fields, &values)?;
        // values that other programs put into plain columns do not belong to the record
        for field in opened.changed_outside.iter().filter(|field| !before.lists(**field)) {
            values.put(*field, None);
        }
        // a newer program's plain field whose column was empty when it was sealed
        for field in record.tokens().iter().map(|token| token.field) {
            if !field.is_reserved() && !core.fields.knows(field) && values.get(field).is_none() {
                values.put(field, Some("null".to_owned().into()));
            }
        }
        Ok((values, Change { before, plain: Vec::new() }))
    }

    /// What this process and the local file remember of both.
    async fn conclude(&self, moved: &Record, tombstone: Option<&Record>) -> Result<()> {
        let Self { core, from, to, .. } = self;
        core.seen.holds(to, moved.head());
        match tombstone {
            Some(tombstone) => drop(core.seen.holds(from, tombstone.head())),
            None => core.seen.gone(from),
        }
        let Some(local) = &core.local else { return Ok(()) };
        for owner in [from, to] {
            if let Err(error) = local.remove_replica(owner, &core.rows()).await {
                tracing::warn!(%error, "the offline replica of a renamed owner could not be removed");
            }
        }
        Ok(())
    }

    fn stored(&self, plan: &Plan, values: &Values, version: Version, target: &FoundRows) -> StoredRecord {
        let request = StoreRequest::new(self.to, values, StoreOptions::new());
        let places = self.core.places(request, |field| plan.placement.place(field));
        let rows = target.rows.len().max(1) as u64;
        StoredRecord { version, rows, places, degraded: None, replaced: Vec::new() }
    }
}

/// What the rows of an owner hold.
#[derive(Default)]
struct Look {
    /// A record of this owner.
    own: Option<OpenedRecord>,
    /// A record of the previous owner, which is to be renamed.
    moved: Option<OpenedRecord>,
}

fn conflict(to: &Owner, version: Version) -> Error {
    let message = format!("{to} already has a record, with version {version}");
    Error::new(ErrorKind::Conflict, message).with_hint("delete it first if you do not need it")
}
