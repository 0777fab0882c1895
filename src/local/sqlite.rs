//! How SQLite is opened, and the tables.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

use crate::error::{Error, ErrorKind, Result};

use crate::local::errors;
use crate::local::guard::Guard;

const BUSY: Duration = Duration::from_secs(5);
/// Longer than `BUSY`: callers queue for the writer while another one waits for SQLite.
const ACQUIRE: Duration = Duration::from_secs(10);
const READERS: u32 = 3;

/// Increases when an older program can no longer use the file.
const VERSION: u32 = 5;

/// `tenant` is '' if there is none. `waits_for` names the rows that a pending record is for, `rows` those of a replica, and
/// `database` the database that they are in: '' if that is unknown. `tries` counts how often the database refused it since
/// `refused_at`. The last columns of `kept` are those of a record that was pending. Versions are 16 hex digits, which sort
/// like the number. A record of 1 to 3 KB would overflow the pages of a table WITHOUT ROWID.
const TABLES: &str = "
CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE pending (
    tenant TEXT NOT NULL, user TEXT NOT NULL, version TEXT NOT NULL, text TEXT NOT NULL,
    base TEXT NOT NULL, at INTEGER NOT NULL, waits_for TEXT NOT NULL DEFAULT '', database TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 0, refused_at INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (tenant, user)
) STRICT;
CREATE TABLE replica (
    tenant TEXT NOT NULL, user TEXT NOT NULL, rows TEXT NOT NULL, database TEXT NOT NULL, version TEXT NOT NULL,
    text TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (tenant, user, rows)
) STRICT;
CREATE TABLE kept (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, user TEXT NOT NULL,
    kind TEXT NOT NULL, text TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL,
    version TEXT, base TEXT, stored_at INTEGER, waits_for TEXT, database TEXT
) STRICT;
CREATE INDEX kept_owner ON kept (tenant, user, kind);
CREATE TABLE canary (key TEXT NOT NULL PRIMARY KEY, sealed BLOB NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('schema', '3');
";

/// From version 1, which lacks these columns.
const TO_2: &str = "
ALTER TABLE pending ADD COLUMN waits_for TEXT NOT NULL DEFAULT '';
ALTER TABLE pending ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pending ADD COLUMN refused_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE kept ADD COLUMN version TEXT;
ALTER TABLE kept ADD COLUMN base TEXT;
ALTER TABLE kept ADD COLUMN stored_at INTEGER;
ALTER TABLE kept ADD COLUMN waits_for TEXT;
";

/// From version 2. The table that its replicas belong to is unknown, so they are dropped: the next load of each owner
/// creates a new one.
const TO_3: &str = "
ALTER TABLE pending ADD COLUMN database TEXT NOT NULL DEFAULT '';
ALTER TABLE kept ADD COLUMN database TEXT;
DROP TABLE replica;
CREATE TABLE replica (
    tenant TEXT NOT NULL, user TEXT NOT NULL, rows TEXT NOT NULL, database TEXT NOT NULL, version TEXT NOT NULL,
    text TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (tenant, user, rows)
) STRICT;
";

/// From version 3, which has no copies of the ledger. The lines are its entries and heads, as exports hold them. Entries that name
/// no state of a record are in `ledger_note`.
const TO_4: &str = "
CREATE TABLE ledger_head (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, writer TEXT NOT NULL UNIQUE, number INTEGER NOT NULL, line TEXT NOT NULL
) STRICT;
CREATE TABLE ledger_entry (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, writer TEXT NOT NULL, number INTEGER NOT NULL, tenant TEXT NOT NULL,
    user TEXT NOT NULL, line TEXT NOT NULL, at INTEGER NOT NULL, UNIQUE (writer, number)
) STRICT;
CREATE TABLE ledger_note (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, writer TEXT NOT NULL, number INTEGER NOT NULL, tenant TEXT NOT NULL,
    user TEXT NOT NULL, line TEXT NOT NULL, at INTEGER NOT NULL, UNIQUE (writer, number)
) STRICT;
UPDATE meta SET value = '4' WHERE name = 'schema';
";

/// From version 4, whose changes have no entries in the ledger. `handle` is the open file that added the entry, and `head` is over
/// the entry and those of its writer before it.
const TO_5: &str = "
CREATE TABLE ledger_unsent (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, handle TEXT NOT NULL, writer TEXT NOT NULL, number INTEGER NOT NULL,
    head BLOB NOT NULL, tenant TEXT NOT NULL, user TEXT NOT NULL, line TEXT NOT NULL, keeps_copy INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX ledger_unsent_handle ON ledger_unsent (handle, id);
UPDATE meta SET value = '5' WHERE name = 'schema';
";

/// The name under which SQLite keeps a database in memory: <https://sqlite.org/inmemorydb.html>.
pub(super) const MEMORY: &str = ":memory:";

const HAS: &str = "SELECT count(*), count(*) FILTER (WHERE name = 'meta') FROM sqlite_schema";
const SCHEMA: &str = "SELECT value FROM meta WHERE name = 'schema'";

pub(super) fn options(path: &Path, guard: &Arc<Guard>) -> SqliteConnectOptions {
    let guard = Arc::clone(guard);
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false) // it is created beforehand, with its mode
        .busy_timeout(BUSY)
        // An acknowledged commit survives a power cut: emptying the journal commits, and in this mode `FULL`
        // syncs that. Deleting the journal is synced under `EXTRA` only. (pager_end_transaction in pager.c)
        .journal_mode(SqliteJournalMode::Truncate)
        .synchronous(SqliteSynchronous::Full)
        // otherwise a large statement would put old pages into a file of the system's folder
        .pragma("temp_store", "MEMORY")
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

/// No connection is closed for being idle: opening one reads the tables again.
fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false) // a file does not hang up
}

