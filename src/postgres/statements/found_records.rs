//! What the rows of an owner hold, and which record wins.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::placement::Slot;
use crate::record::field::Field;
use crate::record::plain::PlainTexts;
use crate::record::record::{Record, SlotText, has_record_token, read_slot};
use crate::record::token::{KeyId, Token};
use crate::record::version::{Millis, Version};

/// What one row of the database holds in the columns of the layout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    /// The text of every slot, in the order of the placement. Of the JSONB column: our member.
    pub(crate) slots: Vec<Option<String>>,
    pub(crate) json: JsonState,
    pub(crate) plain: PlainTexts,
}

/// What the JSONB column of a row holds, as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum JsonState {
    /// An object, or nothing; or there is no such column.
    Usable,
    /// Neither an object nor null.
    Unrecognised,
    /// More than 256 KiB on disk. Our member was not read.
    TooLong,
}

/// One version that some row holds, whole or not.
#[derive(Debug)]
pub(crate) struct FoundRecord {
    /// Absent when the text is too damaged to tell.
    pub(crate) version: Option<Version>,
    /// That of its first token.
    pub(crate) key: Option<KeyId>,
    pub(crate) record: Result<Record>,
    /// More than 24 hours ahead of the database's clock: never wins over one that is not.
    pub(crate) ahead: bool,
}

/// Everything found in the rows of one owner.
#[derive(Debug, Default)]
pub(crate) struct FoundRecords {
    /// The one that wins comes first.
    pub(crate) records: Vec<FoundRecord>,
    /// Tokens whose record token is gone: the key and the field of each. A store that did not know their column left
    /// the older ones. Those more than 24 hours ahead are not among them.
    pub(crate) parts: Vec<(KeyId, Field)>,
    /// The columns that hold text which is not ours.
    pub(crate) unrecognised: Vec<String>,
    /// The JSONB column holds neither an object nor null; it is never written.
    pub(crate) json_is_unrecognised: bool,
    /// The JSONB column takes too much room to be read; it is never written.
    pub(crate) json_is_too_long: bool,
}

impl FoundRecords {
    /// Looks at every slot of every row of one owner.
    pub(crate) fn of(rows: &[Row], slots: &[Slot], now: Millis) -> Self {
        let mut found = Self::default();
        for row in rows {
            found.add(row, slots, now);
        }
        // stable: of equal versions, which only exact copies have, the first row is as good as any
        found.records.sort_by_key(|record| {
            (record.ahead, record.version.is_some(), std::cmp::Reverse(record.version))
        });
        found.unrecognised.sort();
        found.unrecognised.dedup();
        found
    }

    fn add(&mut self, row: &Row, slots: &[Slot], now: Millis) {
        let mut versions: BTreeMap<Version, Vec<Token>> = BTreeMap::new();
        for (slot, text) in slots.iter().zip(&row.slots) {
            match read_slot(text.as_deref(), slot.json) {
                SlotText::Empty => {}
                SlotText::Tokens(tokens) => tokens
                    .into_iter()
                    .for_each(|token| versions.entry(token.version).or_default().push(token)),
                SlotText::Unrecognised => self.unrecognised.push(slot.column.to_string()),
                SlotText::Damaged(error) => self.records.push(FoundRecord {
                    version: None,
                    key: None,
                    record: Err(error.about(format_args!("column {}", slot.column))),
                    ahead: false,
                }),
            }
        }
        let newest = newest_version(versions.keys().copied(), now);
        for (version, tokens) in versions {
            if !has_record_token(&tokens) {
                let parts = tokens.iter().filter(|_| !version.is_ahead_of(now));
                self.parts.extend(parts.map(|token| (token.key, token.field)));
                if Some(version) < newest {
                    continue;
                }
            }
            let key = tokens.first().map(|token| token.key);
            let record = Record::new(tokens, row.plain.clone());
            self.records.push(FoundRecord {
                version: Some(version),
                key,
                record,
                ahead: version.is_ahead_of(now),
            });
        }
        self.json_is_unrecognised |= row.json == JsonState::Unrecognised;
        if row.json == JsonState::TooLong {
            self.json_is_too_long = true;
            self.records.push(FoundRecord {
                version: None,
                key: None,
                record: Err(json_too_long(slots)),
                ahead: false,
            });
        }
    }

    /// The error for text that is not ours, if there is any.
    pub(crate) fn unrecognised_error(&self) -> Option<Error> {
        if self.json_is_unrecognised {
            let message = "the JSONB config column holds neither an object nor null";
            let hint = "the value belongs to other code, so the vault never overwrites it: set it to an object or \
                        NULL, or name another config column";
            return Some(Error::new(ErrorKind::ForeignValue, message).with_hint(hint));
        }
        let columns = self.unrecognised.join(", ");
        (!columns.is_empty()).then(|| {
            Error::new(ErrorKind::ForeignValue, format!("text that the vault did not write is in {columns}"))
        })
    }

    /// The record to answer with.
    ///
    /// # Errors
    /// `NotFound`; `ForeignValue`; whatever is wrong with the newest record. Never a step back to an
    /// older record because the newest cannot be read.
    pub(crate) fn newest(self) -> Result<Record> {
        let unrecognised = self.unrecognised_error();
        match (self.records.into_iter().next().map(|found| found.record), unrecognised) {
            (Some(Ok(record)), _) => Ok(record),
            (_, Some(unrecognised)) => Err(unrecognised),
            (Some(Err(error)), None) => Err(error),
            (None, None) => Err(ErrorKind::NotFound.into()),
        }
    }
}

pub(crate) fn json_too_long(slots: &[Slot]) -> Error {
    let column = slots.iter().find(|slot| slot.json).map_or("", |slot| &slot.column);
    let message = format!("column {column} holds more than 256 KiB on disk, so the vault does not read it");
    Error::new(ErrorKind::Malformed, message).with_hint("move the application's data in it to another column")
}

/// The newest of versions in their order. One from the future never wins, so it makes no leftover of a damaged record
/// either.
pub(crate) fn newest_version(
    versions: impl DoubleEndedIterator<Item = Version> + Clone,
    now: Millis,
) -> Option<Version> {
    versions.clone().rev().find(|version| !version.is_ahead_of(now)).or(versions.last())
}

#[cfg(test)]
#[path = "found_records_tests.rs"]
mod tests;
