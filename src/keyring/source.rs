//! The source of a keyring: where its sealed text lies, and how it is read.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::format::{self, Outer};
use crate::keyring::generations::GenerationTable;
use crate::keyring::mounted_file;
use crate::keyring::private_file::{self, Stamp};

/// A keyring of a thousand keys is about 300 KiB.
pub(crate) const MAX_TEXT: u64 = 1024 * 1024;

const KIND: ErrorKind = ErrorKind::KeyringFile;

/// Where the sealed text of a keyring lies.
pub(super) enum KeyringSource {
    /// A private file, which this process may change.
    File(PathBuf),
    /// A file that only others change, such as the mount of a Kubernetes Secret.
    ReadOnlyFile(PathBuf),
    /// A text that the program was given.
    Text,
    /// A table of the database, which this process may change.
    Table(Arc<dyn GenerationTable>),
    /// Nowhere, and it never will.
    Memory,
}

/// The sealed text of a file, taken apart but not opened yet.
pub(super) struct OnDisk {
    pub(super) text: Zeroizing<Vec<u8>>,
    pub(super) stamp: Stamp,
    pub(super) outer: Outer,
}

impl KeyringSource {
    /// The path of the file, if it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::ReadOnlyFile(path) => Some(path),
            Self::Text | Self::Table(_) | Self::Memory => None,
        }
    }

    /// The table, if it is one.
    pub(super) fn table(&self) -> Option<&dyn GenerationTable> {
        match self {
            Self::Table(table) => Some(&**table),
            _ => None,
        }
    }

    /// The stamp of the file now. `None` if there is no file.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::File(path) => private_file::stamp(path),
            Self::ReadOnlyFile(path) => mounted_file::stamp(path),
            Self::Text | Self::Table(_) | Self::Memory => None,
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// `KeyringMissing`; `KeyringFile` if it is damaged, or open to others; `Configuration` if the source is no file.
    pub(super) fn read(&self) -> Result<OnDisk> {
        match self {
            Self::File(path) => read(path),
            Self::ReadOnlyFile(path) => {
                let (text, stamp) = mounted_file::read(path, KIND, MAX_TEXT)?;
                on_disk(path, text, stamp)
            }
            Self::Text | Self::Table(_) | Self::Memory => {
                Err(Error::new(ErrorKind::Configuration, format!("{self} cannot be read again")))
            }
        }
    }

    /// The path of the file that this process may change. Not for a table.
    ///
    /// # Errors
    /// `Configuration`, which says where to change the keyring instead.
    pub(super) fn writable_file(&self) -> Result<&Path> {
        let hint = match self {
            Self::File(path) => return Ok(path),
            Self::ReadOnlyFile(_) | Self::Text | Self::Table(_) => {
                "change the keyring with `retell-vault key` where its file lies, then replace the copy that this process was given"
            }
            Self::Memory => "it ends with this process: create a keyring with `Keyring::prepare`",
        };
        let message = format!("{self} is read-only for this process; nothing was changed");
        Err(Error::new(ErrorKind::Configuration, message).with_hint(hint))
    }
}

impl fmt::Display for KeyringSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::ReadOnlyFile(path) => path.display().fmt(f),
            Self::Text => f.write_str("the keyring text"),
            Self::Table(table) => f.write_str(&table.place()),
            Self::Memory => f.write_str("the keyring in memory"),
        }
    }
}

/// Reads a private keyring file and takes it apart.
pub(super) fn read(path: &Path) -> Result<OnDisk> {
    if fs::symlink_metadata(path).is_ok() {
        private_file::check_folder(private_file::folder_of(path), KIND)?;
    }
    let (text, stamp) = private_file::read_private_stamped(path, KIND, MAX_TEXT)?;
    on_disk(path, text, stamp)
}

fn on_disk(path: &Path, text: Zeroizing<Vec<u8>>, stamp: Stamp) -> Result<OnDisk> {
    let outer = format::parse(&text).map_err(|error| error.about(path.display()))?;
    Ok(OnDisk { text, stamp, outer })
}
