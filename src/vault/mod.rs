//! Methods for services: store, load, delete, sync, status.

pub(crate) mod actor;
#[cfg(feature = "admin")]
pub(crate) mod admin;
pub(crate) mod answers;
pub(crate) mod builder;
pub(crate) mod find;
#[cfg(feature = "admin")]
pub(crate) mod import;
#[cfg(feature = "local-file")]
pub(crate) mod in_memory;
pub(crate) mod in_transaction;
pub(crate) mod kept;
pub(crate) mod keys;
pub(crate) mod layout_comparison;
pub(crate) mod layout_report;
#[cfg(feature = "admin")]
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod maintenance;
pub(crate) mod owner_list;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod verified;
pub(crate) mod webhook;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::chain::entry::operation;
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "admin")]
use crate::import::on_read::ImportOnRead;
use crate::observe::metrics;
use crate::observe::operation::observed;
use crate::record::credentials::Credentials;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::values::Values;
use crate::retell::config::RetellConfig;
use crate::store::actor::{Attribution, acting};
use crate::store::core::{Core, StoreRequest};
use crate::store::hosts::end_note;
use crate::store::ledger_copies::end_ledger;
use crate::store::ledger_reads::{note_refusal, noting_refusal};
use crate::store::modify::modify;
use crate::store::options::StoreOptions;
use crate::store::rename::rename_owner;
#[cfg(feature = "metrics")]
use crate::store::sample::sample;
use crate::store::store::{delete, store};
use crate::store::store_many::store_many;
use crate::store::sync::{SyncReport, sync};
use crate::vault::answers::{Stored, change_credentials};
use crate::vault::kept::{Forgotten, KeptRecord};
use crate::vault::layout_comparison::compare;
use crate::vault::layout_report::LayoutReport;
use crate::vault::maintenance::{Maintenance, Schedule};
use crate::vault::owner_list::{ListPage, ListPosition};
use crate::vault::status::Status;

/// An encrypted store of Retell configurations, or of other credentials. Clones share everything; one per process is enough.
///
/// ```no_run
/// # async fn example() -> Result<(), retell_vault::Error> {
/// use retell_vault::{Keyring, Owner, Passphrase, RetellConfig, Vault};
///
/// let keyring = Keyring::open(".retell-vault/keyring.json", &Passphrase::new("…")).await?;
/// let vault = Vault::builder(keyring)
///     .postgres("postgres://localhost/app")
///     .local_file(".retell-vault/local.db")
///     .build()
///     .await?;
/// let owner = Owner::user("user-42")?;
/// let stored = vault.store(&owner, &RetellConfig::new("key_test_0000000000000000".parse()?)).await?;
/// if let Some(reason) = &stored.degraded {
///     eprintln!("kept in the local file: {reason}");
/// }
/// let loaded = vault.load(&owner).await?;
/// # Ok(())
/// # }
/// ```
///
/// `C` is the kind of credentials that it keeps. The default is [`RetellConfig`]; see [`Credentials`] for those of another
/// provider. Several kinds may share the keyring, the table and its JSONB config column, with a vault for each.
#[derive(Clone)]
pub struct Vault<C = RetellConfig> {
    core: Arc<Core>,
    /// Whom the entries of this handle name.
    actor: Option<Arc<Attribution>>,
    #[cfg(feature = "admin")]
    on_read: Option<Arc<ImportOnRead<C>>>,
    credentials: PhantomData<fn() -> C>,
}

