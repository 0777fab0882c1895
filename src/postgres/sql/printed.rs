//! Prints SQL for people: it keeps its meaning, and every character is visible.
//!
//! The SQL contains names, conditions and definitions that other people wrote. Invisible characters are escaped: names
//! become `U&"…"`, texts `E'…'`.

use crate::display::{is_harmless, visible};
use crate::postgres::sql::names::{printed_char, printed_literal, printed_name};

/// Where printed lines end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// Only after each statement, so that the SQL can be copied with indentation. Function bodies are literals on one
    /// line.
    Statements,
    /// Where they were, also in function bodies.
    Kept,
}

/// Statements, one line each with a semicolon, so that they can be indented.
pub(crate) fn statements(sql: &str) -> String {
    let mut printed = print(sql, Lines::Statements).trim_end().to_owned();
    if !printed.is_empty() && !printed.ends_with(';') {
        printed.push(';');
    }
    printed
}

/// A script, with its lines unchanged.
pub(crate) fn script(sql: &str) -> String {
    print(sql, Lines::Kept)
}

fn print(sql: &str, lines: Lines) -> String {
    let (mut rest, mut printed) = (sql, String::with_capacity(sql.len() + 16));
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => name(rest, &mut printed),
            '\'' if is_escape_string(&printed) => escape_string(rest, &mut printed),
            '\'' => string(rest, &mut printed),
            '$' => dollar_quoted(rest, lines, &mut printed),
            '-' if rest.starts_with("--") => comment(rest, lines, &mut printed),
            _ => between(first, lines, &mut printed),
        };
        rest = &rest[length..];
    }
    printed
}

/// Prints text outside of quotes.
fn between(char: char, lines: Lines, printed: &mut String) -> usize {
    match char {
        '\n' if lines == Lines::Kept => printed.push('\n'),
        ';' if lines == Lines::Statements => printed.push_str(";\n"),
        ' ' if lines == Lines::Kept => printed.push(' '),
        // one blank replaces several, and the next statement starts its own line
        _ if char.is_whitespace() && printed.ends_with([' ', '\n']) => {}
        _ if char.is_whitespace() => printed.push(' '),
        // SQL of the server or the vault never has such a character here; the server refuses its escape
        _ => printed.push_str(&visible(char.encode_utf8(&mut [0; 4]))),
    }
    char.len_utf8()
}

/// `"…"`
fn name(rest: &str, printed: &mut String) -> usize {
    let length = quoted_length(rest, '"', false);
    let quoted = &rest[..length];
    match quoted.chars().all(is_harmless) {
        true => printed.push_str(quoted),
        false => printed.push_str(&printed_name(&inside(quoted).replace("\"\"", "\""))),
    }
    length
}

/// `'…'`
fn string(rest: &str, printed: &mut String) -> usize {
    let length = quoted_length(rest, '\'', false);
    let quoted = &rest[..length];
    match quoted.chars().all(is_harmless) {
        true => printed.push_str(quoted),
        false => push_literal(&inside(quoted).replace("''", "'"), printed),
    }
    length
}

/// Adds a literal, separated from a word before it.
fn push_literal(text: &str, printed: &mut String) {
    if printed.ends_with(is_of_word) {
        printed.push(' ');
    }
    printed.push_str(&printed_literal(text));
}

/// `E'…'`, from its quote on.
fn escape_string(rest: &str, printed: &mut String) -> usize {
    let length = quoted_length(rest, '\'', true);
    let mut chars = rest[..length].chars();
    while let Some(char) = chars.next() {
        match (char, chars.clone().next()) {
            // the backslash does not change this character
            ('\\', Some(next)) if !is_harmless(next) => {}
            ('\\', Some(next)) => {
                chars.next();
                printed.extend([char, next]);
            }
            _ if is_harmless(char) => printed.push(char),
            _ => printed.push_str(&printed_char(char)),
        }
    }
    length
}

