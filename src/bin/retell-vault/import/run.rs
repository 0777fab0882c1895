//! `import run`: stores what the sources of the layout hold.

use std::time::Instant;

use retell_vault::config::import::{FoundField, ImportEvent, ImportProgress, ImportReport, Passwords};
use retell_vault::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::args::global::Global;
use crate::args::import::ImportRunArgs;
use crate::failure::Failure;
use crate::import::log::ImportLog;
use crate::import::scan::{list_text, owner_json};
use crate::progress::{RowProgress, unless_interrupted};
use crate::{print, session};

const GO_ON: &str = "finished work is kept; run the same command again to continue";

/// Imports.
pub async fn run(global: &Global, args: &ImportRunArgs, passwords: &Passwords) -> Result<(), Failure> {
    if global.database_url().is_none() {
        return Err(Failure::usage(
            "import run needs a database",
            "name it with DATABASE_URL or --database-url",
        ));
    }
    let keyring = session::keyring(global).await?;
    let log = args.report.as_deref().map(ImportLog::open).transpose()?;
    let vault = session::open(global, session::builder(global, keyring)?).await?;
    let mut listener = ImportHearing::new(global.json, log);
    let options = args.options();
    let done = unless_interrupted(vault.import(passwords, &options, |event| listener.hear(event))).await?;
    let ImportHearing { progress, log, failed, last, .. } = listener;
    drop(progress);
    let written = log.map_or(Ok(()), |mut log| log.sync());
    match (done, failed) {
        (_, Some(failure)) => Err(failure),
        (None, None) => Err(Failure::new(format!("interrupted: {}", how_far(&last)), GO_ON)),
        (Some(Err(error)), None) => Err(stopped(error, &last)),
        (Some(Ok(report)), None) => tell(global, args, &report).and(written),
    }
}

/// Listens to an import.
struct ImportHearing {
    is_json: bool,
    progress: RowProgress,
    log: Option<ImportLog>,
    last: ImportProgress,
    started: Instant,
    /// Why the report or standard output took no more. This ends the import.
    failed: Option<Failure>,
}

impl ImportHearing {
    fn new(is_json: bool, log: Option<ImportLog>) -> Self {
        Self {
            is_json,
            progress: RowProgress::new(),
            log,
            last: ImportProgress::default(),
            started: Instant::now(),
            failed: None,
        }
    }

    fn hear(&mut self, event: ImportEvent<'_>) -> Result<(), Error> {
        self.take_note(event).map_err(|failure| {
            self.failed = Some(failure);
            ErrorKind::Busy.into()
        })
    }

    fn take_note(&mut self, event: ImportEvent<'_>) -> Result<(), Failure> {
        match event {
            ImportEvent::OwnColumn(place) => print::warning(&format!(
                "the vault seals in {place}: code that reads the old text there stops working"
            )),
            ImportEvent::Batch(progress) => {
                self.last = *progress;
                match self.is_json {
                    true => print::json(&batch(progress, self.started.elapsed().as_secs_f64()))?,
                    false => self.progress.show(progress.visited, progress.rows),
                }
            }
            ImportEvent::Found(found) => {
                if let Some(log) = &mut self.log {
                    log.add(found.result, found)?;
                }
            }
            ImportEvent::Clearing(values) => {
                if let Some(log) = &mut self.log {
                    values.iter().try_for_each(|value| log.add("clearing", value))?;
                    log.sync()?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn batch(progress: &ImportProgress, seconds: f64) -> Value {
    let mut json = counts(progress);
    json["event"] = json!("batch");
    json["rows"] = json!(progress.rows);
    json["visited"] = json!(progress.visited);
    json["seconds"] = json!((seconds * 1000.0).round() / 1000.0);
    json
}

fn counts(progress: &ImportProgress) -> Value {
    json!({
        "sealed": progress.sealed,
        "verified": progress.verified,
        "cleared": progress.cleared,
        "already": progress.already,
    })
}

fn how_far(progress: &ImportProgress) -> String {
    let ImportProgress { rows, visited, sealed, .. } = *progress;
    format!("{visited} of {rows} rows were read, and {} stored", print::count(sealed, "record"))
}

fn stopped(error: Error, last: &ImportProgress) -> Failure {
    if last.visited > 0 {
        print::warning(&format!("stopped: {}", how_far(last)));
    }
    match error.kind() {
        ErrorKind::Unavailable => Failure::unavailable(&error, GO_ON),
        _ => error.into(),
    }
}

fn tell(global: &Global, args: &ImportRunArgs, report: &ImportReport) -> Result<(), Failure> {
    match global.json {
        true => print::json(&as_json(args, report)),
        false => print::out(&as_text(args, report)),
    }
}

fn as_json(args: &ImportRunArgs, report: &ImportReport) -> Value {
    let reason = |found: &FoundField| {
        let mut json = owner_json(found);
        json["shape"] = json!(found.shape);
        json["reason"] = json!(found.reason);
        json
    };
    let reasons = |list: &[FoundField]| list.iter().map(reason).collect::<Vec<_>>();
    let mut json = counts(&report.progress);
    json["dry_run"] = json!(args.is_dry_run());
    json["unrecoverable"] = json!(reasons(&report.unrecoverable));
    json["corrupt"] = json!(reasons(&report.corrupt));
    json["not_credentials"] = json!(reasons(&report.not_credentials));
    json["disagreed"] = json!(reasons(&report.disagreed));
    json["failed"] = json!(reasons(&report.failed));
    json["not_cleared"] = json!(reasons(&report.not_cleared));
    json["replace_at_provider"] = json!(report.exposed.iter().map(owner_json).collect::<Vec<_>>());
    json
}

fn as_text(args: &ImportRunArgs, report: &ImportReport) -> String {
    let ImportProgress { sealed, verified, cleared, already, .. } = report.progress;
    let records = |count| print::count(count, "record");
    let rows = [
        (if args.is_dry_run() { "to store" } else { "stored" }, records(sealed)),
        ("read back", records(verified)),
        ("cleared", print::count(cleared, "old value")),
        ("nothing to do", print::count(already, "owner")),
    ];
    let lists = [
        ("nobody can open", &report.unrecoverable),
        ("damaged, or of another password", &report.corrupt),
        ("not credentials", &report.not_credentials),
        ("another value is in the vault or in another place", &report.disagreed),
        ("not stored", &report.failed),
        ("not cleared", &report.not_cleared),
        ("replace at the provider, because others may have read it", &report.exposed),
    ];
    let table = print::table(&rows.map(|(name, value)| [name.to_owned(), value]));
    table + &lists.map(|(title, list)| list_text(title, list)).concat()
}
