//! Everything in the local file besides pending records: replicas, kept texts, canaries.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::chain::local_event::LocalEvent;
use crate::error::Result;
use crate::local::entries::{Base, Counts, Kept, KeptKind, LocalRecord, OwnerRows};
use crate::record::owner::Owner;
use crate::record::token::{KeyId, VERSION_AT, VERSION_LEN};
use crate::record::version::{Millis, Version};

use crate::local::errors;
use crate::local::file::{LocalFile, tenant, to_sql};
use crate::local::pending::REMOVE;

/// The length of the part of a token that names suite, key and version.
const HEAD: i64 = (VERSION_AT + VERSION_LEN) as i64;

// The same text is kept once, and so is a superseded record, identified by its key and version: sync may come here again
// after it was interrupted.
pub(super) const KEEP: &str = "INSERT INTO kept (tenant, user, kind, text, reason, at)
 SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS
 (SELECT 1 FROM kept WHERE tenant = ?1 AND user = ?2 AND kind = ?3
  AND (text = ?4 OR (?3 = 'loser' AND length(?4) > ?7 AND substr(text, 1, ?7) = substr(?4, 1, ?7))))";
// the same, of what is pending
const KEEP_PENDING: &str =
    "INSERT INTO kept (tenant, user, kind, text, reason, at, version, base, stored_at, waits_for, database)
 SELECT tenant, user, ?3, text, ?5, ?6, version, base, at, waits_for, database FROM pending
 WHERE tenant = ?1 AND user = ?2 AND text = ?4 AND NOT EXISTS
 (SELECT 1 FROM kept WHERE tenant = ?1 AND user = ?2 AND kind = ?3
  AND (text = ?4 OR (?3 = 'loser' AND length(?4) > ?7 AND substr(text, 1, ?7) = substr(?4, 1, ?7))))";
const KEPT_AFTER: &str = "SELECT id, tenant, user, kind, text, reason, at FROM kept
 WHERE id > ?1 ORDER BY id LIMIT ?2";
// what the database never took exists nowhere else: only an operator drops it
const PURGE: &str = "DELETE FROM kept WHERE at < ?1 AND kind <> 'dead-letter'";
// a replica of another database says nothing about this one
const PUT_REPLICA: &str = "INSERT INTO replica (tenant, user, rows, database, version, text, at)
 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (tenant, user, rows) DO UPDATE
 SET database = excluded.database, version = excluded.version, text = excluded.text, at = excluded.at
 WHERE replica.version < excluded.version
 OR NOT (replica.database = excluded.database OR '' IN (replica.database, excluded.database))";
const REPLICA: &str = "SELECT tenant, user, rows, database, version, text, at FROM replica
 WHERE tenant = ?1 AND user = ?2 AND rows = ?3 AND (database IN ('', ?4) OR ?4 = '')";
const NEVER_RETRY: &str =
    "UPDATE kept SET version = NULL WHERE tenant = ?1 AND user = ?2 AND kind = 'dead-letter'";
const REMOVE_REPLICA: &str = "DELETE FROM replica WHERE tenant = ?1 AND user = ?2 AND rows = ?3";
const COUNTS: &str = "SELECT (SELECT count(*) FROM pending), (SELECT count(*) FROM replica),
 (SELECT count(*) FROM kept WHERE kind = 'loser'), (SELECT count(*) FROM kept WHERE kind = 'replaced'),
 (SELECT count(*) FROM kept WHERE kind = 'dead-letter')";
const OWNER_COUNTS: &str = "SELECT (SELECT count(*) FROM pending WHERE tenant = ?1 AND user = ?2),
 (SELECT count(*) FROM replica WHERE tenant = ?1 AND user = ?2),
 (SELECT count(*) FROM kept WHERE tenant = ?1 AND user = ?2 AND kind = 'loser'),
 (SELECT count(*) FROM kept WHERE tenant = ?1 AND user = ?2 AND kind = 'replaced'),
 (SELECT count(*) FROM kept WHERE tenant = ?1 AND user = ?2 AND kind = 'dead-letter')";
// an entry that the ledger has not taken yet must not go: the number would be missing there
const FORGET: [&str; 6] = [
    "DELETE FROM pending WHERE tenant = ?1 AND user = ?2",
    "DELETE FROM replica WHERE tenant = ?1 AND user = ?2",
    "DELETE FROM kept WHERE tenant = ?1 AND user = ?2",
    "DELETE FROM ledger_entry WHERE tenant = ?1 AND user = ?2",
    "DELETE FROM ledger_note WHERE tenant = ?1 AND user = ?2",
    "UPDATE ledger_unsent SET keeps_copy = 0 WHERE tenant = ?1 AND user = ?2",
];
const HOLDS: &str = "SELECT EXISTS (SELECT 1 FROM pending) OR EXISTS (SELECT 1 FROM replica)
 OR EXISTS (SELECT 1 FROM kept)";
