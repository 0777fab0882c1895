//! Decides what the existing rows mean for a write. Store and sync decide alike.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::local::entries::KeptKind;
use crate::postgres::statements::found_records::{FoundRecord, FoundRecords, Row};
use crate::postgres::statements::plan::Plan;
use crate::postgres::statements::read::FoundRows;
use crate::postgres::statements::write::OldRow;
use crate::record::owner::Owner;
use crate::record::plain::PlainTexts;
use crate::record::record::{Record, SlotText, read_slot};
use crate::record::token::{KeyId, MAX_SLOT, Token, claims_to_be_token};
use crate::record::version::Version;
use crate::store::core::{Core, StoreRequest};
use crate::store::fallback::keep;
use crate::store::options::{Expected, StoreOptions};

/// What a write may do with the existing rows.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing: the same write is already there, and its answer was lost.
    SameWrite,
    /// Write over them, under a later version than the newest that opens. Text that is not a record of this owner must be
    /// kept first, with the reason why it may be overwritten.
    Overwrite { newest: Option<Newest>, keep: Option<String> },
    /// Something there does not open, and may belong to another owner. Holds the newest record that opens beside it.
    Refuse { error: Error, newest: Option<Newest> },
}

/// The newest record that opens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Newest {
    pub(super) version: Version,
    pub(super) is_tombstone: bool,
}

/// # Errors
/// `Conflict` if the owner does not have what the caller expects.
pub(super) fn check_expected(request: StoreRequest<'_>, newest: Option<Newest>) -> Result<()> {
    let expected = request.options.expected;
    if request.import.is_some() && newest.is_some_and(|newest| newest.is_tombstone) {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the record was deleted, so nothing is imported over it",
        ));
    }
    let there = newest.filter(|newest| !newest.is_tombstone).map(|newest| newest.version);
    let message = match (expected, there) {
        (None, _) | (Some(Expected::Absent), None) => return Ok(()),
        (Some(Expected::Version(expected)), Some(version)) if version == expected => return Ok(()),
        (Some(Expected::Version(expected)), Some(version)) => {
            format!("the record now has version {version}, not {expected}")
        }
        (Some(Expected::Version(expected)), None) => {
            format!("there is no record of version {expected}")
        }
        (Some(Expected::Absent), Some(version)) => format!("a record already exists, with version {version}"),
    };
    Err(Error::new(ErrorKind::Conflict, message))
}

/// The options of a write. An import may replace text that the vault did not write if it has imported that text.
pub(super) fn options_of(request: StoreRequest<'_>, plan: &Plan, found: &FoundRows) -> StoreOptions {
    let Some(import) = request.import else { return request.options };
    let is_imported = |column: &str, text: &str| {
        import.over.iter().any(|(known, old)| known == column && old.as_str() == text)
    };
    let may_go = |row: &Row| {
        plan.placement.slots.iter().zip(&row.slots).all(|(slot, text)| {
            match read_slot(text.as_deref(), slot.json) {
                SlotText::Unrecognised => is_imported(&slot.column, text.as_deref().unwrap_or_default()),
                _ => true,
            }
        })
    };
    match found.rows.iter().all(may_go) {
        true => request.options.replace_foreign(),
        false => request.options,
    }
}

/// An import does not overwrite a plain column of a row that has no record: the value is the application's.
///
/// # Errors
/// `ForeignValue`, naming the column.
pub(super) fn keep_plain(
    request: StoreRequest<'_>,
    newest: Option<Newest>,
    (plan, new): (&Plan, &Record),
    found: &FoundRows,
) -> Result<()> {
    if request.import.is_none() || newest.is_some() {
        return Ok(());
    }
    for plain in &plan.placement.plain {
        let Some(new) = new.plain.text(plain.field) else { continue };
        let is_other = |held: &str| !["", plain.unset, new].contains(&held);
        if found.rows.iter().any(|row| row.plain.text(plain.field).is_some_and(is_other)) {
            let message = format!("column {} has another value, and no record vouches for it", plain.column);
            return Err(Error::new(ErrorKind::ForeignValue, message).with_column(&*plain.column));
        }
    }
    Ok(())
}

