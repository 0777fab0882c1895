//! The local file: SQLite, for what cannot go to the database now. It holds tokens only.
//!
//! Beside FILE lie `FILE-wal` and `FILE-shm` of SQLite, `FILE.lock`, which says who uses it, and
//! `FILE.corrupt-*`, which was set aside. Several processes may use one file at the same time.

mod connect;
mod fault;
mod files;
mod guard;
mod inspect;
mod kept;
mod note;
mod origin;
mod pending;
mod schema;
#[cfg(test)]
mod tests;
mod wal;
pub(crate) mod walk;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::SqlitePool;

use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::owner::Owner;
use crate::version::{Millis, Version};

use self::guard::Guard;
use self::note::Note;

/// How often opening starts again when another process makes or sets the file aside meanwhile.
const ROUNDS: usize = 5;

/// An open local file. Clones share it.
#[derive(Clone)]
pub(crate) struct LocalFile {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    identity: Identity,
    /// One connection: writers of this process queue here, in order, not in SQLite's busy loop.
    writer: SqlitePool,
    readers: SqlitePool,
    guard: Arc<Guard>,
    note: Note,
}

/// What a pending record was based on when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// The row was never looked at.
    Unknown,
    /// There was no row.
    NoRow,
    /// The row held this version.
    Version(Version),
}

/// One record of the local file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalRecord {
    pub(crate) owner: Owner,
    pub(crate) version: Version,
    /// All tokens, packed.
    pub(crate) text: String,
    /// Always `Unknown` in a replica.
    pub(crate) base: Base,
    pub(crate) at: Millis,
}

/// What became of a pending record that was to be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutPending {
    /// It is durable, now or since an earlier attempt.
    Written,
    /// Nothing was written: this version is there, which is as new or newer.
    Newer(Version),
}

/// Why a text is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeptKind {
    /// A record that lost against another one.
    Loser,
    /// A text of the database that was unreadable and was replaced.
    Replaced,
    /// A pending record that the database will never take.
    DeadLetter,
}

/// A text that stays until an operator drops it or its retention ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) id: i64,
    pub(crate) owner: Owner,
    pub(crate) kind: KeptKind,
    pub(crate) text: String,
    pub(crate) reason: String,
    pub(crate) at: Millis,
}

/// How many entries of each sort there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) pending: u64,
    pub(crate) replicas: u64,
    pub(crate) losers: u64,
    pub(crate) replaced: u64,
    pub(crate) dead_letters: u64,
}

/// Which file a path names: device and inode.
type Identity = (u64, u64);

impl LocalFile {
    /// Opens the file, and makes it if it is missing. When no other handle uses it, it is checked
    /// first: a damaged one is set aside, and the next call starts with a new one.
    ///
    /// # Errors
    /// `LocalCorrupt`, naming where the damaged file is now; `LocalStore`; `Busy`.
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        // absolute: independent of a later change of the folder, and never a `file:` URI for SQLite
        let path = std::path::absolute(path).map_err(|error| fault::io("cannot use", path, error))?;
        disk::private_folder(disk::folder_of(&path), ErrorKind::LocalStore)?;
        for _ in 0..ROUNDS {
            let guard = Guard::enter(&path).await?;
            let checked = match guard.alone() {
                true => Some(inspect::make_ready(&path, &guard).await?),
                false => None,
            };
            guard.share().await?;
            // between the two locks another process may have set it aside
            match identity(&path)? {
                Some(found) if checked.is_none_or(|checked| checked == found) => {
                    return Self::connect(path, found, guard).await;
                }
                _ => {}
            }
        }
        let problem = format!("{} was removed, but another process still uses it", path.display());
        Err(Error::new(ErrorKind::LocalStore, problem)
            .with_hint("stop the processes that use it, then start again"))
    }

    async fn connect(path: PathBuf, identity: Identity, guard: Arc<Guard>) -> Result<Self> {
        files::refuse_planted(&path)?;
        let options = connect::options(&path, &guard);
        let (writer, readers) = connect::pools(&path, options).await?;
        let note = Note::new(files::beside(&path, "-wal"));
        Ok(Self { inner: Arc::new(Inner { path, identity, writer, readers, guard, note }) })
    }

    /// Closes all connections, for all clones. Later calls are errors.
    ///
    /// Dropping the last clone does the same in the background: until it is done, opening the file
    /// again counts as a second handle, and is not checked.
    pub(crate) async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }

    /// The absolute path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The damaged files that were set aside and are still in the folder.
    pub(crate) fn set_aside(&self) -> Vec<PathBuf> {
        files::set_aside(&self.inner.path)
    }

    /// What was written to a file that nobody can find any more must not be acknowledged.
    fn still_there(&self) -> Result<()> {
        if identity(&self.inner.path)? == Some(self.inner.identity) {
            return Ok(());
        }
        let problem = format!("{} was removed or replaced while in use", self.inner.path.display());
        Err(Error::new(ErrorKind::LocalStore, problem)
            .with_hint("start again, and leave the file to the vault"))
    }
}

fn identity(path: &Path) -> Result<Option<Identity>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault::io("cannot look at", path, error)),
    }
}
