//! The note of a running process in the database: which generation of the keyring it has loaded.

use std::process;
use std::time::Instant;

use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use crate::crypto::random;
use crate::error::Result;

/// The note of this process.
pub(crate) struct HostNote {
    /// The host, the process, and a random part: two vaults of a process are two.
    pub(super) name: String,
    /// Held while the note is written or removed. The generation that it names, and when it was written.
    pub(super) noted: Mutex<Option<(u64, Instant)>>,
    pub(super) writers: std::sync::Mutex<NoteWriters>,
}

/// The tasks that renew the note. It is the vault's own one, unless others do it.
#[derive(Default)]
pub(super) struct NoteWriters {
    pub(super) own: Option<AbortHandle>,
    pub(super) others: usize,
}

impl HostNote {
    /// # Errors
    /// `Entropy`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { name: process_name()?, noted: Mutex::default(), writers: std::sync::Mutex::default() })
    }
}

/// The host, the process, and a random part.
///
/// # Errors
/// `Entropy`.
pub(crate) fn process_name() -> Result<String> {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let host: String = host.chars().filter(|char| char.is_ascii_graphic()).take(64).collect();
    let random = u32::from_be_bytes(random::system_bytes::<4>()?);
    Ok(format!("{host}:{}:{random:08x}", process::id()))
}
