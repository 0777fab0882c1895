//! Limits look-ups that find nobody, and remembers what was found.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::record::owner::Owner;
use crate::store::recent::Recent;

/// How many look-ups in a row may find nobody, and how many in a second after that. One takes a fraction of a millisecond of
/// the database, so that nobody who sends made-up ids can keep it busy.
const MISSES: f64 = 500.0;
const MISSES_A_SECOND: f64 = 100.0;

/// What look-ups by a value found. A value that found its owner before is looked up without a limit, so a flood of made-up
/// values does not stop genuine ones.
pub(crate) struct LookUpLimit {
    last: Recent<Owner>,
    misses: Mutex<TokenBucket>,
}

struct TokenBucket {
    tokens: f64,
    at: Instant,
}

/// A look-up that may be made. It counts as a miss until it has found somebody.
#[must_use]
pub(crate) struct Permit {
    is_limited: bool,
}

impl Default for LookUpLimit {
    fn default() -> Self {
        let misses = TokenBucket { tokens: MISSES, at: Instant::now() };
        Self { last: Recent::default(), misses: Mutex::new(misses) }
    }
}

impl LookUpLimit {
    /// The owner that a value belonged to last.
    pub(crate) fn last(&self, value: &str) -> Option<Owner> {
        self.last.get(value)
    }

    /// Allows a look-up, unless too many found nobody.
    pub(crate) fn may_look_up(&self, is_known: bool, now: Instant) -> Option<Permit> {
        if is_known {
            return Some(Permit { is_limited: false });
        }
        let mut bucket = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        let tokens = (bucket.tokens + since * MISSES_A_SECOND).min(MISSES);
        *bucket = TokenBucket { tokens, at: now.max(bucket.at) };
        if bucket.tokens < 1.0 {
            return None;
        }
        bucket.tokens -= 1.0;
        Some(Permit { is_limited: true })
    }

    /// A look-up found somebody, so it is no miss.
    pub(crate) fn found(&self, permit: Permit) {
        if permit.is_limited {
            self.misses.lock().unwrap_or_else(PoisonError::into_inner).tokens += 1.0;
        }
    }

    /// The value is known to belong to this owner. The one who is remembered stays until they no longer have it, so another
    /// owner who stores the same value takes nobody's place.
    pub(crate) fn remember(&self, value: &str, owner: &Owner) {
        self.last.update(value, |before| before.unwrap_or_else(|| owner.clone()));
    }

    /// The value belongs to nobody now.
    pub(crate) fn forget(&self, value: &str) {
        self.last.forget(value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn misses_are_limited_and_what_was_found_is_not() {
        let (found, start) = (LookUpLimit::default(), Instant::now());
        let misses = |now| (0..10_000).take_while(|_| found.may_look_up(false, now).is_some()).count();
        assert_eq!(misses(start), 500);
        assert_eq!(misses(start + Duration::from_millis(1_005)), 100);
        assert_eq!(misses(start), 0, "an earlier time adds nothing");
        assert!(found.may_look_up(true, start).is_some());

        assert_eq!(misses(start + Duration::from_secs(60)), 500, "no more than the bucket holds");
        let later = start + Duration::from_millis(60_015);
        for _ in 0..1_000 {
            let permit = found.may_look_up(false, later).unwrap();
            found.found(permit);
        }
    }

    #[test]
    fn it_knows_whose_a_value_was_until_it_is_forgotten() {
        let (found, owner) = (LookUpLimit::default(), Owner::user("user-42").unwrap());
        found.remember("agent_test_1", &owner);
        assert_eq!(found.last("agent_test_1"), Some(owner));
        found.forget("agent_test_1");
        assert_eq!(found.last("agent_test_1"), None);
    }
}
