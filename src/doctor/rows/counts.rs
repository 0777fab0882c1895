//! Counts what the rows hold, by kind. No part of a value is kept.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::crypto::aead::Scope;
use crate::crypto::sealer;
use crate::doctor::context::TableContext;
use crate::doctor::rows::columns::{ColumnPart, ColumnRole, WatchedColumns};
use crate::doctor::rows::json_secrets::{JsonPath, look_into};
use crate::doctor::rows::secret_hashes::{SecretHashes, SecretKind};
use crate::doctor::rows::text_class::{EMPTY_VALUES, TextClass, classify};
use crate::error::ErrorKind;
use crate::keyring::keys::RootKeys;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::found_records::newest_version;
use crate::postgres::walk::scan::Scanned;
use crate::record::field::Fields;
use crate::record::owner::Owner;
use crate::record::plain::PlainTexts;
use crate::record::record::{Record, has_record_token};
use crate::record::token::{KeyId, Token, claims_to_be_token, named_key};
use crate::retell::json::wipe;

/// The maximum number of owners that a finding names.
pub(crate) const NAMED: usize = 5;

/// The maximum number of places in JSON that get separate findings.
const PLACES: usize = 100;

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RecordProblem {
    /// Tokens of several versions or keys, or a field twice.
    Mixed,
    /// The record token is missing, or a field that belongs to it.
    Incomplete,
    /// Tokens of an older version whose record token is gone.
    Leftover,
    /// Its version is too far in the future.
    Ahead,
    /// A later version of this program wrote it.
    LaterFormat,
    /// It does not open, for this reason.
    Unreadable(String),
}

/// A count, and some of the owners concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Occurrences {
    pub(crate) count: u64,
    pub(crate) owners: Vec<String>,
    /// The row that was counted last, so that each row counts once.
    row: u64,
}

impl Occurrences {
    fn add(&mut self, row: u64, owner: &str) {
        if self.count > 0 && self.row == row {
            return;
        }
        (self.count, self.row) = (self.count + 1, row);
        if self.owners.len() < NAMED && self.owners.iter().all(|named| named != owner) {
            self.owners.push(owner.to_owned());
        }
    }
}

/// Everything that was counted.
#[derive(Debug, Default)]
pub(crate) struct RowCounts {
    pub(crate) rows: u64,
    /// By the number of the column.
    pub(crate) exposed: BTreeMap<(usize, ColumnPart, TextClass), Occurrences>,
    pub(crate) tokens: BTreeMap<(usize, KeyId), u64>,
    pub(crate) problems: BTreeMap<RecordProblem, Occurrences>,
    /// JSON that is too long or too deep to search.
    pub(crate) too_long: u64,
    /// Of the secrets in the records that were opened, if several owners may have the same.
    pub(crate) secrets: Option<SecretHashes>,
}

/// What the rows of the table hold, and how many of them were examined.
pub(crate) struct ExaminedRows<'a> {
    pub(crate) context: &'a TableContext<'a>,
    pub(crate) columns: WatchedColumns,
    pub(crate) counts: RowCounts,
    /// Whether every row was examined.
    pub(crate) is_exact: bool,
    /// Secrets that several owners have, if every record was opened.
    pub(crate) shared: Vec<SharedSecrets>,
}

/// Secrets of one kind that several owners have.
pub(crate) struct SharedSecrets {
    pub(crate) kind: SecretKind,
    /// The number of these secrets.
    pub(crate) count: u64,
    /// The number of owners who have one of them.
    pub(crate) concerned: u64,
    /// At most five owners of one of these secrets.
    pub(crate) owners: Vec<String>,
}

impl ExaminedRows<'_> {
    /// The column as findings name it, such as `column public.user_profiles.api_key`.
    pub(crate) fn object(&self, at: usize) -> String {
        format!("column {}.{}", self.context.postgres.table_name(), self.columns.watched[at].column)
    }

    /// Says how many rows were checked, unless all were.
    pub(crate) fn of_how_many(&self) -> String {
        match self.is_exact {
            true => String::new(),
            false => format!(" ({} rows checked)", self.counts.rows),
        }
    }
}

/// The row that is being examined.
struct CurrentRow<'a> {
    owner: &'a str,
    tokens: Vec<Token>,
    /// It holds text that is not a token, or a later format, so it is not checked as a record.
    is_no_record: bool,
}

