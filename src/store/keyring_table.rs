//! A keyring in the table `retell_vault.keyring` of the database, for services on several hosts or without a disk.

use std::path::PathBuf;
use std::sync::Arc;

use sqlx::PgPool;

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::change_table::missing;
use crate::keyring::file::Keyring;
use crate::keyring::generations::{Earlier, GenerationTable, SealedGeneration};
use crate::keyring::pin::KeyringPin;
use crate::keyring::wrapping::{ProviderFuture, WrappingKeyProvider};
use crate::local::file::LocalFile;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::connection::options::{PoolerMode, Timeouts};
use crate::postgres::connection::pool::Database;
use crate::postgres::vault_schema::generations::{self, GenerationRow};
use crate::postgres::vault_schema::{hosts, objects};

/// Safe behind any pooler: statements are few, and a pooler must not answer with another client's row.
const MODE: PoolerMode = PoolerMode::Transaction;

/// The table `retell_vault.keyring`, which holds a sealed keyring. Every process that uses it loads a change within a second,
/// and nothing is copied by hand.
///
/// ```no_run
/// use retell_vault::connection::KeyringTable;
/// use retell_vault::keyring::{KeyringPin, RawKey};
/// use retell_vault::{Error, Vault};
///
/// # async fn example(url: &str, secret: &str) -> Result<(), Error> {
/// let pin = KeyringPin::from_env()?.expect("RETELL_VAULT_KEYRING is set");
/// let keyring = KeyringTable::postgres(url)?.open(&pin, &RawKey::from_base64(secret)?).await?;
/// let vault = Vault::builder(keyring).postgres(url).build().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Security
/// Who can write the database can put an older generation, or another keyring that the same secret opens, in its place. So
/// [`open`](Self::open) needs a pin. Who can only read the table sees the sealed keyring, which a passphrase must then protect
/// against guessing: prefer 32 random bytes.
#[derive(Clone)]
pub struct KeyringTable {
    database: Arc<Database>,
    copy: Option<PathBuf>,
}

impl KeyringTable {
    /// In the database at a URL, with a pool of its own. A transaction pooler may be in front of Postgres.
    ///
    /// # Errors
    /// `Configuration` for an invalid URL.
    pub fn postgres(url: &str) -> Result<Self> {
        Ok(Self::over(Database::from_url(url, MODE, Timeouts::default())?))
    }

    /// In the database of the service's own pool.
    pub fn pool(pool: PgPool) -> Self {
        Self::over(Database::from_pool(pool, MODE, Timeouts::default()))
    }

    fn over(database: Database) -> Self {
        Self { database: Arc::new(database), copy: None }
    }

    /// The local file of the vault. It keeps a copy of the last sealed generation, so that a start works while the database is
    /// down.
    #[cfg(feature = "local-file")]
    pub fn local_file(mut self, path: impl AsRef<std::path::Path>) -> Self {
        self.copy = Some(path.as_ref().to_owned());
        self
    }

    /// Opens the newest generation; never an older one. If the database is unreachable, it opens the copy in the local file.
    ///
    /// # Errors
    /// `KeyringMissing` if the table holds no keyring; `WrongKeyring` if it is not the one of the pin; `KeyringLocked` for a wrong
    /// passphrase or key, and for a row that is not ours; `KeyringFile` for a damaged one; `AccessDenied` if rows may be hidden,
    /// or if the table is not as the vault makes it; `Schema` if it is missing; `Unavailable` if there is no copy.
    pub async fn open(&self, pin: &KeyringPin, provider: &dyn WrappingKeyProvider) -> Result<Keyring> {
        Keyring::of_table(self.shared(), self.newest_or_copy().await?, provider).await?.pinned(pin)
    }

    /// A new keyring with one key, not saved yet: [`VaultBuilder::init`](crate::VaultBuilder::init) saves it. Call
    /// [`create`](Self::create) first.
    ///
    /// # Errors
    /// `KeyringExists` if the table holds a keyring; those of the provider and of the database.
    pub async fn prepare(&self, provider: &dyn WrappingKeyProvider) -> Result<Keyring> {
        match self.newest().await? {
            None => Keyring::prepare_for(self.shared(), provider).await,
            Some(_) => {
                Err(Error::new(ErrorKind::KeyringExists, format!("{} already holds a keyring", self.place())))
            }
        }
    }

