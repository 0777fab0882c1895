//! The options of `import`, and its help.

use std::path::PathBuf;

use clap::{Args, Subcommand, value_parser};
use retell_vault::config::import::ImportOptions;

pub const SCAN_HELP: &str = "\
Reads every [[source]] of the layout file, and opens the values. Needs no keyring and writes nothing. No value is shown, except
one masked sample of each source. Exit code 0, whatever it finds.

";

pub const RUN_HELP: &str = "\
For each owner it opens the values of all sources, stores them as one record, reads the record back, and with --clear-source
clears the old values. The service can keep running: a record that the service saved is never overwritten, and an old value
that changed meanwhile is not cleared. You can interrupt (Ctrl-C) or kill the command. Run the same command again to
continue. Exit code 0 once every value is imported or listed.

If the vault seals in the column of a source, storing replaces the old text there, so that code that reads it stops working.
This needs --clear-source.

--json prints a line for every batch, {\"event\":\"batch\",…}, and an object with all lists at the end.

";

/// Bring in what an application stored before.
#[derive(Subcommand)]
pub enum ImportCommand {
    /// Count what the sources of the layout hold, and name what cannot be had
    Scan(ImportSecrets),
    /// Store what the sources of the layout hold
    Run(ImportRunArgs),
}

#[derive(Args)]
pub struct ImportRunArgs {
    #[command(flatten)]
    pub secrets: ImportSecrets,
    /// Clear each old value whose record was read back and opened
    #[arg(long)]
    clear_source: bool,
    /// Report what would be done; writes nothing
    #[arg(long)]
    dry_run: bool,
    /// Maximum number of owners per second
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Write a line of JSON to this file for every value that is cleared or was not imported
    ///
    /// The members are event, user, tenant, place, field, shape and reason; no secrets. The file gets mode 0600. A line is on
    /// the disk before its value is cleared. The command continues the report of an earlier run. If the file is any other
    /// file, the command fails before it changes anything.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub report: Option<PathBuf>,
}

impl ImportRunArgs {
    /// Whether nothing is written.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// How to import.
    pub fn options(&self) -> ImportOptions {
        let mut options = ImportOptions::new();
        if self.clear_source {
            options = options.clear_source();
        }
        if self.dry_run {
            options = options.dry_run();
        }
        match self.rate {
            Some(rate) => options.rate(rate),
            None => options,
        }
    }
}

#[derive(Args)]
pub struct ImportSecrets {
    /// A password or key of old values, from a variable or a private file; may be repeated, and all are tried in order
    #[arg(long = "secret", value_name = "NAME=env:VAR|NAME=file:PATH", value_parser = secret)]
    pub secrets: Vec<OldSecret>,
}

/// Where a password or key of old values is.
#[derive(Clone)]
pub struct OldSecret {
    pub name: String,
    pub from: SecretPlace,
}

#[derive(Clone)]
pub enum SecretPlace {
    Variable(String),
    File(String),
}

fn secret(text: &str) -> Result<OldSecret, &'static str> {
    const FORM: &str =
        "give a name in capitals and where the secret is, as in OLD_KEY=env:OLD_KEY or OLD_KEY=file:old.key";
    let (name, from) = text.split_once('=').ok_or(FORM)?;
    let from = match from.split_once(':') {
        Some(("env", variable)) if !variable.is_empty() => SecretPlace::Variable(variable.to_owned()),
        Some(("file", path)) if !path.is_empty() => SecretPlace::File(path.to_owned()),
        _ => return Err(FORM),
    };
    // messages show the name, which must not be a secret in the wrong place
    let is_name = |name: &str| {
        name.len() <= 40
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    match !name.is_empty() && is_name(name) {
        true => Ok(OldSecret { name: name.to_owned(), from }),
        false => Err(FORM),
    }
}
