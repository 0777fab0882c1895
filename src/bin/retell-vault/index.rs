//! `index`: builds the index by which owners are found, and rotates its key.

use retell_vault::rotation::{IndexEvent, IndexReport};
use serde_json::{Value, json};

use crate::args::find::IndexCommand;
use crate::args::global::Global;
use crate::failure::Failure;
use crate::progress::{RowProgress, unless_interrupted};
use crate::{print, session};

/// How many of the records that do not open are named.
const NAMED: usize = 10;

/// Builds it, or rotates its key.
pub async fn run(global: &Global, command: &IndexCommand) -> Result<(), Failure> {
    let keyring = session::keyring(global).await?;
    let before = keyring.pin();
    let vault = session::open(global, session::builder(global, keyring.clone())?).await?;
    let (mut shown, mut left) = (RowProgress::new(), Vec::new());
    let hear = |event: IndexEvent<'_>| match event {
        IndexEvent::Batch(progress) => shown.show(progress.visited, progress.rows),
        IndexEvent::Unreadable(row) if left.len() < NAMED => {
            left.push(format!("{}: {}", row.owner, row.reason))
        }
        // each pass meets them again
        IndexEvent::Pass(_) => left.clear(),
        _ => {}
    };
    let done = match command {
        IndexCommand::Build(args) => unless_interrupted(vault.build_index(&args.options(), hear)).await?,
        IndexCommand::Rotate(args) => {
            unless_interrupted(vault.rotate_index_key(&args.options(), hear)).await?
        }
    };
    drop(shown);
    if keyring.pin() != before {
        print::warning(&format!("{} has another key for the index now: back it up", keyring.place()));
    }
    match done {
        None => {
            Err(Failure::new("interrupted", "finished work is kept; run the same command again to continue"))
        }
        Some(report) => tell(global, &report?, &left),
    }
}

fn tell(global: &Global, report: &IndexReport, left: &[String]) -> Result<(), Failure> {
    match global.json {
        true => print::json(&as_json(report))?,
        false => print::out(&as_text(report))?,
    }
    left.iter().for_each(|row| print::warning(&format!("not in the index: {row}")));
    if report.earlier_keys > 0 {
        print::hint(
            "an earlier key of the index stays: copy the keyring to every other host, then run `retell-vault index rotate --other-hosts-synced`",
        );
    }
    match report.complete {
        true => Ok(()),
        false => Err(Failure::new(
            "the index does not cover every record",
            "fix the records named above, or wait until no other process writes these rows; then run the same command again",
        )),
    }
}

fn as_json(report: &IndexReport) -> Value {
    json!({
        "complete": report.complete,
        "epoch": report.epoch,
        "earlier_keys": report.earlier_keys,
        "rows": report.rows,
        "indexed": report.indexed,
        "changed": report.changed,
        "unreadable": report.unreadable,
        "passes": report.passes,
        "seconds": report.elapsed.as_millis() as f64 / 1000.0,
    })
}

fn as_text(report: &IndexReport) -> String {
    let rows = [
        ("indexed", format!("{} of {}", report.indexed, report.rows)),
        ("unreadable", print::count(report.unreadable, "row")),
        ("written by others", print::count(report.changed, "row")),
        ("epoch of the key", report.epoch.to_string()),
        ("time", print::duration(report.elapsed)),
    ];
    print::table(&rows.map(|(name, value)| [name.to_owned(), value]))
}
