//! Imports every owner of every source: some pages at once, each read, stored, read back and cleared.
//!
//! The state of an import is in the records: see `mark.rs`. So it may end at any moment, run again, and run twice at once.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::error::{Error, ErrorKind, Result};
use crate::import::candidate::{Announce, ImportRun, PageResult};
use crate::import::owner_pages::{OwnerPage, OwnerPages};
use crate::import::passwords::Passwords;
use crate::import::report::{ImportEvent, ImportOptions, ImportReport};
use crate::import::sources::{FoundField, Sources};
use crate::import::tally::SourceTally;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::plan::Postgres;
use crate::record::credentials::Credentials;
use crate::rotation::options::RotateOptions;
use crate::rotation::throttle::Throttle;
use crate::store::actor::{acting, acting_now};
use crate::store::core::Core;
use crate::store::keyring_check::check_keyring;

/// How many pages are worked on at once. While the server writes one, others are opened and sealed.
const JOBS: usize = 4;
/// How many rows a page has.
const PAGE: u32 = 500;

/// What the listener of an import returns an error for ends the import.
pub(crate) type ImportListener<'a> = &'a mut (dyn FnMut(ImportEvent<'_>) -> Result<()> + Send);

/// Imports, and reports everything that was not imported.
///
/// On error finished work is kept, and nothing is half-done.
pub(crate) async fn import<C: Credentials>(
    core: &Arc<Core>,
    passwords: &Passwords,
    options: &ImportOptions,
    listener: ImportListener<'_>,
) -> Result<ImportReport> {
    let Some(postgres) = &core.postgres else {
        return Err(Error::new(ErrorKind::Configuration, "an import needs a database"));
    };
    let sources = Sources::<C>::new(postgres.layout(), passwords)?;
    check_keyring(core).await?;
    let page = options.rate.map_or(PAGE, |rate| rate.div_ceil(20).min(PAGE));
    let database = &postgres.database;
    let mut tables = database.old_tables(sources.all(), page).await.map_err(|fault| fault.error)?;
    database.find_other_names(&mut tables, &postgres.relation()).await.map_err(|fault| fault.error)?;
    let own = own_columns(postgres, &sources, options, listener).await?;
    let mut report = ImportReport::default();
    for table in &tables {
        report.progress.rows += postgres.database.count_old_rows(table).await.map_err(|fault| fault.error)?;
    }
    let tally = Mutex::new(SourceTally::of_all(sources.all()));
    let (core, options, rows_are_empty) = (core.clone(), options.clone(), AtomicBool::new(false));
    let run = ImportRun { core, sources, tables, options, own, tally, rows_are_empty };
    all_pages(&Arc::new(run), &mut report, listener).await?;
    Ok(report)
}

/// The sources that are columns in which the vault seals.
///
/// # Errors
/// `Configuration` if there are any and the source is not to be cleared: to seal there is to replace the old text.
async fn own_columns<C: Credentials>(
    postgres: &Postgres,
    sources: &Sources<C>,
    options: &ImportOptions,
    listener: ImportListener<'_>,
) -> Result<BTreeSet<usize>> {
    let plan = postgres.plan_with_room().await.map_err(|fault: DatabaseError| fault.error)?;
    let layout = postgres.layout();
    let mut own = BTreeSet::new();
    for (at, source) in sources.all().iter().enumerate() {
        let is_slot = plan.placement.slots.iter().any(|slot| !slot.json && *slot.column == *source.column);
        if !is_slot || source.relation() != (layout.schema.as_str(), layout.table.as_str()) {
            continue;
        }
        if !options.clear_source {
            let message = format!("the vault seals in the column of source {}", source.place());
            return Err(Error::new(ErrorKind::Configuration, message).with_hint(
                "an import replaces the old texts there: run it with --clear-source once no code reads them any more",
            ));
        }
        listener(ImportEvent::OwnColumn(&source.place()))?;
        own.insert(at);
    }
    Ok(own)
}

/// What a job tells the caller's task, where the listener is.
enum PageEvent {
    /// Values are cleared once this is answered.
    Clearing(Vec<FoundField>, oneshot::Sender<Result<()>>),
    Done(PageResult),
}

struct RunJob(mpsc::Sender<PageEvent>);

impl Announce for RunJob {
    async fn clearing(&self, values: Vec<FoundField>) -> Result<()> {
        let gone = || Error::new(ErrorKind::Busy, "the import was ended");
        let (answer, answered) = oneshot::channel();
        self.0.send(PageEvent::Clearing(values, answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Dropping this ends the jobs after their current statement.
async fn all_pages<C: Credentials>(
    run: &Arc<ImportRun<C>>,
    report: &mut ImportReport,
    listener: ImportListener<'_>,
) -> Result<()> {
    let (read, pages) = mpsc::channel::<OwnerPage>(1);
    let (events, mut heard) = mpsc::channel(2 * JOBS);
    let pages = Arc::new(tokio::sync::Mutex::new(pages));
    let pace = run.options.rate.map(|rate| Throttle::new(&RotateOptions::new().rate(rate)));
    let pace = Arc::new(pace.unwrap_or_else(|| Throttle::new(&RotateOptions::new())));
    let mut tasks = JoinSet::new();
    tasks.spawn(read_pages(run.clone(), read));
    for _ in 0..JOBS {
        let (run, pages, events, pace) = (run.clone(), pages.clone(), events.clone(), pace.clone());
        // a task does not know the actor of the one that spawned it
        tasks.spawn(acting(acting_now(), async move {
            let job = RunJob(events.clone());
            loop {
                let next = pages.lock().await.recv().await;
                let Some(page) = next else { return Ok(()) };
                let owners = page.owners.len();
                let done = run.page(page, &job).await?;
                // a dropped receiver means that the import was ended
                events.send(PageEvent::Done(done)).await.ok();
                pace.pace(owners).await;
            }
        }));
    }
    drop(events);
    loop {
        tokio::select! {
            Some(event) = heard.recv() => hear(event, report, listener)?,
            // the first failure ends the others
            Some(ended) = tasks.join_next() => {
                ended.map_err(|_| Error::new(ErrorKind::Busy, "the program is shutting down"))??;
            }
            else => return Ok(()),
        }
    }
}

async fn read_pages<C: Credentials>(run: Arc<ImportRun<C>>, read: mpsc::Sender<OwnerPage>) -> Result<()> {
    let Some(postgres) = &run.core.postgres else { return Ok(()) };
    let mut pages = OwnerPages::new(&postgres.database, run.sources.all(), &run.tables);
    while let Some(page) = pages.next().await? {
        if read.send(page).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn hear(event: PageEvent, report: &mut ImportReport, listener: ImportListener<'_>) -> Result<()> {
    match event {
        PageEvent::Clearing(values, answer) => {
            let heard = listener(ImportEvent::Clearing(&values));
            answer.send(heard.clone()).ok();
            heard
        }
        PageEvent::Done(PageResult { progress, found, exposed }) => {
            for found in found {
                listener(ImportEvent::Found(&found))?;
                report.add(found);
            }
            report.exposed.extend(exposed);
            report.progress.add(&progress);
            listener(ImportEvent::Batch(&report.progress))
        }
    }
}
