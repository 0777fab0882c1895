//! What a value looks like. A value is looked at and forgotten; only its shape is kept.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::detect::names::{Meaning, Name};
use crate::detect::providers::{self, Provider};
use crate::record::token::claims_to_be_token;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ValueShape {
    Empty,
    /// A token of a vault, of whatever key.
    Token,
    /// `key_…`
    RetellKey,
    /// `agent_…`
    RetellAgent,
    /// The key of another provider, known by how it starts.
    OtherKey,
    /// Base64 of a plaintext key.
    EncodedKey,
    /// A name of the place where the secret is.
    Reference,
    Ciphertext,
    /// A hash: the secret cannot be had from it.
    Hash,
    /// A part of a key, and stars or dots in place of the rest.
    Masked,
    /// One word of many different characters, which may be a key or a ciphertext.
    Random,
    /// JSON with a plaintext credential in it.
    JsonPlaintext,
    /// JSON with an encrypted credential in it.
    JsonCiphertext,
    /// JSON with a token of a vault in it.
    JsonToken,
    Other,
}

/// How values of other providers start.
const KEY_STARTS: [&str; 21] = [
    "sk-",
    "sk_",
    "pk_",
    "rk_",
    "whsec_",
    "xoxb-",
    "xoxp-",
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "AKIA",
    "AIza",
    "SG.",
    "shpat_",
    "Bearer ",
    "KEY0",
    "re_",
    "org-",
    "r8_",
    "hf_",
];

/// How ciphertexts of known libraries start: Fernet, OpenSSL, Vault, PGP, age.
const CIPHERTEXT_STARTS: [&str; 9] = [
    "gAAAAA",
    "U2FsdGVkX1",
    "vault:v",
    "-----BEGIN PGP MESSAGE",
    "-----BEGIN AGE ENCRYPTED",
    "enc:",
    "ENC[",
    "gcm:",
    "cbc:",
];

const REFERENCE_STARTS: [&str; 15] = [
    "env:",
    "ENV:",
    "${",
    "{{",
    "vault://",
    "secret:",
    "secret://",
    "secrets/",
    "arn:aws:secretsmanager",
    "arn:aws:ssm",
    "op://",
    "ssm:",
    "doppler:",
    "file:",
    "gcp-secret:",
];

pub(super) fn shape(text: &str) -> ValueShape {
    let text = text.trim();
    if text.is_empty() || ["null", "{}", "[]", "\"\""].contains(&text) {
        return ValueShape::Empty;
    }
    if claims_to_be_token(text) {
        return ValueShape::Token;
    }
    if text.starts_with(['{', '[', '"']) && !text.starts_with("{{") {
        return serde_json::from_str(text).map_or(ValueShape::Other, |value| of_json(&value, 0));
    }
    of_word(text)
}

fn of_word(text: &str) -> ValueShape {
    let starts = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
    let rest = |start: &str| text.strip_prefix(start).filter(|rest| rest.len() >= 8);
    let is_name =
        |rest: &str| rest.chars().all(|char| char.is_ascii_alphanumeric() || char == '_' || char == '-');
    match () {
        () if rest("key_").is_some_and(is_name) => ValueShape::RetellKey,
        () if rest("agent_").is_some_and(is_name) => ValueShape::RetellAgent,
        () if starts(&["$2a$", "$2b$", "$2y$", "$argon2", "$scrypt$", "pbkdf2", "{SSHA}"]) => {
            ValueShape::Hash
        }
        () if ["***", "•••", "xxxx", "XXXX", "..."].iter().any(|mask| text.contains(mask))
            && !text.contains(char::is_whitespace) =>
        {
            ValueShape::Masked
        }
        () if is_json_web_token(text) => ValueShape::OtherKey,
        () if starts(&REFERENCE_STARTS) || is_variable(text) => ValueShape::Reference,
        () if starts(&CIPHERTEXT_STARTS) || is_in_parts(text) => ValueShape::Ciphertext,
        () if text.starts_with("\\x") => ValueShape::Ciphertext, // only a column of bytes prints so
        () if starts(&KEY_STARTS) || text.starts_with("-----BEGIN") => ValueShape::OtherKey,
        () => of_random(text),
    }
}

