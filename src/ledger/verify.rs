//! Verifies the ledger: every entry, every known head, and every owner.

use std::sync::Arc;

use futures_util::future::join;

use crate::chain::acceptance::Acceptance;
use crate::chain::chain_check::ChainCheck;
use crate::chain::entry::operation;
use crate::chain::numbers::{Gap, KnownHead};
use crate::chain::owner_check::Difference;
use crate::error::Result;
use crate::keyring::subkeys::Subkeys;
use crate::ledger::copies::LedgerCopies;
use crate::ledger::owners::{Owners, shutting_down};
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::vault_schema::objects::check_tables;
use crate::postgres::walk::ledger::LedgerReading;
use crate::record::owner::Owner;
use crate::record::version::Version;
use crate::store::core::Core;
use crate::store::ledger::begun;

/// How many waiting records are read at once.
const WAITING: u32 = 500;

/// Numbers of one writer of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerGap {
    /// The id of the writer, which is one run of a process.
    pub writer: String,
    /// The first number.
    pub first: u64,
    /// The last number.
    pub last: u64,
}

/// An owner whose record is not the one that the ledger names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerDifference {
    /// The owner.
    pub owner: Owner,
    /// The version that the ledger names. `None`: it names none.
    pub expected: Option<Version>,
    /// The version in the table. `None`: there is no record, or it does not open.
    pub found: Option<Version>,
}

/// The result of [`Vault::verify_ledger`](crate::Vault::verify_ledger).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LedgerVerification {
    /// How many entries there are.
    pub entries: u64,
    /// How many writers wrote them.
    pub writers: u64,
    /// How many owners were compared.
    pub owners: u64,
    /// Entries that were written and are gone. At most 10,000 gaps are listed.
    pub missing: Vec<LedgerGap>,
    /// How many entries are missing.
    pub missing_entries: u64,
    /// Numbers that nobody knows to be written: work under way, or a process that was killed. No alarm.
    pub open: Vec<LedgerGap>,
    /// Entries that no key of this keyring made as they are.
    pub altered: Vec<LedgerGap>,
    /// Entries whose writer had written other entries before them than are there now.
    pub replaced: Vec<LedgerGap>,
    /// Owners with an older record than the ledger names.
    pub went_back: Vec<LedgerDifference>,
    /// Owners without the record that the ledger names.
    pub vanished: Vec<LedgerDifference>,
    /// Owners with a record that the ledger does not name.
    pub appeared: Vec<LedgerDifference>,
    /// Owners whose tokens do not open.
    pub unreadable: Vec<LedgerDifference>,
    /// Owners whose row is gone, and whose record was deleted before, or whose row was deleted as a trigger noted, for example by
    /// `ON DELETE CASCADE`. No alarm. Nothing proves that such a note is true: a role that may delete rows causes one.
    pub removed: Vec<LedgerDifference>,
    /// Owners whose newest record waits in this host's local file. No alarm.
    pub waiting: Vec<Owner>,
    /// How many ranges of entries were accepted as missing, altered or replaced. No alarm, but nothing of these writers is compared
    /// with a head any more: look at the entries of the operation `accept`, and at who made them.
    pub accepted: u64,
    /// How many times an entry says that the entries of a writer were [pruned](crate::Vault::prune_ledger). No alarm. Look at who did it.
    pub pruned: u64,
    /// How many heads that lie outside of the database were compared with it.
    pub anchors: u64,
    /// Writers whose entries are not those that a head outside of the database covers: the whole ledger went back.
    pub ledger_went_back: Vec<LedgerGap>,
    /// Whether a copy of every missing entry is at hand, so that the lists of owners name all that these entries were about.
    pub names_complete: bool,
}

impl LedgerVerification {
    /// Whether nothing that was compared is an alarm. `open` and `removed` are none.
    pub fn is_unbroken(&self) -> bool {
        self.has_every_entry()
            && self.went_back.is_empty()
            && self.vanished.is_empty()
            && self.appeared.is_empty()
            && self.unreadable.is_empty()
    }

    /// Whether no entry is missing, altered or replaced, whatever the records are.
    pub fn has_every_entry(&self) -> bool {
        self.missing.is_empty()
            && self.altered.is_empty()
            && self.replaced.is_empty()
            && self.ledger_went_back.is_empty()
    }

    fn list(&mut self, difference: Difference, one: LedgerDifference) {
        let list = match difference {
            Difference::WentBack => &mut self.went_back,
            Difference::Vanished => &mut self.vanished,
            Difference::Appeared => &mut self.appeared,
            Difference::Removed => &mut self.removed,
            Difference::Unreadable => &mut self.unreadable,
        };
        list.push(one);
    }
}

/// Verifies everything in one snapshot, so writers go on.
pub(crate) async fn verify_ledger(core: &Arc<Core>, copies: &LedgerCopies) -> Result<LedgerVerification> {
    verify_with_heads(core, copies).await.map(|(found, _)| found)
}

