//! Expressions as the server prints them.

/// What the server adds when it prints an expression.
const ADDED: [&str; 4] = ["pg_catalog.", "::text[]", "::text", "::jsonpath"];

/// Whether two texts are the same expression: one as it is written here, one as the server prints it with
/// an empty search path.
pub(super) fn same(written: &str, printed: &str) -> bool {
    bare(written) == bare(printed)
}

fn bare(text: &str) -> String {
    let is_added = |char: char| char.is_whitespace() || "()\"".contains(char);
    let text = text.replace(is_added, "");
    // a literal with a backslash is written in the E form, and printed as the session's settings are
    let text = text.replace("E'", "'").replace("\\\\", "\\");
    ADDED.iter().fold(text, |text, added| text.replace(added, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parentheses_casts_and_quotes_make_no_difference_but_names_and_values_do() {
        assert!(same(r#"("a"::text <> 'x') IS NOT TRUE"#, "(((a <> 'x'::text)) IS NOT TRUE)"));
        assert!(same(r"f(E'a\\b')", r"f('a\b')"));
        assert!(!same(r#"("a" <> 'x') IS NOT TRUE"#, "(((a <> 'y'::text)) IS NOT TRUE)"));
        assert!(!same(r#""a" = 'x'"#, "((a = 'x'::text) OR true)"));
    }
}
