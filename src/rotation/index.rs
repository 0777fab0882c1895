//! Builds the blind index for rows that lack their entries, and rotates its key.
//!
//! There is no checkpoint: a pass opens every record and compares its entries, so the next run finds what is left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::subkeys::INDEX;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::walk::rows::TableWalk;
use crate::rotation::index_row::index_row;
use crate::rotation::options::IndexOptions;
use crate::rotation::passes::{Work, run_passes};
use crate::rotation::report::{IndexEvent, IndexProgress, IndexReport, RotateProgress};
use crate::rotation::row_work::RowWork;
use crate::rotation::stretch::PassEvent;
use crate::store::core::Core;
use crate::store::hosts::hosts_before;

/// How long another process may go on without a key that was added: it looks at the keyring once a second.
const RELOADED: Duration = Duration::from_millis(2500);
/// How long transactions are waited for that began before a new key.
const WRITERS_END: Duration = Duration::from_secs(60);

/// Writes the entries of every record that lacks them. Adds an index key to a keyring that has none.
pub(crate) async fn build_index(
    core: &Arc<Core>,
    options: &IndexOptions,
    listener: &mut (dyn FnMut(IndexEvent<'_>) + Send),
) -> Result<IndexReport> {
    let postgres = indexed_table(core).await?;
    if core.keyring.add_first_index_key().await? {
        tokio::time::sleep(RELOADED).await;
    }
    passes(core, postgres, options, listener).await
}

/// Replaces the index key: adds a key of the next epoch, writes the entries of both, and then removes the earlier key and its
/// entries, if every host has the new one. A keyring that has several epochs, since an earlier run, gets no new one.
///
/// # Errors
/// Those of a build. The earlier key stays until every record has entries under the later one.
pub(crate) async fn rotate_index_key(
    core: &Arc<Core>,
    options: &IndexOptions,
    listener: &mut (dyn FnMut(IndexEvent<'_>) + Send),
) -> Result<IndexReport> {
    let postgres = indexed_table(core).await?;
    core.keyring.add_next_index_key().await?;
    tokio::time::sleep(RELOADED).await;
    earlier_writers_ended(postgres).await?;
    let report = passes(core, postgres, options, listener).await?;
    if !report.complete || !(options.other_hosts_synced || every_host_has_the_keys(core).await?) {
        return Ok(report);
    }
    core.keyring.drop_earlier_index_keys().await?;
    tokio::time::sleep(RELOADED).await;
    passes(core, postgres, options, listener).await
}

/// Whether every running process has loaded the newest keyring, as its note in the database says. Of a keyring file nothing is
/// known.
async fn every_host_has_the_keys(core: &Core) -> Result<bool> {
    let generation = core.keyring.current().generation;
    Ok(core.keyring.is_in_table() && hosts_before(core, generation).await?.is_empty())
}

/// Waits for transactions that may have written entries under the earlier keys only, and have not committed them.
///
/// # Errors
/// `Busy` if one goes on for a minute. The earlier key stays.
pub(crate) async fn earlier_writers_ended(postgres: &Postgres) -> Result<()> {
    let started = Instant::now();
    let writers = async || postgres.writers().await.map_err(|fault| fault.error);
    let mut earlier = writers().await?;
    while !earlier.is_empty() {
        if started.elapsed() > WRITERS_END {
            let message =
                "a transaction that began before the new key of the index still writes to the table";
            return Err(Error::new(ErrorKind::Busy, message).with_hint(
                "end this transaction, and run the command again: the earlier key stays until then",
            ));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = writers().await?;
        earlier.retain(|writer| now.contains(writer));
    }
    Ok(())
}

/// # Errors
/// `Configuration` without a database; `NotIndexed` without the column.
async fn indexed_table(core: &Core) -> Result<&Postgres> {
    let postgres = core.postgres.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::Configuration, "no database is configured, so there is nothing to index")
            .with_hint("configure a database (`--database-url`)")
    })?;
    let plan = postgres.refresh().await.map_err(|fault| fault.error)?;
    plan.some_table(postgres.layout())?;
    match plan.placement.index {
        Some(_) => Ok(postgres),
        None => Err(postgres.not_indexed(&postgres.layout().index_column)),
    }
}

async fn passes(
    core: &Arc<Core>,
    postgres: &Postgres,
    options: &IndexOptions,
    listener: &mut (dyn FnMut(IndexEvent<'_>) + Send),
) -> Result<IndexReport> {
    let started = Instant::now();
    let mut work = IndexWork { listener, missed: 0 };
    let (progress, left) = run_passes(core, &options.passes, &mut work).await?;
    let plan = postgres.plan().await.map_err(|fault| fault.error)?;
    let is_missing = postgres.has_unindexed(&plan).await.map_err(|fault| fault.error)?;
    let subkeys = &core.keyring.current().subkeys;
    Ok(IndexReport {
        epoch: subkeys.newest(INDEX).unwrap_or_default(),
        earlier_keys: subkeys.of(INDEX).count().saturating_sub(1) as u32,
        rows: progress.rows,
        indexed: progress.resealed,
        changed: progress.changed,
        unreadable: progress.unreadable,
        complete: left == 0 && progress.unreadable == 0 && !is_missing,
        passes: progress.pass,
        elapsed: started.elapsed(),
    })
}

struct IndexWork<'a> {
    listener: &'a mut (dyn FnMut(IndexEvent<'_>) + Send),
    /// Rows without the right entries that the current pass has met.
    missed: u64,
}

impl Work for IndexWork<'_> {
    const ROW: RowWork = index_row;

    async fn walk(
        &mut self,
        postgres: &Postgres,
        plan: &Plan,
        batch: u32,
    ) -> Result<Option<TableWalk>, DatabaseError> {
        match plan.has_slots() {
            true => postgres.walk_index(plan, batch).await,
            false => Ok(None),
        }
    }

    /// Only a pass that met no row to change shows that none is left.
    async fn count_left(&mut self) -> Result<u64> {
        Ok(self.missed)
    }

    fn hear(&mut self, progress: &mut RotateProgress, event: PassEvent) {
        let progress = IndexProgress {
            pass: progress.pass,
            rows: progress.rows,
            visited: progress.visited,
            indexed: progress.resealed,
            unreadable: progress.unreadable,
            elapsed: progress.elapsed,
        };
        match event {
            PassEvent::Begun => {
                self.missed = 0;
                (self.listener)(IndexEvent::Pass(&progress));
            }
            PassEvent::Batch(counts) => {
                self.missed += counts.exchanged + counts.changed;
                (self.listener)(IndexEvent::Batch(&progress));
            }
            PassEvent::Unreadable(row) => (self.listener)(IndexEvent::Unreadable(&row)),
            PassEvent::Paused(_) => {}
        }
    }
}
