//! The object that refused a statement: the function, constraint, rule or partitioned table that an error of the database
//! names.

use sqlx::postgres::PgDatabaseError;

use crate::error::{Error, ErrorKind};

/// Longer than any two names of Postgres with the dot between them.
const LONGEST: usize = 128;
/// The start of a context line about a function. Other lines quote statements.
const FRAMES: [&str; 2] = ["PL/", "SQL function "];

/// The names of objects in an error. None of them is a value.
#[derive(Debug)]
pub(super) struct RefusedBy {
    /// The function that the table calls and that raised the error.
    pub(super) function: Option<String>,
    pub(super) constraint: Option<String>,
    pub(super) table: Option<String>,
    pub(super) column: Option<String>,
    /// The function in the server's source code.
    routine: Option<String>,
}

impl RefusedBy {
    pub(super) fn of(error: &dyn sqlx::error::DatabaseError) -> Self {
        let postgres = error.try_downcast_ref::<PgDatabaseError>();
        let routine = postgres.and_then(PgDatabaseError::routine).map(str::to_owned);
        let ruled = routine.as_deref().filter(|routine| *routine == "RewriteQuery");
        let ruled = ruled.and_then(|_| relation_in(error.message()));
        Self {
            function: postgres.and_then(PgDatabaseError::r#where).and_then(outermost_function),
            constraint: error.constraint().map(str::to_owned),
            table: error.table().map(str::to_owned).or(ruled),
            column: postgres.and_then(PgDatabaseError::column).map(str::to_owned),
            routine,
        }
    }

    /// Whether a rule of the table rewrote the statement into one that the server cannot run.
    pub(super) fn is_of_rule(&self) -> bool {
        self.is_from("RewriteQuery")
    }

    fn is_from(&self, routine: &str) -> bool {
        self.routine.as_deref() == Some(routine)
    }

    /// The message and hint of a refusal, if the names say more than the SQLSTATE.
    pub(super) fn describe(&self, code: &str) -> Option<Error> {
        let table = self.table.as_deref().unwrap_or("of the statement");
        let (message, hint) = match code {
            "0A000" if self.is_of_rule() => (
                format!("a rule on table {table} rewrites the statement into one that the server cannot run"),
                "check the rules of the table (pg_rules): unlike a rule, a trigger does not rewrite the statement",
            ),
            "22023" if self.is_from("Async_Notify") => (
                "the text of a notification is too long for pg_notify".to_owned(),
                "send the id of the row in the function instead of the row, because tokens are long",
            ),
            // a partition's own check, or the search for a partition, has no constraint name
            "23514" if self.constraint.is_none() && self.function.is_none() => (
                format!("no partition of table {table} accepts the row"),
                "create the partition for the row's partition key, or a default partition",
            ),
            "23514" if self.function.is_none() => (
                "a CHECK of the table refuses the row".to_owned(),
                "check the condition of the constraint: it must allow the tokens and values that the vault writes",
            ),
            "23502" => (
                match &self.column {
                    Some(column) => format!("column {column} of the application must not be null"),
                    None => "a column of the application must not be null".to_owned(),
                },
                "create the row in the application first, or give the column a default",
            ),
            _ => return None,
        };
        Some(Error::new(ErrorKind::Rejected, format!("{message} (SQLSTATE {code})")).with_hint(hint))
    }

    /// Adds the names to the error.
    pub(super) fn name(&self, mut error: Error) -> Error {
        if self.function.is_some() && error.kind() == ErrorKind::Rejected && !self.is_from("Async_Notify") {
            error = error.with_hint(
                "check what the function requires of the row; its own message is in the server's log",
            );
        }
        if let Some(constraint) = &self.constraint {
            error = error.about(format_args!("constraint {constraint}"));
        }
        match &self.function {
            Some(function) => error.about(format_args!("function {function}, which the table calls")),
            None => error,
        }
    }
}

/// The last name in quotes. The message is in the server's language, and this name is its only quoted text.
fn relation_in(message: &str) -> Option<String> {
    let (_, name) = message.strip_suffix('"')?.split_once('"')?;
    Some(name.chars().take(LONGEST).collect())
}

/// The outermost function, which is the one of the table's trigger. The context starts with the innermost function, and
/// quotes statements in between, which may contain values. So only lines about functions are read, and only the name in
/// them.
fn outermost_function(context: &str) -> Option<String> {
    let starts = context.match_indices('\n').map(|(at, _)| at + 1);
    let starts = std::iter::once(0).chain(starts).collect::<Vec<_>>();
    starts.into_iter().rev().find_map(|start| function_of(&context[start..]))
}

/// `public.my name` of `PL/pgSQL function public."my name"(text) line 3 at RAISE`.
fn function_of(frame: &str) -> Option<String> {
    FRAMES.iter().find(|start| frame.starts_with(*start))?;
    let mut rest = frame.lines().next()?.find("function ").map(|at| &frame[at + "function ".len()..])?;
    let mut name = String::new();
    loop {
        let part = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = quote_end(quoted)?;
                rest = &quoted[end + 1..];
                quoted[..end].replace("\"\"", "\"")
            }
            None => {
                let end = rest.find(|char: char| !char.is_alphanumeric() && char != '_' && char != '$')?;
                let (part, after) = rest.split_at(end);
                rest = after;
                part.to_owned()
            }
        };
        name.push_str(&part);
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None => break,
        }
        name.push('.');
    }
    let follows = ["(", " ", "\n"].iter().any(|end| rest.starts_with(end)) || rest.is_empty();
    (follows && !name.is_empty()).then(|| name.chars().take(LONGEST).collect())
}

