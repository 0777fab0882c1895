//! Where a record goes and where it comes from: the database, or the local file when that cannot take it.

use std::sync::Arc;
use std::time::Instant;

use crate::crypto::random;
use crate::crypto::sealer::{self, Opened};
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::file::KeyringFile;
use crate::local::file::{Base, KeptKind, LocalFile, LocalRecord, PutPending};
use crate::postgres::connection::errors::{Fault, Outcome};
use crate::postgres::statements::plan::Postgres;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::placement::Place;
use crate::record::record::{PlainValues, Record, read_packed};
use crate::record::retell::RetellConfig;
use crate::record::token::KeyId;
use crate::record::version::{Millis, Version};
use crate::store::breaker::Breaker;
use crate::store::reload::TakenUp;
use crate::store::seen::Seen;

/// How often a write is tried against moving targets before the caller hears of it.
pub(crate) const ROUNDS: u32 = 5;

/// What happens to a write that the database cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fallback {
    /// It goes to the local file, sealed, and to the database when that returns.
    #[default]
    LocalFile,
    /// It fails; nothing is kept locally.
    Refuse,
}

/// What a store may overwrite. Nothing but older records of the vault by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreOptions {
    pub(crate) replace_unreadable: bool,
    pub(crate) replace_foreign: bool,
}

impl StoreOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Overwrites a record that names an unknown key or has a later format. Its text is kept in the local file.
    pub fn replace_unreadable(mut self) -> Self {
        self.replace_unreadable = true;
        self
    }

    /// Overwrites text that the vault did not write, for good. Read and store it first.
    pub fn replace_foreign(mut self) -> Self {
        self.replace_foreign = true;
        self
    }
}

/// One thing to write: a configuration, or a tombstone.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) config: Option<&'a RetellConfig>,
    pub(crate) options: StoreOptions,
}

/// What became of a write.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) version: Version,
    /// Where every field that was set is.
    pub(crate) places: Vec<(Field, Place)>,
    /// Why it is not where it belongs.
    pub(crate) degraded: Option<String>,
    /// What was overwritten and kept, and why.
    pub(crate) replaced: Vec<String>,
}

/// What was found for an owner.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) opened: Opened,
    pub(crate) version: Version,
    pub(crate) local: bool,
    pub(crate) stale: bool,
    /// The record, when the database answered with it.
    pub(super) record: Option<Record>,
}

pub(crate) type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

pub(crate) struct Router {
    pub(crate) postgres: Option<Postgres>,
    pub(crate) local: Option<LocalFile>,
    pub(crate) keyring: KeyringFile,
    pub(crate) fallback: Fallback,
    pub(crate) offline_reads: bool,
    pub(crate) breaker: Breaker,
    pub(crate) seen: Seen,
    pub(crate) clock: Clock,
    pub(crate) taken_up: TakenUp,
}

impl Router {
    pub(crate) fn now(&self) -> Millis {
        (self.clock)()
    }

    /// Closes what was opened here.
    pub(crate) async fn close(&self) {
        if let Some(postgres) = &self.postgres {
            postgres.database.close().await;
        }
        if let Some(local) = &self.local {
            local.close().await;
        }
    }

