//! Re-encryption: every token, wherever it lies, under the primary key.
//!
//! There is no checkpoint that could be lost: "not under the primary key" is the checkpoint. Whether
//! all is done is found out by a token count that knows nothing of the walk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{ErrorKind, Result};
use crate::local::walk::LocalPlace;
use crate::postgres::catalogue::row_visibility::refuse_fixed_rows;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::walk::rows::Stretch;
use crate::rotation::options::RotateOptions;
use crate::rotation::report::{RotateEstimate, RotateEvent, RotateProgress, Rotation, UnreadableRow};
use crate::rotation::rotate_rows::reencrypt_row;
use crate::rotation::shard::{Job, Message, read_only, steadily};
use crate::rotation::throttle::Throttle;
use crate::rotation::token_count::{count_tokens, refuse_without_table, sees_all};
use crate::store::core::Core;
use crate::store::reencrypt_local::reencrypt_local;

/// A pass more helps as long as other writers are in the way. This many of them are somebody who goes
/// on sealing under an old key.
const MAX_PASSES: u32 = 10;

/// How old a primary key must be before a token count means something: a process that has not looked at the
/// keyring since seals under the key before for a second more.
const RELOADED: Duration = Duration::from_millis(1500);

/// What happens, and what it adds up to.
struct RotationRun<'a> {
    core: &'a Arc<Core>,
    options: &'a RotateOptions,
    listener: &'a mut (dyn FnMut(RotateEvent<'_>) + Send),
    progress: RotateProgress,
    unreadable: Vec<(ErrorKind, u64)>,
    /// What the local file held, until the pass is announced: only then is it told.
    untold: Vec<UnreadableRow>,
    /// There was a table.
    walked: bool,
    started: Instant,
}

