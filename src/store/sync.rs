//! Pending records to the database: the last write wins by its version, and the superseded record is kept.

use std::time::Duration;

use crate::crypto::random;
use crate::crypto::sealer;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::KeyState;
use crate::local::file::{Base, KeptKind, LocalFile, LocalRecord};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::bind::Written;
use crate::postgres::statements::found_records::{FoundRecords, Row};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::read::FoundRows;
use crate::record::owner::Owner;
use crate::record::record::Record;
use crate::record::version::Millis;
use crate::store::core::{Core, ROUNDS, StoreOptions, StoreRequest, pause};
use crate::store::fallback::keep;
use crate::store::judge::{Newest, Verdict, judge, keep_tokens, with_vouched};
use crate::store::keyring_check::require_own_keyring;
use crate::store::reload::reload_keyring;

/// How many pending records are read from the local file at a time.
const PAGE: u32 = 100;
const DAY: Millis = 24 * 60 * 60 * 1000;
/// A pending record that was based on a row longer ago goes to the dead letters: too much may have
/// happened to the row since.
const MAX_PENDING: Millis = 30 * DAY;
/// How long superseded records and replaced texts stay.
const RETENTION: Millis = 90 * DAY;

/// What a synchronisation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncReport {
    /// Pending records that the database has now.
    pub pushed: u64,
    /// Pending records that a newer one in the database superseded; they are kept as superseded records.
    pub lost: u64,
    /// Records in the database that a pending one replaced without being based on them; they are kept as superseded records.
    pub overwritten: u64,
    /// Pending records that the database refuses, that are older than 30 days, or whose row is gone.
    pub dead_letters: u64,
    /// Owners whose record stays pending, and why.
    pub blocked: Vec<(Owner, String)>,
    /// Why the rest was not tried: the database is out of reach or has no room, the table cannot be used, or its
    /// tokens are another keyring's.
    pub stopped: Option<String>,
}

/// What became of one pending record.
enum Settled {
    Pushed {
        overwrote: bool,
    },
    Superseded,
    DeadLetter,
    /// It stays pending because of what the row holds, which says nothing of other rows.
    Blocked(Error),
}

/// Pushes every pending record. Safe to run in several processes at once.
///
/// # Errors
/// Of the local file. What the database says is in the report; nothing pending is lost either way.
pub(crate) async fn sync(core: &Core) -> Result<SyncReport> {
    let mut report = SyncReport::default();
    let (Some(postgres), Some(local)) = (&core.postgres, &core.local) else { return Ok(report) };
    let mut after: Option<Owner> = None;
    loop {
        reload_keyring(core).await;
        let page = local.pending_after(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.owner.clone());
        for pending in &page {
            let settled = Push { core, postgres, local, pending }.settle().await;
            if let Some(stopped) = note_settled(core, &mut report, pending, settled).await? {
                report.stopped = Some(stopped);
                return Ok(report);
            }
        }
    }
    local.purge_kept(core.now().saturating_sub(RETENTION)).await?;
    Ok(report)
}

/// Pushes what waits for one owner, if anything does.
///
/// # Errors
/// Why it goes on waiting.
pub(super) async fn sync_owner(core: &Core, owner: &Owner) -> Result<()> {
    let (Some(postgres), Some(local)) = (&core.postgres, &core.local) else { return Ok(()) };
    let Some(pending) = local.pending(owner).await? else { return Ok(()) };
    match (Push { core, postgres, local, pending: &pending }).settle().await {
        Ok(Settled::Blocked(error)) => Err(error),
        Ok(_) => Ok(()),
        Err(fault) => {
            core.note(&fault).await;
            Err(fault.error)
        }
    }
}

/// Adds to the report; answers with the reason to stop.
async fn note_settled(
    core: &Core,
    report: &mut SyncReport,
    pending: &LocalRecord,
    settled: Result<Settled, DatabaseError>,
) -> Result<Option<String>> {
    let fault = match settled {
        Ok(settled) => {
            core.breaker.success();
            match settled {
                Settled::Pushed { overwrote } => {
                    report.pushed += 1;
                    report.overwritten += u64::from(overwrote);
                }
                Settled::Superseded => report.lost += 1,
                Settled::DeadLetter => report.dead_letters += 1,
                Settled::Blocked(error) => report.blocked.push((pending.owner.clone(), error.to_string())),
            }
            return Ok(None);
        }
        Err(fault) => fault,
    };
    let kind = fault.error.kind();
    if matches!(kind, ErrorKind::LocalStore | ErrorKind::LocalCorrupt) {
        return Err(fault.error);
    }
    core.note(&fault).await;
    let out_of_reach =
        matches!(fault.outcome, Outcome::Fallback | Outcome::Ambiguous | Outcome::TakesNoWrites);
    // what is wrong with the table or the keyring is wrong for every record
    if out_of_reach || matches!(kind, ErrorKind::Configuration | ErrorKind::Schema | ErrorKind::WrongKeyring)
    {
        return Ok(Some(fault.error.to_string()));
    }
    report.blocked.push((pending.owner.clone(), fault.error.to_string()));
    Ok(None)
}

/// One pending record on its way to the database.
struct Push<'a> {
    core: &'a Core,
    postgres: &'a Postgres,
    local: &'a LocalFile,
    pending: &'a LocalRecord,
}

