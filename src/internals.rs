//! For the programs in `benches/` and `tests/` only. This is no API: anything here changes or goes without notice.

use zeroize::Zeroizing;

use crate::crypto::aead::{self, RootSecret};
use crate::crypto::random;
use crate::error::Result;
use crate::keyring::file::KeyringFile;
use crate::record::fields::Field;
use crate::record::owner::Owner;
use crate::record::token::{KeyId, Token};
use crate::record::version::Version;
use crate::rotation::options::RotateOptions;

/// Seals and opens single API keys of one owner, as the vault does.
#[derive(Debug)]
pub struct Sealer {
    root: RootSecret,
    owner: Owner,
}

/// Options for a rotation that leaves one place out: a column, or `pending`, `replica`, `kept`. For the
/// test that such a rotation is never called complete.
pub fn rotate_without(mut options: RotateOptions, place: &str) -> RotateOptions {
    options.without = Some(place.to_owned());
    options
}

/// Opens one token under the key of the keyring that it names.
///
/// # Errors
/// `Malformed`, `UnknownKey`, `Unsealable`.
pub fn open_token(keyring: &KeyringFile, owner: &Owner, text: &str) -> Result<Zeroizing<Vec<u8>>> {
    let token: Token = text.parse()?;
    aead::open(keyring.current().opener(token.key)?, owner, &token)
}

/// A sealed value.
#[derive(Debug)]
pub struct Sealed(Token);

impl Sealer {
    /// Under a root key.
    pub fn new(material: &[u8; 32], owner: Owner) -> Self {
        Self { root: RootSecret::new(material), owner }
    }

    /// # Errors
    /// `Entropy`.
    pub fn seal(&self, json: &[u8]) -> Result<Sealed> {
        let version = Version::next(1_700_000_000_000, None, 0);
        let seal =
            |rng: &mut _| aead::seal(&self.root, KeyId(7), version, &self.owner, Field::ApiKey, json, rng);
        random::with_rng(seal).map(Sealed)
    }

    /// # Errors
    /// `Unsealable`.
    pub fn open(&self, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>> {
        aead::open(&self.root, &self.owner, &sealed.0)
    }
}

impl Sealed {
    /// The token.
    pub fn to_text(&self) -> String {
        self.0.to_string()
    }

    /// # Errors
    /// `Malformed`, `UnsupportedFormat`.
    pub fn parse(text: &str) -> Result<Self> {
        text.parse().map(Self)
    }
}
