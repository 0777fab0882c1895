//! Pending records to the database: last write wins by version, and the loser is kept.

use std::time::Duration;

use crate::crypto::random;
use crate::crypto::reseal::reseal;
use crate::crypto::sealer;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::KeyState;
use crate::local::file::{Base, KeptKind, LocalFile, LocalRecord};
use crate::postgres::connection::errors::{Fault, Outcome};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::read::Found;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::record::{Record, Row, Survey};
use crate::record::version::Millis;
use crate::store::core::{ROUNDS, Router, StoreOptions};
use crate::store::write::{Judgement, judge, old_tokens, pause, plan_with_room};

/// How many pending records are read from the local file at a time.
const PAGE: u32 = 100;
const DAY: Millis = 24 * 60 * 60 * 1000;
/// A pending record that was based on a row longer ago goes to the dead letters: too much may have
/// happened to the row since.
const MAX_PENDING: Millis = 30 * DAY;
/// How long losers and replaced texts stay.
const RETENTION: Millis = 90 * DAY;

/// What a synchronisation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncReport {
    /// Pending records that the database has now.
    pub pushed: u64,
    /// Pending records that lost against a newer one in the database; they are kept as losers.
    pub lost: u64,
    /// Records in the database that a pending one replaced without being based on them; they are kept as losers.
    pub overwritten: u64,
    /// Pending records that the database refuses, that are older than 30 days, or whose row is gone.
    pub dead_letters: u64,
    /// Owners whose record stays pending, and why.
    pub blocked: Vec<(Owner, String)>,
    /// Why the rest was not tried: the database is out of reach or has no room.
    pub stopped: Option<String>,
}

/// What became of one pending record.
enum Settled {
    Pushed { overwrote: bool },
    Lost,
    Dead,
}

impl Router {
    /// Pushes every pending record. Safe to run in several processes at once.
    ///
    /// # Errors
    /// Of the local file. What the database says is in the report; nothing pending is lost either way.
    pub(crate) async fn sync(&self) -> Result<SyncReport> {
        let mut report = SyncReport::default();
        let (Some(postgres), Some(local)) = (&self.postgres, &self.local) else { return Ok(report) };
        let mut after: Option<Owner> = None;
        loop {
            self.take_up().await;
            let page = local.pending_after(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.owner.clone());
            for pending in &page {
                let settled = self.settle(postgres, local, pending).await;
                if let Some(stopped) = self.note_settled(&mut report, pending, settled)? {
                    report.stopped = Some(stopped);
                    return Ok(report);
                }
            }
        }
        local.purge_kept(self.now().saturating_sub(RETENTION)).await?;
        Ok(report)
    }

    /// Adds to the report; answers with the reason to stop.
    fn note_settled(
        &self,
        report: &mut SyncReport,
        pending: &LocalRecord,
        settled: Result<Settled, Fault>,
    ) -> Result<Option<String>> {
        let fault = match settled {
            Ok(settled) => {
                self.breaker.success();
                match settled {
                    Settled::Pushed { overwrote } => {
                        report.pushed += 1;
                        report.overwritten += u64::from(overwrote);
                    }
                    Settled::Lost => report.lost += 1,
                    Settled::Dead => report.dead_letters += 1,
                }
                return Ok(None);
            }
            Err(fault) => fault,
        };
        let kind = fault.error.kind();
        if matches!(kind, ErrorKind::LocalStore | ErrorKind::LocalCorrupt) {
            return Err(fault.error);
        }
        self.note(&fault);
        let out_of_reach =
            matches!(fault.outcome, Outcome::Fallback | Outcome::Ambiguous | Outcome::TakesNoWrites);
        if out_of_reach || kind == ErrorKind::Configuration {
            return Ok(Some(fault.error.to_string()));
        }
        report.blocked.push((pending.owner.clone(), fault.error.to_string()));
        Ok(None)
    }

