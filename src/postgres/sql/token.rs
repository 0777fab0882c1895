//! The form of a token in SQL: its start, the places of its parts, and its place in the JSONB column.
//!
//! No other file repeats this; `record/token.rs` defines the same in Rust. Patterns use brackets instead of backslashes,
//! because they are used in literals of several languages and settings.

use crate::postgres::sql::names::{EQ, literal, text};
use crate::record::field::Field;
use crate::record::token::{
    HEAD_LEN, KeyId, MAX_SLOT, START_LEN, SUITE, VERSION_AT, VERSION_LEN, start_under,
};

/// Every suite, including those of later versions of this program.
const ANY_SUITE: &str = "rv[1-9]";

/// The parts before the field, as a pattern.
fn head(suite: &str) -> String {
    format!("{suite}[.][0-9a-f]{{8}}[.][0-9a-f]{{16}}[.]")
}

/// A whole token, as a pattern. It does not check the body.
fn whole(suite: &str) -> String {
    format!("{}[a-z][a-z0-9_]*[.][A-Za-z0-9_-]+", head(suite))
}

/// A whole token of our own suite, as a pattern.
pub(crate) fn token_pattern() -> String {
    whole(SUITE)
}

// --- The JSONB column ---

// `name` comes from `Fields::member`, and has no character that needs quoting.

/// The vault's member of a JSONB value.
pub(crate) fn member(value: &str, name: &str) -> String {
    format!("({value} OPERATOR(pg_catalog.->) '{name}'::pg_catalog.text)")
}

/// A JSONB object or null with the vault's member replaced. Members of other code stay.
pub(crate) fn with_member(value: &str, name: &str, new: &str) -> String {
    let object = format!("CASE WHEN {} THEN {value} ELSE '{{}}' END", is_object(value));
    format!("pg_catalog.jsonb_set({object}, '{{{name}}}', {new})")
}

/// A JSONB value with only the vault's member.
pub(crate) fn only_member(name: &str, new: &str) -> String {
    format!("pg_catalog.jsonb_build_object('{name}', {new})")
}

/// A JSONB value without the vault's member, if it is an object.
pub(crate) fn without_member(value: &str, name: &str) -> String {
    let without = format!("{value} OPERATOR(pg_catalog.-) '{name}'::pg_catalog.text");
    format!("CASE WHEN {} THEN {without} ELSE {value} END", is_object(value))
}

fn is_object(value: &str) -> String {
    format!("pg_catalog.jsonb_typeof({value}) {EQ} 'object'")
}

/// A condition that a JSONB value that is not NULL can get the vault's member.
pub(crate) fn takes_member(value: &str) -> String {
    format!("pg_catalog.jsonb_typeof({value}) {EQ} ANY (ARRAY['object', 'null'])")
}

// --- What a write may write over ---

/// A condition that a text is NULL or empty, or that its first token has this head, which ends before the field. Postgres
/// unpacks only the start of a long text.
pub(crate) fn is_empty_or_starts(value: &str, head: &str) -> String {
    let start = format!("pg_catalog.left({value}, {HEAD_LEN}) COLLATE pg_catalog.\"C\"");
    format!("({value} IS NULL OR {start} {EQ} {head} OR {value} COLLATE pg_catalog.\"C\" {EQ} '')")
}

/// A condition that a JSONB value is NULL, or an object whose vault member is missing or has only tokens with this head.
pub(crate) fn member_is_empty_or_starts(value: &str, name: &str, head: &str) -> String {
    // strict: lax mode would search arrays too
    let path = format!(
        "strict $ ? (@.type() != \"object\" || exists (@.{name} ? (@.type() != \"object\" \
         || exists (@.* ? (@.type() != \"string\" || !(@ starts with $head))))))"
    );
    format!(
        "CASE WHEN {value} IS NULL THEN true WHEN {} THEN false \
         ELSE NOT pg_catalog.jsonb_path_exists({value}, '{path}', pg_catalog.jsonb_build_object('head', {head}), true) END",
        is_too_long(value)
    )
}

// --- Lengths ---