/// Judges the rows of an owner for a write. `sent` is what may have arrived already.
///
/// # Errors
/// `ForeignValue` for text that the vault did not write, unless `options` allow overwriting it; `Malformed` if a value is
/// too large to be read.
pub(super) fn judge(
    core: &Core,
    plan: &Plan,
    owner: &Owner,
    sent: Option<&Record>,
    found: &FoundRows,
    options: StoreOptions,
) -> Result<Verdict> {
    let found = FoundRecords::of(&found.rows, &plan.placement.slots, found.now);
    let overwritable = options.replace_foreign && found.unrecognised_json.is_none();
    if let Some(error) = found.unrecognised_error().filter(|_| !overwritable) {
        return Err(error);
    }
    let there = || found.records.iter().flat_map(|found| &found.record);
    if sent.is_some_and(|sent| there().any(|there| is_same_write(core, owner, there, sent))) {
        return Ok(Verdict::SameWrite);
    }
    // neither layout may use a column that both share
    let others = core.of_other_credentials(&found);
    let mut refused = others.filter(|_| !options.replace_unreadable);
    // only if its text can be kept
    let may_be_kept = |there: &FoundRecord| there.ahead && core.local.is_some();
    let (mut newest, mut reasons) = (None, Vec::new());
    for there in &found.records {
        match open(core, owner, there) {
            Ok(opened) => newest = newest.or(Some(opened)),
            Err(error) if may_be_kept(there) || (options.replace_unreadable && !found.json_is_too_long) => {
                reasons.push(error.to_string());
            }
            Err(error) => drop(refused.get_or_insert_with(|| refusal(error))),
        }
    }
    if let Some(error) = refused {
        return Ok(Verdict::Refuse { error, newest });
    }
    if !found.unrecognised.is_empty() {
        reasons.push("text that the vault did not write".to_owned());
    }
    let keep = (!reasons.is_empty()).then(|| reasons.join("; "));
    Ok(Verdict::Overwrite { newest, keep })
}

/// Opens a record that was found.
///
/// # Errors
/// The errors of opening it. `Malformed` for a record that opens and is more than a day in the future.
fn open(core: &Core, owner: &Owner, found: &FoundRecord) -> Result<Newest> {
    let opened = match &found.record {
        Ok(there) => core.verify(there, owner).map(|contents| (there.version, contents.is_tombstone())),
        Err(_) => Err(core.problem(found).unwrap_or_else(|| ErrorKind::Malformed.into())),
    };
    match opened {
        Ok(_) if found.ahead => {
            Err(Error::new(ErrorKind::Malformed, "its version is more than a day in the future"))
        }
        Ok((version, is_tombstone)) => Ok(Newest { version, is_tombstone }),
        Err(error) => Err(error),
    }
}

/// The error for a store over a record that does not open: `Unsealable`, unless another writer can read it.
fn refusal(error: Error) -> Error {
    use ErrorKind::{Incomplete, Malformed, Unsealable};
    if !matches!(error.kind(), Incomplete | Malformed | Unsealable) {
        return error;
    }
    let message = format!("the stored record does not open, so it was not overwritten: {error}");
    Error::new(Unsealable, message).with_details_of(&error).with_hint(
        "if it is another owner's, move the row back; if the owner has a new id, move the record with `move --from` (`Vault::rename_owner`); to give the record up, store again with replace_unreadable (`put --replace-unreadable`), which keeps its text",
    )
}

/// What the plain columns hold of the existing record. The rest belongs to the application.
pub(crate) fn vouched(core: &Core, plan: &Plan, owner: &Owner, rows: &[Row]) -> PlainTexts {
    let found = FoundRecords::of(rows, &plan.placement.slots, core.now());
    found.newest().and_then(|record| core.vouched(&record, owner)).unwrap_or_default()
}

