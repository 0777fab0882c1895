//! The report of an import: a private file with a line of JSON for everything that is cleared or was not imported.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use retell_vault::config::import::FoundField;
use retell_vault::display::visible_json;
use serde_json::json;

use crate::failure::Failure;
use crate::report_file;

const MEMBERS: [&str; 7] = ["event", "field", "place", "reason", "shape", "tenant", "user"];

/// A report that is being written. The lines of earlier runs stay, because they say what is cleared.
pub struct ImportLog {
    path: PathBuf,
    file: BufWriter<File>,
}

impl ImportLog {
    /// Creates the file, or continues the report of an earlier run. Any other existing file is an error.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let mut file = report_file::open(path, &MEMBERS)?;
        file.seek(SeekFrom::End(0)).map_err(|error| report_file::unwritten(path, &error))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    /// A line more.
    pub fn add(&mut self, event: &str, found: &FoundField) -> Result<(), Failure> {
        let line = json!({
            "event": event,
            "user": found.user,
            "tenant": found.tenant,
            "place": found.place,
            "field": found.field.map(|field| field.to_string()),
            "shape": found.shape,
            "reason": found.reason,
        });
        self.write(|file| writeln!(file, "{}", visible_json(&line.to_string())))
    }

    /// Everything is on the disk.
    pub fn sync(&mut self) -> Result<(), Failure> {
        self.write(|file| {
            file.flush()?;
            file.get_ref().sync_all()
        })
    }

    fn write(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), Failure> {
        write(&mut self.file).map_err(|error| report_file::unwritten(&self.path, &error))
    }
}
