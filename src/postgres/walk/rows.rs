//! A walk over every row of the table, page by page, and the exchange of texts in the rows that it found.
//!
//! It holds no lock between two statements and remembers only the position. A later walk finds the remaining work by
//! reading the rows again.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};

use crate::error::{Error, ErrorKind};
use crate::layout::placement::{ColumnType, Placement, PlainColumn, Slot};
use crate::postgres::catalogue::table::missing_table;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Query, bind};
use crate::postgres::connection::transaction::READ_ONLY;
use crate::postgres::statements::answer::{clock, json_state, owner_of, parse_owner};
use crate::postgres::statements::bind::bind_all;
use crate::postgres::statements::found_records::JsonState;
use crate::postgres::statements::fragments::{Bound, Forms, Writer};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::walk::cursor::{Cursor, Position};
use crate::postgres::walk::pages::{Pages, Sought};
use crate::record::field::{Field, Fields};
use crate::record::owner::Owner;
use crate::record::token::{KeyId, start_under};
use crate::record::version::Millis;

/// The start of an exchange. It waits this long for a locked row.
pub(in crate::postgres) const PATIENTLY: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '250ms'";

/// The replica lag, and whether the role may not read it.
const LAG: &str = "SELECT coalesce(pg_catalog.max(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), replay_lsn)), 0)::pg_catalog.int8, \
 coalesce(pg_catalog.bool_or(state IS NULL), false) FROM pg_catalog.pg_stat_replication";

/// The rows between two positions: after the first, up to and including the second.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stretch {
    pub(crate) after: Option<Position>,
    pub(crate) until: Option<Position>,
}

/// A row that holds text that the walk searches for.
#[derive(Debug, Clone)]
pub(crate) struct FoundRow {
    position: Position,
    /// The owner as stored in the row, for messages.
    pub(crate) name: String,
    /// `None` if the row's owner is not valid.
    pub(crate) owner: Option<Owner>,
    pub(crate) texts: RowTexts,
    pub(crate) json: JsonState,
    /// The database's clock.
    pub(crate) now: Millis,
}

/// The current or new texts of the columns of a walk in one row.
#[derive(Debug, Clone)]
pub(crate) struct RowTexts {
    /// The text of every slot. For the JSONB column only the vault's member.
    pub(crate) slots: Vec<Option<String>>,
    /// The text of every plain column.
    pub(crate) plain: Vec<Option<String>>,
}

impl RowTexts {
    /// Their size in bytes as parameters of a statement.
    fn len(&self) -> usize {
        self.slots.iter().chain(&self.plain).map(|text| 5 + text.as_ref().map_or(0, String::len)).sum()
    }
}

/// One page of a walk.
pub(crate) struct Page {
    /// The number of all rows of the page, whether they need work or not.
    pub(crate) rows: u64,
    pub(crate) found: Vec<FoundRow>,
    /// The position of the last row. `None` if the page is empty.
    pub(crate) last: Option<Position>,
}

/// New texts for the columns of a row. A column that stays has its old text.
pub(crate) struct Exchange {
    pub(crate) found: FoundRow,
    pub(crate) new: RowTexts,
}

/// A walk over the table as the catalogue describes it now.
pub(crate) struct TableWalk {
    cursor: Cursor,
    /// The statement that makes a transaction run as the owner of the table. `None` if the session is the owner already,
    /// or may not act as the owner.
    act: Option<String>,
    sought: Sought,
    pub(crate) slots: Vec<Slot>,
    /// The plain columns that an exchange may set.
    pub(crate) plain: Vec<PlainColumn>,
    pub(crate) fields: Fields,
    pub(crate) placement: Placement,
    /// One text for each combination: from the start or after a position, to the end or up to a position.
    pages: [[Arc<str>; 2]; 2],
    exchange: Arc<str>,
    middle: Arc<str>,
    count: Arc<str>,
    count_found: Arc<str>,
}

