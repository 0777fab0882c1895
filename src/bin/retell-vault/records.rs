//! `put`, `get`, `move`, `delete`, `forget` and `sync`: the records of owners.

use retell_vault::Owner;
use retell_vault::config::Field;
use retell_vault::layout::Place;
use retell_vault::records::{Degraded, LoadOptions, Loaded, Stored, Version};
use retell_vault::sync::{Forgotten, SyncReport};
use serde_json::{Map, Value, json};
use zeroize::{Zeroize, Zeroizing};

use crate::args::global::Global;
use crate::args::records::{DeleteArgs, GetArgs, MoveArgs, OwnerArgs, PutArgs, SyncArgs};
use crate::failure::Failure;
use crate::{input, layout_file, print, session};

/// Stores a configuration.
pub async fn put(global: &Global, put: &PutArgs) -> Result<(), Failure> {
    let (owner, fallback) = (put.owner.owner()?, put.fallback(global)?);
    session::require_keyring(global).await?;
    let config = input::config(put.file.as_deref())?;
    let vault = session::vault_for_write(global, fallback).await?;
    let stored = vault.store_with(&owner, &config, put.options()).await?;
    warn_of_stored(&stored);
    match global.json {
        true => print::json(&stored_json(&stored)),
        false => print::out(&stored_text(global, &owner, &stored)),
    }
}

/// Shows a configuration, masked unless its secrets are asked for.
pub async fn get(global: &Global, get: &GetArgs) -> Result<(), Failure> {
    let owner = get.owner.owner()?;
    let vault = match get.reveal {
        true => {
            require_reason(global)?;
            session::vault_for_reveal(global).await?
        }
        false => session::vault(global).await?,
    };
    let options = if get.fresh { LoadOptions::new().fresh() } else { LoadOptions::new() };
    let loaded = vault.load_with(&owner, options).await?;
    warn_of_loaded(&loaded);
    let config = match get.reveal {
        true => loaded.config.to_json_exposed(),
        false => Zeroizing::new(loaded.config.to_json_masked()),
    };
    match global.json {
        true => print::json_text(&config_json(&config, &loaded)),
        false => print::out(&config_text(&config, &loaded)),
    }
}

/// Fails before anything is opened.
fn require_reason(global: &Global) -> Result<(), Failure> {
    let has_reason = global.reason.as_deref().is_some_and(|reason| !reason.trim().is_empty());
    match !has_reason && layout_file::layout(global)?.is_reason_needed() {
        true => Err(Failure::usage(
            "showing a secret needs a reason, as the layout file says",
            "give it with --reason, for example a ticket: the ledger keeps it",
        )),
        false => Ok(()),
    }
}

/// Moves a configuration to another id of its owner.
pub async fn rename(global: &Global, args: &MoveArgs) -> Result<(), Failure> {
    let (from, to) = args.owners()?;
    if global.database_url().is_none() {
        return Err(Failure::usage(
            "moving a record needs a database",
            "name it with DATABASE_URL or --database-url",
        ));
    }
    let stored = session::vault(global).await?.rename_owner(&from, &to).await?;
    warn_of_stored(&stored);
    match global.json {
        true => print::json(&stored_json(&stored)),
        false => {
            print::line(&format!("moved {from} to {to}"))?;
            print::out(&stored_text(global, &to, &stored))
        }
    }
}

/// Deletes a configuration.
pub async fn delete(global: &Global, delete: &DeleteArgs) -> Result<(), Failure> {
    let (owner, fallback) = (delete.owner.owner()?, delete.fallback(global)?);
    let vault = session::vault_for_write(global, fallback).await?;
    let stored = vault.delete(&owner).await?;
    warn_of_stored(&stored);
    match global.json {
        true => print::json(&json!({
            "deleted": true,
            "degraded": stored.degraded.is_some(),
            "cause": stored.degraded.as_ref().map(Degraded::as_str),
            "reason": stored.degraded.as_ref().map(Degraded::to_string),
            "version": stored.version.to_string(),
            "rows": stored.rows,
        })),
        false => print::line(&format!("deleted {owner}")),
    }
}

/// Erases what the local file holds of an owner.
pub async fn forget(global: &Global, owner: &OwnerArgs) -> Result<(), Failure> {
    let owner = owner.owner()?;
    let forgotten = session::vault(global).await?.forget(&owner).await?;
    let Forgotten { pending, replicas, kept, .. } = forgotten;
    match global.json {
        true => print::json(&json!(forgotten)),
        false => print::line(&format!(
            "erased {owner} from the local file: {pending} pending, {replicas} copies, {kept} kept aside"
        )),
    }
}

