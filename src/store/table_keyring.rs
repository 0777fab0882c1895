//! Which keyring sealed the tokens of the table, as far as this process knows.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use tokio::sync::Mutex;

use crate::postgres::connection::errors::DatabaseError;

/// Which keyring the tokens of the table belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokensOf {
    /// Not checked yet.
    Unknown,
    /// Some are of this keyring, or there is none.
    ThisKeyring,
    AnotherKeyring,
}

/// What was found out about the table's tokens before anything was sealed for it.
#[derive(Default)]
pub(crate) struct TableKeyring {
    found: AtomicU8,
    /// Held by the caller that checks. Holds when a check failed, and why.
    pub(super) last: Mutex<Option<(Instant, DatabaseError)>>,
}

impl TableKeyring {
    pub(super) fn found(&self) -> TokensOf {
        match self.found.load(Ordering::Acquire) {
            0 => TokensOf::Unknown,
            1 => TokensOf::ThisKeyring,
            _ => TokensOf::AnotherKeyring,
        }
    }

    pub(super) fn note(&self, found: TokensOf) {
        self.found.store(found as u8, Ordering::Release);
    }
}
