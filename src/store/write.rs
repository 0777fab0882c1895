//! Writes one record to the database: over the record that was seen last, or else by reading, judging and replacing.

use std::sync::Arc;
use std::time::Instant;

use crate::crypto::sealer;
use crate::error::{Error, ErrorKind, Result};
use crate::local::entries::{Base, KeptKind};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::bind::Written;
use crate::postgres::statements::found_records::Row;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::read::FoundRows;
use crate::record::field::Field;
use crate::record::plain::PlainTexts;
use crate::record::record::{Head, Record};
use crate::record::version::Version;
use crate::store::core::{Core, ROUNDS, StoreRequest, StoredRecord, keeps_changing, pause};
use crate::store::fallback::{delete_pending, pending};
use crate::store::judge::{Newest, Verdict, check_expected, judge, keep_plain};
use crate::store::judge::{keep_tokens, options_of, with_vouched};
use crate::store::keyring_check::require_own_keyring;
use crate::store::ledger::require_ledger;
use crate::store::ledger_writers::Noted;
use crate::store::options::Expected;

/// Why no row is created or changed, without an error of the server.
pub(super) const NOT_CREATED: &str =
    "the row cannot be created: a row that this role cannot see conflicts with it, or a trigger drops it";
pub(super) const NOT_WRITTEN: &str = "the row exists, but a policy or a trigger prevents the write";

pub(super) struct Write<'a> {
    pub(super) core: &'a Core,
    pub(super) postgres: &'a Postgres,
    pub(super) request: StoreRequest<'a>,
    /// The newest version of this owner that opened.
    seen: Option<Version>,
    /// What was sent last. It is sent again unchanged while nothing newer turns up, so that it is recognised after a lost answer.
    record: Option<Record>,
    /// What this write has read; `Unknown` before it has.
    base: Base,
    /// The row may hold a record that this process has not seen.
    pub(super) looks_first: bool,
    /// The rows that the last write did not change.
    tried: Option<Vec<Row>>,
    /// How often a write had no effect for no known reason.
    unexplained: u32,
    /// A unique constraint refused the row once.
    pub(super) was_duplicate: bool,
    /// The connection was lost once while the row was read.
    pub(super) was_cut: bool,
    /// A write whose answer was lost.
    unknown: Option<DatabaseError>,
    /// The table as the last round saw it.
    pub(super) plan: Option<Arc<Plan>>,
    /// New connections were opened after one that was read-only.
    pub(super) reconnected: bool,
    replaced: Vec<String>,
    /// How many rows were written.
    rows: u64,
}

enum Round {
    Done,
    Again,
    /// What was read had changed before it could be replaced: only time ends that.
    Raced,
}

impl<'a> Write<'a> {
    pub(super) async fn new(
        core: &'a Core,
        postgres: &'a Postgres,
        request: StoreRequest<'a>,
    ) -> Result<Self> {
        let pending = pending(core, request.owner).await?;
        let seen =
            core.plausible(pending.map(|pending| pending.version)).max(core.seen_version(request.owner));
        Ok(Self {
            core,
            postgres,
            request,
            seen,
            record: None,
            base: Base::Unknown,
            looks_first: false,
            tried: None,
            unexplained: 0,
            was_duplicate: false,
            was_cut: false,
            unknown: None,
            plan: None,
            reconnected: false,
            replaced: Vec::new(),
            rows: 0,
        })
    }

    /// The record that was sent and what it was based on, for the local file to take over.
    pub(super) fn attempted(self) -> (Option<Record>, Base) {
        (self.record, self.base)
    }

    /// The head of the record that was written.
    pub(super) fn head(&self) -> Option<Head> {
        self.record.as_ref().map(Record::head)
    }

    /// Whether the only record to delete was pending in the local file.
    pub(super) fn made_no_row(&self) -> bool {
        self.rows == 0
    }

    /// Whether a write with an unknown outcome was sent.
    pub(super) fn is_unknown(&self) -> bool {
        self.unknown.is_some()
    }

