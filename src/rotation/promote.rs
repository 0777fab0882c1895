//! Promotion: after columns were added, moves every record to the best places that exist now.
//!
//! Tokens keep their text and their version, so a promotion never wins against a store.

use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::walk::rows::TableWalk;
use crate::rotation::options::PromoteOptions;
use crate::rotation::passes::{Work, run_passes};
use crate::rotation::promote_row::promote_row;
use crate::rotation::report::{PromoteEvent, PromoteProgress, Promotion, RotateProgress};
use crate::rotation::row_work::RowWork;
use crate::rotation::stretch::PassEvent;
use crate::store::core::Core;
use crate::store::sync::sync;

/// Moves every record to the places that the current columns give it: first the pending records of the local file, then the
/// records in the table.
pub(crate) async fn promote(
    core: &Arc<Core>,
    options: &PromoteOptions,
    listener: &mut (dyn FnMut(PromoteEvent<'_>) + Send),
) -> Result<Promotion> {
    let started = Instant::now();
    let postgres = core.postgres.as_ref().ok_or_else(|| {
        Error::new(
            ErrorKind::Configuration,
            "no database is configured, so there is nowhere to move records to",
        )
        .with_hint("configure a database (`--database-url`)")
    })?;
    postgres.refresh().await.map_err(|fault| fault.error)?;
    let local = sync(core).await?;
    listener(PromoteEvent::Synced(&local));
    let mut work = PromotionWork { core, postgres, listener };
    let (progress, left) = run_passes(core, &options.passes, &mut work).await?;
    Ok(Promotion {
        rows: progress.rows,
        promoted: progress.resealed,
        changed: progress.changed,
        unreadable: progress.unreadable,
        complete: left == 0 && local.stopped.is_none() && local.blocked.is_empty(),
        local,
        passes: progress.pass,
        elapsed: started.elapsed(),
    })
}

/// The work of a promotion.
struct PromotionWork<'a> {
    core: &'a Arc<Core>,
    postgres: &'a Postgres,
    listener: &'a mut (dyn FnMut(PromoteEvent<'_>) + Send),
}

impl Work for PromotionWork<'_> {
    const ROW: RowWork = promote_row;

    /// Without a better place than the local file, what the slots hold stays there.
    async fn walk(
        &mut self,
        postgres: &Postgres,
        plan: &Plan,
        batch: u32,
    ) -> Result<Option<TableWalk>, DatabaseError> {
        match plan.has_slots() && !plan.placement.is_local() {
            true => postgres.walk_misplaced(plan, batch).await.map(Some),
            false => Ok(None),
        }
    }

    /// Rows with something that is not in its best place.
    async fn count_left(&mut self) -> Result<u64> {
        let count = async {
            let plan = self.postgres.refresh().await?;
            let postgres = self.postgres;
            let Some(walk) = self.walk(postgres, &plan, 1).await? else { return Ok(0) };
            postgres.count_found(&walk, self.core.keyring.for_sealing()?.primary().0).await
        };
        count.await.map_err(|fault: DatabaseError| fault.error)
    }

    fn hear(&mut self, progress: &mut RotateProgress, event: PassEvent) {
        let progress = PromoteProgress {
            pass: progress.pass,
            rows: progress.rows,
            visited: progress.visited,
            promoted: progress.resealed,
            changed: progress.changed,
            unreadable: progress.unreadable,
            elapsed: progress.elapsed,
        };
        match event {
            PassEvent::Begun => (self.listener)(PromoteEvent::Pass(&progress)),
            PassEvent::Batch(_) => (self.listener)(PromoteEvent::Batch(&progress)),
            PassEvent::Unreadable(row) => (self.listener)(PromoteEvent::Unreadable(&row)),
            PassEvent::Paused(_) => {}
        }
    }
}
