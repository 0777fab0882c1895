//! Consideration for others: pauses, and how they end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retell_vault::rotation::RotateEvent;

use crate::support::role::Role;
use crate::support::rotation::*;
use crate::support::rows::table;
use crate::support::vaults::*;

const USERS: usize = 12;

#[tokio::test]
async fn no_replica_is_never_behind() {
    let stage = Stage::on(ALL_COLUMNS, USERS).await;
    // without pg_monitor, which is of no matter as long as there is nothing to see
    let role = Role::create(&stage.db, "GRANT SELECT, UPDATE ON user_profiles TO guest").await;
    let vault = stage.vault_at(0, &role.url).await;
    let (rotation, _) = rotate(&vault, &small().max_replica_lag(1)).await.unwrap();
    assert!(rotation.complete, "{rotation:?}");
    stage.all_load().await;
}

/// No read is that fast.
#[tokio::test]
async fn it_waits_for_as_long_as_reads_are_slow_and_can_be_dropped() {
    let stage = Stage::on(ALL_COLUMNS, USERS).await;
    let vault = stage.vault(0).await;
    let before = table(&stage.db, "user_profiles").await;
    let paused = AtomicU32::new(0);
    let options = small().max_latency(Duration::ZERO);
    let waiting = vault.rotate(&options, |event| {
        if let RotateEvent::Paused(reason) = event {
            assert!(reason.contains("a read takes"), "{reason}");
            paused.fetch_add(1, Ordering::Relaxed);
        }
    });
    let enough = crate::support::faults::until(async || paused.load(Ordering::Relaxed) >= 3);
    tokio::select! {
        ended = waiting => panic!("it did not wait: {ended:?}"),
        () = enough => {}
    }
    assert_eq!(table(&stage.db, "user_profiles").await, before);
    // nobody waits any more, and nobody writes
    let (rotation, _) = rotate(&vault, &small().max_latency(Duration::from_secs(3600))).await.unwrap();
    assert!(rotation.complete, "{rotation:?}");
    assert_eq!(rotation.progress.resealed, USERS as u64);
    stage.all_load().await;
}
