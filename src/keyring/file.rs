//! A keyring: opened from its source, saved, and asked.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::format::{self, Outer};
use crate::keyring::generations::{GenerationTable, SealedGeneration};
use crate::keyring::keys::{KeyInfo, RootKeys};
use crate::keyring::material::Material;
use crate::keyring::pin::KeyringPin;
use crate::keyring::private_file::{self, Stamp};
use crate::keyring::source::{KeyringSource, MAX_TEXT, OnDisk};
use crate::keyring::subkeys::Subkeys;
use crate::keyring::wrapping::{Wrapping, WrappingKey, WrappingKeyProvider};
use crate::record::token::KeyId;
use crate::record::version::Millis;

/// A keyring that was opened: the root keys of one environment.
///
/// Its sealed text lies in a private file ([`open`](Self::open)), in a file that others write
/// ([`read_only`](Self::read_only)), or in a text ([`from_text`](Self::from_text)). Clones share their state. A running vault
/// detects a new generation in a file.
///
/// # Security
/// Losing the file, or what opens it, means losing everything that was sealed with it: back both up,
/// in different places. The root keys and the wrapping key stay in memory, and are wiped when dropped.
#[derive(Clone)]
pub struct Keyring {
    pub(super) inner: Arc<SharedKeyring>,
}

pub(super) struct SharedKeyring {
    pub(super) source: KeyringSource,
    pub(super) watch: Watch,
    /// False for a keyring that was prepared and lies nowhere but in memory.
    saved: AtomicBool,
    state: RwLock<KeyringState>,
}

/// What changes together.
pub(super) struct KeyringState {
    pub(super) keys: Arc<RootKeys>,
    pub(super) wrapped: Arc<Wrapped>,
    /// Why nothing may be sealed, if so.
    pub(super) stopped: Option<Error>,
    /// The lowest generation that may seal.
    pub(super) lowest: Lowest,
    /// Of a table: the generation in memory as it was read or written.
    pub(super) loaded: Option<SealedGeneration>,
}

/// The lowest generation that may seal, and who told.
#[derive(Default)]
pub(super) struct Lowest {
    pub(super) generation: u64,
    pub(super) witness: String,
}

/// When the file is looked at again, and what it looked like.
pub(super) struct Watch {
    started: Instant,
    /// The next look before sealing, in milliseconds after `started`.
    pub(super) sealing: AtomicU64,
    /// The same for unknown keys: looks for sealing must not make them wait.
    pub(super) unknown: AtomicU64,
    seen: Mutex<SeenFile>,
    /// Held while a table is read, or changed: so memory follows the table.
    pub(super) table: tokio::sync::Mutex<()>,
}

pub(super) struct SeenFile {
    /// The file whose content is in memory.
    pub(super) loaded: Option<Stamp>,
    /// What was last warned of: a file that could not be reloaded, or that there was none.
    pub(super) warned: Option<Option<Stamp>>,
}

impl Watch {
    pub(super) fn new(loaded: Option<Stamp>) -> Self {
        let (sealing, unknown) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            started: Instant::now(),
            sealing,
            unknown,
            seen: Mutex::new(SeenFile { loaded, warned: None }),
            table: tokio::sync::Mutex::default(),
        }
    }

    /// There is no file to look at.
    fn never() -> Self {
        let watch = Self::new(None);
        watch.sealing.store(u64::MAX, Ordering::Relaxed);
        watch.unknown.store(u64::MAX, Ordering::Relaxed);
        watch
    }

    pub(super) fn millis(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Held while the file is read, or replaced: so memory follows the file.
    pub(super) fn hold(&self) -> MutexGuard<'_, SeenFile> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As if a second had passed.
    #[cfg(test)]
    pub(super) fn make_due(&self) {
        self.sealing.store(0, Ordering::Release);
        self.unknown.store(0, Ordering::Release);
    }
}

/// How the file is sealed.
pub(super) struct Wrapped {
    pub(super) wrapping: Wrapping,
    pub(super) key: WrappingKey,
}

impl Keyring {
    /// A new keyring with one key, not saved yet: [`VaultBuilder::init`](crate::VaultBuilder::init)
    /// saves it after making sure that there are no tokens of another keyring, and
    /// [`VaultBuilder::build`](crate::VaultBuilder::build) refuses it until then.
    ///
    /// # Errors
    /// `KeyringExists` when the file is there; `InvalidInput` for a passphrase that is too short; whatever the provider
    /// reports.
    pub async fn prepare(path: impl AsRef<Path>, provider: &dyn WrappingKeyProvider) -> Result<Self> {
        let path = path.as_ref();
        if fs::symlink_metadata(path).is_ok() {
            return Err(Error::new(ErrorKind::KeyringExists, format!("{} already exists", path.display())));
        }
        let keys = first_keys()?;
        let (wrapping, key) = provider.create().await?;
        let source = KeyringSource::File(path.to_owned());
        Ok(Self::from_parts(source, Wrapped { wrapping, key }, keys, Watch::new(None)))
    }

