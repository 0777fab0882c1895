//! The writers of this process in the ledger: each draws numbers for entries and learns what became of them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

#[cfg(feature = "admin")]
use crate::chain::chain_check::KnownHead;
use crate::chain::entry::{Event, LedgerEntry, Link, SealedEntry};
use crate::chain::numbers::Numbers;
use crate::crypto::random;
use crate::error::{ErrorKind, Result};
use crate::keyring::subkeys::Subkey;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::write::WrittenMany;

/// How long the table of the ledger counts as usable after it was checked.
const BELIEVED: Duration = Duration::from_secs(60);
/// The same while the outcome of a number is unknown. Most statements have ended by then.
const UNDECIDED: Duration = Duration::from_secs(2);
/// Writers with open numbers that are kept. More only exist if the database does not decide about earlier ones for hours.
const MAX_WRITERS: usize = 16;

/// The writers of this process. The last one is in use.
pub(crate) struct Ledger {
    /// The host and the process.
    pub(super) host: String,
    writers: Mutex<Vec<LedgerWriter>>,
    /// Held by the caller that decides about numbers whose outcome is unknown: two could take each other's entry for the
    /// earlier one.
    pub(super) deciding: tokio::sync::Mutex<()>,
    checked: Mutex<Option<Instant>>,
}

/// One writer of the ledger.
struct LedgerWriter {
    id: Uuid,
    numbers: Numbers,
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
    pub(crate) fn new(host: String) -> Self {
        Self {
            host,
            writers: Mutex::default(),
            deciding: tokio::sync::Mutex::default(),
            checked: Mutex::default(),
        }
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
            event.detail = event.detail.or_else(|| writer.continues.clone());
        }
        let sealed = entry(writer, seq, key, at_ms, event).sealed(key);
        Ok(Noted { drawn: Some((self, sealed)) })
    }

    /// The numbers whose outcome is unknown: of each its writer, and the link of the entry that was sent.
    pub(super) fn doubtful(&self) -> Vec<(Uuid, i64, Link)> {
        let of = |writer: &LedgerWriter| {
            let id = writer.id;
            writer.numbers.doubtful().into_iter().map(move |(seq, link)| (id, seq, link))
        };
        self.writers().iter().flat_map(of).collect()
    }

    /// How far the writers of this process have come, as only its memory knows.
    #[cfg(feature = "admin")]
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
        let checked = *self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let believed = if self.doubtful().is_empty() { BELIEVED } else { UNDECIDED };
        checked.is_some_and(|at| at.elapsed() < believed)
    }

    pub(super) fn note_checked(&self, is_usable: bool) {
        let now = is_usable.then(Instant::now);
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = now;
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

    /// The number holds the entry with this link, or, with `None`, is as unknown as before: nothing was written.
    pub(super) fn decided(mut self, link: Option<Link>) {
        self.is_known = true;
        let (id, seq) = (self.sealed.entry.writer, self.sealed.entry.seq);
        if let Some(link) = link {
            self.ledger.of(id, |writer| writer.numbers.written(seq, link));
        }
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        if !self.is_known {
            self.ledger.of(self.sealed.entry.writer, |writer| {
                writer.is_over = true;
                writer.numbers.give_up();
            });
        }
    }
}

fn entry(writer: &LedgerWriter, seq: i64, key: &Subkey, at_ms: i64, event: Event) -> LedgerEntry {
    let (settled, head) = writer.numbers.settled();
    let epoch = i32::try_from(key.epoch).unwrap_or(i32::MAX);
    LedgerEntry { writer: writer.id, seq, epoch, settled, head: head.to_vec(), at_ms, event }
}

/// A new writer, which names the one before it.
fn next_writer(writers: &mut Vec<LedgerWriter>) -> Result<(&mut LedgerWriter, i64)> {
    let id = Uuid::from_bytes(random::system_bytes()?);
    let continues = writers.last_mut().map(|before| {
        before.is_over = true;
        let (settled, head) = before.numbers.settled();
        let head: String = head.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(r#"{{"continues":"{}","settled":{settled},"head":"{head}"}}"#, before.id)
    });
    if writers.len() >= MAX_WRITERS {
        writers.remove(0);
    }
    let mut numbers = Numbers::default();
    let seq = numbers.draw().expect("a new writer has free numbers");
    writers.push(LedgerWriter { id, numbers, continues, is_over: false });
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
        let (id, seq, link) = (sealed.entry.writer, sealed.entry.seq, sealed.link);
        ledger.of(id, |writer| match &done {
            Ok(answer) if wrote(answer) => writer.numbers.written(seq, link),
            Ok(_) => writer.numbers.unwritten(seq),
            // another one has written under this number: what this writer says can no longer be told from that
            Err(fault) if fault.is_number_taken => writer.is_over = true,
            Err(fault) if fault.outcome == Outcome::Ambiguous => writer.numbers.unknown(seq, link),
            Err(fault) if fault.error.kind() == ErrorKind::OutcomeUnknown => {
                writer.numbers.unknown(seq, link);
            }
            Err(_) => writer.numbers.unwritten(seq),
        });
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
            ledger.of(sealed.entry.writer, |writer| {
                writer.numbers.unknown(sealed.entry.seq, sealed.link);
            });
        }
    }
}
