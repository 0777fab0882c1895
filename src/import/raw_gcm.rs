//! AES-GCM with a raw key: nonce, ciphertext and tag in any order and encoding, in one text, in JSON, or in columns of their own.

use std::fmt;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::import::bytes::{self, TAG};
use crate::import::old_value::{Decryptor, OpenedValue, Opening, StoredForm, StoredValue};
use crate::import::passwords::Passwords;
use crate::record::token::claims_to_be_token;

const SHAPE: &str = "aes-gcm";
/// What stands between the parts of one text.
const SEPARATORS: [char; 7] = [':', '.', ',', '|', '$', ';', ' '];
/// The usual lengths of a nonce in bytes.
const NONCES: [usize; 2] = [12, 16];
/// The longest text, in bytes. A credential is far shorter.
const MOST: usize = 64 * 1024;

const NO_KEY: &str = "no key opens it: the key is another one, or the value was altered";
const CUT_OFF: &str = "shorter than a nonce and a tag: the value was cut off or altered";
const NOT_TEXT: &str = "it opens to something that is not text";

/// Opens AES-128, -192 or -256-GCM without associated data, under keys that are given as hex or base64.
///
/// The nonce has 12 or 16 bytes and the tag 16. All orders are tried: the tag fits only one.
pub struct RawAesGcm {
    keys: Vec<Zeroizing<Vec<u8>>>,
}

type Bytes = Zeroizing<Vec<u8>>;

impl RawAesGcm {
    /// With these keys, in the order in which they are tried. A text that is not hex or base64 of 16, 24 or 32 bytes is left out.
    pub fn new(keys: &Passwords) -> Self {
        let is_key = |key: &Bytes| [16, 24, 32].contains(&key.len());
        Self { keys: keys.iter().flat_map(|text| bytes::decodings(text.trim())).filter(is_key).collect() }
    }

    /// Whether none of the texts was a key.
    pub fn has_no_key(&self) -> bool {
        self.keys.is_empty()
    }

    /// Opens one of some divisions into nonce, ciphertext and tag.
    fn open_any(&self, divisions: &[[&[u8]; 3]]) -> Opening {
        if divisions.is_empty() {
            return Opening::corrupt(SHAPE, CUT_OFF);
        }
        let open = |key: &Bytes| {
            divisions.iter().find_map(|[iv, sealed, tag]| bytes::open_gcm(key, iv, sealed, tag))
        };
        match self.keys.iter().find_map(open).map(bytes::utf8) {
            Some(Some(text)) if text.is_empty() => Opening::Unset,
            Some(Some(text)) => Opening::Opened(OpenedValue::new(SHAPE, text)),
            Some(None) => Opening::corrupt(SHAPE, NOT_TEXT),
            None => Opening::corrupt(SHAPE, NO_KEY),
        }
    }

    fn open_text(&self, text: &str) -> Opening {
        let parts: Vec<&str> = text.split(SEPARATORS).filter(|part| !part.is_empty()).collect();
        // a version or the name of the scheme may stand in front
        let parts = &parts[parts.len().saturating_sub(3)..];
        let Some(last) = parts.last() else { return Opening::NotMine };
        // the encodings are those of one writer, and so the same for every part
        let encodings = [bytes::hex, bytes::base64, bytes::base64_url];
        let decoded: Vec<Vec<Bytes>> = encodings
            .iter()
            .filter(|decode| decode(last).is_some())
            .map(|decode| parts.iter().filter_map(|part| decode(part)).collect())
            .collect();
        if decoded.is_empty() {
            return Opening::NotMine;
        }
        let divisions: Vec<_> = decoded.iter().flat_map(|parts| divisions(parts)).collect();
        self.open_any(&divisions)
    }

