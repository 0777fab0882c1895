//! The values of a record: the JSON text of every field that is set.

use std::fmt;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::record::field::Field;

/// The values of a record: the JSON text of every field that is set, in the order of the names.
///
/// # Security
/// The texts are wiped when dropped. `Debug` shows only the names.
#[derive(Clone, Default)]
pub struct Values {
    texts: Vec<(Field, Zeroizing<String>)>,
    /// They were printed by a type of this crate, whose values are valid.
    is_checked: bool,
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Values {}

impl Values {
    /// No values.
    pub fn new() -> Self {
        // few kinds have more fields: the list does not grow
        Self { texts: Vec::with_capacity(8), is_checked: false }
    }

    /// Sets a field to a JSON string; `None` clears it.
    pub fn put_text(&mut self, field: Field, text: Option<&str>) {
        let json = text.map(quoted);
        self.put(field, json);
    }

    /// Sets a field to a JSON value; `None` clears it. The members of objects are printed in byte order.
    pub fn put_json(&mut self, field: Field, value: Option<&Value>) {
        let json = value.map(|value| {
            let mut text = Zeroizing::new(String::new());
            print_json(value, &mut text);
            text
        });
        self.put(field, json);
    }

    /// Removes and returns a field that holds a JSON string. `None`: it is not set.
    ///
    /// # Errors
    /// `Unsealable` when its value is not a string.
    pub fn take_text(&mut self, field: Field) -> Result<Option<Zeroizing<String>>> {
        let text = self.take(field).map(|json| serde_json::from_str(&json)).transpose();
        text.map_err(|_| not_a_value(field))
    }

    /// Removes and returns a field that holds any JSON. `None`: it is not set.
    ///
    /// # Errors
    /// `Unsealable` when its value is not JSON.
    pub fn take_json(&mut self, field: Field) -> Result<Option<Value>> {
        let value = self.take(field).map(|json| serde_json::from_str(&json)).transpose();
        value.map_err(|_| not_a_value(field))
    }

    /// The names of the fields that are set.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        self.texts.iter().map(|(field, _)| *field)
    }

    /// The same, where the type that printed them holds valid values only: they need not be parsed again.
    pub(crate) fn checked(mut self) -> Self {
        self.is_checked = true;
        self
    }

    pub(crate) fn is_checked(&self) -> bool {
        self.is_checked
    }

    pub(crate) fn put(&mut self, field: Field, json: Option<Zeroizing<String>>) {
        self.is_checked = false;
        match (self.place(field), json) {
            (Ok(at), Some(json)) => self.texts[at].1 = json,
            (Ok(at), None) => drop(self.texts.remove(at)),
            (Err(at), Some(json)) => self.texts.insert(at, (field, json)),
            (Err(_), None) => {}
        }
    }

    fn place(&self, field: Field) -> Result<usize, usize> {
        self.texts.binary_search_by_key(&field, |(held, _)| *held)
    }

    /// All of them, in their order.
    pub(crate) fn into_texts(self) -> impl Iterator<Item = (Field, Zeroizing<String>)> {
        self.texts.into_iter()
    }

    fn take(&mut self, field: Field) -> Option<Zeroizing<String>> {
        let at = self.place(field).ok()?;
        Some(self.texts.remove(at).1)
    }

    /// The JSON text of a field.
    pub(crate) fn get(&self, field: Field) -> Option<&str> {
        self.place(field).ok().map(|at| self.texts[at].1.as_str())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Field, &str)> {
        self.texts.iter().map(|(field, json)| (*field, json.as_str()))
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.fields()).finish()
    }
}

/// A value that was sealed under our key, for this owner and field, and is not valid for the field.
pub(crate) fn not_a_value(field: Field) -> Error {
    Error::new(ErrorKind::Unsealable, format!("the sealed value of {field} is not valid for the field"))
        .with_hint("a newer retell-vault may have written it: upgrade")
}

/// A JSON string, in one buffer that is wiped.
pub(crate) fn quoted(text: &str) -> Zeroizing<String> {
    // an escape takes six bytes at most: the buffer never grows, and leaves no copy behind
    let escapes = text.bytes().filter(|byte| is_escaped(*byte)).count();
    let mut json = Vec::with_capacity(text.len() + 5 * escapes + 2);
    serde_json::to_writer(&mut json, text).expect("a Vec takes everything");
    Zeroizing::new(String::from_utf8(json).expect("JSON is UTF-8"))
}

fn is_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// JSON without white space, the members of objects in the order of their bytes, whatever order `value` keeps.
pub(crate) fn print_json(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            print_list(text, ['{', '}'], members, |(name, value), text| {
                push_quoted(name, text);
                text.push(':');
                print_json(value, text);
            });
        }
        Value::Array(values) => print_list(text, ['[', ']'], values, print_json),
        Value::String(string) => push_quoted(string, text),
        other => text.push_str(&other.to_string()),
    }
}

fn push_quoted(string: &str, text: &mut String) {
    if string.bytes().any(is_escaped) {
        return text.push_str(&quoted(string));
    }
    text.push('"');
    text.push_str(string);
    text.push('"');
}

fn print_list<T>(
    text: &mut String,
    [open, close]: [char; 2],
    items: impl IntoIterator<Item = T>,
    print: impl Fn(T, &mut String),
) {
    text.push(open);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        print(item, text);
    }
    text.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_go_in_and_come_out_and_only_once() {
        let (key, other) = (Field::named("key"), Field::named("other"));
        let mut values = Values::new();
        values.put_text(key, Some("a \"b\" \\ \n ü"));
        values.put_json(other, Some(&json!({"b": [1, "x"], "a": {}})));
        assert_eq!(values.get(key), Some("\"a \\\"b\\\" \\\\ \\n ü\""));
        assert_eq!(values.get(other), Some(r#"{"a":{},"b":[1,"x"]}"#));
        assert_eq!(format!("{values:?}"), "{Field(key), Field(other)}");
        assert!(values.clone().take_text(other).unwrap_err().to_string().contains("other"));
        assert_eq!(values.take_text(key).unwrap().unwrap().as_str(), "a \"b\" \\ \n ü");
        assert_eq!(values.take_text(key).unwrap(), None);
        values.put_text(other, None);
        assert_eq!(values, Values::new());
    }
}