/// The name of an environment variable, in capitals.
fn is_variable(text: &str) -> bool {
    let name = text.strip_prefix('$').unwrap_or(text);
    let is_part = |char: char| char.is_ascii_uppercase() || char.is_ascii_digit() || char == '_';
    let says_secret = ["KEY", "SECRET", "TOKEN"].iter().any(|word| name.contains(word));
    name.contains('_') && says_secret && name.chars().all(is_part)
}

/// Three parts of base64. One of five parts is encrypted.
fn is_json_web_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.split('.').count() == 3
}

/// Parts of hex or base64 between colons, dots or the like: nonce, ciphertext and tag in one text.
fn is_in_parts(text: &str) -> bool {
    let text = text.trim_start_matches("v1:").trim_start_matches("v1.").trim_start_matches("v2:");
    let separator = [':', '.', '|', '$'].into_iter().find(|char| text.contains(*char));
    let Some(separator) = separator else { return false };
    let parts: Vec<&str> = text.split(separator).collect();
    let is_encoded = |part: &&str| part.len() >= 2 && (is_hex(part) || bytes(part).is_some());
    let long = parts.iter().filter(|part| part.len() >= 16 && is_encoded(part)).count();
    // the last part may be a time stamp
    (2..=5).contains(&parts.len()) && long >= 2 && parts[..2].iter().all(is_encoded)
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    engines.into_iter().find_map(|engine| engine.decode(text).ok())
}

fn of_random(text: &str) -> ValueShape {
    let is_word = text.len() >= 16 && !text.contains(char::is_whitespace) && text.is_ascii();
    let has = |is: fn(&u8) -> bool| text.as_bytes().iter().any(is);
    if !is_word || text.contains("://") || text.contains('@') || text.contains('*') {
        return ValueShape::Other;
    }
    let decoded = bytes(text);
    if let Some(inner) = decoded.as_ref().and_then(|decoded| std::str::from_utf8(decoded).ok()) {
        match shape_of_text(inner) {
            ValueShape::RetellKey | ValueShape::OtherKey => return ValueShape::EncodedKey,
            _ if is_envelope(inner) => return ValueShape::Ciphertext,
            _ => (),
        }
    }
    let standard = text.contains(['+', '/']) || (text.ends_with('=') && !text.contains(['-', '_']));
    let is_binary = decoded.as_ref().is_some_and(|bytes| std::str::from_utf8(bytes).is_err());
    match () {
        () if is_hex(text) && text.len() > 96 => ValueShape::Ciphertext,
        () if !is_hex(text) && is_binary && (standard && text.len() >= 32 || text.len() > 76) => {
            ValueShape::Ciphertext
        }
        () if has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) => ValueShape::Random,
        () => ValueShape::Other,
    }
}

/// Whether it is the JSON text of a ciphertext with its nonce.
fn is_envelope(text: &str) -> bool {
    text.starts_with('{')
        && serde_json::from_str(text).is_ok_and(|value| of_json(&value, 0) == ValueShape::JsonCiphertext)
}

/// The clearest shape of the credentials in a JSON value.
fn of_json(value: &Value, depth: usize) -> ValueShape {
    const DEEPEST: usize = 4;
    let Value::Object(members) = value else {
        return match value {
            Value::String(text) => of_word(text.trim()),
            Value::Array(items) if depth < DEEPEST => items
                .iter()
                .map(|item| of_json(item, depth + 1))
                .find(|shape| is_credential(*shape))
                .unwrap_or(ValueShape::Other),
            _ => ValueShape::Other,
        };
    };
    if members.is_empty() {
        return ValueShape::Empty;
    }
    if has_nonce_and_ciphertext(members) {
        return ValueShape::JsonCiphertext;
    }
    let shapes = members.iter().map(|(name, value)| of_member(name, value, depth));
    shapes.reduce(|best, shape| if is_credential(best) { best } else { shape }).unwrap_or(ValueShape::Other)
}

