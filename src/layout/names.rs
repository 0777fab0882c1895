//! Checks the names of tables and columns.

use crate::error::{Error, ErrorKind, Result};

/// Longest name of a Postgres object in bytes (NAMEDATALEN - 1).
const MAX_NAME: usize = 63;

/// Splits at dots outside double quotes; two double quotes inside quotes mean one.
pub(super) fn split_name(name: &str) -> Result<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut chars = name.chars().peekable();
    while let Some(char) = chars.next() {
        let part = parts.last_mut().expect("starts with one");
        match char {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            other => part.push(other),
        }
    }
    match quoted {
        true => Err(invalid("table has an unclosed double quote")),
        false => Ok(parts),
    }
}

pub(super) fn checked(name: String, what: &str) -> Result<String> {
    match name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        true => Err(invalid(&format!("{what} must be a name of 1 to 63 bytes without control characters"))),
        false => Ok(name),
    }
}

/// The system columns, which every table has.
pub(super) const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

pub(super) fn column_name(name: &str, what: &str) -> Result<String> {
    match SYSTEM_COLUMNS.contains(&name) {
        true => Err(invalid(&format!(
            "{what} must be an ordinary column of the table; {name} is a system column"
        ))),
        false => checked(name.to_owned(), what),
    }
}

pub(super) fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
