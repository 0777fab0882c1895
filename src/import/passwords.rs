//! The passwords and keys of old values, and the keys that are derived from passwords.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use sha2::Sha256;
use zeroize::Zeroizing;

/// The most derived keys that are kept. Schemes with a salt for each value would fill the memory otherwise.
const MOST_KEPT: usize = 1_024;

/// Passwords or raw keys, in the order in which they are tried.
///
/// # Security
/// They are wiped when dropped. `Debug` shows how many there are.
#[derive(Clone, Default)]
pub struct Passwords {
    texts: Vec<Zeroizing<String>>,
}

impl Passwords {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with one more. An empty one is left out, and so is one that is there already.
    pub fn with(mut self, text: impl Into<Zeroizing<String>>) -> Self {
        let text = text.into();
        if !text.is_empty() && !self.texts.contains(&text) {
            self.texts.push(text);
        }
        self
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(|text| text.as_str())
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("number", &self.texts.len()).finish()
    }
}

type DerivedKey = Zeroizing<[u8; 32]>;

/// The keys of PBKDF2-HMAC-SHA256, each derived once for a password and a salt.
pub(super) struct DerivedKeys {
    rounds: u32,
    keys: Mutex<HashMap<(usize, Vec<u8>), DerivedKey>>,
    #[cfg(test)]
    derived: std::sync::atomic::AtomicUsize,
}

impl DerivedKeys {
    pub(super) fn new(rounds: u32) -> Self {
        Self {
            rounds,
            keys: Mutex::default(),
            #[cfg(test)]
            derived: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// The key of a password, which is the one with this number, and a salt.
    pub(super) fn key(&self, (number, password): (usize, &str), salt: &[u8]) -> DerivedKey {
        // held while a key is derived, so that two threads do not derive the same one
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = keys.get(&(number, salt.to_vec())) {
            return known.clone();
        }
        let mut key = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, self.rounds, &mut *key);
        #[cfg(test)]
        self.derived.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if keys.len() < MOST_KEPT {
            keys.insert((number, salt.to_vec()), key.clone());
        }
        key
    }

    #[cfg(test)]
    pub(super) fn derived(&self) -> usize {
        self.derived.load(std::sync::atomic::Ordering::Relaxed)
    }
}
