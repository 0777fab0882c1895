//! The source of the passphrase or wrapping key: exactly one of three, otherwise a prompt.

use std::env::{self, VarError};
use std::io::{self, ErrorKind, IsTerminal};
use std::path::Path;

use retell_vault::Passphrase;
use retell_vault::keyring::{RawKey, WrappingKeyProvider};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::print;

/// What the secret is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To open a keyring.
    Open,
    /// To create one. A typing error would lock it forever, so the prompt asks twice.
    Create,
    /// To rewrap one. It uses other names than the secret that opens it now.
    Rewrap,
}

/// How the user knows the sources.
struct Names {
    wrapping_key: &'static str,
    passphrase: &'static str,
    passphrase_file: &'static str,
    /// What to do when several are given.
    which: &'static str,
    question: &'static str,
}

const NAMES: Names = Names {
    wrapping_key: "RETELL_VAULT_WRAPPING_KEY",
    passphrase: "RETELL_VAULT_PASSPHRASE",
    passphrase_file: "--passphrase-file",
    which: "use the one that the keyring was created with",
    question: "Passphrase of the keyring: ",
};
const NEW_NAMES: Names = Names {
    wrapping_key: "RETELL_VAULT_NEW_WRAPPING_KEY",
    passphrase: "RETELL_VAULT_NEW_PASSPHRASE",
    passphrase_file: "--new-passphrase-file",
    which: "use the one that will open the keyring from now on",
    question: NEW_PASSPHRASE,
};
const NEW_PASSPHRASE: &str = "New passphrase, at least 12 characters: ";

impl Purpose {
    fn names(self) -> Names {
        match self {
            Self::Open => NAMES,
            Self::Create => Names { question: NEW_PASSPHRASE, ..NAMES },
            Self::Rewrap => NEW_NAMES,
        }
    }
}

enum SecretSource<'a> {
    WrappingKey(Zeroizing<String>),
    Passphrase(Zeroizing<String>),
    PassphraseFile(&'a Path),
}

impl SecretSource<'_> {
    fn name(&self, names: &Names) -> &'static str {
        match self {
            Self::WrappingKey(_) => names.wrapping_key,
            Self::Passphrase(_) => names.passphrase,
            Self::PassphraseFile(_) => names.passphrase_file,
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

/// The secret of the keyring, from the environment, a file or the terminal.
pub fn provider(file: Option<&Path>, purpose: Purpose) -> Result<Box<dyn WrappingKeyProvider>, Failure> {
    let names = purpose.names();
    let sources = [
        variable(names.wrapping_key)?.map(SecretSource::WrappingKey),
        variable(names.passphrase)?.map(SecretSource::Passphrase),
        file.map(SecretSource::PassphraseFile),
    ];
    let sources: Vec<SecretSource<'_>> = sources.into_iter().flatten().collect();
    match sources.as_slice() {
        [] => Ok(Box::new(prompt(purpose, &names)?)),
        [source] => Ok(source.provider()?),
        several => {
            let given: Vec<_> = several.iter().map(|source| source.name(&names)).collect();
            Err(Failure::usage(
                format!("{} are given; only one is allowed", given.join(" and ")),
                names.which,
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

fn prompt(purpose: Purpose, names: &Names) -> Result<Passphrase, Failure> {
    // scripts get an error, even when a terminal could be found for them
    if !io::stdin().is_terminal() && !io::stderr().is_terminal() {
        return Err(no_source(names));
    }
    let passphrase = ask(names.question, names)?;
    if purpose != Purpose::Open && passphrase != ask("Repeat the passphrase: ", names)? {
        return Err(Failure::new("the two passphrases differ", "nothing was changed; try again"));
    }
    Ok(Passphrase::new(passphrase.as_str()))
}

fn ask(question: &str, names: &Names) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(question).map(Zeroizing::new).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::Interrupted => {
            print::end_line();
            Failure::new("no passphrase was given", "nothing was changed; try again")
        }
        _ => no_source(names),
    })
}

fn no_source(names: &Names) -> Failure {
    let Names { wrapping_key, passphrase, passphrase_file, .. } = names;
    let new = if *passphrase == NEW_NAMES.passphrase { "new " } else { "" };
    Failure::usage(
        format!("no {new}passphrase, no {new}wrapping key, and no terminal to ask for one"),
        format!(
            "set {passphrase}, or name a file with {passphrase_file}, or set {wrapping_key} to base64 of 32 bytes"
        ),
    )
}
