//! Store, load, delete and modify in a transaction of the caller.
//!
//! The vault does not know whether the caller will commit, so it remembers nothing of what it reads or writes there. It keeps
//! nothing in the local file but texts that it replaces.

use std::sync::Arc;

use sqlx::PgTransaction;

use crate::error::{Error, ErrorKind, Result};
use crate::local::entries::KeptKind;
use crate::postgres::connection::callers_transaction::CallersTransaction;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::bind::Written;
use crate::postgres::statements::found_records::{FoundRecords, Row};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::read::FoundRows;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::values::Values;
use crate::record::version::Version;
use crate::store::core::{Core, LoadedRecord, ROUNDS, StoreRequest, StoredRecord, keeps_changing};
use crate::store::fallback::pending;
use crate::store::judge::{Newest, Verdict, check_expected, judge, keep_tokens, with_vouched};
use crate::store::keyring_check::{explain, require_own_keyring};
use crate::store::ledger::require_ledger;
use crate::store::load::{Found, newest};
use crate::store::modify::{Changed, changed_record};
use crate::store::options::StoreOptions;
use crate::store::reload::{learn_keys, reload_keyring};
use crate::store::write::{NOT_CREATED, NOT_WRITTEN};

/// Stores a record.
///
/// On error nothing was written.
pub(crate) async fn store_in(
    core: &Core,
    transaction: &mut PgTransaction<'_>,
    request: StoreRequest<'_>,
) -> Result<StoredRecord> {
    let mut rows = OwnersRows::to_write(core, transaction, request.owner).await?;
    for _ in 0..ROUNDS {
        let found = rows.read().await?;
        if let Some(stored) = rows.write(request, found).await? {
            return Ok(stored);
        }
    }
    Err(keeps_changing())
}

/// Replaces a record with a tombstone.
///
/// # Errors
/// `NotFound` if there is nothing to delete. On error nothing was written.
pub(crate) async fn delete_in(
    core: &Core,
    transaction: &mut PgTransaction<'_>,
    owner: &Owner,
) -> Result<StoredRecord> {
    let nothing = Values::new();
    store_in(core, transaction, StoreRequest::new(owner, &nothing, StoreOptions::new())).await
}

/// Loads a record, lets `change` work on its values, and stores the result. If another writer was faster, it does all of this
/// again.
///
/// On error nothing was written.
pub(crate) async fn modify_in(
    core: &Core,
    transaction: &mut PgTransaction<'_>,
    owner: &Owner,
    mut change: impl FnMut(Values, &[Field]) -> Result<Changed>,
) -> Result<StoredRecord> {
    let mut rows = OwnersRows::to_write(core, transaction, owner).await?;
    for _ in 0..ROUNDS {
        let found = rows.read().await?;
        let read = rows.newest(&found).await?;
        let record = read.record.expect("the database answered with it");
        let changed = changed_record(core, owner, &record, read.opened, &mut change)?;
        if let Some(stored) = rows.write(changed.request(owner), found).await? {
            return Ok(stored);
        }
    }
    Err(keeps_changing())
}

/// The newest record of an owner. A tombstone is an answer too.
///
/// # Errors
/// Those of [`load`](crate::store::load::load), and `Unavailable` if a newer record is pending in the local file.
pub(crate) async fn load_in(
    core: &Core,
    transaction: &mut PgTransaction<'_>,
    owner: &Owner,
) -> Result<LoadedRecord> {
    let mut rows = OwnersRows::to_read(core, transaction, owner).await?;
    let found = rows.read().await?;
    match rows.newest(&found).await {
        Ok(read) => {
            let seen = core.seen_version(owner).filter(|seen| *seen > read.version);
            Ok(LoadedRecord { seen, stale: seen.is_some(), ..read })
        }
        Err(error) => Err(explain(core, error).await),
    }
}

