//! One stretch of the table: reads a page, processes it, exchanges it, and continues.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinSet;

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::RootKeys;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::Postgres;
use crate::postgres::walk::rows::{Exchange, FoundRow, Stretch, TableWalk};
use crate::record::owner::Owner;
use crate::rotation::report::UnreadableRow;
use crate::rotation::row_work::{Reworked, RowProblem, RowWork, rework};
use crate::rotation::throttle::{PAUSE, Throttle};
use crate::store::core::{Core, pause};

/// If the database refuses this many single rows in succession, the rows are not the cause.
const MAX_REFUSED: u32 = 100;

/// How often a busy database is asked again.
pub(crate) const BUSY: u32 = 2;

/// The result of a batch.
#[derive(Default)]
pub(crate) struct BatchCounts {
    pub(crate) visited: u64,
    /// Rows that got new texts.
    pub(crate) exchanged: u64,
    /// Rows that another process wrote or locked in between.
    pub(crate) changed: u64,
    /// Rows of which something stays as it is.
    pub(crate) unreadable: u64,
}

/// What happens during a pass.
pub(crate) enum PassEvent {
    /// The rows of the table are counted.
    Begun,
    Batch(BatchCounts),
    Unreadable(UnreadableRow),
    Paused(String),
}

/// What all stretches of a pass share.
#[derive(Clone)]
pub(crate) struct StretchWork {
    pub(crate) core: Arc<Core>,
    pub(crate) walk: Arc<TableWalk>,
    pub(crate) throttle: Arc<Throttle>,
    /// What is done to each row.
    pub(crate) row: RowWork,
}

impl StretchWork {
    /// Runs one task for each stretch. Dropping this ends them after their current statement.
    pub(crate) async fn run(
        self,
        stretches: Vec<Stretch>,
        mut hear: impl FnMut(PassEvent),
    ) -> Result<(), DatabaseError> {
        let (events, mut heard) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        for stretch in stretches {
            let task = StretchTask { work: self.clone(), stretch, events: events.clone(), refused: 0 };
            tasks.spawn(task.run());
        }
        drop(events);
        loop {
            tokio::select! {
                Some(event) = heard.recv() => hear(event),
                // the first failure ends the others, after their current statement
                Some(ended) = tasks.join_next() => {
                    ended.map_err(|_| Error::new(ErrorKind::Busy, "the program is shutting down"))??;
                }
                else => return Ok(()),
            }
        }
    }
}

struct StretchTask {
    work: StretchWork,
    stretch: Stretch,
    events: Sender<PassEvent>,
    refused: u32,
}

impl StretchTask {
    /// Works to the end of the stretch.
    ///
    /// # Errors
    /// `Redetect` if the schema is no longer the one of the walk. Every batch before it is done.
    async fn run(mut self) -> Result<(), DatabaseError> {
        let core = self.work.core.clone();
        let Some(postgres) = &core.postgres else { return Ok(()) };
        loop {
            let keyring = core.keyring.for_sealing()?;
            let primary = keyring.primary().0;
            let page =
                steadily(postgres, BUSY, || postgres.page(&self.work.walk, &self.stretch, primary)).await?;
            let Some(last) = page.last else { return Ok(()) };
            let probe = page.found.iter().find_map(|found| found.owner.clone());
            let mut counts = BatchCounts { visited: page.rows, ..BatchCounts::default() };
            let (exchanges, unreadable) = self.rework(page.found, keyring, &mut counts).await?;
            let rows = exchanges.len();
            if rows > 0 && self.paused(postgres, probe.as_ref()).await? {
                // during a long pause a key may have been retired, for example: check again
                continue;
            }
            for row in unreadable {
                self.tell(PassEvent::Unreadable(row)).await;
            }
            if rows > 0 {
                self.exchange(postgres, exchanges, &mut counts).await?;
            }
            self.tell(PassEvent::Batch(counts)).await;
            self.stretch.after = Some(last);
            self.work.throttle.pace(rows).await;
        }
    }

    /// Waits while other clients are slowed down. Returns whether it did.
    async fn paused(&self, postgres: &Postgres, probe: Option<&Owner>) -> Result<bool, DatabaseError> {
        let mut paused = false;
        while let Some(reason) =
            steadily(postgres, BUSY, || self.work.throttle.trouble(postgres, probe)).await?
        {
            self.tell(PassEvent::Paused(reason)).await;
            tokio::time::sleep(PAUSE).await;
            paused = true;
        }
        Ok(paused)
    }

