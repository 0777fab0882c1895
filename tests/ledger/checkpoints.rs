//! Checkpoints: what was signed cannot go back unnoticed, and nothing is signed over a ledger that is not whole.

use retell_vault::ErrorKind;
use retell_vault::ledger::{LedgerCopies, LedgerSigningKey};

use crate::Stage;

/// The copies with these checkpoints.
fn with(notes: &[String], key: &LedgerSigningKey) -> LedgerCopies {
    let mut copies = LedgerCopies::new();
    for note in notes {
        copies.add_checkpoint(note, &key.verifying_text()).unwrap();
    }
    copies
}

#[tokio::test]
async fn a_checkpoint_shows_that_the_ledger_went_back_and_is_not_signed_after_it() {
    let (stage, key) = (Stage::begun().await, LedgerSigningKey::generate().unwrap());
    // an operator with a file of their own
    let operator = stage.hosts.host(7, &stage.db.url).build().await.unwrap();
    stage.store("ann").await;
    let first = operator.checkpoint_ledger(&LedgerCopies::new(), &key).await.unwrap();
    assert_eq!((first.number, first.entries, first.writers, first.heads), (1, 1, 1, 1));
    assert_eq!(first.name(), "checkpoint-000000000001.note");
    let mut notes = vec![first.note];
    stage.back_up().await;

    // only what changed is in the next one
    let idle = operator.checkpoint_ledger(&with(&notes, &key), &key).await.unwrap();
    assert_eq!((idle.number, idle.heads), (2, 0));
    notes.push(idle.note);
    stage.store("ben").await;
    let third = operator.checkpoint_ledger(&with(&notes, &key), &key).await.unwrap();
    assert_eq!((third.number, third.entries, third.heads), (3, 2, 1));
    notes.push(third.note);
    let found = operator.verify_ledger(&with(&notes, &key)).await.unwrap();
    assert!(found.is_unbroken(), "{found:?}");
    assert_eq!(found.anchors, 2);

    stage.restore().await;
    assert!(operator.verify_ledger(&LedgerCopies::new()).await.unwrap().is_unbroken());
    assert!(operator.verify_ledger(&with(&notes[..2], &key)).await.unwrap().is_unbroken());
    let found = operator.verify_ledger(&with(&notes, &key)).await.unwrap();
    assert_eq!((found.missing_entries, found.ledger_went_back.len()), (1, 1), "{found:?}");
    assert!(!found.names_complete && !found.is_unbroken());
    let refused = operator.checkpoint_ledger(&with(&notes, &key), &key).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LedgerBroken);
}

#[tokio::test]
async fn checkpoints_follow_each_other_and_are_signed_by_one_key() {
    let (stage, key) = (Stage::begun().await, LedgerSigningKey::generate().unwrap());
    let mut notes = Vec::new();
    for user in ["ann", "ben", "cid"] {
        stage.store(user).await;
        notes.push(stage.vault.checkpoint_ledger(&with(&notes, &key), &key).await.unwrap().note);
    }
    let verifying = key.verifying_text();
    let other = LedgerSigningKey::generate().unwrap().verifying_text();
    let kind = |notes: &[&str], key: &str| {
        let mut copies = LedgerCopies::new();
        let added: Result<(), _> = notes.iter().try_for_each(|note| copies.add_checkpoint(note, key));
        added.map_err(|error| error.kind())
    };
    let [first, second, third] = [&notes[0], &notes[1], &notes[2]].map(String::as_str);
    assert_eq!(kind(&[first, second, third], &verifying), Ok(()));
    for wrong in [&[second][..], &[first, third], &[first, first], &[first, second, first]] {
        assert_eq!(kind(wrong, &verifying), Err(ErrorKind::LedgerBroken));
    }
    assert_eq!(kind(&[first], &other), Err(ErrorKind::LedgerBroken));
    assert_eq!(kind(&[&first.replace("entries 1", "entries 2")], &verifying), Err(ErrorKind::LedgerBroken));
    assert_eq!(kind(&[first], "no key"), Err(ErrorKind::InvalidInput));
}

/// Records that differ do not keep a checkpoint back; entries that are gone do.
#[tokio::test]
async fn only_a_whole_ledger_is_signed() {
    let (stage, key) = (Stage::begun().await, LedgerSigningKey::generate().unwrap());
    stage.store("ann").await;
    stage.store("ben").await;
    stage.store("cid").await;
    stage.db.exec("DELETE FROM user_profiles WHERE user_id = 'ann'").await;
    let made = stage.vault.checkpoint_ledger(&LedgerCopies::new(), &key).await.unwrap();
    assert_eq!(made.entries, 3);
    stage.db.exec("DELETE FROM retell_vault.ledger WHERE usr = 'ben'").await;
    let refused = stage.vault.checkpoint_ledger(&LedgerCopies::new(), &key).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LedgerBroken);
}
