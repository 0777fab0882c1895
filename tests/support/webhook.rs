//! Webhook calls as Retell signs them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header of a call that was signed with this key, at this time in milliseconds.
pub fn signed(key: &str, body: &[u8], at: u64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(body);
    mac.update(at.to_string().as_bytes());
    let digest: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v={at},d={digest}")
}
