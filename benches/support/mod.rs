//! Two things measured alternately, so that a machine that slows down slows both.

// Every bench is a program of its own, and none uses everything.
#![allow(dead_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

/// `cargo bench` says so; `cargo test --benches` runs the same programs and wants no figures.
pub fn is_wanted() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Whether a comparison was asked for: words after `--` pick those whose names hold one of them.
pub fn is_asked_for(name: &str) -> bool {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
}

/// Times of the vault's own work beside those of its baseline, round by round.
pub struct Comparison {
    name: &'static str,
    limit: f64,
    /// What the ratio is to be, beside the limit.
    wanted: &'static str,
    rounds: Vec<(f64, f64)>,
}

impl Comparison {
    pub fn new(name: &'static str, limit: f64) -> Self {
        Self { name, limit, wanted: "limit", rounds: Vec::new() }
    }

    /// Of rates, which are to be high: our time and that of the baseline change places.
    pub fn of_rates(name: &'static str, limit: f64) -> Self {
        Self { wanted: "at least", ..Self::new(name, limit) }
    }

    /// `rounds` times `calls` calls of each. The order changes with every round.
    pub fn run<A, B>(
        mut self,
        rounds: u32,
        calls: u32,
        mut ours: impl FnMut() -> A,
        mut bare: impl FnMut() -> B,
    ) {
        if !is_asked_for(self.name) {
            return;
        }
        for round in 0..rounds {
            let (a, b) = match round % 2 {
                0 => (timed(calls, &mut ours), timed(calls, &mut bare)),
                _ => {
                    let b = timed(calls, &mut bare);
                    (timed(calls, &mut ours), b)
                }
            };
            self.rounds.push((per_call(a, calls), per_call(b, calls)));
        }
        self.print();
    }

    /// As [`run`](Self::run), for work that waits.
    pub async fn run_async(
        mut self,
        rounds: u32,
        calls: u32,
        mut ours: impl AsyncFnMut(),
        mut bare: impl AsyncFnMut(),
    ) {
        if !is_asked_for(self.name) {
            return;
        }
        for round in 0..rounds {
            let (a, b) = match round % 2 {
                0 => (timed_async(calls, &mut ours).await, timed_async(calls, &mut bare).await),
                _ => {
                    let b = timed_async(calls, &mut bare).await;
                    (timed_async(calls, &mut ours).await, b)
                }
            };
            self.rounds.push((per_call(a, calls), per_call(b, calls)));
        }
        self.print();
    }

    /// A round that was measured elsewhere.
    pub fn add(&mut self, ours: Duration, bare: Duration) {
        self.rounds.push((per_call(ours, 1), per_call(bare, 1)));
    }

    /// The ratio is the median of the rounds' ratios: what disturbs a round disturbs both sides.
    /// Answers with the median times in nanoseconds.
    pub fn print(&self) -> (f64, f64) {
        let ours = median(self.rounds.iter().map(|(ours, _)| *ours));
        let bare = median(self.rounds.iter().map(|(_, bare)| *bare));
        let ratio = median(self.rounds.iter().map(|(ours, bare)| ours / bare));
        let Self { name, wanted, limit, .. } = self;
        println!("ratio {name}: {ratio:.2} ({wanted} {limit})   {} / {}", time(ours), time(bare));
        (ours, bare)
    }
}

fn timed<T>(calls: u32, work: &mut impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        black_box(work());
    }
    start.elapsed()
}

async fn timed_async(calls: u32, work: &mut impl AsyncFnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        work().await;
    }
    start.elapsed()
}

fn per_call(time: Duration, calls: u32) -> f64 {
    time.as_nanos() as f64 / f64::from(calls)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn time(nanos: f64) -> String {
    match nanos {
        _ if nanos < 10_000.0 => format!("{nanos:.0} ns"),
        _ => format!("{:.1} µs", nanos / 1000.0),
    }
}
