//! The SQL text of one placement, built once. Every value is bound, every name quoted.
//!
//! Parameters come in this order: the owner's user, the owner's tenant if the layout has one, then
//! what the statement's own comment says. "The values of a record" are one text for every slot that
//! gets tokens, then one for every plain column.

use std::sync::Arc;

use crate::detect::{IdKind, TYPE_NUMBER, Table};
use crate::field::Field;
use crate::layout::{Layout, quote};
use crate::placement::{ColumnType, Placement, PlainColumn, Slot};

/// The sub-object of the JSONB config column that is ours.
const OURS: &str = "retell_vault";

/// What a slot holds that is neither empty nor a token. Sorts after every version.
const FOREIGN: &str = "g";

pub(crate) struct Statements {
    /// The rows of one owner.
    pub(crate) read: Arc<str>,
    /// + the values of a record, its version
    pub(crate) update: Arc<str>,
    /// + the values of a record
    pub(crate) insert: Arc<str>,
    /// + the values of a record, the old text of every slot
    pub(crate) replace: Arc<str>,
    /// + the values of a record, its version. Answers with the row as it was.
    pub(crate) push: Arc<str>,
    /// users[], tenants[]
    pub(crate) read_many: Arc<str>,
    /// users[], tenants[], the values of a record as arrays, versions[], ordinals[]
    pub(crate) update_many: Arc<str>,
    /// tenant or null, user or null (start after these), limit
    pub(crate) list: Arc<str>,
}

/// Everything that the texts are made of.
struct Writer<'a> {
    layout: &'a Layout,
    table: &'a Table,
    placement: &'a Placement,
}

impl Statements {
    pub(crate) fn new(layout: &Layout, table: &Table, placement: &Placement) -> Self {
        let writer = Writer { layout, table, placement };
        Self {
            read: writer.read().into(),
            update: writer.update().into(),
            insert: writer.insert().into(),
            replace: writer.replace().into(),
            push: writer.push().into(),
            read_many: writer.read_many().into(),
            update_many: writer.update_many().into(),
            list: writer.list().into(),
        }
    }
}

