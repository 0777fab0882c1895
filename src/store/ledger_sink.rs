//! Where copies of the ledger go that lie outside of the database.

use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::private_file::{self, Draft};

/// A call of a [`CheckpointSink`].
pub type Put<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// Where heads, segments and checkpoints of the ledger go. They show that the database went back, so they must not lie in it,
/// and a person who may change the database should not be able to change them.
///
/// A text holds ids of owners, and no value of a record. Its name consists of lower-case letters, digits, `-` and `.`:
/// `head-WRITER.json` replaces the earlier text of the same name; `segment-….jsonl` and `checkpoint-….note` are put once, or again
/// with the same text.
pub trait CheckpointSink: Send + Sync {
    /// Keeps a text.
    ///
    /// # Errors
    /// Those of the place. The same text comes again then, a minute later.
    fn put<'a>(&'a self, name: &'a str, text: &'a str) -> Put<'a>;
}

/// Keeps every text as a file of a folder.
#[derive(Debug, Clone)]
pub struct FolderSink {
    folder: PathBuf,
}

impl FolderSink {
    /// The folder is created, for this user alone, when the first text comes.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }
}

impl CheckpointSink for FolderSink {
    fn put<'a>(&'a self, name: &'a str, text: &'a str) -> Put<'a> {
        let (folder, name, text) = (self.folder.clone(), name.to_owned(), text.to_owned());
        Box::pin(async move {
            let write = move || {
                private_file::private_folder(&folder, ErrorKind::LocalStore)?;
                let place = folder.join(&name);
                match name.starts_with("head-") {
                    true => replace(&folder, &place, text.as_bytes()),
                    false => put_once(&place, text.as_bytes()),
                }
            };
            let done = tokio::task::spawn_blocking(write).await;
            done.unwrap_or_else(|_| Err(Error::new(ErrorKind::LocalStore, "the write of a file did not end")))
        })
    }
}

fn replace(folder: &Path, place: &Path, text: &[u8]) -> Result<()> {
    Draft::remove_stale(place, ErrorKind::LocalStore)?;
    Draft::write(place, text, ErrorKind::LocalStore)?.put_in_place(ErrorKind::LocalStore)?;
    private_file::sync_folder(folder, ErrorKind::LocalStore)
}

/// What is evidence is never overwritten.
fn put_once(place: &Path, text: &[u8]) -> Result<()> {
    match private_file::write_new_private(place, text, ErrorKind::LocalStore) {
        Err(error) if error.kind() == ErrorKind::KeyringExists => {
            let limit = text.len() as u64;
            let there = private_file::read_private(place, ErrorKind::LocalStore, limit);
            if there.is_ok_and(|there| *there == text) {
                return Ok(());
            }
            let problem = format!("{} exists with another text", place.display());
            Err(Error::new(ErrorKind::LocalStore, problem)
                .with_hint("another process put it there; nothing was overwritten: run the command again"))
        }
        written => written,
    }
}

/// Writes every text to a writer, for example `WriterSink::new(std::io::stdout())` for a collector of logs.
#[derive(Debug)]
pub struct WriterSink<W> {
    writer: Mutex<W>,
}

impl<W: Write + Send> WriterSink<W> {
    /// Writes to this.
    pub fn new(writer: W) -> Self {
        Self { writer: Mutex::new(writer) }
    }

    fn write(&self, text: &str) -> Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let written = writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
        written.map_err(|error| {
            Error::new(ErrorKind::LocalStore, format!("cannot write a copy of the ledger: {error}"))
        })
    }
}

impl<W: Write + Send> CheckpointSink for WriterSink<W> {
    fn put<'a>(&'a self, _name: &'a str, text: &'a str) -> Put<'a> {
        Box::pin(std::future::ready(self.write(text)))
    }
}
