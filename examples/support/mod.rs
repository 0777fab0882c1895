//! What the examples share: a throw-away Postgres server, and how a program ends.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use tokio::signal::unix::{SignalKind, signal};

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A Postgres server in a folder below the temporary directory.
pub struct Server {
    folder: PathBuf,
}

impl Server {
    pub fn new() -> Self {
        Self { folder: env::temp_dir().join(format!("retell-vault-server-{:016x}", rand::random::<u64>())) }
    }

    /// Runs `scripts/cluster COMMAND FOLDER`; `start` returns the URL.
    pub fn run(&self, command: &str) -> Result<String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/cluster");
        let output = Command::new(script).arg(command).arg(&self.folder).stdin(Stdio::null()).output()?;
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout)?.trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.run("remove") {
            eprintln!("{} could not be removed: {error}", self.folder.display());
        }
    }
}

/// Returns on Ctrl-C or SIGTERM.
pub async fn interrupted() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be received");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Prints what went wrong, if anything.
pub fn ended(done: Result<()>) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    if let Some(error) = error.downcast_ref::<retell_vault::Error>() {
        eprintln!("hint: {}", error.hint());
    }
    ExitCode::FAILURE
}
