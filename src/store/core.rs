//! The state of a vault, and the small functions that every operation uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::crypto::aead::Scope;
use crate::crypto::random;
use crate::crypto::sealer::{self, Opened};
use crate::error::{Error, ErrorKind, Result};
use crate::index::entries::column_text;
use crate::keyring::file::Keyring;
use crate::keyring::keys::KeyState;
use crate::layout::placement::Place;
use crate::local::entries::{LocalRecord, OwnerRows};
use crate::local::file::LocalFile;
use crate::observe::subject::Subject;
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
use crate::store::actor::refuse_secrets_in_actor;
use crate::store::breaker::Breaker;
use crate::store::degraded::Degraded;
use crate::store::faults::Faults;
use crate::store::host_note::HostNote;
use crate::store::index_check::IndexCheck;
use crate::store::ledger_writers::Ledger;
use crate::store::look_up_limit::LookUpLimit;
use crate::store::options::{Fallback, StoreOptions};
use crate::store::push_counting::PushCounting;
use crate::store::seen_records::SeenRecords;
use crate::store::table_keyring::TableKeyring;

/// How often a write is retried while other writers interfere, before the caller gets an error.
pub(crate) const ROUNDS: u32 = 5;

/// One thing to write: values, or none for a tombstone.
#[derive(Clone, Copy)]
pub(crate) struct StoreRequest<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) values: &'a Values,
    /// What the plain columns hold of the previous record, and its version, if they were read.
    pub(crate) vouched: Option<(&'a PlainTexts, Version)>,
    pub(crate) options: StoreOptions,
    /// Set if only some fields of the existing record change.
    pub(crate) change: Option<&'a Change>,
    /// Set if the values come from a column in which the application keeps credentials.
    pub(crate) import: Option<&'a ImportedRecord>,
}

/// What an import knows of a record that it stores.
#[derive(Default)]
pub(crate) struct ImportedRecord {
    /// The time of its version: every later save is newer.
    pub(crate) at: Millis,
    /// The old texts in columns for tokens, which the record replaces: the name of each column and its text.
    pub(crate) over: Vec<(String, Zeroizing<String>)>,
}

/// A change of some fields of a record.
pub(crate) struct Change {
    pub(crate) before: Contents,
    /// The plain fields that are written. The columns of the others stay as they are.
    pub(crate) plain: Vec<Field>,
}

impl<'a> StoreRequest<'a> {
    /// A whole record that replaces the previous one.
    pub(crate) fn new(owner: &'a Owner, values: &'a Values, options: StoreOptions) -> Self {
        Self { owner, values, vouched: None, options, change: None, import: None }
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.values.fields().next().is_none()
    }
}

/// The outcome of a write.
#[derive(Debug, Clone)]
pub(crate) struct StoredRecord {
    pub(crate) version: Version,
    /// How many rows of the database hold it.
    pub(crate) rows: u64,
    /// The place of every field that was set.
    pub(crate) places: Vec<(Field, Place)>,
    /// Why it is not where it belongs.
    pub(crate) degraded: Option<Degraded>,
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
    pub(crate) record: Option<Record>,
    /// Why there is no record: it could not be stored when it was imported.
    pub(crate) not_stored: Option<Error>,
}

pub(crate) type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// The whole state of a vault. The operations are functions over it.
pub(crate) struct Core {
    pub(crate) postgres: Option<Postgres>,
    pub(crate) local: Option<LocalFile>,
    pub(crate) keyring: Keyring,
    pub(crate) fields: Fields,
    pub(crate) subject: Subject,
    pub(crate) fallback: Fallback,
    pub(crate) offline_reads: bool,
    pub(crate) breaker: Breaker,
    pub(crate) seen: SeenRecords,
    pub(crate) look_ups: LookUpLimit,
    pub(crate) index: IndexCheck,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Clock,
    pub(crate) reloaded: ReloadedGeneration,
    pub(crate) table_keyring: TableKeyring,
    /// Of a vault whose process others can see in the database.
    pub(crate) host: Option<HostNote>,
    pub(crate) counting: PushCounting,
    /// Of a vault in memory, whose local file stands for its database.
    pub(crate) faults: Option<Faults>,
    pub(crate) closed: AtomicBool,
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

    /// Whether the vault was closed: tasks end, and nothing is noted any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
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

