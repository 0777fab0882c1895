//! The description of the table in the catalogue.

pub(crate) mod access;
#[cfg(feature = "admin")]
pub(crate) mod all_tables;
pub(crate) mod definitions;
pub(crate) mod id_kind;
pub(crate) mod row_filter;
pub(crate) mod row_visibility;
pub(crate) mod snapshot;
pub(crate) mod statistics;
pub(crate) mod table;
pub(crate) mod table_column;
pub(crate) mod trusted;
