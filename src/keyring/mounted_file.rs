//! Files that others write for this process, as Kubernetes mounts a Secret.
//!
//! The mount has rules of its own: the file is a symlink through `..data`, which moves to a new folder with every change; it
//! belongs to root; its mode is 0440 or 0644. So symlinks are followed, and others may read the file. What it holds is sealed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::private_file::Stamp;

/// The stamp of the file that the path leads to now, if it leads to one.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().as_ref().map(Stamp::of)
}

/// The content of a file of at most `limit` bytes, with its stamp.
///
/// # Errors
/// `KeyringMissing`; `kind` if it is no regular file, too long, or group or others could write to it.
pub(super) fn read(path: &Path, kind: ErrorKind, limit: u64) -> Result<(Zeroizing<Vec<u8>>, Stamp)> {
    let failed = |error: io::Error| {
        Error::new(kind, format!("cannot read {}: {}", path.display(), error.kind())).with_source(error)
    };
    let (file, metadata) = open(path, kind)?;
    check(&metadata, path, kind)?;
    let mut content = Zeroizing::new(Vec::with_capacity(metadata.len().min(limit) as usize + 1));
    file.take(limit + 1).read_to_end(&mut content).map_err(failed)?;
    match content.len() as u64 > limit {
        true => Err(refused(kind, path, "is too long", "name the file of the keyring")),
        // the stamp is older than the content, so a change in between is noticed later
        false => Ok((content, Stamp::of(&metadata))),
    }
}

fn open(path: &Path, kind: ErrorKind) -> Result<(File, fs::Metadata)> {
    // a pipe in its place does not block
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    match opened.and_then(|file| file.metadata().map(|metadata| (file, metadata))) {
        Ok(opened) => Ok(opened),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let message = format!("{} does not exist", path.display());
            Err(Error::new(ErrorKind::KeyringMissing, message)
                .with_hint("check that the Secret is mounted, and the path of the file in it"))
        }
        Err(error) => {
            let message = format!("cannot open {}: {}", path.display(), error.kind());
            Err(Error::new(kind, message).with_source(error).with_hint("let this user read the file"))
        }
    }
}

/// Another owner is no problem: a mount belongs to root, or to another process.
fn check(metadata: &fs::Metadata, path: &Path, kind: ErrorKind) -> Result<()> {
    let mode = metadata.permissions().mode() & 0o777;
    if !metadata.is_file() {
        return Err(refused(kind, path, "is not a regular file", "name the file of the keyring"));
    }
    if mode & 0o022 != 0 {
        let problem = format!("can be changed by group or others (mode {mode:03o})");
        return Err(refused(kind, path, &problem, "set its mode to 440"));
    }
    Ok(())
}

fn refused(kind: ErrorKind, path: &Path, problem: &str, hint: &str) -> Error {
    Error::new(kind, format!("{} {problem}", path.display())).with_hint(hint)
}
