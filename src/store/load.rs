//! One owner's newest record: the local file's pending one, or the database's.

use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::local::file::LocalRecord;
use crate::postgres::connection::errors::{Fault, Outcome};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::read::Found;
use crate::record::owner::Owner;
use crate::record::record::{Record, Survey};
use crate::store::core::{Entry, ROUNDS, Read, Router, StoreOptions};
use crate::store::write::pause;

const KEEPS_CHANGING: &str = "the schema of the table keeps changing";

impl Router {
    /// The newest record of an owner. A tombstone is an answer too.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` when the database is out of reach and nothing is kept locally;
    /// whatever is wrong with the newest record. Never a silent step back to an older one.
    pub(crate) async fn load(&self, owner: &Owner) -> Result<Read> {
        self.take_up().await;
        let pending = self.pending(owner).await?;
        let Some(postgres) = &self.postgres else {
            let pending = pending.ok_or(ErrorKind::NotFound)?;
            return self.read_local(owner, &pending, false);
        };
        postgres.check_owner(owner)?;
        if let Some(reason) = self.breaker.blocks(Instant::now()) {
            return self.load_offline(owner, pending, Error::new(ErrorKind::Unavailable, reason)).await;
        }
        match self.survey(postgres, owner).await {
            Ok(survey) => {
                self.breaker.success();
                if survey.candidates.is_empty() {
                    self.forget_seen(owner).await;
                }
                let read = self.newest(owner, survey, pending)?;
                self.remember(owner, &read).await;
                Ok(read)
            }
            Err(fault) => {
                self.note(&fault);
                match fault.outcome {
                    Outcome::Fallback => self.load_offline(owner, pending, fault.error).await,
                    _ => Err(fault.error),
                }
            }
        }
    }

    /// The database holds nothing of this owner any more: neither does what is remembered of it.
    async fn forget_seen(&self, owner: &Owner) {
        self.seen.gone(owner);
        if let (Some(local), true) = (&self.local, self.offline_reads)
            && let Err(error) = local.remove_replica(owner).await
        {
            tracing::warn!(%error, "the offline replica of a row that is gone could not be removed");
        }
    }

    pub(super) async fn pending(&self, owner: &Owner) -> Result<Option<LocalRecord>> {
        match &self.local {
            Some(local) => local.pending(owner).await,
            None => Ok(None),
        }
    }

    fn read_local(&self, owner: &Owner, record: &LocalRecord, stale: bool) -> Result<Read> {
        let record = self.local_record(&record.text)?;
        let opened = self.open(&record, owner)?;
        Ok(Read { opened, version: record.version, local: true, stale, record: None })
    }

    pub(super) fn read_database(&self, owner: &Owner, record: Record) -> Result<Read> {
        let opened = self.open(&record, owner)?;
        Ok(Read { opened, version: record.version, local: false, stale: false, record: Some(record) })
    }

    /// The newer of what the database holds and what waits for it.
    pub(super) fn newest(&self, owner: &Owner, survey: Survey, pending: Option<LocalRecord>) -> Result<Read> {
        let nothing_there = survey.candidates.is_empty() && survey.foreign_error().is_none();
        let older_there = survey.candidates.first().is_some_and(|first| {
            let pending = pending.as_ref().map(|pending| pending.version);
            first.ahead || first.version.is_some_and(|version| Some(version) < pending)
        });
        match pending {
            Some(pending) if nothing_there || older_there => self.read_local(owner, &pending, false),
            _ => self.read_database(owner, survey.newest()?),
        }
    }

    /// Answers without the database, and says so.
    pub(super) async fn load_offline(
        &self,
        owner: &Owner,
        pending: Option<LocalRecord>,
        error: Error,
    ) -> Result<Read> {
        let replica = match (&self.local, self.offline_reads) {
            (Some(local), true) => local.replica(owner).await?,
            _ => None,
        };
        let newest = pending.into_iter().chain(replica).max_by_key(|record| record.version);
        match newest {
            Some(record) => self.read_local(owner, &record, true),
            None => Err(error),
        }
    }

    /// Notes an answer of the database, and keeps it for times when it is away, if that was asked for.
    pub(super) async fn remember(&self, owner: &Owner, read: &Read) {
        if let Some(version) = self.plausible(Some(read.version)).filter(|_| !read.local) {
            self.seen.holds(owner, version);
        }
        if self.offline_reads {
            let entry = Entry { owner, config: read.opened.config.as_ref(), options: StoreOptions::new() };
            self.remember_stored(entry, read.record.clone()).await;
        }
    }

    /// Everything that the database holds for an owner.
    pub(super) async fn survey(&self, postgres: &Postgres, owner: &Owner) -> Result<Survey, Fault> {
        let (started, limit) = (Instant::now(), postgres.database.patience());
        let (mut last, mut plan, mut round) = (None, None, 0);
        while round < ROUNDS {
            let mut moves = false;
            match self.survey_once(postgres, owner).await {
                Ok(survey) => return Ok(survey),
                Err(fault) => match fault.outcome {
                    Outcome::Redetect => {
                        let now = postgres.refresh().await?;
                        let then = plan.replace(now.clone());
                        moves = then.is_none_or(|then| then.placement != now.placement);
                    }
                    Outcome::Retry | Outcome::Pooler => {
                        pause(round).await;
                        last = Some(fault);
                    }
                    // an old connection may be dead while the server is well: once more, on a tested one
                    Outcome::Fallback if round == 0 => last = Some(fault),
                    _ => return Err(fault),
                },
            }
            if started.elapsed() > limit {
                break;
            }
            // where columns come one after the other, only time ends it
            round += u32::from(!moves);
        }
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::Busy, KEEPS_CHANGING).into()))
    }

    async fn survey_once(&self, postgres: &Postgres, owner: &Owner) -> Result<Survey, Fault> {
        let plan = postgres.plan().await?;
        let found = read(postgres, &plan, owner).await?;
        let survey = Survey::of(&found.rows, &plan.placement.slots, found.now);
        if !may_lie_elsewhere(&survey) {
            return Ok(survey);
        }
        // columns that we do not know of yet may hold it
        let Some(plan) = postgres.refresh_if_older().await? else { return Ok(survey) };
        let found = read(postgres, &plan, owner).await?;
        Ok(Survey::of(&found.rows, &plan.placement.slots, found.now))
    }
}

/// # Errors
/// Those of the database, and `Redetect` when the columns are no longer the ones of the plan: the
/// record may lie in one that was not read.
async fn read(postgres: &Postgres, plan: &Plan, owner: &Owner) -> Result<Found, Fault> {
    if !plan.has_slots() {
        return Ok(Found { rows: Vec::new(), now: 0, is_current: true });
    }
    let found = postgres.read(plan, owner).await?;
    match found.is_current {
        true => Ok(found),
        false => Err(Fault::new(Outcome::Redetect, Error::new(ErrorKind::Busy, KEEPS_CHANGING))),
    }
}

/// Before `NotFound` and `Incomplete` the catalogue is looked at again.
pub(super) fn may_lie_elsewhere(survey: &Survey) -> bool {
    match survey.candidates.first() {
        None => true,
        Some(candidate) => {
            candidate.record.as_ref().is_err_and(|error| error.kind() == ErrorKind::Incomplete)
        }
    }
}
