//! A walk over every row of the table, page by page, and the exchange of texts in what it found.
//!
//! No lock is held between two statements, and nothing but the position is remembered: whoever walks
//! again finds what is left to do by looking.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};

use crate::classify::{Fault, Phase, classify};
use crate::database::{Query, bind};
use crate::detect::missing_table;
use crate::error::{Error, ErrorKind};
use crate::layout::quote;
use crate::owner::Owner;
use crate::placement::Slot;
use crate::postgres::cursor::{Cursor, Position};
use crate::postgres::fragments::{Forms, OURS, Writer};
use crate::postgres::{Plan, Postgres, owner_of, parse_owner};
use crate::token::KeyId;

/// How long an exchange waits for a row that somebody else has locked.
const LOCK_TIMEOUT: &str = "250ms";

/// The lag, and whether it is hidden from us.
const LAG: &str = "SELECT coalesce(max(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), replay_lsn)), 0)::int8, \
 coalesce(bool_or(state IS NULL), false) FROM pg_catalog.pg_stat_replication";

/// The rows between two positions: after the first, up to and with the second.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stretch {
    pub(crate) after: Option<Position>,
    pub(crate) until: Option<Position>,
}

/// A row that has something not under the primary key.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    position: Position,
    /// As it stands in the row, for messages.
    pub(crate) name: String,
    /// Absent when the row's owner is not a valid one.
    pub(crate) owner: Option<Owner>,
    /// The text of every slot of the walk. Of the JSONB column only what is ours.
    pub(crate) texts: Vec<Option<String>>,
}

/// What one page holds.
pub(crate) struct Page {
    /// All rows, whether there is something to do or not.
    pub(crate) rows: u64,
    pub(crate) found: Vec<Found>,
    /// The position of the last row; absent when there was none.
    pub(crate) last: Option<Position>,
}

/// New texts for the slots of a row. `None` in place of a JSONB slot: it stays as it is.
pub(crate) struct Exchange {
    pub(crate) found: Found,
    pub(crate) new: Vec<Option<String>>,
}

/// A way over the table as the catalogue describes it now.
pub(crate) struct Walk {
    cursor: Cursor,
    pub(crate) slots: Vec<Slot>,
    /// For each of: from the start, after a position; to the end, up to a position.
    pages: [[Arc<str>; 2]; 2],
    exchange: Arc<str>,
    middle: Arc<str>,
    count: Arc<str>,
    count_found: Arc<str>,
}

impl Walk {
    fn new(writer: &Writer<'_>, cursor: Cursor, slots: Vec<Slot>, batch: u32) -> Self {
        let page = |after, until| page(writer, &cursor, &slots, batch, after, until).into();
        let pages = [[page(false, false), page(false, true)], [page(true, false), page(true, true)]];
        let exchange = exchange(writer, &cursor, &slots).into();
        let relation = writer.relation();
        let (selected, order, has_position) = (cursor.selected(), cursor.order(), cursor.has_position());
        let middle = format!(
            "SELECT {selected} FROM {relation} AS t WHERE {has_position} ORDER BY {order} OFFSET $1::int8 LIMIT 1"
        );
        let count = format!("SELECT count(*) FROM {relation} AS t");
        let count_found = format!("{count} WHERE {}", needs_any(writer, &slots));
        let (middle, count, count_found) = (middle.into(), count.into(), count_found.into());
        Self { pages, exchange, middle, count, count_found, cursor, slots }
    }
}

impl Postgres {
    /// Plans a walk over every slot that exists, with at most `batch` rows to a page. `without` names a
    /// column to leave out, which only a test of the recount does.
    pub(crate) async fn walk(&self, plan: &Plan, batch: u32, without: Option<&str>) -> Result<Walk, Fault> {
        let (table, _) = plan.work()?;
        let cursor = Cursor::find(&self.database, &self.layout, table).await?;
        let writer = Writer { layout: &self.layout, table, placement: &plan.placement, forms: Forms::One };
        let slots = plan.placement.slots.iter().filter(|slot| Some(slot.column.as_str()) != without);
        let slots = slots.cloned().collect();
        Ok(Walk::new(&writer, cursor, slots, batch))
    }

