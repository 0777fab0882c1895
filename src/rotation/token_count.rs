//! The token count: how many tokens each place holds under each key.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::{KeyState, RootKeys};
use crate::local::file::LocalFile;
use crate::postgres::catalogue::row_visibility::refuse_hidden_rows;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::walk::token_count::counted_columns;
use crate::record::token::KeyId;
use crate::rotation::evidence::{
    CountListener, FullSearch, Outside, look_outside, out_of_reach, search_outside,
};
use crate::store::core::Core;

/// A place that holds tokens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TokenPlace {
    /// A column of the table.
    Column(String),
    /// What the local file holds, by sort: `pending`, `replica`, `loser`, `replaced`, `dead-letter`.
    Local(String),
}

impl fmt::Display for TokenPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(column) => write!(f, "column {column}"),
            Self::Local(sort) => write!(f, "local file, {sort}"),
        }
    }
}

/// The tokens of one place under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenCount {
    /// Where they are.
    pub place: TokenPlace,
    /// The key that they name. Absent for text that names no key: the vault did not write it.
    pub key: Option<KeyId>,
    /// How many.
    pub tokens: u64,
}

/// The result of a token count: every place of the layout and of the local file, and what a search outside of these found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenCounts {
    /// In the order of the places. A place without tokens has no entry. All rows count, including those that do not pass
    /// the filter of the layout.
    pub counts: Vec<TokenCount>,
    /// What was found outside of the layout, as far as that was searched. None of it is in `counts`.
    pub outside: Outside,
}

impl TokenCounts {
    /// How many tokens name a key.
    pub fn tokens_of(&self, key: KeyId) -> u64 {
        self.of(key).map(|count| count.tokens).sum()
    }

    /// The places that hold tokens of a key.
    pub fn of(&self, key: KeyId) -> impl Iterator<Item = &TokenCount> {
        self.counts.iter().filter(move |count| count.key == Some(key))
    }

    /// The keys that tokens name, each with the number of its tokens.
    pub fn keys(&self) -> Vec<(KeyId, u64)> {
        let mut keys: Vec<KeyId> = self.counts.iter().filter_map(|count| count.key).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter().map(|key| (key, self.tokens_of(key))).collect()
    }

    /// How many tokens name a key in each state, as a metric names the states. `unknown` is a key that the keyring does not
    /// hold, and `none` is text that names no key.
    pub(crate) fn by_state(&self, keyring: &RootKeys) -> BTreeMap<&'static str, u64> {
        let states = KeyState::ALL.map(KeyState::as_str).into_iter().chain(["unknown", "none"]);
        let mut tokens: BTreeMap<_, _> = states.map(|state| (state, 0)).collect();
        for count in &self.counts {
            let known = |key| keyring.get(key).map_or("unknown", |key| key.info.state.as_str());
            *tokens.entry(count.key.map_or("none", known)).or_default() += count.tokens;
        }
        tokens
    }

    /// How many tokens name another key than this one.
    pub fn tokens_besides(&self, key: KeyId) -> u64 {
        let others = self.counts.iter().filter(|count| count.key.is_some_and(|other| other != key));
        others.map(|count| count.tokens).sum()
    }
}

/// Counts the tokens in every column of the layout and in the local file, and searches a part of everything else.
/// `processes` of the server work on it; absent: as many as the server chooses.
///
/// # Errors
/// `Unavailable` if the database cannot be asked, `AccessDenied` if it may hide rows from this role: a partial count would
/// be worthless. `LocalStore`.
pub(crate) async fn count_tokens(core: &Core, processes: Option<u32>) -> Result<TokenCounts> {
    refuse_without_table(core).await?;
    let (mut counts, mut outside) = match &core.postgres {
        Some(postgres) => {
            Box::pin(count_rows(core, postgres, processes)).await.map_err(|fault| fault.error)?
        }
        None => Default::default(),
    };
    outside.out_of_reach = out_of_reach(core).await?;
    if let Some(local) = &core.local {
        counts.extend(count_local(local).await?);
    }
    counts.sort_by(|a, b| (&a.place, a.key).cmp(&(&b.place, b.key)));
    Ok(TokenCounts { counts, outside })
}

/// As [`count_tokens`], and searches every row of every column that can hold a token.
///
/// # Errors
/// As [`count_tokens`], and `AccessDenied` for a column that may not be read.
pub(crate) async fn count_everywhere(core: &Core, listener: CountListener<'_>) -> Result<TokenCounts> {
    let mut token_counts = count_tokens(core, None).await?;
    if let Some(postgres) = &core.postgres {
        let wanted = FullSearch { key: None, not_evidence: &[], kinds: &[] };
        let found = Box::pin(search_outside(core, postgres, &wanted, listener)).await;
        let out_of_reach = token_counts.outside.out_of_reach;
        token_counts.outside = Outside { out_of_reach, ..found.map_err(|fault| fault.error)? };
        // they were counted
        token_counts.outside.tokens.retain(|found| !found.in_layout);
    }
    Ok(token_counts)
}

/// Refuses a statement about all tokens if a table with some of them was not named.
///
/// # Errors
/// `Configuration` if the local file was used with a table and none is named; `Schema` if the named one does not exist.
pub(crate) async fn refuse_without_table(core: &Core) -> Result<()> {
    let Some(local) = &core.local else { return Ok(()) };
    let used_with = local.used_with().await?;
    let (kind, problem) = match &core.postgres {
        _ if used_with.is_empty() => return Ok(()),
        None => (ErrorKind::Configuration, "no database was named".to_owned()),
        Some(postgres) => match postgres.refresh().await.map_err(|fault| fault.error)?.has_table() {
            true => return Ok(()),
            false => (ErrorKind::Schema, format!("{} does not exist", postgres.place())),
        },
    };
    let message = format!("{problem}, so the tokens of {} would not be counted", used_with.join(", "));
    Err(Error::new(kind, message)
        .with_hint("name the database and the table that the service uses (DATABASE_URL, --table)"))
}

async fn count_rows(
    core: &Core,
    postgres: &Postgres,
    processes: Option<u32>,
) -> Result<(Vec<TokenCount>, Outside), DatabaseError> {
    let plan = sees_all(postgres).await?;
    let outside = look_outside(core, postgres, &counted_columns(postgres.layout(), &plan)).await?;
    let counts = postgres.tokens_per_key(&plan, processes).await?;
    let count = |count: crate::postgres::walk::token_count::ColumnCount| TokenCount {
        place: TokenPlace::Column(count.column),
        key: count.key,
        tokens: count.tokens,
    };
    Ok((counts.into_iter().map(count).collect(), outside))
}

/// The table as it is now.
///
/// # Errors
/// Those of the database, and `AccessDenied` if row level security may hide rows from this role.
pub(crate) async fn sees_all(postgres: &Postgres) -> Result<std::sync::Arc<Plan>, DatabaseError> {
    let plan = postgres.refresh().await?;
    if plan.has_slots() {
        refuse_hidden_rows(&postgres.database, postgres.layout()).await?;
    }
    Ok(plan)
}

async fn count_local(local: &LocalFile) -> Result<Vec<TokenCount>> {
    let counts = local.tokens_per_key().await?;
    let count = |count: crate::local::entries::LocalCount| TokenCount {
        place: TokenPlace::Local(count.place),
        key: count.key,
        tokens: count.tokens,
    };
    Ok(counts.into_iter().map(count).collect())
}
