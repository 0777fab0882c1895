//! `ledger export`: every entry of the ledger as a line of JSON.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use retell_vault::ErrorKind;
use retell_vault::ledger::LedgerExported;
use serde_json::json;

use crate::args::global::Global;
use crate::args::ledger_entries::LedgerExportArgs;
use crate::failure::Failure;
use crate::{print, session};

/// How an export ended that did not write everything.
enum Unfinished {
    Failed(Failure),
    Unwritten(io::Error),
}

/// Exports to standard output or to a new file.
pub async fn export(global: &Global, export: &LedgerExportArgs) -> Result<(), Failure> {
    match &export.out {
        Some(path) => to_file(global, export, path).await,
        None => match write_lines(global, export, print::lines()).await {
            Ok(_) => Ok(()),
            // also a reader that left: a part of an export looks like an earlier ledger
            Err(Unfinished::Unwritten(error)) => Err(Failure::new(
                format!("the export is not whole, because it cannot be written: {error}"),
                "check where standard output goes, and that its reader reads to the end",
            )),
            Err(Unfinished::Failed(failure)) => Err(failure),
        },
    }
}

async fn to_file(global: &Global, export: &LedgerExportArgs, path: &Path) -> Result<(), Failure> {
    let name = path.display().to_string();
    let unusable = |error: io::Error| {
        Failure::new(
            format!("cannot write {name}: {error}"),
            "name a new file in a folder of your own; an existing file is not overwritten",
        )
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(unusable)?;
    let done = write_lines(global, export, file).await.and_then(|(file, exported)| {
        file.sync_all().map_err(Unfinished::Unwritten)?;
        Ok(exported)
    });
    let exported = done.map_err(|unfinished| {
        // a part of an export looks like an earlier ledger
        let removed = fs::remove_file(path);
        if let Err(error) = removed {
            print::warning(&format!("{name} is only a part of the export, and cannot be removed: {error}"));
        }
        match unfinished {
            Unfinished::Failed(failure) => failure,
            Unfinished::Unwritten(error) => unusable(error),
        }
    })?;
    tell(global, &name, exported)
}

fn tell(global: &Global, file: &str, exported: LedgerExported) -> Result<(), Failure> {
    let LedgerExported { entries, writers, .. } = exported;
    if global.json {
        return print::json(&json!({ "file": file, "entries": entries, "writers": writers }));
    }
    print::line(&format!("wrote {file}: entries {entries}, writers {writers}"))
}

/// Returns where it wrote to, with everything in it.
async fn write_lines<W: Write + Send>(
    global: &Global,
    export: &LedgerExportArgs,
    to: W,
) -> Result<(W, LedgerExported), Unfinished> {
    let vault = session::vault(global).await.map_err(Unfinished::Failed)?;
    let (mut to, mut unwritten) = (BufWriter::new(to), None);
    let done = vault.export_ledger(export.options(), |line| {
        writeln!(to, "{line}").map_err(|error| {
            unwritten = Some(error);
            ErrorKind::Busy.into()
        })
    });
    let exported = done.await;
    if let Some(error) = unwritten {
        return Err(Unfinished::Unwritten(error));
    }
    let exported = exported.map_err(|error| Unfinished::Failed(error.into()))?;
    let to = to.into_inner().map_err(|error| Unfinished::Unwritten(error.into_error()))?;
    Ok((to, exported))
}
