//! Keeps the note of this process in the database, and asks for those of others.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::store::core::Core;
use crate::store::reload::reload_keyring;

/// How often it is looked whether the generation has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest time between two notes.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// A note that cannot be removed in this time expires by itself.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Notes the generation now, and in the background for as long as the vault lives.
pub(crate) async fn note_in_background(core: &Arc<Core>) {
    if core.host.is_none() || !core.keyring.is_in_table() {
        return;
    }
    note(core).await;
    tokio::spawn(keep_noting(Arc::downgrade(core)));
}

async fn keep_noting(core: Weak<Core>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(core) = core.upgrade() else { return };
        if core.host.as_ref().is_none_or(|host| host.ended.load(Ordering::Acquire)) {
            return;
        }
        Box::pin(note(&core)).await;
    }
}

/// Writes the note if it is a minute old, or names another generation. A vault without calls loads a new generation then.
async fn note(core: &Core) {
    let (Some(host), Some(table)) = (&core.host, core.keyring.table()) else { return };
    let mut noted = host.noted.lock().await;
    if noted.is_none_or(|(_, at)| at.elapsed() >= NOTE_EVERY) {
        reload_keyring(core).await;
    }
    let generation = core.reloaded.generation.load(Ordering::Acquire);
    let is_due = noted.is_none_or(|(last, at)| last != generation || at.elapsed() >= NOTE_EVERY);
    if !is_due || host.ended.load(Ordering::Acquire) || core.breaker.is_open(Instant::now()) {
        return;
    }
    if let Err(error) = table.note_host(&host.name, generation).await {
        tracing::warn!(%error, "the generation of the keyring could not be noted in the database");
    }
    // also after an error: a role without the right to write is not asked every second
    *noted = Some((generation, Instant::now()));
}

/// Removes the note, when the vault is closed.
pub(crate) async fn end_note(core: &Core) {
    let Some(table) = core.keyring.table() else { return };
    if let Some(host) = &core.host
        && !host.ended.swap(true, Ordering::AcqRel)
    {
        let remove = async {
            let noted = host.noted.lock().await;
            if noted.is_some() {
                table.remove_host(&host.name).await.ok(); // it expires by itself
            }
        };
        tokio::time::timeout(LAST_WORD, remove).await.ok();
    }
}

/// The live processes other than this one that have not loaded a generation yet, each with the one that it has.
///
/// # Errors
/// Those of the database.
pub(crate) async fn hosts_before(core: &Core, generation: u64) -> Result<Vec<(String, u64)>> {
    let Some(table) = core.keyring.table() else { return Ok(Vec::new()) };
    let mut hosts = table.hosts_before(generation).await?;
    hosts.retain(|(name, _)| core.host.as_ref().is_none_or(|host| host.name != *name));
    Ok(hosts)
}
