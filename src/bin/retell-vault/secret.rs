//! Where the passphrase or the wrapping key comes from: exactly one of three ways, else a prompt.

use std::env::{self, VarError};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;

use retell_vault::{Passphrase, RawKey, WrappingKeyProvider};
use zeroize::Zeroizing;

use crate::failure::Failure;

const PASSPHRASE: &str = "RETELL_VAULT_PASSPHRASE";
const WRAPPING_KEY: &str = "RETELL_VAULT_WRAPPING_KEY";
const PASSPHRASE_FILE: &str = "--passphrase-file";

/// What the secret is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To open a keyring.
    Open,
    /// To make one: a typing error would lock it for ever, so a prompt asks twice.
    Create,
}

enum Source<'a> {
    WrappingKey(Zeroizing<String>),
    Passphrase(Zeroizing<String>),
    PassphraseFile(&'a Path),
}

impl Source<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::WrappingKey(_) => WRAPPING_KEY,
            Self::Passphrase(_) => PASSPHRASE,
            Self::PassphraseFile(_) => PASSPHRASE_FILE,
        }
    }

    fn provider(&self) -> retell_vault::Result<Box<dyn WrappingKeyProvider>> {
        Ok(match self {
            Self::WrappingKey(text) => Box::new(RawKey::from_base64(text)?),
            Self::Passphrase(text) => Box::new(Passphrase::new(text.as_str())),
            Self::PassphraseFile(path) => Box::new(Passphrase::from_file(path)?),
        })
    }
}

/// What opens the keyring, from the environment, a file, or whoever sits at the terminal.
pub fn provider(file: Option<&Path>, purpose: Purpose) -> Result<Box<dyn WrappingKeyProvider>, Failure> {
    let sources = [
        variable(WRAPPING_KEY)?.map(Source::WrappingKey),
        variable(PASSPHRASE)?.map(Source::Passphrase),
        file.map(Source::PassphraseFile),
    ];
    let sources: Vec<Source<'_>> = sources.into_iter().flatten().collect();
    match sources.as_slice() {
        [] => Ok(Box::new(prompt(purpose)?)),
        [source] => Ok(source.provider()?),
        several => {
            let names: Vec<_> = several.iter().map(Source::name).collect();
            Err(Failure::usage(
                format!("{} are given, and only one can be meant", names.join(" and ")),
                "give the one that the keyring was made with",
            ))
        }
    }
}

/// A variable; an empty one counts as not set.
fn variable(name: &str) -> Result<Option<Zeroizing<String>>, Failure> {
    match env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(Failure::usage(format!("{name} is not UTF-8 text"), "set it again"))
        }
    }
}

fn prompt(purpose: Purpose) -> Result<Passphrase, Failure> {
    // scripts get an error, even when a terminal could be found for them
    if !io::stdin().is_terminal() && !io::stderr().is_terminal() {
        return Err(no_source());
    }
    let passphrase = ask(match purpose {
        Purpose::Open => "Passphrase of the keyring: ",
        Purpose::Create => "New passphrase, at least 12 characters: ",
    })?;
    if purpose == Purpose::Create && passphrase != ask("The same again: ")? {
        return Err(Failure::new("the two passphrases differ", "nothing was made; try again"));
    }
    Ok(Passphrase::new(passphrase.as_str()))
}

fn ask(question: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(question).map(Zeroizing::new).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::Interrupted => {
            writeln!(io::stderr().lock()).ok(); // the question's line is still open
            Failure::new("no passphrase was given", "nothing was done; try again")
        }
        _ => no_source(),
    })
}

fn no_source() -> Failure {
    Failure::usage(
        "no passphrase, no wrapping key, and no terminal to ask at",
        format!(
            "set {PASSPHRASE}, or name a file with {PASSPHRASE_FILE}, or set {WRAPPING_KEY} to base64 of 32 bytes"
        ),
    )
}