    /// Reports a fault to the breaker, and returns whether the server is down. A statement that took too long or lost its
    /// connection may have been the only one, so the server itself is asked before the breaker stops all callers.
    pub(crate) async fn note(&self, fault: &DatabaseError) -> bool {
        let is_away = match (fault.outcome, &self.postgres) {
            (Outcome::Fallback | Outcome::Ambiguous, Some(postgres)) if fault.was_connected => {
                !postgres.database.answers().await
            }
            (Outcome::Fallback | Outcome::Ambiguous, _) => true,
            _ => false,
        };
        match is_away {
            true => self.breaker.failure(&fault.error, Instant::now()),
            false => self.breaker.success(),
        }
        is_away
    }

    /// The version that the row was last known to hold; the next version must be later.
    pub(crate) fn seen_version(&self, owner: &Owner) -> Option<Version> {
        self.plausible(self.seen.get(owner).map(|head| head.version))
    }

    /// A version from the future is not followed.
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
        let now = request.import.map_or(now, |import| import.at.min(now));
        let record = random::with_rng(|rng| {
            let version = Version::next(now, seen, random_step(rng));
            let fields = (&self.fields, in_the_clear);
            let contents = match request.change {
                Some(change) => change.before.changed(request.values, &self.fields, &change.plain),
                None => Contents::of(request.values, &self.fields),
            };
            let scope = self.scope(request.owner);
            let sealed =
                sealer::seal((request.values, &contents), scope, version, fields, keyring.primary(), rng);
            sealed.with_index(column_text(&keyring.subkeys, &self.fields, request.values, in_the_clear))
        })?;
        // the old text is gone once this is written
        if request.import.is_some_and(|import| !import.over.is_empty()) {
            self.verify(&record, request.owner)?;
        }
        Ok(record)
    }

    /// The same record with tokens for the plain fields that had their own column, under its own key.
    ///
    /// # Errors
    /// `Busy` when that key is pending here, or destroyed; otherwise the errors of opening its record token.
    pub(crate) fn seal_rest(&self, request: StoreRequest<'_>, sent: Record) -> Result<Record> {
        let keyring = self.keyring.current();
        let state = keyring.get(sent.key).map(|key| key.info.state);
        if matches!(state, Some(KeyState::Pending | KeyState::Destroyed)) {
            let message =
                format!("key {} cannot seal in this process, so the record cannot be completed", sent.key);
            return Err(Error::new(ErrorKind::Busy, message).with_key_number(sent.key.0));
        }
        let (root, scope) = (keyring.opener(sent.key)?, self.scope(request.owner));
        random::with_rng(|rng| sealer::seal_rest(sent, request.values, scope, root, rng))?
    }

    /// The place of every field of a request.
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
    /// `InvalidInput`, naming the field, if the values do not form a valid record.
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
                return Err(invalid(format!("{field} is longer than the field allows")));
            }
            if !values.is_checked() && !holds(spec, json) {
                return Err(invalid(format!("{field} has a value that is not valid for the field")));
            }
        }
        // the record token is no longer than this
        let record = token_len(Field::RECORD, MAX_FIELDS * 64);
        let tokens = values.iter().map(|(field, json)| token_len(field, json.len()) + 1);
        if record + tokens.sum::<usize>() > MAX_SLOT {
            return Err(invalid("the sealed record is longer than 256 KiB".to_owned()));
        }
        match values.fields().any(|field| !self.fields.is_plain(field)) {
            true => refuse_secrets_in_actor(&self.fields, values),
            false => Err(invalid("the record is empty: no secret field is set".to_owned())
                .with_hint("set at least one secret field; to remove a record, delete it")),
        }
    }

    /// Opens a record. Reads the keyring again if the record names an unknown key.
    pub(crate) fn open(&self, record: &Record, owner: &Owner) -> Result<Opened> {
        let keyring = self.keyring.holding(record.key);
        let opened = sealer::open(record, self.scope(owner), keyring.opener(record.key)?, &self.fields);
        opened.map_err(|error| self.explain(record, error))
    }

    /// A record that does not open, and has fields that these credentials lack, belongs to another kind of credentials.
    fn explain(&self, record: &Record, error: Error) -> Error {
        let held = record.tokens().iter().map(|token| token.field);
        match error.kind() {
            ErrorKind::Unsealable => {
                let error = error.with_key_number(record.key.0);
                of_other_credentials(&self.fields, held).unwrap_or(error)
            }
            _ => error,
        }
    }

    /// The error for tokens without a record that another kind of credentials stored. Tokens under a key that the keyring
    /// does not hold belong to no other kind, because all kinds share one keyring.
    pub(crate) fn of_other_credentials(&self, found: &FoundRecords) -> Option<Error> {
        let opens = |key: KeyId| self.keyring.holding(key).opener(key).is_ok();
        let parts = found.parts.iter().filter(|(key, _)| opens(*key));
        of_other_credentials(&self.fields, parts.map(|(_, field)| *field))
    }

    /// Whether a record opens, and is a tombstone.
    pub(crate) fn is_tombstone(&self, record: &Record, owner: &Owner) -> Result<bool> {
        let contents = self.contents(record, owner);
        contents.map(|contents| contents.is_tombstone()).map_err(|error| self.explain(record, error))
    }

    /// Opens every token of a record. Returns what belongs to it.
    pub(crate) fn verify(&self, record: &Record, owner: &Owner) -> Result<Contents> {
        let keyring = self.keyring.holding(record.key);
        let root = keyring.opener(record.key)?;
        let verified = sealer::verify(record, self.scope(owner), root, &self.fields, |_, _| {});
        verified.map_err(|error| self.explain(record, error))
    }

    /// What is wrong with a record that was found, apart from its contents. Without its key, a missing field cannot be
    /// detected.
    pub(crate) fn problem(&self, found: &FoundRecord) -> Option<Error> {
        let error = found.record.as_ref().err()?;
        let unknown = found.key.and_then(|key| self.keyring.holding(key).opener(key).err());
        unknown.or_else(|| Some(error.clone()))
    }

    /// The texts of plain columns that belong to the record.
    pub(crate) fn vouched(&self, record: &Record, owner: &Owner) -> Result<PlainTexts> {
        let contents = self.contents(record, owner)?;
        Ok(sealer::vouched(&contents, record, &self.fields))
    }

    /// The rows that a record for the local file belongs to; empty without a database.
    pub(crate) fn rows(&self) -> OwnerRows {
        let rows = |postgres: &Postgres| OwnerRows {
            table: postgres.layout().rows_name(),
            database: postgres.identity(),
        };
        self.postgres.as_ref().map(rows).unwrap_or_default()
    }

    /// Whether a pending record is for the rows of this vault. Without a database it always is.
    pub(crate) fn waits_here(&self, pending: &LocalRecord) -> bool {
        pending.rows.may_be(&self.rows())
    }

    /// The record of a local entry.
    pub(crate) fn local_record(&self, text: &str) -> Result<Record> {
        Record::new(read_packed(text)?, PlainTexts::default())
    }
}

