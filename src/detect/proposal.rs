//! The layout that is written for a candidate: tokens go where tokens are or nothing is, never over other values.

use std::collections::BTreeMap;

use crate::detect::columns::{TableCredentials, what};
use crate::detect::owner::FoundOwner;
use crate::detect::report::{Holding, Proposal};
use crate::detect::sampled::Sampled;
use crate::detect::shapes::ValueShape;
use crate::error::Result;
use crate::layout::filter::FilterValue;
use crate::layout::layout::{Layout, joined_name};
use crate::postgres::catalogue::all_tables::{FoundColumn, FoundKind};
use crate::record::field::Field;
use crate::record::token::token_len;

/// The proposal for a candidate. `None`: it has no column for the owner, or one that a layout cannot name.
pub(super) fn proposal(
    sampled: &Sampled<'_>,
    found: &TableCredentials<'_>,
    owner: &FoundOwner,
    filter: (&BTreeMap<String, FilterValue>, &[String]),
) -> Option<Proposal> {
    let mut layout = rows(sampled, owner, filter).ok()??;
    let mut remarks = Vec::new();
    let constant = found.filter.as_ref().map(|(column, value)| (*column, value.as_str()));
    for (field, today) in &found.fields {
        let state = State::of(sampled, today, constant);
        layout = match *field {
            "config" => config(layout, sampled, today, state).ok()?,
            "iv" | "tag" | "refresh" | "settings" => layout,
            name => column(layout, name, today, state).ok()?,
        };
    }
    layout = free_names(layout, sampled, constant, &mut remarks).ok()?;
    for (field, today) in &found.fields {
        remarks.extend(remark(&layout, field, today, State::of(sampled, today, constant)));
    }
    layout = plain_names(layout, sampled, &mut remarks).ok()?;
    if found.fields.iter().any(|(field, today)| moves(&layout, field, today)) {
        layout = with_default_names(layout).ok()?;
    }
    Some(Proposal { layout, remarks, sources: Vec::new(), unopened: Vec::new() })
}

/// Whose rows, and which ones.
fn rows(
    sampled: &Sampled<'_>,
    owner: &FoundOwner,
    (constants, is_null): (&BTreeMap<String, FilterValue>, &[String]),
) -> Result<Option<Layout>> {
    let Some(user) = &owner.user else { return Ok(None) };
    let table = joined_name(&[&sampled.table.schema, &sampled.table.name]);
    let mut layout = Layout::new().table(&table)?.user_column(user)?;
    if let Some(tenant) = &owner.tenant {
        layout = layout.tenant_column(tenant)?;
    }
    for (column, value) in constants {
        layout = layout.where_equals(column, value.clone())?;
    }
    let layout = is_null.iter().try_fold(layout, |layout, column| layout.is_null(column))?;
    Ok(Some(layout))
}

/// What is in a column now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Tokens,
    Empty,
    Other(Holding),
}

impl State {
    /// Rows outside of the filter count too: a rotation reads them.
    fn of(sampled: &Sampled<'_>, column: &FoundColumn, constant: Option<(&str, &str)>) -> Self {
        let all = sampled.shapes(&column.name, None);
        let tokens = all.of(&[ValueShape::Token, ValueShape::JsonToken]);
        match all.set() {
            _ if sampled.is_surely_empty(column) => Self::Empty,
            0 => Self::Other(Holding::Unknown),
            set if tokens == set => Self::Tokens,
            _ => Self::Other(sampled.shapes(&column.name, constant).holds(false)),
        }
    }

