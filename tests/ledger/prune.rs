//! Entries of writers that ended are removed below a checkpoint, and nothing of that is an alarm.

use std::time::{Duration, SystemTime};

use retell_vault::ledger::{LedgerCopies, LedgerSigningKey};
use retell_vault::{ErrorKind, Vault};

use crate::Stage;
use crate::support::faults::number;
use crate::support::role::Role;
use crate::support::vaults::*;

/// A checkpoint of now, with those before it.
async fn checkpoint(vault: &Vault, copies: &mut LedgerCopies, key: &LedgerSigningKey) {
    let made = vault.checkpoint_ledger(copies, key).await.unwrap();
    copies.add_checkpoint(&made.note, &key.verifying_text()).unwrap();
}

/// After everything that has arrived by now.
fn now() -> SystemTime {
    SystemTime::now() + Duration::from_secs(60)
}

#[tokio::test]
async fn what_ended_below_a_checkpoint_is_removed_and_every_owner_keeps_an_entry() {
    let (stage, key) = (Stage::begun().await, LedgerSigningKey::generate().unwrap());
    for id in ["ann", "ben", "cid", "dan", "left"] {
        stage.store(id).await;
    }
    stage.vault.delete(&owner("ben")).await.unwrap();
    stage.db.exec("DELETE FROM user_profiles WHERE user_id = 'left'").await;
    let second = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    second.store(&owner("ann"), &full_config("ann-2")).await.unwrap();
    second.store(&owner("eve"), &full_config("eve")).await.unwrap();
    second.close().await;
    // the newest entry of an owner whose row is gone is that of a writer that is removed, and an older one stays
    let third = stage.hosts.host(2, &stage.db.url).build().await.unwrap();
    third.store(&owner("gone"), &full_config("gone")).await.unwrap();
    third.store(&owner("dan"), &full_config("dan-3")).await.unwrap();
    third.store(&owner("kept"), &full_config("kept")).await.unwrap();
    stage.db.exec("DELETE FROM user_profiles WHERE user_id = 'kept'").await;
    stage.vault.delete(&owner("gone")).await.unwrap();
    stage.vault.close().await;
    stage
        .db
        .exec("SET session_replication_role = replica; DELETE FROM user_profiles WHERE user_id = 'gone'")
        .await;

    let operator = stage.hosts.host(3, &stage.db.url).build().await.unwrap();
    let operator = operator.as_actor("ops", Some("six years are over"), None);
    let mut copies = LedgerCopies::new();
    let refused = operator.prune_ledger(&copies, now()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    checkpoint(&operator, &mut copies, &key).await;
    let early = SystemTime::now() - Duration::from_secs(3600);
    assert_eq!(operator.prune_ledger(&copies, early).await.unwrap(), Default::default());

    // the third writer goes on after the checkpoint, so it stays
    third.store(&owner("fay"), &full_config("fay")).await.unwrap();
    third.close().await;
    let before = stage.entries().await;
    let done = operator.prune_ledger(&copies, now()).await.unwrap();
    assert_eq!(done.writers, 2, "{done:?}");
    // ann, ben (deleted), cid, eve, and gone
    assert_eq!(done.noted, 5, "{done:?}");
    // that of left; the entry of kept is still there
    assert_eq!(done.removals, 1, "{done:?}");
    let notes = "SELECT count(*) FROM retell_vault.removed";
    assert_eq!(number(&stage.db.url, notes).await, 1);
    assert_eq!(stage.entries().await, before - done.entries as i64 + 5 + 1);

    for copies in [&LedgerCopies::new(), &copies] {
        let found = operator.verify_ledger(copies).await.unwrap();
        assert!(found.is_unbroken() && found.pruned == 2 && found.accepted == 0, "{found:?}");
        assert_eq!(found.removed.len(), 2, "{found:?}");
    }
    // the local file of the host that wrote has copies of what was removed
    let writer = stage.hosts.host(0, &stage.db.url).build().await.unwrap();
    let found = writer.verify_ledger(&LedgerCopies::new()).await.unwrap();
    assert!(found.is_unbroken() && found.names_complete, "{found:?}");
    checkpoint(&operator, &mut copies, &key).await;
    let again = operator.prune_ledger(&copies, early).await.unwrap();
    assert_eq!(again, Default::default(), "what prunes is never pruned");

    // what happens afterwards is found
    stage
        .db
        .exec("SET session_replication_role = replica; DELETE FROM user_profiles WHERE user_id = 'cid'")
        .await;
    let found = operator.verify_ledger(&copies).await.unwrap();
    assert_eq!(found.vanished.len(), 1, "{found:?}");
    let refused = operator.prune_ledger(&copies, now()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LedgerBroken);
}

/// A call that is cut off, or may not delete, leaves a ledger that is whole, and the next one completes it.
#[tokio::test]
async fn a_prune_that_fails_half_way_is_no_alarm_and_is_completed() {
    let (stage, key) = (Stage::begun().await, LedgerSigningKey::generate().unwrap());
    for id in ["ann", "ben"] {
        stage.store(id).await;
    }
    stage.vault.close().await;
    let operator = stage.hosts.host(3, &stage.db.url).build().await.unwrap();
    let mut copies = LedgerCopies::new();
    checkpoint(&operator, &mut copies, &key).await;
    let role = Role::create(
        &stage.db,
        "GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest; GRANT USAGE ON SCHEMA retell_vault TO guest;
        GRANT SELECT, INSERT ON retell_vault.ledger TO guest; GRANT SELECT ON retell_vault.removed TO guest",
    )
    .await;
    let weak = stage.hosts.host(4, &role.url).build().await.unwrap();
    let refused = weak.prune_ledger(&copies, now()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AccessDenied, "{refused}");
    stage.db.exec("DELETE FROM retell_vault.ledger WHERE usr = 'ann' AND op = 'store'").await;
    let found = operator.verify_ledger(&copies).await.unwrap();
    assert!(found.is_unbroken() && found.pruned == 1, "{found:?}");
    let done = operator.prune_ledger(&copies, now()).await.unwrap();
    assert_eq!((done.writers, done.noted), (1, 0), "the refused call had noted the owners: {done:?}");
    let stores = "SELECT count(*) FROM retell_vault.ledger WHERE op = 'store'";
    assert_eq!(number(&stage.db.url, stores).await, 0);
    let found = operator.verify_ledger(&copies).await.unwrap();
    assert!(found.is_unbroken() && found.owners == 2, "{found:?}");
}
