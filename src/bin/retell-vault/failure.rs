//! How a command fails: a message, a hint, and an exit code.

use std::process::ExitCode;

use retell_vault::{Error, ErrorKind};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const CONFLICT: u8 = 4;
/// Of `doctor`, if it could not examine the database.
const CRITICAL: u8 = 2;

/// Why a command failed, as it goes to standard error.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    hint: String,
}

impl Failure {
    /// A failure that is not the vault's. Exit code 1.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: FAILED, message: message.into(), hint: hint.into() }
    }

    /// Options or variables that do not go together. Exit code 2.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into(), hint: hint.into() }
    }

    /// Nobody has what was looked for. Exit code 3.
    pub fn nobody(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: NOT_FOUND, message: message.into(), hint: hint.into() }
    }

    /// The database is not available. The library's hint goes first where it has one for this case: a standby, for one, is up.
    pub fn unavailable(error: &Error, hint: &str) -> Self {
        let general = Error::from(ErrorKind::Unavailable);
        let hint = if error.hint() == general.hint() { hint } else { error.hint() };
        Self::new(error.to_string(), hint)
    }

    /// The same, as `doctor` ends where it could not look.
    pub fn into_critical(self) -> Self {
        Self { code: CRITICAL, ..self }
    }

    /// The same, its message prefixed with the thing that it is about.
    pub fn about(self, thing: &str) -> Self {
        Self { message: format!("{thing}: {}", self.message), ..self }
    }

    /// The same with another hint.
    pub fn with_hint(self, hint: &str) -> Self {
        Self { hint: hint.to_owned(), ..self }
    }

    /// What failed.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// With what the process ends.
    pub fn exit_code(&self) -> ExitCode {
        self.code.into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::NotFound => NOT_FOUND,
            ErrorKind::Conflict => CONFLICT,
            _ => FAILED,
        };
        let hint = match error.kind() {
            // the library's general hint also advises to use a local file, which there always is here
            ErrorKind::Unavailable => {
                return Self::unavailable(&error, "check that the database is up and that the URL is right");
            }
            ErrorKind::Conflict => {
                "`retell-vault get` shows the stored record and its version; repeat the change if you still want it"
            }
            _ => error.hint(),
        };
        Self { code, message: error.to_string(), hint: hint.to_owned() }
    }
}
