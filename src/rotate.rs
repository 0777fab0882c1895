//! Re-encryption: every token, wherever it lies, under the primary key.
//!
//! There is no checkpoint that could be lost: "not under the primary key" is the checkpoint. Whether
//! all is done is found out by a recount that knows nothing of the walk.

mod rows;
mod shard;
mod throttle;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::census::{Census, no_database, sees_all};
use crate::classify::{Fault, Outcome};
use crate::error::{Error, ErrorKind, Result};
use crate::local::walk::LocalPlace;
use crate::postgres::walk::{Stretch, Walk};
use crate::postgres::{Plan, Postgres};
use crate::rotate::shard::{Message, Shard, steadily};
use crate::rotate::throttle::Throttle;
use crate::router::Router;
use crate::router::write::check_writable;
use crate::token::KeyId;

/// A pass more helps as long as other writers are in the way. This many of them are somebody who goes
/// on sealing under an old key.
const MAX_PASSES: u32 = 10;

/// How to rotate.
///
/// Defaults: 1,000 rows to a batch (500 to 2,000 make no difference), one job more than there are
/// processors but at most 4 (a job waits for the server half of its time), no rate, no pauses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotateOptions {
    batch: u32,
    jobs: u32,
    pub(crate) rate: Option<u32>,
    pub(crate) max_latency: Option<Duration>,
    pub(crate) max_replica_lag: Option<u64>,
    /// A place that the walk leaves out, for the test that the recount notices.
    pub(crate) without: Option<String>,
}

impl Default for RotateOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        Self {
            batch: 1000,
            jobs: (processors + 1).min(4),
            rate: None,
            max_latency: None,
            max_replica_lag: None,
            without: None,
        }
    }
}

impl RotateOptions {
    /// The largest batch: a statement of 100,000 rows holds its locks for seconds.
    pub const MAX_BATCH: u32 = 100_000;
    /// The most jobs: each has a connection of its own.
    pub const MAX_JOBS: u32 = 64;

    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows that are read and written by one statement, 1 to 100,000.
    pub fn batch(mut self, rows: u32) -> Self {
        self.batch = rows.clamp(1, Self::MAX_BATCH);
        self
    }

    /// Parts of the table that are worked on at the same time, 1 to 64. Each takes a connection.
    pub fn jobs(mut self, jobs: u32) -> Self {
        self.jobs = jobs.clamp(1, Self::MAX_JOBS);
        self
    }

    /// At most this many rows a second, over all jobs.
    pub fn rate(mut self, rows_per_second: u32) -> Self {
        self.rate = Some(rows_per_second.max(1));
        self
    }

    /// Pauses while reading one row takes longer than this.
    pub fn max_latency(mut self, limit: Duration) -> Self {
        self.max_latency = Some(limit);
        self
    }

    /// Pauses while a replica is more than this many bytes of WAL behind. The role must be allowed to
    /// see that (`pg_monitor`).
    pub fn max_replica_lag(mut self, bytes: u64) -> Self {
        self.max_replica_lag = Some(bytes);
        self
    }

    /// A batch is never more than a second's worth of rows.
    fn rows_to_a_batch(&self) -> u32 {
        self.rate.map_or(self.batch, |rate| rate.min(self.batch))
    }
}

/// How far a rotation is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotateProgress {
    /// Which pass over all places this is, from 1.
    pub pass: u32,
    /// Rows in the table when the pass began.
    pub rows: u64,
    /// Rows that this pass has looked at.
    pub visited: u64,
    /// Rows that were sealed anew, in all passes.
    pub resealed: u64,
    /// Rows that somebody else wrote or held meanwhile, in this pass: they are met again.
    pub changed: u64,
    /// Rows with something that could not be opened, in this pass.
    pub unreadable: u64,
    /// Texts of the local file that were sealed anew, in all passes.
    pub local: u64,
    /// Since the start.
    pub elapsed: Duration,
}

/// Something that could not be opened. It stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreadableRow {
    /// The owner as it stands in the row: `user`, or `tenant/user`.
    pub owner: String,
    /// The column, or the part of the local file, where that can be told.
    pub place: Option<String>,
    /// What kind of failure it is: `UnknownKey`, `Unsealable`, `ForeignValue` and so on.
    pub kind: ErrorKind,
    /// The same in words.
    pub reason: String,
}