/// A text, or the start of a text that is longer than a record may be. `octet_length` does not unpack it.
pub(crate) fn cut(value: &str) -> String {
    format!(
        "CASE WHEN pg_catalog.octet_length({value}) OPERATOR(pg_catalog.<=) {MAX_SLOT} THEN {value} \
         ELSE pg_catalog.left({value}, {}) END",
        MAX_SLOT + 1
    )
}

/// The size of a value: the bytes of a text, or the bytes of JSON on disk. Neither unpacks the value.
pub(crate) fn length(value: &str, is_json: bool) -> String {
    match is_json {
        true => format!("pg_catalog.pg_column_size({value})"),
        false => format!("pg_catalog.octet_length({})", text(value)),
    }
}

/// A condition that a JSON value is too large on disk to be unpacked.
pub(crate) fn is_too_long(value: &str) -> String {
    format!("pg_catalog.pg_column_size({value}) OPERATOR(pg_catalog.>) {MAX_SLOT}")
}

// --- Versions ---

/// The version of a token.
pub(crate) fn version(token: &str) -> String {
    format!("pg_catalog.substr({token}, {VERSION_AT}, {VERSION_LEN})")
}

/// The version in a text, of any suite and under any key. NULL without a version.
pub(crate) fn any_version(text: &str) -> String {
    format!(
        "CASE WHEN pg_catalog.left({text}, {}) ~ '^{}$' THEN {} END COLLATE \"C\"",
        VERSION_AT + VERSION_LEN,
        head(ANY_SUITE),
        version(text)
    )
}

// --- Keys ---

/// A condition that a text does not start with `start`, which comes from [`start_under`].
pub(crate) fn is_not_under(text: &str, start: &str) -> String {
    format!("NOT pg_catalog.starts_with({text} COLLATE pg_catalog.\"C\", {start})")
}

/// The start of a text that names a key, of any suite. NULL for other text.
pub(crate) fn start_of(text: &str) -> String {
    format!("CASE WHEN {text} LIKE 'rv_.________.%' THEN pg_catalog.substr({text}, 1, {START_LEN}) END")
}

/// A search for tokens under one key or under any key.
pub(crate) struct TokenSearch {
    /// A cheap condition on the text named `text` that it may hold such a token.
    may_hold: String,
    /// The pattern of the head.
    head: String,
}

impl TokenSearch {
    pub(crate) fn under(key: Option<KeyId>) -> Self {
        let Some(key) = key else {
            return Self { may_hold: "LIKE '%rv_.________.%'".to_owned(), head: head(ANY_SUITE) };
        };
        let start = start_under(key);
        let any_suite = start.replacen(SUITE, ANY_SUITE, 1).replace('.', "[.]");
        Self {
            may_hold: format!("LIKE '%{}%'", &start[SUITE.len()..]),
            head: format!("{any_suite}[0-9a-f]{{16}}[.]"),
        }
    }

    /// A condition that a text holds such a token, whole or not.
    pub(crate) fn is_in(&self, text: &str) -> String {
        format!("{text} {} AND {text} ~ '{}'", self.may_hold, self.head)
    }

    /// A table expression with one row for each token: its head, and the following text that may belong to it.
    pub(crate) fn each_in(&self, text: &str) -> String {
        format!(
            "pg_catalog.regexp_matches({text}, '{}(?:[a-z][a-z0-9_]*[.][A-Za-z0-9_-]+)?', 'g')",
            self.head
        )
    }

    /// As [`each_in`](Self::each_in), with only the heads.
    pub(crate) fn each_head_in(&self, text: &str) -> String {
        format!("pg_catalog.regexp_matches({text}, '{}', 'g')", self.head)
    }
}

// --- Whether a text holds tokens ---

/// A cheap condition that a text may hold a token somewhere.
pub(crate) fn may_hold(text: &str) -> String {
    format!("pg_catalog.strpos({text}, 'rv') OPERATOR(pg_catalog.>) 0")
}

/// A condition that a text has several pieces.
pub(crate) fn is_packed(text: &str) -> String {
    format!("pg_catalog.strpos({text}, ' ') OPERATOR(pg_catalog.>) 0")
}

