//! Which database the vault is connected to, whatever its address is, so that what waits for one is not pushed to another.

use std::time::Instant;

use crate::error::Result;
use crate::postgres::connection::errors::DatabaseError;
use crate::store::core::Core;

/// Takes the database for the one that the local file met last at this address, until it can be asked.
pub(crate) async fn recall(core: &Core) -> Result<()> {
    if let (Some(postgres), Some(local)) = (&core.postgres, &core.local)
        && let Some(identity) = local.database_at(&postgres.database.address()).await?
    {
        postgres.note_identity(identity);
    }
    Ok(())
}

/// Asks the database which one it is, and notes the answer in the local file, for outages.
///
/// # Errors
/// Those of asking, unless the database refuses to tell: then it may be any. Those of the local file.
pub(crate) async fn identify(core: &Core) -> Result<(), DatabaseError> {
    if let (Some(postgres), Some(local)) = (&core.postgres, &core.local)
        && let Some(identity) = postgres.ask_identity().await?
    {
        local.note_database_at(&postgres.database.address(), &identity).await?;
        postgres.note_identity(identity);
    }
    Ok(())
}

/// As [`identify`], where nobody has told yet and the database may be asked. If it does not answer, it may be any.
pub(super) async fn identify_unless_known(core: &Core) {
    let is_known = core.postgres.as_ref().is_none_or(|postgres| !postgres.identity().is_empty());
    if is_known || core.breaker.is_open(Instant::now()) {
        return;
    }
    if let Err(fault) = identify(core).await {
        core.note(&fault).await;
    }
}
