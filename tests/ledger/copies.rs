//! What lies outside of the database shows that all of it went back, and whom that concerns.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use retell_vault::ErrorKind;
use retell_vault::ledger::{CheckpointSink, FolderSink, LedgerCopies, LedgerDifference, LedgerVerification};

use crate::Stage;
use crate::support::vaults::*;

/// Every owner of the lists that a restore fills.
fn owners(found: &LedgerVerification) -> BTreeSet<String> {
    let lists = [&found.went_back, &found.vanished, &found.appeared];
    let names =
        lists.into_iter().flatten().map(|one: &LedgerDifference| one.owner.user_id().as_str().to_owned());
    names.collect()
}

/// The texts in the folder of a sink whose names begin with this.
pub(crate) fn copies_of(folder: &Path, prefix: &str) -> LedgerCopies {
    let mut copies = LedgerCopies::new();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_str().unwrap().starts_with(prefix) {
            copies.add_lines(&fs::read_to_string(file.path()).unwrap()).unwrap();
        }
    }
    copies
}

/// A copy of an entry counts as long as the ledger does not hold that entry as it was.
#[tokio::test]
async fn an_entry_that_was_altered_with_its_record_still_names_its_owner() {
    let stage = Stage::begun().await;
    let vault = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    let ann = owner("ann");
    let first = vault.store(&ann, &full_config("first")).await.unwrap().version;
    stage.db.exec("CREATE TABLE first AS SELECT * FROM user_profiles").await;
    let second = vault.store(&ann, &full_config("second")).await.unwrap().version;
    vault.close().await;
    for change in [format!("after = '{first}'"), "usr = 'ben'".to_owned(), "mac = head".to_owned()] {
        stage.back_up().await;
        let altered = format!("UPDATE retell_vault.ledger SET {change} WHERE after = '{second}'");
        stage
            .db
            .exec(&format!(
                "{altered}; DELETE FROM user_profiles; INSERT INTO user_profiles SELECT * FROM first"
            ))
            .await;
        stage.db.exec("TRUNCATE retell_vault.removed").await;
        let vault = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
        let found = vault.verify_ledger(&LedgerCopies::new()).await.unwrap();
        assert_eq!((found.altered.len(), found.went_back.len()), (1, 1), "{change}: {found:?}");
        assert_eq!(owners(&found), BTreeSet::from(["ann".to_owned()]), "{change}: {found:?}");
        vault.close().await;
        stage.restore().await;
    }
}

/// 300 owners, a backup, 200 stores and 20 deletes, and the backup is restored.
#[tokio::test]
async fn a_restored_database_is_found_with_the_names_of_those_whom_it_concerns() {
    let stage = Stage::new().await;
    let sink = tempfile::tempdir().unwrap();
    let folder = sink.path().join("sink");
    let begin = async |host| {
        let builder = stage.hosts.host(host, &stage.db.url).ledger_sink(FolderSink::new(&folder));
        builder.build().await.unwrap()
    };
    let vault = begin(1).await;
    let all: Vec<_> = (0..300).map(|n| (owner(&format!("user-{n:03}")), full_config(n))).collect();
    vault.begin_ledger().await.unwrap();
    vault.store_many(&all).await.unwrap().into_iter().for_each(|stored| drop(stored.unwrap()));
    vault.close().await;
    stage.back_up().await;

    let vault = begin(1).await;
    let mut changed = BTreeSet::new();
    for (owner, config) in &all[..200] {
        vault.store(owner, config).await.unwrap();
        changed.insert(owner.user_id().as_str().to_owned());
    }
    let other = begin(2).await;
    for (owner, _) in &all[200..210] {
        vault.delete(owner).await.unwrap();
        changed.insert(owner.user_id().as_str().to_owned());
    }
    for n in 0..10 {
        let new = owner(&format!("new-{n}"));
        other.store(&new, &full_config(n)).await.unwrap();
        changed.insert(new.user_id().as_str().to_owned());
    }
    let before = other.verify_ledger(&LedgerCopies::new()).await.unwrap();
    assert!(before.is_unbroken() && before.names_complete, "{before:?}");
    other.close().await;
    vault.close().await;
    stage.restore().await;

    // nothing of it is in the database
    let newcomer = stage.hosts.host(3, &stage.db.url).build().await.unwrap();
    let found = newcomer.verify_ledger(&LedgerCopies::new()).await.unwrap();
    assert!(found.is_unbroken() && found.anchors == 0, "{found:?}");

    // heads show that it went back, and by how much: 210 entries and 10, and one of each end
    let found = newcomer.verify_ledger(&copies_of(&folder, "head-")).await.unwrap();
    assert!(!found.is_unbroken() && !found.names_complete, "{found:?}");
    assert_eq!((found.ledger_went_back.len(), found.missing_entries), (2, 222), "{found:?}");
    assert!(owners(&found).is_empty());

    // segments name the owners, and so does each host's local file for its own
    let found = newcomer.verify_ledger(&copies_of(&folder, "")).await.unwrap();
    assert!(found.names_complete, "{found:?}");
    assert_eq!((found.missing_entries, owners(&found)), (222, changed.clone()));
    let host = begin(1).await;
    let mut others = LedgerCopies::new();
    let found = host.verify_ledger(&others).await.unwrap();
    assert_eq!((found.missing_entries, found.names_complete, owners(&found).len()), (211, true, 210));
    for name in fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()) {
        others.add_lines(&fs::read_to_string(name).unwrap()).unwrap();
    }
    let found = host.verify_ledger(&others).await.unwrap();
    assert_eq!(owners(&found), changed);
}

#[tokio::test]
async fn the_local_file_holds_copies_until_the_owner_is_forgotten() {
    let stage = Stage::begun().await;
    let vault = stage.hosts.host(1, &stage.db.url).short_lived().build().await.unwrap();
    vault.store(&owner("ann"), &full_config("ann")).await.unwrap();
    vault.close().await;
    stage.db.exec("TRUNCATE user_profiles, retell_vault.ledger").await;
    let again = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    let found = again.verify_ledger(&LedgerCopies::new()).await.unwrap();
    assert_eq!((found.missing_entries, found.names_complete), (2, true), "{found:?}");
    assert_eq!(owners(&found), BTreeSet::from(["ann".to_owned()]));
    // what is forgotten is forgotten here too
    again.forget(&owner("ann")).await.unwrap();
    let found = again.verify_ledger(&LedgerCopies::new()).await.unwrap();
    assert!(!found.names_complete && owners(&found).is_empty(), "{found:?}");
}

#[tokio::test]
async fn other_texts_are_no_copies() {
    let error = LedgerCopies::new().add_lines("\n{\"writer\":1}\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("line 2"), "{error}");
}

/// Two checkpoints of one number, and a segment that comes again.
#[tokio::test]
async fn a_folder_keeps_the_first_text_of_a_name_except_for_heads() {
    let folder = tempfile::tempdir().unwrap();
    let sink = FolderSink::new(folder.path().join("sink"));
    for text in ["one", "one"] {
        sink.put("checkpoint-1.note", text).await.unwrap();
    }
    let error = sink.put("checkpoint-1.note", "other").await.unwrap_err();
    assert!(error.to_string().contains("exists with another text"), "{error}");
    let read = |name: &str| fs::read_to_string(folder.path().join("sink").join(name)).unwrap();
    assert_eq!(read("checkpoint-1.note"), "one");
    for text in ["one", "two"] {
        sink.put("head-1.json", text).await.unwrap();
    }
    assert_eq!(read("head-1.json"), "two");
}
