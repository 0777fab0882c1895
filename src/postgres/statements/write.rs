//! Writes records into the rows of owners.

use std::collections::HashMap;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments as _, Row as _};

use crate::chain::entry::SealedEntry;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::filter::Rows;
use crate::postgres::catalogue::table::Table;
use crate::postgres::connection::callers_transaction::CallersTransaction;
use crate::postgres::connection::errors::{DatabaseError, Phase};
use crate::postgres::connection::pool::{Query, bind as bind_value};
use crate::postgres::connection::transaction::setting;
use crate::postgres::sql::names::EQ;
use crate::postgres::statements::answer::Answer;
use crate::postgres::statements::bind::{self, BulkEntry, PrintedEntry, Written};
use crate::postgres::statements::found_records::Row;
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::postgres::statements::seen_update::{Reach, Shape};
use crate::postgres::statements::texts::Statements;
use crate::postgres::statements::with_entry::{bind_entries, bind_entry};
use crate::record::owner::Owner;
use crate::record::plain::PlainTexts;
use crate::record::record::Head;
use crate::record::version::Version;

/// A row that is about to be written.
pub(crate) struct OldRow<'a> {
    pub(crate) row: &'a Row,
    /// The version of its record, if that can be read.
    pub(crate) version: Option<Version>,
    /// The values of plain columns that this record vouched for.
    pub(crate) vouched: PlainTexts,
}

/// The new texts for the rows of one owner, and their old texts.
pub(crate) struct Rewrite<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) written: Written<'a>,
    pub(crate) old: Vec<OldRow<'a>>,
}

/// The outcome of a bulk write.
pub(crate) struct WrittenMany {
    /// Which records were written.
    pub(crate) written: Vec<bool>,
    /// A later statement failed. Its records may be written too if its answer was lost.
    pub(crate) is_cut: bool,
}

