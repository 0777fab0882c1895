//! After an outage every kind of call finds its way back to the database by itself.

use std::time::{Duration, Instant};

use retell_vault::records::Source;

use crate::support::rows::owners;
use crate::support::vaults::*;
use crate::support::*;

/// Bulk calls alone close the breaker, also where they have to store one by one.
#[tokio::test]
async fn bulk_calls_find_the_way_back() {
    for constraint in ["PRIMARY KEY", "NOT NULL"] {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(&format!(
            "CREATE TABLE user_profiles (user_id text {constraint}, encrypted_retell_api_key text)"
        ))
        .await;
        let proxy = CutProxy::start(&db.url).await;
        let vault = hosts.host(0, proxy.url()).build().await.unwrap();
        let owners = owners(3);
        let store = async |mark: &str| {
            let configs: Vec<_> = owners.iter().map(|owner| (owner.clone(), full_config(mark))).collect();
            let stored = vault.store_many(&configs).await.unwrap();
            stored.into_iter().map(|stored| stored.unwrap().degraded).collect::<Vec<_>>()
        };
        assert!(store("before").await.iter().all(Option::is_none));
        proxy.set(Mode::Refuse).await;
        assert!(store("away").await.iter().all(Option::is_some));
        proxy.set(Mode::Pass).await;
        let started = Instant::now();
        while store("back").await.iter().any(Option::is_some) {
            assert!(started.elapsed() < Duration::from_secs(10), "{constraint}: the breaker stays open");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for loaded in vault.load_many(&owners).await {
            let loaded = loaded.unwrap();
            assert_eq!((loaded.config, loaded.source), (full_config("back"), Source::Database));
        }
    }
}
