//! The values that the browser code of one application family left: shapes around AES-GCM with a password that was compiled
//! into public JavaScript.

use std::fmt;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::import::bytes::{self, TAG};
use crate::import::old_value::{Decryptor, OpenedValue, Opening, StoredForm, StoredValue};
use crate::import::passwords::{DerivedKeys, Passwords};
use crate::import::plaintext::{is_named, object_as_it_is};
use crate::record::field::Field;
use crate::record::token::claims_to_be_token;

/// The salt of every text that does not carry one.
const SALT: &[u8; 16] = b"HIPAA-CRM-2024-S";
const ROUNDS: u32 = 100_000;
/// In place of a nonce, where the code did not encrypt.
const NOT_ENCRYPTED: &str = "ZmFsbGJhY2staXY=";
/// How deep a ciphertext may lie in another one. A writer that encrypted twice left two.
const MOST_LAYERS: usize = 3;

const TEXT4: &str = "text4";
const OBJECT: &str = "object";
const FALLBACK: &str = "fallback";
const GCM: &str = "gcm";
const CBC: &str = "cbc";
const SESSION: &str = "session";
const SCRIPT: &str = "script";
const BASE64: &str = "base64";
const PLAINTEXT: &str = "plaintext";
const LOGIN: &str = "login";

const NO_KEY: &str = "no password opens it: the password is another one, or the value was altered";
const CUT_OFF: &str = "a part is missing or has a wrong length: the value was cut off or altered";
const NOT_TEXT: &str = "it opens to something that is not text";

/// Opens what the encryption code of the browser application CareXPS left, in any of its shapes:
///
/// | shape | stored as |
/// | --- | --- |
/// | `text4` | `data:iv:tag:milliseconds`, AES-256-GCM with a password |
/// | `object` | `{"data", "iv", "tag", "timestamp"}`, or its JSON text |
/// | `fallback` | one of both, with base64 in place of a ciphertext |
/// | `gcm` | `gcm:` and base64 of salt, nonce, ciphertext, tag |
/// | `base64` | base64, in a column for ciphertexts or beside `"api_key_encoded": true` |
/// | `plaintext` | the value, in a column for ciphertexts or in JSON |
/// | `cbc`, `session`, `script` | what nobody can open: a part of the key was never stored |
/// | `login` | the sign-in record of the user, which is not a credential |
///
/// Nothing else is guessed. Every value that it opens, except plaintext, is [exposed](OpenedValue::is_exposed): the passwords are in public
/// JavaScript.
pub struct Carexps {
    passwords: Passwords,
    keys: DerivedKeys,
}

impl Carexps {
    /// The password that the code used where none was set. Public code contains it.
    pub const BUILT_IN_PASSWORD: &str = "hipaa-compliant-key-2024";

    /// With the passwords of the old builds. Without one, with the built-in password, as the code itself did. If some builds had a
    /// password and others had none, add [`BUILT_IN_PASSWORD`](Self::BUILT_IN_PASSWORD) to the passwords.
    pub fn new(passwords: Passwords) -> Self {
        let is_given = passwords.iter().next().is_some();
        let passwords = if is_given { passwords } else { passwords.with(Self::BUILT_IN_PASSWORD.to_owned()) };
        Self { passwords, keys: DerivedKeys::new(ROUNDS) }
    }

    /// How many keys were derived.
    #[cfg(test)]
    pub(super) fn derived(&self) -> usize {
        self.keys.derived()
    }

    fn open_text(&self, place: OldPlace, text: &str) -> Opening {
        let text = text.trim();
        match text {
            "" => Opening::Unset,
            "[object Object]" => {
                Opening::corrupt(place.shape, "an encrypted object was encrypted again as a text")
            }
            _ if place.layer > MOST_LAYERS => Opening::corrupt(place.shape, "too many layers of encryption"),
            _ if claims_to_be_token(text) => Opening::NotMine,
            _ if text.starts_with('{') => self.open_json(place, text),
            _ if text.starts_with("gcm:") => self.open_salted(place, &text[4..]),
            _ if text.starts_with("cbc:") => {
                Opening::unrecoverable(CBC, "its salt was never stored, so no password opens it")
            }
            _ if is_text4(text) || (place.is_outside() && place.is_secret() && text.contains(':')) => {
                self.open_text4(place, text)
            }
            _ if place.is_outside() => self.open_plain(place, text),
            _ => {
                let text = Zeroizing::new(text.to_owned());
                Opening::Opened(OpenedValue::new(place.shape, text).exposed())
            }
        }
    }

