//! `key`: the life of the root keys, and what opens the keyring. What changes no more than the keyring file
//! needs nothing else.

mod check;
mod list;

use retell_vault::keyring::{KeyId, KeyInfo, KeyState};
use retell_vault::rotation::Destruction;
use retell_vault::{Error, ErrorKind, Keyring};
use serde_json::json;

use crate::args::global::Global;
use crate::args::keys::{DestroyArgs, KeyArgs, KeyCommand, RewrapArgs};
use crate::failure::Failure;
use crate::progress::{RowProgress, unless_interrupted};
use crate::secret::{self, Purpose};
use crate::{keyring_source, print, session, token_count};

/// Runs one of them.
pub async fn run(global: &Global, command: &KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::List => list::list(global).await,
        KeyCommand::Check(options) => check::check(global, options).await,
        KeyCommand::Destroy(options) => destroy(global, options).await,
        KeyCommand::Add => add(global).await,
        KeyCommand::Promote(key) => promote(global, key).await,
        KeyCommand::Retire(key) => retire(global, key).await,
        KeyCommand::Rewrap(options) => rewrap(global, options).await,
    }
}

async fn add(global: &Global) -> Result<(), Failure> {
    let keyring = session::keyring(global).await?;
    let key = keyring.add_key().await?;
    keyring_source::note(global, &keyring).await?;
    let text = format!("added key {}: it is pending, so it opens but does not seal yet", key.id);
    let hints = [
        keyring_source::distribute(&keyring),
        format!(
            "when every process on every host has this keyring, run `retell-vault key promote {}`: a process without the key cannot read what it seals",
            key.id
        ),
    ];
    report(global, &keyring, &key, &text, &hints)
}

async fn promote(global: &Global, key: &KeyArgs) -> Result<(), Failure> {
    let keyring = session::keyring(global).await?;
    let key = keyring.promote_key(keyring.find_key(&key.id)?).await?;
    keyring_source::note(global, &keyring).await?;
    let text = format!(
        "key {} is the primary key since {}: it seals everything stored from now on",
        key.id,
        print::utc(key.state_since)
    );
    let hints = [
        keyring_source::distribute(&keyring),
        "running processes use it within a second; stored records stay under the key that sealed them, which still opens them".to_owned(),
    ];
    report(global, &keyring, &key, &text, &hints)
}

async fn retire(global: &Global, key: &KeyArgs) -> Result<(), Failure> {
    let keyring = session::keyring(global).await?;
    let id = keyring.find_key(&key.id)?;
    refuse_sealing(global, &keyring, id).await?;
    let key = keyring.retire_key(id).await?;
    keyring_source::note(global, &keyring).await?;
    let text =
        format!("key {} is retired since {}: it opens, but never seals", key.id, print::utc(key.state_since));
    report(global, &keyring, &key, &text, &[keyring_source::distribute(&keyring)])
}

/// Refuses a pending key that already seals: it was promoted on another host. Checks this only if a database is named;
/// without one, the command needs only the keyring.
async fn refuse_sealing(global: &Global, keyring: &Keyring, id: KeyId) -> Result<(), Failure> {
    let is_pending = keyring.keys().iter().any(|key| key.id == id && key.state == KeyState::Pending);
    if !is_pending || global.database_url().is_none() {
        return Ok(());
    }
    let vault = session::builder(global, keyring.clone())?.build().await?;
    match vault.count_tokens().await.map(|token_counts| token_counts.tokens_of(id)) {
        Ok(0) => Ok(()),
        Ok(tokens) => Err(Failure::new(
            format!("{} under key {id}: it was promoted on another host", print::count(tokens, "token")),
            "nothing was changed; copy the newest keyring to this host",
        )),
        Err(error) => {
            print::warning(&format!("could not check whether key {id} seals on another host: {error}"));
            Ok(())
        }
    }
}

/// Destroys a key. This cannot be undone.
async fn destroy(global: &Global, options: &DestroyArgs) -> Result<(), Failure> {
    let keyring = session::keyring(global).await?;
    let id = keyring.find_key(&options.key.id)?;
    let vault = session::open(global, session::builder(global, keyring.clone())?).await?;
    let destroyed = {
        let mut progress = RowProgress::new();
        let search =
            vault.destroy_key_with(id, options.options(), |done| progress.show(done.visited, done.rows));
        unless_interrupted(search).await?
    };
    let interrupted = || Failure::new("interrupted", "nothing was destroyed; run the same command again");
    let Destruction { key, outside, .. } = destroyed.ok_or_else(interrupted)?.map_err(not_destroyed)?;
    keyring_source::note(global, &keyring).await?;
    let path = keyring.place();
    if global.json {
        let object = json!({ "keyring": path, "key": key, "env": keyring.pin().to_env() });
        return print::json(&token_count::with_outside(object, &outside));
    }
    print::hint(match keyring.is_in_table() {
        true => {
            "backups of the keyring still hold the key, and so do WAL, dumps, replicas and dead rows of the database, until you \
             replace the secret that opens the keyring: delete what you can"
        }
        false => {
            "copies and backups of the keyring file still hold the key: replace or delete them, on every host"
        }
    });
    print::hint(&keyring_source::pin_hint(&keyring));
    print::hint("you need such a copy to open a database backup from before the rotation");
    let done = format!("key {id} is destroyed since {}: this cannot be undone", print::utc(key.state_since));
    print::out(&(print::indented(0, &done) + &token_count::outside(&outside)))
}

fn not_destroyed(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::Unavailable => Failure::unavailable(
            &error,
            "nothing was destroyed; start the database: its tokens must be counted first",
        ),
        _ => error.into(),
    }
}

async fn rewrap(global: &Global, options: &RewrapArgs) -> Result<(), Failure> {
    let keyring = session::keyring(global).await?;
    let provider = secret::provider(options.new_passphrase_file.as_deref(), Purpose::Rewrap)?;
    keyring.rewrap(&*provider).await?;
    keyring_source::note(global, &keyring).await?;
    let path = keyring.place();
    if global.json {
        return print::json(&json!({ "keyring": path, "rewrapped": true, "env": keyring.pin().to_env() }));
    }
    print::hint(
        "running processes keep working; restart them with the new secret before you change keys again",
    );
    print::hint("the old secret still opens copies and backups of the keyring: replace them");
    print::hint(&keyring_source::pin_hint(&keyring));
    print::line(&format!("{path} now opens only with the new secret"))
}

/// Prints the new state of a key, and what to do next.
fn report(
    global: &Global,
    keyring: &Keyring,
    key: &KeyInfo,
    text: &str,
    hints: &[String],
) -> Result<(), Failure> {
    if global.json {
        let env = keyring.pin().to_env();
        return print::json(&json!({ "keyring": keyring.place(), "key": key, "env": env }));
    }
    hints.iter().for_each(|hint| print::hint(hint));
    print::hint(&keyring_source::pin_hint(keyring));
    print::line(text)
}