/// The rows of one owner, as a transaction of the caller sees them.
struct OwnersRows<'a> {
    core: &'a Core,
    postgres: &'a Postgres,
    owner: &'a Owner,
    plan: Arc<Plan>,
    transaction: CallersTransaction<'a>,
    /// The rows that the last write did not change.
    tried: Option<Vec<Row>>,
}

impl<'a> OwnersRows<'a> {
    async fn to_read(
        core: &'a Core,
        transaction: &'a mut PgTransaction<'_>,
        owner: &'a Owner,
    ) -> Result<Self> {
        let postgres = ready(core, owner).await?;
        let plan = postgres.plan_for_caller_to_read().await.map_err(|fault| fault.error)?;
        Ok(Self::new(core, postgres, owner, plan, transaction))
    }

    /// Everything that the vault has to ask the database for itself is asked over its own connections, because the
    /// transaction may act as a role that sees less.
    async fn to_write(
        core: &'a Core,
        transaction: &'a mut PgTransaction<'_>,
        owner: &'a Owner,
    ) -> Result<Self> {
        let postgres = ready(core, owner).await?;
        require_own_keyring(core, postgres).await.map_err(|fault| fault.error)?;
        require_ledger(core, postgres).await.map_err(|fault| fault.error)?;
        let plan = postgres.plan_for_caller_to_write().await.map_err(|fault| fault.error)?;
        Ok(Self::new(core, postgres, owner, plan, transaction))
    }

    fn new(
        core: &'a Core,
        postgres: &'a Postgres,
        owner: &'a Owner,
        plan: Arc<Plan>,
        transaction: &'a mut PgTransaction<'_>,
    ) -> Self {
        let transaction = CallersTransaction::new(transaction, &postgres.database);
        Self { core, postgres, owner, plan, transaction, tried: None }
    }

    async fn read(&mut self) -> Result<FoundRows> {
        let done = self.postgres.read_in(&mut self.transaction, &self.plan, self.owner).await;
        let found = self.concluded(done).await?;
        let records = FoundRecords::of(&found.rows, &self.plan.placement.slots, found.now).records;
        learn_keys(self.core, records.iter().filter_map(|record| record.key).collect()).await;
        Ok(found)
    }

    /// The newest record in the rows that were found.
    async fn newest(&self, found: &FoundRows) -> Result<LoadedRecord> {
        let records = FoundRecords::of(&found.rows, &self.plan.placement.slots, found.now);
        let read = newest(self.core, self.owner, Found::Records(records), None);
        let is_missing = |error: &Error| error.kind() == ErrorKind::NotFound;
        match &read {
            Err(error) if !is_missing(error) => {}
            _ => self.refuse_pending(read.as_ref().ok().map(|read| read.version)).await?,
        }
        read
    }

    /// Writes over the rows that were found, or creates a row. `None`: others have changed them since, so nothing was
    /// written.
    async fn write(&mut self, request: StoreRequest<'_>, found: FoundRows) -> Result<Option<StoredRecord>> {
        let (core, owner) = (self.core, self.owner);
        if self.tried.as_ref() == Some(&found.rows) {
            return Err(prevented(&found.rows));
        }
        let (there, keep) = match judge(core, &self.plan, owner, None, &found, request.options)? {
            Verdict::Overwrite { newest, keep } => (newest, keep),
            Verdict::Refuse { error, .. } => return Err(error),
            Verdict::SameWrite => unreachable!("nothing was sent before"),
        };
        self.check(request, there, keep.is_some()).await?;
        if let Some(reason) = &keep {
            keep_tokens(core, owner, KeptKind::Replaced, &found.rows, reason).await?;
        }
        let record =
            core.seal(request, self.newest_known(there).await?, &self.plan.placement.in_the_clear())?;
        let only = request.change.map(|change| change.plain.as_slice());
        let noted = core.note_store(request, there.map(|there| there.version), &record)?;
        let written = Written { record: &record, vouched: None, only, entry: noted.entry() };
        let done = match found.rows.is_empty() {
            true => self.postgres.insert_in(&mut self.transaction, &self.plan, owner, written).await,
            false => {
                let old = with_vouched(core, &self.plan, owner, &found.rows);
                self.postgres.replace_in(&mut self.transaction, &self.plan, owner, written, &old).await
            }
        };
        // otherwise the entry counts once the caller commits, which the vault does not learn
        match done {
            Ok(false) => noted.unwritten(),
            Ok(true) | Err(_) => noted.leave_open(),
        }
        if !self.concluded(done).await? {
            self.tried = Some(found.rows);
            return Ok(None);
        }
        Ok(Some(StoredRecord {
            version: record.version,
            rows: found.rows.len().max(1) as u64,
            places: core.places(request, |field| self.plan.placement.place(field)),
            degraded: None,
            replaced: keep.into_iter().collect(),
        }))
    }

