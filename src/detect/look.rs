//! Looks at the tables of a database, within limits.

use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::detect::candidate::{LEAD, candidate};
use crate::detect::names::{Meaning, Name};
use crate::detect::providers::Class;
use crate::detect::report::{Candidate, DetectOptions, Detection};
use crate::detect::sampled::Sampled;
use crate::detect::whose::of_interest;
use crate::display::visible;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::layout::{Layout, joined_name};
use crate::postgres::catalogue::all_tables::{
    FoundColumn, FoundKind, FoundTable, RelationNames, SampledRow, Sampling,
};
use crate::postgres::connection::errors::DatabaseError;
use crate::postgres::connection::pool::Database;

/// The most tables that are described and sampled.
const TABLES: usize = 2_000;
/// The most rows that are read of a table.
const ROWS: u64 = 1_000;
/// How long tables are sampled.
const TIME: Duration = Duration::from_secs(24);
/// How long the sample of one table may take.
const PER_TABLE: Duration = Duration::from_secs(2);
/// The most columns of a large table that are searched for a value, and the most rows that are then read.
const SEARCHED: usize = 6;
const AGAIN: u64 = 50;
/// The most columns whose values are read.
const COLUMNS: usize = 64;
/// How values of Retell start, and tokens.
const STARTS: [&str; 2] = ["key_", "agent_"];
/// The most relations that are named in one list.
const NAMED: usize = 20;

/// A table, ordered by how much its names promise.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    /// The heap gives the lowest first.
    rank: std::cmp::Reverse<u32>,
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
    Ok(Detection { chosen, candidates, left_out: look.into_left_out() })
}

/// The first candidate, if it names Retell and leads clearly.
fn leading(candidates: &[Candidate]) -> Option<usize> {
    let best = candidates.first().filter(|best| best.names_retell() && best.has_key())?;
    let second = candidates.get(1).map_or(i32::MIN, |second| second.score);
    (best.score >= second.saturating_add(LEAD)).then_some(0)
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
                    'r' | 'p' => heap.push(Ranked { rank: std::cmp::Reverse(rank), name, oid: relation.oid }),
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
        for some in oids.chunks(100) {
            for table in self.database.described(some).await? {
                if is_ours(&table) {
                    continue;
                }
                candidates.extend(self.candidate(&table).await?);
            }
        }
        Ok(candidates)
    }

    async fn candidate(&mut self, table: &FoundTable) -> Result<Option<Candidate>, DatabaseError> {
        let mut columns: Vec<&FoundColumn> =
            table.columns.iter().filter(|column| of_interest(column)).collect();
        columns.sort_by_key(|column| std::cmp::Reverse(rank_of(&column.name)));
        columns.truncate(COLUMNS);
        // the ids of owners are compared, to see whether one has several rows
        let is_known = |name: &str| columns.iter().any(|known| known.name == name);
        let is_id = |column: &&FoundColumn| column.readable && column.is_for_ids && !is_known(&column.name);
        let ids: Vec<&FoundColumn> = table.columns.iter().filter(is_id).take(COLUMNS).collect();
        // names count where values may not be read, too
        let promises = |name: &str| rank_of(name) > 0;
        let promising = table.columns.iter().any(|column| promises(&column.name)) || promises(&table.name);
        let rows = match promising {
            true => {
                columns.extend(ids);
                self.sample(table, &columns, Sampling::first(ROWS)).await?
            }
            // nothing is called so: only its values could tell
            false => {
                let starting: Vec<_> =
                    columns.iter().flat_map(|column| STARTS.map(|start| (*column, start))).collect();
                let which = Sampling { most: 50, starting: &starting, with: None };
                match starting.is_empty() {
                    true => None,
                    false => self.sample(table, &columns, which).await?.filter(|rows| !rows.is_empty()),
                }
            }
        };
        if rows.is_none() && !promising {
            return Ok(None);
        }
        let names = columns.iter().map(|column| column.name.as_str()).collect();
        let mut sampled = Sampled::new(table, names, rows);
        sampled.is_complete =
            promising && sampled.was_read && (sampled.rows() as u64) < ROWS && table.rows < ROWS * 10;
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
            let which = Sampling { most: AGAIN, starting: &[], with: Some(column) };
            let Some(more) = self.sample(table, columns, which).await? else { continue };
            if (more.len() as u64) < AGAIN {
                sampled.searched.push(column.name.clone());
            }
            sampled.add(more);
        }
        Ok(())
    }

    /// `None`: nothing could be read.
    async fn sample(
        &mut self,
        table: &FoundTable,
        columns: &[&FoundColumn],
        which: Sampling<'_>,
    ) -> Result<Option<Vec<SampledRow>>, DatabaseError> {
        if columns.is_empty() || !table.readable {
            return Ok(None);
        }
        let left = TIME.saturating_sub(self.started.elapsed());
        if left.is_zero() {
            self.unsampled.push(shown(table));
            return Ok(None);
        }
        match self.database.sample(table, columns, which, PER_TABLE.min(left)).await {
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

/// A table that the vault made beside the application's.
fn is_ours(table: &FoundTable) -> bool {
    table.schema.starts_with("retell_vault_") || table.name.starts_with("retell_vault_")
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
