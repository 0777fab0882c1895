//! What rows hold, counted and sorted: nothing of a value stays.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::crypto::sealer;
use crate::doctor::exposure::NOTHING;
use crate::doctor::exposure::alike::Alike;
use crate::doctor::exposure::class::{Class, classify};
use crate::doctor::exposure::json::{Spot, look_into};
use crate::error::ErrorKind;
use crate::keyring::keys::Keyring;
use crate::postgres::connection::errors::Fault;
use crate::postgres::walk::scan::Scanned;
use crate::record::owner::Owner;
use crate::record::record::{PlainValues, Record};
use crate::record::retell::wipe;
use crate::record::token::MEMBER;
use crate::record::token::{KeyId, Token, claims_to_be_token};

/// So many owners are named with a finding.
const NAMED: usize = 5;

/// So many findings are told apart by the place in JSON.
const PLACES: usize = 100;

/// What a column is looked at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Tokens, and nothing else.
    Slot,
    /// Tokens in our part; the rest belongs to the application.
    Config,
    /// The settings of the webhook.
    Webhook,
    /// By its name it holds what belongs into the vault.
    Alike(Alike),
}

/// Where in a column something was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Whole,
    /// Our part of the config column.
    Ours,
    Key(Spot),
}

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// Tokens of several versions or keys, or a field twice.
    Mixed,
    /// A secret field is missing.
    Incomplete,
    /// Its version lies too far ahead.
    Ahead,
    /// A later version of this program wrote it.
    LaterFormat,
    /// It does not open, for this reason.
    Unreadable(String),
}

/// How often, and some of those concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) count: u64,
    pub(crate) owners: Vec<String>,
    /// The row that was counted last: a row counts once.
    row: u64,
}

impl Sighting {
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

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    /// By the number of the column.
    pub(crate) exposed: BTreeMap<(usize, Place, Class), Sighting>,
    pub(crate) tokens: BTreeMap<(usize, KeyId), u64>,
    pub(crate) troubles: BTreeMap<Trouble, Sighting>,
    /// JSON too long or too deep to be looked into.
    pub(crate) too_long: u64,
}

/// One row while it is looked at.
struct Look<'a> {
    owner: &'a str,
    tokens: Vec<Token>,
    /// It has something that is no token, or is of a later format: no record to judge.
    is_spoilt: bool,
}

impl Tally {
    /// Looks at one row. With a keyring every record in it is opened.
    ///
    /// # Errors
    /// When a column has another type than before.
    pub(crate) fn take(
        &mut self,
        row: &Scanned,
        roles: &[(Role, usize)],
        keyring: Option<&Keyring>,
    ) -> Result<(), Fault> {
        self.rows += 1;
        let (name, owner) = row.owner()?;
        let mut look = Look { owner: &name, tokens: Vec::new(), is_spoilt: false };
        for (at, (role, longest)) in roles.iter().enumerate() {
            let Some(text) = row.text(at)?.filter(|text| !text.is_empty()) else { continue };
            match role {
                Role::Slot => self.slot(&mut look, at, text),
                Role::Alike(_) => self.alike(&look, at, text),
                Role::Config | Role::Webhook if text.len() > *longest => self.too_long += 1,
                Role::Config | Role::Webhook => self.json(&mut look, at, *role, text),
            }
        }
        let Look { tokens, is_spoilt, .. } = look;
        if !is_spoilt && !tokens.is_empty() {
            self.record(&name, tokens, owner.as_ref(), row.now()?, keyring);
        }
        Ok(())
    }

    fn expose(&mut self, look: &Look<'_>, at: usize, place: Place, class: Class) {
        // where a token was expected, nothing and a token of another field are damage too
        let class = if matches!(class, Class::Empty | Class::Tokens) { Class::Malformed } else { class };
        self.exposed.entry((at, place, class)).or_default().add(self.rows, look.owner);
    }

    fn trouble(&mut self, trouble: Trouble, owner: &str) {
        self.troubles.entry(trouble).or_default().add(self.rows, owner);
    }

    fn slot(&mut self, look: &mut Look<'_>, at: usize, text: &str) {
        if !self.pieces(look, at, text) {
            look.is_spoilt = true;
            self.expose(look, at, Place::Whole, classify(text));
        }
    }

    /// Takes the tokens of a text. False: it holds something else.
    fn pieces(&mut self, look: &mut Look<'_>, at: usize, text: &str) -> bool {
        let held = look.tokens.len();
        for piece in text.split(' ') {
            match piece.parse::<Token>() {
                Ok(token) => look.tokens.push(token),
                Err(error) if error.kind() == ErrorKind::UnsupportedFormat && claims_to_be_token(piece) => {
                    look.is_spoilt = true;
                    self.trouble(Trouble::LaterFormat, look.owner);
                    let key = piece.get(4..12).and_then(|id| id.parse().ok());
                    key.into_iter().for_each(|key| *self.tokens.entry((at, key)).or_default() += 1);
                }
                Err(_) => return false,
            }
        }
        for token in &look.tokens[held..] {
            *self.tokens.entry((at, token.key)).or_default() += 1;
        }
        true
    }

    fn alike(&mut self, look: &Look<'_>, at: usize, text: &str) {
        if NOTHING.contains(&text.trim()) {
            return;
        }
        match classify(text) {
            Class::Empty | Class::Tokens => {}
            class => self.expose(look, at, Place::Whole, class),
        }
    }

