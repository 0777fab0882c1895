//! The newest record of one row, moved to its best places: a pure function.

use serde_json::Value;

use crate::crypto::record_sealer::with_plain_values;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::Keyring;
use crate::postgres::walk::rows::{FoundRow, RowTexts, TableWalk};
use crate::record::fields::Field;
use crate::record::owner::Owner;
use crate::record::placement::{ColumnType, PlainColumn, Slot};
use crate::record::record::{PlainValues, Record, print_object, print_packed};
use crate::record::token::Token;
use crate::rotation::rotate_rows::{Reworked, RowProblem, read_slots};

/// Moves the tokens of the newest record to where the placement wants them, and opens those of plain fields
/// that have a column of their own now. Older records of ours go, as with a store.
///
/// The row stays as it is when it holds anything that is not ours or not readable, and a plain value stays
/// sealed when its column holds another one.
pub(super) fn promote_row(found: &FoundRow, walk: &TableWalk, keyring: &Keyring) -> Result<Reworked> {
    let mut problems = Vec::new();
    let held = read_slots(found, &walk.slots, &mut problems);
    let Some(owner) = &found.owner else {
        return Ok(Reworked { new: None, problems: vec![RowProblem::no_owner()] });
    };
    if !problems.is_empty() {
        return Ok(Reworked { new: None, problems });
    }
    let moved = newest(&held, found, owner, keyring).and_then(|record| {
        let mut moving = Move { found, walk, held: &held, record, opened: Vec::new(), problems: Vec::new() };
        let plain = moving.plain_columns();
        let slots = moving.slots()?;
        let has_changed = slots != found.texts.slots || plain != found.texts.plain;
        let new = has_changed.then_some(RowTexts { slots, plain });
        Ok(Reworked { new, problems: moving.problems })
    });
    Ok(moved
        .unwrap_or_else(|error| Reworked { new: None, problems: vec![RowProblem { column: None, error }] }))
}

/// The newest record with its plain values, when a store might write over everything else.
///
/// # Errors
/// `UnknownKey` of any record; whatever is wrong with the newest one.
fn newest(held: &[(usize, Token)], found: &FoundRow, owner: &Owner, keyring: &Keyring) -> Result<Record> {
    let version = held.last().map(|(_, token)| token.version).ok_or(ErrorKind::NotFound)?;
    if version.is_ahead_of(found.now) {
        let message = format!("the record of version {version} is more than a day ahead");
        return Err(Error::new(ErrorKind::Malformed, message)
            .with_hint("store the configuration again, which replaces it"));
    }
    held.iter().try_for_each(|(_, token)| keyring.opener(token.key).map(drop))?;
    let tokens = held.iter().map(|(_, token)| token).filter(|token| token.version == version);
    let record = Record::new(tokens.cloned().collect(), PlainValues::default())?;
    {
        let root = keyring.opener(record.key)?;
        with_plain_values(record, owner, root)
    }
}

/// One record on its way.
struct Move<'a> {
    found: &'a FoundRow,
    walk: &'a TableWalk,
    /// Every token of the row with its slot, those of the newest record last.
    held: &'a [(usize, Token)],
    record: Record,
    /// The fields that have their value in a column now, and no token any more.
    opened: Vec<Field>,
    problems: Vec<RowProblem>,
}

impl Move<'_> {
    /// What the plain columns get.
    fn plain_columns(&mut self) -> Vec<Option<String>> {
        let columns = self.walk.plain.iter().zip(&self.found.texts.plain);
        columns.map(|(column, old)| self.plain_column(column, old)).collect()
    }

    /// A token beats the column for who loads, but what the application put into its own column is not
    /// thrown away without a store.
    fn plain_column(&mut self, column: &PlainColumn, old: &Option<String>) -> Option<String> {
        if self.record.token(column.field).is_none() {
            return old.clone();
        }
        let error = match self.record.plain.text(column.field) {
            Some(value) if is_same(column, old, &value) => {
                self.opened.push(column.field);
                return old.clone();
            }
            Some(value) if is_nothing(column, old) => {
                self.opened.push(column.field);
                return Some(value);
            }
            Some(_) => Error::new(
                ErrorKind::ForeignValue,
                format!("{} stays sealed, since its column holds another value", column.field),
            ),
            None => Error::new(
                ErrorKind::Unsealable,
                format!("{} stays sealed, since it holds no valid value", column.field),
            ),
        };
        self.problems.push(RowProblem { column: Some(column.column.clone()), error });
        old.clone()
    }

    /// What the slots get.
    ///
    /// # Errors
    /// `ForeignValue` when the JSONB column would get something and takes nothing.
    fn slots(&self) -> Result<Vec<Option<String>>> {
        let slots = self.walk.slots.iter().enumerate();
        slots.map(|(at, slot)| self.slot(at, slot)).collect()
    }

    fn slot(&self, at: usize, slot: &Slot) -> Result<Option<String>> {
        let (old, tokens) = (&self.found.texts.slots[at], self.tokens_of(at));
        let held: Vec<_> =
            self.held.iter().filter(|(place, _)| *place == at).map(|(_, token)| token).collect();
        let stays = held.len() == tokens.len() && tokens.iter().all(|token| held.contains(token));
        match (slot.json, tokens.is_empty()) {
            _ if stays => Ok(old.clone()),
            (true, false) if self.found.json_is_unrecognised => {
                let message = format!("column {} holds neither an object nor null", slot.column);
                Err(Error::new(ErrorKind::ForeignValue, message))
            }
            (true, false) => Ok(Some(print_object(tokens.into_iter()))),
            (false, false) => Ok(Some(print_packed(tokens.into_iter()))),
            (false, true) if slot.not_null => Ok(Some(String::new())),
            (_, true) => Ok(None),
        }
    }

    /// The tokens that a slot gets. A plain field that keeps its token although it has a column keeps its
    /// slot as well.
    fn tokens_of(&self, at: usize) -> Vec<&Token> {
        let place = |field: Field| self.walk.slots.iter().position(|slot| slot.fields.contains(&field));
        let stays_in =
            |token: &Token| self.held.iter().find(|(_, held)| held == token).map(|(place, _)| *place);
        let is_here = |token: &&Token| {
            !self.opened.contains(&token.field) && place(token.field).or_else(|| stays_in(token)) == Some(at)
        };
        Field::ALL.iter().filter_map(|field| self.record.token(*field)).filter(is_here).collect()
    }
}

fn is_same(column: &PlainColumn, old: &Option<String>, value: &str) -> bool {
    let Some(old) = old else { return false };
    match is_json(column) {
        true => parsed(old).is_some_and(|old| parsed(value) == Some(old)),
        false => old == value,
    }
}

/// What stands for nothing in a plain column.
fn is_nothing(column: &PlainColumn, old: &Option<String>) -> bool {
    let Some(old) = old else { return true };
    match column.field {
        _ if is_json(column) => {
            parsed(old).is_some_and(|old| old.is_null() || old.as_object().is_some_and(|map| map.is_empty()))
        }
        Field::IntegrationStatus => old.is_empty() || old == "not_configured",
        _ => old.is_empty(),
    }
}

fn is_json(column: &PlainColumn) -> bool {
    matches!(column.kind, ColumnType::Json | ColumnType::Jsonb)
}

fn parsed(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}