impl Postgres {
    /// Writes a record over the rows of an owner, if they are empty or hold the record that this process has seen last.
    /// Returns the number of rows. 0 means that a row holds something else, or must be read first, because a plain column
    /// holds a value that the record does not set.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn update(
        &self,
        plan: &Plan,
        owner: &Owner,
        written: Written<'_>,
        seen: Head,
    ) -> Result<u64, DatabaseError> {
        let (table, statements) = plan.work_for(owner)?;
        let texts = plan.placement.texts(written.record.tokens());
        let shape = bind::shape(&plan.placement, &texts, written);
        let mut arguments = bind::owner(self, table, owner)?;
        bind::filled(&mut arguments, &plan.placement, &shape, &texts, written)?;
        bind_value(&mut arguments, seen.to_string())?;
        let sql = statements.update((&self.layout, table, &plan.placement), shape, Reach::OneOwner);
        let query = noted(statements, Query { sql, arguments }, written.entry)?;
        Ok(self.database.fetch(query, Phase::Writing).await?.len() as u64)
    }

    /// Creates a row for an owner that has none. Returns false if there is one. Fails with `UnknownOwner` if the
    /// application creates the rows.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn insert(
        &self,
        plan: &Plan,
        owner: &Owner,
        written: Written<'_>,
    ) -> Result<bool, DatabaseError> {
        let (table, _) = plan.work_for(owner)?;
        self.check_may_create(table)?;
        let insert = self.insert_query(plan, owner, written)?;
        if table.unique {
            return self.write(insert).await;
        }
        let queries = vec![self.creation_lock(owner)?, insert];
        Ok(!self.database.transaction(queries, Phase::Writing).await?.is_empty())
    }

    /// As [`insert`](Self::insert), in a transaction of the caller. If no unique constraint keeps two processes from creating
    /// the row, a lock does until the transaction ends.
    ///
    /// # Errors
    /// Also `Configuration` without that constraint if the transaction does not see what others have committed since it
    /// began.
    pub(crate) async fn insert_in(
        &self,
        transaction: &mut CallersTransaction<'_>,
        plan: &Plan,
        owner: &Owner,
        written: Written<'_>,
    ) -> Result<bool, DatabaseError> {
        let (table, _) = plan.work_for(owner)?;
        self.check_may_create(table)?;
        let insert = self.insert_query(plan, owner, written)?;
        if !table.unique {
            let sees_commits = format!(
                "SELECT 1 WHERE pg_catalog.current_setting('transaction_isolation') {EQ} ANY \
                 ('{{read committed,read uncommitted}}'::pg_catalog._text)"
            );
            if transaction.fetch(setting(&sees_commits)).await?.is_empty() {
                let message =
                    "in this transaction the row could be created twice: nothing makes the owner unique";
                return Err(Error::new(ErrorKind::Configuration, message)
                    .with_hint(
                        "add a unique constraint on the owner, or begin the transaction with READ COMMITTED",
                    )
                    .into());
            }
            transaction.fetch(self.creation_lock(owner)?).await?;
        }
        Ok(!transaction.fetch(insert).await?.is_empty())
    }

    /// Lets only one process at a time create a row for an owner, if no unique constraint does. It is a separate
    /// statement, because the INSERT must see what the previous holder of the lock committed.
    fn creation_lock(&self, owner: &Owner) -> Result<Query, DatabaseError> {
        let mut arguments = PgArguments::default();
        // the ids themselves, so that every version of the vault takes the same lock
        let ids = match owner.tenant_id() {
            Some(tenant) => format!("{tenant}/{}", owner.user_id()),
            None => owner.user_id().to_string(),
        };
        bind_value(&mut arguments, format!("retell-vault {} {ids}", self.layout.table_name()))?;
        let sql =
            "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1::pg_catalog.text, 0))";
        Ok(Query { sql: sql.into(), arguments })
    }

    /// Writes the rows of two owners in one transaction, if they still hold exactly the old texts. Creates a row for the
    /// first owner if there is none. Returns false if another writer was faster, or if a policy or a trigger prevents a
    /// write.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn move_record(
        &self,
        plan: &Plan,
        [to, from]: [Rewrite<'_>; 2],
    ) -> Result<bool, DatabaseError> {
        let (table, statements) = plan.work_for(to.owner)?;
        let mut queries = self.replace_queries(plan, to.owner, to.written, &to.old)?;
        if queries.is_empty() {
            self.check_may_create(table)?;
            queries.extend([self.creation_lock(to.owner)?, self.insert_query(plan, to.owner, to.written)?]);
        }
        match (from.old.is_empty(), from.written.entry) {
            // the application has moved the row
            (true, Some(_)) => queries.push(noted(statements, setting("SELECT 1"), from.written.entry)?),
            _ => queries.extend(self.replace_queries(plan, from.owner, from.written, &from.old)?),
        }
        let lock =
            |owner| Ok(Query { sql: statements.lock.clone(), arguments: bind::owner(self, table, owner)? });
        let locks = [to.owner, from.owner].into_iter().map(lock).collect::<Result<_, DatabaseError>>()?;
        let old = to.old.iter().chain(&from.old).map(|old| old.row.clone()).collect();
        self.database.transaction_if(locks, is_unchanged(plan, old), queries, Phase::Writing).await
    }

    fn check_may_create(&self, table: &Table) -> Result<()> {
        if table.rows == Rows::Create {
            return Ok(());
        }
        let message = format!(
            "no row of {} belongs to this owner, and the application creates the rows",
            self.table_name()
        );
        Err(Error::new(ErrorKind::UnknownOwner, message).with_hint(
            "check the id, or create the row in the application first; with `rows = \"create\"` in the layout the \
             vault creates it",
        ))
    }

    /// The statement of [`insert`](Self::insert). It returns the new row.
    pub(crate) fn insert_query(
        &self,
        plan: &Plan,
        owner: &Owner,
        written: Written<'_>,
    ) -> Result<Query, DatabaseError> {
        let (table, statements) = plan.work_for(owner)?;
        let mut arguments = bind::owner(self, table, owner)?;
        bind::record(&mut arguments, &plan.placement, written)?;
        noted(statements, Query { sql: statements.insert.clone(), arguments }, written.entry)
    }

    /// Writes a text that is not a token into one slot of the owner's rows, as other code may do, to check whether the
    /// database allows it.
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

    /// Writes a record over rows whose slots and plain columns still hold exactly the given texts. For each row it takes
    /// the values that its own record vouched for. It writes all rows or none. Returns false if another writer was
    /// faster.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn replace(
        &self,
        plan: &Plan,
        owner: &Owner,
        written: Written<'_>,
        old: &[OldRow<'_>],
    ) -> Result<bool, DatabaseError> {
        let mut queries = self.replace_queries(plan, owner, written, old)?;
        if plan.has_one_row(owner)
            && let [_] = queries.as_slice()
        {
            return self.write(queries.remove(0)).await;
        }
        let (table, statements) = plan.work_for(owner)?;
        let lock = Query { sql: statements.lock.clone(), arguments: bind::owner(self, table, owner)? };
        let rows: Vec<Row> = old.iter().map(|old| old.row.clone()).collect();
        self.database.transaction_if(vec![lock], is_unchanged(plan, rows), queries, Phase::Writing).await
    }

    /// As [`replace`](Self::replace), in a transaction of the caller.
    pub(crate) async fn replace_in(
        &self,
        transaction: &mut CallersTransaction<'_>,
        plan: &Plan,
        owner: &Owner,
        written: Written<'_>,
        old: &[OldRow<'_>],
    ) -> Result<bool, DatabaseError> {
        let mut queries = self.replace_queries(plan, owner, written, old)?;
        if plan.has_one_row(owner)
            && let [_] = queries.as_slice()
        {
            return Ok(!transaction.fetch(queries.remove(0)).await?.is_empty());
        }
        let (table, statements) = plan.work_for(owner)?;
        let lock = Query { sql: statements.lock.clone(), arguments: bind::owner(self, table, owner)? };
        let rows = old.iter().map(|old| old.row.clone()).collect();
        match is_unchanged(plan, rows)(&transaction.fetch(lock).await?) {
            true => transaction.all_or_none(queries).await,
            false => Ok(false),
        }
    }

    /// One statement for all rows with equal texts.
    fn replace_queries(
        &self,
        plan: &Plan,
        owner: &Owner,
        written: Written<'_>,
        old: &[OldRow<'_>],
    ) -> Result<Vec<Query>, DatabaseError> {
        let (mut queries, mut done) = (Vec::new(), Vec::new());
        let newest = old.iter().map(|old| old.version).max().flatten();
        for OldRow { row, version, vouched } in old {
            if !done.contains(row) {
                // a row that does not hold the changed record gets all of its plain values
                let only = written.only.filter(|_| *version == newest);
                // all statements take effect or none, so the first one has the entry of all
                let entry = written.entry.filter(|_| done.is_empty());
                let written = Written { vouched: Some(vouched), only, entry, ..written };
                queries.push(self.replace_query(plan, owner, written, row)?);
                done.push(*row);
            }
        }
        Ok(queries)
    }

    /// The statement of [`replace`](Self::replace) for one row. It returns each written row.
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
        bind::old_texts(&mut arguments, &plan.placement, old)?;
        noted(statements, Query { sql: statements.replace.clone(), arguments }, written.entry)
    }

    async fn write(&self, query: Query) -> Result<bool, DatabaseError> {
        Ok(!self.database.fetch(query, Phase::Writing).await?.is_empty())
    }

    /// Writes many records, each over the record that was seen last. Uses one statement, unless the records set different
    /// fields.
    ///
    /// On error nothing was written, unless the error says that the outcome is unknown.
    pub(crate) async fn update_many(
        &self,
        plan: &Plan,
        entries: &[BulkEntry<'_>],
    ) -> Result<WrittenMany, DatabaseError> {
        let mut shapes: HashMap<Shape, Vec<PrintedEntry<'_, '_>>> = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            let texts = plan.placement.texts(entry.record.tokens());
            let written = Written { record: &entry.record, vouched: None, only: None, entry: None };
            let shape = bind::shape(&plan.placement, &texts, written);
            shapes.entry(shape).or_default().push((at, entry, texts));
        }
        let (mut written, mut is_cut) = (vec![false; entries.len()], false);
        for (shape, entries) in shapes {
            match self.update_shape(plan, shape, &entries, &mut written).await {
                // written records stay, and the others are stored one by one
                Err(fault) if written.contains(&true) => {
                    tracing::debug!(error = %fault.error, "a part of the bulk store failed");
                    is_cut = true;
                    break;
                }
                done => done?,
            }
        }
        Ok(WrittenMany { written, is_cut })
    }

    async fn update_shape(
        &self,
        plan: &Plan,
        shape: Shape,
        entries: &[PrintedEntry<'_, '_>],
        written: &mut [bool],
    ) -> Result<(), DatabaseError> {
        let (table, statements) = plan.work()?;
        let mut arguments = bind::entries(table, &plan.placement, &shape, entries)?;
        let mut sql = statements.update((&self.layout, table, &plan.placement), shape, Reach::ManyOwners);
        let of_ledger = entries.iter().filter_map(|(at, entry, _)| Some((*at as i32, entry.noted.as_ref()?)));
        let of_ledger: Vec<_> = of_ledger.collect();
        if !of_ledger.is_empty() {
            sql = statements.noted(&sql, arguments.len(), Reach::ManyOwners);
            bind_entries(&mut arguments, &of_ledger)?;
        }
        for row in &self.database.fetch(Query { sql, arguments }, Phase::Writing).await? {
            let ordinal: i32 = row.try_get(0).map_err(|error| DatabaseError::of(&error, Phase::Writing))?;
            if let Some(written) = usize::try_from(ordinal).ok().and_then(|at| written.get_mut(at)) {
                *written = true;
            }
        }
        Ok(())
    }
}

/// A write with its entry of the ledger, if it has one.
fn noted(
    statements: &Statements,
    mut query: Query,
    entry: Option<&SealedEntry>,
) -> Result<Query, DatabaseError> {
    if let Some(entry) = entry {
        query.sql = statements.noted(&query.sql, query.arguments.len(), Reach::OneOwner);
        bind_entry(&mut query.arguments, entry)?;
    }
    Ok(query)
}

/// Whether the locked rows are these.
fn is_unchanged(plan: &Plan, mut then: Vec<Row>) -> impl FnOnce(&[PgRow]) -> bool + Send + 'static {
    let placement = plan.placement.clone();
    move |answers| {
        let now = answers.iter().map(|row| Answer { row, first: 0, placement: &placement }.read());
        let mut now = now.collect::<Result<Vec<_>, _>>().unwrap_or_default();
        now.sort();
        then.sort();
        now == then
    }
}
