//! Copies of the ledger that lie outside of the database: heads and entries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::chain::acceptance::Acceptance;
use crate::chain::checkpoint::Checkpoint;
use crate::chain::entry::{Hash, StoredEntry};
use crate::chain::line::{Line, parse};
use crate::chain::numbers::KnownHead;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::subkeys::Subkeys;
use crate::ledger::note::signed_text;
use crate::ledger::owners::order_of;
use crate::store::core::Core;

/// Copies that [`Vault::verify_ledger`](crate::Vault::verify_ledger) compares the ledger with. It adds those of the vault's own
/// local file.
#[derive(Clone, Default)]
pub struct LedgerCopies {
    pub(super) heads: Vec<KnownHead>,
    pub(super) entries: Vec<StoredEntry>,
    pub(super) last: Option<LastCheckpoint>,
}

/// The newest checkpoint that was added, and the newest head of each writer in it and those before.
#[derive(Clone, Default)]
pub(super) struct LastCheckpoint {
    pub(super) number: u64,
    pub(super) hash: Hash,
    pub(super) heads: BTreeMap<Uuid, KnownHead>,
}

impl LedgerCopies {
    /// None besides those of the local file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds lines: those of a segment, of a head, or of an export.
    ///
    /// # Errors
    /// `InvalidInput`, which names the first line that is none of them. Nothing was added.
    pub fn add_lines(&mut self, text: &str) -> Result<()> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let parsed: Result<Vec<Line>> =
            lines.map(|(at, line)| parse(line).ok_or_else(|| no_line(at + 1))).collect();
        for line in parsed? {
            match line {
                Line::Entry(entry) => self.entries.push(*entry),
                Line::Head(head) => self.heads.push(head),
            }
        }
        Ok(())
    }

    /// Adds a checkpoint that the key signed. Add all of them, in their order: each names the one before it.
    ///
    /// # Errors
    /// `LedgerBroken` if the key did not sign it, or one before it is missing; `InvalidInput` if it is no checkpoint, or
    /// `verifying_text` no key. Nothing was added.
    pub fn add_checkpoint(&mut self, note: &str, verifying_text: &str) -> Result<()> {
        let text = signed_text(note, verifying_text)?;
        let checkpoint = Checkpoint::parse(text).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "this text was signed, but is no checkpoint of a ledger")
        })?;
        let mut last = self.last.clone().unwrap_or_default();
        if checkpoint.number != last.number + 1 || checkpoint.previous != last.hash {
            let problem =
                format!("checkpoint {} does not follow checkpoint {}", checkpoint.number, last.number);
            return Err(Error::new(ErrorKind::LedgerBroken, problem)
                .with_hint("give every checkpoint from the first on, in order"));
        }
        (last.number, last.hash) = (checkpoint.number, Sha256::digest(note).into());
        for head in checkpoint.heads {
            self.heads.push(head.clone());
            last.heads.insert(head.writer, head);
        }
        self.last = Some(last);
        Ok(())
    }

    /// With what this process and its local file know.
    pub(super) async fn with_own(&self, core: &Core) -> Result<Self> {
        let mut all = self.clone();
        if let Some(local) = &core.local {
            let lines = local.ledger_lines().await?;
            let unreadable = || {
                let problem = format!("{} holds a line of the ledger that is none", local.path().display());
                Error::new(ErrorKind::LocalCorrupt, problem)
            };
            lines.iter().try_for_each(|line| all.add_lines(line)).map_err(|_| unreadable())?;
        }
        all.heads.extend(core.ledger.known_heads());
        Ok(all)
    }

    /// Only the entries that a key of the keyring made.
    pub(super) fn authentic(mut self, subkeys: &Subkeys) -> Self {
        self.entries.retain(|stored| stored.is_authentic(subkeys));
        self
    }

    /// Without entries that were pruned: every owner whose record they name has a newer entry, or no row.
    pub(super) fn without(mut self, pruned: &Acceptance) -> Self {
        self.entries.retain(|stored| !pruned.covers(stored.entry.writer, stored.entry.seq));
        self
    }

    /// The writers and numbers of the entries.
    pub(super) fn numbers(&self) -> BTreeSet<(Uuid, i64)> {
        self.entries.iter().map(|stored| (stored.entry.writer, stored.entry.seq)).collect()
    }

    /// The entries that name a state of an owner in this place, in the order of the owners, the newest state first.
    pub(super) fn into_states(mut self, place: &str) -> VecDeque<StoredEntry> {
        self.entries.retain(|stored| {
            let event = &stored.entry.event;
            event.place.as_deref() == Some(place) && event.after.is_some()
        });
        self.entries.sort_by(|one, other| {
            let owners = order_of(one).cmp(&order_of(other));
            owners.then_with(|| other.entry.event.after.cmp(&one.entry.event.after))
        });
        self.entries.into()
    }
}

impl fmt::Debug for LedgerCopies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { heads, entries, last } = self;
        f.debug_struct("LedgerCopies")
            .field("heads", &heads.len())
            .field("entries", &entries.len())
            .field("checkpoint", &last.as_ref().map(|last| last.number))
            .finish()
    }
}

fn no_line(number: usize) -> Error {
    let problem = format!("line {number} is neither an entry nor a head of the ledger");
    Error::new(ErrorKind::InvalidInput, problem)
        .with_hint("give a segment or a head of a sink, or the output of `ledger export`")
}
