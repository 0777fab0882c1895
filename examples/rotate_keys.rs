//! A key rotation from the first key to its destruction, while a service keeps writing and the rotating process is killed
//! half-way. The program checks everything that it prints.
//!
//!     cargo run --example rotate_keys
//!
//! It needs the Postgres programs (`scripts/test --setup` installs them). The server and the folders are removed at the
//! end, even after a failure or Ctrl-C.

mod support;

use std::env;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use retell_vault::keyring::{KeyId, KeyState};
use retell_vault::rotation::{DestroyOptions, RotateEvent, RotateOptions};
use retell_vault::{ErrorKind, Keyring, Layout, Owner, Passphrase, RetellConfig, Vault};
use sqlx::{Connection, PgConnection};
use support::{Result, Server, ended, interrupted};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::task::JoinHandle;

/// Owners of each vault: 1,000 in four vaults.
const OWNERS: usize = 250;
const PASSPHRASE: &str = "only for this example";
/// Tells this program that it is the process to be killed.
const CHILD: &str = "ROTATE_KEYS_EXAMPLE_CHILD";

/// Tables as applications have them. The vault finds a place for every field by itself.
const TABLES: &str = "
    CREATE TABLE every_column (user_id text PRIMARY KEY, encrypted_retell_api_key text,
        encrypted_call_agent_id text, encrypted_sms_agent_id text, encrypted_agent_config jsonb,
        phone_number text, webhook_config jsonb, retell_integration_status text, last_retell_sync timestamptz);
    CREATE TABLE jsonb_only (user_id text PRIMARY KEY, encrypted_agent_config jsonb);
    CREATE TABLE one_column (user_id text PRIMARY KEY, encrypted_retell_api_key text)";

#[tokio::main]
async fn main() -> ExitCode {
    ended(run().await)
}

async fn run() -> Result<()> {
    if let Ok(setup) = env::var(CHILD) {
        let (home, url) = setup.split_once('|').ok_or("the variable does not contain a home and a URL")?;
        return rotate_slowly(Path::new(home), url).await;
    }
    // removed when they are dropped, however this function ends
    let server = Server::new();
    let folder = tempfile::Builder::new().prefix("retell-vault-home-").tempdir()?;
    // a folder that the vault creates is private
    let home = folder.path().join("home");
    tokio::select! {
        done = rotation(&server, &home) => done,
        () = interrupted() => Err("interrupted".into()),
    }
}

async fn rotation(server: &Server, home: &Path) -> Result<()> {
    let url = prepare(server, home).await?;
    let keyring = open_keyring(home).await?;
    let vaults = open_vaults(&keyring, home, &url).await?;
    let old = keyring.keys()[0].id;
    store_everybody(&vaults).await?;
    tokens_name_only(&vaults, old).await?;

    // The service has two writers, which store what changes and remember what was acknowledged.
    let stop = Arc::new(AtomicBool::new(false));
    let writers = [0, 1].map(|writer| start_writer(writer, vaults.clone(), stop.clone()));

    let new = bring_in_a_key(&keyring).await?;
    refuse_to_destroy(&vaults, old).await?;
    kill_a_rotation_half_way(home, &url).await?;
    let left = tokens_left(&vaults, old).await?;
    assert_ne!(left, [0; 4], "it was killed before it finished");
    say("killed", format!("half-way with SIGKILL; tokens left under the old key: {left:?}"));
    for (name, vault) in &vaults {
        resume(name, vault, new).await?;
    }

    stop.store(true, Ordering::SeqCst);
    let [first, second] = writers;
    prove_nothing_was_lost(&vaults, [first.await??, second.await??]).await?;
    tokens_name_only(&vaults, new).await?;
    destroy(&vaults, old).await?;
    for (_, vault) in &open_vaults(&open_keyring(home).await?, home, &url).await? {
        load_everybody(vault).await?;
    }
    say("opened", format!("everything, with a keyring that has lost key {old}"));
    Ok(())
}

fn say(what: &str, text: String) {
    println!("{what:<10} {text}");
}

