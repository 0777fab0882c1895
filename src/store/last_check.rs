//! Remembers for a while that something in the database is as the vault made it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long something counts as usable after it was checked.
pub(super) const BELIEVED: Duration = Duration::from_secs(60);

/// When the database was last found as the vault made it.
#[derive(Default)]
pub(super) struct LastCheck(Mutex<Option<Instant>>);

impl LastCheck {
    pub(super) fn is_recent(&self) -> bool {
        self.is_within(BELIEVED)
    }

    pub(super) fn is_within(&self, believed: Duration) -> bool {
        let checked = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        checked.is_some_and(|at| at.elapsed() < believed)
    }

    pub(super) fn note(&self, is_usable: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = is_usable.then(Instant::now);
    }
}
