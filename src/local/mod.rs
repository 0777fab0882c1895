//! The local file: sealed writes that the database cannot take, in SQLite.

#[cfg(not(feature = "local-file"))]
#[path = "absent.rs"]
pub(crate) mod file;

pub(crate) mod entries;
#[cfg(feature = "local-file")]
pub(crate) mod errors;
#[cfg(feature = "local-file")]
pub(crate) mod file;
#[cfg(feature = "local-file")]
pub(crate) mod files;
#[cfg(feature = "local-file")]
pub(crate) mod guard;
#[cfg(feature = "local-file")]
pub(crate) mod inspect;
#[cfg(feature = "local-file")]
pub(crate) mod journal;
#[cfg(feature = "local-file")]
pub(crate) mod kept;
#[cfg(feature = "local-file")]
pub(crate) mod ledger;
#[cfg(feature = "local-file")]
pub(crate) mod meta;
#[cfg(feature = "local-file")]
pub(crate) mod nothing_pending;
#[cfg(feature = "local-file")]
pub(crate) mod pending;
#[cfg(feature = "local-file")]
pub(crate) mod pushes;
#[cfg(feature = "local-file")]
pub(crate) mod sqlite;
#[cfg(feature = "local-file")]
pub(crate) mod unsent;
#[cfg(feature = "local-file")]
pub(crate) mod walk;

#[cfg(all(test, feature = "local-file"))]
mod tests;
