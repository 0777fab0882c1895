//! Opens what an application stored before. Pure: nothing here reads or writes a database.

pub(crate) mod bytes;
pub(crate) mod carexps;
pub(crate) mod fernet;
pub(crate) mod members;
pub(crate) mod old_value;
pub(crate) mod passwords;
pub(crate) mod plaintext;
pub(crate) mod raw_gcm;
#[cfg(test)]
mod tests;
