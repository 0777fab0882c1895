//! The options of `import`, and its help.

use clap::{Args, Subcommand};

pub const SCAN_HELP: &str = "\
Reads every [[source]] of the layout file, and opens the values. Needs no keyring and writes nothing. No value is shown, except
one masked sample of each source. Exit code 0, whatever it finds.

";

/// Bring in what an application stored before.
#[derive(Subcommand)]
pub enum ImportCommand {
    /// Count what the sources of the layout hold, and name what cannot be had
    Scan(ImportScanArgs),
}

#[derive(Args)]
pub struct ImportScanArgs {
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
