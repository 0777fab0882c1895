//! The local file beside the database: writes that the database cannot take, replicas, and kept texts.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::placement::Place;
use crate::local::entries::{Base, Basis, KeptKind, LocalRecord, PutPending};
use crate::local::file::LocalFile;
use crate::observe::metrics;
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::record::owner::Owner;
use crate::record::record::Record;
use crate::record::version::Version;
use crate::store::core::{Core, ROUNDS, StoreRequest, StoredRecord, keeps_changing};
use crate::store::database_identity::identify_unless_known;
use crate::store::degraded::Degraded;
use crate::store::keyring_check::refuse_found_wrong;
use crate::store::ledger::operation_of;
use crate::store::options::Fallback;

pub(super) async fn fall_back(
    core: &Core,
    request: StoreRequest<'_>,
    record: Option<Record>,
    base: Base,
    fault: DatabaseError,
) -> Result<StoredRecord> {
    let may = matches!(fault.outcome, Outcome::Fallback | Outcome::Ambiguous | Outcome::TakesNoWrites);
    if !may || core.fallback == Fallback::Refuse || core.local.is_none() {
        return Err(fault.error);
    }
    let error = fault.error.clone();
    let degraded = Degraded::by(fault);
    let reason = degraded.as_str();
    let stored = match refuse_found_wrong(core) {
        Ok(()) => store_locally(core, request, record, base, Some(degraded)).await,
        Err(error) => Err(error),
    };
    if stored.is_ok() {
        metrics::count_degraded(&core.subject, reason);
    }
    stored.map_err(|local| match error.kind() {
        ErrorKind::OutcomeUnknown => remains_unknown(&error, local),
        _ => local,
    })
}

/// If a write may have been applied, the error says so, whatever fails afterwards.
pub(super) fn remains_unknown(unknown: &Error, later: Error) -> Error {
    let hint = format!(
        "it could not be kept locally ({later}): load the record, and store again if it is not the one you want"
    );
    unknown.clone().with_hint(hint).with_source(later)
}

/// Keeps a write in the local file until the database takes it. A record that was already sent keeps its version and its
/// text, so that a write that did arrive is recognised.
pub(super) async fn store_locally(
    core: &Core,
    request: StoreRequest<'_>,
    sent: Option<Record>,
    base: Base,
    degraded: Option<Degraded>,
) -> Result<StoredRecord> {
    let local = local_file(core)?;
    let known = known(core, local, request.owner).await?;
    // the pending record is not read first: the write itself reports whether that is newer
    let mut seen = known;
    let basis = if base == Base::Unknown { Basis::Remembered } else { Basis::Read };
    let base = match (base, known) {
        (Base::Unknown, Some(version)) => Base::Version(version),
        _ => base,
    };
    let mut sent = sent;
    for _ in 0..ROUNDS {
        let record = match sent.take() {
            Some(sent) => core.seal_rest(request, sent)?,
            None => core.seal(request, seen, &[])?,
        };
        let put = local_entry(core, request, &record, base);
        let event = core.begins_to_wait(operation_of(request), request.owner, seen, record.version)?;
        match local.put_pending(&put, basis, event.as_ref()).await? {
            PutPending::Written => return Ok(stored_locally(core, request, record.version, degraded)),
            PutPending::Newer(version) => seen = Some(version),
            PutPending::Elsewhere(rows) => {
                let message = format!("a record of this owner is pending in the local file for {rows}");
                return Err(Error::new(ErrorKind::Configuration, message)
                    .with_hint("synchronise with that table first, or erase it with `retell-vault forget`"));
            }
        }
    }
    Err(keeps_changing())
}

pub(super) fn local_file(core: &Core) -> Result<&LocalFile> {
    core.local.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::Configuration, "neither a database nor a local file is configured")
    })
}

pub(super) fn local_entry(
    core: &Core,
    request: StoreRequest<'_>,
    record: &Record,
    base: Base,
) -> LocalRecord {
    let (version, text) = (record.version, record.packed());
    let owner = request.owner.clone();
    LocalRecord { owner, version, text, base, at: core.now(), rows: core.rows() }
}

pub(super) fn stored_locally(
    core: &Core,
    request: StoreRequest<'_>,
    version: Version,
    degraded: Option<Degraded>,
) -> StoredRecord {
    let places = core.places(request, |_| Place::Local);
    StoredRecord { version, rows: 0, places, degraded, replaced: Vec::new() }
}

