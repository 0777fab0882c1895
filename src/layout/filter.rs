//! The filter of a layout: rows with constants in some columns and NULL in others.

use crate::error::{Error, ErrorKind, Result};

/// The value that a column must hold for its row to pass the filter. See
/// [`Layout::where_equals`](crate::Layout::where_equals).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FilterValue {
    /// For a column of type `text` or `varchar`, of an enum, or of a domain over one of them.
    Text(String),
    /// For a column of type `smallint`, `integer` or `bigint`, or of a domain over one of them.
    Integer(i64),
    /// For a column of type `boolean`, or of a domain over it.
    Boolean(bool),
}

impl FilterValue {
    /// The name of the type in messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "integer",
            Self::Boolean(_) => "boolean",
        }
    }
}

impl From<&str> for FilterValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for FilterValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for FilterValue {
    fn from(is_set: bool) -> Self {
        Self::Boolean(is_set)
    }
}

/// Whether the application or the vault creates the row of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rows {
    /// The application creates it. A store for an owner without a row fails.
    Existing,
    /// A store creates the row if there is none.
    Create,
}

impl Rows {
    /// `existing` or `create`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Existing => "existing",
            Self::Create => "create",
        }
    }
}

/// The longest text of a constant in bytes.
const MAX_TEXT: usize = 255;

/// The filter of a layout. If it is empty, every row passes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) equals: Vec<(String, FilterValue)>,
    pub(crate) is_null: Vec<String>,
}

impl Filter {
    /// Adds a constant. Another one for the same column replaces the first.
    ///
    /// # Errors
    /// Those of [`Filter::check`].
    pub(super) fn put(&mut self, column: String, value: FilterValue) -> Result<()> {
        Self::check(&column, &value)?;
        match self.equals.iter_mut().find(|(known, _)| *known == column) {
            Some((_, constant)) => *constant = value,
            None => self.equals.push((column, value)),
        }
        Ok(())
    }

    /// # Errors
    /// `InvalidInput` for a text that no column can hold.
    pub(crate) fn check(column: &str, value: &FilterValue) -> Result<()> {
        match value {
            FilterValue::Text(text) if text.len() > MAX_TEXT || text.chars().any(char::is_control) => {
                let message = format!(
                    "the value of column {column} must be at most {MAX_TEXT} bytes without control characters"
                );
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
            _ => Ok(()),
        }
    }

    /// Whether no row can pass both filters, because a column would have to hold two different values.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        let differs = |(column, value): &(String, FilterValue)| {
            let by_value = other.equals.iter().any(|(theirs, held)| theirs == column && held != value);
            by_value || other.is_null.contains(column)
        };
        let nothing = |column: &String| other.equals.iter().any(|(theirs, _)| theirs == column);
        self.equals.iter().any(differs) || self.is_null.iter().any(nothing)
    }

    /// Its conditions as messages show them, in the order of the columns.
    pub(crate) fn printed(&self) -> Vec<String> {
        let equals = self.equals.iter().map(|(column, value)| match value {
            FilterValue::Text(text) => format!("{column} = '{text}'"),
            FilterValue::Integer(number) => format!("{column} = {number}"),
            FilterValue::Boolean(is_set) => format!("{column} = {is_set}"),
        });
        let mut printed: Vec<String> =
            equals.chain(self.is_null.iter().map(|column| format!("{column} is null"))).collect();
        printed.sort();
        printed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.equals.is_empty() && self.is_null.is_empty()
    }

    /// The columns of the filter.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.equals.iter().map(|(column, _)| column).chain(&self.is_null).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(equals: &[(&str, FilterValue)], is_null: &[&str]) -> Filter {
        let equals = equals.iter().map(|(column, value)| ((*column).to_owned(), value.clone())).collect();
        Filter { equals, is_null: is_null.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn filters_exclude_each_other_only_where_no_row_can_pass_both() {
        let retell = filter(&[("provider", "retell".into())], &[]);
        let twilio = filter(&[("provider", "twilio".into())], &["deleted_at"]);
        let deleted = filter(&[("deleted_at", 1.into())], &[]);
        assert!(retell.excludes(&twilio) && twilio.excludes(&retell));
        assert!(twilio.excludes(&deleted) && deleted.excludes(&twilio));
        for same in [&retell, &deleted, &Filter::default()] {
            assert!(!retell.excludes(same) && !same.excludes(&retell));
        }
    }

    #[test]
    fn a_constant_that_no_column_holds_is_refused() {
        assert!(Filter::check("provider", &"retell".into()).is_ok());
        assert!(Filter::check("provider", &true.into()).is_ok());
        for bad in ["a\nb", &"x".repeat(256)] {
            let error = Filter::check("provider", &bad.into()).unwrap_err();
            assert!(error.to_string().contains("provider") && !error.to_string().contains(bad));
        }
    }
}
