//! Which decryptor could open a stored value, by its form alone.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::detect::shapes::{ValueShape, shape};
use crate::import::bytes::{self, TAG};

/// How a value could be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OldForm {
    /// It is empty, or a token of a vault.
    Nothing,
    Plaintext,
    /// Plaintext that does not start like a key or an agent: it may be base64, hex or no credential at all.
    PerhapsPlaintext,
    Base64,
    Carexps,
    AesGcm,
    /// Bytes that may be a ciphertext of AES-GCM or of another cipher.
    PerhapsAesGcm,
    Fernet,
    /// No decryptor opens it, and why.
    Unopened(&'static str),
}

impl OldForm {
    /// The decryptor of the layout file, if one could open it.
    pub(super) fn decryptor(self) -> Option<&'static str> {
        match self {
            Self::Nothing | Self::Unopened(_) => None,
            Self::Plaintext | Self::PerhapsPlaintext => Some("plaintext"),
            Self::Base64 => Some("base64"),
            Self::Carexps => Some("carexps"),
            Self::AesGcm | Self::PerhapsAesGcm => Some("aes-gcm"),
            Self::Fernet => Some("fernet"),
        }
    }

    /// Why a person must look at it first.
    pub(super) fn doubt(self) -> Option<&'static str> {
        match self {
            Self::PerhapsPlaintext => Some(
                "some values do not look like a key or an agent: they may be plaintext, base64, hex or no credential",
            ),
            Self::PerhapsAesGcm => Some("nothing in the values tells AES-GCM from another cipher"),
            _ => None,
        }
    }

    /// In words, for the reason of a doubt.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Plaintext | Self::PerhapsPlaintext => "plaintext",
            Self::Base64 => "base64 of plaintext",
            Self::Carexps => "ciphertexts of CareXPS",
            Self::AesGcm | Self::PerhapsAesGcm => "ciphertexts that may be AES-GCM",
            Self::Fernet => "Fernet tokens",
            Self::Unopened(why) => why,
        }
    }
}

/// How the ciphertexts start that no decryptor opens.
const OTHER_CIPHERS: [(&str, &str); 6] = [
    ("U2FsdGVkX1", "ciphertexts of OpenSSL or CryptoJS"),
    ("vault:v", "ciphertexts of HashiCorp Vault"),
    ("-----BEGIN PGP MESSAGE", "PGP messages"),
    ("-----BEGIN AGE ENCRYPTED", "files of age"),
    ("ENC[", "ciphertexts of SOPS"),
    ("{SSHA}", "hashes"),
];
pub(super) const REFERENCES: &str = "references to secrets elsewhere";
const JWE: &str = "JSON Web Encryption";
const LARAVEL: &str = "ciphertexts of Laravel, or other JSON in base64";
const OTHER_JSON: &str = "JSON with a nonce, in a form that no decryptor knows";
const OTHER_CIPHERTEXT: &str = "ciphertexts of a form that no decryptor knows";
const PGP_BYTES: &str = "PGP messages, as pgcrypto writes them";
const PROSE: &str = "texts that are no credentials";
/// In place of a nonce, where CareXPS did not encrypt.
const NOT_ENCRYPTED: &str = "ZmFsbGJhY2staXY=";
/// What stands between the parts of one text.
const SEPARATORS: [char; 6] = [':', '.', ',', '|', '$', ';'];
/// Shorter bytes have no room for a nonce, a tag and a text.
const SHORTEST_SEALED: usize = 12 + TAG + 1;

/// `says_encrypted`: the name of the column does, which decides about random text.
pub(super) fn of_text(text: &str, says_encrypted: bool) -> OldForm {
    let text = text.trim();
    match shape(text) {
        ValueShape::Empty | ValueShape::Token | ValueShape::JsonToken => OldForm::Nothing,
        ValueShape::RetellKey | ValueShape::RetellAgent | ValueShape::OtherKey => OldForm::Plaintext,
        ValueShape::Reference => OldForm::Unopened(REFERENCES),
        ValueShape::Hash => OldForm::Unopened("hashes"),
        ValueShape::Masked => OldForm::Unopened("masked values"),
        ValueShape::JsonCiphertext => of_json_text(text),
        ValueShape::JsonPlaintext => OldForm::Unopened("JSON in place of one value"),
        ValueShape::Ciphertext => of_ciphertext(text),
        ValueShape::EncodedKey => encoded(text),
        ValueShape::Random => of_word(text, says_encrypted),
        ValueShape::Other => match of_word(text, says_encrypted) {
            OldForm::Plaintext => OldForm::PerhapsPlaintext,
            form => form,
        },
    }
}