    async fn settle(
        &self,
        postgres: &Postgres,
        local: &LocalFile,
        pending: &LocalRecord,
    ) -> Result<Settled, Fault> {
        let record = match self.pending_record(pending) {
            Ok(record) => record,
            Err(error) if error.kind() == ErrorKind::UnknownKey => return Err(error.into()),
            Err(error) => return self.bury(local, pending, &error.to_string()).await,
        };
        let mut unexplained = 0;
        for round in 0..ROUNDS {
            let settled = self.settle_once(postgres, local, pending, &record).await;
            let fault = match settled {
                Ok(Some(settled)) => return Ok(settled),
                Ok(None) => {
                    unexplained += 1;
                    continue;
                }
                Err(fault) => fault,
            };
            match fault.outcome {
                Outcome::Retry | Outcome::Pooler => pause(round).await,
                Outcome::Redetect => drop(postgres.refresh().await?),
                Outcome::Reject if is_refused_for_good(&fault.error) => {
                    return self.bury(local, pending, &fault.error.to_string()).await;
                }
                Outcome::ReadOnly => return Err(Fault::new(Outcome::TakesNoWrites, fault.error)),
                _ => return Err(fault),
            }
        }
        let message = match unexplained >= 2 {
            true => "a policy or a trigger keeps the row from being written",
            false => "the database stayed busy",
        };
        Err(Error::new(ErrorKind::Busy, message).into())
    }

    /// The record of a pending entry, with plain values for the columns of the database.
    fn pending_record(&self, pending: &LocalRecord) -> Result<Record> {
        let record = self.local_record(&pending.text)?;
        let keyring = self.keyring.holding(record.key);
        let record = sealer::with_plain_values(record, &pending.owner, &keyring)?;
        self.under_primary(record, &pending.owner)
    }

    /// Nothing is pushed under a key that was retired since it was sealed: a rotation may have counted
    /// the database already.
    fn under_primary(&self, record: Record, owner: &Owner) -> Result<Record> {
        let keyring = self.keyring.for_sealing()?;
        let is_retired = keyring.get(record.key).is_some_and(|key| key.info.state == KeyState::Retired);
        if !is_retired {
            return Ok(record);
        }
        let tokens = random::with_rng(|rng| reseal(record.tokens(), owner, &keyring, rng))??;
        Record::new(tokens, record.plain)
    }

    /// `None`: things moved, look again.
    async fn settle_once(
        &self,
        postgres: &Postgres,
        local: &LocalFile,
        pending: &LocalRecord,
        record: &Record,
    ) -> Result<Option<Settled>, Fault> {
        let plan = plan_with_room(postgres).await?;
        // only once the database could take it: until then this is the place where it belongs. What was
        // never based on a row cannot have been overtaken unnoticed
        if pending.base != Base::Unknown && self.now().saturating_sub(pending.at) > MAX_PENDING {
            return self.bury(local, pending, "it waited for more than 30 days").await.map(Some);
        }
        // kept before it is replaced: whoever dies in between has lost nothing
        let found = postgres.read(&plan, &pending.owner).await?;
        let kept = self.keep_overwritten(&plan, pending, record, &found.rows).await?;
        let before = postgres.push(&plan, &pending.owner, record, &self.known_keys()).await?;
        if !before.is_empty() {
            let overwrote = self.keep_overwritten(&plan, pending, record, &before).await? || kept;
            self.seen.holds(&pending.owner, record.version);
            local.remove_pending(&pending.owner, &pending.text).await?;
            return Ok(Some(Settled::Pushed { overwrote }));
        }
        let found = postgres.read(&plan, &pending.owner).await?;
        if !found.is_current {
            postgres.refresh().await?;
            return Ok(None);
        }
        match found.rows.is_empty() {
            true => self.create(postgres, &plan, local, pending, record).await,
            false => self.decide(postgres, &plan, local, pending, record, &found).await,
        }
    }

    /// Keeps what the push replaces, unless the pending record was based on it.
    async fn keep_overwritten(
        &self,
        plan: &Plan,
        pending: &LocalRecord,
        record: &Record,
        rows: &[Row],
    ) -> Result<bool> {
        let survey = Survey::of(rows, &plan.placement.slots, self.now());
        let newest = survey.candidates.into_iter().next();
        let Some(newest) = newest.filter(|newest| newest.version.is_some_and(|there| there < record.version))
        else {
            return Ok(false);
        };
        if matches!(pending.base, Base::Version(base) if newest.version == Some(base)) {
            return Ok(false);
        }
        let reason =
            "a record that was stored elsewhere meanwhile, replaced by a newer one from this local file";
        match newest.record.and_then(|record| self.sealed_whole(&pending.owner, record)) {
            Ok(text) => self.keep(&pending.owner, KeptKind::Loser, &text, reason).await?,
            Err(_) => {
                for text in rows.iter().flat_map(old_tokens) {
                    self.keep(&pending.owner, KeptKind::Loser, &text, reason).await?;
                }
            }
        }
        Ok(true)
    }