    /// Writes to the database, or to the local file when that is out of reach or has no room.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn store(&self, entry: Entry<'_>) -> Result<Written> {
        self.take_up().await;
        let Some(postgres) = &self.postgres else {
            return self.store_locally(entry, None, Base::Unknown, None).await;
        };
        postgres.check_owner(entry.owner)?;
        if let Some(reason) = self.breaker.blocks(Instant::now()) {
            let fault = Fault::new(Outcome::Fallback, Error::new(ErrorKind::Unavailable, reason));
            return self.fall_back(entry, None, Base::Unknown, fault).await;
        }
        let mut write = crate::store::write::Write::new(self, postgres, entry).await?;
        match write.run().await {
            Ok(written) => {
                self.breaker.success();
                self.seen.holds(entry.owner, written.version);
                self.supersede(entry.owner, written.version).await;
                self.remember_stored(entry, write.attempted().0).await;
                Ok(written)
            }
            Err(fault) => {
                self.note(&fault);
                let (record, base) = write.attempted();
                self.fall_back(entry, record, base, fault).await
            }
        }
    }

    /// Tells the breaker how the server does.
    pub(crate) fn note(&self, fault: &Fault) {
        match fault.outcome {
            Outcome::Fallback | Outcome::Ambiguous => {
                self.breaker.failure(&fault.error.to_string(), Instant::now());
            }
            _ => self.breaker.success(),
        }
    }

    /// An online write of an owner makes what waits in the local file for it obsolete.
    async fn supersede(&self, owner: &Owner, version: Version) {
        let Some(local) = &self.local else { return };
        let done = match local.pending(owner).await {
            Ok(None) => return,
            Ok(Some(_)) => local.supersede(owner, version).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            // sync finds the newer version in the database and drops the entry then
            tracing::warn!(%error, "an obsolete pending record could not be removed");
        }
    }

    async fn fall_back(
        &self,
        entry: Entry<'_>,
        record: Option<Record>,
        base: Base,
        fault: Fault,
    ) -> Result<Written> {
        let may = matches!(fault.outcome, Outcome::Fallback | Outcome::Ambiguous | Outcome::TakesNoWrites);
        if !may || self.fallback == Fallback::Refuse || self.local.is_none() {
            return Err(fault.error);
        }
        self.store_locally(entry, record, base, Some(fault.error.to_string())).await
    }

    /// Keeps a write in the local file until the database takes it. A record that was already sent
    /// keeps its version and its text, so that a write which did arrive is recognised.
    async fn store_locally(
        &self,
        entry: Entry<'_>,
        sent: Option<Record>,
        base: Base,
        degraded: Option<String>,
    ) -> Result<Written> {
        let local = self.local.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Configuration, "there is neither a database nor a local file to store in")
        })?;
        let known = self.known(local, entry.owner).await?;
        // nobody asks first what is pending: the write itself says when that is newer
        let mut seen = known;
        let base = match (base, known) {
            (Base::Unknown, Some(version)) => Base::Version(version),
            _ => base,
        };
        let mut sent = sent;
        for _ in 0..ROUNDS {
            let record = match sent.take() {
                Some(sent) => self.seal_rest(entry, sent)?,
                None => self.seal(entry, seen, &Field::ALL)?,
            };
            let put = LocalRecord {
                owner: entry.owner.clone(),
                version: record.version,
                text: record.packed(&Field::ALL),
                base,
                at: self.now(),
            };
            match local.put_pending(&put).await? {
                PutPending::Written => {
                    let places =
                        set_fields(entry.config).into_iter().map(|field| (field, Place::Local)).collect();
                    return Ok(Written { version: record.version, places, degraded, replaced: Vec::new() });
                }
                PutPending::Newer(version) => seen = Some(version),
            }
        }
        Err(Error::new(ErrorKind::Busy, "other writers of this owner were always faster"))
    }

    /// What the row was last known to hold: in this process, or in the offline replica.
    async fn known(&self, local: &LocalFile, owner: &Owner) -> Result<Option<Version>> {
        match self.seen_version(owner) {
            None if self.offline_reads => {
                let replica = local.replica(owner).await?;
                Ok(self.plausible(replica.map(|replica| replica.version)))
            }
            seen => Ok(seen),
        }
    }

    /// What the row was last known to hold, for a version that goes past it.
    pub(crate) fn seen_version(&self, owner: &Owner) -> Option<Version> {
        self.plausible(self.seen.get(owner))
    }

    /// A version from the future is not one to go past.
    pub(crate) fn plausible(&self, version: Option<Version>) -> Option<Version> {
        version.filter(|version| !version.is_ahead_of(self.now()))
    }

    /// Seals an entry under a version later than what was seen.
    pub(crate) fn seal(&self, entry: Entry<'_>, seen: Option<Version>, fields: &[Field]) -> Result<Record> {
        let (now, keyring) = (self.now(), self.keyring.for_sealing()?);
        random::with_rng(|rng| {
            let version = Version::next(now, seen, random_step(rng));
            sealer::seal(entry.config, entry.owner, version, fields, &keyring, rng)
        })
    }

    /// The same record with tokens for the plain fields that had a column of their own.
    pub(crate) fn seal_rest(&self, entry: Entry<'_>, sent: Record) -> Result<Record> {
        let keyring = self.keyring.current();
        random::with_rng(|rng| sealer::seal_rest(sent, entry.config, entry.owner, &keyring, rng))?
    }

    /// The ids of the keys that records can be opened with.
    pub(crate) fn known_keys(&self) -> Vec<String> {
        self.keyring.current().openable().iter().map(KeyId::to_string).collect()
    }

    /// Opens a record, with the keyring read again when it names a key that is not known yet.
    pub(crate) fn open(&self, record: &Record, owner: &Owner) -> Result<Opened> {
        sealer::open(record, owner, &self.keyring.holding(record.key))
    }

    /// Whether a record opens, and is a tombstone.
    pub(crate) fn is_tombstone(&self, record: &Record, owner: &Owner) -> Result<bool> {
        sealer::is_tombstone(record, owner, &self.keyring.holding(record.key))
    }

    /// The record of a local entry.
    pub(crate) fn local_record(&self, text: &str) -> Result<Record> {
        Record::new(read_packed(text)?, PlainValues::default())
    }

    /// Keeps what was stored for times when the database is away, if that was asked for.
    pub(super) async fn remember_stored(&self, entry: Entry<'_>, record: Option<Record>) {
        let (Some(local), true, Some(record)) = (&self.local, self.offline_reads, record) else { return };
        if let Err(error) = self.put_replica(local, entry, record).await {
            tracing::warn!(%error, "the offline replica could not be written");
        }
    }

    /// The offline replica of a record, wholly sealed.
    async fn put_replica(&self, local: &LocalFile, entry: Entry<'_>, record: Record) -> Result<()> {
        if local.replica(entry.owner).await?.is_some_and(|replica| replica.version >= record.version) {
            return Ok(());
        }
        let sealed = self.seal_rest(entry, record)?;
        local.put_replica(entry.owner, sealed.version, &sealed.packed(&Field::ALL), self.now()).await
    }

    /// Keeps texts that are about to be overwritten, or lost against a newer one.
    pub(crate) async fn keep(&self, owner: &Owner, kind: KeptKind, text: &str, reason: &str) -> Result<()> {
        match &self.local {
            Some(local) => local.keep(owner, kind, text, reason, self.now()).await,
            None => {
                tracing::warn!(reason, "a record is replaced, and there is no local file to keep it in");
                Ok(())
            }
        }
    }
}

fn random_step(rng: &mut impl rand::Rng) -> u16 {
    (rng.next_u32() & 0xffff) as u16
}

/// The fields that a configuration sets. A tombstone sets none.
pub(crate) fn set_fields(config: Option<&RetellConfig>) -> Vec<Field> {
    let Some(config) = config else { return Vec::new() };
    Field::ALL.into_iter().filter(|field| config.is_set(*field)).collect()
}
