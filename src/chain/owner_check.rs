//! Compares the last state of each owner in the ledger with what the table holds. Pure.

use std::str::FromStr;

use crate::chain::entry::{StoredEntry, digest};
use crate::keyring::subkeys::Subkey;
use crate::record::contents::Contents;
use crate::record::owner::Owner;
use crate::record::version::Version;

/// The last state of an owner that the ledger names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownState {
    pub(crate) after: Version,
    pub(crate) digest: Vec<u8>,
    /// Whether this is the digest of a deleted record.
    pub(crate) is_tombstone: bool,
}

impl KnownState {
    /// What an entry says of its owner, under the key of its epoch. `None` if it names no version.
    pub(crate) fn of(key: &Subkey, owner: &Owner, stored: &StoredEntry) -> Option<Self> {
        let event = &stored.entry.event;
        let after = Version::from_str(event.after.as_deref()?).ok()?;
        let held = event.digest.clone().unwrap_or_default();
        let deleted = digest(key, owner, after, &Contents::default());
        let is_tombstone = deleted.as_slice() == held.as_slice();
        Some(Self { after, digest: held, is_tombstone })
    }
}

/// What the rows of an owner hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeldState {
    /// The newest record: its version, and its digest.
    Record { version: Version, digest: Vec<u8> },
    /// Tokens that do not open.
    Unreadable,
}

/// How an owner's rows differ from the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Difference {
    /// The rows hold an older record.
    WentBack,
    /// The ledger knows a record, and there is none.
    Vanished,
    /// The rows hold a record that the ledger does not know.
    Appeared,
    /// The ledger knows a deleted record, and the row itself is gone.
    Removed,
    /// The rows hold tokens that do not open.
    Unreadable,
}

/// Compares one owner. `counts` says whether the layout's filter lets the rows count: other rows need no entry.
pub(crate) fn difference(
    known: Option<&KnownState>,
    held: Option<&HeldState>,
    counts: bool,
) -> Option<Difference> {
    match (known, held) {
        (None, None) => None,
        (None, Some(HeldState::Record { .. })) => counts.then_some(Difference::Appeared),
        (None, Some(HeldState::Unreadable)) => counts.then_some(Difference::Unreadable),
        (Some(known), None) => Some(match known.is_tombstone {
            true => Difference::Removed,
            false => Difference::Vanished,
        }),
        (Some(_), Some(HeldState::Unreadable)) => Some(Difference::Unreadable),
        (Some(known), Some(HeldState::Record { version, digest })) => match version.cmp(&known.after) {
            std::cmp::Ordering::Less => Some(Difference::WentBack),
            std::cmp::Ordering::Greater => Some(Difference::Appeared),
            std::cmp::Ordering::Equal => (*digest != known.digest).then_some(Difference::Appeared),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(at: u64) -> Version {
        Version::next(at, None, 0)
    }

    #[test]
    fn the_table() {
        use Difference::{Appeared, Removed, Unreadable, Vanished, WentBack};
        let known = |at, is_tombstone| KnownState { after: version(at), digest: vec![1], is_tombstone };
        let held = |at, digest| HeldState::Record { version: version(at), digest: vec![digest] };
        let (record, deleted) = (known(5, false), known(5, true));
        let table = [
            (None, None, true, None),
            (None, Some(held(5, 1)), true, Some(Appeared)),
            (None, Some(held(5, 1)), false, None),
            (None, Some(HeldState::Unreadable), true, Some(Unreadable)),
            (None, Some(HeldState::Unreadable), false, None),
            (Some(&record), None, false, Some(Vanished)),
            (Some(&deleted), None, true, Some(Removed)),
            (Some(&record), Some(held(5, 1)), true, None),
            (Some(&record), Some(held(5, 1)), false, None),
            (Some(&deleted), Some(held(5, 1)), true, None),
            (Some(&record), Some(held(4, 1)), true, Some(WentBack)),
            (Some(&deleted), Some(held(4, 1)), false, Some(WentBack)),
            (Some(&record), Some(held(6, 1)), true, Some(Appeared)),
            (Some(&record), Some(held(5, 2)), true, Some(Appeared)),
            (Some(&record), Some(HeldState::Unreadable), false, Some(Unreadable)),
        ];
        for (known, held, counts, expected) in table {
            assert_eq!(difference(known, held.as_ref(), counts), expected, "{known:?} {held:?} {counts}");
        }
    }
}
