//! The state of a vault, and the small things that every operation does with it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::crypto::aead::Scope;
use crate::crypto::random;
use crate::crypto::sealer::{self, Opened};
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::file::Keyring;
use crate::keyring::keys::KeyState;
use crate::layout::placement::Place;
use crate::local::entries::{LocalRecord, OwnerRows};
use crate::local::file::LocalFile;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::found_records::{FoundRecord, FoundRecords};
use crate::postgres::statements::plan::Postgres;
use crate::record::contents::Contents;
use crate::record::field::{Field, Fields, MAX_FIELDS};
use crate::record::owner::Owner;
use crate::record::plain::{PlainTexts, holds};
use crate::record::record::{Record, read_packed};
use crate::record::token::{KeyId, MAX_SLOT, MAX_TOKEN, token_len};
use crate::record::values::Values;
use crate::record::version::{Millis, Version};
use crate::store::breaker::Breaker;
use crate::store::seen_records::SeenRecords;
use crate::store::table_keyring::TableKeyring;

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

/// What a store may overwrite. By default any older record that opens, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreOptions {
    pub(crate) replace_unreadable: bool,
    pub(crate) replace_foreign: bool,
    pub(crate) expected: Option<Expected>,
}

/// What an owner must have for a store to be done. See [`StoreOptions::expect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The record of this version.
    Version(Version),
    /// No record, or one that was deleted.
    Absent,
}

impl StoreOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Overwrites a record that does not open: its key is unknown, its format is a later one, it is damaged, or it was
    /// moved here from another owner. Its text is kept in the local file, if there is one.
    pub fn replace_unreadable(mut self) -> Self {
        self.replace_unreadable = true;
        self
    }

    /// Overwrites text that the vault did not write, for good. Read and store it first.
    pub fn replace_foreign(mut self) -> Self {
        self.replace_foreign = true;
        self
    }

    /// Stores only if the owner has what is expected, else nothing is written and the error is `Conflict`. What waits in the
    /// local file for this owner is synchronised first. Nothing falls back to the local file.
    ///
    /// A record that waits in the local file of another host may still win later, if it is newer.
    pub fn expect(mut self, expected: Expected) -> Self {
        self.expected = Some(expected);
        self
    }
}

/// One thing to write: values, or none for a tombstone.
#[derive(Clone, Copy)]
pub(crate) struct StoreRequest<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) values: &'a Values,
    /// What the plain columns hold of the record before, and its version, where somebody has looked.
    pub(crate) vouched: Option<(&'a PlainTexts, Version)>,
    pub(crate) options: StoreOptions,
    /// Where only some fields of the record that is there are to change.
    pub(crate) change: Option<&'a Change>,
}

/// A change of some fields of a record.
pub(crate) struct Change {
    pub(crate) before: Contents,
    /// The plain fields that are written. The columns of the others stay as they are.
    pub(crate) plain: Vec<Field>,
}

impl<'a> StoreRequest<'a> {
    /// A whole record in place of the one before.
    pub(crate) fn new(owner: &'a Owner, values: &'a Values, options: StoreOptions) -> Self {
        Self { owner, values, vouched: None, options, change: None }
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.values.fields().next().is_none()
    }
}

/// What became of a write.
#[derive(Debug, Clone)]
pub(crate) struct StoredRecord {
    pub(crate) version: Version,
    /// How many rows of the database hold it.
    pub(crate) rows: u64,
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
    /// A newer version that this process has opened or written.
    pub(crate) seen: Option<Version>,
    /// The record, when the database answered with it.
    pub(super) record: Option<Record>,
}

pub(crate) type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// Everything that a vault is made of. The operations are functions over it.
pub(crate) struct Core {
    pub(crate) postgres: Option<Postgres>,
    pub(crate) local: Option<LocalFile>,
    pub(crate) keyring: Keyring,
    pub(crate) fields: Fields,
    pub(crate) fallback: Fallback,
    pub(crate) offline_reads: bool,
    pub(crate) breaker: Breaker,
    pub(crate) seen: SeenRecords,
    pub(crate) clock: Clock,
    pub(crate) reloaded: ReloadedGeneration,
    pub(crate) table_keyring: TableKeyring,
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

    /// Tells the breaker how the server does, and says whether it is away. A statement that took too long, or lost its connection, may have been the only
    /// one: the server itself is asked before all callers are kept from it.
    pub(crate) async fn note(&self, fault: &DatabaseError) -> bool {
        let is_away = match (fault.outcome, &self.postgres) {
            (Outcome::Fallback | Outcome::Ambiguous, Some(postgres)) if fault.was_connected => {
                !postgres.database.answers().await
            }
            (Outcome::Fallback | Outcome::Ambiguous, _) => true,
            _ => false,
        };
        match is_away {
            true => self.breaker.failure(&fault.error.to_string(), Instant::now()),
            false => self.breaker.success(),
        }
        is_away
    }

