//! Begins the ledger: adds its key to the keyring, then an entry for every record that is there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::chain::entry::{Event, operation};
use crate::error::Result;
use crate::keyring::subkeys::Subkey;
use crate::ledger::owners::{ComparedOwner, Owners};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::write::WrittenMany;
use crate::postgres::walk::ledger::NotedState;
use crate::rotation::index::earlier_writers_ended;
use crate::store::core::{Core, keeps_changing};
use crate::store::hosts::hosts_before;
use crate::store::ledger::{begun, check_ledger, require_ledger, state_of};
use crate::store::ledger_writers::Noted;

/// How long another process may go on without a key that was added: it looks at the keyring once a second.
const RELOADED: Duration = Duration::from_millis(2500);
/// How many entries one statement adds.
const BATCH: usize = 500;
/// Passes over all owners. Only other writers that know nothing of the ledger make a third one necessary.
const PASSES: u32 = 5;

/// The result of [`Vault::begin_ledger`](crate::Vault::begin_ledger).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LedgerBegun {
    /// Whether this call added the key. False: the ledger was begun before.
    pub key_added: bool,
    /// How many records got an entry.
    pub noted: u64,
    /// How many owners have tokens that do not open. They have no entry.
    pub unreadable: u64,
    /// Running processes that have not loaded the key yet: what they write until then has no entry. Unknown, and empty, if the
    /// keyring is in a file.
    pub hosts_behind: Vec<String>,
}

pub(crate) async fn begin_ledger(core: &Arc<Core>) -> Result<LedgerBegun> {
    let Some(postgres) = &core.postgres else { return begun(core).map(|_| LedgerBegun::default()) };
    // the table comes first: once there is a key, nothing is written without an entry
    check_ledger(core, postgres).await.map_err(|fault| fault.error)?;
    let key_added = core.keyring.add_ledger_key().await?;
    if key_added {
        tokio::time::sleep(RELOADED).await;
        earlier_writers_ended(postgres).await?;
    }
    let mut result = LedgerBegun { key_added, ..LedgerBegun::default() };
    for _ in 0..PASSES {
        let (noted, missed) = pass(core, &mut result).await.map_err(|fault| fault.error)?;
        result.noted += noted;
        if missed == 0 {
            let behind = hosts_before(core, core.keyring.current().generation).await?;
            result.hosts_behind = behind.into_iter().map(|(host, _)| host).collect();
            return Ok(result);
        }
    }
    Err(keeps_changing())
}

/// One pass over all owners. Returns how many entries were added, and how many owners changed meanwhile.
async fn pass(core: &Arc<Core>, result: &mut LedgerBegun) -> Result<(u64, u64), DatabaseError> {
    let (postgres, place) = begun(core)?;
    require_ledger(core, postgres).await?;
    let plan = postgres.refresh().await?;
    let mut reading = postgres.read_ledger(&plan, &place).await?;
    let mut owners = Owners::new(core, &plan, VecDeque::new());
    let mut notes = Notes::new(core, postgres, &plan, operation::BASELINE);
    result.unreadable = 0;
    while let Some(compared) = owners.next(&mut reading).await? {
        match (&compared.known, &compared.held) {
            (Some(_), _) => {}
            (None, Some(_)) => notes.add(compared).await?,
            (None, None) => result.unreadable += 1,
        }
    }
    let done = notes.end().await?;
    reading.end().await?;
    Ok(done)
}

/// Records that get an entry, many with one statement.
pub(super) struct Notes<'a> {
    core: &'a Core,
    postgres: &'a Postgres,
    plan: &'a Plan,
    operation: &'static str,
    batch: Vec<ComparedOwner>,
    noted: u64,
    missed: u64,
}

impl<'a> Notes<'a> {
    pub(super) fn new(
        core: &'a Core,
        postgres: &'a Postgres,
        plan: &'a Plan,
        operation: &'static str,
    ) -> Self {
        Self { core, postgres, plan, operation, batch: Vec::new(), noted: 0, missed: 0 }
    }

    pub(super) async fn add(&mut self, owner: ComparedOwner) -> Result<(), DatabaseError> {
        self.batch.push(owner);
        if self.batch.len() < BATCH { Ok(()) } else { self.write().await }
    }

    async fn write(&mut self) -> Result<(), DatabaseError> {
        let batch = std::mem::take(&mut self.batch);
        let count = batch.len() as u64;
        let done = note(self.core, self.postgres, self.plan, self.operation, batch).await?;
        self.noted += done;
        self.missed += count - done;
        Ok(())
    }

    /// How many entries were added, and how many owners changed meanwhile.
    pub(super) async fn end(mut self) -> Result<(u64, u64), DatabaseError> {
        if !self.batch.is_empty() {
            self.write().await?;
        }
        Ok((self.noted, self.missed))
    }
}

/// Adds an entry for each record that is still there. Returns for how many.
async fn note(
    core: &Core,
    postgres: &Postgres,
    plan: &Plan,
    operation: &'static str,
    owners: Vec<ComparedOwner>,
) -> Result<u64, DatabaseError> {
    let Some(key) = core.ledger_key() else { return Ok(0) };
    let (mut states, mut drawn) = (Vec::new(), Vec::new());
    for compared in owners {
        let Some(event) = event(core, &key, operation, &compared) else { continue };
        let (noted, held) = (core.draw(&key, event)?, compared.held.expect("it has an event"));
        let entry = noted.entry().expect("there is a key").clone();
        states.push(NotedState { owner: compared.owner, head: held.head, entry });
        drawn.push(noted);
    }
    let done = postgres.note_states(plan, &states).await;
    let done = done.map(|written| WrittenMany { written, is_cut: false });
    match Noted::settle_each(drawn, done) {
        Ok(written) => Ok(written.iter().filter(|is_written| **is_written).count() as u64),
        Err(fault) if fault.outcome == Outcome::Retry => Ok(0),
        Err(fault) => Err(fault),
    }
}

fn event(core: &Core, key: &Subkey, operation: &'static str, compared: &ComparedOwner) -> Option<Event> {
    let held = compared.held.as_ref()?;
    let event = core.event(operation, &compared.owner);
    Some(state_of(key, &compared.owner, held.head.version, &held.contents, event))
}