/// Re-encrypts everything that is not under the primary key.
///
/// Safe to cancel, to kill, and to run twice at once: every batch is whole, and the next run finds
/// what is left. On error everything that was done so far is good.
pub(crate) async fn rotate(
    core: &Arc<Core>,
    options: &RotateOptions,
    listener: &mut (dyn FnMut(RotateEvent<'_>) + Send),
) -> Result<Rotation> {
    refuse_without_table(core).await?;
    let run = RotationRun {
        core,
        options,
        listener,
        progress: RotateProgress::default(),
        unreadable: Vec::new(),
        untold: Vec::new(),
        walked: false,
        started: Instant::now(),
    };
    run.run().await
}

/// Counts what there is to do, and tries it on one batch without writing anything.
pub(crate) async fn estimate_rotation(core: &Core, options: &RotateOptions) -> Result<RotateEstimate> {
    let key = core.keyring.for_sealing()?.primary().0;
    let census = count_tokens(core).await?;
    let mut estimate = RotateEstimate { key, census, rows: 0, to_do: 0, time: Duration::ZERO };
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
    let resealed = page.found.iter().map(|found| reencrypt_row(found, &walk, &keyring));
    resealed.collect::<Result<Vec<_>>>()?;
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

impl RotationRun<'_> {
    async fn run(mut self) -> Result<Rotation> {
        loop {
            let (resealed, local) = (self.progress.resealed, self.progress.local);
            let whole = self.pass().await?;
            self.outwait_promotion().await?;
            let key = self.core.keyring.for_sealing()?.primary().0;
            let census = count_tokens(self.core).await?;
            if let (Some(postgres), true) = (&self.core.postgres, self.walked) {
                postgres.refuse_without_table().await.map_err(|fault| fault.error)?;
            }
            let complete = census.tokens_besides(key) == 0;
            let progress = &mut self.progress;
            progress.elapsed = self.started.elapsed();
            // a pass that found nothing to do will not find more the next time
            let idle = progress.resealed == resealed && progress.local == local && progress.changed == 0;
            if complete || (whole && idle) || progress.pass >= MAX_PASSES {
                self.forget_old_texts().await;
                let (progress, unreadable) = (self.progress, self.unreadable);
                return Ok(Rotation { key, complete, progress, unreadable, census });
            }
        }
    }

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

    /// The log of the local file holds the old texts until it is emptied.
    async fn forget_old_texts(&mut self) {
        if let (Some(local), true) = (&self.core.local, self.progress.local > 0)
            && !local.checkpoint().await.unwrap_or(false)
        {
            tracing::info!("the log of the local file was in use; it is emptied later");
        }
    }

    /// Every place once. False: the schema moved, and rows may have been passed over.
    async fn pass(&mut self) -> Result<bool> {
        let RotateProgress { pass, resealed, local, .. } = self.progress;
        self.progress = RotateProgress { pass: pass + 1, resealed, local, ..RotateProgress::default() };
        self.unreadable.clear();
        self.untold.clear();
        self.reencrypt_local().await?;
        let Some(postgres) = &self.core.postgres else {
            self.announce();
            return Ok(true);
        };
        match self.reencrypt_rows(postgres).await {
            Ok(()) => Ok(true),
            Err(fault) if fault.outcome == Outcome::Redetect && self.progress.pass < MAX_PASSES => Ok(false),
            Err(fault) => Err(fault.error),
        }
    }

    async fn reencrypt_local(&mut self) -> Result<()> {
        let Some(local) = &self.core.local else { return Ok(()) };
        let unreadable = &mut self.untold;
        let without = self.options.without.as_deref();
        let places: Vec<_> =
            LocalPlace::ALL.into_iter().filter(|place| Some(place.name()) != without).collect();
        let done = reencrypt_local(self.core, local, &places, |owner, place, error| {
            let place = format!("local file, {place}");
            unreadable.push(UnreadableRow::new(&owner.to_string(), Some(place), error));
        });
        self.progress.local += done.await?.reencrypted;
        Ok(())
    }

    fn announce(&mut self) {
        (self.listener)(RotateEvent::Pass(&self.progress));
        for row in std::mem::take(&mut self.untold) {
            self.progress.unreadable += 1;
            self.note_unreadable(&row);
        }
    }

    fn note_unreadable(&mut self, row: &UnreadableRow) {
        match self.unreadable.iter_mut().find(|(kind, _)| *kind == row.kind) {
            Some((_, count)) => *count += 1,
            None => self.unreadable.push((row.kind, 1)),
        }
        (self.listener)(RotateEvent::Unreadable(row));
    }

    async fn reencrypt_rows(&mut self, postgres: &Postgres) -> Result<(), DatabaseError> {
        let plan = steadily(postgres, || writable(postgres)).await?;
        if !plan.has_slots() {
            self.announce();
            return Ok(());
        }
        self.walked = true;
        let options = self.options;
        let walk = postgres.walk(&plan, options.rows_to_a_batch(), options.without.as_deref()).await?;
        let rows = postgres.count_rows(&walk).await?;
        self.progress = RotateProgress { rows, visited: 0, changed: 0, ..self.progress };
        self.announce();
        // a table of a few pages is not worth cutting up
        let jobs = u64::from(options.jobs).min(rows / u64::from(options.rows_to_a_batch()) + 1) as u32;
        let stretches = postgres.stretches(&walk, rows, jobs).await?;
        let job = Job {
            core: self.core.clone(),
            walk: Arc::new(walk),
            throttle: Arc::new(Throttle::new(options)),
            rework: reencrypt_row,
        };
        job.run(stretches, |message| self.hear(message)).await
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Unreadable(row) => self.note_unreadable(&row),
            Message::Paused(reason) => (self.listener)(RotateEvent::Paused(&reason)),
            Message::Batch(tally) => {
                let progress = &mut self.progress;
                progress.visited += tally.visited;
                progress.resealed += tally.exchanged;
                progress.changed += tally.changed;
                progress.unreadable += tally.unreadable;
                progress.elapsed = self.started.elapsed();
                (self.listener)(RotateEvent::Batch(&self.progress));
            }
        }
    }
}

/// The table as it is now.
///
/// # Errors
/// `AccessDenied` when it hides rows from us or keeps them as they are, or a column of it may not be written.
pub(crate) async fn writable(postgres: &Postgres) -> Result<Arc<Plan>, DatabaseError> {
    let plan = sees_all(postgres).await?;
    if plan.has_slots() {
        refuse_fixed_rows(&postgres.database, postgres.layout()).await?;
    }
    postgres.check_writable(&plan)?;
    match postgres.database.takes_writes().await? {
        true => Ok(plan),
        false => Err(read_only(postgres).await.into()),
    }
}
