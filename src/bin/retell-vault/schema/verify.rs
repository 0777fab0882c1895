//! `schema verify`: what was looked at and tried, and how it ended.

use retell_vault::Verification;
use serde_json::{Value, json};

use crate::args::{Global, WantedArgs};
use crate::failure::Failure;
use crate::{print, session};

/// Verifies the schema.
pub async fn verify(global: &Global, wanted: &WantedArgs) -> Result<(), Failure> {
    let vault = session::vault(global).await?;
    let verification = vault.schema().verify(wanted.wanted()).await?;
    todo!()
}
