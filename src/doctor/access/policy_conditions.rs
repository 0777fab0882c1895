//! Recognises conditions that are true for every row, by their text as the server prints it.
//!
//! This is a heuristic: it recognises common forms, not all of them.

/// Whether the condition is true for every row and every user.
pub(super) fn is_always_true(condition: &str) -> bool {
    let condition = bare(condition);
    let (either, both) = (split(condition, " OR "), split(condition, " AND "));
    if either.len() > 1 {
        return either.into_iter().any(is_always_true);
    }
    if both.len() > 1 {
        return both.into_iter().all(is_always_true);
    }
    condition == "true" || is_same(condition)
}

/// Whether the condition is true for every user that is signed in, or for every request that is not.
pub(super) fn asks_only_for_a_session(condition: &str) -> bool {
    let is_form = |part: &str| {
        let text: String = part.chars().filter(|char| !" ()".contains(*char)).collect();
        let text =
            text.replace("SELECT", "").replace("ASuid", "").replace("ASrole", "").replace("::text", "");
        ["auth.uidISNOTNULL", "auth.role='authenticated'", "auth.role='anon'"].contains(&text.as_str())
    };
    split(bare(condition), " OR ").into_iter().any(|either| {
        let all = split(bare(either), " AND ");
        all.iter().any(|part| is_form(part)) && all.iter().all(|part| is_form(part) || is_always_true(part))
    })
}

/// Whether one alternative of the condition does not check which user asks.
pub(super) fn ignores_who_asks(condition: &str) -> bool {
    let condition = bare(condition);
    let either = split(condition, " OR ");
    match either.len() {
        1 => condition != "false" && !may_ask_who(condition),
        _ => either.into_iter().any(ignores_who_asks),
    }
}

/// Whether the condition may check which user asks. The server prints its own functions without a schema and all others
/// with their schema. A condition that reads another table may check the user there.
fn may_ask_who(condition: &str) -> bool {
    let text: String = condition.split('\'').step_by(2).collect::<Vec<_>>().join("''");
    let calls_other = text.match_indices('(').any(|(at, _)| {
        let head = &text[..at];
        let rest = match head.strip_suffix('"') {
            Some(quoted) => quoted.rsplit_once('"').map_or("", |(rest, _)| rest),
            None => head.trim_end_matches(|char: char| char.is_alphanumeric() || "_$".contains(char)),
        };
        rest.ends_with('.')
    });
    let asks = ["current_setting(", "CURRENT_", "SESSION_USER", "USER", "pg_has_role(", "inet_client_addr("];
    calls_other
        || asks.iter().any(|word| text.contains(word))
        || text.replace("DISTINCT FROM", "").contains("FROM ")
}

/// Both sides of `=` are the same.
fn is_same(condition: &str) -> bool {
    let sides = split(condition, " = ");
    // `random() = random()` is not
    sides.len() == 2 && bare(sides[0]) == bare(sides[1]) && !sides[0].contains("random")
}

/// Removes surrounding parentheses and spaces.
fn bare(mut text: &str) -> &str {
    loop {
        text = text.trim();
        let inner = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        match inner {
            Some(inner) if is_balanced(inner) => text = inner,
            _ => return text,
        }
    }
}

/// Whether the parentheses are balanced.
fn is_balanced(text: &str) -> bool {
    let mut depth = Depth::default();
    text.chars().all(|char| depth.take(char) >= 0) && depth.open == 0
}

/// Splits at a separator outside of parentheses and quotes.
fn split<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, Depth::default());
    for (at, char) in text.char_indices() {
        if depth.is_outside() && at >= start && text[at..].starts_with(separator) {
            parts.push(&text[start..at]);
            start = at + separator.len();
        }
        depth.take(char);
    }
    parts.push(&text[start..]);
    parts
}

/// The depth of parentheses at a position, and whether it is inside quotes.
#[derive(Default)]
struct Depth {
    open: i32,
    quote: Option<char>,
}

impl Depth {
    fn take(&mut self, char: char) -> i32 {
        match (self.quote, char) {
            (Some(quote), _) if quote == char => self.quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => self.quote = Some(char),
            (None, '(') => self.open += 1,
            (None, ')') => self.open -= 1,
            _ => {}
        }
        self.open
    }

    fn is_outside(&self) -> bool {
        self.open == 0 && self.quote.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_for_everything_is_recognised() {
        let open = [
            "true",
            "(true)",
            "(1 = 1)",
            "(user_id = user_id)",
            "((user_id)::text = (user_id)::text)",
            "((user_id = 'a OR b'::text) OR true)",
            "((1 = 1) AND (2 = 2))",
            "('x)'::text = 'x)'::text)",
        ];
        for condition in open {
            assert!(is_always_true(condition), "{condition}");
        }
    }

    #[test]
    fn what_compares_with_something_else_is_not() {
        let closed = [
            "false",
            "(user_id = auth.uid())",
            "((user_id = auth.uid()) AND true)",
            "(user_id = ' OR true'::text)",
            "(user_id = owner_id)",
            "(random() = random())",
            "((a = b) OR (c = d))",
            "(NOT true)",
        ];
        for condition in closed {
            assert!(!is_always_true(condition), "{condition}");
        }
    }

    #[test]
    fn a_condition_that_does_not_ask_who_is_recognised() {
        for condition in [
            "(length((user_id)::text) >= 0)",
            "((user_id)::text ~~ '%'::text)",
            "(user_id = ANY (ARRAY[user_id]))",
            "(1 < 2)",
            "(full_name = 'auth.uid()'::text)",
            "(user_id IS DISTINCT FROM 'x'::text)",
            "((user_id = auth.uid()) OR is_public)",
            "(NOT (1 = 2))",
            "( SELECT true AS bool)",
            "(NOT false)",
            "(user_id IS NOT DISTINCT FROM user_id)",
            "(user_id IS NOT NULL)",
        ] {
            assert!(ignores_who_asks(condition), "{condition}");
        }
        for condition in [
            "false",
            "is_admin.x()",
            "(user_id = ( SELECT auth.uid() AS uid))",
            "((is_public) AND (user_id = auth.uid()))",
            "(user_id = CURRENT_USER)",
            "(user_id = current_setting('app.user'::text, true))",
            "(EXISTS ( SELECT 1 FROM public.members m WHERE (m.user_id = user_profiles.user_id)))",
            "\"My app\".\"is me\"(user_id)",
        ] {
            assert!(!ignores_who_asks(condition), "{condition}");
        }
    }

    #[test]
    fn who_only_has_to_be_signed_in_sees_everything() {
        for condition in [
            "(auth.uid() IS NOT NULL)",
            "(auth.role() = 'authenticated'::text)",
            "(( SELECT auth.uid() AS uid) IS NOT NULL)",
            "(( SELECT auth.role() AS role) = 'anon'::text)",
            "((auth.uid() IS NOT NULL) AND (user_id = user_id))",
        ] {
            assert!(asks_only_for_a_session(condition), "{condition}");
        }
        for condition in ["is_admin()", "((auth.uid() IS NOT NULL) AND (user_id = auth.uid()))"] {
            assert!(!asks_only_for_a_session(condition), "{condition}");
        }
    }
}
