//! The newest record of one row, moved to its best places: a pure function.

use crate::crypto::sealer::{check_whole, with_plain_texts};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::placement::{PlainColumn, Slot};
use crate::postgres::statements::found_records::JsonState;
use crate::postgres::walk::rows::RowTexts;
use crate::record::field::Field;
use crate::record::plain::{PlainTexts, from_column, is_unset};
use crate::record::record::Record;
use crate::record::token::{Token, print_object, print_packed};
use crate::rotation::row_work::{RowProblem, TokenRow};
use crate::store::core::of_other_credentials;

/// Moves the tokens of the newest record to where the placement wants them, and opens those of plain fields that now have
/// their own column. Older records of the vault are removed, as in a store.
///
/// The row stays as it is if it holds anything that is not the vault's or not readable. A plain value stays sealed if its
/// column holds another one.
///
/// # Errors
/// None: what is wrong with a row is a problem of that row.
pub(crate) fn promote_row(row: &TokenRow<'_>, problems: &mut Vec<RowProblem>) -> Result<Option<RowTexts>> {
    if !problems.is_empty() {
        return Ok(None);
    }
    let moved = newest(row).and_then(|record| {
        let mut moving = Move { row, record, opened: Vec::new(), problems: Vec::new() };
        let plain = moving.plain_columns();
        let slots = moving.slots()?;
        problems.append(&mut moving.problems);
        let old = &row.found.texts;
        Ok((slots != old.slots || plain != old.plain).then_some(RowTexts { slots, plain }))
    });
    Ok(moved.unwrap_or_else(|error| {
        problems.push(RowProblem { column: None, error });
        None
    }))
}

/// The newest record with its plain values, if a store might overwrite everything else.
///
/// # Errors
/// `UnknownKey` of any record; `Configuration` if older tokens belong to another kind; `Incomplete`, naming a field whose
/// token is in a column that this process does not know; any other error of the newest record.
fn newest(row: &TokenRow<'_>) -> Result<Record> {
    let version = row.tokens.last().map(|token| token.version).ok_or(ErrorKind::NotFound)?;
    if version.is_ahead_of(row.found.now) {
        let message = format!("the record of version {version} is more than a day in the future");
        return Err(Error::new(ErrorKind::Malformed, message)
            .with_hint("store the configuration again to replace it"));
    }
    row.tokens.iter().try_for_each(|token| row.keyring.opener(token.key).map(drop))?;
    let (newest, others): (Vec<_>, Vec<_>) = row.tokens.iter().partition(|token| token.version == version);
    let fields = &row.walk.fields;
    of_other_credentials(fields, others.iter().map(|token| token.field)).map_or(Ok(()), Err)?;
    let mut plain = PlainTexts::default();
    let columns = row.walk.plain.iter().zip(&row.found.texts.plain);
    columns.for_each(|(column, text)| plain.push(column.field, text.clone()));
    let record = Record::new(newest.into_iter().cloned().collect(), plain)?;
    let root = row.keyring.opener(record.key)?;
    check_whole(&record, row.scope, root, |_| false)?;
    with_plain_texts(record, row.scope, root, fields)
}

/// One record that is being moved.
struct Move<'a> {
    row: &'a TokenRow<'a>,
    record: Record,
    /// The fields whose value is now in a column, and that no longer have a token.
    opened: Vec<Field>,
    problems: Vec<RowProblem>,
}

impl Move<'_> {
    /// What the plain columns get.
    fn plain_columns(&mut self) -> Vec<Option<String>> {
        let columns = self.row.walk.plain.iter().zip(&self.row.found.texts.plain);
        columns.map(|(column, old)| self.plain_column(column, old)).collect()
    }

    /// A load prefers the token to the column, but only a store may discard what the application put into its own column.
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
                format!("{} stays sealed, because its column holds a different value", column.field),
            ),
            // the column was emptied before the value was sealed
            None if self.is_unset(column, old) => {
                self.opened.push(column.field);
                return old.clone();
            }
            None => Error::new(
                ErrorKind::ForeignValue,
                format!("{} is no longer set, but its column holds a value", column.field),
            ),
        };
        let error = error.with_column(column.column.to_string());
        self.problems.push(RowProblem { column: Some(column.column.to_string()), error });
        old.clone()
    }

    /// What the slots get.
    ///
    /// # Errors
    /// `ForeignValue` if the JSONB column would get something and cannot take it.
    fn slots(&self) -> Result<Vec<Option<String>>> {
        let slots = self.row.walk.slots.iter().enumerate();
        slots.map(|(at, slot)| self.slot(at, slot)).collect()
    }

    fn slot(&self, at: usize, slot: &Slot) -> Result<Option<String>> {
        let (old, tokens) = (&self.row.found.texts.slots[at], self.tokens_of(at));
        let held = self.row.placed().filter(|(place, _)| *place == at);
        let held: Vec<_> = held.map(|(_, token)| token).collect();
        let stays = held.len() == tokens.len() && tokens.iter().all(|token| held.contains(token));
        match (slot.json, tokens.is_empty()) {
            _ if stays => Ok(old.clone()),
            (true, false) if self.row.found.json != JsonState::Usable => {
                let message = format!("column {} holds neither an object nor null", slot.column);
                Err(Error::new(ErrorKind::ForeignValue, message).with_column(slot.column.to_string()))
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
        let places = self.row.walk.placement.slots_of(&tokens);
        let stays_in =
            |token: &Token| self.row.placed().find(|(_, held)| *held == token).map(|(place, _)| place);
        let here = tokens.iter().zip(places);
        let here = here.filter(|(token, place)| place.or_else(|| stays_in(token)) == Some(at));
        let mut fields: Vec<Field> = here.map(|(token, _)| token.field).collect();
        fields.sort_by_key(|field| (Some(*field) != self.row.walk.slots[at].own, field.is_record()));
        fields.iter().filter_map(|field| self.record.token(*field)).collect()
    }

    fn is_same(&self, column: &PlainColumn, old: &Option<String>, value: &str) -> bool {
        let Some(spec) = self.row.walk.fields.spec(column.field) else { return false };
        let json = |text: &str| from_column(column.field, spec, text).ok();
        old.as_deref().and_then(json).is_some_and(|old| json(value) == Some(old))
    }

    /// Whether the column holds the value that means "not set".
    fn is_unset(&self, column: &PlainColumn, old: &Option<String>) -> bool {
        let (Some(spec), Some(old)) = (self.row.walk.fields.spec(column.field), old) else {
            return old.is_none();
        };
        from_column(column.field, spec, old).is_ok_and(|old| is_unset(spec, &old))
    }
}
