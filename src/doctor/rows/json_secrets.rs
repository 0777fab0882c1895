//! Secrets in JSON that belongs to the application, found by the names of their keys.

use serde_json::{Map, Value};
use url::Url;

use crate::doctor::rows::name_patterns::{is_credential, is_secret_key, is_secret_parameter, may_be_told};
use crate::doctor::rows::text_class::{TextClass, classify};

/// Replaces the index of a list item.
const ANY_ITEM: &str = "[]";
/// Replaces a key that may itself be a secret.
const UNTOLD: &str = "…";
/// Members that hold the value of a key whose name looks like a secret.
const INNER: [&str; 4] = ["value", "plain", "plaintext", "raw"];
/// Members that hold the name of a pair such as `{"name": "Authorization", "value": "…"}`.
const NAMES: [&str; 3] = ["name", "key", "header"];

/// The place of a find in a JSON value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JsonPath {
    /// The keys from the root.
    pub(crate) keys: Vec<String>,
    /// Whether it is an address that contains a password or a token.
    pub(crate) in_address: bool,
}

impl JsonPath {
    /// An unnamed place, used if there are too many.
    pub(crate) fn somewhere() -> Self {
        Self { keys: vec![UNTOLD.to_owned()], in_address: false }
    }

    /// Whether the path names the value exactly, without a list or a hidden key.
    pub(crate) fn is_exact(&self) -> bool {
        self.keys.iter().all(|key| key != ANY_ITEM && key != UNTOLD)
    }
}

/// Searches JSON of other code: beside the vault's member of the config column, or in the webhook's settings.
pub(crate) fn look_into(value: &Value, found: &mut Vec<(JsonPath, TextClass)>) {
    JsonSearch { keys: Vec::new(), found }.value(value, false);
}

/// As deep as JSON is read at all.
struct JsonSearch<'a> {
    keys: Vec<String>,
    found: &'a mut Vec<(JsonPath, TextClass)>,
}

impl JsonSearch<'_> {
    fn value(&mut self, value: &Value, is_secret: bool) {
        match value {
            Value::String(text) => self.text(text, is_secret),
            Value::Array(items) => self.under(ANY_ITEM, |search| {
                items.iter().for_each(|item| search.value(item, is_secret));
            }),
            Value::Object(object) => self.object(object, is_secret),
            _ => {}
        }
    }

    fn under(&mut self, key: &str, look: impl FnOnce(&mut Self)) {
        self.keys.push(key.to_owned());
        look(self);
        self.keys.pop();
    }

    fn object(&mut self, object: &Map<String, Value>, is_secret: bool) {
        let told = NAMES.iter().find_map(|name| object.get(*name)?.as_str());
        let pair = told.filter(|_| object.contains_key("value"));
        for (name, value) in object {
            let by_name = match pair {
                Some(told) if name == "value" => is_secret_key(told),
                Some(_) if NAMES.contains(&name.as_str()) => false,
                _ => is_secret_key(name) || (is_secret && INNER.contains(&name.as_str())),
            };
            // in an object whose key looks like a secret, each member is judged by its own name
            let key = if may_be_told(name) { name } else { UNTOLD };
            self.under(key, |search| {
                if is_credential(name) {
                    search.push(false, TextClass::Plaintext);
                }
                search.value(value, by_name);
            });
        }
    }

    fn text(&mut self, text: &str, is_secret: bool) {
        match classify(text) {
            TextClass::Empty | TextClass::Tokens => {}
            class if is_secret => self.push(false, class),
            _ if is_credential(text) => self.push(false, TextClass::Plaintext),
            _ if holds_secret(text) => self.push(true, TextClass::Plaintext),
            _ => {}
        }
    }

    fn push(&mut self, in_address: bool, class: TextClass) {
        let keys = if self.keys.is_empty() { JsonPath::somewhere().keys } else { self.keys.clone() };
        self.found.push((JsonPath { keys, in_address }, class));
    }
}

/// Whether an address contains a password, or a parameter whose name looks like a secret.
fn holds_secret(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let fragment = url::form_urlencoded::parse(url.fragment().unwrap_or_default().as_bytes());
    let mut parameters = url.query_pairs().chain(fragment);
    let parameter = parameters.any(|(name, value)| is_secret_parameter(&name) && !value.is_empty());
    url.has_authority() && (parameter || !url.username().is_empty() || url.password().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str) -> Vec<(String, bool, TextClass)> {
        let mut found = Vec::new();
        look_into(&serde_json::from_str::<Value>(json).unwrap(), &mut found);
        found.into_iter().map(|(path, class)| (path.keys.join("."), path.in_address, class)).collect()
    }

    #[test]
    fn secrets_are_found_by_the_names_of_their_keys() {
        let json = r#"{"apiKey":"key_test_1","voice":"anna","nested":{"token":"a2V5X3Rlc3RfMTIz"},"secret":"",
            "list":["x"],"key_98345798345":"x"}"#;
        let expected = [
            ("apiKey".to_owned(), false, TextClass::Plaintext),
            // `key` and a number, and not told
            ("…".to_owned(), false, TextClass::Plaintext),
            ("nested.token".to_owned(), false, TextClass::Encoded),
        ];
        assert_eq!(found(json), expected);
    }

    #[test]
    fn secrets_are_found_however_they_are_packed() {
        for (json, path) in [
            (r#"{"accounts":[{"api_key":"x"}]}"#, "accounts.[].api_key"),
            (r#"{"api_key":["x"]}"#, "api_key.[]"),
            (r#"{"api_key":{"value":"x"}}"#, "api_key.value"),
            (r#"{"a":{"b":{"c":{"d":{"e":{"api_key":"x"}}}}}}"#, "a.b.c.d.e.api_key"),
            (r#"{"0123456789abcdef":{"token":"t"}}"#, "….token"),
            (r#"{"retell":"key_0123456789abcdef01234567"}"#, "retell"),
            (r#"{"key_0123456789abcdef01234567":true}"#, "…"),
            (r#"[{"name":"Authorization","value":"Bearer x"}]"#, "[].value"),
            (r#"{"headers":[{"key":"X-Api-Key","value":"x"}]}"#, "headers.[].value"),
            (r#""whsec_0123456789abcdef""#, "…"),
        ] {
            assert_eq!(found(json), [(path.to_owned(), false, TextClass::Plaintext)], "{json}");
        }
        let clean =
            r#"{"fields":[{"key":"voice","value":"anna"}],"max_tokens":4,"auth":{"type":"none"},"token":{}}"#;
        assert_eq!(found(clean), []);
    }

    #[test]
    fn an_address_with_a_secret_in_it_is_found() {
        for url in [
            "https://u:p@example.com/h",
            "https://example.com/h?token=abc",
            "https://t@example.com",
            "https://e.com?api_key=1",
            "https://e.com/h?sig=1",
            "https://e.com/h#access_token=1",
        ] {
            let json = format!(r#"{{"webhook_url":"{url}"}}"#);
            assert_eq!(found(&json), [("webhook_url".to_owned(), true, TextClass::Plaintext)], "{url}");
        }
        let clean = r#"{"webhook_url":"https://example.com/h?page=2","events":["call_ended"],"secret":null}"#;
        assert_eq!(found(clean), []);
    }
}
