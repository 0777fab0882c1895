//! Changes of a keyring file: one process at a time, and the file on disk is whole at every moment.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;

use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::file::{Keyring, OnDisk, Wrapped, now, random_id, read};
use crate::keyring::format;
use crate::keyring::keys::{KeyInfo, RootKeys};
use crate::keyring::life::Grace;
use crate::keyring::material::Material;
use crate::keyring::private_file::{self, Draft};
use crate::keyring::wrapping::{WrappingKey, WrappingKeyProvider};
use crate::record::token::{KeyId, NONCE};

const KIND: ErrorKind = ErrorKind::KeyringFile;
const NOTHING_SAVED: &str =
    "nothing was changed; check free space, owner and mode of the keyring's folder, then try again";

/// What happens to the previous generation, which is kept as `keyring.json.previous`.
#[derive(Clone, Copy)]
enum Previous {
    Keep,
    /// It would undo the change: it holds the key that was destroyed, or opens with the old passphrase.
    Replace,
}

/// What a change starts from.
struct CurrentKeyring {
    disk: OnDisk,
    keys: RootKeys,
    wrapped: Arc<Wrapped>,
}

/// What a change leads to.
struct Next {
    keys: RootKeys,
    wrapped: Arc<Wrapped>,
    /// The wrapping key as the provider finds it again.
    again: WrappingKey,
    previous: Previous,
    destroyed: Option<KeyId>,
}

impl Next {
    fn new(found: &CurrentKeyring, keys: RootKeys) -> Self {
        let (wrapped, again) = (found.wrapped.clone(), WrappingKey(found.wrapped.key.0.clone()));
        Self { keys, wrapped, again, previous: Previous::Keep, destroyed: None }
    }
}

/// The file itself stays: removing it would give two processes a lock each.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // closing is not enough: a child that was forked meanwhile has the same lock until it executes
        self.0.unlock().ok();
    }
}

impl Keyring {
    /// Adds a pending key. It opens, but does not seal until it is [promoted](Self::promote_key).
    ///
    /// Every process of every host must have the new file first. A running one reloads it by itself.
    ///
    /// # Errors
    /// `Busy` while another process changes the file; `KeyringMissing`; `KeyringLocked` if it was
    /// rewrapped since it was opened; `KeyringFile` when it is damaged, an older generation, or cannot
    /// be saved; `Entropy`. On error the file is as it was, unless the error says that it was saved.
    pub fn add_key(&self) -> Result<KeyInfo> {
        let material = Material::random()?;
        let mut added = None;
        let keys = self.change(|found| {
            let mut id = random_id()?;
            while found.keys.get(id).is_some() {
                id = random_id()?;
            }
            added = Some(id);
            Ok(Some(Next::new(found, found.keys.add(id, material.clone(), now())?)))
        })?;
        info(&keys, added.expect("a change that succeeded has drawn an id"))
    }

    /// Makes a pending key the primary key, which seals from now on. The previous primary key is retired: it
    /// still opens. Does nothing if the key is already primary.
    ///
    /// # Errors
    /// `UnknownKey`; `KeyState` for a retired or destroyed key; else as [`add_key`](Self::add_key). On
    /// error the file is as it was, unless the error says that it was saved.
    pub fn promote_key(&self, id: KeyId) -> Result<KeyInfo> {
        let promoted = |found: &CurrentKeyring| found.keys.promote(id, now());
        let keys = self.change(|found| Ok(promoted(found)?.map(|keys| Next::new(found, keys))))?;
        info(&keys, id)
    }

    /// Retires a pending key: it opens, but will never seal. Does nothing if it is already retired.
    /// To retire the primary key, promote another key.
    ///
    /// # Errors
    /// `UnknownKey`; `KeyState` for a primary or destroyed key; else as [`add_key`](Self::add_key). On
    /// error the file is as it was, unless the error says that it was saved.
    pub fn retire_key(&self, id: KeyId) -> Result<KeyInfo> {
        let retired = |found: &CurrentKeyring| found.keys.retire(id, now());
        let keys = self.change(|found| Ok(retired(found)?.map(|keys| Next::new(found, keys))))?;
        info(&keys, id)
    }

