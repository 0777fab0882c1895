//! Many writers at once, and processes that are killed: no alarm without tampering, and an entry for every acknowledged write.
//!
//! `LEDGER_ROUNDS=100 scripts/test --test ledger campaign::no_alarm -- --nocapture` and
//! `LEDGER_KILLS=500 scripts/test --test ledger campaign::every_acknowledged -- --nocapture` run longer campaigns.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use retell_vault::ledger::{FolderSink, LedgerCopies, LedgerVerification};
use retell_vault::rotation::RotateOptions;
use retell_vault::{Error, ErrorKind, Vault};

use crate::copies::copies_of;
use crate::support::faults::{connect, number, until};
use crate::support::vaults::*;
use crate::{Stage, variable};

// --- A process that is killed ---

/// Tasks of a process. Each has its own users.
const TASKS: u64 = 4;
const USERS: u64 = 3;

/// The test that is the process.
const WRITER: &str = "campaign::writer";

/// What a process acknowledged: the operation, the user and the version.
pub(crate) type Acknowledged = (String, String, String);

/// Not a test: the process that is killed. Says every write that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer() {
    let Ok(setup) = env::var("RETELL_VAULT_TEST_WRITER") else { return };
    let [folder, url, first] = *setup.split('|').collect::<Vec<_>>() else { panic!("{setup}") };
    let keyring = open_keyring(Path::new(folder).join("keyring.json"));
    let vault = Vault::builder(keyring).postgres(url).build().await.unwrap();
    let first: u64 = first.parse().unwrap();
    let tasks = (0..TASKS).map(|task| tokio::spawn(write_for_ever(vault.clone(), task, first)));
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

async fn write_for_ever(vault: Vault, task: u64, first: u64) {
    for number in first.. {
        let user = format!("process-{task}-{}", number % USERS);
        let owner = owner(&user);
        let (operation, written) = match number % 7 {
            3 => ("delete", vault.delete(&owner).await),
            5 => {
                let change = vault.modify(&owner, |config| {
                    config.set_call_agent_id(None);
                    Ok(())
                });
                ("modify", change.await)
            }
            _ => ("store", vault.store(&owner, &full_config(number)).await),
        };
        match written {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            written => println!("acknowledged {operation} {user} {}", written.unwrap().version),
        }
        // it is killed with reads that wait
        let read = vault.load(&owner).await;
        assert!(read.is_ok() || operation == "delete", "{read:?}");
    }
}

pub(crate) struct Process {
    child: Child,
    acknowledged: thread::JoinHandle<Vec<Acknowledged>>,
}

impl Process {
    /// Starts it, and waits for its first acknowledgement.
    pub(crate) fn start(stage: &Stage, writer: &str, first: u64) -> Self {
        let keyring = stage.hosts.local_file(0);
        let folder = keyring.parent().unwrap().display().to_string();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", writer, "--nocapture"])
            .env("RETELL_VAULT_TEST_WRITER", format!("{folder}|{}|{first}", stage.db.url))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // a line that the kill cut off is no acknowledgement
        let parse = |line: String| {
            let (_, written) = line.split_once("acknowledged ")?;
            let [operation, user, version] = *written.split(' ').collect::<Vec<_>>() else { return None };
            (version.len() == 16).then(|| (operation.to_owned(), user.to_owned(), version.to_owned()))
        };
        let began = lines.by_ref().find_map(parse).expect("the process works");
        let acknowledged =
            thread::spawn(move || [began].into_iter().chain(lines.filter_map(parse)).collect());
        Self { child, acknowledged }
    }

    /// SIGKILL. Returns what was acknowledged before.
    pub(crate) fn kill(mut self) -> Vec<Acknowledged> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.acknowledged.join().unwrap()
    }
}

/// What entries say of states: how many there are of each operation, user and version.
async fn states(stage: &Stage) -> BTreeMap<Acknowledged, u64> {
    let sql = "SELECT op, usr, after FROM retell_vault.ledger WHERE after IS NOT NULL";
    let entries: Vec<Acknowledged> =
        sqlx::query_as(sql).fetch_all(&mut connect(&stage.db.url).await).await.unwrap();
    let mut states = BTreeMap::new();
    entries.into_iter().for_each(|entry| *states.entry(entry).or_default() += 1);
    states
}

