//! The background work of a service in one task: syncs, health checks, and the note of the host.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::Rng;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::crypto::random;
use crate::error::{Error, Result};
use crate::observe::operation::observed;
use crate::store::core::Core;
use crate::store::hosts::{LOOK_EVERY, NotingForVault, note};
use crate::store::reload::reload_keyring;
use crate::store::sample::sample;
use crate::store::sync::{SyncReport, sync};
use crate::vault::status::{Status, status};

/// How often [`Vault::maintain`](crate::Vault::maintain) does each job. Every pause is up to a quarter shorter or longer, so
/// that processes that were started together do not keep the same beat.
///
/// The note of the host has no setting: `destroy_key` relies on one each minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Schedule {
    sync: Duration,
    health: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { sync: Duration::from_secs(30), health: Duration::from_secs(15) }
    }
}

impl Schedule {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The pause between two syncs. 30 s by default: a record is rarely loaded on another host sooner, and a sync without pending
    /// records costs a read of the local file.
    pub fn sync_every(mut self, pause: Duration) -> Self {
        self.sync = pause;
        self
    }

    /// The pause between two health checks. 15 s by default, as often as Prometheus usually scrapes.
    pub fn health_every(mut self, pause: Duration) -> Self {
        self.health = pause;
        self
    }
}

/// How one job of a [`Maintenance`] went so far. Times are those of the vault's clock.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JobState<T> {
    /// When the last run ended, and its result. `None` before the first one.
    pub last: Option<(SystemTime, Result<T>)>,
    /// The last problem and its time, even if the job has succeeded since.
    pub last_error: Option<(SystemTime, Error)>,
    /// How many of the last runs found a problem. 0: the last one found none.
    pub failed_in_a_row: u64,
}

impl<T> Default for JobState<T> {
    fn default() -> Self {
        Self { last: None, last_error: None, failed_in_a_row: 0 }
    }
}

impl<T> JobState<T> {
    /// Notes a run. `problem` is what a result that is no error reports.
    fn ended(&mut self, job: &str, at: SystemTime, run: Result<T>, problem: impl Fn(&T) -> Option<&Error>) {
        let error = match &run {
            Ok(done) => problem(done).cloned(),
            Err(error) => Some(error.clone()),
        };
        match (&error, self.failed_in_a_row) {
            (Some(error), 0) => tracing::warn!(job, %error, "a job of the maintenance found a problem"),
            (None, 1..) => tracing::info!(job, "the problem is over"),
            _ => {}
        }
        self.failed_in_a_row = if error.is_some() { self.failed_in_a_row.saturating_add(1) } else { 0 };
        self.last_error = error.map(|error| (at, error)).or(self.last_error.take());
        self.last = Some((at, run));
    }
}

/// How the jobs of a [`Maintenance`] went so far.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct MaintenanceState {
    /// Pushes pending records to the database. A problem is an error of the local file, or why the sync stopped
    /// ([`SyncReport::stopped`]).
    pub sync: JobState<SyncReport>,
    /// Asks the database, the local file and the keyring how they are, as [`Vault::status`](crate::Vault::status) does, and
    /// samples the metrics. A problem is one of the database or of the keyring.
    pub health: JobState<Status>,
    /// Notes in the database which generation of the keyring this process has loaded. The result is that generation. It never
    /// runs if the keyring is not in the database, or the vault is [short-lived](crate::VaultBuilder::short_lived).
    pub host_note: JobState<u64>,
}

/// The background work of a vault, from [`Vault::maintain`](crate::Vault::maintain) on. It does not keep the vault alive: it
/// ends when the last clone of the vault is dropped, and when the vault is closed.
///
/// Dropping this ends the work at once. A sync that was running is cut off, which loses nothing. [`stop`](Self::stop) lets it
/// finish.
#[must_use = "the background work ends when this is dropped"]
#[derive(Debug)]
pub struct Maintenance {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
    state: Arc<Mutex<MaintenanceState>>,
}