/// `$tag$…$tag$`, or a lone `$`.
fn dollar_quoted(rest: &str, lines: Lines, printed: &mut String) -> usize {
    let tag = rest[1..].find(|char| !is_of_word(char)).and_then(|end| rest.get(..end + 2));
    let tag = tag.filter(|tag| tag.ends_with('$') && !printed.ends_with(is_of_word));
    let Some((tag, (text, _))) = tag.and_then(|tag| Some((tag, rest[tag.len()..].split_once(tag)?))) else {
        printed.push('$');
        return 1;
    };
    let stays = |char: char| is_harmless(char) || (lines == Lines::Kept && "\n\t".contains(char));
    match text.chars().all(stays) {
        true => printed.push_str(&format!("{tag}{text}{tag}")),
        false => push_literal(text, printed),
    }
    2 * tag.len() + text.len()
}

/// `-- …`, without the end of its line.
fn comment(rest: &str, lines: Lines, printed: &mut String) -> usize {
    let comment = rest.split('\n').next().unwrap_or(rest);
    if lines == Lines::Kept {
        printed.push_str(&visible(comment));
    }
    comment.len()
}

/// Whether a quote after this text starts a literal with escapes.
fn is_escape_string(before: &str) -> bool {
    before.strip_suffix(['e', 'E']).is_some_and(|before| !before.ends_with(is_of_word))
}

fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The length of a quoted text including its quotes. Doubled quotes are part of it. An unclosed text extends to the end.
fn quoted_length(rest: &str, quote: char, has_escapes: bool) -> usize {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        if char == '\\' && has_escapes {
            chars.next();
        } else if char == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    rest.len()
}

fn inside(quoted: &str) -> &str {
    let inside = &quoted[1..];
    inside.strip_suffix(['"', '\'']).unwrap_or(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_is_one_line_and_means_the_same() {
        let cases = [
            ("BEGIN;\nDROP TABLE \"a\";\nCOMMIT", "BEGIN;\nDROP TABLE \"a\";\nCOMMIT;"),
            ("BEGIN; COMMIT;", "BEGIN;\nCOMMIT;"),
            ("SELECT 1\n   FROM \"a;b\"  WHERE x\n", "SELECT 1 FROM \"a;b\" WHERE x;"),
            ("DROP TABLE \"a\n;\u{202e}\"", r#"DROP TABLE U&"a\+00000a;\+00202e";"#),
            ("SELECT 'a\nb''\\', E'a\nb\\'\\\n'", r"SELECT E'a\nb''\\', E'a\nb\'\n';"),
            ("DATE'a\tb'", r"DATE E'a\tb';"),
            ("DO $x$ a; '$$' $x$; SELECT $1, a$b", "DO $x$ a; '$$' $x$;\nSELECT $1, a$b;"),
            ("DO $x$\na;\n'\\' $x$", r"DO E'\na;\n''\\'' ';"),
            ("SELECT 1 -- ; more\n, 2", "SELECT 1 , 2;"),
            ("SELECT \u{202e}1", r"SELECT \u{202e}1;"),
            ("a = $b–c", "a = $b–c;"),
            ("SELECT 'never ends", "SELECT 'never ends;"),
            ("", ""),
        ];
        for (sql, printed) in cases {
            assert_eq!(statements(sql), printed, "{sql}");
            assert_eq!(statements(printed), printed, "what is printed stays as it is");
        }
    }

    #[test]
    fn a_script_keeps_its_lines() {
        let plain = "-- a\nDO $x$\n  \ta;\n$x$;\n\nSELECT 'a';\n";
        assert_eq!(script(plain), plain);
        let harmful = "-- a\u{202e}\nDO $x$\n\"\u{202e}\" $x$;\n";
        assert_eq!(script(harmful), "-- a\\u{202e}\nDO E'\\n\"\\U0000202e\" ';\n");
    }
}
