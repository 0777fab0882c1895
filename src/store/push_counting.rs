//! Whether the database counts the pushes of the local file, as far as this process knows.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer is believed: an operator may create the table, or grant a right.
const BELIEVED: Duration = Duration::from_secs(60);

/// The last answer, and when it was given.
#[derive(Default)]
pub(crate) struct PushCounting {
    answer: Mutex<Option<(bool, Instant)>>,
}

impl PushCounting {
    /// `None`: the database must be asked.
    pub(super) fn answer(&self) -> Option<bool> {
        let answer = *self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        answer.filter(|(_, at)| at.elapsed() < BELIEVED).map(|(counts, _)| counts)
    }

    pub(super) fn note(&self, counts: bool) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some((counts, Instant::now()));
    }
}
