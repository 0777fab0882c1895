//! The state of a vault, and the small things that every operation does with it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::crypto::random;
use crate::crypto::record_sealer::{self, Opened};
use crate::error::Result;
use crate::keyring::file::KeyringFile;
use crate::local::file::LocalFile;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::Postgres;
use crate::record::fields::Field;
use crate::record::owner::Owner;
use crate::record::placement::Place;
use crate::record::record::{PlainValues, Record, read_packed};
use crate::record::retell::RetellConfig;
use crate::record::token::KeyId;
use crate::record::version::{Millis, Version};
use crate::store::breaker::Breaker;
use crate::store::seen_versions::SeenVersions;

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
pub(crate) struct StoreRequest<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) config: Option<&'a RetellConfig>,
    pub(crate) options: StoreOptions,
}

/// What became of a write.
#[derive(Debug, Clone)]
pub(crate) struct StoredRecord {
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
pub(crate) struct LoadedRecord {
    pub(crate) opened: Opened,
    pub(crate) version: Version,
    pub(crate) local: bool,
    pub(crate) stale: bool,
    /// The record, when the database answered with it.
    pub(super) record: Option<Record>,
}

pub(crate) type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// Everything that a vault is made of. The operations are functions over it.
pub(crate) struct Core {
    pub(crate) postgres: Option<Postgres>,
    pub(crate) local: Option<LocalFile>,
    pub(crate) keyring: KeyringFile,
    pub(crate) fallback: Fallback,
    pub(crate) offline_reads: bool,
    pub(crate) breaker: Breaker,
    pub(crate) seen: SeenVersions,
    pub(crate) clock: Clock,
    pub(crate) reloaded: ReloadedGeneration,
}

/// The generation of the keyring under which the local file is sealed, as far as this process knows.
#[derive(Default)]
pub(crate) struct ReloadedGeneration {
    pub(super) generation: AtomicU64,
    /// Held by the caller that does the work; the others need not wait for it.
    pub(super) working: Mutex<()>,
}

impl Core {
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

    /// Tells the breaker how the server does.
    pub(crate) fn note(&self, fault: &DatabaseError) {
        match fault.outcome {
            Outcome::Fallback | Outcome::Ambiguous => {
                self.breaker.failure(&fault.error.to_string(), Instant::now());
            }
            _ => self.breaker.success(),
        }
    }

    /// The version that the row was last known to hold, for a version that goes past it.
    pub(crate) fn seen_version(&self, owner: &Owner) -> Option<Version> {
        self.plausible(self.seen.get(owner))
    }

    /// A version from the future is not one to go past.
    pub(crate) fn plausible(&self, version: Option<Version>) -> Option<Version> {
        version.filter(|version| !version.is_ahead_of(self.now()))
    }

    /// Seals a request under the primary key and a version later than what was seen.
    pub(crate) fn seal(
        &self,
        request: StoreRequest<'_>,
        seen: Option<Version>,
        fields: &[Field],
    ) -> Result<Record> {
        let (now, keyring) = (self.now(), self.keyring.for_sealing()?);
        random::with_rng(|rng| {
            let version = Version::next(now, seen, random_step(rng));
            record_sealer::seal(request.config, request.owner, version, fields, keyring.primary(), rng)
        })
    }

    /// The same record with tokens for the plain fields that had a column of their own.
    pub(crate) fn seal_rest(&self, request: StoreRequest<'_>, sent: Record) -> Result<Record> {
        let keyring = self.keyring.current();
        let root = keyring.opener(sent.key)?;
        random::with_rng(|rng| record_sealer::seal_rest(sent, request.config, request.owner, root, rng))?
    }

    /// The ids of the keys that records can be opened with.
    pub(crate) fn known_keys(&self) -> Vec<String> {
        self.keyring.current().openable().iter().map(KeyId::to_string).collect()
    }

    /// Opens a record, with the keyring read again when it names a key that is not known yet.
    pub(crate) fn open(&self, record: &Record, owner: &Owner) -> Result<Opened> {
        record_sealer::open(record, owner, self.keyring.holding(record.key).opener(record.key)?)
    }

    /// Whether a record opens, and is a tombstone.
    pub(crate) fn is_tombstone(&self, record: &Record, owner: &Owner) -> Result<bool> {
        record_sealer::is_tombstone(record, owner, self.keyring.holding(record.key).opener(record.key)?)
    }

    /// The record of a local entry.
    pub(crate) fn local_record(&self, text: &str) -> Result<Record> {
        Record::new(read_packed(text)?, PlainValues::default())
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

/// A short pause, longer in every round, and so random that two rivals do not meet again at once.
pub(crate) async fn pause(round: u32) {
    let longer = 2u32.pow(round.min(6));
    let random = random::with_rng(|rng| rand::Rng::next_u32(rng) % (16 * longer)).unwrap_or(8);
    tokio::time::sleep(Duration::from_millis(u64::from(5 * longer + random))).await;
}