/// A JSON object in which a value is encrypted. `None`: it is no such object.
pub(super) fn of_object(object: &Map<String, Value>) -> Option<OldForm> {
    let part = |names: &[&str]| names.iter().find_map(|name| object.get(*name)?.as_str());
    let iv = part(&["iv", "nonce"]);
    let sealed = part(&["ciphertext", "data", "content", "encrypted", "encryptedData", "value", "ct"]);
    let is_carexps = object.contains_key("data")
        && object.contains_key("iv")
        && (object.contains_key("timestamp") || object.contains_key("keyId"));
    match (iv, sealed) {
        _ if is_carexps => Some(OldForm::Carexps),
        (Some(iv), Some(_)) => {
            let lengths: Vec<usize> = decodings(iv).iter().map(|iv| iv.len()).collect();
            let tag = part(&["tag", "authTag", "auth_tag", "mac"]);
            Some(match () {
                () if lengths.contains(&12) || (lengths.contains(&16) && tag.is_some()) => OldForm::AesGcm,
                () if lengths.contains(&16) => OldForm::PerhapsAesGcm,
                () => OldForm::Unopened(OTHER_JSON),
            })
        }
        _ if object.contains_key("iv") || object.contains_key("nonce") => Some(OldForm::Unopened(OTHER_JSON)),
        _ => None,
    }
}

/// The bytes of a column of type `bytea`, of which only the first were read.
pub(super) fn of_bytes(start: &str) -> OldForm {
    let Some(bytes) = start.strip_prefix("\\x").and_then(bytes::hex) else { return OldForm::Nothing };
    let is_printable = bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    match bytes.as_slice() {
        [] => OldForm::Nothing,
        _ if is_printable => {
            let text = bytes::utf8(bytes).unwrap_or_default();
            // the end of it was not read
            if text.starts_with("gAAAA") { OldForm::Fernet } else { of_text(&text, false) }
        }
        // a packet of a symmetric or a public key
        [0xc3, 0x0d, 0x04 | 0x05, ..] | [0xc1 | 0x84 | 0x85, _, _, 0x03, ..] => OldForm::Unopened(PGP_BYTES),
        all if all.len() >= SHORTEST_SEALED => OldForm::PerhapsAesGcm,
        _ => OldForm::Unopened(OTHER_CIPHERTEXT),
    }
}

/// Whether a nonce in a column of its own is one of AES-GCM. Of bytes, only the first were read.
pub(super) fn is_nonce(text: &str) -> bool {
    let text = text.trim();
    let decoded = match text.strip_prefix("\\x") {
        Some(digits) => bytes::hex(digits).into_iter().collect(),
        None => decodings(text),
    };
    decoded.iter().any(|nonce| is_nonce_length(nonce.len()))
}

fn of_json_text(text: &str) -> OldForm {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => of_object(&object).unwrap_or(OldForm::Unopened(OTHER_JSON)),
        _ => OldForm::Unopened(OTHER_JSON),
    }
}

fn of_ciphertext(text: &str) -> OldForm {
    let known = OTHER_CIPHERS.iter().find(|(start, _)| text.starts_with(start));
    match known {
        Some((_, what)) => OldForm::Unopened(what),
        None if text.starts_with("gAAAA") => OldForm::Fernet,
        None if text.starts_with("eyJ") && text.split('.').count() == 5 => OldForm::Unopened(JWE),
        None if decodings(text).iter().any(|bytes| bytes.starts_with(b"{")) => OldForm::Unopened(LARAVEL),
        None => of_parts(text),
    }
}

