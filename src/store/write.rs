//! One record into the database: write, and when that changes nothing, look why and decide.

use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::local::file::{Base, KeptKind};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::bind::Written;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::read::FoundRows;
use crate::record::field::Field;
use crate::record::record::{Record, Row};
use crate::record::version::Version;
use crate::store::core::{Core, ROUNDS, StoreRequest, StoredRecord, pause};
use crate::store::obstacle::{Obstacle, keep_tokens, obstacle, with_vouched};

pub(super) struct Write<'a> {
    core: &'a Core,
    postgres: &'a Postgres,
    request: StoreRequest<'a>,
    /// The newest version of this owner that opened.
    seen: Option<Version>,
    /// What was sent last. It is sent again unchanged while nothing newer turns up, so that a write
    /// whose answer was lost is recognised when it did arrive.
    record: Option<Record>,
    base: Base,
    /// The slots of the rows that were written over last, to no effect.
    tried: Option<Vec<Vec<Option<String>>>>,
    /// How often nothing explained why nothing was written.
    unexplained: u32,
    /// What the last round took the table for.
    plan: Option<Arc<Plan>>,
    /// New connections were opened after one that was read-only.
    reconnected: bool,
    replaced: Vec<String>,
}

enum Round {
    Done,
    Again,
    /// What was looked at had changed when it was to be replaced: only time ends that.
    Raced,
}

impl<'a> Write<'a> {
    pub(super) async fn new(
        core: &'a Core,
        postgres: &'a Postgres,
        request: StoreRequest<'a>,
    ) -> Result<Self> {
        let pending = match &core.local {
            Some(local) => local.pending(request.owner).await?,
            None => None,
        };
        let seen =
            core.plausible(pending.map(|pending| pending.version)).max(core.seen_version(request.owner));
        Ok(Self {
            core,
            postgres,
            request,
            seen,
            record: None,
            base: Base::Unknown,
            tried: None,
            unexplained: 0,
            plan: None,
            reconnected: false,
            replaced: Vec::new(),
        })
    }

    /// The record that was sent and what it was based on, for the local file to take over.
    pub(super) fn attempted(self) -> (Option<Record>, Base) {
        (self.record, self.base)
    }

    /// # Errors
    /// `Fallback` when certainly nothing was written and the database cannot take it; `Ambiguous` when
    /// the outcome is unknown and reading back failed too; else the reason for the caller.
    pub(super) async fn run(&mut self) -> Result<StoredRecord, DatabaseError> {
        let (started, limit) = (Instant::now(), self.postgres.database.patience());
        let (mut last, mut unknown, mut round) = (None, None, 0);
        while round < ROUNDS {
            let before = self.plan.clone();
            let mut raced = false;
            match self.round().await {
                Ok(Round::Done) => return Ok(self.written()),
                Ok(Round::Raced) => {
                    raced = true;
                    pause(round).await;
                }
                Ok(Round::Again) if round == 0 => {}
                // rivals that met twice would go on meeting
                Ok(Round::Again) => pause(round).await,
                Err(fault) => match self.recover(fault, round).await {
                    Ok(fault) if fault.outcome == Outcome::Ambiguous => unknown = Some(fault),
                    Ok(fault) => last = Some(fault),
                    Err(fault) => return Err(still_unknown(fault, unknown)),
                },
            }
            if started.elapsed() > limit {
                break;
            }
            // where columns come one after the other, only time ends it
            let plans = before.zip(self.plan.as_deref());
            round += u32::from(!raced && !plans.is_some_and(|(then, now)| then.placement != now.placement));
        }
        let busy = || {
            Error::new(
                ErrorKind::Busy,
                "gave up after several attempts: other writers kept changing this record",
            )
        };
        match unknown {
            // reading back went well each time: the server is there, and this row is not to be had
            Some(unknown) => Err(DatabaseError::new(Outcome::TakesNoWrites, unknown.error)),
            None => Err(last.unwrap_or_else(|| busy().into())),
        }
    }

