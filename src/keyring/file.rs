//! The keyring file: JSON around root keys that are sealed under a wrapping key.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::aead::{decrypt_file, encrypt_file};
use crate::disk;
use crate::entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::wrapping::{Wrapping, WrappingKey, WrappingKeyProvider};
use crate::keyring::{KeyInfo, KeyState, Keyring, Material, RootKey};
use crate::token::{KeyId, NONCE};
use crate::version::Millis;

const FORMAT: &str = "retell-vault-keyring";
const VERSION: u32 = 1;
/// A keyring of a thousand keys is about 300 KiB.
const MAX_FILE: u64 = 1024 * 1024;
/// How often an unknown key id may make us look at the file again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A keyring file that was opened: the root keys of one environment.
///
/// Clones share their state. A running vault notices when the file on disk has got a new generation.
///
/// # Security
/// Losing the file, or what opens it, means losing everything that was sealed with it: back both up,
/// in different places. The root keys and the wrapping key stay in memory, and are wiped when dropped.
#[derive(Clone)]
pub struct KeyringFile {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    wrapping: Wrapping,
    key: WrappingKey,
    keys: RwLock<Arc<Keyring>>,
    seen: Mutex<Seen>,
}

/// When the file was looked at, and what it looked like.
struct Seen {
    at: Option<Instant>,
    stamp: Option<(u64, u64, i64, i64)>,
}

/// What stands in the clear at the head of the file. Its JSON, in this order and without white
/// space, is the associated data of the seal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    generation: u64,
    wrapping: Wrapping,
    nonce: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer {
    header: Header,
    sealed: String,
}

/// The sealed part. Read only: it is printed by [`print_content`], which wipes what it made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    stable: Base64Key,
    keys: Vec<ContentKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContentKey {
    id: String,
    state: String,
    created_at: u64,
    state_since: u64,
    fingerprint: String,
    material: Option<Base64Key>,
}

/// 32 bytes in base64, wiped when dropped.
#[derive(Deserialize)]
#[serde(transparent)]
struct Base64Key(Zeroizing<String>);

impl Base64Key {
    fn decode(&self) -> Result<Material> {
        let mut key = Zeroizing::new([0; 32]);
        match STANDARD.decode_slice(self.0.as_bytes(), key.as_mut()) {
            Ok(32) => Ok(key),
            _ => Err(damaged("key material must be 32 bytes in base64")),
        }
    }
}

impl KeyringFile {
    /// A new keyring with one key, not saved yet: [`VaultBuilder::init`](crate::VaultBuilder::init)
    /// saves it after making sure that there are no tokens of another keyring.
    ///
    /// # Errors
    /// `KeyringExists` when the file is there; `InvalidInput` for a passphrase that is too short.
    pub fn prepare(path: impl AsRef<Path>, provider: &dyn WrappingKeyProvider) -> Result<Self> {
        let path = path.as_ref();
        if fs::symlink_metadata(path).is_ok() {
            return Err(Error::new(ErrorKind::KeyringExists, format!("{} exists already", path.display())));
        }
        let id = KeyId(u32::from_be_bytes(*entropy::key_bytes::<4>()?));
        let keys = Keyring::first(id, entropy::key_bytes()?, entropy::key_bytes()?, now());
        let (wrapping, key) = provider.create()?;
        Ok(Self::from_parts(path, wrapping, key, keys))
    }

    /// Opens a keyring file. A passphrase takes about 0.1 s and 64 MiB of memory.
    ///
    /// # Errors
    /// `KeyringMissing`; `KeyringLocked` for a wrong passphrase or key; `KeyringFile` when others can
    /// read it or it is damaged. A keyring is never made because one is missing.
    pub fn open(path: impl AsRef<Path>, provider: &dyn WrappingKeyProvider) -> Result<Self> {
        let path = path.as_ref();
        let stamp = stamp(path);
        let outer = read(path)?;
        let key = provider.open(&outer.header.wrapping)?;
        let keys = unseal(&outer, &key).map_err(|error| error.about(path.display()))?;
        let file = Self::from_parts(path, outer.header.wrapping, key, keys);
        lock(&file.inner.seen).stamp = stamp;
        Ok(file)
    }

