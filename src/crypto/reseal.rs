//! The same plaintext under another key: what rotation does to tokens.

use std::collections::BTreeMap;

use rand::CryptoRng;

use crate::crypto::aead;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::{KeyState, Keyring};
use crate::record::owner::Owner;
use crate::record::token::{KeyId, Token};
use crate::record::version::Version;

/// The same tokens under the primary key, each with its version, field and length, in the same order.
/// Those that are under it already come back as they are, unopened. A record that lacks a field still
/// lacks it afterwards.
///
/// # Errors
/// `Malformed` when the tokens of one version name several keys or hold a field twice: what is refused
/// as a mixture must not become a record by being sealed anew. `UnknownKey` and `Unsealable` of the
/// first token that does not open, `Busy` of one under a pending key. Nothing is answered then.
pub(crate) fn reseal(
    tokens: &[Token],
    owner: &Owner,
    keyring: &Keyring,
    rng: &mut impl CryptoRng,
) -> Result<Vec<Token>> {
    refuse_mixtures(tokens)?;
    let (primary, root) = keyring.primary();
    let reseal = |token: &Token| {
        if token.key == primary {
            return Ok(token.clone());
        }
        refuse_pending(keyring, token.key)?;
        let json = aead::open(keyring.opener(token.key)?, owner, token)?;
        Ok(aead::seal(root, primary, token.version, owner, token.field, &json, rng))
    };
    tokens.iter().map(reseal).collect()
}

/// What is sealed under a key that we believe to be pending was sealed by a process that knows better:
/// our keyring is a second old, and sealing under the primary key of then would be a step back.
fn refuse_pending(keyring: &Keyring, id: KeyId) -> Result<()> {
    match keyring.get(id).is_some_and(|key| key.info.state == KeyState::Pending) {
        true => Err(Error::new(ErrorKind::Busy, format!("key {id} is becoming the primary key right now"))),
        false => Ok(()),
    }
}

fn refuse_mixtures(tokens: &[Token]) -> Result<()> {
    let mut keys: BTreeMap<Version, KeyId> = BTreeMap::new();
    for (at, token) in tokens.iter().enumerate() {
        let (version, field) = (token.version, token.field);
        if *keys.entry(version).or_insert(token.key) != token.key {
            return Err(malformed(format!("the record of version {version} mixes keys")));
        }
        if tokens[..at].iter().any(|before| (before.version, before.field) == (version, field)) {
            return Err(malformed(format!("the record of version {version} holds {field} twice")));
        }
    }
    Ok(())
}

fn malformed(message: String) -> Error {
    Error::new(ErrorKind::Malformed, message)
}

#[cfg(test)]
#[path = "reseal_tests.rs"]
mod tests;
