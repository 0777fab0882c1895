//! A member of the layout file as TOML has it, with its place for messages.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::filter::{FilterValue, Rows};
use crate::layout::layout::Layout;

/// A member of a table, or an item of a list.
pub(super) struct Member<'a> {
    /// The text of the file.
    file: &'a str,
    pub(super) name: &'a str,
    /// For a member `table` or `columns`, and those in them.
    path: String,
    /// The place as messages name it: `table.user, line 3`.
    pub(super) place: String,
    pub(super) value: &'a DeValue<'a>,
}

/// The members of a table in the order of the file.
pub(super) fn members<'a>(file: &'a str, parent: Option<&str>, table: &'a DeTable<'a>) -> Vec<Member<'a>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    let member = |(name, value): (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)| {
        let path = match parent {
            Some(parent) => format!("{parent}.{}", name.get_ref()),
            None => name.get_ref().to_string(),
        };
        let place = format!("{path}, line {}", line(file, name.span()));
        Member { file, name: name.get_ref(), path, place, value: value.get_ref() }
    };
    entries.into_iter().map(member).collect()
}

impl<'a> Member<'a> {
    pub(super) fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong_type("a text"))
    }

    pub(super) fn boolean(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.wrong_type("true or false"))
    }

    pub(super) fn members(&self) -> Result<Vec<Member<'a>>> {
        let table = self.value.as_table().ok_or_else(|| self.wrong_type("a table"))?;
        Ok(members(self.file, Some(&self.path), table))
    }

    /// The items of a list, such as `a list of texts`.
    pub(super) fn items(&self, expected: &str) -> Result<Vec<Member<'a>>> {
        let list = self.value.as_array().ok_or_else(|| self.wrong_type(expected))?;
        let item = |item: &'a Spanned<DeValue<'a>>| Member {
            file: self.file,
            name: self.name,
            path: self.path.clone(),
            place: format!("{}, line {}", self.path, line(self.file, item.span())),
            value: item.get_ref(),
        };
        Ok(list.iter().map(item).collect())
    }

    /// The constant of a column, which is a member of this one. Messages do not show the name of the column.
    pub(super) fn constant(&self, column: &Member<'_>) -> Result<FilterValue> {
        match column.value {
            DeValue::String(text) => Ok(FilterValue::Text(text.to_string())),
            DeValue::Boolean(is_set) => Ok(FilterValue::Boolean(*is_set)),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map(FilterValue::Integer)
                .map_err(|_| invalid("the integer does not fit in 64 bits").about(&self.place)),
            _ => Err(self.wrong_type("a text, an integer or a boolean for each column")),
        }
    }

    pub(super) fn rows(&self) -> Result<Rows> {
        let both = [Rows::Existing, Rows::Create];
        let named = both.into_iter().find(|rows| self.value.as_str() == Some(rows.as_str()));
        named.ok_or_else(|| self.wrong_type("\"existing\" or \"create\""))
    }

    /// The result of a method of [`Layout`]. Adds the place to an error.
    pub(super) fn checked(&self, made: Result<Layout>) -> Result<Layout> {
        made.map_err(|error| error.about(&self.place))
    }

    pub(super) fn wrong_type(&self, expected: &str) -> Error {
        invalid(format!("expected {expected}")).about(&self.place)
    }

    /// Shows the name only if it is close to a known one, because it may be a secret in the wrong place.
    pub(super) fn unknown(&self, known: &[&str]) -> Error {
        let line = self.place.rsplit(", ").next().unwrap_or_default();
        let parent = self.path.strip_suffix(self.name).unwrap_or_default().trim_end_matches('.');
        let of = if parent.is_empty() { "the file".to_owned() } else { format!("[{parent}]") };
        let message = match nearest(self.name, known) {
            Some(_) => format!("{}: unknown member", self.place),
            None => format!("{of}, {line}: unknown member (its name is not shown)"),
        };
        invalid(message).with_hint(meant(self.name, known))
    }
}

/// The hint for an unknown name.
pub(super) fn meant(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`? See docs/LAYOUT.md"),
        None => format!("the known members are: {}", known.join(", ")),
    }
}

/// The known name that is similar to this one, if there is one.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // the number of letters that may differ
    let near = |word: &str| (1 + word.len() / 4).min(4);
    let distance = |word: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &word.to_lowercase());
    let scored = known.iter().map(|word| (distance(word), *word));
    scored.filter(|(distance, word)| *distance <= near(word)).min().map(|(_, word)| word)
}

pub(super) fn not_toml(file: &str, error: &toml::de::Error) -> Error {
    let place = error.span().map_or_else(String::new, |span| format!(", line {}", line(file, span)));
    // only the message, because its `Display` repeats the line
    invalid(format!("the layout file is not TOML{place}: {}", error.message()))
        .with_hint("put texts in double quotes; docs/LAYOUT.md has an example")
}

/// The line on which a span starts, counted from 1.
fn line(file: &str, span: Range<usize>) -> usize {
    1 + file.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
