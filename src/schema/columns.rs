//! Missing columns, and columns with a type that the vault cannot use.

use crate::layout::placement::ColumnType;
use crate::postgres::catalogue::table_column::TableColumn;
use crate::postgres::sql::names::{EQ, literal, owner_columns, quote};
use crate::record::field::Field;
use crate::schema::plan_input::{PlanDraft, PlanInput};
use crate::schema::step::{DataAtRisk, LockLevel, Step};
use crate::schema::wanted_columns::{
    Preset, TIMESTAMPTZ, Use, WantedColumn, is_usable, must_change, seen, wanted,
};

pub(super) fn draft(input: &PlanInput<'_>, draft: &mut PlanDraft) {
    for (field, name) in input.left_alone() {
        match input.wanted.adopted.iter().any(|adopted| adopted == name) {
            true => draft.steps.push(adopt(input, field, name)),
            false => draft.notes.push(format!(
                "{} may belong to the application, so it stays unchanged, and {field} is sealed. To let the vault \
                 use the column, name it in the layout, or plan with `--adopt {name}` (`Wanted::adopt`)",
                object(input, name)
            )),
        }
    }
    block_strangers(input, draft);
    for (field, name) in input.applications_keys() {
        draft.notes.push(format!(
            "{} may belong to the application, because it needs a unique value in every row. It stays unchanged, \
             and {field} is sealed",
            object(input, name)
        ));
    }
    note_unwanted(input, draft);
    for wanted in wanted(input) {
        match input.table.column(&wanted.name) {
            None => draft.steps.push(add(input, &wanted)),
            Some(column) => compare(input, &wanted, column, draft),
        }
    }
}

/// Notes the fields of default columns that this layout does not want.
fn note_unwanted(input: &PlanInput<'_>, draft: &mut PlanDraft) {
    let layout = input.layout;
    let is_missing =
        |field: &Field| layout.column_of(*field).is_some_and(|name| input.table.column(name).is_none());
    let fields = layout.fields.each().map(|(field, _)| field);
    let unwanted = fields.filter(|field| is_missing(field) && !input.wants_column_of(*field));
    let unwanted: Vec<String> = unwanted.map(|field| field.to_string()).collect();
    if !unwanted.is_empty() {
        draft.notes.push(format!(
            "the layout names the columns that it wants, so these fields get no column and share one: {}. To give one \
             a column, name it in the layout",
            unwanted.join(", ")
        ));
    }
}

/// Blocks columns that cannot be adopted or cannot change their type.
fn block_strangers(input: &PlanInput<'_>, draft: &mut PlanDraft) {
    let left_alone: Vec<&str> = input.left_alone().map(|(_, name)| name).collect();
    let is_ours = |name: &str| {
        input.table.column(name).is_some_and(|column| {
            column.comment.as_deref().is_some_and(|comment| comment.starts_with("retell-vault: "))
        })
    };
    let strangers =
        input.wanted.adopted.iter().filter(|name| !left_alone.contains(&name.as_str()) && !is_ours(name));
    for name in strangers {
        let reason = "no plain field of the layout can use this column, or the column needs a unique value in \
                      every row";
        draft.block(object(input, name), reason, "leave out `--adopt`, or name the column in the layout");
    }
    let used = input.layout.all_columns();
    for name in input.wanted.retyped.iter().filter(|name| !used.contains(&name.as_str())) {
        draft.block(object(input, name), "the layout does not use it", "leave out `--retype`");
    }
}

/// The step that adopts a column by its comment.
fn adopt(input: &PlanInput<'_>, field: Field, name: &str) -> Step {
    let of = format!("COMMENT ON COLUMN {}.{} IS", input.relation(), quote(name));
    let before = input.table.column(name).and_then(|column| column.comment.as_deref());
    let comment = literal(&input.layout.comment_for(field));
    Step {
        id: format!("adopt.{name}"),
        object: object(input, name),
        reason: format!("it will hold {field} in plaintext"),
        sql: vec![format!("{of} {comment}")],
        undo: vec![format!("{of} {}", before.map_or("NULL".to_owned(), literal))],
        lock: LockLevel::ShareUpdateExclusive,
        rewrites: false,
        concurrent: false,
        instead: None,
        done_if: exists(
            input,
            name,
            &format!(" AND pg_catalog.col_description(a.attrelid, a.attnum) = {comment}"),
        ),
        at_risk: None,
    }
}

// --- Missing columns ---

