//! The SQL text of one placement, built once. Every value is bound, every name quoted.
//!
//! Parameters come in this order: the owner's user, the owner's tenant if the layout has one, then the parameters in the
//! statement's own comment. "The values of a record" are one value for every slot, then two for every plain column: its
//! new value, and the value that it must hold to be cleared if there is no new value.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::layout::layout::Layout;
use crate::layout::placement::{Placement, Slot};
use crate::postgres::catalogue::id_kind::IdKind;
use crate::postgres::catalogue::table::Table;
use crate::postgres::sql::names::{EQ, quote, text};
use crate::postgres::sql::token;
use crate::postgres::statements::fragments::{Bound, Forms, Writer, counter, hidden, same};
use crate::postgres::statements::seen_update::{Reach, Shape};
use crate::postgres::statements::with_entry::{with_entries, with_entry};
use crate::record::field::Field;

pub(crate) struct Statements {
    /// The rows of one owner.
    pub(crate) read: Arc<str>,
    /// The row of an owner with one row, if no value in it is longer than a record may be.
    pub(crate) read_short: Arc<str>,
    /// As [`read`](Self::read), locked to the end of the transaction.
    pub(crate) lock: Arc<str>,
    /// + the values of a record
    pub(crate) insert: Arc<str>,
    /// + the values of a record, the old text of every slot and of every plain column
    pub(crate) replace: Arc<str>,
    /// users[], tenants[]. The first column of the result is the index of the owner in these. If an owner has one row,
    /// rows with a value that is too long are left out.
    pub(crate) read_many: Arc<str>,
    /// tenant and user to start after, or two NULLs; limit
    pub(crate) list: Arc<str>,
    /// The keys of some tokens, one per row.
    pub(crate) keys: Arc<str>,
    /// The rows with one of some entries in the index column: entries[], limit. Absent without such a column.
    pub(crate) find: Option<Arc<str>>,
    /// The rows whose plain column holds a value: value, limit.
    pub(crate) find_plain: Vec<(Field, Arc<str>)>,
    /// A row with a record that the index does not cover. Absent without an index column.
    pub(crate) unindexed: Option<Arc<str>>,
    /// For every slot: + a text that is not a token
    pub(crate) forge: Vec<Arc<str>>,
    forms: Forms,
    updates: Mutex<HashMap<(Shape, Reach), Arc<str>>>,
    /// Writes with the entry of the ledger, by the text without it.
    noted: Mutex<HashMap<Arc<str>, Arc<str>>>,
}

/// The number of characters of an id that are listed. Longer ids that are equal up to here share one place in the list.
const LONGEST_LISTED: usize = 1000;
/// The maximum number of rows of one owner that are read beyond the limit of a list.
const MAX_TIES: usize = 1000;
/// The number of rows with tokens that are checked to detect a wrong keyring.
const SOME_KEYS: usize = 100;
/// The maximum number of write shapes to remember. A service has a handful.
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
            find: writer.find().map(Into::into),
            find_plain: writer.find_plain(),
            unindexed: writer.unindexed().map(Into::into),
            forge: placement.slots.iter().map(|slot| writer.forge(slot).into()).collect(),
            forms,
            updates: Mutex::default(),
            noted: Mutex::default(),
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

impl Statements {
    /// A write with the entry of the ledger. The parameters of the entry come after the `params` of the write.
    pub(in crate::postgres) fn noted(&self, write: &Arc<str>, params: usize, reach: Reach) -> Arc<str> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() >= MAX_SHAPES {
            noted.clear();
        }
        let make = |write: &Arc<str>| match reach {
            Reach::OneOwner => with_entry(write, params).into(),
            Reach::ManyOwners => with_entries(write, params).into(),
        };
        noted.entry(write.clone()).or_insert_with_key(make).clone()
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
        // other code takes no lock, and may violate a constraint that the vault cannot rely on
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

    /// The conflict clause, only for the owner: a refusal by any other constraint is an error that names it. Without a
    /// usable constraint only the lock keeps two processes from creating the row twice.
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
        // unnest of several arrays is syntax, and is never looked up on the search path
        let unnest = if names.len() == 1 { "pg_catalog.unnest" } else { "unnest" };
        let arrays: Vec<_> = arrays.iter().enumerate().map(|(at, kind)| hidden(at + 1, kind)).collect();
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

