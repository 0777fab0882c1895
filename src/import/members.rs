//! JSON that holds several fields: which member is which field, and what each of them opens to.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::import::old_value::{Decryptor, OpenedValue, Opening, Refused, StoredForm, StoredValue};
use crate::layout::layout::Layout;
use crate::record::field::{Field, ValueKind};
use crate::record::values::Values;
use crate::retell::json::wipe;

/// Which members of a JSON object hold which fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// The path of each member, its names divided by dots.
    paths: Vec<(String, Field)>,
    /// The fields whose value is an object.
    objects: Vec<Field>,
}

impl Members {
    /// The members by the names of the fields of a layout, with and without the namespace in front: `api_key` and `retell_api_key`.
    /// A `secret` in `webhook_config` is the field `webhook_key`.
    pub fn of(layout: &Layout) -> Self {
        let mut paths = Vec::new();
        for (field, _) in layout.fields.each() {
            paths.push((field.to_string(), field));
            paths.push((format!("{}_{field}", layout.fields.namespace), field));
        }
        let webhook_key = Field::named("webhook_key");
        if layout.fields.knows(webhook_key) {
            let old = ["webhook_config.secret", "webhook_secret"];
            paths.extend(old.map(|path| (path.to_owned(), webhook_key)));
        }
        Self { paths, objects: objects(layout) }
    }

    /// Only these members. A path is `api_key`, or `retell.api_key` for a member of a member.
    ///
    /// # Errors
    /// `InvalidInput` for an empty path, and for a field that the layout does not have.
    pub fn only(layout: &Layout, paths: &[(&str, Field)]) -> Result<Self> {
        for (path, field) in paths {
            if path.split('.').any(str::is_empty) {
                return Err(Error::new(ErrorKind::InvalidInput, "the path of a member has an empty name"));
            }
            if !layout.fields.knows(*field) {
                let message = format!("a member cannot be {field}: it is not a field of the layout");
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        }
        let paths = paths.iter().map(|(path, field)| ((*path).to_owned(), *field)).collect();
        Ok(Self { paths, objects: objects(layout) })
    }

    /// Whether a member at this path is this field.
    pub(crate) fn has(&self, path: &str, field: Field) -> bool {
        self.paths.iter().any(|(known, of)| known == path && *of == field)
    }

    /// The members of an object that are fields, as they are stored.
    pub(crate) fn stored<'a>(&self, object: &'a Map<String, Value>) -> Vec<(Field, &'a Value)> {
        self.paths.iter().filter_map(|(path, field)| Some((*field, at(object, path)?.0))).collect()
    }

    /// Opens every member of a JSON value. Text that is JSON is read as JSON.
    pub fn open(&self, decryptor: &dyn Decryptor, owner: &str, json: &Value) -> OpenedMembers {
        self.open_with_paths(decryptor, owner, json).0
    }

    /// The same, with the paths of the members that opened to the value of their field. Members of members come first.
    pub(super) fn open_with_paths(
        &self,
        decryptor: &dyn Decryptor,
        owner: &str,
        json: &Value,
    ) -> (OpenedMembers, Vec<(Field, String)>) {
        let (mut each, mut opened) = (Vec::new(), OpenedMembers::default());
        match json {
            Value::Object(object) => self.open_object(decryptor, owner, object, (&mut opened, &mut each)),
            Value::String(text) => match serde_json::from_str(text) {
                Ok(Value::Object(object)) => {
                    self.open_object(decryptor, owner, &object, (&mut opened, &mut each));
                    wipe(&mut Value::Object(object));
                }
                _ if text.trim().is_empty() => {}
                // it was an object before it was cut off or altered, and may have held a key
                Err(_) if text.trim_start().starts_with('{') => opened.refused = Some(UNREADABLE),
                _ => opened.refused = Some(NOT_AN_OBJECT),
            },
            Value::Null => {}
            _ => opened.refused = Some(NOT_AN_OBJECT),
        }
        let gives = |field: &Field, own: &Opening| match (own, opened.fields.get(field)) {
            (Opening::Opened(own), Some(Opening::Opened(value))) => own.text() == value.text(),
            _ => false,
        };
        let giving = each.into_iter().filter(|(field, _, own)| gives(field, own));
        let mut paths: Vec<_> = giving.map(|(field, path, _)| (field, path)).collect();
        paths.sort_by_key(|(_, path)| std::cmp::Reverse(path.matches('.').count()));
        (opened, paths)
    }

    /// The members of a JSON value that are not empty: each field with the path of its member. Members of members come first.
    pub(super) fn filled(&self, json: &Value) -> Vec<(Field, String)> {
        let parsed = match json {
            Value::String(text) => serde_json::from_str(text).ok(),
            _ => None,
        };
        let mut filled = Vec::new();
        if let Some(object) = parsed.as_ref().unwrap_or(json).as_object() {
            let is_filled = |path: &str| {
                at(object, path).is_some_and(|(value, _)| {
                    !(value.is_null() || value == "" || *value == Value::Object(Map::new()))
                })
            };
            let here = self.paths.iter().filter(|(path, _)| is_filled(path));
            filled.extend(here.map(|(path, field)| (*field, path.clone())));
        }
        if let Some(mut parsed) = parsed {
            wipe(&mut parsed);
        }
        filled.sort_by_key(|(_, path)| std::cmp::Reverse(path.matches('.').count()));
        filled
    }