    /// The version that the row was last known to hold, for a version that goes past it.
    pub(crate) fn seen_version(&self, owner: &Owner) -> Option<Version> {
        self.plausible(self.seen.get(owner).map(|head| head.version))
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
        in_the_clear: &[Field],
    ) -> Result<Record> {
        let (now, keyring) = (self.now(), self.keyring.for_sealing()?);
        random::with_rng(|rng| {
            let version = Version::next(now, seen, random_step(rng));
            let fields = (&self.fields, in_the_clear);
            let contents = match request.change {
                Some(change) => change.before.changed(request.values, &self.fields, &change.plain),
                None => Contents::of(request.values, &self.fields),
            };
            let scope = self.scope(request.owner);
            sealer::seal((request.values, &contents), scope, version, fields, keyring.primary(), rng)
        })
    }

    /// The same record with tokens for the plain fields that had a column of their own, under its own key.
    ///
    /// # Errors
    /// `Busy` when that key is pending here, or destroyed: it must not seal. Else those of opening its record token.
    pub(crate) fn seal_rest(&self, request: StoreRequest<'_>, sent: Record) -> Result<Record> {
        let keyring = self.keyring.current();
        let state = keyring.get(sent.key).map(|key| key.info.state);
        if matches!(state, Some(KeyState::Pending | KeyState::Destroyed)) {
            let message =
                format!("key {} seals nothing in this process, so the record cannot be completed", sent.key);
            return Err(Error::new(ErrorKind::Busy, message));
        }
        let (root, scope) = (keyring.opener(sent.key)?, self.scope(request.owner));
        random::with_rng(|rng| sealer::seal_rest(sent, request.values, scope, root, rng))?
    }

    /// Where every field of a request is.
    pub(crate) fn places(
        &self,
        request: StoreRequest<'_>,
        place: impl Fn(Field) -> Place,
    ) -> Vec<(Field, Place)> {
        let fields = self.fields.sorted(request.values.fields());
        fields.into_iter().map(|field| (field, place(field))).collect()
    }