/// Pushes pending records to the database.
pub async fn sync(global: &Global, sync: &SyncArgs) -> Result<(), Failure> {
    let owner = sync.owner()?;
    if global.database_url().is_none() {
        return Err(Failure::usage(
            "synchronising needs a database",
            "name it with DATABASE_URL or --database-url",
        ));
    }
    let vault = session::vault(global).await?;
    let retried = match sync.retry_dead_letters {
        true => Some(vault.retry_dead_letters(owner.as_ref()).await?),
        false => None,
    };
    let report = vault.sync().await?;
    match global.json {
        true => {
            let mut json = report_json(&report);
            if let Some(retried) = retried {
                json["retried"] = retried.into();
            }
            print::json(&json)?
        }
        false => print::out(&report_text(&report, retried))?,
    }
    for (owner, reason) in &report.blocked {
        print::warning(&format!("{owner} stays pending: {reason}"));
    }
    judge(report)
}

/// A record that is not in the database after a sync is a failure.
fn judge(report: SyncReport) -> Result<(), Failure> {
    let again = "nothing is lost; fix the problems named above, then run `retell-vault sync` again";
    match report {
        SyncReport { stopped: Some(reason), .. } => {
            Err(Failure::new(format!("the rest stays pending: {reason}"), again))
        }
        SyncReport { dead_letters: 1.., .. } => Err(Failure::new(
            "some records became dead letters",
            "`retell-vault status` shows why; fix the cause and run `retell-vault sync --retry-dead-letters`, or store the records again and run `retell-vault forget` for their owners",
        )),
        SyncReport { blocked, .. } if !blocked.is_empty() => {
            Err(Failure::new("some records stay pending", again))
        }
        _ => Ok(()),
    }
}

/// Warnings about a durable write.
pub fn warn_of_stored(stored: &Stored) {
    for reason in &stored.replaced {
        print::warning(&format!("overwritten: {reason}"));
        print::hint(
            "`retell-vault status` lists the old values that were kept: sealed values are kept, plain text is not",
        );
    }
    if stored.rows > 1 {
        print::hint(&format!("this owner has {} rows; all of them were written", stored.rows));
    }
    if let Some(reason) = &stored.degraded {
        print::warning(&format!("kept in the local file only: {reason}"));
        print::hint("run `retell-vault sync` when the database is available again");
    }
}

/// The same answer for every command that stores.
pub fn stored_json(stored: &Stored) -> Value {
    json!({
        "stored": places_json(&stored.places),
        "degraded": stored.degraded.is_some(),
        "cause": stored.degraded.as_ref().map(Degraded::as_str),
        "reason": stored.degraded.as_ref().map(Degraded::to_string),
        "version": stored.version.to_string(),
        "rows": stored.rows,
    })
}

/// Field name -> `{"place", "column"}`.
pub fn places_json(places: &[(Field, Place)]) -> Value {
    let entry = |(field, place): &(Field, Place)| {
        (field.name().to_owned(), json!({ "place": place.kind(), "column": place.column() }))
    };
    Value::Object(places.iter().map(entry).collect::<Map<_, _>>())
}

fn stored_text(global: &Global, owner: &Owner, stored: &Stored) -> String {
    let rows: Vec<_> = stored.places.iter().map(|place| place_row(global, place)).collect();
    print::indented(0, &format!("stored {owner}, version {}", stored.version)) + &print::table(&rows)
}

/// A field, its place, and the column or the file that this is.
pub fn place_row(global: &Global, (field, place): &(Field, Place)) -> [String; 3] {
    let name = place.column().map_or_else(|| global.local_file().display().to_string(), str::to_owned);
    [field.name().to_owned(), place.kind().to_owned(), name]
}

/// The result of a sync as JSON.
pub fn report_json(report: &SyncReport) -> Value {
    let blocked = report.blocked.iter().map(|(owner, reason)| {
        let tenant = owner.tenant_id().map(|tenant| tenant.as_str());
        json!({ "user": owner.user_id().as_str(), "tenant": tenant, "kind": reason.kind().as_str(), "reason": reason.to_string() })
    });
    json!({
        "pushed": report.pushed,
        "lost": report.lost,
        "overwritten": report.overwritten,
        "dead_letters": report.dead_letters,
        "blocked": blocked.collect::<Vec<_>>(),
        "stopped": report.stopped.as_ref().map(ToString::to_string),
    })
}

