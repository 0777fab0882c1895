//! From the global options to a keyring, and to an open vault.

use std::sync::{Mutex, PoisonError};

use retell_vault::ledger::{IfNotNoted, Reads};
use retell_vault::sync::Fallback;
use retell_vault::{Keyring, Passphrase, Vault, VaultBuilder};

use crate::args::global::Global;
use crate::failure::Failure;
use crate::keyring_source::{self, KeyringPlace};
use crate::layout_file;
use crate::secret::{self, Purpose};

/// The vaults that this command has opened.
static OPENED: Mutex<Vec<Vault>> = Mutex::new(Vec::new());

/// Builds a vault, which is closed at the end of the command. Its entries in the ledger name the actor of the command.
pub async fn open(global: &Global, builder: VaultBuilder) -> Result<Vault, Failure> {
    let vault = builder.build().await?;
    OPENED.lock().unwrap_or_else(PoisonError::into_inner).push(vault.clone());
    Ok(vault.as_actor(&global.actor(), global.reason.as_deref(), None))
}

/// Closes them all.
pub async fn close() {
    let opened = std::mem::take(&mut *OPENED.lock().unwrap_or_else(PoisonError::into_inner));
    for vault in opened {
        vault.close().await;
    }
}

/// The vault of the home folder, over the database if one is named.
pub async fn vault(global: &Global) -> Result<Vault, Failure> {
    open(global, builder(global, keyring(global).await?)?).await
}

/// The same for a write.
pub async fn vault_for_write(global: &Global, fallback: Fallback) -> Result<Vault, Failure> {
    open(global, builder(global, keyring(global).await?)?.fallback(fallback)).await
}

/// The same for a command that prints secrets: the ledger knows of it before.
pub async fn vault_for_reveal(global: &Global) -> Result<Vault, Failure> {
    let reads = Reads::Before(IfNotNoted::Refuse);
    open(global, builder(global, keyring(global).await?)?.ledger_reads(reads)).await
}

/// Opens the keyring.
pub async fn keyring(global: &Global) -> Result<Keyring, Failure> {
    require_keyring(global).await?;
    let place = keyring_source::place(global)?;
    let provider = secret::provider(global.passphrase_file.as_deref(), Purpose::Open)?;
    keyring_source::open(global, &place, &*provider).await
}

/// Fails if there is no keyring, before the command asks for secrets.
pub async fn require_keyring(global: &Global) -> Result<(), Failure> {
    let KeyringPlace::Home(path) = keyring_source::place(global)? else { return Ok(()) };
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    // the passphrase does not matter: the library reports what is missing
    let failure = match Keyring::open(path, &Passphrase::new("")).await {
        Ok(_) => return Ok(()),
        Err(error) => Failure::from(error),
    };
    Err(match global.database_url() {
        Some(_) => {
            let hint = format!(
                "{}; if it lies in the database, set RETELL_VAULT_KEYRING to its pin",
                failure.hint()
            );
            failure.with_hint(&hint)
        }
        None => failure,
    })
}

/// A vault over the local file and the database.
pub fn builder(global: &Global, keyring: Keyring) -> Result<VaultBuilder, Failure> {
    let builder = local(global, keyring).layout(layout_file::for_vault(global)?).pooler(global.pooler.into());
    Ok(match global.database_url() {
        Some(url) => builder.postgres(url),
        None => builder,
    })
}

/// A vault over the local file alone.
pub fn local(global: &Global, keyring: Keyring) -> VaultBuilder {
    Vault::builder(keyring).short_lived().local_file(global.local_file())
}
