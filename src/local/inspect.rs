//! What the first handle does before others come in: it checks the file, sets a damaged one aside,
//! and makes a missing one.

use std::path::Path;
use std::sync::Arc;

use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::error::{Error, ErrorKind, Result};

use crate::local::files::{Identity, identity};
use crate::local::guard::Guard;
use crate::local::{errors, files, sqlite, wal};

/// Leaves a sound file behind, and says which.
///
/// # Errors
/// `LocalCorrupt` when it was damaged; it was set aside, and no new one was made. `LocalStore`.
pub(super) async fn make_ready(path: &Path, guard: &Arc<Guard>) -> Result<Identity> {
    files::refuse_planted(path)?;
    match check_or_make(path, guard).await {
        Err(error) if error.kind() == ErrorKind::LocalCorrupt => Err(put_aside(path, error)),
        Err(error) => Err(error),
        Ok(()) => identity(path)?.ok_or_else(|| damaged(path, "it was removed while it was made")),
    }
}

async fn check_or_make(path: &Path, guard: &Arc<Guard>) -> Result<()> {
    let log = files::length(&files::beside(path, "-wal"))?.unwrap_or(0);
    match files::length(path)? {
        // SQLite would delete such a log: it never starts one before the file has its first page
        None if log > 0 => return Err(damaged(path, "its log is there, but the file is not")),
        Some(0) if log > 0 || guard.is_made() => return Err(damaged(path, "it is empty")),
        None => {
            guard.set_unmade()?;
            files::make(path)?;
        }
        Some(0) => {}
        Some(_) => check(path, guard).await?,
    }
    let mut connection = connected(path, sqlite::options(path, guard).journal_mode(sqlite::WAL)).await?;
    sqlite::make(path, &mut connection).await?;
    closed(path, connection).await?;
    guard.set_made()
}

/// The log first: opening the file would make SQLite cut it off at the damage.
async fn check(path: &Path, guard: &Arc<Guard>) -> Result<()> {
    let log = files::content(&files::beside(path, "-wal"))?;
    let index = files::content(&files::beside(path, "-shm"))?;
    if let Some(problem) = wal::damage(&log, &index, guard.boot()) {
        return Err(damaged(path, problem));
    }
    // read-only, so that closing does not merge the log into a file that turns out to be damaged;
    // but only a writer can undo what a journal has half done, when the file was being made
    let undo = files::length(&files::beside(path, "-journal"))?.is_some();
    let mut connection = connected(path, sqlite::options(path, guard).read_only(!undo)).await?;
    let report: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_all(&mut connection)
        .await
        .map_err(|error| errors::meaning(path, "cannot check", error))?;
    if report != ["ok"] {
        return Err(damaged(path, "its pages are damaged"));
    }
    sqlite::verify(path, &mut connection).await?;
    closed(path, connection).await
}

async fn connected(path: &Path, options: sqlx::sqlite::SqliteConnectOptions) -> Result<SqliteConnection> {
    errors::retried(path, "cannot open", || options.connect()).await
}

async fn closed(path: &Path, connection: SqliteConnection) -> Result<()> {
    connection.close().await.map_err(|error| errors::meaning(path, "cannot close", error))
}

fn damaged(path: &Path, problem: &str) -> Error {
    Error::new(ErrorKind::LocalCorrupt, format!("{} is damaged: {problem}", path.display()))
}

fn put_aside(path: &Path, found: Error) -> Error {
    match files::put_aside(path) {
        Ok(new) => {
            let name = new.display();
            let way = match new.extension().is_some_and(|end| end.as_encoded_bytes().ends_with(b"-wal")) {
                true => format!("find the file that {name} belongs to"),
                false => format!("`sqlite3 {name} .recover` reads what is left"),
            };
            let hint = format!(
                "what was pending in it is not in the database yet: {way}; the next start makes a new file"
            );
            Error::new(ErrorKind::LocalCorrupt, format!("{found}; it was set aside as {name}"))
                .with_hint(hint)
                .with_source(found)
        }
        Err(error) => Error::new(ErrorKind::LocalCorrupt, format!("{found}; it could not be set aside"))
            .with_hint(format!("move it away with its -wal and -shm, then start again ({})", error.kind())),
    }
}
