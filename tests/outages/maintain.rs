//! The background work of a service: what it does, what it says, and how it ends.

use std::time::{Duration, Instant};

use retell_vault::connection::KeyringTable;
use retell_vault::records::Source;
use retell_vault::sync::{Maintenance, Schedule};
use retell_vault::{ErrorKind, Vault};

use crate::support::faults::*;
use crate::support::in_table::*;
use crate::support::vaults::*;
use crate::support::{CutProxy, Mode, TestDb};

fn often() -> Schedule {
    let pause = Duration::from_millis(50);
    Schedule::new().sync_every(pause).health_every(pause)
}

async fn until_ended(maintenance: &Maintenance) {
    until(async || !maintenance.is_running()).await;
}

/// A keyring in the database, and a vault with a local file over a proxy.
async fn replica(stage: &Stage, folder: &tempfile::TempDir, proxy: &CutProxy) -> Vault {
    let keyring = KeyringTable::postgres(proxy.url()).unwrap().open(&stage.pin, &wrapping_key()).await;
    let builder = Vault::builder(keyring.unwrap()).postgres(proxy.url()).timeouts(QUICK);
    builder.local_file(folder.path().join("home/local.db")).build().await.unwrap()
}

#[tokio::test]
async fn it_survives_an_outage_and_says_how_each_job_went() {
    let (stage, folder) = (Stage::new().await, tempfile::tempdir().unwrap());
    let proxy = CutProxy::start(&stage.db.url).await;
    let vault = replica(&stage, &folder, &proxy).await;
    let maintenance = vault.maintain(often());
    until(async || maintenance.state().health.last.is_some_and(|(_, status)| status.is_ok())).await;
    let state = maintenance.state();
    assert!(state.health.last_error.is_none() && state.sync.last_error.is_none(), "{state:?}");

    proxy.set(Mode::Refuse).await;
    assert!(vault.store(&owner("user-1"), &full_config(1)).await.unwrap().degraded.is_some());
    until(async || {
        let state = maintenance.state();
        state.sync.failed_in_a_row > 1 && state.health.failed_in_a_row > 1
    })
    .await;
    let state = maintenance.state();
    for (_, error) in [state.sync.last_error.unwrap(), state.health.last_error.unwrap()] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    }

    proxy.set(Mode::Pass).await;
    until(async || {
        let state = maintenance.state();
        local(&vault).await.pending == 0 && state.sync.failed_in_a_row + state.health.failed_in_a_row == 0
    })
    .await;
    assert_eq!(vault.load(&owner("user-1")).await.unwrap().source, Source::Database);
    let state = maintenance.state();
    assert!(state.sync.last.unwrap().1.unwrap().stopped.is_none());
    assert!(state.sync.last_error.is_some() && state.health.last_error.is_some(), "they are remembered");
    assert!(maintenance.is_running());
    vault.close().await;
    until_ended(&maintenance).await;
}

#[tokio::test]
async fn a_stop_waits_for_what_runs_and_starts_nothing() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let proxy = CutProxy::start(&db.url).await;
    let vault = hosts.host(0, proxy.url()).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config("old")).await.unwrap();
    proxy.set(Mode::Refuse).await;
    assert!(vault.store(&owner("user-1"), &full_config("new")).await.unwrap().degraded.is_some());
    proxy.set(Mode::Pass).await;
    let lock = Lock::on_row(&db.url, "user-1").await;
    let maintenance = vault.maintain(often());
    until_waiting(&db.url, 1).await;
    // a sync that waits keeps no other job from its work
    let before = maintenance.state().health.last.map(|(at, _)| at);
    until(async || maintenance.state().health.last.map(|(at, _)| at) > before).await;

    let stopped = async {
        maintenance.stop().await;
        Instant::now()
    };
    let released = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let at = Instant::now();
        lock.release().await;
        at
    };
    let (stopped, released) = tokio::join!(stopped, released);
    assert!(stopped > released, "the sync was cut off");
    assert_eq!(maintenance.state().sync.last.unwrap().1.unwrap().pushed, 1);
    until_ended(&maintenance).await;
    maintenance.stop().await;

    proxy.set(Mode::Refuse).await;
    vault.store(&owner("user-1"), &full_config("last")).await.unwrap();
    proxy.set(Mode::Pass).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(local(&vault).await.pending, 1, "a stopped handle syncs no more");
}

