//! A keyring file that changes under a running process, and what the process loads of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::file::{Keyring, SeenFile, Wrapped, read};
use crate::keyring::format;
use crate::keyring::keys::RootKeys;
use crate::keyring::private_file::{self, Stamp};
use crate::record::token::KeyId;

/// How often sealing, and how often an unknown key id, makes us look at the file again.
const LOOK_EVERY_MS: u64 = 1000;

impl Keyring {
    /// The keys for sealing something new. The file is looked at once a second, and reloaded when it
    /// has changed. While it is missing, damaged or an older generation, the keys in memory go on.
    ///
    /// # Errors
    /// `KeyringLocked` when the file was wrapped anew and has changed since: the primary key in memory
    /// may be about to be destroyed. Opening goes on.
    pub(crate) fn for_sealing(&self) -> Result<Arc<RootKeys>> {
        self.look(&self.inner.watch.sealing);
        let state = self.state();
        match state.overtaken {
            true => Err(overtaken(&self.inner.path)),
            false => Ok(state.keys.clone()),
        }
    }

    /// The keys for opening a token that names `key`. When that is not known and the file has changed,
    /// it is read again, at most once a second; the wrapping key is kept, so that this costs no Argon2.
    /// A file that cannot be read leaves the keys as they are.
    pub(crate) fn holding(&self, key: KeyId) -> Arc<RootKeys> {
        let keys = self.current();
        if keys.get(key).is_some() {
            return keys;
        }
        self.look(&self.inner.watch.unknown);
        self.current()
    }

    /// Wipes the keys that another process destroyed: nothing here needs them any more.
    pub(crate) fn wipe_retained(&self) {
        let mut state = self.state_mut();
        if state.keys.retains() {
            state.keys = Arc::new(state.keys.without_retained());
        }
    }

    /// Looks at the file, when it is due. Whoever comes while another caller looks waits for the outcome:
    /// it must not seal under keys of an hour ago.
    fn look(&self, due: &AtomicU64) {
        let watch = &self.inner.watch;
        let is_due = || watch.millis() >= due.load(Ordering::Acquire);
        if !is_due() {
            return;
        }
        let mut seen = watch.hold();
        if is_due() {
            let next = watch.millis() + LOOK_EVERY_MS;
            self.reload_if_changed(&mut seen);
            due.store(next, Ordering::Release);
        }
    }

    fn reload_if_changed(&self, seen: &mut SeenFile) {
        let stamp = private_file::stamp(&self.inner.path);
        let is_loaded = stamp.is_some() && stamp == seen.loaded;
        if is_loaded && !self.state().overtaken {
            seen.warned = None;
            return;
        }
        match self.reload() {
            Ok(stamp) => (seen.loaded, seen.warned) = (Some(stamp), None),
            Err(error) if seen.warned != Some(stamp) => {
                tracing::warn!(%error, "the keyring changed on disk and cannot be reloaded");
                seen.warned = Some(stamp);
            }
            Err(_) => {}
        }
    }

    /// On error the keys in memory are as they were.
    fn reload(&self) -> Result<Stamp> {
        let found = read(&self.inner.path)?;
        let wrapped = self.state().wrapped.clone();
        let keys = format::unseal(&found.outer, &wrapped.key).map_err(|error| match error.kind() {
            ErrorKind::KeyringLocked => self.wrapped_anew(found.outer.header.generation),
            _ => error,
        })?;
        self.check_follows(&keys)?;
        self.take(keys, wrapped, None);
        Ok(found.stamp)
    }

    /// Somebody else has got a wrapping key that we have not. One generation more is the rewrap itself;
    /// with more than that the keys may be others.
    fn wrapped_anew(&self, generation: u64) -> Error {
        let mut state = self.state_mut();
        if generation > state.keys.generation + 1 {
            state.overtaken = true;
            return overtaken(&self.inner.path);
        }
        let message = format!(
            "{} was rewrapped or damaged; the keys in memory are used until it changes again",
            self.inner.path.display()
        );
        Error::new(ErrorKind::KeyringLocked, message).with_hint(RESTART)
    }

    /// # Errors
    /// `KeyringFile` for an older generation, and for another keyring.
    pub(super) fn check_follows(&self, found: &RootKeys) -> Result<()> {
        let ours = self.current();
        let problem = match found.follows(&ours) {
            true => return Ok(()),
            false if found.generation < ours.generation => "an older generation than the one in memory",
            false => "not a later generation of the keyring in memory",
        };
        Err(Error::new(ErrorKind::KeyringFile, format!("{} is {problem}", self.inner.path.display())))
    }

    /// Loads what the file holds. Keys that were destroyed there still open here, except one that
    /// was destroyed by us: it was made sure before that nothing needs it.
    pub(super) fn take(&self, keys: RootKeys, wrapped: Arc<Wrapped>, destroyed: Option<KeyId>) {
        let mut state = self.state_mut();
        let keys = keys.retaining_from(&state.keys);
        state.keys = Arc::new(match destroyed {
            Some(id) => keys.without_retained_key(id),
            None => keys,
        });
        (state.wrapped, state.overtaken) = (wrapped, false);
    }
}

const RESTART: &str = "restart this process with the new passphrase or wrapping key; if there is none, restore the file from its backup";

fn overtaken(path: &Path) -> Error {
    let message = format!("{}: the keyring was rewrapped and has changed since", path.display());
    Error::new(ErrorKind::KeyringLocked, message).with_hint(RESTART)
}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod tests;