    /// Creates the schema `retell_vault` with its tables if they are missing, and closes them to everybody else. `roles` are
    /// those of the application: they may read the keyring, and note what they have loaded. The owner of the schema changes
    /// keys.
    ///
    /// # Errors
    /// `AccessDenied` if this role may not create a schema, or another role owns it. On error nothing was changed.
    pub async fn create(&self, roles: &[String]) -> Result<()> {
        plain(objects::create(&self.database, roles).await)
    }

    /// Puts a keyring into the table that lacks it: that of a file, or of a process that has a later generation than a table
    /// that was restored. False: the table holds it already.
    ///
    /// # Errors
    /// `WrongKeyring` if the table holds another keyring; `KeyringRolledBack` if it holds a generation that does not fit;
    /// `KeyringLocked` if what it holds does not open; those of the database. On error nothing was changed.
    pub async fn push(&self, keyring: &Keyring) -> Result<bool> {
        keyring.put_back(self).await
    }

    /// Opens the copy in the local file, for [`push`](Self::push) after a restore of the database.
    ///
    /// # Errors
    /// `KeyringMissing` if there is no copy; else as [`open`](Self::open).
    pub async fn open_copy(&self, pin: &KeyringPin, provider: &dyn WrappingKeyProvider) -> Result<Keyring> {
        let copy = self.copied().await?.ok_or_else(|| {
            Error::new(ErrorKind::KeyringMissing, "the local file holds no copy of a keyring in the database")
                .with_hint("a running process can put its keyring back: `Vault::restore_keyring`")
        })?;
        Keyring::of_table(self.shared(), copy, provider).await?.pinned(pin)
    }

    /// Keeps a copy of a keyring of the table in the local file. A vault with that file does so by itself.
    ///
    /// # Errors
    /// `LocalStore`, `LocalCorrupt`.
    pub async fn keep_copy(&self, keyring: &Keyring) -> Result<()> {
        let (Some(path), Some(sealed)) = (&self.copy, keyring.sealed_generation()) else { return Ok(()) };
        let local = LocalFile::open(path).await?;
        let noted = local.note_sealed_keyring(sealed.generation, &sealed.text).await;
        local.close().await;
        noted
    }

    /// The running processes that noted what they have loaded in the last five minutes, each with its generation.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn hosts(&self) -> Result<Vec<(String, u64)>> {
        GenerationTable::hosts_before(self, u64::MAX).await
    }

    /// The sealed text of the newest generation, as a keyring file holds it.
    ///
    /// # Errors
    /// As [`open`](Self::open), without a copy.
    pub async fn sealed_text(&self) -> Result<String> {
        self.present().await.map(|found| found.text)
    }

    /// Removes rows above the newest one that is a generation of the pinned keyring and opens: somebody else planted them.
    /// Returns their generations.
    ///
    /// # Errors
    /// `KeyringLocked` if none of them opens: then nothing was changed.
    pub async fn repair(&self, pin: &KeyringPin, provider: &dyn WrappingKeyProvider) -> Result<Vec<i64>> {
        let rows = plain(generations::newest_rows(&self.database).await)?;
        let mut planted = 0;
        while planted < rows.len() && !self.is_ours(&rows[planted], pin, provider).await {
            planted += 1;
        }
        if planted == rows.len() {
            let message = format!("no generation in {} from {} on opens", self.place(), pin.generation());
            return Err(Error::new(ErrorKind::KeyringLocked, message).with_hint(
                "nothing was changed; check the secret and the pin. If they are right, save the rows of the table, delete them, and put the keyring back with `retell-vault keyring restore`",
            ));
        }
        for row in &rows[..planted] {
            plain(generations::remove(&self.database, row).await)?;
        }
        Ok(rows[..planted].iter().map(|row| row.generation).collect())
    }

    async fn is_ours(
        &self,
        row: &GenerationRow,
        pin: &KeyringPin,
        provider: &dyn WrappingKeyProvider,
    ) -> bool {
        let Ok(found) = sealed(row.clone()) else { return false };
        let opened = Keyring::of_table(self.shared(), found, provider).await;
        opened.is_ok_and(|keyring| {
            keyring.pin().id() == pin.id() && keyring.pin().generation() >= pin.generation()
        })
    }

    fn shared(&self) -> Arc<dyn GenerationTable> {
        Arc::new(self.clone())
    }

    async fn present(&self) -> Result<SealedGeneration> {
        plain(objects::check_tables(&self.database).await)?;
        self.newest().await?.ok_or_else(|| missing(self))
    }

    async fn newest_or_copy(&self) -> Result<SealedGeneration> {
        match self.present().await {
            Err(error) if error.is_retryable() => self.copied().await?.ok_or_else(|| no_copy(error)),
            found => found,
        }
    }

    /// The copy in the local file.
    pub(crate) async fn copied(&self) -> Result<Option<SealedGeneration>> {
        let Some(path) = self.copy.as_ref().filter(|path| path.exists()) else { return Ok(None) };
        let local = LocalFile::open(path).await?;
        let copied = local.sealed_keyring().await;
        local.close().await;
        Ok(copied?.map(|(generation, text)| SealedGeneration { generation, text }))
    }
}

