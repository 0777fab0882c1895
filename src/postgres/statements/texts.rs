//! The SQL text of one placement, built once. Every value is bound, every name quoted.
//!
//! Parameters come in this order: the owner's user, the owner's tenant if the layout has one, then
//! what the statement's own comment says. "The values of a record" are one value for every slot, then two for every
//! plain column: what it gets, and what it must hold to be cleared when it gets nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::layout::layout::Layout;
use crate::layout::placement::{Placement, Slot};
use crate::postgres::catalogue::id_kind::IdKind;
use crate::postgres::catalogue::table::Table;
use crate::postgres::sql::names::{EQ, quote, text};
use crate::postgres::sql::token;
use crate::postgres::statements::fragments::{Bound, Forms, Writer, counter, same};
use crate::postgres::statements::seen_update::{Reach, Shape};

pub(crate) struct Statements {
    /// The rows of one owner.
    pub(crate) read: Arc<str>,
    /// The row of an owner who has one, if nothing in it is longer than a record may be.
    pub(crate) read_short: Arc<str>,
    /// As [`read`](Self::read), locked to the end of the transaction.
    pub(crate) lock: Arc<str>,
    /// + the values of a record
    pub(crate) insert: Arc<str>,
    /// + the values of a record, the old text of every slot and of every plain column
    pub(crate) replace: Arc<str>,
    /// users[], tenants[]. Answers with the place of the owner in these first. Without the rows that hold something too long,
    /// where an owner has one row.
    pub(crate) read_many: Arc<str>,
    /// tenant and user to start after, or two NULLs; limit
    pub(crate) list: Arc<str>,
    /// The keys of some tokens, one of a row.
    pub(crate) keys: Arc<str>,
    /// For every slot: + a text that is not a token
    pub(crate) forge: Vec<Arc<str>>,
    forms: Forms,
    updates: Mutex<HashMap<(Shape, Reach), Arc<str>>>,
}

/// So many characters of an id are listed. Those that are longer, and equal up to here, stand in one place of the list.
const LONGEST_LISTED: usize = 1000;
/// So many rows of one owner are read beyond the limit of a list.
const MAX_TIES: usize = 1000;
/// So many rows with tokens are looked at to tell whose keyring sealed them.
const SOME_KEYS: usize = 100;
/// So many shapes of writes are remembered. A service has a handful.
const MAX_SHAPES: usize = 64;

impl Statements {
    pub(in crate::postgres) fn new(
        layout: &Layout,
        table: &Table,
        placement: &Placement,
        forms: Forms,
    ) -> Self {
        let writer = Writer { layout, table, placement, forms };
        let read = writer.read();
        Self {
            lock: format!("{read} FOR UPDATE").into(),
            read: read.into(),
            read_short: writer.read_short().into(),
            insert: writer.insert().into(),
            replace: writer.replace().into(),
            read_many: writer.read_many().into(),
            list: writer.list().into(),
            keys: writer.keys().into(),
            forge: placement.slots.iter().map(|slot| writer.forge(slot).into()).collect(),
            forms,
            updates: Mutex::default(),
        }
    }

    /// The UPDATE over seen records, for a write of this shape.
    pub(in crate::postgres) fn update(
        &self,
        (layout, table, placement): (&Layout, &Table, &Placement),
        shape: Shape,
        reach: Reach,
    ) -> Arc<str> {
        let mut updates = self.updates.lock().unwrap_or_else(PoisonError::into_inner);
        if updates.len() >= MAX_SHAPES {
            updates.clear();
        }
        let made = updates.entry((shape, reach)).or_insert_with_key(|(shape, reach)| {
            let writer = Writer { layout, table, placement, forms: self.forms };
            match reach {
                Reach::OneOwner => writer.update(shape).into(),
                Reach::ManyOwners => writer.update_many(shape).into(),
            }
        });
        made.clone()
    }
}

