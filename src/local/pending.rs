//! Pending records: they wait for the database.

use sqlx::sqlite::SqliteRow;

use crate::chain::local_event::LocalEvent;
use crate::error::{Error, ErrorKind, Result};
use crate::local::entries::{Base, Basis, LocalRecord, OwnerRows, PutPending};
use crate::record::owner::Owner;
use crate::record::version::{Millis, Version};

use crate::local::file::{LocalFile, tenant, to_sql};

// An existing base stays, unless the write has read the row itself (?9): what the first of several offline writes was based on
// is what the row held.
const PUT: &str =
    "INSERT INTO pending (tenant, user, version, text, base, at, waits_for, database) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
 ON CONFLICT (tenant, user) DO UPDATE SET version = excluded.version, text = excluded.text, at = excluded.at,
 base = CASE ?9 WHEN 'read' THEN excluded.base ELSE pending.base END, waits_for = max(pending.waits_for, excluded.waits_for), database = max(pending.database, excluded.database), tries = 0, refused_at = 0
 WHERE pending.version < excluded.version
 AND (pending.waits_for = excluded.waits_for OR '' IN (pending.waits_for, excluded.waits_for))
 AND (pending.database = excluded.database OR '' IN (pending.database, excluded.database))";
const PUT_FIRST: &str = "INSERT INTO pending (tenant, user, version, text, base, at, waits_for, database) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
const PUT_OVER: &str = "UPDATE pending SET version = ?3, text = ?4, at = ?6, tries = 0, refused_at = 0
 WHERE tenant = ?1 AND user = ?2 AND ?5 IS NOT NULL AND ?7 IS NOT NULL AND ?8 IS NOT NULL AND version = ?9";
const THERE: &str = "SELECT version, text, waits_for, database FROM pending WHERE tenant = ?1 AND user = ?2";
// one row in any case: whether anything is pending at all, and the owner's entry, of one moment
const GET: &str =
    "SELECT EXISTS (SELECT 1 FROM pending) AS any, tenant, user, version, text, base, at, waits_for, database
 FROM (SELECT 1) LEFT JOIN pending ON tenant = ?1 AND user = ?2";
const AFTER: &str = "SELECT tenant, user, version, text, base, at, waits_for, database FROM pending
 WHERE (tenant, user) > (?1, ?2) ORDER BY tenant, user LIMIT ?3";
const BLOCKED: &str = "SELECT count(*) FROM pending WHERE tries > 0
 OR (?1 <> '' AND waits_for NOT IN ('', ?1)) OR (?2 <> '' AND database NOT IN ('', ?2))";
const OLDEST: &str = "SELECT min(at) FROM pending";
pub(super) const REMOVE: &str = "DELETE FROM pending WHERE tenant = ?1 AND user = ?2 AND text = ?3";
const SUPERSEDE: &str = "DELETE FROM pending WHERE tenant = ?1 AND user = ?2 AND version <= ?3
 AND waits_for IN ('', ?4) AND (database IN ('', ?5) OR ?5 = '')";
const REFUSED: &str =
    "UPDATE pending SET tries = tries + 1, refused_at = CASE tries WHEN 0 THEN ?4 ELSE refused_at END
 WHERE tenant = ?1 AND user = ?2 AND text = ?3 RETURNING tries, refused_at";

const RETRY: &str = "INSERT INTO pending (tenant, user, version, text, base, at, waits_for, database)
 SELECT tenant, user, version, text, base, coalesce(?3, stored_at), waits_for, coalesce(database, '') FROM kept AS letter
 WHERE kind = 'dead-letter' AND version IS NOT NULL AND (?1 IS NULL OR (tenant = ?1 AND user = ?2))
 AND NOT EXISTS (SELECT 1 FROM kept AS newer WHERE newer.tenant = letter.tenant AND newer.user = letter.user
  AND newer.kind = 'dead-letter' AND (newer.version, newer.id) > (letter.version, letter.id))
 ON CONFLICT DO NOTHING";
const RETRIED: &str = "DELETE FROM kept WHERE kind = 'dead-letter' AND EXISTS (SELECT 1 FROM pending
 WHERE pending.tenant = kept.tenant AND pending.user = kept.user AND pending.text = kept.text)";

/// The upsert and the query for what blocked it are two statements: sync may remove that in between.
const ATTEMPTS: usize = 8;

impl LocalFile {
    /// Adds a pending record, or replaces an older one of its owner. The older one's base stays if the new one's is only
    /// remembered. The ledger is to learn of it.
    ///
    /// # Errors
    /// `LocalStore`, `LocalCorrupt`, `Busy`: not acknowledged, though it may be found later.
    pub(crate) async fn put_pending(
        &self,
        record: &LocalRecord,
        basis: Basis,
        event: Option<&LocalEvent>,
    ) -> Result<PutPending> {
        for _ in 0..ATTEMPTS {
            if self.upsert(record, basis, event).await? {
                // other processes must see it as soon as it is acknowledged
                self.inner.nothing_pending.none_at(None);
                self.inner.guard.change_mark()?;
                return Ok(PutPending::Written);
            }
            match self.version_there(&record.owner).await? {
                Some((_, text, _)) if text == record.text => return Ok(PutPending::Written),
                Some((version, _, _)) if version >= record.version => return Ok(PutPending::Newer(version)),
                Some((_, _, rows)) if !rows.may_be(&record.rows) => {
                    return Ok(PutPending::Elsewhere(rows));
                }
                _ => {}
            }
        }
        Err(Error::new(ErrorKind::Busy, "the pending record of this owner keeps changing"))
    }

