//! Pushes one pending record to the database. What the row holds decides the outcome.

use crate::chain::entry::operation;
use crate::chain::local_event::LocalEvent;
use crate::crypto::random;
use crate::crypto::sealer;
use crate::error::{Error, ErrorKind, Result};
use crate::index::entries::column_text;
use crate::keyring::keys::KeyState;
use crate::local::entries::{Base, KeptKind, LocalRecord};
use crate::local::file::LocalFile;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::bind::Written;
use crate::postgres::statements::found_records::{FoundRecords, Row};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::read::FoundRows;
use crate::record::record::Record;
use crate::record::version::Millis;
use crate::store::core::{Core, ROUNDS, StoreRequest, pause};
use crate::store::fallback::{forget_seen, keep};
use crate::store::judge::{Verdict, judge, keep_tokens, with_vouched};
use crate::store::keyring_check::require_own_keyring;
use crate::store::ledger::require_ledger;
use crate::store::options::StoreOptions;
use crate::store::push_rule::{Push, There, Waiting, push};
use crate::store::reload::has_key_now;

const DAY: Millis = 24 * 60 * 60 * 1000;
/// A pending record that the database refuses goes to the dead letters after this many tries and a day, or at once if a
/// constraint refuses it. A trigger of the application may fail for a moment, or until it is fixed.
const TRIES: u32 = 5;
/// A pending record that was based on a row longer ago than this goes to the dead letters: too much may have happened to
/// the row since.
const MAX_PENDING: Millis = 30 * DAY;

/// The outcome for one pending record.
pub(super) enum Settled {
    Pushed {
        overwrote: bool,
    },
    Superseded,
    DeadLetter,
    /// It is no longer pending: another process has pushed, replaced or deleted it since it was read.
    Gone,
    /// It stays pending for a reason that does not concern other records.
    Blocked(Error),
}

/// One pending record that is being pushed.
pub(super) struct Delivery<'a> {
    pub(super) core: &'a Core,
    pub(super) postgres: &'a Postgres,
    pub(super) local: &'a LocalFile,
    pub(super) pending: &'a LocalRecord,
    /// When the local file was first used with a database, if it was before this synchronisation.
    pub(super) used_since: Option<Millis>,
}

