//! How often this file was pushed to a database: what the file notes of it, and what happens if the database knows better.

use sqlx::{Sqlite, Transaction};

use crate::chain::local_event::LocalEvent;
use crate::error::Result;
use crate::local::entries::{KeptKind, PushNote};
use crate::record::version::Millis;

use crate::local::file::{LocalFile, to_sql};

const NOTED: &str =
    "SELECT (SELECT value FROM meta WHERE name = 'file_id'), (SELECT value FROM meta WHERE name = 'pushes'),
 (SELECT value FROM meta WHERE name = 'push_begun')";
const PUT: &str =
    "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const FORGET_BEGUN: &str = "DELETE FROM meta WHERE name = 'push_begun'";
const FORGET_COUNT: &str = "DELETE FROM meta WHERE name IN ('pushes', 'push_begun')";
const KEEP_ALL: &str =
    "INSERT INTO kept (tenant, user, kind, text, reason, at, version, base, stored_at, waits_for, database)
 SELECT tenant, user, ?1, text, ?2, ?3, version, base, at, waits_for, database FROM pending WHERE NOT EXISTS
 (SELECT 1 FROM kept WHERE kept.tenant = pending.tenant AND kept.user = pending.user AND kind = ?1 AND kept.text = pending.text)";
const REMOVE_ALL: &str = "DELETE FROM pending";

impl LocalFile {
    /// Notes that a push begins, before the database is told. A push that another process began, or that a killed process
    /// left, is continued. `id` is for a file without one, `mark` for the push.
    ///
    /// # Errors
    /// `LocalStore`, `LocalCorrupt`, `Busy`.
    pub(crate) async fn begin_push(&self, id: &str, mark: &str) -> Result<PushNote> {
        let begin = || async move {
            let mut transaction = self.inner.writer.begin_with("BEGIN IMMEDIATE").await?;
            let found = noted(&mut transaction).await?;
            let mut note = found.clone().unwrap_or_else(|| PushNote::first(id));
            if found.is_none() {
                sqlx::query(PUT).bind("file_id").bind(id).execute(&mut *transaction).await?;
            }
            if note.begun.is_empty() {
                sqlx::query(PUT).bind("push_begun").bind(mark).execute(&mut *transaction).await?;
                note.begun = mark.to_owned();
            }
            transaction.commit().await.map(|()| note)
        };
        self.write(begin).await
    }

    /// Notes that the database has counted the push. Nothing is written if another process has noted it already.
    ///
    /// # Errors
    /// `LocalStore`, `LocalCorrupt`, `Busy`.
    pub(crate) async fn end_push(&self, note: &PushNote) -> Result<()> {
        let end = || async move {
            let mut transaction = self.inner.writer.begin_with("BEGIN IMMEDIATE").await?;
            if noted(&mut transaction).await?.as_ref() != Some(note) {
                return Ok(());
            }
            let counted = format!("{} {}", note.count + 1, note.begun);
            sqlx::query(PUT).bind("pushes").bind(counted).execute(&mut *transaction).await?;
            sqlx::query(FORGET_BEGUN).execute(&mut *transaction).await?;
            transaction.commit().await
        };
        self.write(end).await
    }

    /// Moves every pending record to the dead letters and gives the file another id, if its count is still this one. On
    /// error, and when the future is dropped, all or nothing of that has happened. `None`: another process has counted or
    /// set aside meanwhile.
    ///
    /// # Errors
    /// `LocalStore`, `LocalCorrupt`, `Busy`.
    pub(crate) async fn set_all_pending_aside(
        &self,
        note: &PushNote,
        reason: &str,
        id: &str,
        at: Millis,
        event: Option<&LocalEvent>,
    ) -> Result<Option<u64>> {
        let set_aside = || async move {
            let mut transaction = self.inner.writer.begin_with("BEGIN IMMEDIATE").await?;
            if noted(&mut transaction).await?.as_ref() != Some(note) {
                return Ok(None);
            }
            let keep = sqlx::query(KEEP_ALL).bind(KeptKind::DeadLetter.name()).bind(reason).bind(to_sql(at));
            keep.execute(&mut *transaction).await?;
            let removed = sqlx::query(REMOVE_ALL).execute(&mut *transaction).await?.rows_affected();
            sqlx::query(FORGET_COUNT).execute(&mut *transaction).await?;
            sqlx::query(PUT).bind("file_id").bind(id).execute(&mut *transaction).await?;
            self.inner.note_change(&mut transaction, event.filter(|_| removed > 0), Some(removed)).await?;
            transaction.commit().await.map(|()| Some(removed))
        };
        self.write(set_aside).await
    }
}

/// What the file notes. `None` if it has no id yet.
async fn noted(transaction: &mut Transaction<'_, Sqlite>) -> sqlx::Result<Option<PushNote>> {
    let (id, pushes, begun): (Option<String>, Option<String>, Option<String>) =
        sqlx::query_as(NOTED).fetch_one(&mut **transaction).await?;
    let (count, mark) = pushes.as_deref().and_then(|pushes| pushes.split_once(' ')).unwrap_or_default();
    let note = |id| PushNote {
        id,
        count: count.parse().unwrap_or(0),
        mark: mark.to_owned(),
        begun: begun.unwrap_or_default(),
    };
    Ok(id.map(note))
}