fn report_text(report: &SyncReport, retried: Option<u64>) -> String {
    let retried = retried.map(|count| ("retried", count, "dead letters made pending again"));
    let rows = [
        ("pushed", report.pushed, "records pushed to the database"),
        ("lost", report.lost, "records older than those in the database, kept aside"),
        ("overwritten", report.overwritten, "records in the database that newer ones replaced, kept aside"),
        ("dead letters", report.dead_letters, "records that are no longer pushed, kept aside"),
        ("blocked", report.blocked.len() as u64, "records that stay pending"),
    ];
    let row =
        |(what, count, meaning): (&str, u64, &str)| [what.to_owned(), count.to_string(), meaning.to_owned()];
    print::table(&retried.into_iter().chain(rows).map(row).collect::<Vec<_>>())
}

fn warn_of_loaded(loaded: &Loaded) {
    match loaded.seen {
        Some(seen) => print::warning(&format!("the database returned a record older than version {seen}")),
        None if loaded.stale => print::warning("the database is unreachable and may hold a newer record"),
        None => {}
    }
    for field in &loaded.ignored {
        print::warning(&format!("{field} is omitted: its column holds an invalid value"));
    }
    for field in loaded.changed_outside.iter().filter(|field| !loaded.ignored.contains(field)) {
        print::warning(&format!("{field} differs from the stored value: another program changed its column"));
    }
    for field in &loaded.unknown {
        print::warning(&format!("{field} is omitted: a newer version of this program stored it"));
    }
}

/// Put together as text, since a JSON value would hold secrets that nobody wipes.
fn config_json(config: &str, loaded: &Loaded) -> Zeroizing<String> {
    let (source, version, stale) = (loaded.source.as_str(), loaded.version, loaded.stale);
    let names = |fields: &[Field]| json!(fields.iter().map(Field::name).collect::<Vec<_>>());
    let (ignored, unknown) = (names(&loaded.ignored), names(&loaded.unknown));
    let changed = names(&loaded.changed_outside);
    let seen = seen_member(loaded.seen);
    let imported = if loaded.imported { ",\"imported\":true" } else { "" };
    let rest = format!(
        ",\"source\":\"{source}\",\"version\":\"{version}\",\"stale\":{stale}{seen},\
         \"ignored\":{ignored},\"changed_outside\":{changed},\"unknown\":{unknown}{imported}}}\n"
    );
    joined(&["{\"config\":", config, &rest])
}

/// The newer version that this process has seen, which is a member only where there is one.
fn seen_member(seen: Option<Version>) -> String {
    seen.map_or_else(String::new, |seen| format!(",\"seen\":\"{seen}\""))
}

/// A version, and the time in it.
fn version_row(name: &str, version: Version) -> [String; 2] {
    [name.to_owned(), format!("{version}, {}", print::utc(version.millis()))]
}

fn config_text(config: &str, loaded: &Loaded) -> Zeroizing<String> {
    let mut config: Value = serde_json::from_str(config).expect("the library prints JSON");
    let mut rows = Vec::new();
    push_rows(&mut config, "", &mut rows);
    rows.push(version_row("version", loaded.version));
    rows.extend(loaded.seen.map(|seen| version_row("seen", seen)));
    rows.push(["source".to_owned(), loaded.source.as_str().to_owned()]);
    let text = Zeroizing::new(print::table(&rows));
    rows.iter_mut().flatten().for_each(Zeroize::zeroize);
    text
}

/// A row for every text in it, named as its field. What has no text of its own is a list of events.
fn push_rows(config: &mut Value, group: &str, rows: &mut Vec<[String; 2]>) {
    let Value::Object(fields) = config else { return };
    for (name, value) in fields.iter_mut() {
        match value {
            Value::String(text) => rows.push([row_name(group, name), std::mem::take(text)]),
            Value::Array(events) if !events.is_empty() => {
                let events: Vec<_> = events.iter().filter_map(Value::as_str).collect();
                rows.push([row_name(group, name), events.join(", ")]);
            }
            other => push_rows(other, name, rows),
        }
    }
}

fn row_name(group: &str, name: &str) -> String {
    match (group, name) {
        ("agents", role) => format!("{role}_agent_id"),
        (_, "events") => "webhook_events".to_owned(),
        _ => name.to_owned(),
    }
}

/// In one buffer of the right size, so that nothing is copied and left behind.
fn joined(parts: &[&str]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| text.push_str(part));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_that_was_seen_is_a_member_and_a_row_of_its_own() {
        let version: Version = "01a217e67f43119d".parse().unwrap();
        assert_eq!(seen_member(None), "");
        assert_eq!(seen_member(Some(version)), ",\"seen\":\"01a217e67f43119d\"");
        assert_eq!(version_row("seen", version), ["seen", "01a217e67f43119d, 2026-11-26 12:48:31Z"]);
    }
}
