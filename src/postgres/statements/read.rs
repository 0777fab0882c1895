//! Reading the rows of owners.

use std::collections::HashMap;

use sqlx::postgres::{PgArguments, PgRow};

use crate::error::Result;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Query, bind as bind_value};
use crate::postgres::statements::bind;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::record::owner::Owner;
use crate::record::record::Row;
use crate::record::version::Millis;

/// What a read found.
pub(crate) struct FoundRows {
    pub(crate) rows: Vec<Row>,
    /// The database's clock. Zero when there is no row.
    pub(crate) now: Millis,
    /// Whether the columns of the layout are still the ones of the plan.
    pub(crate) is_current: bool,
}

impl Postgres {
    /// The rows of one owner.
    pub(crate) async fn read(&self, plan: &Plan, owner: &Owner) -> Result<FoundRows, DatabaseError> {
        let rows = self.database.fetch(self.read_query(plan, owner)?, Phase::Reading).await?;
        read_rows(plan, &rows)
    }

    /// What [`read`](Self::read) sends; [`read_rows`] reads the answer.
    pub(crate) fn read_query(&self, plan: &Plan, owner: &Owner) -> Result<Query, DatabaseError> {
        let (table, statements) = plan.work_for(owner)?;
        Ok(Query { sql: statements.read.clone(), arguments: bind::owner(self, table, owner)? })
    }

    /// Reads the rows of many owners by one statement and hands each over as it arrives, with the
    /// place of its owner in `owners` and the database's clock.
    ///
    /// # Errors
    /// Those of the database, and `Redetect` when the schema moved meanwhile.
    pub(crate) async fn read_many(
        &self,
        plan: &Plan,
        owners: &[Owner],
        mut each: impl FnMut(usize, Row, Millis),
    ) -> Result<bool, DatabaseError> {
        let (table, statements) = plan.work()?;
        let mut arguments = PgArguments::default();
        bind::owners(&mut arguments, table, owners)?;
        // a row is for everyone who named its owner: twice, or a UUID in upper and in lower case
        let mut places: HashMap<bind::OwnerText, Vec<usize>> = HashMap::with_capacity(owners.len());
        for (at, owner) in owners.iter().enumerate() {
            bind::forms(owner).for_each(|form| places.entry(form).or_default().push(at));
        }
        let mut is_current = true;
        let query = Query { sql: statements.read_many.clone(), arguments };
        let handed_over = self.database.fetch_each(query, |row| {
            let (tenant, user) = bind::owner_of(row, 0)?;
            let read = bind::read_row(row, 2, &plan.placement)?;
            is_current &= read.is_current;
            for at in places.get(&(tenant, user)).into_iter().flatten() {
                each(*at, read.row.clone(), read.now);
            }
            Ok(())
        });
        handed_over.await?;
        Ok(is_current)
    }

    /// Up to `limit` rows with tokens, in the order of tenant and user, starting after an owner.
    /// Rows whose owner is not a valid one are passed over.
    pub(crate) async fn list(
        &self,
        plan: &Plan,
        after: Option<&Owner>,
        limit: u32,
    ) -> Result<Vec<(Owner, Row, Millis)>, DatabaseError> {
        let (_, statements) = plan.work()?;
        let mut arguments = PgArguments::default();
        let tenant = after.and_then(Owner::tenant_id).map(|tenant| tenant.as_str().to_owned());
        bind_value(&mut arguments, tenant.unwrap_or_default())?;
        bind_value(
            &mut arguments,
            after.map(|owner| owner.user_id().as_str().to_owned()).unwrap_or_default(),
        )?;
        bind_value(&mut arguments, i64::from(limit))?;
        let rows =
            self.database.fetch(Query { sql: statements.list.clone(), arguments }, Phase::Reading).await?;
        let mut listed = Vec::with_capacity(rows.len());
        for row in &rows {
            let read = bind::read_row(row, 2, &plan.placement)?;
            if let Some(owner) = bind::parse_owner(bind::owner_of(row, 0)?) {
                listed.push((owner, read.row, read.now));
            }
        }
        Ok(listed)
    }

    /// Whether any row holds a token.
    pub(crate) async fn holds_tokens(&self) -> Result<bool, DatabaseError> {
        let plan = self.plan().await?;
        let Ok((_, statements)) = plan.work() else { return Ok(false) };
        let query = Query { sql: statements.tokens.clone(), arguments: PgArguments::default() };
        Ok(!self.database.fetch(query, Phase::Reading).await?.is_empty())
    }
}

/// The answer to a [`Postgres::read_query`].
pub(crate) fn read_rows(plan: &Plan, rows: &[PgRow]) -> Result<FoundRows, DatabaseError> {
    let mut found = FoundRows { rows: Vec::with_capacity(rows.len()), now: 0, is_current: true };
    for row in rows {
        let read = bind::read_row(row, 0, &plan.placement)?;
        found.rows.push(read.row);
        found.now = read.now;
        found.is_current &= read.is_current;
    }
    Ok(found)
}
