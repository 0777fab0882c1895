//! Random sequences of every operation, on several hosts with their own local files and clocks, through outages, kills,
//! restored copies and rows that come and go, against a model that says for every owner which answers are allowed.
//!
//! `RETELL_VAULT_TEST_SEQUENCES=20000 scripts/test --test model sequences -- --exact` runs a longer campaign, and so does
//! `RETELL_VAULT_TEST_SEQUENCES` with the tests that kill, and with the one in which columns have other names. A failure prints its seed and its operations:
//! `RETELL_VAULT_TEST_SEED=… RETELL_VAULT_TEST_SEQUENCES=1` runs that sequence again.

mod support;

#[path = "model/operations.rs"]
mod operations;
#[path = "model/owners.rs"]
mod owners;
#[path = "model/process.rs"]
mod process;
#[path = "model/steps.rs"]
mod steps;
#[path = "model/world.rs"]
mod world;

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use operations::{Besides, OWNERS, Operation, Start, sequence};
use owners::Row;
use retell_vault::doctor::{DoctorOptions, Severity};
use support::rotation::promote;
use support::vaults::assert_no_secret;
use world::{Ground, World, tables, who};

/// Not a test: the process that is killed.
#[tokio::test]
async fn process() {
    process::run_task().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences() {
    campaign(Besides::Nothing, 12, 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_with_killed_processes() {
    campaign(Besides::KilledProcesses, 4, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_with_a_killed_server() {
    campaign(Besides::KilledServer, 2, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_with_renamed_columns() {
    campaign(Besides::RenamedColumns, 4, 4).await;
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|number| number.parse().expect("a number"))
}

/// So many sequences, several at a time. Every one has a seed of its own.
async fn campaign(besides: Besides, in_ci: u64, workers: u64) {
    if env::var(process::TASK).is_ok() {
        return;
    }
    let asked = number("RETELL_VAULT_TEST_SEQUENCES");
    let count = asked.unwrap_or(in_ci);
    // the slice of every run is the same; a campaign goes where none has been
    let other = asked.map_or(1, |_| u64::from(rand::random::<u32>()));
    let first = number("RETELL_VAULT_TEST_SEED").unwrap_or(other);
    let workers = number("RETELL_VAULT_TEST_WORKERS").unwrap_or(workers);
    let (next, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let started = std::time::Instant::now();
    let worker = || {
        let (next, failed) = (next.clone(), failed.clone());
        tokio::spawn(async move {
            let ground = Arc::new(Ground::new(besides == Besides::KilledServer).await);
            loop {
                let n = next.fetch_add(1, Ordering::SeqCst);
                if n >= count || failed.lock().unwrap().len() >= 3 {
                    return;
                }
                if let Err(report) = run(&ground, first + n, besides).await {
                    println!("{report}");
                    failed.lock().unwrap().push(first + n);
                }
                if n % 500 == 499 {
                    println!("{} sequences in {:?}", n + 1, started.elapsed());
                }
            }
        })
    };
    let running: Vec<_> = (0..workers.min(count)).map(|_| worker()).collect();
    for worker in running {
        worker.await.unwrap();
    }
    println!("{count} sequences from seed {first} in {:?}", started.elapsed());
    assert_eq!(*failed.lock().unwrap(), Vec::<u64>::new(), "these seeds failed");
}

/// One sequence.
///
/// # Errors
/// What went wrong, with everything that leads there again.
async fn run(ground: &Arc<Ground>, seed: u64, besides: Besides) -> Result<(), String> {
    let (start, operations) = sequence(seed, besides, tables().len());
    let length = number("RETELL_VAULT_TEST_OPERATIONS").map_or(operations.len(), |length| length as usize);
    let log = Arc::new(Mutex::new(vec![format!("{start:?}")]));
    let (task_ground, task_log) = (ground.clone(), log.clone());
    let task = tokio::spawn(async move {
        let operations = &operations[..length.min(operations.len())];
        run_sequence(&task_ground, &start, operations, task_log).await;
    });
    task.await.map_err(|failure| {
        let log = log.lock().unwrap().join("\n");
        let reason = reason(failure.into_panic().as_ref());
        format!("{log}\n--- {reason}\n--- RETELL_VAULT_TEST_SEED={seed} RETELL_VAULT_TEST_SEQUENCES=1, besides: {besides:?}")
    })
}

fn reason(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

async fn run_sequence(
    ground: &Ground,
    start: &Start,
    operations: &[Operation],
    log: Arc<Mutex<Vec<String>>>,
) {
    let mut world = World::new(ground, start, log).await;
    for (number, operation) in operations.iter().enumerate() {
        world.say(format!("{number}. {operation:?}"));
        let hosts = world.hosts.len();
        assert!(hosts > 1);
        world.run(operation).await;
    }
    world.say("the end".to_owned());
    end(&mut world).await;
}

/// Everything is brought back, what waits is pushed, and all hosts agree on what is there; also under a new key, after
/// the old ones were destroyed.
async fn end(world: &mut World<'_>) {
    let hosts = 0..world.hosts.len();
    world.rename_column_back().await;
    for h in hosts.clone() {
        world.outage_ends(h).await;
        world.restart(h).await;
    }
    if world.was_renamed {
        // else half a record, which nobody can open, would keep out what waits
        for o in 0..OWNERS {
            world.store_over_leftovers(o).await;
        }
        world.was_renamed = false;
        world.is_narrow = false;
    }
    all_load(world).await;
    for h in hosts.clone() {
        world.sync(h).await;
        let local = world.vault(h).status().await.unwrap().local.unwrap();
        assert_eq!((local.pending, local.set_aside.len()), (0, 0), "host {h}");
    }
    all_agree(world).await;
    promote(&world.folder).await;
    for h in hosts.clone() {
        world.turn_clock(h, -world.minutes(h));
        world.restart(h).await;
    }
    world.destroy_old_keys(0).await;
    for h in hosts.clone() {
        world.restart(h).await;
        drop(world.kept(h).await);
    }
    all_agree(world).await;
    let diagnosis = world.vault(0).doctor(&DoctorOptions::new().deep(), |_| {}).await.unwrap();
    let critical = diagnosis.findings.iter().filter(|finding| finding.severity == Severity::Critical);
    assert_eq!(critical.map(|finding| finding.id).collect::<Vec<_>>(), [] as [&str; 0]);
    let table: Option<String> = sqlx::query_scalar("SELECT string_agg(t::text, ' ') FROM user_profiles AS t")
        .fetch_one(&world.ground.admin)
        .await
        .unwrap();
    assert_no_secret(table.unwrap_or_default().as_bytes(), "the table");
    assert_no_secret(&world.folder.files(), "the local files");
}

async fn all_load(world: &mut World<'_>) {
    for h in 0..world.hosts.len() {
        for o in 0..OWNERS {
            let loaded = world.vault(h).load(&who(o)).await;
            world.note_load(h, o, loaded);
        }
    }
}

/// Twice, since the first answers have narrowed what is allowed.
async fn all_agree(world: &mut World<'_>) {
    all_load(world).await;
    all_load(world).await;
    for (o, possible) in world.model.owners.iter().enumerate() {
        let records =
            possible.row.iter().filter(|row| matches!(row, Row::Holds(id) if !world.model.is_tombstone(*id)));
        assert!(records.count() <= 1, "owner {o}: {:?}", possible.row);
    }
}
