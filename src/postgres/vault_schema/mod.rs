//! The schema `retell_vault`: the vault's own tables for the keyring, for notes of the hosts, for local files, and for the
//! ledger.

pub(crate) mod generations;
pub(crate) mod hosts;
pub(crate) mod ledger;
pub(crate) mod newest;
pub(crate) mod objects;
pub(crate) mod pushes;
pub(crate) mod removed;
pub(crate) mod state;
