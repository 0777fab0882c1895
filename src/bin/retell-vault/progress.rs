//! Commands that take long: how far a walk over the table is, and how a signal ends it.

use std::future::Future;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;
use crate::print;

/// Time between two lines where there is no terminal.
const LINES: Duration = Duration::from_secs(5);
const BAR: &str = "[{bar:30}] {pos} of {len} rows, {per_sec}, about {eta} left";

/// A bar at a terminal, now and then a line elsewhere; on standard error.
pub enum RowProgress {
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl RowProgress {
    pub fn new() -> Self {
        match io::stderr().is_terminal() {
            true => Self::Bar(ProgressBar::hidden()),
            false => Self::Lines { last: Instant::now() },
        }
    }

    /// So many rows of so many are done.
    pub fn show(&mut self, done: u64, rows: u64) {
        match self {
            Self::Bar(bar) => {
                if bar.is_hidden() {
                    let style = ProgressStyle::with_template(BAR).expect("the template is constant");
                    *bar = ProgressBar::new(rows).with_style(style.progress_chars("=> "));
                }
                bar.set_length(rows);
                bar.set_position(done);
            }
            Self::Lines { last } if last.elapsed() < LINES => {}
            Self::Lines { last } => {
                *last = Instant::now();
                print::note("progress", &format!("{done} of {rows} rows"));
            }
        }
    }
}

impl Drop for RowProgress {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Does the work. Ctrl-C, or the signal that ends services, drops it, which ends it after the statements that are under
/// way; the answer is then `None`.
pub async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Result<Option<T>, Failure> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    tokio::select! {
        done = work => Ok(Some(done)),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::new(
            format!("cannot listen for signals: {error}"),
            "nothing was changed; run the same command again",
        )
    })
}
