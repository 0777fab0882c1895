//! The root keys: their life, the file that holds them, and what opens it.
//!
//! ```
//! use retell_vault::keyring::{KeyState, RawKey};
//! use retell_vault::{Error, Keyring};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! // 32 random bytes in base64, from your secret manager
//! let secret = RawKey::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")?;
//! let keyring = Keyring::prepare(folder.path().join("vault/keyring.json"), &secret).await?;
//! assert_eq!(keyring.keys()[0].state, KeyState::Primary);
//! # Ok(())
//! # }
//! ```

pub(crate) mod change;
pub(crate) mod change_file;
pub(crate) mod change_table;
pub(crate) mod file;
pub(crate) mod format;
pub(crate) mod generations;
pub(crate) mod keys;
pub(crate) mod life;
pub(crate) mod material;
pub(crate) mod mounted_file;
pub(crate) mod next_generation;
pub(crate) mod pin;
pub(crate) mod private_file;
pub(crate) mod reload;
pub(crate) mod source;
pub(crate) mod subkeys;
pub(crate) mod wrapping;

pub use crate::keyring::file::Keyring;
pub use crate::keyring::keys::{KeyInfo, KeyState};
pub use crate::keyring::pin::KeyringPin;
pub use crate::keyring::wrapping::{
    Passphrase, ProviderFuture, RawKey, Wrapping, WrappingKey, WrappingKeyProvider,
};
pub use crate::record::token::KeyId;
