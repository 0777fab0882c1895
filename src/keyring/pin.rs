//! The pin of a keyring: which keyring a process expects, and its lowest generation.

use std::env::{self, VarError};
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// The environment variable that holds a pin.
const VARIABLE: &str = "RETELL_VAULT_KEYRING";
/// Hex digits of an id.
const ID: usize = 32;

/// Which keyring a process expects, and the lowest generation of it: `<id>:<generation>`.
///
/// The one who can replace the text of a keyring can put an older generation in its place, or another keyring that the same
/// secret opens. A pin reveals both: [`Keyring::pinned`](crate::Keyring::pinned) checks it. It holds no secret.
/// [`Keyring::pin`](crate::Keyring::pin) returns the pin of an open keyring, and every `retell-vault key` command prints it.
///
/// ```
/// use retell_vault::keyring::KeyringPin;
///
/// # fn main() -> Result<(), retell_vault::Error> {
/// let pin: KeyringPin = "000102030405060708090a0b0c0d0e0f:7".parse()?;
/// assert_eq!(pin.generation(), 7);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyringPin {
    pub(super) id: String,
    pub(super) generation: u64,
}

impl KeyringPin {
    /// The pin in the environment variable `RETELL_VAULT_KEYRING`. `None` if it is not set, or empty.
    ///
    /// # Errors
    /// `InvalidInput` if it is no pin.
    pub fn from_env() -> Result<Option<Self>> {
        match env::var(VARIABLE) {
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => text.parse().map(Some).map_err(|error: Error| error.about(VARIABLE)),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(not_a_pin().about(VARIABLE)),
        }
    }

    /// The id of the keyring: 32 hex digits, the same in all of its generations.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The lowest generation, at least 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The variable with this pin, as `RETELL_VAULT_KEYRING=<id>:<generation>`.
    pub fn to_env(&self) -> String {
        format!("{VARIABLE}={self}")
    }
}

impl FromStr for KeyringPin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let (id, generation) = text.trim().split_once(':').ok_or_else(not_a_pin)?;
        let number = Some(generation).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        match number.and_then(|text| text.parse().ok()) {
            Some(generation) if generation > 0 && id.len() == ID && id.bytes().all(is_digit) => {
                Ok(Self { id: id.to_owned(), generation })
            }
            _ => Err(not_a_pin()),
        }
    }
}

impl fmt::Display for KeyringPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, self.generation)
    }
}

fn not_a_pin() -> Error {
    let message = "a pin of a keyring is its id of 32 hex digits, a colon, and a generation";
    Error::new(ErrorKind::InvalidInput, message)
        .with_hint("copy it from the output of `retell-vault key list --json`, member `env`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_as_it_is_printed_and_nothing_else_is_one() {
        let text = "000102030405060708090a0b0c0d0e0f:7";
        let pin: KeyringPin = text.parse().unwrap();
        assert_eq!((pin.id(), pin.generation()), (&text[..32], 7));
        assert_eq!(
            (pin.to_string(), pin.to_env()),
            (text.to_owned(), format!("RETELL_VAULT_KEYRING={text}"))
        );
        let id = &text[..32];
        let bad = [
            "",
            ":",
            "7",
            id,
            &format!("{id}:"),
            &format!("{id}:0"),
            &format!("{id}:-1"),
            &format!("{id}:+1"),
        ];
        let other = [
            format!("{}:7", &id[1..]),
            format!("{}:7", id.to_uppercase()),
            format!("{id}:18446744073709551616"),
        ];
        for bad in bad.into_iter().chain(other.iter().map(String::as_str)) {
            let error = bad.parse::<KeyringPin>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}");
        }
    }
}
