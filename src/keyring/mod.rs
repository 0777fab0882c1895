//! The root keys: their life, the file that holds them, and what opens it.

pub(crate) mod change;
pub(crate) mod file;
pub(crate) mod format;
pub(crate) mod keys;
pub(crate) mod life;
pub(crate) mod material;
pub(crate) mod private_file;
pub(crate) mod reload;
pub(crate) mod wrapping;

pub use crate::keyring::file::Keyring;
pub use crate::keyring::keys::{KeyInfo, KeyState};
pub use crate::keyring::wrapping::{
    Passphrase, ProviderFuture, RawKey, Wrapping, WrappingKey, WrappingKeyProvider,
};
pub use crate::record::token::KeyId;