    /// Does what makes another round worth while, and gives the fault back.
    ///
    /// # Errors
    /// The fault that another round would meet again.
    async fn recover(&mut self, fault: DatabaseError, round: u32) -> Result<DatabaseError, DatabaseError> {
        match fault.outcome {
            Outcome::Reject if self.schema_moved(&fault.error).await => Ok(fault),
            Outcome::Fallback | Outcome::TakesNoWrites | Outcome::Reject => Err(fault),
            Outcome::ReadOnly => self.read_only(fault).await,
            Outcome::Ambiguous => self.reconcile(fault).await,
            Outcome::Redetect => self.postgres.refresh().await.map(|_| fault),
            Outcome::Retry | Outcome::Pooler => {
                pause(round).await;
                Ok(fault)
            }
        }
    }

    async fn round(&mut self) -> Result<Round, DatabaseError> {
        let plan = self.postgres.plan_with_room().await?;
        if !self.plan.as_ref().is_some_and(|before| Arc::ptr_eq(before, &plan)) {
            self.tried = None;
        }
        self.plan = Some(plan.clone());
        let record = self.record_for(&plan)?;
        let (vouched, seen) = self.request.vouched.unzip();
        let written = Written { record: &record, vouched, seen };
        if self.postgres.update(&plan, self.request.owner, written, &self.core.known_keys()).await? {
            return Ok(Round::Done);
        }
        let found = self.postgres.read(&plan, self.request.owner).await?;
        if !found.is_current {
            self.postgres.refresh().await?;
            return Ok(Round::Again);
        }
        match found.rows.is_empty() {
            true => self.create(&plan, &record).await,
            false => self.decide(&plan, &record, &found).await,
        }
    }

    fn record_for(&mut self, plan: &Plan) -> Result<Record, DatabaseError> {
        let in_the_clear = plan.placement.in_the_clear();
        let fits = |record: &Record| {
            let has_place = |field: Field| record.token(field).is_some() || in_the_clear.contains(&field);
            self.request.values.fields().all(has_place) && self.seen.is_none_or(|seen| seen < record.version)
        };
        if let Some(record) = self.record.as_ref().filter(|record| fits(record)) {
            return Ok(record.clone());
        }
        let record = self.core.seal(self.request, self.seen, &in_the_clear)?;
        self.record = Some(record.clone());
        Ok(record)
    }

    async fn create(&mut self, plan: &Plan, record: &Record) -> Result<Round, DatabaseError> {
        self.base = Base::NoRow;
        if self.request.is_tombstone() {
            return Err(Error::from(ErrorKind::NotFound).into()); // nothing to delete
        }
        if self
            .postgres
            .insert(plan, self.request.owner, Written { record, vouched: None, seen: None })
            .await?
        {
            return Ok(Round::Done);
        }
        // a row came into being meanwhile, or the schema moved, or there is a row that we cannot see
        match self.postgres.refresh().await?.placement == plan.placement {
            true => self.explain(
                "no row can be made: one that this role cannot see is in the way, or a trigger drops it",
            ),
            false => Ok(Round::Again),
        }
    }

    /// The row is there, and the write did not change it.
    async fn decide(
        &mut self,
        plan: &Plan,
        record: &Record,
        found: &FoundRows,
    ) -> Result<Round, DatabaseError> {
        let (owner, options) = (self.request.owner, self.request.options);
        match obstacle(self.core, plan, owner, record, found, options)? {
            Obstacle::SameWrite => Ok(Round::Done),
            Obstacle::Newer(version) => {
                self.saw(version);
                match version >= record.version {
                    true => Ok(Round::Again),
                    false => self.unexplained(),
                }
            }
            Obstacle::Overwritable { reason, newer } => {
                newer.into_iter().for_each(|version| self.saw(version));
                self.replace(plan, &found.rows, reason).await
            }
            Obstacle::Refused { error, .. } => Err(error.into()),
            Obstacle::Unexplained => self.replace_older(plan, record, &found.rows).await,
        }
    }

    /// Writes over older records that open. The fast statement left the row to us because it could not tell them
    /// from others', or whose values the plain columns hold.
    async fn replace_older(
        &mut self,
        plan: &Plan,
        record: &Record,
        rows: &[Row],
    ) -> Result<Round, DatabaseError> {
        let slots: Vec<_> = rows.iter().map(|row| row.slots.clone()).collect();
        if self.tried.as_ref() == Some(&slots) {
            return self.unexplained();
        }
        let old = with_vouched(self.core, plan, self.request.owner, rows);
        match self.postgres.replace(plan, self.request.owner, record, &old).await? {
            true => Ok(Round::Done),
            // a rival was faster, or nothing is ever written
            false => {
                self.tried = Some(slots);
                Ok(Round::Raced)
            }
        }
    }

