//! The file of a report: private, and never another file than a report.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// Longer than any line that we write.
const LINE: u64 = 64 * 1024;

/// Creates the file of a report, or reuses the report of an earlier run, whose lines have exactly these members. Any other
/// existing file is an error.
pub fn open(path: &Path, members: &[&str]) -> Result<File, Failure> {
    let unusable = |error: io::Error| {
        Failure::new(
            format!("cannot write the report {}: {error}", path.display()),
            "nothing was changed; name a file in a folder that you may write to",
        )
    };
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match new {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => take_earlier(path, members, unusable),
        new => new.map_err(unusable),
    }
}

/// Why a report is not complete.
pub fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!("the report {} could not be written: {error}", path.display()),
        "fix this, then run the same command again: it skips finished work",
    )
}

fn take_earlier(
    path: &Path,
    members: &[&str],
    unusable: impl Fn(io::Error) -> Failure,
) -> Result<File, Failure> {
    let other = || {
        Failure::new(
            format!("{} exists and is not a report of an earlier run", path.display()),
            "nothing was changed; name another file",
        )
    };
    // a symlink could lead to another user's file, and opening a pipe would block
    if !fs::symlink_metadata(path).map_err(&unusable)?.is_file() {
        return Err(other());
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).expect("flags of open are an int");
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(&unusable)?;
    if !is_report(&file, members).map_err(&unusable)? {
        return Err(other());
    }
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(unusable)?;
    Ok(file)
}

/// Empty, as the report of a run with nothing to report, or beginning with a line of ours.
fn is_report(file: &File, members: &[&str]) -> io::Result<bool> {
    let mut line = Vec::new();
    BufReader::new(io::Read::take(file, LINE)).read_until(b'\n', &mut line)?;
    let is_ours = |object: &Map<String, Value>| {
        object.len() == members.len() && members.iter().all(|member| object.contains_key(*member))
    };
    Ok(line.is_empty() || serde_json::from_slice(&line).is_ok_and(|object| is_ours(&object)))
}
