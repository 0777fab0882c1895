//! From the global options to a keyring, and to an open vault.

use retell_vault::sync::Fallback;
use retell_vault::{ErrorKind, Keyring, Passphrase, Vault, VaultBuilder};
use serde_json::json;

use crate::args::global::Global;
use crate::failure::Failure;
use crate::layout_detect;
use crate::layout_file::{self, InitLayout};
use crate::print;
use crate::secret::{self, Purpose};

/// The vault of the home folder, over the database if one is named.
pub async fn vault(global: &Global) -> Result<Vault, Failure> {
    Ok(builder(global, keyring(global).await?)?.build().await?)
}

/// The same for a write.
pub async fn vault_for_write(global: &Global, fallback: Fallback) -> Result<Vault, Failure> {
    Ok(builder(global, keyring(global).await?)?.fallback(fallback).build().await?)
}

/// Opens the keyring.
pub async fn keyring(global: &Global) -> Result<Keyring, Failure> {
    require_keyring(global).await?;
    let provider = secret::provider(global.passphrase_file.as_deref(), Purpose::Open)?;
    Ok(Keyring::open(global.keyring(), &*provider).await?)
}

/// Fails if there is no keyring, before the command asks for secrets.
pub async fn require_keyring(global: &Global) -> Result<(), Failure> {
    match global.keyring().symlink_metadata() {
        Ok(_) => Ok(()),
        // the passphrase does not matter: the library reports what is missing
        Err(_) => Ok(Keyring::open(global.keyring(), &Passphrase::new("")).await.map(drop)?),
    }
}

/// Creates the keyring, unless one exists or the database or local file holds another keyring's tokens. Then writes the
/// layout, if one was given.
pub async fn init(global: &Global) -> Result<(), Failure> {
    let layout = layout_file::for_init(global)?;
    let keyring = new_keyring(global).await.map_err(|failure| layout.hint_at_write(global, failure))?;
    let (path, key) = (keyring.place(), keyring.keys()[0].id.to_string());
    let vault = builder(global, keyring)?.init().await.map_err(|error| match error.kind() {
        ErrorKind::Unavailable => Failure::new(
            error.to_string(),
            "start the database, or do not name one: init first checks whether another keyring is in use there",
        ),
        _ => error.into(),
    })?;
    let written = match &layout {
        InitLayout::New(layout) => {
            let written = layout_file::write(&global.layout_file(), layout);
            Some(written.map_err(|failure| {
                failure
                    .about("the keyring was created, but not the layout")
                    .with_hint("fix this, then run `retell-vault layout write` with the same options")
            })?)
        }
        InitLayout::Kept(path) => Some(path.display().to_string()),
        InitLayout::NotGiven => None,
    };
    if global.json {
        return print::json(&json!({ "keyring": path, "key": key, "layout": written }));
    }
    print::hint(
        "back up the keyring and its passphrase or wrapping key, in different places: nothing else opens stored values",
    );
    if matches!(layout, InitLayout::New(_)) && global.database_url().is_some() {
        print::hint("`retell-vault layout check` compares the layout with the database");
    }
    if let Some(problem) = vault.status().await?.database.and_then(|database| database.problem) {
        layout_detect::hint(&problem);
    }
    let made = match (&layout, written) {
        (InitLayout::New(_), Some(layout)) => print::indented(0, &format!("wrote {layout}")),
        (InitLayout::Kept(_), Some(layout)) => {
            print::indented(0, &format!("kept {layout}: it already matches"))
        }
        _ => String::new(),
    };
    print::out(&(print::indented(0, &format!("created {path} with key {key}")) + &made))
}

/// A new keyring, not saved yet. If one already exists, the command does not ask for a passphrase.
async fn new_keyring(global: &Global) -> Result<Keyring, Failure> {
    let path = global.keyring();
    match path.symlink_metadata() {
        Ok(_) => Ok(Keyring::prepare(path, &Passphrase::new("")).await?),
        Err(_) => {
            let provider = secret::provider(global.passphrase_file.as_deref(), Purpose::Create)?;
            Ok(Keyring::prepare(path, &*provider).await?)
        }
    }
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
    Vault::builder(keyring).local_file(global.local_file())
}
