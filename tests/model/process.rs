//! A process of a host that does one operation and is killed on the way.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use retell_vault::{Keyring, RetellConfig, Vault};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use super::operations::HostStart;
use super::owners::Row;
use super::world::{World, configured, home, time, who};
use crate::support::vaults::open_keyring;

/// In the environment of the process: what it is to do.
pub const TASK: &str = "RETELL_VAULT_TEST_MODEL_TASK";

/// Starts the process, waits until its vault is there, and kills it so much later.
pub async fn kill_process(world: &mut World<'_>, h: usize, o: usize, delete: bool, micros: u64) {
    let config = (!delete).then(|| world.new_config(o));
    let id = world.model.write(o, config.clone());
    let start = &world.hosts[h].start;
    let task = [
        world.folder.local_file(h).display().to_string(),
        world.url(h).to_owned(),
        format!("{} {} {}", start.offline_reads, start.refuses, start.transactions),
        world.minutes(h).to_string(),
        o.to_string(),
        config.as_ref().map(RetellConfig::to_json_exposed).map_or(String::new(), |json| json.to_string()),
    ];
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "process", "--nocapture"])
        .env(TASK, task.join("|"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    line_with(&mut lines, "began").await.expect("the process begins");
    tokio::time::sleep(Duration::from_micros(micros)).await;
    process.kill().await.unwrap();
    let answer = line_with(&mut lines, "acknowledged ").await;
    world.say(format!("    write {id} by a process of host {h}, killed: {answer:?}"));
    // the vault of this process may have been in the middle of something; the host's own has seen nothing of it
    note_answer(world, h, o, id, answer);
}

async fn line_with(lines: &mut Lines<BufReader<ChildStdout>>, word: &str) -> Option<String> {
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, rest)) = line.split_once(word) {
            return Some(rest.to_owned());
        }
    }
    None
}

fn note_answer(world: &mut World<'_>, h: usize, o: usize, id: usize, answer: Option<String>) {
    let degraded = match answer.as_deref() {
        Some("nothing") => return,
        Some(answer) => {
            let (version, place) = answer.split_once(' ').expect("a version and a place");
            world.model.learn_version(id, version.parse().unwrap());
            Some(place == "local")
        }
        None => None,
    };
    let is_cut_off = world.hosts[h].is_cut_off;
    let possible = &mut world.model.owners[o];
    match degraded {
        Some(false) => {
            possible.row = [Row::Holds(id)].into();
            possible.at[h].waiting = [None].into();
        }
        Some(true) => {
            assert!(is_cut_off || world.renamed.is_some() || world.is_narrow, "the database is there");
            possible.at[h].waiting = [Some(id)].into();
        }
        // it may have been written, and what waited may have been dropped for it
        None if is_cut_off => drop(possible.at[h].waiting.insert(Some(id))),
        None => {
            possible.row.insert(Row::Holds(id));
            possible.at[h].waiting.extend([Some(id), None]);
        }
    }
    // the host's replicas come from all of its processes
    possible.at[h].seen.insert(id);
}

/// What the process does.
pub async fn run_task() {
    let Ok(task) = env::var(TASK) else { return };
    let [file, url, options, minutes, owner, config] = *task.splitn(6, '|').collect::<Vec<_>>() else {
        panic!("{task}")
    };
    let options: Vec<bool> = options.split(' ').map(|option| option.parse().unwrap()).collect();
    let minutes: i64 = minutes.parse().unwrap();
    let (offline_reads, refuses, transactions) = (options[0], options[1], options[2]);
    let start = HostStart { offline_reads, refuses, transactions, minutes };
    let file = PathBuf::from(file);
    let builder = Vault::builder(keyring(&file)).local_file(&file).postgres(url);
    let vault = configured(builder, &start).clock(move || time(minutes)).build().await.unwrap();
    let owner = who(owner.parse().unwrap());
    println!("began");
    let stored = match config {
        "" => vault.delete(&owner).await,
        json => vault.store(&owner, &RetellConfig::from_json(json).unwrap()).await,
    };
    match stored {
        Ok(stored) => {
            let place = if stored.degraded.is_some() { "local" } else { "database" };
            println!("acknowledged {} {place}", stored.version);
        }
        Err(_) => println!("acknowledged nothing"),
    }
}

/// All hosts share the keyring of the first one.
fn keyring(local_file: &Path) -> Keyring {
    open_keyring(home(local_file).with_file_name("home-0").join("keyring.json"))
}
