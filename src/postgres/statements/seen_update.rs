//! The UPDATE over the record that this process has seen last. Every shape of a write has its own text, so that the
//! server does not evaluate what the shape already determines.

use crate::layout::placement::{ColumnType, Slot};
use crate::postgres::sql::names::{EQ, bytes_of, literal, quote, text};
use crate::postgres::sql::token;
use crate::postgres::statements::fragments::{
    Bound, DURABLE, Forms, Writer, hidden, same, to_column, to_entries, unset,
};

/// What a write does to a plain column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::postgres) enum PlainChange {
    Set,
    /// Cleared if it still holds the value that the previous record vouched for.
    Clear,
    Keep,
    /// Its field is not set. This process has not read the column, so it must be empty.
    Unset,
}

/// What a write does to each column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::postgres) struct Shape {
    /// For each slot, whether it gets a text.
    pub(in crate::postgres) slots: Vec<bool>,
    pub(in crate::postgres) plain: Vec<PlainChange>,
}

/// The owners of an UPDATE. The values of many owners come in arrays.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::postgres) enum Reach {
    OneOwner,
    ManyOwners,
}

/// The parts of an UPDATE.
#[derive(Default)]
struct Parts {
    /// The types of the bound values, in the order of the parameters.
    bound: Vec<&'static str>,
    sets: Vec<String>,
    held: Vec<String>,
}

