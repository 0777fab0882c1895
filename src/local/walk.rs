//! Every text of the file, for key rotation: page by page, swapped for new ones, and counted by key.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::error::Result;
use crate::record::token::{KeyId, named_key};

use crate::local::entries::{LocalCount, LocalPlace, LocalText, Swap};
use crate::local::errors;
use crate::local::file::LocalFile;

/// The tables are queried, not listed here, so a table that the walk forgets is counted all the same.
const TABLES: &str =
    "SELECT name, printf('\"%w\"', name), EXISTS (SELECT 1 FROM pragma_table_xinfo(tables.name) WHERE lower(name) = 'kind')
 FROM sqlite_schema AS tables WHERE type = 'table'
 AND EXISTS (SELECT 1 FROM pragma_table_xinfo(tables.name) WHERE lower(name) = 'text')
 ORDER BY name";

/// Tokens by label and key.
type TokensByKey = BTreeMap<String, BTreeMap<Option<KeyId>, u64>>;

impl LocalPlace {
    fn select(self) -> &'static str {
        match self {
            Self::Pending => {
                "SELECT rowid AS id, tenant, user, text FROM pending WHERE rowid > ?1 ORDER BY rowid LIMIT ?2"
            }
            Self::Replica => {
                "SELECT rowid AS id, tenant, user, text FROM replica WHERE rowid > ?1 ORDER BY rowid LIMIT ?2"
            }
            Self::Kept => {
                "SELECT rowid AS id, tenant, user, text FROM kept WHERE rowid > ?1 ORDER BY rowid LIMIT ?2"
            }
        }
    }

    fn swap(self) -> &'static str {
        match self {
            Self::Pending => "UPDATE pending SET text = ?3 WHERE rowid = ?1 AND text = ?2",
            Self::Replica => "UPDATE replica SET text = ?3 WHERE rowid = ?1 AND text = ?2",
            Self::Kept => "UPDATE kept SET text = ?3 WHERE rowid = ?1 AND text = ?2",
        }
    }
}

impl LocalFile {
    /// Up to `limit` texts after this id, in the order of their ids. A walk over all of them sees every text that was there
    /// from the first page to the last.
    pub(crate) async fn texts_after(
        &self,
        place: LocalPlace,
        after: i64,
        limit: u32,
    ) -> Result<Vec<LocalText>> {
        let get = || sqlx::query(place.select()).bind(after).bind(limit).fetch_all(&self.inner.readers);
        let rows = self.read(get).await?;
        let text = |row: &SqliteRow| {
            Ok(LocalText {
                id: self.column(row, "id")?,
                owner: self.owner(row)?,
                text: self.column(row, "text")?,
            })
        };
        rows.iter().map(text).collect()
    }

    /// Replaces texts that are still exactly the old ones, and nothing else of their rows; returns how many. On error, and
    /// when the future is dropped, all of them were replaced or none.
    pub(crate) async fn swap_texts(&self, place: LocalPlace, swaps: &[Swap]) -> Result<u64> {
        if swaps.is_empty() {
            return Ok(0);
        }
        let swap = || async move {
            // dropped before its commit is sent, the transaction rolls itself back
            let mut transaction = self.inner.writer.begin_with("BEGIN IMMEDIATE").await?;
            let mut swapped = 0;
            for swap in swaps {
                let done = sqlx::query(place.swap())
                    .bind(swap.id)
                    .bind(swap.old.as_str())
                    .bind(swap.new.as_str())
                    .execute(&mut *transaction);
                swapped += done.await?.rows_affected();
            }
            transaction.commit().await?;
            Ok(swapped)
        };
        self.write(swap).await
    }

    /// Counts the tokens of all texts of the file by the key that they name, as of one moment.
    pub(crate) async fn tokens_per_key(&self) -> Result<Vec<LocalCount>> {
        let count = || async {
            let mut transaction = self.inner.readers.begin().await?;
            let tables: Vec<(String, String, bool)> =
                sqlx::query_as(TABLES).fetch_all(&mut *transaction).await?;
            let mut tally = TokensByKey::new();
            for (table, quoted, has_kind) in tables {
                count_table(&mut transaction, &table, &quoted, has_kind, &mut tally).await?;
            }
            transaction.rollback().await?;
            Ok(tally)
        };
        let tally = errors::retried(self.path(), "cannot count the tokens of", count).await?;
        let counts = tally.into_iter().flat_map(|(place, keys)| {
            keys.into_iter().map(move |(key, tokens)| LocalCount { place: place.clone(), key, tokens })
        });
        Ok(counts.collect())
    }
}

/// Row by row: a file of any size takes the memory of some rows. As bytes, so that a value of any type
/// and encoding is counted.
async fn count_table(
    connection: &mut SqliteConnection,
    table: &str,
    quoted: &str,
    has_kind: bool,
    tally: &mut TokensByKey,
) -> sqlx::Result<()> {
    let kind = if has_kind { "CAST(kind AS BLOB)" } else { "NULL" };
    let sql = format!("SELECT CAST(text AS BLOB), {kind} FROM {quoted}");
    let mut rows = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let kind = row.try_get::<Option<&[u8]>, _>(1)?.map(String::from_utf8_lossy);
        let label = kind.as_deref().unwrap_or(table);
        if !tally.contains_key(label) {
            tally.insert(label.to_owned(), BTreeMap::new());
        }
        if let (Some(text), Some(keys)) = (row.try_get::<Option<&[u8]>, _>(0)?, tally.get_mut(label)) {
            for piece in text.split(|byte| *byte == b' ').filter(|piece| !piece.is_empty()) {
                *keys.entry(named_key(piece)).or_default() += 1;
            }
        }
    }
    Ok(())
}