impl Maintenance {
    pub(super) fn spawn(core: &Arc<Core>, schedule: Schedule) -> Self {
        let (stop, stopping) = watch::channel(false);
        let state = Arc::<Mutex<MaintenanceState>>::default();
        let noting = NotingForVault::start(core, Handle::current());
        let repeat = |job, pause| Repeat {
            job,
            pause,
            core: Arc::downgrade(core),
            state: state.clone(),
            stopping: stopping.clone(),
        };
        let (sync, health) = (repeat(Job::Sync, schedule.sync), repeat(Job::Health, schedule.health));
        let host_note = repeat(Job::HostNote, LOOK_EVERY);
        // a long sync must not keep the others from their work
        let task = tokio::spawn(async move {
            tokio::join!(sync.run(), health.run(), host_note.run());
            drop(noting);
        });
        Self { task, stop, state }
    }

    /// How the jobs went so far. Asks nobody, so a health endpoint may call it for every request.
    pub fn state(&self) -> MaintenanceState {
        lock(&self.state).clone()
    }

    /// Whether it still works: false after [`stop`](Self::stop), and once the vault is closed or dropped.
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Starts no other job, and waits for those that run. The vault stays open: the note of its host goes on until
    /// [`close`](crate::Vault::close).
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        self.stop.closed().await; // by the end of the task
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<MaintenanceState>) -> MutexGuard<'_, MaintenanceState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy)]
enum Job {
    Sync,
    Health,
    HostNote,
}

/// A job that is repeated.
struct Repeat {
    job: Job,
    pause: Duration,
    core: Weak<Core>,
    state: Arc<Mutex<MaintenanceState>>,
    stopping: watch::Receiver<bool>,
}

impl Repeat {
    /// Ends with the vault, or when it is asked to.
    async fn run(mut self) {
        while let Some(core) = self.core.upgrade().filter(|core| !core.is_closed()) {
            Box::pin(self.once(&core)).await;
            drop(core); // a job that waits does not keep the vault
            tokio::select! {
                _ = self.stopping.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(varied(self.pause)) => {}
            }
        }
    }

    async fn once(&self, core: &Core) {
        let at = || UNIX_EPOCH + Duration::from_millis(core.now());
        match self.job {
            Job::Sync => {
                let report = observed(&core.subject, "sync", sync(core)).await;
                if let Ok(report) = &report
                    && *report != SyncReport::default()
                {
                    tracing::info!(?report, "synchronised");
                }
                lock(&self.state).sync.ended("sync", at(), report, |report| report.stopped.as_ref());
            }
            Job::Health => {
                reload_keyring(core).await; // a process without calls would report an old generation
                sample(core).await;
                let status = status(core).await;
                lock(&self.state).health.ended("health", at(), status, Status::problem);
            }
            Job::HostNote => {
                if let Some(noted) = note(core).await.transpose() {
                    lock(&self.state).host_note.ended("host_note", at(), noted, |_| None);
                }
            }
        }
    }
}

/// Up to a quarter shorter or longer, and never zero.
fn varied(pause: Duration) -> Duration {
    let random = random::with_rng(|rng| rng.next_u32() % 501).unwrap_or(250);
    (pause.saturating_mul(750 + random) / 1000).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_varies_by_a_quarter_and_is_never_zero() {
        let pauses: Vec<_> = (0..1000).map(|_| varied(Duration::from_secs(4))).collect();
        let bounds = Duration::from_secs(3)..=Duration::from_secs(5);
        assert!(pauses.iter().all(|pause| bounds.contains(pause)));
        assert!(pauses.iter().min().unwrap().as_millis() < 3300, "{:?}", pauses.iter().min());
        assert!(pauses.iter().max().unwrap().as_millis() > 4700, "{:?}", pauses.iter().max());
        assert!(!varied(Duration::ZERO).is_zero());
        assert!(varied(Duration::MAX) > Duration::from_secs(u64::from(u32::MAX)));
    }
}
