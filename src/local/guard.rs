//! FILE.lock: whether the file is in use, and what its users tell each other.
//!
//! Locked exclusively: one handle is alone, and checks the file. Locked shared: a handle, or a connection of one, exists.
//! It holds 16 bytes: `mark[8] made[8]`.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;

use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::private_file;

use crate::local::{errors, files};

/// A check of a large file takes time, but a process that hangs in it must not block the others forever.
const WAIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

const MADE_AT: u64 = 8;
const MADE: [u8; 8] = *b"rv-made\n";

/// A lock on FILE.lock. Every connection holds the guard too, and releases it after it has closed its files: while a
/// connection exists, no other handle is alone.
pub(super) struct Guard {
    path: PathBuf,
    file: File,
    alone: AtomicBool,
}

impl Guard {
    /// Waits until no process checks the file, and locks it: exclusively if no process uses it.
    pub(super) async fn enter(path: &Path) -> Result<Arc<Self>> {
        let path = files::beside(path, ".lock");
        let file = private_file::ensure_private(&path, ErrorKind::LocalStore)?;
        let guard = Self { path, file, alone: AtomicBool::new(false) };
        guard.wait(|| Ok(guard.try_exclusive()? || guard.try_shared()?)).await?;
        Ok(Arc::new(guard))
    }

    /// For what lies in memory, where nobody else can look.
    pub(super) fn of_memory() -> Result<Arc<Self>> {
        let path = PathBuf::from("/dev/null");
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|error| errors::io("cannot use", &path, error))?;
        Ok(Arc::new(Self { path, file, alone: AtomicBool::new(false) }))
    }

    /// Lets others in. They may have come and gone when this returns.
    pub(super) async fn share(&self) -> Result<()> {
        if self.alone.swap(false, Ordering::AcqRel) {
            self.file.unlock().map_err(|error| self.failed(error))?;
            self.wait(|| self.try_shared()).await?;
        }
        Ok(())
    }

    /// Whether this guard has locked all others out.
    pub(super) fn alone(&self) -> bool {
        self.alone.load(Ordering::Acquire)
    }

    // polled, because a blocking lock could neither be dropped nor time out
    async fn wait(&self, mut locked: impl FnMut() -> Result<bool>) -> Result<()> {
        for _ in 0..WAIT.as_millis() / LOOK_EVERY.as_millis() {
            if locked()? {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
        let problem = format!("{} is locked by a process that is checking the file", self.path.display());
        Err(Error::new(ErrorKind::Busy, problem).with_hint("find the process that hangs, and stop it"))
    }

    fn try_exclusive(&self) -> Result<bool> {
        let locked = self.outcome(self.file.try_lock())?;
        self.alone.store(locked, Ordering::Release);
        Ok(locked)
    }

    fn try_shared(&self) -> Result<bool> {
        self.outcome(self.file.try_lock_shared())
    }

    fn outcome(&self, tried: Result<(), TryLockError>) -> Result<bool> {
        match tried {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(self.failed(error)),
        }
    }

    /// A number that changes whenever a pending entry was added, before that is acknowledged.
    pub(super) fn mark(&self) -> Option<u64> {
        let mut mark = [0; 8];
        match self.file.read_at(&mut mark, 0) {
            Ok(8) => Some(u64::from_ne_bytes(mark)),
            _ => None,
        }
    }

    /// Tells all processes that a pending entry was added.
    pub(super) fn change_mark(&self) -> Result<()> {
        let mark = random::with_rng(|rng| rng.next_u64())?;
        self.write(&mark.to_ne_bytes(), 0)
    }

    /// Whether FILE was created: from then on an empty one is damaged.
    pub(super) fn is_made(&self) -> bool {
        let mut made = [0; MADE.len()];
        self.file.read_at(&mut made, MADE_AT).is_ok() && made == MADE
    }

    /// Records that FILE is about to be created: until that is done, an empty one is not damaged.
    pub(super) fn set_unmade(&self) -> Result<()> {
        self.write(&[0; MADE.len()], MADE_AT)
    }

    /// Records that FILE is complete.
    pub(super) fn set_made(&self) -> Result<()> {
        self.write(&MADE, MADE_AT)?;
        self.file.sync_data().map_err(|error| self.failed(error))
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.file.write_all_at(bytes, at).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> Error {
        errors::io("cannot use", &self.path, error)
    }
}

impl Drop for Guard {
    /// Not only by closing: a child of this process that has not reached its `exec` yet holds the file open as well, and
    /// with it the lock.
    fn drop(&mut self) {
        // closing it, right after this, is the other way
        self.file.unlock().ok();
    }
}
