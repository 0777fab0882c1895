//! Store and delete.

use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::local::file::Base;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::record::owner::Owner;
use crate::record::values::Values;
use crate::store::core::{Core, StoreOptions, StoreRequest, StoredRecord};
use crate::store::fallback::{fall_back, remember_stored, store_locally, supersede_pending};
use crate::store::load::load;
use crate::store::reload::reload_keyring;
use crate::store::write::Write;

/// Writes to the database, or to the local file when that is out of reach or has no room.
///
/// On error nothing was written, unless the error says that the outcome is unknown.
pub(crate) async fn store(core: &Core, request: StoreRequest<'_>) -> Result<StoredRecord> {
    reload_keyring(core).await;
    let Some(postgres) = &core.postgres else {
        return store_locally(core, request, None, Base::Unknown, None).await;
    };
    postgres.check_owner(request.owner)?;
    if let Some(reason) = core.breaker.blocks(Instant::now()) {
        let fault = DatabaseError::new(Outcome::Fallback, Error::new(ErrorKind::Unavailable, reason));
        return fall_back(core, request, None, Base::Unknown, fault).await;
    }
    let mut write = Write::new(core, postgres, request).await?;
    match write.run().await {
        Ok(stored) => {
            core.breaker.success();
            core.seen.holds(request.owner, stored.version);
            supersede_pending(core, request.owner, stored.version).await;
            remember_stored(core, request, write.attempted().0).await;
            Ok(stored)
        }
        Err(fault) => {
            core.note(&fault);
            let (record, base) = write.attempted();
            fall_back(core, request, record, base, fault).await
        }
    }
}

/// Puts a tombstone in the place of an owner's record.
///
/// # Errors
/// `NotFound` when there is nothing to delete; else as [`store`].
pub(crate) async fn delete(core: &Core, owner: &Owner) -> Result<StoredRecord> {
    let vouched = match load(core, owner).await {
        Ok(loaded) if loaded.opened.values.is_none() => return Err(ErrorKind::NotFound.into()),
        Ok(loaded) => {
            let record = loaded.record;
            record.and_then(|record| Some((core.vouched(&record, owner).ok()?, record.version)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
        // a record that cannot be read can still be deleted; the write reports what the database says
        Err(_) => None,
    };
    let (values, options) = (&Values::new(), StoreOptions::new());
    let vouched = vouched.as_ref().map(|(texts, version)| (texts, *version));
    store(core, StoreRequest { owner, values, vouched, options }).await
}
