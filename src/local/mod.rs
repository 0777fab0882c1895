//! The local file: what the database cannot take, sealed, in SQLite.

pub(crate) mod errors;
pub(crate) mod file;
pub(crate) mod files;
pub(crate) mod guard;
pub(crate) mod inspect;
pub(crate) mod journal;
pub(crate) mod kept;
pub(crate) mod meta;
pub(crate) mod nothing_pending;
pub(crate) mod pending;
pub(crate) mod sqlite;
pub(crate) mod walk;

#[cfg(test)]
mod tests;
