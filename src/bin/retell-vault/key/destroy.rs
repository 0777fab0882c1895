//! `key destroy`: the end of a key. There is no way back.

use retell_vault::{Error, ErrorKind};
use serde_json::json;

use crate::args::{Destroy, Global};
use crate::failure::Failure;
use crate::{print, session, status};

/// Destroys a key.
pub async fn destroy(global: &Global, options: &Destroy) -> Result<(), Failure> {
    let keyring = session::keyring(global)?;
    let id = keyring.find_key(&options.key.id)?;
    let vault = session::builder(global, keyring.clone())?.build().await?;
    let key = vault.destroy_key(id, options.options()).await.map_err(refused)?;
    let path = keyring.path().display().to_string();
    if global.json {
        return print::json(&json!({ "keyring": path, "key": status::key_json(&key) }));
    }
    print::hint(
        "copies and backups of the keyring file still hold the key: replace or delete them, on every host",
    );
    print::hint("backups of the database from before the rotation open with nothing but such a copy");
    print::out(&format!(
        "key {id} is destroyed since {}: this cannot be undone\n",
        print::utc(key.state_since)
    ))
}

fn refused(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::Unavailable => Failure::new(
            error.to_string(),
            "nothing was destroyed: the tokens in the database must be counted first; start it",
        ),
        _ => error.into(),
    }
}
