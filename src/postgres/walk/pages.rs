//! The SQL of a walk: its pages, and the exchange of what was found in them.

use crate::postgres::sql::names::quote;
use crate::postgres::sql::token;
use crate::postgres::statements::fragments::{DURABLE, Writer, to_column};
use crate::postgres::walk::cursor::Cursor;
use crate::record::field::Field;
use crate::record::placement::{PlainColumn, Slot};

/// What a walk looks for in the slots of a row. Text that is no token is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::postgres) enum Sought {
    /// What is not under the primary key. $1 is how tokens under it start.
    OtherKeys,
    /// Tokens of fields that the placement wants elsewhere.
    Misplaced,
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
    /// What is looked for, then the positions.
    pub(in crate::postgres) fn page(&self, batch: u32, after: bool, until: bool) -> String {
        let Self { writer, cursor, .. } = self;
        let slots: Vec<_> = self.slots.iter().map(|slot| writer.slot_text("t", slot)).collect();
        let plain: Vec<_> =
            self.plain.iter().map(|plain| format!("t.{}::text", quote(&plain.column))).collect();
        let first = match self.sought {
            Sought::OtherKeys => 2,
            Sought::Misplaced => 1,
        };
        let mut conditions = vec![cursor.has_position(), writer.is_as_planned("t")];
        conditions.extend(after.then(|| cursor.compared(">", first)));
        conditions
            .extend(until.then(|| cursor.compared("<=", if after { first + cursor.width() } else { first })));
        // all rows of one position come in one page, or the rest would be passed over
        let limit = match cursor.unique {
            true => format!("LIMIT {batch}"),
            false => format!("FETCH FIRST {batch} ROWS WITH TIES"),
        };
        format!(
            "SELECT {}, {}, CASE WHEN {} THEN ARRAY[{}]::text[] END, ARRAY[{}]::text[], {}, pg_catalog.now() \
             FROM {} AS t WHERE {} ORDER BY {} {limit}",
            cursor.selected(),
            writer.owner_columns(),
            self.holds_sought(),
            slots.join(", "),
            plain.join(", "),
            writer.json_state("t"),
            writer.relation(),
            conditions.join(" AND "),
            cursor.order(),
        )
    }

    /// Whether a row has something of what is looked for.
    pub(in crate::postgres) fn holds_sought(&self) -> String {
        let slots = self.slots.iter().enumerate();
        let slots: Vec<_> = slots.map(|(at, slot)| self.slot_holds_sought(at, slot)).collect();
        if slots.is_empty() { "false".to_owned() } else { slots.join(" OR ") }
    }

    fn slot_holds_sought(&self, at: usize, slot: &Slot) -> String {
        let text = self.writer.slot_text("t", slot);
        let sought = |value: &str| self.is_sought(at, slot, value);
        if !slot.json {
            // the record token never comes first but where it has no better place
            let first = match self.sought {
                Sought::Misplaced if !self.writer.placement.is_shared(at) => {
                    format!("NOT {}", token::is_of(&text, &slot.own.into_iter().collect::<Vec<_>>()))
                }
                _ => sought(&text),
            };
            return format!(
                "coalesce({text} <> '' AND ({} OR (pg_catalog.strpos({text}, ' ') > 0 AND EXISTS \
                 (SELECT 1 FROM pg_catalog.unnest(pg_catalog.string_to_array({text}, ' ')) AS e (value) WHERE {}))), false)",
                first,
                sought("e.value"),
            );
        }
        let ours = self.writer.member(&format!("t.{}", quote(&slot.column)));
        format!(
            "CASE coalesce(pg_catalog.jsonb_typeof({ours}), 'null') WHEN 'null' THEN false WHEN 'object' THEN EXISTS \
             (SELECT 1 FROM pg_catalog.jsonb_each_text({ours}) AS e WHERE ({}) IS NOT FALSE) ELSE true END",
            sought("e.value"),
        )
    }

    /// Whether one value in a slot is what is looked for.
    fn is_sought(&self, at: usize, slot: &Slot, value: &str) -> String {
        let placement = self.writer.placement;
        match self.sought {
            Sought::OtherKeys => token::is_not_under(value, "$1::text"),
            // what has a column of its own; anything else may lie here
            Sought::Misplaced if placement.is_shared(at) => {
                let elsewhere = placement.with_own_columns().filter(|field| Some(*field) != slot.own);
                token::is_of(value, &elsewhere.collect::<Vec<_>>())
            }
            // the record token goes where the others go
            Sought::Misplaced => {
                let here: Vec<_> = slot.own.into_iter().chain([Field::RECORD]).collect();
                format!("NOT {}", token::is_of(value, &here))
            }
        }
    }

    /// The positions, the old texts and the new texts of the slots, those of the plain columns, all as
    /// arrays, and the ordinals.
    pub(in crate::postgres) fn exchange(&self) -> String {
        let Self { writer, cursor, slots, plain, .. } = self;
        let names = |letter: char, count: usize| (0..count).map(move |at| format!("{letter}{at}"));
        let names: Vec<_> = names('k', cursor.width())
            .chain(names('o', slots.len()))
            .chain(names('v', slots.len()))
            .chain(names('q', plain.len()))
            .chain(names('p', plain.len()))
            .collect();
        let mut arrays: Vec<_> = (1..=names.len()).map(|number| format!("${number}::text[]")).collect();
        let new_slots = arrays[cursor.width() + slots.len()..].iter_mut().zip(*slots);
        for (array, _) in new_slots.filter(|(_, slot)| slot.json) {
            // parsed once, here
            array.push_str("::jsonb[]");
        }
        arrays.push(format!("${}::int4[]", names.len() + 1));
        let member = writer.member_name();
        let columns = slots.iter().enumerate().map(|(at, slot)| exchange_slot(at, slot, &member));
        let columns = columns.chain(plain.iter().enumerate().map(|(at, plain)| exchange_plain(at, plain)));
        let (mut set, mut unchanged, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for column in columns {
            set.push(column.set);
            unchanged.push(column.unchanged);
            held.push(column.held);
        }
        // a trigger that changes our values makes the statement fail, as everywhere
        format!(
            "UPDATE {} AS t SET {} FROM unnest({}) AS n ({}, ordinal) WHERE {} AND {} AND {} RETURNING 1 / (({}) IS TRUE)::int = 1, n.ordinal, {DURABLE}",
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
    /// It holds what was found.
    unchanged: String,
    /// It holds what it was to get.
    held: String,
}

fn exchange_slot(at: usize, slot: &Slot, member: &str) -> Exchanged {
    let column = quote(&slot.column);
    if !slot.json {
        return Exchanged {
            set: format!("{column} = n.v{at}"),
            unchanged: format!("t.{column}::text IS NOT DISTINCT FROM n.o{at}"),
            held: format!("t.{column}::text IS NOT DISTINCT FROM n.v{at}"),
        };
    }
    let held = format!("t.{column}");
    let ours = token::member(&held, member);
    // what stays is not written anew, since the application may keep much beside it
    Exchanged {
        set: format!(
            "{column} = CASE WHEN {ours} IS NOT DISTINCT FROM n.v{at} THEN t.{column} \
             WHEN n.v{at} IS NULL THEN {} ELSE {} END",
            token::without_member(&held, member),
            token::with_member(&held, member, &format!("n.v{at}"))
        ),
        // the text that was read is Postgres' own, and the same value always has the same
        unchanged: format!(
            "{ours}::text IS NOT DISTINCT FROM n.o{at} \
             AND (n.v{at} IS NULL OR coalesce(pg_catalog.jsonb_typeof(t.{column}) IN ('object', 'null'), true))"
        ),
        held: format!("{ours} IS NOT DISTINCT FROM n.v{at}"),
    }
}

fn exchange_plain(at: usize, plain: &PlainColumn) -> Exchanged {
    let column = quote(&plain.column);
    let new = to_column(plain, &format!("n.p{at}"));
    let same = |value: &str| format!("t.{column}::text IS NOT DISTINCT FROM {value}");
    let (unchanged, kept) = (same(&format!("n.q{at}")), same(&format!("n.p{at}")));
    Exchanged {
        set: format!("{column} = CASE WHEN {kept} THEN t.{column} ELSE {new} END"),
        unchanged,
        // printed again, since jsonb has a form of its own
        held: same(&format!("({new})::text")),
    }
}