impl GenerationTable for KeyringTable {
    fn place(&self) -> String {
        format!("table {} of {}", objects::KEYRING, self.database.address())
    }

    fn newest(&self) -> ProviderFuture<'_, Option<SealedGeneration>> {
        Box::pin(async move { plain(generations::newest(&self.database).await)?.map(sealed).transpose() })
    }

    fn voucher(&self, generation: u64) -> ProviderFuture<'_, Option<String>> {
        Box::pin(async move { plain(generations::voucher(&self.database, number(generation)?).await) })
    }

    fn append<'a>(
        &'a self,
        before: Option<&'a SealedGeneration>,
        next: &'a SealedGeneration,
        voucher: &'a str,
        earlier: Earlier,
    ) -> ProviderFuture<'a, bool> {
        Box::pin(async move {
            // a trigger, a rule or a policy could keep an older row, which holds a key that is then called destroyed
            plain(objects::check_tables(&self.database).await)?;
            let before = before.map(row).transpose()?;
            let alone = earlier == Earlier::Remove;
            let added =
                generations::append(&self.database, before.as_ref(), &row(next)?, voucher, alone).await;
            plain(added).map_err(may_not_change)
        })
    }

    fn remove_before(&self, generation: u64) -> ProviderFuture<'_, ()> {
        Box::pin(async move {
            plain(objects::check_tables(&self.database).await)?;
            let removed = generations::remove_before(&self.database, number(generation)?).await;
            plain(removed).map_err(may_not_change)
        })
    }

    fn note_host<'a>(&'a self, host: &'a str, generation: u64) -> ProviderFuture<'a, ()> {
        Box::pin(async move { plain(hosts::note(&self.database, host, number(generation)?).await) })
    }

    fn remove_host<'a>(&'a self, host: &'a str) -> ProviderFuture<'a, ()> {
        Box::pin(async move { plain(hosts::remove(&self.database, host).await) })
    }

    fn hosts_before(&self, generation: u64) -> ProviderFuture<'_, Vec<(String, u64)>> {
        Box::pin(async move {
            let live = plain(hosts::live(&self.database).await)?;
            let noted =
                live.into_iter().map(|(host, noted)| (host, u64::try_from(noted).unwrap_or_default()));
            Ok(noted.filter(|(_, noted)| *noted < generation).collect())
        })
    }
}

impl std::fmt::Debug for KeyringTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyringTable").field("place", &self.place()).finish_non_exhaustive()
    }
}

/// The same result without what to do after it: nothing here falls back.
fn plain<T>(done: Result<T, DatabaseError>) -> Result<T> {
    done.map_err(|fault| fault.error)
}

/// A change is one statement: without the right to a part of it, nothing is changed.
fn may_not_change(error: Error) -> Error {
    match error.kind() {
        ErrorKind::AccessDenied => error.about(objects::KEYRING).with_hint(
            "nothing was changed; run this as the owner of retell_vault.keyring: a change of keys needs INSERT on retell_vault.keyring, and destroying a key or replacing the secret also needs DELETE",
        ),
        _ => error,
    }
}

pub(crate) fn sealed(row: GenerationRow) -> Result<SealedGeneration> {
    let generation = u64::try_from(row.generation);
    let generation =
        generation.map_err(|_| Error::new(ErrorKind::KeyringFile, "a generation is negative"))?;
    Ok(SealedGeneration { generation, text: row.sealed })
}

fn row(sealed: &SealedGeneration) -> Result<GenerationRow> {
    Ok(GenerationRow { generation: number(sealed.generation)?, sealed: sealed.text.clone() })
}

fn number(generation: u64) -> Result<i64> {
    let number = i64::try_from(generation);
    number.map_err(|_| Error::new(ErrorKind::KeyringFile, "the generation is too large for the table"))
}

fn no_copy(error: Error) -> Error {
    error.about("the keyring lies in the database").with_hint(
        "start the database; a vault with a local file keeps a copy of the keyring there for such a start",
    )
}
