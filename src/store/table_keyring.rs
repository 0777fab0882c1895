//! Whose keyring sealed the tokens of the table, as far as this process knows.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use tokio::sync::Mutex;

use crate::postgres::connection::errors::DatabaseError;

/// Whose the tokens of the table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokensOf {
    /// Nobody has looked.
    Unknown,
    /// Some are of this keyring, or there is none.
    ThisKeyring,
    AnotherKeyring,
}

/// What was found out about the table's tokens before anything was sealed for it.
#[derive(Default)]
pub(crate) struct TableKeyring {
    found: AtomicU8,
    /// Held by the caller that looks. When a look failed, and why.
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
