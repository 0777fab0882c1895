//! Looks at the tables of a database, within limits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::detect::all_sources::for_chosen;
use crate::detect::candidate::{LEAD, candidate};
use crate::detect::names::{Meaning, Name};
use crate::detect::provider_column;
use crate::detect::providers::Class;
use crate::detect::report::{Candidate, DetectOptions, Detection};
use crate::detect::sampled::Sampled;
use crate::detect::whose::of_interest;
use crate::display::visible;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::layout::{Layout, joined_name};
use crate::postgres::catalogue::all_tables::{FoundColumn, FoundKind, FoundTable, RelationNames, SampledRow};
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::connection::pool::Database;
use crate::postgres::vault_schema::objects::SCHEMA;

/// The most tables that are described and sampled.
const TABLES: usize = 2_000;
/// The most rows that are read of a table.
const ROWS: u64 = 1_000;
/// How long tables are sampled.
const TIME: Duration = Duration::from_secs(24);
/// How long the sample of one table may take.
const PER_TABLE: Duration = Duration::from_secs(2);
/// The most columns whose values are read.
const COLUMNS: usize = 64;
/// The most columns of a large table that are searched for a value, and the most rows that are then read.
const SEARCHED: usize = 6;
const ROWS_SET: u64 = 50;
/// How many tables are described at once.
const AT_ONCE: usize = 100;
/// How many tables are searched for texts at once.
const TOGETHER: usize = 25;
/// The most relations that are named in one list.
const NAMED: usize = 20;

/// A table, ordered by how much its names promise.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    /// The heap gives the lowest first.
    rank: Reverse<u32>,
    name: String,
    oid: i64,
}

pub(super) async fn detect(database: &Database, options: &DetectOptions) -> Result<Detection> {
    let started = Instant::now();
    let mut look = Search { database, started, left_out: Vec::new(), unsampled: Vec::new() };
    let ranked = look.rank(options).await.map_err(|fault| fault.error)?;
    if let (Some(schema), true) = (&options.schema, ranked.is_empty()) {
        return Err(no_schema(schema));
    }
    let named = options.table.as_deref().map(|name| Layout::new().table(name)).transpose()?;
    let mut candidates = look.candidates(&ranked).await.map_err(|fault| fault.error)?;
    candidates.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.table.cmp(&b.table)));
    let chosen = match named {
        Some(layout) => {
            let wanted = joined_name(&[&layout.schema, &layout.table]);
            candidates.iter().position(|candidate| candidate.table == wanted)
        }
        None => leading(&candidates),
    };
    if let Some(at) = chosen {
        add_sources(&mut candidates, at);
    }
    Ok(Detection { chosen, candidates, left_out: look.into_left_out() })
}

/// The first candidate, if it names Retell and leads clearly.
fn leading(candidates: &[Candidate]) -> Option<usize> {
    let best = candidates.first().filter(|best| best.names_retell() && best.has_key())?;
    let second = candidates.get(1).map_or(i32::MIN, |second| second.score);
    (best.score >= second.saturating_add(LEAD)).then_some(0)
}

/// Adds the sources of all candidates to the proposal for the chosen one.
fn add_sources(candidates: &mut [Candidate], at: usize) {
    let chosen = &candidates[at];
    let others: Vec<&Candidate> = candidates.iter().filter(|other| other.names_retell()).collect();
    let sources = for_chosen(chosen, if chosen.names_retell() { &others } else { &[] });
    if let Some(proposal) = &mut candidates[at].proposal {
        proposal.add(sources.proposed, sources.unopened);
    }
}

struct Search<'a> {
    database: &'a Database,
    started: Instant,
    left_out: Vec<String>,
    /// Tables whose time was over before they were sampled.
    unsampled: Vec<String>,
}

