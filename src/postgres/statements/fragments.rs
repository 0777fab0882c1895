//! The parts that SQL texts are made of: guards, assignments, columns to read.

use crate::postgres::catalogue::table::{IdKind, TYPE_NUMBER, Table};
use crate::postgres::sql::names::{literal, quote, relation};
use crate::postgres::sql::token::{self, UNRECOGNISED};
use crate::record::layout::Layout;
use crate::record::placement::{ColumnType, Placement, PlainColumn, Slot};

/// Everything that the texts are made of.
pub(in crate::postgres) struct Writer<'a> {
    pub(in crate::postgres) layout: &'a Layout,
    pub(in crate::postgres) table: &'a Table,
    pub(in crate::postgres) placement: &'a Placement,
    pub(in crate::postgres) forms: Forms,
}

/// Under how many texts a text column may hold the bound owner.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::postgres) enum Forms {
    One,
    /// A UUID that was not given in its canonical form.
    Two,
}

impl Writer<'_> {
    pub(in crate::postgres) fn relation(&self) -> String {
        relation(self.layout)
    }

    fn tenants(&self) -> usize {
        usize::from(self.table.tenant.is_some())
    }

    /// How many parameters the owner takes.
    pub(in crate::postgres) fn owner_params(&self) -> usize {
        1 + self.tenants()
    }

    /// How many parameters a record takes: the text of every slot, then for every plain column what it gets, and what
    /// it must hold to be cleared when it gets nothing.
    pub(in crate::postgres) fn values(&self) -> usize {
        self.placement.slots.len() + 2 * self.placement.plain.len()
    }

    /// The name of our member of the JSONB column.
    pub(in crate::postgres) fn member_name(&self) -> String {
        self.layout.fields.member()
    }

    /// Our member of the JSONB column.
    pub(in crate::postgres) fn member(&self, column: &str) -> String {
        token::member(column, &self.member_name())
    }

    /// The row's owner is the one bound. A text column may hold either form of a UUID.
    ///
    /// Not `= ANY($1)`: an array of unknown length makes Postgres plan again at every execution, which
    /// takes longer than all the rest. And not always both forms: the plan for two lookups, kept since
    /// the table was empty, is a scan of the whole table.
    pub(in crate::postgres) fn is_owner(&self, row: &str) -> String {
        let column = |name: &str, kind: IdKind, number: usize| match (kind, self.forms) {
            (IdKind::Uuid, _) => format!("{row}.{} = ${number}", quote(name)),
            (IdKind::Text, Forms::One) => format!("{row}.{}::text = (${number}::text[])[1]", quote(name)),
            (IdKind::Text, Forms::Two) => {
                format!("{row}.{}::text IN ((${number}::text[])[1], (${number}::text[])[2])", quote(name))
            }
        };
        let mut parts = vec![column(&self.layout.user_column, self.table.user, 1)];
        if let (Some(name), Some(kind)) = (&self.layout.tenant_column, self.table.tenant) {
            parts.push(column(name, kind, 2));
        }
        parts.join(" AND ")
    }

    /// Whether the columns can hold the owner in one form only.
    pub(in crate::postgres) fn has_one_form(&self) -> bool {
        let is_text = self.table.user == IdKind::Text || self.table.tenant == Some(IdKind::Text);
        self.forms == Forms::One || !is_text
    }

    /// The owner as a new row gets it: the canonical form comes first in the array.
    pub(in crate::postgres) fn owner_values(&self) -> Vec<(String, String)> {
        let value = |kind: IdKind, number: usize| match kind {
            IdKind::Uuid => format!("${number}::uuid"),
            IdKind::Text => format!("(${number}::text[])[1]"),
        };
        let mut values = vec![(quote(&self.layout.user_column), value(self.table.user, 1))];
        if let (Some(name), Some(kind)) = (&self.layout.tenant_column, self.table.tenant) {
            values.push((quote(name), value(kind, 2)));
        }
        values
    }

    /// The text of a slot: of the JSONB column only what is ours.
    pub(in crate::postgres) fn slot_text(&self, row: &str, slot: &Slot) -> String {
        let column = format!("{row}.{}", quote(&slot.column));
        match slot.json {
            true => format!("{}::text", self.member(&column)),
            false => format!("{column}::text"),
        }
    }

    // Columns are cast to text, and functions named with their schema: otherwise a role that may make
    // functions in a schema of the search path could put a better match for varchar before them.

    /// Of the JSONB column the newest version that any of our entries there holds.
    fn version_of_slot(&self, row: &str, slot: &Slot, keys: &str) -> String {
        let column = format!("{row}.{}", quote(&slot.column));
        if !slot.json {
            return token::known_version(&format!("{column}::text"), keys, Some(&self.layout.fields));
        }
        let not_an_object = |value: &str| {
            format!("coalesce(pg_catalog.jsonb_typeof({value}), 'null') NOT IN ('object', 'null')")
        };
        let ours = self.member(&column);
        let (unrecognised, ours_unrecognised) = (not_an_object(&column), not_an_object(&ours));
        let version = token::known_version("e.value", keys, None);
        format!(
            "CASE WHEN {unrecognised} OR {ours_unrecognised} THEN '{UNRECOGNISED}' WHEN {ours} IS NULL OR {ours} = 'null' THEN '' \
             ELSE coalesce((SELECT max({version}) FROM pg_catalog.jsonb_each_text({ours}) AS e), '') END COLLATE \"C\""
        )
    }

    /// The newest version that any slot of the row holds.
    pub(in crate::postgres) fn version_of_row(&self, row: &str, keys: &str) -> String {
        let versions: Vec<_> =
            self.placement.slots.iter().map(|slot| self.version_of_slot(row, slot, keys)).collect();
        format!("greatest({})", versions.join(", "))
    }

    /// The columns that exist, and their types, are still the ones this text was made for: otherwise
    /// a host with a stale snapshot would write, or look, where nobody else does.
    pub(in crate::postgres) fn schema_is_current(&self) -> String {
        let names: Vec<_> = self.layout.all_columns().into_iter().map(literal).collect();
        let types: Vec<_> = self.table.types.iter().map(i64::to_string).collect();
        // not slower than counting: 20 microseconds
        format!(
            "ARRAY(SELECT {TYPE_NUMBER} FROM pg_catalog.pg_attribute WHERE attrelid = {}::regclass::oid \
             AND attnum > 0 AND NOT attisdropped AND attname IN ({}) ORDER BY attnum)::text = '{{{}}}'",
            literal(&self.relation()),
            names.join(", "),
            types.join(",")
        )
    }

    /// `(column, its new value in an UPDATE of t, its value in an INSERT)` for all that a write touches.
    pub(in crate::postgres) fn assignments(
        &self,
        mut next: impl FnMut() -> String,
    ) -> Vec<(String, String, String)> {
        let mut assignments = Vec::new();
        for slot in &self.placement.slots {
            let (column, param) = (quote(&slot.column), next());
            let (update, insert) = match slot.json {
                false => (format!("{param}::text"), format!("{param}::text")),
                true => self.json_assignment(slot, &column, &param),
            };
            assignments.push((column, update, insert));
        }
        for plain in &self.placement.plain {
            let (column, new, old) = (quote(&plain.column), next(), next());
            let (value, unset) = (typed(&plain.kind, &new), unset(plain));
            // what is not what the record vouches for is the application's
            let update = format!(
                "CASE WHEN {new}::text IS NOT NULL THEN {value} WHEN t.{column}::text = {old}::text THEN {unset} ELSE t.{column} END"
            );
            assignments.push((column, update, format!("coalesce({value}, {unset})")));
        }
        if let Some(column) = &self.placement.sync_column {
            assignments.push((quote(column), "pg_catalog.now()".to_owned(), "pg_catalog.now()".to_owned()));
        }
        assignments
    }

    /// Siblings of our sub-object, which other code wrote, survive.
    fn json_assignment(&self, slot: &Slot, column: &str, param: &str) -> (String, String) {
        let (ours, held, name) = (format!("{param}::text::jsonb"), format!("t.{column}"), self.member_name());
        let either = |without: &str, with: &str| {
            format!("CASE WHEN {param}::text IS NULL THEN {without} ELSE {with} END")
        };
        let nothing = if slot.not_null { "'{}'::jsonb" } else { "NULL::jsonb" };
        (
            either(&token::without_member(&held, &name), &token::with_member(&held, &name, &ours)),
            either(nothing, &token::only_member(&name, &ours)),
        )
    }

    /// A write that has not looked at the row clears no plain column that holds something: whose value it is only
    /// the record can tell.
    pub(in crate::postgres) fn clears_nothing_unseen(
        &self,
        row: &str,
        mut next: impl FnMut() -> String,
        is_known: &str,
    ) -> String {
        (0..self.placement.slots.len()).for_each(|_| drop(next()));
        let settled = self.placement.plain.iter().map(|plain| {
            let (column, new, _) = (format!("{row}.{}", quote(&plain.column)), next(), next());
            let unset = literal(plain.unset);
            format!(" AND ({new}::text IS NOT NULL OR coalesce({column}::text, '') IN ('', 'null', {unset}) OR coalesce({is_known}, false))")
        });
        settled.collect()
    }

    pub(in crate::postgres) fn set_clause(&self, first_param: usize) -> String {
        let assignments = self.assignments(counter(first_param));
        let parts: Vec<_> =
            assignments.into_iter().map(|(column, update, _)| format!("{column} = {update}")).collect();
        parts.join(", ")
    }

    /// True when the row now holds what was bound. When a trigger changed it the division fails, which
    /// takes the whole statement back: otherwise the record before would be gone, and this one unreadable.
    pub(in crate::postgres) fn holds_what_was_bound(&self, mut next: impl FnMut() -> String) -> String {
        let held = self.placement.slots.iter().map(|slot| {
            let (column, param) = (format!("t.{}", quote(&slot.column)), next());
            match slot.json {
                true => format!("{} IS NOT DISTINCT FROM {param}::text::jsonb", self.member(&column)),
                false => format!("{column}::text IS NOT DISTINCT FROM {param}::text"),
            }
        });
        let held: Vec<_> = held.collect();
        format!("1 / (({}) IS TRUE)::int = 1", held.join(" AND "))
    }

    pub(in crate::postgres) fn read_columns(&self, row: &str) -> String {
        let slots = self
            .placement
            .slots
            .iter()
            .enumerate()
            .map(|(at, slot)| format!("{} AS s{at}", self.slot_text(row, slot)));
        let plain = self
            .placement
            .plain
            .iter()
            .enumerate()
            .map(|(at, plain)| format!("{row}.{}::text AS p{at}", quote(&plain.column)));
        let others = [
            format!("{} AS json_is_unrecognised", self.json_is_unrecognised(row)),
            format!("{} AS now", self.now()),
        ];
        slots.chain(plain).chain(others).collect::<Vec<_>>().join(", ")
    }

    /// Whether the JSONB column holds something that is neither object nor null.
    pub(in crate::postgres) fn json_is_unrecognised(&self, row: &str) -> String {
        match self.placement.slots.iter().find(|slot| slot.json) {
            Some(slot) => format!(
                "coalesce(pg_catalog.jsonb_typeof({row}.{}) NOT IN ('object', 'null'), false)",
                quote(&slot.column)
            ),
            None => "false".to_owned(),
        }
    }

    /// The database's clock, in milliseconds since 1970.
    pub(in crate::postgres) fn now(&self) -> &'static str {
        "(extract(epoch FROM pg_catalog.now()) * 1000::numeric)::int8"
    }

    /// The owner's columns as text, for answers about several owners.
    pub(in crate::postgres) fn owner_columns(&self) -> String {
        let user = format!("t.{}::text AS owner_user", quote(&self.layout.user_column));
        match &self.layout.tenant_column {
            Some(tenant) => format!("{user}, t.{}::text AS owner_tenant", quote(tenant)),
            None => format!("{user}, NULL::text AS owner_tenant"),
        }
    }
}

