//! Writing records into the rows of owners.

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::error::Result;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Query, bind as bind_value};
use crate::postgres::statements::bind::{self, Written};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::record::owner::Owner;
use crate::record::plain::PlainTexts;
use crate::record::record::{Record, Row};

impl Postgres {
    /// Writes a record over every row of the owner that holds an older one, under a key of `keys` or
    /// none at all. False: no such row, or one that has to be looked at first: it holds tokens of fields that
    /// the layout does not know, or a plain column holds something that the record does not set.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn update(
        &self,
        plan: &Plan,
        owner: &Owner,
        written: Written<'_>,
        keys: &[String],
    ) -> Result<bool, DatabaseError> {
        self.write(self.update_query(plan, owner, written, keys)?).await
    }

    /// What [`update`](Self::update) sends. It answers with a row for each that was written.
    pub(crate) fn update_query(
        &self,
        plan: &Plan,
        owner: &Owner,
        written: Written<'_>,
        keys: &[String],
    ) -> Result<Query, DatabaseError> {
        let (table, statements) = plan.work_for(owner)?;
        let mut arguments = bind::owner(self, table, owner)?;
        bind::record(&mut arguments, &plan.placement, written)?;
        bind_value(&mut arguments, written.record.version.to_string())?;
        bind_value(&mut arguments, keys.to_vec())?;
        bind_value(&mut arguments, written.seen.map(|version| version.to_string()))?;
        Ok(Query { sql: statements.update.clone(), arguments })
    }

    /// Makes a row for an owner that has none. False: there is one, or the schema moved.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn insert(
        &self,
        plan: &Plan,
        owner: &Owner,
        written: Written<'_>,
    ) -> Result<bool, DatabaseError> {
        let (table, _) = plan.work_for(owner)?;
        let insert = self.insert_query(plan, owner, written)?;
        if table.unique {
            return self.write(insert).await;
        }
        let mut arguments = PgArguments::default();
        bind_value(&mut arguments, format!("retell-vault {} {owner}", self.layout.table_name()))?;
        // a statement of its own: the INSERT must see what the holder of the lock committed
        let sql = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1::text, 0))";
        let lock = Query { sql: sql.into(), arguments };
        Ok(!self.database.transaction(vec![lock, insert], Phase::Writing).await?.is_empty())
    }

    /// What [`insert`](Self::insert) sends. It answers with the row that was made.
    pub(crate) fn insert_query(
        &self,
        plan: &Plan,
        owner: &Owner,
        written: Written<'_>,
    ) -> Result<Query, DatabaseError> {
        let (table, statements) = plan.work_for(owner)?;
        let mut arguments = bind::owner(self, table, owner)?;
        bind::record(&mut arguments, &plan.placement, written)?;
        Ok(Query { sql: statements.insert.clone(), arguments })
    }

    /// Puts a text that is no token into one slot of the owner's rows: what other code may try, to see
    /// whether the database lets it.
    pub(crate) fn forge_query(
        &self,
        plan: &Plan,
        owner: &Owner,
        at: usize,
        text: &str,
    ) -> Result<Query, DatabaseError> {
        let (table, statements) = plan.work_for(owner)?;
        let mut arguments = bind::owner(self, table, owner)?;
        bind_value(&mut arguments, text.to_owned())?;
        Ok(Query { sql: statements.forge[at].clone(), arguments })
    }

    /// Writes a record over rows whose slots and plain columns still hold exactly the given texts; for each row, what
    /// of these the record before vouched for. False: none does.
    ///
    /// On error some of several rows may have been written, each one whole.
    pub(crate) async fn replace(
        &self,
        plan: &Plan,
        owner: &Owner,
        record: &Record,
        old: &[(&Row, PlainTexts)],
    ) -> Result<bool, DatabaseError> {
        let mut is_written = false;
        let mut done: Vec<&Row> = Vec::new();
        for (row, vouched) in old {
            let is_same = |other: &&Row| other.slots == row.slots && other.plain == row.plain;
            if done.iter().any(is_same) {
                continue;
            }
            let written = Written { record, vouched: Some(vouched), seen: None };
            is_written |= self.write(self.replace_query(plan, owner, written, row)?).await?;
            done.push(row);
        }
        Ok(is_written)
    }

    /// What [`replace`](Self::replace) sends for one row. It answers with a row for each that was written.
    pub(crate) fn replace_query(
        &self,
        plan: &Plan,
        owner: &Owner,
        written: Written<'_>,
        old: &Row,
    ) -> Result<Query, DatabaseError> {
        let (table, statements) = plan.work_for(owner)?;
        let mut arguments = bind::owner(self, table, owner)?;
        bind::record(&mut arguments, &plan.placement, written)?;
        for text in &old.slots {
            bind_value(&mut arguments, text.clone())?;
        }
        for plain in &plan.placement.plain {
            bind_value(&mut arguments, old.plain.text(plain.field).map(str::to_owned))?;
        }
        Ok(Query { sql: statements.replace.clone(), arguments })
    }

    /// As [`update`](Self::update), and answers with the rows as they were before.
    pub(crate) async fn push(
        &self,
        plan: &Plan,
        owner: &Owner,
        written: Written<'_>,
        keys: &[String],
    ) -> Result<Vec<Row>, DatabaseError> {
        let (table, statements) = plan.work_for(owner)?;
        let mut arguments = bind::owner(self, table, owner)?;
        bind::record(&mut arguments, &plan.placement, written)?;
        bind_value(&mut arguments, written.record.version.to_string())?;
        bind_value(&mut arguments, keys.to_vec())?;
        let rows =
            self.database.fetch(Query { sql: statements.push.clone(), arguments }, Phase::Writing).await?;
        rows.iter().map(|row| Ok(bind::read_row(row, 0, &plan.placement)?.row)).collect()
    }

    async fn write(&self, query: Query) -> Result<bool, DatabaseError> {
        Ok(!self.database.fetch(query, Phase::Writing).await?.is_empty())
    }

    /// Writes many records by one statement over rows that hold older ones. Says which were written.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn update_many(
        &self,
        plan: &Plan,
        entries: &[(&Owner, Record)],
        keys: &[String],
    ) -> Result<Vec<bool>, DatabaseError> {
        let (table, statements) = plan.work()?;
        let mut arguments = bind::entries(table, &plan.placement, entries)?;
        bind_value(&mut arguments, keys.to_vec())?;
        let rows = self
            .database
            .fetch(Query { sql: statements.update_many.clone(), arguments }, Phase::Writing)
            .await?;
        let mut written = vec![false; entries.len()];
        for row in &rows {
            let ordinal: i32 = row.try_get(1).map_err(|error| DatabaseError::of(&error, Phase::Writing))?;
            if let Some(written) = usize::try_from(ordinal).ok().and_then(|at| written.get_mut(at)) {
                *written = true;
            }
        }
        Ok(written)
    }
}
