//! `keyring`: the keyring as a whole. Where it lies, how it moves, and how it is restored, repaired and adopted.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use retell_vault::Keyring;
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::args::keys::{KeyringCommand, PullArgs, RoleArgs};
use crate::failure::Failure;
use crate::keyring_source::{self, KeyringPlace};
use crate::secret::{self, Purpose};
use crate::{print, session};

/// Runs it.
pub async fn run(global: &Global, command: &KeyringCommand) -> Result<(), Failure> {
    match command {
        KeyringCommand::Show => show(global).await,
        KeyringCommand::Push(roles) => push(global, roles).await,
        KeyringCommand::Pull(file) => pull(global, file).await,
        KeyringCommand::Restore => restore(global).await,
        KeyringCommand::Repair => repair(global).await,
        KeyringCommand::Adopt => adopt(global).await,
    }
}

async fn show(global: &Global) -> Result<(), Failure> {
    let keyring = session::keyring(global).await?;
    let place = keyring_source::place(global)?;
    let hosts = match place {
        KeyringPlace::Database => keyring_source::table(global)?.hosts().await?,
        _ => Vec::new(),
    };
    let problem = keyring.problem().map(|error| error.to_string());
    let pin = keyring.pin();
    if global.json {
        let hosts = hosts.iter().map(|(host, generation)| json!({ "host": host, "generation": generation }));
        return print::json(&json!({
            "keyring": keyring.place(),
            "source": place.name(),
            "id": pin.id(),
            "generation": pin.generation(),
            "env": pin.to_env(),
            "problem": problem,
            "hosts": hosts.collect::<Value>(),
        }));
    }
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut rows = vec![
        row("keyring", keyring.place()),
        row("generation", pin.generation().to_string()),
        row("pin", pin.to_env()),
    ];
    rows.extend(problem.map(|problem| row("nothing is sealed", problem)));
    rows.extend(
        hosts.iter().map(|(host, generation)| row("host", format!("{host}: generation {generation}"))),
    );
    print::out(&print::table(&rows))
}

/// A keyring file becomes a keyring in the database.
async fn push(global: &Global, roles: &RoleArgs) -> Result<(), Failure> {
    let KeyringPlace::Home(path) = keyring_source::place(global)? else {
        return Err(Failure::usage(
            "the keyring of this home is not a file of its own",
            "name the home that holds keyring.json (--home)",
        ));
    };
    session::require_keyring(global).await?;
    let table = keyring_source::table(global)?;
    let provider = secret::provider(global.passphrase_file.as_deref(), Purpose::Open)?;
    let keyring = Keyring::open(&path, &*provider).await?;
    table.create(&roles.service_roles).await?;
    let pushed = table.push(&keyring).await?;
    let keyring = table.open(&keyring.pin(), &*provider).await?;
    keyring_source::note(global, &keyring).await?;
    if !global.json {
        print::hint(&format!(
            "this home uses the keyring in the database now; move {} to a safe place",
            path.display()
        ));
    }
    moved(global, &keyring, "pushed", pushed)
}

async fn pull(global: &Global, PullArgs { file }: &PullArgs) -> Result<(), Failure> {
    let text = keyring_source::table(global)?.sealed_text().await?;
    write_new(file, &text).map_err(|error| {
        Failure::new(
            format!("cannot write {}: {}", file.display(), error.kind()),
            "name a new file in a folder of your own",
        )
    })?;
    let path = file.display().to_string();
    if global.json {
        return print::json(&json!({ "file": path }));
    }
    print::line(&format!("wrote {path}: it opens with the secret of the keyring"))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

async fn restore(global: &Global) -> Result<(), Failure> {
    let (table, pin) = (keyring_source::table(global)?, keyring_source::required_pin(global)?);
    let provider = secret::provider(global.passphrase_file.as_deref(), Purpose::Open)?;
    let keyring = table.open_copy(&pin, &*provider).await?;
    table.create(&[]).await?;
    let restored = table.push(&keyring).await?;
    keyring_source::note(global, &keyring).await?;
    moved(global, &keyring, "restored", restored)
}

/// Reports whether the keyring is in the database because of this command.
fn moved(global: &Global, keyring: &Keyring, word: &str, done: bool) -> Result<(), Failure> {
    let (place, pin) = (keyring.place(), keyring.pin());
    if global.json {
        return print::json(&json!({ "keyring": place, word: done, "env": pin.to_env() }));
    }
    let text = match done {
        true => format!("{word} generation {} to {place}", pin.generation()),
        false => "nothing to do: the database already holds this keyring".to_owned(),
    };
    print::out(&(print::indented(0, &text) + &print::indented(0, &pin.to_env())))
}

async fn repair(global: &Global) -> Result<(), Failure> {
    let (table, pin) = (keyring_source::table(global)?, keyring_source::required_pin(global)?);
    let provider = secret::provider(global.passphrase_file.as_deref(), Purpose::Open)?;
    let removed = table.repair(&pin, &*provider).await?;
    if global.json {
        return print::json(&json!({ "removed": removed }));
    }
    if removed.is_empty() {
        return print::line("nothing to do: the newest row is ours");
    }
    let rows: Vec<_> = removed.iter().map(i64::to_string).collect();
    print::hint("find out who wrote them: only the role that changes keys needs that right");
    print::line(&format!("removed the rows of generation {}", rows.join(", ")))
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
