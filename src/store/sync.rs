//! Pushes pending records to the database: the later version wins, and the superseded record is kept.

use crate::error::{Error, ErrorKind, Result};
use crate::local::entries::LocalRecord;
use crate::local::file::LocalFile;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::plan::Postgres;
use crate::record::owner::Owner;
use crate::record::version::Millis;
use crate::store::core::Core;
use crate::store::database_identity::identify;
use crate::store::delivery::{Delivery, Settled};
use crate::store::fallback::pending;
use crate::store::local_events::send_unsent;
use crate::store::push_count::{CountedFile, count_push};
use crate::store::reload::reload_keyring;

/// How many pending records are read from the local file at a time.
const PAGE: u32 = 100;
/// How long superseded records and replaced texts are kept.
const RETENTION: Millis = 90 * 24 * 60 * 60 * 1000;

/// The result of a synchronisation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncReport {
    /// Pending records that the database has now.
    pub pushed: u64,
    /// Pending records that a newer one in the database superseded; they are kept as superseded records.
    pub lost: u64,
    /// Records in the database that a pending one replaced without being based on them; they are kept as superseded records.
    pub overwritten: u64,
    /// Pending records that were moved to the dead letters: a constraint refuses them, or another error has refused them
    /// for a day; their row is gone or is another one; their owner's record was deleted since; they are too old; or the
    /// local file is an older state of itself.
    pub dead_letters: u64,
    /// Owners whose record stays pending, and why.
    pub blocked: Vec<(Owner, Error)>,
    /// Why the rest was not tried: the database is unreachable or full, the table cannot be used, or its tokens belong to
    /// another keyring.
    pub stopped: Option<Error>,
}

/// Pushes every pending record. Safe to run in several processes at once.
///
/// # Errors
/// The errors of the local file. Errors of the database are in the report; no pending record is lost either way.
pub(crate) async fn sync(core: &Core) -> Result<SyncReport> {
    let mut report = SyncReport::default();
    let (Some(postgres), Some(local)) = (&core.postgres, &core.local) else { return Ok(report) };
    let used_since = local.used_since().await?;
    let mut after: Option<Owner> = None;
    if !send(core, postgres, local, &mut report).await? {
        return Ok(report);
    }
    loop {
        reload_keyring(core).await;
        let page = local.pending_after(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        if after.is_none() {
            identify_again(core).await?;
        }
        match count_before(core, postgres, local, &page).await? {
            CountedFile::Usable => {}
            CountedFile::Restored(letters) => {
                report.dead_letters += letters;
                // what is pending now was stored since
                after = None;
                continue;
            }
            CountedFile::Unknown(error) => {
                report.stopped = Some(error);
                return Ok(report);
            }
        }
        after = Some(last.owner.clone());
        for pending in &page {
            let settled = Delivery { core, postgres, local, pending, used_since }.settle().await;
            if let Some(stopped) = note_settled(core, &mut report, pending, settled).await? {
                report.stopped = Some(stopped);
                return Ok(report);
            }
        }
    }
    // what became of the records
    send(core, postgres, local, &mut report).await?;
    if report.pushed > 0 {
        count_push(core, postgres, local).await?;
    }
    local.purge_kept(core.now().saturating_sub(RETENTION)).await?;
    Ok(report)
}

/// Sends the entries of the ledger that wait in the local file. False: the rest of the synchronisation is not tried.
async fn send(core: &Core, postgres: &Postgres, local: &LocalFile, report: &mut SyncReport) -> Result<bool> {
    if local.unsent(1).await?.is_empty() {
        return Ok(true);
    }
    reload_keyring(core).await;
    identify_again(core).await?;
    match count_push(core, postgres, local).await? {
        CountedFile::Usable => {}
        CountedFile::Restored(letters) => report.dead_letters += letters,
        CountedFile::Unknown(error) => {
            report.stopped = Some(error);
            return Ok(false);
        }
    }
    if let Err(fault) = send_unsent(core, postgres, local).await {
        core.note(&fault).await;
        report.stopped = Some(fault.error);
        return Ok(false);
    }
    // an older state of the file must be behind
    count_push(core, postgres, local).await?;
    Ok(true)
}

/// Pushes the pending record of one owner, if there is one.
///
/// # Errors
/// Why it stays pending.
pub(super) async fn sync_owner(core: &Core, owner: &Owner) -> Result<()> {
    let (Some(postgres), Some(local)) = (&core.postgres, &core.local) else { return Ok(()) };
    let used_since = local.used_since().await?;
    while let Some(pending) = pending(core, owner).await? {
        identify_again(core).await?;
        match count_before(core, postgres, local, std::slice::from_ref(&pending)).await? {
            CountedFile::Usable => {}
            CountedFile::Restored(_) => continue,
            CountedFile::Unknown(error) => return Err(error),
        }
        match (Delivery { core, postgres, local, pending: &pending, used_since }).settle().await {
            // another record may be pending in its place, and must not be passed over
            Ok(Settled::Gone) => {}
            Ok(Settled::Blocked(error)) => return Err(error),
            Ok(Settled::Pushed { .. }) => return count_push(core, postgres, local).await.map(drop),
            Ok(_) => return Ok(()),
            Err(fault) => {
                core.note(&fault).await;
                return Err(fault.error);
            }
        }
    }
    Ok(())
}

/// Counts before pending records are pushed, if one of them is for this database.
async fn count_before(
    core: &Core,
    postgres: &Postgres,
    local: &LocalFile,
    page: &[LocalRecord],
) -> Result<CountedFile> {
    match page.iter().any(|pending| core.waits_here(pending)) {
        true => count_push(core, postgres, local).await,
        false => Ok(CountedFile::Usable),
    }
}

/// The address may lead to another database by now. If it does not answer, what follows reports that.
async fn identify_again(core: &Core) -> Result<()> {
    match identify(core).await {
        Err(fault) if matches!(fault.error.kind(), ErrorKind::LocalStore | ErrorKind::LocalCorrupt) => {
            Err(fault.error)
        }
        _ => Ok(()),
    }
}

/// Adds to the report, and returns the reason to stop.
async fn note_settled(
    core: &Core,
    report: &mut SyncReport,
    pending: &LocalRecord,
    settled: Result<Settled, DatabaseError>,
) -> Result<Option<Error>> {
    let fault = match settled {
        Ok(settled) => {
            core.breaker.success();
            match settled {
                Settled::Pushed { overwrote } => {
                    report.pushed += 1;
                    report.overwritten += u64::from(overwrote);
                }
                Settled::Superseded => report.lost += 1,
                Settled::DeadLetter => report.dead_letters += 1,
                Settled::Gone => {}
                Settled::Blocked(error) => report.blocked.push((pending.owner.clone(), error)),
            }
            return Ok(None);
        }
        Err(fault) => fault,
    };
    let kind = fault.error.kind();
    if matches!(kind, ErrorKind::LocalStore | ErrorKind::LocalCorrupt) {
        return Err(fault.error);
    }
    // a time-out of one statement says nothing of the other owners, as long as the server answers
    let is_away = core.note(&fault).await || fault.outcome == Outcome::TakesNoWrites;
    // an error of the table or the keyring applies to every record
    if is_away || matches!(kind, ErrorKind::Configuration | ErrorKind::Schema | ErrorKind::WrongKeyring) {
        return Ok(Some(fault.error));
    }
    report.blocked.push((pending.owner.clone(), fault.error));
    Ok(None)
}
