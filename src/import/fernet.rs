//! Fernet tokens (<https://github.com/fernet/spec/blob/master/Spec.md>), as Python's `cryptography` and Django fields write them.

use std::fmt;

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::import::bytes;
use crate::import::old_value::{Decryptor, OpenedValue, Opening, StoredForm, StoredValue};
use crate::import::passwords::Passwords;

const SHAPE: &str = "fernet";
const VERSION: u8 = 0x80;
/// Version and time.
const HEAD: usize = 1 + 8;
const BLOCK: usize = 16;
const MAC: usize = 32;

const CUT_OFF: &str = "not as long as a token: the value was cut off or altered";
const NO_KEY: &str = "no key opens it: the key is another one, or the value was altered";
const NOT_TEXT: &str = "it opens to something that is not text";

/// Opens Fernet tokens: AES-128-CBC with HMAC-SHA256. The time in a token is not checked.
pub struct Fernet {
    /// 16 bytes that sign, and 16 that encrypt.
    keys: Vec<Zeroizing<Vec<u8>>>,
}

impl Fernet {
    /// With these keys, in the order in which they are tried. A text that is not base64 of 32 bytes is left out.
    pub fn new(keys: &Passwords) -> Self {
        let decode = |text: &str| bytes::base64_url(text.trim()).or_else(|| bytes::base64(text.trim()));
        Self { keys: keys.iter().filter_map(decode).filter(|key| key.len() == 32).collect() }
    }

    /// Whether none of the texts was a key.
    pub fn has_no_key(&self) -> bool {
        self.keys.is_empty()
    }

    fn open_token(&self, token: &[u8]) -> Opening {
        let sealed = token.len().checked_sub(HEAD + BLOCK + MAC);
        if !sealed.is_some_and(|length| length >= BLOCK && length.is_multiple_of(BLOCK)) {
            return Opening::corrupt(SHAPE, CUT_OFF);
        }
        let (signed, mac) = token.split_at(token.len() - MAC);
        match self.keys.iter().find(|key| is_signed(&key[..16], signed, mac)) {
            None => Opening::corrupt(SHAPE, NO_KEY),
            Some(key) => match decrypted(&key[16..], &signed[HEAD..]).map(bytes::utf8) {
                Some(Some(text)) if text.is_empty() => Opening::Unset,
                Some(Some(text)) => Opening::Opened(OpenedValue::new(SHAPE, text)),
                _ => Opening::corrupt(SHAPE, NOT_TEXT),
            },
        }
    }
}

impl Decryptor for Fernet {
    fn open(&self, stored: &StoredValue<'_>) -> Opening {
        let StoredForm::Text(text) = stored.content else { return Opening::NotMine };
        match text.trim() {
            "" => Opening::Unset,
            // how a token of our time starts in base64
            text if text.starts_with("gAAAA") => match bytes::base64_url(text) {
                Some(token) if token.first() == Some(&VERSION) => self.open_token(&token),
                _ => Opening::corrupt(SHAPE, CUT_OFF),
            },
            _ => Opening::NotMine,
        }
    }
}

impl fmt::Debug for Fernet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fernet").field("keys", &self.keys.len()).finish()
    }
}

fn is_signed(key: &[u8], signed: &[u8], mac: &[u8]) -> bool {
    let hmac = Hmac::<Sha256>::new_from_slice(key);
    hmac.is_ok_and(|hmac| hmac.chain_update(signed).verify_slice(mac).is_ok())
}

/// Nonce and ciphertext.
fn decrypted(key: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (iv, sealed) = sealed.split_at_checked(BLOCK)?;
    let cipher = cbc::Decryptor::<aes_gcm::aes::Aes128>::new_from_slices(key, iv).ok()?;
    let mut text = Zeroizing::new(sealed.to_vec());
    let length = cipher.decrypt_padded::<Pkcs7>(&mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}
