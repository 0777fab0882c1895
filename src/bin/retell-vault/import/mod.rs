//! `import`: what an application stored before.

mod log;
mod run;
mod scan;

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use retell_vault::config::import::Passwords;
use zeroize::Zeroizing;

use crate::args::global::Global;
use crate::args::import::{ImportCommand, ImportSecrets, OldSecret, SecretPlace};
use crate::failure::Failure;

/// Runs the command.
pub async fn run(global: &Global, command: &ImportCommand) -> Result<(), Failure> {
    match command {
        ImportCommand::Scan(secrets) => scan::scan(global, &passwords(secrets)?).await,
        ImportCommand::Run(args) => run::run(global, args, &passwords(&args.secrets)?).await,
    }
}

fn passwords(args: &ImportSecrets) -> Result<Passwords, Failure> {
    args.secrets.iter().try_fold(Passwords::new(), |all, secret| Ok(all.with(read(secret)?)))
}

/// The text of a secret. One end of line at the end of a file does not belong to it.
fn read(OldSecret { name, from }: &OldSecret) -> Result<Zeroizing<String>, Failure> {
    let failed = |why: &str| {
        Failure::usage(format!("--secret {name}: {why}"), "set the variable, or name a private file of text")
    };
    let text = match from {
        SecretPlace::Variable(variable) => Zeroizing::new(
            env::var(variable).map_err(|_| failed("the variable is not set, or is not UTF-8 text"))?,
        ),
        SecretPlace::File(path) => {
            let mode =
                fs::metadata(path).map_err(|_| failed("the file cannot be read"))?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(failed("the file is open to group or others").with_hint("run `chmod 600` on it"));
            }
            let text = fs::read_to_string(path).map(Zeroizing::new);
            let text = text.map_err(|_| failed("the file cannot be read, or is not UTF-8 text"))?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned())
        }
    };
    match text.is_empty() {
        true => Err(failed("it is empty")),
        false => Ok(text),
    }
}
