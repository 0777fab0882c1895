//! Entries about changes of the local file. They wait in the file, and a synchronisation sends them.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::chain::entry::{Event, SealedEntry, operation};
use crate::chain::line::entry;
use crate::chain::local_event::LocalEvent;
use crate::chain::numbers::KnownHead;
use crate::crypto::random;
use crate::error::Result;
use crate::local::entries::{KeptKind, UnsentEntry};
use crate::local::file::LocalFile;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::plan::Postgres;
use crate::postgres::vault_schema::ledger::add_entries_once;
use crate::record::owner::Owner;
use crate::record::version::Version;
use crate::store::core::Core;
use crate::store::ledger::{require_ledger, text};
use crate::store::ledger_copies::put_copies;
use crate::store::ledger_work::repeated;

/// What became of a record, as entries name it.
const WAITS: &str = "waits";
const SUPERSEDED: &str = "superseded";
const DEAD_LETTER: &str = "dead_letter";
/// How many entries are sent at once.
const PART: u32 = 250;

impl Core {
    /// A record of this version begins to wait.
    pub(super) fn begins_to_wait(
        &self,
        operation: &'static str,
        owner: &Owner,
        before: Option<Version>,
        version: Version,
    ) -> Result<Option<LocalEvent>> {
        let event = Event { before: before.map(text), ..self.event(operation, owner) };
        self.local_event(event, Some(WAITS), Some(version))
    }

    /// A record of this version does not wait any more, and the database did not take it.
    pub(super) fn ends_waiting(
        &self,
        owner: &Owner,
        kind: KeptKind,
        version: Version,
    ) -> Result<Option<LocalEvent>> {
        let outcome = if kind == KeptKind::DeadLetter { DEAD_LETTER } else { SUPERSEDED };
        self.local_event(self.event(operation::SYNC, owner), Some(outcome), Some(version))
    }

    /// All records that wait become dead letters.
    pub(super) fn all_are_dead_letters(&self) -> Result<Option<LocalEvent>> {
        self.local_event(self.event_of_place(operation::SYNC), Some(DEAD_LETTER), None)
    }

    /// The record of the owner that waits is dropped.
    pub(crate) fn is_forgotten(&self, owner: &Owner) -> Result<Option<LocalEvent>> {
        self.local_event(self.event(operation::FORGET, owner), None, None)
    }

    /// Dead letters wait again: those of one owner, or all.
    pub(crate) fn waits_again(&self, owner: Option<&Owner>) -> Result<Option<LocalEvent>> {
        let place = || self.event_of_place(operation::RETRY);
        let event = owner.map_or_else(place, |owner| self.event(operation::RETRY, owner));
        self.local_event(event, Some(WAITS), None)
    }

    /// `None` without a ledger, and without a database that could have one.
    fn local_event(
        &self,
        event: Event,
        outcome: Option<&str>,
        version: Option<Version>,
    ) -> Result<Option<LocalEvent>> {
        let (Some(key), Some(_)) = (self.ledger_key(), &self.postgres) else { return Ok(None) };
        let event = Event { outcome: outcome.map(str::to_owned), ..event };
        let version = version.map(|version| ("version".to_owned(), Value::from(text(version))));
        let (writer, detail) = (Uuid::from_bytes(random::system_bytes()?), Map::from_iter(version));
        Ok(LocalEvent::new(key, writer, self.now_ms(), event, detail))
    }
}

/// Sends the entries that wait, in their order. One that was sent before stays as it is, so a process that is killed in between
/// leaves nothing to be decided.
///
/// # Errors
/// Why the rest waits on.
pub(super) async fn send_unsent(
    core: &Core,
    postgres: &Postgres,
    local: &LocalFile,
) -> Result<(), DatabaseError> {
    loop {
        let part = local.unsent(PART).await?;
        let Some(last) = part.last().map(|entry| entry.id) else { return Ok(()) };
        let sealed: Vec<SealedEntry> = part.iter().filter_map(sealed).collect();
        let all: Vec<&SealedEntry> = sealed.iter().collect();
        repeated(core, postgres, || async {
            require_ledger(core, postgres).await?;
            add_entries_once(&postgres.database, &all).await
        })
        .await?;
        keep_copies(core, &part).await?;
        local.remove_unsent(last).await?;
    }
}

/// A line that cannot be read is not sent. Its number will be missing, as it should be if somebody changed the file.
fn sealed(unsent: &UnsentEntry) -> Option<SealedEntry> {
    let sealed = entry(&unsent.line).and_then(|stored| stored.sealed());
    if sealed.is_none() {
        tracing::warn!("an entry of the ledger that waits in the local file cannot be read");
    }
    sealed
}

async fn keep_copies(core: &Core, part: &[UnsentEntry]) -> Result<()> {
    let kept: Vec<_> = part.iter().filter(|unsent| unsent.keeps_copy).filter_map(sealed).collect();
    let heads: Vec<_> = part.iter().filter_map(|unsent| unsent.head.clone()).collect();
    put_copies(core, &kept, &last_of_each(heads)).await
}

/// The entries of a writer are beside each other.
fn last_of_each(mut heads: Vec<KnownHead>) -> Vec<KnownHead> {
    heads.reverse();
    heads.dedup_by_key(|head| head.writer);
    heads
}
