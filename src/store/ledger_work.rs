//! Entries in a statement of their own, and those about work that changes no version of a record: one when it begins, and one
//! when it ends.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::chain::entry::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::Postgres;
use crate::postgres::statements::write::WrittenMany;
use crate::postgres::vault_schema::ledger::add_entries;
use crate::store::core::{Core, ROUNDS, pause};
use crate::store::ledger::{explained, require_ledger};
use crate::store::ledger_writers::Noted;

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
    write_one(core, operation, None, detail).await.map_err(|fault| fault.error)
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
    if let Err(fault) = write_one(core, operation, outcome, detail).await {
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

async fn write_one(
    core: &Core,
    operation: &'static str,
    outcome: Option<&str>,
    detail: Value,
) -> Result<Option<String>, DatabaseError> {
    let mut event = core.event_of_place(operation);
    event.outcome = outcome.map(str::to_owned);
    event.detail = Some(detail.to_string());
    let written = write_alone(core, &[(core.now_ms(), event)]).await?;
    Ok(written.first().map(|(writer, seq)| format!("{writer}/{seq}")))
}

/// Adds entries about these times, in a statement of their own. Returns their writers and numbers, or nothing if there is no ledger.
pub(crate) async fn write_alone(
    core: &Core,
    events: &[(i64, Event)],
) -> Result<Vec<(Uuid, i64)>, DatabaseError> {
    let Some(postgres) = &core.postgres else { return Ok(Vec::new()) };
    repeated(core, postgres, || write_once(core, postgres, events)).await
}

/// Writes entries, again if another attempt may succeed.
pub(super) async fn repeated<T, F>(
    core: &Core,
    postgres: &Postgres,
    write: impl Fn() -> F,
) -> Result<T, DatabaseError>
where
    F: Future<Output = Result<T, DatabaseError>>,
{
    let mut round = 0;
    loop {
        match write().await {
            // an old connection may be dead while the server is fine
            Err(fault) if fault.outcome == Outcome::Fallback && round == 0 => {}
            // and those from before a failover may only read
            Err(fault) if fault.outcome == Outcome::ReadOnly && round == 0 => {
                match postgres.database.is_standby().await {
                    Ok(false) => postgres.database.rebuild(),
                    _ => return Err(fault),
                }
            }
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
    events: &[(i64, Event)],
) -> Result<Vec<(Uuid, i64)>, DatabaseError> {
    require_ledger(core, postgres).await?;
    let Some(key) = core.ledger_key() else { return Ok(Vec::new()) };
    let draw = |(at_ms, event): &(i64, Event)| core.draw_at(&key, *at_ms, event.clone());
    let noted = events.iter().map(draw).collect::<Result<Vec<_>>>()?;
    let sealed: Vec<_> = noted.iter().filter_map(Noted::entry).cloned().collect();
    let done = add_entries(&postgres.database, &sealed.iter().collect::<Vec<_>>()).await;
    let written = || WrittenMany { written: vec![true; sealed.len()], is_cut: false };
    Noted::settle_each(noted, done.map(|()| written()))?;
    Ok(sealed.iter().map(|sealed| (sealed.entry.writer, sealed.entry.seq)).collect())
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    if !value.is_null() {
        object[name] = value;
    }
    object
}
