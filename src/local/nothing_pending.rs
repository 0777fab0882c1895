//! Remembers that nothing is pending, so that a load need not ask SQLite every time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::local::guard::Guard;

/// Two writes may get the same time stamp; kernels count in steps of up to 10 ms.
pub(super) const SETTLED: Duration = Duration::from_millis(100);

/// How often the file is checked while the mark stays the same. It reveals only writers that died before they could
/// acknowledge anything, and checking it costs more than checking the mark.
pub(super) const FILE_EVERY: Duration = Duration::from_millis(100);

/// The state of the files at the last check that found nothing pending, and the time of that check.
pub(super) struct NothingPending {
    path: PathBuf,
    empty_at: Mutex<Option<(FileState, Instant)>>,
}

/// What changes when any process adds a pending entry.
///
/// The mark changes exactly then, before the entry is acknowledged. The time of FILE changes with every write, before its
/// commit, so it also reveals a writer that died before it could change the mark.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FileState {
    mark: u64,
    device: u64,
    inode: u64,
    length: u64,
    modified: SystemTime,
}

impl NothingPending {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, empty_at: Mutex::new(None) }
    }

    /// Whether nothing is pending, for certain.
    pub(super) fn says_none(&self, guard: &Guard) -> bool {
        let Some((noted, looked)) = *self.empty_at.lock().unwrap_or_else(PoisonError::into_inner) else {
            return false;
        };
        if looked.elapsed() < FILE_EVERY {
            return guard.mark() == Some(noted.mark);
        }
        let is_same = self.look(guard) == Some(noted);
        if is_same {
            self.none_at(Some(noted));
        }
        is_same
    }

    /// To be taken before the question is asked; `None` if the answer cannot be remembered.
    pub(super) fn settled(&self, guard: &Guard) -> Option<FileState> {
        let now = SystemTime::now();
        let state = self.look(guard)?;
        // an error means that it is in the future: a clock was set
        let age = now.duration_since(state.modified).ok()?;
        (age >= SETTLED).then_some(state)
    }

    /// Notes that a question asked after the look found nothing pending at all.
    pub(super) fn none_at(&self, state: Option<FileState>) {
        let noted = state.map(|state| (state, Instant::now()));
        *self.empty_at.lock().unwrap_or_else(PoisonError::into_inner) = noted;
    }

    /// By its name: closing a descriptor of FILE would drop SQLite's locks.
    fn look(&self, guard: &Guard) -> Option<FileState> {
        let file = fs::symlink_metadata(&self.path).ok()?;
        Some(FileState {
            mark: guard.mark()?,
            device: file.dev(),
            inode: file.ino(),
            length: file.len(),
            modified: file.modified().ok()?,
        })
    }
}
