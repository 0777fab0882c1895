//! The bodies of the functions: templates and their values.

use crate::layout::filter::Rows;
use crate::postgres::catalogue::id_kind::IdKind;
use crate::postgres::catalogue::row_filter::RowFilter;
use crate::postgres::sql::names::{literal, owner_columns, quote};
use crate::postgres::sql::token::{
    Kind, holds_unrecognised, member, only_member, token_pattern, version, with_member, without_member,
};
use crate::record::field::{Field, FieldSpec, ValueKind};
use crate::record::token::MAX_SLOT;
use crate::schema::plan_input::PlanInput;
use crate::schema::wanted_columns::{BYTEA_ARRAY, kind_after};

const STORE: &str = include_str!("store.sql");
/// Left out if the application creates the rows.
const CREATE: &str =
    "\n    INSERT INTO <<relation>> AS t (<<columns>>) VALUES (<<values>>) ON CONFLICT<<target>> DO NOTHING;
    IF FOUND THEN
      RETURN v_version;
    END IF;";

/// The body of the function that stores a record that was sealed elsewhere. It places tokens as the vault does once all
/// columns of the layout exist: the token of a secret field in the field's own column if it has one, the others in the
/// JSONB column, the record token beside another token, and plain values in their columns.
pub(super) fn store_body(input: &PlanInput<'_>, owner: &OwnerParams) -> String {
    let slots = Slots::new(input);
    let names = |fields: &mut dyn Iterator<Item = Field>| {
        fields.map(|field| literal(field.name())).collect::<Vec<_>>().join(", ")
    };
    let no_tenant = match owner.params.len() {
        1 => String::new(),
        _ => " OR p_tenant IS NULL".to_owned(),
    };
    let inserted: Vec<_> = owner.values().into_iter().chain(slots.inserts(input)).collect();
    let (columns, values): (Vec<_>, Vec<_>) = inserted.into_iter().unzip();
    // with a deferrable constraint Postgres needs the columns; otherwise a column with the name of a parameter
    // would be mistaken for it
    let unique: Vec<_> = input.table.unique_columns.iter().map(|column| quote(column)).collect();
    let target = match (input.table.deferrable, unique.is_empty()) {
        (false, _) => String::new(),
        (true, true) => format!(" ({})", owner_columns(input.layout).join(", ")),
        (true, false) => {
            let rows = input.table.filter.index_predicate().filter(|_| input.table.unique_is_partial);
            let rows = rows.map(|predicate| format!(" WHERE {predicate}")).unwrap_or_default();
            format!(" ({}){rows}", unique.join(", "))
        }
    };
    let create = match input.table.rows {
        Rows::Existing => String::new(),
        Rows::Create => fill(
            CREATE,
            &[
                ("relation", input.relation()),
                ("columns", columns.join(", ")),
                ("values", values.join(", ")),
                ("target", target),
            ],
        ),
    };
    let of_kind =
        |kind| slots.plain.iter().filter(move |plain| plain.spec.kind == kind).map(|plain| plain.field);
    fill(
        STORE,
        &[
            ("relation", input.relation()),
            ("token", token_pattern()),
            ("longest", MAX_SLOT.to_string()),
            ("owner", owner.condition()),
            ("no_tenant", no_tenant),
            ("dedicated", names(&mut slots.texts.iter().map(|text| text.field))),
            ("unbounded", names(&mut slots.texts.iter().filter(|text| !text.bounded).map(|text| text.field))),
            ("plain_texts", names(&mut of_kind(ValueKind::Text))),
            ("plain_objects", names(&mut of_kind(ValueKind::Object))),
            ("assignments", slots.assignments()),
            ("foreign", slots.foreign()),
            ("unsettled", slots.unsettled()),
            ("newest", slots.newest()),
            ("create", create),
        ],
    )
}

/// A column of a secret field, quoted.
struct TextSlot {
    field: Field,
    column: String,
    bounded: bool,
}

/// A column of a plain field, quoted.
struct PlainSlot {
    field: Field,
    spec: FieldSpec,
    column: String,
    not_null: bool,
    kind: String,
}

/// The columns for the parts of a record.
struct Slots {
    texts: Vec<TextSlot>,
    plain: Vec<PlainSlot>,
    config: String,
    sync: String,
    /// The column of the index by which owners are found, if there is one.
    index: Option<String>,
    /// The name of the vault's member of the JSONB column.
    member: String,
}

