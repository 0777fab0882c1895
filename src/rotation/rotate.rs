//! Re-encryption: every token, wherever it lies, under the primary key.
//!
//! "Not under the primary key" is what is left to do. Whether that is nothing is found out by the token count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{ErrorKind, Result};
use crate::local::entries::LocalPlace;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::walk::rows::{Stretch, TableWalk};
use crate::rotation::options::RotateOptions;
use crate::rotation::passes::{Work, run_passes, writable};
use crate::rotation::reencrypt_row::reencrypt_row;
use crate::rotation::report::{RotateEstimate, RotateEvent, RotateProgress, Rotation, UnreadableRow};
use crate::rotation::row_work::{RowWork, rework};
use crate::rotation::stretch::PassEvent;
use crate::rotation::token_count::{TokenCounts, count_tokens, refuse_without_table};
use crate::store::core::Core;
use crate::store::reencrypt_local::reencrypt_local;

/// How old a primary key must be before a token count means something: a process that has not looked at the
/// keyring since seals under the key before for a second more.
const RELOADED: Duration = Duration::from_millis(1500);

/// The work of a rotation.
struct RotationWork<'a> {
    core: &'a Arc<Core>,
    options: &'a RotateOptions,
    listener: &'a mut (dyn FnMut(RotateEvent<'_>) + Send),
    /// What the local file held and was not told yet: that comes after the pass is announced.
    untold: Vec<UnreadableRow>,
    unreadable: Vec<(ErrorKind, u64)>,
    /// There was a table.
    walked: bool,
    token_counts: TokenCounts,
}

/// Re-encrypts everything that is not under the primary key.
pub(crate) async fn rotate(
    core: &Arc<Core>,
    options: &RotateOptions,
    listener: &mut (dyn FnMut(RotateEvent<'_>) + Send),
) -> Result<Rotation> {
    refuse_without_table(core).await?;
    let mut work = RotationWork {
        core,
        options,
        listener,
        untold: Vec::new(),
        unreadable: Vec::new(),
        walked: false,
        token_counts: TokenCounts::default(),
    };
    let (progress, left) = run_passes(core, options, &mut work).await?;
    let key = core.keyring.for_sealing()?.primary().0;
    Ok(Rotation {
        key,
        complete: left == 0,
        progress,
        unreadable: work.unreadable,
        token_counts: work.token_counts,
    })
}

/// Counts what there is to do, and tries it on one batch without writing anything.
pub(crate) async fn estimate_rotation(core: &Core, options: &RotateOptions) -> Result<RotateEstimate> {
    let key = core.keyring.for_sealing()?.primary().0;
    let token_counts = count_tokens(core, None).await?;
    let mut estimate = RotateEstimate { key, token_counts, rows: 0, to_do: 0, time: Duration::ZERO };
    if let Some(postgres) = &core.postgres {
        estimate_rows(core, postgres, options, &mut estimate).await.map_err(|fault| fault.error)?;
    }
    Ok(estimate)
}

async fn estimate_rows(
    core: &Core,
    postgres: &Postgres,
    options: &RotateOptions,
    estimate: &mut RotateEstimate,
) -> Result<(), DatabaseError> {
    let plan = writable(postgres).await?;
    if !plan.has_slots() {
        return Ok(());
    }
    let walk = postgres.walk(&plan, options.rows_to_a_batch(), None).await?;
    let keyring = core.keyring.for_sealing()?;
    estimate.rows = postgres.count_rows(&walk).await?;
    estimate.to_do = postgres.count_found(&walk, estimate.key).await?;
    let started = Instant::now();
    let page = postgres.page(&walk, &Stretch::default(), estimate.key).await?;
    let found = page.found.len();
    let reworked = page.found.iter().map(|found| rework(found, &walk, &keyring, reencrypt_row));
    reworked.collect::<Result<Vec<_>>>()?;
    if found > 0 {
        let jobs = f64::from(options.jobs.min(2));
        let batches = estimate.to_do as f64 / found as f64;
        estimate.time = started.elapsed().mul_f64(3.0 * batches / jobs);
    }
    if let Some(rate) = options.rate {
        estimate.time = estimate.time.max(Duration::from_secs(estimate.to_do / u64::from(rate)));
    }
    Ok(())
}

impl RotationWork<'_> {
    /// Waits until every process has reloaded the keyring, which takes no time unless the primary key is new.
    async fn outwait_promotion(&mut self) -> Result<()> {
        let keyring = self.core.keyring.for_sealing()?;
        let (primary, _) = keyring.primary();
        let since = keyring.get(primary).map_or(0, |key| key.info.state_since);
        let age = Duration::from_millis(self.core.now().saturating_sub(since));
        // the first key of a keyring has none before it
        if keyring.keys().len() > 1 {
            tokio::time::sleep(RELOADED.saturating_sub(age)).await;
        }
        Ok(())
    }

    fn note_unreadable(&mut self, row: &UnreadableRow) {
        match self.unreadable.iter_mut().find(|(kind, _)| *kind == row.kind) {
            Some((_, count)) => *count += 1,
            None => self.unreadable.push((row.kind, 1)),
        }
        (self.listener)(RotateEvent::Unreadable(row));
    }
}

impl Work for RotationWork<'_> {
    const ROW: RowWork = reencrypt_row;

    /// The local file.
    async fn work_elsewhere(&mut self) -> Result<u64> {
        self.unreadable.clear();
        self.untold.clear();
        let Some(local) = &self.core.local else { return Ok(0) };
        let unreadable = &mut self.untold;
        let without = self.options.without.as_deref();
        let places: Vec<_> =
            LocalPlace::ALL.into_iter().filter(|place| Some(place.name()) != without).collect();
        let done = reencrypt_local(self.core, local, &places, |owner, place, error| {
            let place = format!("local file, {place}");
            unreadable.push(UnreadableRow::new(&owner.to_string(), Some(place), error));
        });
        Ok(done.await?.reencrypted)
    }

    async fn walk(
        &mut self,
        postgres: &Postgres,
        plan: &Plan,
        batch: u32,
    ) -> Result<Option<TableWalk>, DatabaseError> {
        if !plan.has_slots() {
            return Ok(None);
        }
        self.walked = true;
        postgres.walk(plan, batch, self.options.without.as_deref()).await.map(Some)
    }

    /// The tokens under any other key, in every column of the layout and in the local file.
    async fn count_left(&mut self) -> Result<u64> {
        self.outwait_promotion().await?;
        let key = self.core.keyring.for_sealing()?.primary().0;
        self.token_counts = count_tokens(self.core, Some(self.options.jobs)).await?;
        if let (Some(postgres), true) = (&self.core.postgres, self.walked) {
            postgres.refuse_without_table().await.map_err(|fault| fault.error)?;
        }
        Ok(self.token_counts.tokens_besides(key))
    }

    fn hear(&mut self, progress: &mut RotateProgress, event: PassEvent) {
        match event {
            PassEvent::Begun => {
                (self.listener)(RotateEvent::Pass(progress));
                for row in std::mem::take(&mut self.untold) {
                    progress.unreadable += 1;
                    self.note_unreadable(&row);
                }
            }
            PassEvent::Batch(_) => (self.listener)(RotateEvent::Batch(progress)),
            PassEvent::Unreadable(row) => self.note_unreadable(&row),
            PassEvent::Paused(reason) => (self.listener)(RotateEvent::Paused(&reason)),
        }
    }
}
