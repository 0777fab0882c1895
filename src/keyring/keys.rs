//! The root keys: ids, states, and which one seals.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::crypto::aead::{RootSecret, decrypt_file, encrypt_file};
#[cfg(feature = "cli")]
use crate::display::displayed;
use crate::error::{Error, ErrorKind, Result};
use crate::hex::hex;
use crate::keyring::material::Material;
use crate::keyring::subkeys::Subkeys;
use crate::record::token::{KeyId, NONCE};
use crate::record::version::Millis;

const FINGERPRINT_LABEL: &[u8] = b"retell-vault/v1/fingerprint";
const KEYRING_LABEL: &[u8] = b"retell-vault/v1/keyring";
const CANARY_LABEL: &[u8] = b"retell-vault/v1/canary";
const SUCCESSOR_LABEL: &[u8] = b"retell-vault/v1/successor";
const CANARY: &[u8] = b"retell-vault canary";

/// What a root key may be used for. Keys go through the states in this order and never back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[cfg_attr(feature = "cli", serde(rename_all = "lowercase"))]
pub enum KeyState {
    /// Opens, but does not seal yet: every process must load it first.
    Pending,
    /// Opens and seals. Exactly one key is primary.
    Primary,
    /// Opens only.
    Retired,
    /// The material is gone; the id stays, because ids are never used again.
    Destroyed,
}

impl KeyState {
    pub(crate) const ALL: [Self; 4] = [Self::Pending, Self::Primary, Self::Retired, Self::Destroyed];

    /// The word used in the keyring file and in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Primary => "primary",
            Self::Retired => "retired",
            Self::Destroyed => "destroyed",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Public information about a root key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[non_exhaustive]
pub struct KeyInfo {
    /// Its id, as in tokens.
    #[cfg_attr(feature = "cli", serde(serialize_with = "displayed"))]
    pub id: KeyId,
    /// Its state.
    pub state: KeyState,
    /// When it was made, in milliseconds since 1970.
    pub created_at: u64,
    /// Since when it has been in its state, in milliseconds since 1970.
    pub state_since: u64,
    /// Identifies the key material without revealing it: 32 hex digits.
    pub fingerprint: String,
}

/// One root key. `secret` and `material` are absent exactly when it is destroyed.
#[derive(Clone)]
pub(crate) struct RootKey {
    pub(crate) info: KeyInfo,
    pub(crate) material: Option<Material>,
    pub(super) secret: Option<RootSecret>,
}

impl RootKey {
    pub(crate) fn new(id: KeyId, state: KeyState, material: Material, now: Millis) -> Self {
        let secret = RootSecret::new(&material);
        let fingerprint = fingerprint(&secret);
        let info = KeyInfo { id, state, created_at: now, state_since: now, fingerprint };
        Self { info, material: Some(material), secret: Some(secret) }
    }

    /// A key as read from a keyring file.
    ///
    /// # Errors
    /// `KeyringFile` when state, material and fingerprint do not belong together.
    pub(crate) fn restore(info: KeyInfo, material: Option<Material>) -> Result<Self> {
        let secret = material.as_deref().map(RootSecret::new);
        let consistent = match &secret {
            Some(secret) => info.state != KeyState::Destroyed && fingerprint(secret) == info.fingerprint,
            None => info.state == KeyState::Destroyed,
        };
        match consistent {
            true => Ok(Self { info, material, secret }),
            false => Err(Error::new(
                ErrorKind::KeyringFile,
                format!("key {} of the keyring is inconsistent", info.id),
            )),
        }
    }

    /// A sealed text that only this key opens. It tells later whether the keyring is the right one.
    pub(crate) fn canary(&self, nonce: &[u8; NONCE]) -> Option<Vec<u8>> {
        let key = self.secret.as_ref()?.derive(&[CANARY_LABEL]);
        let mut canary = nonce.to_vec();
        canary.extend(encrypt_file(&key, nonce, &self.info.id.0.to_be_bytes(), CANARY.to_vec()));
        Some(canary)
    }

    /// Whether this key made the canary. A destroyed key cannot tell, and passes.
    pub(crate) fn made_canary(&self, canary: &[u8]) -> bool {
        let Some(secret) = &self.secret else { return true };
        let Some((nonce, sealed)) = canary.split_first_chunk::<NONCE>() else { return false };
        let key = secret.derive(&[CANARY_LABEL]);
        decrypt_file(&key, nonce, &self.info.id.0.to_be_bytes(), sealed).is_ok_and(|text| *text == CANARY)
    }
}

impl RootKeys {
    /// Proves to a process that holds the primary key that a generation follows its own, although it cannot open the text: the
    /// keyring was sealed under another secret.
    pub(crate) fn vouch(&self, text: &str) -> String {
        vouch(self.primary().1, text)
    }

