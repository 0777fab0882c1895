//! How many copies of a root key the memory of a process holds: one while it is needed, and none after that.
//!
//! Linux: the memory of a process of the test's own is read through `/proc`.

mod support;

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Once;
use std::time::Duration;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use retell_vault::{Keyring, Passphrase, Vault};
use serde_json::Value;
use support::TestDb;
use support::rotation::{at_once, primary, small, until_taken_up};
use support::vaults::*;

/// More than the stack of any thread holds.
const PART: usize = 1 << 20;

/// Says that something was done, and waits for leave to go on.
fn done(what: &str) {
    println!("done: {what}");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// Not a test: the process whose memory is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holder() {
    let Ok(setup) = env::var("RETELL_VAULT_TEST_HOLDER") else { return };
    let [folder, url] = *setup.split('|').collect::<Vec<_>>() else { panic!("{setup}") };
    let open = || open_keyring(format!("{folder}/keyring.json"));
    let vault = Vault::builder(open()).postgres(url).local_file(format!("{folder}/local.db"));
    let vault = vault.build().await.unwrap();
    for user in 0..20 {
        vault.store(&owner(&format!("user-{user}")), &full_config(user)).await.unwrap();
    }
    done("stored");
    let keyring = open();
    let old = keyring.keys()[0].id;
    let new = keyring.add_key().await.unwrap().id;
    keyring.promote_key(new).await.unwrap();
    drop(keyring);
    done("promoted");
    until_taken_up().await;
    let rotating = Once::new();
    let rotation = vault.rotate(&small(), |_| rotating.call_once(|| done("rotating"))).await.unwrap();
    assert!(rotation.complete);
    done("rotated");
    vault.destroy_key(old, at_once()).await.unwrap();
    vault.load(&owner("user-1")).await.unwrap();
    done("destroyed");
    vault.close().await;
    drop(vault);
    done("closed");
}

/// Not a test: a process that opens a keyring with a passphrase.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opener() {
    let Ok(folder) = env::var("RETELL_VAULT_TEST_OPENER") else { return };
    let (path, secret) = (format!("{folder}/keyring.json"), format!("{folder}/passphrase"));
    let passphrase = Passphrase::from_file(secret).unwrap();
    let prepared = Keyring::prepare(&path, &passphrase).await.unwrap();
    let vault = Vault::builder(prepared).local_file(format!("{folder}/local.db")).init().await.unwrap();
    done("made");
    // nobody waits for the key any more, and the thread that stretches goes on
    let given_up = tokio::time::timeout(Duration::from_millis(20), Keyring::open(&path, &passphrase));
    drop(given_up.await);
    let keyring = Keyring::open(&path, &passphrase).await.unwrap();
    drop(passphrase);
    done("dropped");
    drop((keyring, vault));
    done("closed");
}

/// A process, stopped after each of the things that it does.
struct Holder {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Holder {
    fn start(test: &str, setup: String) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(format!("RETELL_VAULT_TEST_{}", test.to_uppercase()), setup)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        Self { process, said }
    }

    fn until(&mut self, what: &str) {
        let says = format!("done: {what}");
        assert!(self.said.by_ref().lines().map_while(Result::ok).any(|line| line.contains(&says)), "{what}");
    }

