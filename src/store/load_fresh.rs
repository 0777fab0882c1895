//! A load that is compared with the ledger. The ledger is asked first: a record that is older than its answer went back.

use std::time::Instant;

use crate::chain::entry::{StoredEntry, digest};
use crate::chain::owner_check::{Difference, HeldState, KnownState, difference};
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::subkeys::Subkey;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::Postgres;
use crate::postgres::vault_schema::ledger::{newest_entries, problem_of_newest};
use crate::postgres::vault_schema::newest::MOST;
use crate::record::owner::Owner;
use crate::record::version::Version;
use crate::store::core::{Core, LoadedRecord, ROUNDS};
use crate::store::ledger::begun;
use crate::store::load::load;

/// What the ledger says of an owner.
#[derive(Default)]
struct LastStates {
    /// The last states, the newest first, each with the key of its epoch.
    states: Vec<(KnownState, Subkey)>,
    /// Whether a removed row was noted after the newest.
    was_removed: bool,
}

/// The newest record of an owner, if it is the one that the ledger names last. One that waits in the local file has no entry
/// yet, and is newer.
///
/// # Errors
/// `LedgerBroken` if the rows hold anything else, or this process has seen a newer record; `LedgerUnavailable` if the ledger
/// cannot be asked; `Unavailable` if the database cannot; those of a load.
pub(crate) async fn load_fresh(core: &Core, owner: &Owner) -> Result<LoadedRecord> {
    let (postgres, place) = begun(core)?;
    postgres.check_owner(owner)?;
    let seen = core.seen_version(owner);
    let mut known = ask(core, postgres, &place, owner).await?;
    for _ in 0..ROUNDS {
        let read = load(core, owner).await;
        let problem = match compared(core, owner, &known, &read)? {
            // one that cannot be read has an error of its own
            None | Some(Difference::Removed | Difference::Unreadable) => {
                return not_older(read, &known, seen);
            }
            Some(Difference::WentBack) => "the row holds an older one",
            Some(Difference::Vanished) => "there is none, and nothing says that it was removed",
            Some(Difference::Appeared) => "the ledger does not know it",
        };
        // it may have been written, or removed, after the ledger was asked
        let later = ask(core, postgres, &place, owner).await?;
        let is_later =
            |read: &LoadedRecord| Some(read.version) > known.version() && later.names(core, owner, read);
        if read.as_ref().is_ok_and(is_later) {
            return not_older(read, &known, seen);
        }
        if (later.version(), later.was_removed) == (known.version(), known.was_removed) {
            return Err(broken(problem));
        }
        known = later;
    }
    Err(Error::new(ErrorKind::Busy, "the record is written all the time"))
}

impl LastStates {
    fn version(&self) -> Option<Version> {
        self.states.first().map(|(state, _)| state.after)
    }

    /// Whether one of the states is that of a record.
    fn names(&self, core: &Core, owner: &Owner, read: &LoadedRecord) -> bool {
        let mut states = self.states.iter().filter(|(state, _)| state.after == read.version);
        states.any(|(state, key)| held_digest(core, owner, key, read).is_ok_and(|held| held == state.digest))
    }
}

/// Asks the ledger for the last state of an owner. Entries that no vault wrote do not count, and must not hide those that do.
async fn ask(core: &Core, postgres: &Postgres, place: &str, owner: &Owner) -> Result<LastStates> {
    let entries = entries(core, postgres, place, owner).await?;
    let keyring = core.keyring.current();
    let (subkeys, count) = (&keyring.subkeys, entries.len());
    let mut known = LastStates::default();
    let authentic: Vec<_> = entries.iter().filter(|(stored, _)| stored.is_authentic(subkeys)).collect();
    known.was_removed = !authentic.is_empty() && authentic.iter().all(|(_, was_removed)| *was_removed);
    // entries after the last noted removal go before all others, as in a verification
    let that_count = authentic.iter().filter(|(_, was_removed)| *was_removed == known.was_removed);
    known.states.extend(that_count.filter_map(|(stored, _)| {
        let key = stored.key(subkeys)?;
        Some((KnownState::of(key, owner, stored)?, key.clone()))
    }));
    match count == MOST && known.states.is_empty() {
        false => Ok(known),
        true => {
            let problem =
                format!("no vault wrote the {count} entries that claim the newest states of this owner");
            Err(Error::new(ErrorKind::LedgerBroken, problem))
        }
    }
}

