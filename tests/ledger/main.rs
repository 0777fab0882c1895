//! The ledger: every change has an entry, which can be verified.

mod accept;
mod actors;
mod after_restore;
mod campaign;
mod changes;
mod checkpoints;
mod copies;
mod export;
mod fresh;
mod list;
mod local;
mod prune;
mod reads;
mod removed;
mod rights;
#[path = "../support/mod.rs"]
mod support;
mod tampering;
mod work;

use retell_vault::ledger::{LedgerCopies, LedgerVerification};
use retell_vault::schema::{ApplyOptions, Profile, Wanted};
use retell_vault::{Owner, Vault};
use support::TestDb;
use support::faults::number;
use support::vaults::*;

const ENTRIES: &str = "SELECT count(*) FROM retell_vault.ledger";

const BACK_UP: &str = "DROP SCHEMA IF EXISTS backup CASCADE; CREATE SCHEMA backup;
    CREATE TABLE backup.profiles AS SELECT * FROM user_profiles;
    CREATE TABLE backup.ledger AS SELECT * FROM retell_vault.ledger;
    CREATE TABLE backup.removed AS SELECT * FROM retell_vault.removed";
const RESTORE: &str = "TRUNCATE user_profiles, retell_vault.ledger, retell_vault.removed;
    INSERT INTO user_profiles SELECT * FROM backup.profiles;
    INSERT INTO retell_vault.ledger SELECT * FROM backup.ledger;
    INSERT INTO retell_vault.removed SELECT * FROM backup.removed";

/// A database with a ledger, and a vault on it.
pub(crate) struct Stage {
    pub(crate) db: TestDb,
    pub(crate) hosts: Hosts,
    pub(crate) vault: Vault,
}

impl Stage {
    /// A database with the table of the ledger.
    pub(crate) async fn new() -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(ALL_COLUMNS).await;
        let vault = hosts.host(0, &db.url).build().await.unwrap();
        let wanted = Wanted::from(Profile::Credentials).vault_schema();
        let plan = vault.schema().plan(wanted).await.unwrap();
        vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
        Self { db, hosts, vault }
    }

    /// The same, once the ledger is begun.
    pub(crate) async fn begun() -> Self {
        let stage = Self::new().await;
        stage.vault.begin_ledger().await.unwrap();
        stage
    }

    pub(crate) async fn store(&self, id: &str) -> Owner {
        let owner = owner(id);
        self.vault.store(&owner, &full_config(id)).await.unwrap();
        owner
    }

    pub(crate) async fn verify(&self) -> LedgerVerification {
        self.vault.verify_ledger(&LedgerCopies::new()).await.unwrap()
    }

    /// What a backup would hold now.
    pub(crate) async fn back_up(&self) {
        self.db.exec(BACK_UP).await;
    }

    /// The whole database is as it was.
    pub(crate) async fn restore(&self) {
        self.db.exec(RESTORE).await;
    }

    pub(crate) async fn entries(&self) -> i64 {
        number(&self.db.url, ENTRIES).await
    }

    /// How many entries of this operation there are.
    pub(crate) async fn of(&self, operation: &str) -> i64 {
        number(&self.db.url, &format!("{ENTRIES} WHERE op = '{operation}'")).await
    }
}

/// The number in an environment variable, which makes a campaign longer.
pub(crate) fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}