impl Search<'_> {
    /// The tables that promise most, by their names and those of their columns.
    async fn rank(&mut self, options: &DetectOptions) -> Result<Vec<i64>, DatabaseError> {
        let (mut heap, mut others, mut too_many) = (BinaryHeap::new(), Vec::new(), 0_usize);
        self.database
            .each_relation(options.schema.as_deref(), |relation| {
                let rank = rank(&relation);
                let name = joined_name(&[&relation.schema, &relation.name]);
                match relation.kind {
                    'r' | 'p' => heap.push(Ranked { rank: Reverse(rank), name, oid: relation.oid }),
                    kind if rank >= NAMES_SECRET => others.push((kind, name)),
                    _ => (),
                }
                if heap.len() > TABLES {
                    heap.pop();
                    too_many += 1;
                }
            })
            .await?;
        self.say_others(&others);
        if too_many > 0 {
            self.left_out
                .push(format!("{too_many} tables whose names promise less than those of {TABLES} others"));
        }
        let mut ranked = heap.into_vec();
        ranked.sort();
        Ok(ranked.into_iter().map(|table| table.oid).collect())
    }

    fn say_others(&mut self, others: &[(char, String)]) {
        for (kinds, what) in
            [("vm", "views, whose tables count"), ("f", "foreign tables, whose rows are in another database")]
        {
            let names: Vec<&str> = others
                .iter()
                .filter(|(kind, _)| kinds.contains(*kind))
                .map(|(_, name)| name.as_str())
                .collect();
            if !names.is_empty() {
                self.left_out.push(format!("{what}: {}", some(&names)));
            }
        }
    }

    async fn candidates(&mut self, oids: &[i64]) -> Result<Vec<Candidate>, DatabaseError> {
        let mut candidates = Vec::new();
        for some in oids.chunks(AT_ONCE) {
            let tables = self.database.described(some).await?;
            let (promising, others): (Vec<_>, Vec<_>) =
                tables.iter().filter(|table| !is_ours(table)).partition(|table| promises(table));
            for table in promising.into_iter().chain(self.hold_texts_like(others).await?) {
                candidates.extend(self.candidate(table).await?);
            }
        }
        Ok(candidates)
    }

    /// Of tables whose names tell nothing, those with values that do.
    async fn hold_texts_like<'t>(
        &mut self,
        mut tables: Vec<&'t FoundTable>,
    ) -> Result<Vec<&'t FoundTable>, DatabaseError> {
        tables.sort_by_key(|table| table.owner);
        let mut found = Vec::new();
        for of_owner in tables.chunk_by(|one, other| one.owner == other.owner) {
            let with_columns = of_owner.iter().map(|table| (*table, columns_of(table)));
            let some: Vec<_> = with_columns.filter(|(_, columns)| !columns.is_empty()).collect();
            for some in some.chunks(TOGETHER) {
                let Some(limit) = self.time_for(some.iter().map(|(table, _)| *table)) else { continue };
                match self.database.hold_texts_like(some, ROWS, limit).await {
                    Ok(held) => {
                        found.extend(
                            some.iter().zip(held).filter(|(_, held)| *held).map(|((table, _), _)| *table),
                        );
                    }
                    // one of them spoils it for all: each by itself
                    Err(_) => found.extend(some.iter().map(|(table, _)| *table)),
                }
            }
        }
        Ok(found)
    }

    async fn candidate(&mut self, table: &FoundTable) -> Result<Option<Candidate>, DatabaseError> {
        let mut columns = columns_of(table);
        // the ids of owners are compared, to see whether one has several rows
        let is_known = |name: &str| columns.iter().any(|known| known.name == name);
        let is_id = |column: &&FoundColumn| column.readable && column.is_for_ids && !is_known(&column.name);
        let ids: Vec<&FoundColumn> = table.columns.iter().filter(is_id).take(COLUMNS).collect();
        columns.extend(ids);
        let rows = self.sample(table, &columns, None).await?;
        let names = columns.iter().map(|column| column.name.as_str()).collect();
        let mut sampled = Sampled::new(table, names, rows);
        sampled.is_complete = sampled.was_read && (sampled.rows() as u64) < ROWS && table.rows < ROWS * 10;
        self.look_again(&mut sampled, &columns).await?;
        let found = candidate(&sampled);
        if found.is_some() && table.hides_rows {
            self.left_out
                .push(format!("rows of {} that row level security may hide from this role", shown(table)));
        }
        if let Some(found) = &found {
            self.say_unreadable(table, found);
        }
        Ok(found)
    }

    fn say_unreadable(&mut self, table: &FoundTable, found: &Candidate) {
        let is_used = |column: &&FoundColumn| found.columns.values().any(|used| *used == column.name);
        let unreadable = table.columns.iter().filter(is_used).filter(|column| !column.readable);
        let columns: Vec<&str> = unreadable.map(|column| column.name.as_str()).collect();
        let what = match (table.readable, columns.is_empty()) {
            (false, _) => shown(table),
            (true, false) => format!("{} in {}", columns.join(", "), shown(table)),
            (true, true) => return,
        };
        self.left_out.push(format!("the values of {what}, which this role may not read"));
    }

    /// A value in few rows of a large table may be missing in the sample.
    async fn look_again(
        &mut self,
        sampled: &mut Sampled<'_>,
        columns: &[&FoundColumn],
    ) -> Result<(), DatabaseError> {
        let table = sampled.table;
        if sampled.is_complete || !sampled.was_read {
            return Ok(());
        }
        let is_meant = |column: &&&FoundColumn| {
            Name::of(&column.name).meaning() != Meaning::Other && column.kind != FoundKind::Enum
        };
        let is_empty = |column: &&FoundColumn| sampled.texts(&column.name).all(str::is_empty);
        let empty: Vec<&FoundColumn> =
            columns.iter().filter(is_meant).copied().filter(|column| is_empty(column)).collect();
        for column in empty.into_iter().take(SEARCHED) {
            let Some(more) = self.sample(table, columns, Some(column)).await? else { continue };
            if (more.len() as u64) < ROWS_SET {
                sampled.searched.push(column.name.clone());
            }
            sampled.add(more);
        }
        Ok(())
    }

    /// How long a look at tables may take. `None`: the time is over.
    fn time_for<'t>(&mut self, tables: impl Iterator<Item = &'t FoundTable>) -> Option<Duration> {
        let left = TIME.saturating_sub(self.started.elapsed());
        if left.is_zero() {
            self.unsampled.extend(tables.map(shown));
        }
        (!left.is_zero()).then(|| PER_TABLE.min(left))
    }

    /// `None`: nothing could be read. With `set`, only rows in which this column is set.
    async fn sample(
        &mut self,
        table: &FoundTable,
        columns: &[&FoundColumn],
        set: Option<&FoundColumn>,
    ) -> Result<Option<Vec<SampledRow>>, DatabaseError> {
        if columns.is_empty() || !table.readable {
            return Ok(None);
        }
        let Some(limit) = self.time_for(std::iter::once(table)) else { return Ok(None) };
        let most = if set.is_some() { ROWS_SET } else { ROWS };
        match self.database.sample(table, columns, set, (most, limit)).await {
            Ok(rows) => Ok(Some(rows)),
            Err(fault) if fault.error.is_retryable() && !self.database.answers().await => Err(fault),
            Err(fault) => {
                let why =
                    fault.error.sqlstate().map_or_else(String::new, |state| format!(" (SQLSTATE {state})"));
                self.left_out.push(format!("the values of {}, which could not be read{why}", shown(table)));
                Ok(None)
            }
        }
    }

    fn into_left_out(mut self) -> Vec<String> {
        self.left_out.dedup();
        if !self.unsampled.is_empty() {
            let names: Vec<&str> = self.unsampled.iter().map(String::as_str).collect();
            let (number, names) = (names.len(), some(&names));
            self.left_out.push(format!("the values of {number} tables, because the time was over: {names}"));
        }
        self.left_out
    }
}

