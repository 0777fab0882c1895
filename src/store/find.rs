//! Finds the owners of a value through the blind index. What is found is opened and compared, so an entry that is stale or was
//! put there by others finds nobody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::index::entries::{entries_of, has_value};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::answer::parse_owner;
use crate::postgres::statements::found_records::FoundRecords;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::read::ListedRow;
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::store::core::{Core, LoadedRecord, ROUNDS, pause};
use crate::store::fallback::{local_file, pending};
use crate::store::load::{Found, load, newest};
use crate::store::reload::reload_keyring;

/// Records of the local file that are read at once.
const PAGE: u32 = 500;

/// An owner whose record holds the value, with this record.
pub(crate) struct OwnerRecord {
    pub(crate) owner: Owner,
    pub(crate) loaded: LoadedRecord,
}

/// The owners of a value.
pub(crate) struct Candidates {
    pub(crate) owners: Vec<OwnerRecord>,
    /// The limit was reached, so there may be more.
    pub(crate) is_cut: bool,
}

/// The owners whose record holds a value in a field of this kind, from at most `limit` rows. One statement, in which the database
/// uses an index. Without a database, every record of the local file is opened.
///
/// # Errors
/// `NotIndexed` if no index of the database finds the value; `IndexIncomplete` if nobody was found, and the index does not cover
/// every record, or this process has no key for it; `Unavailable` and the other errors of a read.
pub(crate) async fn candidates(core: &Core, kind: &str, value: &str, limit: u32) -> Result<Candidates> {
    reload_keyring(core).await;
    let Some(postgres) = &core.postgres else { return in_local_file(core, kind, value, limit).await };
    if let Some(error) = core.breaker.blocks(Instant::now()) {
        return Err(error);
    }
    let (plan, rows) = match rows(core, postgres, kind, value, limit).await {
        Ok(found) => found,
        Err(fault) => {
            core.note(&fault).await;
            return Err(fault.error);
        }
    };
    core.breaker.success();
    let is_cut = rows.len() >= limit as usize;
    let (mut owners, mut met) = (Vec::new(), BTreeSet::new());
    for row in rows {
        let Some(owner) = parse_owner(row.owner.clone()).filter(|owner| postgres.check_owner(owner).is_ok())
        else {
            continue;
        };
        if met.insert(owner.clone())
            && let Some(loaded) = opened(core, &plan, &owner, row).await?
            && holds(core, &loaded, kind, value)
        {
            owners.push(OwnerRecord { owner, loaded });
        }
    }
    if owners.is_empty() && !is_complete(core).await? {
        let message = format!("nobody was found by this {kind}, and the index does not cover every record");
        return Err(Error::new(ErrorKind::IndexIncomplete, message));
    }
    Ok(Candidates { owners, is_cut })
}

/// The record of an owner, if it has the value.
///
/// # Errors
/// Those of a load that may succeed later.
pub(crate) async fn load_if_has(
    core: &Core,
    owner: &Owner,
    kind: &str,
    value: &str,
) -> Result<Option<LoadedRecord>> {
    let has = |loaded: &LoadedRecord| {
        loaded.opened.values.as_ref().is_some_and(|held| has_value(&core.fields, held, kind, value))
    };
    match load(core, owner).await {
        Ok(loaded) => Ok(Some(loaded).filter(has)),
        Err(error) if error.is_retryable() => Err(error),
        Err(_) => Ok(None),
    }
}

/// In a vault without a database, and in one in memory.
async fn in_local_file(core: &Core, kind: &str, value: &str, limit: u32) -> Result<Candidates> {
    if let Some(faults) = &core.faults {
        faults.check_list()?;
    }
    let local = local_file(core)?;
    let (mut owners, mut after) = (Vec::new(), (String::new(), String::new()));
    loop {
        let page = local.pending_beyond((&after.0, &after.1), PAGE).await?;
        let Some(last) = page.last().map(|last| last.owner.clone()) else {
            return Ok(Candidates { owners, is_cut: false });
        };
        let tenant = last.tenant_id().map_or("", |tenant| tenant.as_str());
        after = (tenant.to_owned(), last.user_id().as_str().to_owned());
        for owner in page.into_iter().map(|pending| pending.owner) {
            match load(core, &owner).await {
                Ok(loaded) if holds(core, &loaded, kind, value) => owners.push(OwnerRecord { owner, loaded }),
                Err(error) if error.is_retryable() => return Err(error),
                _ => {}
            }
            if owners.len() >= limit as usize {
                return Ok(Candidates { owners, is_cut: true });
            }
        }
    }
}