    /// Runs with a safe search path. Includes all rows of the last owner, up to [`MAX_TIES`] more than the limit.
    fn list(&self) -> String {
        let (user, user_key) = listed(&self.layout.user_column, self.table.user);
        let (tenant, tenant_key) = match (&self.layout.tenant_column, self.table.tenant) {
            (Some(tenant), Some(kind)) => listed(tenant, kind),
            // ORDER BY refuses a bare constant
            _ => ("NULL::pg_catalog.text".to_owned(), "''::pg_catalog.text".to_owned()),
        };
        format!(
            "SELECT page.* FROM (SELECT {user}, {tenant}, {} FROM {} AS t WHERE ({}) AND {}{} \
             AND ($1::pg_catalog.text IS NULL OR ({tenant_key}, {user_key}) > ($1::pg_catalog.text, $2::pg_catalog.text)) \
             ORDER BY {tenant_key}, {user_key} FETCH FIRST ($3::pg_catalog.int8) ROWS WITH TIES) AS page \
             LIMIT $3::pg_catalog.int8 + {MAX_TIES}",
            self.read_columns("t"),
            self.relation(),
            self.is_filled(),
            self.is_as_planned("t"),
            self.counts("t"),
        )
    }

    fn find(&self) -> Option<String> {
        let column = quote(self.placement.index.as_deref()?);
        // With the entries in sight, Postgres plans every search anew, to estimate it from the statistics of the arrays: that takes
        // twice as long as the search. A subquery hides them.
        Some(self.find_where(&format!("t.{column} OPERATOR(pg_catalog.&&) (SELECT $1::pg_catalog._bytea)")))
    }

    fn find_plain(&self) -> Vec<(Field, Arc<str>)> {
        let plain = self.placement.plain.iter().filter(|plain| plain.is_indexed);
        let find = |column: &str| self.find_where(&format!("{} {EQ} $1::pg_catalog.text", text(column)));
        plain.map(|plain| (plain.field, find(&format!("t.{}", quote(&plain.column))).into())).collect()
    }

    /// The owner, and what a read returns, of every row with a condition. The limit stands outside of the search. Inside, it would
    /// let the planner read the whole table where it has no statistics and expects many rows. A subquery hides it:
    /// in a large table a plan for a known limit looks cheaper, so Postgres would plan the statement anew each time.
    fn find_where(&self, condition: &str) -> String {
        format!(
            "WITH found AS MATERIALIZED (SELECT {}, {} FROM {} AS t WHERE {condition} AND {}{}) \
             SELECT found.* FROM found LIMIT (SELECT $2::pg_catalog.int8)",
            self.owner_columns(),
            self.read_columns("t"),
            self.relation(),
            self.is_as_planned("t"),
            self.counts("t"),
        )
    }

    fn unindexed(&self) -> Option<String> {
        let column = quote(self.placement.index.as_deref()?);
        Some(format!(
            "SELECT 1 FROM {} AS t WHERE t.{column} IS NULL AND ({}) AND {}{} LIMIT 1",
            self.relation(),
            self.holds_tokens(),
            self.is_as_planned("t"),
            self.counts("t"),
        ))
    }

    /// A condition that some slot of the row holds a token.
    fn holds_tokens(&self) -> String {
        let slots = self.placement.slots.iter();
        let keys = slots.map(|slot| token::first_key(&self.slot_text("t", slot)));
        format!("coalesce({}) IS NOT NULL", keys.collect::<Vec<_>>().join(", "))
    }

    /// A condition that some slot of the row holds something.
    fn is_filled(&self) -> String {
        let slots = self.placement.slots.iter();
        let filled = slots.map(|slot| format!("{} IS NOT NULL", self.slot_text("t", slot)));
        let filled: Vec<_> = filled.collect();
        if filled.is_empty() { "false".to_owned() } else { filled.join(" OR ") }
    }

    /// Keys of tokens of any format, in any row. Text of the application is not a token.
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

/// A condition that a text is the one that was read, or that both are NULL.
fn is_still(value: &str, old: &str) -> String {
    format!("(({value}) COLLATE pg_catalog.\"C\" {EQ} {old} OR {value} IS NULL AND {old} IS NULL)")
}

/// An id as a list shows it, and its sort key: its canonical form, sorted by bytes as in the local file. NULL sorts like
/// an empty text.
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
