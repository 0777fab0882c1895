//! The vocabulary of our SQL: names, and what a token looks like.

pub(crate) mod names;
pub(crate) mod printed;
pub(crate) mod token;