    fn is_free(self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

/// Whether a column takes tokens, as its type goes. A store clears it with NULL.
fn takes_tokens(layout: &Layout, field: Field, column: &FoundColumn) -> bool {
    let longest = layout.fields.spec(field).map_or(usize::MAX, |spec| token_len(field, spec.longest));
    column.kind == FoundKind::Text
        && column.takes_tokens
        && !column.not_null
        && column.longest.is_none_or(|most| most >= longest)
}

/// Names today's column of a secret field, if it can hold its tokens.
fn column(layout: Layout, name: &'static str, today: &FoundColumn, state: State) -> Result<Layout> {
    let field = Field::named(name);
    let is_secret = layout.fields.spec(field).is_none_or(|spec| spec.is_secret);
    let is_named = layout.column_of(field) == Some(today.name.as_str());
    match is_secret && !is_named && state.is_free() && takes_tokens(&layout, field, today) {
        true => layout.column(field, &today.name),
        false => Ok(layout),
    }
}

/// What happens to the values of a column that keeps them.
fn remark(layout: &Layout, name: &str, today: &FoundColumn, state: State) -> Option<String> {
    let goes = match name {
        "iv" | "tag" | "refresh" | "settings" => return None,
        "config" => Some(layout.config_column.as_str()),
        _ => layout.column_of(name.parse().ok()?),
    };
    let is_plain =
        name.parse().is_ok_and(|field| layout.fields.spec(field).is_some_and(|spec| !spec.is_secret));
    let (column, is) = (&today.name, today_is(state));
    match goes {
        Some(goes) if goes == column && state.is_free() => None,
        // the application goes on using it, in the clear
        _ if is_plain => Some(format!("{name}: today in {column} ({is})")),
        Some(goes) => Some(format!("{name}: today in {column} ({is}); tokens go to {goes}")),
        None => Some(format!("{name}: today in {column} ({is}); tokens go to the config column")),
    }
}

fn today_is(state: State) -> &'static str {
    match state {
        State::Tokens => what(Holding::Tokens),
        State::Empty => "nothing, but the column cannot hold tokens",
        State::Other(holds) => what(holds),
    }
}

/// Names today's column of several values, if it can hold tokens beside them.
fn config(layout: Layout, sampled: &Sampled<'_>, today: &FoundColumn, state: State) -> Result<Layout> {
    let is_ours = sampled.shapes(&today.name, None).of(&[ValueShape::JsonToken]) > 0;
    let is_free = today.kind == FoundKind::Jsonb && today.takes_tokens && (is_ours || state.is_free());
    match is_free && today.name != layout.config_column {
        true => layout.config_column(&today.name),
        false => Ok(layout),
    }
}

/// Other names for default columns that exist and hold other values.
fn free_names(
    mut layout: Layout,
    sampled: &Sampled<'_>,
    constant: Option<(&str, &str)>,
    remarks: &mut Vec<String>,
) -> Result<Layout> {
    let fields: Vec<Field> = layout.fields.secrets().map(|(field, _)| field).collect();
    for field in fields {
        let Some(column) = layout.column_of(field).and_then(|name| sampled.table.column(name)) else {
            continue;
        };
        let is_free = State::of(sampled, column, constant).is_free() && takes_tokens(&layout, field, column);
        if !is_free {
            let name = new_name(sampled, &format!("retell_vault_{field}"));
            remarks.push(format!(
                "{field}: {} cannot hold tokens or has other values, so tokens go to {name}",
                column.name
            ));
            layout = layout.column(field, &name)?;
        }
    }
    let config = sampled.table.column(&layout.config_column);
    let is_taken = config.is_some_and(|column| {
        let is_ours = sampled.shapes(&column.name, None).of(&[ValueShape::JsonToken]) > 0;
        column.kind != FoundKind::Jsonb
            || !column.takes_tokens
            || !(is_ours || State::of(sampled, column, constant).is_free())
    });
    if is_taken {
        let name = new_name(sampled, "retell_vault_config");
        let taken = &layout.config_column;
        remarks
            .push(format!("config: {taken} cannot hold tokens or has other values, so tokens go to {name}"));
        layout = layout.config_column(&name)?;
    }
    Ok(layout)
}

/// Default columns of plain values that the application uses itself. Where tokens are, a vault wrote those values.
fn plain_names(mut layout: Layout, sampled: &Sampled<'_>, remarks: &mut Vec<String>) -> Result<Layout> {
    let tokens = [ValueShape::Token, ValueShape::JsonToken];
    if sampled.table.columns.iter().any(|column| sampled.shapes(&column.name, None).of(&tokens) > 0) {
        return Ok(layout);
    }
    let plain = layout.fields.plain().filter(|(_, spec)| !spec.by_consent);
    let fields: Vec<Field> = plain.map(|(field, _)| field).collect();
    for field in fields {
        let column = layout.column_of(field).and_then(|name| sampled.table.column(name));
        if let Some(column) = column.filter(|column| !sampled.is_surely_empty(column)) {
            remarks.push(format!("{field}: {} has other values, so this value is sealed", column.name));
            layout = layout.sealed(field)?;
        }
    }
    if sampled.table.column(&layout.sync_column).is_some() {
        let name = new_name(sampled, "retell_vault_sync");
        remarks.push(format!("sync: {} has other values, so the time goes to {name}", layout.sync_column));
        layout = layout.sync_column(&name)?;
    }
    Ok(layout)
}

/// Whether the tokens of a secret field go to another column than its values are in.
fn moves(layout: &Layout, name: &str, today: &FoundColumn) -> bool {
    let field: Option<Field> = name.parse().ok();
    let is_secret = |field: &Field| layout.fields.spec(*field).is_some_and(|spec| spec.is_secret);
    field.filter(is_secret).is_some_and(|field| layout.column_of(field) != Some(today.name.as_str()))
}

/// The default columns of tokens by name, if any column of tokens is named: `schema apply` adds only columns that a layout
/// names, if it names some.
fn with_default_names(layout: Layout) -> Result<Layout> {
    let secrets: Vec<Field> = layout.fields.secrets().map(|(field, _)| field).collect();
    if !layout.names_config_column() && !secrets.iter().any(|field| layout.names(*field)) {
        return Ok(layout);
    }
    secrets.into_iter().try_fold(layout, |layout, field| match layout.column_of(field).map(str::to_owned) {
        Some(name) => layout.column(field, &name),
        None => Ok(layout),
    })
}

/// A name that no column has.
fn new_name(sampled: &Sampled<'_>, name: &str) -> String {
    let numbered = (2_u32..).map(|number| format!("{name}_{number}"));
    let mut names = [name.to_owned()].into_iter().chain(numbered);
    names.find(|name| sampled.table.column(name).is_none()).expect("a table has few columns")
}