    /// How many rows there are.
    pub(crate) async fn count_rows(&self, walk: &Walk) -> Result<u64, Fault> {
        self.count(walk.count.clone(), PgArguments::default()).await
    }

    /// How many rows have something that is not under the primary key.
    pub(crate) async fn count_found(&self, walk: &Walk, primary: KeyId) -> Result<u64, Fault> {
        let mut arguments = PgArguments::default();
        bind(&mut arguments, start_of_tokens(primary))?;
        self.count(walk.count_found.clone(), arguments).await
    }

    async fn count(&self, sql: Arc<str>, arguments: PgArguments) -> Result<u64, Fault> {
        let rows = self.database.survey(Query { sql, arguments }).await?;
        let count = rows.first().map_or(Ok(0), |row| row.try_get::<i64, _>(0));
        let count = count.map_err(|error| classify(&error, Phase::Reading))?;
        Ok(count.try_into().unwrap_or(0))
    }

    /// The whole table as stretches of about the same number of rows.
    pub(crate) async fn stretches(&self, walk: &Walk, rows: u64, parts: u32) -> Result<Vec<Stretch>, Fault> {
        let mut borders = Vec::new();
        for part in 1..u64::from(parts.max(1)) {
            let mut arguments = PgArguments::default();
            bind(&mut arguments, (rows / u64::from(parts) * part) as i64)?;
            let found = self.database.survey(Query { sql: walk.middle.clone(), arguments }).await?;
            borders.extend(found.first().map(|row| walk.cursor.position(row)).transpose()?);
        }
        borders.dedup();
        let starts = std::iter::once(None).chain(borders.iter().cloned().map(Some));
        let ends = borders.iter().cloned().map(Some).chain([None]);
        Ok(starts.zip(ends).map(|(after, until)| Stretch { after, until }).collect())
    }

    /// The next page of a stretch, or `None` when the schema is no longer the one of the walk.
    pub(crate) async fn page(
        &self,
        walk: &Walk,
        stretch: &Stretch,
        primary: KeyId,
    ) -> Result<Option<Page>, Fault> {
        let sql = &walk.pages[usize::from(stretch.after.is_some())][usize::from(stretch.until.is_some())];
        let mut arguments = PgArguments::default();
        bind(&mut arguments, start_of_tokens(primary))?;
        let positions = [&stretch.after, &stretch.until].into_iter().flatten().flatten();
        positions.cloned().try_for_each(|text| bind(&mut arguments, text))?;
        let query = Query { sql: sql.clone(), arguments };
        let mut page = Page { rows: 0, found: Vec::new(), last: None };
        let mut is_current = true;
        let each = |row: &PgRow| {
            page.rows += 1;
            page.last = Some(walk.cursor.position(row)?);
            is_current &= read_into(&mut page.found, row, &walk.cursor)?;
            Ok(())
        };
        self.database.fetch_each(query, each).await?;
        Ok(is_current.then_some(page))
    }