impl UnreadableRow {
    fn new(owner: &str, place: Option<String>, error: &Error) -> Self {
        Self { owner: owner.to_owned(), place, kind: error.kind(), reason: error.to_string() }
    }
}

/// What happens during a rotation.
#[derive(Debug)]
#[non_exhaustive]
pub enum RotateEvent<'a> {
    /// A pass over all places begins. What cannot be opened is met again, and told again.
    Pass(&'a RotateProgress),
    /// A batch is done.
    Batch(&'a RotateProgress),
    /// Something could not be opened.
    Unreadable(&'a UnreadableRow),
    /// It waits, for this reason, and looks again in half a second.
    Paused(&'a str),
}

/// What a rotation did, and what the recount after it says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rotation {
    /// The primary key.
    pub key: KeyId,
    /// The recount found no token under any other key, in any place.
    pub complete: bool,
    /// The last state of affairs.
    pub progress: RotateProgress,
    /// What could not be opened in the last pass, by kind.
    pub unreadable: Vec<(ErrorKind, u64)>,
    /// The recount.
    pub census: Census,
}

/// What there is to do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RotateEstimate {
    /// The primary key.
    pub key: KeyId,
    /// All tokens, by place and key.
    pub census: Census,
    /// Rows in the table.
    pub rows: u64,
    /// Rows with something not under the primary key.
    pub to_do: u64,
    /// About how long it would take: from reading and sealing one batch, times three for writing it.
    pub time: Duration,
}

/// What a batch did.
#[derive(Default)]
struct Tally {
    visited: u64,
    resealed: u64,
    changed: u64,
    unreadable: u64,
}

/// What happens, and what it adds up to.
struct Run<'a> {
    router: &'a Arc<Router>,
    options: &'a RotateOptions,
    listener: &'a mut (dyn FnMut(RotateEvent<'_>) + Send),
    progress: RotateProgress,
    unreadable: Vec<(ErrorKind, u64)>,
    /// What the local file held, until the pass is announced: only then is it told.
    untold: Vec<UnreadableRow>,
    started: Instant,
}

