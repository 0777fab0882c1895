//! Keyrings: their sources and their changes, and what a wrong or destroyed key means.

mod changes;
mod evidence;
mod sources;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod vault_schema;
mod wrong_keyring;
