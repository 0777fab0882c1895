//! The progress of a rotation: a bar at a terminal, a line from time to time elsewhere, every batch as JSON.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use retell_vault::display::visible;
use retell_vault::rotation::{RotateEvent, RotateProgress};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::print;
use crate::rotate::new_key;
use crate::rotate::report::Report;

/// Time between two lines where there is no terminal.
const LINES: Duration = Duration::from_secs(5);
const BAR: &str = "pass {prefix} [{bar:30}] {pos} of {len} rows{msg}";

/// Listens to a rotation.
pub struct RotationProgress {
    shown: Shown,
    keyring: String,
    report: Option<Report>,
    last: RotateProgress,
    started: Instant,
    pass_began: Instant,
    /// Why standard output took no more.
    failed: Option<Failure>,
}

enum Shown {
    Bar(ProgressBar),
    Lines { last: Instant },
    Json,
}

impl RotationProgress {
    /// Nothing is shown before the first pass.
    pub fn new(json: bool, keyring: String, report: Option<Report>) -> Self {
        let now = Instant::now();
        let shown = match json {
            true => Shown::Json,
            false if io::stderr().is_terminal() => Shown::Bar(ProgressBar::hidden()),
            false => Shown::Lines { last: now },
        };
        Self {
            shown,
            keyring,
            report,
            last: RotateProgress::default(),
            started: now,
            pass_began: now,
            failed: None,
        }
    }

    /// Takes note of what happens.
    pub fn hear(&mut self, event: RotateEvent<'_>) {
        match event {
            RotateEvent::NewKey(step) => {
                let told = new_key::tell(matches!(self.shown, Shown::Json), &self.keyring, step);
                self.failed = self.failed.take().or(told.err());
            }
            RotateEvent::Pass(progress) => self.begin_pass(progress),
            RotateEvent::Batch(progress) => {
                self.last = *progress;
                self.show_batch();
            }
            RotateEvent::Unreadable(row) => {
                if let Some(report) = &mut self.report {
                    report.add(row);
                }
            }
            RotateEvent::Paused(reason) => self.show_pause(reason),
            _ => {}
        }
    }

    fn begin_pass(&mut self, progress: &RotateProgress) {
        (self.last, self.pass_began) = (*progress, Instant::now());
        if let Some(report) = &mut self.report {
            report.restart();
        }
        if let Shown::Bar(bar) = &mut self.shown {
            bar.finish_and_clear();
            let style = ProgressStyle::with_template(BAR).expect("the template is constant");
            *bar = ProgressBar::new(progress.rows)
                .with_style(style.progress_chars("=> "))
                .with_prefix(progress.pass.to_string());
            bar.tick();
        }
    }

    fn show_batch(&mut self) {
        let pace = self.pace();
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_message(pace);
                bar.set_position(self.last.visited);
            }
            Shown::Lines { last } if last.elapsed() < LINES => {}
            Shown::Lines { last } => {
                *last = Instant::now();
                let RotateProgress { pass, rows, visited, .. } = self.last;
                print::note("progress", &format!("pass {pass}, {visited} of {rows} rows{pace}"));
            }
            Shown::Json => {
                let line = self.json("batch");
                self.failed = self.failed.take().or(print::json(&line).err());
            }
        }
    }

    fn show_pause(&mut self, reason: &str) {
        match &mut self.shown {
            Shown::Bar(bar) => bar.set_message(format!(", waiting: {}", visible(reason))),
            Shown::Lines { last } if last.elapsed() >= LINES => {
                *last = Instant::now();
                print::note("progress", &format!("waiting: {reason}"));
            }
            Shown::Lines { .. } | Shown::Json => {}
        }
    }

    /// How fast this pass is, and about how long it will take.
    fn pace(&self) -> String {
        let RotateProgress { rows, visited, .. } = self.last;
        let rate = visited as f64 / self.pass_began.elapsed().as_secs_f64().max(0.001);
        let left = rows.saturating_sub(visited) as f64 / rate.max(0.001);
        let left = print::duration(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX));
        format!(", {rate:.0} rows a second, about {left} left")
    }

    /// How far it got.
    pub fn how_far(&self) -> String {
        let RotateProgress { pass, rows, visited, resealed, local, .. } = self.last;
        let (resealed, local) = (print::count(resealed, "row"), print::count(local, "text"));
        match pass {
            0 => "nothing was re-encrypted yet".to_owned(),
            _ => format!(
                "in pass {pass}, {visited} of {rows} rows were read; {resealed} and {local} of the local file were re-encrypted"
            ),
        }
    }

    /// Whether the walk has begun.
    pub fn has_begun(&self) -> bool {
        self.last.pass > 0
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The last state of affairs as an event.
    pub fn json(&self, event: &str) -> Value {
        Value::Object(members(event, &self.last, self.elapsed()))
    }

    /// Nothing more is shown, and the report is written.
    ///
    /// # Errors
    /// What could not be written, to the report or to standard output.
    pub fn finish(&mut self) -> Result<(), Failure> {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
        let reported = self.report.as_mut().map_or(Ok(()), Report::finish);
        self.failed.take().map_or(reported, Err)
    }
}

/// The members of every event of a rotation.
pub fn members(event: &str, progress: &RotateProgress, elapsed: Duration) -> Map<String, Value> {
    let seconds = elapsed.as_millis() as f64 / 1000.0;
    let members = json!({
        "event": event,
        "pass": progress.pass,
        "rows": progress.rows,
        "visited": progress.visited,
        "resealed": progress.resealed,
        "changed": progress.changed,
        "unreadable": progress.unreadable,
        "local": progress.local,
        "seconds": seconds,
    });
    let Value::Object(members) = members else { unreachable!("it was written as an object") };
    members
}
