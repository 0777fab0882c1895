//! Opens what an application stored before, and imports it.

pub(crate) mod by_field;
pub(crate) mod bytes;
pub(crate) mod candidate;
pub(crate) mod carexps;
pub(crate) mod clear;
pub(crate) mod decide;
pub(crate) mod fernet;
pub(crate) mod mark;
pub(crate) mod members;
pub(crate) mod old_value;
pub(crate) mod on_read;
pub(crate) mod owner_pages;
pub(crate) mod page;
pub(crate) mod passwords;
pub(crate) mod plaintext;
pub(crate) mod raw_gcm;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod scan;
pub(crate) mod sources;
pub(crate) mod tally;
#[cfg(test)]
mod tests;
