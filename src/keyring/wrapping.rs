//! Where the key that seals the keyring file comes from.

use std::fmt;
use std::path::Path;
use std::pin::Pin;

use argon2::{Algorithm, Argon2, Block, Params};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::material::Material;
use crate::keyring::private_file;

/// RFC 9106, section 4, second recommended choice: 64 MiB, 3 passes, 4 lanes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// What a header may ask for at most, checked before any memory is taken.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 32;
const MAX_LANES: u32 = 64;
const SALT: usize = 16;

/// The key that seals a keyring file: 32 uniform bytes, wiped when dropped.
pub struct WrappingKey(pub(crate) Material);

impl WrappingKey {
    /// A wrapping key from 32 uniform bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Material::copied(&Zeroizing::new(bytes)))
    }
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappingKey(…)")
    }
}

/// How the wrapping key of a keyring file is found again. Part of the file's header; not secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Wrapping {
    /// From a passphrase, by Argon2id version 0x13 (RFC 9106).
    Argon2id {
        /// 16 bytes in base64.
        salt: String,
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// 32 bytes that the operator keeps.
    Raw {},
    /// Whatever another provider needs, for example a key id and a wrapped key of a KMS.
    External {
        /// Which provider wrote it.
        provider: String,
        /// Its data.
        data: String,
    },
}

/// The future that a [`WrappingKeyProvider`] returns: `Box::pin(async move { … })`.
pub type ProviderFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A source of wrapping keys. Implement it to keep the wrapping key in a KMS.
///
/// A keyring file that this provider made stores the wrapping key encrypted by the KMS, and asks the KMS to decrypt it whenever
/// it
/// is opened:
///
/// ```no_run
/// use retell_vault::keyring::{ProviderFuture, Wrapping, WrappingKey, WrappingKeyProvider};
/// use retell_vault::{Error, Keyring};
/// # struct DataKey { plaintext: [u8; 32], ciphertext: String }
/// # struct KmsError;
/// # struct KmsClient;
/// # impl KmsClient {
/// #     async fn generate_data_key(&self, _: &str) -> Result<DataKey, KmsError> { Err(KmsError) }
/// #     async fn decrypt(&self, _: &str) -> Result<[u8; 32], KmsError> { Err(KmsError) }
/// # }
///
/// struct Kms {
///     client: KmsClient, // of your KMS
///     key_id: String,
/// }
///
/// impl WrappingKeyProvider for Kms {
///     fn create(&self) -> ProviderFuture<'_, (Wrapping, WrappingKey)> {
///         Box::pin(async move {
///             let made = self.client.generate_data_key(&self.key_id).await.map_err(refused)?;
///             let wrapping = Wrapping::External { provider: "kms".to_owned(), data: made.ciphertext };
///             Ok((wrapping, WrappingKey::new(made.plaintext)))
///         })
///     }
///
///     fn open<'a>(&'a self, wrapping: &'a Wrapping) -> ProviderFuture<'a, WrappingKey> {
///         Box::pin(async move {
///             let Wrapping::External { provider, data } = wrapping else { return Err(other_provider()) };
///             if provider != "kms" {
///                 return Err(other_provider());
///             }
///             self.client.decrypt(data).await.map(WrappingKey::new).map_err(refused)
///         })
///     }
/// }
///
/// fn refused(_: KmsError) -> Error {
///     Error::no_wrapping_key("the KMS gave no wrapping key", "check the role of this service, then start it again")
/// }
///
/// fn other_provider() -> Error {
///     Error::no_wrapping_key("the KMS did not wrap this keyring", "open it with the provider that made it")
/// }
///
/// # async fn example(client: KmsClient) -> Result<(), Error> {
/// let kms = Kms { client, key_id: "alias/retell-vault".to_owned() };
/// let keyring = Keyring::open("vault/keyring.json", &kms).await?;
/// # Ok(())
/// # }
/// ```
///
/// The vault sets no time limit: let the client of the KMS have one, or wrap [`Keyring::open`](crate::Keyring::open) in
/// `tokio::time::timeout`. Dropping the future is safe.
pub trait WrappingKeyProvider: Send + Sync {
    /// A wrapping key for a new keyring file, and how to find it again.
    ///
    /// # Errors
    /// Any error of the source; [`Error::no_wrapping_key`] creates such an error.
    fn create(&self) -> ProviderFuture<'_, (Wrapping, WrappingKey)>;

    /// The wrapping key of an existing keyring file.
    ///
    /// # Errors
    /// `KeyringLocked` if another kind of provider made the file; any error of the source.
    fn open<'a>(&'a self, wrapping: &'a Wrapping) -> ProviderFuture<'a, WrappingKey>;
}

/// A passphrase, stretched by Argon2id with 64 MiB, 3 passes and 4 lanes (RFC 9106, section 4).
///
/// That takes about 0.1 s, on a Tokio thread for blocking work, so other tasks keep running.
pub struct Passphrase(SecretString);

