//! Secrets stored in plaintext, text in the vault's columns that the vault did not write, and how to remove both.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::doctor::context::TableContext;
use crate::doctor::finding::{Area, Finding, FindingId, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::fixes::{clear_column, clear_scalar, remove_key};
use crate::doctor::frame::by_owner;
use crate::doctor::rows::columns::{ColumnPart, ColumnRole};
use crate::doctor::rows::counts::{ExaminedRows, Occurrences};
use crate::doctor::rows::json_secrets::look_into;
use crate::doctor::rows::name_patterns::NameMatch;
use crate::doctor::rows::text_class::{EMPTY_VALUES, TextClass, classify};
use crate::postgres::sql::names::{quote, relation};

/// What the rows and the defaults of their columns hold, as findings.
pub(super) fn findings(rows: &ExaminedRows<'_>) -> Vec<Finding> {
    // the values of a source are examined as such: they are imported before they are cleared
    let exposed = rows.counts.exposed.iter();
    let exposed = exposed.filter(|((at, part, _), _)| *part != ColumnPart::Whole || !is_source(rows, *at));
    let exposed =
        exposed.map(|((at, part, class), occurrences)| finding(rows, *at, part, *class, occurrences));
    exposed.chain(in_defaults(rows)).chain(too_long(rows)).collect()
}

fn finding(
    rows: &ExaminedRows<'_>,
    at: usize,
    part: &ColumnPart,
    class: TextClass,
    occurrences: &Occurrences,
) -> Finding {
    let role = rows.columns.roles[at].0;
    let object = match part {
        ColumnPart::Whole => rows.object(at),
        ColumnPart::Ours => format!("{}, {}", rows.object(at), rows.context.layout.fields.member()),
        ColumnPart::Key(path) => format!("{}, key {}", rows.object(at), path.keys.join(".")),
    };
    let id = if role == ColumnRole::Webhook { finding_ids::SECRET_IN_WEBHOOK_CONFIG } else { id(class) };
    let fix = fix(rows, at, part);
    let is_own = is_made_by_the_application(rows, at, part);
    let consequence = match (&fix, part) {
        _ if is_own => {
            "the default of the column makes a value for each row, so this is a secret of the application and no \
             credential that a provider issued: the vault does not store it"
        }
        (Fix::Advice(_), _) if role != ColumnRole::Webhook => ADVISED,
        _ => consequence(role, part, class),
    };
    let meaning = format!("{}{}: {consequence}; {}", what(class), rows.of_how_many(), copies(rows));
    let severity = if is_own { Severity::Notice } else { severity(role, class) };
    let finding = Finding::new(id, severity, object, meaning, fix);
    finding.of(occurrences.count, occurrences.owners.clone())
}

/// Whether the layout names a column as a source of old values.
fn is_source(rows: &ExaminedRows<'_>, at: usize) -> bool {
    let (layout, column) = (rows.context.layout, &rows.columns.watched[at].column);
    let mut sources = layout.sources.iter();
    sources.any(|source| {
        (&source.schema, &source.table, &source.column) == (&layout.schema, &layout.table, column)
    })
}

/// Whether the application makes the values of a column itself. Nobody can store them through the vault.
fn is_made_by_the_application(rows: &ExaminedRows<'_>, at: usize, part: &ColumnPart) -> bool {
    let is_named = matches!(rows.columns.roles[at].0, ColumnRole::Named(_)) && *part == ColumnPart::Whole;
    is_named && rows.context.definitions.makes_values(&rows.columns.watched[at].column)
}

/// Of a text in the application's columns that no SQL can clear.
const ADVISED: &str = "its name suggests a credential, and every reader of the table can see it; it belongs to the \
                       application: store it through the vault first and stop the code that writes it";

fn id(class: TextClass) -> FindingId {
    match class {
        TextClass::Ciphertext => finding_ids::FOREIGN_CIPHERTEXT,
        TextClass::Encoded => finding_ids::ENCODED_PLAINTEXT,
        TextClass::Malformed | TextClass::Tokens | TextClass::Empty => finding_ids::MALFORMED_TOKEN,
        TextClass::Plaintext => finding_ids::PLAINTEXT,
    }
}

fn severity(role: ColumnRole, class: TextClass) -> Severity {
    match (role, class) {
        (ColumnRole::Named(NameMatch::Agent), _) | (_, TextClass::Ciphertext) => Severity::Warning,
        _ => Severity::Critical,
    }
}

fn what(class: TextClass) -> &'static str {
    match class {
        TextClass::Plaintext => "unencrypted text",
        TextClass::Encoded => "base64 or hex of plaintext, which is not encryption",
        TextClass::Ciphertext => "text that looks like ciphertext of other code",
        TextClass::Malformed | TextClass::Tokens | TextClass::Empty => {
            "text that starts like a token but is not one"
        }
    }
}

