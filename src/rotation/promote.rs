//! Promotion: after columns were added, every record to the best places that there are now.
//!
//! As with a rotation there is no checkpoint: a token that is not where the placement wants it is what is
//! left to do. Tokens keep their text and their version, so a promotion wins against nobody.

use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::rotation::options::PromoteOptions;
use crate::rotation::options::RotateOptions;
use crate::rotation::promote_rows::promote_row;
use crate::rotation::report::{PromoteEvent, PromoteProgress, Promotion};
use crate::rotation::rotate::writable;
use crate::rotation::shard::{Job, Message, steadily};
use crate::rotation::throttle::Throttle;
use crate::store::core::Core;
use crate::store::sync::{SyncReport, sync};

/// A pass more helps as long as other writers are in the way.
const MAX_PASSES: u32 = 10;

/// Moves every record to the places that the columns of now give it: first the pending ones of the
/// local file, then what lies in the table.
///
/// Safe to cancel, to kill, and to run twice at once: every batch is whole, and the next run finds
/// what is left. On error everything that was done so far is good.
pub(crate) async fn promote(
    core: &Arc<Core>,
    options: &PromoteOptions,
    listener: &mut (dyn FnMut(PromoteEvent<'_>) + Send),
) -> Result<Promotion> {
    let postgres = core.postgres.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::Configuration, "no database is named, so there is nowhere to move records to")
            .with_hint("give the vault a database (`--database-url`)")
    })?;
    postgres.refresh().await.map_err(|fault| fault.error)?;
    let local = sync(core).await?;
    listener(PromoteEvent::Synced(&local));
    let progress = PromoteProgress::default();
    PromotionRun { core, postgres, options, listener, local, progress, started: Instant::now() }.run().await
}

/// What happens, and what it adds up to.
struct PromotionRun<'a> {
    core: &'a Arc<Core>,
    postgres: &'a Postgres,
    options: &'a PromoteOptions,
    listener: &'a mut (dyn FnMut(PromoteEvent<'_>) + Send),
    local: SyncReport,
    progress: PromoteProgress,
    started: Instant,
}

impl PromotionRun<'_> {
    async fn run(mut self) -> Result<Promotion> {
        loop {
            let before = self.progress.promoted;
            let whole = self.pass().await?;
            let left = self.left().await.map_err(|fault| fault.error)?;
            // a pass that found nothing to do will not find more the next time
            let idle = self.progress.promoted == before && self.progress.changed == 0;
            if left == 0 || (whole && idle) || self.progress.pass >= MAX_PASSES {
                return Ok(self.promotion(left));
            }
        }
    }

    fn promotion(self, left: u64) -> Promotion {
        let (progress, local) = (self.progress, self.local);
        Promotion {
            rows: progress.rows,
            promoted: progress.promoted,
            changed: progress.changed,
            unreadable: progress.unreadable,
            complete: left == 0 && local.stopped.is_none() && local.blocked.is_empty(),
            local,
            passes: progress.pass,
            elapsed: self.started.elapsed(),
        }
    }

    /// Every row once. False: the schema moved, and rows may have been passed over.
    async fn pass(&mut self) -> Result<bool> {
        let PromoteProgress { pass, promoted, .. } = self.progress;
        self.progress = PromoteProgress { pass: pass + 1, promoted, ..PromoteProgress::default() };
        match self.promote_rows().await {
            Ok(()) => Ok(true),
            Err(fault) if fault.outcome == Outcome::Redetect && self.progress.pass < MAX_PASSES => Ok(false),
            Err(fault) => Err(fault.error),
        }
    }

    async fn promote_rows(&mut self) -> Result<(), DatabaseError> {
        let plan = steadily(self.postgres, || writable(self.postgres)).await?;
        if !has_places(&plan) {
            (self.listener)(PromoteEvent::Pass(&self.progress));
            return Ok(());
        }
        let walk = self.postgres.walk_misplaced(&plan, self.options.batch).await?;
        self.progress.rows = self.postgres.count_rows(&walk).await?;
        (self.listener)(PromoteEvent::Pass(&self.progress));
        let job = Job {
            core: self.core.clone(),
            walk: Arc::new(walk),
            throttle: Arc::new(Throttle::new(&RotateOptions::new())),
            rework: promote_row,
        };
        // one after the other: there is no hurry, and the service keeps its connections
        job.run(vec![Default::default()], |message| self.hear(message)).await
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Unreadable(row) => (self.listener)(PromoteEvent::Unreadable(&row)),
            Message::Batch(tally) => {
                let progress = &mut self.progress;
                progress.visited += tally.visited;
                progress.promoted += tally.exchanged;
                progress.changed += tally.changed;
                progress.unreadable += tally.unreadable;
                progress.elapsed = self.started.elapsed();
                (self.listener)(PromoteEvent::Batch(&self.progress));
            }
            Message::Paused(_) => {}
        }
    }

    /// Counts rows with something that is not where it belongs. Knows nothing of the walk.
    async fn left(&mut self) -> Result<u64, DatabaseError> {
        let plan = self.postgres.refresh().await?;
        if !has_places(&plan) {
            return Ok(0);
        }
        let walk = self.postgres.walk_misplaced(&plan, self.options.batch).await?;
        let primary = self.core.keyring.for_sealing()?.primary().0;
        self.postgres.count_found(&walk, primary).await
    }
}

/// Whether the table has a better place than the local file. Without one, what its slots hold stays there.
fn has_places(plan: &Plan) -> bool {
    plan.has_slots() && !plan.placement.is_local()
}
