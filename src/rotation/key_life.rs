//! Adds, promotes and retires keys, each with its entries in the ledger.

use serde_json::json;

use crate::chain::entry::operation;
use crate::error::Result;
use crate::keyring::keys::KeyInfo;
use crate::record::token::KeyId;
use crate::store::core::Core;
use crate::store::ledger_work::{noted_work, require_database_of_ledger};

pub(crate) async fn add_key(core: &Core) -> Result<KeyInfo> {
    require_database_of_ledger(core)?;
    let told = |key: &KeyInfo| json!({ "key": key.id.to_string() });
    noted_work(core, operation::KEY_ADD, json!({}), core.keyring.add_key(), told).await
}

pub(crate) async fn promote_key(core: &Core, id: KeyId) -> Result<KeyInfo> {
    require_database_of_ledger(core)?;
    let about = json!({ "key": id.to_string() });
    let promote = core.keyring.promote_key(id);
    noted_work(core, operation::KEY_PROMOTE, about.clone(), promote, |_| about).await
}

pub(crate) async fn retire_key(core: &Core, id: KeyId) -> Result<KeyInfo> {
    require_database_of_ledger(core)?;
    let about = json!({ "key": id.to_string() });
    noted_work(core, operation::KEY_RETIRE, about.clone(), core.keyring.retire_key(id), |_| about).await
}