    fn open_object(&self, object: &Map<String, Value>) -> Opening {
        let part = |names: &[&str]| names.iter().find_map(|name| object.get(*name)?.as_str());
        let iv = part(&["iv", "nonce"]);
        let sealed = part(&["ciphertext", "data", "content", "encrypted", "encryptedData", "value", "ct"]);
        let tag = part(&["tag", "authTag", "auth_tag", "mac"]);
        match (iv, sealed) {
            (Some(iv), Some(sealed)) => self.open_parts(sealed, iv, tag),
            _ => Opening::NotMine,
        }
    }

    fn open_parts(&self, sealed: &str, iv: &str, tag: Option<&str>) -> Opening {
        let ivs: Vec<Bytes> =
            bytes::decodings(iv.trim()).into_iter().filter(|iv| NONCES.contains(&iv.len())).collect();
        let tags: Vec<Bytes> = bytes::decodings(tag.unwrap_or_default().trim());
        let sealed = bytes::decodings(sealed.trim());
        let mut divisions: Vec<[&[u8]; 3]> = Vec::new();
        for (iv, sealed) in ivs.iter().flat_map(|iv| sealed.iter().map(move |sealed| (iv, sealed))) {
            match (tag, sealed.len().checked_sub(TAG)) {
                (Some(_), _) => divisions.extend(
                    tags.iter().filter(|tag| tag.len() == TAG).map(|tag| [&iv[..], &sealed[..], &tag[..]]),
                ),
                (None, Some(at)) => divisions.push([&iv[..], &sealed[..at], &sealed[at..]]),
                (None, None) => {}
            }
        }
        self.open_any(&divisions)
    }
}

impl Decryptor for RawAesGcm {
    fn open(&self, stored: &StoredValue<'_>) -> Opening {
        match stored.content {
            StoredForm::Object(object) => self.open_object(object),
            StoredForm::Text(text) => match (text.trim(), stored.iv) {
                ("", _) => Opening::Unset,
                (text, _) if claims_to_be_token(text) || text.len() > MOST => Opening::NotMine,
                (text, Some(iv)) => self.open_parts(text, iv, stored.tag),
                (text, None) if text.starts_with('{') => match serde_json::from_str(text) {
                    Ok(Value::Object(object)) => self.open_object(&object),
                    _ => {
                        Opening::corrupt(SHAPE, "JSON that is not complete: the value was cut off or altered")
                    }
                },
                (text, None) => self.open_text(text),
            },
        }
    }
}

impl fmt::Debug for RawAesGcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawAesGcm").field("keys", &self.keys.len()).finish()
    }
}

/// Every way to read one, two or three parts as nonce, ciphertext and tag.
fn divisions(parts: &[Bytes]) -> Vec<[&[u8]; 3]> {
    match parts {
        [all] => NONCES.iter().flat_map(|nonce| of_one(all, *nonce)).collect(),
        [a, b] => [(a, b), (b, a)].into_iter().flat_map(|(iv, rest)| of_two(iv, rest)).collect(),
        [a, b, c] => [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]]
            .into_iter()
            .filter(|[iv, _, tag]| NONCES.contains(&iv.len()) && tag.len() == TAG)
            .map(|parts| parts.map(|part| part.as_slice()))
            .collect(),
        _ => Vec::new(),
    }
}

/// The nonce alone, and the tag before or after the ciphertext.
fn of_two<'a>(iv: &'a [u8], rest: &'a [u8]) -> Vec<[&'a [u8]; 3]> {
    match rest.len().checked_sub(TAG) {
        Some(at) if NONCES.contains(&iv.len()) => {
            vec![[iv, &rest[..at], &rest[at..]], [iv, &rest[TAG..], &rest[..TAG]]]
        }
        _ => Vec::new(),
    }
}

/// The nonce in front or at the end.
fn of_one(all: &[u8], nonce: usize) -> Vec<[&[u8]; 3]> {
    match all.len().checked_sub(nonce + TAG) {
        Some(_) => {
            let (front, behind) = (all.split_at(nonce), all.split_at(all.len() - nonce));
            [of_two(front.0, front.1), of_two(behind.1, behind.0)].concat()
        }
        None => Vec::new(),
    }
}