impl Passphrase {
    /// The minimum length for new keyrings.
    pub const MIN_CHARS: usize = 12;

    /// A passphrase. A new keyring requires at least 12 characters.
    pub fn new(passphrase: impl Into<String>) -> Self {
        Self(SecretString::from(passphrase.into()))
    }

    /// A passphrase from a file that only its owner can read: one line of UTF-8, at most 1 KiB. The
    /// end of the line does not belong to it.
    ///
    /// # Errors
    /// `InvalidInput` when it is missing, open to others, too long, empty or not one line of text.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let bytes = read_secret(path.as_ref()).map_err(|error| error.about("the passphrase file"))?;
        let refused = |problem| Error::new(ErrorKind::InvalidInput, format!("the passphrase file {problem}"));
        let text = std::str::from_utf8(&bytes).map_err(|_| refused("must hold UTF-8 text"))?;
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line {
            "" => Err(refused("is empty")),
            _ if line.contains(['\n', '\r']) => Err(refused("must hold one line")),
            _ => Ok(Self::new(line)),
        }
    }
}

/// What a private file holds that the operator wrote.
fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    private_file::read_private(path, ErrorKind::InvalidInput, 1024).map_err(|error| match error.kind() {
        ErrorKind::KeyringMissing => Error::new(ErrorKind::InvalidInput, error.to_string()),
        _ => error,
    })
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

impl WrappingKeyProvider for Passphrase {
    fn create(&self) -> ProviderFuture<'_, (Wrapping, WrappingKey)> {
        Box::pin(async move {
            let wrapping = self.new_wrapping()?;
            let key = self.open(&wrapping).await?;
            Ok((wrapping, key))
        })
    }

    fn open<'a>(&'a self, wrapping: &'a Wrapping) -> ProviderFuture<'a, WrappingKey> {
        Box::pin(async move {
            let (salt, params) = argon2id(wrapping)?;
            // wiped when the thread is done with it, also when nobody waits for the key any more
            let passphrase = self.0.clone();
            on_blocking_thread(move || stretch(passphrase.expose_secret().as_bytes(), &salt, params)).await
        })
    }
}

impl Passphrase {
    /// How a new keyring file is sealed under this passphrase.
    fn new_wrapping(&self) -> Result<Wrapping> {
        if self.0.expose_secret().chars().count() < Self::MIN_CHARS {
            let error =
                Error::new(ErrorKind::InvalidInput, "the passphrase must have at least 12 characters");
            return Err(
                error.with_hint("use five random words, or 32 random bytes as RETELL_VAULT_WRAPPING_KEY")
            );
        }
        let salt = random::system_bytes::<SALT>()?;
        let salt = STANDARD.encode(salt.as_ref());
        Ok(Wrapping::Argon2id { salt, memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES })
    }
}

/// The salt and the parameters of a header, checked before any memory is taken.
fn argon2id(wrapping: &Wrapping) -> Result<(Vec<u8>, Params)> {
    let Wrapping::Argon2id { salt, memory_kib, passes, lanes } = wrapping else {
        return Err(other_provider("a passphrase", wrapping));
    };
    let params = checked_params(*memory_kib, *passes, *lanes)?;
    let salt = STANDARD.decode(salt).ok().filter(|salt| salt.len() == SALT);
    Ok((salt.ok_or_else(|| header("the salt must be 16 bytes in base64"))?, params))
}

/// Runs what takes long without holding up the tasks of the runtime.
async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|ended| match ended.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(Error::no_wrapping_key(
            "the Tokio runtime ended before the passphrase was processed",
            "keep the runtime until the keyring is open",
        )),
    })
}

fn checked_params(memory_kib: u32, passes: u32, lanes: u32) -> Result<Params> {
    if memory_kib > MAX_MEMORY_KIB || passes > MAX_PASSES || lanes > MAX_LANES {
        return Err(header("the Argon2id parameters ask for more than 1 GiB, 32 passes or 64 lanes"));
    }
    Params::new(memory_kib, passes, lanes, Some(32))
        .map_err(|_| header("the Argon2id parameters are not valid"))
}