/// The version of every row, read without the vault.
async fn row_versions(stage: &Stage) -> BTreeMap<String, String> {
    let sql = "SELECT user_id, coalesce(substring(u::text FROM 'rv1[.][^.]+[.]([^.]+)[.]'), 'none') FROM user_profiles AS u";
    let rows: Vec<(String, String)> =
        sqlx::query_as(sql).fetch_all(&mut connect(&stage.db.url).await).await.unwrap();
    rows.into_iter().collect()
}

/// Until the server has noticed that a killed client is gone: its last statement may still run.
pub(crate) async fn until_alone(stage: &Stage, sessions: i64) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    until(async || number(&stage.db.url, sql).await <= sessions).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_of_a_killed_process_has_its_entry() {
    let kills: u64 = variable("LEDGER_KILLS").unwrap_or(5);
    let stage = Stage::begun().await;
    stage.vault.close().await;
    until_alone(&stage, 0).await;
    let (mut writes, mut unacknowledged, mut open) = (0, 0, 0);
    for kill in 0..kills {
        let process = Process::start(&stage, WRITER, kill * 1_000_000);
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..150_000))).await;
        let acknowledged = process.kill();
        until_alone(&stage, 0).await;
        let states = states(&stage).await;
        for write in &acknowledged {
            assert_eq!(states.get(write), Some(&1), "after kill {kill}: {write:?} was acknowledged");
        }
        writes += acknowledged.len() as u64;
        unacknowledged = states.len() as u64 - writes;
        // every state is that of a row, or an older one
        let rows = row_versions(&stage).await;
        for (operation, user, version) in states.keys() {
            let row = rows.get(user).unwrap_or_else(|| panic!("after kill {kill}: no row of {user}"));
            assert!(version <= row, "after kill {kill}: {operation} {user} {version}, and the row has {row}");
        }
        for (user, version) in &rows {
            let is_noted = states.keys().any(|(_, of, after)| of == user && after == version);
            assert!(is_noted, "after kill {kill}: no entry of {user} {version}");
        }
        let auditor = stage.hosts.host(9, &stage.db.url).short_lived().build().await.unwrap();
        let found = auditor.verify_ledger(&LedgerCopies::new()).await.unwrap();
        assert!(found.is_unbroken() && found.writers == kill + 1, "after kill {kill}: {found:?}");
        open = found.open.len();
        auditor.close().await;
        until_alone(&stage, 0).await;
    }
    println!("{kills} kills, {writes} acknowledged writes, {unacknowledged} that were not, {open} open gaps");
    assert!(writes >= kills, "the processes were at work");
}

// --- Many writers ---

const WRITERS: u64 = 8;
const VAULTS: usize = 3;
const OWNERS: u64 = 24;

/// One operation, and its kind.
async fn operate(vault: &Vault, stage: &Stage, rng: &mut StdRng) -> (&'static str, Result<(), Error>) {
    let mut some = || owner(&format!("user-{}", rng.random_range(0..OWNERS)));
    let (one, other) = (some(), some());
    let config = full_config(rng.random::<u32>());
    match rng.random_range(0..11) {
        0 => ("delete", vault.delete(&one).await.map(drop)),
        1 => {
            let change = vault.modify(&one, |config| {
                config.set_sms_agent_id(None);
                Ok(())
            });
            ("modify", change.await.map(drop))
        }
        10 => {
            // as a cascade does
            let delete = "DELETE FROM user_profiles WHERE user_id = $1";
            let user = one.user_id().as_str();
            sqlx::query(delete).bind(user).execute(&stage.db.pool()).await.unwrap();
            ("row deleted", Ok(()))
        }
        2 if one != other => ("rename", vault.rename_owner(&one, &other).await.map(drop)),
        3 => {
            let first = rng.random_range(0..OWNERS);
            let many = (first..first + 6).map(|n| (owner(&format!("user-{}", n % OWNERS)), config.clone()));
            let stored = vault.store_many(&many.collect::<Vec<_>>()).await;
            ("store_many", stored.and_then(|stored| stored.into_iter().try_for_each(|one| one.map(drop))))
        }
        kind @ (4 | 5) => {
            let mut transaction = stage.db.pool().begin().await.unwrap();
            let stored = vault.store_in(&mut transaction, &one, &config).await;
            let commits = kind == 4 && stored.is_ok();
            match commits {
                true => transaction.commit().await.unwrap(),
                false => transaction.rollback().await.unwrap(),
            }
            (if kind == 4 { "store_in" } else { "store_in rolled back" }, stored.map(drop))
        }
        _ => ("store", vault.store(&one, &config).await.map(drop)),
    }
}

