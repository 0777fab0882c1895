//! The state of the database, the local file and the keys.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

#[cfg(feature = "cli")]
use crate::display::displayed;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::keys::KeyInfo;
use crate::keyring::subkeys::INDEX;
use crate::layout::layout::Layout;
use crate::layout::placement::{Place, Placement};
use crate::postgres::connection::errors::Outcome;
use crate::postgres::connection::pool::Query;
use crate::postgres::sql::names::{literal, quote, relation};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::walk::token_count::counted_columns;
use crate::postgres::walk::tokens_outside::not_looked_at;
use crate::record::field::Field;
use crate::rotation::evidence::out_of_reach;
use crate::store::core::Core;
use crate::store::keyring_check::wrong_keyring;
use crate::store::waiting_entries::LedgerBacklog;

/// The time limit for searching a record that is not in the index.
const INDEX_LIMIT: Duration = Duration::from_millis(500);

/// The state of a vault.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// The database, if one was named.
    pub database: Option<DatabaseStatus>,
    /// Where a write would put every field now.
    pub writes: Vec<(Field, Place)>,
    /// The local file, if there is one.
    pub local: Option<LocalStatus>,
    /// Where the keyring lies, in words: the path of its file, or another source.
    pub keyring: String,
    /// Why nothing is sealed with the keyring, if so: an older generation is in its place, for example. What is stored opens.
    pub keyring_problem: Option<Error>,
    /// Of a keyring in the database: the generation of the copy in the local file. Without a copy the process cannot start while
    /// the database is away.
    pub keyring_copy: Option<u64>,
    /// The keys, oldest first.
    pub keys: Vec<KeyInfo>,
    /// Where tokens may lie that no count can see, in words.
    pub out_of_reach: Vec<String>,
    /// Reads and refused operations of this process that the [ledger](crate::ledger) does not have yet.
    pub ledger: LedgerBacklog,
}

/// The state of the database.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DatabaseStatus {
    /// Host, port and database name.
    pub address: String,
    /// The table, with its schema.
    pub table: String,
    /// Whether it answers.
    pub reachable: bool,
    /// What is wrong: why it does not answer, or why nothing can be stored in it.
    pub problem: Option<Error>,
    /// Whether every operation runs in a transaction of its own, for a transaction pooler.
    pub transaction_pooler: bool,
    /// Whether the server waits for its disk (`fsync`); absent when it does not answer. Where it does not, a crash of its machine
    /// may lose what was acknowledged.
    pub fsync: Option<bool>,
    /// Whether callers are being kept from waiting for a dead server.
    pub breaker_open: bool,
    /// The columns that can hold tokens.
    pub slots: Vec<SlotStatus>,
    /// The index by which owners are found; absent if the table has no column for it.
    pub index: Option<IndexStatus>,
    /// Columns that could hold a plain field in the clear and are not used, because they may be the application's own.
    pub left_alone: Vec<LeftAlone>,
    /// Columns that can hold tokens and that the layout does not name, and tables that inherit from the table. A count looks at a
    /// sample
    /// of them, and before a key is destroyed at all of them.
    pub not_looked_at: Vec<String>,
}

/// The index by which owners are found.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[non_exhaustive]
pub struct IndexStatus {
    /// Its column.
    pub column: String,
    /// Whether look-ups can use it: the column has a valid GIN index, and the keyring has a key for the index.
    pub usable: bool,
    /// Whether every record has its entries; absent if the database did not answer within half a second.
    pub complete: Option<bool>,
}

/// A column that the vault does not use without consent.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LeftAlone {
    /// The field that it could hold. Its value is sealed instead.
    #[cfg_attr(feature = "cli", serde(serialize_with = "displayed"))]
    pub field: Field,
    /// The name of the column.
    pub column: String,
    /// SQL that gives the column to the vault: it sets the column's comment. [`Layout::column`](crate::Layout::column) does
    /// the same for one process.
    pub adopt: String,
}

/// A column that can hold tokens.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SlotStatus {
    /// Its name.
    pub column: String,
    /// Whether it is the JSONB config column; else it is a text column.
    pub json: bool,
    /// The fields that a write puts there.
    pub fields: Vec<Field>,
}

/// The state of the local file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LocalStatus {
    /// Its path.
    pub path: PathBuf,
    /// Records that are not in the database yet. Without a database: all records.
    pub pending: u64,
    /// Those of them that the database has refused so far, or that wait for another table, filter or database. A sync also names
    /// what it left for another reason, which is noted nowhere.
    pub blocked: u64,
    /// Copies for reads while the database is down.
    pub replicas: u64,
    /// Records that lost against a newer one.
    pub losers: u64,
    /// Texts that could not be read and were replaced.
    pub replaced: u64,
    /// Records that the database refused.
    pub dead_letters: u64,
    /// Entries of the [ledger](crate::ledger) about changes of this file. The next sync sends them.
    pub unsent_entries: u64,
    /// Damaged local files that were set aside.
    pub set_aside: Vec<PathBuf>,
}

impl Status {
    /// The worst problem, if there is one: why nothing can be stored in the database, why nothing is sealed, or why the ledger takes
    /// no reads.
    pub fn problem(&self) -> Option<&Error> {
        let database = self.database.as_ref().and_then(|database| database.problem.as_ref());
        self.keyring_problem.as_ref().or(database).or(self.ledger.problem.as_ref())
    }
}