    pub(crate) fn scope<'a>(&self, owner: &'a Owner) -> Scope<'a> {
        Scope { namespace: self.fields.namespace, owner }
    }

    /// `carried` are fields that a newer program stored.
    ///
    /// # Errors
    /// `InvalidInput`, naming the field, for values that make no record.
    pub(crate) fn check(&self, values: &Values, carried: &[Field]) -> Result<()> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message);
        if let Some(field) =
            values.fields().find(|field| !self.fields.knows(*field) && !carried.contains(field))
        {
            return Err(invalid(format!("{field} is not a field of {}", self.fields.namespace))
                .with_hint("declare an extra field in the layout, with `Layout::extra_secret`"));
        }
        if values.fields().count() > MAX_FIELDS {
            return Err(invalid(format!("a record has at most {MAX_FIELDS} fields")));
        }
        for (field, json) in values.iter() {
            let Some(spec) = self.fields.spec(field) else { continue };
            if json.len() > spec.longest || token_len(field, json.len()) > MAX_TOKEN {
                return Err(invalid(format!("{field} is longer than its field takes")));
            }
            if !values.is_checked() && !holds(spec, json) {
                return Err(invalid(format!("{field} has a value that the field cannot hold")));
            }
        }
        // the record token is no longer than this
        let record = token_len(Field::RECORD, MAX_FIELDS * 64);
        let tokens = values.iter().map(|(field, json)| token_len(field, json.len()) + 1);
        if record + tokens.sum::<usize>() > MAX_SLOT {
            return Err(invalid("the record is longer than 256 KiB when it is sealed".to_owned()));
        }
        match values.fields().any(|field| !self.fields.is_plain(field)) {
            true => Ok(()),
            false => Err(invalid("the record is empty: no secret field is set".to_owned())
                .with_hint("set at least one secret field; to remove a record, delete it")),
        }
    }

    /// Opens a record, with the keyring read again when it names a key that is not known yet.
    pub(crate) fn open(&self, record: &Record, owner: &Owner) -> Result<Opened> {
        let keyring = self.keyring.holding(record.key);
        let opened = sealer::open(record, self.scope(owner), keyring.opener(record.key)?, &self.fields);
        opened.map_err(|error| self.explain(record, error))
    }

    /// A record that does not open, and has fields that these credentials do not know, is another kind's.
    fn explain(&self, record: &Record, error: Error) -> Error {
        let held = record.tokens().iter().map(|token| token.field);
        match error.kind() {
            ErrorKind::Unsealable => of_other_credentials(&self.fields, held).unwrap_or(error),
            _ => error,
        }
    }

    /// The error for tokens without a record that another kind of credentials keeps. Those under a key that the keyring
    /// does not hold are no other kind's: there is one keyring for all.
    pub(crate) fn of_other_credentials(&self, found: &FoundRecords) -> Option<Error> {
        let opens = |key: KeyId| self.keyring.holding(key).opener(key).is_ok();
        let parts = found.parts.iter().filter(|(key, _)| opens(*key));
        of_other_credentials(&self.fields, parts.map(|(_, field)| *field))
    }

    /// Whether a record opens, and is a tombstone.
    pub(crate) fn is_tombstone(&self, record: &Record, owner: &Owner) -> Result<bool> {
        let keyring = self.keyring.holding(record.key);
        let contents = sealer::contents(record, self.scope(owner), keyring.opener(record.key)?);
        contents.map(|contents| contents.is_tombstone()).map_err(|error| self.explain(record, error))
    }

    /// Opens every token of a record. Answers with what belongs to it.
    pub(crate) fn verify(&self, record: &Record, owner: &Owner) -> Result<Contents> {
        let keyring = self.keyring.holding(record.key);
        let verified = sealer::verify(record, self.scope(owner), keyring.opener(record.key)?, &self.fields);
        verified.map_err(|error| self.explain(record, error))
    }

    /// What is wrong with a record that was found, apart from its contents. Without its key nobody can say that
    /// something is missing.
    pub(crate) fn problem(&self, found: &FoundRecord) -> Option<Error> {
        let error = found.record.as_ref().err()?;
        let unknown = found.key.and_then(|key| self.keyring.holding(key).opener(key).err());
        unknown.or_else(|| Some(Error::new(error.kind(), error.to_string())))
    }

    /// The texts of plain columns that are the record's.
    pub(crate) fn vouched(&self, record: &Record, owner: &Owner) -> Result<PlainTexts> {
        let keyring = self.keyring.holding(record.key);
        let contents = sealer::contents(record, self.scope(owner), keyring.opener(record.key)?)?;
        Ok(sealer::vouched(&contents, record, &self.fields))
    }

    /// The rows that a record is for which goes to the local file now; empty without a database.
    pub(crate) fn rows(&self) -> OwnerRows {
        let rows = |postgres: &Postgres| OwnerRows {
            table: postgres.layout().rows_name(),
            database: postgres.identity(),
        };
        self.postgres.as_ref().map(rows).unwrap_or_default()
    }

    /// Whether a pending record is for the rows of this vault. Without a database it is.
    pub(crate) fn waits_here(&self, pending: &LocalRecord) -> bool {
        pending.rows.may_be(&self.rows())
    }

    /// The record of a local entry.
    pub(crate) fn local_record(&self, text: &str) -> Result<Record> {
        Record::new(read_packed(text)?, PlainTexts::default())
    }
}

/// The error for tokens that do not open, or belong to no record, and are of fields that these credentials do not know:
/// another kind keeps them.
pub(crate) fn of_other_credentials(fields: &Fields, held: impl Iterator<Item = Field>) -> Option<Error> {
    let unknown = held.filter(|field| !field.is_record() && !fields.knows(*field));
    let unknown: Vec<_> = unknown.map(|field| field.to_string()).collect();
    let message = || {
        let (namespace, unknown) = (fields.namespace, unknown.join(", "));
        format!("a column holds tokens that are not of {namespace}: {unknown}")
    };
    let error = || Error::new(ErrorKind::Configuration, message());
    let hint = "two kinds of credentials share the JSONB column only: name text columns of its own for each";
    (!unknown.is_empty()).then(|| error().with_hint(hint))
}

fn random_step(rng: &mut impl rand::Rng) -> u16 {
    (rng.next_u32() & 0xffff) as u16
}

/// A short pause, longer in every round, and so random that two rivals do not meet again at once.
pub(crate) async fn pause(round: u32) {
    let longer = 2u32.pow(round.min(6));
    let random = random::with_rng(|rng| rand::Rng::next_u32(rng) % (16 * longer)).unwrap_or(8);
    tokio::time::sleep(Duration::from_millis(u64::from(5 * longer + random))).await;
}