fn consequence(role: ColumnRole, part: &ColumnPart, class: TextClass) -> &'static str {
    match (role, part, class) {
        (_, ColumnPart::Key(path), _) if path.in_address => {
            "the address contains a password or token, which every reader of the table can see; verify signatures \
             with the vault's webhook key in the receiver instead; the SQL removes user, password and parameters \
             from the address"
        }
        (ColumnRole::Webhook, ..) => {
            "this column is not encrypted; if you still need the value, store it through the vault first: the SQL \
             removes it for good"
        }
        (_, ColumnPart::Key(_), _) => {
            "every reader of the table can see it; it belongs to the application: store it through the vault \
             first and stop the code that writes it, because the SQL removes it for good"
        }
        (ColumnRole::Named(_), ..) => {
            "the column does not belong to the vault, but its name suggests a credential; store the values \
             through the vault first and stop the code that writes them, because the SQL clears them for good"
        }
        (ColumnRole::Config, ColumnPart::Whole, _) => {
            "the column holds neither an object nor null, so the vault never writes it; the SQL clears it for \
             good: afterwards store what you still need through the vault"
        }
        (_, _, TextClass::Malformed) => {
            "the record does not load; restore it from a backup, or store the configuration again with `--replace-unreadable`"
        }
        (_, _, TextClass::Ciphertext) => {
            "the vault neither reads nor overwrites it; decrypt it with the code that wrote it, and store it \
             through the vault"
        }
        _ => {
            "the vault neither reads nor overwrites it, and every reader of the table can see it; store the value \
             through the vault, which replaces the text"
        }
    }
}

/// Names the places that may hold copies of a value. No fix of the table reaches them.
fn copies(rows: &ExaminedRows<'_>) -> String {
    let triggers = rows.context.definitions.triggers.iter();
    let functions: BTreeSet<&str> =
        triggers.filter(|trigger| trigger.copies).map(|trigger| trigger.function.as_str()).collect();
    let tables = rows.context.definitions.copies_in_words();
    let mut here = tables.map(|tables| format!(", in this database perhaps in {tables}")).unwrap_or_default();
    if !functions.is_empty() {
        let functions: Vec<_> = functions.into_iter().collect();
        here += &format!(", and perhaps where triggers of this table write ({})", functions.join(", "));
    }
    format!(
        "copies remain in backups, logs, replicas and audit or history tables{here}: clear these too, and revoke \
         the exposed values at the provider"
    )
}

/// Notes the tables that may hold copies of rows, also after the table itself has no plaintext any more.
pub(super) fn note_copies(context: &TableContext<'_>) {
    if let Some(tables) = context.definitions.copies_in_words() {
        context.host.note(format!(
            "not looked at: copies of rows, and of plaintext that the table no longer has, may be in {tables}; no fix \
             and no rotation reaches them"
        ));
    }
}

/// Secrets in the defaults of columns, which the catalogue shows to every role.
fn in_defaults(rows: &ExaminedRows<'_>) -> Vec<Finding> {
    (0..rows.columns.watched.len()).filter_map(|at| in_default(rows, at)).collect()
}

