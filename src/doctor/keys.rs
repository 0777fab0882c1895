//! The keys, and what is sealed under them.

use std::collections::BTreeMap;

use crate::doctor::finding::{Area, Finding, Mend, Severity};
use crate::doctor::rows::Seen;
use crate::doctor::rows::tally::{Sighting, Trouble};
use crate::doctor::{Host, deep};
use crate::error::Result;
use crate::keyring::keys::KeyState;
use crate::local::file::LocalFile;
use crate::local::walk::LocalPlace;
use crate::record::token::KeyId;
use crate::store::core::Core;

const DAY: u64 = 24 * 60 * 60 * 1000;
const LOST: &str = "find a copy of the keyring that holds it; where there is none, restore these records from a \
                    backup, or store them again with `retell-vault put --replace-unreadable`";

/// What a load may answer with.
const IN_USE: [LocalPlace; 2] = [LocalPlace::Pending, LocalPlace::Replica];

/// How many tokens name a key, by place.
type Named = BTreeMap<KeyId, BTreeMap<String, u64>>;

/// The keyring and the local file.
///
/// # Errors
/// `LocalStore`.
pub(super) async fn look_at_host(host: &Host<'_>) -> Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = age(host).into_iter().collect();
    if let Some(local) = &host.router.local {
        findings.extend(of_local(host, local).await?);
    }
    Ok(findings)
}

/// A primary key that has sealed for too long.
fn age(host: &Host<'_>) -> Option<Finding> {
    let limit = u64::try_from(host.options.key_age.as_millis()).unwrap_or(u64::MAX);
    let keys = host.router.keyring.keys();
    let primary = keys.iter().find(|key| key.state == KeyState::Primary)?;
    let age = host.router.now().saturating_sub(primary.created_at);
    (age > limit).then(|| {
        Finding::new(
            (Area::Keys, Severity::Warning, "old_key"),
            format!("key {}", primary.id),
            format!("the primary key is {} days old, more than {}", age / DAY, limit / DAY),
            Mend::Command("retell-vault rotate --new-key".to_owned()),
        )
    })
}

async fn of_local(host: &Host<'_>, local: &LocalFile) -> Result<Vec<Finding>> {
    let (mut named, mut nameless) = (Named::new(), 0);
    for count in local.tokens_per_key().await? {
        // what was kept aside may be unreadable: that is why it was replaced
        let is_in_use = IN_USE.map(LocalPlace::name).contains(&count.place.as_str());
        match count.key {
            Some(key)
                if is_in_use || state(host.router, key).is_some_and(|state| state < KeyState::Destroyed) =>
            {
                *named.entry(key).or_default().entry(count.place).or_default() += count.tokens;
            }
            None if is_in_use => nameless += count.tokens,
            _ => {}
        }
    }
    note_counts(host, "the local file", &named, "");
    let mut findings = of_keys(host.router, "local file", &named, "");
    findings.extend((nameless > 0).then(|| damaged(nameless)));
    let tables = local.used_with().await?;
    if host.router.postgres.is_none() && !tables.is_empty() {
        findings.push(not_examined(&tables));
    }
    for place in IN_USE.into_iter().filter(|_| host.options.deep) {
        let object = format!("local file, {}", place.name());
        let tally = deep::texts(host, local, place).await?;
        let troubles = tally.troubles.iter().filter(|(trouble, _)| matches!(trouble, Trouble::Unreadable(_)));
        findings.extend(troubles.map(|(trouble, sighting)| of_trouble(&object, "", trouble, sighting)));
    }
    Ok(findings)
}

/// Whoever forgets to name the database must not be told that all is well.
fn not_examined(tables: &[String]) -> Finding {
    Finding::new(
        (Area::Keys, Severity::Warning, "not_examined"),
        "database",
        format!(
            "no database is named, but the local file was used with {}: nothing there was looked at",
            tables.join(", ")
        ),
        Mend::Advice("name the database (`--database-url`)".to_owned()),
    )
}

fn damaged(pieces: u64) -> Finding {
    Finding::new(
        (Area::Keys, Severity::Critical, "damaged_local_record"),
        "local file",
        "text that names no key stands in place of tokens: the local file was altered, or is damaged",
        Mend::Advice(
            "`retell-vault list` says whose records do not open; store them again, then `retell-vault forget`"
                .to_owned(),
        ),
    )
    .of(pieces, Vec::new())
}

/// What was seen in the rows of the table.
pub(super) fn of_rows(seen: &Seen<'_>) -> Vec<Finding> {
    let mut named = Named::new();
    for ((at, key), tokens) in &seen.tally.tokens {
        let column = &seen.columns.watched[*at].column;
        named.entry(*key).or_default().insert(format!("column {column}"), *tokens);
    }
    let (host, table) = (seen.patient.host, seen.patient.postgres.table_name());
    note_counts(host, &table, &named, &seen.of_how_many());
    let object = format!("table {table}");
    let mut findings = of_keys(host.router, &object, &named, &seen.of_how_many());
    let troubles = seen.tally.troubles.iter();
    findings.extend(
        troubles.map(|(trouble, sighting)| of_trouble(&object, &seen.of_how_many(), trouble, sighting)),
    );
    findings
}

