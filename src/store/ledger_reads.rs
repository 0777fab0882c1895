//! Records that callers get to see.

use crate::error::Result;
use crate::store::actor::refuse_secrets_in_actor;
use crate::store::core::{Core, LoadedRecord};

/// Of a record that a caller is about to see.
///
/// # Errors
/// `InvalidInput` if a text about the actor holds a secret value of it.
pub(crate) fn note_read(core: &Core, read: LoadedRecord) -> Result<LoadedRecord> {
    if let Some(values) = &read.opened.values {
        refuse_secrets_in_actor(&core.fields, values)?;
    }
    Ok(read)
}
