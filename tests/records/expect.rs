//! Storing only over what is expected, and changing some fields: of racing changes none is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use retell_vault::config::*;
use retell_vault::records::*;
use retell_vault::rotation::*;
use retell_vault::*;
use tokio::task::JoinSet;

use crate::support::faults::QUICK;
use crate::support::rows::*;
use crate::support::vaults::*;
use crate::support::*;

const ONLY_JSONB: &str =
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)";
const DUPLICATES: &str = "CREATE TABLE user_profiles (n serial, user_id text, encrypted_retell_api_key text);
    INSERT INTO user_profiles (user_id) VALUES ('user-1'), ('user-1')";

async fn on(table: &str) -> (TestDb, Hosts, Vault) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    (db, hosts, vault)
}

fn expecting(version: Version) -> StoreOptions {
    StoreOptions::new().expect(Expected::Version(version))
}

fn absent() -> StoreOptions {
    StoreOptions::new().expect(Expected::Absent)
}

fn agent(number: usize) -> AgentId {
    format!("agent_test_{number}").parse().unwrap()
}

fn number(id: Option<&AgentId>) -> usize {
    id.map_or(0, |id| {
        id.expose_secret().strip_prefix("agent_test_").and_then(|number| number.parse().ok()).unwrap_or(0)
    })
}

async fn increment(vault: &Vault) -> Result<()> {
    let change = |config: &mut RetellConfig| {
        config.set_call_agent_id(Some(agent(number(config.call_agent_id()) + 1)));
        Ok(())
    };
    let stored = vault.modify(&owner("user-1"), change).await?;
    assert!(stored.degraded.is_none() && stored.replaced.is_empty(), "{stored:?}");
    Ok(())
}

#[tokio::test]
async fn a_store_may_expect_a_version_or_nothing() {
    for table in [ALL_COLUMNS, ONLY_JSONB, DUPLICATES] {
        let (db, hosts, vault) = on(table).await;
        let fresh = hosts.host(1, &db.url).build().await.unwrap();
        let user = &owner("user-1");
        let store = async |vault: &Vault, mark, options| {
            vault.store_with(user, &full_config(mark), options).await.map(|stored| stored.version)
        };
        let nothing: Version = "0000000000000001".parse().unwrap();
        let conflict = |stored: Result<Version>, words: &str| {
            let error = stored.expect_err(table);
            assert_eq!(error.kind(), ErrorKind::Conflict, "{table}: {error}");
            assert!(error.to_string().contains(words), "{error}");
        };
        conflict(store(&vault, 0, expecting(nothing)).await, "no record of version");
        let first = store(&vault, 1, absent()).await.unwrap();
        conflict(store(&vault, 2, absent()).await, "a record already exists");
        conflict(store(&fresh, 2, absent()).await, "a record already exists");
        // over what was seen, and over what was not
        let second = store(&vault, 3, expecting(first)).await.unwrap();
        conflict(store(&vault, 4, expecting(first)).await, "has version");
        let third = store(&fresh, 5, expecting(second)).await.unwrap();
        conflict(store(&vault, 6, expecting(second)).await, "has version");
        assert_eq!(vault.load(user).await.unwrap().config, full_config(5));
        // a conflict leaves nothing in the local file that would be stored later
        assert_eq!(faults::local(&vault).await.pending, 0);

        let many = [(user.clone(), full_config(7))];
        assert!(vault.store_many(&many).await.unwrap().remove(0).is_ok());
        conflict(store(&fresh, 8, expecting(third)).await, "has version");
        // a tombstone is no record
        vault.delete(user).await.unwrap();
        conflict(store(&fresh, 9, expecting(third)).await, "no record of version");
        store(&fresh, 10, absent()).await.unwrap();
        assert_eq!(vault.load(user).await.unwrap().config, full_config(10));
    }
}