fn note_counts(host: &Host<'_>, place: &str, named: &Named, of_how_many: &str) {
    for (key, places) in named {
        let tokens: u64 = places.values().sum();
        let state = state(host.router, *key).map_or("unknown", KeyState::as_str);
        host.note(format!("{place}: {tokens} tokens under key {key}, {state}{of_how_many}"));
    }
}

/// The keyring file is read again for a key that is not known, since another process may have made it.
fn state(router: &Core, key: KeyId) -> Option<KeyState> {
    router.keyring.holding(key).get(key).map(|key| key.info.state)
}

fn of_keys(router: &Core, place: &str, named: &Named, of_how_many: &str) -> Vec<Finding> {
    let states: Vec<_> = named.keys().map(|key| (*key, state(router, *key))).collect();
    if !states.is_empty() && states.iter().all(|(_, state)| state.is_none()) {
        return vec![wrong_keyring(place, named, of_how_many)];
    }
    let of_key = |(key, state)| of_key(key, state, place, named.get(&key)?, of_how_many);
    states.into_iter().filter_map(of_key).collect()
}

fn wrong_keyring(place: &str, named: &Named, of_how_many: &str) -> Finding {
    let keys: Vec<_> = named.keys().map(KeyId::to_string).collect();
    let meaning = format!(
        "every token that was seen{of_how_many} is under a key that this keyring does not hold ({}): nothing here opens",
        keys.join(", ")
    );
    let advice = "use the keyring that the service uses, or the right table; store nothing with this one";
    let tokens = named.values().flat_map(BTreeMap::values).sum();
    Finding::new(
        (Area::Keys, Severity::Critical, "wrong_keyring"),
        place,
        meaning,
        Mend::Advice(advice.to_owned()),
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
            "unknown_key",
            "under a key that the keyring does not hold: they do not open",
            Mend::Advice(LOST.to_owned()),
        ),
        Some(KeyState::Destroyed) => (
            Severity::Critical,
            "destroyed_key",
            "under a key that was destroyed: they do not open",
            Mend::Advice(LOST.to_owned()),
        ),
        Some(KeyState::Retired) => (
            Severity::Warning,
            "retired_key",
            "under a retired key, which cannot be destroyed before they are sealed anew",
            Mend::Command("retell-vault rotate".to_owned()),
        ),
        Some(KeyState::Pending) => (
            Severity::Critical,
            "older_keyring",
            "under a key that is pending here and seals elsewhere: this keyring is not the newest",
            Mend::Advice("copy the newest keyring to this host, and change no keys here before".to_owned()),
        ),
        Some(KeyState::Primary) => return None,
    };
    let listed: Vec<_> = places.iter().map(|(place, tokens)| format!("{tokens} in {place}")).collect();
    let meaning = format!("tokens{of_how_many} are {what} ({})", listed.join(", "));
    let finding = Finding::new((Area::Keys, severity, id), format!("{place}, key {key}"), meaning, mend);
    Some(finding.of(places.values().sum(), Vec::new()))
}

fn of_trouble(place: &str, of_how_many: &str, trouble: &Trouble, sighting: &Sighting) -> Finding {
    let again = "restore the rows from a backup, or store these configurations again: `retell-vault put`";
    let (severity, id, what, mend) = match trouble {
        Trouble::Mixed => (
            Severity::Critical,
            "mixed_record",
            "rows hold tokens of several versions or keys, or a field twice: other code wrote part of a record, and it \
             does not load"
                .to_owned(),
            again,
        ),
        Trouble::Incomplete => (
            Severity::Critical,
            "incomplete_record",
            "records lack a secret field: other code removed it, and they do not load".to_owned(),
            again,
        ),
        Trouble::Ahead => (
            Severity::Warning,
            "version_ahead",
            "records have versions more than 24 hours ahead of the server's clock: a clock was wrong, or they are \
             forged; they win against nothing"
                .to_owned(),
            "set the clocks of all hosts, then store these configurations again: `retell-vault put`",
        ),
        Trouble::LaterFormat => (
            Severity::Critical,
            "later_format",
            "records have a format that a later version of this program wrote".to_owned(),
            "upgrade retell-vault on this host",
        ),
        Trouble::Unreadable(reason) => (
            Severity::Critical,
            "unreadable_record",
            format!("records do not open: {reason}"),
            again,
        ),
    };
    let finding = Finding::new(
        (Area::Keys, severity, id),
        place,
        format!("{what}{of_how_many}"),
        Mend::Advice(mend.to_owned()),
    );
    finding.of(sighting.count, sighting.owners.clone())
}