/// Works until it is told to stop. Returns how often each kind of operation succeeded.
async fn work(
    vault: Vault,
    stage: Arc<Stage>,
    mut rng: StdRng,
    stop: Arc<AtomicBool>,
) -> BTreeMap<&'static str, u32> {
    let mut done = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let (kind, result) = operate(&vault, &stage, &mut rng).await;
        match result {
            Ok(()) => *done.entry(kind).or_default() += 1,
            // the owner has no record, another writer was faster, or the other owner has a record already
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Busy),
                "{kind}: {error:?}"
            ),
        }
    }
    done
}

/// Only rows that were deleted, each with a note, are removed.
async fn is_no_alarm(stage: &Stage, found: &LedgerVerification, when: &str) {
    assert!(found.is_unbroken(), "{when}: {found:?}");
    let noted: Vec<String> = sqlx::query_scalar("SELECT DISTINCT usr FROM retell_vault.removed")
        .fetch_all(&mut connect(&stage.db.url).await)
        .await
        .unwrap();
    let is_noted = |user: &str| noted.iter().any(|noted| noted == user);
    assert!(found.removed.iter().all(|one| is_noted(one.owner.user_id().as_str())), "{when}: {found:?}");
}

async fn round(rng: &mut StdRng) {
    let stage = Arc::new(Stage::begun().await);
    let sink = tempfile::tempdir().unwrap();
    let folder = sink.path().join("sink");
    let mut vaults = Vec::new();
    for host in 1..=VAULTS {
        let vault = stage.hosts.host(host, &stage.db.url).ledger_sink(FolderSink::new(&folder));
        vaults.push(vault.build().await.unwrap());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let tasks = (0..WRITERS).zip(vaults.iter().cycle()).map(|(_, vault)| {
        let rng = StdRng::seed_from_u64(rng.random());
        tokio::spawn(work(vault.clone(), stage.clone(), rng, stop.clone()))
    });
    let tasks: Vec<_> = tasks.collect();
    let started = Instant::now();
    let (mut kills, mut killed_writes, mut rotations) = (0, 0, 0);
    while kills < 2 || started.elapsed() < Duration::from_secs(2) {
        let process = Process::start(&stage, WRITER, kills * 1_000_000);
        if kills == 0 {
            let rotation = vaults[0].rotate(&RotateOptions::new().new_key(), |_| {}).await.unwrap();
            rotations += u32::from(rotation.complete);
        }
        tokio::time::sleep(Duration::from_micros(rng.random_range(0..100_000))).await;
        killed_writes += process.kill().len();
        kills += 1;
        is_no_alarm(&stage, &stage.verify().await, "while all work").await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut done: BTreeMap<&str, u32> = BTreeMap::new();
    for task in tasks {
        task.await.unwrap().into_iter().for_each(|(kind, count)| *done.entry(kind).or_default() += count);
    }
    let rolled_back = done.get("store_in rolled back").copied();
    for vault in vaults {
        vault.sync().await.unwrap();
        vault.close().await;
    }
    let found = stage.vault.verify_ledger(&copies_of(&folder, "")).await.unwrap();
    println!(
        "{} entries of {} writers about {} owners, {kills} kills after {killed_writes} writes, {rotations} rotations, {done:?}",
        found.entries, found.writers, found.owners
    );
    is_no_alarm(&stage, &found, "at the end").await;
    assert!(found.names_complete && found.waiting.is_empty(), "{found:?}");
    assert!(found.anchors >= VAULTS as u64 && found.writers >= VAULTS as u64 + kills, "{found:?}");
    assert!(rolled_back > Some(0) && done.len() >= 7, "every kind of operation was at work: {done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_alarm_while_many_write_and_are_killed() {
    let rounds: u32 = variable("LEDGER_ROUNDS").unwrap_or(1);
    let seed = variable("RETELL_VAULT_TEST_SEED").unwrap_or_else(rand::random::<u64>);
    println!("RETELL_VAULT_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..rounds {
        round(&mut rng).await;
    }
}