    fn from_parts(path: &Path, wrapping: Wrapping, key: WrappingKey, keys: Keyring) -> Self {
        let seen = Mutex::new(Seen { at: None, stamp: None });
        let keys = RwLock::new(Arc::new(keys));
        Self { inner: Arc::new(Inner { path: path.to_owned(), wrapping, key, keys, seen }) }
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The keys, oldest first, as of the last time that the file was read.
    pub fn keys(&self) -> Vec<KeyInfo> {
        self.current().keys().iter().map(|key| key.info.clone()).collect()
    }

    /// The keys as they are now in memory.
    pub(crate) fn current(&self) -> Arc<Keyring> {
        self.inner.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn for_sealing(&self) -> Result<Arc<Keyring>> {
        Ok(self.current())
    }

    /// Saves a keyring for the first time.
    ///
    /// # Errors
    /// `KeyringExists` when there is a file; `KeyringFile` when it cannot be written. Nothing is left behind.
    pub(crate) fn save_new(&self) -> Result<()> {
        disk::private_folder(disk::folder_of(&self.inner.path), ErrorKind::KeyringFile)?;
        let text = seal(&self.current(), &self.inner.wrapping, &self.inner.key)?;
        disk::write_new_private(&self.inner.path, text.as_bytes(), ErrorKind::KeyringFile)
    }

    /// The keys for opening a token that names `key`. When that is not known and the file has changed,
    /// it is read again, at most once a second; the wrapping key is kept, so that this costs no Argon2.
    /// A file that cannot be read leaves the keys as they are.
    pub(crate) fn holding(&self, key: KeyId) -> Arc<Keyring> {
        let keys = self.current();
        if keys.get(key).is_some() {
            return keys;
        }
        if let Err(error) = self.reload_if_changed() {
            tracing::warn!(%key, %error, "the keyring changed on disk and cannot be taken up");
        }
        self.current()
    }

    fn reload_if_changed(&self) -> Result<()> {
        let mut seen = lock(&self.inner.seen);
        if seen.at.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        seen.at = Some(Instant::now());
        let stamp = stamp(&self.inner.path);
        if stamp.is_none() || stamp == seen.stamp {
            return Ok(());
        }
        let outer = read(&self.inner.path)?;
        if outer.header.wrapping != self.inner.wrapping {
            return Err(Error::new(
                ErrorKind::KeyringLocked,
                "the keyring was wrapped anew; restart to open it",
            ));
        }
        let keys = unseal(&outer, &self.inner.key)?;
        if keys.generation < self.current().generation {
            return Err(Error::new(ErrorKind::KeyringFile, "the keyring on disk is an older generation"));
        }
        *self.inner.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        seen.stamp = stamp;
        Ok(())
    }
}

impl fmt::Debug for KeyringFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyringFile")
            .field("path", &self.inner.path)
            .field("keys", &self.current())
            .finish_non_exhaustive()
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock, which only marks when a key was made.
fn now() -> Millis {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| elapsed.as_millis() as Millis)
}

/// Every save makes a new file, so that inode, length and time of change tell whether there was one.
fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
}

fn read(path: &Path) -> Result<Outer> {
    let folder = disk::folder_of(path);
    if fs::symlink_metadata(path).is_ok() {
        disk::check_folder(folder, ErrorKind::KeyringFile)?;
    }
    let text = disk::read_private(path, ErrorKind::KeyringFile, MAX_FILE)?;
    parse(&text).map_err(|error| error.about(path.display()))
}

fn parse(text: &[u8]) -> Result<Outer> {
    let outer: Outer = serde_json::from_slice(text).map_err(|error| {
        // the error's own text may repeat a value of the file
        damaged(&format!("not a keyring file, or torn at line {} column {}", error.line(), error.column()))
    })?;
    match outer.header.format == FORMAT && outer.header.version == VERSION {
        true => Ok(outer),
        false => Err(damaged("a keyring file of another format or version")),
    }
}

fn seal(keys: &Keyring, wrapping: &Wrapping, key: &WrappingKey) -> Result<String> {
    let nonce = *entropy::key_bytes::<NONCE>()?;
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        generation: keys.generation,
        wrapping: wrapping.clone(),
        nonce: STANDARD.encode(nonce),
    };
    let content = print_content(keys);
    let sealed = encrypt_file(&key.0, &nonce, &header_bytes(&header), content);
    let outer = Outer { header, sealed: STANDARD.encode(sealed) };
    let mut text = serde_json::to_string_pretty(&outer).expect("strings and numbers always print");
    text.push('\n');
    Ok(text)
}

fn unseal(outer: &Outer, key: &WrappingKey) -> Result<Keyring> {
    let nonce =
        STANDARD.decode(&outer.header.nonce).ok().and_then(|nonce| <[u8; NONCE]>::try_from(nonce).ok());
    let nonce = nonce.ok_or_else(|| damaged("the nonce must be 12 bytes in base64"))?;
    let sealed = STANDARD.decode(&outer.sealed).map_err(|_| damaged("the sealed part is not base64"))?;
    let content = decrypt_file(&key.0, &nonce, &header_bytes(&outer.header), &sealed);
    let content = content.map_err(|_| Error::new(ErrorKind::KeyringLocked, "the keyring did not open"))?;
    parse_content(&content, outer.header.generation)
}

fn header_bytes(header: &Header) -> Vec<u8> {
    serde_json::to_vec(header).expect("strings and numbers always print")
}

/// The sealed part as JSON, in one buffer that is encrypted in place. Every value is hex, base64 or
/// a number, so that nothing needs escaping.
fn print_content(keys: &Keyring) -> Vec<u8> {
    let mut text = String::with_capacity(256 + keys.keys().len() * 512);
    text.push_str("{\"stable\":\"");
    STANDARD.encode_string(keys.stable.as_ref(), &mut text);
    text.push_str("\",\"keys\":[");
    for (number, key) in keys.keys().iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        print_key(key, &mut text);
    }
    text.push_str("]}");
    text.into_bytes()
}