    /// # Errors
    /// `Fallback` if certainly nothing was written and the database cannot take it; `Ambiguous` if the outcome is unknown
    /// and reading back failed too; otherwise the error for the caller.
    pub(super) async fn run(&mut self) -> Result<StoredRecord, DatabaseError> {
        require_own_keyring(self.core, self.postgres).await?;
        require_ledger(self.core, self.postgres).await?;
        let (started, limit) = (Instant::now(), self.postgres.database.patience());
        let (mut last, mut round) = (None, 0);
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
                // competing writers that collided twice would go on colliding
                Ok(Round::Again) => pause(round).await,
                Err(fault) => match self.recover(fault, round).await {
                    Ok(fault) if fault.outcome == Outcome::Ambiguous => self.unknown = Some(fault),
                    Ok(fault) => last = Some(fault),
                    Err(fault) => return Err(still_unknown(fault, self.unknown.as_ref())),
                },
            }
            if started.elapsed() > limit {
                break;
            }
            // if columns are added one after another, only time ends it
            let plans = before.zip(self.plan.as_deref());
            round += u32::from(!raced && !plans.is_some_and(|(then, now)| then.placement != now.placement));
        }
        match &self.unknown {
            // reading back worked each time: the server is up, but this row cannot be written
            Some(unknown) => Err(DatabaseError::new(Outcome::TakesNoWrites, unknown.error.clone())),
            None => Err(last.unwrap_or_else(|| keeps_changing().into())),
        }
    }

    async fn round(&mut self) -> Result<Round, DatabaseError> {
        let plan = self.postgres.plan_with_room().await?;
        if !self.plan.as_ref().is_some_and(|before| Arc::ptr_eq(before, &plan)) {
            self.tried = None;
        }
        self.plan = Some(plan.clone());
        // a row that does not hold the changed record needs more plain values than one that does
        self.looks_first |= self.request.change.is_some() && !plan.has_one_row(self.request.owner);
        if let Some(seen) = self.seen_head() {
            self.looks_first = true;
            self.seen = self.seen.max(self.core.plausible(Some(seen.version)));
            self.seal_for(&plan)?;
            let vouched = self.request.vouched.filter(|(_, version)| *version == seen.version);
            let nothing = PlainTexts::default();
            // a change of some fields clears nothing that it does not name
            let vouched = vouched.map(|(texts, _)| texts).or(self.request.change.map(|_| &nothing));
            let noted = self.note(Some(seen.version))?;
            let (only, entry) = (self.only(), noted.entry());
            let written = Written { record: self.sealed(), vouched, only, entry };
            let done = self.postgres.update(&plan, self.request.owner, written, seen).await;
            self.rows = noted.settle(done, |rows| *rows > 0)?;
            if self.rows > 0 {
                return Ok(Round::Done);
            }
        } else if self.write_over_record(&plan).await? {
            return Ok(Round::Done);
        }
        let found = self.postgres.read(&plan, self.request.owner).await?;
        match found.rows.is_empty() {
            true => self.create(&plan).await,
            false => self.decide(&plan, &found).await,
        }
    }

    /// Opens the one record that is there, and writes over it as over one that was seen before. False: there is something else.
    async fn write_over_record(&mut self, plan: &Plan) -> Result<bool, DatabaseError> {
        let owner = self.request.owner;
        if std::mem::replace(&mut self.looks_first, true) {
            return Ok(false);
        }
        let Some(there) = self.postgres.read_record(plan, owner).await? else { return Ok(false) };
        let Ok(contents) = self.core.verify(&there, owner) else { return Ok(false) };
        let newest = Newest { version: there.version, is_tombstone: contents.is_tombstone() };
        check_expected(self.request, Some(newest))?;
        self.seen = self.seen.max(Some(there.version));
        self.base = Base::Version(there.version);
        let vouched = sealer::vouched(&contents, &there, &self.core.fields);
        self.seal_for(plan)?;
        let noted = self.note(Some(there.version))?;
        let (only, entry) = (self.only(), noted.entry());
        let written = Written { record: self.sealed(), vouched: Some(&vouched), only, entry };
        let done = self.postgres.update(plan, owner, written, there.head()).await;
        self.rows = noted.settle(done, |rows| *rows > 0)?;
        Ok(self.rows > 0)
    }

    /// The record that may be written over without reading it, because this process has opened or written it.
    fn seen_head(&self) -> Option<Head> {
        let seen = self.core.seen.get(self.request.owner).filter(|_| !self.looks_first)?;
        let is_expected = match self.request.options.expected {
            None => true,
            // what was seen may be a tombstone, which is not a record; a change has seen a record
            Some(Expected::Version(version)) => version == seen.version && self.request.change.is_some(),
            Some(Expected::Absent) => false,
        };
        Some(seen).filter(|_| is_expected)
    }

    /// The only plain fields whose columns are written, if not all.
    fn only(&self) -> Option<&'a [Field]> {
        self.request.change.map(|change| change.plain.as_slice())
    }

    /// Seals the request for a plan, unless the sealed record already fits it.
    fn seal_for(&mut self, plan: &Plan) -> Result<(), DatabaseError> {
        let in_the_clear = plan.placement.in_the_clear();
        let fits = |record: &Record| {
            let has_place = |field: Field| record.token(field).is_some() || in_the_clear.contains(&field);
            self.request.values.fields().all(has_place) && self.seen.is_none_or(|seen| seen < record.version)
        };
        if !self.record.as_ref().is_some_and(fits) {
            self.record = Some(self.core.seal(self.request, self.seen, &in_the_clear)?);
        }
        Ok(())
    }

    /// The entry for what is sent, over the record of version `before`.
    fn note(&self, before: Option<Version>) -> Result<Noted<'a>> {
        self.core.note_store(self.request, before, self.sealed())
    }

    /// What is sent.
    fn sealed(&self) -> &Record {
        self.record.as_ref().expect("sealed before it is sent")
    }

    async fn create(&mut self, plan: &Plan) -> Result<Round, DatabaseError> {
        self.base = Base::NoRow;
        check_expected(self.request, None)?;
        self.seal_for(plan)?;
        if self.request.is_tombstone() {
            let deleted = delete_pending(self.core, self.request, self.sealed()).await?;
            return if deleted { Ok(Round::Done) } else { Err(Error::from(ErrorKind::NotFound).into()) };
        }
        let noted = self.note(None)?;
        let written = Written { record: self.sealed(), vouched: None, only: None, entry: noted.entry() };
        let done = self.postgres.insert(plan, self.request.owner, written).await;
        if noted.settle(done, |created| *created)? {
            self.rows = 1;
            return Ok(Round::Done);
        }
        // a row has since been created, or there is a row that this role cannot see
        self.explain(NOT_CREATED)
    }

    /// The row exists, and holds something that this process has not seen.
    async fn decide(&mut self, plan: &Plan, found: &FoundRows) -> Result<Round, DatabaseError> {
        let (owner, options) = (self.request.owner, options_of(self.request, plan, found));
        // without a lost answer, nothing that was sent can be there
        let sent = self.record.as_ref().filter(|_| self.unknown.is_some());
        let (newest, keep) = match judge(self.core, plan, owner, sent, found, options)? {
            Verdict::SameWrite => {
                self.rows = found.rows.len() as u64;
                return Ok(Round::Done);
            }
            Verdict::Refuse { error, .. } => return Err(error.into()),
            Verdict::Overwrite { newest, keep } => (newest, keep),
        };
        check_expected(self.request, newest)?;
        if let (Some(sent), Some(newest)) = (sent, newest)
            && newest.version > sent.version
        {
            let message = "the answer to a write was lost: the record may have been stored, and another writer has replaced it since";
            let hint = "load the record, and store again if it is not the one you want";
            return Err(Error::new(ErrorKind::OutcomeUnknown, message).with_hint(hint).into());
        }
        self.seen = self.seen.max(newest.map(|newest| newest.version));
        self.base = newest.map_or(Base::NoRecord, |newest| Base::Version(newest.version));
        if self.tried.as_ref() == Some(&found.rows) {
            return self.explain(NOT_WRITTEN);
        }
        if let Some(reason) = &keep {
            keep_tokens(self.core, owner, KeptKind::Replaced, &found.rows, reason).await?;
        }
        self.seal_for(plan)?;
        keep_plain(self.request, newest, (plan, self.sealed()), found)?;
        let old = with_vouched(self.core, plan, owner, &found.rows);
        let noted = self.note(newest.map(|newest| newest.version))?;
        let (only, entry) = (self.only(), noted.entry());
        let written = Written { record: self.sealed(), vouched: None, only, entry };
        let done = self.postgres.replace(plan, owner, written, &old).await;
        match noted.settle(done, |replaced| *replaced)? {
            true => {
                self.replaced.extend(keep);
                self.rows = found.rows.len() as u64;
                Ok(Round::Done)
            }
            // another writer was faster, or no write ever takes effect
            false => {
                self.tried = Some(found.rows.clone());
                Ok(Round::Raced)
            }
        }
    }

    fn explain(&mut self, reason: &str) -> Result<Round, DatabaseError> {
        self.unexplained += 1;
        match self.unexplained < 2 {
            true => Ok(Round::Again),
            false => Err(Error::new(ErrorKind::AccessDenied, reason.to_owned()).into()),
        }
    }

    fn written(&mut self) -> StoredRecord {
        let version = self.record.as_ref().map(|record| record.version).expect("what was written was sealed");
        let plan = self.plan.as_ref().expect("what was written had a place");
        let places = self.core.places(self.request, |field| plan.placement.place(field));
        StoredRecord {
            version,
            rows: self.rows,
            places,
            degraded: None,
            replaced: std::mem::take(&mut self.replaced),
        }
    }
}

/// A write that may have been applied stays uncertain, whatever fails later. The local file may take it all the same.
fn still_unknown(fault: DatabaseError, unknown: Option<&DatabaseError>) -> DatabaseError {
    match (unknown, fault.outcome) {
        (None, _) | (_, Outcome::Ambiguous) => fault,
        // another writer has replaced it since, or it never arrived
        (Some(_), Outcome::Reject) if fault.error.kind() == ErrorKind::Conflict => fault,
        (Some(unknown), Outcome::Fallback) => DatabaseError::new(Outcome::Ambiguous, unknown.error.clone()),
        (Some(_), outcome) => {
            let message = format!("{}; an earlier attempt may have been applied", fault.error);
            let error = Error::new(ErrorKind::OutcomeUnknown, message);
            DatabaseError::new(outcome, error.with_details_of(&fault.error))
        }
    }
}
