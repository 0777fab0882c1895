//! Every owner of the sources, page by page, with what the sources hold of them.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use crate::error::Result;
use crate::layout::old_source::OldSource;
use crate::postgres::connection::pool::Database;
use crate::postgres::walk::cursor::Position;
use crate::postgres::walk::old_values::{OldTable, OldText};

/// The owners of some rows of the sources.
pub(super) struct OwnerPage {
    pub(super) rows: u64,
    /// Those that no earlier page had.
    pub(super) owners: Vec<OldOwner>,
}

/// Everything that the sources hold of one owner, in the order of the sources.
pub(super) struct OldOwner {
    pub(super) user: String,
    pub(super) tenant: Option<String>,
    pub(super) texts: Vec<OldText>,
}

/// Everything that the sources in some tables hold of some users.
pub(super) async fn read_texts(
    database: &Database,
    (sources, tables): (&[OldSource], &[&OldTable]),
    users: &[&str],
) -> Result<Vec<OldText>> {
    let mut all = Vec::new();
    for table in tables.iter().filter(|_| !users.is_empty()) {
        all.extend(database.old_texts(table, sources, users).await.map_err(|fault| fault.error)?);
    }
    Ok(all)
}

/// Every owner of every source, once, page by page.
pub(super) struct OwnerPages<'a> {
    database: &'a Database,
    sources: &'a [OldSource],
    tables: &'a [OldTable],
    /// The table that is walked now, and the position in it.
    walked: usize,
    after: Option<Position>,
    /// The owners that were returned, as hashes: an owner of several tables is returned with the first.
    seen: HashSet<[u64; 2]>,
    hashers: [RandomState; 2],
}

impl<'a> OwnerPages<'a> {
    pub(super) fn new(database: &'a Database, sources: &'a [OldSource], tables: &'a [OldTable]) -> Self {
        let hashers = [RandomState::new(), RandomState::new()];
        Self { database, sources, tables, walked: 0, after: None, seen: HashSet::new(), hashers }
    }

    /// The next owners. An empty page may be followed by others; `None` is the end.
    pub(super) async fn next(&mut self) -> Result<Option<OwnerPage>> {
        let Some(table) = self.tables.get(self.walked) else { return Ok(None) };
        let page = self.database.old_owners(table, self.sources, self.after.as_ref()).await;
        let page = page.map_err(|fault| fault.error)?;
        let (rows, walked) = (page.owners.len() as u64, self.walked);
        match page.last {
            Some(last) => self.after = Some(last),
            None => (self.walked, self.after) = (self.walked + 1, None),
        }
        let mut owners: BTreeMap<(Option<String>, String), Vec<OldText>> = BTreeMap::new();
        for (user, tenant) in page.owners {
            let hash = self.hashers.each_ref().map(|hasher| hasher.hash_one((&tenant, &user)));
            if self.seen.insert(hash) {
                owners.insert((tenant, user), Vec::new());
            }
        }
        let users: Vec<String> = owners.keys().map(|(_, user)| user.clone()).collect();
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        // unless the page has them all, its own texts are read again too: an owner may have more rows
        let mut unread: Vec<&OldTable> = self.tables.iter().collect();
        if page.texts.is_some() {
            unread.remove(walked);
        }
        let others = read_texts(self.database, (self.sources, &unread), &users).await?;
        for text in page.texts.into_iter().flatten().chain(others) {
            if let Some(texts) = owners.get_mut(&(text.tenant.clone(), text.user.clone())) {
                texts.push(text);
            }
        }
        let owner = |((tenant, user), mut texts): ((Option<String>, String), Vec<OldText>)| {
            texts.sort_by_key(|text| text.source);
            OldOwner { user, tenant, texts }
        };
        Ok(Some(OwnerPage { rows, owners: owners.into_iter().map(owner).collect() }))
    }
}
