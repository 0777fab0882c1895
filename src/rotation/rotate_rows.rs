//! The tokens of one row, re-encrypted: a pure function.

use std::borrow::Cow;

use crate::crypto::aead::Scope;
use crate::crypto::random;
use crate::crypto::sealer::{reencrypt, reencrypt_whole};
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::Keyring;
use crate::postgres::statements::found_records::newest_version;
use crate::postgres::walk::rows::{FoundRow, RowTexts, TableWalk};
use crate::record::placement::Slot;
use crate::record::record::{Record, SlotText, has_record_token, read_slot};
use crate::record::token::{Token, print_object, print_packed};

/// Something in a row that stays as it is.
pub(crate) struct RowProblem {
    /// Where, as far as that can be told.
    pub(crate) column: Option<String>,
    pub(crate) error: Error,
}

impl RowProblem {
    /// Of a row whose owner cannot be one of ours.
    pub(crate) fn no_owner() -> Self {
        let error = Error::new(ErrorKind::InvalidInput, "the row's owner is not a valid one");
        Self { column: None, error }
    }
}

/// What a row gets.
pub(crate) struct Reworked {
    /// New texts for its columns; `None` when there is nothing to write.
    pub(crate) new: Option<RowTexts>,
    pub(crate) problems: Vec<RowProblem>,
}

/// What is done to each row: a pure function but for randomness.
pub(crate) type Rework = fn(&FoundRow, &TableWalk, &Keyring) -> Result<Reworked>;

/// Re-encrypts every record of a row that is not under the primary key, each as a whole under its own
/// version. What cannot be opened stays as it is.
///
/// # Errors
/// `Entropy`.
pub(crate) fn reencrypt_row(found: &FoundRow, walk: &TableWalk, keyring: &Keyring) -> Result<Reworked> {
    let (slots, mut problems) = (&walk.slots, Vec::new());
    let read = read_slots(found, slots, &mut problems);
    let Some(owner) = &found.owner else {
        return Ok(Reworked { new: None, problems: vec![RowProblem::no_owner()] });
    };
    let (places, old): (Vec<usize>, Vec<Token>) = read.into_iter().unzip();
    let scope = Scope { namespace: walk.fields.namespace, owner };
    let newest = newest_version(old.iter().map(|token| token.version), found.now);
    let mut changed = vec![false; slots.len()];
    let mut tokens = Vec::with_capacity(old.len());
    for record in old.chunk_by(|one, next| one.version == next.version) {
        let places = &places[tokens.len()..][..record.len()];
        // a store that did not know the column of these left them
        let is_leftover = Some(record[0].version) < newest && !has_record_token(record);
        match reencrypt_record(record, is_leftover, scope, keyring)? {
            Ok(Some(resealed)) => {
                places.iter().for_each(|slot| changed[*slot] = true);
                tokens.extend(resealed.into_iter().map(Cow::Owned));
            }
            unchanged => {
                tokens.extend(record.iter().map(Cow::Borrowed));
                problems.extend(unchanged.err().map(|error| RowProblem { column: None, error }));
            }
        }
    }
    let print = |(at, slot): (usize, &Slot)| {
        let held =
            || places.iter().zip(&tokens).filter(move |(place, _)| **place == at).map(|(_, token)| &**token);
        match (changed[at], slot.json) {
            (true, true) => Some(print_object(held())),
            (true, false) => Some(print_packed(held())),
            (false, _) => found.texts.slots[at].clone(),
        }
    };
    let new = changed.contains(&true).then(|| RowTexts {
        slots: slots.iter().enumerate().map(print).collect(),
        plain: found.texts.plain.clone(),
    });
    Ok(Reworked { new, problems })
}

/// The tokens of all slots, each with its slot, record by record. A slot that holds anything else as
/// well stays as it is.
pub(crate) fn read_slots(
    found: &FoundRow,
    slots: &[Slot],
    problems: &mut Vec<RowProblem>,
) -> Vec<(usize, Token)> {
    let mut read: Vec<(usize, Token)> = Vec::with_capacity(8);
    for (at, (slot, text)) in slots.iter().zip(&found.texts.slots).enumerate() {
        let error = match read_slot(text.as_deref(), slot.json) {
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
        problems.push(RowProblem { column: Some(slot.column.clone()), error });
    }
    // stable: within a slot and a version nothing changes its place
    read.sort_by_key(|(_, token)| token.version);
    read
}

/// `Ok(Ok(None))`: it is under the primary key already.
fn reencrypt_record(
    tokens: &[Token],
    is_leftover: bool,
    scope: Scope<'_>,
    keyring: &Keyring,
) -> Result<Result<Option<Vec<Token>>>> {
    let primary = keyring.primary();
    if tokens.iter().all(|token| token.key == primary.0) {
        return Ok(Ok(None));
    }
    let opener = |key| keyring.opener_for_reencryption(key);
    match (is_leftover, Record::check(tokens)) {
        (true, _) => random::with_rng(|rng| reencrypt(tokens, scope, primary, opener, rng).map(Some)),
        (false, Err(error)) => Ok(Err(error)),
        (false, Ok(_)) => {
            random::with_rng(|rng| reencrypt_whole(tokens, scope, primary, opener, rng).map(Some))
        }
    }
}
