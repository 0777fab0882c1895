//! Passes over the table: what a rotation and a promotion have in common. They search for different things in the rows, and
//! do different things to them.
//!
//! There is no checkpoint that could be lost: a pass searches for what is left to do. A count that is independent of the
//! passes finds out whether anything is.

use std::sync::Arc;
use std::time::Instant;

use crate::error::Result;
use crate::postgres::catalogue::row_visibility::refuse_fixed_rows;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::walk::rows::TableWalk;
use crate::rotation::options::RotateOptions;
use crate::rotation::report::RotateProgress;
use crate::rotation::row_work::RowWork;
use crate::rotation::stretch::{BUSY, PassEvent, StretchWork, steadily};
use crate::rotation::throttle::Throttle;
use crate::rotation::token_count::sees_all;
use crate::store::core::Core;

/// Another pass helps while other writers interfere. After this many, some process keeps sealing under an old key.
const MAX_PASSES: u32 = 10;

/// A kind of work.
pub(crate) trait Work {
    /// What is done to a row that holds some of what is searched for.
    const ROW: RowWork;

    /// Does the work outside of the table, and returns how much that was.
    async fn work_elsewhere(&mut self) -> Result<u64> {
        Ok(0)
    }

    /// The walk over the table, which says what is searched for. `None`: the table has no place for it.
    async fn walk(
        &mut self,
        postgres: &Postgres,
        plan: &Plan,
        batch: u32,
    ) -> Result<Option<TableWalk>, DatabaseError>;

    /// Counts what is left to do, without the walk.
    async fn count_left(&mut self) -> Result<u64>;

    /// Rows that got new texts count as `resealed`, whatever the work.
    fn hear(&mut self, progress: &mut RotateProgress, event: PassEvent);
}

/// Makes passes until nothing is left to do, or another one would not help. Returns the outcome and what is left.
///
/// Safe to cancel, to kill, and to run twice at once: every batch is atomic, and the next run finds what is left. On error
/// everything that was done so far stays done.
pub(crate) async fn run_passes<W: Work>(
    core: &Arc<Core>,
    options: &RotateOptions,
    work: &mut W,
) -> Result<(RotateProgress, u64)> {
    let progress = RotateProgress::default();
    Passes { core, options, work, progress, started: Instant::now() }.run().await
}

struct Passes<'a, W> {
    core: &'a Arc<Core>,
    options: &'a RotateOptions,
    work: &'a mut W,
    progress: RotateProgress,
    started: Instant,
}

impl<W: Work> Passes<'_, W> {
    async fn run(mut self) -> Result<(RotateProgress, u64)> {
        loop {
            let RotateProgress { pass, resealed, local, .. } = self.progress;
            self.progress = RotateProgress { pass: pass + 1, resealed, local, ..RotateProgress::default() };
            self.progress.local += self.work.work_elsewhere().await?;
            let is_last = self.progress.pass == MAX_PASSES;
            let is_whole = match self.pass().await {
                // the schema changed, and rows may have been skipped
                Err(fault) if fault.outcome == Outcome::Redetect && !is_last => false,
                done => done.map(|()| true).map_err(|fault| fault.error)?,
            };
            let left = self.work.count_left().await?;
            let progress = RotateProgress { elapsed: self.started.elapsed(), ..self.progress };
            // a pass that found nothing to do will not find more the next time
            let is_idle = progress.resealed == resealed && progress.local == local && progress.changed == 0;
            if left == 0 || (is_whole && is_idle) || is_last {
                return Ok((progress, left));
            }
        }
    }

    /// Every row once.
    async fn pass(&mut self) -> Result<(), DatabaseError> {
        let (core, options) = (self.core, self.options);
        let Some(postgres) = &core.postgres else {
            self.tell(PassEvent::Begun);
            return Ok(());
        };
        let plan = steadily(postgres, BUSY, || writable(postgres)).await?;
        let batch = options.rows_to_a_batch();
        let Some(walk) = self.work.walk(postgres, &plan, batch).await? else {
            self.tell(PassEvent::Begun);
            return Ok(());
        };
        let rows = postgres.count_rows(&walk).await?;
        self.progress.rows = rows;
        self.tell(PassEvent::Begun);
        // a table of a few pages is not worth dividing
        let jobs = u64::from(options.jobs).min(rows / u64::from(batch) + 1) as u32;
        let stretches = postgres.stretches(&walk, rows, jobs).await?;
        let (walk, throttle) = (Arc::new(walk), Arc::new(Throttle::new(options)));
        let work = StretchWork { core: core.clone(), walk, throttle, row: W::ROW };
        work.run(stretches, |event| self.tell(event)).await
    }

    fn tell(&mut self, event: PassEvent) {
        let progress = &mut self.progress;
        if let PassEvent::Batch(counts) = &event {
            progress.visited += counts.visited;
            progress.resealed += counts.exchanged;
            progress.changed += counts.changed;
            progress.unreadable += counts.unreadable;
        }
        progress.elapsed = self.started.elapsed();
        self.work.hear(progress, event);
    }
}

/// The table as it is now.
///
/// # Errors
/// `AccessDenied` if the table hides rows from this role or keeps them unchanged, or a column of it may not be written.
pub(crate) async fn writable(postgres: &Postgres) -> Result<Arc<Plan>, DatabaseError> {
    let plan = sees_all(postgres).await?;
    if plan.has_slots() {
        refuse_fixed_rows(&postgres.database, postgres.layout()).await?;
    }
    postgres.check_writable(&plan)?;
    match postgres.database.takes_writes().await? {
        true => Ok(plan),
        false => Err(postgres.database.why_read_only().await.into()),
    }
}
