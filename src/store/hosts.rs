//! Keeps the note of this process in the database, and asks for those of others.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::error::Result;
use crate::store::core::Core;
use crate::store::host_note::HostNote;
use crate::store::reload::reload_keyring;

/// How often it is looked whether the generation has changed.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest time between two notes.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// A note that cannot be removed in this time expires by itself.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Notes the generation now, and in the background for as long as the vault lives.
pub(crate) async fn note_in_background(core: &Arc<Core>) {
    if let Some(host) = host_of(core) {
        note_or_warn(core).await;
        let weak = Arc::downgrade(core);
        let start = move |runtime: &Handle| weak.upgrade().iter().for_each(|core| start_own(core, runtime));
        host.start.get_or_init(|| Box::new(start));
        start_own(core, &Handle::current());
    }
}

/// The note of this process, if there is a table for it.
fn host_of(core: &Core) -> Option<&HostNote> {
    core.host.as_ref().filter(|_| core.keyring.is_in_table())
}

fn start_own(core: &Arc<Core>, runtime: &Handle) {
    let Some(host) = host_of(core) else { return };
    let mut writers = host.writers.lock().unwrap_or_else(PoisonError::into_inner);
    let has_none = writers.own.is_none() || writers.own_has_ended();
    if writers.others == 0 && has_none && !core.is_closed() {
        writers.own = Some(runtime.spawn(keep_noting(Arc::downgrade(core))).abort_handle());
    }
}

async fn keep_noting(core: Weak<Core>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(core) = core.upgrade().filter(|core| !core.is_closed()) else { return };
        Box::pin(note_or_warn(&core)).await;
    }
}

/// Held by a task that notes the host in place of the vault's own task, which goes on afterwards: a process without a note
/// would not keep its key from being destroyed.
pub(crate) struct NotingForVault {
    core: Weak<Core>,
    runtime: Handle,
}

impl NotingForVault {
    pub(crate) fn start(core: &Arc<Core>, runtime: Handle) -> Self {
        if let Some(host) = host_of(core) {
            let mut writers = host.writers.lock().unwrap_or_else(PoisonError::into_inner);
            writers.others += 1;
            writers.own.take().inspect(|own| own.abort());
        }
        Self { core: Arc::downgrade(core), runtime }
    }
}

impl Drop for NotingForVault {
    fn drop(&mut self) {
        let Some(core) = self.core.upgrade() else { return };
        if let Some(host) = host_of(&core) {
            host.writers.lock().unwrap_or_else(PoisonError::into_inner).others -= 1;
        }
        start_own(&core, &self.runtime);
    }
}

async fn note_or_warn(core: &Core) {
    if let Err(error) = note(core).await {
        tracing::warn!(%error, "the generation of the keyring could not be noted in the database");
    }
}

/// Writes the note if it is a minute old, or names another generation. A vault without calls loads a new generation then.
/// Returns the generation if it was written.
///
/// # Errors
/// Those of the database.
pub(crate) async fn note(core: &Core) -> Result<Option<u64>> {
    let (Some(host), Some(table)) = (&core.host, core.keyring.table()) else { return Ok(None) };
    let mut noted = host.noted.lock().await;
    if noted.is_none_or(|(_, at)| at.elapsed() >= NOTE_EVERY) {
        reload_keyring(core).await;
    }
    let generation = core.reloaded.generation.load(Ordering::Acquire);
    let is_due = noted.is_none_or(|(last, at)| last != generation || at.elapsed() >= NOTE_EVERY);
    if !is_due || core.is_closed() || core.breaker.is_open(Instant::now()) {
        return Ok(None);
    }
    let written = table.note_host(&host.name, generation).await;
    // also after an error: a role without the right to write is not asked every second
    *noted = Some((generation, Instant::now()));
    written.map(|()| Some(generation))
}

/// Removes the note, when the vault is closed.
pub(crate) async fn end_note(core: &Core) {
    let (Some(host), Some(table)) = (host_of(core), core.keyring.table()) else { return };
    let remove = async {
        let noted = host.noted.lock().await;
        if noted.is_some() {
            table.remove_host(&host.name).await.ok(); // it expires by itself
        }
    };
    tokio::time::timeout(LAST_WORD, remove).await.ok();
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
