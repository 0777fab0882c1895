//! Imports one owner when a load finds no record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OnceCell, Semaphore};

use crate::crypto::sealer::Opened;
use crate::error::{Error, ErrorKind, Result};
use crate::import::decide::{Offer, combine};
use crate::import::mark::ImportMark;
use crate::import::passwords::Passwords;
use crate::import::sources::{ExaminedText, Sources, owner_of};
use crate::layout::layout::Layout;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::Postgres;
use crate::postgres::walk::old_values::{OldTable, OldText};
use crate::record::credentials::Credentials;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::values::Values;
use crate::record::version::{Millis, Version};
use crate::store::core::{Core, ImportedRecord, LoadedRecord, StoreRequest};
use crate::store::load::load;
use crate::store::options::{Expected, StoreOptions};
use crate::store::recent::Recent;
use crate::store::store::store;

/// For so long nothing is read again for an owner for whom nothing could be imported.
const NOTHING_FOR: Millis = 60_000;

/// For how many owners this process opens values at once. To derive a key keeps a core busy for a while.
const OPENING: usize = 4;
static OPENINGS: Semaphore = Semaphore::const_new(OPENING);

/// Imports owners without a record when they are loaded, until a time.
pub(crate) struct ImportOnRead<C> {
    sources: Arc<Sources<C>>,
    until: Millis,
    tables: tokio::sync::Mutex<Option<Arc<Vec<OldTable>>>>,
    /// Owners for whom nothing could be imported, and until when nothing is read for them.
    nothing: Recent<Millis>,
    running: Mutex<HashMap<Owner, Arc<RunningImport>>>,
}

/// The import of one owner, whose result all loads of this owner wait for. If the load that works on it is dropped, another one
/// begins again.
type RunningImport = OnceCell<Result<ReadResult>>;

/// What came of the sources of one owner.
#[derive(Clone)]
enum ReadResult {
    Nothing,
    /// This import stored the record, or another writer was faster.
    Stored,
    NotStored {
        values: Values,
        at: Millis,
        error: Error,
    },
}

/// Takes part in an import. The last one to leave removes it.
struct Participant<'a, C> {
    on_read: &'a ImportOnRead<C>,
    owner: &'a Owner,
    import: Arc<RunningImport>,
}

impl<C: Credentials> ImportOnRead<C> {
    /// # Errors
    /// Those of [`Sources::new`].
    pub(crate) fn new(layout: &Layout, passwords: &Passwords, until: Millis) -> Result<Self> {
        Ok(Self {
            sources: Arc::new(Sources::new(layout, passwords)?),
            until,
            tables: tokio::sync::Mutex::default(),
            nothing: Recent::default(),
            running: Mutex::default(),
        })
    }