    fn go_on(&mut self) {
        self.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// How often each of the keys lies in the memory that the process may write.
    fn copies(&self, keys: &BTreeMap<String, &[u8]>) -> BTreeMap<String, usize> {
        let folder = format!("/proc/{}", self.process.id());
        let memory = File::open(format!("{folder}/mem")).unwrap();
        let mut copies: BTreeMap<_, _> = keys.keys().map(|name| (name.clone(), 0)).collect();
        for line in fs::read_to_string(format!("{folder}/maps")).unwrap().lines() {
            let [range, rights] = line.split(' ').take(2).collect::<Vec<_>>()[..] else { continue };
            let (start, end) = range.split_once('-').unwrap();
            let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
            if !rights.starts_with("rw") {
                continue;
            }
            let (mut bytes, mut at) = (Vec::new(), start);
            while at < end {
                let mut part = vec![0; PART.min((end - at) as usize)];
                // a page that the process has not touched has nothing to read
                let Ok(read @ 1..) = memory.read_at(&mut part, at) else { break };
                bytes.extend_from_slice(&part[..read]);
                at += read as u64;
            }
            for (name, key) in keys {
                let found = bytes.windows(key.len()).filter(|window| window == key).count();
                *copies.get_mut(name).unwrap() += found;
            }
        }
        copies
    }
}

/// The root keys of a keyring file by their ids, as docs/FORMAT.md describes it.
fn root_keys(hosts: &Hosts) -> BTreeMap<String, Vec<u8>> {
    let file = fs::read_to_string(hosts.keyring().path().unwrap()).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let decode = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let header = file["header"].as_object().unwrap();
    let members: Vec<_> = ["format", "version", "generation", "wrapping", "nonce"]
        .map(|name| format!("\"{name}\":{}", header[name]))
        .into();
    let mut content = decode(&file["sealed"]);
    let cipher = Aes256Gcm::new_from_slice(&[7; 32]).unwrap();
    let nonce = Nonce::try_from(decode(&header["nonce"]).as_slice()).unwrap();
    cipher.decrypt_in_place(&nonce, format!("{{{}}}", members.join(",")).as_bytes(), &mut content).unwrap();
    let content: Value = serde_json::from_slice(&content).unwrap();
    let keys = content["keys"].as_array().unwrap().iter().filter(|key| !key["material"].is_null());
    keys.map(|key| (key["id"].as_str().unwrap().to_owned(), decode(&key["material"]))).collect()
}

#[tokio::test]
async fn a_root_key_lies_in_memory_once_and_not_after_its_end() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let old = primary(&hosts).to_string();
    let folder = hosts.keyring().path().unwrap().parent().unwrap().to_owned();
    let mut holder = Holder::start("holder", format!("{}|{}", folder.display(), db.url));
    let mut keys = BTreeMap::new();
    let mut seen = BTreeMap::new();
    for stage in ["stored", "promoted", "rotating", "rotated", "destroyed", "closed"] {
        holder.until(stage);
        keys.extend(root_keys(&hosts));
        let named = keys.iter().map(|(id, key)| (id.clone(), key.as_slice())).collect();
        seen.insert(stage, holder.copies(&named));
        holder.go_on();
    }
    assert!(holder.process.wait().unwrap().success());
    let new = keys.keys().find(|id| **id != old).unwrap();
    let copies = |stage: &str| [seen[stage][&old], seen[stage].get(new).copied().unwrap_or(0)];
    let expected = [
        ("stored", [1, 0]),
        ("promoted", [1, 0]), // the vault has not looked again
        ("rotating", [1, 1]),
        ("rotated", [1, 1]),
        ("destroyed", [0, 1]),
        ("closed", [0, 0]),
    ];
    assert_eq!(expected.map(|(stage, _)| (stage, copies(stage))), expected);
}

#[test]
fn a_passphrase_lies_in_memory_only_as_long_as_its_provider() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    fs::DirBuilder::new().mode(0o700).create(&home).unwrap();
    let secret = format!("fake-passphrase-{}", STANDARD.encode(rand::random::<[u8; 16]>()));
    let mut file =
        File::options().write(true).create_new(true).mode(0o600).open(home.join("passphrase")).unwrap();
    file.write_all(secret.as_bytes()).unwrap();
    let mut holder = Holder::start("opener", home.display().to_string());
    // the allocator overwrites the start of what was freed, even if nobody wiped it
    let keys = BTreeMap::from([("passphrase".to_owned(), &secret.as_bytes()[16..])]);
    for (stage, expected) in [("made", 1), ("dropped", 0), ("closed", 0)] {
        holder.until(stage);
        // what was given up ends a little later
        let tries = || std::iter::repeat_with(|| holder.copies(&keys)["passphrase"]).take(50);
        let waited = tries().inspect(|_| std::thread::sleep(Duration::from_millis(20)));
        let copies = waited.take_while(|copies| *copies != expected).collect::<Vec<_>>();
        assert!(copies.len() < 50, "copies when {stage}: {copies:?}, and not {expected}");
        holder.go_on();
    }
    assert!(holder.process.wait().unwrap().success());
}