fn print_key(key: &RootKey, text: &mut String) {
    use fmt::Write;
    let KeyInfo { id, state, created_at, state_since, fingerprint } = &key.info;
    let state = state.as_str();
    write!(
        text,
        "{{\"id\":\"{id}\",\"state\":\"{state}\",\"created_at\":{created_at},\"state_since\":{state_since},\
         \"fingerprint\":\"{fingerprint}\",\"material\":"
    )
    .expect("writing to a string cannot fail");
    match &key.material {
        Some(material) => {
            text.push('"');
            STANDARD.encode_string(material.as_ref(), text);
            text.push_str("\"}");
        }
        None => text.push_str("null}"),
    }
}

fn parse_content(content: &[u8], generation: u64) -> Result<Keyring> {
    // the error's own text may repeat key material
    let content: Content =
        serde_json::from_slice(content).map_err(|_| damaged("the sealed part is not as expected"))?;
    let keys = content.keys.into_iter().map(restore_key).collect::<Result<_>>()?;
    Keyring::restore(generation, content.stable.decode()?, keys)
}

fn restore_key(key: ContentKey) -> Result<RootKey> {
    let id = key.id.parse().map_err(|_| damaged("a key id must be 8 lower-case hex digits"))?;
    let state = KeyState::parse(&key.state).ok_or_else(|| damaged("a key in an unknown state"))?;
    let material = key.material.as_ref().map(Base64Key::decode).transpose()?;
    let info = KeyInfo {
        id,
        state,
        created_at: key.created_at,
        state_since: key.state_since,
        fingerprint: key.fingerprint,
    };
    RootKey::restore(info, material)
}

fn damaged(message: &str) -> Error {
    Error::new(ErrorKind::KeyringFile, message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::wrapping::{Passphrase, RawKey};

    fn raw(byte: u8) -> RawKey {
        RawKey::from_base64(&STANDARD.encode([byte; 32])).unwrap()
    }

    fn saved(folder: &Path) -> KeyringFile {
        let file = KeyringFile::prepare(folder.join("home/keyring.json"), &raw(1)).unwrap();
        file.save_new().unwrap();
        file
    }

    #[test]
    fn a_keyring_comes_back_from_its_file_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let made = saved(folder.path());
        let opened = KeyringFile::open(made.path(), &raw(1)).unwrap();
        assert_eq!(opened.keys(), made.keys());
        let before = fs::read(made.path()).unwrap();
        assert_eq!(made.save_new().unwrap_err().kind(), ErrorKind::KeyringExists);
        assert_eq!(KeyringFile::prepare(made.path(), &raw(1)).unwrap_err().kind(), ErrorKind::KeyringExists);
        assert_eq!(fs::read(made.path()).unwrap(), before);
    }

    #[test]
    fn wrong_keys_and_other_providers_are_told_apart_from_missing_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path()).path().to_owned();
        let kind = |result: Result<KeyringFile>| result.unwrap_err().kind();
        assert_eq!(kind(KeyringFile::open(&path, &raw(2))), ErrorKind::KeyringLocked);
        assert_eq!(
            kind(KeyringFile::open(&path, &Passphrase::new("correct horse"))),
            ErrorKind::KeyringLocked
        );
        fs::remove_file(&path).unwrap();
        assert_eq!(kind(KeyringFile::open(&path, &raw(1))), ErrorKind::KeyringMissing);
        assert!(!path.exists());
    }

    #[test]
    fn every_changed_byte_and_every_truncation_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path()).path().to_owned();
        let text = fs::read(&path).unwrap();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            let parsed = |bytes: &[u8]| {
                parse(bytes).and_then(|outer| unseal(&outer, &raw(1).open(&outer.header.wrapping)?))
            };
            // white space between the parts carries no meaning
            assert!(text[at].is_ascii_whitespace() || parsed(&changed).is_err(), "byte {at}");
            assert!(at == text.len() - 1 || parsed(&text[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_running_process_takes_a_new_generation_up_without_the_provider() {
        let folder = tempfile::tempdir().unwrap();
        let file = saved(folder.path());
        let running = KeyringFile::open(file.path(), &raw(1)).unwrap();
        let mut next = Keyring::first(KeyId(5), Zeroizing::new([5; 32]), Zeroizing::new([6; 32]), 0);
        next.generation = 2;
        let text = seal(&next, &file.inner.wrapping, &file.inner.key).unwrap();
        fs::remove_file(file.path()).unwrap();
        disk::write_new_private(file.path(), text.as_bytes(), ErrorKind::KeyringFile).unwrap();
        assert!(running.current().get(KeyId(5)).is_none());
        assert!(running.holding(KeyId(5)).get(KeyId(5)).is_some());
    }

    #[test]
    fn neither_the_file_nor_debug_shows_key_material() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyringFile::prepare(folder.path().join("home/keyring.json"), &raw(1)).unwrap();
        file.save_new().unwrap();
        let material = STANDARD.encode(file.current().keys()[0].material.as_ref().unwrap().as_ref());
        let text = fs::read_to_string(file.path()).unwrap() + &format!("{file:?}");
        assert!(!text.contains(&material));
    }
}
