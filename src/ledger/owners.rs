//! Every owner in turn: the last state that the ledger names, and what the table holds.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use crate::chain::entry::{StoredEntry, digest};
use crate::chain::owner_check::{Difference, HeldState, KnownState, difference};
use crate::keyring::keys::RootKeys;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::answer::{OwnerText, parse_owner};
use crate::postgres::statements::found_records::FoundRecords;
use crate::postgres::statements::plan::Plan;
use crate::postgres::walk::ledger::{LedgerReading, OwnersRow, in_order};
use crate::record::contents::Contents;
use crate::record::owner::Owner;
use crate::record::record::Head;
use crate::store::core::Core;

/// One owner of the ledger or of the table.
pub(crate) struct ComparedOwner {
    pub(crate) owner: Owner,
    pub(crate) difference: Option<Difference>,
    pub(crate) known: Option<KnownState>,
    /// The newest record of the rows, if one opens.
    pub(crate) held: Option<HeldRecord>,
}

/// A record that opens.
pub(crate) struct HeldRecord {
    pub(crate) head: Head,
    pub(crate) contents: Contents,
}

/// Both results, owner by owner.
pub(crate) struct Owners<'a> {
    core: &'a Core,
    plan: &'a Plan,
    keys: Arc<RootKeys>,
    /// The states that copies outside of the database name.
    copies: VecDeque<StoredEntry>,
    /// Writers whose entries do not count.
    left_out: BTreeSet<Uuid>,
    states: VecDeque<StoredEntry>,
    rows: VecDeque<OwnersRow>,
    /// Owners of rows whose removal was noted.
    removals: VecDeque<OwnerText>,
    states_ended: bool,
    rows_ended: bool,
    removals_ended: bool,
}

impl<'a> Owners<'a> {
    /// `copies` are in the order of the owners.
    pub(crate) fn new(core: &'a Core, plan: &'a Plan, copies: VecDeque<StoredEntry>) -> Self {
        let keys = core.keyring.current();
        Self {
            core,
            plan,
            keys,
            copies,
            left_out: BTreeSet::new(),
            states: VecDeque::new(),
            rows: VecDeque::new(),
            removals: VecDeque::new(),
            states_ended: false,
            rows_ended: false,
            removals_ended: false,
        }
    }

    /// As if there were no entries of these writers.
    pub(crate) fn without(self, writers: BTreeSet<Uuid>) -> Self {
        Self { left_out: writers, ..self }
    }

    /// The next owner. Owners that the vault does not accept are passed over.
    pub(crate) async fn next(
        &mut self,
        reading: &mut LedgerReading<'_>,
    ) -> Result<Option<ComparedOwner>, DatabaseError> {
        loop {
            let state = self.state(reading).await?;
            let row = self.row(reading).await?;
            let copy = self.copies.front().map(owner_of);
            let Some(next) = [state, row, copy].into_iter().flatten().min_by(in_order) else {
                return Ok(None);
            };
            let known = newer(self.known(reading, &next).await?, self.copied(&next));
            let rows = self.held(reading, &next).await?;
            let was_noted = self.was_removed(reading, &next).await?;
            // the id as the row has it, so that the row is found again
            let stored = rows.first().map_or(next, |row| row.stored.clone());
            if let Some(owner) = parse_owner(stored) {
                let mut compared = self.compare(owner, known.as_ref(), &rows);
                if was_noted && compared.difference == Some(Difference::Vanished) {
                    compared.difference = Some(Difference::Removed);
                }
                return Ok(Some(compared));
            }
        }
    }

    fn compare(&self, owner: Owner, known: Option<&StoredEntry>, rows: &[OwnersRow]) -> ComparedOwner {
        let counts = rows.iter().any(|row| row.counts);
        let held = self.newest(&owner, rows);
        let keyed = known.and_then(|entry| Some((entry, entry.key(&self.keys.subkeys)?)));
        let known = keyed.and_then(|(entry, key)| KnownState::of(key, &owner, entry));
        let state = held.as_ref().map(|held| match held {
            None => HeldState::Unreadable,
            Some(HeldRecord { head, contents }) => HeldState::Record {
                version: head.version,
                // under the key of the entry that it is compared with
                digest: keyed
                    .map(|(_, key)| digest(key, &owner, head.version, contents).to_vec())
                    .unwrap_or_default(),
            },
        });
        let difference = difference(known.as_ref(), state.as_ref(), counts);
        ComparedOwner { owner, difference, known, held: held.flatten() }
    }