    fn open_object(
        &self,
        decryptor: &dyn Decryptor,
        owner: &str,
        object: &Map<String, Value>,
        (opened, each): (&mut OpenedMembers, &mut Vec<(Field, String, Opening)>),
    ) {
        let mut has_any = object.is_empty();
        for (path, field) in &self.paths {
            let Some((value, beside)) = at(object, path) else { continue };
            has_any = true;
            let stored = |content| StoredValue {
                field: *field,
                content,
                owner,
                beside: Some(beside),
                iv: None,
                tag: None,
            };
            let result = match value {
                Value::Null => Opening::Unset,
                Value::String(text) => decryptor.open(&stored(StoredForm::Text(text))),
                Value::Object(object) => {
                    let mut own = self.without_other_fields(path, object);
                    let result = match own.is_empty() {
                        true => Opening::Unset,
                        false => decryptor.open(&stored(StoredForm::Object(&own))),
                    };
                    own.values_mut().for_each(wipe);
                    result
                }
                _ => Opening::not_a_credential("json", "neither a text nor an object"),
            };
            let result = self.checked(*field, result);
            each.push((*field, path.clone(), result.clone()));
            opened.put(*field, result);
        }
        if !has_any {
            opened.refused = Some(NO_MEMBER);
        }
    }

    /// An object without the members that are fields of their own.
    fn without_other_fields(&self, path: &str, object: &Map<String, Value>) -> Map<String, Value> {
        let is_other = |name: &str| self.paths.iter().any(|(other, _)| *other == format!("{path}.{name}"));
        let own = object.iter().filter(|(name, _)| !is_other(name));
        own.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// A field of text does not take an object, and the reverse.
    fn checked(&self, field: Field, result: Opening) -> Opening {
        let is_object = |value: &OpenedValue| {
            serde_json::from_str::<Value>(value.text()).is_ok_and(|mut json| {
                let is_object = json.is_object();
                wipe(&mut json);
                is_object
            })
        };
        match &result {
            Opening::Opened(value) if is_object(value) != self.objects.contains(&field) => {
                Opening::not_a_credential(
                    value.shape(),
                    "an object in place of a text, or a text in place of an object",
                )
            }
            _ => result,
        }
    }
}

/// The value is damaged: it may have held a credential.
pub(super) const UNREADABLE: Refused = Refused { shape: "json", reason: "JSON that cannot be read" };
const NOT_AN_OBJECT: Refused = Refused { shape: "json", reason: "JSON that is not an object" };
const CONTRADICTION: &str = "two members of one value give this field different values";
const NO_MEMBER: Refused = Refused { shape: "json", reason: "JSON without a member that is a field" };

fn objects(layout: &Layout) -> Vec<Field> {
    let objects = layout.fields.each().filter(|(_, spec)| spec.kind == ValueKind::Object);
    objects.map(|(field, _)| field).collect()
}

/// The value at a path, and the object that it is a member of.
fn at<'a>(object: &'a Map<String, Value>, path: &str) -> Option<(&'a Value, &'a Map<String, Value>)> {
    match path.split_once('.') {
        None => Some((object.get(path)?, object)),
        Some((first, rest)) => at(object.get(first)?.as_object()?, rest),
    }
}

/// Sets a field to a value that opened.
///
/// # Errors
/// `InvalidInput` if the value should be JSON and is not.
pub(super) fn put_opened(
    values: &mut Values,
    field: Field,
    value: &OpenedValue,
    layout: &Layout,
) -> Result<()> {
    if layout.fields.spec(field).is_none_or(|spec| spec.kind != ValueKind::Object) {
        values.put_text(field, Some(value.text()));
        return Ok(());
    }
    let json = serde_json::from_str(value.text());
    let mut json =
        json.map_err(|_| Error::new(ErrorKind::InvalidInput, format!("{field}: the old value is not JSON")))?;
    values.put_json(field, Some(&json));
    wipe(&mut json);
    Ok(())
}

/// What the members of one JSON value opened to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenedMembers {
    /// The result of each field that has a member.
    pub fields: BTreeMap<Field, Opening>,
    /// Why the value as a whole is not a credential, or cannot be read.
    pub refused: Option<Refused>,
}

impl OpenedMembers {
    /// The values that opened, for [`Credentials::from_values`](crate::config::Credentials::from_values), which checks the limits of the
    /// vault.
    ///
    /// # Errors
    /// `InvalidInput` if a value that should be JSON is not. The error does not repeat it.
    pub fn values(&self, layout: &Layout) -> Result<Values> {
        let mut values = Values::new();
        for (field, result) in &self.fields {
            if let Opening::Opened(value) = result {
                put_opened(&mut values, *field, value, layout)?;
            }
        }
        Ok(values)
    }

    fn put(&mut self, field: Field, result: Opening) {
        let known = self.fields.entry(field).or_insert(Opening::Unset);
        *known = match (&*known, &result) {
            (Opening::Unset, _) => result,
            (_, Opening::Unset) => return,
            (Opening::Opened(known), Opening::Opened(new)) if known.text() == new.text() => return,
            (Opening::Opened(_), Opening::Opened(new)) => Opening::corrupt(new.shape(), CONTRADICTION),
            // one that contradicts does not become right by a third
            (Opening::Corrupt(refused), _) if refused.reason == CONTRADICTION => return,
            // what opened is better than what did not
            (_, Opening::Opened(_)) => result,
            _ => return,
        };
    }
}