impl Writer<'_> {
    fn relation(&self) -> String {
        format!("{}.{}", quote(&self.layout.schema), quote(&self.layout.table))
    }

    fn tenants(&self) -> usize {
        usize::from(self.table.tenant.is_some())
    }

    /// How many parameters the owner takes.
    fn owner_params(&self) -> usize {
        1 + self.tenants()
    }

    fn filled_slots(&self) -> impl Iterator<Item = &Slot> {
        self.placement.slots.iter().filter(|slot| !slot.fields.is_empty())
    }

    fn values(&self) -> usize {
        self.filled_slots().count() + self.placement.plain.len()
    }

    /// The row's owner is the one bound. A text column may hold either form of a UUID.
    fn is_owner(&self, row: &str) -> String {
        let column = |name: &str, kind: IdKind, number: usize| match kind {
            IdKind::Uuid => format!("{row}.{} = ${number}", quote(name)),
            IdKind::Text => format!("{row}.{} = ANY(${number}::text[])", quote(name)),
        };
        let mut parts = vec![column(&self.layout.user_column, self.table.user, 1)];
        if let (Some(name), Some(kind)) = (&self.layout.tenant_column, self.table.tenant) {
            parts.push(column(name, kind, 2));
        }
        parts.join(" AND ")
    }

    /// The owner as a new row gets it: the canonical form comes first in the array.
    fn owner_values(&self) -> Vec<(String, String)> {
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
    fn slot_text(&self, row: &str, slot: &Slot) -> String {
        let column = format!("{row}.{}", quote(&slot.column));
        match slot.json {
            true => format!("({column} -> '{OURS}')::text"),
            false => format!("{column}::text"),
        }
    }

    /// The version that a text holds: empty for none, [`FOREIGN`] for text that is not ours.
    fn version_of_text(text: &str) -> String {
        format!(
            "CASE WHEN {text} IS NULL OR {text} = '' THEN '' \
             WHEN left({text}, 30) ~ '^rv1\\.[0-9a-f]{{8}}\\.[0-9a-f]{{16}}\\.$' THEN substr({text}, 14, 16) \
             ELSE '{FOREIGN}' END COLLATE \"C\""
        )
    }

    /// Every record has one token of the API key, so in the JSONB column that one tells the version.
    fn version_of_slot(&self, row: &str, slot: &Slot) -> String {
        let column = format!("{row}.{}", quote(&slot.column));
        match slot.json {
            false => Self::version_of_text(&column),
            true => {
                let text = format!("({column} #>> '{{{OURS},{}}}')", Field::ApiKey);
                let version = Self::version_of_text(&text);
                format!(
                    "CASE WHEN jsonb_typeof({column}) NOT IN ('object', 'null') THEN '{FOREIGN}' ELSE {version} END COLLATE \"C\""
                )
            }
        }
    }

    /// The newest version that any slot of the row holds.
    fn version_of_row(&self, row: &str) -> String {
        let versions: Vec<_> =
            self.placement.slots.iter().map(|slot| self.version_of_slot(row, slot)).collect();
        format!("greatest({})", versions.join(", "))
    }

    /// The columns that exist, and their types, are still the ones this text was made for: otherwise
    /// a host with a stale picture would write, or look, where nobody else does.
    fn schema_is_current(&self) -> String {
        let names: Vec<_> = self.layout.all_columns().into_iter().map(literal).collect();
        let types: Vec<_> = self.table.types.iter().map(i64::to_string).collect();
        // not slower than counting: 20 microseconds
        format!(
            "ARRAY(SELECT {TYPE_NUMBER} FROM pg_catalog.pg_attribute WHERE attrelid = {}::regclass \
             AND attnum > 0 AND NOT attisdropped AND attname IN ({}) ORDER BY attnum) = '{{{}}}'::int8[]",
            literal(&self.relation()),
            names.join(", "),
            types.join(",")
        )
    }

    /// `(column, its new value in an UPDATE of t, its value in an INSERT)` for all that a write touches.
    fn assignments(&self, mut next: impl FnMut() -> String) -> Vec<(String, String, String)> {
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
            assignments.push((quote(column), "now()".to_owned(), "now()".to_owned()));
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
                true => format!("coalesce({column} -> '{OURS}', 'null') IN ('null', '{{}}')"),
                false => format!("({column} ~ '^rv[1-9]\\.') IS NOT TRUE"),
            }
        });
        let empty: Vec<_> = empty.collect();
        format!("({})", empty.join(" AND "))
    }

    fn set_clause(&self, first_param: usize) -> String {
        let assignments = self.assignments(counter(first_param));
        let parts: Vec<_> =
            assignments.into_iter().map(|(column, update, _)| format!("{column} = {update}")).collect();
        parts.join(", ")
    }

    /// True when the row now holds what was bound. When a trigger changed it the division fails, which
    /// takes the whole statement back: otherwise the record before would be gone, and this one unreadable.
    fn holds_what_was_bound(&self, mut next: impl FnMut() -> String) -> String {
        let held = self.filled_slots().map(|slot| {
            let (column, param) = (format!("t.{}", quote(&slot.column)), next());
            match slot.json {
                true => format!("({column} -> '{OURS}') = {param}::text::jsonb"),
                false => format!("{column} = {param}"),
            }
        });
        let held: Vec<_> = held.collect();
        format!("1 / (({}) IS TRUE)::int = 1", held.join(" AND "))
    }

    fn read_columns(&self, row: &str) -> String {
        let slots = self
            .placement
            .slots
            .iter()
            .enumerate()
            .map(|(at, slot)| format!("{} AS s{at}", self.slot_text(row, slot)));
        let json = self.placement.slots.iter().find(|slot| slot.json);
        let foreign = match json {
            Some(slot) => format!(
                "coalesce(jsonb_typeof({row}.{}) NOT IN ('object', 'null'), false)",
                quote(&slot.column)
            ),
            None => "false".to_owned(),
        };
        let plain = self
            .placement
            .plain
            .iter()
            .enumerate()
            .map(|(at, plain)| format!("{row}.{}::text AS p{at}", quote(&plain.column)));
        let others = [
            format!("{foreign} AS json_is_foreign"),
            "(extract(epoch FROM now()) * 1000)::int8 AS now".to_owned(),
        ];
        slots.chain(plain).chain(others).collect::<Vec<_>>().join(", ")
    }

    fn read(&self) -> String {
        let (columns, relation, owner) = (self.read_columns("t"), self.relation(), self.is_owner("t"));
        format!(
            "SELECT {columns}, {} AS is_current FROM {relation} AS t WHERE {owner}",
            self.schema_is_current()
        )
    }

    fn update(&self) -> String {
        let first = self.owner_params() + 1;
        let version = format!("${}", first + self.values());
        format!(
            "UPDATE {} AS t SET {} WHERE {} AND {} < {version} COLLATE \"C\" AND {}{} RETURNING {}",
            self.relation(),
            self.set_clause(first),
            self.is_owner("t"),
            self.version_of_row("t"),
            self.schema_is_current(),
            self.no_newer_duplicate(&version),
            self.holds_what_was_bound(counter(first)),
        )
    }

    /// Without a unique constraint the owner may have several rows; all are written or none.
    fn no_newer_duplicate(&self, version: &str) -> String {
        if self.table.unique {
            return String::new();
        }
        let (relation, owner, newest) = (self.relation(), self.is_owner("d"), self.version_of_row("d"));
        format!(
            " AND NOT EXISTS (SELECT 1 FROM {relation} AS d WHERE {owner} AND {newest} >= {version} COLLATE \"C\")"
        )
    }

    fn insert(&self) -> String {
        let first = self.owner_params() + 1;
        let assignments =
            self.assignments(counter(first)).into_iter().map(|(column, _, insert)| (column, insert));
        let (columns, values): (Vec<_>, Vec<_>) = self.owner_values().into_iter().chain(assignments).unzip();
        let (relation, current) = (self.relation(), self.schema_is_current());
        // other code takes no lock, and may run into a constraint that we cannot rely on
        let absent = match self.table.unique {
            true => String::new(),
            false => format!(" AND NOT EXISTS (SELECT 1 FROM {relation} AS d WHERE {})", self.is_owner("d")),
        };
        format!(
            "INSERT INTO {relation} AS t ({}) SELECT {} WHERE {current}{absent} ON CONFLICT DO NOTHING RETURNING {}",
            columns.join(", "),
            values.join(", "),
            self.holds_what_was_bound(counter(first)),
        )
    }

    fn replace(&self) -> String {
        let first = self.owner_params() + 1;
        let mut old = counter(first + self.values());
        let unchanged = self.placement.slots.iter().map(|slot| {
            let column = format!("t.{}", quote(&slot.column));
            match slot.json {
                true => format!("({column} -> '{OURS}') IS NOT DISTINCT FROM {}::text::jsonb", old()),
                false => format!("{column} IS NOT DISTINCT FROM {}::text", old()),
            }
        });
        let unchanged: Vec<_> = unchanged.collect();
        let json = self.placement.slots.iter().find(|slot| slot.json);
        let writable_json = json.map(|slot| {
            format!(" AND coalesce(jsonb_typeof(t.{}) IN ('object', 'null'), true)", quote(&slot.column))
        });
        format!(
            "UPDATE {} AS t SET {} WHERE {} AND {} AND {}{} RETURNING {}",
            self.relation(),
            self.set_clause(first),
            self.is_owner("t"),
            unchanged.join(" AND "),
            self.schema_is_current(),
            writable_json.unwrap_or_default(),
            self.holds_what_was_bound(counter(first)),
        )
    }

    fn push(&self) -> String {
        let first = self.owner_params() + 1;
        let version = format!("${}", first + self.values());
        let (relation, owner) = (self.relation(), self.is_owner("t"));
        let names = (0..self.placement.slots.len()).map(|at| format!("pre.s{at}"));
        let plain = (0..self.placement.plain.len()).map(|at| format!("pre.p{at}"));
        let old: Vec<_> =
            names.chain(plain).chain(["pre.json_is_foreign".to_owned(), "pre.now".to_owned()]).collect();
        format!(
            "WITH pre AS MATERIALIZED (SELECT t.ctid AS place, {} FROM {relation} AS t WHERE {owner} FOR UPDATE) \
             UPDATE {relation} AS t SET {} FROM pre WHERE t.ctid = pre.place AND {owner} AND {} < {version} COLLATE \"C\" AND {}{} \
             RETURNING {}, {} AS held, true AS is_current",
            self.read_columns("t"),
            self.set_clause(first),
            self.version_of_row("t"),
            self.schema_is_current(),
            self.no_newer_duplicate(&version),
            old.join(", "),
            self.holds_what_was_bound(counter(first)),
        )
    }

    /// The owner's columns as text, for answers about several owners.
    fn owner_columns(&self) -> String {
        let user = format!("t.{}::text AS owner_user", quote(&self.layout.user_column));
        match &self.layout.tenant_column {
            Some(tenant) => format!("{user}, t.{}::text AS owner_tenant", quote(tenant)),
            None => format!("{user}, NULL::text AS owner_tenant"),
        }
    }

    fn array(kind: IdKind) -> &'static str {
        match kind {
            IdKind::Uuid => "uuid[]",
            IdKind::Text => "text[]",
        }
    }

    fn read_many(&self) -> String {
        let user = format!("t.{}", quote(&self.layout.user_column));
        let users = Self::array(self.table.user);
        let owners = match (&self.layout.tenant_column, self.table.tenant) {
            (Some(tenant), Some(kind)) => {
                let tenants = Self::array(kind);
                format!("({user}, t.{}) IN (SELECT * FROM unnest($1::{users}, $2::{tenants}))", quote(tenant))
            }
            _ => format!("{user} = ANY($1::{users})"),
        };
        format!(
            "SELECT {}, {}, {} AS is_current FROM {} AS t WHERE {owners}",
            self.owner_columns(),
            self.read_columns("t"),
            self.schema_is_current(),
            self.relation()
        )
    }

    fn update_many(&self) -> String {
        let values = self.values();
        let mut next = counter(1);
        let mut arrays = vec![format!("{}::{}", next(), Self::array(self.table.user))];
        arrays.extend(self.table.tenant.map(|kind| format!("{}::{}", next(), Self::array(kind))));
        arrays.extend((0..=values).map(|_| format!("{}::text[]", next())));
        arrays.push(format!("{}::int4[]", next()));

        let mut names = vec!["u".to_owned()];
        names.extend(self.table.tenant.map(|_| "w".to_owned()));
        names.extend((0..values).map(|at| format!("v{at}")));
        names.extend(["version".to_owned(), "ordinal".to_owned()]);

        let assignments = self.assignments(array_values());
        let set: Vec<_> =
            assignments.into_iter().map(|(column, update, _)| format!("{column} = {update}")).collect();
        let tenant = self.layout.tenant_column.as_ref().map(|name| format!(" AND t.{} = n.w", quote(name)));
        format!(
            "UPDATE {} AS t SET {} FROM unnest({}) AS n({}) WHERE t.{} = n.u{} AND {} < n.version COLLATE \"C\" AND {} RETURNING {} AS held, n.ordinal",
            self.relation(),
            set.join(", "),
            arrays.join(", "),
            names.join(", "),
            quote(&self.layout.user_column),
            tenant.unwrap_or_default(),
            self.version_of_row("t"),
            self.schema_is_current(),
            self.holds_what_was_bound(array_values()),
        )
    }

    fn list(&self) -> String {
        let user = sort_key(&self.layout.user_column, self.table.user);
        let tenant = match (&self.layout.tenant_column, self.table.tenant) {
            (Some(tenant), Some(kind)) => format!("coalesce({}, '')", sort_key(tenant, kind)),
            _ => "''::text".to_owned(), // ORDER BY refuses a bare constant
        };
        let filled: Vec<_> = self
            .placement
            .slots
            .iter()
            .map(|slot| format!("{} IS NOT NULL", self.slot_text("t", slot)))
            .collect();
        format!(
            "SELECT {}, {}, {} AS is_current FROM {} AS t WHERE ({}) AND ({tenant}, {user}) > ($1::text, $2::text) \
             ORDER BY {tenant}, {user} LIMIT $3::int8",
            self.owner_columns(),
            self.read_columns("t"),
            self.schema_is_current(),
            self.relation(),
            if filled.is_empty() { "false".to_owned() } else { filled.join(" OR ") },
        )
    }
}

