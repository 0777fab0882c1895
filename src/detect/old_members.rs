//! The members of JSON values that hold credentials: their paths, fields and forms.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::detect::names::{self, Meaning, Name};
use crate::detect::old_form::{self, OldForm};
use crate::detect::providers::{Class, Provider};
use crate::detect::shapes::{ValueShape, shape};
use crate::record::field::Field;

/// How many values have each form.
pub(super) type FormCounts = BTreeMap<OldForm, usize>;

/// Further words in the names of members. A name of other words may be an owner's id, or a secret, and is not shown.
const WORDS: [&str; 46] = [
    "accounts",
    "ai",
    "agents",
    "apis",
    "assistants",
    "bot",
    "caller",
    "calling",
    "calls",
    "clients",
    "configuration",
    "connection",
    "connections",
    "creds",
    "credential",
    "data",
    "default",
    "development",
    "external",
    "follow",
    "followup",
    "hook",
    "hooks",
    "integrations",
    "live",
    "messaging",
    "meta",
    "metadata",
    "options",
    "phones",
    "preferences",
    "private",
    "prod",
    "production",
    "provider",
    "providers",
    "secrets",
    "service",
    "services",
    "setting",
    "signing",
    "telephony",
    "text",
    "up",
    "value",
    "values",
];

/// How deep members are searched.
const DEEPEST: usize = 4;

/// What the JSON values of one column hold.
#[derive(Default)]
pub(super) struct OldMembers {
    /// Of each path, its field, and how many values have each form.
    pub(super) paths: BTreeMap<String, (Field, FormCounts)>,
    /// The forms of values that are encrypted as a whole.
    pub(super) as_whole: FormCounts,
    /// How many values are objects with members.
    pub(super) objects: usize,
    /// How many credentials have no path that a source can name: they are in a list, or the name of a member is not known.
    pub(super) without_path: usize,
}

/// The members around a value.
#[derive(Clone, Copy)]
struct Around<'a> {
    path: &'a str,
    provider: Option<&'static Provider>,
    is_webhook: bool,
    depth: usize,
}

impl OldMembers {
    /// `is_theirs`: members whose names tell no provider are the provider's too. `is_webhook`: the values are settings of a webhook.
    pub(super) fn add(&mut self, text: &str, is_theirs: bool, is_webhook: bool) {
        let Ok(Value::Object(object)) = serde_json::from_str(text) else { return };
        if let Some(form) = old_form::of_object(&object) {
            *self.as_whole.entry(form).or_default() += 1;
        } else if !object.is_empty() {
            self.objects += 1;
            self.walk(&object, Around { path: "", provider: None, is_webhook, depth: 0 }, is_theirs);
        }
    }

    fn walk(&mut self, object: &Map<String, Value>, around: Around<'_>, is_theirs: bool) {
        for (member, value) in object {
            let name = Name::of(member);
            let provider = name.provider.or(around.provider);
            if provider.is_some_and(|provider| provider.class != Class::Retell) {
                continue;
            }
            let is_ours = is_theirs || provider.is_some();
            let path = match around.path {
                "" => member.clone(),
                above => format!("{above}.{member}"),
            };
            let is_webhook = around.is_webhook || name.has(&["webhook"]);
            let below = Around { path: &path, provider, is_webhook, depth: around.depth + 1 };
            let has_path = is_named(member, &name);
            match (value, field(&name, value, around.is_webhook, is_ours)) {
                (_, Some(_)) if !has_path => self.without_path += 1,
                (Value::String(text), Some(field)) => {
                    self.put(&path, field, old_form::of_text(text, name.says_encrypted()));
                }
                (Value::Object(inner), found) => match (old_form::of_object(inner), found) {
                    (Some(form), Some(field)) => self.put(&path, field, form),
                    (None, Some(field)) if field.name() == "webhook_config" && !inner.is_empty() => {
                        self.put(&path, field, OldForm::Plaintext);
                        self.walk(inner, below, is_theirs);
                    }
                    (None, _) if around.depth < DEEPEST && has_path => self.walk(inner, below, is_theirs),
                    (None, _) => self.without_path += in_list(&values(inner), around.depth),
                    _ => {}
                },
                (Value::Array(items), _) => self.without_path += in_list(items, 0),
                _ => {}
            }
        }
    }

    fn put(&mut self, path: &str, field: Field, form: OldForm) {
        if form != OldForm::Nothing {
            let (_, forms) = self.paths.entry(path.to_owned()).or_insert_with(|| (field, FormCounts::new()));
            *forms.entry(form).or_default() += 1;
        }
    }
}

fn is_named(member: &str, name: &Name) -> bool {
    let is_plain = member.chars().all(|char| char.is_ascii_alphanumeric() || char == '_' || char == '-');
    let is_known = |word: &String| names::is_known(word) || WORDS.contains(&word.as_str());
    is_plain && !name.words.is_empty() && name.words.iter().all(is_known)
}

/// The field that a member is, by its name, or by the form of its value.
fn field(name: &Name, value: &Value, is_webhook: bool, is_ours: bool) -> Option<Field> {
    let shape = value.as_str().map_or(ValueShape::Other, shape);
    let is_text_or_object = value.is_string() || value.is_object();
    let named = match name.meaning() {
        _ if !is_text_or_object => return None,
        Meaning::Key(5..) if is_ours && is_webhook => "webhook_key",
        Meaning::Key(5..) if is_ours => "api_key",
        Meaning::WebhookKey if is_ours => "webhook_key",
        Meaning::Agent(field) if is_ours || shape == ValueShape::RetellAgent => field,
        Meaning::PhoneNumber if is_ours && name.words.ends_with(&["phone".into(), "number".into()]) => {
            "phone_number"
        }
        Meaning::Config if is_ours && value.is_object() && name.words == ["webhook", "config"] => {
            "webhook_config"
        }
        _ if shape == ValueShape::RetellKey => "api_key",
        _ => return None,
    };
    named.parse().ok()
}

fn values(object: &Map<String, Value>) -> Vec<Value> {
    object.values().cloned().collect()
}

/// How many keys of Retell are in a list.
fn in_list(items: &[Value], depth: usize) -> usize {
    let inside = |item: &Value| match item {
        Value::String(text) => usize::from(matches!(shape(text), ValueShape::RetellKey)),
        Value::Array(items) if depth < DEEPEST => in_list(items, depth + 1),
        Value::Object(object) if depth < DEEPEST => in_list(&values(object), depth + 1),
        _ => 0,
    };
    items.iter().map(inside).sum()
}