/// Starts a server with the tables, and creates a keyring with its first key. Returns the URL.
async fn prepare(server: &Server, home: &Path) -> Result<String> {
    let url = server.run("start")?;
    let mut connection = PgConnection::connect(&url).await?;
    sqlx::raw_sql(TABLES).execute(&mut connection).await?;
    connection.close().await?;
    let keyring = Keyring::prepare(home.join("keyring.json"), &Passphrase::new(PASSPHRASE)).await?;
    Vault::builder(keyring).local_file(home.join("local.db")).init().await?.close().await;
    Ok(url)
}

async fn open_keyring(home: &Path) -> Result<Keyring> {
    Ok(Keyring::open(home.join("keyring.json"), &Passphrase::new(PASSPHRASE)).await?)
}

type Vaults = Vec<(&'static str, Vault)>;

/// A vault for each table, and one that has no database. All share one keyring.
async fn open_vaults(keyring: &Keyring, home: &Path, url: &str) -> Result<Vaults> {
    let mut vaults = Vec::new();
    for table in ["every_column", "jsonb_only", "one_column"] {
        let layout = Layout::new().table(table)?;
        vaults.push((table, Vault::builder(keyring.clone()).postgres(url).layout(layout).build().await?));
    }
    let local = home.join("local.db");
    vaults.push(("local_file", Vault::builder(keyring.clone()).local_file(local).build().await?));
    Ok(vaults)
}

// --- The service ---

fn owner(number: usize) -> Owner {
    Owner::user(&format!("user-{number}")).expect("a valid id")
}

/// What an owner has after being stored so many times.
fn config(number: usize, times: usize) -> RetellConfig {
    let json = format!(
        r#"{{"api_key":"key_test_{number}_{times}","call_agent_id":"agent_test_call_{number}",
        "sms_agent_id":"agent_test_sms_{number}","phone_number":"+14155550100",
        "webhook_config":{{"webhook_url":"https://example.com/hook","secret":"whsec_test_{number}_{times}"}},
        "integration_status":"active"}}"#
    );
    RetellConfig::from_json(&json).expect("a valid configuration")
}

async fn store_everybody(vaults: &Vaults) -> Result<()> {
    let configs: Vec<_> = (0..OWNERS).map(|number| (owner(number), config(number, 1))).collect();
    for (name, vault) in vaults {
        for stored in vault.store_many(&configs).await? {
            assert!(stored?.degraded.is_none(), "{name}: the database is up");
        }
        say("stored", format!("{OWNERS} owners in {name}"));
    }
    Ok(())
}

/// What was stored and acknowledged, in order: the index of the vault, the number of the owner, and how often so far.
type Acknowledged = Vec<(usize, usize, usize)>;

/// Stores every fifth owner of every vault repeatedly, until it is told to stop.
fn start_writer(writer: usize, vaults: Vaults, stop: Arc<AtomicBool>) -> JoinHandle<Result<Acknowledged>> {
    tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        for times in 2.. {
            for number in (writer..OWNERS).step_by(5) {
                for (at, (_, vault)) in vaults.iter().enumerate() {
                    if stop.load(Ordering::SeqCst) {
                        return Ok(acknowledged);
                    }
                    vault.store(&owner(number), &config(number, times)).await?;
                    acknowledged.push((at, number, times));
                }
            }
        }
        unreachable!("the numbers do not end")
    })
}

// --- The rotation ---

/// A new key opens from the start, and seals once it is promoted. In between, copy the keyring file to every host and back
/// it up: after the promotion, nothing else opens new records.
async fn bring_in_a_key(keyring: &Keyring) -> Result<KeyId> {
    let new = keyring.promote_key(keyring.add_key().await?.id).await?.id;
    say("promoted", format!("key {new}; the previous key is retired: it opens but no longer seals"));
    Ok(new)
}

/// The child process: it rotates one vault after another, but slowly.
async fn rotate_slowly(home: &Path, url: &str) -> Result<()> {
    let keyring = open_keyring(home).await?;
    for (name, vault) in open_vaults(&keyring, home, url).await? {
        let options = RotateOptions::new().batch(10).rate(200);
        let tell = |event: RotateEvent<'_>| {
            if let RotateEvent::Batch(progress) = event {
                println!("{name} {}", progress.resealed);
            }
        };
        vault.rotate(&options, tell).await?;
    }
    Ok(())
}