/// A table expression with one row for each head of a token in a value of any type.
pub(crate) fn heads(value: &str) -> String {
    format!(
        "pg_catalog.regexp_matches(CASE WHEN {} THEN {value}::text END, '{}', 'g')",
        may_hold(&format!("{value}::text")),
        head(ANY_SUITE)
    )
}

/// The key that the first token in the text of a slot, or of the vault's member, names. NULL without a key. Any version
/// counts.
pub(crate) fn first_key(text: &str) -> String {
    format!(
        "CASE WHEN {} THEN pg_catalog.substring({text}, '(?:^|\")rv[0-9]+[.]([0-9a-f]{{8}})[.]') END",
        may_hold(text)
    )
}

/// A condition that a text is a token of this suite for one of these fields.
pub(crate) fn is_of(text: &str, fields: &[Field]) -> String {
    let names: Vec<_> = fields.iter().map(|field| format!("'{field}'")).collect();
    let start = format!("{SUITE}.");
    match names.is_empty() {
        true => "false".to_owned(),
        false => format!(
            "(pg_catalog.starts_with({text}, '{start}') AND pg_catalog.split_part({text}, '.', 4) {EQ} ANY (ARRAY[{}]))",
            names.join(", ")
        ),
    }
}

/// The kind of a value that may hold tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    /// Text: one token, or several with a blank between.
    Text,
    /// JSONB: an object of tokens under the vault's member of this name. The rest belongs to the application.
    Json(&'a str),
}

/// A condition that is true if the value holds text other than tokens in the place of tokens, and false or NULL
/// otherwise. It is immutable and has no subquery, so that a CHECK constraint can use it as `(…) IS NOT TRUE`.
///
/// `value` is an SQL expression: a quoted column, `NEW."column"`.
pub(crate) fn holds_unrecognised(value: &str, kind: Kind<'_>) -> String {
    let token = whole(ANY_SUITE);
    match kind {
        Kind::Text => format!("{value} <> '' AND ({value} || ' ') !~ '^(?:{token} )+$'"),
        Kind::Json(name) => {
            // as the server prints it again, so that it can be compared
            let ours = format!("({value} -> '{name}'::text)");
            let not_a_token = format!("@.type() != \"string\" || !(@ like_regex \"^{token}$\")");
            // strict: lax mode would search arrays, and find the tokens there
            format!(
                "CASE pg_catalog.jsonb_typeof({ours}) WHEN 'null' THEN false \
                 WHEN 'object' THEN pg_catalog.jsonb_path_exists({ours}, 'strict $.* ? ({not_a_token})') \
                 ELSE {ours} IS NOT NULL END"
            )
        }
    }
}

/// As [`holds_unrecognised`], for the column of a field with a list of values: true if the value is not one of them.
pub(crate) fn holds_unknown_word(value: &str, words: &[&str]) -> String {
    let known: Vec<_> = words.iter().map(|word| literal(word)).collect();
    // as the server prints it again, so that it can be compared
    format!("{value} <> ALL (ARRAY[{}])", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::padding::PADDING;
    use crate::record::token::{OVERHEAD, Token};

    /// The places that SQL counts are those of a real token.
    #[test]
    fn the_parts_stand_where_sql_looks_for_them() {
        let body = vec![7; OVERHEAD + PADDING];
        let field = Field::named("api_key");
        let token = Token { key: KeyId(0xab), version: "00000000000000ff".parse().unwrap(), field, body };
        let text = token.to_string();
        let part = |at: usize, len: usize| &text[at - 1..][..len];
        assert_eq!(part(VERSION_AT, VERSION_LEN), "00000000000000ff");
        assert_eq!(part(SUITE.len() + 2, 8), "000000ab");
        assert_eq!(text[..START_LEN], start_under(KeyId(0xab)));
        let search = TokenSearch::under(Some(KeyId(0xab)));
        assert_eq!(search.may_hold, "LIKE '%.000000ab.%'");
        assert_eq!(search.head, "rv[1-9][.]000000ab[.][0-9a-f]{16}[.]");
    }
}
