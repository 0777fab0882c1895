//! Identifies the database behind an address, so that a record pending for one database is not pushed to another.

use std::time::Instant;

use crate::error::Result;
use crate::postgres::connection::errors::DatabaseError;
use crate::store::core::Core;

/// Until the database can be asked, assumes the one that the local file last met at this address.
pub(crate) async fn recall(core: &Core) -> Result<()> {
    if let (Some(postgres), Some(local)) = (&core.postgres, &core.local)
        && let Some(identity) = local.database_at(&postgres.database.address()).await?
    {
        postgres.note_identity(identity);
    }
    Ok(())
}

/// Asks the database which one it is, and records the answer in the local file, for outages.
///
/// # Errors
/// The errors of asking, unless the database refuses to identify itself: then it may be any database. The errors of the
/// local file.
pub(crate) async fn identify(core: &Core) -> Result<(), DatabaseError> {
    if let (Some(postgres), Some(local)) = (&core.postgres, &core.local)
        && let Some(identity) = postgres.ask_identity().await?
    {
        local.note_database_at(&postgres.database.address(), &identity).await?;
        postgres.note_identity(identity);
    }
    Ok(())
}

/// As [`identify`], if the database is not identified yet and may be asked. If it does not answer, it may be any database.
pub(super) async fn identify_unless_known(core: &Core) {
    let is_known = core.postgres.as_ref().is_none_or(|postgres| !postgres.identity().is_empty());
    if is_known || core.breaker.is_open(Instant::now()) {
        return;
    }
    if let Err(fault) = identify(core).await {
        core.note(&fault).await;
    }
}
