//! Retell's credentials: their typed face, which the vault below knows nothing of.

pub(crate) mod config;
pub(crate) mod json;
pub(crate) mod layout;
pub(crate) mod members_twice;
pub(crate) mod values;
