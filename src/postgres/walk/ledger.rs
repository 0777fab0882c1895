//! Reads the ledger and the records of the table side by side, in one snapshot and in order, so that no list of owners is in
//! memory.

use sqlx::postgres::{PgArguments, PgRow};

use crate::chain::entry::{SealedEntry, StoredEntry, operation};
use crate::error::{Error, ErrorKind};
use crate::layout::placement::Placement;
use crate::postgres::catalogue::id_kind::IdKind;
use crate::postgres::connection::acting_owner::{Until, act_as_owner};
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Query, bind};
use crate::postgres::connection::snapshot::Snapshot;
use crate::postgres::connection::transaction::setting;
use crate::postgres::sql::names::{literal, quote};
use crate::postgres::statements::answer::{Answer, OwnerText, owner_of};
use crate::postgres::statements::bind::owners;
use crate::postgres::statements::fragments::{DURABLE, Forms, Writer};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::with_entry::{COLUMNS, LEDGER, bind_entries, column_names, with_entries};
use crate::postgres::vault_schema::ledger::stored_entry;
use crate::postgres::vault_schema::objects::{SCHEMA, column};
use crate::postgres::vault_schema::removed::REMOVED;
use crate::record::owner::Owner;
use crate::record::record::Head;

/// How many rows are read at once.
pub(crate) const PAGE: usize = 2000;

/// A UUID has one form, in lower case, as in entries.
const IS_UUID: &str = "'^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$'";

/// A row of the table that holds text in a slot.
pub(crate) struct OwnersRow {
    /// The owner in the form that decides the order.
    pub(crate) owner: OwnerText,
    /// The owner as the row has it.
    pub(crate) stored: OwnerText,
    /// Whether the filter of the layout lets it count.
    pub(crate) counts: bool,
    row: PgRow,
}

impl OwnersRow {
    /// The columns of the layout.
    pub(crate) fn answer<'a>(&'a self, placement: &'a Placement) -> Answer<'a> {
        Answer { row: &self.row, first: 5, placement }
    }
}

/// An entry that names a state of an owner.
pub(crate) struct NamedState {
    pub(crate) stored: StoredEntry,
    /// Whether the removal of a row of the owner was noted after the entry.
    pub(crate) was_removed: bool,
}

/// The results that are read side by side.
pub(crate) struct LedgerReading<'d> {
    snapshot: Snapshot<'d>,
}

impl Postgres {
    /// Opens the snapshot: every entry by writer and number, the states of this place by owner, and the rows by owner.
    pub(crate) async fn read_ledger(
        &self,
        plan: &Plan,
        place: &str,
    ) -> Result<LedgerReading<'_>, DatabaseError> {
        let (table, _) = plan.work()?;
        let writer = Writer { layout: self.layout(), table, placement: &plan.placement, forms: Forms::One };
        let mut snapshot = self.database.snapshot().await?;
        let removals = removals(&mut snapshot).await?;
        let columns = column_names();
        let entries = format!(
            "DECLARE entries NO SCROLL CURSOR FOR SELECT {columns} FROM {LEDGER} ORDER BY writer, seq"
        );
        snapshot.fetch(setting(&entries)).await?;
        let acceptances = format!(
            "DECLARE acceptances NO SCROLL CURSOR FOR SELECT {columns} FROM {LEDGER} WHERE op IN ({}, {}) AND detail IS NOT NULL",
            literal(operation::ACCEPT),
            literal(operation::PRUNE)
        );
        snapshot.fetch(setting(&acceptances)).await?;
        let states = format!(
            "DECLARE states NO SCROLL CURSOR FOR SELECT {columns}, was_removed FROM ({removals}) AS l
            WHERE place = $1 AND after IS NOT NULL
            ORDER BY usr COLLATE \"C\", tenant COLLATE \"C\", after COLLATE \"C\" DESC"
        );
        let mut arguments = PgArguments::default();
        bind(&mut arguments, place)?;
        bind(&mut arguments, self.layout().rows_name())?;
        snapshot.fetch(Query { sql: states.into(), arguments }).await?;
        // code on the table must not run with the rights of this role
        snapshot.fetch(setting(&act_as_owner(&self.relation(), Until::TheTransactionEnds))).await?;
        snapshot.fetch(setting(&writer.rows_in_order())).await?;
        Ok(LedgerReading { snapshot })
    }
}

