//! The keys, and the tokens under them.

use std::collections::BTreeMap;

use crate::doctor::context::HostContext;
use crate::doctor::finding::{Area, Finding, Fix, Severity};
use crate::doctor::finding_ids;
use crate::doctor::rows::counts::{ExaminedRows, Occurrences, RecordProblem, RowCounts};
use crate::error::Result;
use crate::keyring::keys::KeyState;
use crate::local::entries::LocalPlace;
use crate::local::file::LocalFile;
use crate::record::token::KeyId;
use crate::store::core::Core;

/// Texts of the local file that are opened at a time.
const PAGE: u32 = 1000;
const DAY: u64 = 24 * 60 * 60 * 1000;
const LOST: &str = "find a copy of the keyring that holds the key; if there is none, restore these records from a \
                    backup, or store them again with `retell-vault put --replace-unreadable`";

/// The places from which a load may answer.
const IN_USE: [LocalPlace; 2] = [LocalPlace::Pending, LocalPlace::Replica];

/// How many tokens name a key, by place.
type Named = BTreeMap<KeyId, BTreeMap<String, u64>>;

/// The keyring and the local file.
///
/// # Errors
/// `LocalStore`.
pub(super) async fn look_at_host(host: &HostContext<'_>) -> Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = age(host).into_iter().collect();
    if let Some(local) = &host.core.local {
        findings.extend(of_local(host, local).await?);
    }
    Ok(findings)
}

/// A primary key that is too old.
fn age(host: &HostContext<'_>) -> Option<Finding> {
    let limit = u64::try_from(host.options.key_age.as_millis()).unwrap_or(u64::MAX);
    let keys = host.core.keyring.keys();
    let primary = keys.iter().find(|key| key.state == KeyState::Primary)?;
    let age = host.core.now().saturating_sub(primary.created_at);
    (age > limit).then(|| {
        Finding::new(
            finding_ids::OLD_KEY,
            Severity::Warning,
            format!("key {}", primary.id),
            format!("the primary key is {} days old, more than {}", age / DAY, limit / DAY),
            Fix::Command("retell-vault rotate --new-key".to_owned()),
        )
    })
}

async fn of_local(host: &HostContext<'_>, local: &LocalFile) -> Result<Vec<Finding>> {
    let (mut named, mut nameless) = (Named::new(), 0);
    for count in local.tokens_per_key().await? {
        // replaced records may be unreadable, which is why they were replaced
        let is_in_use = IN_USE.map(LocalPlace::name).contains(&count.place.as_str());
        match count.key {
            Some(key)
                if is_in_use || state(host.core, key).is_some_and(|state| state < KeyState::Destroyed) =>
            {
                *named.entry(key).or_default().entry(count.place).or_default() += count.tokens;
            }
            None if is_in_use => nameless += count.tokens,
            _ => {}
        }
    }
    note_counts(host, "the local file", &named, "");
    let mut findings = of_keys(host.core, "local file", &named, "");
    findings.extend((nameless > 0).then(|| damaged(nameless)));
    let tables = local.used_with().await?;
    if host.core.postgres.is_none() && !tables.is_empty() {
        findings.push(not_examined(&tables));
    }
    for place in IN_USE.into_iter().filter(|_| host.options.deep) {
        let object = format!("local file, {}", place.name());
        let counts = open_texts(host, local, place).await?;
        let problems = counts.problems.iter().filter(|(problem, _)| {
            matches!(problem, RecordProblem::Unreadable(_) | RecordProblem::Incomplete)
        });
        findings.extend(problems.map(|(problem, occurrences)| of_problem(&object, "", problem, occurrences)));
    }
    Ok(findings)
}

