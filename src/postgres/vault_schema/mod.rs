//! The schema `retell_vault`: the vault's own tables for the keyring and for notes of the hosts.

pub(crate) mod generations;
pub(crate) mod hosts;
pub(crate) mod objects;
