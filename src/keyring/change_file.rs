//! Changes a keyring file: one process at a time, and the file on disk is whole at every moment.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::file::{Keyring, Wrapped};
use crate::keyring::format;
use crate::keyring::generations::Earlier;
use crate::keyring::keys::RootKeys;
use crate::keyring::next_generation::{KeyringChange, NextGeneration};
use crate::keyring::private_file::{self, Draft};
use crate::keyring::source::{OnDisk, read};
use crate::record::token::KeyId;

const KIND: ErrorKind = ErrorKind::KeyringFile;
const NOTHING_SAVED: &str =
    "nothing was changed; check free space, owner and mode of the keyring's folder, then try again";

/// What a change starts from.
struct CurrentKeyring {
    disk: OnDisk,
    keys: RootKeys,
    wrapped: Arc<Wrapped>,
}

/// The file itself stays: removing it would give two processes a lock each.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // closing is not enough: a child that was forked meanwhile has the same lock until it executes
        self.0.unlock().ok();
    }
}

impl Lock {
    fn take(keyring: &Path) -> Result<Self> {
        private_file::check_folder(private_file::folder_of(keyring), KIND)?;
        if private_file::stamp(keyring).is_none() {
            // no lock without a keyring
            read(keyring)?;
        }
        let path = private_file::beside(keyring, ".lock");
        let file = match private_file::open_private(&path, KIND, false)? {
            Some(file) => file,
            None => private_file::ensure_private(&path, KIND).map_err(unsaved)?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                let message = format!("another process is changing the keyring {}", keyring.display());
                Err(Error::new(ErrorKind::Busy, message).with_hint("nothing was changed; try again"))
            }
            Err(TryLockError::Error(error)) => {
                let message = format!("cannot lock {}: {}", path.display(), error.kind());
                Err(unsaved(Error::new(KIND, message).with_source(error)))
            }
        }
    }
}

impl Keyring {
    /// Reads the file anew, alone, and saves what `step` makes of it. Gives the keys as they are now.
    pub(super) fn change_file(
        &self,
        path: &Path,
        step: impl FnOnce(&RootKeys, &Arc<Wrapped>) -> Result<KeyringChange>,
    ) -> Result<()> {
        let _lock = Lock::take(path)?;
        let found = self.find(path)?;
        for place in [path, &previous(path)] {
            Draft::remove_stale(place, KIND).map_err(unsaved)?;
        }
        match step(&found.keys, &found.wrapped)? {
            KeyringChange::Save(next) => self.save(path, found, next)?,
            KeyringChange::WipeEarlier(id) => {
                wipe_previous(path, &found, id)?;
                self.take_found(found);
            }
            KeyringChange::Nothing => self.take_found(found),
        }
        Ok(())
    }

    fn find(&self, path: &Path) -> Result<CurrentKeyring> {
        let disk = read(path)?;
        let wrapped = self.state().wrapped.clone();
        let keys = format::unseal(&disk.outer, &wrapped.key).map_err(|error| match error.kind() {
            ErrorKind::KeyringLocked => {
                let path = path.display();
                let message = format!("{path} was rewrapped or damaged after it was opened");
                Error::new(ErrorKind::KeyringLocked, message).with_hint(
                    "nothing was changed; open the keyring again with the new passphrase or wrapping key",
                )
            }
            _ => error.about(path.display()),
        })?;
        self.check_follows(&keys)?;
        Ok(CurrentKeyring { disk, keys, wrapped })
    }

    /// Both files are written and durable before either takes its place, and the new one has been shown
    /// to open all that the keys in memory seal.
    fn save(&self, path: &Path, found: CurrentKeyring, next: NextGeneration) -> Result<()> {
        let text = next.seal()?;
        let before = match next.earlier {
            Earlier::Keep => found.disk.text.as_slice(),
            Earlier::Remove => text.as_bytes(),
        };
        let new = Draft::write(path, text.as_bytes(), KIND).map_err(unsaved)?;
        let previous = Draft::write(&previous(path), before, KIND).map_err(unsaved)?;
        read(new.path()).and_then(|saved| next.prove(&saved.text)).map_err(unsaved)?;

        let mut seen = self.inner.watch.hold();
        if private_file::stamp(path) != Some(found.disk.stamp) {
            let message = format!("{} changed on disk meanwhile; nothing was saved", path.display());
            return Err(
                Error::new(KIND, message).with_hint("check which other process writes it, then try again")
            );
        }
        // the previous generation first: a process killed in between has destroyed nothing, and repeats this
        previous.put_in_place(KIND).map_err(unsaved)?;
        seen.loaded = Some(new.put_in_place(KIND).map_err(unsaved)?);
        self.take(next.keys, next.wrapped, next.destroyed);
        sync_folder(path)
    }

    /// Nothing was to be done, but the file may be newer than the keys in memory.
    fn take_found(&self, found: CurrentKeyring) {
        let mut seen = self.inner.watch.hold();
        if self.check_follows(&found.keys).is_ok() {
            seen.loaded = Some(found.disk.stamp);
            self.take(found.keys, found.wrapped, None);
        }
    }
}

fn previous(path: &Path) -> PathBuf {
    private_file::beside(path, ".previous")
}

/// The generation before may hold a key that is destroyed: on another host, or by a process that
/// died. Unless it shows that it does not, it is replaced by the present one.
fn wipe_previous(path: &Path, found: &CurrentKeyring, id: KeyId) -> Result<()> {
    let before = previous(path);
    if private_file::stamp(&before).is_none() {
        return Ok(());
    }
    let keys = read(&before).and_then(|previous| format::unseal(&previous.outer, &found.wrapped.key));
    if keys.is_ok_and(|keys| keys.get(id).is_none_or(|key| key.material.is_none())) {
        return Ok(());
    }
    let draft = Draft::write(&before, &found.disk.text, KIND).map_err(unsaved)?;
    draft.put_in_place(KIND).map_err(unsaved)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<()> {
    private_file::sync_folder(private_file::folder_of(path), KIND).map_err(|error| {
        error
            .about("the keyring was saved, but a power failure may undo the change")
            .with_hint("check the disk, then the keys (`retell-vault key list`)")
    })
}

/// An error before the new file took its place.
fn unsaved(error: Error) -> Error {
    error.with_hint(NOTHING_SAVED)
}

#[cfg(test)]
#[path = "change_file_tests.rs"]
mod tests;
