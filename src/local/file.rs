//! The local file: SQLite, for writes that the database cannot take now. It holds tokens only.
//!
//! Beside FILE are SQLite's `FILE-journal`, which is empty except during a write, `FILE.lock`, which shows whether the file
//! is in use, and `FILE.corrupt-*`, which were set aside. Several processes may use one file at the same time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::hex::hex;
use crate::keyring::private_file;
use crate::record::owner::Owner;
use crate::record::version::{Millis, Version};

use crate::local::entries::{Base, LocalRecord, OwnerRows};
use crate::local::files::{self, Identity, identity};
use crate::local::guard::Guard;
use crate::local::nothing_pending::NothingPending;
use crate::local::{errors, inspect, sqlite};

/// How often opening starts again if another process creates the file or sets it aside in between.
const ROUNDS: usize = 5;

/// An open local file. Clones share it.
#[derive(Clone)]
pub(crate) struct LocalFile {
    pub(super) inner: Arc<OpenFile>,
}

pub(super) struct OpenFile {
    path: PathBuf,
    /// None for one in memory.
    identity: Option<Identity>,
    /// A random text, which is another one each time the file is opened.
    pub(super) handle: String,
    /// One connection: writers of this process queue here, in order, not in SQLite's busy loop.
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    pub(super) guard: Arc<Guard>,
    pub(super) nothing_pending: NothingPending,
}

impl LocalFile {
    /// Opens the file, and creates it if it is missing. If no other handle uses it, it is checked first: a damaged one is
    /// set aside, and the next call starts with a new one.
    ///
    /// # Errors
    /// `LocalCorrupt`, naming where the damaged file is now; `LocalStore`; `Busy`.
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        // absolute: independent of a later change of the folder, and never a `file:` URI for SQLite
        let path = std::path::absolute(path).map_err(|error| errors::io("cannot use", path, error))?;
        private_file::private_folder(private_file::folder_of(&path), ErrorKind::LocalStore)?;
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
        let options = sqlite::options(&path, &guard);
        let (writer, readers) = sqlite::pools(&path, options).await?;
        Self::over(path, Some(identity), writer, readers, guard)
    }

    /// One that lies nowhere but in the memory of this process, and ends with it.
    pub(crate) async fn in_memory() -> Result<Self> {
        let (path, guard) = (PathBuf::from(sqlite::MEMORY), Guard::of_memory()?);
        let pool = sqlite::memory(&path, sqlite::options(&path, &guard)).await?;
        Self::over(path, None, pool.clone(), pool, guard)
    }

    fn over(
        path: PathBuf,
        identity: Option<Identity>,
        writer: SqlitePool,
        readers: SqlitePool,
        guard: Arc<Guard>,
    ) -> Result<Self> {
        let nothing_pending = NothingPending::new(path.clone());
        let handle = hex(&random::system_bytes::<16>()?);
        let inner = OpenFile { path, identity, handle, writer, readers, guard, nothing_pending };
        Ok(Self { inner: Arc::new(inner) })
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

    pub(super) async fn read<T, W, F>(&self, work: W) -> Result<T>
    where
        W: Fn() -> F,
        F: Future<Output = sqlx::Result<T>>,
    {
        errors::retried(self.path(), "cannot read", work).await
    }

    /// Work that writes: repeated as a whole, and acknowledged only while the file is in its place.
    pub(super) async fn write<T, W, F>(&self, work: W) -> Result<T>
    where
        W: Fn() -> F,
        F: Future<Output = sqlx::Result<T>>,
    {
        let done = errors::retried(self.path(), "cannot write", work).await?;
        self.still_there().map(|()| done)
    }

    /// An entry of a table that notes its rows in two columns, of which the first has this name.
    pub(super) fn record(&self, row: &SqliteRow, base: Base, table: &str) -> Result<LocalRecord> {
        Ok(LocalRecord {
            owner: self.owner(row)?,
            version: self.version(self.column(row, "version")?)?,
            text: self.column(row, "text")?,
            base,
            at: self.at(row)?,
            rows: OwnerRows { table: self.column(row, table)?, database: self.column(row, "database")? },
        })
    }

    pub(super) fn owner(&self, row: &SqliteRow) -> Result<Owner> {
        let owner = Owner::user(self.column(row, "user")?);
        let owner = match self.column::<&str>(row, "tenant")? {
            "" => owner,
            tenant => owner.and_then(|owner| owner.in_tenant(tenant)),
        };
        owner.map_err(|_| errors::odd_row(self.path()))
    }

    pub(super) fn at(&self, row: &SqliteRow) -> Result<Millis> {
        Ok(self.column::<i64>(row, "at")?.try_into().unwrap_or(0))
    }

    pub(super) fn version(&self, text: &str) -> Result<Version> {
        text.parse().map_err(|_| errors::odd_row(self.path()))
    }

    pub(super) fn column<'r, T>(&self, row: &'r SqliteRow, name: &str) -> Result<T>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        row.try_get(name).map_err(|_| errors::odd_row(self.path()))
    }

    /// A write to a file that was removed or replaced must not be acknowledged.
    pub(super) fn still_there(&self) -> Result<()> {
        match self.inner.identity {
            None => return Ok(()),
            opened if identity(&self.inner.path)? == opened => return Ok(()),
            Some(_) => {}
        }
        let problem = format!("{} was removed or replaced while in use", self.inner.path.display());
        Err(Error::new(ErrorKind::LocalStore, problem)
            .with_hint("start again, and do not move or replace the file"))
    }
}

pub(super) fn tenant(owner: &Owner) -> &str {
    owner.tenant_id().map_or("", |tenant| tenant.as_str())
}

pub(super) fn to_sql(at: Millis) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}