fn add(input: &PlanInput<'_>, wanted: &WantedColumn) -> Step {
    let (relation, column) = (input.relation(), quote(&wanted.name));
    let not_null = if wanted.not_null { " NOT NULL" } else { "" };
    let add = |default: &str| {
        format!("ALTER TABLE {relation} ADD COLUMN {column} {}{default}{not_null}", wanted.kind)
    };
    let mut sql = match wanted.default {
        Preset::Nothing => vec![add("")],
        // the catalogue keeps a constant for the existing rows, so there is no rewrite
        Preset::Constant(value) => vec![add(&format!(" DEFAULT {value}"))],
        Preset::NewRows(value) => {
            vec![add(""), format!("ALTER TABLE {relation} ALTER COLUMN {column} SET DEFAULT {value}")]
        }
    };
    // distinguishes this column from one that the application created
    if let Use::Field(field, spec) = wanted.used_for
        && spec.by_consent
    {
        let comment = literal(&input.layout.comment_for(field));
        sql.push(format!("COMMENT ON COLUMN {relation}.{column} IS {comment}"));
    }
    let holds_data = match wanted.default {
        Preset::Constant(value) => format!("{column} IS DISTINCT FROM {value}"),
        Preset::Nothing | Preset::NewRows(_) => format!("{column} IS NOT NULL"),
    };
    Step {
        id: format!("column.{}", wanted.name),
        object: object(input, &wanted.name),
        reason: format!("{} is missing", purpose(wanted)),
        sql,
        undo: vec![format!("ALTER TABLE {relation} DROP COLUMN {column}")],
        lock: LockLevel::AccessExclusive,
        rewrites: false,
        concurrent: false,
        instead: None,
        done_if: exists(input, &wanted.name, ""),
        at_risk: Some(at_risk(input, &column, &holds_data)),
    }
}

fn purpose(wanted: &WantedColumn) -> String {
    match wanted.used_for {
        Use::Field(field, spec) if spec.is_secret => format!("the column for the tokens of {field}"),
        Use::Field(field, _) => format!("the column for {field}"),
        Use::Config => "the column for tokens without a column of their own".to_owned(),
        Use::Sync => "the column for the time of the last write".to_owned(),
        Use::Index => "the column of the index by which owners are found".to_owned(),
        Use::Profile => format!("the column {} of the full profile", wanted.name),
    }
}

// --- Columns of another type ---

fn compare(input: &PlanInput<'_>, wanted: &WantedColumn, column: &TableColumn, draft: &mut PlanDraft) {
    let object = object(input, &wanted.name);
    if matches!(wanted.used_for, Use::Profile) {
        if !is_like(&column.kind, wanted.kind) {
            let note = format!("{object} has type {}, not {}; it stays unchanged", column.kind, wanted.kind);
            draft.notes.push(note);
        }
    } else if column.generated || column.identity {
        let what = if column.generated { "generated by the database" } else { "an identity column" };
        let reason = format!("it is {what}, so the vault cannot write to it");
        draft.block(object, reason, "name another column in the layout, or rename this one");
    } else if !column.writable && input.definitions.relation.owned {
        let hint = format!(
            "run `GRANT UPDATE ({}) ON {} TO {}`",
            quote(&wanted.name),
            input.relation(),
            quote(&input.definitions.server.role)
        );
        draft.block(object, "the vault may not write to it", hint);
    } else if matches!(wanted.used_for, Use::Index) && !is_usable(input, wanted) {
        let reason = format!("its type is {}, not {}", column.kind, wanted.kind);
        draft.block(object, reason, "name another column for the index in the layout, or rename this one");
    } else if !is_usable(input, wanted) {
        draft_change(input, wanted, column, draft);
    }
}

fn draft_change(input: &PlanInput<'_>, wanted: &WantedColumn, column: &TableColumn, draft: &mut PlanDraft) {
    let (object, kind) = (object(input, &wanted.name), &column.kind);
    if !must_change(input, wanted, column) {
        draft.notes.push(format!(
            "{object} has type {kind}, which the application created, so it stays unchanged, and {} is stored \
             elsewhere. To change the type, plan with `--retype {}` (`Wanted::retype`)",
            what_goes_there(wanted),
            wanted.name
        ));
    } else if matches!(wanted.used_for, Use::Config) && input.evidence.foreign.contains(&wanted.name) {
        let reason = format!("its type is {kind}, and it holds text that is not a JSON object");
        draft.block(
            object,
            reason,
            "move that text to another column, or name another config column in the layout",
        );
    } else if input.evidence.unconvertible.contains(&wanted.name) {
        let reason = format!("its type is {kind}, and it holds a value that cannot become {}", wanted.kind);
        draft.block(object, reason, "correct or remove that value, or name another column in the layout");
    } else {
        if conversions(input).iter().any(|(name, _)| *name == wanted.name)
            && !input.evidence.foreign_is_proved
        {
            draft.notes.push(format!(
                "not every value of {object} was tried: if one cannot become {}, its step fails and leaves the steps \
                 before it applied. Plan with `--every-row` to be sure",
                wanted.kind
            ));
        }
        draft.steps.push(change(input, wanted, column));
    }
}

fn what_goes_there(wanted: &WantedColumn) -> String {
    match wanted.used_for {
        Use::Field(field, _) => field.to_string(),
        Use::Config => "every value without a column of its own".to_owned(),
        Use::Sync | Use::Index | Use::Profile => "nothing".to_owned(),
    }
}

fn is_like(kind: &str, wanted: &str) -> bool {
    kind == wanted || (wanted == "text" && kind.starts_with("character varying"))
}

