//! Reloads a changed keyring: the texts of the local file are re-encrypted under its primary key.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::{KeyState, RootKeys};
use crate::local::entries::LocalPlace;
use crate::local::file::LocalFile;
use crate::record::token::KeyId;
use crate::store::core::Core;
use crate::store::reencrypt_local::reencrypt_local;

/// Follows a changed keyring. Costs next to nothing while it is unchanged.
///
/// A key that another process destroyed stays in the memory of this process until the local file no longer needs it.
pub(crate) async fn reload_keyring(core: &Core) {
    if let Some(host) = &core.host {
        host.restart_if_ended();
    }
    if core.keyring.should_follow() {
        // boxed: otherwise an application's futures become too deep for the compiler
        Box::pin(follow_table(core)).await;
    }
    // if sealing cannot continue, sealing reports it
    let Ok(keyring) = core.keyring.for_sealing() else { return };
    if core.reloaded.generation.load(Ordering::Acquire) == keyring.generation {
        return;
    }
    let Ok(_working) = core.reloaded.working.try_lock() else { return };
    match reencrypt_for(core, &keyring).await {
        Ok(()) => core.reloaded.generation.store(keyring.generation, Ordering::Release),
        // the next call tries again; until then destroyed keys stay
        Err(error) => tracing::warn!(%error, "the local file could not be re-encrypted"),
    }
}

/// Whether a call that failed should be made again: a record named a key that was not in memory, and now it is.
pub(crate) async fn has_key_now(core: &Core, error: &Error) -> bool {
    match error.key_id().filter(|_| error.kind() == ErrorKind::UnknownKey) {
        // boxed: otherwise an application's futures become too deep for the compiler
        Some(key) => Box::pin(core.keyring.follow_for_key(key)).await,
        None => false,
    }
}

/// Prepares for opening records that were read: keys that are not in memory are looked for in the database.
pub(crate) async fn learn_keys(core: &Core, keys: Vec<KeyId>) {
    for key in keys {
        if core.keyring.current().opener(key).is_err() {
            Box::pin(core.keyring.follow_for_key(key)).await;
        }
    }
}

/// Looks at a keyring in the database. While the database is away, the keys in memory go on.
async fn follow_table(core: &Core) {
    if core.breaker.is_open(Instant::now()) {
        return;
    }
    if let Err(error) = core.keyring.follow().await {
        tracing::warn!(%error, "the keyring in the database could not be read");
    }
}

/// Keeps a copy of a keyring in the database, for a start while the database is away.
async fn keep_copy(core: &Core, local: &LocalFile) -> Result<()> {
    match core.keyring.sealed_generation() {
        Some(sealed) => local.note_sealed_keyring(sealed.generation, &sealed.text).await,
        None => Ok(()),
    }
}

/// As [`reload_keyring`], while the vault is built.
///
/// # Errors
/// `KeyInUse` if it names a key that the
/// keyring has destroyed: such a record can no longer be opened, and this must not be found out later. `LocalStore`.
pub(crate) async fn reload_keyring_first(core: &Core) -> Result<()> {
    let keyring = core.keyring.current();
    if let Some(local) = &core.local {
        let noted = local.keyring_generation().await?;
        if noted == Some(keyring.generation) {
            keep_copy(core, local).await?;
            core.reloaded.generation.store(keyring.generation, Ordering::Release);
            return Ok(());
        }
        if core.keyring.why_stopped().is_some() {
            // what an older copy would re-encrypt, or say of a key, would be wrong
            return Ok(());
        }
        refuse_destroyed(local, &keyring).await?;
    }
    reload_keyring(core).await;
    Ok(())
}

async fn reencrypt_for(core: &Core, keyring: &RootKeys) -> Result<()> {
    if let Some(local) = &core.local {
        let done = reencrypt_local(core, local, &LocalPlace::ALL, |owner, place, error| {
            tracing::warn!(%owner, place, %error, "a local text could not be re-encrypted");
        });
        done.await?;
        local.note_keyring_generation(keyring.generation).await?;
        keep_copy(core, local).await?;
    }
    core.keyring.wipe_retained();
    Ok(())
}

async fn refuse_destroyed(local: &LocalFile, keyring: &RootKeys) -> Result<()> {
    for count in local.tokens_per_key().await? {
        let state = count.key.and_then(|id| keyring.get(id)).map(|key| key.info.state);
        if let (Some(id), Some(KeyState::Destroyed)) = (count.key, state) {
            let message = format!(
                "{} holds {} tokens ({}) under key {id}, which the keyring has destroyed",
                local.path().display(),
                count.tokens,
                count.place
            );
            let hint = "restore a copy of the keyring in which that key is retired, run `retell-vault rotate`, then restore this keyring; to give those records up, move the file away";
            return Err(Error::new(ErrorKind::KeyInUse, message).with_key_number(id.0).with_hint(hint));
        }
    }
    Ok(())
}