    /// Seals the file under another wrapping key. The root keys, and all that they have sealed, stay as
    /// they are.
    ///
    /// This process keeps working. Other processes keep the keys that they have, and must be restarted with the new
    /// secret before you change keys again. The file changes after the provider's last answer: a future that is dropped
    /// before that has changed nothing.
    ///
    /// # Errors
    /// `InvalidInput` for a passphrase that is too short, and whatever the provider reports; else as
    /// [`add_key`](Self::add_key). On error the file is as it was, unless the error says that it was saved.
    ///
    /// # Security
    /// Backups of the file still open with the old secret.
    pub async fn rewrap(&self, provider: &dyn WrappingKeyProvider) -> Result<()> {
        let (wrapping, key) = provider.create().await?;
        // as the next process to open the file will find it
        let again = provider.open(&wrapping).await?;
        let mut new = Some((Arc::new(Wrapped { wrapping, key }), again));
        self.change(|found| {
            let (wrapped, again) = new.take().expect("a change is made once");
            let (keys, previous) = (found.keys.next(), Previous::Replace);
            Ok(Some(Next { keys, wrapped, again, previous, destroyed: None }))
        })?;
        Ok(())
    }

    /// Destroys a retired key here and in the previous generation. If it is already destroyed here, it is destroyed in the
    /// previous generation.
    ///
    /// # Errors
    /// `UnknownKey`; `KeyState` unless it is retired, and has been for a day if that matters; else as
    /// [`add_key`](Self::add_key). On error the file is as it was, unless the error says that it was saved.
    pub(crate) fn destroy_key(&self, id: KeyId, grace: Grace) -> Result<KeyInfo> {
        let keys = self.change(|found| match found.keys.destroy(id, now(), grace)? {
            Some(keys) => {
                let next = Next::new(found, keys);
                Ok(Some(Next { previous: Previous::Replace, destroyed: Some(id), ..next }))
            }
            None => self.wipe_previous(found, id).map(|()| None),
        })?;
        info(&keys, id)
    }

    /// Reads the file anew, alone, and saves what `step` makes of it. Gives the keys as they are now.
    fn change(&self, step: impl FnOnce(&CurrentKeyring) -> Result<Option<Next>>) -> Result<Arc<RootKeys>> {
        let _lock = self.lock_file()?;
        let found = self.find()?;
        for place in [self.path().to_owned(), self.previous()] {
            Draft::remove_stale(&place, KIND).map_err(unsaved)?;
        }
        match step(&found)? {
            Some(next) => self.save(found, next)?,
            None => self.take_found(found),
        }
        Ok(self.current())
    }

    fn lock_file(&self) -> Result<Lock> {
        private_file::check_folder(private_file::folder_of(self.path()), KIND)?;
        if private_file::stamp(self.path()).is_none() {
            // no lock without a keyring
            read(self.path())?;
        }
        let path = private_file::beside(self.path(), ".lock");
        let file = match private_file::open_private(&path, KIND, false)? {
            Some(file) => file,
            None => private_file::ensure_private(&path, KIND).map_err(unsaved)?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => {
                let message = format!("another process is changing the keyring {}", self.path().display());
                Err(Error::new(ErrorKind::Busy, message).with_hint("nothing was changed; try again"))
            }
            Err(TryLockError::Error(error)) => {
                let message = format!("cannot lock {}: {}", path.display(), error.kind());
                Err(unsaved(Error::new(KIND, message).with_source(error)))
            }
        }
    }

    fn previous(&self) -> PathBuf {
        private_file::beside(self.path(), ".previous")
    }

    fn find(&self) -> Result<CurrentKeyring> {
        let disk = read(self.path())?;
        let wrapped = self.state().wrapped.clone();
        let keys = format::unseal(&disk.outer, &wrapped.key).map_err(|error| match error.kind() {
            ErrorKind::KeyringLocked => {
                let path = self.path().display();
                let message = format!("{path} was rewrapped or damaged after it was opened");
                Error::new(ErrorKind::KeyringLocked, message).with_hint(
                    "nothing was changed; open the keyring again with the new passphrase or wrapping key",
                )
            }
            _ => error.about(self.path().display()),
        })?;
        self.check_follows(&keys)?;
        Ok(CurrentKeyring { disk, keys, wrapped })
    }

