//! Changes of a keyring: keys are added, promoted, retired and destroyed, and the keyring is wrapped anew.

use std::sync::Arc;

use crate::error::Result;
use crate::keyring::file::{Keyring, Wrapped, now, random_id};
use crate::keyring::generations::Earlier;
use crate::keyring::keys::{KeyInfo, RootKeys};
use crate::keyring::life::Grace;
use crate::keyring::material::Material;
use crate::keyring::next_generation::{KeyringChange, NextGeneration};
use crate::keyring::subkeys::{INDEX, LEDGER, Subkeys};
use crate::keyring::wrapping::WrappingKeyProvider;
use crate::record::token::KeyId;

impl Keyring {
    /// Whether the [ledger](crate::ledger) was begun with this keyring.
    pub fn has_ledger(&self) -> bool {
        self.current().subkeys.newest(LEDGER).is_some()
    }

    /// Adds a pending key. It opens, but does not seal until it is [promoted](Self::promote_key).
    ///
    /// Every process of every host must have the new generation first. A running one reloads a changed file by itself.
    ///
    /// # Errors
    /// `Configuration` for a keyring that is read-only here; `Busy` while another process changes it; `KeyringMissing`;
    /// `KeyringLocked` if it was rewrapped since it was opened; `KeyringRolledBack` for an older generation; `WrongKeyring`;
    /// `KeyringFile` when it is damaged, or cannot be saved; `Entropy`. On error the keyring is as it was, unless the error says
    /// that it was saved.
    pub async fn add_key(&self) -> Result<KeyInfo> {
        let material = Material::random()?;
        let mut added = None;
        let keys = self.change(|found, wrapped| {
            let mut id = random_id()?;
            while found.get(id).is_some() {
                id = random_id()?;
            }
            added = Some(id);
            Ok(save(wrapped, found.add(id, material, now())?))
        });
        let keys = keys.await?;
        info(&keys, added.expect("a change that succeeded has drawn an id"))
    }

    /// Makes a pending key the primary key, which seals from now on. The previous primary key is retired: it
    /// still opens. Does nothing if the key is already primary. With a keyring in the database it waits for two seconds
    /// first, so that every process has loaded the key.
    ///
    /// # Errors
    /// `UnknownKey`; `KeyState` for a retired or destroyed key; else as [`add_key`](Self::add_key). On
    /// error the keyring is as it was, unless the error says that it was saved.
    pub async fn promote_key(&self, id: KeyId) -> Result<KeyInfo> {
        self.wait_until_replicas_have(id).await;
        let promote = |found: &RootKeys, wrapped: &Arc<Wrapped>| {
            Ok(found.promote(id, now())?.map_or(KeyringChange::Nothing, |keys| save(wrapped, keys)))
        };
        info(&*self.change(promote).await?, id)
    }

    /// Retires a pending key: it opens, but will never seal. Does nothing if it is already retired.
    /// To retire the primary key, promote another key.
    ///
    /// # Errors
    /// `UnknownKey`; `KeyState` for a primary or destroyed key; else as [`add_key`](Self::add_key). On
    /// error the keyring is as it was, unless the error says that it was saved.
    pub async fn retire_key(&self, id: KeyId) -> Result<KeyInfo> {
        let retire = |found: &RootKeys, wrapped: &Arc<Wrapped>| {
            Ok(found.retire(id, now())?.map_or(KeyringChange::Nothing, |keys| save(wrapped, keys)))
        };
        info(&*self.change(retire).await?, id)
    }

    /// Seals the keyring under another wrapping key. The root keys, and all that they have sealed, stay as
    /// they are.
    ///
    /// This process keeps working. Other processes keep the keys that they have, and must be restarted with the new
    /// secret before you change keys again. The keyring changes after the provider's last answer: a future that is dropped
    /// before that has changed nothing.
    ///
    /// # Errors
    /// `InvalidInput` for a passphrase that is too short, and whatever the provider reports; else as
    /// [`add_key`](Self::add_key). On error the keyring is as it was, unless the error says that it was saved.
    ///
    /// # Security
    /// Backups of the keyring still open with the old secret.
    pub async fn rewrap(&self, provider: &dyn WrappingKeyProvider) -> Result<()> {
        if !self.is_in_table() {
            self.inner.source.writable_file()?; // before a passphrase is stretched
        }
        let (wrapping, key) = provider.create().await?;
        // as the next process to open it will find it
        let again = provider.open(&wrapping).await?;
        let wrapped = Arc::new(Wrapped { wrapping, key });
        let rewrap = |found: &RootKeys, _: &Arc<Wrapped>| {
            let (keys, earlier) = (found.next(), Earlier::Remove);
            Ok(KeyringChange::Save(NextGeneration { keys, wrapped, again, earlier, destroyed: None }))
        };
        self.change(rewrap).await.map(drop)
    }

