//! The application's table: records in, rows out. Knows no key and no configuration.

pub(crate) mod catalogue;
pub(crate) mod connection;
pub(crate) mod sql;
pub(crate) mod statements;
pub(crate) mod walk;