/// The end of a quoted name, at a quote that is not doubled.
fn quote_end(quoted: &str) -> Option<usize> {
    let mut quotes = quoted.match_indices('"').map(|(at, _)| at).peekable();
    while let Some(at) = quotes.next() {
        match quotes.next_if_eq(&(at + 1)) {
            Some(_) => {}
            None => return Some(at),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_that_the_table_calls_is_named_and_no_value_is() {
        let cases = [
            ("PL/pgSQL function refuse() line 3 at RAISE", Some("refuse")),
            ("PL/pgSQL function app.refuse(text) while casting return value", Some("app.refuse")),
            ("SQL function \"refuse\" statement 1", Some("refuse")),
            ("SQL function \"refuse\" during startup", Some("refuse")),
            (
                "PL/pgSQL function inner() line 1 at RAISE\nSQL statement \"SELECT 'key_test_1'\"\nPL/pgSQL function outer() line 2 at PERFORM",
                Some("outer"),
            ),
            ("PL/pgSQL function \"a b\".\"c(\"\"d\"() line 1 at RAISE", Some("a b.c(\"d")),
            // names that read like the rest of a line, or like another line
            (
                "PL/pgSQL function \"function x(y) line 3 at RAISE\"() line 2 at RAISE",
                Some("function x(y) line 3 at RAISE"),
            ),
            ("PL/pgSQL function \"a\nhealthy\"() line 2 at RAISE", Some("a\nhealthy")),
            ("SQL statement \"UPDATE t SET a = 'function key_test_1() '\"", None),
            ("SQL statement \"UPDATE t\nSET a = 'key_test_1'\"", None),
            ("unnamed portal with parameters: $1 = 'function key_test_1()'", None),
            ("", None),
        ];
        for (context, function) in cases {
            assert_eq!(outermost_function(context).as_deref(), function, "{context}");
        }
    }

    #[test]
    fn the_relation_of_a_rule_is_what_stands_in_quotes() {
        let message = "cannot perform INSERT RETURNING on relation \"user_profiles\"";
        assert_eq!(relation_in(message).as_deref(), Some("user_profiles"));
        assert_eq!(relation_in("no name"), None);
    }
}