    /// Both files are written and durable before either takes its place, and the new one has been shown
    /// to open all that the keys in memory seal.
    fn save(&self, found: CurrentKeyring, next: Next) -> Result<()> {
        let text = format::seal(&next.keys, &next.wrapped.wrapping, &next.wrapped.key)?;
        let before = match next.previous {
            Previous::Keep => found.disk.text.as_slice(),
            Previous::Replace => text.as_bytes(),
        };
        let new = Draft::write(self.path(), text.as_bytes(), KIND).map_err(unsaved)?;
        let previous = Draft::write(&self.previous(), before, KIND).map_err(unsaved)?;
        prove(&new, &next)?;

        let mut seen = self.inner.watch.hold();
        if private_file::stamp(self.path()) != Some(found.disk.stamp) {
            let message = format!("{} changed on disk meanwhile; nothing was saved", self.path().display());
            return Err(
                Error::new(KIND, message).with_hint("check which other process writes it, then try again")
            );
        }
        // the previous generation first: a process killed in between has destroyed nothing, and repeats this
        previous.put_in_place(KIND).map_err(unsaved)?;
        seen.loaded = Some(new.put_in_place(KIND).map_err(unsaved)?);
        self.take(next.keys, next.wrapped, next.destroyed);
        self.sync_folder()
    }

    /// Nothing was to be done, but the file may be newer than the keys in memory.
    fn take_found(&self, found: CurrentKeyring) {
        let mut seen = self.inner.watch.hold();
        if self.check_follows(&found.keys).is_ok() {
            seen.loaded = Some(found.disk.stamp);
            self.take(found.keys, found.wrapped, None);
        }
    }

    /// The generation before may hold a key that is destroyed: on another host, or by a process that
    /// died. Unless it shows that it does not, it is replaced by the present one.
    fn wipe_previous(&self, found: &CurrentKeyring, id: KeyId) -> Result<()> {
        let path = self.previous();
        if private_file::stamp(&path).is_none() {
            return Ok(());
        }
        let keys = read(&path).and_then(|previous| format::unseal(&previous.outer, &found.wrapped.key));
        if keys.is_ok_and(|keys| keys.get(id).is_none_or(|key| key.material.is_none())) {
            return Ok(());
        }
        let draft = Draft::write(&path, &found.disk.text, KIND).map_err(unsaved)?;
        draft.put_in_place(KIND).map_err(unsaved)?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> Result<()> {
        private_file::sync_folder(private_file::folder_of(self.path()), KIND).map_err(|error| {
            error
                .about("the keyring was saved, but a power failure may undo the change")
                .with_hint("check the disk, then the keys (`retell-vault key list`)")
        })
    }
}

/// Reads the new file from disk, and lets every key in it open what the same key in memory has sealed.
fn prove(new: &Draft, next: &Next) -> Result<()> {
    let saved = read(new.path()).and_then(|saved| format::unseal(&saved.outer, &next.again));
    let saved = saved.map_err(|error| unsaved(error.about("the new keyring cannot be read back")))?;
    let same = saved.generation == next.keys.generation && saved.follows(&next.keys);
    for key in next.keys.keys() {
        let canary = key.canary(&random::system_bytes::<NONCE>()?);
        let opens = saved.get(key.info.id).is_some_and(|saved| match &canary {
            Some(canary) => saved.material.is_some() && saved.made_canary(canary),
            None => saved.material.is_none(),
        });
        if !same || !opens {
            let message = format!("key {} of the new keyring reads back differently", key.info.id);
            return Err(unsaved(Error::new(KIND, message)));
        }
    }
    Ok(())
}

/// An error before the new file took its place.
fn unsaved(error: Error) -> Error {
    error.with_hint(NOTHING_SAVED)
}

fn info(keys: &RootKeys, id: KeyId) -> Result<KeyInfo> {
    keys.known(id).map(|key| key.info.clone())
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
