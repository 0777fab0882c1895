//! How what lies open is taken away.

use crate::doctor::exposure::class::Class;
use crate::doctor::exposure::json::Spot;
use crate::doctor::finding::Mend;
use crate::doctor::rows::Seen;
use crate::doctor::rows::tally::{Place, Role};
use crate::postgres::catalogue::table::TableColumn;
use crate::postgres::sql::names::quote;
use crate::postgres::sql::names::{literal, relation};
use crate::postgres::sql::token::{Kind, holds_foreign};

/// Parameters of an address that may be secrets: at least those that are looked for.
const PARAMETERS: &str = "[?&#][^=&#]*(key|token|secret|auth|passw|bearer|credential|sig)[^=&#]*=";
/// No token is shorter.
const SHORTEST_TOKEN: usize = 150;
/// The user and the password in an address.
const USER: &str = "^([^:/?#]+://)[^/?#@]*@";
/// Values that hold nothing.
pub(crate) const NOTHING: [&str; 6] = ["", "null", "{}", "[]", "\"\"", "\\x"];

/// The vault's own columns are mended by storing through the vault, since the text may be all that there is of a
/// credential. The application's are cleared.
pub(super) fn mend(seen: &Seen<'_>, at: usize, place: &Place, class: Class) -> Mend {
    let name = &seen.columns.watched[at].column;
    let column = seen.patient.table.column(name);
    let relation = relation(seen.patient.layout);
    match (seen.columns.roles[at].0, place) {
        (_, Place::Key(spot)) => without_key(&relation, name, column, spot),
        (Role::Alike(_), _) => cleared(&relation, name, column),
        (Role::Config, Place::Whole) => without_scalar(&relation, name, column),
        _ => Mend::Command(put(seen, class).to_owned()),
    }
}

fn put(seen: &Seen<'_>, class: Class) -> &'static str {
    match (seen.patient.layout.tenant_column.is_some(), class) {
        (false, Class::Malformed) => "retell-vault put --user ID --replace-unreadable",
        (true, Class::Malformed) => "retell-vault put --tenant ID --user ID --replace-unreadable",
        (false, _) => "retell-vault put --user ID --replace-foreign",
        (true, _) => "retell-vault put --tenant ID --user ID --replace-foreign",
    }
}

fn cleared(relation: &str, name: &str, column: Option<&TableColumn>) -> Mend {
    if column.is_some_and(|column| column.generated) {
        return Mend::Advice(format!("{name} is generated from other columns: drop it"));
    }
    let nothing = match column {
        Some(column) if !column.not_null => "NULL",
        Some(column) if column.kind.starts_with("json") || column.kind.ends_with("[]") => "'{}'",
        _ => "''",
    };
    let (name, empty) = (quote(name), NOTHING.map(literal).join(", "));
    let foreign = holds_foreign(&format!("{name}::text"), Kind::Text);
    Mend::Sql(format!(
        "UPDATE {relation} SET {name} = {nothing} WHERE {name}::text NOT IN ({empty}) \
         AND (pg_catalog.length({name}::text) < {SHORTEST_TOKEN} OR ({foreign}))"
    ))
}

fn without_scalar(relation: &str, name: &str, column: Option<&TableColumn>) -> Mend {
    let nothing = if column.is_some_and(|column| column.not_null) { "'{}'" } else { "NULL" };
    let name = quote(name);
    Mend::Sql(format!(
        "UPDATE {relation} SET {name} = {nothing} WHERE pg_catalog.jsonb_typeof({name}::jsonb) NOT IN ('object', 'null')"
    ))
}

fn without_key(relation: &str, name: &str, column: Option<&TableColumn>, spot: &Spot) -> Mend {
    let kind = match column.map(|column| column.kind.as_str()) {
        Some(kind @ ("json" | "jsonb")) if spot.is_exact() => kind,
        Some("json" | "jsonb") => {
            return Mend::Advice(format!(
                "remove it in the application, which knows what the lists and keys on the way to it are: {}",
                spot.path.join(".")
            ));
        }
        _ => {
            return Mend::Advice(format!(
                "remove the key {} from the JSON texts of {name}",
                spot.path.join(".")
            ));
        }
    };
    let name = quote(name);
    let path: Vec<_> = spot.path.iter().map(|key| literal(key)).collect();
    let path = format!("ARRAY[{}]::text[]", path.join(", "));
    let (value, json) = (format!("({name} #>> {path})"), format!("{name}::jsonb"));
    let (new, condition) = match spot.in_address {
        false => (format!("({json} #- {path})"), format!("{value} <> ''")),
        true => {
            let (user, kept, parameters) = (literal(USER), literal(r"\1"), literal(PARAMETERS));
            let bare = format!(
                "pg_catalog.regexp_replace(pg_catalog.regexp_replace({value}, {user}, {kept}), '[?#].*$', '')"
            );
            let new = format!("pg_catalog.jsonb_set({json}, {path}, pg_catalog.to_jsonb({bare}))");
            (new, format!("({value} ~ {user} OR {value} ~* {parameters})"))
        }
    };
    Mend::Sql(format!("UPDATE {relation} SET {name} = {new}::{kind} WHERE {condition}"))
}