fn change(input: &PlanInput<'_>, wanted: &WantedColumn, column: &TableColumn) -> Step {
    let name = quote(&wanted.name);
    let bound = match seen(input, &wanted.name).map(|seen| &seen.kind) {
        Some(ColumnType::Varchar(length)) if wanted.kind == "text" => Some(*length),
        _ => None,
    };
    let (old, new) = (column.kind.as_str(), wanted.kind);
    let default = input.definitions.default_of(&column.name);
    let carried = default.map(|default| convert(&format!("({default})::{old}"), (old, new), column.not_null));
    // text beyond the length limit would be lost; other values either convert back or make the rollback fail
    let at_risk = bound.map(|length| at_risk(input, &name, &format!("pg_catalog.length({name}) > {length}")));
    Step {
        id: format!("type.{}", wanted.name),
        object: object(input, &wanted.name),
        reason: match bound {
            Some(length) => format!("{length} characters are too few for the vault's values"),
            None => format!(
                "the vault cannot use its type {old}; queries, views and functions of the application that use it as \
                 {old} may fail afterwards"
            ),
        },
        sql: vec![retype(input, column, (old, new), carried.as_deref())],
        undo: vec![retype(input, column, (new, old), default)],
        lock: LockLevel::AccessExclusive,
        // removing a length limit changes only the catalogue
        rewrites: bound.is_none(),
        concurrent: false,
        instead: None,
        done_if: exists(
            input,
            &wanted.name,
            &format!(" AND pg_catalog.format_type(a.atttypid, a.atttypmod) = {}", literal(new)),
        ),
        at_risk,
    }
}

/// One statement, so that the table is rewritten at most once and no row is ever without its default.
fn retype(
    input: &PlanInput<'_>,
    column: &TableColumn,
    (from, to): (&str, &str),
    default: Option<&str>,
) -> String {
    let name = quote(&column.name);
    let collation = match input.definitions.collation_of(&column.name) {
        Some(collation) if is_text(to) => format!(" COLLATE {collation}"),
        _ => String::new(),
    };
    let using = match is_text(from) && to == "text" {
        true => String::new(),
        false => format!(" USING {}", convert(&name, (from, to), column.not_null)),
    };
    let change = format!("ALTER COLUMN {name} TYPE {to}{collation}{using}");
    let change = match default {
        None => change,
        Some(default) => {
            format!("ALTER COLUMN {name} DROP DEFAULT, {change}, ALTER COLUMN {name} SET DEFAULT {default}")
        }
    };
    format!("ALTER TABLE {} {change}", input.relation())
}

/// The changes of type that may fail because of a value: each column with its new value.
pub(super) fn conversions(input: &PlanInput<'_>) -> Vec<(String, String)> {
    let conversion = |wanted: WantedColumn| {
        let column = input.table.column(&wanted.name).filter(|column| must_change(input, &wanted, column))?;
        let may_fail = column.casts_to_text() && wanted.kind != "text";
        may_fail.then(|| {
            let value = convert(&quote(&wanted.name), (&column.kind, wanted.kind), column.not_null);
            (wanted.name, value)
        })
    };
    wanted(input).into_iter().filter_map(conversion).collect()
}

fn is_text(kind: &str) -> bool {
    kind == "text" || kind.starts_with("character varying")
}

/// Converts through text, which every type supports. Times without a zone count as UTC, whatever the session's zone. An
/// empty text is no JSON, and stands for no value.
fn convert(value: &str, (from, to): (&str, &str), not_null: bool) -> String {
    if is_text(from) && matches!(to, "json" | "jsonb") {
        let nothing = if not_null { "'{}'" } else { "NULL" };
        return format!(
            "CASE WHEN pg_catalog.btrim({value}::text) {EQ} '' THEN {nothing} ELSE {value}::text END::{to}"
        );
    }
    let without_zone = |kind: &str| kind.starts_with("timestamp") && kind.ends_with("without time zone");
    match (without_zone(from) && to == TIMESTAMPTZ) || (from == TIMESTAMPTZ && without_zone(to)) {
        true => format!("({value} AT TIME ZONE 'UTC')::{to}"),
        false => format!("{value}::text::{to}"),
    }
}

// --- Shared ---

fn object(input: &PlanInput<'_>, name: &str) -> String {
    format!("column {}.{name}", input.layout.table_name())
}

/// A condition that a column exists. `also` has further conditions on it, under the name `a`.
fn exists(input: &PlanInput<'_>, name: &str, also: &str) -> String {
    format!(
        "EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = {}::pg_catalog.regclass \
         AND a.attname = {} AND NOT a.attisdropped{also})",
        literal(&input.relation()),
        literal(name)
    )
}

fn at_risk(input: &PlanInput<'_>, column: &str, holds_data: &str) -> DataAtRisk {
    let relation = input.relation();
    let owner = owner_columns(input.layout).join(", ");
    DataAtRisk {
        count: format!("SELECT pg_catalog.count(*) FROM {relation} WHERE {holds_data}"),
        backup: format!("SELECT {owner}, {column} FROM {relation} WHERE {holds_data}"),
    }
}