fn holds(core: &Core, loaded: &LoadedRecord, kind: &str, value: &str) -> bool {
    loaded.opened.values.as_ref().is_some_and(|held| has_value(&core.fields, held, kind, value))
}

/// Whether the index covers every record that has an entry to have.
pub(crate) async fn is_complete(core: &Core) -> Result<bool> {
    let Some(postgres) = &core.postgres else { return Ok(true) };
    let ask = async { has_unindexed(postgres).await.map(|has_some| !has_some).map_err(|fault| fault.error) };
    core.index.is_complete(ask).await
}

async fn has_unindexed(postgres: &Postgres) -> Result<bool, DatabaseError> {
    let plan = postgres.plan_with_table().await?;
    match postgres.has_unindexed(&plan).await {
        Err(fault) if fault.outcome == Outcome::Redetect => {
            postgres.has_unindexed(&*postgres.refresh().await?).await
        }
        asked => asked,
    }
}

async fn rows(
    core: &Core,
    postgres: &Postgres,
    kind: &str,
    value: &str,
    limit: u32,
) -> Result<(Arc<Plan>, Vec<ListedRow>), DatabaseError> {
    let subkeys = &core.keyring.current().subkeys;
    let entries = entries_of(subkeys, core.fields.namespace, kind, value);
    let entries: Vec<Vec<u8>> = entries.iter().map(|entry| entry.to_vec()).collect();
    let mut plan = postgres.plan_with_table().await?;
    for round in 1..ROUNDS {
        match rows_once(core, postgres, &plan, (kind, value, &entries), limit).await {
            Err(fault) if fault.outcome == Outcome::Redetect => plan = postgres.refresh().await?,
            Err(fault) if matches!(fault.outcome, Outcome::Retry | Outcome::Pooler) => pause(round).await,
            // an old connection may be dead while the server is fine
            Err(fault) if fault.outcome == Outcome::Fallback && round == 1 => {}
            // the index may have been created a moment ago
            Err(fault) if fault.error.kind() == ErrorKind::NotIndexed => {
                plan = postgres.refresh_if_older().await?.ok_or(fault)?;
            }
            found => return Ok((plan, found?)),
        }
    }
    let found = rows_once(core, postgres, &plan, (kind, value, &entries), limit).await?;
    Ok((plan, found))
}

/// By the index column for what is sealed, and by its own column for what is in the clear.
async fn rows_once(
    core: &Core,
    postgres: &Postgres,
    plan: &Plan,
    (kind, value, entries): (&str, &str, &[Vec<u8>]),
    limit: u32,
) -> Result<Vec<ListedRow>, DatabaseError> {
    let (clear, sealed) = places(core, plan, kind);
    let mut found = Vec::new();
    if sealed && entries.is_empty() {
        let message = "the keyring of this process has no key for the index";
        return Err(Error::new(ErrorKind::IndexIncomplete, message).into());
    }
    if sealed {
        found = postgres.find(plan, entries, limit).await?;
    }
    for field in clear {
        found.extend(postgres.find_plain(plan, (field, value), limit).await?);
    }
    Ok(found)
}

/// The fields of a kind that are in the clear, and whether any is sealed.
fn places(core: &Core, plan: &Plan, kind: &str) -> (Vec<Field>, bool) {
    let is_of_kind = |field: &Field| core.fields.spec(*field).is_some_and(|spec| spec.index == Some(kind));
    let clear: Vec<Field> = plan.placement.in_the_clear().into_iter().filter(is_of_kind).collect();
    let is_sealed = core.fields.indexed_as(kind).count() > clear.len();
    (clear, is_sealed)
}

/// The newest record of a found owner. `None`: it does not open here, so it cannot have the value.
async fn opened(core: &Core, plan: &Plan, owner: &Owner, row: ListedRow) -> Result<Option<LoadedRecord>> {
    if plan.has_one_row(owner) {
        let found = FoundRecords::of(&[row.row], &plan.placement.slots, row.now);
        if let Ok(read) = newest(core, owner, Found::Records(found), pending(core, owner).await?) {
            return Ok(Some(read));
        }
    }
    match load(core, owner).await {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.is_retryable() => Err(error),
        Err(_) => Ok(None),
    }
}
