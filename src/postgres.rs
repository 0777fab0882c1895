//! The application's table: records in, rows out. Knows no key and no configuration.

mod bind;
pub(crate) mod census;
mod cursor;
mod fragments;
mod outside;
mod pages;
mod plan;
pub(crate) mod scan;
mod sight;
mod sql;
pub(crate) mod walk;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};

use crate::classify::{Fault, Phase, classify};
use crate::database::{Database, Query, bind as bind_value};
use crate::detect::{Table, detect};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Layout, quote};
use crate::owner::Owner;
pub(crate) use crate::postgres::plan::Plan;
use crate::record::{Record, Row};
use crate::version::Millis;
/// How long a picture of the schema is used before the catalogue is looked at again.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Looking again because nothing was found happens at most this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a read found.
pub(crate) struct Found {
    pub(crate) rows: Vec<Row>,
    /// The database's clock. Zero when there is no row.
    pub(crate) now: Millis,
    /// Whether the columns of the layout are still the ones of the plan.
    pub(crate) is_current: bool,
}

pub(crate) struct Postgres {
    pub(crate) database: Database,
    layout: Layout,
    plan: Mutex<Option<Arc<Plan>>>,
}

impl Postgres {
    pub(crate) fn new(database: Database, layout: Layout) -> Self {
        Self { database, layout, plan: Mutex::new(None) }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The plan, from the catalogue when the last one is too old.
    pub(crate) async fn plan(&self) -> Result<Arc<Plan>, Fault> {
        let cached = self.cached().filter(|plan| plan.age() < MAX_AGE);
        match cached {
            Some(plan) => Ok(plan),
            None => self.refresh().await,
        }
    }

    fn cached(&self) -> Option<Arc<Plan>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the catalogue now.
    pub(crate) async fn refresh(&self) -> Result<Arc<Plan>, Fault> {
        let detected = detect(&self.database, &self.layout).await;
        let plan = detected.map(|table| Arc::new(Plan::new(&self.layout, table)));
        // after a failure the old picture is not trusted either
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan.as_ref().ok().cloned();
        plan
    }

    /// Looks at the catalogue now, unless that was done a moment ago.
    pub(crate) async fn refresh_if_older(&self) -> Result<Option<Arc<Plan>>, Fault> {
        match self.cached() {
            Some(plan) if plan.age() < LOOK_EVERY => Ok(None),
            _ => self.refresh().await.map(Some),
        }
    }

    /// # Errors
    /// `InvalidInput` when the owner has a tenant and the layout none, or the reverse.
    pub(crate) fn check_owner(&self, owner: &Owner) -> Result<()> {
        let (message, hint) = match (owner.tenant_id(), &self.layout.tenant_column) {
            (Some(_), None) => (
                "the owner has a tenant, but the layout has no tenant column",
                "name it with `tenant_column` (`--tenant-column`)",
            ),
            (None, Some(_)) => (
                "the owner has no tenant, but the layout has a tenant column",
                "give the tenant (`--tenant`)",
            ),
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint))
    }

    fn owner_arguments(&self, table: &Table, owner: &Owner) -> Result<PgArguments, Fault> {
        self.check_owner(owner)?;
        let mut arguments = PgArguments::default();
        bind::user(&mut arguments, table.user, owner.user_id())?;
        if let (Some(kind), Some(tenant)) = (table.tenant, owner.tenant_id()) {
            bind::tenant(&mut arguments, kind, tenant)?;
        }
        Ok(arguments)
    }

    /// The rows of one owner.
    pub(crate) async fn read(&self, plan: &Plan, owner: &Owner) -> Result<Found, Fault> {
        let rows = self.database.fetch(self.read_query(plan, owner)?, Phase::Reading).await?;
        read_rows(plan, &rows)
    }

    /// What [`read`](Self::read) sends; [`read_rows`] reads the answer.
    pub(crate) fn read_query(&self, plan: &Plan, owner: &Owner) -> Result<Query, Fault> {
        let (table, statements) = plan.work_for(owner)?;
        Ok(Query { sql: statements.read.clone(), arguments: self.owner_arguments(table, owner)? })
    }

