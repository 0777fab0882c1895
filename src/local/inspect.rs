//! What the first handle does before others may use the file: it checks the file, sets a damaged one aside, and creates a
//! missing one.

use std::path::Path;
use std::sync::Arc;

use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::error::{Error, ErrorKind, Result};

use crate::local::files::{Identity, identity};
use crate::local::guard::Guard;
use crate::local::{errors, files, journal, sqlite};

/// Leaves a sound file, and returns its identity.
///
/// # Errors
/// `LocalCorrupt` if it was damaged; it was set aside, and no new one was created. `LocalStore`.
pub(super) async fn make_ready(path: &Path, guard: &Arc<Guard>) -> Result<Identity> {
    files::refuse_planted(path)?;
    match check_or_make(path, guard).await {
        Err(error) if error.kind() == ErrorKind::LocalCorrupt => Err(put_aside(path, error)),
        Err(error) => Err(error),
        Ok(()) => identity(path)?.ok_or_else(|| damaged(path, "it was removed while it was being created")),
    }
}

async fn check_or_make(path: &Path, guard: &Arc<Guard>) -> Result<()> {
    let journal = files::content(&files::beside(path, "-journal"))?;
    match files::length(path)? {
        // SQLite would delete such a journal
        None if !journal.is_empty() => {
            return Err(damaged(path, "its journal exists, but the file does not"));
        }
        Some(0) if guard.is_made() => return Err(damaged(path, "it is empty")),
        None => {
            guard.set_unmade()?;
            files::make(path)?;
        }
        Some(0) => {}
        Some(_) => check(path, guard, &journal).await?,
    }
    let mut connection = connected(path, guard).await?;
    sqlite::make(path, &mut connection).await?;
    closed(path, connection).await?;
    guard.set_made()
}

/// The journal first: when the file is opened, SQLite undoes what it can and empties the journal.
async fn check(path: &Path, guard: &Arc<Guard>, journal: &[u8]) -> Result<()> {
    if journal::is_damaged(journal) {
        return Err(damaged(path, "its journal is damaged"));
    }
    let mut connection = connected(path, guard).await?;
    let report: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_all(&mut connection)
        .await
        .map_err(|error| errors::meaning(path, "cannot check", error))?;
    if report != ["ok"] {
        return Err(damaged(path, "its pages are damaged"));
    }
    sqlite::verify(path, &mut connection).await?;
    closed(path, connection).await
}

async fn connected(path: &Path, guard: &Arc<Guard>) -> Result<SqliteConnection> {
    let options = sqlite::options(path, guard);
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
            let way = match new.extension().is_some_and(|end| end.as_encoded_bytes().ends_with(b"-journal")) {
                true => format!("find the file that {name} belongs to"),
                false => format!("`sqlite3 {name} .recover` recovers its contents"),
            };
            let hint = format!(
                "its pending records are not in the database yet: {way}; the next start creates a new file"
            );
            Error::new(ErrorKind::LocalCorrupt, format!("{found}; it was set aside as {name}"))
                .with_hint(hint)
                .with_source(found)
        }
        Err(error) => Error::new(ErrorKind::LocalCorrupt, format!("{found}; it could not be set aside"))
            .with_hint(format!("move it away with its -journal, then start again ({})", error.kind())),
    }
}