    /// Puts a pending record in place of the one of this version, or of none. False: something else is there.
    ///
    /// # Errors
    /// As [`put_pending`](Self::put_pending).
    pub(crate) async fn put_over(&self, there: Option<Version>, record: &LocalRecord) -> Result<bool> {
        let there = there.map(|version| version.to_string());
        let sql = if there.is_some() { PUT_OVER } else { PUT_FIRST };
        let is_put = self.put_record(sql, record, there.as_deref(), None).await?;
        if is_put {
            self.inner.nothing_pending.none_at(None);
            self.inner.guard.change_mark()?;
        }
        Ok(is_put)
    }

    pub(super) async fn upsert(
        &self,
        record: &LocalRecord,
        basis: Basis,
        event: Option<&LocalEvent>,
    ) -> Result<bool> {
        let basis = if basis == Basis::Read { "read" } else { "remembered" };
        self.put_record(PUT, record, Some(basis), event).await
    }

    async fn put_record(
        &self,
        sql: &'static str,
        record: &LocalRecord,
        last: Option<&str>,
        event: Option<&LocalEvent>,
    ) -> Result<bool> {
        let put = || async move {
            let mut transaction = self.inner.writer.begin_with("BEGIN IMMEDIATE").await?;
            let done = sqlx::query(sql)
                .bind(tenant(&record.owner))
                .bind(record.owner.user_id().as_str())
                .bind(record.version.to_string())
                .bind(record.text.as_str())
                .bind(base_text(record.base))
                .bind(to_sql(record.at))
                .bind(record.rows.table.as_str())
                .bind(record.rows.database.as_str());
            // SQLite refuses more values than the statement has places
            let done = if let Some(last) = last { done.bind(last) } else { done };
            let is_put = done.execute(&mut *transaction).await?.rows_affected() > 0;
            self.inner.note_change(&mut transaction, event.filter(|_| is_put), None).await?;
            transaction.commit().await.map(|()| is_put)
        };
        self.write(put).await
    }

    async fn version_there(&self, owner: &Owner) -> Result<Option<(Version, String, OwnerRows)>> {
        let look = || {
            sqlx::query_as(THERE)
                .bind(tenant(owner))
                .bind(owner.user_id().as_str())
                .fetch_optional(&self.inner.writer)
        };
        let there: Option<(String, String, String, String)> = self.read(look).await?;
        let parsed = |(version, text, table, database): (String, String, String, String)| {
            Ok((self.version(&version)?, text, OwnerRows { table, database }))
        };
        there.map(parsed).transpose()
    }

    /// Whether nothing is pending at all, for certain. False when only SQLite could tell.
    pub(crate) fn nothing_pending(&self) -> bool {
        self.inner.nothing_pending.says_none(&self.inner.guard)
    }

    /// The pending record of an owner. About a microsecond while nothing is pending.
    pub(crate) async fn pending(&self, owner: &Owner) -> Result<Option<LocalRecord>> {
        if self.nothing_pending() {
            return Ok(None);
        }
        let settled = self.inner.nothing_pending.settled(&self.inner.guard);
        let get = || {
            sqlx::query(GET).bind(tenant(owner)).bind(owner.user_id().as_str()).fetch_one(&self.inner.readers)
        };
        let row = self.read(get).await?;
        if !self.column::<bool>(&row, "any")? {
            self.inner.nothing_pending.none_at(settled);
        }
        match self.column::<Option<String>>(&row, "text")? {
            Some(_) => self.pending_record(&row).map(Some),
            None => Ok(None),
        }
    }

    /// Up to `limit` pending records, in the order of their owners, after this one.
    pub(crate) async fn pending_after(&self, after: Option<&Owner>, limit: u32) -> Result<Vec<LocalRecord>> {
        let after = after.map_or(("", ""), |owner| (tenant(owner), owner.user_id().as_str()));
        self.pending_beyond(after, limit).await
    }

    /// The same after a tenant and a user, which need not be valid ids.
    pub(crate) async fn pending_beyond(
        &self,
        (tenant, user): (&str, &str),
        limit: u32,
    ) -> Result<Vec<LocalRecord>> {
        let get = || sqlx::query(AFTER).bind(tenant).bind(user).bind(limit).fetch_all(&self.inner.readers);
        self.read(get).await?.iter().map(|row| self.pending_record(row)).collect()
    }

