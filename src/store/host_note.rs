//! The note of a running process in the database: which generation of the keyring it has loaded.

use std::process;
use std::sync::{OnceLock, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
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
    /// Starts the vault's own task on a runtime.
    pub(super) start: OnceLock<Box<dyn Fn(&Handle) + Send + Sync>>,
}

/// The tasks that renew the note. It is the vault's own one, unless others do it.
#[derive(Default)]
pub(super) struct NoteWriters {
    pub(super) own: Option<AbortHandle>,
    pub(super) others: usize,
}

impl NoteWriters {
    /// A task that is cut off with its runtime counts as ended.
    pub(super) fn own_has_ended(&self) -> bool {
        self.own.as_ref().is_some_and(AbortHandle::is_finished)
    }
}

impl HostNote {
    /// # Errors
    /// `Entropy`.
    pub(crate) fn new() -> Result<Self> {
        let system = rustix::system::uname();
        let host = system.nodename().to_string_lossy();
        let host: String = host.chars().filter(|char| char.is_ascii_graphic()).take(64).collect();
        let random = u32::from_be_bytes(random::system_bytes::<4>()?);
        let name = format!("{host}:{}:{random:08x}", process::id());
        let (noted, writers, start) = (Mutex::default(), std::sync::Mutex::default(), OnceLock::new());
        Ok(Self { name, noted, writers, start })
    }

    /// Starts the vault's own task again if the runtime that it ran on has ended. Any call on another runtime may do so.
    pub(super) fn restart_if_ended(&self) {
        let has_ended = self.writers.lock().unwrap_or_else(PoisonError::into_inner).own_has_ended();
        if has_ended && let (Some(start), Ok(runtime)) = (self.start.get(), Handle::try_current()) {
            start(&runtime);
        }
    }
}