impl Delivery<'_> {
    pub(super) async fn settle(&self) -> Result<Settled, DatabaseError> {
        // boxed: otherwise an application's futures become too deep for the compiler
        let settled = Box::pin(self.settle_with_keys()).await;
        let is_worth_a_try = match &settled {
            Err(fault) => has_key_now(self.core, &fault.error).await,
            Ok(Settled::Blocked(error)) => has_key_now(self.core, error).await,
            Ok(_) => false,
        };
        if is_worth_a_try { Box::pin(self.settle_with_keys()).await } else { settled }
    }

    /// With the keys in memory.
    async fn settle_with_keys(&self) -> Result<Settled, DatabaseError> {
        if !self.core.waits_here(self.pending) {
            let message = format!("it is pending for {}", self.pending.rows);
            return Ok(Settled::Blocked(Error::new(ErrorKind::Configuration, message)));
        }
        require_own_keyring(self.core, self.postgres).await?;
        require_ledger(self.core, self.postgres).await?;
        let record = match self.record() {
            Ok(record) => record,
            Err(error) if error.kind() == ErrorKind::UnknownKey => return Err(error.into()),
            Err(error) => return self.dead_letter(&error.to_string()).await,
        };
        let (mut unexplained, mut was_duplicate, mut was_cut) = (0, false, false);
        for round in 0..ROUNDS {
            let fault = match self.settle_once(&record).await {
                Ok(Some(settled)) => return Ok(settled),
                Ok(None) => {
                    unexplained += 1;
                    continue;
                }
                Err(fault) => fault,
            };
            match fault.outcome {
                Outcome::Retry | Outcome::Pooler => pause(round).await,
                Outcome::Redetect => drop(self.postgres.refresh().await?),
                // another writer may have created the row
                Outcome::Duplicate if !std::mem::replace(&mut was_duplicate, true) => {}
                Outcome::Duplicate | Outcome::Reject => return self.refused(fault).await,
                // a connection from before a restart of the server; a push that has arrived is recognised by its version
                Outcome::Fallback | Outcome::Ambiguous
                    if fault.was_connected && !std::mem::replace(&mut was_cut, true) => {}
                Outcome::ReadOnly => {
                    let why = self.postgres.database.why_read_only().await;
                    if why.kind() == ErrorKind::Unavailable {
                        return Err(DatabaseError::new(Outcome::TakesNoWrites, why));
                    }
                    if round > 0 {
                        return Err(DatabaseError::new(Outcome::TakesNoWrites, fault.error));
                    }
                    // the sessions date from before a failover: new ones may write
                    self.postgres.database.rebuild();
                }
                _ => return Err(fault),
            }
        }
        let message = match unexplained >= 2 {
            true => "a policy or a trigger prevents the write",
            false => "the database stayed busy",
        };
        Err(Error::new(ErrorKind::Busy, message).into())
    }

    /// The record of the pending entry, with plain values for the columns of the database.
    fn record(&self) -> Result<Record> {
        let owner = &self.pending.owner;
        let record = self.core.local_record(&self.pending.text)?;
        let keyring = self.core.keyring.holding(record.key);
        let root = keyring.opener(record.key)?;
        let record = sealer::with_plain_texts(record, self.core.scope(owner), root, &self.core.fields)?;
        // nothing is pushed under a key that has since been retired: a rotation may have counted the database already
        let keyring = self.core.keyring.for_sealing()?;
        let is_retired = keyring.get(record.key).is_some_and(|key| key.info.state == KeyState::Retired);
        if !is_retired {
            return Ok(record);
        }
        let tokens = random::with_rng(|rng| {
            let opener = |key| keyring.opener_for_reencryption(key);
            sealer::reencrypt_whole(record.tokens(), self.core.scope(owner), keyring.primary(), opener, rng)
        })??;
        Record::new(tokens, record.plain)
    }

    /// The record with its entries for the index. The local file keeps none: they depend on the columns, and on the keys of now.
    fn indexed(&self, plan: &Plan, record: &Record) -> Result<Record> {
        let values = self.core.open(record, &self.pending.owner)?.values.unwrap_or_default();
        let (subkeys, in_the_clear) = (&self.core.keyring.current().subkeys, plan.placement.in_the_clear());
        let index = column_text(subkeys, &self.core.fields, &values, &in_the_clear);
        Ok(record.clone().with_index(index))
    }

    /// The database refuses it.
    async fn refused(&self, fault: DatabaseError) -> Result<Settled, DatabaseError> {
        let kind = fault.error.kind();
        if fault.is_for_good || kind == ErrorKind::InvalidInput {
            return self.dead_letter(&fault.error.to_string()).await;
        }
        // any other error describes the state of the server, not the record
        if !matches!(kind, ErrorKind::Rejected | ErrorKind::UnknownOwner) {
            return Err(fault);
        }
        let (now, pending) = (self.core.now(), self.pending);
        let (tries, since) = self.local.note_refusal(&pending.owner, &pending.text, now).await?;
        if tries >= TRIES && now.saturating_sub(since) >= DAY {
            return self.dead_letter(&format!("refused {tries} times: {}", fault.error)).await;
        }
        Ok(Settled::Blocked(fault.error))
    }

    /// `None`: the rows changed, so they must be read again.
    async fn settle_once(&self, record: &Record) -> Result<Option<Settled>, DatabaseError> {
        let Self { core, postgres, pending, .. } = self;
        let plan = postgres.plan_with_room().await?;
        let waits = self.local.pending(&pending.owner).await?;
        if waits.is_none_or(|waits| waits.text != pending.text) {
            return Ok(Some(Settled::Gone));
        }
        // only once the database could take it: until then it belongs here. A record that was never based on a row cannot
        // have been overtaken unnoticed
        if pending.base != Base::Unknown && core.now().saturating_sub(pending.at) > MAX_PENDING {
            return self.dead_letter("it was pending for more than 30 days").await.map(Some);
        }
        let is_tombstone = core.is_tombstone(record, &pending.owner)?;
        let found = postgres.read(&plan, &pending.owner).await?;
        if self.used_since.is_none() {
            self.local.note_used_since(core.now()).await?;
        }
        match found.rows.is_empty() {
            true => self.create(&plan, record, is_tombstone).await,
            false => self.decide(&plan, record, is_tombstone, &found).await,
        }
    }

    /// What a push may do, given what the rows hold.
    fn rule(&self, is_tombstone: bool, there: There) -> Push {
        let LocalRecord { base, version, at, .. } = *self.pending;
        // a record that was stored before there was a database cannot have been pushed by a later state of a restored file
        let was_used = self.used_since.is_some_and(|since| at >= since);
        let may_create = !was_used || self.core.now().saturating_sub(at) <= DAY;
        push(Waiting { base, version, is_tombstone, may_create }, there)
    }

    /// Keeps the record that the push replaces, unless the pending record was based on it.
    async fn keep_overwritten(&self, plan: &Plan, record: &Record, rows: &[Row]) -> Result<bool> {
        let Self { core, pending, .. } = self;
        let found = FoundRecords::of(rows, &plan.placement.slots, core.now());
        let newest = found.records.into_iter().next();
        let Some(newest) = newest.filter(|newest| newest.version.is_some_and(|there| there < record.version))
        else {
            return Ok(false);
        };
        if matches!(pending.base, Base::Version(base) if newest.version == Some(base)) {
            return Ok(false);
        }
        let reason = "a record that another process had stored, replaced by a newer one from this local file";
        match newest.record.and_then(|record| self.sealed_whole(record)) {
            Ok(text) => keep(core, &pending.owner, KeptKind::Superseded, &text, reason).await?,
            Err(_) => keep_tokens(core, &pending.owner, KeptKind::Superseded, rows, reason).await?,
        }
        Ok(true)
    }

    /// A record of the database with its plain columns sealed too.
    fn sealed_whole(&self, record: Record) -> Result<String> {
        let owner = &self.pending.owner;
        let opened = self.core.open(&record, owner)?;
        let values = &opened.values.unwrap_or_default();
        let request = StoreRequest::new(owner, values, StoreOptions::new());
        Ok(self.core.seal_rest(request, record)?.packed())
    }

    /// The owner has no row: one is created only if there was none before.
    async fn create(
        &self,
        plan: &Plan,
        record: &Record,
        is_tombstone: bool,
    ) -> Result<Option<Settled>, DatabaseError> {
        let owner = &self.pending.owner;
        forget_seen(self.core, owner).await;
        if let Some(settled) = self.without_writing(self.rule(is_tombstone, There::NoRow)).await? {
            return Ok(Some(settled));
        }
        let record = &self.indexed(plan, record)?;
        let noted = self.core.note_change(operation::SYNC, owner, None, record)?;
        let written = Written { record, vouched: None, only: None, entry: noted.entry() };
        let done = self.postgres.insert(plan, owner, written).await;
        match noted.settle(done, |created| *created)? {
            true => self.pushed(record, false).await.map(Some),
            false => Ok(None),
        }
    }

    /// The row exists.
    async fn decide(
        &self,
        plan: &Plan,
        record: &Record,
        is_tombstone: bool,
        found: &FoundRows,
    ) -> Result<Option<Settled>, DatabaseError> {
        let Self { core, postgres, pending, .. } = self;
        let owner = &pending.owner;
        let (newest, verdict) = match judge(core, plan, owner, Some(record), found, StoreOptions::new())? {
            Verdict::SameWrite => return self.pushed(record, false).await.map(Some),
            Verdict::Overwrite { newest, keep } => (newest, Ok(keep)),
            Verdict::Refuse { error, newest } => (newest, Err(error)),
        };
        let there = newest.map_or(There::NoRecord, |newest| match newest.is_tombstone {
            true => There::Tombstone(newest.version),
            false => There::Record(newest.version),
        });
        let rule = self.rule(is_tombstone, there);
        let keep = match verdict {
            Ok(keep) => keep,
            Err(_) if rule == Push::Supersede => None,
            Err(error) => return Ok(Some(Settled::Blocked(error))),
        };
        if let Some(settled) = self.without_writing(rule).await? {
            return Ok(Some(settled));
        }
        // kept before it is replaced: a process that is killed in between has lost nothing
        let overwrote = self.keep_overwritten(plan, record, &found.rows).await?;
        if let Some(reason) = &keep {
            keep_tokens(core, owner, KeptKind::Replaced, &found.rows, reason).await?;
        }
        let old = with_vouched(core, plan, owner, &found.rows);
        let record = &self.indexed(plan, record)?;
        let noted = core.note_change(operation::SYNC, owner, newest.map(|newest| newest.version), record)?;
        let written = Written { record, vouched: None, only: None, entry: noted.entry() };
        let done = postgres.replace(plan, owner, written, &old).await;
        match noted.settle(done, |replaced| *replaced)? {
            true => self.pushed(record, overwrote || keep.is_some()).await.map(Some),
            false => Ok(None),
        }
    }

    /// `None`: it may be written.
    async fn without_writing(&self, rule: Push) -> Result<Option<Settled>, DatabaseError> {
        match rule {
            Push::Write => Ok(None),
            Push::Drop => {
                let event = self.ends_waiting(KeptKind::Superseded)?;
                let LocalRecord { owner, text, .. } = self.pending;
                self.local.remove_pending(owner, text, event.as_ref()).await?;
                Ok(Some(Settled::Pushed { overwrote: false }))
            }
            Push::Supersede => {
                self.set_aside(KeptKind::Superseded, "the database holds a newer record").await?;
                Ok(Some(Settled::Superseded))
            }
            Push::DeadLetter(reason) => self.dead_letter(reason).await.map(Some),
        }
    }

    /// The database has it; what the local file holds of this owner is no older.
    async fn pushed(&self, record: &Record, overwrote: bool) -> Result<Settled, DatabaseError> {
        let Self { core, local, pending, .. } = self;
        core.seen.holds(&pending.owner, record.head());
        let (owner, rows) = (&pending.owner, core.rows());
        match core.offline_reads {
            true => local.put_replica(owner, &rows, record.version, &record.packed(), core.now()).await?,
            false => local.remove_replica(owner, &rows).await?,
        }
        local.remove_pending(&pending.owner, &pending.text, None).await?;
        Ok(Settled::Pushed { overwrote })
    }

    async fn dead_letter(&self, reason: &str) -> Result<Settled, DatabaseError> {
        tracing::warn!(owner = %self.pending.owner, reason, "a pending record was moved to the dead letters");
        self.set_aside(KeptKind::DeadLetter, reason).await?;
        Ok(Settled::DeadLetter)
    }

    /// The record is no longer pending, and is kept for the operator.
    async fn set_aside(&self, kind: KeptKind, reason: &str) -> Result<()> {
        let Self { core, local, pending, .. } = self;
        let event = self.ends_waiting(kind)?;
        let (owner, text) = (&pending.owner, &pending.text);
        local.set_pending_aside(owner, text, kind, reason, core.now(), event.as_ref()).await
    }

    /// What the ledger is to learn of it.
    fn ends_waiting(&self, kind: KeptKind) -> Result<Option<LocalEvent>> {
        self.core.ends_waiting(&self.pending.owner, kind, self.pending.version)
    }
}
