//! Copies of old values in other tables: audit tables, siblings with a column of the same name, and rows as JSON.

use serde_json::Value;

use crate::doctor::context::TableContext;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::finding_ids;
use crate::doctor::fixes::clear_copies;
use crate::doctor::old_places::{OldPlacesTime, is_open, not_examined, what};
use crate::doctor::rows::text_class::{TextClass, classify};
use crate::error::ErrorKind;
use crate::layout::layout::joined_name;
use crate::layout::old_source::OldSource;
use crate::postgres::catalogue::snapshot::take_definitions;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::walk::old_places::{CopyColumn, CopyPlace};
use crate::retell::json::wipe;

/// The most relations that are read for one source.
const MOST: usize = 20;
/// Members that hold a whole row before or after a change.
const WHOLE_ROWS: [&str; 12] = [
    "after",
    "before",
    "data",
    "new",
    "new_data",
    "new_row",
    "new_values",
    "old",
    "old_data",
    "old_row",
    "old_values",
    "record",
];

/// Searches the tables that may hold copies of a source of the layout. What could not be read becomes a finding.
pub(super) async fn look(context: &TableContext<'_>, time: &OldPlacesTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &context.layout.sources {
        findings.extend(copies_of(context, source, time).await);
    }
    findings
}

async fn copies_of(context: &TableContext<'_>, source: &OldSource, time: &OldPlacesTime) -> Vec<Finding> {
    let places = match places(context, source).await {
        Ok(places) => places,
        Err(fault) => return vec![not_examined(format!("copies of {}", source.place()), &fault)],
    };
    let (mut findings, mut looked_at, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    for (at, place) in places.iter().enumerate() {
        let Some(limit) = time.next().filter(|_| at < MOST && !place.hides_rows) else {
            left_out.push(place.relation());
            continue;
        };
        for column in place.columns.iter().filter(|column| !is_named(context, place, column)) {
            match context.postgres.database.copied_texts(place, column, source, limit).await {
                Ok(texts) => {
                    let found = texts.iter().filter_map(|text| class_of(text, column, source));
                    findings.extend(finding(place, column, source, &found.collect::<Vec<_>>()));
                }
                Err(fault) => {
                    findings.push(not_examined(format!("table {}", place.relation()), &fault));
                    break;
                }
            }
        }
        looked_at.push(place.relation());
    }
    if !looked_at.is_empty() {
        context.host.note(format!(
            "copies of {}: up to 1000 rows each of {} were examined",
            source.place(),
            looked_at.join(", ")
        ));
    }
    if !left_out.is_empty() {
        context.host.note(format!(
            "not looked at: copies of {} may be in {}",
            source.place(),
            left_out.join(", ")
        ));
    }
    findings
}

async fn places(context: &TableContext<'_>, source: &OldSource) -> Result<Vec<CopyPlace>, DatabaseError> {
    let database = &context.postgres.database;
    let layout = context.layout.clone().table(&joined_name(&[&source.schema, &source.table]))?;
    let named: Vec<String> = match take_definitions(database, &layout).await {
        Ok(definitions) => {
            if definitions.relation.hides_rows {
                context.host.note(format!(
                    "row level security may hide old values in {} from this role",
                    source.place()
                ));
            }
            definitions.copies.iter().map(|copies| copies.relation().to_owned()).collect()
        }
        // a view has neither triggers nor rows of its own
        Err(fault) if fault.error.kind() == ErrorKind::Schema => Vec::new(),
        Err(fault) => return Err(fault),
    };
    database.copy_places(source, &named).await
}

/// Whether the layout names the column, as its own or as a source.
fn is_named(context: &TableContext<'_>, place: &CopyPlace, column: &CopyColumn) -> bool {
    let layout = context.layout;
    let is_ours = (&layout.schema, &layout.table) == (&place.schema, &place.name)
        && context.plan.placement.slots.iter().any(|slot| *slot.column == *column.name);
    let is_source = layout.sources.iter().any(|source| {
        (&source.schema, &source.table, &source.column) == (&place.schema, &place.name, &column.name)
    });
    is_ours || is_source
}

/// What a copy looks like, and whether it is in an object in the JSON of a row. `None`: it is none.
fn class_of(text: &str, column: &CopyColumn, source: &OldSource) -> Option<(TextClass, bool)> {
    if column.is_same && !column.is_json() {
        return Some((classify(text), false)).filter(|(class, _)| is_value(*class));
    }
    let mut json: Value = serde_json::from_str(text).ok()?;
    let found = match column.is_same {
        true => Some((classify(text), false)),
        false => member(&json, &source.column),
    };
    wipe(&mut json);
    found.filter(|(class, _)| is_value(*class))
}

fn is_value(class: TextClass) -> bool {
    !matches!(class, TextClass::Empty | TextClass::Tokens)
}

/// The worst text of a member of this name, and whether it is below another member.
fn member(json: &Value, name: &str) -> Option<(TextClass, bool)> {
    let own = json.get(name).and_then(worst).map(|class| (class, false));
    let rows = WHOLE_ROWS.iter().filter_map(|rows| json.get(rows)?.get(name));
    own.into_iter().chain(rows.filter_map(worst).map(|class| (class, true))).min()
}

/// The worst text in a value. A list holds the values before and after a change.
fn worst(value: &Value) -> Option<TextClass> {
    let class = match value {
        Value::String(text) => classify(text),
        Value::Object(object) if !object.is_empty() => classify(&value.to_string()),
        Value::Array(items) => return items.iter().filter_map(worst).min(),
        _ => return None,
    };
    is_value(class).then_some(class)
}

fn finding(
    place: &CopyPlace,
    column: &CopyColumn,
    source: &OldSource,
    found: &[(TextClass, bool)],
) -> Option<Finding> {
    let worst = found.iter().map(|(class, _)| *class).min()?;
    let severity = if is_open(worst) { Severity::Critical } else { Severity::Warning };
    let meaning = format!(
        "rows hold what looks like copies of {} ({} at worst): no import and no clearing of the source reaches them; the SQL clears \
         them for good, so import the source first",
        source.place(),
        what(worst)
    );
    let is_deep = found.iter().any(|(_, is_deep)| *is_deep);
    let column =
        CopyColumn { kind: if is_deep { "text".to_owned() } else { column.kind.clone() }, ..column.clone() };
    let object = format!("column {}.{}.{}", place.schema, place.name, column.name);
    let fix = clear_copies(place, &column, &source.column);
    let finding = Finding::new(finding_ids::OLD_VALUES_COPIED, severity, object, meaning, fix);
    Some(finding.of(found.len() as u64, Vec::new()))
}
