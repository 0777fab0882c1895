//! The SQL of a walk: its pages, and the exchange of texts in them.
//!
//! The exchange fires the application's triggers, so it runs with the session's own search path. It names every object
//! with its schema. So do the pages, which then need no separate transaction.

use crate::layout::placement::{ColumnType, PlainColumn, Slot};
use crate::postgres::sql::names::{EQ, quote, text};
use crate::postgres::sql::token;
use crate::postgres::statements::fragments::{Bound, DURABLE, Writer, to_column, to_entries};
use crate::postgres::walk::cursor::Cursor;
use crate::record::field::Field;

/// What a walk searches for in the slots of a row. Text that is not a token is included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::postgres) enum Sought {
    /// Text that is not under the primary key. $1 is the start of tokens under it.
    OtherKeys,
    /// Tokens of fields that belong in another slot.
    Misplaced,
    /// Any token.
    Tokens,
}

/// Everything that the texts are made of.
pub(in crate::postgres) struct Pages<'a> {
    pub(in crate::postgres) writer: &'a Writer<'a>,
    pub(in crate::postgres) cursor: &'a Cursor,
    pub(in crate::postgres) sought: Sought,
    pub(in crate::postgres) slots: &'a [Slot],
    pub(in crate::postgres) plain: &'a [PlainColumn],
}

impl Pages<'_> {
    /// A page. Parameters: the search, then the positions.
    pub(in crate::postgres) fn page(&self, batch: u32, after: bool, until: bool) -> String {
        let Self { writer, cursor, .. } = self;
        let slots: Vec<_> = self.slots.iter().map(|slot| writer.slot_text("t", slot)).collect();
        let plain: Vec<_> = self.plain.iter().map(|plain| writer.plain_text("t", plain)).collect();
        let first = match self.sought {
            Sought::OtherKeys => 2,
            Sought::Misplaced | Sought::Tokens => 1,
        };
        let mut conditions = vec![cursor.has_position(), writer.is_as_planned("t")];
        conditions.extend(after.then(|| cursor.compared(">", first)));
        conditions
            .extend(until.then(|| cursor.compared("<=", if after { first + cursor.width() } else { first })));
        // all rows of one position are in one page, because the next page would skip the rest
        let limit = match cursor.unique {
            true => format!("LIMIT {batch}"),
            false => format!("FETCH FIRST {batch} ROWS WITH TIES"),
        };
        format!(
            "SELECT {}, {}, CASE WHEN {} THEN ARRAY[{}]::pg_catalog._text END, ARRAY[{}]::pg_catalog._text, {}, \
             pg_catalog.now() FROM {} AS t WHERE {} ORDER BY {} {limit}",
            cursor.selected(),
            writer.owner_columns(),
            self.is_for_us(&slots),
            slots.join(", "),
            plain.join(", "),
            writer.json_state("t"),
            writer.relation(),
            conditions.join(" AND "),
            cursor.order(),
        )
    }

    /// A condition that a row holds text that the walk searches for.
    pub(in crate::postgres) fn holds_sought(&self) -> String {
        let slots = self.slots.iter().enumerate();
        let slots: Vec<_> = slots.map(|(at, slot)| self.slot_holds_sought(at, slot)).collect();
        if slots.is_empty() { "false".to_owned() } else { slots.join(" OR ") }
    }

    fn slot_holds_sought(&self, at: usize, slot: &Slot) -> String {
        if slot.json {
            return self.member_holds_sought(at, slot);
        }
        // the collation of a column may not support searches
        let text = format!("({} COLLATE pg_catalog.\"C\")", self.writer.slot_text("t", slot));
        // the record token comes first only if it has no better place
        let first = match self.sought {
            Sought::Misplaced if !self.writer.placement.is_shared(at) => {
                format!("NOT {}", token::is_of(&text, &slot.own.into_iter().collect::<Vec<_>>()))
            }
            _ => self.is_sought(at, slot, &text),
        };
        format!(
            "coalesce({text} OPERATOR(pg_catalog.<>) '' AND ({first} OR ({} AND EXISTS (SELECT 1 FROM \
             pg_catalog.unnest(pg_catalog.string_to_array({text}, ' ')) AS e (value) WHERE {}))), false)",
            token::is_packed(&text),
            self.is_sought(at, slot, "e.value"),
        )
    }

    fn member_holds_sought(&self, at: usize, slot: &Slot) -> String {
        let column = format!("t.{}", quote(&slot.column));
        let (ours, sought) = (self.writer.member(&column), self.is_sought(at, slot, "e.value"));
        let has_type = |name: &str| format!("pg_catalog.jsonb_typeof({ours}) {EQ} '{name}'");
        // unread text is reported
        format!(
            "CASE WHEN {} THEN true WHEN {ours} IS NULL OR {} THEN false WHEN {} THEN EXISTS \
             (SELECT 1 FROM pg_catalog.jsonb_each_text({ours}) AS e WHERE ({sought}) IS NOT FALSE) ELSE true END",
            token::is_too_long(&column),
            has_type("null"),
            has_type("object"),
        )
    }

    /// A condition that a row holds text of the search. A row that does not pass the filter and holds no token belongs to
    /// the application.
    fn is_for_us(&self, slots: &[String]) -> String {
        let sought = self.holds_sought();
        match self.writer.table.filter.may_be_ours(slots) {
            None => sought,
            Some(ours) => format!("({sought}) AND {ours}"),
        }
    }

    /// A condition that one value in a slot is text of the search.
    fn is_sought(&self, at: usize, slot: &Slot, value: &str) -> String {
        let placement = self.writer.placement;
        match self.sought {
            Sought::OtherKeys => token::is_not_under(value, &text("$1")),
            Sought::Tokens => format!("({} IS NOT NULL)", token::first_key(value)),
            // fields with a column of their own; every other field may be stored here
            Sought::Misplaced if placement.is_shared(at) => {
                let elsewhere = placement.with_own_columns().filter(|field| Some(*field) != slot.own);
                token::is_of(value, &elsewhere.collect::<Vec<_>>())
            }
            // the record token goes to the slot of the others
            Sought::Misplaced => {
                let here: Vec<_> = slot.own.into_iter().chain([Field::RECORD]).collect();
                format!("NOT {}", token::is_of(value, &here))
            }
        }
    }

    /// The exchange. Parameters, all as arrays: the positions, the old texts and new values of the slots, then those of
    /// the plain columns. It returns the number of changed rows.
    pub(in crate::postgres) fn exchange(&self) -> String {
        let Self { writer, cursor, slots, plain, .. } = self;
        let texts =
            |letter: char, count: usize| (0..count).map(move |at| (format!("{letter}{at}"), Bound::Text));
        let values =
            slots.iter().map(Bound::of_slot).enumerate().map(|(at, bound)| (format!("v{at}"), bound));
        let new_plain =
            plain.iter().map(Bound::of_plain).enumerate().map(|(at, bound)| (format!("p{at}"), bound));
        let (names, arrays): (Vec<_>, Vec<_>) = texts('k', cursor.width())
            .chain(texts('o', slots.len()))
            .chain(values)
            .chain(texts('q', plain.len()))
            .chain(new_plain)
            .enumerate()
            .map(|(at, (name, bound))| (name, format!("${}::{}", at + 1, bound.array())))
            .unzip();
        let member = writer.member_name();
        let columns = slots.iter().enumerate().map(|(at, slot)| exchange_slot(at, slot, &member));
        let columns = columns.chain(plain.iter().enumerate().map(|(at, plain)| exchange_plain(at, plain)));
        let (mut set, mut unchanged, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for column in columns {
            set.push(column.set);
            unchanged.push(column.unchanged);
            held.push(column.held);
        }
        // `unnest` of several arrays is part of the grammar, and always Postgres' own. A trigger that changes the
        // values makes the statement fail, as in every write.
        format!(
            "WITH done AS (UPDATE {} AS t SET {} FROM unnest({}) AS n ({}) WHERE {} AND {} AND {} \
             RETURNING 1 OPERATOR(pg_catalog./) CASE WHEN {} THEN 1 ELSE 0 END AS held) \
             SELECT pg_catalog.count(done.held), {DURABLE} FROM done",
            writer.relation(),
            set.join(", "),
            arrays.join(", "),
            names.join(", "),
            cursor.is_at(),
            unchanged.join(" AND "),
            writer.is_as_planned("t"),
            held.join(" AND "),
        )
    }
}

