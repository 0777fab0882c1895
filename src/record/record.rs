//! Records as they are stored, and how slots are read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::record::field::Field;
use crate::record::plain::PlainTexts;
use crate::record::token::{KeyId, MAX_SLOT, Token, claims_to_be_token, head_of_record, print_packed};
use crate::record::version::Version;

/// What all tokens of a record start with.
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

/// All tokens of one owner under one version and one key, including the record token, and what the plain columns hold. No
/// field appears twice. Only the opened record token says which fields belong to the record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) version: Version,
    pub(crate) key: KeyId,
    tokens: Vec<Token>,
    pub(crate) plain: PlainTexts,
    /// What the index column gets: the text of a `bytea[]`. A record that was read has none.
    pub(crate) index: Option<String>,
}

impl Record {
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn new(tokens: Vec<Token>, plain: PlainTexts) -> Result<Self> {
        let (version, key) = Self::check(&tokens)?;
        Ok(Self { version, key, tokens, plain, index: None })
    }

    /// Whether these are the tokens of a record: the version and the key of all of them.
    ///
    /// # Errors
    /// `Incomplete` when the record token is missing; `Malformed` for a field twice or mixed versions or keys.
    pub(crate) fn check(tokens: &[Token]) -> Result<(Version, KeyId)> {
        let (version, key) = match tokens.first() {
            Some(first) => (first.version, first.key),
            None => return Err(Error::new(ErrorKind::Incomplete, "the record has no tokens")),
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

    pub(crate) fn with_index(mut self, index: Option<String>) -> Self {
        self.index = index;
        self
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
        return SlotText::Damaged(Error::new(
            ErrorKind::Malformed,
            "the slot is longer than a record can be",
        ));
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
        true => Err(Error::new(ErrorKind::Malformed, "the slot is longer than a record can be")),
        false => text.split(' ').map(str::parse).collect(),
    }
}

/// The vault's member of the JSONB column: field name -> token. The name must be the token's own. `None` if it is something
/// that the vault never writes: not an object, or a value that does not even claim to be a token.
fn read_object(text: &str) -> Option<Result<Vec<Token>>> {
    let object: Option<BTreeMap<Text<'_>, Text<'_>>> = serde_json::from_str(text).ok()?;
    let object = object.unwrap_or_default();
    if !object.values().all(|text| claims_to_be_token(&text.0)) {
        return None;
    }
    let token = |(name, text): (&Text<'_>, &Text<'_>)| match text.0.parse::<Token>()? {
        token if token.field.name() == name.0 => Ok(token),
        _ => Err(Error::new(
            ErrorKind::Malformed,
            "the JSONB column holds a token under the name of another field",
        )),
    };
    Some(object.iter().map(token).collect())
}

/// A JSON string, copied only where it holds an escape.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
