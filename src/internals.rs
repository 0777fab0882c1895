//! For the programs in `benches/` and `tests/` only. This is no API: anything here changes or goes without notice.

use zeroize::Zeroizing;

use crate::crypto::aead::{self, RecordKey, RootSecret, Scope};
use crate::crypto::random;
use crate::crypto::sealer;
use crate::error::Result;
use crate::keyring::file::Keyring;
use crate::layout::layout::Layout;
use crate::record::contents::Contents;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::record::Record;
use crate::record::token::{KeyId, OVERHEAD, Token};
use crate::record::values::Values;
use crate::record::version::Version;
use crate::rotation::options::RotateOptions;

/// Seals and opens records of one owner, as the vault does.
#[derive(Debug)]
pub struct Sealer {
    root: RootSecret,
    owner: Owner,
    layout: Layout,
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
pub fn open_token(keyring: &Keyring, owner: &Owner, text: &str) -> Result<Zeroizing<Vec<u8>>> {
    let token: Token = text.parse()?;
    aead::open(keyring.current().opener(token.key)?, Scope { namespace: "retell", owner }, &token)
}

/// A sealed record.
#[derive(Debug)]
pub struct Sealed(Record);

impl Sealer {
    /// Under a root key.
    pub fn new(material: &[u8; 32], owner: Owner) -> Self {
        Self { root: RootSecret::new(material), owner, layout: Layout::new() }
    }

    fn scope(&self) -> Scope<'_> {
        Scope { namespace: "retell", owner: &self.owner }
    }

    /// All values, also plain ones, get a token; the record token is one more.
    ///
    /// # Errors
    /// `Entropy`.
    pub fn seal(&self, values: &Values) -> Result<Sealed> {
        let version = Version::next(1_700_000_000_000, None, 0);
        let seal = |rng: &mut _| {
            sealer::seal(
                (values, &Contents::of(values, &self.layout.fields)),
                self.scope(),
                version,
                (&self.layout.fields, &[]),
                (KeyId(7), &self.root),
                rng,
            )
        };
        random::with_rng(seal).map(Sealed)
    }

    /// # Errors
    /// `Unsealable`.
    pub fn open(&self, sealed: &Sealed) -> Result<Option<Values>> {
        Ok(sealer::open(&sealed.0, self.scope(), &self.root, &self.layout.fields)?.values)
    }

    /// One token by itself.
    ///
    /// # Errors
    /// `Entropy`.
    pub fn seal_token(&self, json: &[u8]) -> Result<SealedToken> {
        let version = Version::next(1_700_000_000_000, None, 0);
        let seal = |rng: &mut _| {
            let key = RecordKey::fresh(&self.root, KeyId(7), version, self.scope(), rng);
            key.seal(Field::named("api_key"), json, rng)
        };
        random::with_rng(seal).map(SealedToken)
    }

    /// # Errors
    /// `Unsealable`.
    pub fn open_token(&self, sealed: &SealedToken) -> Result<Zeroizing<Vec<u8>>> {
        aead::open(&self.root, self.scope(), &sealed.0)
    }
}

impl Sealed {
    /// The lengths of the padded plaintexts, the record token's first.
    pub fn message_lengths(&self) -> Vec<usize> {
        self.0.tokens().iter().map(|token| token.body.len() - OVERHEAD).collect()
    }
}

/// A sealed value.
#[derive(Debug)]
pub struct SealedToken(Token);

impl SealedToken {
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