impl Writer<'_> {
    /// Bound after the owner: the text of each slot that gets one, the new or old value of each plain column that is set
    /// or cleared, the entries of the blind index, and the head of the seen record.
    pub(in crate::postgres) fn update(&self, shape: &Shape) -> String {
        let parts = self.parts(shape, Reach::OneOwner);
        let head = text(&format!("${}", self.owner_params() + parts.bound.len() + 1));
        let may_be_written = |row: &str| {
            format!("{} AND {}{}", self.is_owner(row), self.holds_seen(row, &head), self.is_unset(row, shape))
        };
        format!(
            "UPDATE {} AS t SET {} WHERE {} AND {}{} RETURNING {}",
            self.relation(),
            parts.sets.join(", "),
            may_be_written("t"),
            self.is_as_planned("t"),
            self.all_or_none(&may_be_written("d")),
            returned(&parts),
        )
    }

    /// users[], tenants[], the same as of [`update`](Self::update) as arrays, ordinals[]
    pub(in crate::postgres) fn update_many(&self, shape: &Shape) -> String {
        let parts = self.parts(shape, Reach::ManyOwners);
        let (owner, owner_names) = self.owner_arrays();
        let kinds = owner.iter().map(String::as_str).chain(parts.bound.iter().copied());
        let kinds = kinds.chain([Bound::Text.array(), "pg_catalog._int4"]);
        let arrays: Vec<_> = kinds.enumerate().map(|(at, kind)| hidden(at + 1, kind)).collect();
        let mut names: Vec<_> = owner_names.into_iter().map(str::to_owned).collect();
        names.extend((0..parts.bound.len()).map(|at| format!("v{at}")));
        names.extend(["head".to_owned(), "ordinal".to_owned()]);
        format!(
            "UPDATE {} AS t SET {} FROM unnest({}) AS n ({}) WHERE {} AND {} AND {}{} RETURNING n.ordinal, {}",
            self.relation(),
            parts.sets.join(", "),
            arrays.join(", "),
            names.join(", "),
            self.is_owner_of("t", "n"),
            self.is_as_planned("t"),
            self.holds_seen("t", "n.head"),
            self.is_unset("t", shape),
            returned(&parts),
        )
    }

    fn parts(&self, shape: &Shape, reach: Reach) -> Parts {
        let (mut parts, first) = (Parts::default(), self.owner_params() + 1);
        let bind = |parts: &mut Parts, bound: Bound| {
            let at = parts.bound.len();
            parts.bound.push(if reach == Reach::OneOwner { bound.name() } else { bound.array() });
            match reach {
                Reach::OneOwner => format!("${}::{}", first + at, bound.name()),
                Reach::ManyOwners => format!("n.v{at}"),
            }
        };
        for (slot, is_filled) in self.placement.slots.iter().zip(&shape.slots) {
            let value = is_filled.then(|| bind(&mut parts, Bound::of_slot(slot)));
            self.slot_parts(slot, value.as_deref(), &mut parts);
        }
        for (plain, change) in self.placement.plain.iter().zip(&shape.plain) {
            let column = quote(&plain.column);
            match change {
                PlainChange::Set => {
                    let value = bind(&mut parts, Bound::of_plain(plain));
                    parts.sets.push(format!("{column} = {}", to_column(plain, &value)));
                }
                PlainChange::Clear => {
                    let (held, old) = (bytes_of(&format!("t.{column}")), bind(&mut parts, Bound::Text));
                    let cleared =
                        format!("CASE WHEN {held} {EQ} {old} THEN {} ELSE t.{column} END", unset(plain));
                    parts.sets.push(format!("{column} = {cleared}"));
                }
                PlainChange::Keep | PlainChange::Unset => {}
            }
        }
        if let Some(column) = &self.placement.index {
            let entries = bind(&mut parts, Bound::Text);
            parts.sets.push(format!("{} = {}", quote(column), to_entries(&entries)));
        }
        parts.sets.extend(
            self.placement.sync_column.iter().map(|column| format!("{} = pg_catalog.now()", quote(column))),
        );
        parts
    }

    fn slot_parts(&self, slot: &Slot, value: Option<&str>, parts: &mut Parts) {
        let column = quote(&slot.column);
        let held = format!("t.{column}");
        let (set, holds) = match (value, slot.json) {
            (Some(value), false) => (value.to_owned(), format!("{} {EQ} {value}", bytes_of(&held))),
            // a trigger may prefer one to the other
            (None, false) => {
                let nothing = if slot.not_null { "''" } else { "NULL" };
                (nothing.to_owned(), format!("coalesce({}, '') {EQ} ''", bytes_of(&held)))
            }
            // it is an object or NULL; other values are not overwritten
            (Some(value), true) => {
                let ours = token::only_member(&self.member_name(), value);
                let merged =
                    format!("coalesce({held}, '{{}}'::pg_catalog.jsonb) OPERATOR(pg_catalog.||) {ours}");
                (merged, format!("{} {EQ} {value}", self.member(&held)))
            }
            (None, true) => {
                let without =
                    format!("{held} OPERATOR(pg_catalog.-) '{}'::pg_catalog.text", self.member_name());
                (without, same(&self.member(&held), "NULL::pg_catalog.jsonb", "'null'::pg_catalog.jsonb"))
            }
        };
        parts.sets.push(format!("{column} = {set}"));
        parts.held.push(holds);
    }

    /// A condition that every plain column whose field is not set is empty. Only the record shows whether a value belongs
    /// to the vault.
    fn is_unset(&self, row: &str, shape: &Shape) -> String {
        let columns = self.placement.plain.iter().zip(&shape.plain);
        let columns = columns.filter(|(_, change)| **change == PlainChange::Unset).map(|(plain, _)| {
            let column = bytes_of(&format!("{row}.{}", quote(&plain.column)));
            let is_json = matches!(plain.kind, ColumnType::Json | ColumnType::Jsonb);
            let nothing = [if is_json { "null" } else { "" }, plain.unset];
            let nothing = nothing.map(|unset| format!("{column} {EQ} {}", literal(unset)));
            format!(" AND ({column} IS NULL OR {})", nothing.join(" OR "))
        });
        columns.collect()
    }

    /// A condition that every slot is empty, or holds the record that this process has seen, whose head is `head`. So a
    /// store never overwrites a record that this process has not opened.
    pub(in crate::postgres) fn holds_seen(&self, row: &str, head: &str) -> String {
        let slots = self.placement.slots.iter().map(|slot| {
            let column = format!("{row}.{}", quote(&slot.column));
            match slot.json {
                true => token::member_is_empty_or_starts(&column, &self.member_name(), head),
                false => token::is_empty_or_starts(&text(&column), head),
            }
        });
        slots.collect::<Vec<_>>().join(" AND ")
    }

    /// If an owner may have several rows, locks all of them first, and checks them again under the lock.
    fn all_or_none(&self, may_be_written: &str) -> String {
        if self.table.unique && self.forms == Forms::One {
            return String::new();
        }
        let (relation, is_owner) = (self.relation(), self.is_owner("d"));
        format!(
            " AND (SELECT pg_catalog.count(*) FROM (SELECT FROM {relation} AS d WHERE {may_be_written} FOR UPDATE) AS locked) \
             {EQ} (SELECT pg_catalog.count(*) FROM {relation} AS d WHERE {is_owner})"
        )
    }
}

/// The result, as for every other write: see `holds_what_was_bound`.
fn returned(parts: &Parts) -> String {
    format!("1 OPERATOR(pg_catalog./) CASE WHEN {} THEN 1 ELSE 0 END, {DURABLE}", parts.held.join(" AND "))
}