    /// Whether a process with one of these keys has vouched for the text of a generation.
    pub(crate) fn vouched(&self, text: &str, voucher: &str) -> bool {
        let secrets = self.keys.iter().filter_map(|key| key.secret.as_ref());
        secrets.into_iter().any(|secret| vouch(secret, text).as_bytes().ct_eq(voucher.as_bytes()).into())
    }
}

fn vouch(secret: &RootSecret, text: &str) -> String {
    hex(&secret.derive::<32>(&[SUCCESSOR_LABEL, &Sha256::digest(text)])[..])
}

fn fingerprint(secret: &RootSecret) -> String {
    fingerprint_under(secret, FINGERPRINT_LABEL)
}

fn fingerprint_under(secret: &RootSecret, label: &[u8]) -> String {
    let bytes = secret.derive::<32>(&[label]);
    hex(&bytes[..16])
}

/// The root keys of one environment, as they are at one generation.
pub(crate) struct RootKeys {
    pub(crate) generation: u64,
    /// Identifies the keyring; rotation does not replace it.
    pub(crate) stable: Material,
    pub(super) keys: Vec<RootKey>,
    pub(crate) subkeys: Subkeys,
    /// Keys that another process destroyed while this one still had their material. They are no key
    /// material any more, so that they cannot get into a file.
    retained: Vec<(KeyId, RootSecret)>,
}

impl RootKeys {
    /// A first keyring with one primary key.
    pub(crate) fn first(id: KeyId, material: Material, stable: Material, now: Millis) -> Self {
        let keys = vec![RootKey::new(id, KeyState::Primary, material, now)];
        Self { generation: 1, stable, keys, subkeys: Subkeys::default(), retained: Vec::new() }
    }

    /// # Errors
    /// `KeyringFile` unless there is exactly one primary key and no id twice.
    pub(crate) fn restore(generation: u64, stable: Material, keys: Vec<RootKey>) -> Result<Self> {
        let primaries = keys.iter().filter(|key| key.info.state == KeyState::Primary).count();
        let mut ids: Vec<_> = keys.iter().map(|key| key.info.id).collect();
        ids.sort();
        ids.dedup();
        match primaries == 1 && ids.len() == keys.len() {
            true => Ok(Self { generation, stable, keys, subkeys: Subkeys::default(), retained: Vec::new() }),
            false => Err(Error::new(
                ErrorKind::KeyringFile,
                "the keyring must hold exactly one primary key and no duplicate ids",
            )),
        }
    }

    pub(crate) fn keys(&self) -> &[RootKey] {
        &self.keys
    }

    /// Identifies the keyring in all of its generations: the fingerprint of its stable secret.
    pub(super) fn id(&self) -> String {
        fingerprint_under(&RootSecret::new(&self.stable), KEYRING_LABEL)
    }

    pub(crate) fn get(&self, id: KeyId) -> Option<&RootKey> {
        self.keys.iter().find(|key| key.info.id == id)
    }

    /// The key that seals.
    pub(crate) fn primary(&self) -> (KeyId, &RootSecret) {
        let primary = self.keys.iter().find(|key| key.info.state == KeyState::Primary);
        let primary = primary.expect("checked when the keyring was made");
        (primary.info.id, primary.secret.as_ref().expect("only destroyed keys have none"))
    }

    /// The key that a token names. Never another one.
    ///
    /// # Errors
    /// `UnknownKey`, which names the id.
    pub(crate) fn opener(&self, id: KeyId) -> Result<&RootSecret> {
        let key = self.known(id)?;
        let secret = key.secret.as_ref().or_else(|| self.retained(id));
        secret.ok_or_else(|| unknown(id, "was destroyed"))
    }

    /// The key that opens what is to be re-encrypted.
    ///
    /// What is sealed under a key that is pending here was sealed by a process with a newer keyring. The primary key
    /// of this one is a second old then, and re-encrypting under it would be a step back.
    ///
    /// # Errors
    /// `Busy` for a pending key; `UnknownKey`, which names the id.
    pub(crate) fn opener_for_reencryption(&self, id: KeyId) -> Result<&RootSecret> {
        match self.get(id).is_some_and(|key| key.info.state == KeyState::Pending) {
            true => Err(Error::new(ErrorKind::Busy, format!("key {id} is becoming the primary key"))
                .with_key_number(id.0)),
            false => self.opener(id),
        }
    }