async fn entries(
    core: &Core,
    postgres: &Postgres,
    place: &str,
    owner: &Owner,
) -> Result<Vec<(StoredEntry, bool)>> {
    if let Some(error) = core.breaker.blocks(Instant::now()) {
        return Err(error);
    }
    let mut answer = entries_once(core, postgres, place, owner).await;
    // an old connection may be dead while the server is fine
    if answer.as_ref().is_err_and(|fault| may_pass(fault.outcome)) {
        answer = entries_once(core, postgres, place, owner).await;
    }
    match answer {
        Ok(entries) => {
            core.breaker.success();
            Ok(entries)
        }
        Err(fault) => {
            core.note(&fault).await;
            Err(explained(core, fault))
        }
    }
}

fn may_pass(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Fallback | Outcome::Retry | Outcome::Pooler)
}

async fn entries_once(
    core: &Core,
    postgres: &Postgres,
    place: &str,
    owner: &Owner,
) -> Result<Vec<(StoredEntry, bool)>, DatabaseError> {
    if !core.ledger.newest.is_recent() {
        if let Some(problem) = problem_of_newest(&postgres.database).await? {
            return Err(cannot_be_asked(&problem).into());
        }
        core.ledger.newest.note(true);
    }
    newest_entries(&postgres.database, place, owner).await
}

/// A function that was dropped or replaced is looked at again by the next call. A refused log-in is no fault of the ledger.
fn explained(core: &Core, fault: DatabaseError) -> Error {
    if !fault.was_connected || !matches!(fault.outcome, Outcome::Redetect | Outcome::Reject) {
        return fault.error;
    }
    core.ledger.newest.note(false);
    cannot_be_asked(&fault.error.to_string())
}

fn cannot_be_asked(problem: &str) -> Error {
    Error::new(ErrorKind::LedgerUnavailable, format!("the ledger cannot be asked: {problem}"))
        .with_hint("`retell-vault doctor` has the statements that make the function and grant it")
}

/// How the rows differ from the last state. What waits in the local file is that state, or later and without an entry yet.
fn compared(
    core: &Core,
    owner: &Owner,
    known: &LastStates,
    read: &Result<LoadedRecord>,
) -> Result<Option<Difference>> {
    let held = match read {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(_) => Some(HeldState::Unreadable),
        Ok(LoadedRecord { local: true, stale: true, .. }) => {
            return Err(Error::new(ErrorKind::Unavailable, "the database did not answer with the record"));
        }
        Ok(LoadedRecord { local: true, version, .. }) if Some(*version) >= known.version() => {
            return Ok(None);
        }
        Ok(read) => {
            let digest = match known.states.first() {
                Some((_, key)) => held_digest(core, owner, key, read)?,
                None => Vec::new(),
            };
            Some(HeldState::Record { version: read.version, digest })
        }
    };
    let state = known.states.first().map(|(state, _)| state);
    let difference = difference(state, held.as_ref(), true);
    let is_explained = difference == Some(Difference::Vanished) && known.was_removed;
    Ok(if is_explained { Some(Difference::Removed) } else { difference })
}

/// The digest of a record that the database returned.
fn held_digest(core: &Core, owner: &Owner, key: &Subkey, read: &LoadedRecord) -> Result<Vec<u8>> {
    let Some(record) = &read.record else { return Ok(Vec::new()) };
    Ok(digest(key, owner, record.version, &core.contents(record, owner)?).to_vec())
}

/// What a restored database brought back is older than what this process has seen, even if the ledger was restored too.
fn not_older(read: Result<LoadedRecord>, known: &LastStates, seen: Option<Version>) -> Result<LoadedRecord> {
    let held = read.as_ref().map(|read| read.version).ok();
    match seen.filter(|seen| Some(*seen) > held.max(known.version())) {
        Some(seen) => Err(broken(&format!("this process has seen version {seen}, which is newer"))),
        None => read,
    }
}

fn broken(difference: &str) -> Error {
    Error::new(
        ErrorKind::LedgerBroken,
        format!("the record is not the one that the ledger names last: {difference}"),
    )
}
