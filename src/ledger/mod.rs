//! The ledger: an authenticated entry for every change of a record, so that a missing entry and a record that went back are
//! found.

pub(crate) mod chain_check;
pub(crate) mod entry;
pub(crate) mod numbers;
pub(crate) mod owner_check;