/// One column of an exchange.
struct Exchanged {
    set: String,
    /// The condition that it still holds the old text.
    unchanged: String,
    /// The condition that it holds the new text.
    held: String,
}

/// A condition that is true if both are equal or both are NULL, and false or NULL otherwise.
fn is_same(one: &str, other: &str) -> String {
    format!("({one} {EQ} {other} OR ({one} IS NULL AND {other} IS NULL))")
}

/// As [`is_same`], for a text and a bound text. It compares bytes, whatever the collation of the column.
fn is_same_text(one: &str, other: &str) -> String {
    is_same(&format!("{} COLLATE pg_catalog.\"C\"", text(one)), other)
}

fn exchange_slot(at: usize, slot: &Slot, member: &str) -> Exchanged {
    let (column, held, new) = (quote(&slot.column), format!("t.{}", quote(&slot.column)), format!("n.v{at}"));
    if !slot.json {
        return Exchanged {
            set: format!("{column} = {new}"),
            unchanged: is_same_text(&held, &format!("n.o{at}")),
            held: is_same_text(&held, &new),
        };
    }
    let ours = token::member(&held, member);
    let is_new = is_same(&ours, &new);
    // an unchanged member is not written again, because the application may store much beside it
    Exchanged {
        set: format!(
            "{column} = CASE WHEN {is_new} THEN {held} WHEN {new} IS NULL THEN {} ELSE {} END",
            token::without_member(&held, member),
            token::with_member(&held, member, &new)
        ),
        // Postgres printed the text that was read, and prints equal values the same
        unchanged: format!(
            "{} AND ({new} IS NULL OR {held} IS NULL OR {})",
            is_same_text(&ours, &format!("n.o{at}")),
            token::takes_member(&held)
        ),
        held: is_new,
    }
}

fn exchange_plain(at: usize, plain: &PlainColumn) -> Exchanged {
    if plain.kind == ColumnType::ByteaArray {
        return exchange_entries(at, plain);
    }
    let (column, held) = (quote(&plain.column), format!("t.{}", quote(&plain.column)));
    let new = to_column(plain, &format!("n.p{at}"));
    // printed again, because jsonb has its own form
    let is_new = is_same_text(&held, &text(&format!("({new})")));
    Exchanged {
        set: format!("{column} = CASE WHEN {is_new} THEN {held} ELSE {new} END"),
        unchanged: is_same_text(&held, &format!("n.q{at}")),
        held: is_new,
    }
}

/// The old entries do not matter: what the slots hold decides which entries are right.
fn exchange_entries(at: usize, plain: &PlainColumn) -> Exchanged {
    let (column, new) = (quote(&plain.column), to_entries(&format!("n.p{at}")));
    Exchanged {
        set: format!("{column} = {new}"),
        unchanged: format!("(n.q{at} IS NULL OR true)"),
        held: is_same(&format!("t.{column}"), &new),
    }
}