impl RowCounts {
    /// Examines one row. With a keyring it opens every record in the row.
    ///
    /// # Errors
    /// When the type of a column has changed.
    pub(crate) fn take(
        &mut self,
        row: &Scanned,
        roles: &[(ColumnRole, usize)],
        fields: &Fields,
        keyring: Option<&RootKeys>,
    ) -> Result<(), DatabaseError> {
        self.rows += 1;
        let (name, owner) = row.owner()?;
        let mut current = CurrentRow { owner: &name, tokens: Vec::new(), is_no_record: false };
        for (at, (role, longest)) in roles.iter().enumerate() {
            let Some(text) = row.text(at)?.filter(|text| !text.is_empty()) else { continue };
            match role {
                ColumnRole::Slot => self.slot(&mut current, at, text),
                ColumnRole::Named(_) => self.named(&current, at, text),
                ColumnRole::Config | ColumnRole::Webhook if text.len() > *longest => self.too_long += 1,
                ColumnRole::Config | ColumnRole::Webhook => {
                    self.json(&mut current, at, (*role, fields), text)
                }
            }
        }
        let CurrentRow { tokens, is_no_record, .. } = current;
        if !is_no_record && !tokens.is_empty() {
            self.record(&name, tokens, owner.as_ref(), row.now()?, keyring.map(|keyring| (keyring, fields)));
        }
        Ok(())
    }

    fn expose(&mut self, current: &CurrentRow<'_>, at: usize, part: ColumnPart, class: TextClass) {
        // an empty value, or a token of another field, is damage too
        let class =
            if matches!(class, TextClass::Empty | TextClass::Tokens) { TextClass::Malformed } else { class };
        self.exposed.entry((at, part, class)).or_default().add(self.rows, current.owner);
    }

    fn problem(&mut self, problem: RecordProblem, owner: &str) {
        self.problems.entry(problem).or_default().add(self.rows, owner);
    }

    fn slot(&mut self, current: &mut CurrentRow<'_>, at: usize, text: &str) {
        if !self.pieces(current, at, text) {
            current.is_no_record = true;
            self.expose(current, at, ColumnPart::Whole, classify(text));
        }
    }

    /// Counts the tokens of a text. False if it holds other text.
    fn pieces(&mut self, current: &mut CurrentRow<'_>, at: usize, text: &str) -> bool {
        let held = current.tokens.len();
        for piece in text.split(' ') {
            match piece.parse::<Token>() {
                Ok(token) => current.tokens.push(token),
                Err(error) if error.kind() == ErrorKind::UnsupportedFormat && claims_to_be_token(piece) => {
                    current.is_no_record = true;
                    self.problem(RecordProblem::LaterFormat, current.owner);
                    let key = named_key(piece.as_bytes());
                    key.into_iter().for_each(|key| *self.tokens.entry((at, key)).or_default() += 1);
                }
                Err(_) => return false,
            }
        }
        for token in &current.tokens[held..] {
            *self.tokens.entry((at, token.key)).or_default() += 1;
        }
        true
    }

    fn named(&mut self, current: &CurrentRow<'_>, at: usize, text: &str) {
        if EMPTY_VALUES.contains(&text.trim()) {
            return;
        }
        match classify(text) {
            TextClass::Empty | TextClass::Tokens => {}
            class => self.expose(current, at, ColumnPart::Whole, class),
        }
    }

    fn json(
        &mut self,
        current: &mut CurrentRow<'_>,
        at: usize,
        (role, fields): (ColumnRole, &Fields),
        text: &str,
    ) {
        let Some(mut value) = read(text) else {
            self.too_long += 1;
            return;
        };
        let mut found = Vec::new();
        if role == ColumnRole::Config {
            if let Some(mut ours) = value.as_object_mut().and_then(|object| object.remove(&fields.member())) {
                self.ours(current, at, &ours);
                wipe(&mut ours);
            }
            if let Some(class) = instead_of_object(&value) {
                current.is_no_record = true;
                self.expose(current, at, ColumnPart::Whole, class);
            }
        }
        if role == ColumnRole::Webhook || value.is_object() {
            look_into(&value, &mut found);
        }
        wipe(&mut value);
        for (path, class) in found {
            let part = self.part(at, path, class);
            self.expose(current, at, part, class);
        }
    }

    /// Names only the first places, so that keys that differ from row to row do not use up memory.
    fn part(&self, at: usize, path: JsonPath, class: TextClass) -> ColumnPart {
        let (part, few) = (ColumnPart::Key(path), self.exposed.len() < PLACES);
        match few || self.exposed.contains_key(&(at, part.clone(), class)) {
            true => part,
            false => ColumnPart::Key(JsonPath::somewhere()),
        }
    }

    /// Our part of the config column: field name -> token.
    fn ours(&mut self, current: &mut CurrentRow<'_>, at: usize, ours: &Value) {
        let unrecognised = match ours {
            Value::Null => None,
            Value::Object(object) => {
                object.iter().find_map(|(name, value)| self.entry(current, at, name, value))
            }
            Value::String(text) => Some(classify(text)),
            _ => Some(TextClass::Plaintext),
        };
        if let Some(class) = unrecognised {
            current.is_no_record = true;
            self.expose(current, at, ColumnPart::Ours, class);
        }
    }

