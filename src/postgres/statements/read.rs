//! Reads the rows of owners.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};

use crate::display::visible;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::layout::shown;
use crate::postgres::connection::acting_owner::{Until, act_as_owner};
use crate::postgres::connection::callers_transaction::CallersTransaction;
use crate::postgres::connection::errors::{DatabaseError, Outcome, Phase};
use crate::postgres::connection::pool::{Query, bind as bind_value};
use crate::postgres::connection::transaction::setting;
use crate::postgres::statements::answer::{Answer, OwnerText, owner_of};
use crate::postgres::statements::bind;
use crate::postgres::statements::found_records::Row;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::record::field::Field;
use crate::record::owner::Owner;
use crate::record::record::Record;
use crate::record::token::KeyId;
use crate::record::version::Millis;

/// The result of a read.
pub(crate) struct FoundRows {
    pub(crate) rows: Vec<Row>,
    /// The database's clock. Zero without a row.
    pub(crate) now: Millis,
}

/// A row of a list.
pub(crate) struct ListedRow {
    /// The owner as stored in the database, cut beyond the longest possible id.
    pub(crate) owner: OwnerText,
    pub(crate) row: Row,
    /// The database's clock.
    pub(crate) now: Millis,
}

impl Postgres {
    /// The rows of one owner.
    pub(crate) async fn read(&self, plan: &Plan, owner: &Owner) -> Result<FoundRows, DatabaseError> {
        let rows = self.database.fetch(self.read_query(plan, owner)?, Phase::Reading).await?;
        read_rows(plan, &rows)
    }

    /// As [`read`](Self::read), in a transaction of the caller. A table without a column for tokens has no rows to read.
    pub(crate) async fn read_in(
        &self,
        transaction: &mut CallersTransaction<'_>,
        plan: &Plan,
        owner: &Owner,
    ) -> Result<FoundRows, DatabaseError> {
        if !plan.has_slots() {
            return read_rows(plan, &[]);
        }
        read_rows(plan, &transaction.fetch(self.read_query(plan, owner)?).await?)
    }

    /// The record of an owner whose row holds only that, as nearly every row does. `None` means that a full
    /// [`read`](Self::read) is needed.
    pub(crate) async fn read_record(
        &self,
        plan: &Plan,
        owner: &Owner,
    ) -> Result<Option<Record>, DatabaseError> {
        if !plan.has_one_row(owner) {
            return Ok(None);
        }
        let (table, statements) = plan.work_for(owner)?;
        let query = Query { sql: statements.read_short.clone(), arguments: bind::owner(self, table, owner)? };
        match self.database.fetch(query, Phase::Reading).await?.as_slice() {
            [row] => Answer { row, first: 0, placement: &plan.placement }.only_record(),
            _ => Ok(None),
        }
    }

    /// The statement of [`read`](Self::read). [`read_rows`] parses the result.
    pub(crate) fn read_query(&self, plan: &Plan, owner: &Owner) -> Result<Query, DatabaseError> {
        let (table, statements) = plan.work_for(owner)?;
        Ok(Query { sql: statements.read.clone(), arguments: bind::owner(self, table, owner)? })
    }

    /// The server's plan for [`read`](Self::read), as the JSON of EXPLAIN. Nothing is run. The server gives up after the
    /// limit, with `Busy`.
    pub(crate) async fn explain_read(
        &self,
        plan: &Plan,
        owner: &Owner,
        limit: Duration,
    ) -> Result<serde_json::Value, DatabaseError> {
        let Query { sql, arguments } = self.read_query(plan, owner)?;
        let query = Query { sql: format!("EXPLAIN (FORMAT JSON) {sql}").into(), arguments };
        let rows = self.database.inspect_within(limit, &self.relation(), query).await?;
        let odd = || Error::new(ErrorKind::Schema, "the server's plan is not as expected");
        let json: String = rows
            .first()
            .ok_or_else(odd)?
            .try_get_unchecked(0)
            .map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
        serde_json::from_str(&json).map_err(|_| odd().into())
    }