    /// # Errors
    /// `Conflict` or `NotFound` if the owner does not have what the request needs.
    async fn check(&self, request: StoreRequest<'_>, there: Option<Newest>, is_kept: bool) -> Result<()> {
        if request.options.expected.is_some() || request.is_tombstone() {
            self.refuse_pending(there.map(|there| there.version)).await?;
        }
        check_expected(request, there)?;
        let is_nothing = there.is_none_or(|there| there.is_tombstone) && !is_kept;
        match request.is_tombstone() && is_nothing {
            true => Err(ErrorKind::NotFound.into()),
            false => Ok(()),
        }
    }

    /// The newest version that is known of this owner, wherever it is. What is written must be later, whatever becomes of
    /// the transaction.
    async fn newest_known(&self, there: Option<Newest>) -> Result<Option<Version>> {
        let pending = pending(self.core, self.owner).await?.map(|pending| pending.version);
        let there = there.map(|there| there.version);
        Ok(there.max(self.core.plausible(pending)).max(self.core.seen_version(self.owner)))
    }

    /// # Errors
    /// `Unavailable` if a record of this owner that is newer than the one in the table is pending in the local file. The
    /// transaction cannot push it: if it holds a lock on the row, the push would wait for the transaction itself.
    async fn refuse_pending(&self, there: Option<Version>) -> Result<()> {
        let newer = pending(self.core, self.owner).await?.filter(|pending| Some(pending.version) > there);
        let message =
            "a newer record of this owner is pending in the local file, and the table does not hold it";
        match newer {
            None => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::Unavailable, message)
                .with_hint("synchronise before the transaction begins, with `Vault::sync`")),
        }
    }

    /// A table that has changed is read again for the next call: the transaction cannot go on.
    async fn concluded<T>(&self, done: Result<T, DatabaseError>) -> Result<T> {
        let fault = match done {
            Ok(done) => return Ok(done),
            Err(fault) => fault,
        };
        if fault.outcome != Outcome::Redetect {
            return Err(fault.error);
        }
        if let Err(fault) = self.postgres.refresh().await {
            tracing::debug!(error = %fault.error, "the catalogue could not be read again");
        }
        Err(fault.error.with_hint(
            "roll the transaction back and repeat it: the vault has read the columns of the table again. If the error \
             persists, the transaction does not see the vault's table: it is in another database, or it has itself \
             changed the table",
        ))
    }
}

/// Prepares for a call, without the transaction.
async fn ready<'a>(core: &'a Core, owner: &Owner) -> Result<&'a Postgres> {
    reload_keyring(core).await;
    let postgres = core.postgres.as_ref().ok_or_else(|| {
        Error::new(
            ErrorKind::Configuration,
            "this vault has no database, so no transaction can hold its records",
        )
        .with_hint("build it with `postgres` or `pool`; a vault in memory knows no transactions")
    })?;
    postgres.check_owner(owner)?;
    Ok(postgres)
}

fn prevented(rows: &[Row]) -> Error {
    Error::new(ErrorKind::AccessDenied, if rows.is_empty() { NOT_CREATED } else { NOT_WRITTEN })
}