/// Opens the texts of one place in the local file.
async fn open_texts(host: &HostContext<'_>, local: &LocalFile, place: LocalPlace) -> Result<RowCounts> {
    let mut counts = RowCounts::default();
    let mut after = i64::MIN;
    loop {
        let texts = local.texts_after(place, after, PAGE).await?;
        let Some(last) = texts.last() else { return Ok(counts) };
        after = last.id;
        let keyring = host.core.keyring.current();
        texts.iter().for_each(|text| counts.take_local(&text.owner, &text.text, &keyring, &host.core.fields));
    }
}

/// A forgotten database option must not lead to the verdict `healthy`.
fn not_examined(tables: &[String]) -> Finding {
    Finding::new(
        finding_ids::NOT_EXAMINED.in_area(Area::Keys),
        Severity::Warning,
        "database",
        format!(
            "you named no database, but the local file was used with {}: nothing there was examined",
            tables.join(", ")
        ),
        Fix::Advice("name the database (`--database-url`)".to_owned()),
    )
}

fn damaged(pieces: u64) -> Finding {
    Finding::new(
        finding_ids::DAMAGED_LOCAL_RECORD,
        Severity::Critical,
        "local file",
        "the local file holds text that names no key instead of tokens: the file was altered or is damaged",
        Fix::Advice(
            "`retell-vault list` shows the owners whose records do not open; store these again, then run \
             `retell-vault forget`"
                .to_owned(),
        ),
    )
    .of(pieces, Vec::new())
}

/// The findings about the rows of the table.
pub(super) fn of_rows(rows: &ExaminedRows<'_>) -> Vec<Finding> {
    let mut named = Named::new();
    for ((at, key), tokens) in &rows.counts.tokens {
        let column = &rows.columns.watched[*at].column;
        named.entry(*key).or_default().insert(format!("column {column}"), *tokens);
    }
    let (host, table) = (rows.context.host, rows.context.postgres.table_name());
    note_counts(host, &table, &named, &rows.of_how_many());
    let object = format!("table {table}");
    let mut findings = of_keys(host.core, &object, &named, &rows.of_how_many());
    let problems = rows.counts.problems.iter();
    findings.extend(
        problems.map(|(problem, occurrences)| of_problem(&object, &rows.of_how_many(), problem, occurrences)),
    );
    findings
}

fn note_counts(host: &HostContext<'_>, place: &str, named: &Named, of_how_many: &str) {
    for (key, places) in named {
        let tokens: u64 = places.values().sum();
        let state = state(host.core, *key).map_or("unknown", KeyState::as_str);
        host.note(format!("{place}: {tokens} tokens under key {key}, {state}{of_how_many}"));
    }
}

/// Reads the keyring file again for an unknown key, because another process may have created it.
fn state(core: &Core, key: KeyId) -> Option<KeyState> {
    core.keyring.holding(key).get(key).map(|key| key.info.state)
}

fn of_keys(core: &Core, place: &str, named: &Named, of_how_many: &str) -> Vec<Finding> {
    let states: Vec<_> = named.keys().map(|key| (*key, state(core, *key))).collect();
    if !states.is_empty() && states.iter().all(|(_, state)| state.is_none()) {
        return vec![wrong_keyring(place, named, of_how_many)];
    }
    let of_key = |(key, state)| of_key(key, state, place, named.get(&key)?, of_how_many);
    states.into_iter().filter_map(of_key).collect()
}

fn wrong_keyring(place: &str, named: &Named, of_how_many: &str) -> Finding {
    let keys: Vec<_> = named.keys().map(KeyId::to_string).collect();
    let meaning = format!(
        "every token found{of_how_many} is under a key that this keyring does not hold ({}): none of them opens",
        keys.join(", ")
    );
    let advice = "use the service's keyring, or the right table: the vault stores nothing with this keyring; run \
                  `retell-vault keyring adopt` to continue with this one only if the service's keyring is lost \
                  for good";
    let tokens = named.values().flat_map(BTreeMap::values).sum();
    Finding::new(
        finding_ids::WRONG_KEYRING,
        Severity::Critical,
        place,
        meaning,
        Fix::Advice(advice.to_owned()),
    )
    .of(tokens, Vec::new())
}

