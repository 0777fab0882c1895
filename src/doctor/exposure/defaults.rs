//! Secrets in the defaults of columns, which the catalogue shows to everybody.

use serde_json::Value;

use crate::doctor::exposure::class::{Class, classify};
use crate::doctor::exposure::json::look_into;
use crate::doctor::exposure::{NOTHING, id};
use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::doctor::rows::Seen;
use crate::doctor::rows::tally::Role;
use crate::postgres::sql::names::quote;
use crate::postgres::sql::names::relation;

pub(super) fn findings(seen: &Seen<'_>) -> Vec<Finding> {
    (0..seen.columns.watched.len()).filter_map(|at| of_column(seen, at)).collect()
}

fn of_column(seen: &Seen<'_>, at: usize) -> Option<Finding> {
    let (name, role) = (&seen.columns.watched[at].column, seen.columns.roles[at].0);
    let column = seen.patient.table.column(name).filter(|column| !column.generated)?;
    let class = worst(role, &literal(seen.patient.definitions.default_of(&column.name)?)?)?;
    let drop =
        format!("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT", relation(seen.patient.layout), quote(name));
    let meaning = "the default of the column is a value of its own: the catalogue shows it to everybody, and every \
                   new row gets it; rows that are made without the column have nothing there once it is gone";
    let id = if role == Role::Webhook { "secret_in_webhook_config" } else { id(class) };
    let severity = if let Role::Alike(_) = role { super::severity(role, class) } else { Severity::Critical };
    let object = format!("default of {}", seen.object(at));
    Some(Finding::new((Area::Exposure, severity, id), object, meaning, Mend::Sql(drop)))
}

/// What is wrong with a default for such a column.
fn worst(role: Role, text: &str) -> Option<Class> {
    let json = || serde_json::from_str::<Value>(text).ok();
    match role {
        _ if NOTHING.contains(&text.trim()) => None,
        Role::Slot | Role::Alike(_) => Some(classify(text)),
        Role::Config | Role::Webhook => {
            let mut found = Vec::new();
            look_into(&json()?, &mut found);
            found.into_iter().map(|(_, class)| class).min()
        }
    }
}

/// The text of `'…'::type` and `E'…'::type`. Of anything else, which is computed, `None`.
fn literal(expression: &str) -> Option<String> {
    let quoted = expression.strip_prefix('E').unwrap_or(expression).strip_prefix('\'')?;
    let (text, kind) = quoted.rsplit_once('\'')?;
    let is_plain = kind.is_empty() || kind.starts_with("::");
    is_plain.then(|| text.replace("''", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_literal_is_a_value() {
        assert_eq!(literal("'it''s'::text").as_deref(), Some("it's"));
        assert_eq!(literal("''::character varying").as_deref(), Some(""));
        for computed in ["now()", "NULL::text", "('a'::text || 'b'::text)", "gen_random_uuid()"] {
            assert_eq!(literal(computed), None, "{computed}");
        }
    }
}
