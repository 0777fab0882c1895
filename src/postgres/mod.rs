//! The application's table: writes records and reads rows. It knows no keys and no configurations.

pub(crate) mod catalogue;
pub(crate) mod connection;
pub(crate) mod sql;
pub(crate) mod statements;
pub(crate) mod vault_schema;
pub(crate) mod walk;
