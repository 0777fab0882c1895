//! Lists entries of the ledger: those of an owner, an actor, an operation or a time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::chain::entry::StoredEntry;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::vault_schema::objects::check_tables;
use crate::postgres::walk::ledger_entries::EntrySelection;
use crate::record::owner::{TenantId, UserId};
use crate::store::core::Core;
use crate::store::ledger::begun;

/// How many bytes an operation or an actor has at most in an entry.
const MAX_OPERATION: usize = 40;
const MAX_ACTOR: usize = 200;

/// Which entries [`Vault::list_ledger`](crate::Vault::list_ledger) lists. By default all of this vault's table and kind of
/// credentials, but at most 100.
#[derive(Debug, Clone)]
#[must_use]
pub struct LedgerFilter {
    selection: EntrySelection,
    limit: u32,
    all_places: bool,
}

impl Default for LedgerFilter {
    fn default() -> Self {
        Self { selection: EntrySelection::default(), limit: 100, all_places: false }
    }
}

impl LedgerFilter {
    /// The most entries that one call lists.
    pub const MAX_LIMIT: u32 = 10_000;

    /// No filter.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only entries about this user, in any tenant unless [`tenant`](Self::tenant) names one.
    pub fn user(mut self, user: &UserId) -> Self {
        self.selection.user = Some(user.as_str().to_owned());
        self
    }

    /// Only entries about users of this tenant.
    pub fn tenant(mut self, tenant: &TenantId) -> Self {
        self.selection.tenant = Some(tenant.as_str().to_owned());
        self
    }

    /// Only entries of this actor.
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.selection.actor = Some(actor.into());
        self
    }

    /// Only entries of this operation, for example `store`. docs/FORMAT.md lists the operations.
    pub fn operation(mut self, operation: impl Into<String>) -> Self {
        self.selection.operation = Some(operation.into());
        self
    }

    /// Only entries from this time on, by the clock of the host that wrote them.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.selection.since_ms = Some(millis(time));
        self
    }

    /// Only entries before this time.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.selection.until_ms = Some(millis(time));
        self
    }

    /// At most so many entries, from 1 to [`MAX_LIMIT`](Self::MAX_LIMIT). The default is 100.
    pub fn limit(mut self, entries: u32) -> Self {
        self.limit = entries.clamp(1, Self::MAX_LIMIT);
        self
    }

    /// Also entries of other tables and of other kinds of credentials.
    pub fn all_places(mut self) -> Self {
        self.all_places = true;
        self
    }

    fn check(&self) -> Result<()> {
        let EntrySelection { actor, operation, since_ms, until_ms, .. } = &self.selection;
        let texts = [("operation", operation, MAX_OPERATION), ("actor", actor, MAX_ACTOR)];
        for (what, text, longest) in texts {
            let Some(text) = text else { continue };
            if text.is_empty() || text.len() > longest || text.chars().any(char::is_control) {
                let rule = format!("{what} must have 1 to {longest} bytes and no control characters");
                return Err(
                    Error::new(ErrorKind::InvalidInput, format!("no entry has this {what}")).with_hint(rule)
                );
            }
        }
        match (since_ms, until_ms) {
            (Some(since), Some(until)) if since >= until => {
                Err(Error::new(ErrorKind::InvalidInput, "no time is from `since` on and before `until`")
                    .with_hint("`until` must be later than `since`"))
            }
            _ => Ok(()),
        }
    }
}

/// An entry of the ledger. Any text of an entry that is not authentic may be anything.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedEntry {
    /// The id of the writer, which is one run of a process.
    pub writer: String,
    /// Its number among the entries of the writer, from 1.
    pub seq: u64,
    /// When it was written, in milliseconds since 1970, by the clock of the host.
    pub at_ms: i64,
    /// What was done: `store`, `delete` and others. docs/FORMAT.md lists the operations.
    pub operation: String,
    /// The kind of credentials and the table.
    pub place: Option<String>,
    /// The user that it is about.
    pub user: Option<String>,
    /// The tenant of the user.
    pub tenant: Option<String>,
    /// The version of the record before, if it is known.
    pub before: Option<String>,
    /// The version of the record after. `None`: nothing changed.
    pub after: Option<String>,
    /// How an operation ended that changed nothing.
    pub outcome: Option<String>,
    /// On whose behalf it was done.
    pub actor: Option<String>,
    /// Why it was done.
    pub reason: Option<String>,
    /// The id of the request that caused it.
    pub request: Option<String>,
    /// The host that wrote it.
    pub host: Option<String>,
    /// The version of this crate that wrote it.
    pub release: Option<String>,
    /// More about it, as JSON.
    pub detail: Option<String>,
    /// Whether a key of the keyring made it as it is.
    pub authentic: bool,
}

impl ListedEntry {
    fn new(StoredEntry { entry, .. }: StoredEntry, authentic: bool) -> Self {
        let event = entry.event;
        Self {
            writer: entry.writer.to_string(),
            seq: u64::try_from(entry.seq).unwrap_or_default(),
            at_ms: entry.at_ms,
            operation: event.operation,
            place: event.place,
            user: event.user,
            tenant: event.tenant,
            before: event.before,
            after: event.after,
            outcome: event.outcome,
            actor: event.actor,
            reason: event.reason,
            request: event.request,
            host: event.host,
            release: event.release,
            detail: event.detail,
            authentic,
        }
    }
}

/// The result of [`Vault::list_ledger`](crate::Vault::list_ledger).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LedgerList {
    /// The entries, the newest first.
    pub entries: Vec<ListedEntry>,
    /// Whether there are more than the limit.
    pub more: bool,
}

pub(crate) async fn list_ledger(core: &Core, filter: &LedgerFilter) -> Result<LedgerList> {
    filter.check()?;
    let (postgres, place) = begun(core)?;
    check_tables(&postgres.database).await.map_err(|fault| fault.error)?;
    let mut selection = filter.selection.clone();
    selection.place = (!filter.all_places).then_some(place);
    let found = postgres.list_entries(&selection, filter.limit + 1).await.map_err(|fault| fault.error)?;
    let keys = core.keyring.current();
    let more = found.len() > filter.limit as usize;
    let listed = found.into_iter().take(filter.limit as usize).map(|stored| {
        let authentic = stored.is_authentic(&keys.subkeys);
        ListedEntry::new(stored, authentic)
    });
    Ok(LedgerList { entries: listed.collect(), more })
}

/// In milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> i64 {
    let whole = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    time.duration_since(UNIX_EPOCH).map_or_else(|before| -whole(before.duration()), whole)
}