/// Refuses a role that may not read one of these tables. Returns which of them are there.
pub(super) async fn readable(
    snapshot: &mut Snapshot<'_>,
    names: &[&'static str],
) -> Result<Vec<String>, DatabaseError> {
    let wanted: Vec<_> = names.iter().map(|name| literal(name)).collect();
    let sql = format!(
        "SELECT c.relname::text, has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname IN ({})",
        literal(SCHEMA),
        wanted.join(", ")
    );
    let mut there = Vec::new();
    for row in snapshot.fetch(setting(&sql)).await? {
        let name: String = column(&row, 0)?;
        if !column::<bool>(&row, 1)? {
            let problem = format!("this role may not read {SCHEMA}.{name}");
            return Err(Error::new(ErrorKind::AccessDenied, problem)
                .with_hint("grant it USAGE on the schema and SELECT on the table; docs/LEDGER.md, Rights, has the SQL")
                .into());
        }
        there.push(name);
    }
    Ok(there)
}

/// What a state gets to know of the notes of removed rows: whether there is one that is later than the state. Without the table
/// there is none.
async fn removals(snapshot: &mut Snapshot<'_>) -> Result<String, DatabaseError> {
    let there = readable(snapshot, &["ledger", "removed"]).await?;
    Ok(match there.iter().any(|name| name == "removed") {
        true => format!(
            "SELECT l.*, EXISTS (SELECT FROM {REMOVED} AS r WHERE r.place = $2 AND r.usr COLLATE \"C\" = l.usr COLLATE \"C\"
                AND r.tenant COLLATE \"C\" IS NOT DISTINCT FROM l.tenant COLLATE \"C\" AND r.at > l.received) AS was_removed
            FROM {LEDGER} AS l"
        ),
        false => format!("SELECT l.*, $2::text IS NULL AS was_removed FROM {LEDGER} AS l"),
    })
}

/// A record that a row holds, and the entry that names it.
pub(crate) struct NotedState {
    pub(crate) owner: Owner,
    pub(crate) head: Head,
    pub(crate) entry: SealedEntry,
}

impl Postgres {
    /// Adds entries that name records as they are, each only if a row of the owner still holds the record. Returns for which
    /// this was so.
    pub(crate) async fn note_states(
        &self,
        plan: &Plan,
        states: &[NotedState],
    ) -> Result<Vec<bool>, DatabaseError> {
        let (table, _) = plan.work()?;
        let writer = Writer { layout: self.layout(), table, placement: &plan.placement, forms: Forms::One };
        let mut arguments = PgArguments::default();
        let all: Vec<&Owner> = states.iter().map(|state| &state.owner).collect();
        let places = owners(&mut arguments, table, &all)?;
        let heads: Vec<String> = places.iter().map(|at| states[*at].head.to_string()).collect();
        let ordinals: Vec<i32> = places.iter().map(|at| *at as i32).collect();
        bind(&mut arguments, heads)?;
        bind(&mut arguments, ordinals)?;
        let (sql, params) = writer.rows_that_hold();
        let entries: Vec<_> =
            states.iter().enumerate().map(|(at, state)| (at as i32, &state.entry)).collect();
        bind_entries(&mut arguments, &entries)?;
        let query = Query { sql: with_entries(&sql, params).into(), arguments };
        let mut noted = vec![false; states.len()];
        for row in &self.database.fetch(query, Phase::Writing).await? {
            let ordinal: i32 = column(row, 0)?;
            if let Some(noted) = usize::try_from(ordinal).ok().and_then(|at| noted.get_mut(at)) {
                *noted = true;
            }
        }
        Ok(noted)
    }
}

impl Writer<'_> {
    /// users[], tenants[], heads[], ordinals[]: the ordinals of the owners whose row holds only the record of the head, and the
    /// number of these parameters.
    fn rows_that_hold(&self) -> (String, usize) {
        let (owner, mut names) = self.owner_arrays();
        let kinds = owner.into_iter().chain(["pg_catalog._text".to_owned(), "pg_catalog._int4".to_owned()]);
        let arrays: Vec<_> = kinds.enumerate().map(|(at, kind)| format!("${}::{kind}", at + 1)).collect();
        names.extend(["head", "ordinal"]);
        let sql = format!(
            "SELECT DISTINCT n.ordinal, {DURABLE} FROM {} AS t JOIN unnest({}) AS n ({}) ON {} AND {} WHERE {}",
            self.relation(),
            arrays.join(", "),
            names.join(", "),
            self.is_row_of("t", "n"),
            self.holds_seen("t", "n.head"),
            self.is_as_planned("t"),
        );
        (sql, arrays.len())
    }

    fn rows_in_order(&self) -> String {
        let id = |column: &str, kind: IdKind| {
            let text = format!("t.{}::text", quote(column));
            match kind {
                IdKind::Text => format!(
                    "(CASE WHEN octet_length({text}) = 36 AND {text} ~ {IS_UUID} THEN lower({text}) ELSE {text} END)"
                ),
                _ => text,
            }
        };
        let user = id(&self.layout.user_column, self.table.user);
        let stored_user = format!("t.{}::text", quote(&self.layout.user_column));
        let (tenant, stored_tenant) = match (&self.layout.tenant_column, self.table.tenant) {
            (Some(column), Some(kind)) => (id(column, kind), format!("t.{}::text", quote(column))),
            _ => ("NULL::text".to_owned(), "NULL::text".to_owned()),
        };
        let filled: Vec<_> =
            self.placement.slots.iter().map(|slot| format!("{} <> ''", self.slot_text("t", slot))).collect();
        let counts: Vec<_> = self.table.filter.conditions("t.").collect();
        let counts = if counts.is_empty() { "true".to_owned() } else { counts.join(" AND ") };
        format!(
            "DECLARE held NO SCROLL CURSOR FOR SELECT {user}, {tenant}, {stored_user}, {stored_tenant},
            ({counts}) IS TRUE, {} FROM {} AS t
            WHERE ({}) AND {} ORDER BY {user} COLLATE \"C\", {tenant} COLLATE \"C\"",
            self.read_columns("t"),
            self.relation(),
            filled.join(" OR "),
            self.is_as_planned("t"),
        )
    }
}

