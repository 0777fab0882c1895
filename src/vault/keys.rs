//! Methods for operators: rotation, promotion, the life of the keys.

use serde_json::json;

use crate::chain::entry::operation;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::KeyInfo;
use crate::observe::metrics;
use crate::record::credentials::Credentials;
use crate::record::token::KeyId;
use crate::rotation::destroy_key::{Destruction, destroy_key};
use crate::rotation::evidence::CountProgress;
use crate::rotation::index::{build_index, rotate_index_key};
use crate::rotation::key_life::{add_key, promote_key, retire_key};
use crate::rotation::new_key::bring_in;
use crate::rotation::options::{DestroyOptions, IndexOptions, PromoteOptions, RotateOptions};
use crate::rotation::promote::promote;
use crate::rotation::report::{
    IndexEvent, IndexReport, PromoteEvent, Promotion, RotateEstimate, RotateEvent, Rotation,
};
use crate::rotation::rotate::{estimate_rotation, rotate};
use crate::rotation::token_count::{TokenCounts, count_everywhere, count_tokens};
use crate::store::keyring_check::{adopt, check_keyring};
use crate::store::ledger_work::{noted_work, require_database_of_ledger};
use crate::vault::Vault;

impl<C: Credentials> Vault<C> {
    /// Re-encrypts every token that is not under the primary key: in every slot of the
    /// table, and in the local file with its pending records, replicas, superseded records and dead letters.
    /// Versions, plain columns and the application's own data stay as they are. With [`RotateOptions::new_key`] it creates and
    /// promotes a new key first, or continues with the key that an interrupted call created.
    ///
    /// The service can keep reading and writing, and a newer write always wins. It is safe to drop
    /// the future, to kill the process and to run this twice at once: every batch is whole, and the next
    /// run finds the rest. `listener` receives every batch, and everything that could not be opened. A record with a token
    /// in a column that this program does not know stays as it is, and is reported as `Incomplete`.
    ///
    /// Rotate with the vault of each kind of credentials. The count at the end includes the tokens of all kinds in the JSONB
    /// config column.
    ///
    /// # Errors
    /// `AccessDenied` if the role may not write the table, or may not see all of its rows;
    /// `Unavailable` if the database is unreachable; `Schema` if the table disappears meanwhile; `WrongKeyring`;
    /// `LocalStore`. Finished work is kept. With [`RotateOptions::new_key`] also `UnknownKey` when tokens are under a key
    /// that the keyring does not hold, and the errors of [`Keyring::add_key`](crate::Keyring::add_key); a message that begins
    /// with `no key was made` says that the keyring file is as it was.
    pub async fn rotate(
        &self,
        options: &RotateOptions,
        mut listener: impl FnMut(RotateEvent<'_>) + Send,
    ) -> Result<Rotation> {
        let mut listener = |event: RotateEvent<'_>| {
            self.note_progress(&event);
            listener(event);
        };
        let rotate = async {
            let about = json!({ "new_key": options.new_key });
            let rotate = async {
                if options.new_key {
                    Box::pin(bring_in(&self.core, options, &mut listener)).await?;
                }
                check_keyring(&self.core).await?;
                // the compiler follows futures in futures only so deep, and the caller nests this one further
                Box::pin(rotate(&self.core, options, &mut listener)).await
            };
            Box::pin(noted_work(&self.core, operation::ROTATE, about, rotate, Rotation::counts)).await
        };
        let rotation = self.observed("rotate", rotate).await?;
        self.note_tokens(&rotation.token_counts);
        Ok(rotation)
    }