impl TableWalk {
    fn new(
        writer: &Writer<'_>,
        (cursor, act): (Cursor, Option<String>),
        sought: Sought,
        slots: Vec<Slot>,
        plain: Vec<PlainColumn>,
        batch: u32,
    ) -> Self {
        let texts = Pages { writer, cursor: &cursor, sought, slots: &slots, plain: &plain };
        let page = |after, until| texts.page(batch, after, until).into();
        let pages = [[page(false, false), page(false, true)], [page(true, false), page(true, true)]];
        let exchange = texts.exchange().into();
        let relation = writer.relation();
        let (selected, order, has_position) = (cursor.selected(), cursor.order(), cursor.has_position());
        let middle = format!(
            "SELECT {selected} FROM {relation} AS t WHERE {has_position} ORDER BY {order} OFFSET $1::pg_catalog.int8 LIMIT 1"
        );
        let count = format!("SELECT pg_catalog.count(*) FROM {relation} AS t");
        let count_found = format!("{count} WHERE {}", texts.holds_sought());
        let (middle, count, count_found) = (middle.into(), count.into(), count_found.into());
        let (fields, placement) = (writer.layout.fields.clone(), writer.placement.clone());
        Self {
            pages,
            exchange,
            middle,
            count,
            count_found,
            cursor,
            act,
            sought,
            slots,
            plain,
            fields,
            placement,
        }
    }

    /// The arguments of a search, before any position.
    fn sought(&self, primary: KeyId) -> Result<PgArguments, DatabaseError> {
        let mut arguments = PgArguments::default();
        if self.sought == Sought::OtherKeys {
            bind(&mut arguments, start_under(primary))?;
        }
        Ok(arguments)
    }
}

/// The transactions that have written to a table and have not ended, also prepared ones. Parameter: the table.
const WRITERS: &str = "SELECT DISTINCT l.virtualtransaction FROM pg_locks AS l
    WHERE l.relation = to_regclass($1) AND l.mode = 'RowExclusiveLock' AND l.granted
      AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())";

impl Postgres {
    /// The transactions that have written to the table and have not ended.
    pub(crate) async fn writers(&self) -> Result<Vec<String>, DatabaseError> {
        let mut arguments = PgArguments::default();
        bind(&mut arguments, self.relation())?;
        let rows = self.database.inspect(Query { sql: WRITERS.into(), arguments }).await?;
        let names: sqlx::Result<_> = rows.iter().map(|row| row.try_get(0)).collect();
        names.map_err(|error| DatabaseError::of(&error, Phase::Reading))
    }

    /// Plans a walk over every existing slot that searches for text that is not under the primary key, with at most
    /// `batch` rows per page. `without` names a column to leave out, for a test of the token count.
    pub(crate) async fn walk(
        &self,
        plan: &Plan,
        batch: u32,
        without: Option<&str>,
    ) -> Result<TableWalk, DatabaseError> {
        let slots = plan.placement.slots.iter().filter(|slot| Some(&*slot.column) != without);
        self.walk_for(plan, Sought::OtherKeys, slots.cloned().collect(), Vec::new(), batch).await
    }

    /// Plans a walk over every existing slot that searches for tokens that are not in the slot of the placement.
    pub(crate) async fn walk_misplaced(&self, plan: &Plan, batch: u32) -> Result<TableWalk, DatabaseError> {
        let (slots, plain) = (plan.placement.slots.clone(), plan.placement.plain.clone());
        self.walk_for(plan, Sought::Misplaced, slots, plain, batch).await
    }

    /// Plans a walk over every existing slot that searches for tokens. The column of the blind index is the last of its plain
    /// columns. `None` if there is no such column.
    pub(crate) async fn walk_index(
        &self,
        plan: &Plan,
        batch: u32,
    ) -> Result<Option<TableWalk>, DatabaseError> {
        let Some(column) = plan.placement.index.clone() else { return Ok(None) };
        let (slots, mut plain) = (plan.placement.slots.clone(), plan.placement.plain.clone());
        plain.push(PlainColumn {
            field: Field::RECORD,
            column,
            kind: ColumnType::ByteaArray,
            not_null: false,
            unset: "",
            is_indexed: false,
        });
        self.walk_for(plan, Sought::Tokens, slots, plain, batch).await.map(Some)
    }