impl Router {
    /// Seals everything anew that is not under the primary key.
    ///
    /// Safe to cancel, to kill, and to run twice at once: every batch is whole, and the next run finds
    /// what is left. On error everything that was done so far is good.
    pub(crate) async fn rotate(
        self: &Arc<Self>,
        options: &RotateOptions,
        listener: &mut (dyn FnMut(RotateEvent<'_>) + Send),
    ) -> Result<Rotation> {
        if let (None, Some(local)) = (&self.postgres, &self.local) {
            no_database(local).await?;
        }
        let run = Run {
            router: self,
            options,
            listener,
            progress: RotateProgress::default(),
            unreadable: Vec::new(),
            untold: Vec::new(),
            started: Instant::now(),
        };
        run.run().await
    }

    /// Counts what there is to do, and tries it on one batch without writing anything.
    pub(crate) async fn estimate_rotation(&self, options: &RotateOptions) -> Result<RotateEstimate> {
        let key = self.keyring.for_sealing()?.primary().0;
        let census = self.census().await?;
        let mut estimate = RotateEstimate { key, census, rows: 0, to_do: 0, time: Duration::ZERO };
        if let Some(postgres) = &self.postgres {
            self.estimate_rows(postgres, options, &mut estimate).await.map_err(|fault| fault.error)?;
        }
        Ok(estimate)
    }

    async fn estimate_rows(
        &self,
        postgres: &Postgres,
        options: &RotateOptions,
        estimate: &mut RotateEstimate,
    ) -> Result<(), Fault> {
        let plan = writable(postgres).await?;
        if !plan.has_slots() {
            return Ok(());
        }
        let walk = postgres.walk(&plan, options.rows_to_a_batch(), None).await?;
        let keyring = self.keyring.for_sealing()?;
        estimate.rows = postgres.count_rows(&walk).await?;
        estimate.to_do = postgres.count_found(&walk, estimate.key).await?;
        let started = Instant::now();
        let Some(page) = postgres.page(&walk, &Stretch::default(), estimate.key).await? else {
            return Ok(());
        };
        let found = page.found.len();
        let resealed = page.found.iter().map(|found| rows::reseal_row(found, &walk.slots, &keyring));
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
}

impl Run<'_> {
    async fn run(mut self) -> Result<Rotation> {
        loop {
            let (resealed, local) = (self.progress.resealed, self.progress.local);
            let whole = self.pass().await?;
            let key = self.router.keyring.for_sealing()?.primary().0;
            let census = self.router.census().await?;
            let complete = census.tokens_besides(key) == 0;
            let progress = &mut self.progress;
            progress.elapsed = self.started.elapsed();
            // a pass that found nothing to do will not find more the next time
            let idle = progress.resealed == resealed && progress.local == local && progress.changed == 0;
            if complete || (whole && idle) || progress.pass >= MAX_PASSES {
                let (progress, unreadable) = (self.progress, self.unreadable);
                return Ok(Rotation { key, complete, progress, unreadable, census });
            }
        }
    }

    /// Every place once. False: the schema moved, and rows may have been passed over.
    async fn pass(&mut self) -> Result<bool> {
        let RotateProgress { pass, resealed, local, .. } = self.progress;
        self.progress = RotateProgress { pass: pass + 1, resealed, local, ..RotateProgress::default() };
        self.unreadable.clear();
        self.untold.clear();
        self.reseal_local().await?;
        let Some(postgres) = &self.router.postgres else {
            self.announce();
            return Ok(true);
        };
        match self.reseal_rows(postgres).await {
            Ok(()) => Ok(true),
            Err(fault) if fault.outcome == Outcome::Redetect && self.progress.pass < MAX_PASSES => Ok(false),
            Err(fault) => Err(fault.error),
        }
    }

    async fn reseal_local(&mut self) -> Result<()> {
        let Some(local) = &self.router.local else { return Ok(()) };
        let unreadable = &mut self.untold;
        let without = self.options.without.as_deref();
        let places: Vec<_> =
            LocalPlace::ALL.into_iter().filter(|place| Some(place.name()) != without).collect();
        let done = self.router.reseal_local(local, &places, |owner, place, error| {
            let place = format!("local file, {place}");
            unreadable.push(UnreadableRow::new(&owner.to_string(), Some(place), error));
        });
        self.progress.local += done.await?.resealed;
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

    async fn reseal_rows(&mut self, postgres: &Postgres) -> Result<(), Fault> {
        let plan = steadily(postgres, || writable(postgres)).await?;
        if !plan.has_slots() {
            self.announce();
            return Ok(());
        }
        let options = self.options;
        let walk = postgres.walk(&plan, options.rows_to_a_batch(), options.without.as_deref()).await?;
        let rows = postgres.count_rows(&walk).await?;
        self.progress = RotateProgress { rows, visited: 0, changed: 0, ..self.progress };
        self.announce();
        // a table of a few pages is not worth cutting up
        let jobs = u64::from(options.jobs).min(rows / u64::from(options.rows_to_a_batch()) + 1) as u32;
        let stretches = postgres.stretches(&walk, rows, jobs).await?;
        self.work(Arc::new(walk), stretches).await
    }

    /// Lets one task work on each stretch. Dropping this ends them after their current statement.
    async fn work(&mut self, walk: Arc<Walk>, stretches: Vec<Stretch>) -> Result<(), Fault> {
        let throttle = Arc::new(Throttle::new(self.options));
        let (messages, mut heard) = mpsc::channel(64);
        let mut shards = JoinSet::new();
        for stretch in stretches {
            let (router, walk, throttle) = (self.router.clone(), walk.clone(), throttle.clone());
            let messages = messages.clone();
            shards.spawn(Shard { router, walk, stretch, throttle, messages, refused: 0 }.run());
        }
        drop(messages);
        loop {
            tokio::select! {
                Some(message) = heard.recv() => self.hear(message),
                // the first failure ends the others, after their current statement
                Some(ended) = shards.join_next() => {
                    ended.map_err(|_| Error::new(ErrorKind::Busy, "the program is shutting down"))??;
                }
                else => return Ok(()),
            }
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Unreadable(row) => self.note_unreadable(&row),
            Message::Paused(reason) => (self.listener)(RotateEvent::Paused(&reason)),
            Message::Batch(tally) => {
                let progress = &mut self.progress;
                progress.visited += tally.visited;
                progress.resealed += tally.resealed;
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
/// `AccessDenied` when it hides rows from us, or a column of it may not be written.
async fn writable(postgres: &Postgres) -> Result<Arc<Plan>, Fault> {
    let plan = sees_all(postgres).await?;
    check_writable(postgres, &plan)?;
    Ok(plan)
}
