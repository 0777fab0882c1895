//! Methods that work in a transaction of the caller.

use sqlx::PgTransaction;

use crate::chain::entry::operation;
use crate::error::Result;
use crate::record::credentials::Credentials;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::store::core::StoreRequest;
use crate::store::in_transaction::{delete_in, load_in, modify_in, store_in};
use crate::store::ledger_reads::noting_refusal;
use crate::store::options::StoreOptions;
use crate::vault::Vault;
use crate::vault::answers::{Loaded, Uncommitted, change_credentials};
use crate::vault::load::shown;

/// # In your own transaction
///
/// These calls work in a transaction that you began and that you commit, on the database of the vault: the configuration
/// is stored together with your other writes, or not at all.
///
/// ```no_run
/// # use retell_vault::{Owner, RetellConfig, Vault};
/// # async fn example(vault: Vault, pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// # let (owner, config) = (Owner::user("user-42")?, RetellConfig::new("key_test_0000000000000000".parse()?));
/// let mut transaction = pool.begin().await?;
/// sqlx::query("INSERT INTO audit (what) VALUES ('configured')").execute(&mut *transaction).await?;
/// vault.store_in(&mut transaction, &owner, &config).await?;
/// transaction.commit().await?; // only now is the configuration stored
/// # Ok(())
/// # }
/// ```
///
/// - Nothing falls back to the local file, and no failed statement is repeated. The vault remembers nothing of the
///   transaction, so it does not matter to later calls whether you commit, roll back, lose the answer to the commit, or drop
///   a future.
/// - An error with an [`sqlstate`](crate::Error::sqlstate) means that the server has aborted the transaction, and the
///   message says so. Roll it back, and if the error [is retryable](crate::Error::is_retryable), repeat all of it.
///   Postgres answers the commit of an aborted transaction with a rollback, which sqlx does not report as an error. Roll
///   back too after a lost connection, a time-out, or a future that you dropped. After any other error, such as
///   `Conflict` or `NotFound`, you may go on: nothing was written.
/// - To go on after an error of the server, pass a savepoint: `let mut savepoint = transaction.begin().await?` is a
///   `PgTransaction` too.
/// - A write locks the rows of the owner until the transaction ends, as any UPDATE does, and a load locks nothing. If the
///   owner may have several rows, a write locks them as `FOR UPDATE` does, and the creation of the row holds an advisory
///   lock on the owner. Other writes of this owner wait meanwhile. So do not call [`Vault::store`] and its like for the
///   owner before the transaction ends: they would wait for you.
/// - The statements run with the role and the settings of the transaction. To act as the end user, set them first:
///   `SELECT set_config('role', 'authenticated', true), set_config('request.jwt.claims', $1, true)`.
/// - A write turns `synchronous_commit` on for the transaction if it is off, so that what you commit is durable.
/// - The vault uses its own connections to read the columns of the table and to check the keyring. It does so at the first
///   call and once a minute. If it shares your pool and the pool has no connection left, it puts the minute off.
/// - If a newer record of the owner is pending in the local file, the calls fail with `Unavailable`. Only `store_in` without
///   an expectation goes on: its record is newer, and the pending one is dropped by a sync after the commit.
impl<C: Credentials> Vault<C> {
    /// As [`store`](Self::store), in a transaction of yours.
    ///
    /// # Errors
    /// On error nothing was written. As [`store`](Self::store), but never `OutcomeUnknown`. `Configuration` without a
    /// database, as in a vault in memory, or if the row could be created twice in this transaction; `Schema` if the
    /// transaction does not see the table as the vault does; `Rejected` if it was already aborted; `Busy` if the server
    /// chose it to resolve a conflict or a deadlock; `Unavailable` if its connection was lost or too slow.
    pub async fn store_in(
        &self,
        transaction: &mut PgTransaction<'_>,
        owner: &Owner,
        config: &C,
    ) -> Result<Uncommitted> {
        self.store_in_with(transaction, owner, config, StoreOptions::new()).await
    }

    /// As [`store_in`](Self::store_in), with options. The expected record is the one that the transaction sees.
    ///
    /// # Errors
    /// As [`store_in`](Self::store_in), and with [`StoreOptions::expect`] `Conflict` when the owner has another record.
    pub async fn store_in_with(
        &self,
        transaction: &mut PgTransaction<'_>,
        owner: &Owner,
        config: &C,
        options: StoreOptions,
    ) -> Result<Uncommitted> {
        let values = &config.to_values();
        let store = Box::pin(async {
            self.core.check(values, &[])?;
            let store = store_in(&self.core, transaction, StoreRequest::new(owner, values, options));
            noting_refusal(&self.core, operation::STORE, owner, store).await
        });
        self.observed("store_in", store).await.map(Uncommitted::from)
    }

    /// As [`load`](Self::load), in a transaction of yours: what the transaction itself has stored is there.
    ///
    /// # Errors
    /// As [`load`](Self::load), and as [`store_in`](Self::store_in) about the transaction. With
    /// [`Reads::Before`](crate::ledger::Reads::Before) the entry is written on another connection of the vault, because a read that
    /// is rolled back was seen all the same.
    pub async fn load_in(&self, transaction: &mut PgTransaction<'_>, owner: &Owner) -> Result<Loaded<C>> {
        let load = async { shown(&self.core, owner, load_in(&self.core, transaction, owner).await?).await };
        let load = Box::pin(noting_refusal(&self.core, operation::READ, owner, load));
        self.observed("load_in", load).await
    }

    /// As [`modify`](Self::modify), in a transaction of yours. `change` runs again if another writer changed the record
    /// before this call could lock it.
    ///
    /// # Errors
    /// On error nothing was written. `NotFound` when there is no record; the error of `change`; else as
    /// [`store_in`](Self::store_in).
    pub async fn modify_in(
        &self,
        transaction: &mut PgTransaction<'_>,
        owner: &Owner,
        mut change: impl FnMut(&mut C) -> Result<()>,
    ) -> Result<Uncommitted> {
        let change = |values, unknown: &[Field]| change_credentials(values, unknown, &mut change);
        let modify = Box::pin(modify_in(&self.core, transaction, owner, change));
        let modify = noting_refusal(&self.core, operation::MODIFY, owner, modify);
        self.observed("modify_in", modify).await.map(Uncommitted::from)
    }

    /// As [`delete`](Self::delete), in a transaction of yours.
    ///
    /// # Errors
    /// On error nothing was written. `NotFound` when there is nothing to delete; else as [`store_in`](Self::store_in).
    pub async fn delete_in(&self, transaction: &mut PgTransaction<'_>, owner: &Owner) -> Result<Uncommitted> {
        let delete = Box::pin(delete_in(&self.core, transaction, owner));
        let delete = noting_refusal(&self.core, operation::DELETE, owner, delete);
        self.observed("delete_in", delete).await.map(Uncommitted::from)
    }
}