    async fn walk_for(
        &self,
        plan: &Plan,
        sought: Sought,
        slots: Vec<Slot>,
        plain: Vec<PlainColumn>,
        batch: u32,
    ) -> Result<TableWalk, DatabaseError> {
        let (table, _) = plan.work()?;
        let cursor = Cursor::find(&self.database, self.layout(), table).await?;
        let writer = Writer { layout: self.layout(), table, placement: &plan.placement, forms: Forms::One };
        let act = self.database.acts_as_owner(&self.relation()).await?;
        Ok(TableWalk::new(&writer, (cursor, act), sought, slots, plain, batch))
    }

    /// The number of rows.
    pub(crate) async fn count_rows(&self, walk: &TableWalk) -> Result<u64, DatabaseError> {
        self.count(walk.count.clone(), PgArguments::default()).await
    }

    /// The number of rows that hold text that the walk searches for.
    pub(crate) async fn count_found(&self, walk: &TableWalk, primary: KeyId) -> Result<u64, DatabaseError> {
        self.count(walk.count_found.clone(), walk.sought(primary)?).await
    }

    async fn count(&self, sql: Arc<str>, arguments: PgArguments) -> Result<u64, DatabaseError> {
        let rows = self.database.fetch_from_all_rows(&[&self.relation()], Query { sql, arguments }).await?;
        first_count(&rows)
    }

    /// Divides the whole table into stretches of about the same number of rows.
    pub(crate) async fn stretches(
        &self,
        walk: &TableWalk,
        rows: u64,
        parts: u32,
    ) -> Result<Vec<Stretch>, DatabaseError> {
        let mut borders = Vec::new();
        for part in 1..u64::from(parts.max(1)) {
            let mut arguments = PgArguments::default();
            bind(&mut arguments, (rows / u64::from(parts) * part) as i64)?;
            let found = self
                .database
                .fetch_from_all_rows(&[&self.relation()], Query { sql: walk.middle.clone(), arguments })
                .await?;
            borders.extend(found.first().map(|row| walk.cursor.position(row)).transpose()?);
        }
        borders.dedup();
        let starts = std::iter::once(None).chain(borders.iter().cloned().map(Some));
        let ends = borders.iter().cloned().map(Some).chain([None]);
        Ok(starts.zip(ends).map(|(after, until)| Stretch { after, until }).collect())
    }

    /// The next page of a stretch.
    ///
    /// # Errors
    /// Errors of the database, and `Redetect` if the schema has changed since the walk was planned.
    pub(crate) async fn page(
        &self,
        walk: &TableWalk,
        stretch: &Stretch,
        primary: KeyId,
    ) -> Result<Page, DatabaseError> {
        let sql = &walk.pages[usize::from(stretch.after.is_some())][usize::from(stretch.until.is_some())];
        let mut arguments = walk.sought(primary)?;
        let positions = [&stretch.after, &stretch.until].into_iter().flatten().flatten();
        positions.cloned().try_for_each(|text| bind(&mut arguments, text))?;
        let query = Query { sql: sql.clone(), arguments };
        let mut page = Page { rows: 0, found: Vec::new(), last: None };
        let each = |row: &PgRow| {
            page.rows += 1;
            page.last = Some(walk.cursor.position(row)?);
            read_into(&mut page.found, row, &walk.cursor)
        };
        match &walk.act {
            None => self.database.fetch_each(query, each).await?,
            Some(act) => {
                let begin = format!("{READ_ONLY}; {act}").into();
                let rows = self.database.begun_with(begin, query, Phase::Reading).await?;
                rows.iter().try_for_each(each)?;
            }
        }
        Ok(page)
    }

