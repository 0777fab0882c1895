//! One story that every place has to tell: the local file, and each kind of table.

use std::collections::BTreeSet;

use retell_vault::records::RecordState;
use retell_vault::{ErrorKind, Owner, RetellConfig, Vault};

use crate::support::TestDb;
use crate::support::vaults::*;

/// What every store promises, whatever it is made of.
async fn conforms(vault: &Vault) {
    nothing_is_not_found(vault).await;
    a_store_replaces_the_whole_record(vault).await;
    a_deleted_configuration_is_gone_until_it_is_stored_again(vault).await;
    look_alike_owners_are_kept_apart(vault).await;
    many_owners_get_a_result_each(vault).await;
    every_owner_is_listed_once_in_order(vault).await;
}

async fn nothing_is_not_found(vault: &Vault) {
    assert_eq!(vault.load(&owner("nobody")).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(vault.delete(&owner("nobody")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

async fn a_store_replaces_the_whole_record(vault: &Vault) {
    let owner = owner("replaced");
    let first = vault.store(&owner, &full_config(1)).await.unwrap();
    assert_eq!(vault.load(&owner).await.unwrap().config, full_config(1));
    let second = vault.store(&owner, &small_config(2)).await.unwrap();
    assert!(second.version > first.version);
    let loaded = vault.load(&owner).await.unwrap();
    assert_eq!((loaded.config, loaded.version), (small_config(2), second.version));
}

async fn a_deleted_configuration_is_gone_until_it_is_stored_again(vault: &Vault) {
    let owner = owner("deleted");
    let stored = vault.store(&owner, &full_config(1)).await.unwrap();
    let deleted = vault.delete(&owner).await.unwrap();
    assert!(deleted.version > stored.version && deleted.places.is_empty());
    assert_eq!(vault.load(&owner).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(vault.delete(&owner).await.unwrap_err().kind(), ErrorKind::NotFound);
    vault.store(&owner, &small_config(3)).await.unwrap();
    assert_eq!(vault.load(&owner).await.unwrap().config, small_config(3));
}

async fn look_alike_owners_are_kept_apart(vault: &Vault) {
    let ids = ["josé", "jose\u{301}", "JOSÉ", " josé", "josé ", "o'brien\"; --", "%", "{}", "\\"];
    for (number, id) in ids.iter().enumerate() {
        vault.store(&owner(id), &small_config(number)).await.unwrap();
    }
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(vault.load(&owner(id)).await.unwrap().config, small_config(number), "{id:?}");
    }
}

async fn many_owners_get_a_result_each(vault: &Vault) {
    let configs: Vec<(Owner, RetellConfig)> =
        (0..40).map(|n| (owner(&format!("many-{n}")), full_config(n))).collect();
    for round in 0..2 {
        for stored in vault.store_many(&configs).await.unwrap() {
            assert!(stored.is_ok(), "round {round}: {stored:?}");
        }
    }
    let owners: Vec<Owner> =
        configs.iter().map(|(owner, _)| owner.clone()).chain([owner("nobody")]).collect();
    let loaded = vault.load_many(&owners).await;
    for ((_, config), loaded) in configs.iter().zip(&loaded) {
        assert_eq!(&loaded.as_ref().unwrap().config, config);
    }
    assert_eq!(loaded.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    let twice = [configs[0].clone(), configs[1].clone(), configs[0].clone()];
    assert_eq!(vault.store_many(&twice).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(vault.store_many(&[]).await.unwrap().is_empty());
    assert!(vault.load_many(&[]).await.is_empty());
}

async fn every_owner_is_listed_once_in_order(vault: &Vault) {
    vault.delete(&owner("many-7")).await.unwrap();
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = vault.list(after.as_ref(), 7).await.unwrap();
        listed.extend(page.entries);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let owners: Vec<&Owner> = listed.iter().filter_map(|entry| entry.owner.valid()).collect();
    assert!(owners.is_sorted(), "{owners:?}");
    assert_eq!(owners.iter().collect::<BTreeSet<_>>().len(), owners.len(), "{owners:?}");
    assert_eq!(owners.len(), 2 + 9 + 40);
    let deleted: Vec<_> = listed.iter().filter(|entry| entry.state == RecordState::Deleted).collect();
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0].owner.valid(), Some(&owner("many-7")));
    assert!(listed.iter().all(|entry| entry.version.is_some()));
}

async fn table_conforms(columns: &str) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(&format!("CREATE TABLE user_profiles ({columns})")).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    conforms(&vault).await;
    let local = vault.status().await.unwrap().local.unwrap();
    assert_eq!(local.pending + local.losers + local.replaced + local.dead_letters, 0);
}

#[tokio::test]
async fn the_local_file() {
    let hosts = Hosts::new().await;
    conforms(&hosts.offline(0).build().await.unwrap()).await;
}

#[tokio::test]
async fn every_column() {
    table_conforms(
        "user_id text PRIMARY KEY, encrypted_retell_api_key text, encrypted_call_agent_id text, encrypted_sms_agent_id text,
        encrypted_agent_config jsonb, phone_number text, webhook_config jsonb, retell_integration_status text, last_retell_sync timestamptz",
    )
    .await;
}

#[tokio::test]
async fn only_the_jsonb_column() {
    table_conforms("user_id text PRIMARY KEY, encrypted_agent_config jsonb").await;
}

#[tokio::test]
async fn only_the_api_key_column() {
    table_conforms("user_id text PRIMARY KEY, encrypted_retell_api_key text").await;
}

#[tokio::test]
async fn no_unique_constraint() {
    table_conforms(
        "user_id text, encrypted_retell_api_key text, encrypted_agent_config jsonb, phone_number text",
    )
    .await;
}

#[tokio::test]
async fn a_partial_index_is_no_constraint() {
    table_conforms("user_id text, active bool, encrypted_agent_config jsonb, EXCLUDE USING btree (user_id WITH =) WHERE (active)").await;
}

#[tokio::test]
async fn behind_a_transaction_pooler() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb, phone_number text)").await;
    let vault = hosts.host(0, &db.bouncer_url()).build().await.unwrap();
    assert!(vault.status().await.unwrap().database.unwrap().transaction_pooler);
    conforms(&vault).await;
}
