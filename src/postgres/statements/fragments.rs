//! The parts that SQL texts are made of: guards, assignments, columns to read.

use crate::postgres::catalogue::table::{IdKind, TYPE_NUMBER, Table};
use crate::postgres::sql::names::{literal, quote, relation};
use crate::postgres::sql::token::{self, UNRECOGNISED};
use crate::record::fields::Field;
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

    pub(in crate::postgres) fn filled_slots(&self) -> impl Iterator<Item = &Slot> {
        self.placement.slots.iter().filter(|slot| !slot.fields.is_empty())
    }

    pub(in crate::postgres) fn values(&self) -> usize {
        self.filled_slots().count() + self.placement.plain.len()
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
            true => format!("{}::text", token::member(&column)),
            false => format!("{column}::text"),
        }
    }

    // Columns are cast to text, and functions named with their schema: otherwise a role that may make
    // functions in a schema of the search path could put a better match for varchar before them.

    /// Of the JSONB column the newest version that any of our entries there holds.
    fn version_of_slot(&self, row: &str, slot: &Slot, keys: &str) -> String {
        let column = format!("{row}.{}", quote(&slot.column));
        if !slot.json {
            return token::known_version(&format!("{column}::text"), keys);
        }
        let not_an_object = |value: &str| {
            format!("coalesce(pg_catalog.jsonb_typeof({value}), 'null') NOT IN ('object', 'null')")
        };
        let ours = token::member(&column);
        let (unrecognised, ours_unrecognised) = (not_an_object(&column), not_an_object(&ours));
        let version = token::known_version("e.value", keys);
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
            let column = quote(&slot.column);
            let (update, insert) = match (slot.json, slot.fields.is_empty()) {
                (false, false) => same(next()),
                (false, true) => same(if slot.not_null { "''".to_owned() } else { "NULL".to_owned() }),
                (true, false) => json_assignment(&column, &next()),
                (true, true) => json_clearing(&column, slot.not_null),
            };
            assignments.push((column, update, insert));
        }
        for plain in &self.placement.plain {
            let value = typed(&plain.kind, &next());
            assignments.push((
                quote(&plain.column),
                self.plain_update(plain, &value),
                not_null(plain, value),
            ));
        }
        if let Some(column) = &self.placement.sync_column {
            assignments.push((quote(column), "pg_catalog.now()".to_owned(), "pg_catalog.now()".to_owned()));
        }
        assignments
    }

    /// The first store on a row keeps plain values that it does not set; later stores replace.
    fn plain_update(&self, plain: &PlainColumn, value: &str) -> String {
        let column = format!("t.{}", quote(&plain.column));
        let first = self.holds_no_record("t");
        let value_or_old = format!("CASE WHEN {value} IS NULL AND {first} THEN {column} ELSE {value} END");
        not_null(plain, value_or_old)
    }

    /// Whether no slot of the row holds tokens, readable or not. Text that is not ours is no record.
    fn holds_no_record(&self, row: &str) -> String {
        let empty = self.placement.slots.iter().map(|slot| {
            let column = format!("{row}.{}", quote(&slot.column));
            match slot.json {
                true => format!("coalesce({}, 'null') IN ('null', '{{}}')", token::member(&column)),
                false => format!("({}) IS NOT TRUE", token::claims_to_be_token(&format!("{column}::text"))),
            }
        });
        let empty: Vec<_> = empty.collect();
        format!("({})", empty.join(" AND "))
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
        let held = self.filled_slots().map(|slot| {
            let (column, param) = (format!("t.{}", quote(&slot.column)), next());
            match slot.json {
                true => format!("{} = {param}::text::jsonb", token::member(&column)),
                false => format!("{column}::text = {param}::text"),
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

fn same(value: String) -> (String, String) {
    (value.clone(), value)
}

/// Siblings of our sub-object, which other code wrote, survive.
fn json_assignment(column: &str, param: &str) -> (String, String) {
    let ours = format!("{param}::text::jsonb");
    (token::with_member(&format!("t.{column}"), &ours), token::only_member(&ours))
}

fn json_clearing(column: &str, not_null: bool) -> (String, String) {
    let update = format!(
        "CASE WHEN pg_catalog.jsonb_typeof(t.{column}) = 'object' THEN {} ELSE t.{column} END",
        token::without_member(&format!("t.{column}"))
    );
    (update, if not_null { "'{}'::jsonb".to_owned() } else { "NULL".to_owned() })
}

pub(in crate::postgres) fn typed(kind: &ColumnType, param: &str) -> String {
    match kind {
        ColumnType::Json => format!("{param}::text::json"),
        ColumnType::Jsonb => format!("{param}::text::jsonb"),
        _ => format!("{param}::text"),
    }
}

/// What stands for nothing in a plain column that may not be null.
fn not_null(plain: &PlainColumn, value: String) -> String {
    let blank = match (plain.field, &plain.kind) {
        _ if !plain.not_null => return value,
        (Field::IntegrationStatus, _) => "'not_configured'",
        (_, ColumnType::Json) => "'{}'::json",
        (_, ColumnType::Jsonb) => "'{}'::jsonb",
        _ => "''",
    };
    format!("coalesce({value}, {blank})")
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
