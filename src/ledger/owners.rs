//! Every owner in turn: the last state that the ledger names, and what the table holds.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::future::join;
use uuid::Uuid;

use crate::chain::entry::{StoredEntry, digest};
use crate::chain::owner_check::{Difference, HeldState, KnownState, difference};
use crate::error::{Error, ErrorKind};
use crate::keyring::keys::RootKeys;
use crate::keyring::subkeys::Subkeys;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::answer::{OwnerText, parse_owner};
use crate::postgres::statements::found_records::FoundRecords;
use crate::postgres::statements::plan::Plan;
use crate::postgres::walk::ledger::{LedgerReading, NamedState, OwnerOrder, OwnersRow, PAGE, in_order};
use crate::record::contents::Contents;
use crate::record::owner::Owner;
use crate::record::record::{Head, Record};
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

/// An owner with what the ledger and the table have about it.
struct UncomparedOwner {
    owner: Owner,
    known: Option<StoredEntry>,
    rows: Vec<OwnersRow>,
    /// Whether the removal of a row was noted after the known state.
    was_removed: bool,
}

/// Both results, owner by owner. While one batch of owners is compared, the next one is read.
pub(crate) struct Owners {
    comparison: OwnerComparison,
    /// The states that copies outside of the database name.
    copies: VecDeque<StoredEntry>,
    /// Writers whose entries do not count.
    left_out: BTreeSet<Uuid>,
    states: VecDeque<NamedState>,
    rows: VecDeque<OwnersRow>,
    states_ended: bool,
    rows_ended: bool,
    /// The batch that is compared next.
    found: Vec<UncomparedOwner>,
    compared: VecDeque<ComparedOwner>,
}

impl Owners {
    /// `copies` are in the order of the owners.
    pub(crate) fn new(core: &Arc<Core>, plan: &Arc<Plan>, copies: VecDeque<StoredEntry>) -> Self {
        let keys = core.keyring.current();
        Self {
            comparison: OwnerComparison { core: core.clone(), plan: plan.clone(), keys },
            copies,
            left_out: BTreeSet::new(),
            states: VecDeque::new(),
            rows: VecDeque::new(),
            states_ended: false,
            rows_ended: false,
            found: Vec::new(),
            compared: VecDeque::new(),
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
        if self.compared.is_empty() {
            self.compare(reading).await?;
        }
        Ok(self.compared.pop_front())
    }

    /// Compares the batch that was read, and reads the next one meanwhile. A batch is empty only at the end.
    async fn compare(&mut self, reading: &mut LedgerReading<'_>) -> Result<(), DatabaseError> {
        if self.found.is_empty() {
            self.found = self.batch(reading).await?;
        }
        let (found, comparison) = (std::mem::take(&mut self.found), self.comparison.clone());
        if found.is_empty() {
            return Ok(());
        }
        let compare = move || found.into_iter().map(|owner| comparison.of(owner)).collect::<Result<_, _>>();
        let (compared, next) = join(tokio::task::spawn_blocking(compare), self.batch(reading)).await;
        (self.compared, self.found) = (compared.map_err(|_| shutting_down())??, next?);
        Ok(())
    }

    /// The next owners, with about as many rows as a page has, so that memory does not grow with the table. Empty at the end.
    async fn batch(
        &mut self,
        reading: &mut LedgerReading<'_>,
    ) -> Result<Vec<UncomparedOwner>, DatabaseError> {
        let (mut batch, mut size) = (Vec::new(), 0);
        while size < PAGE {
            let Some(next) = self.next_owner(reading).await? else { break };
            let (known, was_removed) = self.known(reading, &next).await?;
            let rows = self.held(reading, &next).await?;
            // the id as the row has it, so that the row is found again
            let stored = rows.first().map_or(next, |row| row.stored.clone());
            if let Some(owner) = parse_owner(stored) {
                size += 1.max(rows.len());
                batch.push(UncomparedOwner { owner, known, rows, was_removed });
            }
        }
        Ok(batch)
    }

    /// The first owner of all results.
    async fn next_owner(
        &mut self,
        reading: &mut LedgerReading<'_>,
    ) -> Result<Option<OwnerText>, DatabaseError> {
        self.read_states(reading).await?;
        self.read_rows(reading).await?;
        let state = self.states.front().map(|state| order_of(&state.stored));
        let row = self.rows.front().map(|row| in_order(&row.owner));
        let copy = self.copies.front().map(order_of);
        let next = [state, row, copy].into_iter().flatten().min();
        Ok(next.map(|(user, _, tenant)| (tenant.map(str::to_owned), user.to_owned())))
    }

    async fn read_states(&mut self, reading: &mut LedgerReading<'_>) -> Result<(), DatabaseError> {
        if self.states.is_empty() && !self.states_ended {
            self.states = reading.states().await?.into();
            self.states_ended = self.states.is_empty();
        }
        Ok(())
    }

    async fn read_rows(&mut self, reading: &mut LedgerReading<'_>) -> Result<(), DatabaseError> {
        if self.rows.is_empty() && !self.rows_ended {
            self.rows = reading.rows().await?.into();
            self.rows_ended = self.rows.is_empty();
        }
        Ok(())
    }

    /// The entry that names the last state of an owner, and whether a row was removed after it. Passes over all of this owner.
    async fn known(
        &mut self,
        reading: &mut LedgerReading<'_>,
        owner: &OwnerText,
    ) -> Result<(Option<StoredEntry>, bool), DatabaseError> {
        let (mut states, mut there) = (LastState::default(), BTreeSet::new());
        let has_copies = self.copies.front().is_some_and(|copy| order_of(copy) == in_order(owner));
        let keys = self.comparison.keys.clone();
        loop {
            self.read_states(reading).await?;
            let is_of_owner = |state: &mut NamedState| order_of(&state.stored) == in_order(owner);
            let Some(state) = self.states.pop_front_if(is_of_owner) else { break };
            let entry = &state.stored.entry;
            // one that was altered must not hide its copy
            if has_copies && state.stored.is_authentic(&keys.subkeys) {
                there.insert((entry.writer, entry.seq));
            }
            if !self.left_out.contains(&entry.writer) {
                states.take(state, &keys.subkeys);
            }
        }
        let copied = self.copied(owner, &there);
        Ok(states.with(copied))
    }

    /// The newest state of an owner that a copy names, and that is not there. Passes over all of this owner.
    fn copied(&mut self, owner: &OwnerText, there: &BTreeSet<(Uuid, i64)>) -> Option<StoredEntry> {
        let is_of_owner = |stored: &mut StoredEntry| order_of(stored) == in_order(owner);
        let mut newest = None;
        while let Some(copy) = self.copies.pop_front_if(is_of_owner) {
            if !there.contains(&(copy.entry.writer, copy.entry.seq)) {
                newest = newest.or(Some(copy));
            }
        }
        newest
    }

    /// Every row of an owner.
    async fn held(
        &mut self,
        reading: &mut LedgerReading<'_>,
        owner: &OwnerText,
    ) -> Result<Vec<OwnersRow>, DatabaseError> {
        let mut rows = Vec::new();
        loop {
            self.read_rows(reading).await?;
            let is_of_owner = |row: &mut OwnersRow| in_order(&row.owner) == in_order(owner);
            let Some(row) = self.rows.pop_front_if(is_of_owner) else { return Ok(rows) };
            rows.push(row);
        }
    }
}

/// What compares owners.
#[derive(Clone)]
struct OwnerComparison {
    core: Arc<Core>,
    plan: Arc<Plan>,
    keys: Arc<RootKeys>,
}

impl OwnerComparison {
    fn of(&self, found: UncomparedOwner) -> Result<ComparedOwner, DatabaseError> {
        let UncomparedOwner { owner, known, rows, was_removed } = found;
        let counts = rows.iter().any(|row| row.counts);
        let held = self.newest(&owner, &rows)?;
        let keyed = known.as_ref().and_then(|entry| Some((entry, entry.key(&self.keys.subkeys)?)));
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
        let difference = match difference(known.as_ref(), state.as_ref(), counts) {
            Some(Difference::Vanished) if was_removed => Some(Difference::Removed),
            difference => difference,
        };
        Ok(ComparedOwner { owner, difference, known, held: held.flatten() })
    }

