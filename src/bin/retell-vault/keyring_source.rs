//! Where the keyring of a command lies: a file, a file that others write, a variable, or the database. Notes it in the home.

use std::env::{self, VarError};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;

use retell_vault::Keyring;
use retell_vault::connection::KeyringTable;
use retell_vault::keyring::{KeyringPin, WrappingKeyProvider};
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::failure::Failure;

const VARIABLE: &str = "RETELL_VAULT_KEYRING";
const TEXT_VARIABLE: &str = "RETELL_VAULT_KEYRING_TEXT";

/// Where the keyring lies.
pub enum KeyringPlace {
    /// A private file of the home. It may not exist.
    Home(PathBuf),
    /// A file that others write.
    Given(PathBuf),
    /// A text in a variable, as `init --store print` prints it.
    Text(String),
    Database,
}

impl KeyringPlace {
    /// The word for it in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Home(_) => "file",
            Self::Given(_) => "read_only",
            Self::Text(_) => "text",
            Self::Database => "table",
        }
    }
}

/// A file that is named or a text comes first, then the note of the home, then its file. Without any, the pin names the
/// database.
pub fn place(global: &Global) -> Result<KeyringPlace, Failure> {
    match (global.read_only_keyring(), text()?) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage(
                format!(
                    "{TEXT_VARIABLE} and --keyring-file (RETELL_VAULT_KEYRING_FILE) are given; only one is allowed"
                ),
                "remove one of them: the command cannot know which keyring is meant",
            ));
        }
        (Some(path), None) => return Ok(KeyringPlace::Given(path.to_owned())),
        (None, Some(text)) => return Ok(KeyringPlace::Text(text)),
        (None, None) => {}
    }
    let file = global.keyring();
    let has_file = file.symlink_metadata().is_ok();
    let in_database = noted(global)?.is_some() || (!has_file && given()?.is_some());
    Ok(if in_database { KeyringPlace::Database } else { KeyringPlace::Home(file) })
}

/// Opens the keyring of the place. The note of the home rises with it.
pub async fn open(
    global: &Global,
    place: &KeyringPlace,
    provider: &dyn WrappingKeyProvider,
) -> Result<Keyring, Failure> {
    let keyring = match place {
        KeyringPlace::Home(path) => Keyring::open(path, provider).await?,
        KeyringPlace::Given(path) => Keyring::read_only(path, provider).await?,
        KeyringPlace::Text(text) => Keyring::from_text(text, provider).await?,
        KeyringPlace::Database => table(global)?.open(&required_pin(global)?, provider).await?,
    };
    let keyring = match given()? {
        Some(pin) => keyring.pinned(&pin)?,
        None => keyring,
    };
    note(global, &keyring).await?;
    Ok(keyring)
}

/// The table of the database that is named.
pub fn table(global: &Global) -> Result<KeyringTable, Failure> {
    let url = global.database_url().ok_or_else(|| {
        Failure::usage(
            "the keyring lies in the database, and no database is named",
            "set DATABASE_URL, or give --database-url",
        )
    })?;
    let table = KeyringTable::postgres(url)?;
    Ok(table.local_file(global.local_file()))
}

/// The pin of the variable and that of the note: of one keyring, and the later generation.
pub fn required_pin(global: &Global) -> Result<KeyringPin, Failure> {
    match (given()?, noted(global)?) {
        (Some(given), Some(noted)) if given.id() != noted.id() => Err(Failure::usage(
            format!("{VARIABLE} names keyring {}, but this home has used {}", given.id(), noted.id()),
            "set the pin of the keyring of this home, or use another home (--home)",
        )),
        (Some(given), Some(noted)) => Ok(if given.generation() > noted.generation() { given } else { noted }),
        (Some(pin), None) | (None, Some(pin)) => Ok(pin),
        (None, None) => Err(Failure::usage(
            format!("a keyring in the database needs {VARIABLE}"),
            "set it as `retell-vault key list` prints it on a host that knows the keyring",
        )),
    }
}

/// The sealed keyring of the variable; an empty one counts as not set.
fn text() -> Result<Option<String>, Failure> {
    match env::var(TEXT_VARIABLE) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Failure::usage(
            format!("{TEXT_VARIABLE} is not UTF-8 text"),
            "set it to what `retell-vault init --store print` printed",
        )),
    }
}

/// The pin of the variable.
fn given() -> Result<Option<KeyringPin>, Failure> {
    Ok(KeyringPin::from_env()?)
}

/// The pin of the note.
fn noted(global: &Global) -> Result<Option<KeyringPin>, Failure> {
    let path = global.keyring_note();
    let damaged = || {
        let message = format!("{} is damaged", path.display());
        Failure::new(message, format!("remove it, and set {VARIABLE} as `key` commands print it"))
    };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let note: Value = serde_json::from_str(&text).map_err(|_| damaged())?;
            let pin = note["pin"].as_str().and_then(|pin| pin.parse().ok());
            pin.map(Some).ok_or_else(damaged)
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Failure::new(
            format!("cannot read {}: {}", path.display(), error.kind()),
            "run as the user of the home",
        )),
    }
}

/// Notes in the home that the keyring lies in the database, and its pin, which only rises. The local file gets a copy of it.
pub async fn note(global: &Global, keyring: &Keyring) -> Result<(), Failure> {
    let (path, pin) = (global.keyring_note(), keyring.pin());
    let is_noted =
        noted(global)?.is_some_and(|noted| noted.id() == pin.id() && noted.generation() >= pin.generation());
    if !keyring.is_in_table() || is_noted {
        return Ok(());
    }
    table(global)?.keep_copy(keyring).await?;
    let text = json!({ "source": "table", "pin": pin.to_string() }).to_string();
    save(&path, &text).map_err(|error| {
        Failure::new(
            format!("cannot write {}: {}", path.display(), error.kind()),
            "check free space, owner and mode of its folder",
        )
    })
}

fn save(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension(format!("json.{}.new", process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let saved = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let saved = saved.and_then(|()| fs::rename(&new, path));
    if saved.is_err() {
        fs::remove_file(&new).ok(); // of no use to anybody; the error says what happened
    }
    saved
}

/// What to do with the keyring after a change.
pub fn distribute(keyring: &Keyring) -> String {
    match keyring.is_in_table() {
        true => "every running process loads this within a second; back it up with `retell-vault keyring pull FILE`".to_owned(),
        false => "back up the keyring file, and copy it to every host that has one".to_owned(),
    }
}

/// How to keep a process from accepting an older keyring.
pub fn pin_hint(keyring: &Keyring) -> String {
    format!("the pin of the keyring is now {}", keyring.pin().to_env())
}