pub(in crate::postgres) fn counter(first: usize) -> impl FnMut() -> String {
    let mut number = first - 1;
    move || {
        number += 1;
        format!("${number}")
    }
}

/// An id in its canonical form, in the order of its bytes, as the local file sorts it.
pub(in crate::postgres) fn sort_key(column: &str, kind: IdKind) -> String {
    let text = format!("t.{}::text", quote(column));
    match kind {
        IdKind::Uuid => format!("{text} COLLATE \"C\""),
        IdKind::Text => format!(
            "CASE WHEN {text} ~ '^[0-9a-fA-F]{{8}}-([0-9a-fA-F]{{4}}-){{3}}[0-9a-fA-F]{{12}}$' THEN pg_catalog.lower({text}) ELSE {text} END COLLATE \"C\""
        ),
    }
}

/// The values of a record as the columns of `n` in [`Statements::update_many`].
pub(in crate::postgres) fn array_values() -> impl FnMut() -> String {
    let mut number = 0;
    move || {
        number += 1;
        format!("n.v{}", number - 1)
    }
}

pub(in crate::postgres) fn typed(kind: &ColumnType, param: &str) -> String {
    match kind {
        ColumnType::Json => format!("{param}::text::json"),
        ColumnType::Jsonb => format!("{param}::text::jsonb"),
        _ => format!("{param}::text"),
    }
}

/// What a plain column gets when its field is not set.
fn unset(plain: &PlainColumn) -> String {
    match plain.not_null {
        true => typed(&plain.kind, &literal(plain.unset)),
        false => typed(&plain.kind, "NULL"),
    }
}

/// An id column of `t`, of a type for which no better operator can be put before Postgres' own.
pub(in crate::postgres) fn id_column(name: &str, kind: IdKind) -> String {
    match kind {
        IdKind::Uuid => format!("t.{}", quote(name)),
        IdKind::Text => format!("t.{}::text", quote(name)),
    }
}

pub(in crate::postgres) fn array(kind: IdKind) -> &'static str {
    match kind {
        IdKind::Uuid => "uuid[]",
        IdKind::Text => "text[]",
    }
}
