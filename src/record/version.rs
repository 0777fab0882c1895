//! The order of the writes of one owner.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// Milliseconds since 1970, as every time in this crate below the vault.
pub(crate) type Millis = u64;

/// A record whose version is this far ahead of the database's clock never wins over one whose version is not.
pub(crate) const MAX_AHEAD: Millis = 24 * 60 * 60 * 1000;

/// When a record was written: 48 bits of milliseconds since 1970, then 16 bits that start random.
///
/// Orders the writes of one owner; it never goes back, even when a clock does. Its text is 16 lower
/// case hex digits and sorts like the number. Versions of different owners have no common order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The version of a write at `now`, later than every version `seen` for the owner.
    /// `random` decides the low 16 bits, and the step past `seen`.
    pub(crate) fn next(now: Millis, seen: Option<Version>, random: u16) -> Self {
        let clock = (now.min((1 << 48) - 1) << 16) | u64::from(random);
        let after = seen.map_or(0, |seen| seen.0.saturating_add(1 + u64::from(random)));
        Self(clock.max(after))
    }

    /// The time in it, in milliseconds since 1970.
    pub fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// The eight bytes that a seal is bound to, most significant first.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Whether it is more than 24 hours ahead of `now`: a broken clock, or forged.
    pub(crate) fn is_ahead_of(self, now: Millis) -> bool {
        self.millis() > now.saturating_add(MAX_AHEAD)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({self})")
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        hex_value(text, 16)
            .map(Self)
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "a version must be 16 lower-case hex digits"))
    }
}

/// The value of exactly `digits` lower-case hex digits.
pub(crate) fn hex_value(text: &str, digits: usize) -> Option<u64> {
    let add = |value: u64, byte: u8| match byte {
        b'0'..=b'9' => Some(value << 4 | u64::from(byte - b'0')),
        b'a'..=b'f' => Some(value << 4 | u64::from(byte - b'a' + 10)),
        _ => None,
    };
    text.bytes().try_fold(0, add).filter(|_| text.len() == digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn next_is_later_than_what_was_seen(now in 0u64..1 << 48, seen: u64, random: u16) {
            prop_assume!(seen < u64::MAX - (1 << 17));
            prop_assert!(Version::next(now, Some(Version(seen)), random) > Version(seen));
        }

        #[test]
        fn text_sorts_like_the_number_and_comes_back(a: u64, b: u64) {
            let (a, b) = (Version(a), Version(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(a.to_string().parse::<Version>().unwrap(), a);
        }
    }

    #[test]
    fn a_clock_that_goes_back_does_not_take_the_version_back() {
        let seen = Version::next(1_000_000, None, 7);
        assert!(Version::next(900_000, Some(seen), 0) > seen);
    }

    #[test]
    fn upper_case_and_odd_lengths_are_refused() {
        for bad in ["", "0", "000000000000000A", "00000000000000000", "+00000000000000a", "000000000000000g"]
        {
            // what a caller's `If-Match` holds; of a token it is `Malformed`
            assert_eq!(bad.parse::<Version>().unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
        }
    }
}
