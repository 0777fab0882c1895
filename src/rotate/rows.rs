//! The tokens of one row, sealed anew: a pure function.

use std::collections::BTreeMap;

use crate::entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::Keyring;
use crate::owner::Owner;
use crate::placement::Slot;
use crate::postgres::walk::Found;
use crate::record::{PlainValues, Record, SlotText, print_object, print_packed, read_slot};
use crate::sealer::reseal::reseal;
use crate::token::Token;
use crate::version::Version;

/// Something in a row that could not be opened, and stays as it is.
pub(super) struct Trouble {
    /// Where, as far as that can be told.
    pub(super) column: Option<String>,
    pub(super) error: Error,
}

/// What a row gets.
pub(super) struct Resealed {
    /// New texts for its slots; `None` when there is nothing to write.
    pub(super) new: Option<Vec<Option<String>>>,
    pub(super) troubles: Vec<Trouble>,
}

/// Seals every record of a row anew that is not under the primary key, each as a whole under its own
/// version. What cannot be opened stays as it is.
///
/// # Errors
/// `Entropy`.
pub(super) fn reseal_row(found: &Found, slots: &[Slot], keyring: &Keyring) -> Result<Resealed> {
    let mut troubles = Vec::new();
    let mut tokens = read_slots(found, slots, &mut troubles);
    let Some(owner) = &found.owner else {
        let error = Error::new(ErrorKind::InvalidInput, "the row's owner is not a valid one");
        return Ok(Resealed { new: None, troubles: vec![Trouble { column: None, error }] });
    };
    let mut changed = vec![false; slots.len()];
    for places in versions(&tokens).values() {
        let record: Vec<Token> = places.iter().filter_map(|place| token_at(&tokens, *place)).collect();
        match reseal_record(record, owner, keyring)? {
            Ok(None) => {}
            Ok(Some(resealed)) => {
                for ((slot, at), token) in places.iter().zip(resealed) {
                    changed[*slot] = true;
                    if let Some(held) = tokens[*slot].as_mut().and_then(|held| held.get_mut(*at)) {
                        *held = token;
                    }
                }
            }
            Err(error) => troubles.push(Trouble { column: None, error }),
        }
    }
    let print = |(at, slot): (usize, &Slot)| match (&tokens[at], changed[at], slot.json) {
        (Some(tokens), true, true) => Some(print_object(tokens.iter())),
        (Some(tokens), true, false) => Some(print_packed(tokens.iter())),
        (_, _, true) => None,
        (_, _, false) => found.texts[at].clone(),
    };
    let new = changed.contains(&true).then(|| slots.iter().enumerate().map(print).collect());
    Ok(Resealed { new, troubles })
}

/// The tokens of every slot. `None`: the slot stays as it is.
fn read_slots(found: &Found, slots: &[Slot], troubles: &mut Vec<Trouble>) -> Vec<Option<Vec<Token>>> {
    let mut read = |(slot, text): (&Slot, &Option<String>)| {
        let error = match read_slot(text.as_deref(), slot.json) {
            SlotText::Empty => return None,
            SlotText::Tokens(tokens) => return Some(tokens),
            SlotText::Foreign => {
                Error::new(ErrorKind::ForeignValue, "it holds text that the vault did not write")
            }
            SlotText::Damaged(error) => error,
        };
        troubles.push(Trouble { column: Some(slot.column.clone()), error });
        None
    };
    slots.iter().zip(&found.texts).map(&mut read).collect()
}

/// Slot, and place in it.
type Place = (usize, usize);

fn versions(tokens: &[Option<Vec<Token>>]) -> BTreeMap<Version, Vec<Place>> {
    let mut versions: BTreeMap<Version, Vec<Place>> = BTreeMap::new();
    for (slot, held) in tokens.iter().enumerate() {
        for (at, token) in held.iter().flatten().enumerate() {
            versions.entry(token.version).or_default().push((slot, at));
        }
    }
    versions
}

fn token_at(tokens: &[Option<Vec<Token>>], (slot, at): Place) -> Option<Token> {
    tokens.get(slot)?.as_ref()?.get(at).cloned()
}

/// `Ok(Ok(None))`: it is under the primary key already.
fn reseal_record(tokens: Vec<Token>, owner: &Owner, keyring: &Keyring) -> Result<Result<Option<Vec<Token>>>> {
    let record = match Record::new(tokens, PlainValues::default()) {
        Ok(record) => record,
        Err(error) => return Ok(Err(error)),
    };
    if record.key == keyring.primary().0 {
        return Ok(Ok(None));
    }
    entropy::with_rng(|rng| reseal(record.tokens(), owner, keyring, rng).map(Some))
}
