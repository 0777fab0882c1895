//! The ledger for operators: it is begun, verified, listed, and what was found is accepted.

pub(crate) mod begin;
pub(crate) mod owners;
pub(crate) mod verify;