    /// Counts what [`rotate`](Self::rotate) would do and estimates the time. Writes nothing.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    pub async fn estimate_rotation(&self, options: &RotateOptions) -> Result<RotateEstimate> {
        self.observed("estimate_rotation", estimate_rotation(&self.core, options)).await
    }

    /// Counts the tokens of every column of the layout, and of the local file, by the key that they name. Reads the whole
    /// table, in about a second for 200,000 rows. It also searches the vault's own tables, and a sample of the other columns,
    /// and reports what it did not search.
    ///
    /// # Errors
    /// `Unavailable` if the database is unreachable; `AccessDenied` if it may hide rows from the role, because a partial
    /// count would be useless; `LocalStore`.
    pub async fn count_tokens(&self) -> Result<TokenCounts> {
        let counts = self.observed("count_tokens", count_tokens(&self.core, None)).await?;
        self.note_tokens(&counts);
        Ok(counts)
    }

    /// As [`count_tokens`](Self::count_tokens), and looks at every row of every column that can hold a token: of the table, of
    /// those that
    /// inherit from it, and of the vault's own. What it finds is opened. `listener` is told how far it is.
    ///
    /// # Errors
    /// As [`count_tokens`](Self::count_tokens), and `AccessDenied` for a column that may not be read.
    pub async fn count_all_tokens(
        &self,
        mut listener: impl FnMut(&CountProgress) + Send,
    ) -> Result<TokenCounts> {
        let count = Box::pin(count_everywhere(&self.core, &mut listener));
        let counts = self.observed("count_all_tokens", count).await?;
        self.note_tokens(&counts);
        Ok(counts)
    }

    /// As [`Keyring::add_key`](crate::Keyring::add_key), with entries in the [ledger](crate::ledger). That call itself notes
    /// nothing.
    ///
    /// # Errors
    /// `LedgerUnavailable`, and `Unavailable` in an outage, if the ledger was begun and cannot take an entry: nothing was changed.
    /// Otherwise those of [`Keyring::add_key`](crate::Keyring::add_key).
    pub async fn add_key(&self) -> Result<KeyInfo> {
        self.observed("add_key", Box::pin(add_key(&self.core))).await
    }

    /// As [`Keyring::promote_key`](crate::Keyring::promote_key), with entries in the [ledger](crate::ledger).
    ///
    /// # Errors
    /// Those of [`add_key`](Self::add_key) about the ledger; otherwise those of
    /// [`Keyring::promote_key`](crate::Keyring::promote_key).
    pub async fn promote_key(&self, id: KeyId) -> Result<KeyInfo> {
        self.observed("promote_key", Box::pin(promote_key(&self.core, id))).await
    }

    /// As [`Keyring::retire_key`](crate::Keyring::retire_key), with entries in the [ledger](crate::ledger).
    ///
    /// # Errors
    /// Those of [`add_key`](Self::add_key) about the ledger; otherwise those of
    /// [`Keyring::retire_key`](crate::Keyring::retire_key).
    pub async fn retire_key(&self, id: KeyId) -> Result<KeyInfo> {
        self.observed("retire_key", Box::pin(retire_key(&self.core, id))).await
    }

    /// Destroys a retired key for good, here and in the generation of the keyring before, after counting
    /// that no token of any kind of credentials names it any more in a column of the layout, in the vault's own tables beside
    /// the table, or in the local file of this vault; and that no token in any other column of the table opens for the owner of
    /// its
    /// row.
    ///
    /// # Errors
    /// `KeyInUse`, saying how many tokens are left and where; `AccessDenied`, naming a column that may not be read;
    /// `KeyState` unless it has been retired for 24 hours; `UnknownKey`; `Schema` when the table is not there to be counted; else
    /// as
    /// [`count_tokens`](Self::count_tokens). On error nothing was destroyed.
    ///
    /// # Security
    /// Backups of the keyring still hold it. The local files of other hosts and of other kinds of credentials are not
    /// counted.
    pub async fn destroy_key(&self, id: KeyId, options: DestroyOptions) -> Result<KeyInfo> {
        self.destroy_key_with(id, options, |_| {}).await.map(|destroyed| destroyed.key)
    }

    /// As [`destroy_key`](Self::destroy_key), and says what was found outside of the layout. `listener` is told how far the
    /// search is, every thousand rows. Dropping the future ends it, and nothing is destroyed then.
    ///
    /// # Errors
    /// As [`destroy_key`](Self::destroy_key).
    pub async fn destroy_key_with(
        &self,
        id: KeyId,
        options: DestroyOptions,
        mut listener: impl FnMut(&CountProgress) + Send,
    ) -> Result<Destruction> {
        let about = json!({ "key": id.to_string() });
        let destroy = async {
            require_database_of_ledger(&self.core)?;
            let destroy = Box::pin(destroy_key(&self.core, id, &options, &mut listener));
            noted_work(&self.core, operation::KEY_DESTROY, about.clone(), destroy, |_| about).await
        };
        self.observed("destroy_key", destroy).await
    }

    /// Moves every record to the best places that there are, after columns were added: what is packed beside
    /// another token or lies in the JSONB column to the columns made for it, plain values out of their tokens
    /// into their own columns, and what waits in the local file to the database. Versions stay, and so do the
    /// texts of secret fields, the application's own data, and the time of the last synchronisation.
    ///
    /// Every record loads as before. A plain column that holds another value than the record is left alone;
    /// the record's value stays sealed then, and goes on to win. `listener` is told of that, and of every row
    /// that cannot be read. The service goes on meanwhile, as with [`rotate`](Self::rotate).
    ///
    /// # Errors
    /// `Configuration` without a database; otherwise as [`rotate`](Self::rotate). Finished work is kept.
    pub async fn promote(
        &self,
        options: &PromoteOptions,
        mut listener: impl FnMut(PromoteEvent<'_>) + Send,
    ) -> Result<Promotion> {
        let promote = async {
            check_keyring(&self.core).await?;
            let promote = Box::pin(promote(&self.core, options, &mut listener));
            noted_work(&self.core, operation::PROMOTE, json!({}), promote, Promotion::counts).await
        };
        self.observed("promote", promote).await
    }

    /// Writes the index entries of every record that lacks them, so that [`find`](Self::find) finds its owner. Adds a key for the
    /// index to a keyring that has none. It opens every record, and the service can go on meanwhile. An interrupted run is
    /// continued by the next.
    ///
    /// # Errors
    /// `NotIndexed` without a column for the index; `Configuration` without a database; the errors of
    /// [`Keyring::add_key`](crate::Keyring::add_key) if a key is needed; otherwise as [`rotate`](Self::rotate). Finished work is
    /// kept.
    pub async fn build_index(
        &self,
        options: &IndexOptions,
        mut listener: impl FnMut(IndexEvent<'_>) + Send,
    ) -> Result<IndexReport> {
        let build = async {
            check_keyring(&self.core).await?;
            let build = Box::pin(build_index(&self.core, options, &mut listener));
            noted_work(&self.core, operation::INDEX, json!({}), build, IndexReport::counts).await
        };
        self.observed("build_index", build).await
    }

    /// Replaces the key of the index: adds a key, and writes the entries of both, so that owners are found by either. It removes
    /// the old key and its entries only if the keyring is in the database, or with
    /// [`other_hosts_synced`](IndexOptions::other_hosts_synced). Otherwise give every host the new keyring, and call it again.
    /// An interrupted run is continued by the next.
    ///
    /// # Errors
    /// As [`build_index`](Self::build_index). The old key stays until every record has entries under the new one.
    pub async fn rotate_index_key(
        &self,
        options: &IndexOptions,
        mut listener: impl FnMut(IndexEvent<'_>) + Send,
    ) -> Result<IndexReport> {
        let rotate = async {
            check_keyring(&self.core).await?;
            let about = json!({ "new_key": true });
            let rotate = Box::pin(rotate_index_key(&self.core, options, &mut listener));
            noted_work(&self.core, operation::INDEX, about, rotate, IndexReport::counts).await
        };
        self.observed("rotate_index_key", rotate).await
    }

    /// Uses this keyring with a table that holds another keyring's tokens, for which every store fails with `WrongKeyring`.
    /// The decision is stored in the local file. False: there was no need, and nothing was stored.
    ///
    /// # Security
    /// Only for a keyring that is lost for good. No other keyring opens its records, so they stay
    /// unreadable until each is stored again with
    /// [`StoreOptions::replace_unreadable`](crate::records::StoreOptions::replace_unreadable). If the other keyring is still in
    /// use
    /// elsewhere, both keep storing in one table, and neither opens the records of the other. The decision holds for this local
    /// file and this table; every other host needs the same call.
    ///
    /// # Errors
    /// `Configuration` without a database or a local file; `Unavailable` and others when the database cannot be asked;
    /// `LocalStore`. On error nothing was stored.
    pub async fn adopt_table(&self) -> Result<bool> {
        self.observed("adopt_table", adopt(&self.core)).await
    }

    /// Puts the keyring of this process back into the database, after a restore has put an older generation there, or removed it:
    /// nothing is sealed until then (`KeyringRolledBack`). False: the database has it.
    ///
    /// # Errors
    /// `Configuration` for a keyring that is not in the database; else as
    /// [`KeyringTable::push`](crate::connection::KeyringTable::push).
    pub async fn restore_keyring(&self) -> Result<bool> {
        match self.core.keyring.table() {
            Some(table) => {
                self.observed("restore_keyring", Box::pin(self.core.keyring.put_back(table))).await
            }
            None => {
                let message =
                    format!("the keyring lies in {}, not in the database", self.core.keyring.place());
                Err(Error::new(ErrorKind::Configuration, message)
                    .with_hint("restore the file of the keyring from its backup"))
            }
        }
    }

    /// The keys of the keyring, oldest first.
    pub fn keys(&self) -> Vec<KeyInfo> {
        self.core.keyring.keys()
    }

    fn note_progress(&self, event: &RotateEvent<'_>) {
        if let RotateEvent::Pass(progress) | RotateEvent::Batch(progress) = event {
            metrics::set_rotation(&self.core.subject, progress.rows_by_state());
        }
    }

    fn note_tokens(&self, counts: &TokenCounts) {
        if metrics::ARE_ON {
            let by_state = counts.by_state(&self.core.keyring.current());
            metrics::set_tokens(&self.core.subject, by_state);
        }
    }
}
