//! The meaning of a database error for a write or a read, decided by one table from the SQLSTATE and the I/O error.

use std::fmt;
use std::io;

use sqlx::postgres::PgDatabaseError;

use crate::display::visible;
use crate::error::{Error, ErrorKind};
use crate::postgres::connection::refusal::RefusedBy;

/// What to do after a failure. An unknown error means `Reject`: a wrong rejection is visible, but a wrong fallback forks
/// the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Certainly not applied, and the server is unreachable: use the local file.
    Fallback,
    /// May have been applied: read back to find out, otherwise also store it locally.
    Ambiguous,
    /// The server answers, but does not accept this write now (disk full, standby, no column): use the local file, and
    /// continue to read. Not applied, unless the error is `OutcomeUnknown`.
    TakesNoWrites,
    /// Not applied, and the server is up: try again.
    Retry,
    /// The schema has changed: read the catalogue again.
    Redetect,
    /// A unique constraint refuses the row: another writer may have created it in the meantime.
    Duplicate,
    /// Would fail again: tell the caller.
    Reject,
    /// The session is read-only: a standby, or a role that may not write.
    ReadOnly,
    /// The connection goes through a transaction pooler: stop using named statements and try again.
    Pooler,
}

/// The phase in which an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing was sent yet.
    Connecting,
    Reading,
    Writing,
    /// In a transaction of the caller. Nothing is applied before the caller commits.
    CallersTransaction,
}

/// A failure and what to do about it.
#[derive(Debug)]
pub(crate) struct DatabaseError {
    pub(crate) outcome: Outcome,
    pub(crate) error: Error,
    /// Whether it failed on an established connection. The server may then be healthy, and only this statement too slow.
    pub(crate) was_connected: bool,
    /// Whether a constraint of the database refused the write (class 23), and would refuse it again.
    pub(crate) is_for_good: bool,
    /// Whether the number of an entry of the ledger is taken.
    pub(crate) is_number_taken: bool,
}

impl DatabaseError {
    pub(crate) fn new(outcome: Outcome, error: Error) -> Self {
        Self { outcome, error, was_connected: false, is_for_good: false, is_number_taken: false }
    }

    /// The table of `docs/ARCHITECTURE.md`, section "When the database fails".
    pub(crate) fn of(error: &sqlx::Error, phase: Phase) -> DatabaseError {
        Self { was_connected: phase != Phase::Connecting, ..Self::told_by(error, phase) }
    }

    fn told_by(error: &sqlx::Error, phase: Phase) -> DatabaseError {
        match error {
            sqlx::Error::Database(database) => by_code(database.as_ref(), phase),
            sqlx::Error::Io(error) => by_io(error, phase),
            sqlx::Error::Tls(_) => reject(
                ErrorKind::Configuration,
                "TLS with the database failed",
                "check the server's certificate and sslmode in the URL",
            ),
            sqlx::Error::BeginFailed => {
                DatabaseError::new(Outcome::Retry, busy("cannot start a transaction"))
            }
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::TypeNotFound { .. } => DatabaseError::new(
                Outcome::Redetect,
                Error::new(ErrorKind::Schema, "the type of a column has changed"),
            ),
            sqlx::Error::PoolClosed => reject(
                ErrorKind::Configuration,
                "the connection pool was closed",
                "keep the pool open while the vault uses it",
            ),
            sqlx::Error::Configuration(_) => {
                reject(ErrorKind::Configuration, "the database URL is not valid", URL_HINT)
            }
            // the driver mistakes the end of the connection for an answer of one zero byte
            sqlx::Error::Protocol(text) if text.starts_with("unexpected response from SSLRequest: 0x00") => {
                by_io(&io::ErrorKind::UnexpectedEof.into(), phase)
            }
            // a proxy or load balancer answers in place of the server, as with a page of HTTP
            sqlx::Error::Protocol(text) if text.starts_with("unexpected response from SSLRequest") => {
                let message = "the address does not answer as a PostgreSQL server";
                DatabaseError::new(Outcome::Fallback, unreachable(message, Outcome::Fallback))
            }
            // its text may repeat what the server sent, so the message does not include it
            _ => reject(
                ErrorKind::Rejected,
                "the database driver failed",
                "check whether another client can run the same operation",
            ),
        }
    }

    /// A copy for another caller.
    pub(crate) fn copy(&self) -> Self {
        Self { error: self.error.clone(), ..*self }
    }