    fn unexplained(&mut self) -> Result<Round, DatabaseError> {
        self.explain("the row is there, but a policy or a trigger keeps it from being written")
    }

    fn saw(&mut self, version: Version) {
        self.seen = self.seen.max(Some(version));
        self.base = Base::Version(version);
    }

    /// Writes over exactly what was found, and keeps the old tokens.
    async fn replace(&mut self, plan: &Plan, rows: &[Row], reason: String) -> Result<Round, DatabaseError> {
        keep_tokens(self.core, self.request.owner, KeptKind::Replaced, rows, &reason).await?;
        self.record = None;
        let record = self.record_for(plan)?;
        let old = with_vouched(self.core, plan, self.request.owner, rows);
        match self.postgres.replace(plan, self.request.owner, &record, &old).await? {
            true => {
                self.replaced.push(reason);
                Ok(Round::Done)
            }
            false => Ok(Round::Again),
        }
    }

    fn explain(&mut self, reason: &str) -> Result<Round, DatabaseError> {
        self.unexplained += 1;
        match self.unexplained < 2 {
            true => Ok(Round::Again),
            false => Err(Error::new(ErrorKind::AccessDenied, reason.to_owned()).into()),
        }
    }

    /// After a write whose answer was lost: can the database be read at all? Then the same record is
    /// sent again, which changes nothing if it is there already.
    async fn reconcile(&self, fault: DatabaseError) -> Result<DatabaseError, DatabaseError> {
        let Ok(plan) = self.postgres.plan().await else { return Err(fault) };
        match self.postgres.read(&plan, self.request.owner).await {
            Ok(_) => Ok(fault),
            Err(reading)
                if matches!(reading.outcome, Outcome::Redetect | Outcome::Retry | Outcome::Pooler) =>
            {
                Ok(fault)
            }
            Err(_) => Err(fault),
        }
    }

    /// A standby, a role that may not write, or a connection from before a failover.
    async fn read_only(&mut self, fault: DatabaseError) -> Result<DatabaseError, DatabaseError> {
        match self.postgres.database.is_standby().await {
            Ok(true) => Err(DatabaseError::new(
                Outcome::TakesNoWrites,
                Error::new(ErrorKind::Unavailable, "the database is a standby, which takes no writes"),
            )),
            Ok(false) if !self.reconnected => {
                self.reconnected = true;
                self.postgres.database.rebuild();
                Ok(fault)
            }
            _ => Err(DatabaseError::new(Outcome::Reject, fault.error)),
        }
    }

    /// After a rejection: was the catalogue snapshot stale, so that another try may succeed? A
    /// column that changed its type meanwhile shows itself like this.
    async fn schema_moved(&self, error: &Error) -> bool {
        let may_be = matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Schema);
        let Some(before) = self.plan.as_ref().filter(|_| may_be) else { return false };
        self.postgres.refresh().await.is_ok_and(|after| after.placement != before.placement)
    }

    fn written(&mut self) -> StoredRecord {
        let version = self.record.as_ref().map(|record| record.version).expect("what was written was sealed");
        let plan = self.plan.as_ref().expect("what was written had a place");
        let places = self.core.places(self.request, |field| plan.placement.place(field));
        StoredRecord { version, places, degraded: None, replaced: std::mem::take(&mut self.replaced) }
    }
}

/// What may have been applied stays so, whatever fails later. The local file may take it all the same.
fn still_unknown(fault: DatabaseError, unknown: Option<DatabaseError>) -> DatabaseError {
    match (unknown, fault.outcome) {
        (None, _) | (_, Outcome::Ambiguous) => fault,
        (Some(unknown), Outcome::Fallback) => unknown,
        (Some(_), outcome) => {
            let message = format!("{}; an earlier attempt may have been applied", fault.error);
            DatabaseError::new(outcome, Error::new(ErrorKind::OutcomeUnknown, message))
        }
    }
}
