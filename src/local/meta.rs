//! What the file belongs to: the keyring under which it was sealed, and the databases that it was used with.

use crate::error::{Error, ErrorKind, Result};
use crate::record::version::Millis;

use crate::local::file::LocalFile;

const GENERATION: &str = "SELECT value FROM meta WHERE name = 'keyring_generation'";
const PUT_GENERATION: &str = "INSERT INTO meta (name, value) VALUES ('keyring_generation', ?1)
 ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const SEALED: &str = "SELECT value FROM meta WHERE name = 'sealed_keyring'";
const PUT_SEALED: &str = "INSERT INTO meta (name, value) VALUES ('sealed_keyring', ?1)
 ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const USED_WITH: &str = "SELECT value FROM meta WHERE name LIKE 'used_with:%' ORDER BY value";
const PUT_USED_WITH: &str =
    "INSERT INTO meta (name, value) VALUES ('used_with:' || ?1, ?1) ON CONFLICT DO NOTHING";

const USED_SINCE: &str = "SELECT value FROM meta WHERE name = 'used_since'";
const PUT_USED_SINCE: &str =
    "INSERT INTO meta (name, value) VALUES ('used_since', ?1) ON CONFLICT DO NOTHING";

const DATABASE_AT: &str = "SELECT value FROM meta WHERE name = 'database_at:' || ?1";
const PUT_DATABASE_AT: &str = "INSERT INTO meta (name, value) VALUES ('database_at:' || ?1, ?2)
 ON CONFLICT (name) DO UPDATE SET value = excluded.value";

const ADOPTED: &str = "SELECT EXISTS (SELECT 1 FROM meta WHERE name = 'adopted:' || ?1)";
const PUT_ADOPTED: &str =
    "INSERT INTO meta (name, value) VALUES ('adopted:' || ?1, ?1) ON CONFLICT DO NOTHING";

const NAMESPACE: &str = "SELECT value FROM meta WHERE name = 'namespace'";
const PUT_NAMESPACE: &str = "INSERT INTO meta (name, value) VALUES ('namespace', ?1) ON CONFLICT DO NOTHING";

impl LocalFile {
    /// Records which kind of credentials the file holds, when it is used for the first time.
    ///
    /// # Errors
    /// `Configuration` if it holds another kind.
    pub(crate) async fn claim(&self, namespace: &str) -> Result<()> {
        let noted = || sqlx::query_scalar(NAMESPACE).fetch_optional(&self.inner.readers);
        let mut noted: Option<String> = self.read(noted).await?;
        if noted.is_none() {
            self.put(PUT_NAMESPACE, namespace).await?;
            let again = || sqlx::query_scalar(NAMESPACE).fetch_optional(&self.inner.readers);
            noted = self.read(again).await?;
        }
        match noted {
            Some(noted) if noted != namespace => {
                let message = format!(
                    "{} holds {noted} credentials, and the vault is for {namespace}",
                    self.path().display()
                );
                Err(Error::new(ErrorKind::Configuration, message)
                    .with_hint("give each kind of credentials its own local file"))
            }
            _ => Ok(()),
        }
    }

    /// The generation of the keyring under whose primary key all of the file was last sealed.
    pub(crate) async fn keyring_generation(&self) -> Result<Option<u64>> {
        let get = || sqlx::query_scalar(GENERATION).fetch_optional(&self.inner.readers);
        let noted: Option<String> = self.read(get).await?;
        Ok(noted.and_then(|noted| noted.parse().ok()))
    }

    /// Records that it is this one now.
    pub(crate) async fn note_keyring_generation(&self, generation: u64) -> Result<()> {
        self.put(PUT_GENERATION, &generation.to_string()).await
    }

    /// The last sealed generation of a keyring in the database, and its number.
    pub(crate) async fn sealed_keyring(&self) -> Result<Option<(u64, String)>> {
        let get = || sqlx::query_scalar(SEALED).fetch_optional(&self.inner.readers);
        let noted: Option<String> = self.read(get).await?;
        let parts = noted.as_deref().and_then(|noted| noted.split_once(' '));
        Ok(parts.and_then(|(number, text)| Some((number.parse().ok()?, text.to_owned()))))
    }

    /// Records it. Nothing is written if it is recorded already.
    pub(crate) async fn note_sealed_keyring(&self, generation: u64, text: &str) -> Result<()> {
        match self.sealed_keyring().await? {
            Some((noted, held)) if noted == generation && held == text => Ok(()),
            _ => self.put(PUT_SEALED, &format!("{generation} {text}")).await,
        }
    }

    /// The databases and tables that the file was ever used with, as they were named.
    pub(crate) async fn used_with(&self) -> Result<Vec<String>> {
        self.read(|| sqlx::query_scalar(USED_WITH).fetch_all(&self.inner.readers)).await
    }

    /// Records one more. Nothing is written if it is recorded already.
    pub(crate) async fn note_used_with(&self, place: &str) -> Result<()> {
        match self.used_with().await?.iter().any(|noted| noted == place) {
            true => Ok(()),
            false => self.put(PUT_USED_WITH, place).await,
        }
    }

    /// When the file was first used with a database, if it ever was.
    pub(crate) async fn used_since(&self) -> Result<Option<Millis>> {
        let get = || sqlx::query_scalar(USED_SINCE).fetch_optional(&self.inner.readers);
        let noted: Option<String> = self.read(get).await?;
        Ok(noted.and_then(|noted| noted.parse().ok()))
    }

    /// Notes that it is. The first note stays.
    pub(crate) async fn note_used_since(&self, now: Millis) -> Result<()> {
        self.put(PUT_USED_SINCE, &now.to_string()).await
    }

    /// Which database was last met at an address.
    pub(crate) async fn database_at(&self, address: &str) -> Result<Option<String>> {
        self.read(|| sqlx::query_scalar(DATABASE_AT).bind(address).fetch_optional(&self.inner.readers)).await
    }

    /// Records which one it is. Nothing is written if it is recorded already.
    pub(crate) async fn note_database_at(&self, address: &str, identity: &str) -> Result<()> {
        if self.database_at(address).await?.is_some_and(|noted| noted == identity) {
            return Ok(());
        }
        let put = || async move {
            let done = sqlx::query(PUT_DATABASE_AT).bind(address).bind(identity).execute(&self.inner.writer);
            done.await.map(drop)
        };
        self.write(put).await
    }

    /// Whether an operator has declared that the keyring of this file belongs to a table, whatever tokens the table holds.
    pub(crate) async fn has_adopted(&self, place: &str) -> Result<bool> {
        self.read(|| sqlx::query_scalar(ADOPTED).bind(place).fetch_one(&self.inner.readers)).await
    }

    /// Records that.
    pub(crate) async fn note_adopted(&self, place: &str) -> Result<()> {
        self.put(PUT_ADOPTED, place).await
    }

    async fn put(&self, sql: &'static str, value: &str) -> Result<()> {
        let put = || async move { sqlx::query(sql).bind(value).execute(&self.inner.writer).await.map(drop) };
        self.write(put).await
    }
}
