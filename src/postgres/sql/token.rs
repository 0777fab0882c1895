//! What a column made for tokens may hold, as a condition in SQL.

use crate::record::values::IntegrationStatus;

/// The sub-object of the JSONB column that is ours.
pub(crate) const OURS: &str = "retell_vault";

/// One token of any suite. Brackets instead of backslashes: it stands in literals of two languages.
const TOKEN: &str = "rv[1-9][.][0-9a-f]{8}[.][0-9a-f]{16}[.][a-z_]+[.][A-Za-z0-9_-]+";

/// What a value that may hold tokens is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text: one token, or several with a blank between.
    Text,
    /// JSONB: an object of tokens under [`OURS`]; what else is there belongs to the application.
    Json,
}

/// A condition that is true when the value holds something in the place of tokens that is none, and false or NULL
/// otherwise. It is immutable and has no subquery, so that a CHECK constraint may use it as `(…) IS NOT TRUE`.
///
/// `value` is an SQL expression: a quoted column, `NEW."column"`.
pub(crate) fn holds_foreign(value: &str, kind: Kind) -> String {
    match kind {
        Kind::Text => format!("{value} <> '' AND ({value} || ' ') !~ '^(?:{TOKEN} )+$'"),
        Kind::Json => {
            let ours = format!("({value} -> '{OURS}'::text)");
            let not_a_token = format!("@.type() != \"string\" || !(@ like_regex \"^{TOKEN}$\")");
            // strict: lax would look into arrays, and find the tokens there
            format!(
                "CASE pg_catalog.jsonb_typeof({ours}) WHEN 'null' THEN false \
                 WHEN 'object' THEN pg_catalog.jsonb_path_exists({ours}, 'strict $.* ? ({not_a_token})') \
                 ELSE {ours} IS NOT NULL END"
            )
        }
    }
}

/// As [`holds_foreign`], for the status column: true when the value is none of the integration's.
pub(crate) fn holds_unknown_status(value: &str) -> String {
    let known = IntegrationStatus::ALL.map(|status| format!("'{}'", status.as_str()));
    // as the server prints it again, so that it can be compared
    format!("{value} <> ALL (ARRAY[{}])", known.join(", "))
}
