//! Adds the entry of the ledger to a write: both in one statement, so neither is there without the other.

use std::fmt::Write as _;

use sqlx::postgres::PgArguments;

use crate::chain::entry::SealedEntry;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::connection::pool::bind;
use crate::postgres::sql::names::EQ;
use crate::postgres::statements::fragments::DURABLE;

pub(in crate::postgres) const LEDGER: &str = "retell_vault.ledger";

/// The columns that an entry sets, in the order of its parameters, with their types.
pub(in crate::postgres) const COLUMNS: [(&str, &str); 21] = [
    ("writer", "uuid"),
    ("seq", "int8"),
    ("epoch", "int4"),
    ("settled", "int8"),
    ("head", "bytea"),
    ("at_ms", "int8"),
    ("op", "text"),
    ("place", "text"),
    ("usr", "text"),
    ("tenant", "text"),
    ("before", "text"),
    ("after", "text"),
    ("digest", "bytea"),
    ("outcome", "text"),
    ("actor", "text"),
    ("reason", "text"),
    ("request", "text"),
    ("host", "text"),
    ("release", "text"),
    ("detail", "text"),
    ("mac", "bytea"),
];

pub(in crate::postgres) fn column_names() -> String {
    COLUMNS.map(|(name, _)| name).join(", ")
}

/// A write that returns a row if it takes effect, and in the same statement the entry, only if it does. The columns of the
/// entry are bound after the `params` parameters of the write. Several rows of one owner get one entry.
pub(in crate::postgres) fn with_entry(write: &str, params: usize) -> String {
    let values: Vec<_> = COLUMNS
        .iter()
        .enumerate()
        .map(|(at, (_, kind))| format!("${}::pg_catalog.{kind}", params + at + 1))
        .collect();
    format!(
        "WITH w AS ({write}), l AS (INSERT INTO {LEDGER} ({}) SELECT {} WHERE EXISTS (SELECT FROM w)) SELECT * FROM w",
        column_names(),
        values.join(", ")
    )
}

/// The same for a write of many owners. It returns the `ordinal` of each owner that was written. The entries are bound as
/// arrays, after their ordinals.
pub(in crate::postgres) fn with_entries(write: &str, params: usize) -> String {
    let mut arrays = format!("${}::pg_catalog._int4", params + 1);
    for (at, (_, kind)) in COLUMNS.iter().enumerate() {
        let _ = write!(arrays, ", ${}::pg_catalog._{kind}", params + at + 2);
    }
    let names = column_names();
    let values = COLUMNS.map(|(name, _)| format!("e.{name}")).join(", ");
    format!(
        "WITH w AS ({write}), l AS (INSERT INTO {LEDGER} ({names}) SELECT {values} FROM unnest({arrays}) \
         AS e (ordinal, {names}) WHERE e.ordinal {EQ} ANY (SELECT w.ordinal FROM w)) SELECT * FROM w"
    )
}

/// Entries without a write, bound as arrays after their ordinals. Their commit waits for the disk.
pub(in crate::postgres) fn only_entries() -> String {
    let mut arrays = "$1::pg_catalog._int4".to_owned();
    for (at, (_, kind)) in COLUMNS.iter().enumerate() {
        let _ = write!(arrays, ", ${}::pg_catalog._{kind}", at + 2);
    }
    let names = column_names();
    let values = COLUMNS.map(|(name, _)| format!("e.{name}")).join(", ");
    format!(
        "INSERT INTO {LEDGER} ({names}) SELECT {values} FROM (SELECT {DURABLE}) AS d, unnest({arrays}) AS e (ordinal, {names})"
    )
}

/// The parameters of one entry.
pub(in crate::postgres) fn bind_entry(
    arguments: &mut PgArguments,
    sealed: &SealedEntry,
) -> Result<(), DatabaseError> {
    let (entry, event) = (&sealed.entry, &sealed.entry.event);
    bind(arguments, entry.writer)?;
    bind(arguments, entry.seq)?;
    bind(arguments, entry.epoch)?;
    bind(arguments, entry.settled)?;
    bind(arguments, entry.head.as_slice())?;
    bind(arguments, entry.at_ms)?;
    bind(arguments, event.operation.as_str())?;
    for text in [&event.place, &event.user, &event.tenant, &event.before, &event.after] {
        bind(arguments, text.as_deref())?;
    }
    bind(arguments, event.digest.as_deref())?;
    for text in [&event.outcome, &event.actor, &event.reason, &event.request] {
        bind(arguments, text.as_deref())?;
    }
    for text in [&event.host, &event.release, &event.detail] {
        bind(arguments, text.as_deref())?;
    }
    bind(arguments, sealed.mac.as_slice())
}

/// The parameters of many entries, each with its ordinal.
pub(in crate::postgres) fn bind_entries(
    arguments: &mut PgArguments,
    entries: &[(i32, &SealedEntry)],
) -> Result<(), DatabaseError> {
    macro_rules! column {
        ($sealed:ident => $value:expr) => {
            bind(arguments, entries.iter().map(|(_, $sealed)| $value).collect::<Vec<_>>())?
        };
    }
    bind(arguments, entries.iter().map(|(ordinal, _)| *ordinal).collect::<Vec<_>>())?;
    column!(sealed => sealed.entry.writer);
    column!(sealed => sealed.entry.seq);
    column!(sealed => sealed.entry.epoch);
    column!(sealed => sealed.entry.settled);
    column!(sealed => sealed.entry.head.as_slice());
    column!(sealed => sealed.entry.at_ms);
    column!(sealed => sealed.entry.event.operation.as_str());
    column!(sealed => sealed.entry.event.place.as_deref());
    column!(sealed => sealed.entry.event.user.as_deref());
    column!(sealed => sealed.entry.event.tenant.as_deref());
    column!(sealed => sealed.entry.event.before.as_deref());
    column!(sealed => sealed.entry.event.after.as_deref());
    column!(sealed => sealed.entry.event.digest.as_deref());
    column!(sealed => sealed.entry.event.outcome.as_deref());
    column!(sealed => sealed.entry.event.actor.as_deref());
    column!(sealed => sealed.entry.event.reason.as_deref());
    column!(sealed => sealed.entry.event.request.as_deref());
    column!(sealed => sealed.entry.event.host.as_deref());
    column!(sealed => sealed.entry.event.release.as_deref());
    column!(sealed => sealed.entry.event.detail.as_deref());
    column!(sealed => sealed.mac.as_slice());
    Ok(())
}
