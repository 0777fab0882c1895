//! What the tests of key rotation share.

use std::time::Duration;

use retell_vault::keyring::KeyId;
use retell_vault::rotation::{
    DestroyOptions, RotateEvent, RotateOptions, RotateProgress, Rotation, TokenPlace, UnreadableRow,
};
use retell_vault::{Error, ErrorKind, Layout, Owner, Vault};
use tokio::sync::Notify;

use super::TestDb;
use super::faults::BOUND;
use super::rows::{owners, value};
use super::vaults::{Hosts, full_config};

/// Every token without its key and its body: a rotation must not change this part of a table, byte for byte.
const FORMS: &str = r#"SELECT coalesce(jsonb_agg(form ORDER BY form COLLATE "C"), '[]')::text FROM (
    SELECT regexp_replace(to_jsonb(t)::text, 'rv1\.[0-9a-f]{8}\.([0-9a-f]{16}\.[a-z_]+\.)[A-Za-z0-9_-]+', 'rv1.key.\1body', 'g')
    AS form FROM "#;

/// A new primary key, created by an operator in a separate process. Returns the old one and the new one.
pub async fn promote(hosts: &Hosts) -> (KeyId, KeyId) {
    let keyring = hosts.keyring();
    let old = primary(hosts);
    let new = keyring.add_key().await.unwrap().id;
    keyring.promote_key(new).await.unwrap();
    (old, new)
}

pub fn primary(hosts: &Hosts) -> KeyId {
    let keys = hosts.keyring().keys();
    keys.iter().find(|key| key.state == retell_vault::keyring::KeyState::Primary).unwrap().id
}

/// Longer than any process takes to read the keyring again.
pub async fn until_taken_up() {
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

/// Small batches, so that there are several.
pub fn small() -> RotateOptions {
    RotateOptions::new().batch(5).jobs(2)
}

/// A row at a time.
pub fn single() -> RotateOptions {
    RotateOptions::new().batch(1).jobs(1)
}

/// Destroys without waiting for a day, and without other hosts.
pub fn at_once() -> DestroyOptions {
    DestroyOptions::new().force().other_hosts_synced()
}

/// Rotates, and returns what could not be opened in the last pass.
pub async fn rotate(vault: &Vault, options: &RotateOptions) -> Result<(Rotation, Vec<UnreadableRow>), Error> {
    let mut unreadable = Vec::new();
    let listener = |event: RotateEvent<'_>| match event {
        RotateEvent::Pass(_) => unreadable.clear(),
        RotateEvent::Unreadable(row) => unreadable.push(row.clone()),
        _ => {}
    };
    let rotation = tokio::time::timeout(BOUND * 3, vault.rotate(options, listener));
    let rotation = rotation.await.expect("a rotation ends")?;
    Ok((rotation, unreadable))
}

/// Rotates, and does something else as soon as it has progressed this far.
pub async fn rotate_and(
    vault: &Vault,
    options: &RotateOptions,
    so_far: impl Fn(&RotateProgress) -> bool + Send + Sync,
    meanwhile: impl Future<Output = ()>,
) -> Result<Rotation, Error> {
    let under_way = Notify::new();
    let listener = |event: RotateEvent<'_>| match event {
        RotateEvent::Batch(progress) if so_far(progress) => under_way.notify_one(),
        _ => {}
    };
    let both = async {
        tokio::join!(vault.rotate(options, listener), async {
            under_way.notified().await;
            meanwhile.await;
        })
    };
    tokio::time::timeout(BOUND * 3, both).await.expect("a rotation that comes so far, and ends").0
}

/// A rotation after which no token is left under another key.
pub async fn completes(vault: &Vault) -> Rotation {
    let (rotation, unreadable) = rotate(vault, &small()).await.unwrap();
    assert!(rotation.complete, "{rotation:?} {unreadable:?}");
    rotation
}

/// Destroying is refused, and the error names the reason.
pub async fn refuses_to_destroy(vault: &Vault, key: KeyId, place: &str) {
    let error = vault.destroy_key(key, at_once()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyInUse, "{error:?}");
    assert!(error.to_string().contains(place), "{error}");
}

/// A table with records under the first key, and a keyring that has a second one.
pub struct Stage {
    pub db: TestDb,
    pub hosts: Hosts,
    pub layout: Layout,
    pub owners: Vec<Owner>,
    pub old: KeyId,
    pub new: KeyId,
}

impl Stage {
    /// This many users over the default layout.
    pub async fn on(columns: &str, users: usize) -> Self {
        Self::with(columns, Layout::new(), owners(users)).await
    }

    pub async fn with(columns: &str, layout: Layout, owners: Vec<Owner>) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(columns).await;
        let mut stage = Self { db, old: primary(&hosts), new: primary(&hosts), hosts, layout, owners };
        stage.store_all().await;
        (stage.old, stage.new) = promote(&stage.hosts).await;
        stage
    }

    async fn store_all(&self) {
        let vault = self.vault(9).await;
        let owners = self.owners.iter().cloned().enumerate();
        let configs: Vec<_> = owners.map(|(n, owner)| (owner, full_config(n))).collect();
        for stored in vault.store_many(&configs).await.unwrap() {
            assert_eq!(stored.unwrap().degraded, None);
        }
        vault.close().await;
    }

    /// A newly opened vault.
    pub async fn vault(&self, host: usize) -> Vault {
        self.vault_at(host, &self.db.url).await
    }

    pub async fn vault_at(&self, host: usize, url: &str) -> Vault {
        self.hosts.host(host, url).layout(self.layout.clone()).build().await.unwrap()
    }

    pub async fn all_load(&self) {
        self.all_load_besides(&[]).await;
    }

    /// Every owner has what was stored, according to a newly opened vault.
    pub async fn all_load_besides(&self, unreadable: &[&str]) {
        let vault = self.vault(8).await;
        let loaded = vault.load_many(&self.owners).await;
        for (number, (owner, loaded)) in self.owners.iter().zip(loaded).enumerate() {
            if !unreadable.contains(&owner.to_string().as_str()) {
                assert_eq!(loaded.unwrap().config, full_config(number), "{owner}");
            }
        }
        vault.close().await;
    }

    /// The table without keys and bodies.
    pub async fn forms(&self, table: &str) -> String {
        value(&self.db, &format!("{FORMS} {table} AS t) AS forms")).await
    }

    /// Rotates with small batches: complete, nothing but keys and bodies has changed, and every owner loads.
    pub async fn rotates(&self, table: &str) -> Rotation {
        let before = self.forms(table).await;
        let vault = self.vault(0).await;
        let rotation = completes(&vault).await;
        assert_eq!((rotation.key, rotation.token_counts.tokens_of(self.old)), (self.new, 0));
        assert!(rotation.unreadable.is_empty(), "{rotation:?}");
        assert_eq!(self.forms(table).await, before);
        self.all_load().await;
        // a second run finds nothing to do
        let (again, _) = rotate(&vault, &small()).await.unwrap();
        assert!(again.complete && again.progress.resealed == 0 && again.progress.pass == 1, "{again:?}");
        rotation
    }
}

/// The columns that hold tokens of a key.
pub fn columns_of(rotation: &Rotation, key: KeyId) -> Vec<String> {
    let column = |place: &TokenPlace| match place {
        TokenPlace::Column(column) => column.clone(),
        other => other.to_string(),
    };
    rotation.token_counts.of(key).map(|count| column(&count.place)).collect()
}
