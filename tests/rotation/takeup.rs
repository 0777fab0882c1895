//! A keyring that changes is taken up by whoever has a local file, and nothing in it is lost with a key.

use std::fs;

use retell_vault::ErrorKind;
use retell_vault::keyring::KeyId;
use sqlx::Connection;

use crate::support::faults::{sqlite, unplugged};
use crate::support::rotation::*;
use crate::support::vaults::*;

const PACKED: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)";

/// How many pending records name a key.
async fn pending_under(hosts: &Hosts, key: KeyId) -> i64 {
    let mut file = sqlite(hosts, 0).await;
    let sql = "SELECT count(*) FROM pending WHERE instr(text, ?)";
    let count = sqlx::query_scalar(sql).bind(format!("rv1.{key}.")).fetch_one(&mut file).await.unwrap();
    file.close().await.unwrap();
    count
}

/// A vault that runs without its database, and holds records that wait for it.
async fn waiting(hosts: &Hosts) -> retell_vault::Vault {
    let vault = unplugged(hosts, 0).await;
    for user in 0..3 {
        let stored = vault.store(&owner(&format!("waits-{user}")), &full_config(user)).await.unwrap();
        assert!(stored.degraded.is_some());
    }
    vault
}

async fn all_wait(vault: &retell_vault::Vault) {
    for user in 0..3 {
        let loaded = vault.load(&owner(&format!("waits-{user}"))).await.unwrap();
        assert_eq!(loaded.config, full_config(user));
    }
}

#[tokio::test]
async fn a_running_vault_takes_a_promoted_key_up_with_its_next_store() {
    let hosts = Hosts::new().await;
    let vault = waiting(&hosts).await;
    let (old, new) = promote(&hosts).await;
    assert_eq!(pending_under(&hosts, old).await, 3);
    until_taken_up().await;
    vault.store(&owner("next"), &full_config(1)).await.unwrap();
    assert_eq!((pending_under(&hosts, old).await, pending_under(&hosts, new).await), (0, 4));
    all_wait(&vault).await;
}

/// Others count what they see; what lies in this file alone is counted when its vault starts.
#[tokio::test]
async fn a_file_under_a_destroyed_key_is_refused_and_can_be_saved() {
    let mut stage = Stage::on(PACKED, 5).await;
    waiting(&stage.hosts).await.close().await;
    let path = stage.hosts.keyring().path().unwrap().to_owned();
    (stage.old, stage.new) = promote(&stage.hosts).await;
    let backup = fs::read(&path).unwrap();
    let elsewhere = stage.vault(1).await;
    completes(&elsewhere).await;
    elsewhere.destroy_key(stage.old, at_once()).await.unwrap();

    for url in [stage.db.url.as_str(), crate::support::faults::DEAD_URL] {
        let built = stage.hosts.host(0, url).timeouts(crate::support::faults::QUICK).build().await;
        let error = built.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyInUse, "{error:?}");
        assert!(error.to_string().contains(&stage.old.to_string()) && !error.hint().is_empty(), "{error:?}");
    }
    assert_eq!(pending_under(&stage.hosts, stage.old).await, 3);

    // as the hint says
    fs::write(&path, backup).unwrap();
    let vault = stage.vault(0).await;
    completes(&vault).await;
    assert_eq!(pending_under(&stage.hosts, stage.new).await, 3);
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    all_wait(&vault).await;
    assert_eq!(vault.sync().await.unwrap().pushed, 3);
    vault.close().await;
    all_wait(&stage.vault(0).await).await;
    stage.all_load().await;
}

