//! How far a walk over the table is: a bar at a terminal, now and then a line elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::print;

/// Time between two lines where there is no terminal.
const LINES: Duration = Duration::from_secs(5);
const BAR: &str = "[{bar:30}] {pos} of {len} rows, {per_sec}, about {eta} left";

/// Shows it on standard error.
pub enum Meter {
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Meter {
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

impl Drop for Meter {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
