//! What a vault checks before its first use.

use std::sync::Arc;

use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::file::Keyring;
use crate::keyring::keys::{KeyState, RootKey};
use crate::local::file::LocalFile;
use crate::observe::metrics;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::Postgres;
use crate::record::credentials::Credentials;
use crate::record::token::{KeyId, NONCE};
use crate::store::core::{Core, ROUNDS, pause};
use crate::store::database_identity::{identify, recall};
use crate::store::hosts::note_in_background;
use crate::store::keyring_check::keys_of_table;
use crate::store::ledger_copies::copy_in_background;
use crate::store::ledger_reads::write_in_background;
use crate::store::reload::reload_keyring_first;
use crate::vault::Vault;

/// Checks the local file, the keyring and the database, in this order.
pub(super) async fn finish<C: Credentials>(core: Core) -> Result<Vault<C>> {
    metrics::describe();
    if let Some(local) = &core.local {
        local.claim(core.fields.namespace).await?;
        check_canaries(local, &core.keyring).await?;
    }
    reload_keyring_first(&core).await?;
    look_at_database(&core).await?;
    let core = Arc::new(core);
    note_in_background(&core).await;
    copy_in_background(&core);
    write_in_background(&core);
    Ok(Vault::new(core))
}

/// Every key leaves a canary in the local file. One that the keyring cannot account for means that
/// the keyring is another one. If the file was used with a later generation of this one, it is an older copy.
async fn check_canaries(local: &LocalFile, keyring: &Keyring) -> Result<()> {
    let keys = keyring.current();
    let canaries = local.canaries().await?;
    let noted = local.keyring_generation().await?.unwrap_or_default();
    let made = |(id, canary): &(KeyId, Vec<u8>)| {
        keys.get(*id).is_some_and(|key| key.material.is_some() && key.made_canary(canary))
    };
    if noted > keys.generation && canaries.iter().any(made) {
        keyring.require_generation(noted, &local.path().display().to_string());
        return Ok(());
    }
    for (id, canary) in &canaries {
        if !keys.get(*id).is_some_and(|key| key.made_canary(canary)) {
            let message = format!(
                "{} was used with key {id}, which keyring {} does not hold",
                local.path().display(),
                keyring.place()
            );
            return Err(Error::new(ErrorKind::WrongKeyring, message).with_key_number(id.0));
        }
    }
    let is_new = |key: &&RootKey| {
        key.info.state != KeyState::Destroyed && canaries.iter().all(|(id, _)| *id != key.info.id)
    };
    for key in keys.keys().iter().filter(is_new) {
        if let Some(canary) = key.canary(&random::system_bytes::<NONCE>()?) {
            local.put_canary(key.info.id, &canary).await?;
        }
    }
    Ok(())
}

/// A second keyring could open none of the first keyring's tokens.
pub(super) async fn refuse_rival(core: &Core) -> Result<()> {
    let exists = |place: String| {
        Error::new(ErrorKind::KeyringExists, format!("{place} already holds tokens of another keyring"))
            .with_hint("use that keyring; a new one would open none of them")
    };
    if let Some(local) = &core.local
        && local.holds_tokens().await?
    {
        return Err(exists(local.path().display().to_string()));
    }
    if let Some(postgres) = &core.postgres {
        match keys_of_table(postgres).await {
            Ok(keys) if keys.as_ref().is_none_or(Vec::is_empty) => {}
            Ok(_) => return Err(exists(format!("table {}", postgres.table_name()))),
            Err(fault) if fault.error.kind() == ErrorKind::Unavailable => {
                let hint = "start the database first: init checks whether it holds tokens of another keyring";
                return Err(fault.error.with_hint(hint));
            }
            Err(fault) => return Err(fault.error),
        }
    }
    Ok(())
}

/// Detects problems before the first request: a wrong password, a missing table, a pooler.
async fn look_at_database(core: &Core) -> Result<()> {
    let Some(postgres) = &core.postgres else { return Ok(()) };
    recall(core).await?;
    let tag = random::system_bytes::<16>()?;
    let tag: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    let looked = ask(core, || async {
        postgres.database.canary(&tag).await?;
        postgres.plan().await?;
        identify(core).await
    });
    match looked.await {
        Ok(()) => note_used(core, postgres).await,
        Err(fault) if fault.outcome == Outcome::Reject => Err(fault.error),
        Err(fault) => {
            core.note(&fault).await;
            Ok(())
        }
    }
}

/// A token count without a table that the file belongs to would miss what lies there.
async fn note_used(core: &Core, postgres: &Postgres) -> Result<()> {
    let has_table = postgres.plan().await.is_ok_and(|plan| plan.has_table());
    match &core.local {
        Some(local) if has_table => {
            local.note_used_since(core.now()).await?;
            local.note_used_with(&postgres.place()).await
        }
        _ => Ok(()),
    }
}

/// Queries the database, and retries if the error is temporary.
async fn ask<T, F>(core: &Core, question: impl Fn() -> F) -> Result<T, DatabaseError>
where
    F: Future<Output = Result<T, DatabaseError>>,
{
    let mut round = 0;
    loop {
        match question().await {
            Err(fault) if matches!(fault.outcome, Outcome::Retry | Outcome::Pooler) && round < ROUNDS => {
                pause(round).await
            }
            Err(fault) if fault.outcome == Outcome::Redetect => {
                return Err(DatabaseError::new(Outcome::Reject, fault.error));
            }
            Ok(answer) => {
                core.breaker.success();
                return Ok(answer);
            }
            Err(fault) => return Err(fault),
        }
        round += 1;
    }
}
