//! Entries of the ledger about changes of this file. Each is added together with its change, and waits until the ledger takes
//! it.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
use uuid::Uuid;

use crate::chain::line::entry_line;
use crate::chain::local_event::LocalEvent;
use crate::chain::numbers::KnownHead;
use crate::error::Result;
use crate::local::entries::UnsentEntry;

use crate::local::file::{LocalFile, OpenFile};

/// How many entries wait at most: about 64 MiB.
const MAX_UNSENT: i64 = 100_000;

// of this handle: a copy of the file must not go on under numbers that the original has used since
const LAST: &str =
    "SELECT writer, number, head FROM ledger_unsent WHERE handle = ?1 ORDER BY id DESC LIMIT 1";
const WAITING: &str = "SELECT (SELECT max(id) FROM ledger_unsent) - (SELECT min(id) FROM ledger_unsent) + 1";
const ADD: &str = "INSERT INTO ledger_unsent (handle, writer, number, head, tenant, user, line)
 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const LOST: &str = "SELECT value FROM meta WHERE name = 'ledger_lost'";
const PUT_LOST: &str = "INSERT INTO meta (name, value) VALUES ('ledger_lost', ?1)
 ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const FORGET_LOST: &str = "DELETE FROM meta WHERE name = 'ledger_lost'";
const FIRST: &str =
    "SELECT id, writer, number, head, line, keeps_copy FROM ledger_unsent ORDER BY id LIMIT ?1";
const COUNT: &str = "SELECT count(*) FROM ledger_unsent";
const REMOVE: &str = "DELETE FROM ledger_unsent WHERE id <= ?1";

impl LocalFile {
    /// The first entries that wait, in their order.
    pub(crate) async fn unsent(&self, limit: u32) -> Result<Vec<UnsentEntry>> {
        let get = || sqlx::query(FIRST).bind(limit).fetch_all(&self.inner.readers);
        self.read(get).await?.iter().map(|row| self.unsent_entry(row)).collect()
    }

    fn unsent_entry(&self, row: &SqliteRow) -> Result<UnsentEntry> {
        Ok(UnsentEntry {
            id: self.column(row, "id")?,
            line: self.column(row, "line")?,
            head: head_of(row),
            keeps_copy: self.column(row, "keeps_copy")?,
        })
    }

    /// How many entries wait.
    pub(crate) async fn count_unsent(&self) -> Result<u64> {
        let count: i64 = self.read(|| sqlx::query_scalar(COUNT).fetch_one(&self.inner.readers)).await?;
        Ok(count.try_into().unwrap_or(0))
    }

    /// The ledger has every entry up to this one.
    pub(crate) async fn remove_unsent(&self, last: i64) -> Result<()> {
        let remove =
            || async move { sqlx::query(REMOVE).bind(last).execute(&self.inner.writer).await.map(drop) };
        self.write(remove).await
    }
}

impl OpenFile {
    /// Adds the entry about a change to the transaction of the change. If too many wait, it is only counted, and the next entry
    /// says so.
    pub(super) async fn note_change(
        &self,
        transaction: &mut Transaction<'_, Sqlite>,
        event: Option<&LocalEvent>,
        records: Option<u64>,
    ) -> sqlx::Result<()> {
        let Some(event) = event else { return Ok(()) };
        let lost: Option<String> = sqlx::query_scalar(LOST).fetch_optional(&mut **transaction).await?;
        let lost = lost.and_then(|lost| lost.parse().ok()).unwrap_or(0_u64);
        let waiting: Option<i64> = sqlx::query_scalar(WAITING).fetch_one(&mut **transaction).await?;
        if waiting.is_some_and(|waiting| waiting >= MAX_UNSENT) {
            let lost = (lost + 1).to_string();
            return sqlx::query(PUT_LOST).bind(lost).execute(&mut **transaction).await.map(drop);
        }
        if lost > 0 {
            sqlx::query(FORGET_LOST).execute(&mut **transaction).await?;
        }
        let last = sqlx::query(LAST).bind(&self.handle).fetch_optional(&mut **transaction).await?;
        let counts = [("lost", lost), ("records", records.unwrap_or(0))];
        let (sealed, head) = event.after(last.as_ref().and_then(head_of).as_ref(), &counts);
        let event = &sealed.entry.event;
        let query = sqlx::query(ADD)
            .bind(&self.handle)
            .bind(head.writer.to_string())
            .bind(head.settled)
            .bind(head.head.as_slice())
            .bind(event.tenant.as_deref().unwrap_or_default())
            .bind(event.user.as_deref().unwrap_or_default())
            .bind(entry_line(&sealed.entry, &sealed.mac));
        query.execute(&mut **transaction).await.map(drop)
    }
}

/// `None` if the file is damaged there. The next entry then begins a new writer.
fn head_of(row: &SqliteRow) -> Option<KnownHead> {
    let writer = Uuid::parse_str(row.try_get("writer").ok()?).ok()?;
    let head: &[u8] = row.try_get("head").ok()?;
    Some(KnownHead { writer, settled: row.try_get("number").ok()?, head: head.try_into().ok()? })
}