fn of_key(
    key: KeyId,
    state: Option<KeyState>,
    place: &str,
    places: &BTreeMap<String, u64>,
    of_how_many: &str,
) -> Option<Finding> {
    let (severity, id, what, mend) = match state {
        None => (
            Severity::Critical,
            finding_ids::UNKNOWN_KEY,
            "under a key that the keyring does not hold, so they do not open",
            Fix::Advice(LOST.to_owned()),
        ),
        Some(KeyState::Destroyed) => (
            Severity::Critical,
            finding_ids::DESTROYED_KEY,
            "under a key that was destroyed, so they do not open",
            Fix::Advice(LOST.to_owned()),
        ),
        Some(KeyState::Retired) => (
            Severity::Warning,
            finding_ids::RETIRED_KEY,
            "under a retired key, which you cannot destroy until they are re-encrypted",
            Fix::Command("retell-vault rotate".to_owned()),
        ),
        Some(KeyState::Pending) => (
            Severity::Critical,
            finding_ids::OLDER_KEYRING,
            "under a key that is pending here and primary on another host, so this keyring is not the newest",
            Fix::Advice("copy the newest keyring to this host before you change any keys here".to_owned()),
        ),
        Some(KeyState::Primary) => return None,
    };
    let listed: Vec<_> = places.iter().map(|(place, tokens)| format!("{tokens} in {place}")).collect();
    let meaning = format!("tokens{of_how_many} are {what} ({})", listed.join(", "));
    let finding = Finding::new(id, severity, format!("{place}, key {key}"), meaning, mend);
    Some(finding.of(places.values().sum(), Vec::new()))
}

fn of_problem(place: &str, of_how_many: &str, problem: &RecordProblem, occurrences: &Occurrences) -> Finding {
    let again = "restore the rows from a backup, or store these configurations again with `retell-vault put \
                 --replace-unreadable`";
    let (severity, id, what, mend) = match problem {
        RecordProblem::Mixed => (
            Severity::Critical,
            finding_ids::MIXED_RECORD,
            "rows hold tokens of several versions or keys, or a field twice: other code wrote part of a record, \
             and the record does not load"
                .to_owned(),
            again,
        ),
        RecordProblem::Incomplete => (
            Severity::Critical,
            finding_ids::INCOMPLETE_RECORD,
            "records lack their record token or a field: other code removed it, and the records do not load"
                .to_owned(),
            again,
        ),
        RecordProblem::Leftover => (
            Severity::Warning,
            finding_ids::LEFTOVER_TOKENS,
            "rows hold tokens of an older version beside the record: an older program stored the record and did \
             not know their column, or other code restored an old token"
                .to_owned(),
            "check every record with `retell-vault doctor --deep`; if they load, the next store clears the \
             leftover tokens",
        ),
        RecordProblem::Ahead => (
            Severity::Warning,
            finding_ids::VERSION_AHEAD,
            "records have versions more than 24 hours ahead of the server's clock: a clock was wrong, or the \
             versions are forged; such a version overrides no other record"
                .to_owned(),
            "set the clocks of all hosts, then store these configurations again with `retell-vault put`",
        ),
        RecordProblem::LaterFormat => (
            Severity::Critical,
            finding_ids::LATER_FORMAT,
            "a later version of this program wrote these records".to_owned(),
            "upgrade retell-vault on this host",
        ),
        RecordProblem::Unreadable(reason) => (
            Severity::Critical,
            finding_ids::UNREADABLE_RECORD,
            format!("records do not open: {reason}"),
            again,
        ),
    };
    let finding =
        Finding::new(id, severity, place, format!("{what}{of_how_many}"), Fix::Advice(mend.to_owned()));
    finding.of(occurrences.count, occurrences.owners.clone())
}
