//! Signed notes: a text, and an Ed25519 signature of it, in the form of <https://c2sp.org/signed-note>.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::private_file::{read_private, write_new_private};

/// The name of a key, in its texts and in the signatures by it.
const NAME: &str = "retell-vault-ledger";
/// Ed25519, as signed notes number algorithms.
const ALGORITHM: u8 = 1;
/// Longer than the file of a key.
const MAX_FILE: u64 = 1024;
const PRIVATE: &str = "PRIVATE+KEY+";
/// In front of a signature.
const DASH: &str = "— ";

/// The key that signs checkpoints of the ledger. Keep it where the application cannot read it: anyone who has it can sign a
/// checkpoint of a ledger that went back.
pub struct LedgerSigningKey {
    key: SigningKey,
}

impl LedgerSigningKey {
    /// A new one.
    ///
    /// # Errors
    /// `Entropy`.
    pub fn generate() -> Result<Self> {
        let seed = Zeroizing::new(random::system_bytes::<32>()?);
        Ok(Self { key: SigningKey::from_bytes(&seed) })
    }

    /// Creates one in a new private file.
    ///
    /// # Errors
    /// `KeyringExists` if there is a file: nothing was changed; `Configuration` if it cannot be created; `Entropy`.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let key = Self::generate()?;
        let text = Zeroizing::new(format!("{}\n", *key.secret_text()));
        write_new_private(path.as_ref(), text.as_bytes(), ErrorKind::Configuration).map_err(|error| {
            error.with_hint("name a new file, in a folder that the application cannot read")
        })?;
        Ok(key)
    }

    /// Reads the file of [`create`](Self::create). No other user may have access to it.
    ///
    /// # Errors
    /// `Configuration` if there is no such file, or others can open it; `InvalidInput` if it holds no such key.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let content =
            read_private(path, ErrorKind::Configuration, MAX_FILE).map_err(|error| match error.kind() {
                ErrorKind::KeyringMissing => Error::new(ErrorKind::Configuration, error.to_string())
                    .with_hint("`retell-vault ledger signing-key init` creates one"),
                _ => error,
            })?;
        let text = std::str::from_utf8(&content).unwrap_or_default();
        Self::from_text(text).map_err(|error| error.about(path.display()))
    }

    /// Reads the text of [`secret_text`](Self::secret_text).
    ///
    /// # Errors
    /// `InvalidInput`. It does not repeat the text.
    pub fn from_text(text: &str) -> Result<Self> {
        let no_key = || {
            Error::new(ErrorKind::InvalidInput, "this is not a key that signs checkpoints")
                .with_hint("`retell-vault ledger signing-key init` creates one")
        };
        let seed = text.trim().strip_prefix(PRIVATE).and_then(key_bytes).ok_or_else(no_key)?;
        let key = Self { key: SigningKey::from_bytes(&seed) };
        // the id in the text detects a mistyped key
        match *key.secret_text() == text.trim() {
            true => Ok(key),
            false => Err(no_key()),
        }
    }

    /// The key as one line of text, to be kept secret.
    pub fn secret_text(&self) -> Zeroizing<String> {
        let seed = Zeroizing::new(self.key.to_bytes());
        Zeroizing::new(format!("{PRIVATE}{}", *key_text(self.id(), &seed)))
    }

    /// The line by which everybody can check its signatures.
    pub fn verifying_text(&self) -> String {
        key_text(self.id(), self.key.verifying_key().as_bytes()).to_string()
    }

    fn id(&self) -> [u8; 4] {
        key_id(self.key.verifying_key().as_bytes())
    }

    /// The text, an empty line, and the signature.
    pub(crate) fn sign(&self, text: &str) -> String {
        let mut signature = self.id().to_vec();
        signature.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        format!("{text}\n{DASH}{NAME} {}\n", STANDARD.encode(signature))
    }
}

impl fmt::Debug for LedgerSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerSigningKey").field("verifying", &self.verifying_text()).finish()
    }
}

