//! Why a write went to the local file and not to the database.

use std::fmt;

use crate::error::{Error, ErrorKind};
use crate::postgres::connection::errors::{DatabaseError, Outcome};

/// Why a record is in the local file although a database was named. A sync stores it in the database later.
///
/// `Display` is the message of the error that the database operation ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Degraded {
    /// The database cannot be reached, does not answer in time, or accepts no more connections; or earlier calls found it so a
    /// moment ago, and it was not asked again.
    Unreachable(Error),
    /// The connection was lost after the write was sent. It may have been applied; a sync finds out.
    OutcomeUnknown(Error),
    /// The disk of the server is full.
    DiskFull(Error),
    /// The server is a standby, which only reads.
    Standby(Error),
    /// The table has no column that can hold the record.
    NoRoom(Error),
}

impl Degraded {
    pub(super) fn by(fault: DatabaseError) -> Self {
        let DatabaseError { outcome, error, .. } = fault;
        match (error.kind(), outcome) {
            (ErrorKind::OutcomeUnknown, _) => Self::OutcomeUnknown(error),
            (ErrorKind::Schema, _) => Self::NoRoom(error),
            (_, Outcome::TakesNoWrites) if error.sqlstate() == Some("53100") => Self::DiskFull(error),
            (_, Outcome::TakesNoWrites) => Self::Standby(error),
            _ => Self::Unreachable(error),
        }
    }

    /// The name of the cause in snake case, for logs and metrics: `unreachable`, `outcome_unknown`, `disk_full`, `standby`,
    /// `no_room`. Names never change; new causes may be added.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::DiskFull(_) => "disk_full",
            Self::Standby(_) => "standby",
            Self::NoRoom(_) => "no_room",
        }
    }

    /// The error that the database operation ended with: its hint says what to do.
    pub fn error(&self) -> &Error {
        match self {
            Self::Unreachable(error)
            | Self::OutcomeUnknown(error)
            | Self::DiskFull(error)
            | Self::Standby(error)
            | Self::NoRoom(error) => error,
        }
    }
}

impl fmt::Display for Degraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error())
    }
}
