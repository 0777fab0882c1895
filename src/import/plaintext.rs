//! Values that were not encrypted: as they are, and as base64.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::import::bytes;
use crate::import::old_value::{Decryptor, OpenedValue, Opening, StoredForm, StoredValue};
use crate::record::token::claims_to_be_token;

const PLAINTEXT: &str = "plaintext";
const BASE64: &str = "base64";

/// How texts start that are certainly not a credential in plaintext.
const SEALED_STARTS: [&str; 6] = ["gcm:", "cbc:", "enc:", "gAAAAA", "U2FsdGVkX1", "vault:v"];

/// Values that stand in plaintext.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plaintext;

impl Decryptor for Plaintext {
    fn open(&self, stored: &StoredValue<'_>) -> Opening {
        match stored.content {
            StoredForm::Object(object) => object_as_it_is(object),
            StoredForm::Text(text) => match text.trim() {
                "" => Opening::Unset,
                text if claims_to_be_token(text) || is_sealed(text) => Opening::NotMine,
                "[object Object]" => Opening::corrupt(PLAINTEXT, "an object was stored as a text"),
                text => Opening::opened(PLAINTEXT, Zeroizing::new(text.to_owned())),
            },
        }
    }
}

/// Values that are encoded as base64, and are not encrypted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Base64;

impl Decryptor for Base64 {
    fn open(&self, stored: &StoredValue<'_>) -> Opening {
        match stored.content {
            StoredForm::Object(_) => Opening::NotMine,
            StoredForm::Text(text) if text.trim().is_empty() => Opening::Unset,
            StoredForm::Text(text) => match bytes::base64(text.trim()) {
                Some(decoded) if decoded.iter().all(|byte| is_printable(*byte)) => {
                    let text = bytes::latin1(&decoded);
                    Opening::Opened(OpenedValue::new(BASE64, text).exposed())
                }
                Some(_) => Opening::corrupt(BASE64, "base64 of something that is not text"),
                None => Opening::NotMine,
            },
        }
    }
}

fn is_printable(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

/// Whether a text is a ciphertext or a JSON object, which a field of text does not hold in plaintext.
fn is_sealed(text: &str) -> bool {
    text.starts_with('{') || SEALED_STARTS.iter().any(|start| text.starts_with(start))
}

/// Whether a text is a key or an agent by its first letters.
pub(super) fn is_named(text: &str) -> bool {
    let rest = ["key_", "agent_", "whsec_"].iter().find_map(|start| text.strip_prefix(start));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.contains(|char: char| char.is_control() || char.is_whitespace())
    })
}

/// A plain field that is an object, such as `webhook_config`.
pub(super) fn object_as_it_is(object: &serde_json::Map<String, Value>) -> Opening {
    let is_sealed = object.contains_key("iv") || object.contains_key("nonce");
    match (is_sealed, object.is_empty()) {
        (true, _) => Opening::NotMine,
        (_, true) => Opening::Unset,
        _ => Opening::opened(PLAINTEXT, Zeroizing::new(Value::Object(object.clone()).to_string())),
    }
}