    /// Replaces old texts by new ones with one statement, in rows whose columns still hold exactly the texts that the
    /// walk found. Returns the number of these rows.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn exchange(
        &self,
        walk: &TableWalk,
        exchanges: &[Exchange],
    ) -> Result<u64, DatabaseError> {
        let mut arguments = PgArguments::default();
        let length: usize =
            exchanges.iter().map(|exchange| exchange.found.texts.len() + exchange.new.len()).sum();
        sqlx::Arguments::reserve(&mut arguments, 2 * (walk.slots.len() + walk.plain.len()), length);
        for at in 0..walk.cursor.width() {
            bind(&mut arguments, column(exchanges, |exchange| exchange.found.position[at].as_str()))?;
        }
        for at in 0..walk.slots.len() {
            bind(&mut arguments, column(exchanges, |exchange| exchange.found.texts.slots[at].as_deref()))?;
        }
        for (at, slot) in walk.slots.iter().enumerate() {
            let new = column(exchanges, |exchange| exchange.new.slots[at].as_deref());
            bind_all(&mut arguments, Bound::of_slot(slot), &new)?;
        }
        for at in 0..walk.plain.len() {
            bind(&mut arguments, column(exchanges, |exchange| exchange.found.texts.plain[at].as_deref()))?;
        }
        for (at, plain) in walk.plain.iter().enumerate() {
            let new = column(exchanges, |exchange| exchange.new.plain[at].as_deref());
            bind_all(&mut arguments, Bound::of_plain(plain), &new)?;
        }
        let query = Query { sql: walk.exchange.clone(), arguments };
        let begin = match &walk.act {
            None => PATIENTLY.into(),
            Some(act) => format!("{PATIENTLY}; {act}").into(),
        };
        let rows = self.database.begun_with(begin, query, Phase::Writing).await?;
        first_count(&rows)
    }

    /// The bytes of WAL that the slowest replica has not applied yet. Zero without replicas.
    ///
    /// # Errors
    /// `AccessDenied` if the role may not read it.
    pub(crate) async fn replica_lag(&self) -> Result<u64, DatabaseError> {
        let query = Query { sql: LAG.into(), arguments: PgArguments::default() };
        let rows = self.database.fetch(query, Phase::Reading).await?;
        let get = |error: sqlx::Error| DatabaseError::of(&error, Phase::Reading);
        let Some(row) = rows.first() else { return Ok(0) };
        if row.try_get(1).map_err(get)? {
            let error =
                Error::new(ErrorKind::AccessDenied, "this role may not read how far the replicas lag behind");
            return Err(error.with_hint("GRANT pg_monitor to the role that connects").into());
        }
        let lag: i64 = row.try_get(0).map_err(get)?;
        Ok(lag.try_into().unwrap_or(0))
    }

    /// Refuses to continue without a table, because its records may be elsewhere and were not counted.
    ///
    /// # Errors
    /// `Schema` if the default table is missing.
    pub(crate) async fn refuse_without_table(&self) -> Result<(), DatabaseError> {
        match self.plan().await?.has_table() {
            true => Ok(()),
            false => Err(missing_table(self.layout()).into()),
        }
    }
}

/// The count in the first column of an answer.
fn first_count(rows: &[PgRow]) -> Result<u64, DatabaseError> {
    let count = rows.first().map_or(Ok(0), |row| row.try_get::<i64, _>(0));
    let count = count.map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
    Ok(count.try_into().unwrap_or(0))
}

fn column<'a, T>(exchanges: &'a [Exchange], value: impl Fn(&'a Exchange) -> T) -> Vec<T> {
    exchanges.iter().map(value).collect()
}

/// Adds a row that needs work.
fn read_into(found: &mut Vec<FoundRow>, row: &PgRow, cursor: &Cursor) -> Result<(), DatabaseError> {
    let get = |error: sqlx::Error| DatabaseError::of(&error, Phase::Reading);
    let first = cursor.width();
    let slots: Option<Vec<Option<String>>> = row.try_get(first + 2).map_err(get)?;
    if let Some(slots) = slots {
        let owner = owner_of(row, first)?;
        let name = match &owner {
            (Some(tenant), user) => format!("{tenant}/{user}"),
            (None, user) => user.clone(),
        };
        found.push(FoundRow {
            position: cursor.position(row)?,
            name,
            owner: parse_owner(owner),
            texts: RowTexts { slots, plain: row.try_get(first + 3).map_err(get)? },
            json: json_state(row, first + 4)?,
            now: clock(row, first + 5)?,
        });
    }
    Ok(())
}