pub(super) async fn status(core: &Core) -> Result<Status> {
    let fields: Vec<Field> = core.fields.each().map(|(field, _)| field).collect();
    let mut writes: Vec<_> = fields.into_iter().map(|field| (field, Place::Local)).collect();
    let database = match &core.postgres {
        Some(postgres) => Some(database_status(core, postgres, &mut writes).await),
        None => None,
    };
    let local = match &core.local {
        None => None,
        Some(local) => {
            let counts = local.counts().await?;
            Some(LocalStatus {
                path: local.path().to_owned(),
                pending: counts.pending,
                blocked: local.blocked(&core.rows()).await?,
                replicas: counts.replicas,
                losers: counts.superseded,
                replaced: counts.replaced,
                dead_letters: counts.dead_letters,
                unsent_entries: local.count_unsent().await?,
                set_aside: local.set_aside(),
            })
        }
    };
    let keyring_problem = core.keyring.for_sealing().err();
    let (keyring, keys) = (core.keyring.place(), core.keyring.keys());
    let keyring_copy = match &core.local {
        Some(local) if core.keyring.is_in_table() => {
            local.sealed_keyring().await?.map(|(generation, _)| generation)
        }
        _ => None,
    };
    let out_of_reach = out_of_reach(core).await?;
    let ledger = core.ledger.backlog();
    Ok(Status { database, writes, local, keyring, keyring_problem, keyring_copy, keys, out_of_reach, ledger })
}

/// Says where `writes` go, if the database tells.
async fn database_status(core: &Core, postgres: &Postgres, writes: &mut [(Field, Place)]) -> DatabaseStatus {
    let mut status = DatabaseStatus {
        address: postgres.database.address(),
        table: postgres.table_name(),
        reachable: true,
        problem: None,
        transaction_pooler: postgres.database.is_transactional(),
        fsync: None,
        breaker_open: core.breaker.is_open(Instant::now()),
        slots: Vec::new(),
        index: None,
        left_alone: Vec::new(),
        not_looked_at: Vec::new(),
    };
    let plan = match postgres.refresh().await {
        Ok(plan) => plan,
        Err(fault) => {
            core.note(&fault).await;
            status.reachable = !matches!(fault.outcome, Outcome::Fallback | Outcome::Ambiguous);
            if status.reachable {
                status.fsync = waits_for_disk(postgres).await;
            }
            status.problem = Some(fault.error);
            return status;
        }
    };
    core.breaker.success();
    status.fsync = waits_for_disk(postgres).await;
    let placement = &plan.placement;
    writes.iter_mut().for_each(|(field, place)| *place = placement.place(*field));
    status.slots = slots(placement, writes);
    status.index = index(core, postgres, &plan).await;
    status.left_alone = placement.left_alone.iter().map(|left| left_alone(postgres.layout(), left)).collect();
    status.not_looked_at = outside_of_layout(postgres, &plan).await;
    status.problem = match problem(postgres, &plan) {
        None => match postgres.database.takes_writes().await {
            Ok(false) => Some(postgres.database.why_read_only().await),
            _ => wrong_keyring(core).await,
        },
        problem => problem,
    };
    status
}

/// Why nothing can be stored in the table.
fn problem(postgres: &Postgres, plan: &Plan) -> Option<Error> {
    let found = plan.some_table(postgres.layout()).and_then(|_| postgres.check_writable(plan));
    match found {
        Err(error) => Some(error),
        Ok(()) => plan.placement.is_local().then(|| Error::new(ErrorKind::Schema, postgres.no_room())),
    }
}

async fn index(core: &Core, postgres: &Postgres, plan: &Plan) -> Option<IndexStatus> {
    let column = plan.placement.index.as_deref()?;
    let finds = plan.some_table(postgres.layout()).is_ok_and(|table| table.finds_by(column, "gin"));
    let usable = finds && core.keyring.current().subkeys.newest(INDEX).is_some();
    let complete = match plan.has_slots() {
        true => postgres.has_unindexed_within(plan, INDEX_LIMIT).await.ok().map(|has_some| !has_some),
        false => None,
    };
    Some(IndexStatus { column: column.to_owned(), usable, complete })
}

async fn waits_for_disk(postgres: &Postgres) -> Option<bool> {
    let sql = "SELECT pg_catalog.current_setting('fsync')::pg_catalog.bool";
    let query = Query { sql: sql.into(), arguments: PgArguments::default() };
    let rows = postgres.database.inspect(query).await.ok()?;
    rows.first()?.try_get(0).ok()
}

async fn outside_of_layout(postgres: &Postgres, plan: &Plan) -> Vec<String> {
    let columns = postgres.text_columns().await.unwrap_or_default();
    let columns: Vec<_> = columns.into_iter().filter(|column| !column.own).collect();
    not_looked_at(postgres.layout(), &columns, &counted_columns(postgres.layout(), plan))
}

fn slots(placement: &Placement, places: &[(Field, Place)]) -> Vec<SlotStatus> {
    let slots = placement.slots.iter();
    let slot = slots.map(|slot| {
        let here = |(field, place): &(Field, Place)| {
            let is_plain = placement.plain_column(*field).is_some();
            (!is_plain && place.column() == Some(&slot.column)).then_some(*field)
        };
        let fields = places.iter().filter_map(here).collect();
        SlotStatus { column: slot.column.to_string(), json: slot.json, fields }
    });
    slot.collect()
}

pub(super) fn left_alone(layout: &Layout, (field, column): &(Field, String)) -> LeftAlone {
    let adopt = format!(
        "COMMENT ON COLUMN {}.{} IS {}",
        relation(layout),
        quote(column),
        literal(&layout.comment_for(*field))
    );
    LeftAlone { field: *field, column: column.clone(), adopt }
}