fn stretch(passphrase: &[u8], salt: &[u8], params: Params) -> Result<WrappingKey> {
    // the plain call leaves its memory matrix behind unwiped
    let mut memory = vec![Block::new(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params);
    let refused = |_| header("Argon2id refused the passphrase or its parameters");
    let key = Material::written_by(|key| {
        argon2.hash_password_into_with_memory(passphrase, salt, key, &mut memory).map_err(refused)
    });
    memory.iter_mut().for_each(Zeroize::zeroize);
    key.map(WrappingKey)
}

/// 32 bytes that the operator keeps: in an environment variable, a file, a secret manager.
pub struct RawKey(Material);

impl RawKey {
    /// A key from its base64 text, with or without white space around it.
    ///
    /// # Errors
    /// `InvalidInput` unless it is 32 bytes in standard base64.
    pub fn from_base64(text: &str) -> Result<Self> {
        let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new).ok();
        let key = bytes.and_then(|bytes| <&[u8; 32]>::try_from(bytes.as_slice()).ok().map(Material::copied));
        let error = || Error::new(ErrorKind::InvalidInput, "the wrapping key must be 32 bytes in base64");
        let key = key.ok_or_else(|| error().with_hint("create one with `openssl rand -base64 32`"))?;
        Ok(Self(key))
    }

    /// A key from a file that only its owner can read: 32 raw bytes.
    ///
    /// # Errors
    /// `InvalidInput` when it is missing, open to others, or has another length.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let bytes = read_secret(path.as_ref())?;
        let key = <&[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| {
            Error::new(ErrorKind::InvalidInput, "the wrapping key file must hold 32 raw bytes")
        })?;
        Ok(Self(Material::copied(key)))
    }
}

impl fmt::Debug for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawKey(…)")
    }
}

impl WrappingKeyProvider for RawKey {
    fn create(&self) -> ProviderFuture<'_, (Wrapping, WrappingKey)> {
        Box::pin(async move { Ok((Wrapping::Raw {}, WrappingKey(self.0.clone()))) })
    }

    fn open<'a>(&'a self, wrapping: &'a Wrapping) -> ProviderFuture<'a, WrappingKey> {
        Box::pin(async move {
            match wrapping {
                Wrapping::Raw {} => Ok(WrappingKey(self.0.clone())),
                _ => Err(other_provider("a raw wrapping key", wrapping)),
            }
        })
    }
}

fn other_provider(given: &str, wrapping: &Wrapping) -> Error {
    let (wanted, hint) = match wrapping {
        Wrapping::Argon2id { .. } => ("a passphrase", "set the passphrase (RETELL_VAULT_PASSPHRASE)"),
        Wrapping::Raw {} => ("a raw wrapping key", "set the wrapping key (RETELL_VAULT_WRAPPING_KEY)"),
        Wrapping::External { .. } => ("another provider", "use the provider that created it"),
    };
    let message = format!("the keyring opens with {wanted}, but {given} was given");
    Error::new(ErrorKind::KeyringLocked, message).with_hint(hint)
}

fn header(message: &str) -> Error {
    Error::new(ErrorKind::KeyringFile, format!("keyring header: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_with(memory_kib: u32, passes: u32, lanes: u32) -> Wrapping {
        Wrapping::Argon2id { salt: STANDARD.encode([0; SALT]), memory_kib, passes, lanes }
    }

    #[tokio::test]
    async fn a_header_that_asks_for_a_terabyte_is_refused_before_memory_is_taken() {
        let passphrase = Passphrase::new("correct horse battery");
        for wrapping in [
            header_with(1 << 30, 3, 4),
            header_with(65536, u32::MAX, 4),
            header_with(65536, 3, u32::MAX),
            header_with(0, 0, 0),
        ] {
            assert_eq!(passphrase.open(&wrapping).await.unwrap_err().kind(), ErrorKind::KeyringFile);
        }
    }

    /// Reference value: `argon2-cffi` 25.1, `hash_secret_raw(b"correct horse battery", bytes(16), 3, 65536, 4, 32, Type.ID)`.
    #[tokio::test]
    async fn stretching_agrees_with_another_implementation() {
        let key = Passphrase::new("correct horse battery").open(&header_with(65536, 3, 4)).await.unwrap();
        let hex: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("../../tests/vectors/argon2id.hex").trim());
    }

    #[tokio::test]
    async fn wrong_lengths_of_raw_keys_and_short_passphrases_are_refused() {
        assert!(RawKey::from_base64("").is_err());
        assert!(RawKey::from_base64(&STANDARD.encode([1; 31])).is_err());
        assert!(RawKey::from_base64(&STANDARD.encode([1; 32])).is_ok());
        assert!(Passphrase::new("short").create().await.is_err());
    }

    #[test]
    fn a_passphrase_file_is_private_and_one_line() {
        use std::fs;
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        let read = |content: &[u8], mode: u32| {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Passphrase::from_file(&path).map(|passphrase| passphrase.0.expose_secret().to_owned())
        };
        for content in ["correct horse battery", "correct horse battery\n", "correct horse battery\r\n"] {
            assert_eq!(read(content.as_bytes(), 0o600).unwrap(), "correct horse battery");
        }
        for bad in [&b""[..], b"\n", b"\r\n", b"one\ntwo\n", b"one\n\n", b"\xff\xfe", &[b'x'; 1025]] {
            assert_eq!(read(bad, 0o600).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert!(read(b"correct horse battery", 0o640).unwrap_err().hint().starts_with("chmod 600"));
        fs::remove_file(&path).unwrap();
        let missing = Passphrase::from_file(&path).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::InvalidInput);
        assert!(RawKey::from_file(&path).is_err());
    }
}
