//! The ledger: an entry for every change of a record, which shows that a record went back or is gone. docs/LEDGER.md is the
//! manual.
//!
//! A service keeps copies of what it wrote outside of the database:
//!
//! ```no_run
//! use retell_vault::ledger::FolderSink;
//! use retell_vault::{Error, Keyring, Vault};
//!
//! async fn build(keyring: Keyring, url: &str) -> Result<Vault, Error> {
//!     Vault::builder(keyring).postgres(url).ledger_sink(FolderSink::new("/mnt/audit/ledger")).build().await
//! }
//! ```
//!
//! `Vault::begin_ledger`, `verify_ledger`, `list_ledger` and `export_ledger` need the feature `admin`.

#[cfg(feature = "admin")]
pub(crate) mod accept;
#[cfg(feature = "admin")]
pub(crate) mod begin;
#[cfg(feature = "admin")]
pub(crate) mod checkpoint;
#[cfg(feature = "admin")]
pub(crate) mod copies;
#[cfg(feature = "admin")]
pub(crate) mod export;
#[cfg(feature = "admin")]
pub(crate) mod list;
#[cfg(feature = "admin")]
pub(crate) mod note;
#[cfg(feature = "admin")]
pub(crate) mod owners;
#[cfg(feature = "admin")]
pub(crate) mod prune;
#[cfg(feature = "admin")]
pub(crate) mod verify;

pub use crate::store::ledger_sink::{CheckpointSink, FolderSink, Put, WriterSink};
pub use crate::store::waiting_entries::{IfNotNoted, LedgerBacklog, Reads};
#[cfg(feature = "admin")]
pub use accept::LedgerAccepted;
#[cfg(feature = "admin")]
pub use begin::LedgerBegun;
#[cfg(feature = "admin")]
pub use checkpoint::LedgerCheckpoint;
#[cfg(feature = "admin")]
pub use copies::LedgerCopies;
#[cfg(feature = "admin")]
pub use export::{LedgerExportOptions, LedgerExported};
#[cfg(feature = "admin")]
pub use list::{LedgerFilter, LedgerList, ListedEntry};
#[cfg(feature = "admin")]
pub use note::LedgerSigningKey;
#[cfg(feature = "admin")]
pub use prune::LedgerPruned;
#[cfg(feature = "admin")]
pub use verify::{LedgerDifference, LedgerGap, LedgerVerification};