impl<C: Credentials> Vault<C> {
    fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            actor: None,
            #[cfg(feature = "admin")]
            on_read: None,
            credentials: PhantomData,
        }
    }

    /// Stores a configuration in place of the owner's whole record. When it returns, the record is
    /// durable and sealed: in the database, or in the local file; `degraded` then holds the reason.
    ///
    /// # Errors
    /// On error nothing was written, except `OutcomeUnknown`, which says that it may have been.
    /// `InvalidInput` when no secret field is set, or a field is not one of these credentials. `ForeignValue` when a slot
    /// holds text that is not ours; `Configuration` when a text column holds a record of another kind of credentials;
    /// `Unsealable`, `UnknownKey` or `UnsupportedFormat` when the record that is there does not open; `WrongKeyring` when all
    /// tokens that were looked at in the table are another keyring's; `Schema` when the table is missing or cannot be used;
    /// `UnknownOwner`, `AccessDenied`, `Rejected`, `Busy`.
    pub async fn store(&self, owner: &Owner, config: &C) -> Result<Stored> {
        self.store_with(owner, config, StoreOptions::new()).await
    }

    /// As [`store`](Self::store), with options to overwrite more, or only the expected record.
    ///
    /// # Errors
    /// As [`store`](Self::store), and with [`StoreOptions::expect`] `Conflict` when the owner has another record, and
    /// `Unavailable` in an outage.
    pub async fn store_with(&self, owner: &Owner, config: &C, options: StoreOptions) -> Result<Stored> {
        let store = async {
            let values = &config.to_values();
            self.core.check(values, &[])?;
            let store = store(&self.core, StoreRequest::new(owner, values, options));
            noting_refusal(&self.core, operation::STORE, owner, store).await.map(Stored::from)
        };
        self.observed("store", store).await
    }

    /// Changes some fields of an owner's record: loads it, calls `change`, and stores it. If another writer changed the record
    /// meanwhile, it repeats all of this. Two simultaneous changes of different fields are both kept.
    ///
    /// Plain columns are written only for fields that `change` changes. Fields that only a newer program knows stay as they
    /// are. Pending records of this owner are pushed first. The call never falls back to the local file.
    ///
    /// # Errors
    /// `NotFound` when there is no record; `Conflict` when other writers were faster until the time limit of an operation, or
    /// when an answer was lost and another writer has replaced the record since: `change` is not run again then;
    /// `Incomplete` when a token lies in a column that this program does not know; `Unavailable` in an outage; the error of
    /// `change`; else as [`store`](Self::store).
    pub async fn modify(
        &self,
        owner: &Owner,
        mut change: impl FnMut(&mut C) -> Result<()>,
    ) -> Result<Stored> {
        let change = |values, unknown: &[Field]| change_credentials(values, unknown, &mut change);
        let modify = Box::pin(modify(&self.core, owner, change));
        let modify = noting_refusal(&self.core, operation::MODIFY, owner, modify);
        self.observed("modify", modify).await.map(Stored::from)
    }

    /// Stores many configurations, by one statement for 250 of them where the owners have rows and a usable unique
    /// constraint. Every owner gets its own result, in the order given.
    ///
    /// # Errors
    /// `InvalidInput` if an owner occurs twice; nothing was written. Else as [`store`](Self::store), per owner.
    pub async fn store_many(&self, configs: &[(Owner, C)]) -> Result<Vec<Result<Stored>>> {
        let stored = self.observed("store_many", self.store_each(configs)).await?;
        metrics::count_owners(&self.core.subject, "store_many", stored.iter().map(error_type));
        Ok(stored)
    }

    async fn store_each(&self, configs: &[(Owner, C)]) -> Result<Vec<Result<Stored>>> {
        let values: Vec<Values> = configs.iter().map(|(_, config)| config.to_values()).collect();
        let checked: Vec<Result<()>> = values.iter().map(|values| self.core.check(values, &[])).collect();
        let entries = configs.iter().zip(&values).zip(&checked).filter(|(_, checked)| checked.is_ok());
        let requests =
            entries.map(|(((owner, _), values), _)| StoreRequest::new(owner, values, StoreOptions::new()));
        let requests: Vec<StoreRequest<'_>> = requests.collect();
        let results = store_many(&self.core, &requests).await?;
        for (request, result) in requests.iter().zip(&results) {
            if let Err(error) = result {
                note_refusal(&self.core, operation::STORE, request.owner, error);
            }
        }
        let mut results = results.into_iter();
        let result = |checked: Result<()>| match checked {
            Ok(()) => results.next().expect("one for every request").map(Stored::from),
            Err(error) => Err(error),
        };
        Ok(checked.into_iter().map(result).collect())
    }

    /// Moves the record of an owner to another id, for operators whose application renames its users. It re-encrypts the record
    /// for
    /// `to` with all its fields, even those that only a newer program knows, and replaces it with a tombstone in the row of
    /// `from`.
    /// If the application has already given the row of `from` the new id, it finds the record there. All of this is one
    /// transaction.
    /// Pending records of both owners are pushed first. The call never falls back to the local file, which keeps the old
    /// record for 90 days.
    ///
    /// # Errors
    /// On error nothing was moved, except `OutcomeUnknown`, which says that it may have been. `NotFound` when `from` has no
    /// record;
    /// `Conflict` when `to` has one; `UnknownOwner` when `to` has no row and the application makes the rows; `Incomplete` when
    /// a token lies in a column that this program does not know; `Configuration` without a database; `Unavailable` in an
    /// outage; else as [`store`](Self::store).
    ///
    /// # Security
    /// A record is sealed for one owner, so write access to the database is not enough to give it to another owner. This call
    /// is enough: it is for operators, and a user must not choose either id.
    pub async fn rename_owner(&self, from: &Owner, to: &Owner) -> Result<Stored> {
        let rename = Box::pin(rename_owner(&self.core, from, to));
        let rename = noting_refusal(&self.core, operation::RENAME, from, rename);
        self.observed("rename_owner", rename).await.map(Stored::from)
    }

    /// Deletes an owner's configuration: a tombstone takes its place. A plain column is cleared only where it still holds
    /// what was stored; what another program put there stays. The row itself stays, since it is the application's.
    ///
    /// # Errors
    /// `NotFound` when there is nothing to delete; else as [`store`](Self::store).
    pub async fn delete(&self, owner: &Owner) -> Result<Stored> {
        let delete = noting_refusal(&self.core, operation::DELETE, owner, delete(&self.core, owner));
        self.observed("delete", delete).await.map(Stored::from)
    }

    /// Pushes pending records from the local file to the database. Several processes may do this at once.
    ///
    /// # Errors
    /// `LocalStore`, `LocalCorrupt`. Errors of the database are in the report; nothing is lost.
    pub async fn sync(&self) -> Result<SyncReport> {
        self.observed("sync", sync(&self.core)).await
    }

    /// Makes dead letters pending again, so that the next [`sync`](Self::sync) tries them once more: those of one owner, or of
    /// all. Of several of one owner the newest, and none where a newer record waits. What each one was based on still
    /// applies, so a record whose row is gone, or whose owner was deleted, becomes a dead letter again. So does one that is too
    /// old, unless you name its owner. Returns how many are pending again.
    ///
    /// # Errors
    /// `Configuration` without a local file; `LocalStore`. On error none was moved.
    ///
    /// # Security
    /// A local file restored from a backup may hold records that were deleted since. Check [`kept`](Self::kept) before you name
    /// an owner, and [`forget`](Self::forget) the owners that you do not want.
    pub async fn retry_dead_letters(&self, owner: Option<&Owner>) -> Result<u64> {
        self.observed("retry_dead_letters", kept::retry_dead_letters(&self.core, owner)).await
    }

    /// Does the background work of a service until the returned value is stopped or dropped: syncs, health checks with samples of
    /// the metrics, and the note of this host. Each job runs at once for the first time. An outage is a result like any other, and
    /// the next run tries again. Every process does its own work, so all replicas of a service may call this.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn maintain(&self, schedule: Schedule) -> Maintenance {
        Maintenance::spawn(&self.core, schedule)
    }

    /// Erases everything that the local file holds of an owner: pending records, replicas,
    /// superseded records, replaced texts, dead letters. What the database holds stays: see [`delete`](Self::delete). So do entries
    /// for the [ledger](crate::ledger), which name the owner, until a sync has sent them.
    ///
    /// # Errors
    /// `Configuration` without a local file; `LocalStore`.
    pub async fn forget(&self, owner: &Owner) -> Result<Forgotten> {
        self.observed("forget", kept::forget(&self.core, owner)).await
    }

    /// What was kept aside in the local file, oldest first, after the one numbered `after` (0 at first):
    /// superseded records, replaced texts and dead letters. Store what is still wanted again, then
    /// [`forget`](Self::forget) the owner. After 90 days a sync drops superseded records and replaced texts, but no dead letters.
    ///
    /// # Errors
    /// `Configuration` without a local file; `LocalStore`.
    pub async fn kept(&self, after: i64, limit: u32) -> Result<Vec<KeptRecord<C>>> {
        self.observed("kept", kept::kept(&self.core, after, limit)).await
    }

    /// One page of the owners that have a record, in the order of tenant and user: `limit` owners, or fewer where an owner has
    /// several rows. Continue with `after` as [`ListPage::next`], or with the [`ListPosition`] of any entry.
    ///
    /// A row whose owner is no valid id has an entry of its own. Check [`ListPage::hidden`] before you treat an empty page as
    /// an empty table.
    ///
    /// # Errors
    /// Those of the database and of the local file; `InvalidInput` for a position with a NUL character.
    pub async fn list(&self, after: Option<&ListPosition>, limit: u32) -> Result<ListPage> {
        self.observed("list", owner_list::list(&self.core, after, limit)).await
    }

    /// The state of the database and its columns, of the local file and of the keys.
    ///
    /// # Errors
    /// `LocalStore`. An unreachable database is part of the result, not an error.
    pub async fn status(&self) -> Result<Status> {
        self.observed("status", status::status(&self.core)).await
    }

    /// Asks the database whether it answers and the local file what it holds, and sets the gauges of docs/METRICS.md.
    /// [`maintain`](Self::maintain) does the same with each health check. Counters and durations need no sample.
    #[cfg(feature = "metrics")]
    pub async fn sample_metrics(&self) {
        sample(&self.core).await;
    }

    /// Compares the layout with the database: where every field would go, what is not touched, and what contradicts the
    /// layout. Reads only the catalogue. [`Layout::compare`](crate::Layout::compare) does the same without a vault.
    ///
    /// # Errors
    /// `Configuration` without a database; otherwise those of reading the catalogue.
    pub async fn layout_report(&self) -> Result<LayoutReport> {
        let postgres =
            self.core.postgres.as_ref().ok_or_else(|| {
                Error::new(ErrorKind::Configuration, "comparing the layout needs a database")
            })?;
        self.observed("layout_report", compare(&postgres.database, postgres.layout())).await
    }

    /// Reads the columns of the table again, for example after a migration.
    ///
    /// # Errors
    /// Those of reading the catalogue again.
    pub async fn redetect(&self) -> Result<()> {
        let redetect = async {
            match &self.core.postgres {
                Some(postgres) => postgres.refresh().await.map(drop).map_err(|fault| fault.error),
                None => Ok(()),
            }
        };
        self.observed("redetect", redetect).await
    }

    /// Closes the connections and the local file, for all clones of this vault. Later calls are
    /// errors. A pool of the service stays open. Not needed for any record to be durable. With a [ledger](crate::ledger) it
    /// notes that this process writes no more, and keeps the last copies outside of the database, for at most some seconds.
    pub async fn close(&self) {
        if !self.core.closed.swap(true, Ordering::AcqRel) {
            end_ledger(&self.core).await;
            end_note(&self.core).await;
        }
        self.core.close().await;
    }

    /// Not an `async fn`, which would hold the call twice.
    fn observed<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> impl Future<Output = Result<T>> {
        acting(self.actor.clone(), observed(&self.core.subject, operation, call))
    }
}

