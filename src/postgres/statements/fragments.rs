//! Parts of SQL texts: conditions, assignments, columns to read.
//!
//! The triggers of the application need the session's own search path, so the statements use it too. Other roles may have
//! created operators, functions and types on it, so every name in a statement has its schema (`tests/tripwire.rs`).

use crate::layout::layout::Layout;
use crate::layout::placement::{ColumnType, Placement, PlainColumn, Slot};
use crate::postgres::catalogue::table::Table;
use crate::postgres::catalogue::table_column::TableColumn;
use crate::postgres::sql::names::{EQ, bytes_of, literal, quote, relation, text};
use crate::postgres::sql::token;
use crate::record::token::MAX_SLOT;

/// Everything that the texts depend on.
pub(in crate::postgres) struct Writer<'a> {
    pub(in crate::postgres) layout: &'a Layout,
    pub(in crate::postgres) table: &'a Table,
    pub(in crate::postgres) placement: &'a Placement,
    pub(in crate::postgres) forms: Forms,
}

/// The number of forms in which a text column may hold the bound owner.
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

    /// The number of parameters of a record: the text of every slot, then for every plain column its new value, and the
    /// value that it must hold to be cleared if there is no new value; and the entries of the blind index, if there is a column
    /// for them.
    pub(in crate::postgres) fn values(&self) -> usize {
        self.placement.slots.len()
            + 2 * self.placement.plain.len()
            + usize::from(self.placement.index.is_some())
    }

    /// The name of the vault's member of the JSONB column.
    pub(in crate::postgres) fn member_name(&self) -> String {
        self.layout.fields.member()
    }

    /// The vault's member of the JSONB column.
    pub(in crate::postgres) fn member(&self, column: &str) -> String {
        token::member(column, &self.member_name())
    }

    /// The text of a slot, cut. For the JSONB column only the vault's member.
    pub(in crate::postgres) fn slot_text(&self, row: &str, slot: &Slot) -> String {
        match slot.json {
            true => text(&self.slot_value(row, slot)),
            false => self.slot_value(row, slot),
        }
    }

    /// As [`slot_text`](Self::slot_text), with the JSONB column as JSONB.
    fn slot_value(&self, row: &str, slot: &Slot) -> String {
        let column = format!("{row}.{}", quote(&slot.column));
        match slot.json {
            true => {
                let (is_too_long, ours) = (token::is_too_long(&column), self.member(&column));
                format!("(CASE WHEN {is_too_long} THEN NULL ELSE {ours} END)")
            }
            false => format!("({})", token::cut(&text(&column))),
        }
    }

    /// The text of a plain column, cut. JSON that is too long becomes `false`, which is not a value of any field.
    pub(in crate::postgres) fn plain_text(&self, row: &str, plain: &PlainColumn) -> String {
        let column = format!("{row}.{}", quote(&plain.column));
        match plain.kind {
            ColumnType::Json | ColumnType::Jsonb => {
                format!("(CASE WHEN {} THEN 'false' ELSE {} END)", token::is_too_long(&column), text(&column))
            }
            ColumnType::ByteaArray => entries_text(&column),
            _ => format!("({})", token::cut(&text(&column))),
        }
    }

    /// As [`plain_text`](Self::plain_text), with a JSONB column as JSONB.
    fn plain_value(&self, row: &str, plain: &PlainColumn) -> String {
        let column = format!("{row}.{}", quote(&plain.column));
        match plain.kind {
            ColumnType::Jsonb => {
                format!("(CASE WHEN {} THEN 'false' ELSE {column} END)", token::is_too_long(&column))
            }
            _ => self.plain_text(row, plain),
        }
    }

    /// The schema assertion: it is always true, and the planner removes it before the statement runs. Postgres refuses to
    /// parse it if a column of the layout has another type than planned (42883, 42804), is gone (42703), or was added
    /// (42702). Postgres checks this under the lock on the table, however old the statement is. Columns that the role may
    /// not read, and types that it may not name, are left out.
    pub(in crate::postgres) fn is_as_planned(&self, row: &str) -> String {
        format!("{}{}", self.has_columns(row), self.lacks_columns())
    }

    /// [`is_as_planned`](Self::is_as_planned) for a statement without an existing row.
    pub(in crate::postgres) fn will_be_as_planned(&self) -> String {
        let (relation, has_columns) = (self.relation(), self.has_columns("u"));
        format!("(true OR EXISTS (SELECT FROM {relation} AS u WHERE {has_columns})){}", self.lacks_columns())
    }

    fn has_columns(&self, row: &str) -> String {
        let all = self.layout.all_columns();
        let is_named = |column: &&TableColumn| column.readable && all.contains(&column.name.as_str());
        let named = self.table.columns.iter().filter(is_named);
        let columns: Vec<_> = named
            .filter_map(|column| Some((column, quote(&column.name), column.array_type.as_ref()?)))
            .collect();
        if columns.is_empty() {
            return "true".to_owned(); // Postgres compares no empty rows
        }
        let held: Vec<_> = columns.iter().map(|(_, name, _)| format!("ARRAY[{row}.{name}]")).collect();
        let types: Vec<_> = columns.iter().map(|(.., array)| format!("NULL::{array}")).collect();
        // an array of arrays has the same type as an array of the elements
        let others = columns.iter().filter_map(|(column, name, array)| {
            let value =
                if column.is_array()? { format!("NULL::{array}") } else { format!("(NULL::{array})[1]") };
            Some(format!(" AND coalesce({row}.{name}, {value}) IS NULL"))
        });
        format!(
            "CASE WHEN false THEN ROW({}) {EQ} ROW({}){} ELSE true END",
            held.join(", "),
            types.join(", "),
            others.collect::<String>()
        )
    }

    fn lacks_columns(&self) -> String {
        let absent = self.layout.all_columns().into_iter().filter(|name| self.table.column(name).is_none());
        let absent: Vec<_> = absent.map(quote).collect();
        if absent.is_empty() {
            return String::new();
        }
        let (names, zeros) = (absent.join(", "), vec!["0"; absent.len()].join(", "));
        format!(
            " AND (true OR EXISTS (SELECT {names} FROM {} AS u, (VALUES ({zeros})) AS absent({names})))",
            self.relation()
        )
    }

    /// `(column, its new value in an UPDATE of t, its value in an INSERT)` for every column that a write changes.
    pub(in crate::postgres) fn assignments(
        &self,
        mut next: impl FnMut(Bound) -> String,
    ) -> Vec<(String, String, String)> {
        let mut assignments = Vec::new();
        for slot in &self.placement.slots {
            let (column, param) = (quote(&slot.column), next(Bound::of_slot(slot)));
            let (update, insert) = match slot.json {
                false => (param.clone(), param),
                true => self.json_assignment(slot, &column, &param),
            };
            assignments.push((column, update, insert));
        }
        for plain in &self.placement.plain {
            let (column, new, old) = (quote(&plain.column), next(Bound::of_plain(plain)), next(Bound::Text));
            let (value, unset) = (to_column(plain, &new), unset(plain));
            // a value that the record does not vouch for belongs to the application
            let update = format!(
                "CASE WHEN {new} IS NOT NULL THEN {value} WHEN {} {EQ} {old} THEN {unset} ELSE t.{column} END",
                bytes_of(&format!("t.{column}"))
            );
            assignments.push((column, update, format!("coalesce({value}, {unset})")));
        }
        if let Some(column) = &self.placement.index {
            let entries = to_entries(&next(Bound::Text));
            assignments.push((quote(column), entries.clone(), entries));
        }
        if let Some(column) = &self.placement.sync_column {
            assignments.push((quote(column), "pg_catalog.now()".to_owned(), "pg_catalog.now()".to_owned()));
        }
        assignments
    }

    /// Members of other code beside the vault's member stay.
    fn json_assignment(&self, slot: &Slot, column: &str, param: &str) -> (String, String) {
        let (held, name) = (format!("t.{column}"), self.member_name());
        let either =
            |without: &str, with: &str| format!("CASE WHEN {param} IS NULL THEN {without} ELSE {with} END");
        let nothing = if slot.not_null { "'{}'::pg_catalog.jsonb" } else { "NULL::pg_catalog.jsonb" };
        (
            either(&token::without_member(&held, &name), &token::with_member(&held, &name, param)),
            either(nothing, &token::only_member(&name, param)),
        )
    }

    pub(in crate::postgres) fn set_clause(&self, next: impl FnMut(Bound) -> String) -> String {
        let assignments = self.assignments(next);
        let parts: Vec<_> =
            assignments.into_iter().map(|(column, update, _)| format!("{column} = {update}")).collect();
        parts.join(", ")
    }

    /// The result of every write. The first column checks that the row now holds the bound values. If a trigger changed
    /// them, the division fails and the whole statement is rolled back; otherwise the old record would be gone and the
    /// new one unreadable. The second column makes the commit wait for the disk if the server would not.
    pub(in crate::postgres) fn holds_what_was_bound(&self, mut next: impl FnMut(Bound) -> String) -> String {
        let held = self.placement.slots.iter().map(|slot| {
            let (column, param) = (format!("t.{}", quote(&slot.column)), next(Bound::of_slot(slot)));
            match slot.json {
                true => same(&self.member(&column), &param, "'null'::pg_catalog.jsonb"),
                false => same(&bytes_of(&column), &param, "''"),
            }
        });
        let held: Vec<_> = held.collect();
        format!("1 OPERATOR(pg_catalog./) CASE WHEN {} THEN 1 ELSE 0 END, {DURABLE}", held.join(" AND "))
    }

    /// The slots, the plain columns, the state of the JSONB column, the clock.
    pub(in crate::postgres) fn read_columns(&self, row: &str) -> String {
        let slots = self.placement.slots.iter().map(|slot| self.slot_value(row, slot));
        let plain = self.placement.plain.iter().map(|plain| self.plain_value(row, plain));
        let others = [self.json_state(row), "pg_catalog.now()".to_owned()];
        slots.chain(plain).chain(others).collect::<Vec<_>>().join(", ")
    }

    /// The same for a row that [`is_short`](Self::is_short), uncut. It does not check the state of the JSONB column. If
    /// that matters, the row is read again.
    pub(in crate::postgres) fn short_columns(&self, row: &str) -> String {
        let slots = self.placement.slots.iter().map(|slot| {
            let column = format!("{row}.{}", quote(&slot.column));
            if slot.json { self.member(&column) } else { text(&column) }
        });
        let plain = self.placement.plain.iter().map(|plain| {
            let column = format!("{row}.{}", quote(&plain.column));
            if plain.kind == ColumnType::Jsonb { column } else { text(&column) }
        });
        let others = ["NULL::pg_catalog.text", "pg_catalog.now()"].map(str::to_owned);
        slots.chain(plain).chain(others).collect::<Vec<_>>().join(", ")
    }

    /// A condition that no value is longer than a record may be, measured on disk for JSON. It is one comparison for all
    /// columns, because the server prepares each function of a statement at every call.
    pub(in crate::postgres) fn is_short(&self, row: &str) -> String {
        let slots = self.placement.slots.iter().map(|slot| (&slot.column, slot.json));
        let is_json = |kind: &ColumnType| matches!(kind, ColumnType::Json | ColumnType::Jsonb);
        let plain = self.placement.plain.iter().map(|plain| (&plain.column, is_json(&plain.kind)));
        let lengths = slots
            .chain(plain)
            .map(|(column, is_json)| token::length(&format!("{row}.{}", quote(column)), is_json));
        format!(
            "coalesce(GREATEST({}), 0) OPERATOR(pg_catalog.<=) {MAX_SLOT}",
            lengths.collect::<Vec<_>>().join(", ")
        )
    }

    /// The type of the value in the JSONB column, or `long`.
    pub(in crate::postgres) fn json_state(&self, row: &str) -> String {
        let Some(slot) = self.placement.slots.iter().find(|slot| slot.json) else {
            return "NULL::pg_catalog.text".to_owned();
        };
        let column = format!("{row}.{}", quote(&slot.column));
        format!(
            "CASE WHEN {} THEN '{TOO_LONG}' ELSE pg_catalog.jsonb_typeof({column}) END",
            token::is_too_long(&column)
        )
    }
}

