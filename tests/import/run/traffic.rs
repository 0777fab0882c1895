//! An import while the service and its old code go on writing: nothing is lost, and nothing stale wins.
//!
//! `RETELL_VAULT_TEST_IMPORT_ROWS=100000` runs a longer campaign.

use std::collections::HashMap;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::RngExt;
use retell_vault::config::import::{ImportOptions, Passwords};
use retell_vault::{ErrorKind, Layout, RetellConfig, Vault};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::support::*;
use crate::support::faults::{Lock, until_waiting};
use crate::support::vaults::*;

const WRITERS: usize = 4;

/// What an owner's old column and record must say at the end.
#[derive(Clone)]
struct Truth {
    old: String,
    /// The key of the last save. `Some(None)`: the record was deleted.
    saved: Option<Option<String>>,
}

fn sources() -> Layout {
    layout([column("old", "key", "api_key"), column("old", "agent", "call_agent_id")])
}

fn rows() -> usize {
    env::var("RETELL_VAULT_TEST_IMPORT_ROWS").map_or(2_000, |rows| rows.parse().unwrap())
}

/// Saves, changes, deletes, and writes old columns. Each owner has one writer, so the last write is the newest.
async fn write(
    vault: Vault,
    url: String,
    mut owners: HashMap<usize, Truth>,
    stop: Arc<AtomicBool>,
) -> HashMap<usize, Truth> {
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut numbers: Vec<usize> = owners.keys().copied().collect();
    numbers.sort_unstable();
    let mut step = 0;
    while !stop.load(Ordering::Relaxed) {
        step += 1;
        let number = numbers[rand::rng().random_range(0..numbers.len())];
        let (who, truth) = (owner(&format!("user-{number}")), owners.get_mut(&number).unwrap());
        let choice = rand::rng().random_range(0..10);
        match choice {
            0..3 => {
                let key = format!("key_test_saved_{number}_{step}");
                vault.store(&who, &RetellConfig::new(key.parse().unwrap())).await.unwrap();
                truth.saved = Some(Some(key));
            }
            3 => {
                let agent = format!("agent_test_changed_{number}_{step}").parse().unwrap();
                let mut before = None;
                let changed = vault.modify(&who, |config| {
                    before = Some(key(config));
                    config.set_sms_agent_id(Some(Clone::clone(&agent)));
                    Ok(())
                });
                match changed.await {
                    Ok(_) => truth.saved = Some(before),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
                }
            }
            4 => match vault.delete(&who).await {
                Ok(_) => truth.saved = Some(None),
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
            },
            _ => {
                truth.old = format!("key_test_old_{number}_{step}");
                let sql = format!("UPDATE old SET key = '{}' WHERE user_id = '{who}'", truth.old);
                sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            }
        }
    }
    owners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_others_write_nothing_is_lost_and_nothing_stale_wins() {
    let rows = rows();
    let tables = format!(
        "CREATE TABLE old (user_id text PRIMARY KEY, key text, agent text);
        INSERT INTO old SELECT 'user-' || n, 'key_test_first_' || n, 'agent_test_' || n FROM generate_series(0, {rows} - 1) n;
        INSERT INTO records SELECT user_id FROM old WHERE length(user_id) % 2 = 0"
    );
    let scene = Scene::new(&tables, sources()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let vault = scene.hosts.host(writer + 1, &scene.db.url).layout(sources()).build().await.unwrap();
        let truth = |number| Truth { old: format!("key_test_first_{number}"), saved: None };
        let owners = (writer..rows).step_by(WRITERS).map(|number| (number, truth(number)));
        writers.push(tokio::spawn(write(vault, scene.db.url.clone(), owners.collect(), stop.clone())));
    }
    let other = scene.hosts.host(9, &scene.db.url).layout(sources()).build().await.unwrap();
    let (none, options) = (Passwords::new(), ImportOptions::new().clear_source());
    let mut sealed = 0;
    for _ in 0..3 {
        let run = |vault: Vault| {
            let (none, options) = (none.clone(), options.clone());
            async move { vault.import(&none, &options, |_| Ok(())).await.unwrap() }
        };
        let (one, two) = tokio::join!(run(scene.vault.clone()), run(other.clone()));
        sealed += one.progress.sealed + two.progress.sealed;
    }
    stop.store(true, Ordering::Relaxed);
    let mut truths = HashMap::new();
    for writer in writers {
        truths.extend(writer.await.unwrap());
    }
    scene.import_and_clear().await;
    let last = scene.import_and_clear().await;
    assert_eq!((last.progress.sealed, last.progress.cleared), (0, 0), "nothing is left to do");
    assert!(sealed >= rows as u64 / 2, "{sealed} of {rows} owners were imported under traffic");

    let mut connection = PgConnection::connect(&scene.db.url).await.unwrap();
    let left = sqlx::query_as::<_, (String, String)>("SELECT user_id, key FROM old WHERE key IS NOT NULL");
    let left: HashMap<String, String> = left.fetch_all(&mut connection).await.unwrap().into_iter().collect();
    let listed: Vec<&str> = last.disagreed.iter().map(|found| found.user.as_str()).collect();
    let (mut saved, mut imported) = (0, 0);
    for (number, truth) in truths {
        let user = format!("user-{number}");
        let now = scene.loaded(&user, "api_key").await;
        match &truth.saved {
            Some(key) => assert_eq!(now, *key, "{user}: the last save wins"),
            None => assert_eq!(now.as_ref(), Some(&truth.old), "{user}: the last old value is sealed"),
        }
        saved += u64::from(truth.saved.is_some());
        imported += u64::from(truth.saved.is_none());
        match left.get(&user) {
            Some(old) => assert!(
                *old == truth.old && Some(old) != now.as_ref() && listed.contains(&user.as_str()),
                "{user}: what is left is the last old value, and listed"
            ),
            None => assert!(truth.saved.is_some() || now.as_ref() == Some(&truth.old), "{user}"),
        }
    }
    assert!(saved > 20 && imported > 20, "{saved} {imported}");
}

/// The old values are read before the record. In between, another import may store a later value and clear it.
#[tokio::test]
async fn a_value_that_was_read_before_another_import_stored_a_later_one_does_not_win() {
    let scene = Scene::new(
        "CREATE TABLE old (user_id text PRIMARY KEY, key text, agent text); INSERT INTO old VALUES ('user-1', 'key_test_later')",
        sources(),
    )
    .await;
    scene.import_and_clear().await;
    let later = "UPDATE records SET encrypted_agent_config = kept.encrypted_agent_config FROM kept";
    scene.db.exec("CREATE TABLE kept AS SELECT * FROM records; DELETE FROM records").await;
    scene.db.exec("INSERT INTO records VALUES ('user-1'); UPDATE old SET key = 'key_test_earlier'").await;

    let lock = format!("BEGIN; LOCK records; UPDATE old SET key = NULL; {later}");
    let vault = scene.vault.clone();
    let lock = Lock::by(&scene.db.url, &lock).await;
    let import = tokio::spawn(async move {
        vault.import(&Passwords::new(), &ImportOptions::new(), |_| Ok(())).await.unwrap()
    });
    until_waiting(&scene.db.url, 1).await;
    lock.release().await;
    let report = import.await.unwrap();
    assert_eq!(scene.loaded("user-1", "api_key").await.as_deref(), Some("key_test_later"), "{report:?}");
    assert_eq!(report.progress.sealed, 0);
    assert_eq!(named(&report.failed).len(), 1, "{report:?}");
}
