//! The entries of this process in the ledger: each belongs to the write that it is sent with.
//!
//! A vault has a ledger once its keyring has a key for it. From then on no record is written without an entry.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::chain::entry::{Event, digest, operation};
use crate::crypto::sealer;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::subkeys::{LEDGER, Subkey};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::Postgres;
use crate::postgres::vault_schema::ledger::{Voided, problem, void};
use crate::record::contents::Contents;
use crate::record::owner::{Owner, TenantId};
use crate::record::record::Record;
use crate::record::version::Version;
use crate::store::actor::{Attribution, acting_now};
use crate::store::core::{Core, StoreRequest};
use crate::store::ledger_writers::Noted;
use crate::store::waiting_entries::WaitingEntry;

/// The most bytes of the table and its filter, as entries name them.
const MAX_PLACE: usize = 2000;
/// How long a store waits at most for decisions about numbers of earlier ones.
const DECIDING: Duration = Duration::from_millis(500);

impl Core {
    /// The key under which entries are written, if the keyring has one.
    pub(crate) fn ledger_key(&self) -> Option<Subkey> {
        self.keyring.current().subkeys.of(LEDGER).next_back().cloned()
    }

    /// What belongs to a record, as its record token says.
    pub(crate) fn contents(&self, record: &Record, owner: &Owner) -> Result<Contents> {
        let keyring = self.keyring.holding(record.key);
        sealer::contents(record, self.scope(owner), keyring.opener(record.key)?)
    }

    /// The entry for a record that is about to be written over the one of version `before`.
    pub(crate) fn note_change(
        &self,
        operation: &'static str,
        owner: &Owner,
        before: Option<Version>,
        record: &Record,
    ) -> Result<Noted<'_>> {
        let Some(key) = self.ledger_key() else { return Ok(Noted::nothing()) };
        let contents = self.contents(record, owner)?;
        let event = Event { before: before.map(text), ..self.event(operation, owner) };
        self.draw(&key, state_of(&key, owner, record.version, &contents, event))
    }

    /// The entry for what a request seals.
    pub(crate) fn note_store(
        &self,
        request: StoreRequest<'_>,
        before: Option<Version>,
        record: &Record,
    ) -> Result<Noted<'_>> {
        self.note_change(operation_of(request), request.owner, before, record)
    }

    /// An entry for an owner without a change of the record.
    pub(crate) fn event(&self, operation: &'static str, owner: &Owner) -> Event {
        of_owner(self.event_of_place(operation), owner)
    }

    /// An entry that is about no single owner.
    pub(crate) fn event_of_place(&self, operation: &'static str) -> Event {
        // what waited in a local file is pushed by the process that comes next
        let is_own = matches!(operation, operation::SYNC | operation::CLOSED | operation::VOID);
        self.event_by(operation, acting_now().filter(|_| !is_own).as_deref())
    }

    fn event_by(&self, operation: &'static str, actor: Option<&Attribution>) -> Event {
        let text = |text: fn(&Attribution) -> Option<&str>| actor.and_then(text).map(str::to_owned);
        Event {
            operation: operation.to_owned(),
            place: self.ledger_place(),
            actor: text(Attribution::actor),
            reason: text(Attribution::reason),
            request: text(Attribution::request),
            host: Some(self.ledger.host.clone()),
            release: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ..Event::default()
        }
    }

    /// An entry that has waited, and its time.
    pub(super) fn event_of_waiting(&self, waiting: &WaitingEntry) -> (i64, Event) {
        match waiting {
            WaitingEntry::Reads(key, folded) => {
                let mut event = of_owner(self.event_by(operation::READ, key.actor()), &key.owner);
                event.request = event.request.filter(|_| folded.is_of_request);
                (folded.first_ms, Event { detail: Some(folded.detail(&key.fields).to_string()), ..event })
            }
            WaitingEntry::Refusal(refusal) => {
                let event = self.event_by(refusal.operation, refusal.actor.as_deref());
                let skipped = Some(refusal.skipped).filter(|skipped| *skipped > 0);
                let detail = skipped.map(|skipped| json!({ "skipped": skipped }).to_string());
                let outcome = Some(refusal.kind.as_str().to_owned());
                (refusal.at_ms, Event { outcome, detail, ..of_owner(event, &refusal.owner) })
            }
            WaitingEntry::Lost(count) => {
                let detail = json!({ "lost": count }).to_string();
                (self.now_ms(), Event { detail: Some(detail), ..self.event_by(operation::READ, None) })
            }
        }
    }

    /// The namespace and the table, as entries name them.
    pub(crate) fn ledger_place(&self) -> Option<String> {
        let postgres = self.postgres.as_ref()?;
        Some(format!("{} {}", self.fields.namespace, postgres.layout().rows_name()))
    }

    /// The time, as entries have it.
    pub(crate) fn now_ms(&self) -> i64 {
        i64::try_from(self.now()).unwrap_or(i64::MAX)
    }

    /// As [`Core::draw`], for an entry about an earlier time.
    pub(super) fn draw_at(&self, key: &Subkey, at_ms: i64, event: Event) -> Result<Noted<'_>> {
        self.ledger.draw(key, at_ms, event)
    }

    pub(crate) fn draw(&self, key: &Subkey, event: Event) -> Result<Noted<'_>> {
        self.draw_at(key, self.now_ms(), event)
    }
}

