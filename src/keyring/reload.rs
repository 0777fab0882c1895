//! A keyring that changes under a running process: what the process loads of it, and when it stops sealing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::file::{Keyring, KeyringState, Lowest, SeenFile, Wrapped};
use crate::keyring::format;
use crate::keyring::keys::RootKeys;
use crate::keyring::pin::KeyringPin;
use crate::keyring::private_file::Stamp;
use crate::keyring::source::KeyringSource;
use crate::record::token::KeyId;

/// How often sealing, and how often an unknown key id, makes us look at the file again.
const LOOK_EVERY_MS: u64 = 1000;

impl Keyring {
    /// Accepts only the keyring of the pin. A generation below that of the pin is an older copy: it opens what it can, and
    /// seals nothing until a later generation is in its place.
    ///
    /// # Errors
    /// `WrongKeyring` for another keyring.
    pub fn pinned(self, pin: &KeyringPin) -> Result<Self> {
        let id = self.current().id();
        if id != pin.id {
            let message = format!("{} is keyring {id}, but the pin names {}", self.place(), pin.id);
            return Err(Error::new(ErrorKind::WrongKeyring, message).with_hint(
                "use the keyring of this pin; set another pin only if this keyring is the right one",
            ));
        }
        self.require_generation(pin.generation, "the pin");
        Ok(self)
    }

    /// Nothing is sealed under a generation before this one. `witness` says who knows it.
    pub(crate) fn require_generation(&self, generation: u64, witness: &str) {
        let mut state = self.state_mut();
        if generation > state.lowest.generation {
            state.lowest = Lowest { generation, witness: witness.to_owned() };
            if let Some(error) = state.below_lowest(&self.inner.source) {
                tracing::warn!(%error, "nothing is sealed");
                state.stopped = Some(error);
            }
        }
    }

    /// The keys for sealing something new. A file is looked at once a second, and reloaded when it
    /// has changed. While it is missing or damaged, the keys in memory go on.
    ///
    /// # Errors
    /// `KeyringLocked` when the file was wrapped anew and has changed since: the primary key in memory
    /// may be about to be destroyed. `KeyringRolledBack` and `WrongKeyring` when an older generation or another keyring took the
    /// place of the one in memory, whose keys may be stored nowhere. Opening goes on.
    pub(crate) fn for_sealing(&self) -> Result<Arc<RootKeys>> {
        self.look(&self.inner.watch.sealing);
        let state = self.state();
        match &state.stopped {
            Some(error) => Err(error.clone()),
            None => Ok(state.keys.clone()),
        }
    }

    /// Why nothing is sealed with this keyring, if so. A file is looked at first; what a vault has found in the database counts
    /// too.
    pub fn problem(&self) -> Option<Error> {
        self.for_sealing().err()
    }

    /// The same, as far as this process knows.
    pub(crate) fn why_stopped(&self) -> Option<Error> {
        self.state().stopped.clone()
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
        if self.is_in_table() {
            return; // the operations of the vault look at a table before they begin
        }
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
        let stamp = self.inner.source.stamp();
        let is_loaded = stamp.is_some() && stamp == seen.loaded;
        if is_loaded && self.state().stopped.is_none() {
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
        let found = self.inner.source.read()?;
        let wrapped = self.state().wrapped.clone();
        let keys = format::unseal(&found.outer, &wrapped.key).map_err(|error| match error.kind() {
            ErrorKind::KeyringLocked => self.wrapped_anew(found.outer.header.generation),
            _ => error,
        })?;
        self.check_follows(&keys).inspect_err(|error| self.state_mut().stopped = Some(error.clone()))?;
        self.take(keys, wrapped, None);
        Ok(found.stamp)
    }

    /// Somebody else has got a wrapping key that we have not. One generation more is the rewrap itself;
    /// with more than that the keys may be others.
    fn wrapped_anew(&self, generation: u64) -> Error {
        let mut state = self.state_mut();
        if generation > state.keys.generation + 1 {
            let error = overtaken(&self.inner.source);
            state.stopped = Some(error.clone());
            return error;
        }
        let message = format!(
            "{} was rewrapped or damaged; the keys in memory are used until it changes again",
            self.inner.source
        );
        Error::new(ErrorKind::KeyringLocked, message).with_hint(RESTART)
    }

    /// # Errors
    /// `KeyringRolledBack` for an older generation, and for one that was made from an older one; `WrongKeyring` for another
    /// keyring.
    pub(super) fn check_follows(&self, found: &RootKeys) -> Result<()> {
        let ours = self.current();
        let source = &self.inner.source;
        if found.follows(&ours) {
            return Ok(());
        }
        if found.id() != ours.id() {
            let message = format!("{source} is another keyring than the one in memory");
            return Err(Error::new(ErrorKind::WrongKeyring, message));
        }
        let (generation, newest) = (found.generation, ours.generation);
        let message = match generation < newest {
            true => {
                format!("{source} went back to generation {generation}; generation {newest} is in memory")
            }
            false => format!(
                "{source} is a generation {generation} that does not continue generation {newest}, which is in memory"
            ),
        };
        Err(Error::new(ErrorKind::KeyringRolledBack, message))
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
        state.wrapped = wrapped;
        state.resume(&self.inner.source);
    }
}

impl KeyringState {
    /// The source holds what is in memory.
    pub(super) fn resume(&mut self, source: &KeyringSource) {
        self.stopped = self.below_lowest(source);
    }

    /// The error for keys of a generation before the lowest one.
    pub(super) fn below_lowest(&self, source: &KeyringSource) -> Option<Error> {
        let (ours, Lowest { generation, witness }) = (self.keys.generation, &self.lowest);
        let message = || {
            format!(
                "{source} is generation {ours}, but {witness} knows generation {generation}: this is an older copy"
            )
        };
        (ours < *generation).then(|| Error::new(ErrorKind::KeyringRolledBack, message()))
    }
}

const RESTART: &str = "restart this process with the new passphrase or wrapping key; if there is none, restore the file from its backup";

fn overtaken(source: &KeyringSource) -> Error {
    let message = format!("{source}: the keyring was rewrapped and has changed since");
    Error::new(ErrorKind::KeyringLocked, message).with_hint(RESTART)
}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod tests;
