//! Names and literals as they go into SQL text.

use sha2::{Digest, Sha256};

use crate::display::is_harmless;
use crate::layout::layout::Layout;

/// Longest name of a Postgres object in bytes (NAMEDATALEN - 1).
const MAX_NAME: usize = 63;

/// The built-in operator for equality. Postgres looks a bare `=` up on the search path, where other roles may have
/// created their own operator. The same applies to IN, NULLIF and IS DISTINCT FROM.
pub(crate) const EQ: &str = "OPERATOR(pg_catalog.=)";

/// A value as text, of the built-in type.
pub(crate) fn text(value: &str) -> String {
    format!("{value}::pg_catalog.text")
}

/// A text that is compared byte by byte, whatever the collation of its column.
pub(crate) fn bytes_of(value: &str) -> String {
    format!("{value}::pg_catalog.text COLLATE pg_catalog.\"C\"")
}

/// A name in SQL.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The same name in SQL for people, with escapes for invisible characters.
pub(crate) fn printed_name(name: &str) -> String {
    if name.chars().all(is_harmless) {
        return quote(name);
    }
    let mut shown = String::new();
    for char in name.chars() {
        match char {
            '"' => shown.push_str("\"\""),
            '\\' => shown.push_str(r"\\"),
            _ if is_harmless(char) => shown.push(char),
            _ => shown.push_str(&format!("\\+{:06x}", u32::from(char))),
        }
    }
    format!("U&\"{shown}\"")
}

/// The table in SQL: quoted, with its schema.
pub(crate) fn relation(layout: &Layout) -> String {
    in_schema(layout, &layout.table)
}

/// Another object of the table's schema, quoted.
pub(crate) fn in_schema(layout: &Layout, name: &str) -> String {
    format!("{}.{}", quote(&layout.schema), quote(name))
}

/// The columns that name the owner, quoted, the tenant's first.
pub(crate) fn owner_columns(layout: &Layout) -> Vec<String> {
    let names = [layout.tenant_column.as_ref(), Some(&layout.user_column)];
    names.into_iter().flatten().map(|name| quote(name)).collect()
}

/// A string literal that means the same under every setting.
pub(crate) fn literal(text: &str) -> String {
    match text.contains('\\') {
        true => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

/// A literal of the same text in SQL for people: on one line, with escapes for invisible characters. It means the same
/// under every setting.
pub(crate) fn printed_literal(text: &str) -> String {
    match text.chars().all(is_harmless) {
        true => literal(text),
        false => format!("E'{}'", text.chars().map(printed_char).collect::<String>()),
    }
}

/// One character of the text of an `E'…'` literal.
pub(crate) fn printed_char(char: char) -> String {
    match char {
        '\'' => "''".to_owned(),
        '\\' => r"\\".to_owned(),
        '\n' => r"\n".to_owned(),
        '\t' => r"\t".to_owned(),
        _ if is_harmless(char) => char.to_string(),
        _ => format!("\\U{:08x}", u32::from(char)),
    }
}

/// A text in dollar quotes, for the body of a function.
pub(crate) fn dollar_quoted(text: &str) -> String {
    let mut tag = "$retell_vault$".to_owned();
    while text.contains(&tag) {
        tag.insert(1, 'x');
    }
    format!("{tag}{text}{tag}")
}

/// `retell_vault_<parts>`, without empty parts. A digest replaces the end of a name that is too long.
pub(crate) fn our_name(parts: &[&str]) -> String {
    let parts: Vec<_> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    let name = format!("retell_vault_{}", parts.join("_"));
    if name.len() <= MAX_NAME {
        return name;
    }
    let digest: String = Sha256::digest(&name).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut end = MAX_NAME - digest.len() - 1;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{digest}", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (one, other) = (our_name(&[&"ä".repeat(60), "a"]), our_name(&[&"ä".repeat(60), "b"]));
        assert!(one.len() <= MAX_NAME && one != other);
        assert_eq!(our_name(&["user_profiles", "phone"]), "retell_vault_user_profiles_phone");
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn printed_names_and_literals_are_seen_in_full() {
        assert_eq!(printed_name("José"), "\"José\"");
        assert_eq!(printed_name("a\n\"\\\u{202e}"), r#"U&"a\+00000a""\\\+00202e""#);
        assert_eq!(printed_literal("it's"), "'it''s'");
        assert_eq!(printed_literal("a\n'\\\u{e0041}"), r"E'a\n''\\\U000e0041'");
    }

    #[test]
    fn literals_survive_quotes_and_backslashes() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\.b'"), r"E'a\\.b'''");
    }
}
