//! The owners that have a record, page by page.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::local::entries::LocalRecord;
use crate::local::file::LocalFile;
use crate::postgres::catalogue::row_visibility::{RowAction, hidden_rows, may_hide_from_us};
use crate::postgres::connection::errors::{DatabaseError, Outcome};
use crate::postgres::statements::answer::{OwnerText, parse_owner};
use crate::postgres::statements::found_records::{FoundRecords, Row};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::record::owner::{Owner, UserId};
use crate::record::record::Record;
use crate::record::version::Version;
use crate::store::core::{Core, ROUNDS};
use crate::store::reload::learn_keys;
use crate::vault::answers::Source;

/// The state of the newest record of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordState {
    /// It opens.
    Readable,
    /// It was deleted: a tombstone.
    Deleted,
    /// It cannot be read, for this reason.
    Unreadable(ErrorKind),
    /// Its row has no valid owner: the columns hold no id. See [`ListedOwner::Unusable`].
    Unusable,
}

/// The owner of a listed record.
///
/// `Display` is one line without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListedOwner {
    /// An owner that can be loaded.
    Valid(Owner),
    /// What the columns of the owner hold is no id: it is empty or NULL, longer than 255 bytes, has control characters, or
    /// the tenant is missing. No load or store reaches such a row.
    Unusable {
        /// The text of the tenant column, up to its first 1,000 characters. `None` where it is NULL or there is none.
        tenant: Option<String>,
        /// The text of the user column, up to its first 1,000 characters. Empty where it is NULL.
        user: String,
    },
}

impl ListedOwner {
    /// The owner, if it is one.
    pub fn valid(&self) -> Option<&Owner> {
        match self {
            Self::Valid(owner) => Some(owner),
            Self::Unusable { .. } => None,
        }
    }

    /// The text of the user.
    pub fn user(&self) -> &str {
        match self {
            Self::Valid(owner) => owner.user_id().as_str(),
            Self::Unusable { user, .. } => user,
        }
    }

    /// The text of the tenant, if there is one.
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Valid(owner) => owner.tenant_id().map(|tenant| tenant.as_str()),
            Self::Unusable { tenant, .. } => tenant.as_deref(),
        }
    }
}

impl fmt::Display for ListedOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid(owner) => write!(f, "{owner}"),
            Self::Unusable { tenant: Some(tenant), user } => write!(f, "{tenant:?}/{user:?}"),
            Self::Unusable { tenant: None, user } => write!(f, "{user:?}"),
        }
    }
}

/// A place in the list of owners: the page begins with what comes after it. The order is that of the bytes of tenant and user.
///
/// ```
/// use retell_vault::Owner;
/// use retell_vault::records::ListPosition;
///
/// // the texts of any entry, also of one that is no valid owner
/// let position = ListPosition::after("user\t42", Some("acme"));
/// assert!(position > ListPosition::from(&Owner::user("user-42")?));
/// # Ok::<(), retell_vault::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPosition {
    tenant: String,
    user: String,
}

impl ListPosition {
    /// After the entry with this user and tenant.
    pub fn after(user: &str, tenant: Option<&str>) -> Self {
        Self { tenant: key(tenant.unwrap_or_default()), user: key(user) }
    }

    /// The user of the entry before.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The tenant of the entry before, if it has one.
    pub fn tenant(&self) -> Option<&str> {
        Some(self.tenant.as_str()).filter(|tenant| !tenant.is_empty())
    }
}

impl From<&Owner> for ListPosition {
    fn from(owner: &Owner) -> Self {
        Self::after(owner.user_id().as_str(), owner.tenant_id().map(|tenant| tenant.as_str()))
    }
}

impl From<&ListedOwner> for ListPosition {
    fn from(owner: &ListedOwner) -> Self {
        Self::after(owner.user(), owner.tenant())
    }
}