/// Nonce, ciphertext and tag in one text, perhaps after the name of the scheme.
fn of_parts(text: &str) -> OldForm {
    let all: Vec<&str> = text.split(SEPARATORS).filter(|part| !part.is_empty()).collect();
    let is_salted = |rest: &str| bytes::base64(rest).is_some_and(|all| all.len() >= 16 + SHORTEST_SEALED);
    if text.strip_prefix("cbc:").is_some_and(|rest| bytes::base64(rest).is_some())
        || text.strip_prefix("gcm:").is_some_and(is_salted)
        || is_carexps(&text.split(':').collect::<Vec<_>>())
    {
        return OldForm::Carexps;
    }
    let parts = &all[all.len().saturating_sub(3)..];
    // one writer encodes all parts in the same way; hex is base64 too
    let encodings = [bytes::hex, bytes::base64, bytes::base64_url];
    let last = parts.last().copied().unwrap_or_default();
    let Some(decode) = encodings.into_iter().find(|decode| decode(last).is_some()) else {
        return OldForm::Unopened(OTHER_CIPHERTEXT);
    };
    let lengths: Vec<usize> = parts.iter().filter_map(|part| Some(decode(part)?.len())).collect();
    match lengths.as_slice() {
        [a, b, c] => {
            let orders = [(a, b), (a, c), (b, a), (b, c), (c, a), (c, b)];
            match orders.into_iter().any(|(iv, tag)| is_nonce_length(*iv) && *tag == TAG) {
                true => OldForm::AesGcm,
                false => OldForm::Unopened(OTHER_CIPHERTEXT),
            }
        }
        [a, b] => [(*a, *b), (*b, *a)]
            .map(|(iv, rest)| of_two(iv, rest))
            .into_iter()
            .min()
            .unwrap_or(OldForm::Nothing),
        [all] if *all >= SHORTEST_SEALED => OldForm::PerhapsAesGcm,
        _ => OldForm::Unopened(OTHER_CIPHERTEXT),
    }
}

fn is_nonce_length(length: usize) -> bool {
    matches!(length, 12 | 16)
}

/// A nonce, and the rest. A nonce of 16 bytes and whole blocks may be AES-CBC.
fn of_two(iv: usize, rest: usize) -> OldForm {
    match (iv, rest) {
        (12, rest) if rest > TAG => OldForm::AesGcm,
        (16, rest) if rest > TAG && !rest.is_multiple_of(16) => OldForm::AesGcm,
        (16, rest) if rest > TAG => OldForm::PerhapsAesGcm,
        _ => OldForm::Unopened(OTHER_CIPHERTEXT),
    }
}

/// `data:iv:tag:milliseconds`, or base64 with a mark in place of the nonce.
fn is_carexps(parts: &[&str]) -> bool {
    let length = |part: &str| bytes::base64(part).map(|bytes| bytes.len());
    match parts {
        [_, iv, ..] if *iv == NOT_ENCRYPTED => true,
        [_, iv, tag, time] => {
            let is_time = time.len() >= 10 && time.bytes().all(|byte| byte.is_ascii_digit());
            length(iv) == Some(12) && length(tag) == Some(TAG) && is_time
        }
        _ => false,
    }
}

/// Base64 of a key. The decryptor reads the standard alphabet.
fn encoded(text: &str) -> OldForm {
    match bytes::base64(text) {
        Some(_) => OldForm::Base64,
        None => OldForm::Unopened("base64url of plaintext"),
    }
}

fn of_word(text: &str, says_encrypted: bool) -> OldForm {
    let is_inner = |start: &str| {
        bytes::base64(text).is_some_and(|inner| inner.starts_with(start.as_bytes()) && inner.is_ascii())
    };
    let is_code = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    match () {
        () if is_carexps(&text.split(':').collect::<Vec<_>>()) => OldForm::Carexps,
        () if text.contains(char::is_whitespace) || text.contains("://") => OldForm::Unopened(PROSE),
        () if ["key_", "agent_", "whsec_"].into_iter().any(is_inner) => OldForm::Base64,
        () if says_encrypted && decodings(text).iter().any(|bytes| bytes.len() >= SHORTEST_SEALED) => {
            OldForm::PerhapsAesGcm
        }
        () if says_encrypted => OldForm::PerhapsPlaintext,
        () if is_code && text.len() >= 16 && text.len().is_multiple_of(4) => OldForm::PerhapsPlaintext,
        () => OldForm::Plaintext,
    }
}