fn error_type<T>(result: &Result<T>) -> Option<&'static str> {
    result.as_ref().err().map(|error| error.kind().as_str())
}

impl<C> fmt::Debug for Vault<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.core.postgres.as_ref().map(|postgres| postgres.database.address());
        let local = self.core.local.as_ref().map(|local| local.path().to_owned());
        f.debug_struct("Vault")
            .field("database", &database)
            .field("local_file", &local)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::file::Keyring;
    use crate::keyring::wrapping::WrappingKeyProvider;
    use crate::record::token::KeyId;
    use crate::rotation::options::{DestroyOptions, PromoteOptions, RotateOptions};
    use crate::vault::builder::VaultBuilder;

    fn may_be_spawned(_: &(impl Send + ?Sized)) {}

    #[allow(dead_code, reason = "that it compiles is the test: a web handler spawns what it awaits")]
    fn every_future_may_be_spawned(
        vault: &Vault,
        builder: VaultBuilder,
        (keyring, provider): (&Keyring, &dyn WrappingKeyProvider),
        owner: &Owner,
        config: &RetellConfig,
    ) {
        let configs = [(owner.clone(), config.clone())];
        may_be_spawned(&Keyring::prepare("keyring.json", provider));
        may_be_spawned(&Keyring::open("keyring.json", provider));
        may_be_spawned(&keyring.rewrap(provider));
        may_be_spawned(&Vault::in_memory());
        may_be_spawned(&builder.build());
        may_be_spawned(&vault.store(owner, config));
        may_be_spawned(&vault.store_with(owner, config, StoreOptions::new()));
        may_be_spawned(&vault.store_many(&configs));
        may_be_spawned(&vault.load(owner));
        may_be_spawned(&vault.load_many(&[]));
        may_be_spawned(&vault.delete(owner));
        may_be_spawned(&vault.rename_owner(owner, owner));
        may_be_spawned(&vault.sync());
        may_be_spawned(&vault.retry_dead_letters(None));
        may_be_spawned(&vault.forget(owner));
        may_be_spawned(&vault.list(None, 1));
        may_be_spawned(&vault.status());
        #[cfg(feature = "metrics")]
        may_be_spawned(&vault.sample_metrics());
        may_be_spawned(&vault.layout_report());
        may_be_spawned(&vault.redetect());
        may_be_spawned(&vault.count_tokens());
        may_be_spawned(&vault.count_all_tokens(|_| {}));
        may_be_spawned(&vault.destroy_key(KeyId(0), DestroyOptions::new()));
        may_be_spawned(&vault.rotate(&RotateOptions::new(), |_| {}));
        may_be_spawned(&vault.promote(&PromoteOptions::new(), |_| {}));
        may_be_spawned(&vault.modify(owner, |_| Ok(())));
        may_be_spawned(&vault.kept(0, 1));
        may_be_spawned(&vault.estimate_rotation(&RotateOptions::new()));
        may_be_spawned(&vault.adopt_table());
    }
}
