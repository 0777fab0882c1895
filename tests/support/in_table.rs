//! A keyring in the database of a test.

use std::time::Duration;

use retell_vault::connection::KeyringTable;
use retell_vault::keyring::{KeyId, KeyringPin};
use retell_vault::{Error, Keyring, Vault};

use super::TestDb;
use super::faults::number;
use super::vaults::*;

/// A database with a keyring in it, and its pin at the start.
pub struct Stage {
    pub db: TestDb,
    pub pin: KeyringPin,
}

impl Stage {
    pub async fn new() -> Self {
        let db = TestDb::create().await;
        db.exec(ALL_COLUMNS).await;
        let table = KeyringTable::postgres(&db.url).unwrap();
        table.create(&[]).await.unwrap();
        let keyring = table.prepare(&wrapping_key()).await.unwrap();
        Vault::builder(keyring.clone()).short_lived().postgres(&db.url).init().await.unwrap();
        Self { pin: keyring.pin(), db }
    }

    pub fn table(&self) -> KeyringTable {
        KeyringTable::postgres(&self.db.url).unwrap()
    }

    pub async fn open(&self) -> Result<Keyring, Error> {
        self.table().open(&self.pin, &wrapping_key()).await
    }

    /// A replica: its own connections, and no disk.
    pub async fn replica(&self) -> Vault {
        Vault::builder(self.open().await.unwrap()).postgres(&self.db.url).build().await.unwrap()
    }

    /// A new primary key, made in another place.
    pub async fn promote(&self) -> KeyId {
        let operator = self.open().await.unwrap();
        let key = operator.add_key().await.unwrap().id;
        operator.promote_key(key).await.unwrap().id
    }

    /// The key that sealed the record of an owner.
    pub async fn key_of(&self, user: &str) -> KeyId {
        let sql = format!(
            "SELECT coalesce(max(('x' || split_part(encrypted_retell_api_key, '.', 2))::bit(32)::bigint), 0) FROM user_profiles WHERE user_id = '{user}'"
        );
        format!("{:08x}", number(&self.db.url, &sql).await).parse().unwrap()
    }

    pub async fn rows(&self) -> i64 {
        number(&self.db.url, "SELECT count(*) FROM retell_vault.keyring").await
    }
}

/// Until a process may look at the table again.
pub async fn until_due() {
    tokio::time::sleep(Duration::from_millis(1050)).await;
}

/// Stores when a change of the table is due to be noticed.
pub async fn seal(vault: &Vault, user: &str) -> Result<(), Error> {
    until_due().await;
    vault.store(&owner(user), &small_config(user)).await.map(drop)
}
