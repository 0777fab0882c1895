//! Walks over every row of the table, and counts.

pub(crate) mod cursor;
#[cfg(feature = "admin")]
pub(crate) mod ended_writers;
#[cfg(feature = "admin")]
pub(crate) mod ledger;
#[cfg(feature = "admin")]
pub(crate) mod ledger_entries;
#[cfg(feature = "admin")]
pub(crate) mod old_clearing;
#[cfg(feature = "admin")]
pub(crate) mod old_column;
#[cfg(feature = "admin")]
pub(crate) mod old_places;
#[cfg(feature = "admin")]
pub(crate) mod old_values;
pub(crate) mod pages;
pub(crate) mod rows;
pub(crate) mod scan;
pub(crate) mod token_count;
pub(crate) mod tokens_outside;
