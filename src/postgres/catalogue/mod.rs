//! What the catalogue says about the table.

pub(crate) mod access;
pub(crate) mod definitions;
pub(crate) mod row_visibility;
pub(crate) mod snapshot;
pub(crate) mod table;