    /// Puts new texts in the place of old ones, by one statement, where every slot of the row still
    /// holds exactly what was found. Answers with which rows that were.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn exchange(&self, walk: &Walk, exchanges: &[Exchange]) -> Result<Vec<bool>, Fault> {
        let mut arguments = PgArguments::default();
        for at in 0..walk.cursor.width() {
            bind(&mut arguments, column(exchanges, |exchange| exchange.found.position[at].as_str()))?;
        }
        for at in 0..walk.slots.len() {
            bind(&mut arguments, column(exchanges, |exchange| exchange.found.texts[at].as_deref()))?;
        }
        for at in 0..walk.slots.len() {
            bind(&mut arguments, column(exchanges, |exchange| exchange.new[at].as_deref()))?;
        }
        bind(&mut arguments, (0..exchanges.len() as i32).collect::<Vec<_>>())?;
        let exchange = Query { sql: walk.exchange.clone(), arguments };
        let mut arguments = PgArguments::default();
        bind(&mut arguments, LOCK_TIMEOUT)?;
        let sql = "SELECT pg_catalog.set_config('lock_timeout', $1::text, true)";
        let patience = Query { sql: sql.into(), arguments };
        let rows = self.database.transaction(vec![patience, exchange], Phase::Writing).await?;
        let mut done = vec![false; exchanges.len()];
        for row in &rows {
            let at: i32 = row.try_get(1).map_err(|error| classify(&error, Phase::Writing))?;
            if let Some(done) = usize::try_from(at).ok().and_then(|at| done.get_mut(at)) {
                *done = true;
            }
        }
        Ok(done)
    }

    /// How many bytes of WAL the replica that is furthest behind has not applied yet. Zero without replicas.
    ///
    /// # Errors
    /// `AccessDenied` when our role may not see that.
    pub(crate) async fn replica_lag(&self) -> Result<u64, Fault> {
        let query = Query { sql: LAG.into(), arguments: PgArguments::default() };
        let rows = self.database.fetch(query, Phase::Reading).await?;
        let get = |error: sqlx::Error| classify(&error, Phase::Reading);
        let Some(row) = rows.first() else { return Ok(0) };
        if row.try_get(1).map_err(get)? {
            let error =
                Error::new(ErrorKind::AccessDenied, "this role may not see how far replicas are behind");
            return Err(error.with_hint("GRANT pg_monitor to the role that connects").into());
        }
        let lag: i64 = row.try_get(0).map_err(get)?;
        Ok(lag.try_into().unwrap_or(0))
    }

    /// Refuses to go on without a table: what it held may be elsewhere, and was not counted.
    ///
    /// # Errors
    /// `Schema` when the default table is missing.
    pub(crate) async fn refuse_without_table(&self) -> Result<(), Fault> {
        match self.plan().await?.has_table() {
            true => Ok(()),
            false => Err(missing_table(&self.layout).into()),
        }
    }

    /// Whether row level security may hide rows from this role.
    pub(crate) async fn may_hide_rows(&self) -> Result<bool, Fault> {
        let mut arguments = PgArguments::default();
        bind(&mut arguments, format!("{}.{}", quote(&self.layout.schema), quote(&self.layout.table)))?;
        let sql = "SELECT pg_catalog.row_security_active($1::text::regclass)";
        let rows = self.database.fetch(Query { sql: sql.into(), arguments }, Phase::Reading).await?;
        let active = rows.first().map_or(Ok(false), |row| row.try_get(0));
        active.map_err(|error| classify(&error, Phase::Reading))
    }
}

fn start_of_tokens(key: KeyId) -> String {
    format!("rv1.{key}.")
}

fn column<'a, T>(exchanges: &'a [Exchange], value: impl Fn(&'a Exchange) -> T) -> Vec<T> {
    exchanges.iter().map(value).collect()
}

/// Adds a row that has something to do. Says whether the schema is the one of the walk.
fn read_into(found: &mut Vec<Found>, row: &PgRow, cursor: &Cursor) -> Result<bool, Fault> {
    let get = |error: sqlx::Error| classify(&error, Phase::Reading);
    let first = cursor.width();
    let texts: Option<Vec<Option<String>>> = row.try_get(first + 2).map_err(get)?;
    if let Some(texts) = texts {
        let owner = owner_of(row, first)?;
        let name = match &owner {
            (Some(tenant), user) => format!("{tenant}/{user}"),
            (None, user) => user.clone(),
        };
        found.push(Found { position: cursor.position(row)?, name, owner: parse_owner(owner), texts });
    }
    row.try_get(first + 3).map_err(get)
}

// --- SQL ---

/// $1 how a token under the primary key starts, then the positions.
fn page(
    writer: &Writer<'_>,
    cursor: &Cursor,
    slots: &[Slot],
    batch: u32,
    after: bool,
    until: bool,
) -> String {
    let texts: Vec<_> = slots.iter().map(|slot| writer.slot_text("t", slot)).collect();
    let mut conditions = vec![cursor.has_position()];
    conditions.extend(after.then(|| cursor.compared(">", 2)));
    conditions.extend(until.then(|| cursor.compared("<=", if after { 2 + cursor.width() } else { 2 })));
    // all rows of one position come in one page, or the rest would be passed over
    let limit = match cursor.unique {
        true => format!("LIMIT {batch}"),
        false => format!("FETCH FIRST {batch} ROWS WITH TIES"),
    };
    format!(
        "SELECT {}, {}, CASE WHEN {} THEN ARRAY[{}]::text[] END, {} FROM {} AS t WHERE {} ORDER BY {} {limit}",
        cursor.selected(),
        writer.owner_columns(),
        needs_any(writer, slots),
        texts.join(", "),
        writer.schema_is_current(),
        writer.relation(),
        conditions.join(" AND "),
        cursor.order(),
    )
}