impl Slots {
    fn new(input: &PlanInput<'_>) -> Self {
        let layout = input.layout;
        let text = |(field, _): (Field, &FieldSpec)| {
            let column = layout.column_of(field)?;
            let bounded =
                kind_after(input, column).is_some_and(|kind| kind.starts_with("character varying("));
            Some(TextSlot { field, column: quote(column), bounded })
        };
        let plain = |(field, spec): (Field, &FieldSpec)| {
            let column = input.plain_column(field)?;
            let there = input.table.column(column);
            Some(PlainSlot {
                field,
                spec: *spec,
                column: quote(column),
                not_null: there.is_some_and(|there| there.not_null),
                kind: kind_after(input, column).unwrap_or_else(|| spec.column_type().to_owned()),
            })
        };
        let is_indexed = kind_after(input, &layout.index_column).as_deref() == Some(BYTEA_ARRAY);
        Self {
            texts: layout.fields.secrets().filter_map(text).collect(),
            plain: layout.fields.plain().filter_map(plain).collect(),
            config: quote(&layout.config_column),
            sync: quote(&layout.sync_column),
            index: is_indexed.then(|| quote(&layout.index_column)),
            member: layout.fields.member(),
        }
    }

    /// The value of a text column: its token, and the record token if that belongs beside it.
    fn text(slot: &TextSlot) -> String {
        let token = |field: Field| format!("v_tokens ->> {}", literal(field.name()));
        let (own, record) = (token(slot.field), token(Field::RECORD));
        format!(
            "CASE WHEN v_record_at = {} THEN ({own}) || ' ' || ({record}) ELSE {own} END",
            literal(slot.field.name())
        )
    }

    /// The value of a plain column.
    fn plain(slot: &PlainSlot) -> String {
        let (name, kind) = (literal(slot.field.name()), &slot.kind);
        let value = match slot.spec.kind {
            ValueKind::Text => format!("(p_plain ->> {name})"),
            ValueKind::Object => format!("nullif(p_plain -> {name}, 'null')::{kind}"),
        };
        match slot.not_null {
            true => format!("coalesce({value}, {}::{kind})", literal(slot.spec.unset)),
            false => value,
        }
    }

    fn assignments(&self) -> String {
        let config = format!("t.{}", self.config);
        let texts = self.texts.iter().map(|slot| format!("{} = {}", slot.column, Self::text(slot)));
        let plain = self.plain.iter().map(|slot| {
            let (column, name, value) = (&slot.column, literal(slot.field.name()), Self::plain(slot));
            format!("{column} = CASE WHEN p_plain ? {name} THEN {value} ELSE t.{column} END")
        });
        let others = [
            // members of other code stay
            format!(
                "{} = CASE WHEN v_rest <> '{{}}' THEN {} ELSE {} END",
                self.config,
                with_member(&config, &self.member, "v_rest"),
                without_member(&config, &self.member)
            ),
            format!("{} = pg_catalog.now()", self.sync),
        ];
        // only the vault knows the entries of the new record: the row counts as not indexed
        let index = self.index.iter().map(|column| format!("{column} = NULL"));
        texts.chain(plain).chain(others).chain(index).collect::<Vec<_>>().join(", ")
    }

    fn foreign(&self) -> String {
        let config = format!("t.{}", self.config);
        let texts = self
            .texts
            .iter()
            .map(|slot| holds_unrecognised(&format!("t.{}::pg_catalog.text", slot.column), Kind::Text));
        let others = [
            format!("pg_catalog.jsonb_typeof({config}) NOT IN ('object', 'null')"),
            holds_unrecognised(&config, Kind::Json(&self.member)),
        ];
        texts.chain(others).map(|condition| format!("({condition}) IS TRUE")).collect::<Vec<_>>().join(" OR ")
    }

    /// A condition that a plain column holds a value that the call does not mention. The function cannot know whether the
    /// value belongs to the application.
    fn unsettled(&self) -> String {
        let unsettled = self.plain.iter().map(|slot| {
            let (column, name) = (&slot.column, literal(slot.field.name()));
            let unset = literal(slot.spec.unset);
            format!("(coalesce(t.{column}::pg_catalog.text, '') NOT IN ('', 'null', {unset}) AND NOT p_plain ? {name})")
        });
        ["false".to_owned()].into_iter().chain(unsettled).collect::<Vec<_>>().join(" OR ")
    }

    /// The newest version of any token of the row `t`. It uses only columns of `t`, so that Postgres evaluates it again
    /// after a wait for the row.
    fn newest(&self) -> String {
        let texts: Vec<_> =
            self.texts.iter().map(|slot| format!("t.{}::pg_catalog.text", slot.column)).collect();
        let ours = member(&format!("t.{}", self.config), &self.member);
        format!(
            "coalesce((SELECT pg_catalog.max({} COLLATE \"C\") FROM \
             (SELECT pg_catalog.unnest(pg_catalog.string_to_array(pg_catalog.concat_ws(' ', {}), ' ')) \
             UNION ALL SELECT value FROM pg_catalog.jsonb_each_text(CASE pg_catalog.jsonb_typeof({ours}) WHEN 'object' THEN {ours} ELSE '{{}}' END)) \
             AS held (token)), '') COLLATE \"C\"",
            version("held.token"),
            [&["NULL".to_owned()], texts.as_slice()].concat().join(", ")
        )
    }

