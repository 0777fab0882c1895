//! What a push may do: a pure function of what the pending record was based on and what the row holds.
//!
//! | the row holds | based on `Unknown`, `NoRow` or `NoRecord` | based on `Version` |
//! | --- | --- | --- |
//! | no row | written, unless it may no longer create a record; based on `NoRecord`, dead letter: the row was removed | dead letter: the row was removed |
//! | no record | written, unless it may no longer create a record | dead letter: the row was cleared, or recreated for another owner |
//! | the record that it was based on | – | written |
//! | another older record | written; that one is kept | written; that one is kept |
//! | a record as new or newer | superseded | superseded |
//! | the tombstone that it was based on | – | written |
//! | another older tombstone | dead letter: deleted since | dead letter: deleted since |
//! | a tombstone as new or newer | superseded | superseded |
//!
//! A pending tombstone is written over any older tombstone. It is dropped if there is nothing to cover: there is no row, or
//! the row no longer holds what it was based on.

use crate::local::entries::Base;
use crate::record::version::Version;

/// A pending record, as far as the rule needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) base: Base,
    pub(super) version: Version,
    pub(super) is_tombstone: bool,
    /// Whether it may still create a record where there is none.
    pub(super) may_create: bool,
}

/// What the rows of the owner hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum There {
    NoRow,
    NoRecord,
    Record(Version),
    Tombstone(Version),
}

/// The outcome for the pending record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Push {
    Write,
    /// There is nothing for it to cover.
    Drop,
    Supersede,
    /// Why.
    DeadLetter(&'static str),
}

const DELETED: &str = "the record of this owner has since been deleted";
const REMOVED: &str = "the row of this owner has since been removed";
const ANOTHER_ROW: &str =
    "the row no longer holds the record: it was cleared, or recreated for another owner";
const TOO_OLD: &str = "it was pending for more than a day: if the local file was restored, the record may have been stored and deleted since";

pub(super) fn push(waiting: Waiting, there: There) -> Push {
    let Waiting { base, version, is_tombstone, may_create } = waiting;
    match (there, base) {
        (There::Record(there) | There::Tombstone(there), _) if there >= version => Push::Supersede,
        (There::Record(_), _) => Push::Write,
        (There::Tombstone(there), Base::Version(base)) if there == base => Push::Write,
        (There::Tombstone(_), _) if is_tombstone => Push::Write,
        (There::Tombstone(_), _) => Push::DeadLetter(DELETED),
        (There::NoRow, _) | (There::NoRecord, Base::Version(_)) if is_tombstone => Push::Drop,
        (There::NoRow, Base::Version(_) | Base::NoRecord) => Push::DeadLetter(REMOVED),
        (There::NoRecord, Base::Version(_)) => Push::DeadLetter(ANOTHER_ROW),
        (There::NoRow | There::NoRecord, _) if may_create || is_tombstone => Push::Write,
        (There::NoRow | There::NoRecord, _) => Push::DeadLetter(TOO_OLD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        use Push::{DeadLetter, Drop, Supersede, Write};
        use There::{NoRecord, NoRow, Record, Tombstone};
        let at = |millis| Version::next(millis, None, 0);
        let (old, base, meanwhile, ours, newer) = (at(1), at(2), at(3), at(4), at(5));
        let rows = [
            NoRow,
            NoRecord,
            Record(old),
            Record(base),
            Record(meanwhile),
            Record(ours),
            Record(newer),
            Tombstone(old),
            Tombstone(base),
            Tombstone(meanwhile),
            Tombstone(newer),
        ];
        let (gone, another, old_entry, deleted) =
            (DeadLetter(REMOVED), DeadLetter(ANOTHER_ROW), DeadLetter(TOO_OLD), DeadLetter(DELETED));
        let s = Supersede;
        let table = [
            (
                "a record",
                [Write, Write, Write, Write, Write, s, s, deleted, deleted, deleted, s],
                [gone, another, Write, Write, Write, s, s, deleted, Write, deleted, s],
            ),
            (
                "an old record",
                [old_entry, old_entry, Write, Write, Write, s, s, deleted, deleted, deleted, s],
                [gone, another, Write, Write, Write, s, s, deleted, Write, deleted, s],
            ),
            (
                "a tombstone",
                [Drop, Write, Write, Write, Write, s, s, Write, Write, Write, s],
                [Drop, Drop, Write, Write, Write, s, s, Write, Write, Write, s],
            ),
        ];
        for (what, unseen, seen) in table {
            // as one that was never seen, but for a row that is gone
            let mut empty = unseen;
            empty[0] = seen[0];
            let bases = [
                (Base::Unknown, unseen),
                (Base::NoRow, unseen),
                (Base::NoRecord, empty),
                (Base::Version(base), seen),
            ];
            for (base, expected) in bases {
                let (is_tombstone, may_create) = (what == "a tombstone", what == "a record");
                let waiting = Waiting { base, version: ours, is_tombstone, may_create };
                for (there, expected) in rows.into_iter().zip(expected) {
                    assert_eq!(push(waiting, there), expected, "{what} based on {base:?} over {there:?}");
                }
            }
        }
    }
}