#[tokio::test]
async fn it_ends_when_it_is_dropped_and_keeps_no_vault_alive() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let proxy = CutProxy::start(&db.url).await;
    let vault = hosts.host(0, proxy.url()).timeouts(QUICK).build().await.unwrap();
    drop(vault.maintain(often()));
    proxy.set(Mode::Refuse).await;
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    proxy.set(Mode::Pass).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(local(&vault).await.pending, 1);

    let maintenance = vault.maintain(often());
    drop(vault);
    until_ended(&maintenance).await;
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'retell-vault'";
    until(async || number(&db.url, sessions).await == 0).await;
}

/// The generation that the only host notes.
async fn noted(stage: &Stage) -> i64 {
    number(&stage.db.url, "SELECT max(generation) FROM retell_vault.hosts").await
}

/// While a handle works, its task writes the note, and knows of each. Before and after, the vault does it itself: a process
/// without a note would not keep its key from being destroyed.
#[tokio::test]
async fn the_host_is_noted_with_a_handle_and_without() {
    let stage = Stage::new().await;
    let vault = stage.replica().await;
    let add = async || {
        let generation = noted(&stage).await + 1;
        stage.open().await.unwrap().add_key().await.unwrap();
        seal(&vault, "user-1").await.unwrap();
        until(async || noted(&stage).await == generation).await;
        generation as u64
    };
    let maintenance = vault.maintain(often());
    let generation = add().await;
    until(async || {
        let state = maintenance.state().host_note;
        state.last.is_some_and(|(_, noted)| noted.unwrap() == generation)
    })
    .await;
    maintenance.stop().await;
    add().await;
    drop(vault.maintain(often()));
    add().await;
    vault.close().await;
    assert_eq!(number(&stage.db.url, "SELECT count(*) FROM retell_vault.hosts").await, 0);
}

#[tokio::test]
async fn a_role_that_may_not_note_its_host_serves_and_says_so() {
    let stage = Stage::new().await;
    let role = crate::support::role::Role::create(
        &stage.db,
        "GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest",
    )
    .await;
    stage.table().create(std::slice::from_ref(&role.name)).await.unwrap();
    exec(&stage.db.url, &format!("REVOKE ALL ON retell_vault.hosts FROM {}", role.name)).await;
    let keyring = KeyringTable::postgres(&role.url).unwrap().open(&stage.pin, &wrapping_key()).await.unwrap();
    let vault = Vault::builder(keyring).postgres(&role.url).build().await.unwrap();
    let maintenance = vault.maintain(often());
    stage.open().await.unwrap().add_key().await.unwrap();
    seal(&vault, "user-1").await.unwrap();
    until(async || maintenance.state().host_note.failed_in_a_row > 0).await;
    let (_, error) = maintenance.state().host_note.last_error.unwrap();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error:?}");
    vault.close().await;
}

/// Replicas write their notes at the same time, and each removes what killed ones left. None needs to be the leader.
#[tokio::test]
async fn notes_of_killed_processes_are_removed_and_nobody_waits_for_that() {
    let stage = Stage::new().await;
    let dead = "INSERT INTO retell_vault.hosts SELECT 'dead-' || n, 1, now() - interval '25 hours'
        FROM generate_series(1, 150) n;
        INSERT INTO retell_vault.hosts VALUES ('killed', 1, now() - interval '23 hours')";
    exec(&stage.db.url, dead).await;
    // a session that holds one of them, as another replica does for a moment
    let lock =
        Lock::by(&stage.db.url, "BEGIN; SELECT * FROM retell_vault.hosts WHERE host = 'dead-1' FOR UPDATE");
    let lock = lock.await;
    let replicas = futures_util::future::join_all((0..6).map(|_| stage.replica())).await;
    let left = async |name: &str| {
        let sql = format!("SELECT count(*) FROM retell_vault.hosts WHERE host LIKE '{name}'");
        number(&stage.db.url, &sql).await
    };
    assert_eq!((left("dead-%").await, left("killed").await, left("%:%").await), (1, 1, 6));
    lock.release().await;
    let maintained: Vec<_> = replicas.iter().map(|vault| vault.maintain(often())).collect();
    stage.open().await.unwrap().add_key().await.unwrap();
    let sealed = replicas.iter().map(|vault| seal(vault, "user-1"));
    futures_util::future::try_join_all(sealed).await.unwrap();
    until(async || left("dead-%").await == 0).await;
    assert!(maintained.iter().all(|maintenance| maintenance.state().host_note.last_error.is_none()));
    futures_util::future::join_all(replicas.iter().map(Vault::close)).await;
    assert_eq!((left("killed").await, left("%:%").await), (1, 0));
}