/// The text of a note that the key of `verifying_text` signed. Signatures by other keys are passed over.
///
/// # Errors
/// `InvalidInput` for a text that is no such key; `LedgerBroken` without a valid signature of it.
pub(crate) fn signed_text<'n>(note: &'n str, verifying_text: &str) -> Result<&'n str> {
    let key = key_bytes(verifying_text.trim());
    let key = key.and_then(|key| VerifyingKey::from_bytes(&key).ok()).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "this is not a key that verifies checkpoints")
            .with_hint("`retell-vault ledger signing-key show` prints it")
    })?;
    let is_signed = |(text, signatures): (&'n str, &str)| {
        let ours = format!("{DASH}{NAME} ");
        let signature = |line: &str| -> Option<[u8; 68]> {
            STANDARD.decode(line.strip_prefix(&ours)?).ok()?.try_into().ok()
        };
        let is_valid = |bytes: [u8; 68]| {
            let (id, signature) = bytes.split_at(4);
            let signature = Signature::from_slice(signature);
            id == key_id(key.as_bytes())
                && signature.is_ok_and(|signature| key.verify_strict(text.as_bytes(), &signature).is_ok())
        };
        signatures.lines().filter_map(signature).any(is_valid)
    };
    // the empty line is the last one of the note
    let split = note.rfind("\n\n").map(|at| (&note[..=at], &note[at + 2..]));
    split.filter(|parts| is_signed(*parts)).map(|(text, _)| text).ok_or_else(|| {
        Error::new(ErrorKind::LedgerBroken, "the checkpoint has no valid signature of this key")
            .with_hint("it was changed, or another key signed it")
    })
}

/// The name, the id of the public key, and a key, public or secret.
fn key_text(id: [u8; 4], key: &[u8; 32]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(vec![ALGORITHM]);
    bytes.extend_from_slice(key);
    Zeroizing::new(format!(
        "{NAME}+{:08x}+{}",
        u32::from_be_bytes(id),
        *Zeroizing::new(STANDARD.encode(&*bytes))
    ))
}

/// The key in such a text. The id is not compared.
fn key_bytes(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let (_, key) = text.strip_prefix(NAME)?.strip_prefix('+')?.split_once('+')?;
    let bytes = Zeroizing::new(STANDARD.decode(key).ok()?);
    let (algorithm, key) = bytes.split_first()?;
    let key = <[u8; 32]>::try_from(key).ok().filter(|_| *algorithm == ALGORITHM)?;
    Some(Zeroizing::new(key))
}

fn key_id(public: &[u8; 32]) -> [u8; 4] {
    let hash =
        Sha256::new().chain_update(NAME).chain_update([b'\n', ALGORITHM]).chain_update(public).finalize();
    *hash.first_chunk().expect("32 bytes are longer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> LedgerSigningKey {
        LedgerSigningKey { key: SigningKey::from_bytes(&[7; 32]) }
    }

    #[test]
    fn a_note_is_opened_with_its_key_alone() {
        let key = key();
        let note = key.sign("one\n\ntwo\n");
        let verifying = key.verifying_text();
        assert_eq!(signed_text(&note, &verifying).unwrap(), "one\n\ntwo\n");
        let other = LedgerSigningKey::generate().unwrap();
        assert_eq!(signed_text(&note, &other.verifying_text()).unwrap_err().kind(), ErrorKind::LedgerBroken);
        // a second signature does not disturb
        let both = format!("{note}{}", other.sign("").trim_start());
        assert_eq!(signed_text(&both, &verifying).unwrap(), "one\n\ntwo\n");
        let broken =
            [note.replacen("one", "two", 1), note.replace(DASH, "- "), "one\n".to_owned(), String::new()];
        for note in broken {
            assert_eq!(signed_text(&note, &verifying).unwrap_err().kind(), ErrorKind::LedgerBroken, "{note}");
        }
        assert_eq!(signed_text(&note, "no key").unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_key_is_read_as_it_was_written_and_is_not_printed() {
        let key = key();
        let text = key.secret_text();
        assert_eq!(*LedgerSigningKey::from_text(&text).unwrap().secret_text(), *text);
        let secret = text.splitn(5, '+').last().unwrap();
        assert!(!format!("{key:?}").contains(secret));
        for broken in ["", PRIVATE, key.verifying_text().as_str(), &text.replacen("retell", "Retell", 1)] {
            let error = LedgerSigningKey::from_text(broken).unwrap_err();
            assert!(error.kind() == ErrorKind::InvalidInput && !error.to_string().contains(secret));
        }
    }

    /// Python's `cryptography` made these texts, with the seed 07…07.
    #[test]
    fn the_bytes_are_those_of_the_documentation() {
        let key = key();
        assert_eq!(
            key.verifying_text(),
            "retell-vault-ledger+d0136825+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs"
        );
        assert_eq!(
            key.sign("retell-vault/ledger\n"),
            "retell-vault/ledger\n\n— retell-vault-ledger 0BNoJdcdIiAkFJP9U4a3o8qKZN6Sc/sHr7srAofD7MG5UCGgLNKwaTJFj6NXM/bJ08OpghHV7a5IOeXm0COJcu2DSwA=\n"
        );
    }
}
