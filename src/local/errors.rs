//! What a failure of SQLite means, and which ones are worth another attempt.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::Rng;

use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};

/// SQLite itself has already waited `busy_timeout` for most of these: few attempts, and none after this time.
const ATTEMPTS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(6);

/// All that is kept of an error of SQLite: its texts could reveal too much. <https://sqlite.org/rescode.html>
#[derive(Debug, thiserror::Error)]
#[error("SQLite result code {0}")]
struct Code(i32);

/// Runs `work` again while the file is locked.
///
/// # Errors
/// `Busy` if it stays locked; otherwise the error that [`meaning`] gives for the failure of `what`.
pub(super) async fn retried<T, W, F>(path: &Path, what: &'static str, work: W) -> Result<T>
where
    W: Fn() -> F,
    F: Future<Output = sqlx::Result<T>>,
{
    let start = Instant::now();
    let mut attempt = 1;
    loop {
        match work().await {
            Ok(value) => return Ok(value),
            Err(error) if is_busy(&error) && attempt < ATTEMPTS && start.elapsed() < PATIENCE => {
                tokio::time::sleep(pause(attempt)).await;
                attempt += 1;
            }
            Err(error) => return Err(meaning(path, what, error)),
        }
    }
}

/// 2 to 4 milliseconds, doubled with every attempt, so that rivals do not meet again.
fn pause(attempt: u32) -> Duration {
    let random = random::with_rng(|rng| rng.next_u64()).unwrap_or(0) % 2000;
    Duration::from_micros((2000 + random) << attempt.min(6))
}

fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// The extended code is the primary one and more in the upper bits: 517 is a 5.
fn primary(code: i32) -> i32 {
    code & 0xff
}

fn is_busy(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| matches!(primary(code), 5 | 6))
}

/// The error that a caller gets: the path, what was tried, the code, and no values.
pub(super) fn meaning(path: &Path, what: &str, error: sqlx::Error) -> Error {
    let path = path.display();
    if let Some(code) = code(&error) {
        let (kind, problem) = problem(primary(code));
        let error = Error::new(kind, format!("{what} {path}: {problem} (SQLite code {code})"));
        return hinted(error).with_source(Code(code));
    }
    let (kind, problem) = match error {
        sqlx::Error::PoolTimedOut => (ErrorKind::Busy, "all connections are in use".to_owned()),
        sqlx::Error::PoolClosed => (ErrorKind::LocalStore, "it was closed".to_owned()),
        sqlx::Error::Io(error) => (ErrorKind::LocalStore, error.kind().to_string()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            (ErrorKind::LocalCorrupt, "it holds a value that the vault did not write".to_owned())
        }
        _ => (ErrorKind::LocalStore, "the connection failed".to_owned()),
    };
    hinted(Error::new(kind, format!("{what} {path}: {problem}")))
}

fn problem(primary: i32) -> (ErrorKind, &'static str) {
    match primary {
        5 | 6 => (ErrorKind::Busy, "it is locked"),
        11 => (ErrorKind::LocalCorrupt, "it is damaged"),
        26 => (ErrorKind::LocalCorrupt, "it is not a database"),
        3 => (ErrorKind::LocalStore, "permission denied"),
        7 => (ErrorKind::LocalStore, "out of memory"),
        8 => (ErrorKind::LocalStore, "it is read-only"),
        10 => (ErrorKind::LocalStore, "input/output error"),
        13 => (ErrorKind::LocalStore, "no space left"),
        14 => (ErrorKind::LocalStore, "it or its -journal cannot be opened"),
        _ => (ErrorKind::LocalStore, "unexpected failure"),
    }
}

fn hinted(error: Error) -> Error {
    match error.kind() {
        ErrorKind::LocalCorrupt => error.with_hint(
            "stop all processes that use it, then start them again: the first one sets the damaged file aside",
        ),
        ErrorKind::Busy => {
            error.with_hint("try again; if it stays locked, find the process that holds the lock")
        }
        _ => error,
    }
}

/// A row that something other than this module stored.
pub(super) fn odd_row(path: &Path) -> Error {
    let problem = format!("{} holds a row that the vault did not write", path.display());
    Error::new(ErrorKind::LocalCorrupt, problem).with_hint("restore the file from a backup, or move it away")
}

/// An error of the operating system.
pub(super) fn io(what: &str, path: &Path, error: io::Error) -> Error {
    let problem = format!("{what} {}: {}", path.display(), error.kind());
    Error::new(ErrorKind::LocalStore, problem).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_the_fault_table_mean_what_it_says() {
        for busy in [5, 6, 261, 517, 773] {
            assert_eq!(problem(primary(busy)).0, ErrorKind::Busy, "{busy}");
        }
        for store in [8, 10, 13, 14, 266, 522, 778, 1032, 1550] {
            assert_eq!(problem(primary(store)).0, ErrorKind::LocalStore, "{store}");
        }
        for corrupt in [11, 26, 267, 523, 779] {
            assert_eq!(problem(primary(corrupt)).0, ErrorKind::LocalCorrupt, "{corrupt}");
        }
    }
}
