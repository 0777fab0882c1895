//! A vault in memory behaves like one over a database, and fails as a test tells it to.

use retell_vault::records::{Expected, RecordState, Source, StoreOptions};
use retell_vault::testing::Fault;
use retell_vault::{Error, ErrorKind, Owner, RetellConfig, Vault};

fn owner(user: &str) -> Owner {
    Owner::user(user).unwrap()
}

fn config(mark: &str) -> RetellConfig {
    RetellConfig::new(format!("key_test_in_memory_{mark}").parse().unwrap())
}

/// A change to another configuration.
fn becomes(mark: &str) -> impl FnMut(&mut RetellConfig) -> Result<(), Error> {
    move |config| {
        *config = self::config(mark);
        Ok(())
    }
}

const ALICE: &str = "alice";
const BOB: &str = "bob";

#[tokio::test]
async fn records_are_stored_changed_listed_and_deleted_as_in_a_database() {
    let (vault, _faults) = Vault::in_memory().await.unwrap();
    let (alice, bob) = (owner(ALICE), owner(BOB));
    assert_eq!(vault.load(&alice).await.unwrap_err().kind(), ErrorKind::NotFound);
    let first = vault.store(&alice, &config("one")).await.unwrap();
    assert_eq!((first.rows, first.degraded.is_none()), (1, true));
    let loaded = vault.load(&alice).await.unwrap();
    assert_eq!((loaded.version, loaded.source, loaded.stale), (first.version, Source::Database, false));
    assert_eq!(loaded.config, config("one"));

    let phone = |config: &mut RetellConfig| {
        *config = config.clone().with_phone_number("+14155550100".parse()?);
        Ok(())
    };
    let changed = vault.modify(&alice, phone).await.unwrap();
    assert!(changed.version > first.version && changed.rows == 1);
    let expect = |expected| StoreOptions::new().expect(expected);
    let stale = vault.store_with(&alice, &config("two"), expect(Expected::Version(first.version))).await;
    assert_eq!(stale.unwrap_err().kind(), ErrorKind::Conflict);
    let there = vault.store_with(&alice, &config("two"), expect(Expected::Absent)).await;
    assert_eq!(there.unwrap_err().kind(), ErrorKind::Conflict);
    vault.store_with(&bob, &config("three"), expect(Expected::Absent)).await.unwrap();
    assert!(vault.load(&alice).await.unwrap().config.phone_number().is_some());

    let many = vault.load_many(&[bob.clone(), owner("nobody"), alice.clone()]).await;
    let kinds: Vec<_> =
        many.iter().map(|result| result.as_ref().map_err(|error| error.kind()).err()).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::NotFound), None]);
    let stored = vault.store_many(&[(owner("carol"), config("four"))]).await.unwrap();
    assert_eq!(stored[0].as_ref().unwrap().rows, 1);

    vault.delete(&bob).await.unwrap();
    assert_eq!(vault.load(&bob).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(vault.delete(&bob).await.unwrap_err().kind(), ErrorKind::NotFound);
    let listed = vault.list(None, 10).await.unwrap().entries;
    let listed: Vec<_> =
        listed.iter().map(|entry| (entry.owner.to_string(), entry.source, entry.state)).collect();
    assert_eq!(
        listed,
        [
            (ALICE.to_owned(), Source::Database, RecordState::Readable),
            (BOB.to_owned(), Source::Database, RecordState::Deleted),
            ("carol".to_owned(), Source::Database, RecordState::Readable),
        ]
    );
    vault.status().await.unwrap();
    vault.sync().await.unwrap();
}

#[tokio::test]
async fn each_vault_has_a_memory_of_its_own_and_clones_share_it() {
    let ((one, faults), (other, _)) = (Vault::in_memory().await.unwrap(), Vault::in_memory().await.unwrap());
    one.store(&owner(ALICE), &config("one")).await.unwrap();
    assert_eq!(other.load(&owner(ALICE)).await.unwrap_err().kind(), ErrorKind::NotFound);
    one.clone().load(&owner(ALICE)).await.unwrap();
    faults.switch_on(Fault::Error(ErrorKind::Busy));
    assert_eq!(other.load(&owner(ALICE)).await.unwrap_err().kind(), ErrorKind::NotFound);
    let stored: Vec<_> = (0..50).map(|user| (owner(&format!("user-{user}")), config("many"))).collect();
    let writers = stored.iter().map(|(owner, config)| other.store(owner, config));
    futures_util::future::try_join_all(writers).await.unwrap();
    assert_eq!(other.list(None, 100).await.unwrap().entries.len(), 50);
}

#[tokio::test]
async fn every_kind_of_error_can_be_switched_on_and_off_again_and_nothing_is_written() {
    let (vault, faults) = Vault::in_memory().await.unwrap();
    let alice = owner(ALICE);
    let before = vault.store(&alice, &config("before")).await.unwrap().version;
    for kind in [
        ErrorKind::Unavailable,
        ErrorKind::Busy,
        ErrorKind::WrongKeyring,
        ErrorKind::Unsealable,
        ErrorKind::AccessDenied,
    ] {
        faults.switch_on(Fault::Error(kind));
        let expected = StoreOptions::new().expect(Expected::Version(before));
        for failed in [
            vault.load(&alice).await.map(drop),
            vault.list(None, 10).await.map(drop),
            vault.store(&alice, &config("after")).await.map(drop),
            vault.store_with(&alice, &config("after"), expected).await.map(drop),
            vault.modify(&alice, becomes("after")).await.map(drop),
            vault.delete(&alice).await.map(drop),
            vault.load_many(std::slice::from_ref(&alice)).await.remove(0).map(drop),
            vault.store_many(&[(alice.clone(), config("after"))]).await.unwrap().remove(0).map(drop),
        ] {
            assert_eq!(failed.unwrap_err().kind(), kind);
        }
        faults.clear();
        assert_eq!(vault.load(&alice).await.unwrap().version, before);
    }
}

