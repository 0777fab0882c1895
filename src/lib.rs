//! placeholder
#![allow(missing_docs, dead_code)]
pub(crate) mod aead;
pub(crate) mod config;
pub(crate) mod disk;
pub(crate) mod entropy;
pub(crate) mod error;
pub(crate) mod field;
pub(crate) mod keyring;
pub(crate) mod layout;
pub(crate) mod owner;
pub(crate) mod placement;
pub(crate) mod record;
pub(crate) mod sealer;
pub(crate) mod token;
pub(crate) mod version;
pub use config::RetellConfig;
pub use error::*;
pub use field::Field;
pub use owner::Owner;
pub struct VaultBuilder;
