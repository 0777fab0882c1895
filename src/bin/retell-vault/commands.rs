//! The commands that change something.

use retell_vault::{ErrorKind, Field, Owner, Place, Stored, SyncReport};
use serde_json::{Map, Value, json};

use crate::args::{Delete, Global, OwnerArgs, Put};
use crate::failure::Failure;
use crate::{input, print, session};

/// Makes the keyring, unless there is one or its rival's traces are found.
pub async fn init(global: &Global) -> Result<(), Failure> {
    let keyring = session::new_keyring(global)?;
    let (path, key) = (keyring.path().display().to_string(), keyring.keys()[0].id.to_string());
    session::builder(global, keyring)?.init().await.map_err(|error| match error.kind() {
        ErrorKind::Unavailable => Failure::new(
            error.to_string(),
            "init asks the database first whether another keyring is in use there: start it, or name none",
        ),
        _ => error.into(),
    })?;
    if global.json {
        return print::json(&json!({ "keyring": path, "key": key }));
    }
    print::hint("back it up, and what opens it, in different places: stored values open with nothing else");
    print::out(&format!("made {path} with key {key}\n"))
}

/// Stores a configuration.
pub async fn put(global: &Global, put: &Put) -> Result<(), Failure> {
    let (owner, fallback) = (put.owner.owner()?, put.fallback(global)?);
    session::require_keyring(global)?;
    let config = input::read(put.file.as_deref())?;
    let vault = session::vault_for_write(global, fallback).await?;
    let stored = vault.store_with(&owner, &config, put.options()).await?;
    warn_of(&stored);
    match global.json {
        true => print::json(&stored_json(&stored)),
        false => print::out(&stored_text(global, &owner, &stored)),
    }
}

/// Deletes a configuration.
pub async fn delete(global: &Global, delete: &Delete) -> Result<(), Failure> {
    let (owner, fallback) = (delete.owner.owner()?, delete.fallback(global)?);
    let vault = session::vault_for_write(global, fallback).await?;
    let stored = vault.delete(&owner).await?;
    warn_of(&stored);
    match global.json {
        true => print::json(&json!({
            "deleted": true,
            "degraded": stored.degraded.is_some(),
            "reason": stored.degraded,
            "version": stored.version.to_string(),
        })),
        false => print::out(&format!("deleted {owner}\n")),
    }
}

/// Erases what the local file holds of an owner.
pub async fn forget(global: &Global, owner: &OwnerArgs) -> Result<(), Failure> {
    let owner = owner.owner()?;
    let forgotten = session::vault(global).await?.forget(&owner).await?;
    let (pending, replicas, kept) = (forgotten.pending, forgotten.replicas, forgotten.kept);
    match global.json {
        true => print::json(&json!({ "pending": pending, "replicas": replicas, "kept": kept })),
        false => print::out(&format!(
            "erased of {owner} in the local file: {pending} pending, {replicas} copies, {kept} kept aside\n"
        )),
    }
}

/// Sends what waits in the local file to the database.
pub async fn sync(global: &Global) -> Result<(), Failure> {
    if global.database_url().is_none() {
        return Err(Failure::usage(
            "there is no database to synchronise with",
            "name it with DATABASE_URL or --database-url",
        ));
    }
    let report = session::vault(global).await?.sync().await?;
    match global.json {
        true => print::json(&report_json(&report))?,
        false => print::out(&report_text(&report))?,
    }
    for (owner, reason) in &report.blocked {
        print::warning(&format!("{owner} stays pending: {reason}"));
    }
    judge(report)
}

/// What is not in the database after a synchronisation is a failure.
fn judge(report: SyncReport) -> Result<(), Failure> {
    let again = "nothing is lost; mend what is named, then run `retell-vault sync` again";
    match report {
        SyncReport { stopped: Some(reason), .. } => {
            Err(Failure::new(format!("the rest stays pending: {reason}"), again))
        }
        SyncReport { dead_letters: 1.., .. } => Err(Failure::new(
            "the database will never take some records",
            "`retell-vault status` shows why; store what is still wanted again, then `retell-vault forget` the owner",
        )),
        SyncReport { blocked, .. } if !blocked.is_empty() => {
            Err(Failure::new("some records stay pending", again))
        }
        _ => Ok(()),
    }
}

/// What a writer has to know although the write is durable.
fn warn_of(stored: &Stored) {
    for reason in &stored.replaced {
        print::warning(&format!("overwritten: {reason}"));
        print::hint("`retell-vault status` lists what was kept of it: sealed values are, plain text is not");
    }
    if let Some(reason) = &stored.degraded {
        print::warning(&format!("kept in the local file only: {reason}"));
        print::hint("run `retell-vault sync` when the database can take it");
    }
}

fn stored_json(stored: &Stored) -> Value {
    json!({
        "stored": places_json(&stored.places),
        "degraded": stored.degraded.is_some(),
        "reason": stored.degraded,
        "version": stored.version.to_string(),
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
    format!("stored {owner}, version {}\n{}", stored.version, print::table(&rows))
}

/// A field, its place, and the column or the file that this is.
pub fn place_row(global: &Global, (field, place): &(Field, Place)) -> [String; 3] {
    let name = place.column().map_or_else(|| global.local_file().display().to_string(), str::to_owned);
    [field.name().to_owned(), place.kind().to_owned(), name]
}

/// What became of the records that waited.
pub fn report_json(report: &SyncReport) -> Value {
    let blocked = report.blocked.iter().map(|(owner, reason)| {
        let tenant = owner.tenant_id().map(|tenant| tenant.as_str());
        json!({ "user": owner.user_id().as_str(), "tenant": tenant, "reason": reason })
    });
    json!({
        "pushed": report.pushed,
        "lost": report.lost,
        "overwritten": report.overwritten,
        "dead_letters": report.dead_letters,
        "blocked": blocked.collect::<Vec<_>>(),
        "stopped": report.stopped,
    })
}

fn report_text(report: &SyncReport) -> String {
    let rows = [
        ("pushed", report.pushed, "records that the database has now"),
        ("lost", report.lost, "records older than those of the database, kept aside"),
        ("overwritten", report.overwritten, "records of the database that newer ones replaced, kept aside"),
        ("dead letters", report.dead_letters, "records that the database will never take"),
        ("blocked", report.blocked.len() as u64, "records that stay pending"),
    ];
    print::table(&rows.map(|(what, count, meaning)| [what.to_owned(), count.to_string(), meaning.to_owned()]))
}
