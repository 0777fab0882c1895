//! SIGKILL while processes write to the local file: what was acknowledged is there afterwards.
//!
//! `RETELL_VAULT_TEST_KILLS=200 scripts/test --test kill local::` runs a longer campaign.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use retell_vault::{ErrorKind, Vault};

use crate::support::vaults::*;

/// How many users each writer has.
const USERS: u64 = 5;

/// The operations of a writer, one after the other: the user, and whether it is deleted.
fn operation(writer: usize, number: u64) -> (String, bool) {
    (format!("writer-{writer}-user-{}", number % USERS), number % 7 == 6)
}

async fn vault_in(folder: &Path) -> Vault {
    let keyring = open_keyring(folder.join("keyring.json"));
    Vault::builder(keyring).local_file(folder.join("local.db")).build().await.unwrap()
}

/// Not a test: the process that is killed. Says every operation that was acknowledged.
#[tokio::test]
async fn writer() {
    let Ok(setup) = env::var("RETELL_VAULT_TEST_WRITER") else { return };
    let [folder, writer, first] = *setup.split('|').collect::<Vec<_>>() else { panic!("{setup}") };
    let vault = vault_in(Path::new(folder)).await;
    for number in first.parse::<u64>().unwrap().. {
        let (user, is_delete) = operation(writer.parse().unwrap(), number);
        match is_delete {
            true => match vault.delete(&owner(&user)).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => drop(other.unwrap()),
            },
            false => drop(vault.store(&owner(&user), &full_config(number)).await.unwrap()),
        }
        println!("acknowledged {number}");
    }
}

struct Writer {
    process: Child,
    acknowledged: thread::JoinHandle<Option<u64>>,
}

impl Writer {
    /// Starts it, and waits for its first acknowledgement.
    fn start(folder: &Path, writer: usize, first: u64) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "local::writer", "--nocapture"])
            .env("RETELL_VAULT_TEST_WRITER", format!("{}|{writer}|{first}", folder.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let number = |line: String| line.split_once("acknowledged ")?.1.parse::<u64>().ok();
        let began = lines.by_ref().find_map(number);
        assert_eq!(began, Some(first), "the writer works");
        let acknowledged = thread::spawn(move || lines.filter_map(number).last().or(began));
        Self { process, acknowledged }
    }

    /// SIGKILL. Answers with the number of the last operation that was acknowledged.
    fn kill(mut self) -> u64 {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.acknowledged.join().unwrap().unwrap()
    }
}

/// Everything up to `last` is there, and at most the one operation that was under way besides.
async fn check(vault: &Vault, writer: usize, last: u64) {
    for user in 0..USERS.min(last + 1) {
        let number = (0..USERS).map(|back| last - back).find(|number| number % USERS == user).unwrap();
        let mut possible = vec![number];
        if (last + 1) % USERS == user {
            possible.push(last + 1);
        }
        let name = operation(writer, number).0;
        let loaded = match vault.load(&owner(&name)).await {
            Ok(loaded) => Some(loaded.config),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("{name}: {error:?}"),
        };
        let is_state_after = |number: &u64| match operation(writer, *number).1 {
            true => loaded.is_none(),
            false => loaded == Some(full_config(number)),
        };
        assert!(possible.iter().any(is_state_after), "{name}: acknowledged {number}, found {loaded:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_sigkill() {
    let kills = env::var("RETELL_VAULT_TEST_KILLS").map_or(20, |kills| kills.parse().unwrap());
    let hosts = Hosts::new().await;
    let local = hosts.local_file(0);
    let folder = local.parent().unwrap();
    let mut next = [0_u64; 2];
    for kill in 0..kills {
        let writers: Vec<_> = (0..next.len()).map(|n| Writer::start(folder, n, next[n])).collect();
        tokio::time::sleep(Duration::from_micros(rand::random::<u64>() % 60_000)).await;
        let last: Vec<u64> = writers.into_iter().map(Writer::kill).collect();
        let vault = vault_in(folder).await;
        for (writer, last) in last.into_iter().enumerate() {
            check(&vault, writer, last).await;
            // it is not known whether the one after was done: it is done again
            next[writer] = last + 1;
        }
        let status = vault.status().await.unwrap().local.unwrap();
        assert_eq!(status.set_aside.len(), 0, "after kill {kill} the file counted as damaged");
    }
    assert!(next.iter().all(|next| *next > kills), "the writers were at work: {next:?}");
    assert_no_secret(&hosts.files(), "the local files");
}
