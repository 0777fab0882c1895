//! `keyring adopt`: declares that this keyring belongs to a table that holds another keyring's tokens.

use serde_json::json;

use crate::args::global::Global;
use crate::args::keys::KeyringCommand;
use crate::failure::Failure;
use crate::{print, session};

/// Runs it.
pub async fn run(global: &Global, command: &KeyringCommand) -> Result<(), Failure> {
    match command {
        KeyringCommand::Adopt => adopt(global).await,
    }
}

async fn adopt(global: &Global) -> Result<(), Failure> {
    let adopted = session::vault(global).await?.adopt_table().await?;
    if global.json {
        return print::json(&json!({ "adopted": adopted }));
    }
    match adopted {
        true => {
            print::hint(
                "records under the other keyring stay unreadable until you store them again with `put --replace-unreadable`",
            );
            print::out("adopted: this home now stores with its own keyring\n")
        }
        false => print::out("nothing to do: this home already stores with its own keyring\n"),
    }
}