/// The text that an id is sorted by: a UUID has one form only.
fn key(id: &str) -> String {
    id.parse::<UserId>().map_or_else(|_| id.to_owned(), |id| id.as_str().to_owned())
}

/// One owner with a record.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListEntry {
    /// The owner.
    pub owner: ListedOwner,
    /// The version of the newest record, if it is known.
    pub version: Option<Version>,
    /// Where the newest record is.
    pub source: Source,
    /// Its state.
    pub state: RecordState,
}

/// One page of owners.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListPage {
    /// The owners, in the order of [`ListPosition`].
    pub entries: Vec<ListEntry>,
    /// Where the next page begins, if there may be one.
    pub next: Option<ListPosition>,
    /// Why the list may miss owners: row level security may hide their rows from this role.
    pub hidden: Option<String>,
}

/// What one place has of a page.
struct PagePart {
    entries: Vec<ListEntry>,
    /// There may be more of it.
    is_full: bool,
}

pub(super) async fn list(core: &Core, after: Option<&ListPosition>, limit: u32) -> Result<ListPage> {
    let after = after.map(|after| (after.tenant.as_str(), after.user.as_str()));
    if after.is_some_and(|(tenant, user)| tenant.contains('\0') || user.contains('\0')) {
        return Err(Error::new(ErrorKind::InvalidInput, "a list position cannot contain a NUL character"));
    }
    if let Some(faults) = &core.faults {
        faults.check_list()?;
    }
    let limit = limit.max(1);
    let (mut parts, mut hidden) = (Vec::new(), None);
    if let Some(postgres) = &core.postgres {
        let listed = list_database(core, postgres, after, limit).await;
        parts.extend(listed.map_err(|fault| fault.error)?);
        hidden = what_is_hidden(postgres).await.map_err(|fault| fault.error)?;
    }
    if let Some(local) = &core.local {
        parts.push(list_local(core, local, after, limit).await?);
    }
    let (entries, next) = merge(parts, limit as usize);
    Ok(ListPage { entries, next, hidden })
}

/// One page of several parts, and where the next one begins.
fn merge(parts: Vec<PagePart>, limit: usize) -> (Vec<ListEntry>, Option<ListPosition>) {
    let position = |entry: &ListEntry| ListPosition::from(&entry.owner);
    // beyond the end of a part that has more, nobody knows what comes first
    let full = parts.iter().filter(|part| part.is_full);
    let end = full.filter_map(|part| part.entries.last().map(position)).min();
    let mut entries: Vec<ListEntry> = parts.into_iter().flat_map(|part| part.entries).collect();
    // of one owner's entries the newest comes first, and stays
    entries.sort_by(|a, b| {
        let by_place = position(a).cmp(&position(b)).then_with(|| a.owner.cmp(&b.owner));
        by_place.then(b.version.cmp(&a.version))
    });
    entries.dedup_by(|later, first| later.owner == first.owner);
    if let Some(end) = &end {
        entries.retain(|entry| position(entry) <= *end);
    }
    let is_more = end.is_some() || entries.len() > limit;
    // those of one position stay together, since the next page goes on after it
    if let Some(last) = entries.get(limit - 1).map(position) {
        entries.retain(|entry| position(entry) <= last);
    }
    let next = entries.last().map(position).filter(|_| is_more);
    (entries, next)
}

async fn list_database(
    core: &Core,
    postgres: &Postgres,
    after: Option<(&str, &str)>,
    limit: u32,
) -> Result<Option<PagePart>, DatabaseError> {
    let mut plan = postgres.plan_with_table().await?;
    // columns that we do not know of yet may hold records
    if !plan.has_slots()
        && let Some(newer) = postgres.refresh_if_older().await?
    {
        plan = newer;
    }
    for _ in 1..ROUNDS {
        match list_once(core, postgres, &plan, after, limit).await {
            // columns came or went since the catalogue was read
            Err(fault) if fault.outcome == Outcome::Redetect => plan = postgres.refresh().await?,
            listed => return listed,
        }
    }
    list_once(core, postgres, &plan, after, limit).await
}

