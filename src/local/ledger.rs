//! Copies of what this host wrote to the ledger. They do not go back when the database does.

use sqlx::Row;

use crate::error::Result;
use crate::record::version::Millis;

use crate::local::entries::{LedgerLine, LedgerLines};
use crate::local::errors;
use crate::local::file::{LocalFile, to_sql};

/// How many entries are kept that name a state of a record, and how many others, such as those of reads: about 64 MiB together.
const MAX_ENTRIES: i64 = 60_000;
const MAX_NOTES: i64 = 30_000;
/// How many heads are kept. Every run of a process has one.
const MAX_HEADS: i64 = 100_000;
/// How long entries are kept: 7 days.
const KEPT: Millis = 7 * 24 * 60 * 60 * 1000;
/// How many lines are read at once.
const PAGE: i64 = 1000;

const PUT_HEAD: &str = "INSERT INTO ledger_head (writer, number, line) VALUES (?1, ?2, ?3)
 ON CONFLICT (writer) DO UPDATE SET number = excluded.number, line = excluded.line
 WHERE ledger_head.number < excluded.number";
const PUT_ENTRY: &str = "INSERT INTO ledger_entry (writer, number, tenant, user, line, at)
 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
const PUT_NOTE: &str = "INSERT INTO ledger_note (writer, number, tenant, user, line, at)
 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
const REMOVE_OLD: &str = "DELETE FROM ledger_entry WHERE at < ?1";
const REMOVE_OLD_NOTES: &str = "DELETE FROM ledger_note WHERE at < ?1";
const REMOVE_NOTES: &str = "DELETE FROM ledger_note WHERE id <= (SELECT max(id) FROM ledger_note) - ?1";
const REMOVE_ENTRIES: &str = "DELETE FROM ledger_entry WHERE id <= (SELECT max(id) FROM ledger_entry) - ?1";
const REMOVE_HEADS: &str = "DELETE FROM ledger_head WHERE id <= (SELECT max(id) FROM ledger_head) - ?1";
const HEADS: &str = "SELECT id, line FROM ledger_head WHERE id > ?1 ORDER BY id LIMIT ?2";
const ENTRIES: &str = "SELECT id, line FROM ledger_entry WHERE id > ?1 ORDER BY id LIMIT ?2";
const NOTES: &str = "SELECT id, line FROM ledger_note WHERE id > ?1 ORDER BY id LIMIT ?2";

impl LocalFile {
    /// Keeps copies, and removes those that are too old or too many. All of it happens, or nothing.
    pub(crate) async fn put_ledger_copies(&self, copies: &LedgerLines, now: Millis) -> Result<()> {
        let put = || async move {
            let mut transaction = self.inner.writer.begin_with("BEGIN IMMEDIATE").await?;
            for LedgerLine { writer, number, line, .. } in &copies.heads {
                let query = sqlx::query(PUT_HEAD).bind(writer).bind(number).bind(line);
                query.execute(&mut *transaction).await?;
            }
            for LedgerLine { writer, number, tenant, user, is_state, line } in &copies.entries {
                let put = if *is_state { PUT_ENTRY } else { PUT_NOTE };
                let query = sqlx::query(put).bind(writer).bind(number).bind(tenant).bind(user);
                query.bind(line).bind(to_sql(now)).execute(&mut *transaction).await?;
            }
            let removals = [
                (REMOVE_OLD, to_sql(now.saturating_sub(KEPT))),
                (REMOVE_OLD_NOTES, to_sql(now.saturating_sub(KEPT))),
                (REMOVE_ENTRIES, MAX_ENTRIES),
                (REMOVE_NOTES, MAX_NOTES),
                (REMOVE_HEADS, MAX_HEADS),
            ];
            for (sql, limit) in removals {
                sqlx::query(sql).bind(limit).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        };
        self.write(put).await
    }

    /// The lines of all heads, then those of all entries.
    pub(crate) async fn ledger_lines(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for sql in [HEADS, ENTRIES, NOTES] {
            let mut after = 0_i64;
            loop {
                let get = || sqlx::query(sql).bind(after).bind(PAGE).fetch_all(&self.inner.readers);
                let rows = self.read(get).await?;
                let Some(last) = rows.last() else { break };
                after = last.try_get("id").map_err(|_| errors::odd_row(self.path()))?;
                for row in &rows {
                    lines.push(self.column(row, "line")?);
                }
            }
        }
        Ok(lines)
    }
}