/// Makes the commit of this statement wait for the disk, whatever the settings of server, role and pool. `local` and
/// stronger settings already wait.
pub(in crate::postgres) const DURABLE: &str = "CASE WHEN pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off' \
    THEN pg_catalog.set_config('synchronous_commit', 'on', true) END";

/// The state of a JSONB column whose value is too large to be unpacked.
pub(in crate::postgres) const TOO_LONG: &str = "long";

/// The type in which a value is bound.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::postgres) enum Bound {
    Text,
    Jsonb,
}

impl Bound {
    pub(in crate::postgres) fn of_slot(slot: &Slot) -> Self {
        if slot.json { Self::Jsonb } else { Self::Text }
    }

    pub(in crate::postgres) fn of_plain(plain: &PlainColumn) -> Self {
        if plain.kind == ColumnType::Jsonb { Self::Jsonb } else { Self::Text }
    }

    pub(in crate::postgres) fn name(self) -> &'static str {
        match self {
            Self::Text => "pg_catalog.text",
            Self::Jsonb => "pg_catalog.jsonb",
        }
    }

    pub(in crate::postgres) fn array(self) -> &'static str {
        match self {
            Self::Text => "pg_catalog._text",
            Self::Jsonb => "pg_catalog._jsonb",
        }
    }
}

