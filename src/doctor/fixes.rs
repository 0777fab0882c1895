//! The SQL of fixes: secrets in the application's columns, policies, indexes.

use crate::doctor::context::TableContext;
use crate::doctor::finding::Fix;
use crate::doctor::frame::{by_owner, framed, to_every_row};
use crate::doctor::rows::json_secrets::JsonPath;
use crate::doctor::rows::text_class::EMPTY_VALUES;
use crate::layout::placement::is_applications_key;
use crate::postgres::catalogue::definitions::Policy;
use crate::postgres::catalogue::table::{Index, placed};
use crate::postgres::catalogue::table_column::TableColumn;
use crate::postgres::sql::names::{in_schema, literal, quote};
use crate::postgres::sql::token::{Kind, holds_unrecognised};
use crate::postgres::walk::old_places::{CopyColumn, CopyPlace};
use crate::schema::object_owner::without_force;

/// No token is shorter.
const SHORTEST_TOKEN: usize = 150;
/// The user and the password in an address.
const USER: &str = "^([^:/?#]+://)[^/?#@]*@";
/// Parameters of an address that may be secrets. They include all that the doctor searches for.
const PARAMETERS: &str = "[?&#][^=&#]*(key|token|secret|auth|passw|bearer|credential|sig)[^=&#]*=";

// --- Secrets in columns of the application ---

pub(crate) fn clear_column(context: &TableContext<'_>, name: &str, column: Option<&TableColumn>) -> Fix {
    if let Some(advice) = why_not_cleared(context, name, column) {
        return Fix::Advice(advice);
    }
    let nothing = match column {
        Some(column) if !column.not_null => "NULL",
        Some(column) if column.kind.starts_with("json") || column.kind.ends_with("[]") => "'{}'",
        _ => "''",
    };
    let (name, empty) = (quote(name), EMPTY_VALUES.map(literal).join(", "));
    let unrecognised = holds_unrecognised(&format!("{name}::text"), Kind::Text);
    let sql = format!(
        "UPDATE {} SET {name} = {nothing} WHERE {name}::text NOT IN ({empty}) \
         AND (pg_catalog.length({name}::text) < {SHORTEST_TOKEN} OR ({unrecognised}))",
        context.relation()
    );
    Fix::Sql(to_every_row(context, &sql))
}

/// The advice for a column that the application would not work without, or that cannot be cleared.
fn why_not_cleared(context: &TableContext<'_>, name: &str, column: Option<&TableColumn>) -> Option<String> {
    let column = column?;
    let needs_a_value = is_applications_key(&placed(column, context.layout, &context.table.indexes));
    if column.generated {
        let advice =
            "is computed from other columns: remove the value there, and drop the column if nobody needs it";
        Some(format!("{name} {advice}"))
    } else if context.definitions.makes_values(name) {
        let advice = "is the application's own, and code that checks it breaks without it. Let only the roles that need it \
                      read the column, or store a hash if the application only compares it";
        Some(format!("{name} {advice}"))
    } else if needs_a_value {
        let advice = "needs a unique value in every row, so it cannot be cleared: it may be a key that the application \
                      issues and looks up. Change the application first, then drop the column or its constraint";
        Some(format!("{name} {advice}"))
    } else {
        None
    }
}

/// `counts`: conditions on the rows, each with an `AND` before it.
pub(crate) fn clear_scalar(
    context: &TableContext<'_>,
    name: &str,
    column: Option<&TableColumn>,
    counts: &str,
) -> Fix {
    let nothing = if column.is_some_and(|column| column.not_null) { "'{}'" } else { "NULL" };
    let name = quote(name);
    let sql = format!(
        "UPDATE {} SET {name} = {nothing} WHERE pg_catalog.jsonb_typeof({name}::jsonb) NOT IN ('object', 'null'){counts}",
        context.relation()
    );
    Fix::Sql(to_every_row(context, &sql))
}