    /// A text that is not a ciphertext.
    fn open_plain(&self, place: OldPlace, text: &str) -> Opening {
        let plain = || Opening::opened(PLAINTEXT, Zeroizing::new(text.to_owned()));
        let decoded = || bytes::base64(text).map(|bytes| bytes::latin1(&bytes));
        match () {
            () if place.is_flagged => self.decoded(place.as_shape(BASE64), text),
            () if !place.is_secret() || is_named(text) => plain(),
            () if place.may_be_encoded() && decoded().is_some_and(|text| is_named(&text)) => {
                self.decoded(place.as_shape(BASE64), text)
            }
            () if place.is_agent() && is_id(text) => plain(),
            () if is_base64(text) => Opening::corrupt(
                BASE64,
                "base64 of neither a key nor an agent, or a ciphertext that was cut off",
            ),
            () => Opening::NotMine,
        }
    }

    /// Base64 where the code did not encrypt.
    fn decoded(&self, place: OldPlace, text: &str) -> Opening {
        match bytes::base64(text.trim()) {
            Some(bytes) => self.open_text(place.inside(), &bytes::latin1(&bytes)),
            None => Opening::corrupt(place.shape, CUT_OFF),
        }
    }

    fn open_json(&self, place: OldPlace, text: &str) -> Opening {
        match serde_json::from_str(text) {
            Ok(Value::Object(mut object)) => {
                let opened = self.open_object(place, &object);
                object.values_mut().for_each(crate::retell::json::wipe);
                opened
            }
            _ => Opening::corrupt(OBJECT, "JSON that is not complete: the value was cut off or altered"),
        }
    }

    fn open_object(&self, place: OldPlace, object: &Map<String, Value>) -> Opening {
        let part = |name: &str| object.get(name).and_then(Value::as_str);
        let has = |name: &str| object.contains_key(name);
        match (part("data"), part("iv"), part("tag")) {
            _ if has("keyId") => {
                Opening::unrecoverable(SESSION, "its key came from a session that was not stored")
            }
            _ if has("authTag") || has("encrypted_credentials") => {
                Opening::unrecoverable(SCRIPT, "its key was in a script; these are sign-in records")
            }
            _ if has("password") || has("tempPassword") || has("email") => {
                Opening::not_a_credential(LOGIN, "a sign-in record")
            }
            (Some(data), Some(iv), _) if iv == NOT_ENCRYPTED => self.decoded(place.as_shape(FALLBACK), data),
            (Some(data), Some(iv), Some(tag)) => self.open_parts(place.as_shape(OBJECT), [data, iv, tag]),
            _ if has("data") || has("iv") || has("tag") => Opening::corrupt(OBJECT, CUT_OFF),
            _ if place.is_outside() && !place.is_secret() => object_as_it_is(object),
            _ => Opening::not_a_credential(OBJECT, "a JSON object of another kind"),
        }
    }