/// A nonce, in a header or not, and beside it something that is encoded, as libraries write it.
fn has_nonce_and_ciphertext(members: &Map<String, Value>) -> bool {
    let is_nonce = |name: &str| matches!(name, "iv" | "nonce");
    let header = ["h", "header"].iter().find_map(|name| members.get(*name)?.as_object());
    let has_nonce = members.keys().chain(header.into_iter().flat_map(Map::keys)).any(|name| is_nonce(name));
    let is_encoded = |text: &str| text.len() >= 4 && (is_hex(text) || bytes(text).is_some());
    let is_ciphertext =
        |(name, value): (&String, &Value)| !is_nonce(name) && value.as_str().is_some_and(is_encoded);
    has_nonce && members.iter().any(is_ciphertext)
}

fn of_member(name: &str, value: &Value, depth: usize) -> ValueShape {
    let meaning = Name::of(name).meaning();
    match value {
        Value::String(text) => match (shape_of_text(text), meaning) {
            (ValueShape::Token, _) => ValueShape::JsonToken,
            (ValueShape::RetellKey | ValueShape::EncodedKey, _) => ValueShape::JsonPlaintext,
            (ValueShape::Ciphertext, Meaning::Key(_)) => ValueShape::JsonCiphertext,
            (ValueShape::Empty, _) => ValueShape::Other,
            (
                ValueShape::OtherKey | ValueShape::Random | ValueShape::Other | ValueShape::RetellAgent,
                Meaning::Key(5..),
            ) => ValueShape::JsonPlaintext,
            _ => ValueShape::Other,
        },
        Value::Object(_) | Value::Array(_) if depth < 4 => of_json(value, depth + 1),
        _ => ValueShape::Other,
    }
}

/// The provider whose credentials are inside a JSON text: one that a member with a credential names, or one around it.
pub(super) fn provider_inside(text: &str) -> Option<&'static Provider> {
    let value = text.trim_start().starts_with(['{', '[']).then(|| serde_json::from_str(text).ok())??;
    inside(&value, None, 0)
}

