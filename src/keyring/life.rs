//! The life of a root key: pending, primary, retired, destroyed, in this order.
//!
//! Every transition gives the next generation of the keyring, or `None` when there is nothing to do.
//! The keyring that it is asked of stays as it is.

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::{KeyState, RootKey, RootKeys};
use crate::keyring::material::Material;
use crate::record::token::KeyId;
use crate::record::version::Millis;

/// How long a key must have been retired before it is destroyed. This is longer than any process takes to reload the
/// keyring, and longer than a version may be ahead of the clock.
const GRACE: Millis = 24 * 60 * 60 * 1000;
const ADD_THEN_PROMOTE: &str = "run `retell-vault key add`, then `retell-vault key promote` with the new key";

/// Whether a key must have been retired for a day before it is destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grace {
    Wait,
    /// The caller states that nothing was sealed under it for long enough.
    Waive,
}

impl RootKeys {
    /// A new pending key.
    ///
    /// # Errors
    /// `KeyState` if the id was ever used: a backup may still contain a destroyed one.
    pub(crate) fn add(&self, id: KeyId, material: Material, now: Millis) -> Result<Self> {
        if self.get(id).is_some() {
            return Err(refused(id, "was used already", "draw another id"));
        }
        let mut next = self.next();
        next.keys.push(RootKey::new(id, KeyState::Pending, material, now));
        Ok(next)
    }

    /// A pending key becomes primary, and the primary one retired.
    ///
    /// # Errors
    /// `UnknownKey`; `KeyState` when it is retired or destroyed.
    pub(crate) fn promote(&self, id: KeyId, now: Millis) -> Result<Option<Self>> {
        match self.known(id)?.info.state {
            KeyState::Primary => Ok(None),
            KeyState::Pending => {
                let mut next = self.next();
                for key in &mut next.keys {
                    match key.info.state {
                        _ if key.info.id == id => key.enter(KeyState::Primary, now),
                        KeyState::Primary => key.enter(KeyState::Retired, now),
                        _ => {}
                    }
                }
                Ok(Some(next))
            }
            state => Err(refused(
                id,
                &format!("is {}, and a key never returns to an earlier state", state.as_str()),
                "promote a new key: `retell-vault key add` creates one",
            )),
        }
    }

    /// Abandons a pending key: it opens what it may have sealed, but never seals.
    ///
    /// # Errors
    /// `UnknownKey`; `KeyState` when it is primary or destroyed.
    pub(crate) fn retire(&self, id: KeyId, now: Millis) -> Result<Option<Self>> {
        match self.known(id)?.info.state {
            KeyState::Retired => Ok(None),
            KeyState::Pending => Ok(Some(self.with(id, KeyState::Retired, now))),
            KeyState::Primary => Err(self.refuse_primary(id)),
            KeyState::Destroyed => Err(refused(
                id,
                "is destroyed, and a key never returns to an earlier state",
                "name another key",
            )),
        }
    }

    /// The material of a retired key goes; its id and its fingerprint stay.
    ///
    /// # Errors
    /// `UnknownKey`; `KeyState` unless it has been retired for a day, or this is waived.
    pub(crate) fn destroy(&self, id: KeyId, now: Millis, grace: Grace) -> Result<Option<Self>> {
        let info = &self.known(id)?.info;
        let rests = now.saturating_sub(info.state_since) >= GRACE || grace == Grace::Waive;
        match info.state {
            KeyState::Destroyed => Ok(None),
            KeyState::Retired if rests => Ok(Some(self.with(id, KeyState::Destroyed, now))),
            KeyState::Retired => Err(refused(
                id,
                "has not been retired for 24 hours",
                "wait: a process that has not reloaded the keyring may still seal under it",
            )),
            KeyState::Primary => Err(self.refuse_primary(id)),
            KeyState::Pending => Err(refused(
                id,
                "is pending; only retired keys can be destroyed",
                format!("retire it first: `retell-vault key retire {id}`"),
            )),
        }
    }

    /// The same keys, for a keyring that is wrapped anew.
    pub(crate) fn next(&self) -> Self {
        let mut next = self.without_retained();
        next.generation += 1;
        next
    }

    /// Whether this is the earlier keyring or a later generation of it: no key is lost or another one,
    /// and none went back.
    pub(crate) fn follows(&self, earlier: &Self) -> bool {
        let is_later = |key: &RootKey| {
            self.get(key.info.id).is_some_and(|now| {
                now.info.fingerprint == key.info.fingerprint && now.info.state >= key.info.state
            })
        };
        let same = || self.keys.iter().map(|key| &key.info).eq(earlier.keys.iter().map(|key| &key.info));
        let is_same_generation =
            self.generation == earlier.generation && same() && self.subkeys.are_same(&earlier.subkeys);
        *self.stable == *earlier.stable
            && earlier.keys.iter().all(is_later)
            && self.subkeys.follow(&earlier.subkeys)
            && (self.generation > earlier.generation || is_same_generation)
    }

    fn with(&self, id: KeyId, state: KeyState, now: Millis) -> Self {
        let mut next = self.next();
        next.keys.iter_mut().filter(|key| key.info.id == id).for_each(|key| key.enter(state, now));
        next
    }

    fn refuse_primary(&self, id: KeyId) -> Error {
        let pending = self.keys.iter().find(|key| key.info.state == KeyState::Pending);
        let hint = match pending {
            Some(key) => format!("promote another key first: `retell-vault key promote {}`", key.info.id),
            None => format!("promote another key first: {ADD_THEN_PROMOTE}"),
        };
        refused(id, "is the primary key", hint)
    }
}

impl RootKey {
    fn enter(&mut self, state: KeyState, now: Millis) {
        (self.info.state, self.info.state_since) = (state, now);
        if state == KeyState::Destroyed {
            (self.material, self.secret) = (None, None);
        }
    }
}

fn refused(id: KeyId, why: &str, hint: impl Into<String>) -> Error {
    Error::new(ErrorKind::KeyState, format!("key {id} {why}")).with_key_number(id.0).with_hint(hint)
}

#[cfg(test)]
#[path = "life_tests.rs"]
mod tests;
