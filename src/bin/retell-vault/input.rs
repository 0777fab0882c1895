//! The configuration to store, from a file or standard input: bounded, checked, and wiped.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::Path;

use retell_vault::RetellConfig;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::print;

/// The longest JSON text that is read, in bytes.
const MAX: usize = 64 * 1024;
const SHAPE: &str = r#"the least is {"api_key": "…"}; `retell-vault put --help` shows all fields"#;

/// Reads the configuration.
pub fn read(file: Option<&Path>) -> Result<RetellConfig, Failure> {
    let bytes = match file {
        Some(path) if path != Path::new("-") => bounded(File::open(path), &path.display().to_string())?,
        _ => bounded(standard_input(), "standard input")?,
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid("the configuration is not UTF-8 text"))?;
    match text.trim_ascii() {
        "" => Err(invalid("the configuration is empty")),
        _ => Ok(RetellConfig::from_json(text)?),
    }
}

/// Standard input without Rust's buffer, which would keep a copy.
fn standard_input() -> io::Result<File> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        print::hint("type or paste the configuration as JSON, then press Ctrl-D");
    }
    stdin.as_fd().try_clone_to_owned().map(File::from)
}

fn bounded(file: io::Result<File>, name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // room enough that the buffer never moves and leaves a copy behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX + 64));
    let read = file.and_then(|file| file.take(MAX as u64 + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(Failure::new(
            format!("cannot read {name}: {error}"),
            "give the configuration as JSON on standard input, or name its file with --file",
        )),
        Ok(length) if length > MAX => Err(invalid("the configuration is longer than 64 KiB")),
        Ok(_) => Ok(bytes),
    }
}

fn invalid(message: &str) -> Failure {
    Failure::new(message, SHAPE)
}