    /// The columns of a new row except the owner's, with their values.
    fn inserts(&self, input: &PlanInput<'_>) -> Vec<(String, String)> {
        let must_be = |column: &str| input.table.column(column).is_some_and(|column| column.not_null);
        let nothing = if must_be(&input.layout.config_column) { "'{}'" } else { "NULL" };
        let texts = self.texts.iter().map(|slot| (slot.column.clone(), Self::text(slot)));
        let plain = self.plain.iter().map(|slot| (slot.column.clone(), Self::plain(slot)));
        let ours = only_member(&self.member, "v_rest");
        let config = format!("CASE WHEN v_rest <> '{{}}' THEN {ours} ELSE {nothing} END");
        let others = [(self.config.clone(), config), (self.sync.clone(), "pg_catalog.now()".to_owned())];
        texts.chain(plain).chain(others).collect()
    }
}

/// A user, and a tenant if the layout has a column for it.
pub(super) struct OwnerParams {
    /// Names and types.
    pub(super) params: Vec<(&'static str, &'static str)>,
    columns: Vec<OwnerColumn>,
    filter: RowFilter,
}

struct OwnerColumn {
    /// Quoted.
    name: String,
    kind: IdKind,
    /// The value in a new row.
    assigned: String,
}

impl OwnerParams {
    pub(super) fn new(input: &PlanInput<'_>) -> Self {
        let user = (input.layout.user_column.as_str(), input.table.user, "p_user");
        let tenant = input.layout.tenant_column.as_deref().zip(input.table.tenant);
        let tenant = tenant.map(|(column, kind)| (column, kind, "p_tenant"));
        let all = [user].into_iter().chain(tenant);
        let (params, columns) = all
            .map(|(name, kind, param)| {
                let value = if kind == IdKind::Text { canonical(param) } else { param.to_owned() };
                let assigned = input.table.column(name).map(|column| column.assigned(&value));
                let column = OwnerColumn { name: quote(name), kind, assigned: assigned.unwrap_or(value) };
                ((param, kind.name()), column)
            })
            .unzip();
        Self { params, columns, filter: input.table.filter.clone() }
    }

    /// With one more parameter.
    pub(super) fn and(&self, name: &'static str, kind: &'static str) -> Vec<(&'static str, &'static str)> {
        self.params.iter().copied().chain([(name, kind)]).collect()
    }

    /// The condition that the row `t` passes the filter and belongs to the owner. A text column may hold a UUID as given,
    /// or in its canonical form.
    pub(super) fn condition(&self) -> String {
        let is = |((param, _), column): (&(&str, &str), &OwnerColumn)| {
            let held = column.kind.cast(&format!("t.{}", column.name));
            match column.kind {
                IdKind::Text => format!("{held} IN ({param}, {})", canonical(param)),
                _ => format!("{held} = {param}"),
            }
        };
        let owner: Vec<_> = self.params.iter().zip(&self.columns).map(is).collect();
        format!("{}{}", owner.join(" AND "), self.filter.and("t."))
    }

    /// The columns of the owner and of the filter, with the values of a new row.
    pub(super) fn values(&self) -> Vec<(String, String)> {
        let owner = self.columns.iter().map(|column| (column.name.clone(), column.assigned.clone()));
        owner.chain(self.filter.values()).collect()
    }
}

fn canonical(param: &str) -> String {
    format!(
        "CASE WHEN {param} ~ '^[0-9a-fA-F]{{8}}-([0-9a-fA-F]{{4}}-){{3}}[0-9a-fA-F]{{12}}$' THEN pg_catalog.lower({param}) ELSE {param} END"
    )
}

/// Replaces each `<<name>>` by its value. It does not search the values for further names, because a value may be a name
/// that the application chose.
pub(super) fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut text = String::with_capacity(2 * template.len());
    let mut parts = template.split("<<");
    text.extend(parts.next());
    for part in parts {
        let (name, rest) = part.split_once(">>").expect("every place in our templates is closed");
        let value = values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        text.push_str(value.expect("every place in our templates has a value"));
        text.push_str(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_templates() {
        let values = [("a", "<<b>>".to_owned()), ("b", "2".to_owned())];
        assert_eq!(fill("1 <<a>> <<b>>", &values), "1 <<b>> 2");
    }
}