    /// A dropped receiver means that the run was cancelled, which ends this task too.
    async fn tell(&self, event: PassEvent) {
        self.events.send(event).await.ok();
    }

    /// Processes what was found, away from the threads that serve others.
    async fn rework(
        &self,
        found: Vec<FoundRow>,
        keyring: Arc<RootKeys>,
        counts: &mut BatchCounts,
    ) -> Result<(Vec<Exchange>, Vec<UnreadableRow>)> {
        let (walk, row) = (self.work.walk.clone(), self.work.row);
        let rework = move |found: FoundRow| Ok((rework(&found, &walk, &keyring, row)?, found));
        let work = move || found.into_iter().map(rework).collect::<Result<Vec<_>>>();
        let reworked = tokio::task::spawn_blocking(work).await;
        let reworked =
            reworked.map_err(|_| Error::new(ErrorKind::Busy, "the program is shutting down"))??;
        let (mut exchanges, mut unreadable) = (Vec::with_capacity(reworked.len()), Vec::new());
        for (Reworked { new, problems }, found) in reworked {
            counts.unreadable += u64::from(!problems.is_empty());
            let told = |problem: RowProblem| UnreadableRow::new(&found.name, problem.column, &problem.error);
            unreadable.extend(problems.into_iter().map(told));
            exchanges.extend(new.map(|new| Exchange { found, new }));
        }
        Ok((exchanges, unreadable))
    }

    /// Exchanges all rows at once. If the database refuses that, exchanges ever smaller parts, so that one locked or
    /// refused row does not stop the others.
    async fn exchange(
        &mut self,
        postgres: &Postgres,
        exchanges: Vec<Exchange>,
        counts: &mut BatchCounts,
    ) -> Result<(), DatabaseError> {
        let mut parts = vec![exchanges];
        while let Some(mut part) = parts.pop() {
            // smaller parts help more than waiting
            let done = steadily(postgres, 0, || postgres.exchange(&self.work.walk, &part)).await;
            let fault = match done {
                Ok(exchanged) => {
                    counts.exchanged += exchanged;
                    counts.changed += (part.len() as u64).saturating_sub(exchanged);
                    self.refused = 0;
                    continue;
                }
                Err(fault) => fault,
            };
            let refused = fault.outcome == Outcome::Reject && fault.error.kind() == ErrorKind::Rejected;
            match (fault.outcome, part.as_slice()) {
                _ if fault.outcome != Outcome::Retry && !refused => return Err(fault),
                (_, [_, _, ..]) => {
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([rest, part]);
                }
                // another session holds the row: the next pass meets it again
                (Outcome::Retry, _) => counts.changed += 1,
                _ if self.refused >= MAX_REFUSED => return Err(fault),
                (_, row) => {
                    self.refused += 1;
                    counts.unreadable += 1;
                    let name = row.first().map(|exchange| exchange.found.name.as_str());
                    let row = UnreadableRow::new(name.unwrap_or_default(), None, &fault.error);
                    self.tell(PassEvent::Unreadable(row)).await;
                }
            }
        }
        Ok(())
    }
}

/// Asks again for as long as a call may take, if that can help. The request must change nothing if it is repeated. `busy`
/// is how often a database that is up but busy is asked again.
pub(crate) async fn steadily<T, F>(
    postgres: &Postgres,
    busy: u32,
    ask: impl Fn() -> F,
) -> Result<T, DatabaseError>
where
    F: Future<Output = Result<T, DatabaseError>>,
{
    let started = Instant::now();
    let mut round = 0;
    loop {
        let fault = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(fault) => fault,
        };
        let again = match fault.outcome {
            Outcome::Retry => round < busy,
            Outcome::Fallback | Outcome::Ambiguous | Outcome::Pooler => {
                started.elapsed() < postgres.database.patience()
            }
            Outcome::ReadOnly => {
                return Err(DatabaseError::new(Outcome::Reject, postgres.database.why_read_only().await));
            }
            _ => false,
        };
        if !again {
            return Err(stopped(fault));
        }
        pause(round).await;
        round += 1;
    }
}

/// The last statement may or may not have been applied: continuing finds out either way.
fn stopped(fault: DatabaseError) -> DatabaseError {
    match fault.outcome {
        Outcome::Fallback | Outcome::Ambiguous => {
            let error = Error::new(ErrorKind::Unavailable, fault.error.to_string());
            let hint = "nothing is lost; when the database is back, run the same command again to continue";
            DatabaseError::new(fault.outcome, error.with_hint(hint).with_details_of(&fault.error))
        }
        _ => fault,
    }
}