const CANARIES: &str = "SELECT key, sealed FROM canary ORDER BY key";
const PUT_CANARY: &str = "INSERT INTO canary (key, sealed) VALUES (?1, ?2)
 ON CONFLICT (key) DO UPDATE SET sealed = excluded.sealed";

impl KeptKind {
    const ALL: [Self; 3] = [Self::Superseded, Self::Replaced, Self::DeadLetter];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Superseded => "loser",
            Self::Replaced => "replaced",
            Self::DeadLetter => "dead-letter",
        }
    }
}

impl LocalFile {
    /// Keeps a text for the operator; the same text of the same kind once only.
    pub(crate) async fn keep(
        &self,
        owner: &Owner,
        kind: KeptKind,
        text: &str,
        reason: &str,
        at: Millis,
    ) -> Result<()> {
        let keep = || async move {
            let done = sqlx::query(KEEP)
                .bind(tenant(owner))
                .bind(owner.user_id().as_str())
                .bind(kind.name())
                .bind(text)
                .bind(reason)
                .bind(to_sql(at))
                .bind(HEAD)
                .execute(&self.inner.writer);
            done.await.map(drop)
        };
        self.write(keep).await
    }

    /// Moves exactly this text from the pending records to those that are kept, with all that is known of it. On error, and when
    /// the future is dropped, both or neither has happened.
    pub(crate) async fn set_pending_aside(
        &self,
        owner: &Owner,
        text: &str,
        kind: KeptKind,
        reason: &str,
        at: Millis,
        event: Option<&LocalEvent>,
    ) -> Result<()> {
        let set_aside = || async move {
            let mut transaction = self.inner.writer.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(KEEP_PENDING)
                .bind(tenant(owner))
                .bind(owner.user_id().as_str())
                .bind(kind.name())
                .bind(text)
                .bind(reason)
                .bind(to_sql(at))
                .bind(HEAD)
                .execute(&mut *transaction)
                .await?;
            let removed = sqlx::query(REMOVE)
                .bind(tenant(owner))
                .bind(owner.user_id().as_str())
                .bind(text)
                .execute(&mut *transaction)
                .await?;
            self.inner
                .note_change(&mut transaction, event.filter(|_| removed.rows_affected() > 0), None)
                .await?;
            transaction.commit().await
        };
        self.write(set_aside).await
    }

    /// Up to `limit` kept texts after this id, in the order in which they came.
    pub(crate) async fn kept_after(&self, after_id: i64, limit: u32) -> Result<Vec<Kept>> {
        let get = || sqlx::query(KEPT_AFTER).bind(after_id).bind(limit).fetch_all(&self.inner.readers);
        self.read(get).await?.iter().map(|row| self.kept(row)).collect()
    }

    fn kept(&self, row: &SqliteRow) -> Result<Kept> {
        let name: &str = self.column(row, "kind")?;
        let kind = KeptKind::ALL.into_iter().find(|kind| kind.name() == name);
        Ok(Kept {
            id: self.column(row, "id")?,
            owner: self.owner(row)?,
            kind: kind.ok_or_else(|| errors::odd_row(self.path()))?,
            text: self.column(row, "text")?,
            reason: self.column(row, "reason")?,
            at: self.at(row)?,
        })
    }

    /// Erases superseded records and replaced texts that were kept before this time, and returns how many.
    pub(crate) async fn purge_kept(&self, before: Millis) -> Result<u64> {
        let purge = || async move {
            let done = sqlx::query(PURGE).bind(to_sql(before)).execute(&self.inner.writer);
            Ok(done.await?.rows_affected())
        };
        self.write(purge).await
    }

    /// Stores what the database held at this time, unless there is a newer replica.
    pub(crate) async fn put_replica(
        &self,
        owner: &Owner,
        rows: &OwnerRows,
        version: Version,
        text: &str,
        at: Millis,
    ) -> Result<()> {
        let put = || async move {
            let done = sqlx::query(PUT_REPLICA)
                .bind(tenant(owner))
                .bind(owner.user_id().as_str())
                .bind(rows.table.as_str())
                .bind(rows.database.as_str())
                .bind(version.to_string())
                .bind(text)
                .bind(to_sql(at))
                .execute(&self.inner.writer);
            done.await.map(drop)
        };
        self.write(put).await
    }

