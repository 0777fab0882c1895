//! Evidence: tokens outside of the layout, and which of them keep their key in use.
//!
//! The layout says where records are stored, and it may be wrong: a column was renamed, and this process was not told its
//! name. A token that opens for the owner of its row, wherever it is stored, may be all that is left of a record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::crypto::aead::Scope;
use crate::crypto::sealer::opens;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::RootKeys;
use crate::layout::layout::Layout;
use crate::postgres::catalogue::table::TextColumn;
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::sql::token::TokenSearch;
use crate::postgres::statements::plan::Postgres;
use crate::postgres::walk::token_count::counted_columns;
use crate::postgres::walk::tokens_outside::{RowTokens, ValueTokens, not_looked_at};
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::padding::PADDING;
use crate::record::token::{KeyId, Token, named_key, token_len};
use crate::store::core::Core;

/// Rows between two events.
const TELL_EVERY: u64 = 1000;

/// What no count can see.
const OUT_OF_REACH: [&str; 7] = [
    "other schemas and databases",
    "materialised views with other names",
    "audit tables",
    "dumps, replicas and the WAL",
    "text that is encoded, compressed or encrypted again",
    "column defaults",
    "local files of other hosts",
];

/// Tokens under one key in one place outside of the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutsideTokens {
    /// The column: `public.user_profiles.notes`.
    pub place: String,
    /// The key that they name.
    pub key: KeyId,
    /// How many.
    pub tokens: u64,
    /// How many of these keep the key from being destroyed: they open for the owner of their row, or their owner cannot be
    /// determined. If the keyring does not hold the key, all of them.
    pub in_use: u64,
    /// The column is in a table of the vault's own: duplicates that were moved aside, a backup.
    pub own_table: bool,
    /// The layout names the column. Only a full search reads it again, because everything that it finds must be of one
    /// moment.
    pub in_layout: bool,
    /// An operator excluded this column as evidence
    /// ([`DestroyOptions::not_evidence`](crate::rotation::DestroyOptions::not_evidence)).
    pub not_evidence: bool,
}

impl OutsideTokens {
    /// Whether an operator should check them: they are in use, and no rotation reaches them. In the vault's own tables that
    /// is normal while their key is the primary one.
    pub fn is_left_behind(&self, primary: Option<KeyId>) -> bool {
        self.in_use > 0 && !self.in_layout && !(self.own_table && primary == Some(self.key))
    }
}

impl fmt::Display for OutsideTokens {
    /// `3 tokens under key 0123abcd in column public.t.c, 2 in use`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key, tokens, in_use, .. } = self;
        let word = if *tokens == 1 { "token" } else { "tokens" };
        write!(f, "{tokens} {word} under key {key} in column {place}, {in_use} in use")?;
        if self.not_evidence { f.write_str(", excluded as evidence") } else { Ok(()) }
    }
}

/// How much was searched outside of the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OutsideExtent {
    /// Nothing: there is no table.
    #[default]
    Nothing,
    /// The vault's own tables in full, and a sample of this many rows of the table in its other columns.
    Sample(u64),
    /// This many rows, which are all.
    EveryRow(u64),
}

/// What was found outside of the layout: in other columns of the table, in tables that inherit from it, and in the vault's own
/// tables beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outside {
    /// In the order of the places. A place without tokens has no entry.
    pub tokens: Vec<OutsideTokens>,
    /// How much was searched.
    pub extent: OutsideExtent,
    /// What can hold tokens and was not searched in full: `column public.user_profiles.notes`, `table …`.
    pub not_looked_at: Vec<String>,
    /// What no count can see, in words. Other tables that the local file was used with come first.
    pub out_of_reach: Vec<String>,
}

impl Outside {
    /// The places with tokens of a key that keep it from being destroyed.
    pub fn evidence(&self, key: KeyId) -> impl Iterator<Item = &OutsideTokens> {
        self.tokens.iter().filter(move |found| found.key == key && found.in_use > 0 && !found.not_evidence)
    }
}

/// The progress of a search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CountProgress {
    /// Rows that were searched, of the table and of those beside it.
    pub visited: u64,
    /// About how many there are; 0 if the server does not know.
    pub rows: u64,
}

/// Called for every thousandth row.
pub(crate) type CountListener<'a> = &'a mut (dyn FnMut(&CountProgress) + Send);

