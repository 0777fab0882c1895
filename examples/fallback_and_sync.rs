//! An outage and the recovery, with a real Postgres server in a temporary folder.
//!
//!     cargo run --example fallback_and_sync
//!
//! It needs the Postgres programs (`scripts/test --setup` installs them). The server and the folders are removed at the
//! end, even after a failure or Ctrl-C.

mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use retell_vault::records::{Loaded, Stored};
use retell_vault::{Keyring, Owner, Passphrase, RetellConfig, Vault};
use sqlx::{Connection, PgConnection};
use support::{Result, Server, ended, interrupted};

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
        done = outage(&server, folder.path().join("home")) => done,
        () = interrupted() => Err("interrupted".into()),
    }
}

async fn outage(server: &Server, home: PathBuf) -> Result<()> {
    let url = server.run("start")?;
    let table = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)";
    let mut connection = PgConnection::connect(&url).await?;
    sqlx::raw_sql(table).execute(&mut connection).await?;
    connection.close().await?;
    println!("server     started, with a table that has one column for the vault\n");

    let keyring =
        Keyring::prepare(home.join("keyring.json"), &Passphrase::new("only for this example")).await?;
    let vault = Vault::builder(keyring).postgres(&url).local_file(home.join("local.db")).init().await?;
    let owner = Owner::user("user-42")?;

    let first = vault.store(&owner, &config("key_test_first_00000001")).await?;
    print_stored(&first);
    assert!(first.degraded.is_none(), "the database is up");

    server.run("kill")?;
    println!("\nserver     killed with SIGKILL\n");

    let second = vault.store(&owner, &config("key_test_second_00000002")).await?;
    print_stored(&second);
    assert!(second.degraded.is_some(), "the database is down");
    let loaded = vault.load(&owner).await?;
    print_loaded(&loaded);
    assert!(loaded.stale, "the database was down");
    print_status(&vault).await?;

    server.run("start")?;
    println!("\nserver     started again\n");

    let report = vault.sync().await?;
    println!("sync       {} pushed, {} lost, {} refused", report.pushed, report.lost, report.dead_letters);
    assert_eq!((report.pushed, report.stopped), (1, None));
    let loaded = vault.load(&owner).await?;
    print_loaded(&loaded);
    assert_eq!(loaded.source.as_str(), "database");
    assert_eq!((loaded.version, &loaded.config), (second.version, &config("key_test_second_00000002")));
    print_status(&vault).await?;
    println!("\nThe record that was stored during the outage is in the database, with its original version.");
    Ok(())
}

fn config(api_key: &str) -> RetellConfig {
    RetellConfig::new(api_key.parse().expect("a valid key"))
}

fn print_stored(stored: &Stored) {
    let places: Vec<_> = stored.places.iter().map(|(field, place)| format!("{field}: {place:?}")).collect();
    println!("stored     version {}, {}", stored.version, places.join(", "));
    if let Some(reason) = &stored.degraded {
        println!("           degraded: {reason}");
    }
}

fn print_loaded(loaded: &Loaded) {
    let stale = if loaded.stale { "stale: the database may hold a newer record" } else { "not stale" };
    let key = loaded.config.api_key().unwrap().masked();
    println!("loaded     version {}, {key}, from {}, {stale}", loaded.version, loaded.source.as_str());
}

async fn print_status(vault: &Vault) -> Result<()> {
    let status = vault.status().await?;
    let pending = status.local.map_or(0, |local| local.pending);
    let database = status.database.map(|database| match database.problem {
        Some(problem) => problem.to_string(),
        None => "reachable".to_owned(),
    });
    println!("status     {pending} pending; database: {}", database.unwrap_or_default());
    Ok(())
}
