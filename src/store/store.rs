//! Store and delete.

use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::local::entries::Base;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::record::owner::Owner;
use crate::record::values::Values;
use crate::store::actor::refuse_secrets_in_actor;
use crate::store::core::{Core, StoreRequest, StoredRecord};
use crate::store::fallback::{
    fall_back, forget_seen, local_entry, local_file, remember_stored, store_locally, stored_locally,
    supersede_pending,
};
use crate::store::faults::{Call, Way, lost_answer, unreachable};
use crate::store::judge::{Newest, check_expected};
use crate::store::keyring_check::wrong_keyring;
use crate::store::load::load;
use crate::store::options::StoreOptions;
use crate::store::reload::{has_key_now, reload_keyring};
use crate::store::sync::sync_owner;
use crate::store::write::Write;

/// Writes to the database, or to the local file if the database is unreachable or full.
///
/// On error nothing was written, unless the error says that the outcome is unknown.
pub(crate) async fn store(core: &Core, request: StoreRequest<'_>) -> Result<StoredRecord> {
    // boxed: otherwise an application's futures become too deep for the compiler
    match Box::pin(store_once(core, request)).await {
        Err(error) if has_key_now(core, &error).await => Box::pin(store_once(core, request)).await,
        stored => stored,
    }
}

async fn store_once(core: &Core, request: StoreRequest<'_>) -> Result<StoredRecord> {
    reload_keyring(core).await;
    if request.options.expected.is_some() {
        return store_expected(core, request).await.map_err(|not_stored| not_stored.error);
    }
    let Some(postgres) = &core.postgres else {
        return store_without_database(core, request).await;
    };
    postgres.check_owner(request.owner)?;
    if let Some(error) = core.breaker.blocks(Instant::now()) {
        let fault = DatabaseError::new(Outcome::Fallback, error);
        return fall_back(core, request, None, Base::Unknown, fault).await;
    }
    let mut write = Write::new(core, postgres, request).await?;
    match write.run().await {
        Ok(stored) => {
            core.breaker.success();
            conclude(core, request, write).await;
            Ok(stored)
        }
        Err(fault) => {
            core.note(&fault).await;
            let (record, base) = write.attempted();
            fall_back(core, request, record, base, fault).await
        }
    }
}

/// To the local file alone. In a vault in memory that is the database, unless a fault is switched on.
async fn store_without_database(core: &Core, request: StoreRequest<'_>) -> Result<StoredRecord> {
    let store = store_locally(core, request, None, Base::Unknown, None);
    let Some(faults) = &core.faults else { return store.await };
    let replaced = faults.replace(request.owner, |kind| request.options.mends(kind));
    match faults.way(Call::Store, request.owner)? {
        Way::Database => Ok(StoredRecord { rows: 1, replaced, ..store.await? }),
        Way::LostAnswer => Err(store.await.err().unwrap_or_else(lost_answer)),
        Way::LocalFile => {
            let fault = DatabaseError::new(Outcome::Fallback, unreachable());
            fall_back(core, request, None, Base::Unknown, fault).await
        }
    }
}

impl StoreOptions {
    /// Whether a record that cannot be read for this reason may be replaced.
    fn mends(self, kind: ErrorKind) -> bool {
        match kind {
            ErrorKind::ForeignValue => self.replace_foreign,
            ErrorKind::Unsealable
            | ErrorKind::UnknownKey
            | ErrorKind::UnsupportedFormat
            | ErrorKind::Incomplete
            | ErrorKind::Malformed => self.replace_unreadable,
            _ => false,
        }
    }
}

/// Why a store with an expectation was refused.
pub(super) struct NotStored {
    pub(super) error: Error,
    /// A write was sent, and may have been applied and then replaced.
    pub(super) is_unknown: bool,
}

impl From<Error> for NotStored {
    fn from(error: Error) -> Self {
        Self { error, is_unknown: false }
    }
}

