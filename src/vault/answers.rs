//! The results of a store and a load.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::placement::Place;
use crate::record::credentials::Credentials;
use crate::record::field::Field;
use crate::record::values::Values;
use crate::record::version::Version;
use crate::retell::config::RetellConfig;
use crate::store::core::{LoadedRecord, StoredRecord};
use crate::store::degraded::Degraded;
use crate::store::modify::Changed;

/// The result of a store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stored {
    /// The version of the record now.
    pub version: Version,
    /// How many rows of the table hold the record: more than one if the owner has several. 0: it is in the local file.
    pub rows: u64,
    /// Where every field that was set is.
    pub places: Vec<(Field, Place)>,
    /// Why the record is in the local file although a database was named.
    pub degraded: Option<Degraded>,
    /// Why records that could not be read were replaced. Their text is kept in the local file.
    pub replaced: Vec<String>,
}

impl From<StoredRecord> for Stored {
    fn from(written: StoredRecord) -> Self {
        let StoredRecord { version, rows, places, degraded, replaced } = written;
        Self { version, rows, places, degraded, replaced }
    }
}

/// The result of a write in a transaction of the caller. It describes what is stored once the transaction commits. If it rolls
/// back, none of this was stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Uncommitted {
    /// The version that the record will have.
    pub version: Version,
    /// How many rows of the table will hold the record: more than one if the owner has several.
    pub rows: u64,
    /// Where every field that was set will be.
    pub places: Vec<(Field, Place)>,
    /// Why records that could not be read will be replaced. Their text is already kept in the local file.
    pub replaced: Vec<String>,
}

impl From<StoredRecord> for Uncommitted {
    fn from(written: StoredRecord) -> Self {
        let StoredRecord { version, rows, places, replaced, .. } = written;
        Self { version, rows, places, replaced }
    }
}

/// The source of a loaded record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The database.
    Database,
    /// The local file.
    Local,
    /// A source of the layout, because the record could not be stored: see [`Loaded::not_stored`].
    OldPlace,
}

impl Source {
    /// `database`, `local` or `old_place`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Local => "local",
            Self::OldPlace => "old_place",
        }
    }
}

/// The result of a load: the credentials, their source, and anything unusual about them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded<C = RetellConfig> {
    /// The credentials.
    pub config: C,
    /// The version of its record.
    pub version: Version,
    /// Where it came from.
    pub source: Source,
    /// There may be a newer record: the database was not asked, or it returned an older record than before, as a
    /// replica, a restored database or a transaction with an older snapshot does.
    pub stale: bool,
    /// The version of the newer record that this process has opened or stored.
    pub seen: Option<Version>,
    /// Plain fields that are omitted because their column holds an invalid value.
    pub ignored: Vec<Field>,
    /// Plain fields whose column does not hold what was stored: another program changed, cleared or filled it. `config`
    /// has the column's value, unless the field is in `ignored` too.
    ///
    /// # Security
    /// Any role that can write the table can do that. Check such a value, for example a webhook address, before you use it.
    pub changed_outside: Vec<Field>,
    /// Fields that this program does not know because a newer version stored them. They are not in `config`. A
    /// store replaces the whole record and loses them.
    pub unknown: Vec<Field>,
    /// An import stored this record, and nothing was saved since.
    pub imported: bool,
    /// Why this load could not store what it imported. `config` then has the old values, and `version` the version that the
    /// record would have. Set only with `VaultBuilder::import_on_read`.
    pub not_stored: Option<Error>,
    /// Why the [ledger](crate::ledger) could not take this read before it was served. Set only with
    /// [`IfNotNoted::ServeAndSay`](crate::ledger::IfNotNoted::ServeAndSay).
    pub not_noted: Option<Error>,
}

impl<C> Loaded<C> {
    pub(super) fn with_not_noted(self, not_noted: &Option<Error>) -> Self {
        Self { not_noted: not_noted.clone(), ..self }
    }
}

/// The credentials of a record; `None` for a tombstone.
///
/// # Errors
/// `Unsealable` for a value that its field cannot hold.
pub(super) fn credentials<C: Credentials>(values: Option<Values>, unknown: &[Field]) -> Result<Option<C>> {
    let Some(mut values) = values else { return Ok(None) };
    unknown.iter().for_each(|field| values.put(*field, None));
    C::from_values(values).map(Some)
}

/// Lets a caller change the credentials of a record.
///
/// # Errors
/// `NotFound` for a tombstone; the error of `change`.
pub(super) fn change_credentials<C: Credentials>(
    values: Values,
    unknown: &[Field],
    change: &mut impl FnMut(&mut C) -> Result<()>,
) -> Result<Changed> {
    let mut config: C = credentials(Some(values), unknown)?.ok_or(ErrorKind::NotFound)?;
    let before = config.to_values();
    change(&mut config)?;
    Ok(Changed { before, after: config.to_values() })
}

impl<C: Credentials> TryFrom<LoadedRecord> for Loaded<C> {
    type Error = Error;

    fn try_from(read: LoadedRecord) -> Result<Self> {
        let LoadedRecord { opened, version, local, stale, seen, not_stored, .. } = read;
        let config = credentials(opened.values, &opened.unknown)?.ok_or(ErrorKind::NotFound)?;
        let source = match (local, &not_stored) {
            (true, _) => Source::Local,
            (false, Some(_)) => Source::OldPlace,
            (false, None) => Source::Database,
        };
        let (ignored, changed_outside, unknown) = (opened.ignored, opened.changed_outside, opened.unknown);
        let imported = opened.imported_from.is_some();
        Ok(Self {
            config,
            version,
            source,
            stale,
            seen,
            ignored,
            changed_outside,
            unknown,
            imported,
            not_stored,
            not_noted: None,
        })
    }
}
