//! The tokens of one row, re-encrypted: a pure function.

use std::borrow::Cow;

use crate::crypto::random;
use crate::crypto::sealer::{reencrypt, reencrypt_whole};
use crate::error::Result;
use crate::layout::placement::Slot;
use crate::postgres::statements::found_records::newest_version;
use crate::postgres::walk::rows::RowTexts;
use crate::record::record::{Record, has_record_token};
use crate::record::token::{Token, print_object, print_packed};
use crate::rotation::row_work::{RowProblem, TokenRow};

/// Re-encrypts every record of a row that is not under the primary key, each as a whole under its own
/// version. What cannot be opened stays as it is.
///
/// # Errors
/// `Entropy`.
pub(crate) fn reencrypt_row(row: &TokenRow<'_>, problems: &mut Vec<RowProblem>) -> Result<Option<RowTexts>> {
    let (slots, old) = (&row.walk.slots, &row.tokens);
    let newest = newest_version(old.iter().map(|token| token.version), row.found.now);
    let mut changed = vec![false; slots.len()];
    let mut tokens = Vec::with_capacity(old.len());
    for record in old.chunk_by(|one, next| one.version == next.version) {
        let places = &row.places[tokens.len()..][..record.len()];
        // a store that did not know the column of these left them
        let is_leftover = Some(record[0].version) < newest && !has_record_token(record);
        match reencrypt_record(row, record, is_leftover)? {
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
        let held = || {
            row.places.iter().zip(&tokens).filter(move |(place, _)| **place == at).map(|(_, token)| &**token)
        };
        match (changed[at], slot.json) {
            (true, true) => Some(print_object(held())),
            (true, false) => Some(print_packed(held())),
            (false, _) => row.found.texts.slots[at].clone(),
        }
    };
    let plain = || row.found.texts.plain.clone();
    Ok(changed
        .contains(&true)
        .then(|| RowTexts { slots: slots.iter().enumerate().map(print).collect(), plain: plain() }))
}

/// `Ok(Ok(None))`: it is under the primary key already.
fn reencrypt_record(
    row: &TokenRow<'_>,
    tokens: &[Token],
    is_leftover: bool,
) -> Result<Result<Option<Vec<Token>>>> {
    let (scope, primary) = (row.scope, row.keyring.primary());
    if tokens.iter().all(|token| token.key == primary.0) {
        return Ok(Ok(None));
    }
    let opener = |key| row.keyring.opener_for_reencryption(key);
    match (is_leftover, Record::check(tokens)) {
        (true, _) => random::with_rng(|rng| reencrypt(tokens, scope, primary, opener, rng).map(Some)),
        (false, Err(error)) => Ok(Err(error)),
        (false, Ok(_)) => {
            random::with_rng(|rng| reencrypt_whole(tokens, scope, primary, opener, rng).map(Some))
        }
    }
}
