//! What operators call: rotation, promotion, the life of the keys.

use crate::error::Result;
use crate::keyring::keys::KeyInfo;
use crate::record::credentials::Credentials;
use crate::record::token::KeyId;
use crate::rotation::destroy_key::{Destruction, destroy_key};
use crate::rotation::evidence::CountProgress;
use crate::rotation::new_key::bring_in;
use crate::rotation::options::{DestroyOptions, PromoteOptions, RotateOptions};
use crate::rotation::promote::promote;
use crate::rotation::report::{PromoteEvent, Promotion, RotateEstimate, RotateEvent, Rotation};
use crate::rotation::rotate::{estimate_rotation, rotate};
use crate::rotation::token_count::{TokenCounts, count_everywhere, count_tokens};
use crate::store::keyring_check::{adopt, check_keyring};
use crate::vault::Vault;

impl<C: Credentials> Vault<C> {
    /// Re-encrypts every token that is not under the primary key, wherever it lies: in every slot of the
    /// table, and in the local file with its pending records, replicas, superseded records and dead letters.
    /// Versions, plain columns and the application's own data stay as they are. With [`RotateOptions::new_key`] it makes and
    /// promotes a new key first, or goes on with the one that an interrupted call made.
    ///
    /// The service goes on reading and writing meanwhile, and a newer write always wins. It is safe to drop
    /// the future, to kill the process and to run this twice at once: every batch is whole, and the next
    /// run finds what is left. `listener` is told of every batch, and of everything that could not be opened. A record of
    /// which a token lies in a column that this program does not know stays as it is, and is told as `Incomplete`.
    ///
    /// Rotate with the vault of each kind of credentials. The count at the end includes the tokens of all kinds in the JSONB
    /// config column.
    ///
    /// # Errors
    /// `AccessDenied` when the role may not write the table, or may not see all of its rows;
    /// `Unavailable` when the database is out of reach; `Schema` when the table goes away on the way; `WrongKeyring`;
    /// `LocalStore`. What was done so far is good. With [`RotateOptions::new_key`] also `UnknownKey` when tokens are under a key
    /// that the keyring does not hold, and the errors of [`Keyring::add_key`](crate::Keyring::add_key); a message that begins
    /// with `no key was made` says that the keyring file is as it was.
    pub async fn rotate(
        &self,
        options: &RotateOptions,
        mut listener: impl FnMut(RotateEvent<'_>) + Send,
    ) -> Result<Rotation> {
        if options.new_key {
            Box::pin(bring_in(&self.core, options, &mut listener)).await?;
        }
        check_keyring(&self.core).await?;
        // the compiler follows futures in futures only so deep, and the caller nests this one further
        Box::pin(rotate(&self.core, options, &mut listener)).await
    }

    /// Says what [`rotate`](Self::rotate) would do and about how long it would take. Writes nothing.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    pub async fn estimate_rotation(&self, options: &RotateOptions) -> Result<RotateEstimate> {
        estimate_rotation(&self.core, options).await
    }

    /// Counts the tokens of every column of the layout, and of the local file, by the key that they name. Reads the whole
    /// table, in about a second for 200,000 rows. It also looks at the vault's own tables, and at a sample of the other columns,
    /// and says what it did not look at.
    ///
    /// # Errors
    /// `Unavailable` when the database cannot be asked, `AccessDenied` when it may hide rows from our
    /// role: a count of a part would be worth nothing. `LocalStore`.
    pub async fn count_tokens(&self) -> Result<TokenCounts> {
        count_tokens(&self.core, None).await
    }

    /// As [`count_tokens`](Self::count_tokens), and looks at every row of every column that can hold a token: of the table, of those that
    /// inherit from it, and of the vault's own. What it finds is opened. `listener` is told how far it is.
    ///
    /// # Errors
    /// As [`count_tokens`](Self::count_tokens), and `AccessDenied` for a column that may not be read.
    pub async fn count_all_tokens(
        &self,
        mut listener: impl FnMut(&CountProgress) + Send,
    ) -> Result<TokenCounts> {
        Box::pin(count_everywhere(&self.core, &mut listener)).await
    }

    /// Destroys a retired key for good, here and in the generation of the keyring before, after counting
    /// that no token of any kind of credentials names it any more in a column of the layout, in the vault's own tables beside
    /// the table, or in the local file of this vault; and that no token in any other column of the table opens for the owner of its
    /// row.
    ///
    /// # Errors
    /// `KeyInUse`, saying how many tokens are left and where; `AccessDenied`, naming a column that may not be read;
    /// `KeyState` unless it has been retired for 24 hours; `UnknownKey`; `Schema` when the table is not there to be counted; else as
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
        Box::pin(destroy_key(&self.core, id, &options, &mut listener)).await
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
    /// `Configuration` without a database; else as [`rotate`](Self::rotate). What was done so far is good.
    pub async fn promote(
        &self,
        options: &PromoteOptions,
        mut listener: impl FnMut(PromoteEvent<'_>) + Send,
    ) -> Result<Promotion> {
        check_keyring(&self.core).await?;
        Box::pin(promote(&self.core, options, &mut listener)).await
    }

    /// Goes on with this keyring over a table full of another one's tokens, where every store is `WrongKeyring`: notes in the local
    /// file that they belong together. False: there was no need, and nothing was noted.
    ///
    /// # Security
    /// Only for a keyring that is lost for good. What is stored under it opens with no other, so those records stay
    /// unreadable until each is stored again with
    /// [`StoreOptions::replace_unreadable`](crate::records::StoreOptions::replace_unreadable). If the other keyring is still in use
    /// somewhere, both go on storing in one table, and neither opens what the other stores. The note holds for this local
    /// file and this table; every other host needs its own.
    ///
    /// # Errors
    /// `Configuration` without a database or a local file; `Unavailable` and others when the database cannot be asked;
    /// `LocalStore`. On error nothing was noted.
    pub async fn adopt_table(&self) -> Result<bool> {
        adopt(&self.core).await
    }

    /// The keys of the keyring, oldest first.
    pub fn keys(&self) -> Vec<KeyInfo> {
        self.core.keyring.keys()
    }
}