fn inside(value: &Value, around: Option<&'static Provider>, depth: usize) -> Option<&'static Provider> {
    const DEEPEST: usize = 6;
    let in_member = |(name, value): (&String, &Value)| {
        let named = Name::of(name).provider.or(around);
        let is_one = value.is_string() && is_credential(of_member(name, value, 0));
        inside(value, named, depth + 1).or(named.filter(|_| is_one))
    };
    let found: Vec<_> = match value {
        Value::String(text) => {
            let is_key = shape_of_text(text) == ValueShape::RetellKey;
            is_key.then(providers::retell).into_iter().collect()
        }
        _ if depth > DEEPEST => Vec::new(),
        Value::Object(members) => members.iter().filter_map(in_member).collect(),
        Value::Array(items) => items.iter().filter_map(|item| inside(item, around, depth + 1)).collect(),
        _ => Vec::new(),
    };
    found.into_iter().max_by_key(|provider| provider.class)
}

fn shape_of_text(text: &str) -> ValueShape {
    let text = text.trim();
    match () {
        () if text.is_empty() => ValueShape::Empty,
        () if claims_to_be_token(text) => ValueShape::Token,
        () => of_word(text),
    }
}

fn is_credential(shape: ValueShape) -> bool {
    matches!(
        shape,
        ValueShape::JsonPlaintext
            | ValueShape::JsonCiphertext
            | ValueShape::JsonToken
            | ValueShape::RetellKey
            | ValueShape::Token
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_by_their_shape() {
        use ValueShape::*;
        let hex = "9e10bbab40a21d1b4a3a1ae3456c7c32:77a5ece3fcb18cffd5f2dfb30f9bcfa9:62cc481e99618da451d77f34132cf728";
        let laravel =
            STANDARD.encode(r#"{"iv":"AAAAAAAAAAAAAAAA","value":"AAAAAAAAAAAAAAAA","mac":"aaaa","tag":""}"#);
        let json = r#"{"data":"AAAAAAAAAAAAAAAA","iv":"AAAAAAAAAAAAAAAA","tag":"AAAA"}"#;
        for (text, expected) in [
            ("", Empty),
            ("  ", Empty),
            ("{}", Empty),
            ("rv1.0.00000000", Token),
            ("key_test_75c16db3fcfe954aa606be81", RetellKey),
            ("agent_98b9527d86fa5ce857fd6aff11", RetellAgent),
            ("sk-test-fake-2aec58fea4a1d411205680ded8c28ec6", OtherKey),
            ("env:RETELL_API_KEY", Reference),
            ("RETELL_API_KEY", Reference),
            ("${RETELL_API_KEY}", Reference),
            (hex, Ciphertext),
            ("U2FsdGVkX1cGIszlScA6kBGKBl0AaseychKvfdfSdEPRxyGiTd2OvSK1ej9lULwJpPe", Ciphertext),
            (
                "l/DhjLj8BB5gJR8HsIyiQcXESA9fF+F53ni6mn6aLdVNR5ECry9ebVR+oDmoe2sXA7m8N0mRc5FVM+zDdQ==",
                Ciphertext,
            ),
            ("qlFwMLCma14sWkDNJUdeny5hLErGOz4MiHruEYPcgQoYaGVQA7+vZBkwsvo=", Ciphertext),
            ("$2b$10$dlNQ/om1FT7gRXlhA3t40YyIsd6a/ZlrPSPEJ79SDtId5KGy1x5l9", Hash),
            ("T51gQHC6_NURha7y8gPCixy79Agicf8ecKL3--zP", Random),
            ("710c7d18-1e08-497d-8c88-db95f9c58d90", Random),
            ("a2V5X3Rlc3RfNzVjMTZkYjNmY2ZlOTU0YWE2MDZiZTgx", EncodedKey),
            ("https://example.com/url/1234567890", Other),
            ("a sentence with 12 words and more", Other),
            ("key_****beef", Masked),
            ("key_test_75c1...be81", Masked),
            ("eyJfake.AAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAA", OtherKey),
            (&laravel, Ciphertext),
            (
                r#"{"p":"AAAAAAAAAAAAAAAA","h":{"iv":"AAAAAAAAAAAAAAAA","at":"AAAAAAAAAAAAAAAA"}}"#,
                JsonCiphertext,
            ),
            (json, JsonCiphertext),
            (r#"{"api_key":"key_test_aaaaaaaaaaaaaaaaaaaa0001"}"#, JsonPlaintext),
            (r#"{"retell_vault":{"record":"rv1.0"}}"#, JsonToken),
            (r#"{"voice":"11labs-Adrian","prompt":"You are a receptionist"}"#, Other),
            (r#"{"token":"fake-calendly"}"#, JsonPlaintext),
        ] {
            assert_eq!(shape(text), expected, "{text}");
        }
    }

    #[test]
    fn a_provider_is_found_inside_of_json() {
        let inside = |text: &str| provider_inside(text).map(|provider| provider.name);
        for (text, expected) in [
            (r#"{"theme":"dark","token":"key_test_aaaaaaaaaaaaaaaaaaaa0001"}"#, Some("retell")),
            (r#"{"integrations":{"retell":{"apiKey":"AAAAAAAAAAAAAAAA0001"}}}"#, Some("retell")),
            (r#"{"openai_api_key":"sk-test-aaaaaaaaaaaaaaaa"}"#, Some("openai")),
            (r#"{"retell":{"enabled":true,"voice":"11labs-Adrian"}}"#, None),
            (r#"{"provider":"github","sub":"1000001"}"#, None),
            (r#"[1,"key_test_aaaaaaaaaaaaaaaaaaaa0001"]"#, Some("retell")),
            ("not json", None),
        ] {
            assert_eq!(inside(text), expected, "{text}");
        }
    }
}
