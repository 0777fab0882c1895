//! The report of a rotation: a private file with a line of JSON for everything that could not be opened.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use retell_vault::display::visible_json;
use retell_vault::rotation::UnreadableRow;
use serde_json::json;

use crate::failure::Failure;
use crate::report_file;

const MEMBERS: [&str; 4] = ["kind", "owner", "place", "reason"];

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
        let file = report_file::open(path, &MEMBERS)?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), failed: None })
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
            Some(error) => Err(report_file::unwritten(&self.path, &error)),
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        if self.failed.is_none() {
            self.failed = write(&mut self.file).err();
        }
    }
}