pub(super) fn operation_of(request: StoreRequest<'_>) -> &'static str {
    match (request.is_tombstone(), request.change, request.import) {
        (true, ..) => operation::DELETE,
        (_, Some(_), _) => operation::MODIFY,
        (_, _, Some(_)) => operation::IMPORT,
        _ => operation::STORE,
    }
}

fn of_owner(event: Event, owner: &Owner) -> Event {
    Event {
        user: Some(owner.user_id().as_str().to_owned()),
        tenant: owner.tenant_id().map(|tenant| TenantId::as_str(tenant).to_owned()),
        ..event
    }
}

/// What an entry says of the record that an owner has after it.
pub(crate) fn state_of(
    key: &Subkey,
    owner: &Owner,
    version: Version,
    contents: &Contents,
    event: Event,
) -> Event {
    let digest = digest(key, owner, version, contents).to_vec();
    Event { after: Some(text(version)), digest: Some(digest), ..event }
}

pub(super) fn text(version: Version) -> String {
    version.to_string()
}

/// Makes sure that entries can be written, if there must be some.
///
/// # Errors
/// `LedgerUnavailable`, as an outcome for which the local file may take the record; otherwise why the database cannot be
/// asked.
pub(crate) async fn require_ledger(core: &Core, postgres: &Postgres) -> Result<(), DatabaseError> {
    if core.ledger_key().is_none() || core.ledger.is_checked() {
        return Ok(());
    }
    // boxed: otherwise an application's futures become too deep for the compiler
    Box::pin(check_ledger(core, postgres)).await
}

/// As [`require_ledger`], also without a key.
pub(crate) async fn check_ledger(core: &Core, postgres: &Postgres) -> Result<(), DatabaseError> {
    if core.ledger_place().is_some_and(|place| place.len() > MAX_PLACE) {
        let long = unavailable("the names and the filter of the layout are too long")
            .with_hint("select the rows by fewer or shorter values, or through a generated column");
        return Err(DatabaseError::new(Outcome::Reject, long));
    }
    match problem(&postgres.database).await? {
        Some(problem) => Err(DatabaseError::new(Outcome::TakesNoWrites, unavailable(&problem))),
        None => {
            core.ledger.note_checked(true);
            settle_doubtful(core, postgres).await;
            Ok(())
        }
    }
}

fn unavailable(problem: &str) -> Error {
    Error::new(ErrorKind::LedgerUnavailable, format!("the ledger cannot take an entry: {problem}"))
        .with_hint("`retell-vault schema apply --vault-schema` makes the table, `ledger begin` the key")
}

/// The database and the place of the ledger.
///
/// # Errors
/// `Configuration` without a database; `LedgerUnavailable` if the ledger was not begun.
pub(crate) fn begun(core: &Core) -> Result<(&Postgres, String)> {
    let (Some(postgres), Some(place)) = (&core.postgres, core.ledger_place()) else {
        return Err(Error::new(ErrorKind::Configuration, "no database is configured, so there is no ledger")
            .with_hint("configure a database (`--database-url`)"));
    };
    match core.ledger_key() {
        Some(_) => Ok((postgres, place)),
        None => Err(Error::new(
            ErrorKind::LedgerUnavailable,
            "the ledger was not begun: the keyring has no key for it",
        )),
    }
}

/// A fault of a write that was sent with an entry: the table of the ledger may be the reason.
pub(crate) async fn explained(core: &Core, postgres: &Postgres, fault: DatabaseError) -> DatabaseError {
    let may_be = matches!(fault.outcome, Outcome::Redetect | Outcome::Reject);
    if !may_be || core.ledger_key().is_none() {
        return fault;
    }
    core.ledger.note_checked(false);
    match check_ledger(core, postgres).await {
        Err(why) if why.error.kind() == ErrorKind::LedgerUnavailable => why,
        _ => fault,
    }
}

/// Decides about numbers whose outcome is unknown, as far as the database can say now: a number that takes an entry without
/// contents was never used, and never will be. A store waits for it, so it does not go on for long.
pub(crate) async fn settle_doubtful(core: &Core, postgres: &Postgres) {
    let (Some(key), Ok(_alone)) = (core.ledger_key(), core.ledger.deciding.try_lock()) else { return };
    let started = Instant::now();
    for (id, seq) in core.ledger.doubtful() {
        if started.elapsed() > DECIDING {
            return;
        }
        let event = core.event_of_place(operation::VOID);
        let at_ms = i64::try_from(core.now()).unwrap_or(i64::MAX);
        let Some(deciding) = core.ledger.decide((id, seq), &key, at_ms, event) else { continue };
        let done = void(&postgres.database, deciding.entry()).await;
        match done {
            Ok(Voided::Void) => deciding.was_written(),
            Ok(Voided::Stands) => deciding.was_taken(),
            Ok(Voided::AskLater) => deciding.stays_unknown(),
            Err(fault) => {
                tracing::debug!(error = %fault.error, "the outcome of an entry cannot be decided now");
                if fault.outcome != Outcome::Ambiguous {
                    deciding.stays_unknown();
                }
                return;
            }
        }
    }
}
