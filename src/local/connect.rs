//! Connections: how they are set up, and how many there are.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlitePool};

use crate::error::Result;

use super::guard::Guard;
use super::{fault, schema};

pub(super) const WAL: SqliteJournalMode = SqliteJournalMode::Wal;

const BUSY: Duration = Duration::from_secs(5);
/// Longer than `BUSY`: the queue before the writer waits for the one that waits for SQLite.
const ACQUIRE: Duration = Duration::from_secs(10);
const READERS: u32 = 3;

pub(super) fn options(path: &Path, guard: &Arc<Guard>) -> SqliteConnectOptions {
    let guard = Arc::clone(guard);
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false) // it is made beforehand, with its mode
        .busy_timeout(BUSY)
        .synchronous(SqliteSynchronous::Full) // a commit that was acknowledged survives a power cut
        .pragma("secure_delete", "ON")
        .pragma("cell_size_check", "ON")
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging()
        // never used to compare: SQLite drops it after it has closed its files, and the guard with it
        .collation("guard", move |a, b| {
            let _held = &guard;
            a.cmp(b)
        })
}

/// One writer, since SQLite has one anyway, and some readers. None of them is ever idle for too long:
/// as long as one is open, the log stays.
pub(super) async fn pools(path: &Path, options: SqliteConnectOptions) -> Result<(SqlitePool, SqlitePool)> {
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false) // a file does not hang up
    };
    let opened = fault::retried(path, "cannot open", || pool(1).connect_with(options.clone())).await;
    let writer = opened?;
    let mut connection =
        writer.acquire().await.map_err(|error| fault::meaning(path, "cannot open", error))?;
    schema::verify(path, &mut connection).await?;
    drop(connection);
    Ok((writer, pool(READERS).connect_lazy_with(options)))
}
