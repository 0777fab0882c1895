//! The newest record of one row, moved to its best places: a pure function.

use crate::crypto::aead::Scope;
use crate::crypto::sealer::{check_whole, with_plain_texts};
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::Keyring;
use crate::postgres::statements::found_records::JsonState;
use crate::postgres::walk::rows::{FoundRow, RowTexts, TableWalk};
use crate::record::field::Field;
use crate::record::placement::{PlainColumn, Slot};
use crate::record::plain::{PlainTexts, from_column, is_unset};
use crate::record::record::Record;
use crate::record::token::{Token, print_object, print_packed};
use crate::rotation::rotate_rows::{Reworked, RowProblem, read_slots};
use crate::store::core::of_other_credentials;

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
    let moved = newest(&held, found, Scope { namespace: walk.fields.namespace, owner }, (keyring, walk))
        .and_then(|record| {
            let mut moving =
                Move { found, walk, held: &held, record, opened: Vec::new(), problems: Vec::new() };
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
/// `UnknownKey` of any record; `Configuration` when older tokens are another kind's; `Incomplete`, naming a field whose token lies in a column that this process does not
/// know; whatever else is wrong with the newest one.
fn newest(
    held: &[(usize, Token)],
    found: &FoundRow,
    scope: Scope<'_>,
    (keyring, walk): (&Keyring, &TableWalk),
) -> Result<Record> {
    let version = held.last().map(|(_, token)| token.version).ok_or(ErrorKind::NotFound)?;
    if version.is_ahead_of(found.now) {
        let message = format!("the record of version {version} is more than a day ahead");
        return Err(Error::new(ErrorKind::Malformed, message)
            .with_hint("store the configuration again, which replaces it"));
    }
    held.iter().try_for_each(|(_, token)| keyring.opener(token.key).map(drop))?;
    let others = held.iter().map(|(_, token)| token).filter(|token| token.version != version);
    of_other_credentials(&walk.fields, others.map(|token| token.field)).map_or(Ok(()), Err)?;
    let tokens = held.iter().map(|(_, token)| token).filter(|token| token.version == version);
    let mut plain = PlainTexts::default();
    walk.plain
        .iter()
        .zip(&found.texts.plain)
        .for_each(|(column, text)| plain.push(column.field, text.clone()));
    let record = Record::new(tokens.cloned().collect(), plain)?;
    let root = keyring.opener(record.key)?;
    check_whole(&record, scope, root, |_| false)?;
    with_plain_texts(record, scope, root, &walk.fields)
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
            Some(value) if self.is_same(column, old, value) => {
                self.opened.push(column.field);
                return old.clone();
            }
            Some(value) if self.is_unset(column, old) => {
                self.opened.push(column.field);
                return Some(value.to_owned());
            }
            Some(_) => Error::new(
                ErrorKind::ForeignValue,
                format!("{} stays sealed, since its column holds another value", column.field),
            ),
            // the column was emptied before the value was sealed
            None if self.is_unset(column, old) => {
                self.opened.push(column.field);
                return old.clone();
            }
            None => Error::new(
                ErrorKind::ForeignValue,
                format!("{} is not set any more, but its column holds a value", column.field),
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
            (true, false) if self.found.json != JsonState::Usable => {
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
        let is_opened = |token: &&Token| self.opened.contains(&token.field);
        let tokens: Vec<Token> =
            self.record.tokens().iter().filter(|token| !is_opened(token)).cloned().collect();
        let places = self.walk.placement.slots_of(&tokens);
        let stays_in =
            |token: &Token| self.held.iter().find(|(_, held)| held == token).map(|(place, _)| *place);
        let here = tokens.iter().zip(places);
        let here = here.filter(|(token, place)| place.or_else(|| stays_in(token)) == Some(at));
        let mut fields: Vec<Field> = here.map(|(token, _)| token.field).collect();
        fields.sort_by_key(|field| (Some(*field) != self.walk.slots[at].own, field.is_record()));
        fields.iter().filter_map(|field| self.record.token(*field)).collect()
    }

    fn is_same(&self, column: &PlainColumn, old: &Option<String>, value: &str) -> bool {
        let Some(spec) = self.walk.fields.spec(column.field) else { return false };
        let json = |text: &str| from_column(column.field, spec, text).ok();
        old.as_deref().and_then(json).is_some_and(|old| json(value) == Some(old))
    }

    /// Whether the column holds what stands for nothing.
    fn is_unset(&self, column: &PlainColumn, old: &Option<String>) -> bool {
        let (Some(spec), Some(old)) = (self.walk.fields.spec(column.field), old) else {
            return old.is_none();
        };
        from_column(column.field, spec, old).is_ok_and(|old| is_unset(spec, &old))
    }
}