    /// Writes a record over every row of the owner that holds an older one, under a key of `keys` or
    /// none at all. False: no such row.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn update(
        &self,
        plan: &Plan,
        owner: &Owner,
        record: &Record,
        keys: &[String],
    ) -> Result<bool, Fault> {
        self.write(self.update_query(plan, owner, record, keys)?).await
    }

    /// What [`update`](Self::update) sends. It answers with a row for each that was written.
    pub(crate) fn update_query(
        &self,
        plan: &Plan,
        owner: &Owner,
        record: &Record,
        keys: &[String],
    ) -> Result<Query, Fault> {
        let (table, statements) = plan.work_for(owner)?;
        let mut arguments = self.owner_arguments(table, owner)?;
        bind::record(&mut arguments, &plan.placement, record)?;
        bind_value(&mut arguments, record.version.to_string())?;
        bind_value(&mut arguments, keys.to_vec())?;
        Ok(Query { sql: statements.update.clone(), arguments })
    }

    /// Makes a row for an owner that has none. False: there is one, or the schema moved.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn insert(&self, plan: &Plan, owner: &Owner, record: &Record) -> Result<bool, Fault> {
        let (table, _) = plan.work_for(owner)?;
        let insert = self.insert_query(plan, owner, record)?;
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
    pub(crate) fn insert_query(&self, plan: &Plan, owner: &Owner, record: &Record) -> Result<Query, Fault> {
        let (table, statements) = plan.work_for(owner)?;
        let mut arguments = self.owner_arguments(table, owner)?;
        bind::record(&mut arguments, &plan.placement, record)?;
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
    ) -> Result<Query, Fault> {
        let (table, statements) = plan.work_for(owner)?;
        let mut arguments = self.owner_arguments(table, owner)?;
        bind_value(&mut arguments, text.to_owned())?;
        Ok(Query { sql: statements.forge[at].clone(), arguments })
    }

    /// Writes a record over rows whose slots still hold exactly the given texts. False: none does.
    ///
    /// On error some of several rows may have been written, each one whole.
    pub(crate) async fn replace(
        &self,
        plan: &Plan,
        owner: &Owner,
        record: &Record,
        old: &[Row],
    ) -> Result<bool, Fault> {
        let (table, statements) = plan.work_for(owner)?;
        let mut written = false;
        let mut done: Vec<&Vec<Option<String>>> = Vec::new();
        for row in old {
            if done.contains(&&row.slots) {
                continue;
            }
            let mut arguments = self.owner_arguments(table, owner)?;
            bind::record(&mut arguments, &plan.placement, record)?;
            for text in &row.slots {
                bind_value(&mut arguments, text.clone())?;
            }
            written |= self.write(Query { sql: statements.replace.clone(), arguments }).await?;
            done.push(&row.slots);
        }
        Ok(written)
    }

    /// As [`update`](Self::update), and answers with the rows as they were before.
    pub(crate) async fn push(
        &self,
        plan: &Plan,
        owner: &Owner,
        record: &Record,
        keys: &[String],
    ) -> Result<Vec<Row>, Fault> {
        let (table, statements) = plan.work_for(owner)?;
        let mut arguments = self.owner_arguments(table, owner)?;
        bind::record(&mut arguments, &plan.placement, record)?;
        bind_value(&mut arguments, record.version.to_string())?;
        bind_value(&mut arguments, keys.to_vec())?;
        let rows =
            self.database.fetch(Query { sql: statements.push.clone(), arguments }, Phase::Writing).await?;
        rows.iter().map(|row| Ok(bind::read_row(row, 0, &plan.placement)?.row)).collect()
    }

    async fn write(&self, query: Query) -> Result<bool, Fault> {
        Ok(!self.database.fetch(query, Phase::Writing).await?.is_empty())
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
    ) -> Result<bool, Fault> {
        let (table, statements) = plan.work()?;
        let mut arguments = PgArguments::default();
        bind::owners(&mut arguments, table, owners)?;
        // a row is for everyone who named its owner: twice, or a UUID in upper and in lower case
        let mut places: HashMap<OwnerText, Vec<usize>> = HashMap::with_capacity(owners.len());
        for (at, owner) in owners.iter().enumerate() {
            bind::forms(owner).for_each(|form| places.entry(form).or_default().push(at));
        }
        let mut is_current = true;
        let query = Query { sql: statements.read_many.clone(), arguments };
        let handed_over = self.database.fetch_each(query, |row| {
            let (tenant, user) = owner_of(row, 0)?;
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

    /// Writes many records by one statement over rows that hold older ones. Says which were written.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn update_many(
        &self,
        plan: &Plan,
        entries: &[(&Owner, Record)],
        keys: &[String],
    ) -> Result<Vec<bool>, Fault> {
        let (table, statements) = plan.work()?;
        let mut arguments = bind::entries(table, &plan.placement, entries)?;
        bind_value(&mut arguments, keys.to_vec())?;
        let rows = self
            .database
            .fetch(Query { sql: statements.update_many.clone(), arguments }, Phase::Writing)
            .await?;
        let mut written = vec![false; entries.len()];
        for row in &rows {
            let ordinal: i32 = row.try_get(1).map_err(|error| classify(&error, Phase::Writing))?;
            if let Some(written) = usize::try_from(ordinal).ok().and_then(|at| written.get_mut(at)) {
                *written = true;
            }
        }
        Ok(written)
    }

    /// Up to `limit` rows with tokens, in the order of tenant and user, starting after an owner.
    /// Rows whose owner is not a valid one are passed over.
    pub(crate) async fn list(
        &self,
        plan: &Plan,
        after: Option<&Owner>,
        limit: u32,
    ) -> Result<Vec<(Owner, Row, Millis)>, Fault> {
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
            if let Some(owner) = parse_owner(owner_of(row, 0)?) {
                listed.push((owner, read.row, read.now));
            }
        }
        Ok(listed)
    }

    /// Whether any row holds a token.
    pub(crate) async fn holds_tokens(&self) -> Result<bool, Fault> {
        let plan = self.plan().await?;
        let Ok((_, statements)) = plan.work() else { return Ok(false) };
        let query = Query { sql: statements.tokens.clone(), arguments: PgArguments::default() };
        Ok(!self.database.fetch(query, Phase::Reading).await?.is_empty())
    }

    /// Why a plan without any slot has none.
    pub(crate) fn no_room(&self, plan: &Plan) -> String {
        let problem = if plan.table().is_some() {
            "has no column that can hold a configuration"
        } else {
            "does not exist"
        };
        format!("table {} {problem}", self.table_name())
    }

    /// The table and the database that it is in, as they were named.
    pub(crate) fn place(&self) -> String {
        format!("{} in {}", self.table_name(), self.database.address())
    }

    /// The table, for messages.
    pub(crate) fn table_name(&self) -> String {
        self.layout.table_name()
    }

    /// The table as it stands in SQL.
    pub(crate) fn relation(&self) -> String {
        format!("{}.{}", quote(&self.layout.schema), quote(&self.layout.table))
    }
}

/// The answer to a [`Postgres::read_query`].
pub(crate) fn read_rows(plan: &Plan, rows: &[PgRow]) -> Result<Found, Fault> {
    let mut found = Found { rows: Vec::with_capacity(rows.len()), now: 0, is_current: true };
    for row in rows {
        let read = bind::read_row(row, 0, &plan.placement)?;
        found.rows.push(read.row);
        found.now = read.now;
        found.is_current &= read.is_current;
    }
    Ok(found)
}

type OwnerText = (Option<String>, String);

/// The owner in the columns from `first` on: user, tenant.
fn owner_of(row: &PgRow, first: usize) -> Result<OwnerText, Fault> {
    let get = |error: sqlx::Error| classify(&error, Phase::Reading);
    let user: Option<String> = row.try_get(first).map_err(get)?;
    let tenant: Option<String> = row.try_get(first + 1).map_err(get)?;
    Ok((tenant, user.unwrap_or_default()))
}

fn parse_owner((tenant, user): OwnerText) -> Option<Owner> {
    let owner = Owner::user(&user).ok()?;
    match tenant {
        Some(tenant) => owner.in_tenant(&tenant).ok(),
        None => Some(owner),
    }
}