impl Push<'_> {
    async fn settle(&self) -> Result<Settled, DatabaseError> {
        require_own_keyring(self.core, self.postgres).await?;
        let record = match self.record() {
            Ok(record) => record,
            Err(error) if error.kind() == ErrorKind::UnknownKey => return Err(error.into()),
            Err(error) => return self.dead_letter(&error.to_string()).await,
        };
        let mut unexplained = 0;
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
                // another writer may have made the row
                Outcome::Duplicate if round == 0 => {}
                Outcome::Duplicate => return self.dead_letter(&fault.error.to_string()).await,
                Outcome::Reject if is_refused_for_good(&fault.error) => {
                    return self.dead_letter(&fault.error.to_string()).await;
                }
                Outcome::ReadOnly => return Err(DatabaseError::new(Outcome::TakesNoWrites, fault.error)),
                _ => return Err(fault),
            }
        }
        let message = match unexplained >= 2 {
            true => "a policy or a trigger keeps the row from being written",
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
        // nothing is pushed under a key that was retired since: a rotation may have counted the database already
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

    /// `None`: things moved, look again.
    async fn settle_once(&self, record: &Record) -> Result<Option<Settled>, DatabaseError> {
        let Self { core, postgres, pending, .. } = self;
        let plan = postgres.plan_with_room().await?;
        // only once the database could take it: until then this is the place where it belongs. What was
        // never based on a row cannot have been overtaken unnoticed
        if pending.base != Base::Unknown && core.now().saturating_sub(pending.at) > MAX_PENDING {
            return self.dead_letter("it waited for more than 30 days").await.map(Some);
        }
        let found = postgres.read(&plan, &pending.owner).await?;
        match found.rows.is_empty() {
            true => self.create(&plan, record).await,
            false => self.decide(&plan, record, &found).await,
        }
    }

    /// Keeps what the push replaces, unless the pending record was based on it.
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
        let reason =
            "a record that was stored elsewhere meanwhile, replaced by a newer one from this local file";
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

    /// The owner has no row: one is made only where none had been before.
    async fn create(&self, plan: &Plan, record: &Record) -> Result<Option<Settled>, DatabaseError> {
        let Self { core, postgres, local, pending } = self;
        // nothing is there that a tombstone would have to cover
        let is_tombstone = core.is_tombstone(record, &pending.owner)?;
        if matches!(pending.base, Base::Version(_)) && !is_tombstone {
            return self.dead_letter("the row of this owner was removed meanwhile").await.map(Some);
        }
        let written = Written { record, vouched: None, only: None };
        if !is_tombstone {
            if !postgres.insert(plan, &pending.owner, written).await? {
                return Ok(None);
            }
            core.seen.holds(&pending.owner, record.head());
        }
        local.remove_pending(&pending.owner, &pending.text).await?;
        Ok(Some(Settled::Pushed { overwrote: false }))
    }

    /// The row is there.
    async fn decide(
        &self,
        plan: &Plan,
        record: &Record,
        found: &FoundRows,
    ) -> Result<Option<Settled>, DatabaseError> {
        let Self { core, postgres, local, pending } = self;
        let owner = &pending.owner;
        let is_newer =
            |newest: &Option<Newest>| newest.is_some_and(|newest| newest.version >= record.version);
        let overwrote = match judge(core, plan, owner, Some(record), found, StoreOptions::new())? {
            Verdict::SameWrite => false,
            Verdict::Overwrite { newest, .. } | Verdict::Refuse { newest, .. } if is_newer(&newest) => {
                return self.supersede().await.map(Some);
            }
            Verdict::Refuse { error, .. } => return Ok(Some(Settled::Blocked(error))),
            Verdict::Overwrite { keep, .. } => {
                // kept before it is replaced: a process that is killed in between has lost nothing
                let overwrote = self.keep_overwritten(plan, record, &found.rows).await?;
                if let Some(reason) = &keep {
                    keep_tokens(core, owner, KeptKind::Replaced, &found.rows, reason).await?;
                }
                let old = with_vouched(core, plan, owner, &found.rows);
                let written = Written { record, vouched: None, only: None };
                if !postgres.replace(plan, owner, written, &old).await? {
                    return Ok(None);
                }
                overwrote || keep.is_some()
            }
        };
        core.seen.holds(owner, record.head());
        local.remove_pending(owner, &pending.text).await?;
        Ok(Some(Settled::Pushed { overwrote }))
    }

    async fn supersede(&self) -> Result<Settled, DatabaseError> {
        let reason = "the database holds a newer record";
        self.set_aside(KeptKind::Superseded, reason).await?;
        Ok(Settled::Superseded)
    }

    async fn dead_letter(&self, reason: &str) -> Result<Settled, DatabaseError> {
        tracing::warn!(owner = %self.pending.owner, reason, "a pending record goes to the dead letters");
        self.set_aside(KeptKind::DeadLetter, reason).await?;
        Ok(Settled::DeadLetter)
    }

    /// The pending record waits no more, and is kept for the operator.
    async fn set_aside(&self, kind: KeptKind, reason: &str) -> Result<()> {
        let Self { core, local, pending, .. } = self;
        local.set_pending_aside(&pending.owner, &pending.text, kind, reason, core.now()).await
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
    pub(crate) fn spawn(core: std::sync::Arc<Core>, every: Duration) -> Self {
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                match sync(&core).await {
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
