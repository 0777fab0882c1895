//! Vaults over a table whose old values are imported.

use retell_vault::config::import::{FoundField, ImportOptions, ImportReport, Passwords};
use retell_vault::config::{Credentials, Field};
use retell_vault::layout::OldSource;
use retell_vault::{Layout, RetellConfig, Vault};

use crate::support::TestDb;
use crate::support::vaults::*;

/// Where the vault stores, apart from the old values.
pub const RECORDS: &str = "CREATE TABLE records (user_id text PRIMARY KEY, encrypted_agent_config jsonb)";

pub fn field(name: &str) -> Field {
    name.parse().unwrap()
}

/// One old column of text that holds one field.
pub fn column(table: &str, column: &str, name: &str) -> OldSource {
    OldSource::new(table, "user_id", column, "plaintext").unwrap().field(field(name))
}

pub fn layout(sources: impl IntoIterator<Item = OldSource>) -> Layout {
    let layout = Layout::new().table("records").unwrap();
    sources.into_iter().fold(layout, |layout, source| layout.source(source).unwrap())
}

/// A database with these tables, and a vault over it.
pub struct Scene {
    pub db: TestDb,
    pub hosts: Hosts,
    pub vault: Vault,
}

impl Scene {
    pub async fn new(tables: &str, layout: Layout) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(RECORDS).await;
        db.exec(tables).await;
        let vault = hosts.host(0, &db.url).layout(layout).build().await.unwrap();
        Self { db, hosts, vault }
    }

    pub async fn import(&self) -> ImportReport {
        self.import_with(ImportOptions::new()).await
    }

    pub async fn import_and_clear(&self) -> ImportReport {
        self.import_with(ImportOptions::new().clear_source()).await
    }

    pub async fn import_with(&self, options: ImportOptions) -> ImportReport {
        self.vault.import(&Passwords::new(), &options, |_| Ok(())).await.unwrap()
    }

    /// One field of a record. `None`: there is no record, or the field is not set.
    pub async fn loaded(&self, user: &str, name: &str) -> Option<String> {
        let loaded = self.vault.load(&owner(user)).await.ok()?;
        text(&loaded.config, name)
    }
}

pub fn text(config: &RetellConfig, name: &str) -> Option<String> {
    config.to_values().take_text(field(name)).unwrap().map(|text| text.to_string())
}

pub fn key(config: &RetellConfig) -> String {
    text(config, "api_key").unwrap()
}

/// Stored, read back, cleared, nothing to do.
pub fn counts(report: &ImportReport) -> [u64; 4] {
    let progress = report.progress;
    [progress.sealed, progress.verified, progress.cleared, progress.already]
}

/// Whose values they are, which, and why.
pub fn named(list: &[FoundField]) -> Vec<(String, String, String)> {
    let named = list.iter().map(|found| {
        let name = found.field.map_or_else(String::new, |field| field.to_string());
        (found.user.clone(), name, found.reason.clone())
    });
    named.collect()
}

/// Every list of a report.
pub fn lists(report: &ImportReport) -> [&Vec<FoundField>; 5] {
    let ImportReport { unrecoverable, corrupt, not_credentials, disagreed, failed, .. } = report;
    [unrecoverable, corrupt, not_credentials, disagreed, failed]
}
