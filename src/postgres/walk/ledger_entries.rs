//! Reads entries of the ledger alone: selected ones with the newest first, or all in order for an export.

use sqlx::postgres::PgArguments;

use crate::chain::entry::StoredEntry;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::connection::pool::{Query, bind};
use crate::postgres::connection::snapshot::Snapshot;
use crate::postgres::connection::transaction::setting;
use crate::postgres::statements::plan::Postgres;
use crate::postgres::statements::with_entry::{LEDGER, column_names};
use crate::postgres::vault_schema::ledger::stored_entry;
use crate::postgres::walk::ledger::{PAGE, readable};

/// Which entries to read. What is `None` does not count.
#[derive(Debug, Clone, Default)]
pub(crate) struct EntrySelection {
    pub(crate) place: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) operation: Option<String>,
    /// The first time that counts, by the clock of the writer.
    pub(crate) since_ms: Option<i64>,
    /// The first time that does not count any more.
    pub(crate) until_ms: Option<i64>,
}

impl EntrySelection {
    /// At most so many of the entries, the newest first.
    fn query(&self, limit: u32) -> Result<Query, DatabaseError> {
        let (mut arguments, mut conditions) = (PgArguments::default(), Vec::new());
        let texts = [
            ("place =", &self.place),
            ("usr COLLATE \"C\" =", &self.user),
            ("tenant COLLATE \"C\" =", &self.tenant),
            ("actor =", &self.actor),
            ("op =", &self.operation),
        ];
        for (condition, text) in texts {
            if let Some(text) = text {
                bind(&mut arguments, text.as_str())?;
                conditions.push(format!("{condition} ${}::text", conditions.len() + 1));
            }
        }
        for (condition, time) in [("at_ms >=", self.since_ms), ("at_ms <", self.until_ms)] {
            if let Some(time) = time {
                bind(&mut arguments, time)?;
                conditions.push(format!("{condition} ${}::int8", conditions.len() + 1));
            }
        }
        let columns = column_names();
        let newest = format!("ORDER BY at_ms DESC, writer, seq DESC LIMIT {limit}");
        let part = |also: Option<&str>| {
            let all: Vec<&str> = conditions.iter().map(String::as_str).chain(also).collect();
            let all = if all.is_empty() { "true".to_owned() } else { all.join(" AND ") };
            format!("SELECT {columns} FROM {LEDGER} WHERE {all} {newest}")
        };
        let sql = match self.user {
            // entries with a version and those without are in an index each
            Some(_) => format!(
                "SELECT {columns} FROM (({}) UNION ALL ({})) AS e {newest}",
                part(Some("after IS NOT NULL")),
                part(Some("after IS NULL")),
            ),
            None => part(None),
        };
        Ok(Query { sql: sql.into(), arguments })
    }
}

impl Postgres {
    /// At most so many of the selected entries, the newest first. Two results are of different moments.
    pub(crate) async fn list_entries(
        &self,
        selection: &EntrySelection,
        limit: u32,
    ) -> Result<Vec<StoredEntry>, DatabaseError> {
        let query = selection.query(limit)?;
        let mut snapshot = self.database.snapshot().await?;
        readable(&mut snapshot, &["ledger"]).await?;
        let rows = snapshot.fetch(query).await?;
        snapshot.end().await?;
        rows.iter().map(stored_entry).collect()
    }

    /// Opens a snapshot of every entry of the writers that wrote one since then. `None`: of all writers.
    pub(crate) async fn export_entries(
        &self,
        since_ms: Option<i64>,
    ) -> Result<EntryExport<'_>, DatabaseError> {
        let mut arguments = PgArguments::default();
        let mut writers = String::new();
        if let Some(since) = since_ms {
            bind(&mut arguments, since)?;
            writers =
                format!("WHERE writer IN (SELECT s.writer FROM {LEDGER} AS s WHERE s.at_ms >= $1::int8)");
        }
        let columns = column_names();
        let sql = format!(
            "DECLARE entries NO SCROLL CURSOR FOR SELECT {columns} FROM {LEDGER} {writers} ORDER BY writer, seq"
        );
        let mut snapshot = self.database.snapshot().await?;
        readable(&mut snapshot, &["ledger"]).await?;
        snapshot.fetch(Query { sql: sql.into(), arguments }).await?;
        Ok(EntryExport { snapshot })
    }
}

/// An export under way.
pub(crate) struct EntryExport<'d> {
    snapshot: Snapshot<'d>,
}

impl EntryExport<'_> {
    /// The next entries by writer and number. Empty at the end.
    pub(crate) async fn next(&mut self) -> Result<Vec<StoredEntry>, DatabaseError> {
        let rows = self.snapshot.fetch(setting(&format!("FETCH FORWARD {PAGE} FROM entries"))).await?;
        rows.iter().map(stored_entry).collect()
    }

    pub(crate) async fn end(self) -> Result<(), DatabaseError> {
        self.snapshot.end().await
    }
}