    /// The newest record of the rows. `Some(None)`: nothing opens.
    fn newest(&self, owner: &Owner, rows: &[OwnersRow]) -> Option<Option<HeldRecord>> {
        let now = rows.first()?.now;
        let texts: Vec<_> = rows.iter().map(|row| row.row.clone()).collect();
        let found = FoundRecords::of(&texts, &self.plan.placement.slots, now);
        let Some(newest) = found.records.first() else {
            return (!found.unrecognised.is_empty() || !found.parts.is_empty()).then_some(None);
        };
        Some(newest.record.as_ref().ok().and_then(|record| {
            // every token, because the digest is only that of the record token
            let contents = self.core.verify(record, owner).ok()?;
            Some(HeldRecord { head: record.head(), contents })
        }))
    }

    /// The owner of the next state.
    async fn state(&mut self, reading: &mut LedgerReading<'_>) -> Result<Option<OwnerText>, DatabaseError> {
        if self.states.is_empty() && !self.states_ended {
            self.states.extend(reading.states().await?);
            self.states_ended = self.states.is_empty();
        }
        Ok(self.states.front().map(owner_of))
    }

    async fn row(&mut self, reading: &mut LedgerReading<'_>) -> Result<Option<OwnerText>, DatabaseError> {
        if self.rows.is_empty() && !self.rows_ended {
            self.rows.extend(reading.rows(self.plan).await?);
            self.rows_ended = self.rows.is_empty();
        }
        Ok(self.rows.front().map(|row| row.owner.clone()))
    }

    /// Whether the removal of a row of this owner was noted. Passes over every owner before it.
    async fn was_removed(
        &mut self,
        reading: &mut LedgerReading<'_>,
        owner: &OwnerText,
    ) -> Result<bool, DatabaseError> {
        loop {
            if self.removals.is_empty() && !self.removals_ended {
                self.removals.extend(reading.removals().await?);
                self.removals_ended = self.removals.is_empty();
            }
            match self.removals.front().map(|removed| in_order(removed, owner)) {
                Some(Ordering::Less) => drop(self.removals.pop_front()),
                found => return Ok(found == Some(Ordering::Equal)),
            }
        }
    }

    /// The newest authentic entry of an owner. Passes over all of this owner.
    async fn known(
        &mut self,
        reading: &mut LedgerReading<'_>,
        owner: &OwnerText,
    ) -> Result<Option<StoredEntry>, DatabaseError> {
        let mut known = None;
        while self.state(reading).await?.is_some_and(|next| next == *owner) {
            let Some(stored) = self.states.pop_front() else { break };
            // anybody who may add entries could claim a later state
            let is_ours = || stored.is_authentic(&self.keys.subkeys);
            if known.is_none() && !self.left_out.contains(&stored.entry.writer) && is_ours() {
                known = Some(stored);
            }
        }
        Ok(known)
    }

    /// The newest state of an owner that a copy names. Passes over all of this owner.
    fn copied(&mut self, owner: &OwnerText) -> Option<StoredEntry> {
        let is_of_owner = |stored: &StoredEntry| owner_of(stored) == *owner;
        let newest = self.copies.pop_front_if(|stored| is_of_owner(stored));
        while self.copies.pop_front_if(|stored| is_of_owner(stored)).is_some() {}
        newest
    }

    /// Every row of an owner.
    async fn held(
        &mut self,
        reading: &mut LedgerReading<'_>,
        owner: &OwnerText,
    ) -> Result<Vec<OwnersRow>, DatabaseError> {
        let mut rows = Vec::new();
        while self.row(reading).await?.is_some_and(|next| next == *owner) {
            rows.extend(self.rows.pop_front());
        }
        Ok(rows)
    }
}

/// The one that names the newer version.
fn newer(one: Option<StoredEntry>, other: Option<StoredEntry>) -> Option<StoredEntry> {
    let after = |stored: &Option<StoredEntry>| stored.as_ref().and_then(|it| it.entry.event.after.clone());
    if after(&other) > after(&one) { other } else { one }
}

pub(super) fn owner_of(stored: &StoredEntry) -> OwnerText {
    let event = &stored.entry.event;
    (event.tenant.clone(), event.user.clone().unwrap_or_default())
}