    fn json(&mut self, look: &mut Look<'_>, at: usize, role: Role, text: &str) {
        let Some(mut value) = read(text) else {
            self.too_long += 1;
            return;
        };
        let mut found = Vec::new();
        if role == Role::Config {
            if let Some(mut ours) = value.as_object_mut().and_then(|object| object.remove(MEMBER)) {
                self.ours(look, at, &ours);
                wipe(&mut ours);
            }
            if let Some(class) = instead_of_object(&value) {
                look.is_spoilt = true;
                self.expose(look, at, Place::Whole, class);
            }
        }
        if role == Role::Webhook || value.is_object() {
            look_into(&value, &mut found);
        }
        wipe(&mut value);
        for (spot, class) in found {
            let place = self.place(at, spot, class);
            self.expose(look, at, place, class);
        }
    }

    /// Of many places only the first are named, so that keys that differ from row to row take no memory.
    fn place(&self, at: usize, spot: Spot, class: Class) -> Place {
        let (place, few) = (Place::Key(spot), self.exposed.len() < PLACES);
        match few || self.exposed.contains_key(&(at, place.clone(), class)) {
            true => place,
            false => Place::Key(Spot::somewhere()),
        }
    }

    /// Our part of the config column: field name -> token.
    fn ours(&mut self, look: &mut Look<'_>, at: usize, ours: &Value) {
        let foreign = match ours {
            Value::Null => None,
            Value::Object(object) => {
                object.iter().find_map(|(name, value)| self.entry(look, at, name, value))
            }
            Value::String(text) => Some(classify(text)),
            _ => Some(Class::Plaintext),
        };
        if let Some(class) = foreign {
            look.is_spoilt = true;
            self.expose(look, at, Place::Ours, class);
        }
    }

    /// What an entry is, when it is not a token of the field that it is named for.
    fn entry(&mut self, look: &mut Look<'_>, at: usize, name: &str, value: &Value) -> Option<Class> {
        let Some(text) = value.as_str() else { return Some(Class::Plaintext) };
        let held = look.tokens.len();
        if !self.pieces(look, at, text) {
            return Some(classify(text));
        }
        let misnamed = look.tokens[held..].iter().any(|token| token.field.name() != name);
        misnamed.then_some(Class::Malformed)
    }

    fn record(
        &mut self,
        name: &str,
        tokens: Vec<Token>,
        owner: Option<&Owner>,
        now: u64,
        keyring: Option<&Keyring>,
    ) {
        if tokens.iter().any(|token| token.version.is_ahead_of(now)) {
            self.trouble(Trouble::Ahead, name);
        }
        let record = match Record::new(tokens, PlainValues::default()) {
            Ok(record) => record,
            Err(error) => {
                let incomplete = error.kind() == ErrorKind::Incomplete;
                let trouble = if incomplete { Trouble::Incomplete } else { Trouble::Mixed };
                return self.trouble(trouble, name);
            }
        };
        if let Some(keyring) = keyring
            && let Err(reason) = opens(&record, owner, keyring)
        {
            self.trouble(Trouble::Unreadable(reason), name);
        }
    }

    /// A record of the local file, in the place with this number.
    pub(crate) fn take_local(&mut self, owner: &Owner, text: &str, keyring: &Keyring) {
        self.rows += 1;
        let name = owner.to_string();
        let mut look = Look { owner: &name, tokens: Vec::new(), is_spoilt: false };
        let all = self.pieces(&mut look, 0, text);
        let record = match all {
            true if look.is_spoilt => return,
            true => Record::new(look.tokens, PlainValues::default()).map_err(|error| reason(error.kind())),
            false => Err(reason(ErrorKind::Malformed)),
        };
        if let Err(reason) = record.and_then(|record| opens(&record, Some(owner), keyring)) {
            self.trouble(Trouble::Unreadable(reason), &name);
        }
    }
}

/// In a column of text there may be no JSON at all. `None`: too deep, or damaged.
fn read(text: &str) -> Option<Value> {
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        Err(_) if text.trim_start().starts_with(['{', '[']) => None,
        Err(_) => Some(Value::String(text.to_owned())),
    }
}

/// What a config column holds that is neither an object nor null, and that the vault therefore never writes.
fn instead_of_object(value: &Value) -> Option<Class> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::String(text) => Some(classify(text)),
        _ => Some(Class::Plaintext),
    }
}

/// Why a record does not open. A key that is not there is another finding.
fn opens(record: &Record, owner: Option<&Owner>, keyring: &Keyring) -> Result<(), String> {
    let Some(owner) = owner else { return Err("its owner is not a valid one".to_owned()) };
    match keyring.opener(record.key).and_then(|root| sealer::open(record, owner, root)) {
        Err(error) if error.kind() != ErrorKind::UnknownKey => Err(reason(error.kind())),
        _ => Ok(()),
    }
}

fn reason(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::Unsealable => {
            "under a key of this keyring, but altered, or sealed for another owner or field"
        }
        ErrorKind::Malformed => "not the text of a record",
        ErrorKind::Incomplete => "a secret field is missing",
        _ => "not readable",
    }
    .to_owned()
}
