//! Entries about work that changes no version of a record: one when it begins, and one when it ends.

use serde_json::{Value, json};

use crate::chain::entry::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::Postgres;
use crate::postgres::vault_schema::ledger::add_entries;
use crate::store::core::{Core, ROUNDS, pause};
use crate::store::ledger::{explained, require_ledger};

/// Does a piece of work, and notes its beginning and its end. `about` and `told` are JSON objects of counts and ids: never a
/// value. Without a ledger, or without a database, it only does the work.
///
/// # Errors
/// `LedgerUnavailable`, and those of an outage, if the beginning cannot be noted: nothing was done then. Otherwise those of the
/// work. That its end cannot be noted is logged.
pub(crate) async fn noted_work<T>(
    core: &Core,
    operation: &'static str,
    about: Value,
    work: impl Future<Output = Result<T>>,
    told: impl FnOnce(&T) -> Value,
) -> Result<T> {
    let begun = note_begin(core, operation, about).await?;
    let done = work.await;
    let told = done.as_ref().map_or_else(|_| json!({}), told);
    note_end(core, operation, begun, done.as_ref().err(), told).await;
    done
}

/// Notes that work begins. Returns what the end refers to.
pub(crate) async fn note_begin(core: &Core, operation: &'static str, about: Value) -> Result<Option<String>> {
    let detail = with(about, "state", "begun".into());
    write_alone(core, &event(core, operation, None, &detail)).await.map_err(|fault| fault.error)
}

/// Notes how work ended.
pub(crate) async fn note_end(
    core: &Core,
    operation: &'static str,
    begun: Option<String>,
    error: Option<&Error>,
    told: Value,
) {
    let detail = with(with(told, "state", "ended".into()), "begun", begun.into());
    let outcome = error.map(|error| error.kind().as_str());
    if let Err(fault) = write_alone(core, &event(core, operation, outcome, &detail)).await {
        tracing::warn!(operation, error = %fault.error, "the ledger could not take the end of an operation");
    }
}

/// The ledger is the reason for which a change of the keyring is refused, if this vault cannot reach it.
pub(crate) fn require_database_of_ledger(core: &Core) -> Result<()> {
    match core.ledger_key().is_some() && core.postgres.is_none() {
        false => Ok(()),
        true => Err(Error::new(
            ErrorKind::LedgerUnavailable,
            "the ledger was begun, and no database is named that could take an entry",
        )
        .with_hint("name the database (`--database-url`)")),
    }
}

/// An entry about the work of an operator.
fn event(core: &Core, operation: &'static str, outcome: Option<&str>, detail: &Value) -> Event {
    let outcome = outcome.map(str::to_owned);
    Event { outcome, detail: Some(detail.to_string()), ..core.event_of_place(operation) }
}

/// One entry, in a statement of its own. Returns its writer and number. `None`: there is no ledger.
pub(crate) async fn write_alone(core: &Core, event: &Event) -> Result<Option<String>, DatabaseError> {
    let Some(postgres) = &core.postgres else { return Ok(None) };
    let mut round = 0;
    loop {
        match write_once(core, postgres, event).await {
            // an old connection may be dead while the server is fine
            Err(fault) if fault.outcome == Outcome::Fallback && round == 0 => {}
            Err(fault) if matches!(fault.outcome, Outcome::Retry | Outcome::Pooler) && round < ROUNDS => {
                pause(round).await;
            }
            Err(fault) => return Err(explained(core, postgres, fault).await),
            written => return written,
        }
        round += 1;
    }
}

async fn write_once(
    core: &Core,
    postgres: &Postgres,
    event: &Event,
) -> Result<Option<String>, DatabaseError> {
    require_ledger(core, postgres).await?;
    let Some(key) = core.ledger_key() else { return Ok(None) };
    let noted = core.draw(&key, event.clone())?;
    let sealed = noted.entry().expect("there is a key").clone();
    let done = add_entries(&postgres.database, &[&sealed]).await;
    noted.settle(done, |()| true)?;
    Ok(Some(format!("{}/{}", sealed.entry.writer, sealed.entry.seq)))
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    if !value.is_null() {
        object[name] = value;
    }
    object
}