impl Writer<'_> {
    fn read(&self) -> String {
        format!(
            "SELECT {} FROM {} AS t WHERE {} AND {}",
            self.read_columns("t"),
            self.relation(),
            self.is_owner("t"),
            self.is_as_planned("t"),
        )
    }

    fn read_short(&self) -> String {
        format!(
            "SELECT {} FROM {} AS t WHERE {} AND {} AND {}",
            self.short_columns("t"),
            self.relation(),
            self.is_owner("t"),
            self.is_short("t"),
            self.is_as_planned("t"),
        )
    }

    fn insert(&self) -> String {
        let first = self.owner_params() + 1;
        let assignments =
            self.assignments(counter(first)).into_iter().map(|(column, _, insert)| (column, insert));
        let given = self.owner_values().into_iter().chain(self.table.filter.values());
        let (columns, values): (Vec<_>, Vec<_>) = given.chain(assignments).unzip();
        let relation = self.relation();
        // other code takes no lock, and may run into a constraint that we cannot rely on
        let absent = match self.table.unique {
            true => String::new(),
            false => format!(" AND NOT EXISTS (SELECT 1 FROM {relation} AS d WHERE {})", self.is_owner("d")),
        };
        format!(
            "INSERT INTO {relation} AS t ({}) SELECT {} WHERE {}{absent}{} RETURNING {}",
            columns.join(", "),
            values.join(", "),
            self.will_be_as_planned(),
            self.unless_there(),
            self.holds_what_was_bound(counter(first)),
        )
    }

    /// Only for the owner: what any other constraint refuses is an error that names it. Without a usable constraint the lock
    /// alone keeps two of us apart.
    fn unless_there(&self) -> String {
        if !self.table.unique {
            return String::new();
        }
        let columns: Vec<_> = self.table.unique_columns.iter().map(|name| quote(name)).collect();
        let rows = self.table.filter.index_predicate().filter(|_| self.table.unique_is_partial);
        let rows = rows.map(|predicate| format!(" WHERE {predicate}"));
        format!(" ON CONFLICT ({}){} DO NOTHING", columns.join(", "), rows.unwrap_or_default())
    }

    fn replace(&self) -> String {
        let first = self.owner_params() + 1;
        let mut old = counter(first + self.values());
        let slots = self.placement.slots.iter().map(|slot| {
            let column = format!("t.{}", quote(&slot.column));
            match slot.json {
                true => format!(
                    "CASE WHEN {} THEN false ELSE {} END",
                    token::is_too_long(&column),
                    same(&self.member(&column), &old(Bound::Jsonb), "'\"\"'::pg_catalog.jsonb")
                ),
                false => is_still(&self.slot_text("t", slot), &old(Bound::Text)),
            }
        });
        let slots: Vec<_> = slots.collect();
        let plain = self.placement.plain.iter();
        let plain = plain.map(|plain| is_still(&self.plain_text("t", plain), &old(Bound::Text)));
        let unchanged: Vec<_> = slots.into_iter().chain(plain).collect();
        let json = self.placement.slots.iter().find(|slot| slot.json);
        let writable_json = json.map(|_| {
            let state = self.json_state("t");
            format!(" AND coalesce({state}, 'null') {EQ} ANY ('{{object,\"null\"}}'::pg_catalog._text)")
        });
        format!(
            "UPDATE {} AS t SET {} WHERE {} AND {} AND {}{} RETURNING {}",
            self.relation(),
            self.set_clause(counter(first)),
            self.is_owner("t"),
            self.is_as_planned("t"),
            unchanged.join(" AND "),
            writable_json.unwrap_or_default(),
            self.holds_what_was_bound(counter(first)),
        )
    }

    fn read_many(&self) -> String {
        let (arrays, names) = self.owner_arrays();
        // unnest of several arrays is syntax, and never looked up in the search path
        let unnest = if names.len() == 1 { "pg_catalog.unnest" } else { "unnest" };
        let arrays: Vec<_> =
            arrays.iter().enumerate().map(|(at, kind)| format!("${}::{kind}", at + 1)).collect();
        let (columns, is_short) = match self.table.unique {
            true => (self.short_columns("t"), format!("{} AND ", self.is_short("t"))),
            false => (self.read_columns("t"), String::new()),
        };
        format!(
            "SELECT o.place, {columns} FROM {unnest}({}) WITH ORDINALITY AS o ({}, place) JOIN {} AS t ON {} WHERE {is_short}{}",
            arrays.join(", "),
            names.join(", "),
            self.relation(),
            self.is_owner_of("t", "o"),
            self.is_as_planned("t"),
        )
    }

    /// Runs with a safe search path. All rows of the last owner come along, up to [`MAX_TIES`] more than the limit.
    fn list(&self) -> String {
        let (user, user_key) = listed(&self.layout.user_column, self.table.user);
        let (tenant, tenant_key) = match (&self.layout.tenant_column, self.table.tenant) {
            (Some(tenant), Some(kind)) => listed(tenant, kind),
            // ORDER BY refuses a bare constant
            _ => ("NULL::pg_catalog.text".to_owned(), "''::pg_catalog.text".to_owned()),
        };
        let filled: Vec<_> = self
            .placement
            .slots
            .iter()
            .map(|slot| format!("{} IS NOT NULL", self.slot_text("t", slot)))
            .collect();
        format!(
            "SELECT page.* FROM (SELECT {user}, {tenant}, {} FROM {} AS t WHERE ({}) AND {}{} \
             AND ($1::pg_catalog.text IS NULL OR ({tenant_key}, {user_key}) > ($1::pg_catalog.text, $2::pg_catalog.text)) \
             ORDER BY {tenant_key}, {user_key} FETCH FIRST ($3::pg_catalog.int8) ROWS WITH TIES) AS page \
             LIMIT $3::pg_catalog.int8 + {MAX_TIES}",
            self.read_columns("t"),
            self.relation(),
            if filled.is_empty() { "false".to_owned() } else { filled.join(" OR ") },
            self.is_as_planned("t"),
            self.counts("t"),
        )
    }

    /// Of tokens of any format, in any row. What an application left in the columns is none.
    fn keys(&self) -> String {
        let keys = self.placement.slots.iter().map(|slot| token::first_key(&self.slot_text("t", slot)));
        format!(
            "SELECT k.key FROM {} AS t CROSS JOIN LATERAL (SELECT coalesce({})) AS k (key) WHERE k.key IS NOT NULL LIMIT {SOME_KEYS}",
            self.relation(),
            keys.collect::<Vec<_>>().join(", ")
        )
    }

    fn forge(&self, slot: &Slot) -> String {
        let (column, forged) = (quote(&slot.column), text(&format!("${}", self.owner_params() + 1)));
        let forged = match slot.json {
            true => token::only_member(
                &self.member_name(),
                &format!("pg_catalog.jsonb_build_object('forged', {forged})"),
            ),
            false => forged,
        };
        format!(
            "UPDATE {} AS t SET {column} = {forged} WHERE {} RETURNING 1",
            self.relation(),
            self.is_owner("t")
        )
    }
}

/// A condition: a text is the one that was read, or both are NULL.
fn is_still(value: &str, old: &str) -> String {
    format!("(({value}) COLLATE pg_catalog.\"C\" {EQ} {old} OR {value} IS NULL AND {old} IS NULL)")
}

/// An id as a list shows it, and in what order: its canonical form, by its bytes, as the local file sorts it. NULL comes as
/// an empty text does.
fn listed(column: &str, kind: IdKind) -> (String, String) {
    let text = text(&format!("t.{}", quote(column)));
    match kind {
        IdKind::Text => {
            let cut = format!("pg_catalog.left({text}, {LONGEST_LISTED})");
            let key = format!(
                "coalesce(CASE WHEN {text} OPERATOR(pg_catalog.~) '^[0-9a-fA-F]{{8}}-([0-9a-fA-F]{{4}}-){{3}}[0-9a-fA-F]{{12}}$' \
                 THEN pg_catalog.lower({text}) ELSE {cut} END, '') COLLATE pg_catalog.\"C\""
            );
            (cut, key)
        }
        _ => (text.clone(), format!("coalesce({text}, '') COLLATE pg_catalog.\"C\"")),
    }
}
