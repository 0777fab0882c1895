//! The files beside the local file: their names, their ownership, and setting them aside.
//!
//! FILE is never opened here while a connection may use it: closing any descriptor of a file drops all
//! POSIX locks that this process holds on it, those of SQLite included
//! (<https://sqlite.org/howtocorrupt.html>, 2.2).

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::geteuid;

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::private_file;

use crate::local::errors;

/// What SQLite may have created: the file itself comes first.
const SUFFIXES: [&str; 2] = ["", "-journal"];
/// SQLite would take the content of the first one for newer pages of FILE.
const OTHER_MODE: [&str; 2] = ["-wal", "-shm"];
const MARK: &str = ".corrupt-";

/// Which file a path names: device and inode.
pub(super) type Identity = (u64, u64);

/// The file whose name is that of FILE and a suffix.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Refuses symlinks, folders, files of other users and files open to others in the place of any of them, and every file
/// that the vault never creates.
pub(super) fn refuse_planted(path: &Path) -> Result<()> {
    SUFFIXES.iter().try_for_each(|suffix| length(&beside(path, suffix)).map(drop))?;
    OTHER_MODE.iter().try_for_each(|suffix| refuse_any(&beside(path, suffix), path))
}

fn refuse_any(path: &Path, file: &Path) -> Result<()> {
    if identity(path)?.is_none() {
        return Ok(());
    }
    let problem = format!("{} exists, but the vault never creates such a file", path.display());
    Err(Error::new(ErrorKind::LocalStore, problem).with_hint(format!(
        "another program opened {0} in WAL mode: stop it, and run `sqlite3 {0} 'PRAGMA journal_mode=TRUNCATE'`",
        file.display()
    )))
}

/// The length of a private file, if there is one. The folder is private, so the file that was checked is the file that is
/// opened.
pub(super) fn length(path: &Path) -> Result<Option<u64>> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(errors::io("cannot inspect", path, error)),
    };
    let (problem, hint) = match metadata.permissions().mode() & 0o777 {
        _ if !metadata.is_file() => ("is not a regular file, or is a symlink", "move it away"),
        _ if metadata.uid() != geteuid().as_raw() => {
            ("belongs to another user", "run as its owner, or choose another path")
        }
        mode if mode & 0o077 != 0 => ("is open to group or others", "set its mode to 600"),
        _ => return Ok(Some(metadata.len())),
    };
    Err(Error::new(ErrorKind::LocalStore, format!("{} {problem}", path.display())).with_hint(hint))
}

/// What a file holds; nothing when it is missing.
pub(super) fn content(path: &Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|error| errors::io("cannot read", path, error)),
    }
}

/// Creates an empty private file whose name is durable. Only while no other handle exists.
pub(super) fn make(path: &Path) -> Result<()> {
    drop(private_file::ensure_private(path, ErrorKind::LocalStore)?);
    let folder = private_file::folder_of(path);
    sync_folder(folder).map_err(|error| errors::io("cannot create", path, error))?;
    // the folder may be as new as the file; its parent may be closed to us
    sync_folder(private_file::folder_of(folder)).ok();
    Ok(())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Renames FILE and what belongs to it, so that `sqlite3 NEW .recover` finds all of it, and returns the first new name.
/// Only while no other handle exists.
pub(super) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let new = free_name(path);
    let mut first = None;
    // FILE first: if this is interrupted, a journal without its file is noticed; the reverse is not
    for suffix in SUFFIXES {
        let target = beside(&new, suffix);
        match fs::rename(beside(path, suffix), &target) {
            Ok(()) => first = first.or(Some(target)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    sync_folder(private_file::folder_of(path))?;
    first.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn free_name(path: &Path) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let taken =
        |new: &PathBuf| SUFFIXES.iter().any(|suffix| fs::symlink_metadata(beside(new, suffix)).is_ok());
    let mut names = (now..).map(|millis| beside(path, &format!("{MARK}{millis}")));
    names.find(|new| !taken(new)).unwrap_or_else(|| beside(path, MARK))
}

/// The files that were set aside and still exist: one path for each time.
pub(super) fn set_aside(path: &Path) -> Vec<PathBuf> {
    let mut start = path.file_name().unwrap_or_default().to_owned();
    start.push(MARK);
    let ours = |found: &PathBuf| {
        let name = found.file_name().unwrap_or_default().as_encoded_bytes();
        name.starts_with(start.as_encoded_bytes())
    };
    let entries = fs::read_dir(private_file::folder_of(path)).into_iter().flatten();
    let mut found: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(ours).collect();
    found.sort();
    // a journal is named only when it was alone
    found.dedup_by(|later, first| *later == beside(first, "-journal"));
    found
}

/// Which file is there now, if any.
pub(super) fn identity(path: &Path) -> Result<Option<Identity>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(errors::io("cannot inspect", path, error)),
    }
}
