//! Records as they are stored: reading them out of slots, and which one wins.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::record::field::Field;
use crate::record::placement::Slot;
use crate::record::plain::PlainTexts;
use crate::record::token::{KeyId, MAX_SLOT, Token, claims_to_be_token, head_of_record, print_packed};
use crate::record::version::{Millis, Version};

/// What all tokens of a record begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) key: KeyId,
    pub(crate) version: Version,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&head_of_record(self.key, self.version)).expect("it is ASCII"))
    }
}

/// All tokens of one owner under one version and one key, the record token among them, and what the plain columns
/// hold. No field is there twice. Which fields belong to it only the record token says, once it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) version: Version,
    pub(crate) key: KeyId,
    tokens: Vec<Token>,
    pub(crate) plain: PlainTexts,
}

impl Record {
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn new(tokens: Vec<Token>, plain: PlainTexts) -> Result<Self> {
        let (version, key) = Self::check(&tokens)?;
        Ok(Self { version, key, tokens, plain })
    }

    /// Whether these are the tokens of a record: the version and the key of all of them.
    ///
    /// # Errors
    /// `Incomplete` when the record token is missing; `Malformed` for a field twice or mixed versions or keys.
    pub(crate) fn check(tokens: &[Token]) -> Result<(Version, KeyId)> {
        let (version, key) = match tokens.first() {
            Some(first) => (first.version, first.key),
            None => return Err(Error::new(ErrorKind::Incomplete, "a record without tokens")),
        };
        let malformed = |what: String| {
            Error::new(ErrorKind::Malformed, format!("the record of version {version} {what}"))
        };
        if tokens.iter().any(|token| token.version != version || token.key != key) {
            return Err(malformed("mixes versions or keys".to_owned()));
        }
        for (at, token) in tokens.iter().enumerate() {
            if tokens[..at].iter().any(|before| before.field == token.field) {
                return Err(malformed(format!("holds {} twice", token.field)));
            }
        }
        match has_record_token(tokens) {
            true => Ok((version, key)),
            false => {
                let message = format!("the record of version {version} lacks its record token");
                Err(Error::new(ErrorKind::Incomplete, message))
            }
        }
    }

    pub(crate) fn head(&self) -> Head {
        Head { key: self.key, version: self.version }
    }

    pub(crate) fn token(&self, field: Field) -> Option<&Token> {
        self.tokens.iter().find(|token| token.field == field)
    }

    pub(crate) fn record_token(&self) -> &Token {
        self.token(Field::RECORD).expect("checked when the record was made")
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// All tokens, as the local file holds them.
    pub(crate) fn packed(&self) -> String {
        print_packed(self.tokens.iter())
    }

    /// Whether both are the same write: no two seals have the same record token.
    pub(crate) fn is_same_write(&self, other: &Record) -> bool {
        self.record_token() == other.record_token()
    }
}

pub(crate) fn has_record_token(tokens: &[Token]) -> bool {
    tokens.iter().any(|token| token.field.is_record())
}

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
                SlotText::Unrecognised => self.unrecognised.push(slot.column.clone()),
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
            let hint = "it belongs to other code and is never overwritten: set it to an object or NULL, or name another config column";
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
    let message = format!("column {column} holds more than 256 KiB on disk, and is not read");
    Error::new(ErrorKind::Malformed, message)
        .with_hint("move what the application keeps there to another column")
}

/// The newest of versions in their order. One from the future never wins, so it makes no leftover of a damaged record
/// either.
pub(crate) fn newest_version(
    versions: impl DoubleEndedIterator<Item = Version> + Clone,
    now: Millis,
) -> Option<Version> {
    versions.clone().rev().find(|version| !version.is_ahead_of(now)).or(versions.last())
}

/// What one slot holds.
pub(crate) enum SlotText {
    Empty,
    Tokens(Vec<Token>),
    Unrecognised,
    Damaged(Error),
}

pub(crate) fn read_slot(text: Option<&str>, json: bool) -> SlotText {
    let text = text.unwrap_or_default();
    if text.is_empty() {
        return SlotText::Empty;
    }
    if text.len() > MAX_SLOT {
        return SlotText::Damaged(Error::new(ErrorKind::Malformed, "a slot longer than a record"));
    }
    let tokens = match json {
        true => read_object(text),
        false => claims_to_be_token(text).then(|| read_packed(text)),
    };
    match tokens {
        None => SlotText::Unrecognised,
        Some(Ok(tokens)) if tokens.is_empty() => SlotText::Empty,
        Some(Ok(tokens)) => SlotText::Tokens(tokens),
        Some(Err(error)) => SlotText::Damaged(error),
    }
}

/// Tokens with one space between them.
pub(crate) fn read_packed(text: &str) -> Result<Vec<Token>> {
    match text.len() > MAX_SLOT {
        true => Err(Error::new(ErrorKind::Malformed, "a slot longer than a record")),
        false => text.split(' ').map(str::parse).collect(),
    }
}

/// Our member of the JSONB column: field name -> token. The name must be the token's own. `None` when
/// it is something that we never write: no object, or a value that does not even claim to be a token.
fn read_object(text: &str) -> Option<Result<Vec<Token>>> {
    let object = match serde_json::from_str(text) {
        Ok(Value::Null) => return Some(Ok(Vec::new())),
        Ok(Value::Object(object)) => object,
        _ => return None,
    };
    let texts: Option<Vec<(&String, &str)>> = object
        .iter()
        .map(|(name, value)| Some((name, value.as_str().filter(|text| claims_to_be_token(text))?)))
        .collect();
    let token = |(name, text): (&String, &str)| match text.parse::<Token>()? {
        token if token.field.name() == name => Ok(token),
        _ => Err(Error::new(
            ErrorKind::Malformed,
            "the JSONB column holds a token under the name of another field",
        )),
    };
    Some(texts?.into_iter().map(token).collect())
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
