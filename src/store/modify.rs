//! Changes some fields of a record: load, change, and store unless another writer has stored in between.

use std::time::{Duration, Instant};

use crate::crypto::sealer::{self, Opened};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::connection::options::Timeouts;
use crate::record::contents::Contents;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::plain::PlainTexts;
use crate::record::record::Record;
use crate::record::values::Values;
use crate::record::version::Version;
use crate::store::actor::refuse_secrets_in_actor;
use crate::store::core::{Change, Core, StoreRequest, StoredRecord, pause};
use crate::store::fallback::pending;
use crate::store::faults::{Call, Way, unreachable};
use crate::store::keyring_check::require_own_keyring;
use crate::store::ledger_reads::fold_read;
use crate::store::load::{find_records, newest};
use crate::store::options::{Expected, StoreOptions};
use crate::store::reload::{has_key_now, reload_keyring};
use crate::store::store::store_expected;
use crate::store::sync::sync_owner;

/// The values of a record before and after a change.
pub(crate) struct Changed {
    pub(crate) before: Values,
    pub(crate) after: Values,
}

/// Loads a record, lets `change` work on its values, and stores the result over what was loaded. Tries again if another
/// writer was faster. `change` gets the values, and the fields among them that only a newer program knows.
///
/// # Errors
/// `NotFound` if there is no record; `Conflict` if other writers were faster every time, or if the outcome of a write is
/// unknown and another write has replaced the record since; `Incomplete` if a token is in a column that this program does
/// not know; `Unavailable` in an outage; the error of `change`; otherwise as a store.
pub(crate) async fn modify(
    core: &Core,
    owner: &Owner,
    mut change: impl FnMut(Values, &[Field]) -> Result<Changed>,
) -> Result<StoredRecord> {
    let (started, mut round) = (Instant::now(), 0);
    loop {
        let read = match record_to_change(core, owner).await {
            Err(error) if has_key_now(core, &error).await => record_to_change(core, owner).await,
            read => read,
        };
        let (record, opened) = read?;
        let changed = changed_record(core, owner, &record, opened, &mut change)?;
        let not_stored = match store_expected(core, changed.request(owner)).await {
            Ok(stored) => return Ok(stored),
            Err(not_stored) => not_stored,
        };
        let is_conflict = not_stored.error.kind() == ErrorKind::Conflict;
        // the record of another writer may be under a key that it has just loaded
        let is_raced = is_conflict || has_key_now(core, &not_stored.error).await;
        if !is_raced || not_stored.is_unknown || started.elapsed() > patience(core) {
            return Err(not_stored.error);
        }
        pause(round).await;
        round += 1;
    }
}

/// A record with some of its fields changed.
pub(super) struct ChangedRecord {
    values: Values,
    change: Change,
    /// What the plain columns hold of the previous record.
    vouched: PlainTexts,
    version: Version,
}

impl ChangedRecord {
    /// Stores it over the previous record.
    pub(super) fn request<'a>(&'a self, owner: &'a Owner) -> StoreRequest<'a> {
        let options = StoreOptions::new().expect(Expected::Version(self.version));
        StoreRequest {
            vouched: Some((&self.vouched, self.version)),
            change: Some(&self.change),
            ..StoreRequest::new(owner, &self.values, options)
        }
    }
}

/// Lets `change` work on the values of a record.
pub(super) fn changed_record(
    core: &Core,
    owner: &Owner,
    record: &Record,
    opened: Opened,
    change: &mut impl FnMut(Values, &[Field]) -> Result<Changed>,
) -> Result<ChangedRecord> {
    let values = opened.values.ok_or(ErrorKind::NotFound)?;
    refuse_secrets_in_actor(&core.fields, &values)?;
    // a change that fails has seen the values all the same
    let seen = |_: &Error| fold_read(core, owner, values.fields().collect());
    let changed = change(values.clone(), &opened.unknown).inspect_err(seen)?;
    let keyring = core.keyring.holding(record.key);
    let (root, scope) = (keyring.opener(record.key)?, core.scope(owner));
    sealer::check_whole(record, scope, root, |_| false)?;
    let before = sealer::contents(record, scope, root)?;
    let vouched = sealer::vouched(&before, record, &core.fields);
    let (values, change) = merge(core, record, before, values, changed);
    core.check(&values, &opened.unknown)?;
    Ok(ChangedRecord { values, change, vouched, version: record.version })
}

fn patience(core: &Core) -> Duration {
    let timeouts = Timeouts::default();
    core.postgres.as_ref().map_or(timeouts.operation, |postgres| postgres.database.patience())
}

/// The record as it is in the database, or in the local file of a vault without one.
async fn record_to_change(core: &Core, owner: &Owner) -> Result<(Record, Opened)> {
    reload_keyring(core).await;
    let Some(postgres) = &core.postgres else {
        refuse_in_outage(core, owner)?;
        let pending = pending(core, owner).await?.ok_or(ErrorKind::NotFound)?;
        let record = core.local_record(&pending.text)?;
        let opened = core.open(&record, owner)?;
        return Ok((record, opened));
    };
    postgres.check_owner(owner)?;
    if let Some(error) = core.breaker.blocks(Instant::now()) {
        return Err(error);
    }
    if let Err(fault) = require_own_keyring(core, postgres).await {
        core.note(&fault).await;
        return Err(fault.error);
    }
    sync_owner(core, owner).await?;
    match find_records(postgres, owner).await {
        Ok(found) => {
            core.breaker.success();
            let read = newest(core, owner, found, None)?;
            let record = read.record.expect("the database answered with it");
            // a version from the future is not followed
            if core.plausible(Some(record.version)).is_some() {
                core.seen.holds(owner, record.head());
            }
            Ok((record, read.opened))
        }
        Err(fault) => {
            core.note(&fault).await;
            Err(fault.error)
        }
    }
}

/// Of a vault in memory. What other faults do to the write comes with the write.
fn refuse_in_outage(core: &Core, owner: &Owner) -> Result<()> {
    match core.faults.as_ref().map(|faults| faults.way(Call::Load, owner)) {
        Some(Ok(Way::LocalFile)) => Err(unreachable()),
        Some(Err(error)) => Err(error),
        _ => Ok(()),
    }
}

/// The values of the changed record, and what is written of its plain fields.
fn merge(
    core: &Core,
    record: &Record,
    before: Contents,
    mut values: Values,
    changed: Changed,
) -> (Values, Change) {
    let is_changed = |field: &Field| changed.before.get(*field) != changed.after.get(*field);
    let fields: Vec<Field> =
        changed.before.fields().chain(changed.after.fields()).filter(is_changed).collect();
    for field in &fields {
        values.put(*field, changed.after.get(*field).map(|json| json.to_owned().into()));
    }
    // a newer program's plain field whose column was empty when it was sealed
    let unknown = record.tokens().iter().map(|token| token.field);
    for field in unknown.filter(|field| !field.is_reserved() && !core.fields.knows(*field)) {
        if values.get(field).is_none() {
            values.put(field, Some("null".to_owned().into()));
        }
    }
    // a sealed value moves to the column that it has now
    let sealed = record.tokens().iter().map(|token| token.field);
    let plain = fields.iter().copied().chain(sealed).filter(|field| core.fields.is_plain(*field)).collect();
    (values, Change { before, plain })
}
