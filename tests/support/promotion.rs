//! What the tests of promotion share.

use retell_vault::records::Version;
use retell_vault::rotation::{PromoteEvent, PromoteOptions, PromoteProgress, Promotion, UnreadableRow};
use retell_vault::{Error, Layout, Owner, Vault};

use super::TestDb;
use super::faults::BOUND;
use super::rows::{owners, value};
use super::vaults::{Hosts, full_config};

/// A row without what differs between two owners: every token is reduced to its field.
const FORMS: &str = r#"SELECT jsonb_agg(DISTINCT form)::text FROM (
    SELECT regexp_replace((to_jsonb(t) - 'id' - 'user_id' - 'tenant_id' - 'last_retell_sync')::text,
        'rv1\.[0-9a-f]{8}\.[0-9a-f]{16}\.([a-z_]+)\.[A-Za-z0-9_-]+', '\1', 'g') AS form FROM "#;

/// The one column in which everything is packed.
pub const PACKED: &str =
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)";

/// The columns that [`PACKED`] lacks.
pub const ADD_ALL: &str = "ALTER TABLE user_profiles ADD encrypted_call_agent_id text,
    ADD encrypted_sms_agent_id text, ADD encrypted_agent_config jsonb, ADD phone_number text,
    ADD webhook_config jsonb, ADD retell_integration_status text, ADD last_retell_sync timestamptz;
    COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell';
    COMMENT ON COLUMN user_profiles.webhook_config IS 'retell-vault: webhook_config of retell'";

/// A table with a record for every owner.
pub struct Stage {
    pub db: TestDb,
    pub hosts: Hosts,
    pub layout: Layout,
    pub owners: Vec<Owner>,
    pub versions: Vec<Version>,
}

impl Stage {
    pub async fn on(table: &str, users: usize) -> Self {
        Self::with(table, Layout::new(), owners(users)).await
    }

    pub async fn with(table: &str, layout: Layout, owners: Vec<Owner>) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(table).await;
        let mut stage = Self { db, hosts, layout, owners, versions: Vec::new() };
        let vault = stage.vault(9).await;
        let numbered = stage.owners.iter().cloned().enumerate();
        let configs: Vec<_> = numbered.map(|(n, owner)| (owner, full_config(n))).collect();
        for stored in vault.store_many(&configs).await.unwrap() {
            let stored = stored.unwrap();
            assert_eq!(stored.degraded, None);
            stage.versions.push(stored.version);
        }
        vault.close().await;
        stage
    }

    /// A newly opened vault.
    pub async fn vault(&self, host: usize) -> Vault {
        self.hosts.host(host, &self.db.url).layout(self.layout.clone()).build().await.unwrap()
    }

    /// Every owner has what was stored, at the version of that store.
    pub async fn all_load(&self) {
        let vault = self.vault(8).await;
        let loaded = vault.load_many(&self.owners).await;
        for (number, (owner, loaded)) in self.owners.iter().zip(loaded).enumerate() {
            let loaded = loaded.unwrap();
            assert_eq!(
                (loaded.version, loaded.config),
                (self.versions[number], full_config(number)),
                "{owner}"
            );
            assert!(loaded.ignored.is_empty());
        }
        vault.close().await;
    }

    /// The different forms of the rows.
    pub async fn forms(&self, table: &str) -> String {
        value(&self.db, &format!("{FORMS} {table} AS t) AS forms")).await
    }

    /// Promotes everything: every owner loads as before, and every row has the form that a store gives it today.
    pub async fn promotes(&self, table: &str, newcomer: &Owner) {
        let vault = self.vault(0).await;
        self.all_load().await;
        let (promotion, left) = promote(&vault).await.unwrap();
        assert!(promotion.complete && left.is_empty(), "{promotion:?} {left:?}");
        assert_eq!((promotion.rows, promotion.promoted), (self.owners.len() as u64, promotion.rows));
        assert_eq!((promotion.changed, promotion.unreadable), (0, 0));
        self.all_load().await;
        // a second run finds nothing to do
        let before = super::rows::table(&self.db, table).await;
        let (again, left) = promote(&vault).await.unwrap();
        assert!(again.complete && again.promoted == 0 && again.passes == 1 && left.is_empty(), "{again:?}");
        assert_eq!(super::rows::table(&self.db, table).await, before);
        let form = self.forms(table).await;
        vault.store(newcomer, &full_config("newcomer")).await.unwrap();
        assert_eq!(self.forms(table).await, form);
    }
}

/// Small batches, so that there are several.
pub fn small() -> PromoteOptions {
    PromoteOptions::new().batch(5)
}

/// Promotes, and returns what stays in the last pass.
pub async fn promote(vault: &Vault) -> Result<(Promotion, Vec<UnreadableRow>), Error> {
    let mut left = Vec::new();
    let listener = |event: PromoteEvent<'_>| match event {
        PromoteEvent::Pass(_) => left.clear(),
        PromoteEvent::Unreadable(row) => left.push(row.clone()),
        _ => {}
    };
    let options = small();
    let promotion = tokio::time::timeout(BOUND * 3, vault.promote(&options, listener));
    let promotion = promotion.await.expect("a promotion ends")?;
    Ok((promotion, left))
}

/// Promotes until this many batches are done, and drops the future there.
pub async fn promote_until(vault: &Vault, so_far: impl Fn(&PromoteProgress) -> bool + Send + Sync) {
    let under_way = tokio::sync::Notify::new();
    let listener = |event: PromoteEvent<'_>| match event {
        PromoteEvent::Batch(progress) if so_far(progress) => under_way.notify_one(),
        _ => {}
    };
    let options = small();
    tokio::select! {
        biased;
        () = under_way.notified() => {}
        done = vault.promote(&options, listener) => panic!("it ended before it could be dropped: {done:?}"),
    }
}