    /// A keyring with one key that lies in no file, and never will.
    pub(crate) fn in_memory() -> Result<Self> {
        let wrapped = Wrapped { wrapping: Wrapping::Raw {}, key: WrappingKey(Material::random()?) };
        Ok(Self::from_parts(KeyringSource::Memory, wrapped, first_keys()?, Watch::never()))
    }

    /// Opens a keyring file. A passphrase takes about 0.1 s and 64 MiB of memory, on a thread for blocking work: call this
    /// within a Tokio runtime.
    ///
    /// # Errors
    /// `KeyringMissing`; `KeyringLocked` for a wrong passphrase or key; `KeyringFile` when others can
    /// read it or it is damaged; whatever the provider reports. A keyring is never made because one is missing.
    pub async fn open(path: impl AsRef<Path>, provider: &dyn WrappingKeyProvider) -> Result<Self> {
        Self::open_file(KeyringSource::File(path.as_ref().to_owned()), provider).await
    }

    /// Opens a keyring file that others write, such as the mount of a Kubernetes Secret. Symlinks are followed, and others may
    /// read the file. The vault reads it again when it changes, and never writes it: every change of a key is an error here.
    ///
    /// ```no_run
    /// use retell_vault::keyring::{KeyringPin, RawKey};
    /// use retell_vault::{Error, Keyring};
    ///
    /// # async fn example() -> Result<(), Error> {
    /// let secret = RawKey::from_base64(&std::env::var("RETELL_VAULT_WRAPPING_KEY").unwrap())?;
    /// let mut keyring = Keyring::read_only("/etc/retell-vault/keyring.json", &secret).await?;
    /// if let Some(pin) = KeyringPin::from_env()? {
    ///     keyring = keyring.pinned(&pin)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`open`](Self::open); `KeyringFile` when group or others can write the file.
    pub async fn read_only(path: impl AsRef<Path>, provider: &dyn WrappingKeyProvider) -> Result<Self> {
        Self::open_file(KeyringSource::ReadOnlyFile(path.as_ref().to_owned()), provider).await
    }

    /// Opens a keyring from the text of its file, such as the value of an environment variable. It never changes: a process
    /// that needs a new generation is started with the new text.
    ///
    /// # Errors
    /// `KeyringLocked` for a wrong passphrase or key; `KeyringFile` when the text is not a keyring; whatever the provider
    /// reports.
    pub async fn from_text(text: &str, provider: &dyn WrappingKeyProvider) -> Result<Self> {
        let source = KeyringSource::Text;
        let outer = match text.len() as u64 > MAX_TEXT {
            true => return Err(format::damaged("the keyring text is too long")),
            false => format::parse(text.as_bytes()).map_err(|error| error.about(&source))?,
        };
        let (wrapped, keys) = unseal(outer, &source, provider).await?;
        Ok(Self::saved(Self::from_parts(source, wrapped, keys, Watch::never())))
    }

    /// A new keyring with one key as a text, for a secret store: no file holds it. Give the text to
    /// [`from_text`](Self::from_text) or, as a file, to [`read_only`](Self::read_only).
    ///
    /// # Errors
    /// `InvalidInput` for a passphrase that is too short; whatever the provider reports; `Entropy`.
    pub async fn prepare_text(provider: &dyn WrappingKeyProvider) -> Result<(Self, String)> {
        let (wrapping, key) = provider.create().await?;
        let keys = first_keys()?;
        let text = format::seal(&keys, &wrapping, &key)?;
        let wrapped = Wrapped { wrapping, key };
        Ok((Self::from_parts(KeyringSource::Text, wrapped, keys, Watch::never()), text))
    }

    async fn open_file(source: KeyringSource, provider: &dyn WrappingKeyProvider) -> Result<Self> {
        let OnDisk { outer, stamp, .. } = source.read()?;
        let (wrapped, keys) = unseal(outer, &source, provider).await?;
        Ok(Self::saved(Self::from_parts(source, wrapped, keys, Watch::new(Some(stamp)))))
    }

    pub(super) fn saved(self) -> Self {
        self.inner.saved.store(true, Ordering::Release);
        self
    }

    /// Not saved yet.
    pub(super) fn from_parts(source: KeyringSource, wrapped: Wrapped, keys: RootKeys, watch: Watch) -> Self {
        let (keys, wrapped, lowest) = (Arc::new(keys), Arc::new(wrapped), Lowest::default());
        let state = RwLock::new(KeyringState { keys, wrapped, stopped: None, lowest, loaded: None });
        Self { inner: Arc::new(SharedKeyring { source, watch, saved: AtomicBool::new(false), state }) }
    }

    /// Where the keyring lies, in words: the path of its file, or another source.
    pub fn place(&self) -> String {
        self.inner.source.to_string()
    }

    /// The path of the file, if the keyring lies in one.
    pub fn path(&self) -> Option<&Path> {
        self.inner.source.path()
    }

    /// Whether the keyring is a file that this process may change.
    pub(crate) fn is_own_file(&self) -> bool {
        self.inner.source.writable_file().is_ok()
    }

    /// Whether the keyring lies in a table of the database.
    pub fn is_in_table(&self) -> bool {
        self.table().is_some()
    }

    pub(crate) fn table(&self) -> Option<&dyn GenerationTable> {
        self.inner.source.table()
    }

