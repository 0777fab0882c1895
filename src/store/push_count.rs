//! Counts the pushes of the local file in the database, which shows that a file is an older state of itself, or a copy.
//!
//! The file notes a mark, then the database takes it, then the file notes that it has. So a process that is killed in
//! between leaves a file that the database still recognises. Each page of a synchronisation is counted before its first
//! push, and the last one after it too: a copy that was made before or during the pushes is behind after them. The count is
//! not part of the transaction of a push, because it would cost every push two round trips more, and a push would fail
//! with it.

use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::local::entries::PushNote;
use crate::local::file::LocalFile;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::sql::names::relation;
use crate::postgres::statements::plan::Postgres;
use crate::postgres::vault_schema::{pushes, state};
use crate::store::core::{Core, ROUNDS, pause};

const RESTORED: &str = "the local file is an older state of itself, or a copy: the database has counted pushes that it does not know";

/// What was found out about the local file.
pub(super) enum CountedFile {
    /// The database has counted nothing that the file does not know, or does not count.
    Usable,
    /// So many pending records of an older state were moved to the dead letters.
    Restored(u64),
    /// The database does not answer now.
    Unknown(Error),
}

/// Counts a push, before or after it. A database that refuses to count is used without a count.
///
/// # Errors
/// Those of the local file, and `Entropy`.
pub(super) async fn count_push(core: &Core, postgres: &Postgres, local: &LocalFile) -> Result<CountedFile> {
    match is_counted(core, postgres).await {
        Ok(true) => {}
        Ok(false) => return Ok(CountedFile::Usable),
        Err(fault) => return unknown(core, fault).await,
    }
    for round in 0..ROUNDS {
        let note = local.begin_push(&random_hex()?, &random_hex()?).await?;
        let fault = match pushes::count(&postgres.database, &note).await {
            Ok(true) => return local.end_push(&note).await.map(|()| CountedFile::Usable),
            Ok(false) => match set_aside(core, local, &note).await? {
                Some(letters) => return Ok(CountedFile::Restored(letters)),
                None => continue,
            },
            Err(fault) => fault,
        };
        // the push finds out whether new sessions may write; what it writes is counted after it
        if fault.outcome == Outcome::ReadOnly {
            return Ok(CountedFile::Usable);
        }
        if is_refusal(&fault) {
            warn(&fault.error.to_string());
            core.counting.note(false);
            return Ok(CountedFile::Usable);
        }
        // the statement can be repeated
        let may_work = fault.was_connected || matches!(fault.outcome, Outcome::Retry | Outcome::Pooler);
        if !may_work || round + 1 == ROUNDS {
            return unknown(core, fault).await;
        }
        pause(round).await;
    }
    let error = Error::new(ErrorKind::Busy, "other processes kept counting the pushes of the local file");
    Ok(CountedFile::Unknown(error))
}

async fn unknown(core: &Core, fault: DatabaseError) -> Result<CountedFile> {
    core.note(&fault).await;
    Ok(CountedFile::Unknown(fault.error))
}

/// `None`: another process has counted or set aside meanwhile.
async fn set_aside(core: &Core, local: &LocalFile, note: &PushNote) -> Result<Option<u64>> {
    let (id, event) = (random_hex()?, core.all_are_dead_letters()?);
    let aside = local.set_all_pending_aside(note, RESTORED, &id, core.now(), event.as_ref()).await?;
    if let Some(letters) = aside {
        tracing::warn!(letters, reason = RESTORED, "the pending records were moved to the dead letters");
    }
    Ok(aside)
}

/// Whether the table exists, belongs to roles that the vault trusts, and this role may write it.
async fn is_counted(core: &Core, postgres: &Postgres) -> Result<bool, DatabaseError> {
    if let Some(answer) = core.counting.answer() {
        return Ok(answer);
    }
    let reason = match state::look(&postgres.database, &relation(postgres.layout()), &[]).await {
        // without the schema nobody asked for it
        Ok(found) if !found.exists() => {
            core.counting.note(false);
            return Ok(false);
        }
        Ok(found) => found.why_not_counted(),
        Err(fault) if is_refusal(&fault) => Some(fault.error.to_string()),
        Err(fault) => return Err(fault),
    };
    if let Some(reason) = &reason {
        warn(reason);
    }
    core.counting.note(reason.is_none());
    Ok(reason.is_none())
}

fn warn(reason: &str) {
    tracing::warn!(
        reason,
        "the pushes of the local file are not counted: if it is restored, only the age of its records shows it"
    );
}

/// The server has answered, and would answer so again.
fn is_refusal(fault: &DatabaseError) -> bool {
    matches!(fault.outcome, Outcome::Reject | Outcome::Redetect | Outcome::Duplicate)
}

fn random_hex() -> Result<String> {
    Ok(random::system_bytes::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}
