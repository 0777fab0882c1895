//! The writers of this process in the ledger: each draws numbers for entries and learns what became of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::chain::entry::{Event, LedgerEntry, SealedEntry};
use crate::chain::numbers::{KnownHead, Numbers};
use crate::crypto::random;
use crate::error::{ErrorKind, Result};
use crate::hex::hex;
use crate::keyring::subkeys::Subkey;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::write::WrittenMany;
use crate::store::last_check::{BELIEVED, LastCheck};
use crate::store::ledger_sink::CheckpointSink;
use crate::store::waiting_entries::{LedgerBacklog, Reads, WaitingEntries};

/// The same while the outcome of a number is unknown. Most statements have ended by then.
const UNDECIDED: Duration = Duration::from_secs(2);
/// Writers with open numbers that are kept. More only exist if the database does not decide about earlier ones for hours.
const MAX_WRITERS: usize = 16;
/// How many written entries wait at most until copies of them are kept. Older ones are dropped.
const MAX_UNSAVED: usize = 20_000;
/// So many are copied at once, without waiting for the minute.
const MANY_UNSAVED: usize = 5_000;

/// The writers of this process. The last one is in use.
pub(crate) struct Ledger {
    /// The host and the process.
    pub(super) host: String,
    writers: Mutex<Vec<LedgerWriter>>,
    /// Entries that are written, and of which no copy lies outside of the database yet. Empty if nothing keeps copies.
    unsaved: Mutex<VecDeque<SealedEntry>>,
    /// Whether there is a local file.
    has_local_file: bool,
    pub(super) sink: Option<Arc<dyn CheckpointSink>>,
    pub(super) waiting: WaitingEntries,
    /// Told when many entries are unsaved.
    pub(super) many_unsaved: Arc<tokio::sync::Notify>,
    /// Held by the caller that decides about numbers whose outcome is unknown: two could take each other's entry for the
    /// earlier one.
    pub(super) deciding: tokio::sync::Mutex<()>,
    /// That entries can be added.
    table: LastCheck,
    /// That it can be asked for the last entries of an owner.
    pub(super) newest: LastCheck,
}

/// One writer of the ledger.
struct LedgerWriter {
    id: Uuid,
    numbers: Numbers,
    /// The entries whose outcome is unknown.
    doubtful: BTreeMap<i64, SealedEntry>,
    /// What its next entry says about the writer before it.
    continues: Option<String>,
    /// It draws no more numbers.
    is_over: bool,
}

/// An entry that is sent with a write, or none without a ledger. Dropped without an outcome, as when the caller is cancelled,
/// it counts as perhaps written.
#[must_use]
pub(crate) struct Noted<'a> {
    drawn: Option<(&'a Ledger, SealedEntry)>,
}

impl Ledger {
    pub(crate) fn new(
        host: String,
        has_local_file: bool,
        sink: Option<Arc<dyn CheckpointSink>>,
        reads: Reads,
    ) -> Self {
        Self {
            host,
            writers: Mutex::default(),
            unsaved: Mutex::default(),
            has_local_file,
            sink,
            waiting: WaitingEntries::new(reads),
            many_unsaved: Arc::default(),
            deciding: tokio::sync::Mutex::default(),
            table: LastCheck::default(),
            newest: LastCheck::default(),
        }
    }

    /// The entries that wait in memory.
    pub(crate) fn backlog(&self) -> LedgerBacklog {
        self.waiting.backlog()
    }

