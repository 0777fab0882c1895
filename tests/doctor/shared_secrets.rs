//! Secrets that several owners have: a deep examination finds and names the owners, and prints no secret.

use retell_vault::doctor::{Diagnosis, DoctorOptions, Finding, Severity};
use retell_vault::rotation::IndexOptions;
use retell_vault::{RetellConfig, Vault};

use crate::support::TestDb;
use crate::support::vaults::{ALL_COLUMNS, CANARIES, Hosts, owner};

fn config(key: &str, agent: &str) -> RetellConfig {
    let config = RetellConfig::new(format!("{}_{key}", CANARIES[0]).parse().unwrap());
    config.with_call_agent_id(format!("{}_{agent}", CANARIES[1]).parse().unwrap())
}

/// What is found about secrets of several owners. No secret is printed.
async fn shared(vault: &Vault, options: &DoctorOptions) -> Vec<Finding> {
    let diagnosis = vault.doctor(options, |_| {}).await.unwrap();
    let printed = format!("{diagnosis:?}");
    assert!(CANARIES.iter().all(|canary| !printed.contains(canary)), "{printed}");
    let Diagnosis { findings, .. } = diagnosis;
    findings.into_iter().filter(|finding| finding.id.starts_with("shared_")).collect()
}

/// The owners are in different pages of the walk.
#[tokio::test]
async fn one_key_of_two_owners_is_found_by_a_deep_look() {
    for unique in ["PRIMARY KEY", "NOT NULL"] {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(&ALL_COLUMNS.replace("PRIMARY KEY", unique)).await;
        let vault = hosts.host(0, &db.url).build().await.unwrap();
        db.exec(
            "INSERT INTO user_profiles (user_id) SELECT 'empty-' || n FROM generate_series(1, 2490) AS n",
        )
        .await;
        for (user, key) in [("a-1", "one"), ("b-1", "two"), ("z-1", "three"), ("z-2", "one")] {
            vault.store(&owner(user), &config(key, user)).await.unwrap();
        }
        let deep = DoctorOptions::new().deep();
        assert_eq!(shared(&vault, &DoctorOptions::new()).await, []);
        let found = shared(&vault, &deep).await;
        let [finding] = found.as_slice() else { panic!("{found:#?}") };
        assert_eq!((finding.id, finding.severity), ("shared_secrets", Severity::Warning));
        assert_eq!((finding.count, finding.owners.as_slice()), (Some(1), &["a-1".into(), "z-2".into()][..]));
        assert_eq!(finding.object, "table public.user_profiles, field api_key");

        vault.store(&owner("z-2"), &config("four", "z-2")).await.unwrap();
        assert_eq!(shared(&vault, &deep).await, []);
    }
}

/// The list of owners is short, and says so. It never names one of two owners without the other.
#[tokio::test]
async fn a_list_of_owners_that_is_cut_says_how_many_there_are() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let pairs = [("a", "one"), ("b", "one"), ("c", "two"), ("d", "two"), ("e", "three")];
    for (user, key) in pairs {
        vault.store(&owner(user), &config(key, user)).await.unwrap();
    }
    let deep = DoctorOptions::new().deep();
    let found = async || {
        let found = shared(&vault, &deep).await;
        let [finding] = found.as_slice() else { panic!("{found:#?}") };
        let extent = finding.meaning.split_once("; ").map(|(_, extent)| extent.to_owned());
        (finding.count, finding.owners.join(" "), extent.unwrap_or_default())
    };
    let extent =
        |owners: u32| format!("{owners} owners are concerned, and those named here have the same one");
    let (count, named, told) = found().await;
    assert_eq!((count, told), (Some(2), extent(4)));
    assert!(["a b", "c d"].contains(&named.as_str()), "{named}");
    for user in ["f", "g", "h", "i"] {
        vault.store(&owner(user), &config("two", user)).await.unwrap();
    }
    let (count, named, told) = found().await;
    assert_eq!((count, named.split(' ').count(), told), (Some(2), 5, extent(8)));
    assert!(named.split(' ').all(|owner| "cdfghi".contains(owner)), "{named}");
}

#[tokio::test]
async fn an_owner_whose_record_was_deleted_shares_nothing() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    for user in ["a", "b"] {
        vault.store(&owner(user), &config("one", user)).await.unwrap();
    }
    let deep = DoctorOptions::new().deep();
    assert_eq!(shared(&vault, &deep).await.len(), 1);
    vault.delete(&owner("b")).await.unwrap();
    assert_eq!(shared(&vault, &deep).await, []);
}

#[tokio::test]
async fn without_an_index_a_deep_look_finds_one_agent_of_two_owners() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    for (user, agent) in [("a", "one"), ("b", "two"), ("c", "one")] {
        vault.store(&owner(user), &config(user, agent)).await.unwrap();
    }
    let of_deep = async |vault: &Vault| {
        let found = shared(vault, &DoctorOptions::new().deep()).await.into_iter();
        found.map(|it| (it.id, it.severity, it.count, it.owners)).collect::<Vec<_>>()
    };
    assert_eq!(shared(&vault, &DoctorOptions::new()).await, []);
    let owners = vec!["a".to_owned(), "c".to_owned()];
    let values = [("shared_values", Severity::Notice, Some(1), owners)];
    assert_eq!(of_deep(&vault).await, values);

    // with an index, its entries are compared, and each value is one finding
    db.exec("ALTER TABLE user_profiles ADD retell_vault_index bytea[]").await;
    let vault = hosts.host(1, &db.url).build().await.unwrap();
    vault.build_index(&IndexOptions::new(), |_| {}).await.unwrap();
    assert_eq!(of_deep(&vault).await, values);
}