/// The parameters from `$first` on, each with its type.
pub(in crate::postgres) fn counter(first: usize) -> impl FnMut(Bound) -> String {
    let mut number = first - 1;
    move |bound| {
        number += 1;
        format!("${number}::{}", bound.name())
    }
}

/// A bound array that stands for rows. A subquery hides its length from the planner, which would otherwise scan the whole table
/// the first times that a connection runs the statement, and look the rows up in the index only afterwards.
pub(in crate::postgres) fn hidden(number: usize, kind: &str) -> String {
    format!("(SELECT ${number}::{kind})")
}

/// A condition that is never NULL: both are equal, or both are empty.
pub(in crate::postgres) fn same(one: &str, other: &str, nothing: &str) -> String {
    format!("coalesce({one}, {nothing}) {EQ} coalesce({other}, {nothing})")
}

/// A bound value in the type of its plain column.
pub(in crate::postgres) fn to_column(plain: &PlainColumn, param: &str) -> String {
    match plain.kind {
        ColumnType::Json => format!("{param}::pg_catalog.json"),
        _ => param.to_owned(),
    }
}

/// The entries of the blind index as the vault prints them, whatever the session's output format. What is too long is no such
/// text.
fn entries_text(column: &str) -> String {
    format!(
        "(CASE WHEN {column} IS NULL THEN NULL WHEN {} THEN 'long' ELSE '{{' OPERATOR(pg_catalog.||) coalesce((SELECT \
         pg_catalog.string_agg('\"\\\\x' OPERATOR(pg_catalog.||) pg_catalog.encode(e.entry, 'hex') OPERATOR(pg_catalog.||) '\"', \
         ',' ORDER BY e.at) FROM pg_catalog.unnest({column}) WITH ORDINALITY AS e (entry, at)), '') OPERATOR(pg_catalog.||) '}}' END)",
        token::is_too_long(column)
    )
}

/// The bound text of the entries of the blind index in the type of its column. Their number differs from row to row, so that a
/// bulk write cannot bind them as an array of arrays.
pub(in crate::postgres) fn to_entries(param: &str) -> String {
    format!("{param}::pg_catalog._bytea")
}

/// The value of a plain column if its field is not set.
pub(in crate::postgres) fn unset(plain: &PlainColumn) -> String {
    let value = if plain.not_null { literal(plain.unset) } else { "NULL".to_owned() };
    let kind = match plain.kind {
        ColumnType::Json => "json",
        ColumnType::Jsonb => "jsonb",
        _ => "text",
    };
    format!("{value}::pg_catalog.{kind}")
}