    /// The id and the generation of the keyring as it is in memory.
    pub fn pin(&self) -> KeyringPin {
        let keys = self.current();
        KeyringPin { id: keys.id(), generation: keys.generation }
    }

    /// The keys, oldest first, as of the last time that the file was read.
    pub fn keys(&self) -> Vec<KeyInfo> {
        self.current().keys().iter().map(|key| key.info.clone()).collect()
    }

    /// The one key whose id starts with 1 to 8 lower-case hex digits, as of the last time that the
    /// file was read.
    ///
    /// # Errors
    /// `InvalidInput` for anything but such digits, and when several ids start so: it names them.
    /// `UnknownKey` when none does.
    pub fn find_key(&self, prefix: &str) -> Result<KeyId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !(1..=8).contains(&prefix.len()) || !prefix.bytes().all(is_digit) {
            let error = Error::new(ErrorKind::InvalidInput, "a key is named by 1 to 8 lower-case hex digits");
            return Err(error.with_hint("`retell-vault key list` lists the keys"));
        }
        let ids = self.keys().into_iter().map(|key| key.id);
        let found: Vec<KeyId> = ids.filter(|id| id.to_string().starts_with(prefix)).collect();
        match found.as_slice() {
            [id] => Ok(*id),
            [] => {
                let message = format!("no key of {} starts with {prefix}", self.inner.source);
                Err(Error::new(ErrorKind::UnknownKey, message)
                    .with_hint("`retell-vault key list` lists the keys"))
            }
            several => {
                let names: Vec<String> = several.iter().map(KeyId::to_string).collect();
                let message = format!("{} keys start with {prefix}: {}", names.len(), names.join(", "));
                Err(Error::new(ErrorKind::InvalidInput, message)
                    .with_hint("give more digits of the one meant"))
            }
        }
    }

    /// The keys as they are now in memory.
    pub(crate) fn current(&self) -> Arc<RootKeys> {
        self.state().keys.clone()
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, KeyringState> {
        self.inner.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state_mut(&self) -> RwLockWriteGuard<'_, KeyringState> {
        self.inner.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Saves a keyring for the first time.
    ///
    /// # Errors
    /// `KeyringExists` when there is one; `KeyringFile` when it cannot be written; those of the database. Nothing is left
    /// behind.
    pub(crate) async fn save_new(&self) -> Result<()> {
        if let Some(table) = self.inner.source.table() {
            self.append_first(table).await?;
            self.inner.saved.store(true, Ordering::Release);
            return Ok(());
        }
        if matches!(self.inner.source, KeyringSource::Text) {
            self.inner.saved.store(true, Ordering::Release); // by who has the text
            return Ok(());
        }
        let path = self.inner.source.writable_file()?;
        private_file::private_folder(private_file::folder_of(path), ErrorKind::KeyringFile)?;
        let wrapped = self.state().wrapped.clone();
        let text = format::seal(&self.current(), &wrapped.wrapping, &wrapped.key)?;
        private_file::write_new_private(path, text.as_bytes(), ErrorKind::KeyringFile)?;
        self.inner.saved.store(true, Ordering::Release);
        Ok(())
    }

    /// What a keyring seals that lies in no file is lost when the process ends.
    ///
    /// # Errors
    /// `Configuration` when it was prepared and never saved; `KeyringMissing` when its file is gone.
    pub(crate) fn refuse_unsaved(&self) -> Result<()> {
        let source = &self.inner.source;
        if !self.inner.saved.load(Ordering::Acquire) {
            let message = format!("{source} was prepared and is saved nowhere");
            let hint = "call `init()` instead of `build()` for a new keyring: it saves the keyring first";
            return Err(Error::new(ErrorKind::Configuration, message).with_hint(hint));
        }
        match source.path().map(fs::exists) {
            Some(Ok(false)) => Err(Error::new(ErrorKind::KeyringMissing, format!("{source} is gone"))),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("place", &self.place())
            .field("keys", &self.current())
            .finish_non_exhaustive()
    }
}

pub(super) fn first_keys() -> Result<RootKeys> {
    let keys = RootKeys::first(random_id()?, Material::random()?, Material::random()?, now());
    Ok(keys.with_subkeys(Subkeys::first(Material::random()?)))
}

/// An id that may be taken already.
pub(super) fn random_id() -> Result<KeyId> {
    Ok(KeyId(u32::from_be_bytes(random::system_bytes::<4>()?)))
}

/// The wall clock. Of a keyring it only marks when a key entered its state.
pub(crate) fn now() -> Millis {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| elapsed.as_millis() as Millis)
}

pub(super) async fn unseal(
    outer: Outer,
    source: &KeyringSource,
    provider: &dyn WrappingKeyProvider,
) -> Result<(Wrapped, RootKeys)> {
    let key = provider.open(&outer.header.wrapping).await?;
    let keys = format::unseal(&outer, &key).map_err(|error| error.about(source))?;
    Ok((Wrapped { wrapping: outer.header.wrapping, key }, keys))
}

#[cfg(test)]
#[path = "file_tests.rs"]
pub(super) mod tests;