/// Stores only if the expectation holds. If there is a database, nothing is kept in the local file.
///
/// On error nothing was written, unless the error or `is_unknown` says that the outcome is unknown.
pub(super) async fn store_expected(
    core: &Core,
    request: StoreRequest<'_>,
) -> Result<StoredRecord, NotStored> {
    let Some(postgres) = &core.postgres else {
        return store_expected_without_database(core, request).await;
    };
    postgres.check_owner(request.owner)?;
    if let Some(error) = core.breaker.blocks(Instant::now()) {
        return Err(error.into());
    }
    // a pending record is newer than the one in the database
    sync_owner(core, request.owner).await?;
    let mut write = Write::new(core, postgres, request).await?;
    match write.run().await {
        Ok(stored) => {
            core.breaker.success();
            conclude(core, request, write).await;
            Ok(stored)
        }
        Err(fault) => {
            core.note(&fault).await;
            Err(NotStored { is_unknown: write.is_unknown(), error: fault.error })
        }
    }
}

async fn store_expected_without_database(
    core: &Core,
    request: StoreRequest<'_>,
) -> Result<StoredRecord, NotStored> {
    let Some(faults) = &core.faults else { return Ok(store_expected_locally(core, request).await?) };
    // a conflict that is switched on stays: it is not tried again
    let switched_on = |error| NotStored { error, is_unknown: true };
    let way = faults.way(Call::Change, request.owner).map_err(switched_on)?;
    let stored = store_expected_locally(core, request).await?;
    match way {
        Way::LostAnswer => Err(lost_answer().into()),
        Way::Database | Way::LocalFile => Ok(StoredRecord { rows: 1, ..stored }),
    }
}

async fn store_expected_locally(core: &Core, request: StoreRequest<'_>) -> Result<StoredRecord> {
    let local = local_file(core)?;
    let there = local.pending(request.owner).await?;
    let newest = match &there {
        Some(there) => {
            let is_tombstone = core.is_tombstone(&core.local_record(&there.text)?, request.owner)?;
            Some(Newest { version: there.version, is_tombstone })
        }
        None => None,
    };
    check_expected(request, newest)?;
    let version = newest.map(|newest| newest.version);
    let put = local_entry(core, request, &core.seal(request, version, &[])?, Base::Unknown);
    match local.put_over(version, &put).await? {
        true => Ok(stored_locally(core, request, put.version, None)),
        false => Err(Error::new(ErrorKind::Conflict, "another writer changed the record")),
    }
}

/// What follows a successful write.
async fn conclude(core: &Core, request: StoreRequest<'_>, write: Write<'_>) {
    let Some(head) = write.head() else { return };
    if write.made_no_row() {
        return forget_seen(core, request.owner).await;
    }
    core.seen.holds(request.owner, head);
    supersede_pending(core, request.owner, head.version).await;
    remember_stored(core, request, write.attempted().0).await;
}

/// Replaces an owner's record with a tombstone.
///
/// # Errors
/// `NotFound` if there is nothing to delete; otherwise as [`store`].
pub(crate) async fn delete(core: &Core, owner: &Owner) -> Result<StoredRecord> {
    let vouched = match load(core, owner).await {
        Ok(loaded) => {
            let values = loaded.opened.values.as_ref().ok_or(ErrorKind::NotFound)?;
            refuse_secrets_in_actor(&core.fields, values)?;
            let record = loaded.record;
            record.and_then(|record| Some((core.vouched(&record, owner).ok()?, record.version)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(wrong_keyring(core).await.unwrap_or(error));
        }
        // the write says why it cannot be deleted
        Err(_) => None,
    };
    let (values, options) = (&Values::new(), StoreOptions::new());
    let vouched = vouched.as_ref().map(|(texts, version)| (texts, *version));
    store(core, StoreRequest { vouched, ..StoreRequest::new(owner, values, options) }).await
}