#[tokio::test]
async fn a_running_vault_whose_key_was_destroyed_elsewhere_loses_nothing() {
    let stage = Stage::on(PACKED, 5).await;
    let vault = waiting(&stage.hosts).await;
    // under the key of the stage, which nobody takes up any more before it is gone
    let (old, new) = promote(&stage.hosts).await;
    let elsewhere = stage.vault(1).await;
    completes(&elsewhere).await;
    elsewhere.destroy_key(old, at_once()).await.unwrap();
    assert_eq!(pending_under(&stage.hosts, old).await, 3);
    until_taken_up().await;
    all_wait(&vault).await;
    vault.store(&owner("next"), &full_config(1)).await.unwrap();
    assert_eq!((pending_under(&stage.hosts, old).await, pending_under(&stage.hosts, new).await), (0, 4));
    all_wait(&vault).await;
    vault.close().await;
    let vault = stage.vault(0).await;
    all_wait(&vault).await;
    assert_eq!(vault.sync().await.unwrap().pushed, 4);
    vault.close().await;
    all_wait(&stage.vault(0).await).await;
    stage.all_load().await;
}

#[tokio::test]
async fn a_file_that_had_a_database_is_not_counted_without_it() {
    let stage = Stage::on(PACKED, 5).await;
    stage.vault(0).await.close().await;
    let vault = stage.hosts.offline(0).build().await.unwrap();
    let errors = [
        rotate(&vault, &small()).await.unwrap_err(),
        vault.destroy_key(stage.old, at_once()).await.unwrap_err(),
        vault.estimate_rotation(&small()).await.unwrap_err(),
        vault.count_tokens().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
        assert!(error.hint().contains("DATABASE_URL"), "{error:?}");
    }
    stage.all_load().await;
}

#[tokio::test]
async fn destroying_asks_for_what_cannot_be_counted() {
    let stage = Stage::on(PACKED, 5).await;
    let vault = stage.vault(0).await;
    completes(&vault).await;
    let options = retell_vault::rotation::DestroyOptions::new;
    for (options, kind) in [
        (options(), ErrorKind::KeyState),
        (options().other_hosts_synced(), ErrorKind::KeyState),
        (options().force(), ErrorKind::KeyInUse),
    ] {
        let error = vault.destroy_key(stage.old, options).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
    }
    assert_eq!(vault.destroy_key(stage.new, at_once()).await.unwrap_err().kind(), ErrorKind::KeyState);
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    stage.all_load().await;
}

#[tokio::test]
async fn an_older_keyring_that_is_put_back_seals_nothing() {
    let stage = Stage::on(PACKED, 3).await;
    let keyring = stage.hosts.keyring();
    let next = keyring.add_key().await.unwrap().id;
    // it holds every key, and does not know which one seals
    let older = fs::read(keyring.path().unwrap()).unwrap();
    keyring.promote_key(next).await.unwrap();
    let newest = fs::read(keyring.path().unwrap()).unwrap();
    stage.vault(0).await.close().await;

    fs::write(keyring.path().unwrap(), older).unwrap();
    let vault = stage.vault(0).await;
    let refused = [
        vault.store(&owner("user-1"), &full_config(9)).await.unwrap_err(),
        rotate(&vault, &small()).await.unwrap_err(),
        vault.status().await.unwrap().keyring_problem.unwrap(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::KeyringRolledBack, "{error:?}");
        assert!(error.to_string().contains("local.db knows generation 5"), "{error}");
        assert!(error.hint().contains("newest"), "{error:?}");
    }
    stage.all_load().await;
    vault.close().await;
    fs::write(keyring.path().unwrap(), newest).unwrap();
    completes(&stage.vault(0).await).await;
    stage.all_load().await;
}

#[tokio::test]
async fn a_key_is_not_destroyed_while_another_table_may_need_it() {
    let stage = Stage::on(PACKED, 3).await;
    stage.db.exec(&PACKED.replace("user_profiles", "others")).await;
    let others = || stage.hosts.host(0, &stage.db.url).layout(named_table("others")).build();
    let vault = others().await.unwrap();
    vault.store(&owner("elsewhere"), &full_config(1)).await.unwrap();
    vault.close().await;

    let vault = stage.vault(0).await;
    completes(&vault).await;
    let error = vault.destroy_key(stage.old, at_once()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyInUse, "{error:?}");
    assert!(error.to_string().contains("public.others"), "{error:?}");
    completes(&others().await.unwrap()).await;
    vault.destroy_key(stage.old, at_once().other_tables_counted()).await.unwrap();
    others().await.unwrap().load(&owner("elsewhere")).await.unwrap();
    stage.all_load().await;
}