fn no_schema(name: &str) -> Error {
    let message = format!("there is no table in schema {}", visible(name));
    Error::new(ErrorKind::NotFound, message)
        .with_hint("check its name, and that the role has USAGE on the schema")
}

/// The rank of a relation that a name of which is that of a secret.
const NAMES_SECRET: u32 = 100;

fn rank(relation: &RelationNames) -> u32 {
    let columns = relation.columns.iter().map(|column| rank_of(column)).max().unwrap_or_default();
    columns + rank_of(&relation.name)
}

/// The columns whose values are read: those whose names promise most.
fn columns_of(table: &FoundTable) -> Vec<&FoundColumn> {
    let mut columns: Vec<&FoundColumn> = table.columns.iter().filter(|column| of_interest(column)).collect();
    columns.sort_by_cached_key(|column| Reverse(rank_of(&column.name)));
    columns.truncate(COLUMNS);
    columns
}

/// Whether the names of a table or its columns are worth a sample of all its values. A `config` alone is not: many tables
/// have one.
fn promises(table: &FoundTable) -> bool {
    let ranks: Vec<u32> = table.columns.iter().map(|column| rank_of(&column.name)).collect();
    let has_config = ranks.iter().any(|rank| *rank > 0);
    let tells_provider = || table.columns.iter().any(|column| provider_column::is_called_so(&column.name));
    ranks.iter().any(|rank| *rank >= NAMES_SECRET / 2)
        || rank_of(&table.name) > 0
        || (has_config && tells_provider())
}

/// How much a name promises.
fn rank_of(name: &str) -> u32 {
    let name = Name::of(name);
    let provider =
        name.provider.map_or(0, |provider| if provider.class == Class::Retell { 1_000 } else { 50 });
    let meaning = match name.meaning() {
        Meaning::Key(clear) => NAMES_SECRET + u32::from(clear),
        Meaning::WebhookKey | Meaning::Agent(_) | Meaning::RefreshToken | Meaning::Part(_) => {
            NAMES_SECRET / 2
        }
        Meaning::Config => 30,
        Meaning::PhoneNumber | Meaning::Other => 0,
    };
    provider + meaning
}

/// A table that the vault made beside the application's, or a table in the schema of its keyring, whatever it holds: tokens
/// there would lie beside the key that opens them.
fn is_ours(table: &FoundTable) -> bool {
    table.schema == SCHEMA
        || table.schema.starts_with("retell_vault_")
        || table.name.starts_with("retell_vault_")
}

fn shown(table: &FoundTable) -> String {
    joined_name(&[&table.schema, &table.name])
}

fn some(names: &[&str]) -> String {
    match names.len() {
        0..=NAMED => names.join(", "),
        all => format!("{}, and {} more", names[..NAMED].join(", "), all - NAMED),
    }
}
