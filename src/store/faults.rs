//! Faults of a vault in memory: what its database is made to do, for tests of code that uses a vault.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::record::owner::Owner;

/// What the database of a vault [in memory](crate::Vault::in_memory) does while a test has it switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Every call fails with this kind of error, and nothing is written. [`Conflict`](ErrorKind::Conflict) and
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) are errors of a write: loads go on then. A `modify` fails at once, where a
    /// real vault tries again for some seconds.
    ///
    /// `Error(ErrorKind::Unavailable)` is an outage for a vault without a local file, or with
    /// [`Fallback::Refuse`](crate::sync::Fallback::Refuse).
    Error(ErrorKind),
    /// The database cannot be reached, and there is a local file. A store and a delete are kept there, and `degraded` says why. A
    /// load answers with what was stored since the outage began, marked stale, and is [`Unavailable`](ErrorKind::Unavailable) for
    /// everybody else. Changes that expect a version are `Unavailable`.
    Outage,
    /// As [`Outage`](Self::Outage) with [`offline_reads`](crate::VaultBuilder::offline_reads): a load answers with the copy in the
    /// local file, marked stale.
    OutageWithOfflineReads,
    /// A write is carried out and its answer is lost: [`OutcomeUnknown`](ErrorKind::OutcomeUnknown). Loads go on.
    LostAnswer,
}

/// Switches faults on and off in one vault [in memory](crate::Vault::in_memory), also while it is in use. Clones share their
/// state. There is no way to get one for any other vault.
#[derive(Clone, Default)]
pub struct Faults {
    state: Arc<Mutex<FaultState>>,
}

#[derive(Default)]
struct FaultState {
    of_all: Option<Fault>,
    of_owners: HashMap<Owner, Fault>,
    /// Whose record was stored in an outage, so that it lies in the local file and nowhere else.
    kept: HashSet<Owner>,
}

/// What a caller wants of the database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Load,
    /// A store or a delete, which may fall back to the local file.
    Store,
    /// A store that expects a version.
    Change,
}

/// Where a call goes that does not fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Database,
    LocalFile,
    /// To the database, and the answer does not come back.
    LostAnswer,
}

impl Faults {
    /// Switches a fault on for every owner, in place of the one before. Owners with a fault of their own keep that.
    pub fn switch_on(&self, fault: Fault) {
        self.state().of_all = Some(fault);
    }

    /// Switches a fault on for one owner, in place of the one before: for example a record that does not open. A store that
    /// may [replace what is unreadable](crate::records::StoreOptions::replace_unreadable) replaces such a record and ends the fault.
    pub fn switch_on_for(&self, owner: &Owner, fault: Fault) {
        self.state().of_owners.insert(owner.clone(), fault);
    }

    /// Switches everything off. What was kept in an outage is in the database then, as after a sync.
    pub fn clear(&self) {
        *self.state() = FaultState::default();
    }

    /// Where a call of this owner goes.
    ///
    /// # Errors
    /// The fault that is switched on.
    pub(crate) fn way(&self, call: Call, owner: &Owner) -> Result<Way> {
        let mut state = self.state();
        let fault = state.of_owners.get(owner).copied().or(state.of_all);
        match (fault, call) {
            (Some(Fault::Error(kind)), _) if call != Call::Load || !is_of_writes(kind) => {
                Err(Error::new(kind, SWITCHED_ON))
            }
            (Some(Fault::LostAnswer), Call::Store | Call::Change) => Ok(Way::LostAnswer),
            (None | Some(Fault::Error(_) | Fault::LostAnswer), _) => Ok(Way::Database),
            (Some(_), Call::Change) => Err(unreachable()),
            (Some(Fault::Outage), Call::Load) if !state.kept.contains(owner) => Err(unreachable()),
            (Some(Fault::Outage | Fault::OutageWithOfflineReads), Call::Load) => Ok(Way::LocalFile),
            (Some(Fault::Outage | Fault::OutageWithOfflineReads), Call::Store) => {
                state.kept.insert(owner.clone());
                Ok(Way::LocalFile)
            }
        }
    }

    /// A store may replace the record of this owner: a fault of its own ends if that mends it. Says what was replaced.
    pub(crate) fn replace(&self, owner: &Owner, mends: impl Fn(ErrorKind) -> bool) -> Vec<String> {
        let mut state = self.state();
        match state.of_owners.get(owner) {
            Some(Fault::Error(kind)) if mends(*kind) => {
                state.of_owners.remove(owner);
                vec![SWITCHED_ON.to_owned()]
            }
            _ => Vec::new(),
        }
    }

    /// The fault of a call that asks for all owners.
    ///
    /// # Errors
    /// The fault that is switched on for all.
    pub(crate) fn check_list(&self) -> Result<()> {
        match self.state().of_all {
            Some(Fault::Error(kind)) if !is_of_writes(kind) => Err(Error::new(kind, SWITCHED_ON)),
            Some(Fault::Outage | Fault::OutageWithOfflineReads) => Err(unreachable()),
            None | Some(Fault::Error(_) | Fault::LostAnswer) => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, FaultState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Faults").field("of_all", &state.of_all).field("of_owners", &state.of_owners).finish()
    }
}

const SWITCHED_ON: &str = "a test switched this fault on";

/// The same as a real vault says, and why.
pub(crate) fn unreachable() -> Error {
    Error::new(ErrorKind::Unavailable, "the database cannot be reached (a test switched this fault on)")
}

pub(crate) fn lost_answer() -> Error {
    Error::new(ErrorKind::OutcomeUnknown, SWITCHED_ON)
}

fn is_of_writes(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Conflict | ErrorKind::OutcomeUnknown)
}