    /// Drops the replica of an owner for which these rows hold nothing any more.
    pub(crate) async fn remove_replica(&self, owner: &Owner, rows: &OwnerRows) -> Result<()> {
        let remove = || async move {
            let done = sqlx::query(REMOVE_REPLICA)
                .bind(tenant(owner))
                .bind(owner.user_id().as_str())
                .bind(rows.table.as_str())
                .execute(&self.inner.writer);
            done.await.map(drop)
        };
        self.write(remove).await
    }

    /// The dead letters of an owner stay, but none of them is ever tried again: what they hold was deleted.
    pub(crate) async fn never_retry(&self, owner: &Owner) -> Result<()> {
        let change = || async move {
            let done = sqlx::query(NEVER_RETRY)
                .bind(tenant(owner))
                .bind(owner.user_id().as_str())
                .execute(&self.inner.writer);
            done.await.map(drop)
        };
        self.write(change).await
    }

    /// What these rows held when they were last seen.
    pub(crate) async fn replica(&self, owner: &Owner, rows: &OwnerRows) -> Result<Option<LocalRecord>> {
        let get = || {
            sqlx::query(REPLICA)
                .bind(tenant(owner))
                .bind(owner.user_id().as_str())
                .bind(rows.table.as_str())
                .bind(rows.database.as_str())
                .fetch_optional(&self.inner.readers)
        };
        let row = self.read(get).await?;
        row.map(|row| self.record(&row, Base::Unknown, "rows")).transpose()
    }

    /// Erases everything of an owner. The ledger is to learn that a pending record was dropped.
    pub(crate) async fn forget(&self, owner: &Owner, event: Option<&LocalEvent>) -> Result<Counts> {
        let forget = || async move {
            let mut transaction = self.inner.writer.begin_with("BEGIN IMMEDIATE").await?;
            let (tenant, user) = (tenant(owner), owner.user_id().as_str());
            let found =
                sqlx::query(OWNER_COUNTS).bind(tenant).bind(user).fetch_one(&mut *transaction).await?;
            let pending: i64 = found.try_get(0)?;
            self.inner.note_change(&mut transaction, event.filter(|_| pending > 0), None).await?;
            for sql in FORGET {
                sqlx::query(sql).bind(tenant).bind(user).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(found)
        };
        let found = self.write(forget).await?;
        self.counts_of(&found)
    }

    /// How many entries there are.
    pub(crate) async fn counts(&self) -> Result<Counts> {
        let row = self.read(|| sqlx::query(COUNTS).fetch_one(&self.inner.readers)).await?;
        self.counts_of(&row)
    }

    fn counts_of(&self, row: &SqliteRow) -> Result<Counts> {
        let count = |index: usize| -> Result<u64> {
            let count: i64 = row.try_get(index).map_err(|_| errors::odd_row(self.path()))?;
            Ok(count.try_into().unwrap_or(0))
        };
        Ok(Counts {
            pending: count(0)?,
            replicas: count(1)?,
            superseded: count(2)?,
            replaced: count(3)?,
            dead_letters: count(4)?,
        })
    }

    /// Whether any token is in the file: then a new keyring would compete with the one that sealed it.
    pub(crate) async fn holds_tokens(&self) -> Result<bool> {
        self.read(|| sqlx::query_scalar(HOLDS).fetch_one(&self.inner.readers)).await
    }

    /// What is sealed under each key, for detecting a wrong keyring.
    pub(crate) async fn canaries(&self) -> Result<Vec<(KeyId, Vec<u8>)>> {
        let rows: Vec<(String, Vec<u8>)> =
            self.read(|| sqlx::query_as(CANARIES).fetch_all(&self.inner.readers)).await?;
        let parsed = |(key, sealed): (String, Vec<u8>)| Some((key.parse().ok()?, sealed));
        let parsed = rows.into_iter().map(parsed).collect::<Option<_>>();
        parsed.ok_or_else(|| errors::odd_row(self.path()))
    }

    /// Stores the canary of a key in place of the previous one.
    pub(crate) async fn put_canary(&self, key: KeyId, sealed: &[u8]) -> Result<()> {
        let put = || async move {
            let done = sqlx::query(PUT_CANARY).bind(key.to_string()).bind(sealed).execute(&self.inner.writer);
            done.await.map(drop)
        };
        self.write(put).await
    }
}