/// The error for tokens that do not open, or belong to no record, and name fields that these credentials do not have:
/// another kind of credentials stored them.
pub(crate) fn of_other_credentials(fields: &Fields, held: impl Iterator<Item = Field>) -> Option<Error> {
    let unknown = held.filter(|field| !field.is_reserved() && !fields.knows(*field));
    let unknown: Vec<_> = unknown.map(|field| field.to_string()).collect();
    let message = || {
        let (namespace, unknown) = (fields.namespace, unknown.join(", "));
        format!("a column holds tokens of fields that {namespace} does not have: {unknown}")
    };
    let error = || Error::new(ErrorKind::Configuration, message());
    let hint = "two kinds of credentials can share only the JSONB column: name separate text columns";
    (!unknown.is_empty()).then(|| error().with_hint(hint))
}

fn random_step(rng: &mut impl rand::Rng) -> u16 {
    (rng.next_u32() & 0xffff) as u16
}

/// The error of a write that gives up.
pub(crate) fn keeps_changing() -> Error {
    Error::new(ErrorKind::Busy, "gave up after several attempts: other writers kept changing this record")
}

/// A short random pause, longer in every round, so that two competing writers do not collide again.
pub(crate) async fn pause(round: u32) {
    let longer = 2u32.pow(round.min(6));
    let random = random::with_rng(|rng| rand::Rng::next_u32(rng) % (16 * longer)).unwrap_or(8);
    tokio::time::sleep(Duration::from_millis(u64::from(5 * longer + random))).await;
}
