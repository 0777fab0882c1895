//! Lets callers fail fast while the server is down, instead of waiting for it every time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};
use crate::observe::metrics;
use crate::observe::subject::Subject;

/// The first pause after a failure; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct Breaker {
    subject: Subject,
    state: Mutex<BreakerState>,
}

#[derive(Default)]
struct BreakerState {
    failures: u32,
    /// Until this time no caller contacts the server.
    closed_again_at: Option<Instant>,
    /// One caller is contacting the server.
    is_trying: bool,
    /// What the callers get that do not ask.
    reason: Option<Error>,
}

impl Breaker {
    pub(crate) fn new(subject: Subject) -> Self {
        Self { subject, ..Self::default() }
    }

    /// The error for a caller that must not contact the server now, `Unavailable`. After the pause one caller may contact it, and
    /// its outcome decides for the others.
    pub(crate) fn blocks(&self, now: Instant) -> Option<Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.closed_again_at {
            Some(until) if now < until => state.reason.clone(),
            Some(_) => {
                state.closed_again_at = Some(now + pause(state.failures));
                state.is_trying = true;
                None
            }
            None => None,
        }
    }

    pub(crate) fn success(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failures > 0 {
            tracing::info!("the database is reachable again");
            *state = BreakerState::default();
            metrics::set_breaker(&self.subject, false);
        }
    }

    pub(crate) fn failure(&self, error: &Error, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = state.closed_again_at.is_some_and(|until| now < until);
        // one event fails all concurrent callers; it must count only once
        if is_open && !std::mem::take(&mut state.is_trying) {
            return;
        }
        state.failures = state.failures.saturating_add(1);
        metrics::set_breaker(&self.subject, true);
        state.closed_again_at = Some(now + pause(state.failures));
        tracing::warn!(reason = %error, failures = state.failures, "the database cannot be used");
        state.reason = Some(Error::new(ErrorKind::Unavailable, error.to_string()).with_details_of(error));
    }

    /// Reports the state that the last failure or success left.
    pub(crate) fn sample(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        metrics::set_breaker(&self.subject, state.failures > 0);
    }

    /// Whether callers must not contact the server.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed_again_at.is_some_and(|until| now < until)
    }
}

fn pause(failures: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Error {
        Error::new(ErrorKind::OutcomeUnknown, "refused").with_sqlstate("53300")
    }

    #[test]
    fn it_opens_lets_one_through_and_closes_by_itself() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        assert!(breaker.blocks(start).is_none());
        breaker.failure(&refused(), start);
        let error = breaker.blocks(start).unwrap();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unavailable, "refused"));
        assert_eq!(error.sqlstate(), Some("53300"), "as the call that found it out got it");
        let later = start + FIRST_PAUSE;
        assert!(breaker.blocks(later).is_none(), "one caller tries");
        assert!(breaker.blocks(later).is_some(), "the others wait for its outcome");
        breaker.success();
        assert!(breaker.blocks(later).is_none());
    }

    #[test]
    fn callers_that_fail_together_count_once() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..20 {
            breaker.failure(&refused(), start);
        }
        let later = start + FIRST_PAUSE;
        assert!(breaker.blocks(later).is_none(), "one caller tries");
        for _ in 0..20 {
            breaker.failure(&refused(), later);
        }
        assert!(breaker.is_open(later + FIRST_PAUSE), "a second failure doubles the pause");
        assert!(!breaker.is_open(later + FIRST_PAUSE * 2));
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        assert_eq!(pause(1), FIRST_PAUSE);
        assert_eq!(pause(3), FIRST_PAUSE * 4);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