    /// Looks at the sources, unless the database is unreachable.
    ///
    /// # Errors
    /// `Configuration` without a database; `Schema` and `AccessDenied` if a source cannot be read.
    pub(crate) async fn check(&self, core: &Core) -> Result<()> {
        let Some(postgres) = &core.postgres else {
            return Err(Error::new(ErrorKind::Configuration, "an import on read needs a database"));
        };
        if core.breaker.blocks(Instant::now()).is_some() {
            return Ok(());
        }
        match self.tables(postgres).await {
            Err(fault) if matches!(fault.outcome, Outcome::Reject | Outcome::Redetect) => Err(fault.error),
            Err(fault) => {
                core.note(&fault).await;
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// As [`load`]. An owner without a record is imported first.
    ///
    /// # Errors
    /// As [`load`], and those of reading the sources. Nothing was stored then.
    pub(crate) async fn load(&self, core: &Core, owner: &Owner) -> Result<LoadedRecord> {
        // asked first: the load forgets a record that is gone, and another load may import one meanwhile
        let may_import = self.may_import(core, owner);
        match load(core, owner).await {
            Err(error) if error.kind() == ErrorKind::NotFound && may_import => {
                self.import_and_load(core, owner, error).await
            }
            loaded => loaded,
        }
    }

    fn may_import(&self, core: &Core, owner: &Owner) -> bool {
        core.now() < self.until && !core.seen.had_record(owner) && !self.found_nothing(core, owner)
    }

    fn found_nothing(&self, core: &Core, owner: &Owner) -> bool {
        let left = self.nothing.get(owner).and_then(|until| until.checked_sub(core.now()));
        // a clock that was set back must not make it last
        left.is_some_and(|left| left > 0 && left <= NOTHING_FOR)
    }

    async fn import_and_load(&self, core: &Core, owner: &Owner, not_found: Error) -> Result<LoadedRecord> {
        let participant = self.take_part(owner);
        let import = participant.import.get_or_init(|| Box::pin(self.import(core, owner)));
        match import.await.clone()? {
            ReadResult::Nothing => Err(not_found),
            ReadResult::Stored => load(core, owner).await,
            ReadResult::NotStored { values, at, error } => match load(core, owner).await {
                // a record or a tombstone that another writer stored meanwhile
                Ok(loaded) => Ok(loaded),
                Err(_) => Ok(not_stored(values, at, error)),
            },
        }
    }

    fn take_part<'a>(&'a self, owner: &'a Owner) -> Participant<'a, C> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let import = running.entry(owner.clone()).or_default().clone();
        Participant { on_read: self, owner, import }
    }

    async fn import(&self, core: &Core, owner: &Owner) -> Result<ReadResult> {
        if self.found_nothing(core, owner) {
            return Ok(ReadResult::Nothing);
        }
        let texts = self.texts(core, owner).await?;
        let examined = match texts.is_empty() {
            true => Vec::new(),
            false => self.examine(texts).await?,
        };
        let Some(offer) = self.offer(owner, &examined) else {
            self.nothing.update(owner, |_| core.now().saturating_add(NOTHING_FOR));
            return Ok(ReadResult::Nothing);
        };
        match self.store(core, owner, &examined, &offer).await {
            Ok(()) => {
                tracing::info!(%owner, "a load imported this owner");
                Ok(ReadResult::Stored)
            }
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(ReadResult::Stored),
            Err(error) => {
                tracing::warn!(%owner, %error, "a load could not store what it imported");
                Ok(ReadResult::NotStored { at: offer.time(&examined), values: offer.values, error })
            }
        }
    }

    /// What the sources hold of this owner, in their order.
    async fn texts(&self, core: &Core, owner: &Owner) -> Result<Vec<OldText>> {
        let Some(postgres) = &core.postgres else { return Ok(Vec::new()) };
        let mut read = self.read(postgres, owner).await;
        // a table may have changed since it was looked at, or a connection was dead
        if read.as_ref().is_err_and(|fault| fault.outcome != Outcome::Reject) {
            read = self.read(postgres, owner).await;
        }
        match read {
            Ok(texts) => Ok(texts),
            Err(fault) => {
                core.note(&fault).await;
                Err(fault.error)
            }
        }
    }

    async fn read(&self, postgres: &Postgres, owner: &Owner) -> Result<Vec<OldText>, DatabaseError> {
        let read = self.read_tables(postgres, owner).await;
        if read.is_err() {
            *self.tables.lock().await = None;
        }
        read
    }

    async fn read_tables(&self, postgres: &Postgres, owner: &Owner) -> Result<Vec<OldText>, DatabaseError> {
        let users: Vec<&str> = owner.user_id().forms().collect();
        let mut texts = Vec::new();
        for table in self.tables(postgres).await?.iter() {
            texts.extend(postgres.database.old_texts(table, self.sources.all(), &users).await?);
        }
        // the database compares the user only, and as its column does
        let is_theirs =
            |text: &OldText| owner_of(&text.user, text.tenant.as_deref()).is_ok_and(|of| of == *owner);
        texts.retain(is_theirs);
        texts.sort_by_key(|text| text.source);
        Ok(texts)
    }

    async fn tables(&self, postgres: &Postgres) -> Result<Arc<Vec<OldTable>>, DatabaseError> {
        let mut tables = self.tables.lock().await;
        if let Some(tables) = &*tables {
            return Ok(tables.clone());
        }
        let looked_at = Arc::new(postgres.database.old_tables(self.sources.all(), 1).await?);
        Ok(tables.insert(looked_at).clone())
    }

    async fn examine(&self, texts: Vec<OldText>) -> Result<Vec<ExaminedText>> {
        let sources = self.sources.clone();
        off_the_runtime(move || texts.into_iter().map(|text| sources.examine(text)).collect()).await
    }

    /// What is to be stored, as an import of all owners decides it. Logs everything that is not.
    fn offer(&self, owner: &Owner, texts: &[ExaminedText]) -> Option<Offer> {
        let refused = texts.iter().flat_map(|text| &text.found).filter(|found| found.result != "opened");
        let offer = match combine::<C>(texts, &self.sources.layout) {
            Ok(offer) => offer,
            Err(error) => {
                tracing::warn!(%owner, %error, "the old values of this owner form no valid record");
                return None;
            }
        };
        for found in refused.chain(&offer.disagreed) {
            let field = found.field.map(|field| field.to_string());
            tracing::warn!(%owner, place = found.place, field, result = found.result, reason = found.reason, "an old value was not imported");
        }
        for found in texts.iter().flat_map(ExaminedText::exposed) {
            tracing::warn!(%owner, place = found.place, "others may know this old value: replace it at the provider");
        }
        Some(offer).filter(|offer| !offer.givers.is_empty())
    }

    /// Only where there is no record and no tombstone. On error nothing was written, except `OutcomeUnknown`.
    async fn store(&self, core: &Core, owner: &Owner, texts: &[ExaminedText], offer: &Offer) -> Result<()> {
        core.check(&offer.values, &[])?;
        let mut values = offer.values.clone();
        values.put_text(Field::IMPORTED_FROM, Some(&ImportMark::of(texts, &self.sources.layout)?.print()));
        let import = ImportedRecord { at: offer.time(texts), over: Vec::new() };
        let options = StoreOptions::new().expect(Expected::Absent);
        let request = StoreRequest { import: Some(&import), ..StoreRequest::new(owner, &values, options) };
        store(core, request).await.map(drop)
    }
}

impl<C> Drop for Participant<'_, C> {
    fn drop(&mut self) {
        let mut running = self.on_read.running.lock().unwrap_or_else(PoisonError::into_inner);
        // the map has one, and this is the other
        if Arc::strong_count(&self.import) == 2 {
            running.remove(self.owner);
        }
    }
}

fn not_stored(values: Values, at: Millis, error: Error) -> LoadedRecord {
    let opened = Opened {
        values: Some(values),
        changed_outside: Vec::new(),
        ignored: Vec::new(),
        unknown: Vec::new(),
        imported_from: None,
    };
    let version = Version::next(at, None, 0);
    LoadedRecord {
        opened,
        version,
        local: false,
        stale: false,
        seen: None,
        record: None,
        not_stored: Some(error),
    }
}

/// Runs what takes a while where it stops no other task.
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let permit = OPENINGS.acquire().await.expect("it is never closed");
    // the permit stays with the work, which goes on if the load is dropped
    let work = move || {
        let done = work();
        drop(permit);
        done
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::new(ErrorKind::Busy, "the program is shutting down"))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn values_of_four_owners_are_opened_at_once() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let four = Arc::new(Barrier::new(OPENING));
        let works = (0..3 * OPENING).map(|_| {
            let (now, most, four) = (now.clone(), most.clone(), four.clone());
            off_the_runtime(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // fewer at once would wait here forever
                four.wait();
                now.fetch_sub(1, Ordering::SeqCst);
            })
        });
        let done = futures_util::future::join_all(works).await;
        assert!(done.iter().all(Result::is_ok));
        assert_eq!(most.load(Ordering::SeqCst), OPENING);
    }
}
