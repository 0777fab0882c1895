//! What a pass does with one row: the start that all kinds of work share, and the result.

use crate::crypto::aead::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::RootKeys;
use crate::postgres::statements::found_records::{JsonState, json_too_long};
use crate::postgres::walk::rows::{FoundRow, RowTexts, TableWalk};
use crate::record::record::{SlotText, read_slot};
use crate::record::token::{MAX_SLOT, Token};

/// Something in a row that stays as it is.
pub(crate) struct RowProblem {
    /// Where, if that is known.
    pub(crate) column: Option<String>,
    pub(crate) error: Error,
}

/// What a row gets.
pub(crate) struct Reworked {
    /// New texts for its columns; `None` when there is nothing to write.
    pub(crate) new: Option<RowTexts>,
    pub(crate) problems: Vec<RowProblem>,
}

/// A row of an owner that is a valid one.
pub(crate) struct TokenRow<'a> {
    pub(super) found: &'a FoundRow,
    pub(super) walk: &'a TableWalk,
    pub(super) keyring: &'a RootKeys,
    pub(super) scope: Scope<'a>,
    /// The tokens of all slots, record by record, the newest last.
    pub(super) tokens: Vec<Token>,
    /// The slot of each token.
    pub(super) places: Vec<usize>,
}

impl TokenRow<'_> {
    /// The tokens, each with its slot.
    pub(super) fn placed(&self) -> impl Iterator<Item = (usize, &Token)> {
        self.places.iter().copied().zip(&self.tokens)
    }
}

/// The work on one row: a pure function apart from randomness. It returns the new texts, and adds problems to those that
/// reading the slots has found.
pub(crate) type RowWork = fn(&TokenRow<'_>, &mut Vec<RowProblem>) -> Result<Option<RowTexts>>;

/// Reads what was found in a row, and works on it.
///
/// # Errors
/// `Entropy`.
pub(crate) fn rework(
    found: &FoundRow,
    walk: &TableWalk,
    keyring: &RootKeys,
    work: RowWork,
) -> Result<Reworked> {
    let mut problems = Vec::new();
    let (places, tokens) = read_slots(found, walk, &mut problems).into_iter().unzip();
    let Some(owner) = &found.owner else {
        let error = Error::new(ErrorKind::InvalidInput, "the row's owner is not valid");
        return Ok(Reworked { new: None, problems: vec![RowProblem { column: None, error }] });
    };
    let scope = Scope { namespace: walk.fields.namespace, owner };
    // a text that was cut cannot be compared, and the exchange compares every column
    let new = match is_whole(found) {
        true => work(&TokenRow { found, walk, keyring, scope, tokens, places }, &mut problems)?,
        false => None,
    };
    Ok(Reworked { new, problems })
}

fn is_whole(found: &FoundRow) -> bool {
    found.json != JsonState::TooLong && found.texts.slots.iter().flatten().all(|text| text.len() <= MAX_SLOT)
}

/// The tokens of all slots. A slot that holds anything else as well stays as it is.
fn read_slots(found: &FoundRow, walk: &TableWalk, problems: &mut Vec<RowProblem>) -> Vec<(usize, Token)> {
    let mut read: Vec<(usize, Token)> = Vec::with_capacity(8);
    for (at, (slot, text)) in walk.slots.iter().zip(&found.texts.slots).enumerate() {
        let error = match read_slot(text.as_deref(), slot.json) {
            _ if slot.json && found.json == JsonState::TooLong => json_too_long(&walk.slots),
            SlotText::Empty => continue,
            SlotText::Tokens(tokens) => {
                read.extend(tokens.into_iter().map(|token| (at, token)));
                continue;
            }
            SlotText::Unrecognised => {
                Error::new(ErrorKind::ForeignValue, "it holds text that the vault did not write")
            }
            SlotText::Damaged(error) => error,
        };
        let error = error.with_column(slot.column.to_string());
        problems.push(RowProblem { column: Some(slot.column.to_string()), error });
    }
    // stable: within a slot and a version nothing changes its place
    read.sort_by_key(|(_, token)| token.version);
    read
}