    /// Reads the rows of many owners with one statement, and passes on each row as it arrives, with the index of its
    /// owner in `owners`. An owner may have several rows: for different forms of its ids, or because it is stored twice.
    ///
    /// # Errors
    /// Errors of the database, and `Redetect` if the schema has changed in the meantime.
    pub(crate) async fn read_many(
        &self,
        plan: &Plan,
        owners: &[&Owner],
        mut each: impl FnMut(usize, Answer<'_>) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let (table, statements) = plan.work()?;
        let mut arguments = PgArguments::default();
        let places = bind::owners(&mut arguments, table, owners)?;
        let query = Query { sql: statements.read_many.clone(), arguments };
        let handed_over = self.database.fetch_each(query, |row| {
            let place: i64 = row.try_get(0).map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
            let at = usize::try_from(place - 1).ok().and_then(|at| places.get(at));
            match at {
                Some(at) => each(*at, Answer { row, first: 1, placement: &plan.placement }),
                None => Ok(()),
            }
        });
        handed_over.await
    }

    /// The first `limit` rows with tokens after a tenant and a user, in this order, and all further rows of the last
    /// owner.
    pub(crate) async fn list(
        &self,
        plan: &Plan,
        after: Option<(&str, &str)>,
        limit: u32,
    ) -> Result<Vec<ListedRow>, DatabaseError> {
        let (_, statements) = plan.work()?;
        let mut arguments = PgArguments::default();
        let (tenant, user) = after.unzip();
        bind_value(&mut arguments, tenant)?;
        bind_value(&mut arguments, user)?;
        bind_value(&mut arguments, i64::from(limit))?;
        let query = Query { sql: statements.list.clone(), arguments };
        let rows = self.database.inspect_as_owner(&self.relation(), query).await?;
        listed_rows(plan, &rows)
    }

    /// The rows whose index column holds one of these entries, at most `limit`.
    ///
    /// # Errors
    /// `NotIndexed` without an index column, or without a GIN index on it.
    pub(crate) async fn find(
        &self,
        plan: &Plan,
        entries: &[Vec<u8>],
        limit: u32,
    ) -> Result<Vec<ListedRow>, DatabaseError> {
        let (table, statements) = plan.work()?;
        let column = plan.placement.index.as_deref();
        let sql =
            statements.find.clone().filter(|_| column.is_some_and(|column| table.finds_by(column, "gin")));
        let mut arguments = PgArguments::default();
        bind_value(&mut arguments, entries)?;
        self.find_rows(
            plan,
            sql.ok_or_else(|| self.not_indexed(&self.layout.index_column))?,
            arguments,
            limit,
        )
        .await
    }

    /// The rows whose plain column of a field holds this value, at most `limit`.
    ///
    /// # Errors
    /// `NotIndexed` without an index whose first column this is.
    pub(crate) async fn find_plain(
        &self,
        plan: &Plan,
        (field, value): (Field, &str),
        limit: u32,
    ) -> Result<Vec<ListedRow>, DatabaseError> {
        let (table, statements) = plan.work()?;
        let column =
            plan.placement.plain_column(field).map(|plain| plain.column.as_ref()).unwrap_or_default();
        let find = statements.find_plain.iter().find(|(found, _)| *found == field);
        let sql = find.filter(|_| table.finds_by(column, "btree")).map(|(_, sql)| sql.clone());
        let mut arguments = PgArguments::default();
        bind_value(&mut arguments, value)?;
        self.find_rows(plan, sql.ok_or_else(|| self.not_indexed(column))?, arguments, limit).await
    }

    async fn find_rows(
        &self,
        plan: &Plan,
        sql: Arc<str>,
        mut arguments: PgArguments,
        limit: u32,
    ) -> Result<Vec<ListedRow>, DatabaseError> {
        bind_value(&mut arguments, i64::from(limit))?;
        let rows = self.database.fetch(Query { sql, arguments }, Phase::Reading).await?;
        listed_rows(plan, &rows)
    }

    pub(crate) fn not_indexed(&self, column: &str) -> Error {
        let message = format!("{} has no index on {}", self.table_name(), shown(column));
        Error::new(ErrorKind::NotIndexed, message).with_column(column)
    }

    /// Whether some record is not in the index.
    pub(crate) async fn has_unindexed(&self, plan: &Plan) -> Result<bool, DatabaseError> {
        let (_, statements) = plan.work()?;
        let Some(sql) = statements.unindexed.clone() else { return Ok(true) };
        let query = Query { sql, arguments: PgArguments::default() };
        Ok(!self.database.fetch(query, Phase::Reading).await?.is_empty())
    }

    /// As [`has_unindexed`](Self::has_unindexed). The server gives up after the limit, with `Busy`.
    pub(crate) async fn has_unindexed_within(
        &self,
        plan: &Plan,
        limit: Duration,
    ) -> Result<bool, DatabaseError> {
        let (_, statements) = plan.work()?;
        let Some(sql) = statements.unindexed.clone() else { return Ok(true) };
        Ok(!self.look_within(limit, sql).await?.is_empty())
    }

    /// The keys that some tokens of the table name, at most one per row. Empty if no token was found within the limit.
    /// `None` if no column can hold a token.
    pub(crate) async fn some_keys(&self, limit: Duration) -> Result<Option<Vec<KeyId>>, DatabaseError> {
        let plan = self.plan().await?;
        let Ok((_, statements)) = plan.work() else { return Ok(None) };
        let looked = self.look_within(limit, statements.keys.clone()).await;
        let rows = match looked {
            Err(fault) if fault.outcome == Outcome::Retry => {
                // a locked table fails again
                self.look_within(limit, format!("SELECT 1 FROM {} LIMIT 0", self.relation()).into()).await?;
                tracing::warn!(table = %visible(&self.table_name()), "found no token in a large table within \
                    {limit:?}");
                return Ok(Some(Vec::new()));
            }
            rows => rows?,
        };
        let key = |row: &PgRow| {
            let key: String = row.try_get(0).map_err(|error| DatabaseError::of(&error, Phase::Reading))?;
            Ok(key.parse()?)
        };
        rows.iter().map(key).collect::<Result<_, DatabaseError>>().map(Some)
    }

    /// Reads with the session's search path, which the policies of the table may need. The server gives up after the
    /// limit, with `Busy`.
    async fn look_within(&self, limit: Duration, sql: Arc<str>) -> Result<Vec<PgRow>, DatabaseError> {
        let limit =
            format!("SELECT pg_catalog.set_config('statement_timeout', '{}', true)", limit.as_millis());
        let query = Query { sql, arguments: PgArguments::default() };
        let act = setting(&act_as_owner(&self.relation(), Until::TheTransactionEnds));
        self.database.transaction(vec![setting(&limit), act, query], Phase::Reading).await
    }
}

/// Rows with their owners in the first two columns.
fn listed_rows(plan: &Plan, rows: &[PgRow]) -> Result<Vec<ListedRow>, DatabaseError> {
    let listed = rows.iter().map(|row| {
        let answer = Answer { row, first: 2, placement: &plan.placement };
        Ok(ListedRow { owner: owner_of(row, 0)?, row: answer.read()?, now: answer.now()? })
    });
    listed.collect()
}

/// Parses the result of [`Postgres::read_query`].
pub(crate) fn read_rows(plan: &Plan, rows: &[PgRow]) -> Result<FoundRows, DatabaseError> {
    let mut found = FoundRows { rows: Vec::with_capacity(rows.len()), now: 0 };
    for row in rows {
        let answer = Answer { row, first: 0, placement: &plan.placement };
        found.rows.push(answer.read()?);
        found.now = answer.now()?;
    }
    Ok(found)
}