fn in_default(rows: &ExaminedRows<'_>, at: usize) -> Option<Finding> {
    let (name, role) = (&rows.columns.watched[at].column, rows.columns.roles[at].0);
    let column = rows.context.table.column(name).filter(|column| !column.generated)?;
    let class = worst(role, &literal_text(rows.context.definitions.default_of(&column.name)?)?)?;
    let drop =
        format!("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT", relation(rows.context.layout), quote(name));
    let meaning = "the column's default is a constant: the catalogue shows it to every role, and every new row \
                   gets it. After the SQL, rows inserted without a value for the column get NULL";
    let id = if role == ColumnRole::Webhook { finding_ids::SECRET_IN_WEBHOOK_CONFIG } else { id(class) };
    let severity = if let ColumnRole::Named(_) = role { severity(role, class) } else { Severity::Critical };
    let object = format!("default of {}", rows.object(at));
    Some(Finding::new(id, severity, object, meaning, Fix::Sql(by_owner(rows.context, &drop))))
}

/// What is wrong with a default for such a column.
fn worst(role: ColumnRole, text: &str) -> Option<TextClass> {
    let json = || serde_json::from_str::<Value>(text).ok();
    match role {
        _ if EMPTY_VALUES.contains(&text.trim()) => None,
        ColumnRole::Slot | ColumnRole::Named(_) => Some(classify(text)),
        ColumnRole::Config | ColumnRole::Webhook => {
            let mut found = Vec::new();
            look_into(&json()?, &mut found);
            found.into_iter().map(|(_, class)| class).min()
        }
    }
}

/// The text of `'…'::type` and `E'…'::type`. `None` for a computed default.
fn literal_text(expression: &str) -> Option<String> {
    let quoted = expression.strip_prefix('E').unwrap_or(expression).strip_prefix('\'')?;
    let (text, kind) = quoted.rsplit_once('\'')?;
    let is_plain = kind.is_empty() || kind.starts_with("::");
    is_plain.then(|| text.replace("''", "'"))
}

/// JSON that was not searched.
fn too_long(rows: &ExaminedRows<'_>) -> Option<Finding> {
    let count = rows.counts.too_long;
    let meaning = "JSON longer than 1 MiB, deeper than 127 levels or damaged was not searched";
    let advice = "check by hand whether it contains secrets; the webhook's settings are shorter than this";
    let finding = Finding::new(
        finding_ids::NOT_EXAMINED.in_area(Area::Exposure),
        Severity::Warning,
        rows.context.object(),
        meaning,
        Fix::Advice(advice.to_owned()),
    );
    (count > 0).then(|| finding.of(count, Vec::new()))
}

/// In the vault's own columns the fix is to store through the vault, because the text may be the only copy of a
/// credential. The application's columns are cleared.
fn fix(rows: &ExaminedRows<'_>, at: usize, part: &ColumnPart) -> Fix {
    let name = &rows.columns.watched[at].column;
    let column = rows.context.table.column(name);
    let context = rows.context;
    // rows that the layout's filter excludes are not the vault's, so their values stay
    let counts = match rows.columns.watched[at].of_rows_that_count {
        true => rows.context.table.filter.and(""),
        false => String::new(),
    };
    match (rows.columns.roles[at].0, part) {
        (_, ColumnPart::Key(path)) => remove_key(context, name, column, path, &counts),
        (ColumnRole::Named(_), _) => clear_column(context, name, column),
        (ColumnRole::Config, ColumnPart::Whole) => clear_scalar(context, name, column, &counts),
        _ => Fix::Command(put(rows)),
    }
}

/// `--replace-unreadable`: the text may replace a token, and without this token the record does not open.
fn put(rows: &ExaminedRows<'_>) -> String {
    let tenant = if rows.context.layout.tenant_column.is_some() { " --tenant ID" } else { "" };
    format!("retell-vault put{tenant} --user ID --replace-foreign --replace-unreadable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_literal_is_a_value() {
        assert_eq!(literal_text("'it''s'::text").as_deref(), Some("it's"));
        assert_eq!(literal_text("''::character varying").as_deref(), Some(""));
        for computed in ["now()", "NULL::text", "('a'::text || 'b'::text)", "gen_random_uuid()"] {
            assert_eq!(literal_text(computed), None, "{computed}");
        }
    }
}