    /// A record of the database with its plain columns sealed too.
    fn sealed_whole(&self, owner: &Owner, record: Record) -> Result<String> {
        let opened = self.open(&record, owner)?;
        let entry =
            crate::store::core::Entry { owner, config: opened.config.as_ref(), options: StoreOptions::new() };
        Ok(self.seal_rest(entry, record)?.packed(&Field::ALL))
    }

    /// The owner has no row: one is made only where none had been before.
    async fn create(
        &self,
        postgres: &Postgres,
        plan: &Plan,
        local: &LocalFile,
        pending: &LocalRecord,
        record: &Record,
    ) -> Result<Option<Settled>, Fault> {
        // nothing is there that a tombstone would have to cover
        let is_tombstone = self.is_tombstone(record, &pending.owner)?;
        if matches!(pending.base, Base::Version(_)) && !is_tombstone {
            return self.bury(local, pending, "the row of this owner was removed meanwhile").await.map(Some);
        }
        let done = is_tombstone || postgres.insert(plan, &pending.owner, record).await?;
        if !done {
            postgres.refresh().await?;
            return Ok(None);
        }
        local.remove_pending(&pending.owner, &pending.text).await?;
        Ok(Some(Settled::Pushed { overwrote: false }))
    }

    /// The row is there, and holds something that is not older.
    async fn decide(
        &self,
        postgres: &Postgres,
        plan: &Plan,
        local: &LocalFile,
        pending: &LocalRecord,
        record: &Record,
        found: &Found,
    ) -> Result<Option<Settled>, Fault> {
        let owner = &pending.owner;
        let survey = Survey::of(&found.rows, &plan.placement.slots, found.now);
        if let Some(error) = survey.foreign_error() {
            return Err(error.into());
        }
        let same_version = survey
            .candidates
            .iter()
            .flat_map(|candidate| &candidate.record)
            .find(|there| there.version == record.version);
        if let Some(there) = same_version
            && (there.is_same_write(record) || self.is_same_plaintext(owner, there, record))
        {
            local.remove_pending(owner, &pending.text).await?;
            return Ok(Some(Settled::Pushed { overwrote: false }));
        }
        let mut broken = Vec::new();
        for candidate in &survey.candidates {
            match judge(self, owner, candidate, record.version, StoreOptions::new())? {
                Judgement::Opens(_) => {
                    let reason = "the database holds a newer record";
                    local.bury(owner, &pending.text, KeptKind::Loser, reason, self.now()).await?;
                    return Ok(Some(Settled::Lost));
                }
                Judgement::Broken(reason) => broken.push(reason),
                Judgement::Older => {}
            }
        }
        if broken.is_empty() {
            return Ok(None);
        }
        for text in found.rows.iter().flat_map(old_tokens) {
            self.keep(owner, KeptKind::Replaced, &text, &broken.join("; ")).await?;
        }
        if !postgres.replace(plan, owner, record, &found.rows).await? {
            return Ok(None);
        }
        local.remove_pending(owner, &pending.text).await?;
        Ok(Some(Settled::Pushed { overwrote: true }))
    }

    fn is_same_plaintext(&self, owner: &Owner, there: &Record, ours: &Record) -> bool {
        match (self.open(there, owner), self.open(ours, owner)) {
            (Ok(there), Ok(ours)) => there.config == ours.config,
            _ => false,
        }
    }

    async fn bury(&self, local: &LocalFile, pending: &LocalRecord, reason: &str) -> Result<Settled, Fault> {
        tracing::warn!(owner = %pending.owner, reason, "a pending record goes to the dead letters");
        local.bury(&pending.owner, &pending.text, KeptKind::DeadLetter, reason, self.now()).await?;
        Ok(Settled::Dead)
    }
}

/// Refused because of what it is, not because of who asks or how things stand.
fn is_refused_for_good(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Rejected | ErrorKind::UnknownOwner | ErrorKind::InvalidInput)
}

/// Synchronises in the background until it is dropped.
#[must_use = "the background task ends when this is dropped"]
#[derive(Debug)]
pub struct BackgroundSync {
    task: tokio::task::JoinHandle<()>,
}

impl BackgroundSync {
    pub(crate) fn spawn(router: std::sync::Arc<Router>, every: Duration) -> Self {
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                match router.sync().await {
                    Ok(report) if report == SyncReport::default() => {}
                    Ok(report) => tracing::info!(?report, "synchronised"),
                    Err(error) => tracing::warn!(%error, "synchronisation failed"),
                }
            }
        });
        Self { task }
    }
}

impl Drop for BackgroundSync {
    fn drop(&mut self) {
        self.task.abort();
    }
}
