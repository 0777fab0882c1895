//! Input from a file or standard input: bounded, checked, and wiped.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::Path;

use retell_vault::RetellConfig;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::print;

/// The longest text that is read, in bytes.
const MAX_INPUT: usize = 256 * 1024;
/// The longest body of a webhook call.
const MAX_BODY: usize = 1024 * 1024;

/// What is read, as messages name it.
struct TextInput {
    thing: &'static str,
    question: &'static str,
    /// What to do when it cannot be read.
    source: &'static str,
    shape: &'static str,
}

const CONFIG: TextInput = TextInput {
    thing: "configuration",
    question: "type or paste the configuration as JSON, then press Ctrl-D",
    source: "pass the configuration as JSON on standard input, or name its file with --file",
    shape: r#"pass JSON like {"api_key": "…"}; `retell-vault put --help` shows all fields"#,
};
const VALUE: TextInput = TextInput {
    thing: "value",
    question: "type or paste the value, then press Enter and Ctrl-D",
    source: "pass the value on standard input",
    shape: "pass the value on standard input; to remove a field, use `retell-vault unset`",
};

const BODY: TextInput = TextInput {
    thing: "body of the webhook",
    question: "paste the body of the webhook call, then press Ctrl-D",
    source: "pass the body of the webhook call on standard input",
    shape: "pass the bytes of the request as they came",
};

const LAYOUT: TextInput = TextInput {
    thing: "layout file",
    question: "",
    source: "name a readable file with --layout or RETELL_VAULT_LAYOUT",
    shape: "write it in TOML; docs/LAYOUT.md describes the members",
};

/// The text of a layout file. `None`: there is no such file.
pub fn layout(path: &Path) -> Result<Option<Zeroizing<String>>, Failure> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => LAYOUT.read(file, &path.display().to_string()).map(Some),
    }
}

/// The configuration to store, from a file or standard input.
pub fn config(file: Option<&Path>) -> Result<RetellConfig, Failure> {
    let text = match file {
        Some(path) if path != Path::new("-") => CONFIG.read(File::open(path), &path.display().to_string()),
        _ => CONFIG.read_standard_input(),
    }?;
    match text.trim_ascii() {
        "" => Err(CONFIG.invalid("is empty")),
        text => Ok(RetellConfig::from_json(text)?),
    }
}

/// The value of one field, from standard input, without its line end.
pub fn value() -> Result<Zeroizing<String>, Failure> {
    let text = VALUE.read_standard_input()?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    match line.strip_suffix('\r').unwrap_or(line) {
        "" => Err(VALUE.invalid("is empty")),
        value => Ok(Zeroizing::new(value.to_owned())),
    }
}

/// The body of a webhook call, from standard input. Not a byte of it may change, because it is signed.
pub fn webhook_body() -> Result<Zeroizing<Vec<u8>>, Failure> {
    BODY.read_bytes(standard_input(BODY.question), "standard input", MAX_BODY)
}

/// Without Rust's buffer of standard input, which would keep a copy.
fn standard_input(question: &str) -> io::Result<File> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        print::hint(question);
    }
    stdin.as_fd().try_clone_to_owned().map(File::from)
}

impl TextInput {
    fn read_standard_input(&self) -> Result<Zeroizing<String>, Failure> {
        self.read(standard_input(self.question), "standard input")
    }

    fn read(&self, file: io::Result<File>, name: &str) -> Result<Zeroizing<String>, Failure> {
        let bytes = self.read_bytes(file, name, MAX_INPUT)?;
        let text = str::from_utf8(&bytes).map_err(|_| self.invalid("is not UTF-8 text"))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn read_bytes(
        &self,
        file: io::Result<File>,
        name: &str,
        longest: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        // room enough that the buffer never moves and leaves a copy behind
        let mut bytes = Zeroizing::new(Vec::with_capacity(longest + 64));
        let read = file.and_then(|file| file.take(longest as u64 + 1).read_to_end(&mut bytes));
        match read {
            Err(error) => Err(Failure::new(format!("cannot read {name}: {error}"), self.source)),
            Ok(length) if length > longest => {
                Err(self.invalid(&format!("is longer than {} KiB", longest / 1024)))
            }
            Ok(_) => Ok(bytes),
        }
    }

    fn invalid(&self, problem: &str) -> Failure {
        Failure::new(format!("the {} {problem}", self.thing), self.shape)
    }
}