fn needs_any(writer: &Writer<'_>, slots: &[Slot]) -> String {
    let needs: Vec<_> = slots.iter().map(|slot| needs(writer, slot)).collect();
    if needs.is_empty() { "false".to_owned() } else { needs.join(" OR ") }
}

/// Whether a slot holds anything but tokens under the primary key.
fn needs(writer: &Writer<'_>, slot: &Slot) -> String {
    let text = writer.slot_text("t", slot);
    let another = |value: &str| format!("pg_catalog.left({value}, 13) <> $1::text");
    if !slot.json {
        return format!(
            "coalesce({text} <> '' AND ({} OR (pg_catalog.strpos({text}, ' ') > 0 AND EXISTS \
             (SELECT 1 FROM pg_catalog.unnest(pg_catalog.string_to_array({text}, ' ')) AS e (value) WHERE {}))), false)",
            another(&text),
            another("e.value"),
        );
    }
    let ours = format!("(t.{} -> '{OURS}'::text)", quote(&slot.column));
    format!(
        "CASE coalesce(pg_catalog.jsonb_typeof({ours}), 'null') WHEN 'null' THEN false WHEN 'object' THEN EXISTS \
         (SELECT 1 FROM pg_catalog.jsonb_each_text({ours}) AS e WHERE ({}) IS NOT FALSE) ELSE true END",
        another("e.value"),
    )
}

/// The positions, the old texts and the new texts as arrays, and the ordinals.
fn exchange(writer: &Writer<'_>, cursor: &Cursor, slots: &[Slot]) -> String {
    let names = |letter: char, count: usize| (0..count).map(move |at| format!("{letter}{at}"));
    let names: Vec<_> =
        names('k', cursor.width()).chain(names('o', slots.len())).chain(names('v', slots.len())).collect();
    let mut arrays: Vec<_> = (1..=names.len()).map(|number| format!("${number}::text[]")).collect();
    for (array, _) in
        arrays[cursor.width() + slots.len()..].iter_mut().zip(slots).filter(|(_, slot)| slot.json)
    {
        // parsed once, here
        array.push_str("::jsonb[]");
    }
    arrays.push(format!("${}::int4[]", names.len() + 1));
    let (mut set, mut unchanged, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for (at, slot) in slots.iter().enumerate() {
        let column = quote(&slot.column);
        if slot.json {
            set.push(format!(
                "{column} = CASE WHEN n.v{at} IS NULL THEN t.{column} ELSE pg_catalog.jsonb_set(t.{column}, '{{{OURS}}}', n.v{at}) END"
            ));
            // the text that was read is Postgres' own, and the same value always has the same
            unchanged.push(format!("(t.{column} -> '{OURS}'::text)::text IS NOT DISTINCT FROM n.o{at}"));
            held.push(format!("(n.v{at} IS NULL OR (t.{column} -> '{OURS}'::text) = n.v{at})"));
        } else {
            set.push(format!("{column} = n.v{at}"));
            unchanged.push(format!("t.{column}::text IS NOT DISTINCT FROM n.o{at}"));
            held.push(format!("t.{column}::text IS NOT DISTINCT FROM n.v{at}"));
        }
    }
    // a trigger that changes our values makes the statement fail, as everywhere
    format!(
        "UPDATE {} AS t SET {} FROM unnest({}) AS n ({}, ordinal) WHERE {} AND {} AND {} RETURNING 1 / (({}) IS TRUE)::int = 1, n.ordinal",
        writer.relation(),
        set.join(", "),
        arrays.join(", "),
        names.join(", "),
        cursor.is_at(),
        unchanged.join(" AND "),
        writer.schema_is_current(),
        held.join(" AND "),
    )
}
