//! The ledger: an entry for every change of a record, which shows that a record went back or is gone. docs/LEDGER.md is the
//! manual.
//!
//! ```no_run
//! use retell_vault::{Error, Vault};
//!
//! async fn is_whole(vault: &Vault) -> Result<bool, Error> {
//!     Ok(vault.verify_ledger().await?.is_unbroken())
//! }
//! ```

pub(crate) mod begin;
pub(crate) mod owners;
pub(crate) mod verify;

pub use begin::LedgerBegun;
pub use verify::{LedgerDifference, LedgerGap, LedgerVerification};