/// One writer, because SQLite has only one anyway, and some readers.
pub(super) async fn pools(path: &Path, options: SqliteConnectOptions) -> Result<(SqlitePool, SqlitePool)> {
    let opened = errors::retried(path, "cannot open", || pool(1).connect_with(options.clone())).await;
    let writer = opened?;
    let mut connection =
        writer.acquire().await.map_err(|error| errors::meaning(path, "cannot open", error))?;
    let found = version(path, &mut connection).await?;
    drop(connection);
    if let Some(older @ 1..VERSION) = found {
        writer.close().await; // and with it the guard, now and not in the background
        let problem = format!("has schema version {older} while a process of an older version uses it");
        return Err(refused(path, &problem, "stop the processes that use it, then start again"));
    }
    Ok((writer, pool(READERS).connect_lazy_with(options)))
}

/// The only connection to tables in memory, which end with it.
pub(super) async fn memory(path: &Path, options: SqliteConnectOptions) -> Result<SqlitePool> {
    let failed = |error| errors::meaning(path, "cannot open", error);
    let pool = pool(1).connect_with(options).await.map_err(failed)?;
    make(path, &mut *pool.acquire().await.map_err(failed)?).await?;
    Ok(pool)
}

/// Creates the tables in an empty database, and adds the columns that an older version lacks.
pub(super) async fn make(path: &Path, connection: &mut SqliteConnection) -> Result<()> {
    let scripts: &[&str] = match version(path, connection).await? {
        Some(VERSION) => return Ok(()),
        Some(1) => &[TO_2, TO_3, TO_4, TO_5],
        Some(2) => &[TO_3, TO_4, TO_5],
        Some(3) => &[TO_4, TO_5],
        Some(_) => &[TO_5],
        None => &[TABLES, TO_4, TO_5],
    };
    let made = async {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        for sql in scripts {
            sqlx::raw_sql(*sql).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    };
    made.await.map_err(|error| errors::meaning(path, "cannot create the tables of", error))
}

/// # Errors
/// `LocalStore` for a file of another program, or of a newer version of this one.
pub(super) async fn verify(path: &Path, connection: &mut SqliteConnection) -> Result<()> {
    version(path, connection).await.map(drop)
}

/// `None` for a file that has no tables yet.
async fn version(path: &Path, connection: &mut SqliteConnection) -> Result<Option<u32>> {
    let unreadable = |error| errors::meaning(path, "cannot read", error);
    let found: (i64, i64) = sqlx::query_as(HAS).fetch_one(&mut *connection).await.map_err(unreadable)?;
    match found {
        (0, _) => return Ok(None),
        (_, 0) => return Err(refused(path, "is a database of another program", "name another file")),
        _ => {}
    }
    let version: Option<String> =
        sqlx::query_scalar(SCHEMA).fetch_optional(&mut *connection).await.map_err(unreadable)?;
    match version.as_deref().map(str::parse) {
        Some(Ok(known @ 1..=VERSION)) => Ok(Some(known)),
        Some(Ok(newer)) if newer > VERSION => {
            let problem = format!("has schema version {newer}; this program supports {VERSION}");
            Err(refused(path, &problem, "use the newer retell-vault that wrote it"))
        }
        _ => Err(refused(path, "is a database of another program", "name another file")),
    }
}

fn refused(path: &Path, problem: &str, hint: &str) -> Error {
    Error::new(ErrorKind::LocalStore, format!("{} {problem}", path.display())).with_hint(hint)
}