/// A quick search: the vault's own tables in full, a sample of the table's other columns. What cannot be searched is named.
pub(crate) async fn look_outside(
    core: &Core,
    postgres: &Postgres,
    layout_columns: &[&str],
) -> Result<Outside, DatabaseError> {
    let columns = postgres.text_columns().await?;
    let layout = postgres.layout();
    let search = TokenSearch::under(None);
    let mut tally = Tally::new(core, &[]);
    let (own, others): (Vec<_>, Vec<_>) = columns.into_iter().partition(|column| column.own);
    let mut missed: Vec<TextColumn> = Vec::new();
    for table in own.chunk_by(|one, next| (&one.schema, &one.table) == (&next.schema, &next.table)) {
        let done = match table.iter().all(|column| column.check_readable(layout).is_ok()) {
            true => {
                let each = |row| tally.take(table, row, |_| true);
                Box::pin(postgres.search_every_row(table, &search, each)).await
            }
            false => Err(Error::from(ErrorKind::AccessDenied).into()),
        };
        match done {
            Ok(()) => {}
            // named below, like what may not be read
            Err(fault) if fault.error.kind() == ErrorKind::AccessDenied => missed.extend_from_slice(table),
            Err(fault) => return Err(fault),
        }
    }
    let named = |column: &TextColumn| column.is_in_table(layout) && layout_columns.contains(&&*column.name);
    let others: Vec<_> = others.into_iter().filter(|column| !named(column)).collect();
    let is_sampled =
        |column: &&TextColumn| column.is_in_table(layout) && column.check_readable(layout).is_ok();
    let readable: Vec<_> = others.iter().filter(is_sampled).cloned().collect();
    let rows = match Box::pin(postgres.search_some_rows(&readable, &search)).await {
        Ok((found, rows)) => {
            found.into_iter().try_for_each(|row| tally.take(&readable, Some(row), |_| false))?;
            rows
        }
        // it takes too long
        Err(fault) if fault.error.kind() == ErrorKind::Busy => 0,
        Err(fault) => return Err(fault),
    };
    missed.splice(0..0, others);
    Ok(Outside {
        tokens: tally.tokens(),
        extent: OutsideExtent::Sample(rows),
        not_looked_at: not_looked_at(layout, &missed, layout_columns),
        out_of_reach: Vec::new(),
    })
}

/// What a full search is for.
pub(crate) struct FullSearch<'a> {
    /// Tokens under this key; absent: under any.
    pub(crate) key: Option<KeyId>,
    /// Columns that an operator vouches for: they need not be readable.
    pub(crate) not_evidence: &'a [String],
    /// The kinds of credentials whose tokens are opened, besides the vault's own.
    pub(crate) kinds: &'a [&'static str],
}

/// Searches every row of every column that can hold text. The columns of the layout are read again, because everything that
/// is found must be of one moment.
///
/// # Errors
/// `AccessDenied` for a column that may not be read, unless an operator vouches for it; `InvalidInput` for a vouched column
/// that does not exist or belongs to the layout.
pub(crate) async fn search_outside(
    core: &Core,
    postgres: &Postgres,
    wanted: &FullSearch<'_>,
    listener: CountListener<'_>,
) -> Result<Outside, DatabaseError> {
    let (plan, layout, columns) = (postgres.plan().await?, postgres.layout(), postgres.text_columns().await?);
    let counted = counted_columns(layout, &plan);
    let in_layout = |column: &TextColumn| column.is_in_table(layout) && counted.contains(&&*column.name);
    check_not_evidence(layout, &columns, wanted.not_evidence, in_layout)?;
    let is_vouched =
        |column: &TextColumn| wanted.not_evidence.iter().any(|name| column.is_named(layout, name));
    let (mut searched, mut missed) = (Vec::new(), Vec::new());
    for column in columns {
        match column.check_readable(layout) {
            Ok(()) => searched.push(column),
            Err(_) if is_vouched(&column) => missed.push(column),
            Err(error) => return Err(error.into()),
        }
    }
    let mut progress = CountProgress { visited: 0, rows: estimate(&searched) };
    let mut tally = Tally::new(core, wanted.kinds);
    tally.not_evidence = searched.iter().filter(|column| is_vouched(column)).map(TextColumn::place).collect();
    tally.in_layout = searched.iter().filter(|column| in_layout(column)).map(TextColumn::place).collect();
    let each = |row: Option<RowTokens>| {
        progress.visited += 1;
        if progress.visited.is_multiple_of(TELL_EVERY) {
            progress.rows = progress.rows.max(progress.visited);
            listener(&progress);
        }
        tally.take(&searched, row, |column| column.own || in_layout(column))
    };
    Box::pin(postgres.search_every_row(&searched, &TokenSearch::under(wanted.key), each)).await?;
    Ok(Outside {
        tokens: tally.tokens(),
        extent: OutsideExtent::EveryRow(progress.visited),
        not_looked_at: not_looked_at(layout, &missed, &[]),
        out_of_reach: Vec::new(),
    })
}

/// A name that matches no column is a typo, and the column that was meant would not be exempt.
fn check_not_evidence(
    layout: &Layout,
    columns: &[TextColumn],
    not_evidence: &[String],
    in_layout: impl Fn(&TextColumn) -> bool,
) -> Result<()> {
    for name in not_evidence {
        let problem = match columns.iter().find(|column| column.is_named(layout, name)) {
            None => "no column that can hold tokens has this name, in the table or beside it",
            Some(column) if in_layout(column) => "the layout names this column, so its tokens always count",
            Some(_) => continue,
        };
        let error =
            Error::new(ErrorKind::InvalidInput, format!("cannot exclude {name} as evidence: {problem}"));
        return Err(error.with_hint("a column is TABLE.COLUMN or SCHEMA.TABLE.COLUMN"));
    }
    Ok(())
}