    /// Classifies an entry that is not a token of the field in its name.
    fn entry(
        &mut self,
        current: &mut CurrentRow<'_>,
        at: usize,
        name: &str,
        value: &Value,
    ) -> Option<TextClass> {
        let Some(text) = value.as_str() else { return Some(TextClass::Plaintext) };
        let held = current.tokens.len();
        if !self.pieces(current, at, text) {
            return Some(classify(text));
        }
        let misnamed = current.tokens[held..].iter().any(|token| token.field.name() != name);
        misnamed.then_some(TextClass::Malformed)
    }

    fn record(
        &mut self,
        name: &str,
        tokens: Vec<Token>,
        owner: Option<&Owner>,
        now: u64,
        keyring: Option<(&RootKeys, &Fields)>,
    ) {
        let mut versions: Vec<_> = tokens.iter().map(|token| token.version).collect();
        versions.sort_unstable();
        let newest = newest_version(versions.into_iter(), now);
        let of_newest = |token: &Token| Some(token.version) >= newest;
        let (tokens, older): (Vec<_>, Vec<_>) = tokens.into_iter().partition(of_newest);
        // older records with their record tokens are a mixture
        let (tokens, leftovers) = match has_record_token(&older) {
            true => (tokens.into_iter().chain(older).collect(), Vec::new()),
            false => (tokens, older),
        };
        if !leftovers.is_empty() {
            self.problem(RecordProblem::Leftover, name);
        }
        if tokens.iter().any(|token| token.version.is_ahead_of(now)) {
            self.problem(RecordProblem::Ahead, name);
        }
        let record = match Record::new(tokens, PlainTexts::default()) {
            Ok(record) => record,
            Err(error) => {
                let incomplete = error.kind() == ErrorKind::Incomplete;
                let problem = if incomplete { RecordProblem::Incomplete } else { RecordProblem::Mixed };
                return self.problem(problem, name);
            }
        };
        if let Some((keyring, fields)) = keyring
            && let Err(problem) = opens(&record, owner, (keyring, fields), self.secrets.as_mut())
        {
            self.problem(problem, name);
        }
    }

    /// A record of the local file.
    pub(crate) fn take_local(&mut self, owner: &Owner, text: &str, keyring: &RootKeys, fields: &Fields) {
        self.rows += 1;
        let name = owner.to_string();
        let mut current = CurrentRow { owner: &name, tokens: Vec::new(), is_no_record: false };
        let all = self.pieces(&mut current, 0, text);
        let record = match all {
            true if current.is_no_record => return,
            true => Record::new(current.tokens, PlainTexts::default()).map_err(|error| problem(error.kind())),
            false => Err(problem(ErrorKind::Malformed)),
        };
        if let Err(problem) = record.and_then(|record| opens(&record, Some(owner), (keyring, fields), None)) {
            self.problem(problem, &name);
        }
    }
}

/// A text column may hold no JSON at all. `None` if the JSON is too deep or damaged.
fn read(text: &str) -> Option<Value> {
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        Err(_) if text.trim_start().starts_with(['{', '[']) => None,
        Err(_) => Some(Value::String(text.to_owned())),
    }
}

/// Classifies a config column that holds neither an object nor null, which the vault never overwrites.
fn instead_of_object(value: &Value) -> Option<TextClass> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::String(text) => Some(classify(text)),
        _ => Some(TextClass::Plaintext),
    }
}

/// Why a record does not open. A missing key is another finding.
fn opens(
    record: &Record,
    owner: Option<&Owner>,
    (keyring, fields): (&RootKeys, &Fields),
    mut secrets: Option<&mut SecretHashes>,
) -> Result<(), RecordProblem> {
    let Some(owner) = owner else {
        return Err(RecordProblem::Unreadable("its owner id is not valid".to_owned()));
    };
    let scope = Scope { namespace: fields.namespace, owner };
    let take = |field, json: &str| {
        if let (Some(secrets), Some(spec)) = (secrets.as_deref_mut(), fields.spec(field)) {
            secrets.take(owner, field, spec, json);
        }
    };
    match keyring.opener(record.key).and_then(|root| sealer::verify(record, scope, root, fields, take)) {
        Err(error) if error.kind() != ErrorKind::UnknownKey => Err(problem(error.kind())),
        _ => Ok(()),
    }
}

fn problem(kind: ErrorKind) -> RecordProblem {
    let reason = match kind {
        ErrorKind::Incomplete => return RecordProblem::Incomplete,
        ErrorKind::Unsealable => {
            "the key is in this keyring, but the token was altered, or sealed for another owner or field"
        }
        ErrorKind::Malformed => "not the text of a record",
        _ => "not readable",
    };
    RecordProblem::Unreadable(reason.to_owned())
}
