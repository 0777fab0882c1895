//! Limits look-ups that find nobody, and remembers what was found.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::record::owner::Owner;
use crate::store::recent::Recent;

/// How many look-ups in a row may find nobody, and how many in a second after that. One takes a fraction of a millisecond of
/// the database, so that nobody who sends made-up ids can keep it busy.
const MISSES: Rate = Rate { burst: 500.0, a_second: 100.0 };
/// How often in a row many owners of a value may be tried in vain, and how often in a second after that. One time may open 32
/// records and hash a body of 1 MiB 32 times.
const VAIN_TRIES: Rate = Rate { burst: 100.0, a_second: 10.0 };

/// What look-ups by a value found. A value that found its owner before is looked up without a limit, so a flood of made-up
/// values does not stop genuine ones.
pub(crate) struct LookUpLimit {
    last: Recent<Owner>,
    misses: Mutex<TokenBucket>,
    vain_tries: Mutex<TokenBucket>,
}

#[derive(Clone, Copy)]
struct Rate {
    burst: f64,
    a_second: f64,
}

struct TokenBucket {
    rate: Rate,
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    fn full(rate: Rate) -> Mutex<Self> {
        Mutex::new(Self { rate, tokens: rate.burst, at: Instant::now() })
    }

    fn has_token(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + since * self.rate.a_second).min(self.rate.burst);
        self.at = now.max(self.at);
        self.tokens >= 1.0
    }

    fn take(&mut self, now: Instant) -> bool {
        let has_token = self.has_token(now);
        if has_token {
            self.tokens -= 1.0;
        }
        has_token
    }
}

/// A look-up that may be made. It counts as a miss unless it is given back.
#[must_use]
pub(crate) struct Permit {
    is_limited: bool,
}

impl Default for LookUpLimit {
    fn default() -> Self {
        let (misses, vain_tries) = (TokenBucket::full(MISSES), TokenBucket::full(VAIN_TRIES));
        Self { last: Recent::default(), misses, vain_tries }
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
        lock(&self.misses).take(now).then_some(Permit { is_limited: true })
    }

    /// A look-up found somebody, or the database was away, so it is no miss.
    pub(crate) fn give_back(&self, permit: Permit) {
        if permit.is_limited {
            lock(&self.misses).tokens += 1.0;
        }
    }

    /// Whether every owner of a value may be tried; else only a few of them.
    pub(crate) fn may_try_many(&self, now: Instant) -> bool {
        lock(&self.vain_tries).has_token(now)
    }

    /// Many owners were tried, and none was the right one.
    pub(crate) fn tried_in_vain(&self, now: Instant) {
        lock(&self.vain_tries).take(now);
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

fn lock(bucket: &Mutex<TokenBucket>) -> MutexGuard<'_, TokenBucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
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
            found.give_back(permit);
        }
    }

    #[test]
    fn vain_tries_are_limited_and_end_no_look_up() {
        let (limit, start) = (LookUpLimit::default(), Instant::now());
        let vain_tries = |now| {
            let tries = (0..1_000).take_while(|_| limit.may_try_many(now));
            tries.map(|_| limit.tried_in_vain(now)).count()
        };
        assert_eq!(vain_tries(start), 100);
        assert_eq!(vain_tries(start + Duration::from_millis(1_005)), 10);
        assert!(limit.may_look_up(false, start).is_some());
        let later = start + Duration::from_secs(60);
        assert!((0..1_000).all(|_| limit.may_try_many(later)), "only a vain try counts");
        assert_eq!(vain_tries(later), 100, "no more than the bucket holds");
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
