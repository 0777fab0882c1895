//! The chain of entries that each writer of the ledger leaves: their bytes, their numbers, and the checks. Pure functions.

#[cfg(feature = "admin")]
pub(crate) mod acceptance;
#[cfg(feature = "admin")]
pub(crate) mod chain_check;
#[cfg(feature = "admin")]
pub(crate) mod checkpoint;
pub(crate) mod entry;
pub(crate) mod line;
#[cfg(feature = "local-file")]
pub(crate) mod local_event;
#[cfg(not(feature = "local-file"))]
#[path = "absent.rs"]
pub(crate) mod local_event;
pub(crate) mod numbers;
pub(crate) mod owner_check;
