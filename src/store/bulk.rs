//! Many owners at once: one statement for all, and a result for each.

use std::collections::HashSet;
use std::time::Instant;

use futures_util::StreamExt;

use crate::error::{Error, ErrorKind, Result};
use crate::local::file::LocalFile;
use crate::postgres::connection::errors::{Fault, Outcome};
use crate::postgres::statements::plan::{Plan, Postgres};
use crate::record::owner::Owner;
use crate::record::record::{Record, Row, Survey};
use crate::record::version::Millis;
use crate::store::core::{Entry, Read, Router, Written, set_fields};
use crate::store::load::may_lie_elsewhere;

/// How many owners are looked at one by one at the same time.
const CONCURRENT: usize = 8;

impl Router {
    /// Loads many owners by one statement. What needs a second look is loaded by itself.
    pub(crate) async fn load_many(&self, owners: &[Owner]) -> Vec<Result<Read>> {
        self.take_up().await;
        let started = Instant::now();
        let mut results: Vec<Option<Result<Read>>> = owners.iter().map(|_| None).collect();
        if let Some(postgres) = &self.postgres
            && !self.breaker.is_open(Instant::now())
            && owners.iter().all(|owner| postgres.check_owner(owner).is_ok())
            && let Err(fault) = self.load_by_one_statement(postgres, owners, &mut results).await
        {
            // each owner is loaded by itself below, and gets its own error
            tracing::debug!(error = %fault.error, "the bulk load failed");
            self.note(&fault);
            if waited_in_vain(postgres, &fault, started) {
                return owners.iter().map(|_| Err(busy(&fault))).collect();
            }
            results.iter_mut().for_each(|result| *result = None);
        }
        let single = owners.iter().zip(results).map(|(owner, result)| self.or_load(result, owner));
        let single: Vec<_> = single.collect();
        futures_util::stream::iter(single).buffered(CONCURRENT).collect().await
    }

    // named, and collected before the stream: with a closure that makes futures the compiler cannot
    // see that the whole may be spawned
    async fn or_load(&self, result: Option<Result<Read>>, owner: &Owner) -> Result<Read> {
        match result {
            Some(result) => result,
            None => self.load(owner).await,
        }
    }

    /// Fills in the result of every owner whose row tells all; leaves the others open.
    async fn load_by_one_statement(
        &self,
        postgres: &Postgres,
        owners: &[Owner],
        results: &mut [Option<Result<Read>>],
    ) -> Result<(), Fault> {
        let plan = postgres.plan().await?;
        // looked at before the database, as a single load does: what is pushed meanwhile is seen there
        let nothing_pending = self.nothing_pending();
        let mut waiting = Vec::with_capacity(owners.len());
        for owner in owners {
            waiting.push(!nothing_pending && self.pending(owner).await?.is_some());
        }
        // asked only now: who gets through an open breaker has to come back with news of the server
        if !plan.has_slots() || self.breaker.blocks(Instant::now()).is_some() {
            return Ok(());
        }
        let mut rows: Vec<(usize, Row, Millis)> = Vec::new();
        let (mut met, mut several) = (vec![false; owners.len()], Vec::new());
        let is_current = postgres
            .read_many(&plan, owners, |at, row, now| match plan.is_unique() {
                true if std::mem::replace(&mut met[at], true) => several.push(at),
                // opened while the next rows are on their way
                true => results[at] = self.read_row(&plan, &owners[at], &[row], now),
                false => rows.push((at, row, now)),
            })
            .await?;
        // a UUID in upper and in lower case, or a constraint that is gone
        several.into_iter().for_each(|at| results[at] = None);
        self.breaker.success();
        if !is_current {
            results.iter_mut().for_each(|result| *result = None);
            postgres.refresh().await?;
            return Ok(());
        }
        rows.sort_by_key(|(at, _, _)| *at);
        for group in rows.chunk_by(|(a, _, _), (b, _, _)| a == b) {
            let (at, now) = (group[0].0, group[0].2);
            let group: Vec<Row> = group.iter().map(|(_, row, _)| row.clone()).collect();
            results[at] = self.read_row(&plan, &owners[at], &group, now);
        }
        // owners with a pending record are loaded by themselves
        for ((owner, result), waits) in owners.iter().zip(results).zip(waiting) {
            if waits {
                *result = None;
            } else if let Some(Ok(read)) = result {
                self.remember(owner, read).await;
            }
        }
        Ok(())
    }

    /// `None` when the catalogue has to be looked at again first.
    fn read_row(&self, plan: &Plan, owner: &Owner, rows: &[Row], now: Millis) -> Option<Result<Read>> {
        let survey = Survey::of(rows, &plan.placement.slots, now);
        match may_lie_elsewhere(&survey) {
            true => None,
            false => Some(self.newest(owner, survey, None)),
        }
    }

    /// Asked once for a bulk call: a thousand looks cost more than the rest of it.
    fn nothing_pending(&self) -> bool {
        self.local.as_ref().is_none_or(LocalFile::nothing_pending)
    }

