//! What a verification found is accepted as the new truth, and then no alarm any more; what comes later is one.

use retell_vault::ErrorKind;
use retell_vault::ledger::LedgerCopies;

use crate::Stage;
use crate::support::vaults::*;

#[tokio::test]
async fn a_restored_backup_is_accepted_and_the_next_one_is_found_again() {
    let stage = Stage::begun().await;
    let vault = &stage.vault;
    for user in ["ann", "ben", "cid", "dan"] {
        stage.store(user).await;
    }
    vault.delete(&owner("dan")).await.unwrap();
    stage.back_up().await;
    // ann and cid change, eve is new, dan lives again and ben is deleted
    vault.store(&owner("ann"), &full_config("later")).await.unwrap();
    vault.store(&owner("dan"), &full_config("again")).await.unwrap();
    stage.store("eve").await;
    vault.delete(&owner("ben")).await.unwrap();
    stage.restore().await;
    stage.db.exec("UPDATE retell_vault.ledger SET actor = 'mallory' WHERE usr = 'cid'").await;

    // with what this host's process and another one wrote
    let again = async |host| stage.hosts.host(host, &stage.db.url).build().await.unwrap();
    vault.close().await;
    let operator = again(0).await;
    let none = LedgerCopies::new();
    let found = operator.verify_ledger(&none).await.unwrap();
    assert!(found.names_complete && found.missing_entries > 0, "{found:?}");
    assert_eq!((found.went_back.len(), found.vanished.len(), found.altered.len()), (3, 1, 1), "{found:?}");
    let error = operator.as_actor("ops", Some(" "), None).accept_ledger(&none).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let done =
        operator.as_actor("ops", Some("a backup was restored"), None).accept_ledger(&none).await.unwrap();
    assert_eq!((done.stored, done.gone), (4, 1), "{done:?}");
    assert!(done.left.is_empty() && done.ranges >= 2, "{done:?}");
    let found = operator.verify_ledger(&none).await.unwrap();
    assert!(found.is_unbroken(), "{found:?}");
    assert_eq!((found.missing_entries, found.accepted), (0, done.ranges));

    // the records are those of the backup
    let loaded = operator.load(&owner("ann")).await.unwrap();
    assert_eq!(loaded.config.api_key(), full_config("ann").api_key());
    operator.load(&owner("ben")).await.unwrap();
    for gone in ["dan", "eve"] {
        assert_eq!(operator.load(&owner(gone)).await.unwrap_err().kind(), ErrorKind::NotFound, "{gone}");
    }
    let other = again(5).await;
    let found = other.verify_ledger(&none).await.unwrap();
    assert!(found.is_unbroken(), "{found:?}");

    // what is done after it is found
    other.store(&owner("fay"), &full_config("fay")).await.unwrap();
    other.store(&owner("gus"), &full_config("gus")).await.unwrap();
    stage.db.exec("DELETE FROM retell_vault.ledger WHERE usr = 'fay'").await;
    let unnoticed = "SET session_replication_role = replica; DELETE FROM user_profiles WHERE user_id = 'ann'";
    stage.db.exec(unnoticed).await;
    let found = other.verify_ledger(&none).await.unwrap();
    assert_eq!((found.missing_entries, found.vanished.len()), (1, 1), "{found:?}");
    // an accepted number that holds an entry again is nothing new, and one that was not accepted is
    stage.db.exec("DELETE FROM retell_vault.ledger WHERE op = 'accept' AND detail IS NOT NULL").await;
    let found = operator.verify_ledger(&none).await.unwrap();
    assert!(found.altered.len() == 1 && found.missing_entries > 2, "{found:?}");
}

#[tokio::test]
async fn a_record_that_does_not_open_is_left() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    let tamper =
        "UPDATE user_profiles SET encrypted_call_agent_id = left(encrypted_call_agent_id, -6) || 'AAAAAA'";
    stage.store("ben").await;
    stage.db.exec(&format!("{tamper} WHERE user_id = 'ann'")).await;
    let done =
        stage.vault.as_actor("ops", Some("a test"), None).accept_ledger(&LedgerCopies::new()).await.unwrap();
    assert_eq!((done.left, done.stored, done.gone), (vec![owner("ann")], 0, 0));
    let found = stage.verify().await;
    assert_eq!((found.is_unbroken(), found.unreadable.len()), (false, 1), "{found:?}");
}

/// Anyone who may add entries can write one that accepts everything.
#[tokio::test]
async fn an_acceptance_that_no_key_made_accepts_nothing() {
    let stage = Stage::begun().await;
    for user in ["ann", "ben", "cid"] {
        stage.store(user).await;
    }
    let forged =
        "INSERT INTO retell_vault.ledger (writer, seq, epoch, settled, head, at_ms, op, place, detail, mac)
        SELECT {WRITER}, {SEQ}, epoch, settled, head, at_ms, 'accept', place,
        '{\"accepted\":[[\"' || writer || '\",1,100]]}', mac FROM retell_vault.ledger WHERE usr = 'cid'";
    for (writer, seq) in [("gen_random_uuid()", "1"), ("writer", "seq + 1")] {
        stage.db.exec(&forged.replace("{WRITER}", writer).replace("{SEQ}", seq)).await;
    }
    stage.db.exec("DELETE FROM retell_vault.ledger WHERE usr = 'ben'").await;
    let found = stage.verify().await;
    assert_eq!((found.accepted, found.missing_entries, found.altered.len()), (0, 1, 2), "{found:?}");
}

#[tokio::test]
async fn many_gaps_are_accepted_at_once() {
    let stage = Stage::begun().await;
    let many: Vec<_> = (0..500).map(|n| (owner(&format!("user-{n}")), full_config(n))).collect();
    stage.vault.store_many(&many).await.unwrap().into_iter().for_each(|stored| drop(stored.unwrap()));
    stage.store("last").await;
    stage.db.exec("DELETE FROM retell_vault.ledger WHERE seq % 2 = 0").await;
    let ops = stage.vault.as_actor("ops", Some("a test"), None);
    let done = ops.accept_ledger(&LedgerCopies::new()).await.unwrap();
    assert!(done.ranges > 200, "{done:?}");
    let found = stage.verify().await;
    assert!(found.is_unbroken() && found.accepted == done.ranges, "{found:?}");
}