/// Starts this program again, and kills it in the middle of the second vault.
async fn kill_a_rotation_half_way(home: &Path, url: &str) -> Result<()> {
    let mut child = Command::new(env::current_exe()?)
        .env(CHILD, format!("{}|{url}", home.display()))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    loop {
        let line = lines.next_line().await?.ok_or("the rotating process ended before it was killed")?;
        let resealed = line.strip_prefix("jsonb_only ").and_then(|rows| rows.parse::<usize>().ok());
        if resealed.is_some_and(|rows| rows >= OWNERS / 5) {
            child.kill().await?;
            return Ok(());
        }
    }
}

/// Runs the rotation again: it skips what is already under the new key. A token count decides whether it is complete.
async fn resume(name: &str, vault: &Vault, new: KeyId) -> Result<()> {
    let rotation = vault.rotate(&RotateOptions::new(), |_| {}).await?;
    let records = rotation.progress.resealed + rotation.progress.local;
    say("resumed", format!("{name}: {records} more records re-encrypted, and the token count is complete"));
    assert!(rotation.complete && rotation.key == new && rotation.unreadable.is_empty());
    Ok(())
}

// --- The checks ---

/// Counts the tokens of every place, by the key that they name.
async fn tokens_name_only(vaults: &Vaults, key: KeyId) -> Result<()> {
    for (name, vault) in vaults {
        let keys = vault.count_tokens().await?.keys();
        let [(named, tokens)] = keys[..] else { return Err(format!("{name}: {keys:?}").into()) };
        assert_eq!(named, key, "{name}");
        say("counted", format!("{name}: {tokens} tokens, all under key {key}"));
    }
    Ok(())
}

/// Every owner loads what was acknowledged last.
async fn prove_nothing_was_lost(vaults: &Vaults, stored: [Acknowledged; 2]) -> Result<()> {
    let stored = stored.concat();
    let mut expected = vec![[1; OWNERS]; vaults.len()];
    for &(at, number, times) in &stored {
        expected[at][number] = times;
    }
    for ((name, vault), expected) in vaults.iter().zip(expected) {
        for (number, loaded) in load_everybody(vault).await?.into_iter().enumerate() {
            assert_eq!(loaded, config(number, expected[number]), "{name}: {}", owner(number));
        }
    }
    say(
        "loaded",
        format!("all as last acknowledged, {} stores during the rotation among them", stored.len()),
    );
    Ok(())
}

async fn load_everybody(vault: &Vault) -> Result<Vec<RetellConfig>> {
    let owners: Vec<_> = (0..OWNERS).map(owner).collect();
    let loaded = vault.load_many(&owners).await;
    loaded.into_iter().map(|loaded| Ok(loaded?.config)).collect()
}

async fn tokens_left(vaults: &Vaults, key: KeyId) -> Result<Vec<u64>> {
    let mut left = Vec::new();
    for (_, vault) in vaults {
        left.push(vault.count_tokens().await?.tokens_of(key));
    }
    Ok(left)
}

/// A key that tokens of the table name is not destroyed, whatever the options. A vault re-encrypts its local file as soon
/// as it notices the new key, so a local file would not refuse.
async fn refuse_to_destroy(vaults: &Vaults, old: KeyId) -> Result<()> {
    for (name, vault) in &vaults[..3] {
        let refused = vault.destroy_key(old, granted()).await.expect_err("tokens name it");
        assert_eq!(refused.kind(), ErrorKind::KeyInUse);
        say("refused", format!("{name}: {refused}"));
    }
    Ok(())
}

/// Without `force`, a key must have been retired for a day, so that every process has noticed. Without
/// `other_hosts_synced`, other hosts may hold the key in their local files. There are no other hosts here.
fn granted() -> DestroyOptions {
    DestroyOptions::new().force().other_hosts_synced()
}

/// A vault counts only its own table and local file. If several share a keyring, each must report that it holds no token of
/// the key before one of them destroys it.
async fn destroy(vaults: &Vaults, old: KeyId) -> Result<()> {
    assert_eq!(tokens_left(vaults, old).await?, [0; 4]);
    let destroyed = vaults[0].1.destroy_key(old, granted()).await?;
    assert_eq!((destroyed.id, destroyed.state), (old, KeyState::Destroyed));
    say("destroyed", format!("key {old}"));
    Ok(())
}