    /// How many of them a sync with these rows leaves pending: the database has refused them, or they are for other rows.
    pub(crate) async fn blocked(&self, rows: &OwnerRows) -> Result<u64> {
        let blocked = || {
            sqlx::query_scalar(BLOCKED)
                .bind(rows.table.as_str())
                .bind(rows.database.as_str())
                .fetch_one(&self.inner.readers)
        };
        let blocked: i64 = self.read(blocked).await?;
        Ok(blocked.try_into().unwrap_or(0))
    }

    /// When the oldest of them was added, if there is any.
    pub(crate) async fn oldest_pending(&self) -> Result<Option<Millis>> {
        let oldest = || sqlx::query_scalar(OLDEST).fetch_one(&self.inner.readers);
        let oldest: Option<i64> = self.read(oldest).await?;
        Ok(oldest.map(|at| at.try_into().unwrap_or(0)))
    }

    /// Removes exactly this text, so that a newer one survives. Returns whether it was there.
    pub(crate) async fn remove_pending(
        &self,
        owner: &Owner,
        text: &str,
        event: Option<&LocalEvent>,
    ) -> Result<bool> {
        let remove = || async move {
            let mut transaction = self.inner.writer.begin_with("BEGIN IMMEDIATE").await?;
            let done = sqlx::query(REMOVE)
                .bind(tenant(owner))
                .bind(owner.user_id().as_str())
                .bind(text)
                .execute(&mut *transaction);
            let is_removed = done.await?.rows_affected() > 0;
            self.inner.note_change(&mut transaction, event.filter(|_| is_removed), None).await?;
            transaction.commit().await.map(|()| is_removed)
        };
        self.write(remove).await
    }

    /// Drops a pending record of these rows that is not newer than what they now hold.
    pub(crate) async fn supersede(
        &self,
        owner: &Owner,
        version: Version,
        rows: &OwnerRows,
        event: Option<&LocalEvent>,
    ) -> Result<()> {
        if self.nothing_pending() {
            return Ok(());
        }
        let supersede = || async move {
            let mut transaction = self.inner.writer.begin_with("BEGIN IMMEDIATE").await?;
            let done = sqlx::query(SUPERSEDE)
                .bind(tenant(owner))
                .bind(owner.user_id().as_str())
                .bind(version.to_string())
                .bind(rows.table.as_str())
                .bind(rows.database.as_str())
                .execute(&mut *transaction);
            let is_removed = done.await?.rows_affected() > 0;
            self.inner.note_change(&mut transaction, event.filter(|_| is_removed), None).await?;
            transaction.commit().await
        };
        self.write(supersede).await
    }

    /// Records that the database refused exactly this text. Returns how often it has done so, and since when.
    pub(crate) async fn note_refusal(&self, owner: &Owner, text: &str, now: Millis) -> Result<(u32, Millis)> {
        let note = || async move {
            // to the end, and with it to the commit
            let rows: Vec<(u32, i64)> = sqlx::query_as(REFUSED)
                .bind(tenant(owner))
                .bind(owner.user_id().as_str())
                .bind(text)
                .bind(to_sql(now))
                .fetch_all(&self.inner.writer)
                .await?;
            Ok(rows.first().map_or((0, now), |(tries, since)| (*tries, (*since).try_into().unwrap_or(0))))
        };
        self.write(note).await
    }

    /// Makes dead letters pending again, those of one owner or of all, if nothing else is pending for their owner; of
    /// several of one owner, the newest. They keep what they were based on, and with `now` they count as stored at that
    /// time. Returns how many.
    pub(crate) async fn retry_dead_letters(
        &self,
        owner: Option<&Owner>,
        now: Option<Millis>,
        event: Option<&LocalEvent>,
    ) -> Result<u64> {
        let retry = || async move {
            let owner = owner.map(|owner| (tenant(owner), owner.user_id().as_str()));
            let mut transaction = self.inner.writer.begin_with("BEGIN IMMEDIATE").await?;
            let done = sqlx::query(RETRY)
                .bind(owner.map(|(tenant, _)| tenant))
                .bind(owner.map(|(_, user)| user))
                .bind(now.map(to_sql))
                .execute(&mut *transaction)
                .await?;
            sqlx::query(RETRIED).execute(&mut *transaction).await?;
            let retried = done.rows_affected();
            self.inner.note_change(&mut transaction, event.filter(|_| retried > 0), Some(retried)).await?;
            transaction.commit().await.map(|()| retried)
        };
        let retried = self.write(retry).await?;
        self.inner.nothing_pending.none_at(None);
        self.inner.guard.change_mark()?;
        Ok(retried)
    }

    fn pending_record(&self, row: &SqliteRow) -> Result<LocalRecord> {
        let base = match self.column::<&str>(row, "base")? {
            "unknown" => Base::Unknown,
            "none" => Base::NoRow,
            "empty" => Base::NoRecord,
            version => Base::Version(self.version(version)?),
        };
        self.record(row, base, "waits_for")
    }
}

fn base_text(base: Base) -> String {
    match base {
        Base::Unknown => "unknown".to_owned(),
        Base::NoRow => "none".to_owned(),
        Base::NoRecord => "empty".to_owned(),
        Base::Version(version) => version.to_string(),
    }
}
