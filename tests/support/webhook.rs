//! Webhook calls as Retell signs them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The index column of `user_profiles` with its indexes, as the schema planner creates them.
pub const INDEX: &str = "ALTER TABLE user_profiles ADD retell_vault_index bytea[];
    CREATE INDEX ON user_profiles USING gin (retell_vault_index) WITH (fastupdate = off);
    CREATE INDEX ON user_profiles (user_id) WHERE retell_vault_index IS NULL";

/// The header of a call that was signed with this key, at this time in milliseconds.
pub fn signed(key: &str, body: &[u8], at: u64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(body);
    mac.update(at.to_string().as_bytes());
    let digest: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v={at},d={digest}")
}
