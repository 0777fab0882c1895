//! What the catalogue says about the table.

pub(crate) mod detect;
pub(crate) mod picture;
pub(crate) mod row_visibility;
