//! Imports credentials that an application stored in two columns, on a real Postgres server in a temporary folder: first without
//! clearing anything, then with. A third column needs a decryptor of its own.
//!
//!     cargo run --features admin --example import_legacy
//!
//! It needs the Postgres programs (`scripts/test --setup` installs them). The server and the folders are removed at the
//! end, even after a failure or Ctrl-C.

mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use retell_vault::config::Field;
use retell_vault::config::import::{
    Decryptor, ImportEvent, ImportOptions, ImportReport, OpenedValue, Opening, Passwords, StoredForm,
    StoredValue,
};
use retell_vault::layout::OldSource;
use retell_vault::records::{Expected, StoreOptions};
use retell_vault::{ErrorKind, Keyring, Layout, Owner, Passphrase, RetellConfig, Vault};
use sqlx::{Connection, PgConnection, Row};
use support::{Result, Server, ended, interrupted};

/// `old_key` holds keys that the application wrote backwards.
const TABLES: &str = r#"
    CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb, old_key text);
    CREATE TABLE user_settings (user_id text PRIMARY KEY, retell_config jsonb, retell_api_key text);
    INSERT INTO user_settings VALUES
        ('user-1', '{"api_key": "key_test_0001", "call_agent_id": "agent_test_0001", "theme": "dark"}', NULL),
        ('user-2', '{"api_key": "key_test_0022"}', 'key_test_0002');
    INSERT INTO user_profiles (user_id, old_key) VALUES ('user-3', '3000_tset_yek')"#;

#[tokio::main]
async fn main() -> ExitCode {
    ended(run().await)
}

async fn run() -> Result<()> {
    // removed when they are dropped, however this function ends
    let server = Server::new();
    let folder = tempfile::Builder::new().prefix("retell-vault-home-").tempdir()?;
    tokio::select! {
        // a folder that the vault creates is private
        done = import(&server, folder.path().join("home")) => done,
        () = interrupted() => Err("interrupted".into()),
    }
}

/// The sources in the order in which the application reads them.
fn layout() -> Result<Layout> {
    let key = OldSource::new("user_settings", "user_id", "retell_api_key", "plaintext")?;
    let config = OldSource::new("user_settings", "user_id", "retell_config", "plaintext")?;
    Ok(Layout::new().source(key.field("api_key".parse()?))?.source(config)?)
}

async fn import(server: &Server, home: PathBuf) -> Result<()> {
    let url = server.run("start")?;
    let mut connection = PgConnection::connect(&url).await?;
    sqlx::raw_sql(TABLES).execute(&mut connection).await?;
    let keyring =
        Keyring::prepare(home.join("keyring.json"), &Passphrase::new("only for this example")).await?;
    let vault = Vault::builder(keyring).postgres(&url).layout(layout()?).local_file(home.join("local.db"));
    let vault = vault.init().await?;

    // the old code still works after this
    let report = run_import(&vault, ImportOptions::new()).await?;
    assert_eq!((report.progress.sealed, report.progress.verified), (2, 2));
    for found in &report.disagreed {
        println!("disagreed  {} of {}: {}", found.place, found.user, found.reason);
    }
    // once no code reads the old columns any more
    let report = run_import(&vault, ImportOptions::new().clear_source()).await?;
    assert_eq!((report.progress.already, report.progress.cleared), (2, 2));
    let loaded = vault.load(&Owner::user("user-2")?).await?;
    println!("loaded     {}", loaded.config.to_json_masked());

    let rows = sqlx::query("SELECT user_id, old_key FROM user_profiles WHERE old_key IS NOT NULL");
    for row in rows.fetch_all(&mut connection).await? {
        let (user, old): (String, String) = (row.get(0), row.get(1));
        let stored = import_backwards(&vault, &user, &old).await?;
        println!(
            "{}   the key of {user} that was written backwards",
            if stored { "stored  " } else { "left    " }
        );
    }
    Ok(())
}

async fn run_import(vault: &Vault, options: ImportOptions) -> Result<ImportReport> {
    // values in a log would be a leak: the event names only their owners and places
    let listener = |event: ImportEvent<'_>| {
        if let ImportEvent::Clearing(values) = event {
            println!("clearing   {} values", values.len());
        }
        Ok(())
    };
    let report = vault.import(&Passwords::new(), &options, listener).await?;
    let progress = report.progress;
    println!("imported   {} of {} rows, {} nothing to do", progress.sealed, progress.rows, progress.already);
    Ok(report)
}

/// Stores a value that no built-in decryptor opens, unless the vault has a record.
async fn import_backwards(vault: &Vault, user: &str, old: &str) -> Result<bool> {
    let field: Field = "api_key".parse()?;
    let Opening::Opened(value) = Backwards.open(&StoredValue::text(field, old).of(user)) else {
        return Ok(false);
    };
    let config = RetellConfig::new(value.text().parse()?);
    let only_if_absent = StoreOptions::new().expect(Expected::Absent);
    match vault.store_with(&Owner::user(user)?, &config, only_if_absent).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
        Err(error) => Err(error.into()),
    }
}

struct Backwards;

impl Decryptor for Backwards {
    fn open(&self, stored: &StoredValue<'_>) -> Opening {
        match stored.content {
            StoredForm::Text(text) if text.ends_with("_yek") => {
                let text = text.chars().rev().collect::<String>();
                Opening::Opened(OpenedValue::new("backwards", text.into()).exposed())
            }
            _ => Opening::NotMine,
        }
    }
}
