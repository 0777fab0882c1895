//! A write changed no row: what the rows that are there mean for it. Store and sync decide alike.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::local::file::KeptKind;
use crate::postgres::statements::plan::Plan;
use crate::postgres::statements::read::FoundRows;
use crate::record::owner::Owner;
use crate::record::plain::PlainTexts;
use crate::record::record::{FoundRecord, FoundRecords, Record, Row};
use crate::record::token::{KeyId, MAX_SLOT, Token, claims_to_be_token};
use crate::record::version::Version;
use crate::store::core::{Core, StoreOptions};
use crate::store::fallback::keep;

/// What stands in the way of a write.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// Nothing: the same write is there already, and its answer was lost.
    SameWrite,
    /// A record that opens, and is as new or newer: its version.
    Newer(Version),
    /// Text that may be overwritten, once it is kept: why it is no record that wins. The version of the newest
    /// record that opens beside it, if there is one.
    Overwritable { reason: String, newer: Option<Version> },
    /// A record that may be a newer writer's and does not open here. The version of the newest record that opens
    /// beside it, if there is one.
    Refused { error: Error, newer: Option<Version> },
    /// Nothing that can be seen.
    Unexplained,
}

/// Says why a write of `record` did not change the rows that were found.
///
/// # Errors
/// `ForeignValue` for text that the vault did not write, unless `options` allow to overwrite it.
pub(super) fn obstacle(
    core: &Core,
    plan: &Plan,
    owner: &Owner,
    record: &Record,
    found: &FoundRows,
    options: StoreOptions,
) -> Result<Obstacle> {
    let found = FoundRecords::of(&found.rows, &plan.placement.slots, found.now);
    let overwritable = options.replace_foreign && !found.json_is_unrecognised;
    if let Some(error) = found.unrecognised_error().filter(|_| !overwritable) {
        return Err(error);
    }
    if found
        .records
        .iter()
        .flat_map(|found| &found.record)
        .any(|there| is_same_write(core, owner, there, record))
    {
        return Ok(Obstacle::SameWrite);
    }
    // columns that two layouts share are no place for either
    let others = core.of_other_credentials(&found);
    let mut refused = others.filter(|_| !options.replace_unreadable);
    let (mut newer, mut unreadable) = (None, Vec::new());
    for there in &found.records {
        match judge(core, owner, there, record.version, options) {
            Ok(Judgement::Opens(version)) => newer = newer.max(Some(version)),
            Ok(Judgement::Broken(reason)) => unreadable.push(reason),
            Ok(Judgement::Older) => {}
            Err(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    if let Some(error) = refused {
        return Ok(Obstacle::Refused { error, newer });
    }
    Ok(match (newer, unreadable.as_slice(), found.unrecognised.as_slice()) {
        (Some(version), [], []) => Obstacle::Newer(version),
        (None, [], []) => Obstacle::Unexplained,
        (newer, [], _) => {
            Obstacle::Overwritable { reason: "text that the vault did not write".to_owned(), newer }
        }
        (newer, reasons, _) => Obstacle::Overwritable { reason: reasons.join("; "), newer },
    })
}

/// What the plain columns hold of the record that is there. The rest is the application's.
pub(crate) fn vouched(core: &Core, plan: &Plan, owner: &Owner, rows: &[Row]) -> PlainTexts {
    let found = FoundRecords::of(rows, &plan.placement.slots, core.now());
    found.newest().and_then(|record| core.vouched(&record, owner)).unwrap_or_default()
}

/// Every row, with what its plain columns hold of its own record.
pub(crate) fn with_vouched<'r>(
    core: &Core,
    plan: &Plan,
    owner: &Owner,
    rows: &'r [Row],
) -> Vec<(&'r Row, PlainTexts)> {
    rows.iter().map(|row| (row, vouched(core, plan, owner, std::slice::from_ref(row)))).collect()
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

enum Judgement {
    /// It is newer or equal, and opens.
    Opens(Version),
    /// It never wins: the reason.
    Broken(String),
    Older,
}

/// What a found record means for a write of `version`.
///
/// # Errors
/// Of a record that may be a newer writer's: a key or a format that this process does not know; and of one of other
/// credentials.
fn judge(
    core: &Core,
    owner: &Owner,
    found: &FoundRecord,
    version: Version,
    options: StoreOptions,
) -> Result<Judgement> {
    let opened = match &found.record {
        Ok(there) => core.is_tombstone(there, owner),
        Err(_) => Err(core.problem(found).unwrap_or_else(|| ErrorKind::Malformed.into())),
    };
    if opened.is_ok() && found.version.is_some_and(|there| there < version) {
        return Ok(Judgement::Older);
    }
    let error = match (opened, found.version) {
        (Ok(_), Some(version)) if !found.ahead => return Ok(Judgement::Opens(version)),
        (Ok(_), _) => return Ok(Judgement::Broken("its version is more than a day ahead".to_owned())),
        (Err(error), _) => error,
    };
    // a version from the future is nobody's
    let others = matches!(
        error.kind(),
        ErrorKind::UnknownKey | ErrorKind::UnsupportedFormat | ErrorKind::Configuration
    );
    let newer_writer = others && !found.ahead;
    match newer_writer && !options.replace_unreadable {
        true => Err(error),
        false => Ok(Judgement::Broken(error.to_string())),
    }
}

/// The tokens of a row, as the local file keeps them: one text for every version, so that a whole
/// record stays one that can be opened, and one for every damaged or later token. The local file
/// never takes anything else.
fn old_tokens(row: &Row) -> Vec<String> {
    // of the JSONB column the text is JSON, with its tokens in quotes
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
        let row = Row { slots, json_is_unrecognised: false, plain: PlainTexts::default() };
        let fields = [API_KEY, CALL_AGENT_ID, SMS_AGENT_ID];
        let whole = fields.map(|field| token(newer, field)).join(" ");
        assert_eq!(old_tokens(&row), [token(older, API_KEY), whole]);

        let slots = vec![Some("rv2.later rv1.torn".to_owned()), Some(r#"{"api_key": "rv3.x"}"#.to_owned())];
        let row = Row { slots, json_is_unrecognised: false, plain: PlainTexts::default() };
        assert_eq!(old_tokens(&row), ["rv2.later", "rv1.torn", "rv3.x"]);
    }
}
