//! The entries of the blind index of one row: a pure function.

use crate::crypto::sealer;
use crate::error::{Error, ErrorKind, Result};
use crate::index::entries::column_text;
use crate::postgres::walk::rows::RowTexts;
use crate::record::plain::PlainTexts;
use crate::record::record::Record;
use crate::record::token::Token;
use crate::rotation::row_work::{RowProblem, TokenRow};

/// Compares the entries of a row with those of its newest record. The column of the index is the last plain one of the walk. A
/// row whose record does not open keeps what it has.
///
/// # Errors
/// None: what is wrong with a row is a problem of that row.
pub(crate) fn index_row(row: &TokenRow<'_>, problems: &mut Vec<RowProblem>) -> Result<Option<RowTexts>> {
    if !problems.is_empty() || row.tokens.is_empty() {
        return Ok(None);
    }
    let mut new = row.found.texts.clone();
    match entries(row) {
        Ok(entries) if new.plain.last() == Some(&Some(entries.clone())) => Ok(None),
        Ok(entries) => {
            new.plain.pop();
            new.plain.push(Some(entries));
            Ok(Some(new))
        }
        Err(error) => {
            problems.push(RowProblem { column: None, error });
            Ok(None)
        }
    }
}

/// # Errors
/// Those of opening the newest record; `KeyState` without an index key.
fn entries(row: &TokenRow<'_>) -> Result<String> {
    let version = row.tokens.last().map(|token| token.version).ok_or(ErrorKind::NotFound)?;
    if version.is_ahead_of(row.found.now) {
        let message = format!("the record of version {version} is more than a day in the future");
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    let newest: Vec<Token> = row.tokens.iter().filter(|token| token.version == version).cloned().collect();
    let mut plain = PlainTexts::default();
    let columns = row.walk.placement.plain.iter().zip(&row.found.texts.plain);
    columns.for_each(|(column, text)| plain.push(column.field, text.clone()));
    let record = Record::new(newest, plain)?;
    let fields = &row.walk.fields;
    let opened = sealer::open(&record, row.scope, row.keyring.opener(record.key)?, fields)?;
    let values = opened.values.unwrap_or_default();
    let entries = column_text(&row.keyring.subkeys, fields, &values, &row.walk.placement.in_the_clear());
    entries.ok_or_else(|| Error::new(ErrorKind::KeyState, "the keyring has no key for the index"))
}
