//! Records as they are stored: reading them out of slots, and which one wins.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::record::fields::Field;
use crate::record::placement::Slot;
use crate::record::token::{KeyId, MAX_SLOT, MEMBER, Token, claims_to_be_token};
use crate::record::version::{Millis, Version};

/// The plain fields as they stand in columns of their own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PlainValues {
    pub(crate) phone_number: Option<String>,
    pub(crate) webhook_config: Option<Value>,
    pub(crate) integration_status: Option<String>,
}

impl PlainValues {
    /// The text that the column of a field gets.
    pub(crate) fn text(&self, field: Field) -> Option<String> {
        match field {
            Field::PhoneNumber => self.phone_number.clone(),
            Field::WebhookConfig => self.webhook_config.as_ref().map(ToString::to_string),
            Field::IntegrationStatus => self.integration_status.clone(),
            _ => None,
        }
    }
}

/// All tokens of one owner under one version and one key, and the plain fields.
/// A record that exists holds all four secret fields, and no field twice.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) version: Version,
    pub(crate) key: KeyId,
    tokens: Vec<Token>,
    pub(crate) plain: PlainValues,
}

impl Record {
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn new(tokens: Vec<Token>, plain: PlainValues) -> Result<Self> {
        let (version, key) = Self::check(&tokens)?;
        Ok(Self { version, key, tokens, plain })
    }

    /// Whether these are the tokens of a record: the version and the key of all of them.
    ///
    /// # Errors
    /// `Incomplete` when a secret field is missing; `Malformed` for a field twice or mixed versions or keys.
    pub(crate) fn check(tokens: &[Token]) -> Result<(Version, KeyId)> {
        let (version, key) = match tokens.first() {
            Some(first) => (first.version, first.key),
            None => return Err(Error::new(ErrorKind::Incomplete, "a record without tokens")),
        };
        if tokens.iter().any(|token| token.version != version || token.key != key) {
            return Err(Error::new(
                ErrorKind::Malformed,
                format!("the record of version {version} mixes versions or keys"),
            ));
        }
        for field in Field::ALL {
            let count = tokens.iter().filter(|token| token.field == field).count();
            if count > 1 {
                return Err(Error::new(
                    ErrorKind::Malformed,
                    format!("the record of version {version} holds {field} twice"),
                ));
            }
            if count == 0 && field.is_secret() {
                return Err(Error::new(
                    ErrorKind::Incomplete,
                    format!("the record of version {version} lacks {field}"),
                ));
            }
        }
        Ok((version, key))
    }

    pub(crate) fn token(&self, field: Field) -> Option<&Token> {
        self.tokens.iter().find(|token| token.field == field)
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// What a text slot gets: the tokens of these fields, one space between them.
    pub(crate) fn packed(&self, fields: &[Field]) -> String {
        print_packed(fields.iter().filter_map(|field| self.token(*field)))
    }

    /// What the JSONB config column gets in `retell_vault`, as JSON text.
    pub(crate) fn object(&self, fields: &[Field]) -> String {
        print_object(fields.iter().filter_map(|field| self.token(*field)))
    }

    /// Whether both hold the same secret tokens, byte by byte: the same write.
    pub(crate) fn is_same_write(&self, other: &Record) -> bool {
        Field::SECRET.iter().all(|field| self.token(*field) == other.token(*field))
    }
}

/// Tokens as a text slot holds them: one space between them.
pub(crate) fn print_packed<'a>(tokens: impl Iterator<Item = &'a Token> + Clone) -> String {
    let mut text = String::with_capacity(tokens.clone().map(|token| token.len() + 1).sum());
    for token in tokens {
        if !text.is_empty() {
            text.push(' ');
        }
        token.print(&mut text);
    }
    text
}

/// Tokens as `retell_vault` holds them: field name -> token. Neither names nor tokens hold anything
/// that JSON escapes.
pub(crate) fn print_object<'a>(tokens: impl Iterator<Item = &'a Token> + Clone) -> String {
    let mut text = String::with_capacity(tokens.clone().map(|token| token.len() + 32).sum());
    for token in tokens {
        text.push_str(if text.is_empty() { "{\"" } else { ",\"" });
        text.push_str(token.field.name());
        text.push_str("\":\"");
        token.print(&mut text);
        text.push('"');
    }
    text.push_str(if text.is_empty() { "{}" } else { "}" });
    text
}

/// What one row of the database holds in the columns of the layout.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The text of every slot, in the order of the placement. Of the JSONB column: `retell_vault`.
    pub(crate) slots: Vec<Option<String>>,
    /// The JSONB column holds something that is neither object nor null.
    pub(crate) json_is_unrecognised: bool,
    pub(crate) plain: PlainValues,
}

/// One version that some row holds, whole or not.
#[derive(Debug)]
pub(crate) struct FoundRecord {
    /// Absent when the text is too damaged to tell.
    pub(crate) version: Option<Version>,
    pub(crate) record: Result<Record>,
    /// More than 24 hours ahead of the database's clock: never wins over one that is not.
    pub(crate) ahead: bool,
}

/// Everything found in the rows of one owner.
#[derive(Debug, Default)]
pub(crate) struct FoundRecords {
    /// The one that wins comes first.
    pub(crate) records: Vec<FoundRecord>,
    /// The columns that hold text which is not ours.
    pub(crate) unrecognised: Vec<String>,
    /// The JSONB column holds neither an object nor null; it is never written.
    pub(crate) json_is_unrecognised: bool,
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
                    record: Err(error.about(format_args!("column {}", slot.column))),
                    ahead: false,
                }),
            }
        }
        for (version, tokens) in versions {
            let record = Record::new(tokens, row.plain.clone());
            self.records.push(FoundRecord {
                version: Some(version),
                record,
                ahead: version.is_ahead_of(now),
            });
        }
        self.json_is_unrecognised |= row.json_is_unrecognised;
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

/// The sub-object `retell_vault`: field name -> token. The name must be the token's own. `None` when
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
            format!("{MEMBER} holds a token under the name of another field"),
        )),
    };
    Some(texts?.into_iter().map(token).collect())
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
