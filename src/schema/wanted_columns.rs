//! The columns that the layout and the profile want: which of them the plan adds or changes, and which the vault uses
//! once the plan is applied.

use crate::layout::placement::{Column, ColumnType, usable};
use crate::postgres::catalogue::table_column::TableColumn;
use crate::record::field::{Field, FieldSpec};
use crate::schema::plan_input::PlanInput;

/// The type of the column of the blind index.
pub(super) const BYTEA_ARRAY: &str = "bytea[]";
pub(super) const TIMESTAMPTZ: &str = "timestamp with time zone";

/// A wanted column.
pub(super) struct WantedColumn {
    pub(super) name: String,
    /// As `format_type` writes it.
    pub(super) kind: &'static str,
    pub(super) default: Preset,
    pub(super) not_null: bool,
    pub(super) used_for: Use,
}

pub(super) enum Use {
    Field(Field, FieldSpec),
    Config,
    Sync,
    /// The entries of the blind index.
    Index,
    /// A column of the application. It keeps another type.
    Profile,
}

/// The value of a row without a value for the column.
pub(super) enum Preset {
    Nothing,
    Constant(&'static str),
    /// A default for new rows only. The value of existing rows is not known.
    NewRows(&'static str),
}

/// The type that a column has once the plan is applied. `None` if it does not exist.
pub(super) fn kind_after(input: &PlanInput<'_>, name: &str) -> Option<String> {
    let is_there = input.table.column(name);
    let wanted = wanted(input).into_iter().find(|wanted| wanted.name == name);
    match (is_there, wanted) {
        (Some(column), Some(wanted)) if must_change(input, &wanted, column) => Some(wanted.kind.to_owned()),
        (Some(column), _) => Some(column.kind.clone()),
        (None, wanted) => wanted.map(|wanted| wanted.kind.to_owned()),
    }
}

/// Every column that the plan adds, and every existing one that the vault uses.
pub(super) fn wanted(input: &PlanInput<'_>) -> Vec<WantedColumn> {
    let mut all = credentials(input);
    if input.is_full() {
        let used = input.layout.all_columns();
        all.extend(profile().into_iter().filter(|wanted| !used.contains(&wanted.name.as_str())));
    }
    all
}

fn credentials(input: &PlanInput<'_>) -> Vec<WantedColumn> {
    let layout = input.layout;
    let column = |name: &str, kind, used_for| WantedColumn {
        name: name.to_owned(),
        kind,
        default: Preset::Nothing,
        not_null: false,
        used_for,
    };
    let field = |(field, spec): (Field, &FieldSpec)| {
        let name = if spec.is_secret { layout.column_of(field) } else { input.plain_column(field) };
        Some(column(name?, spec.column_type(), Use::Field(field, *spec)))
    };
    let fields = layout.fields.each().filter_map(field);
    let config = column(&layout.config_column, "jsonb", Use::Config);
    let sync = column(&layout.sync_column, TIMESTAMPTZ, Use::Sync);
    let all = fields.chain([config, sync, column(&layout.index_column, BYTEA_ARRAY, Use::Index)]);
    let all: Vec<_> = all.collect();
    let has_room = all.iter().any(|wanted| will_have_room(input, wanted));
    all.into_iter().filter(|wanted| is_wanted(input, wanted, has_room) || is_slot(input, wanted)).collect()
}

/// Whether the layout wants a column, so that the plan adds it. If a text column `has_room` for every token, the JSONB
/// column is needed only if the layout names it.
fn is_wanted(input: &PlanInput<'_>, wanted: &WantedColumn, has_room: bool) -> bool {
    match wanted.used_for {
        Use::Field(field, _) => input.wants_column_of(field),
        Use::Config => input.wants_config_column() || !has_room,
        Use::Sync => input.wants_sync_column(),
        // a service that finds no owners need not pay for it
        Use::Index => input.layout.index_was_named,
        Use::Profile => true,
    }
}

/// Whether the vault uses an existing column, named or not. A short column for tokens counts too: a store clears it.
fn is_slot(input: &PlanInput<'_>, wanted: &WantedColumn) -> bool {
    let is_for_tokens = matches!(wanted.used_for, Use::Field(_, spec) if spec.is_secret);
    seen(input, &wanted.name).is_some_and(|seen| {
        is_usable(input, wanted) || (is_for_tokens && matches!(seen.kind, ColumnType::Varchar(_)))
    })
}

/// Whether a text column can hold every token of a record once the plan is applied.
fn will_have_room(input: &PlanInput<'_>, wanted: &WantedColumn) -> bool {
    let Use::Field(field, FieldSpec { is_secret: true, .. }) = wanted.used_for else { return false };
    let will_be_text = match input.table.column(&wanted.name) {
        None => true,
        Some(column) => must_change(input, wanted, column),
    };
    let is_text = seen(input, &wanted.name).is_some_and(|seen| seen.kind == ColumnType::Text);
    is_text || (will_be_text && input.wants_column_of(field))
}

/// Whether the vault uses a column once the plan is applied.
pub(super) fn is_used_after(input: &PlanInput<'_>, name: &str) -> bool {
    let wanted = wanted(input).into_iter().find(|wanted| wanted.name == name);
    wanted.is_some_and(|wanted| {
        is_usable(input, &wanted)
            || input.table.column(name).is_some_and(|column| must_change(input, &wanted, column))
    })
}

fn profile() -> Vec<WantedColumn> {
    let columns = [
        ("department", "text", Preset::Nothing),
        ("position", "text", Preset::Nothing),
        ("phone", "text", Preset::Nothing),
        ("avatar_url", "text", Preset::Nothing),
        ("timezone", "text", Preset::Constant("'UTC'::text")),
        ("language", "text", Preset::Constant("'en'::text")),
        ("is_active", "boolean", Preset::Constant("true")),
        ("metadata", "jsonb", Preset::Constant("'{}'::jsonb")),
        ("preferences", "jsonb", Preset::Constant("'{}'::jsonb")),
        ("updated_at", TIMESTAMPTZ, Preset::NewRows("pg_catalog.now()")),
    ];
    let wanted = |(name, kind, default): (&str, _, _)| WantedColumn {
        name: name.to_owned(),
        kind,
        default,
        not_null: name == "is_active",
        used_for: Use::Profile,
    };
    columns.into_iter().map(wanted).collect()
}

/// Whether the plan changes the type of a column.
pub(super) fn must_change(input: &PlanInput<'_>, wanted: &WantedColumn, column: &TableColumn) -> bool {
    !matches!(wanted.used_for, Use::Profile | Use::Index)
        && !column.generated
        && !column.identity
        && !is_usable(input, wanted)
        && (!column.is_of_made_type() || input.wanted.retyped.contains(&column.name))
}

/// Whether the type of a column can hold what it is for. A missing column can.
pub(super) fn is_usable(input: &PlanInput<'_>, wanted: &WantedColumn) -> bool {
    let Some(seen) = seen(input, &wanted.name) else { return true };
    match wanted.used_for {
        Use::Field(field, spec) => usable(field, &spec, seen),
        Use::Config => seen.kind == ColumnType::Jsonb,
        Use::Sync => seen.kind == ColumnType::Timestamptz,
        Use::Index => seen.kind == ColumnType::ByteaArray,
        Use::Profile => true,
    }
}

/// An existing column of the layout, as the placement reads it.
pub(super) fn seen<'a>(input: &'a PlanInput<'_>, name: &str) -> Option<&'a Column> {
    input.table.layout_columns.iter().find(|column| column.name == name)
}