    /// The ids of all keys that open, those among them that are only retained.
    #[cfg(test)]
    pub(crate) fn openable(&self) -> Vec<KeyId> {
        let held = self.keys.iter().filter(|key| key.secret.is_some()).map(|key| key.info.id);
        held.chain(self.retained.iter().map(|(id, _)| *id)).collect()
    }

    /// # Errors
    /// `UnknownKey`, which names the id.
    pub(super) fn known(&self, id: KeyId) -> Result<&RootKey> {
        self.get(id).ok_or_else(|| unknown(id, "is not in the keyring"))
    }

    fn retained(&self, id: KeyId) -> Option<&RootSecret> {
        self.retained.iter().find(|(retained, _)| *retained == id).map(|(_, secret)| secret)
    }

    pub(crate) fn retains(&self) -> bool {
        !self.retained.is_empty()
    }

    /// The same without the keys that are only retained.
    pub(crate) fn without_retained(&self) -> Self {
        let (generation, stable, keys) = (self.generation, self.stable.clone(), self.keys.clone());
        Self { generation, stable, keys, subkeys: self.subkeys.clone(), retained: Vec::new() }
    }

    /// The same with other subkeys.
    pub(crate) fn with_subkeys(mut self, subkeys: Subkeys) -> Self {
        self.subkeys = subkeys;
        self
    }

    /// The same, where keys that are destroyed here and were not in `earlier` still open.
    pub(crate) fn retaining_from(mut self, earlier: &Self) -> Self {
        let destroyed = self.keys.iter().filter(|key| key.secret.is_none()).map(|key| key.info.id);
        let secret = |id| earlier.opener(id).ok().map(|secret| (id, secret.clone()));
        self.retained = destroyed.filter_map(secret).collect();
        self
    }

    /// The same, without this key among the retained ones.
    pub(crate) fn without_retained_key(mut self, id: KeyId) -> Self {
        self.retained.retain(|(retained, _)| *retained != id);
        self
    }
}

fn unknown(id: KeyId, why: &str) -> Error {
    Error::new(ErrorKind::UnknownKey, format!("key {id} {why}")).with_key_number(id.0)
}

impl Error {
    /// The root key that the error is about, where it is about one: the key that a stored value names and the keyring does not
    /// hold, the key whose state allows no change, or the key that is still in use.
    pub fn key_id(&self) -> Option<KeyId> {
        self.key_number().map(KeyId)
    }
}

impl fmt::Debug for RootKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(|key| &key.info).collect();
        f.debug_struct("RootKeys")
            .field("generation", &self.generation)
            .field("keys", &keys)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring() -> RootKeys {
        RootKeys::first(KeyId(7), Material::copied(&[1; 32]), Material::copied(&[2; 32]), 1_000)
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = keyring().opener(KeyId(0xdead)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::UnknownKey);
        assert!(error.to_string().contains("0000dead"));
        assert_eq!(error.key_id(), Some(KeyId(0xdead)));
    }

    #[test]
    fn a_canary_tells_keys_apart_even_with_the_same_id() {
        let ours = keyring();
        let other = RootKey::new(KeyId(7), KeyState::Primary, Material::copied(&[3; 32]), 0);
        let canary = ours.keys()[0].canary(&[9; NONCE]).unwrap();
        assert!(ours.keys()[0].made_canary(&canary));
        assert!(!other.made_canary(&canary));
        assert!(!other.made_canary(&canary[..5]));
    }

    #[test]
    fn a_keyring_has_exactly_one_primary_and_no_id_twice() {
        let key = |id, state| RootKey::new(KeyId(id), state, Material::copied(&[1; 32]), 0);
        let restore = |keys| RootKeys::restore(1, Material::copied(&[2; 32]), keys);
        assert!(restore(vec![]).is_err());
        assert!(restore(vec![key(1, KeyState::Retired)]).is_err());
        assert!(restore(vec![key(1, KeyState::Primary), key(2, KeyState::Primary)]).is_err());
        assert!(restore(vec![key(1, KeyState::Primary), key(1, KeyState::Retired)]).is_err());
        assert!(restore(vec![key(1, KeyState::Primary), key(2, KeyState::Pending)]).is_ok());
    }

    #[test]
    fn debug_shows_no_material() {
        let text = format!(
            "{:?}",
            RootKeys::first(KeyId(7), Material::copied(&[0xAB; 32]), Material::copied(&[0xCD; 32]), 0)
        );
        assert!(
            !text.to_lowercase().contains("abab") && !text.contains("171, 171") && !text.contains("205, 205")
        );
    }
}
