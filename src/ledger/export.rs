//! Exports the ledger as lines of JSON.

use std::time::SystemTime;

use crate::chain::line::entry_line;
use crate::display::visible_json;
use crate::error::Result;
use crate::ledger::list::millis;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::vault_schema::objects::check_tables;
use crate::store::core::Core;
use crate::store::ledger::begun;

/// What [`Vault::export_ledger`](crate::Vault::export_ledger) exports. By default all entries.
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct LedgerExportOptions {
    since: Option<SystemTime>,
}

impl LedgerExportOptions {
    /// All entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only writers with an entry from this time on, by the clocks of their hosts. All their entries are exported, because a
    /// chain is checked from its first entry.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(time);
        self
    }
}

/// The result of [`Vault::export_ledger`](crate::Vault::export_ledger).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerExported {
    /// How many entries were exported.
    pub entries: u64,
    /// How many writers wrote them.
    pub writers: u64,
}

/// What the listener of an export returns an error for ends the export.
pub(crate) type LineListener<'a> = &'a mut (dyn FnMut(&str) -> Result<()> + Send);

pub(crate) async fn export_ledger(
    core: &Core,
    options: LedgerExportOptions,
    listener: LineListener<'_>,
) -> Result<LedgerExported> {
    all_lines(core, options, listener).await.map_err(|fault| fault.error)
}

async fn all_lines(
    core: &Core,
    options: LedgerExportOptions,
    listener: LineListener<'_>,
) -> Result<LedgerExported, DatabaseError> {
    let (postgres, _) = begun(core)?;
    check_tables(&postgres.database).await?;
    let mut export = postgres.export_entries(options.since.map(millis)).await?;
    let (mut exported, mut last) = (LedgerExported::default(), None);
    loop {
        let page = export.next().await?;
        if page.is_empty() {
            break;
        }
        for stored in &page {
            listener(&visible_json(&entry_line(&stored.entry, &stored.mac)))?;
            exported.entries += 1;
            exported.writers += u64::from(last.replace(stored.entry.writer) != Some(stored.entry.writer));
        }
        tokio::task::yield_now().await;
    }
    export.end().await?;
    Ok(exported)
}