/// Every row, with what its plain columns hold of its own record.
pub(crate) fn with_vouched<'r>(core: &Core, plan: &Plan, owner: &Owner, rows: &'r [Row]) -> Vec<OldRow<'r>> {
    let old_row = |row| {
        let found = FoundRecords::of(std::slice::from_ref(row), &plan.placement.slots, core.now());
        let record = found.newest().ok();
        let vouched = record.as_ref().and_then(|record| core.vouched(record, owner).ok());
        OldRow { row, version: record.map(|record| record.version), vouched: vouched.unwrap_or_default() }
    };
    rows.iter().map(old_row).collect()
}

/// The same tokens, or those of the same write after a rotation has re-encrypted them.
fn is_same_write(core: &Core, owner: &Owner, there: &Record, ours: &Record) -> bool {
    let is_same_plaintext = || match (core.open(there, owner), core.open(ours, owner)) {
        (Ok(there), Ok(ours)) => there.values == ours.values,
        _ => false,
    };
    there.version == ours.version && (there.is_same_write(ours) || is_same_plaintext())
}

/// Keeps the tokens of rows that are about to be overwritten, or lost against a newer record.
pub(super) async fn keep_tokens(
    core: &Core,
    owner: &Owner,
    kind: KeptKind,
    rows: &[Row],
    reason: &str,
) -> Result<()> {
    for text in rows.iter().flat_map(old_tokens) {
        keep(core, owner, kind, &text, reason).await?;
    }
    Ok(())
}

/// The tokens of a row, as the local file keeps them: one text for each version, so that a whole record can still be
/// opened, and one for each damaged or later token. The local file accepts nothing else.
fn old_tokens(row: &Row) -> Vec<String> {
    // the JSONB column's text is JSON, with its tokens in quotes
    let ours = row.slots.iter().flatten().filter(|text| claims_to_be_token(text) || text.starts_with('{'));
    let texts = ours.flat_map(|text| text.split([' ', '"']));
    let mut records: BTreeMap<(Version, KeyId), Vec<&str>> = BTreeMap::new();
    let mut others = Vec::new();
    for text in texts.filter(|text| claims_to_be_token(text) && text.len() <= MAX_SLOT) {
        match text.parse::<Token>() {
            Ok(token) => records.entry((token.version, token.key)).or_default().push(text),
            Err(_) => others.push(text.to_owned()),
        }
    }
    records.into_values().map(|tokens| tokens.join(" ")).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::statements::found_records::JsonState;
    use crate::retell::config::{API_KEY, CALL_AGENT_ID, SMS_AGENT_ID};

    #[test]
    fn old_tokens_of_one_version_stay_together_and_other_text_is_left_out() {
        let token = |version: &str, field| {
            let body = vec![7; crate::record::token::OVERHEAD + crate::record::padding::PADDING];
            Token { key: KeyId(1), version: version.parse().unwrap(), field, body }.to_string()
        };
        let (older, newer) = ("0000000000000001", "0000000000000002");
        let slots = vec![
            Some(format!("{} {}", token(newer, API_KEY), token(newer, CALL_AGENT_ID))),
            Some("hunter2 rv1.nonsense".to_owned()),
            None,
            Some(format!(
                r#"{{"sms_agent_id": "{}", "api_key": "{}"}}"#,
                token(newer, SMS_AGENT_ID),
                token(older, API_KEY)
            )),
        ];
        let row = Row { slots, json: JsonState::Usable, plain: PlainTexts::default() };
        let fields = [API_KEY, CALL_AGENT_ID, SMS_AGENT_ID];
        let whole = fields.map(|field| token(newer, field)).join(" ");
        assert_eq!(old_tokens(&row), [token(older, API_KEY), whole]);

        let slots = vec![Some("rv2.later rv1.torn".to_owned()), Some(r#"{"api_key": "rv3.x"}"#.to_owned())];
        let row = Row { slots, json: JsonState::Usable, plain: PlainTexts::default() };
        assert_eq!(old_tokens(&row), ["rv2.later", "rv1.torn", "rv3.x"]);
    }
}