/// Also returns the head of each writer. What this process knows is taken before the snapshot, which therefore has all of
/// it.
pub(super) async fn verify_with_heads(
    core: &Arc<Core>,
    copies: &LedgerCopies,
) -> Result<(LedgerVerification, Vec<KnownHead>)> {
    verify_now(core, copies.with_own(core).await?).await.map_err(|fault| fault.error)
}

/// Without any copy: what somebody finds who has the database alone.
pub(super) async fn verify_alone(core: &Arc<Core>) -> Result<LedgerVerification> {
    let alone = verify_now(core, LedgerCopies::new()).await;
    alone.map(|(found, _)| found).map_err(|fault| fault.error)
}

async fn verify_now(
    core: &Arc<Core>,
    copies: LedgerCopies,
) -> Result<(LedgerVerification, Vec<KnownHead>), DatabaseError> {
    let (postgres, place) = begun(core)?;
    check_tables(&postgres.database).await?;
    let waiting = waiting(core).await?;
    let subkeys = core.keyring.current().subkeys.clone();
    let copies = copies.authentic(&subkeys);
    let plan = postgres.refresh().await?;
    let mut reading = postgres.read_ledger(&plan, &place).await?;
    let (mut accepted, removed) = accepted(&mut reading, &subkeys).await?;
    let copies = copies.without(&removed);
    let (numbers, ranges, pruned) = (copies.numbers(), accepted.count(), removed.count());
    accepted.extend(removed);
    let mut chain = ChainCheck::new(subkeys.clone(), copies.heads.clone(), numbers, accepted);
    let mut page = reading.entries().await?;
    while !page.is_empty() {
        let checked = tokio::task::spawn_blocking(move || {
            page.iter().for_each(|stored| chain.take(&stored.entry, &stored.mac));
            chain
        });
        let (checked, next) = join(checked, reading.entries()).await;
        (chain, page) = (checked.map_err(|_| shutting_down())?, next?);
    }
    let mut result =
        LedgerVerification { waiting, accepted: ranges, pruned, ..LedgerVerification::default() };
    let mut owners = Owners::new(core, &plan, copies.into_states(&place));
    while let Some(compared) = owners.next(&mut reading).await? {
        result.owners += 1;
        if let Some(difference) = compared.difference {
            let one = LedgerDifference {
                owner: compared.owner,
                expected: compared.known.map(|known| known.after),
                found: compared.held.map(|held| held.head.version),
            };
            result.list(difference, one);
        }
    }
    reading.end().await?;
    let report = chain.end();
    let at = |writer: uuid::Uuid, seq| gap(&Gap { writer, first: seq, last: seq });
    result.entries = report.entries;
    result.writers = report.writers;
    result.missing = report.missing.iter().map(gap).collect();
    result.missing_entries = report.missing_entries;
    result.names_complete = report.missing_entries == report.missing_copied;
    result.open = report.open.iter().map(gap).collect();
    result.altered = report.altered.iter().map(|entry| at(entry.writer, entry.seq)).collect();
    result.replaced = report.replaced.iter().map(|entry| at(entry.writer, entry.seq)).collect();
    result.anchors = report.anchors;
    result.ledger_went_back = report.went_back.iter().map(|head| at(head.writer, head.settled)).collect();
    Ok((result, report.heads))
}

/// What authentic entries accept, and what they say was pruned.
async fn accepted(
    reading: &mut LedgerReading<'_>,
    subkeys: &Subkeys,
) -> Result<(Acceptance, Acceptance), DatabaseError> {
    let (mut accepted, mut pruned) = (Acceptance::default(), Acceptance::default());
    loop {
        let page = reading.acceptances().await?;
        if page.is_empty() {
            return Ok((accepted, pruned));
        }
        for stored in page {
            if stored.is_authentic(subkeys) {
                let entry = stored.entry;
                let named = entry.event.detail.as_deref().and_then(Acceptance::parse).unwrap_or_default();
                let is_prune = entry.event.operation == operation::PRUNE;
                if is_prune { pruned.extend(named) } else { accepted.extend(named) }
            }
        }
    }
}

/// The owners whose record waits in the local file.
async fn waiting(core: &Core) -> Result<Vec<Owner>> {
    let (mut owners, Some(local)) = (Vec::new(), &core.local) else { return Ok(Vec::new()) };
    loop {
        let page = local.pending_after(owners.last(), WAITING).await?;
        if page.is_empty() {
            return Ok(owners);
        }
        owners.extend(page.into_iter().map(|record| record.owner));
    }
}

fn gap(gap: &Gap) -> LedgerGap {
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    LedgerGap { writer: gap.writer.to_string(), first: number(gap.first), last: number(gap.last) }
}
