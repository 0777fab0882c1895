//! Copies of the ledger outside of the database, as `ledger` reads them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use retell_vault::ledger::LedgerCopies;

use crate::failure::Failure;

/// Reads files, and the files of a sink in folders. Checkpoints are read with the key that verifies them.
pub fn read(places: &[PathBuf], verifying_key: Option<&str>) -> Result<LedgerCopies, Failure> {
    let mut files = Vec::new();
    for place in places {
        match place.is_dir() {
            true => match files_of_sink(place)? {
                none if none.is_empty() => return Err(empty(place)),
                found => files.extend(found),
            },
            false => files.push(place.clone()),
        }
    }
    // each checkpoint names the one before it, and their names sort as their numbers do
    let (mut checkpoints, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| is_checkpoint(file));
    checkpoints.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    let mut copies = LedgerCopies::new();
    for file in &others {
        copies.add_lines(&text_of(file)?).map_err(|error| about(error, file))?;
    }
    for file in &checkpoints {
        let key = verifying_key.ok_or_else(|| {
            Failure::usage(
                format!(
                    "{} is a checkpoint, and is only worth something with the key that verifies it",
                    file.display()
                ),
                "give the key with --verifying-key; `ledger signing-key show` prints it",
            )
        })?;
        copies.add_checkpoint(&text_of(file)?, key).map_err(|error| about(error, file))?;
    }
    Ok(copies)
}

fn text_of(file: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    if text.trim().is_empty() { Err(empty(file)) } else { Ok(text) }
}

/// A comparison with nothing would look like one.
fn empty(place: &Path) -> Failure {
    Failure::new(
        format!("{} holds no copy of the ledger", place.display()),
        "name the folder or a file of a sink, or an export",
    )
}

/// The files in a folder that a sink puts there.
pub fn files_of_sink(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| unreadable(folder, &error))?;
    let files = entries.into_iter().map(|entry| entry.path());
    Ok(files
        .filter(|file| {
            is_checkpoint(file) || is_named(file, "head-", "json") || is_named(file, "segment-", "jsonl")
        })
        .collect())
}

fn is_checkpoint(file: &Path) -> bool {
    is_named(file, "checkpoint-", "note")
}

fn is_named(file: &Path, start: &str, extension: &str) -> bool {
    let name = file.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(start))
        && file.extension().is_some_and(|found| found == extension)
}

fn about(error: retell_vault::Error, file: &Path) -> Failure {
    Failure::from(error).about(&file.display().to_string())
}

fn unreadable(place: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!("cannot read {}: {error}", place.display()),
        "name the folder or a file of a sink, or an export",
    )
}
