//! Secrets in JSON that belongs to the application, found by the names of their keys.

use serde_json::{Map, Value};
use url::Url;

use crate::doctor::exposure::alike::{is_secret_key, is_webhook_secret, may_be_told};
use crate::doctor::exposure::class::{Class, classify};

/// Deeper objects are not looked into.
const DEEPEST: usize = 4;

/// Where in a JSON value something was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    /// The keys on the way.
    pub(crate) path: Vec<String>,
    /// It is an address with a password or a token in it.
    pub(crate) in_address: bool,
}

/// What other code keeps beside the vault's own part of the config column.
pub(crate) fn beside(object: &Map<String, Value>, found: &mut Vec<(Spot, Class)>) {
    walk(object, &mut Vec::new(), &is_secret_key, false, found);
}

/// The settings of a webhook, in which no secret belongs.
pub(crate) fn of_webhook(object: &Map<String, Value>, found: &mut Vec<(Spot, Class)>) {
    walk(object, &mut Vec::new(), &is_webhook_secret, true, found);
}

fn walk(
    object: &Map<String, Value>,
    path: &mut Vec<String>,
    is_secret: &dyn Fn(&str) -> bool,
    addresses: bool,
    found: &mut Vec<(Spot, Class)>,
) {
    for (name, value) in object.iter().filter(|(name, _)| may_be_told(name)) {
        path.push(name.clone());
        let spot = |in_address| Spot { path: path.clone(), in_address };
        match value {
            Value::String(text) if is_secret(name) => match classify(text) {
                Class::Empty | Class::Tokens => {}
                class => found.push((spot(false), class)),
            },
            Value::String(text) if addresses && holds_secret(text) => {
                found.push((spot(true), Class::Plaintext));
            }
            Value::Object(inner) if path.len() < DEEPEST => walk(inner, path, is_secret, addresses, found),
            _ => {}
        }
        path.pop();
    }
}

/// An address with a password, or with a parameter that is named like a secret.
fn holds_secret(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let parameter = url.query_pairs().any(|(name, value)| is_webhook_secret(&name) && !value.is_empty());
    url.has_authority() && (parameter || !url.username().is_empty() || url.password().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        json: &str,
        look: fn(&Map<String, Value>, &mut Vec<(Spot, Class)>),
    ) -> Vec<(String, bool, Class)> {
        let mut found = Vec::new();
        look(serde_json::from_str::<Value>(json).unwrap().as_object().unwrap(), &mut found);
        found.into_iter().map(|(spot, class)| (spot.path.join("."), spot.in_address, class)).collect()
    }

    #[test]
    fn secrets_are_found_by_the_names_of_their_keys() {
        let json = r#"{"apiKey":"key_test_1","voice":"anna","nested":{"token":"a2V5X3Rlc3RfMTIz"},"secret":"","list":["x"],
            "key_98345798345":"x","other":{"0123456789abcdef":{"token":"t"}}}"#;
        let expected = [
            ("apiKey".to_owned(), false, Class::Plaintext),
            ("nested.token".to_owned(), false, Class::Encoded),
        ];
        assert_eq!(found(json, beside), expected);
    }

    #[test]
    fn a_webhook_with_a_secret_in_its_address_is_found() {
        for url in [
            "https://u:p@example.com/h",
            "https://example.com/h?token=abc",
            "https://t@example.com",
            "https://e.com?api_key=1",
        ] {
            let json = format!(r#"{{"webhook_url":"{url}"}}"#);
            assert_eq!(
                found(&json, of_webhook),
                [("webhook_url".to_owned(), true, Class::Plaintext)],
                "{url}"
            );
        }
        let clean = r#"{"webhook_url":"https://example.com/h?page=2","events":["call_ended"],"secret":null}"#;
        assert_eq!(found(clean, of_webhook), []);
    }
}