    fn writers(&self) -> MutexGuard<'_, Vec<LedgerWriter>> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws a number, and seals the entry under it.
    pub(super) fn draw(&self, key: &Subkey, at_ms: i64, mut event: Event) -> Result<Noted<'_>> {
        let mut writers = self.writers();
        let (writer, seq) = match writers.last_mut().filter(|writer| !writer.is_over) {
            Some(writer) => match writer.numbers.draw() {
                Some(seq) => (writer, seq),
                None => next_writer(&mut writers)?,
            },
            None => next_writer(&mut writers)?,
        };
        if seq == 1 {
            event.detail = joined(event.detail, writer.continues.as_deref());
        }
        let sealed = entry(writer, seq, key, at_ms, event).sealed(key);
        Ok(Noted { drawn: Some((self, sealed)) })
    }

    /// The numbers whose outcome is unknown, each with its writer.
    pub(super) fn doubtful(&self) -> Vec<(Uuid, i64)> {
        let of = |writer: &LedgerWriter| {
            let id = writer.id;
            writer.doubtful.keys().map(move |seq| (id, *seq)).collect::<Vec<_>>()
        };
        self.writers().iter().flat_map(of).collect()
    }

    /// How far the writers of this process have come, as only its memory knows.
    pub(crate) fn known_heads(&self) -> Vec<KnownHead> {
        let head = |writer: &LedgerWriter| {
            let (settled, head) = writer.numbers.settled();
            KnownHead { writer: writer.id, settled, head: *head }
        };
        self.writers().iter().map(head).collect()
    }

    /// Another entry for a number whose outcome is unknown.
    pub(super) fn decide(
        &self,
        (id, seq): (Uuid, i64),
        key: &Subkey,
        at_ms: i64,
        event: Event,
    ) -> Option<Deciding<'_>> {
        let sealed = self.of(id, |writer| entry(writer, seq, key, at_ms, event).sealed(key))?;
        Some(Deciding { ledger: self, sealed, is_known: false })
    }

    /// Whether the table was found usable a moment ago, and no number waits for a decision.
    pub(super) fn is_checked(&self) -> bool {
        self.table.is_within(if self.doubtful().is_empty() { BELIEVED } else { UNDECIDED })
    }

    pub(super) fn note_checked(&self, is_usable: bool) {
        self.table.note(is_usable);
    }

    /// Whether copies of what is written are kept outside of the database.
    pub(super) fn keeps_copies(&self) -> bool {
        self.has_local_file || self.sink.is_some()
    }

    /// Whether this process has written an entry.
    pub(super) fn has_written(&self) -> bool {
        self.writers().iter().any(|writer| writer.numbers.settled().0 > 0)
    }

    /// Takes what is written and not copied yet.
    pub(super) fn take_unsaved(&self) -> Vec<SealedEntry> {
        self.unsaved().drain(..).collect()
    }

    /// Gives back what could not be copied. It is in front of what was written since.
    pub(super) fn put_back(&self, entries: Vec<SealedEntry>) {
        let mut unsaved = self.unsaved();
        let room = MAX_UNSAVED.saturating_sub(unsaved.len());
        entries.into_iter().rev().take(room).for_each(|sealed| unsaved.push_front(sealed));
    }

    fn unsaved(&self) -> MutexGuard<'_, VecDeque<SealedEntry>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_written(&self, sealed: SealedEntry) {
        self.of(sealed.entry.writer, |writer| writer.numbers.written(sealed.entry.seq, sealed.link));
        if !self.keeps_copies() {
            return;
        }
        let mut unsaved = self.unsaved();
        if unsaved.len() >= MAX_UNSAVED {
            unsaved.pop_front();
        }
        unsaved.push_back(sealed);
        // once: a place that takes no copies is tried again each minute, and not at every write
        if unsaved.len() == MANY_UNSAVED {
            self.many_unsaved.notify_one();
        }
    }

    fn note_unknown(&self, sealed: SealedEntry) {
        self.of(sealed.entry.writer, |writer| {
            writer.numbers.unknown(sealed.entry.seq);
            writer.doubtful.insert(sealed.entry.seq, sealed);
        });
    }

    fn of<T>(&self, id: Uuid, change: impl FnOnce(&mut LedgerWriter) -> T) -> Option<T> {
        let mut writers = self.writers();
        let changed = writers.iter_mut().find(|writer| writer.id == id).map(change);
        // a writer that is over and has no open numbers is finished
        let last = writers.len().saturating_sub(1);
        let mut at = 0;
        writers.retain(|writer| {
            at += 1;
            at > last || !writer.is_over || !writer.numbers.is_at_rest()
        });
        changed
    }
}

/// An entry that is sent under a number which may hold one. Dropped without an outcome, as when the caller is cancelled, nobody
/// can tell any more which of both the number holds: the writer draws no more numbers.
#[must_use]
pub(super) struct Deciding<'a> {
    ledger: &'a Ledger,
    sealed: SealedEntry,
    is_known: bool,
}

impl Deciding<'_> {
    pub(super) fn entry(&self) -> &SealedEntry {
        &self.sealed
    }

    /// The number holds this entry.
    pub(super) fn was_written(mut self) {
        self.is_known = true;
        self.earlier();
        self.ledger.note_written(self.sealed.clone());
    }

    /// The number holds the entry that was sent before.
    pub(super) fn was_taken(mut self) {
        self.is_known = true;
        if let Some(earlier) = self.earlier() {
            self.ledger.note_written(earlier);
        }
    }

    /// The number is as unknown as before: nothing was written.
    pub(super) fn stays_unknown(mut self) {
        self.is_known = true;
    }

    fn earlier(&self) -> Option<SealedEntry> {
        let (id, seq) = (self.sealed.entry.writer, self.sealed.entry.seq);
        self.ledger.of(id, |writer| writer.doubtful.remove(&seq)).flatten()
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        if !self.is_known {
            self.ledger.of(self.sealed.entry.writer, |writer| {
                writer.is_over = true;
                writer.numbers.give_up();
                writer.doubtful.clear();
            });
        }
    }
}