/// Rows change hands while many expect the same: one of them gets what it wanted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_expect_the_same_one_stores() {
    for table in [ALL_COLUMNS, ONLY_JSONB, DUPLICATES] {
        let (db, hosts, vault) = on(table).await;
        let version = vault.store(&owner("user-1"), &full_config(0)).await.unwrap().version;
        for (options, is_absent) in [(expecting(version), false), (absent(), true)] {
            if is_absent {
                vault.delete(&owner("user-1")).await.unwrap();
            }
            let mut tasks = JoinSet::new();
            for host in 0..8 {
                let vault = hosts.host(host, &db.url).build().await.unwrap();
                tasks.spawn(
                    async move { vault.store_with(&owner("user-1"), &full_config(host), options).await },
                );
            }
            let done = tasks.join_all().await;
            let stored: Vec<_> = done.iter().filter_map(|done| done.as_ref().ok()).collect();
            assert_eq!(stored.len(), 1, "{table}: {done:?}");
            let errors = done.iter().filter_map(|done| done.as_ref().err());
            errors.for_each(|error| assert_eq!(error.kind(), ErrorKind::Conflict, "{table}"));
            assert_eq!(vault.load(&owner("user-1")).await.unwrap().version, stored[0].version);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_changes_none_is_lost() {
    const CHANGES: usize = 64;
    for table in [ALL_COLUMNS, ONLY_JSONB, DUPLICATES] {
        let (db, hosts, vault) = on(table).await;
        vault.store(&owner("user-1"), &small_config(1)).await.unwrap();
        let mut tasks = JoinSet::new();
        for host in 0..4 {
            let vault = hosts.host(host, &db.url).build().await.unwrap();
            for _ in 0..CHANGES / 4 {
                let vault = vault.clone();
                tasks.spawn(async move { increment(&vault).await });
            }
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        let loaded = vault.load(&owner("user-1")).await.unwrap().config;
        assert_eq!(number(loaded.call_agent_id()), CHANGES, "{table}");
        assert_eq!(loaded.api_key(), small_config(1).api_key());
    }
}

async fn rotate_often(hosts: Arc<Hosts>, url: String, rotations: Arc<AtomicUsize>) {
    let keyring = hosts.keyring();
    while rotations.load(Ordering::Relaxed) < 4 {
        let key = keyring.add_key().await.unwrap().id;
        keyring.promote_key(key).await.unwrap();
        // one that was built before may not know the key for a second
        let operator = hosts.host(1, &url).build().await.unwrap();
        let rotation = operator.rotate(&RotateOptions::new(), |_| {}).await.unwrap();
        assert!(rotation.complete, "{rotation:?}");
        rotations.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every record changes its head all the time, and not its version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_never_causes_a_conflict() {
    for table in [ALL_COLUMNS, ONLY_JSONB, DUPLICATES] {
        let (db, hosts, vault) = on(table).await;
        let mut version = vault.store(&owner("user-1"), &full_config(0)).await.unwrap().version;
        let (hosts, rotations) = (Arc::new(hosts), Arc::new(AtomicUsize::new(0)));
        let rotating = tokio::spawn(rotate_often(hosts.clone(), db.url.clone(), rotations.clone()));
        let mut changes = 0;
        while !rotating.is_finished() {
            let stored = vault.store_with(&owner("user-1"), &small_config(changes), expecting(version)).await;
            version = stored.unwrap_or_else(|error| panic!("{table}: {error}")).version;
            increment(&vault).await.unwrap_or_else(|error| panic!("{table}: {error}"));
            version = vault.load(&owner("user-1")).await.unwrap().version.max(version);
            changes += 1;
        }
        rotating.await.unwrap();
        assert!(changes > 4, "only {changes} changes met {} rotations", rotations.load(Ordering::Relaxed));
    }
}

/// A change of one field writes no plain column of another one, and an unset field is gone.
#[tokio::test]
async fn a_change_touches_what_it_changes() {
    let (db, _hosts, vault) = on(ALL_COLUMNS).await;
    let user = &owner("user-1");
    vault.store(user, &full_config(1)).await.unwrap();
    let plain = "SELECT concat_ws(' ', phone_number, webhook_config ->> 'webhook_url', retell_integration_status) FROM user_profiles";
    // an administrator's own number, which the next change must not take back
    db.exec("UPDATE user_profiles SET phone_number = '+14155550199'").await;
    vault
        .modify(user, |config| {
            config.set_sms_agent_id(None);
            Ok(())
        })
        .await
        .unwrap();
    let row: String = value(&db, plain).await;
    assert_eq!(row, "+14155550199 https://example.com/hook active");
    let loaded = vault.load(user).await.unwrap();
    assert_eq!(loaded.config.sms_agent_id(), None);
    assert_eq!(loaded.config.webhook_key(), full_config(1).webhook_key());
    assert_eq!(loaded.changed_outside.len(), 1, "the number is still not what was stored: {loaded:?}");

    let number: PhoneNumber = "+14155550177".parse().unwrap();
    vault
        .modify(user, |config| {
            config.set_phone_number(Some(number.clone()));
            Ok(())
        })
        .await
        .unwrap();
    let row: String = value(&db, plain).await;
    assert_eq!(row, "+14155550177 https://example.com/hook active");
    assert!(vault.load(user).await.unwrap().changed_outside.is_empty());
    vault
        .modify(user, |config| {
            config.set_webhook_config(None);
            Ok(())
        })
        .await
        .unwrap();
    let row: String = value(&db, plain).await;
    assert_eq!(row, "+14155550177 active");
    // a number of the application's stays when ours is unset
    db.exec("UPDATE user_profiles SET phone_number = '+14155550123'").await;
    vault
        .modify(user, |config| {
            config.set_phone_number(None);
            Ok(())
        })
        .await
        .unwrap();
    let row: String = value(&db, plain).await;
    assert_eq!(row, "+14155550123 active");
}

#[tokio::test]
async fn what_a_change_refuses() {
    let (db, hosts, vault) = on(ALL_COLUMNS).await;
    let user = &owner("user-1");
    let error = vault.modify(user, |_| Ok(())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let version = vault.store(user, &full_config(1)).await.unwrap().version;
    // its own error comes back, and nothing is stored
    let refused = || "not a phone number".parse::<PhoneNumber>().unwrap_err();
    let error = vault.modify(user, |_| Err(refused())).await.unwrap_err();
    assert_eq!(error.kind(), refused().kind());
    let empty = vault
        .modify(user, |config| {
            *config = RetellConfig::empty();
            Ok(())
        })
        .await;
    assert_eq!(empty.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(vault.load(user).await.unwrap().version, version);
    vault.delete(user).await.unwrap();
    let mut calls = 0;
    let error = vault
        .modify(user, |_| {
            calls += 1;
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!((error.kind(), calls), (ErrorKind::NotFound, 0));

    // a token in a column that this program does not know would be lost
    let layout = Layout::new().extra_secret("voice_id").unwrap();
    let layout = layout.column("voice_id".parse().unwrap(), "encrypted_voice_id").unwrap();
    db.exec("ALTER TABLE user_profiles ADD encrypted_voice_id text").await;
    let newer = hosts.host(1, &db.url).layout(layout).build().await.unwrap();
    let voice = full_config(2).with_extra("voice_id", "voice_test_1".parse().unwrap()).unwrap();
    newer.store(user, &voice).await.unwrap();
    let error = increment(&vault).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incomplete, "{error}");
    assert!(error.to_string().contains("voice_id"), "{error}");
    assert_eq!(newer.load(user).await.unwrap().config, voice);
    // where it is known, it stays
    db.exec("ALTER TABLE user_profiles DROP encrypted_voice_id").await;
    newer.store_with(user, &voice, StoreOptions::new().replace_unreadable()).await.unwrap();
    vault
        .modify(user, |config| {
            config.set_phone_number(None);
            Ok(())
        })
        .await
        .unwrap();
    let loaded = newer.load(user).await.unwrap().config;
    assert_eq!(loaded.extra("voice_id"), voice.extra("voice_id"));
    assert_eq!(loaded.phone_number(), None);
}

/// In an outage neither is possible, and neither leaves something behind.
#[tokio::test]
async fn in_an_outage_nothing_is_expected() {
    let (db, hosts, vault) = on(ALL_COLUMNS).await;
    let user = &owner("user-1");
    let version = vault.store(user, &full_config(1)).await.unwrap().version;
    let proxy = CutProxy::start(&db.url).await;
    let vault = hosts.host(1, proxy.url()).timeouts(QUICK).build().await.unwrap();
    vault.load(user).await.unwrap();
    proxy.set(Mode::Refuse).await;
    // a write over a connection that is cut has an outcome that nobody knows; here none is left
    assert_eq!(vault.load(user).await.unwrap_err().kind(), ErrorKind::Unavailable);
    for _ in 0..3 {
        let stored = vault.store_with(user, &full_config(2), expecting(version)).await;
        assert_eq!(stored.unwrap_err().kind(), ErrorKind::Unavailable);
        let stored = vault.store_with(&owner("user-2"), &full_config(2), absent()).await;
        assert_eq!(stored.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(increment(&vault).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(faults::local(&vault).await.pending, 0);
    // what was stored meanwhile is synchronised before anything is expected
    let stored = vault.store(user, &full_config(3)).await.unwrap();
    assert!(stored.degraded.is_some());
    proxy.set(Mode::Pass).await;
    faults::until(async || increment(&vault).await.is_ok()).await;
    let there = hosts.host(2, &db.url).build().await.unwrap().load(user).await.unwrap();
    assert_eq!(there.config.api_key(), full_config(3).api_key());
    assert_eq!(faults::local(&vault).await.pending, 0);
}

/// The answer of a change gets lost: it is not made twice, and one that another writer has replaced is not made again.
#[tokio::test]
async fn a_change_whose_answer_was_lost() {
    let (db, hosts, plain) = on(ALL_COLUMNS).await;
    plain.store(&owner("user-1"), &small_config(1)).await.unwrap();
    let proxy = CutProxy::start(&db.url).await;
    let vault = hosts.host(1, proxy.url()).timeouts(QUICK).build().await.unwrap();
    vault.load(&owner("user-1")).await.unwrap();
    proxy.set(Mode::CutAfterRequest(Request::ExecutionOf(b"UPDATE"))).await;
    increment(&vault).await.unwrap();
    assert_eq!(proxy.cuts(), 1);
    let loaded = plain.load(&owner("user-1")).await.unwrap().config;
    assert_eq!(number(loaded.call_agent_id()), 1);

    // a rival is faster than the second look
    let mut calls = 0;
    proxy.set(Mode::CutAfterRequest(Request::ExecutionOf(b"UPDATE"))).await;
    let user = owner("user-1");
    let change = vault.modify(&user, |config| {
        calls += 1;
        config.set_call_agent_id(Some(agent(7)));
        Ok(())
    });
    let rival = async {
        while proxy.cuts() < 2 {
            tokio::task::yield_now().await;
        }
        plain.store(&owner("user-1"), &small_config(2)).await.unwrap()
    };
    let (changed, stored) = tokio::join!(change, rival);
    // either its own second look came first, or it was told of the rival
    match changed {
        Ok(_) => assert_eq!(calls, 1),
        Err(error) => assert_eq!((error.kind(), calls), (ErrorKind::Conflict, 1), "{error}"),
    }
    let loaded = plain.load(&owner("user-1")).await.unwrap();
    assert_eq!((loaded.version, loaded.config), (stored.version, small_config(2)));
}

/// Without a database the local file is compared and set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database() {
    let hosts = Hosts::new().await;
    let vault = hosts.offline(1).build().await.unwrap();
    let user = &owner("user-1");
    let version = vault.store_with(user, &small_config(1), absent()).await.unwrap().version;
    let error = vault.store_with(user, &small_config(2), absent()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let version = vault.store_with(user, &small_config(3), expecting(version)).await.unwrap().version;
    let mut tasks = JoinSet::new();
    for _ in 0..32 {
        let vault = vault.clone();
        tasks.spawn(async move { increment(&vault).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(number(vault.load(user).await.unwrap().config.call_agent_id()), 32);
    let error = vault.store_with(user, &small_config(4), expecting(version)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

/// A deletion is no record, whether the process has seen it or not.
#[tokio::test]
async fn the_version_of_a_deletion_is_no_records() {
    for table in [ALL_COLUMNS, ONLY_JSONB, DUPLICATES] {
        let (db, hosts, vault) = on(table).await;
        let fresh = hosts.host(1, &db.url).build().await.unwrap();
        vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
        let deleted = vault.delete(&owner("user-1")).await.unwrap();
        for vault in [&vault, &fresh] {
            for _ in 0..2 {
                let expected = expecting(deleted.version);
                let error = vault.store_with(&owner("user-1"), &full_config(2), expected).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Conflict);
            }
        }
    }
}