    /// The newest record of the rows. `Some(None)`: nothing opens.
    fn newest(&self, owner: &Owner, rows: &[OwnersRow]) -> Result<Option<Option<HeldRecord>>, DatabaseError> {
        let answers: Vec<_> = rows.iter().map(|row| row.answer(&self.plan.placement)).collect();
        let Some(first) = answers.first() else { return Ok(None) };
        if let [row] = answers.as_slice()
            && let Some(record) = row.only_record()?
        {
            return Ok(Some(self.held(&record, owner)));
        }
        let texts = answers.iter().map(|row| row.read()).collect::<Result<Vec<_>, _>>()?;
        let found = FoundRecords::of(&texts, &self.plan.placement.slots, first.now()?);
        let Some(newest) = found.records.first() else {
            return Ok((!found.unrecognised.is_empty() || !found.parts.is_empty()).then_some(None));
        };
        Ok(Some(newest.record.as_ref().ok().and_then(|record| self.held(record, owner))))
    }

    /// Opens every token, because the digest is only that of the record token.
    fn held(&self, record: &Record, owner: &Owner) -> Option<HeldRecord> {
        let contents = self.core.verify(record, owner).ok()?;
        Some(HeldRecord { head: record.head(), contents })
    }
}

/// The last state of an owner. A store that waited for a deletion makes a row whose version is older than that of the record that
/// was deleted, so entries after the last noted removal go before all others.
#[derive(Default)]
struct LastState {
    newest: Option<StoredEntry>,
    since_removal: Option<StoredEntry>,
}

impl LastState {
    /// The next entry, in the order of the versions, the newest first. Anybody who may add entries could claim a later state.
    fn take(&mut self, state: NamedState, subkeys: &Subkeys) {
        let place = if state.was_removed { &mut self.newest } else { &mut self.since_removal };
        if place.is_none() && state.stored.is_authentic(subkeys) {
            *place = Some(state.stored);
        }
    }

    /// The state, and whether a row was removed after it. A copy counts if it names a newer version.
    fn with(self, copy: Option<StoredEntry>) -> (Option<StoredEntry>, bool) {
        let was_removed = self.since_removal.is_none();
        let known = self.since_removal.or(self.newest);
        let after =
            |stored: &Option<StoredEntry>| stored.as_ref().and_then(|it| it.entry.event.after.clone());
        if after(&copy) > after(&known) { (copy, false) } else { (known, was_removed) }
    }
}

/// The owner of an entry.
pub(super) fn order_of(stored: &StoredEntry) -> OwnerOrder<'_> {
    let (tenant, user) = (&stored.entry.event.tenant, &stored.entry.event.user);
    (user.as_deref().unwrap_or_default(), tenant.is_none(), tenant.as_deref())
}

pub(super) fn shutting_down() -> Error {
    Error::new(ErrorKind::Busy, "the program is shutting down")
}
