//! Opens what an application stored before. Only the scan reads the database, and nothing here writes to it.

pub(crate) mod bytes;
pub(crate) mod carexps;
pub(crate) mod fernet;
pub(crate) mod members;
pub(crate) mod old_value;
pub(crate) mod passwords;
pub(crate) mod plaintext;
pub(crate) mod raw_gcm;
pub(crate) mod scan;
#[cfg(test)]
mod tests;
