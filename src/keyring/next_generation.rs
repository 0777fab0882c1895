//! The next generation of a keyring: what a change makes of the keys that it found, and the proof that it opens.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::file::Wrapped;
use crate::keyring::format;
use crate::keyring::generations::Earlier;
use crate::keyring::keys::RootKeys;
use crate::keyring::wrapping::WrappingKey;
use crate::record::token::{KeyId, NONCE};

/// What is to be done with the keys that were found.
pub(super) enum KeyringChange {
    /// They are as they should be.
    Nothing,
    /// The same, but an earlier generation may still hold this key, which is destroyed.
    WipeEarlier(KeyId),
    Save(NextGeneration),
}

pub(super) struct NextGeneration {
    pub(super) keys: RootKeys,
    pub(super) wrapped: Arc<Wrapped>,
    /// The wrapping key as the provider finds it again.
    pub(super) again: WrappingKey,
    pub(super) earlier: Earlier,
    pub(super) destroyed: Option<KeyId>,
}

impl NextGeneration {
    /// Under the same wrapping key as before.
    pub(super) fn new(wrapped: &Arc<Wrapped>, keys: RootKeys) -> Self {
        let (wrapped, again) = (wrapped.clone(), WrappingKey(wrapped.key.0.clone()));
        Self { keys, wrapped, again, earlier: Earlier::Keep, destroyed: None }
    }

    pub(super) fn seal(&self) -> Result<Zeroizing<String>> {
        format::seal(&self.keys, &self.wrapped.wrapping, &self.wrapped.key).map(Zeroizing::new)
    }

    /// Lets every key in the saved text open what the same key in memory has sealed.
    ///
    /// # Errors
    /// `KeyringFile` if one does not.
    pub(super) fn prove(&self, saved: &[u8]) -> Result<()> {
        let saved = format::parse(saved).and_then(|outer| format::unseal(&outer, &self.again));
        let saved = saved.map_err(|error| error.about("the new keyring cannot be read back"))?;
        let same = saved.generation == self.keys.generation && saved.follows(&self.keys);
        for key in self.keys.keys() {
            let canary = key.canary(&random::system_bytes::<NONCE>()?);
            let opens = saved.get(key.info.id).is_some_and(|saved| match &canary {
                Some(canary) => saved.material.is_some() && saved.made_canary(canary),
                None => saved.material.is_none(),
            });
            if !same || !opens {
                let message = format!("key {} of the new keyring reads back differently", key.info.id);
                return Err(Error::new(ErrorKind::KeyringFile, message));
            }
        }
        Ok(())
    }
}