    /// Destroys a retired key here and in earlier generations. If it is already destroyed here, it is destroyed in the
    /// earlier generations.
    ///
    /// # Errors
    /// `UnknownKey`; `KeyState` unless it is retired, and has been for a day if that matters; else as
    /// [`add_key`](Self::add_key). On error the keyring is as it was, unless the error says that it was saved.
    pub(crate) async fn destroy_key(&self, id: KeyId, grace: Grace) -> Result<KeyInfo> {
        let destroy = |found: &RootKeys, wrapped: &Arc<Wrapped>| {
            let Some(keys) = found.destroy(id, now(), grace)? else {
                return Ok(KeyringChange::WipeEarlier(id));
            };
            let next = NextGeneration::new(wrapped, keys);
            Ok(KeyringChange::Save(NextGeneration { earlier: Earlier::Remove, destroyed: Some(id), ..next }))
        };
        info(&*self.change(destroy).await?, id)
    }

    /// Adds a key for the index to a keyring that has none. Returns whether it did.
    ///
    /// # Errors
    /// As [`add_key`](Self::add_key). On error the keyring is as it was, unless the error says that it was saved.
    pub(crate) async fn add_first_index_key(&self) -> Result<bool> {
        if self.current().subkeys.newest(INDEX).is_some() {
            return Ok(false); // a keyring that is read-only here need not be changed
        }
        self.change_subkeys(INDEX, |subkeys| subkeys.newest(INDEX).is_none().then_some(Epochs::Add)).await
    }

    /// Adds a key of the next epoch for the index, unless there are several epochs already. Returns whether it did.
    ///
    /// # Errors
    /// As [`add_first_index_key`](Self::add_first_index_key).
    pub(crate) async fn add_next_index_key(&self) -> Result<bool> {
        self.change_subkeys(INDEX, |subkeys| (subkeys.of(INDEX).count() < 2).then_some(Epochs::Add)).await
    }

    /// Removes every key for the index but the newest. Returns whether it did.
    ///
    /// # Errors
    /// As [`add_first_index_key`](Self::add_first_index_key).
    pub(crate) async fn drop_earlier_index_keys(&self) -> Result<bool> {
        self.change_subkeys(INDEX, |subkeys| (subkeys.of(INDEX).count() > 1).then_some(Epochs::KeepNewest))
            .await
    }

    /// Adds the first key for the ledger, which begins it. Returns whether it did.
    ///
    /// # Errors
    /// As [`add_first_index_key`](Self::add_first_index_key).
    #[cfg(feature = "admin")]
    pub(crate) async fn add_ledger_key(&self) -> Result<bool> {
        if self.current().subkeys.newest(LEDGER).is_some() {
            return Ok(false); // as for the index
        }
        self.change_subkeys(LEDGER, |subkeys| subkeys.newest(LEDGER).is_none().then_some(Epochs::Add)).await
    }

    async fn change_subkeys(
        &self,
        usage: &'static str,
        decide: impl FnOnce(&Subkeys) -> Option<Epochs> + Send,
    ) -> Result<bool> {
        let (material, mut is_changed) = (Material::random()?, false);
        let change = |found: &RootKeys, wrapped: &Arc<Wrapped>| {
            let subkeys = match decide(&found.subkeys) {
                None => return Ok(KeyringChange::Nothing),
                Some(Epochs::Add) => found.subkeys.with_next_epoch(usage, material),
                Some(Epochs::KeepNewest) => found.subkeys.with_newest_only(usage),
            };
            is_changed = true;
            Ok(save(wrapped, found.next().with_subkeys(subkeys)))
        };
        self.change(change).await?;
        Ok(is_changed)
    }

    /// Reads the source anew, alone, and saves what `step` makes of it. Gives the keys as they are now.
    async fn change(
        &self,
        step: impl FnOnce(&RootKeys, &Arc<Wrapped>) -> Result<KeyringChange> + Send,
    ) -> Result<Arc<RootKeys>> {
        match self.inner.source.table() {
            Some(table) => self.change_table(table, step).await?,
            None => self.change_file(self.inner.source.writable_file()?, step)?,
        }
        Ok(self.current())
    }
}

/// What becomes of the keys for the index.
enum Epochs {
    Add,
    KeepNewest,
}

fn save(wrapped: &Arc<Wrapped>, keys: RootKeys) -> KeyringChange {
    KeyringChange::Save(NextGeneration::new(wrapped, keys))
}

fn info(keys: &RootKeys, id: KeyId) -> Result<KeyInfo> {
    keys.known(id).map(|key| key.info.clone())
}