fn counter(first: usize) -> impl FnMut() -> String {
    let mut number = first - 1;
    move || {
        number += 1;
        format!("${number}")
    }
}

/// An id in its canonical form, in the order of its bytes, as the local file sorts it.
fn sort_key(column: &str, kind: IdKind) -> String {
    let text = format!("t.{}::text", quote(column));
    match kind {
        IdKind::Uuid => format!("{text} COLLATE \"C\""),
        IdKind::Text => format!(
            "CASE WHEN {text} ~ '^[0-9a-fA-F]{{8}}-([0-9a-fA-F]{{4}}-){{3}}[0-9a-fA-F]{{12}}$' THEN lower({text}) ELSE {text} END COLLATE \"C\""
        ),
    }
}

/// The values of a record as the columns of `n` in [`Statements::update_many`].
fn array_values() -> impl FnMut() -> String {
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
    let update = format!("jsonb_set(coalesce(nullif(t.{column}, 'null'), '{{}}'), '{{{OURS}}}', {ours})");
    (update, format!("jsonb_build_object('{OURS}', {ours})"))
}

fn json_clearing(column: &str, not_null: bool) -> (String, String) {
    let update = format!(
        "CASE WHEN jsonb_typeof(t.{column}) = 'object' THEN t.{column} - '{OURS}' ELSE t.{column} END"
    );
    (update, if not_null { "'{}'::jsonb".to_owned() } else { "NULL".to_owned() })
}

fn typed(kind: &ColumnType, param: &str) -> String {
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

/// A text as it goes into SQL text. Only names of the layout come here.
fn literal(text: &str) -> String {
    // the E form means the same under every setting of standard_conforming_strings
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(literal("a'b\\c"), "E'a''b\\\\c'");
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    }
}