    /// Stores many owners by one statement. Those that it did not write are stored by themselves, so
    /// that every owner gets its own result.
    ///
    /// # Errors
    /// `InvalidInput` when an owner is there twice; nothing was written.
    pub(crate) async fn store_many(&self, entries: &[Entry<'_>]) -> Result<Vec<Result<Written>>> {
        let mut seen = HashSet::with_capacity(entries.len());
        if let Some(entry) = entries.iter().find(|entry| !seen.insert(entry.owner)) {
            return Err(Error::new(ErrorKind::InvalidInput, format!("owner {} is there twice", entry.owner)));
        }
        self.take_up().await;
        let started = Instant::now();
        let mut written: Vec<Option<Written>> = entries.iter().map(|_| None).collect();
        if let Some(postgres) = &self.postgres
            && !self.breaker.is_open(Instant::now())
            && let Err(fault) = self.store_by_one_statement(postgres, entries, &mut written).await
        {
            // each owner is stored by itself below, and gets its own result
            tracing::debug!(error = %fault.error, "the bulk store failed");
            self.note(&fault);
            if waited_in_vain(postgres, &fault, started) {
                return Ok(entries.iter().map(|_| Err(busy(&fault))).collect());
            }
        }
        let single = entries.iter().zip(written).map(|(entry, written)| self.or_store(written, *entry));
        let single: Vec<_> = single.collect();
        Ok(futures_util::stream::iter(single).buffered(CONCURRENT).collect().await)
    }

    async fn or_store(&self, written: Option<Written>, entry: Entry<'_>) -> Result<Written> {
        match written {
            Some(written) => Ok(written),
            None => self.store(entry).await,
        }
    }

    async fn store_by_one_statement(
        &self,
        postgres: &Postgres,
        entries: &[Entry<'_>],
        written: &mut [Option<Written>],
    ) -> Result<(), Fault> {
        let plan = postgres.plan().await?;
        if plan.placement.is_local() || plan.placement.unwritable.is_some() || !plan.is_unique() {
            return Ok(());
        }
        let fields = plan.placement.sealed_fields();
        let mut order: Vec<usize> = Vec::with_capacity(entries.len());
        let nothing_pending = self.nothing_pending();
        for (at, entry) in entries.iter().enumerate() {
            // an owner with a pending record, with two forms, or that does not fit the table, is stored by itself
            let fits = postgres.check_owner(entry.owner).is_ok() && plan.has_one_row(entry.owner);
            if fits && (nothing_pending || self.pending(entry.owner).await?.is_none()) {
                order.push(at);
            }
        }
        // asked only now, as in a bulk load
        if order.is_empty() || self.breaker.blocks(Instant::now()).is_some() {
            return Ok(());
        }
        // in the order of the ids, so that two bulk writers do not wait for each other
        order.sort_by_key(|at| entries[*at].owner);
        let sealed: Vec<(&Owner, Record)> = order
            .iter()
            .map(|at| {
                Ok((
                    entries[*at].owner,
                    self.seal(entries[*at], self.seen_version(entries[*at].owner), &fields)?,
                ))
            })
            .collect::<Result<_>>()?;
        let done = self.update_many(postgres, &plan, &sealed).await?;
        for ((at, (_, record)), _) in order.iter().zip(&sealed).zip(done).filter(|(_, done)| *done) {
            self.seen.holds(entries[*at].owner, record.version);
            if self.offline_reads {
                self.remember_stored(entries[*at], Some(record.clone())).await;
            }
            let place = |field| (field, plan.placement.place(field).clone());
            let places = set_fields(entries[*at].config).into_iter().map(place).collect();
            written[*at] =
                Some(Written { version: record.version, places, degraded: None, replaced: Vec::new() });
        }
        Ok(())
    }

    /// A statement that was certainly not applied is left to the single stores.
    async fn update_many(
        &self,
        postgres: &Postgres,
        plan: &Plan,
        sealed: &[(&Owner, Record)],
    ) -> Result<Vec<bool>, Fault> {
        let started = Instant::now();
        match postgres.update_many(plan, sealed, &self.known_keys()).await {
            Ok(done) => {
                self.breaker.success();
                Ok(done)
            }
            Err(fault) if matches!(fault.outcome, Outcome::Redetect) => {
                postgres.refresh().await?;
                Ok(vec![false; sealed.len()])
            }
            Err(fault)
                if matches!(fault.outcome, Outcome::Fallback | Outcome::Ambiguous)
                    || waited_in_vain(postgres, &fault, started) =>
            {
                Err(fault)
            }
            Err(_) => Ok(vec![false; sealed.len()]),
        }
    }
}

/// The statement waited for as long as it may, for a lock most likely. A thousand owners that wait one
/// by one would take hours: all of them get that answer.
fn waited_in_vain(postgres: &Postgres, fault: &Fault, started: Instant) -> bool {
    fault.outcome == Outcome::Retry && started.elapsed() >= postgres.database.patience() * 8 / 10
}

fn busy(fault: &Fault) -> Error {
    Error::new(fault.error.kind(), fault.error.to_string())
}