/// `counts` as for [`clear_scalar`].
pub(crate) fn remove_key(
    context: &TableContext<'_>,
    name: &str,
    column: Option<&TableColumn>,
    path: &JsonPath,
    counts: &str,
) -> Fix {
    let kind = match column.map(|column| column.kind.as_str()) {
        Some(kind @ ("json" | "jsonb")) if path.is_exact() => kind,
        Some("json" | "jsonb") => {
            return Fix::Advice(format!(
                "remove it in the application, because its path contains a list or a hidden key: {}",
                path.keys.join(".")
            ));
        }
        _ => {
            return Fix::Advice(format!(
                "remove the key {} from the JSON texts of {name}",
                path.keys.join(".")
            ));
        }
    };
    let name = quote(name);
    let keys: Vec<_> = path.keys.iter().map(|key| literal(key)).collect();
    let keys = format!("ARRAY[{}]::text[]", keys.join(", "));
    let (value, json) = (format!("({name} #>> {keys})"), format!("{name}::jsonb"));
    let (new, condition) = match path.in_address {
        false => (format!("({json} #- {keys})"), format!("{value} <> ''")),
        true => {
            let (user, kept, parameters) = (literal(USER), literal(r"\1"), literal(PARAMETERS));
            let bare = format!(
                "pg_catalog.regexp_replace(pg_catalog.regexp_replace({value}, {user}, {kept}), '[?#].*$', '')"
            );
            let new = format!("pg_catalog.jsonb_set({json}, {keys}, pg_catalog.to_jsonb({bare}))");
            (new, format!("({value} ~ {user} OR {value} ~* {parameters})"))
        }
    };
    let sql = format!("UPDATE {} SET {name} = {new}::{kind} WHERE {condition}{counts}", context.relation());
    Fix::Sql(to_every_row(context, &sql))
}

// --- Copies of old values in other tables ---

/// The SQL that clears copies in a column, and runs as the owner of its table.
pub(crate) fn clear_copies(place: &CopyPlace, column: &CopyColumn, member: &str) -> Fix {
    let (relation, name) = (place.relation(), quote(&column.name));
    let text = format!("{name}::text");
    let update = match (place.kind, column.is_same, column.is_json()) {
        ('m', ..) => return Fix::Sql(framed(None, &format!("REFRESH MATERIALIZED VIEW {relation}"))),
        _ if column.generated => {
            return Fix::Advice(format!("{name} is computed from other columns: remove the value there"));
        }
        (_, true, is_json) => {
            let nothing = match (column.not_null, is_json) {
                (false, _) => "NULL",
                (true, true) => "'{}'",
                (true, false) => "''",
            };
            let empty = EMPTY_VALUES.map(literal).join(", ");
            let unrecognised = holds_unrecognised(&text, Kind::Text);
            format!(
                "UPDATE {relation} SET {name} = {nothing} WHERE {text} NOT IN ({empty}) \
                 AND (pg_catalog.length({text}) < {SHORTEST_TOKEN} OR ({unrecognised}))"
            )
        }
        (_, false, true) => {
            let (key, kind) = (literal(member), &column.kind);
            format!(
                "UPDATE {relation} SET {name} = ({name}::jsonb - {key})::{kind} WHERE pg_catalog.jsonb_exists({name}::jsonb, {key})"
            )
        }
        (_, false, false) => {
            return Fix::Advice(format!(
                "remove {member} from the JSON texts of {name}, or delete these rows"
            ));
        }
    };
    let statements = vec!["SET LOCAL row_security = off".to_owned(), update];
    Fix::Sql(framed(Some(&place.owner), &without_force(&relation, place.forced, statements).join(";\n")))
}

// --- Policies ---

pub(crate) fn alter_policy(context: &TableContext<'_>, policy: &Policy, change: &str) -> String {
    format!("ALTER POLICY {} ON {} {change}", quote(&policy.name), context.relation())
}

pub(crate) fn drop_policy(context: &TableContext<'_>, policy: &Policy) -> String {
    format!("DROP POLICY IF EXISTS {} ON {}", quote(&policy.name), context.relation())
}

// --- Indexes ---

pub(crate) fn rebuild_index(context: &TableContext<'_>, index: &Index) -> String {
    let is_leftover = index.name.ends_with("_ccnew") || index.name.ends_with("_ccold");
    // the rows that prevented a unique index would prevent it again
    match context.definitions.of_index(index).constraint.is_none() && (is_leftover || index.unique) {
        true => drop_index(context, index),
        false => of_index(context, "REINDEX", index),
    }
}

pub(crate) fn drop_index(context: &TableContext<'_>, index: &Index) -> String {
    match &context.definitions.of_index(index).constraint {
        Some(name) => {
            by_owner(context, &format!("ALTER TABLE {} DROP CONSTRAINT {}", context.relation(), quote(name)))
        }
        None => of_index(context, "DROP", index),
    }
}

/// A concurrent statement cannot run in a transaction, so it has no frame. It needs none: it names the schema, and
/// functions that the build calls run with the rights of the table's owner. An index on a partitioned table cannot be
/// dropped or rebuilt concurrently.
fn of_index(context: &TableContext<'_>, verb: &str, index: &Index) -> String {
    let name = in_schema(context.layout, &index.name);
    match context.table.is_partitioned() {
        true => by_owner(context, &format!("{verb} INDEX {name}")),
        false => format!("{verb} INDEX CONCURRENTLY {name}"),
    }
}
