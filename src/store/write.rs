//! One record into the database: write, and when that changes nothing, look why and decide.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::local::file::{Base, KeptKind};
use crate::postgres::connection::errors::{Fault, Outcome};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::read::Found;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::placement::Place;
use crate::record::record::{Candidate, Record, Row, Survey};
use crate::record::token::{KeyId, MAX_SLOT, Token, claims_to_be_token};
use crate::record::version::Version;
use crate::store::core::{Entry, ROUNDS, Router, StoreOptions, Written, set_fields};

pub(super) struct Write<'a> {
    router: &'a Router,
    postgres: &'a Postgres,
    entry: Entry<'a>,
    /// The newest version of this owner that opened.
    seen: Option<Version>,
    /// What was sent last. It is sent again unchanged while nothing newer turns up, so that a write
    /// whose answer was lost is recognised when it did arrive.
    record: Option<Record>,
    base: Base,
    /// How often nothing explained why nothing was written.
    unexplained: u32,
    /// What the last round took the table for.
    plan: Option<Arc<Plan>>,
    /// New connections were opened after one that was read-only.
    reconnected: bool,
    replaced: Vec<String>,
}

enum Step {
    Done,
    Again,
}

impl<'a> Write<'a> {
    pub(super) async fn new(router: &'a Router, postgres: &'a Postgres, entry: Entry<'a>) -> Result<Self> {
        let pending = match &router.local {
            Some(local) => local.pending(entry.owner).await?,
            None => None,
        };
        let seen =
            router.plausible(pending.map(|pending| pending.version)).max(router.seen_version(entry.owner));
        Ok(Self {
            router,
            postgres,
            entry,
            seen,
            record: None,
            base: Base::Unknown,
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
    pub(super) async fn run(&mut self) -> Result<Written, Fault> {
        let (started, limit) = (Instant::now(), self.postgres.database.patience());
        let (mut last, mut unknown, mut round) = (None, None, 0);
        while round < ROUNDS {
            let before = self.plan.clone();
            match self.round().await {
                Ok(Step::Done) => return Ok(self.written()),
                Ok(Step::Again) if round == 0 => {}
                // rivals that met twice would go on meeting
                Ok(Step::Again) => pause(round).await,
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
            round += u32::from(!plans.is_some_and(|(then, now)| then.placement != now.placement));
        }
        let busy = || Error::new(ErrorKind::Busy, "other writers of this owner were always faster");
        match unknown {
            // reading back went well each time: the server is there, and this row is not to be had
            Some(unknown) => Err(Fault::new(Outcome::TakesNoWrites, unknown.error)),
            None => Err(last.unwrap_or_else(|| busy().into())),
        }
    }

    /// Does what makes another round worth while, and gives the fault back.
    ///
    /// # Errors
    /// The fault that another round would meet again.
    async fn recover(&mut self, fault: Fault, round: u32) -> Result<Fault, Fault> {
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

    async fn round(&mut self) -> Result<Step, Fault> {
        let plan = plan_with_room(self.postgres).await?;
        self.plan = Some(plan.clone());
        let record = self.record_for(&plan)?;
        if self.postgres.update(&plan, self.entry.owner, &record, &self.router.known_keys()).await? {
            return Ok(Step::Done);
        }
        let found = self.postgres.read(&plan, self.entry.owner).await?;
        if !found.is_current {
            self.postgres.refresh().await?;
            return Ok(Step::Again);
        }
        match found.rows.is_empty() {
            true => self.create(&plan, &record).await,
            false => self.decide(&plan, &record, &found).await,
        }
    }

    fn record_for(&mut self, plan: &Plan) -> Result<Record, Fault> {
        let fields = plan.placement.sealed_fields();
        let fits = |record: &Record| {
            let covers = fields
                .iter()
                .all(|field| field.is_secret() || record.token(*field).is_some() || !self.sets(*field));
            covers && self.seen.is_none_or(|seen| seen < record.version)
        };
        if let Some(record) = self.record.as_ref().filter(|record| fits(record)) {
            return Ok(record.clone());
        }
        let record = self.router.seal(self.entry, self.seen, &fields)?;
        self.record = Some(record.clone());
        Ok(record)
    }

    fn sets(&self, field: Field) -> bool {
        self.entry.config.is_some_and(|config| config.is_set(field))
    }

    async fn create(&mut self, plan: &Plan, record: &Record) -> Result<Step, Fault> {
        self.base = Base::NoRow;
        if self.entry.config.is_none() {
            return Err(Error::from(ErrorKind::NotFound).into()); // nothing to delete
        }
        if self.postgres.insert(plan, self.entry.owner, record).await? {
            return Ok(Step::Done);
        }
        // a row came into being meanwhile, or the schema moved, or there is a row that we cannot see
        match self.postgres.refresh().await?.placement == plan.placement {
            true => self.explain(
                "no row can be made: one that this role cannot see is in the way, or a trigger drops it",
            ),
            false => Ok(Step::Again),
        }
    }

    /// The row is there, and the write did not change it.
    async fn decide(&mut self, plan: &Plan, record: &Record, found: &Found) -> Result<Step, Fault> {
        let survey = Survey::of(&found.rows, &plan.placement.slots, found.now);
        let overwritable = self.entry.options.replace_foreign && !survey.json_is_foreign;
        if let Some(error) = survey.foreign_error().filter(|_| !overwritable) {
            return Err(error.into());
        }
        if survey
            .candidates
            .iter()
            .flat_map(|candidate| &candidate.record)
            .any(|there| there.is_same_write(record))
        {
            return Ok(Step::Done); // it had been applied, and the answer was lost
        }
        let mut broken = Vec::new();
        for candidate in &survey.candidates {
            match judge(self.router, self.entry.owner, candidate, record.version, self.entry.options)? {
                Judgement::Opens(version) => self.saw(version),
                Judgement::Broken(reason) => broken.push(reason),
                Judgement::Older => {}
            }
        }
        if !broken.is_empty() || !survey.foreign.is_empty() {
            return self.replace(plan, &found.rows, broken).await;
        }
        match self.seen.is_some_and(|seen| seen >= record.version) {
            true => Ok(Step::Again),
            false => self.explain("the row is there, but a policy or a trigger keeps it from being written"),
        }
    }

    fn saw(&mut self, version: Version) {
        self.seen = self.seen.max(Some(version));
        self.base = Base::Version(version);
    }

    /// Writes over exactly what was found, and keeps the old tokens.
    async fn replace(&mut self, plan: &Plan, rows: &[Row], reasons: Vec<String>) -> Result<Step, Fault> {
        let reason = match reasons.is_empty() {
            true => "text that the vault did not write".to_owned(),
            false => reasons.join("; "),
        };
        for text in rows.iter().flat_map(old_tokens) {
            self.router.keep(self.entry.owner, KeptKind::Replaced, &text, &reason).await?;
        }
        self.record = None;
        let record = self.record_for(plan)?;
        match self.postgres.replace(plan, self.entry.owner, &record, rows).await? {
            true => {
                self.replaced.push(reason);
                Ok(Step::Done)
            }
            false => Ok(Step::Again),
        }
    }

    fn explain(&mut self, reason: &str) -> Result<Step, Fault> {
        self.unexplained += 1;
        match self.unexplained < 2 {
            true => Ok(Step::Again),
            false => Err(Error::new(ErrorKind::AccessDenied, reason.to_owned()).into()),
        }
    }

    /// After a write whose answer was lost: can the database be read at all? Then the same record is
    /// sent again, which changes nothing if it is there already.
    async fn reconcile(&self, fault: Fault) -> Result<Fault, Fault> {
        let Ok(plan) = self.postgres.plan().await else { return Err(fault) };
        match self.postgres.read(&plan, self.entry.owner).await {
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
    async fn read_only(&mut self, fault: Fault) -> Result<Fault, Fault> {
        match self.postgres.database.is_standby().await {
            Ok(true) => Err(Fault::new(
                Outcome::TakesNoWrites,
                Error::new(ErrorKind::Unavailable, "the database is a standby, which takes no writes"),
            )),
            Ok(false) if !self.reconnected => {
                self.reconnected = true;
                self.postgres.database.rebuild();
                Ok(fault)
            }
            _ => Err(Fault::new(Outcome::Reject, fault.error)),
        }
    }

    /// After a rejection: was the picture of the schema stale, so that another try may succeed? A
    /// column that changed its type meanwhile shows itself like this.
    async fn schema_moved(&self, error: &Error) -> bool {
        let may_be = matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Schema);
        let Some(before) = self.plan.as_ref().filter(|_| may_be) else { return false };
        self.postgres.refresh().await.is_ok_and(|after| after.placement != before.placement)
    }

    fn written(&mut self) -> Written {
        let version = self.record.as_ref().map(|record| record.version).expect("what was written was sealed");
        let plan = self.plan.as_ref().expect("what was written had a place");
        let place = |field: Field| (field, plan.placement.place(field).clone());
        let places: Vec<(Field, Place)> = set_fields(self.entry.config).into_iter().map(place).collect();
        Written { version, places, degraded: None, replaced: std::mem::take(&mut self.replaced) }
    }
}

/// A plan that puts records into the database.
pub(crate) async fn plan_with_room(postgres: &Postgres) -> Result<Arc<Plan>, Fault> {
    let mut plan = postgres.plan().await?;
    // somebody may have followed the hint meanwhile
    if (plan.placement.is_local() || plan.placement.unwritable.is_some())
        && let Some(newer) = postgres.refresh_if_older().await?
    {
        plan = newer;
    }
    if plan.placement.is_local() {
        let error = Error::new(ErrorKind::Schema, postgres.no_room(&plan));
        return Err(Fault::new(Outcome::TakesNoWrites, error));
    }
    check_writable(postgres, &plan)?;
    Ok(plan)
}

/// # Errors
/// `AccessDenied` for a column that a write would have to touch and may not.
pub(crate) fn check_writable(postgres: &Postgres, plan: &Plan) -> Result<()> {
    let Some(column) = &plan.placement.unwritable else { return Ok(()) };
    let message = format!("column {column} of {} may not be written", postgres.table_name());
    let hint = format!(
        "GRANT UPDATE ({column}) ON the table to the role that connects; a generated column cannot be used"
    );
    Err(Error::new(ErrorKind::AccessDenied, message).with_hint(hint))
}

/// What a candidate means for a write of `version`.
///
/// # Errors
/// Of a candidate that may be a newer writer's: a key or a format that this process does not know.
pub(crate) fn judge(
    router: &Router,
    owner: &Owner,
    candidate: &Candidate,
    version: Version,
    options: StoreOptions,
) -> Result<Judgement> {
    let is_older = candidate.version.is_some_and(|there| there < version);
    if is_older
        && candidate
            .record
            .as_ref()
            .is_ok_and(|there| router.keyring.holding(there.key).opener(there.key).is_ok())
    {
        return Ok(Judgement::Older);
    }
    let opened = match &candidate.record {
        Ok(there) => router.is_tombstone(there, owner),
        Err(error) => Err(Error::new(error.kind(), error.to_string())),
    };
    let error = match (opened, candidate.version) {
        (Ok(_), Some(version)) if !candidate.ahead => return Ok(Judgement::Opens(version)),
        (Ok(_), _) => return Ok(Judgement::Broken("its version is more than a day ahead".to_owned())),
        (Err(error), _) => error,
    };
    // a version from the future is nobody's
    let newer_writer =
        matches!(error.kind(), ErrorKind::UnknownKey | ErrorKind::UnsupportedFormat) && !candidate.ahead;
    match newer_writer && !options.replace_unreadable {
        true => Err(error),
        false => Ok(Judgement::Broken(error.to_string())),
    }
}

/// What may have been applied stays so, whatever fails later. The local file may take it all the same.
fn still_unknown(fault: Fault, unknown: Option<Fault>) -> Fault {
    match (unknown, fault.outcome) {
        (None, _) | (_, Outcome::Ambiguous) => fault,
        (Some(unknown), Outcome::Fallback) => unknown,
        (Some(_), outcome) => {
            let message = format!("{}; an earlier attempt may have been applied", fault.error);
            Fault::new(outcome, Error::new(ErrorKind::OutcomeUnknown, message))
        }
    }
}

pub(crate) enum Judgement {
    /// It is newer or equal, and opens.
    Opens(Version),
    /// It never wins: the reason.
    Broken(String),
    Older,
}

/// The tokens of a row, as the local file keeps them: one text for every version, so that a whole
/// record stays one that can be opened, and one for every damaged or later token. The local file
/// never takes anything else.
pub(crate) fn old_tokens(row: &Row) -> Vec<String> {
    // of the JSONB column the text is JSON, with its tokens in quotes
    let ours = row.slots.iter().flatten().filter(|text| claims_to_be_token(text) || text.starts_with('{'));
    let texts = ours.flat_map(|text| text.split([' ', '"']));
    let mut records: BTreeMap<(Version, KeyId), Vec<&str>> = BTreeMap::new();
    let mut others = Vec::new();
    for text in texts.filter(|text| claims_to_be_token(text) && text.len() <= MAX_SLOT) {
        match text.parse::<Token>() {
            Ok(token) => records.entry((token.version, token.key)).or_default().push(text),
            Err(_) => others.push(text.to_owned()),
        }
    }
    records.into_values().map(|tokens| tokens.join(" ")).chain(others).collect()
}

/// A short pause, longer in every round, and so random that two rivals do not meet again at once.
pub(crate) async fn pause(round: u32) {
    let longer = 2u32.pow(round.min(6));
    let random = crate::crypto::random::with_rng(|rng| rand::Rng::next_u32(rng) % (16 * longer)).unwrap_or(8);
    tokio::time::sleep(Duration::from_millis(u64::from(5 * longer + random))).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::record::PlainValues;

    #[test]
    fn old_tokens_of_one_version_stay_together_and_other_text_is_left_out() {
        let token = |version: &str, field| {
            let body = vec![7; crate::record::token::OVERHEAD + crate::record::token::PADDING];
            Token { key: KeyId(1), version: version.parse().unwrap(), field, body }.to_string()
        };
        let (older, newer) = ("0000000000000001", "0000000000000002");
        let slots = vec![
            Some(format!("{} {}", token(newer, Field::ApiKey), token(newer, Field::CallAgentId))),
            Some("hunter2 rv1.nonsense".to_owned()),
            None,
            Some(format!(
                r#"{{"sms_agent_id": "{}", "api_key": "{}"}}"#,
                token(newer, Field::SmsAgentId),
                token(older, Field::ApiKey)
            )),
        ];
        let row = Row { slots, json_is_foreign: false, plain: PlainValues::default() };
        let fields = [Field::ApiKey, Field::CallAgentId, Field::SmsAgentId];
        let whole = fields.map(|field| token(newer, field)).join(" ");
        assert_eq!(old_tokens(&row), [token(older, Field::ApiKey), whole]);

        let slots = vec![Some("rv2.later rv1.torn".to_owned()), Some(r#"{"api_key": "rv3.x"}"#.to_owned())];
        let row = Row { slots, json_is_foreign: false, plain: PlainValues::default() };
        assert_eq!(old_tokens(&row), ["rv2.later", "rv1.torn", "rv3.x"]);
    }
}
