//! Connections with time limits that are safe behind a transaction pooler, and the meaning of their errors.

pub(crate) mod acting_owner;
pub(crate) mod callers_transaction;
pub(crate) mod direct;
pub(crate) mod errors;
pub(crate) mod options;
pub(crate) mod pool;
mod refusal;
pub(crate) mod route;
#[cfg(feature = "admin")]
pub(crate) mod snapshot;
pub(crate) mod transaction;
pub(crate) mod watch;
