//! The records in the rows of an owner, and which of them wins.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::placement::Slot;
use crate::record::field::Field;
use crate::record::plain::PlainTexts;
use crate::record::record::{Record, SlotText, has_record_token, read_slot};
use crate::record::token::{KeyId, Token};
use crate::record::version::{Millis, Version};

/// The texts of one row in the columns of the layout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    /// The text of every slot, in the order of the placement. For the JSONB column it is the vault's member.
    pub(crate) slots: Vec<Option<String>>,
    pub(crate) json: JsonState,
    pub(crate) plain: PlainTexts,
}

/// The state of the whole JSONB column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum JsonState {
    /// It is an object or empty, or there is no such column.
    Usable,
    /// Neither an object nor null.
    Unrecognised,
    /// More than 256 KiB on disk. The vault's member was not read.
    TooLong,
}

/// One version in some row, complete or not.
#[derive(Debug)]
pub(crate) struct FoundRecord {
    /// `None` if the text is too damaged.
    pub(crate) version: Option<Version>,
    /// The key of its first token.
    pub(crate) key: Option<KeyId>,
    pub(crate) record: Result<Record>,
    /// Whether it is more than 24 hours ahead of the database's clock. It never wins over a version that is not.
    pub(crate) ahead: bool,
}

/// Everything found in the rows of one owner.
#[derive(Debug, Default)]
pub(crate) struct FoundRecords {
    /// The records. The winner comes first.
    pub(crate) records: Vec<FoundRecord>,
    /// Tokens without a record token: the key and the field of each. A store that did not know their column left the
    /// older ones. Tokens more than 24 hours ahead are not included.
    pub(crate) parts: Vec<(KeyId, Field)>,
    /// The columns that hold text that the vault did not write.
    pub(crate) unrecognised: Vec<String>,
    /// The JSONB column, if it holds neither an object nor null. It is then never written.
    pub(crate) unrecognised_json: Option<String>,
    /// Whether the JSONB column is too large to be read. It is then never written.
    pub(crate) json_is_too_long: bool,
}

impl FoundRecords {
    /// Reads every slot of every row of one owner.
    pub(crate) fn of(rows: &[Row], slots: &[Slot], now: Millis) -> Self {
        let mut found = Self::default();
        for row in rows {
            found.add(row, slots, now);
        }
        // stable sort: only exact copies have equal versions, so any of them can come first
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
                    record: Err(error
                        .about(format_args!("column {}", slot.column))
                        .with_column(slot.column.to_string())),
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
        if row.json == JsonState::Unrecognised {
            self.unrecognised_json = Some(json_column(slots).to_owned());
        }
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

    /// The error for text that the vault did not write, if there is any.
    pub(crate) fn unrecognised_error(&self) -> Option<Error> {
        if let Some(column) = &self.unrecognised_json {
            let message = "the JSONB config column holds neither an object nor null";
            let hint = "the value belongs to other code, so the vault never overwrites it: set it to an object or \
                        NULL, or name another config column";
            return Some(Error::new(ErrorKind::ForeignValue, message).with_column(column).with_hint(hint));
        }
        let error = |columns: String| {
            Error::new(ErrorKind::ForeignValue, format!("text that the vault did not write is in {columns}"))
        };
        match self.unrecognised.as_slice() {
            [] => None,
            [column] => Some(error(column.to_string()).with_column(column.to_string())),
            columns => Some(error(columns.join(", "))),
        }
    }

    /// The newest record.
    ///
    /// # Errors
    /// `NotFound`; `ForeignValue`; the error of the newest record. It never falls back to an older record because the
    /// newest cannot be read.
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

fn json_column(slots: &[Slot]) -> &str {
    slots.iter().find(|slot| slot.json).map_or("", |slot| &slot.column)
}

pub(crate) fn json_too_long(slots: &[Slot]) -> Error {
    let column = json_column(slots);
    let message = format!("column {column} holds more than 256 KiB on disk, so the vault does not read it");
    Error::new(ErrorKind::Malformed, message)
        .with_column(column)
        .with_hint("move the application's data in it to another column")
}

/// The newest of ordered versions. A version from the future never wins, so it cannot turn a damaged record into a
/// leftover.
pub(crate) fn newest_version(
    versions: impl DoubleEndedIterator<Item = Version> + Clone,
    now: Millis,
) -> Option<Version> {
    versions.clone().rev().find(|version| !version.is_ahead_of(now)).or(versions.last())
}

#[cfg(test)]
#[path = "found_records_tests.rs"]
mod tests;