    /// The error for the vault's own time-out.
    pub(crate) fn timed_out(phase: Phase) -> Self {
        let error = unreachable("the database did not answer in time", lost(phase));
        Self { was_connected: phase != Phase::Connecting, ..Self::new(lost(phase), error) }
    }
}

impl From<Error> for DatabaseError {
    fn from(error: Error) -> Self {
        Self::new(Outcome::Reject, error)
    }
}

/// The part of a database error that cannot hold a value: its SQLSTATE and the names of objects.
#[derive(Debug)]
struct Reduced {
    code: String,
    refusal: RefusedBy,
}

impl fmt::Display for Reduced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RefusedBy { table, constraint, .. } = &self.refusal;
        write!(f, "SQLSTATE {}", self.code)?;
        for (what, name) in [("table", table), ("constraint", constraint)] {
            if let Some(name) = name {
                write!(f, ", {what} {}", visible(name))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Reduced {}

/// The constraint that keeps a number of the ledger from being used twice.
pub(crate) const NUMBER_OF_ENTRY: &str = "retell_vault_ledger_number";

pub(crate) const URL_HINT: &str =
    "write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special characters percent-encoded";

/// The outcome of a connection that was lost in this phase.
fn lost(phase: Phase) -> Outcome {
    match phase {
        Phase::Connecting | Phase::Reading | Phase::CallersTransaction => Outcome::Fallback,
        Phase::Writing => Outcome::Ambiguous,
    }
}

fn by_io(error: &io::Error, phase: Phase) -> DatabaseError {
    // rustls reports a certificate it does not trust as invalid data
    if phase == Phase::Connecting && error.kind() == io::ErrorKind::InvalidData {
        return reject(
            ErrorKind::Configuration,
            "TLS with the database failed",
            "check the server's certificate and sslmode in the URL",
        );
    }
    // the standard library has no kind for it
    let why = match error.to_string().starts_with("failed to lookup address") {
        true => "its name does not resolve".to_owned(),
        false => error.kind().to_string(),
    };
    let message = format!("the database cannot be reached ({why})");
    DatabaseError::new(lost(phase), unreachable(&message, lost(phase)))
}

fn by_code(error: &dyn sqlx::error::DatabaseError, phase: Phase) -> DatabaseError {
    let code = error.code().unwrap_or_default().into_owned();
    let refusal = RefusedBy::of(error);
    let mut outcome = outcome_of(&code, phase, || {
        error.message().contains("EMAXCONN")
            || error.message().contains("ECHECKOUTTIMEOUT")
            || error.message().contains("no more connections")
    });
    let is_raised = is_raised(error, &code, refusal.function.is_some());
    if refusal.is_of_rule() || (is_raised && outcome != Outcome::Duplicate) {
        outcome = Outcome::Reject;
    }
    // nothing was written, and the next attempt draws another number
    let is_number_taken = code == "23505" && refusal.constraint.as_deref() == Some(NUMBER_OF_ENTRY);
    if is_number_taken {
        outcome = Outcome::Retry;
    }
    if code == "53100" && !is_raised {
        tracing::error!("the database's disk is full");
    }
    let is_about_server = ["08", "25", "28", "3D", "53", "57"].iter().any(|class| code.starts_with(class));
    let described = match is_raised && is_about_server {
        true => refused(&code),
        false => refusal.describe(&code).unwrap_or_else(|| describe(&code, outcome)),
    };
    let mut fault = DatabaseError::new(outcome, described);
    // a trigger may decide otherwise next time, from its own tables
    fault.is_for_good = code.starts_with("23") && refusal.function.is_none() && !is_number_taken;
    fault.is_number_taken = is_number_taken;
    let mut named = refusal.name(fault.error).with_sqlstate(&code);
    if let Some(column) = &refusal.column {
        named = named.with_column(column);
    }
    fault.error = named.with_source(Reduced { code, refusal });
    fault
}

/// Whether code of the application raised the error, and not the server. Such code may raise any SQLSTATE, including
/// codes about the server's own state, and it passes on codes of a foreign server. Inside a function the server itself
/// raises only these codes, for lock waits, exhausted resources and shutdown. Every other code inside a function is about
/// that function's statements, because the vault's own statements have no context that names a function.
fn is_raised(error: &dyn sqlx::error::DatabaseError, code: &str, in_function: bool) -> bool {
    let routine = error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::routine);
    let is_servers = matches!(
        code,
        "53100" | "53200" | "55P03" | "40001" | "40P01" | "57014" | "57P01" | "57P02" | "57P05" | "25P04"
    );
    match routine {
        // RAISE of PL/pgSQL; its context depends on the language of the server
        Some("exec_stmt_raise") => true,
        // errors of PL/Python, of postgres_fdw and of dblink
        Some("PLy_elog_impl" | "pgfdw_report_error" | "dblink_res_error") => in_function,
        _ => in_function && !is_servers,
    }
}

fn outcome_of(code: &str, phase: Phase, says_full: impl Fn() -> bool) -> Outcome {
    match code {
        "08P01" => Outcome::Reject,
        "08007" | "40003" if phase == Phase::Writing => Outcome::Ambiguous,
        "08000" | "08001" | "08003" | "08004" | "08006" | "08007" | "40003" | "57P01" | "57P02" | "57P05" => {
            lost(phase)
        }
        "57P03" | "53300" => Outcome::Fallback,
        "53100" if matches!(phase, Phase::Writing | Phase::CallersTransaction) => Outcome::TakesNoWrites,
        "53200" | "55P03" | "40001" | "40P01" | "57014" | "25P01" | "25P02" | "25P03" | "25P04" => {
            Outcome::Retry
        }
        "25006" => Outcome::ReadOnly,
        "26000" | "42P05" => Outcome::Pooler,
        "23505" if phase == Phase::Writing => Outcome::Duplicate,
        "42702" | "42703" | "42P01" | "42P10" | "3F000" | "0A000" | "42804" | "42846" | "42883" => {
            Outcome::Redetect
        }
        // this error is from the pooler, which has no codes of its own
        "XX000" | "08P02" if says_full() => Outcome::Fallback,
        _ => Outcome::Reject,
    }
}

fn describe(code: &str, outcome: Outcome) -> Error {
    match outcome {
        Outcome::Fallback | Outcome::Ambiguous => {
            return unreachable(&format!("the database is not available (SQLSTATE {code})"), outcome);
        }
        Outcome::TakesNoWrites => {
            let message = format!("the database accepts no writes (SQLSTATE {code})");
            return Error::new(ErrorKind::Unavailable, message)
                .with_hint("check whether the disk of the database server is full");
        }
        Outcome::Retry => return busy(&format!("the database is busy (SQLSTATE {code})")),
        _ => {}
    }
    let (kind, message, hint) = match code {
        "42501" => (
            ErrorKind::AccessDenied,
            "the role lacks a right for this, or row level security forbids it",
            None,
        ),
        "25006" => (
            ErrorKind::AccessDenied,
            "the database is read-only for this role",
            Some("connect to the primary, or as a role that may write"),
        ),
        "28000" | "28P01" => (
            ErrorKind::Configuration,
            "the database refuses the user or the password",
            Some("check the user and password in the URL"),
        ),
        "3D000" => (
            ErrorKind::Configuration,
            "the database named in the URL does not exist",
            Some("check the name after the last slash of the URL, and the server"),
        ),
        "42P17" => (
            ErrorKind::Configuration,
            "a row level security policy refers to itself",
            Some("rewrite the policy so that it does not select from its own table"),
        ),
        "57P04" => (ErrorKind::Configuration, "the database was dropped", Some(URL_HINT)),
        "08P01" => (
            ErrorKind::Configuration,
            "the server does not speak the protocol as expected",
            Some("if this is a transaction pooler, set the pooler mode to `transaction`"),
        ),
        // every write of the vault divides by zero if the row does not hold what was written
        "22012" => (
            ErrorKind::Rejected,
            "the table does not keep what is written: a trigger changes it",
            Some("check the BEFORE triggers of the table"),
        ),
        "23503" => (ErrorKind::UnknownOwner, "the database has no such owner", None),
        "23505" => (
            ErrorKind::Rejected,
            "another row already has this value in a unique column",
            Some("check the constraint, and the default that its column gives to new rows"),
        ),
        "42702" | "42703" | "42P01" | "42P10" | "3F000" | "0A000" | "42804" | "42846" | "42883" => {
            (ErrorKind::Schema, "a table or column is missing or has another type", None)
        }
        _ => return refused(code),
    };
    let error = Error::new(kind, format!("{message} (SQLSTATE {code})"));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn unreachable(message: &str, outcome: Outcome) -> Error {
    match outcome {
        Outcome::Ambiguous => {
            Error::new(ErrorKind::OutcomeUnknown, format!("{message}; the write may have been applied"))
        }
        _ => Error::new(ErrorKind::Unavailable, message),
    }
}

fn refused(code: &str) -> Error {
    Error::new(ErrorKind::Rejected, format!("the database refuses the operation (SQLSTATE {code})"))
}

fn busy(message: &str) -> Error {
    Error::new(ErrorKind::Busy, message)
}

/// The server is a standby, which may become a primary.
pub(crate) fn standby() -> Error {
    Error::new(ErrorKind::Unavailable, "the database is a standby, which accepts no writes")
        .with_hint("name the primary server, or wait until this one is promoted")
}

fn reject(kind: ErrorKind, message: &str, hint: &str) -> DatabaseError {
    DatabaseError::new(Outcome::Reject, Error::new(kind, message).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: &str, phase: Phase) -> Outcome {
        outcome_of(code, phase, || false)
    }

    #[test]
    fn the_table() {
        use Outcome::*;
        use Phase::*;
        let table = [
            ("08006", Connecting, Fallback),
            ("08006", Reading, Fallback),
            ("08006", Writing, Ambiguous),
            ("08007", Writing, Ambiguous),
            ("40003", Writing, Ambiguous),
            ("08P01", Writing, Reject),
            ("57P01", Writing, Ambiguous),
            ("57P02", Reading, Fallback),
            ("57P03", Writing, Fallback),
            ("57P05", Writing, Ambiguous),
            ("57P05", Reading, Fallback),
            ("53300", Connecting, Fallback),
            ("53100", Writing, TakesNoWrites),
            ("53100", Reading, Reject),
            ("53200", Writing, Retry),
            ("55P03", Writing, Retry),
            ("40001", Writing, Retry),
            ("40P01", Writing, Retry),
            ("57014", Reading, Retry),
            ("25006", Writing, ReadOnly),
            ("25P02", Writing, Retry),
            ("25P04", Writing, Retry),
            ("26000", Reading, Pooler),
            ("42P05", Writing, Pooler),
            ("42702", Writing, Redetect),
            ("42703", Writing, Redetect),
            ("42P10", Writing, Redetect),
            ("23505", Writing, Duplicate),
            ("23505", Reading, Reject),
            ("42P01", Reading, Redetect),
            ("3F000", Reading, Redetect),
            ("0A000", Reading, Redetect),
            ("42846", Writing, Redetect),
            ("42501", Writing, Reject),
            ("42P17", Reading, Reject),
            ("3D000", Connecting, Reject),
            ("28000", Connecting, Reject),
            ("28P01", Connecting, Reject),
            ("57P04", Writing, Reject),
            ("22001", Writing, Reject),
            ("23503", Writing, Reject),
            ("23514", Writing, Reject),
            ("44000", Writing, Reject),
            ("P0001", Writing, Reject),
            ("XX000", Connecting, Reject),
            ("99999", Writing, Reject),
            ("", Writing, Reject),
        ];
        for (code, phase, expected) in table {
            assert_eq!(outcome(code, phase), expected, "{code} while {phase:?}");
        }
        assert_eq!(outcome_of("XX000", Connecting, || true), Fallback);
    }

    #[test]
    fn io_errors_before_and_after_the_write_was_sent() {
        let io =
            |phase| DatabaseError::of(&sqlx::Error::Io(io::ErrorKind::ConnectionReset.into()), phase).outcome;
        assert_eq!(io(Phase::Connecting), Outcome::Fallback);
        assert_eq!(io(Phase::Reading), Outcome::Fallback);
        assert_eq!(io(Phase::Writing), Outcome::Ambiguous);
        let certificate =
            DatabaseError::of(&sqlx::Error::Io(io::ErrorKind::InvalidData.into()), Phase::Connecting);
        assert_eq!(certificate.outcome, Outcome::Reject);
    }

    /// A gateway whose server is away answers for it.
    #[test]
    fn another_program_at_the_address_is_an_outage() {
        let answer = |text: &str| {
            let error = sqlx::Error::Protocol(text.to_owned());
            DatabaseError::of(&error, Phase::Connecting).outcome
        };
        assert_eq!(answer("unexpected response from SSLRequest: 0x48"), Outcome::Fallback);
        assert_eq!(answer("unsupported SASL auth mechanisms"), Outcome::Reject);
    }
}
