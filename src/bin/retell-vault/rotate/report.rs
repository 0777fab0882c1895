//! The report of a rotation: a private file with a line of JSON for everything that could not be opened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use retell_vault::display::visible_json;
use retell_vault::rotation::UnreadableRow;
use rustix::fs::OFlags;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

const MEMBERS: [&str; 4] = ["kind", "owner", "place", "reason"];
/// Longer than any line that we write.
const LINE: u64 = 64 * 1024;

/// A report that is being written.
pub struct Report {
    path: PathBuf,
    file: BufWriter<File>,
    /// The first error. Nothing is written after it, because the report would have gaps.
    failed: Option<io::Error>,
}

impl Report {
    /// Creates the file, or reuses the report of an earlier run, which stays until the first pass begins.
    /// Any other existing file is an error.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let unusable = |error: io::Error| {
            Failure::new(
                format!("cannot write the report {}: {error}", path.display()),
                "nothing was changed; name a file in a folder that you may write to",
            )
        };
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = match new {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Self::take_earlier(path, unusable)?,
            new => new.map_err(unusable)?,
        };
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), failed: None })
    }

    fn take_earlier(path: &Path, unusable: impl Fn(io::Error) -> Failure) -> Result<File, Failure> {
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
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(&unusable)?;
        if !is_report(&file).map_err(&unusable)? {
            return Err(other());
        }
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(unusable)?;
        Ok(file)
    }

    /// Empties the report: every pass reports everything again.
    pub fn restart(&mut self) {
        self.write(|file| {
            file.flush()?;
            file.get_ref().set_len(0)?;
            file.rewind()
        });
    }

    /// A line more.
    pub fn add(&mut self, row: &UnreadableRow) {
        let line = json!({
            "owner": row.owner,
            "place": row.place,
            "kind": row.kind.as_str(),
            "reason": row.reason,
        });
        self.write(|file| writeln!(file, "{}", visible_json(&line.to_string())));
    }

    /// Everything is in the file, or why not.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.write(|file| file.flush());
        match self.failed.take() {
            None => Ok(()),
            Some(error) => Err(Failure::new(
                format!("the report {} could not be written: {error}", self.path.display()),
                "fix this, then run the same command again: it skips finished work",
            )),
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        if self.failed.is_none() {
            self.failed = write(&mut self.file).err();
        }
    }
}

/// Empty, as the report of a run with nothing to report, or beginning with a line of ours.
fn is_report(file: &File) -> io::Result<bool> {
    let mut line = Vec::new();
    BufReader::new(io::Read::take(file, LINE)).read_until(b'\n', &mut line)?;
    let is_ours = |object: &Map<String, Value>| {
        object.len() == MEMBERS.len() && MEMBERS.iter().all(|member| object.contains_key(*member))
    };
    Ok(line.is_empty() || serde_json::from_slice(&line).is_ok_and(|object| is_ours(&object)))
}
