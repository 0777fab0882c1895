//! What a store and a load answer with.

use crate::error::{Error, ErrorKind, Result};
use crate::record::fields::Field;
use crate::record::placement::Place;
use crate::record::retell::RetellConfig;
use crate::record::version::Version;
use crate::store::core::{LoadedRecord, StoredRecord};

/// What became of a store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stored {
    /// The version of the record now.
    pub version: Version,
    /// Where every field that was set is.
    pub places: Vec<(Field, Place)>,
    /// Why the record is in the local file although a database was named.
    pub degraded: Option<String>,
    /// Why records that could not be read were replaced. Their text is kept in the local file.
    pub replaced: Vec<String>,
}

impl From<StoredRecord> for Stored {
    fn from(written: StoredRecord) -> Self {
        let StoredRecord { version, places, degraded, replaced } = written;
        Self { version, places, degraded, replaced }
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The database.
    Database,
    /// The local file.
    Local,
}

impl Source {
    /// `database` or `local`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Local => "local",
        }
    }
}

/// A configuration, and where it came from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// The configuration.
    pub config: RetellConfig,
    /// The version of its record.
    pub version: Version,
    /// Where it came from.
    pub source: Source,
    /// The database was not asked, and may hold a newer one.
    pub stale: bool,
    /// Plain fields that are left out because their column holds something that is not a valid value.
    pub ignored: Vec<Field>,
}

impl TryFrom<LoadedRecord> for Loaded {
    type Error = Error;

    fn try_from(read: LoadedRecord) -> Result<Self> {
        let config = read.opened.config.ok_or(ErrorKind::NotFound)?;
        let source = if read.local { Source::Local } else { Source::Database };
        Ok(Self { config, version: read.version, source, stale: read.stale, ignored: read.opened.ignored })
    }
}