async fn list_once(
    core: &Core,
    postgres: &Postgres,
    plan: &Plan,
    after: Option<(&str, &str)>,
    limit: u32,
) -> Result<Option<PagePart>, DatabaseError> {
    if !plan.has_slots() {
        return Ok(None);
    }
    let listed = postgres.list(plan, after, limit).await?;
    let is_full = listed.len() >= limit as usize;
    let now = listed.first().map_or(0, |row| row.now);
    let mut owners: BTreeMap<(ListPosition, ListedOwner), Vec<Row>> = BTreeMap::new();
    for row in listed {
        let owner = listed_owner(postgres, row.owner);
        owners.entry((ListPosition::from(&owner), owner)).or_default().push(row.row);
    }
    let slots = &plan.placement.slots;
    let found = owners.into_iter().map(|((_, owner), rows)| (owner, FoundRecords::of(&rows, slots, now)));
    let found: Vec<_> = found.collect();
    let records = found.iter().flat_map(|(_, found)| &found.records);
    learn_keys(core, records.filter_map(|record| record.key).collect()).await;
    let entries = found.into_iter().map(|(owner, found)| entry_of_rows(core, owner, found));
    Ok(Some(PagePart { entries: entries.collect(), is_full }))
}

fn listed_owner(postgres: &Postgres, (tenant, user): OwnerText) -> ListedOwner {
    let owner = parse_owner((tenant.clone(), user.clone()));
    match owner.filter(|owner| postgres.check_owner(owner).is_ok()) {
        Some(owner) => ListedOwner::Valid(owner),
        None => ListedOwner::Unusable { tenant, user },
    }
}

fn entry_of_rows(core: &Core, owner: ListedOwner, found: FoundRecords) -> ListEntry {
    let version = found.records.first().and_then(|found| found.version);
    let state = owner.valid().map_or(RecordState::Unusable, |owner| state_of(core, owner, found.newest()));
    ListEntry { owner, version, source: Source::Database, state }
}

async fn list_local(
    core: &Core,
    local: &LocalFile,
    after: Option<(&str, &str)>,
    limit: u32,
) -> Result<PagePart> {
    let pending = local.pending_beyond(after.unwrap_or_default(), limit).await?;
    let is_full = pending.len() >= limit as usize;
    let records = pending.iter().filter_map(|pending| core.local_record(&pending.text).ok());
    learn_keys(core, records.map(|record| record.key).collect()).await;
    Ok(PagePart {
        entries: pending
            .iter()
            .filter(|pending| core.waits_here(pending))
            .map(|pending| entry_of_pending(core, pending))
            .collect(),
        is_full,
    })
}

fn entry_of_pending(core: &Core, pending: &LocalRecord) -> ListEntry {
    let state = state_of(core, &pending.owner, core.local_record(&pending.text));
    let owner = ListedOwner::Valid(pending.owner.clone());
    // in a vault in memory the local file stands for the database
    let source = if core.faults.is_some() { Source::Database } else { Source::Local };
    ListEntry { owner, version: Some(pending.version), source, state }
}

fn state_of(core: &Core, owner: &Owner, record: Result<Record>) -> RecordState {
    match record.and_then(|record| core.open(&record, owner)) {
        Ok(opened) if opened.values.is_some() => RecordState::Readable,
        Ok(_) => RecordState::Deleted,
        Err(error) => RecordState::Unreadable(error.kind()),
    }
}

async fn what_is_hidden(postgres: &Postgres) -> Result<Option<String>, DatabaseError> {
    let is_hidden = may_hide_from_us(&postgres.database, postgres.layout(), RowAction::Read).await?;
    Ok(is_hidden.then(|| hidden_rows(postgres.layout()).to_string()))
}
