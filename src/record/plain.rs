//! Plain values, as their own columns hold them.

use serde::de::IgnoredAny;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::record::field::{Field, FieldSpec, ValueKind};
use crate::record::values::{print_json, quoted};

/// What the plain columns of a row hold, or get: the columns that exist, each with its text.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlainTexts(Vec<(Field, Option<String>)>);

impl PlainTexts {
    pub(crate) fn push(&mut self, field: Field, text: Option<String>) {
        self.0.push((field, text));
    }

    /// The text of a field's column; `None`: there is no such column.
    pub(crate) fn column(&self, field: Field) -> Option<Option<&str>> {
        self.0.iter().find(|(held, _)| *held == field).map(|(_, text)| text.as_deref())
    }

    /// The text of a field, if it has one.
    pub(crate) fn text(&self, field: Field) -> Option<&str> {
        self.column(field).flatten()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Field, Option<&str>)> {
        self.0.iter().map(|(field, text)| (*field, text.as_deref()))
    }
}

/// The text that a column gets for a JSON text.
pub(crate) fn to_column(spec: &FieldSpec, json: &str) -> Option<String> {
    match spec.kind {
        ValueKind::Object => Some(json.to_owned()).filter(|json| json != "null"),
        ValueKind::Text => serde_json::from_str(json).ok().flatten(),
    }
}

/// The JSON text of what a column holds, as it is printed before it is hashed.
///
/// # Errors
/// `Malformed` for JSON that cannot be read, because it is too deep or holds a number that is too large.
pub(crate) fn from_column(field: Field, spec: &FieldSpec, text: &str) -> Result<Zeroizing<String>> {
    if spec.kind == ValueKind::Text {
        return Ok(quoted(text));
    }
    let unreadable = |_| {
        let message =
            format!("the column of {field} holds JSON that is too deep, or has a number that is too large");
        Error::new(ErrorKind::Malformed, message)
            .with_hint("correct the value in the column, or set it to NULL")
    };
    let value: Value = serde_json::from_str(text).map_err(unreadable)?;
    let mut json = Zeroizing::new(String::with_capacity(text.len()));
    print_json(&value, &mut json);
    Ok(json)
}

/// Whether a JSON text is a value of a field: it comes back from a column unchanged.
pub(crate) fn holds(spec: &FieldSpec, json: &str) -> bool {
    if spec.is_secret {
        return json != "null" && serde_json::from_str::<IgnoredAny>(json).is_ok();
    }
    if spec.kind == ValueKind::Object && !json.starts_with('{') {
        return false;
    }
    let Some(text) = to_column(spec, json) else { return false };
    let back = from_column(Field::RECORD, spec, &text);
    back.is_ok_and(|back| back.as_str() == json) && (spec.is_valid)(json)
}

/// Whether the JSON text of a column stands for "not set". The same text may be a value that was stored.
pub(crate) fn is_unset(spec: &FieldSpec, json: &str) -> bool {
    match spec.kind {
        ValueKind::Object => json == "null" || json == spec.unset,
        ValueKind::Text => json == "\"\"" || json == quoted(spec.unset).as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: FieldSpec = FieldSpec::plain("status").unset_as("none");
    const OBJECT: FieldSpec = FieldSpec::plain("webhook").object();

    fn read(spec: &FieldSpec, text: &str) -> Result<Option<String>> {
        let json = from_column(Field::named("webhook"), spec, text)?;
        Ok(Some(json).filter(|json| !is_unset(spec, json)).map(|json| json.to_string()))
    }

    #[test]
    fn what_a_column_gets_comes_back_as_it_was_printed() {
        for (spec, json) in [(&TEXT, r#""a \"b\"""#), (&OBJECT, r#"{"a":[1,"x"],"b":null}"#)] {
            let text = to_column(spec, json).unwrap();
            assert_eq!(read(spec, &text).unwrap().as_deref(), Some(json));
        }
        // as jsonb prints it
        assert_eq!(read(&OBJECT, r#"{"b": 1, "aa": 2}"#).unwrap().as_deref(), Some(r#"{"aa":2,"b":1}"#));
    }

    #[test]
    fn what_stands_for_nothing_is_not_set_and_what_cannot_be_read_is_an_error() {
        for (spec, text) in
            [(&TEXT, ""), (&TEXT, "none"), (&OBJECT, "null"), (&OBJECT, "{}"), (&OBJECT, " { }")]
        {
            assert_eq!(read(spec, text).unwrap(), None, "{text}");
        }
        assert_eq!(to_column(&TEXT, "null"), None);
        assert_eq!(to_column(&OBJECT, "null"), None);
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for text in [deep.as_str(), "1e400", "{"] {
            let error = read(&OBJECT, text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert!(error.to_string().contains("webhook"));
        }
    }
}
