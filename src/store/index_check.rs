//! Whether the index covers every record, as the database said a moment ago.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the answer "complete" is used. Without it every look-up that finds nobody would ask again. Any other answer is
/// never used again, because a build may have ended meanwhile.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// When the database last said that the index is complete.
#[derive(Default)]
pub(crate) struct IndexCheck(Mutex<Option<Instant>>);

impl IndexCheck {
    /// Whether it said so a moment ago.
    pub(crate) fn is_complete(&self, now: Instant) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| now.saturating_duration_since(last) < ASK_EVERY)
    }

    pub(crate) fn note(&self, is_complete: bool, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = is_complete.then_some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_good_answer_is_used_and_only_for_a_moment() {
        let (check, now) = (IndexCheck::default(), Instant::now());
        assert!(!check.is_complete(now));
        check.note(true, now);
        assert!(check.is_complete(now + ASK_EVERY / 2) && !check.is_complete(now + ASK_EVERY));
        check.note(false, now);
        assert!(!check.is_complete(now));
    }
}