fn decodings(text: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let text = text.trim();
    [bytes::hex(text), bytes::base64(text), bytes::base64_url(text)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_decryptor_is_told_by_the_form_of_a_value() {
        use OldForm::*;
        let hex = |length: usize| "5e".repeat(length);
        let in_parts =
            |lengths: &[usize]| lengths.iter().map(|length| hex(*length)).collect::<Vec<_>>().join(":");
        let fallback = format!("{}:{NOT_ENCRYPTED}:ZmFsbGJhY2stdGFn:1", STANDARD.encode("key_test_0001"));
        let base64 = |length: usize| STANDARD.encode(vec![0xfe; length]);
        let text4 = format!("{}:{}:{}:1795674103908", base64(20), base64(12), base64(16));
        let gcm = format!("gcm:{}", base64(60));
        let cbc = format!("cbc:{}", base64(32));
        let pgp = OTHER_CIPHERS[2].1;
        for (text, expected) in [
            ("", Nothing),
            ("rv1.0.00000000", Nothing),
            ("key_test_75c16db3fcfe954aa606be81", Plaintext),
            ("agent_98b9527d86fa5ce857fd6aff11", Plaintext),
            ("710c7d18-1e08-497d-8c88-db95f9c58d90", Plaintext),
            ("98b9527d86fa5ce857fd6aff11aabbcc", PerhapsPlaintext),
            (&STANDARD.encode("key_test_75c16db3fcfe954aa606be81"), Base64),
            (&STANDARD.encode("agent_98b9527d86fa5ce857fd6aff11"), Base64),
            (&fallback, Carexps),
            (&text4, Carexps),
            (&gcm, Carexps),
            (&cbc, Carexps),
            (&in_parts(&[12, 16, 33]), AesGcm),
            (&in_parts(&[33, 16, 16]), AesGcm),
            (&format!("v1:{}", in_parts(&[12, 33, 16])), AesGcm),
            (&in_parts(&[12, 48]), AesGcm),
            (&in_parts(&[16, 45]), AesGcm),
            (&in_parts(&[16, 48]), PerhapsAesGcm),
            (&base64(60), PerhapsAesGcm),
            (
                "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==",
                Fernet,
            ),
            (
                "U2FsdGVkX1cGIszlScA6kBGKBl0AaseychKvfdfSdEPRxyGiTd2OvSK1ej9lULwJpPe",
                Unopened(OTHER_CIPHERS[0].1),
            ),
            ("-----BEGIN PGP MESSAGE-----\n\nabc", Unopened(pgp)),
            ("env:RETELL_API_KEY", Unopened(REFERENCES)),
            ("none", PerhapsPlaintext),
            ("key_****beef", Unopened("masked values")),
            ("see the wiki", Unopened(PROSE)),
            (r#"{"data":"AAAAAAAAAAAAAAAA","iv":"AAAAAAAAAAAAAAAA","tag":"AAAA","timestamp":1}"#, Carexps),
            (r#"{"content":"AAAAAAAAAAAAAAAA","iv":"AAAAAAAAAAAAAAAA","authTag":"AAAA"}"#, AesGcm),
            (r#"{"p":"AAAAAAAAAAAAAAAA","h":{"iv":"AAAAAAAAAAAAAAAA"}}"#, Unopened(OTHER_JSON)),
        ] {
            assert_eq!(of_text(text, false), expected, "{text}");
        }
        assert_eq!(of_text(&hex(48), true), PerhapsAesGcm);
        for (start, expected) in [
            ("\\x6b65795f746573745f30303031", Plaintext),
            ("\\x674141414141", Fernet),
            (&format!("\\x{}", "fe".repeat(32)), PerhapsAesGcm),
            ("\\xc30d0409030202fefefefe", Unopened(PGP_BYTES)),
            ("\\xfefe", Unopened(OTHER_CIPHERTEXT)),
            ("\\x", Nothing),
        ] {
            assert_eq!(of_bytes(start), expected, "{start}");
        }
    }
}