fn entry(writer: &LedgerWriter, seq: i64, key: &Subkey, at_ms: i64, event: Event) -> LedgerEntry {
    let (settled, head) = writer.numbers.settled();
    let epoch = i32::try_from(key.epoch).unwrap_or(i32::MAX);
    LedgerEntry { writer: writer.id, seq, epoch, settled, head: head.to_vec(), at_ms, event }
}

/// One JSON object of two.
fn joined(one: Option<String>, other: Option<&str>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => {
            let (one, other) = (one.trim_end_matches('}'), other.trim_start_matches('{'));
            Some(format!("{one},{other}"))
        }
        (one, other) => one.or_else(|| other.map(str::to_owned)),
    }
}

/// A new writer, which names the one before it.
fn next_writer(writers: &mut Vec<LedgerWriter>) -> Result<(&mut LedgerWriter, i64)> {
    let id = Uuid::from_bytes(random::system_bytes()?);
    let continues = writers.last_mut().map(|before| {
        before.is_over = true;
        let (settled, head) = before.numbers.settled();
        let head = hex(head);
        format!(r#"{{"continues":"{}","settled":{settled},"head":"{head}"}}"#, before.id)
    });
    if writers.len() >= MAX_WRITERS {
        writers.remove(0);
    }
    let mut numbers = Numbers::default();
    let seq = numbers.draw().expect("a new writer has free numbers");
    writers.push(LedgerWriter { id, numbers, doubtful: BTreeMap::new(), continues, is_over: false });
    Ok((writers.last_mut().expect("it was put there just now"), seq))
}

impl Noted<'_> {
    /// There is no ledger.
    pub(super) fn nothing() -> Self {
        Self { drawn: None }
    }

    /// The entry to send.
    pub(crate) fn entry(&self) -> Option<&SealedEntry> {
        self.drawn.as_ref().map(|(_, sealed)| sealed)
    }

    /// Notes the outcome of the write, and passes it on. `wrote` says whether an answer means that it took effect.
    pub(crate) fn settle<T>(
        mut self,
        done: Result<T, DatabaseError>,
        wrote: impl FnOnce(&T) -> bool,
    ) -> Result<T, DatabaseError> {
        let Some((ledger, sealed)) = self.drawn.take() else { return done };
        let (id, seq) = (sealed.entry.writer, sealed.entry.seq);
        match &done {
            Ok(answer) if wrote(answer) => ledger.note_written(sealed),
            // another one has written under this number: what this writer says can no longer be told from that
            Err(fault) if fault.is_number_taken => {
                ledger.of(id, |writer| writer.is_over = true);
            }
            Err(fault) if is_unknown(fault) => ledger.note_unknown(sealed),
            Ok(_) | Err(_) => {
                ledger.of(id, |writer| writer.numbers.unwritten(seq));
            }
        }
        done
    }

    /// The same for a bulk write.
    pub(crate) fn settle_each(
        all: Vec<Self>,
        done: Result<WrittenMany, DatabaseError>,
    ) -> Result<Vec<bool>, DatabaseError> {
        let WrittenMany { written, is_cut } = match done {
            Ok(done) => done,
            Err(fault) => {
                for noted in all {
                    drop(noted.settle(Err::<(), _>(fault.copy()), |()| false));
                }
                return Err(fault);
            }
        };
        for (noted, is_written) in all.into_iter().zip(&written) {
            if *is_written || !is_cut {
                drop(noted.settle(Ok(()), |()| *is_written));
            }
        }
        Ok(written)
    }

    /// The write certainly had no effect.
    pub(super) fn unwritten(self) {
        drop(self.settle(Ok(()), |()| false));
    }

    /// The write is part of a transaction whose outcome the vault does not learn.
    pub(crate) fn leave_open(self) {}
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if let Some((ledger, sealed)) = self.drawn.take() {
            ledger.note_unknown(sealed);
        }
    }
}

/// Whether the statement may have taken effect.
fn is_unknown(fault: &DatabaseError) -> bool {
    fault.outcome == Outcome::Ambiguous || fault.error.kind() == ErrorKind::OutcomeUnknown
}
