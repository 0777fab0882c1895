//! `key`: the life of the root keys, and what opens the keyring. What changes no more than the keyring file
//! needs nothing else.

mod check;
mod destroy;
mod list;

use retell_vault::{KeyInfo, KeyringFile};
use serde_json::json;

use crate::args::{Global, KeyArg, KeyCommand, Rewrap};
use crate::failure::Failure;
use crate::secret::{self, Purpose};
use crate::{print, session, status};

const COPY: &str = "back the keyring file up, and copy it to every host that has one";

/// Runs one of them.
pub async fn run(global: &Global, command: &KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::List => list::list(global).await,
        KeyCommand::Check => check::check(global).await,
        KeyCommand::Destroy(options) => destroy::destroy(global, options).await,
        KeyCommand::Add => add(global),
        KeyCommand::Promote(key) => promote(global, key),
        KeyCommand::Retire(key) => retire(global, key),
        KeyCommand::Rewrap(options) => rewrap(global, options),
    }
}

fn add(global: &Global) -> Result<(), Failure> {
    let keyring = session::keyring(global)?;
    let key = keyring.add_key()?;
    let text = format!("added key {}: it is pending, which opens and does not seal yet\n", key.id);
    let hints = [
        COPY.to_owned(),
        format!(
            "when every process of every host has this keyring, run `retell-vault key promote {}`: one without the key could not read what it seals",
            key.id
        ),
    ];
    report(global, &keyring, &key, &text, &hints)
}

fn promote(global: &Global, key: &KeyArg) -> Result<(), Failure> {
    let keyring = session::keyring(global)?;
    let key = keyring.promote_key(keyring.find_key(&key.id)?)?;
    let text = format!(
        "key {} is the primary key since {}: it seals whatever is stored from now on\n",
        key.id,
        print::utc(key.state_since)
    );
    let hints = [
        COPY.to_owned(),
        "running processes follow within a second; what is stored already stays under the key that sealed it, which still opens it".to_owned(),
    ];
    report(global, &keyring, &key, &text, &hints)
}

fn retire(global: &Global, key: &KeyArg) -> Result<(), Failure> {
    let keyring = session::keyring(global)?;
    let key = keyring.retire_key(keyring.find_key(&key.id)?)?;
    let text = format!(
        "key {} is retired since {}: it opens, and will never seal\n",
        key.id,
        print::utc(key.state_since)
    );
    report(global, &keyring, &key, &text, &[COPY.to_owned()])
}

fn rewrap(global: &Global, options: &Rewrap) -> Result<(), Failure> {
    let keyring = session::keyring(global)?;
    let provider = secret::provider(options.new_passphrase_file.as_deref(), Purpose::Rewrap)?;
    keyring.rewrap(&*provider)?;
    let path = keyring.path().display().to_string();
    if global.json {
        return print::json(&json!({ "keyring": path, "rewrapped": true }));
    }
    print::hint("running processes go on; restart them with the new secret before keys are changed again");
    print::hint("the old secret still opens backups and copies of the file: replace them");
    print::out(&format!("{path} opens with the new secret only\n"))
}

/// What became of a key, and what to do next.
fn report(
    global: &Global,
    keyring: &KeyringFile,
    key: &KeyInfo,
    text: &str,
    hints: &[String],
) -> Result<(), Failure> {
    if global.json {
        let keyring = keyring.path().display().to_string();
        return print::json(&json!({ "keyring": keyring, "key": status::key_json(key) }));
    }
    hints.iter().for_each(|hint| print::hint(hint));
    print::out(text)
}