#[tokio::test]
async fn a_conflict_is_an_error_of_writes_and_is_told_at_once() {
    let (vault, faults) = Vault::in_memory().await.unwrap();
    let alice = owner(ALICE);
    let before = vault.store(&alice, &config("before")).await.unwrap().version;
    faults.switch_on(Fault::Error(ErrorKind::Conflict));
    let mut runs = 0;
    let changed = vault.modify(&alice, |config| {
        runs += 1;
        *config = self::config("after");
        Ok(())
    });
    assert_eq!(changed.await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(runs, 1);
    assert_eq!(vault.load(&alice).await.unwrap().version, before);
}

#[tokio::test]
async fn one_record_that_does_not_open_leaves_the_others_readable() {
    let (vault, faults) = Vault::in_memory().await.unwrap();
    let owners = [owner(ALICE), owner(BOB)];
    for owner in &owners {
        vault.store(owner, &config("one")).await.unwrap();
    }
    faults.switch_on_for(&owners[0], Fault::Error(ErrorKind::Unsealable));
    let loaded = vault.load_many(&owners).await;
    assert_eq!(loaded[0].as_ref().unwrap_err().kind(), ErrorKind::Unsealable);
    assert_eq!(loaded[1].as_ref().unwrap().config, config("one"));

    // until it is replaced
    for (kind, leave, other) in [
        (
            ErrorKind::Unsealable,
            StoreOptions::new().replace_unreadable(),
            StoreOptions::new().replace_foreign(),
        ),
        (
            ErrorKind::ForeignValue,
            StoreOptions::new().replace_foreign(),
            StoreOptions::new().replace_unreadable(),
        ),
    ] {
        faults.switch_on_for(&owners[0], Fault::Error(kind));
        for options in [StoreOptions::new(), other] {
            let refused = vault.store_with(&owners[0], &config("two"), options).await.unwrap_err();
            assert_eq!(refused.kind(), kind);
        }
        let stored = vault.store_with(&owners[0], &config("two"), leave).await.unwrap();
        assert_eq!(stored.replaced.len(), 1);
        assert_eq!(vault.load(&owners[0]).await.unwrap().version, stored.version);
    }
}

#[tokio::test]
async fn in_an_outage_stores_are_kept_and_only_what_was_kept_is_loaded() {
    let (vault, faults) = Vault::in_memory().await.unwrap();
    let (alice, bob) = (owner(ALICE), owner(BOB));
    let before = vault.store(&alice, &config("before")).await.unwrap().version;
    faults.switch_on(Fault::Outage);
    assert_eq!(vault.load(&alice).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(vault.load(&bob).await.unwrap_err().kind(), ErrorKind::Unavailable, "nobody can know");
    assert_eq!(vault.list(None, 10).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let kept = vault.store(&bob, &config("kept")).await.unwrap();
    assert_eq!((kept.rows, kept.degraded.is_some()), (0, true));
    let loaded = vault.load(&bob).await.unwrap();
    assert_eq!((loaded.source, loaded.stale, &loaded.config), (Source::Local, true, &config("kept")));
    let expected = StoreOptions::new().expect(Expected::Version(before));
    let expected = vault.store_with(&alice, &config("after"), expected).await;
    assert_eq!(expected.unwrap_err().kind(), ErrorKind::Unavailable);
    for user in [&alice, &bob] {
        let changed = vault.modify(user, becomes("after")).await;
        assert_eq!(changed.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert!(vault.delete(&alice).await.unwrap().degraded.is_some());

    faults.clear();
    let loaded = vault.load(&bob).await.unwrap();
    assert_eq!((loaded.source, loaded.stale, loaded.config), (Source::Database, false, config("kept")));
    assert_eq!(vault.load(&alice).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn with_offline_reads_an_outage_answers_with_stale_copies() {
    let (vault, faults) = Vault::in_memory().await.unwrap();
    let alice = owner(ALICE);
    vault.store(&alice, &config("before")).await.unwrap();
    faults.switch_on(Fault::OutageWithOfflineReads);
    let loaded = vault.load(&alice).await.unwrap();
    assert_eq!((loaded.source, loaded.stale, loaded.config), (Source::Local, true, config("before")));
    assert_eq!(vault.load(&owner(BOB)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let changed = vault.modify(&alice, becomes("after")).await;
    assert_eq!(changed.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(vault.store(&alice, &config("after")).await.unwrap().degraded.is_some());
    assert_eq!(vault.load(&alice).await.unwrap().config, config("after"));
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_carried_out() {
    let (vault, faults) = Vault::in_memory().await.unwrap();
    let alice = owner(ALICE);
    faults.switch_on(Fault::LostAnswer);
    let stored = vault.store(&alice, &config("stored")).await;
    assert_eq!(stored.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(vault.load(&alice).await.unwrap().config, config("stored"));
    let changed = vault.modify(&alice, becomes("changed")).await;
    assert_eq!(changed.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(vault.load(&alice).await.unwrap().config, config("changed"));
    assert_eq!(vault.delete(&alice).await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(vault.load(&alice).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn it_leaves_no_file_and_no_secret_in_its_texts() {
    let folder = tempfile::tempdir().unwrap();
    let own = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_memory::records_are_stored_changed_listed_and_deleted_as_in_a_database"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stdout));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
