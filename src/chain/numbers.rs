//! The numbers of one writer: which are free, sent, written or settled, and the hash of the chain over the settled ones. Pure.
//!
//! The chain lags behind: an entry names the head over the numbers that were known to be written when it was made, so no
//! write waits for another one.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::chain::entry::{Hash, Link, NO_HEAD, chained};

/// A writer with more unsettled numbers than this ends, and a new one begins.
pub(crate) const MAX_OPEN: usize = 1024;

/// What lies outside of the database and cannot go back with it: a writer had written all numbers up to `settled`, with this
/// head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownHead {
    pub(crate) writer: Uuid,
    pub(crate) settled: i64,
    pub(crate) head: Hash,
}

/// Some numbers of one writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) writer: Uuid,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

/// What is known of a number that is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// Its statement is under way.
    Sent,
    /// The outcome of its statement is unknown.
    Unknown,
    /// It is written, and an earlier number is not.
    Written(Link),
}

/// The numbers of one writer.
#[derive(Debug)]
pub(crate) struct Numbers {
    next: i64,
    /// Numbers whose statement certainly wrote nothing. They are used again.
    free: BTreeSet<i64>,
    open: BTreeMap<i64, Open>,
    settled: i64,
    head: Hash,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { next: 1, free: BTreeSet::new(), open: BTreeMap::new(), settled: 0, head: NO_HEAD }
    }
}

impl Numbers {
    /// A number for the next entry. `None`: too many are open.
    pub(crate) fn draw(&mut self) -> Option<i64> {
        if self.open.len() >= MAX_OPEN {
            return None;
        }
        let seq = self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.open.insert(seq, Open::Sent);
        Some(seq)
    }

    /// Every number up to here is written, and the hash of the chain over these.
    pub(crate) fn settled(&self) -> (i64, &Hash) {
        (self.settled, &self.head)
    }

    /// The entry is written.
    pub(crate) fn written(&mut self, seq: i64, link: Link) {
        if self.open.contains_key(&seq) {
            self.open.insert(seq, Open::Written(link));
        }
        while let Some((&first, &Open::Written(link))) = self.open.first_key_value()
            && first == self.settled + 1
        {
            self.open.pop_first();
            self.head = chained(&self.head, &link);
            self.settled = first;
        }
    }

    /// Nothing was written under the number.
    pub(crate) fn unwritten(&mut self, seq: i64) {
        if self.open.remove(&seq).is_some() {
            self.free.insert(seq);
        }
    }

    /// Nobody knows whether the entry is written.
    pub(crate) fn unknown(&mut self, seq: i64) {
        if self.open.contains_key(&seq) {
            self.open.insert(seq, Open::Unknown);
        }
    }

    /// Nothing more will be known of the open numbers.
    pub(crate) fn give_up(&mut self) {
        self.open.clear();
        self.free.clear();
    }

    /// Whether every number that was drawn is settled, or free again.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.open.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn first_free(&self) -> Option<i64> {
        self.free.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::entry::link;

    fn entry(text: &str) -> Link {
        link(text.as_bytes(), &[1; 32])
    }

    /// The head over these entries, in the order of their numbers.
    fn head(entries: &[&str]) -> Hash {
        entries.iter().fold(NO_HEAD, |head, text| chained(&head, &entry(text)))
    }

    #[test]
    fn the_head_covers_exactly_the_numbers_without_a_gap_before_them() {
        let mut numbers = Numbers::default();
        let drawn: Vec<_> = (0..4).map(|_| numbers.draw().unwrap()).collect();
        assert_eq!(drawn, [1, 2, 3, 4]);
        numbers.written(3, entry("3"));
        numbers.written(2, entry("2"));
        assert_eq!(numbers.settled(), (0, &NO_HEAD), "1 is not written yet");
        numbers.written(1, entry("1"));
        assert_eq!(numbers.settled(), (3, &head(&["1", "2", "3"])));
        assert!(!numbers.is_at_rest());
        numbers.written(4, entry("4"));
        assert_eq!(numbers.settled(), (4, &head(&["1", "2", "3", "4"])));
        assert!(numbers.is_at_rest());
    }

    #[test]
    fn a_number_that_wrote_nothing_is_used_again_by_another_entry() {
        let mut numbers = Numbers::default();
        let (first, second) = (numbers.draw().unwrap(), numbers.draw().unwrap());
        numbers.unwritten(first);
        numbers.written(second, entry("second"));
        assert_eq!(numbers.settled().0, 0, "the free number is a gap until it is used");
        assert_eq!(numbers.draw(), Some(first));
        numbers.written(first, entry("again"));
        assert_eq!(numbers.settled(), (2, &head(&["again", "second"])));
        assert_eq!(numbers.draw(), Some(3));
    }

    #[test]
    fn an_unknown_number_stays_open_until_it_is_decided() {
        let mut numbers = Numbers::default();
        let (first, second) = (numbers.draw().unwrap(), numbers.draw().unwrap());
        numbers.unknown(first);
        numbers.written(second, entry("second"));
        assert_eq!(numbers.draw(), Some(3), "it is not drawn again");
        numbers.written(first, entry("void"));
        assert_eq!(numbers.settled(), (2, &head(&["void", "second"])));
        // a late answer changes nothing
        numbers.unknown(first);
        numbers.unwritten(first);
        numbers.written(first, entry("first"));
        assert_eq!(numbers.settled(), (2, &head(&["void", "second"])));
    }

    #[test]
    fn a_writer_with_too_many_open_numbers_draws_no_more() {
        let mut numbers = Numbers::default();
        let drawn = std::iter::from_fn(|| numbers.draw()).take(MAX_OPEN + 1).count();
        assert_eq!(drawn, MAX_OPEN);
        numbers.written(1, entry("1"));
        assert!(numbers.draw().is_some());
    }
}