impl LedgerReading<'_> {
    /// The next entries that accept numbers. Empty at the end.
    pub(crate) async fn acceptances(&mut self) -> Result<Vec<StoredEntry>, DatabaseError> {
        self.page("acceptances").await?.iter().map(stored_entry).collect()
    }

    /// The next entries by writer and number. Empty at the end.
    pub(crate) async fn entries(&mut self) -> Result<Vec<StoredEntry>, DatabaseError> {
        self.page("entries").await?.iter().map(stored_entry).collect()
    }

    /// The next entries that name a state of an owner, by owner, the newest version first.
    pub(crate) async fn states(&mut self) -> Result<Vec<NamedState>, DatabaseError> {
        let read = |row: &PgRow| {
            Ok(NamedState { stored: stored_entry(row)?, was_removed: column(row, COLUMNS.len())? })
        };
        self.page("states").await?.iter().map(read).collect()
    }

    /// The next rows with text in a slot, by owner.
    pub(crate) async fn rows(&mut self) -> Result<Vec<OwnersRow>, DatabaseError> {
        let read = |row: PgRow| {
            let (owner, stored) = (owner_of(&row, 0)?, owner_of(&row, 2)?);
            Ok(OwnersRow { owner, stored, counts: column(&row, 4)?, row })
        };
        self.page("held").await?.into_iter().map(read).collect()
    }

    async fn page(&mut self, cursor: &str) -> Result<Vec<PgRow>, DatabaseError> {
        self.snapshot.fetch(setting(&format!("FETCH FORWARD {PAGE} FROM {cursor}"))).await
    }

    pub(crate) async fn end(self) -> Result<(), DatabaseError> {
        self.snapshot.end().await
    }
}

/// What the owners in all results are ordered by: the user, then the tenant. An absent tenant comes last.
pub(crate) type OwnerOrder<'a> = (&'a str, bool, Option<&'a str>);

pub(crate) fn in_order((tenant, user): &OwnerText) -> OwnerOrder<'_> {
    (user, tenant.is_none(), tenant.as_deref())
}
