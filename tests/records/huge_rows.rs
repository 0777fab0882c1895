//! One owner against all: what somebody puts into one row costs its owner an error, and nobody else anything.

use std::time::{Duration, Instant};

use retell_vault::records::StoreOptions;
use retell_vault::{ErrorKind, Vault};

use crate::support::faults::{Lock, QUICK, local};
use crate::support::rows::*;
use crate::support::vaults::*;
use crate::support::*;

/// Bigger than any record, small on disk.
const LARGE: usize = 40_000_000;

struct Stage {
    db: TestDb,
    vault: Vault,
    _hosts: Hosts,
}

impl Stage {
    async fn new() -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(ALL_COLUMNS).await;
        let vault = hosts.host(0, &db.url).timeouts(QUICK).build().await.unwrap();
        for user in ["user-1", "bystander"] {
            vault.store(&owner(user), &full_config(user)).await.unwrap();
        }
        Self { db, vault, _hosts: hosts }
    }

    async fn bystander_is_well(&self, what: &str) {
        let loaded = self.vault.load(&owner("bystander")).await.unwrap();
        assert_eq!(loaded.config, full_config("bystander"), "{what}");
        assert!(!loaded.stale, "{what}");
        let stored = self.vault.store(&owner("bystander"), &full_config("bystander")).await.unwrap();
        assert_eq!(stored.degraded, None, "{what}");
        assert!(!self.vault.status().await.unwrap().database.unwrap().breaker_open, "{what}");
    }
}

#[tokio::test]
async fn a_huge_value_is_an_error_for_its_owner_only() {
    let token = "rv1.00000001.0123456789abcdef.api_key.";
    let incompressible = "SELECT string_agg(md5(n::text), '') FROM generate_series(1, 400000) AS n";
    let huge = [
        format!("encrypted_retell_api_key = repeat('{token}', {})", LARGE / token.len()),
        format!("encrypted_retell_api_key = '{token}' || ({incompressible})"),
        format!("encrypted_sms_agent_id = '{token}' || repeat(' {token}', {})", LARGE / token.len()),
        format!(
            "encrypted_agent_config = jsonb_build_object('app', ({incompressible})) || encrypted_agent_config"
        ),
        format!(
            "encrypted_agent_config = jsonb_build_object('retell_vault', jsonb_build_object('record', '{token}' || ({incompressible})))"
        ),
        format!("webhook_config = ('[1' || repeat(',1', {}) || ']')::jsonb", LARGE / 20),
        format!("webhook_config = jsonb_build_object('app', ({incompressible}))"),
        format!("phone_number = repeat('1', {LARGE})"),
    ];
    for huge in huge {
        let stage = Stage::new().await;
        stage.db.exec(&format!("UPDATE user_profiles SET {huge} WHERE user_id = 'user-1'")).await;
        let what: String = huge.chars().take(90).collect();
        let started = Instant::now();
        let one = stage.vault.load(&owner("user-1")).await;
        let many = stage.vault.load_many(&[owner("user-1"), owner("bystander")]).await;
        assert_eq!(many[1].as_ref().unwrap().config, full_config("bystander"), "{what}");
        // a plain column may hold what the application likes; what is no value of the field does not count
        let is_plain = what.starts_with("webhook_config") || what.starts_with("phone_number");
        for loaded in [one.as_ref(), many[0].as_ref()] {
            match loaded {
                Ok(loaded) if is_plain => assert_eq!(loaded.ignored.len(), 1, "{what}"),
                Ok(loaded) => panic!("{what}: {loaded:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Malformed, "{what}: {error}"),
            }
        }
        assert!(started.elapsed() < faults::BOUND, "{what}: {:?}", started.elapsed());
        stage.bystander_is_well(&what).await;
        // the application's own part of a JSONB column is never overwritten
        let options = StoreOptions::new().replace_unreadable().replace_foreign();
        let stored = stage.vault.store_with(&owner("user-1"), &full_config("new"), options).await;
        if what.contains("'app'") && what.starts_with("encrypted_agent_config") {
            assert_eq!(stored.unwrap_err().kind(), ErrorKind::Unsealable, "{what}");
            let kept = "SELECT encrypted_agent_config ? 'app' FROM user_profiles WHERE user_id = 'user-1'";
            assert!(value::<bool>(&stage.db, kept).await, "{what}");
        }
        stage.bystander_is_well(&what).await;
    }
}

/// A statement that is too slow says nothing of the server: that is asked before callers are kept from it.
#[tokio::test]
async fn a_row_that_somebody_holds_opens_no_breaker() {
    let stage = Stage::new().await;
    let lock = Lock::on_row(&stage.db.url, "user-1").await;
    for _ in 0..4 {
        let stored = stage.vault.store(&owner("user-1"), &full_config("later")).await;
        assert!(stored.is_err() || stored.unwrap().degraded.is_some());
        stage.bystander_is_well("a row that is held").await;
    }
    lock.release().await;
    faults::until(async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stage.vault.sync().await.unwrap();
        local(&stage.vault).await.pending == 0
    })
    .await;
    stage.bystander_is_well("a row that was held").await;
}