/// The pending record of an owner, if it is for the rows of this vault.
pub(super) async fn pending(core: &Core, owner: &Owner) -> Result<Option<LocalRecord>> {
    let pending = match &core.local {
        Some(local) => local.pending(owner).await?,
        None => None,
    };
    if pending.as_ref().is_some_and(|pending| !pending.rows.database.is_empty()) {
        identify_unless_known(core).await;
    }
    Ok(pending.filter(|pending| core.waits_here(pending)))
}

/// The owner has no row, so only the pending record can be deleted. A pending tombstone replaces it: a sync that is pushing
/// the record right now creates a row, and the tombstone then covers it. False: nothing is pending.
pub(super) async fn delete_pending(core: &Core, request: StoreRequest<'_>, record: &Record) -> Result<bool> {
    let (Some(local), Some(_)) = (&core.local, pending(core, request.owner).await?) else { return Ok(false) };
    let entry = local_entry(core, request, record, Base::NoRow);
    let event = core.begins_to_wait(operation_of(request), request.owner, None, record.version)?;
    let put = local.put_pending(&entry, Basis::Read, event.as_ref()).await?;
    match put {
        // no tombstone in a row would cover them
        PutPending::Written => local.never_retry(request.owner).await.map(|()| true),
        PutPending::Newer(_) | PutPending::Elsewhere(_) => {
            Err(Error::new(ErrorKind::Busy, "another writer has stored a newer record"))
        }
    }
}

/// What the row was last known to hold, according to this process or the offline replica.
async fn known(core: &Core, local: &LocalFile, owner: &Owner) -> Result<Option<Version>> {
    match core.seen_version(owner) {
        None if core.offline_reads => {
            let replica = local.replica(owner, &core.rows()).await?;
            Ok(core.plausible(replica.map(|replica| replica.version)))
        }
        seen => Ok(seen),
    }
}

/// An online write of an owner makes the owner's pending record in the local file obsolete.
pub(super) async fn supersede_pending(core: &Core, owner: &Owner, version: Version) {
    let Some(local) = &core.local else { return };
    let supersede = async {
        let Some(pending) = local.pending(owner).await? else { return Ok(()) };
        let event = core.ends_waiting(owner, KeptKind::Superseded, pending.version)?;
        local.supersede(owner, version, &core.rows(), event.as_ref()).await
    };
    let done: Result<()> = supersede.await;
    if let Err(error) = done {
        // sync finds the newer version in the database and drops the request then
        tracing::warn!(%error, "an obsolete pending record could not be removed");
    }
}

/// The database no longer holds anything of this owner, so nothing is remembered of it.
pub(super) async fn forget_seen(core: &Core, owner: &Owner) {
    core.seen.gone(owner);
    if let (Some(local), true) = (&core.local, core.offline_reads)
        && let Err(error) = local.remove_replica(owner, &core.rows()).await
    {
        tracing::warn!(%error, "the offline replica of a deleted row could not be removed");
    }
}

/// Keeps a stored record for times when the database is down, if that was requested.
pub(super) async fn remember_stored(core: &Core, request: StoreRequest<'_>, record: Option<Record>) {
    let (Some(local), true, Some(record)) = (&core.local, core.offline_reads, record) else { return };
    if let Err(error) = put_replica(core, local, request, record).await {
        tracing::warn!(%error, "the offline replica could not be written");
    }
}

/// The offline replica of a record, with every field sealed.
async fn put_replica(
    core: &Core,
    local: &LocalFile,
    request: StoreRequest<'_>,
    record: Record,
) -> Result<()> {
    let rows = core.rows();
    let there = local.replica(request.owner, &rows).await?;
    if there.is_some_and(|there| there.version >= record.version) {
        return Ok(());
    }
    let sealed = core.seal_rest(request, record)?;
    local.put_replica(request.owner, &rows, sealed.version, &sealed.packed(), core.now()).await
}

/// Keeps texts that are about to be overwritten, or that lost against a newer record.
pub(super) async fn keep(core: &Core, owner: &Owner, kind: KeptKind, text: &str, reason: &str) -> Result<()> {
    match &core.local {
        Some(local) => local.keep(owner, kind, text, reason, core.now()).await,
        None => {
            tracing::warn!(reason, "a record is being replaced without a copy: there is no local file");
            Ok(())
        }
    }
}