/// About how many rows the tables of some columns have.
fn estimate(columns: &[TextColumn]) -> u64 {
    let tables: BTreeMap<_, _> =
        columns.iter().map(|column| ((&column.schema, &column.table), column.rows)).collect();
    tables.values().filter_map(|rows| u64::try_from(*rows).ok()).sum()
}

/// What no count can see: the tables that the local file knows of first.
pub(crate) async fn out_of_reach(core: &Core) -> Result<Vec<String>> {
    let mut places = Vec::new();
    if let Some(local) = &core.local {
        let here = core.postgres.as_ref().map(Postgres::place);
        let others = local.used_with().await?.into_iter().filter(|place| Some(place) != here.as_ref());
        places.extend(others.map(|place| format!("{place}, which the local file was used with")));
    }
    if core.postgres.is_some() {
        places.extend(OUT_OF_REACH.map(str::to_owned));
    }
    Ok(places)
}

/// Tokens by place and key: how many, and how many of these are in use.
struct Tally<'a> {
    core: &'a Core,
    keyring: Arc<RootKeys>,
    namespaces: BTreeSet<&'static str>,
    found: BTreeMap<(String, KeyId), (u64, u64)>,
    in_own_tables: BTreeSet<String>,
    in_layout: BTreeSet<String>,
    not_evidence: BTreeSet<String>,
}

impl<'a> Tally<'a> {
    fn new(core: &'a Core, kinds: &[&'static str]) -> Self {
        let namespaces = kinds.iter().copied().chain([core.fields.namespace]).collect();
        Self {
            core,
            keyring: core.keyring.current(),
            namespaces,
            found: BTreeMap::new(),
            in_own_tables: BTreeSet::new(),
            in_layout: BTreeSet::new(),
            not_evidence: BTreeSet::new(),
        }
    }

    fn take(
        &mut self,
        columns: &[TextColumn],
        row: Option<RowTokens>,
        in_use: impl Fn(&TextColumn) -> bool,
    ) -> Result<(), DatabaseError> {
        let Some(row) = row else { return Ok(()) };
        for value in &row.values {
            let Some(column) = columns.get(value.column) else { continue };
            if column.own {
                self.in_own_tables.insert(column.place());
            }
            for text in &value.tokens {
                let Some(key) = named_key(text.as_bytes()) else { continue };
                let is_in_use = in_use(column) || self.is_in_use(row.owner.as_ref(), value, key, text);
                let entry = self.found.entry((column.place(), key)).or_default();
                entry.0 += 1;
                entry.1 += u64::from(is_in_use);
            }
        }
        Ok(())
    }

    /// Whether a text opens for the owner of its row, or its owner cannot be determined.
    fn is_in_use(&self, owner: Option<&Owner>, value: &ValueTokens, key: KeyId, text: &str) -> bool {
        let Some(owner) = owner.filter(|_| !value.is_long) else { return true };
        let Ok(root) = self.keyring.opener(key) else { return true };
        let opens = |token: &Token| {
            self.namespaces.iter().any(|namespace| opens(token, Scope { namespace, owner }, root))
        };
        match text.parse::<Token>() {
            // a field that these credentials do not have belongs to another kind, whose owners may be others
            Ok(token) => opens(&token) || !self.is_known(token.field),
            Err(error) if error.kind() == ErrorKind::UnsupportedFormat => true,
            Err(_) => starts(text).any(|token| opens(&token)),
        }
    }

    fn is_known(&self, field: Field) -> bool {
        field.is_reserved() || self.core.fields.knows(field)
    }

    fn tokens(self) -> Vec<OutsideTokens> {
        let found = self.found.into_iter();
        let found = found.map(|((place, key), (tokens, in_use))| {
            let own_table = self.in_own_tables.contains(&place);
            let in_layout = self.in_layout.contains(&place);
            let not_evidence = self.not_evidence.contains(&place);
            OutsideTokens { place, key, tokens, in_use, own_table, in_layout, not_evidence }
        });
        found.collect()
    }
}

/// The tokens that a text may start with if it continues without a gap: every start that has the length of a token.
fn starts(text: &str) -> impl Iterator<Item = Token> {
    let field = text.split('.').nth(3).and_then(|name| Field::parse(name.as_bytes()));
    let lengths =
        field.into_iter().flat_map(|field| (1..).map(move |blocks| token_len(field, blocks * PADDING)));
    lengths.map_while(|length| text.get(..length)).filter_map(|start| start.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::token::OVERHEAD;

    #[test]
    fn a_token_is_found_at_the_start_of_a_text_that_goes_on() {
        let field = Field::named("api_key");
        let body = vec![7; OVERHEAD + 2 * PADDING];
        let token = Token { key: KeyId(0xab), version: "00000000000000ff".parse().unwrap(), field, body };
        for more in ["", "-", "rv1", "_old", &"A".repeat(200)] {
            let text = format!("{token}{more}");
            assert!(starts(&text).any(|start| start == token), "{more}");
        }
        let text = token.to_string();
        assert!(starts(&text[..text.len() - 1]).all(|start| start != token));
        assert_eq!(starts("rv1.000000ab.00000000000000ff.").count(), 0);
    }
}
