//! `schema promote`: moves records into better columns that now exist.

use retell_vault::rotation::{PromoteEvent, Promotion};
use retell_vault::sync::SyncReport;
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::args::schema::PromoteArgs;
use crate::failure::Failure;
use crate::progress::RowProgress;
use crate::progress::unless_interrupted;
use crate::{print, records, session};

/// How many of the unchanged rows are named.
const NAMED: usize = 10;

/// Moves them.
pub async fn promote(global: &Global, options: &PromoteArgs) -> Result<(), Failure> {
    let vault = session::vault(global).await?;
    let (mut shown, mut left) = (RowProgress::new(), Vec::new());
    let options = options.options();
    let work = vault.promote(&options, |event| match event {
        PromoteEvent::Batch(progress) => shown.show(progress.visited, progress.rows),
        PromoteEvent::Unreadable(row) if left.len() < NAMED => {
            let place = row.place.as_deref().map(|place| format!(", {place}")).unwrap_or_default();
            left.push(format!("{}{place}: {}", row.owner, row.reason));
        }
        // each pass meets them again
        PromoteEvent::Pass(_) => left.clear(),
        _ => {}
    });
    let done = unless_interrupted(work).await?;
    drop(shown);
    match done {
        None => {
            Err(Failure::new("interrupted", "finished work is kept; run the same command again to continue"))
        }
        Some(promotion) => tell(global, &promotion?, &left),
    }
}

fn tell(global: &Global, promotion: &Promotion, left: &[String]) -> Result<(), Failure> {
    match global.json {
        true => print::json(&as_json(promotion))?,
        false => print::out(&as_text(promotion))?,
    }
    left.iter().for_each(|row| print::warning(&format!("left unchanged: {row}")));
    warn_of_local(&promotion.local);
    match promotion.complete {
        true => Ok(()),
        false => Err(Failure::new(
            "not every record is in its place",
            "fix the problems named above, or wait until no other process writes these rows; then run the same command again",
        )),
    }
}

/// Why records stay in the local file.
fn warn_of_local(local: &SyncReport) {
    if let Some(reason) = &local.stopped {
        print::warning(&format!("records stay in the local file: {reason}"));
    }
    for (owner, reason) in &local.blocked {
        print::warning(&format!("{owner} stays in the local file: {reason}"));
    }
    if local.dead_letters > 0 {
        print::warning("some records of the local file became dead letters: `retell-vault status` shows why");
    }
}

fn as_json(promotion: &Promotion) -> Value {
    json!({
        "complete": promotion.complete,
        "rows": promotion.rows,
        "promoted": promotion.promoted,
        "changed": promotion.changed,
        "unreadable": promotion.unreadable,
        "passes": promotion.passes,
        "seconds": promotion.elapsed.as_millis() as f64 / 1000.0,
        "local": records::report_json(&promotion.local),
    })
}

fn as_text(promotion: &Promotion) -> String {
    let rows = [
        ("promoted", format!("{} of {}", promotion.promoted, promotion.rows)),
        ("unreadable", print::count(promotion.unreadable, "row")),
        ("written by others", print::count(promotion.changed, "row")),
        ("local file", format!("{} moved to the database", print::count(promotion.local.pushed, "record"))),
        ("time", print::duration(promotion.elapsed)),
    ];
    print::table(&rows.map(|(name, value)| [name.to_owned(), value]))
}
