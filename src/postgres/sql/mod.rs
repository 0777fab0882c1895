//! Building blocks of the vault's SQL: names, and the form of a token.

pub(crate) mod names;
pub(crate) mod printed;
pub(crate) mod token;