    fn open_text4(&self, place: OldPlace, text: &str) -> Opening {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [data, iv, ..] if *iv == NOT_ENCRYPTED => self.decoded(place.as_shape(FALLBACK), data),
            [data, iv, tag] | [data, iv, tag, _] => self.open_parts(place.as_shape(TEXT4), [data, iv, tag]),
            _ => Opening::corrupt(TEXT4, CUT_OFF),
        }
    }

    fn open_parts(&self, place: OldPlace, parts: [&str; 3]) -> Opening {
        let [Some(data), Some(iv), Some(tag)] = parts.map(bytes::base64) else {
            return Opening::corrupt(place.shape, CUT_OFF);
        };
        if iv.len() != 12 || tag.len() != TAG {
            return Opening::corrupt(place.shape, CUT_OFF);
        }
        self.open_sealed(place, SALT, [&iv, &data, &tag])
    }

    /// Base64 of salt, nonce, ciphertext and tag.
    fn open_salted(&self, place: OldPlace, text: &str) -> Opening {
        let place = place.as_shape(GCM);
        let Some(bytes) = bytes::base64(text).filter(|bytes| bytes.len() >= 16 + 12 + TAG) else {
            return Opening::corrupt(GCM, CUT_OFF);
        };
        let (salt, rest) = bytes.split_at(16);
        let (iv, rest) = rest.split_at(12);
        let (data, tag) = rest.split_at(rest.len() - TAG);
        self.open_sealed(place, salt, [iv, data, tag])
    }

    fn open_sealed(&self, place: OldPlace, salt: &[u8], [iv, data, tag]: [&[u8]; 3]) -> Opening {
        let open = |password| bytes::open_gcm(&*self.keys.key(password, salt), iv, data, tag);
        let Some(opened) = self.passwords.iter().enumerate().find_map(open) else {
            return Opening::corrupt(place.shape, NO_KEY);
        };
        match bytes::utf8(opened) {
            Some(text) => self.open_text(place.inside(), &text),
            None => Opening::corrupt(place.shape, NOT_TEXT),
        }
    }
}

impl Decryptor for Carexps {
    fn open(&self, stored: &StoredValue<'_>) -> Opening {
        let flag = |object: &Map<String, Value>| object.get("api_key_encoded") == Some(&Value::Bool(true));
        let place = OldPlace {
            field: stored.field,
            is_member: stored.beside.is_some(),
            is_flagged: stored.field.name() == "api_key" && stored.beside.is_some_and(flag),
            layer: 0,
            shape: PLAINTEXT,
        };
        match stored.content {
            StoredForm::Text(text) => self.open_text(place, text),
            StoredForm::Object(object) => self.open_object(place, object),
        }
    }
}

impl fmt::Debug for Carexps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carexps").field("passwords", &self.passwords).finish_non_exhaustive()
    }
}

/// Where a text was found.
#[derive(Clone, Copy)]
struct OldPlace {
    field: Field,
    /// In a JSON object, where agents are never encoded.
    is_member: bool,
    /// The object says that the value is base64.
    is_flagged: bool,
    /// How many ciphertexts it was in.
    layer: usize,
    /// The shape of the outermost ciphertext.
    shape: &'static str,
}

impl OldPlace {
    fn as_shape(self, shape: &'static str) -> Self {
        if self.is_outside() { Self { shape, ..self } } else { self }
    }

    fn inside(self) -> Self {
        Self { layer: self.layer + 1, ..self }
    }

    fn is_outside(self) -> bool {
        self.layer == 0
    }

    fn is_agent(self) -> bool {
        self.field.name().ends_with("_agent_id")
    }

    /// The fields that the code encrypted. Their values have no colons.
    fn is_secret(self) -> bool {
        self.field.name() == "api_key" || self.is_agent()
    }

    /// Whether base64 may stand here without a mark.
    fn may_be_encoded(self) -> bool {
        self.is_secret() && !(self.is_agent() && self.is_member)
    }
}

fn is_text4(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let length = |part: &str| bytes::base64(part).map(|bytes| bytes.len());
    match parts.as_slice() {
        [_, iv, ..] if *iv == NOT_ENCRYPTED => true,
        [_, iv, tag] | [_, iv, tag, _] => length(iv) == Some(12) && length(tag) == Some(TAG),
        _ => false,
    }
}

/// The id of an agent may have any letters and digits, and so be valid base64 by accident.
fn is_id(text: &str) -> bool {
    text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Whether a text may be a piece of base64, of whatever length.
fn is_base64(text: &str) -> bool {
    text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}
