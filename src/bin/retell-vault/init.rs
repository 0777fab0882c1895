//! `init`: creates the keyring in a file, in the database or on standard output, and writes the layout.

use retell_vault::{Error, ErrorKind, Keyring, Vault};
use serde_json::json;

use crate::args::global::Global;
use crate::args::keys::{InitArgs, Store};
use crate::failure::Failure;
use crate::keyring_source;
use crate::layout_detect;
use crate::layout_file::{self, InitLayout};
use crate::print;
use crate::secret::{self, Purpose};
use crate::session;

/// A new keyring, and its text if no file holds it.
struct NewKeyring {
    keyring: Keyring,
    text: Option<String>,
}

/// Creates the keyring, unless one exists or the database or local file holds another keyring's tokens. Then writes the
/// layout, if one was given.
pub async fn init(global: &Global, options: &InitArgs) -> Result<(), Failure> {
    let layout = layout_file::for_init(global)?;
    let made = create(global, options).await.map_err(|failure| layout.hint_at_write(global, failure))?;
    let written = write_layout(global, &layout)?;
    report(global, &made, &layout, written)
}

async fn create(global: &Global, options: &InitArgs) -> Result<NewKeyring, Failure> {
    refuse_existing(global)?;
    if options.store != Store::Table && !options.roles.service_roles.is_empty() {
        return Err(Failure::usage(
            "--service-role is for a keyring in the database",
            "add --store table, or remove --service-role",
        ));
    }
    let provider = secret::provider(global.passphrase_file.as_deref(), Purpose::Create);
    let made = match options.store {
        Store::File => {
            NewKeyring { keyring: Keyring::prepare(global.keyring(), &*provider?).await?, text: None }
        }
        Store::Table => {
            let (table, provider) = (keyring_source::table(global)?, provider?);
            table.create(&options.roles.service_roles).await?;
            NewKeyring { keyring: table.prepare(&*provider).await?, text: None }
        }
        Store::Print => {
            let (keyring, text) = Keyring::prepare_text(&*provider?).await?;
            NewKeyring { keyring, text: Some(text) }
        }
    };
    let keyring = made.keyring.clone();
    let builder = match (options.store, global.database_url()) {
        (Store::Print, None) => None,
        (Store::Print, Some(url)) => {
            let builder = Vault::builder(keyring).short_lived().layout(layout_file::for_vault(global)?);
            Some(builder.pooler(global.pooler.into()).postgres(url))
        }
        _ => Some(session::builder(global, keyring)?),
    };
    if let Some(builder) = builder {
        let vault = builder.init().await.map_err(refused)?;
        hint_at_layout(global, &vault).await?;
    }
    keyring_source::note(global, &made.keyring).await?;
    Ok(made)
}

/// Nothing can be stored in a table that is missing or unlike.
async fn hint_at_layout(global: &Global, vault: &Vault) -> Result<(), Failure> {
    let problem = vault.status().await?.database.and_then(|database| database.problem);
    if let Some(problem) = problem.filter(|_| !global.json) {
        layout_detect::hint(&problem);
    }
    Ok(())
}

/// If a keyring already exists, the command does not ask for a passphrase.
fn refuse_existing(global: &Global) -> Result<(), Failure> {
    for path in [global.keyring(), global.keyring_note()] {
        if path.symlink_metadata().is_ok() {
            let error = Error::from(ErrorKind::KeyringExists);
            return Err(Failure::new(format!("{} already exists", path.display()), error.hint()));
        }
    }
    Ok(())
}

fn refused(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::Unavailable => Failure::new(
            error.to_string(),
            "start the database, or do not name one: init first checks whether another keyring is in use there",
        ),
        _ => error.into(),
    }
}

/// The path of the layout file that was written or kept.
fn write_layout(global: &Global, layout: &InitLayout) -> Result<Option<String>, Failure> {
    Ok(match layout {
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
    })
}

fn report(
    global: &Global,
    NewKeyring { keyring, text }: &NewKeyring,
    layout: &InitLayout,
    written: Option<String>,
) -> Result<(), Failure> {
    let (place, key, env) = (keyring.place(), keyring.keys()[0].id.to_string(), keyring.pin().to_env());
    if global.json {
        let mut object = json!({ "keyring": place, "key": key, "env": env, "layout": written });
        if let Some(text) = text {
            object["text"] = json!(text);
        }
        return print::json(&object);
    }
    print::hint(
        "back up the keyring and its passphrase or wrapping key, in different places: nothing else opens stored values",
    );
    if matches!(layout, InitLayout::New(_)) && global.database_url().is_some() {
        print::hint("`retell-vault layout check` compares the layout with the database");
    }
    let layout = match (layout, written) {
        (InitLayout::New(_), Some(layout)) => print::indented(0, &format!("wrote {layout}")),
        (InitLayout::Kept(_), Some(layout)) => {
            print::indented(0, &format!("kept {layout}: it already matches"))
        }
        _ => String::new(),
    };
    match text {
        Some(text) => {
            // nothing else may stand beside the keyring
            print::hint(&format!("created a keyring with key {key}: this is its only copy"));
            print::hint(&format!("set {env} where it is used"));
            print::out(text)
        }
        None if keyring.is_in_table() => {
            let made = format!("created {place} with key {key}");
            print::out(&(print::indented(0, &made) + &print::indented(0, &env) + &layout))
        }
        None => print::out(&(print::indented(0, &format!("created {place} with key {key}")) + &layout)),
    }
}
