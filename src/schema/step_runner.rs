//! Runs one step. Only one run at a time changes a schema, and it retries until it gets the lock of the table.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use crate::crypto::random;
use crate::error::{Error, ErrorKind};
use crate::layout::layout::Layout;
use crate::postgres::catalogue::definitions::TableDefinitions;
use crate::postgres::catalogue::snapshot;
use crate::postgres::connection::direct::{Direct, Refusal};
use crate::postgres::connection::errors::{DatabaseError, standby};
use crate::postgres::sql::names::{in_schema, literal, quote, relation};
use crate::postgres::statements::plan::Postgres;
use crate::schema::journal;
use crate::schema::options::{ApplyOptions, SchemaEvent};
use crate::schema::step::Step;

/// How often a run asks for the lock. A session that waited inside one statement would hold a snapshot, and the other
/// run's `CREATE INDEX CONCURRENTLY` would wait for that snapshot.
const ASK_EVERY: Duration = Duration::from_millis(250);

pub(super) type Listener<'a> = &'a mut (dyn FnMut(SchemaEvent<'_>) + Send);

/// A run that holds the lock of the schema and has the rights to change it.
pub(super) struct StepRunner<'a> {
    pub(super) direct: Direct,
    pub(super) layout: &'a Layout,
    pub(super) listener: Listener<'a>,
    /// Whether the journal exists.
    pub(super) has_journal: bool,
    options: &'a ApplyOptions,
}

impl<'a> StepRunner<'a> {
    /// # Errors
    /// `Configuration` behind a transaction pooler; `Busy` if another run does not end; `AccessDenied`, which names the
    /// role and the missing right. On error nothing was changed.
    pub(super) async fn begin(
        postgres: &'a Postgres,
        options: &'a ApplyOptions,
        listener: Listener<'a>,
    ) -> Result<Self, DatabaseError> {
        let layout = postgres.layout();
        let mut direct = postgres.database.direct().await?;
        let mut on_wait = || listener(SchemaEvent::Waiting);
        take_lock(&mut direct, layout, options.patience, &mut on_wait).await?;
        takes_writes(&mut direct).await?;
        direct.act_as_owner(&relation(layout)).await?;
        let definitions = snapshot::take_definitions(&postgres.database, layout).await?;
        let journal = journal::owner(&mut direct, layout).await?;
        has_rights(layout, &definitions, journal.as_ref())?;
        // a statement must fail if a policy hides rows, not change only some of them
        direct.query("SELECT set_config('row_security', 'off', false)").await?;
        Ok(Self { direct, layout, listener, has_journal: journal.is_some(), options })
    }

    /// Notifies processes that cache the schema, and releases the lock.
    pub(super) async fn end(mut self) -> Result<(), DatabaseError> {
        self.direct.run("NOTIFY pgrst, 'reload schema'").await?;
        release_lock(&mut self.direct, self.layout).await?;
        self.direct.close().await;
        Ok(())
    }

    pub(super) fn tell(&mut self, event: SchemaEvent<'_>) {
        (self.listener)(event);
    }

    /// Runs statements that belong to a step as one transaction.
    pub(super) async fn together(&mut self, step: &Step, statements: &[String]) -> Result<(), Refusal> {
        let started = Instant::now();
        loop {
            match self.direct.transaction(statements, self.options.lock_timeout).await {
                Err(refusal) if refusal.is_locked() => self.wait(step, started).await?,
                done => return done,
            }
        }
    }

    /// Runs the statements of a step one by one, and removes the leftovers of a failed attempt.
    ///
    /// These statements and their locks do not block reads or writes. So they may wait for the whole patience, instead of
    /// starting an index again that was nearly built.
    pub(super) async fn one_by_one(&mut self, step: &Step) -> Result<(), Refusal> {
        let started = Instant::now();
        loop {
            let refusal = match self.each(step, started).await {
                Ok(()) => return Ok(()),
                Err(refusal) => refusal,
            };
            self.drop_leftovers(step).await.ok(); // what is left, the next plan finds; what counts is why it failed
            match refusal.is_locked() {
                true => self.wait(step, started).await?,
                false => return Err(refusal),
            }
        }
    }

    async fn each(&mut self, step: &Step, started: Instant) -> Result<(), Refusal> {
        for statement in &step.sql {
            let left = self.options.patience.saturating_sub(started.elapsed());
            self.direct.alone(statement, left.max(self.options.lock_timeout)).await?;
        }
        Ok(())
    }

    /// Drops the invalid indexes that a failed `CREATE INDEX CONCURRENTLY` of this step left.
    async fn drop_leftovers(&mut self, step: &Step) -> Result<(), Refusal> {
        let sql = format!(
            "SELECT coalesce(array_agg(x.relname::text), '{{}}') FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
             WHERE i.indrelid = {} AND NOT i.indisvalid AND x.relkind = 'i'",
            self.table()
        );
        let invalid: Vec<String> = self.direct.value(&sql).await?;
        let is_ours = |name: &String| step.sql.iter().any(|statement| statement.contains(&quote(name)));
        for name in invalid.iter().filter(|name| is_ours(name)) {
            let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", in_schema(self.layout, name));
            self.direct.alone(&drop, self.options.lock_timeout).await?;
        }
        Ok(())
    }

    /// Lets sessions go first that queued behind this one.
    async fn wait(&mut self, step: &Step, started: Instant) -> Result<(), Refusal> {
        if started.elapsed() >= self.options.patience {
            return Err(self.busy(step).await?);
        }
        (self.listener)(SchemaEvent::Locked(step));
        let most = self.options.lock_timeout.max(Duration::from_millis(20));
        let part = random::with_rng(|rng| rand::Rng::next_u32(rng) % 1000).unwrap_or(500);
        sleep(most + most * part / 1000).await;
        Ok(())
    }

    /// The error that names the sessions that hold the lock, as far as the server reports them.
    async fn busy(&mut self, step: &Step) -> Result<Refusal, Refusal> {
        let sql = format!(
            "SELECT coalesce(string_agg('process ' || pid || coalesce(' (' || nullif(name, '') || ')', ''), ', '), 'unknown')
             FROM (SELECT a.pid, a.application_name AS name FROM pg_stat_activity a
               WHERE a.pid <> pg_backend_pid() AND (EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.granted
                 AND (l.relation = {table} OR l.relation IN (SELECT relid FROM pg_partition_tree({table}))))
                 OR {concurrent} AND a.backend_type = 'client backend' AND a.backend_xmin IS NOT NULL)
               ORDER BY a.xact_start, a.pid LIMIT 3) AS holders",
            table = self.table(),
            concurrent = step.concurrent
        );
        let holders: String = self.direct.value(&sql).await?;
        let message = format!("the lock is held by {holders}");
        let error = Error::new(ErrorKind::Busy, message).with_hint(
            "wait for that transaction to end, or end it with pg_terminate_backend; then try again",
        );
        Ok(error.into())
    }

    /// The table as a value of SQL.
    fn table(&self) -> String {
        format!("{}::regclass", literal(&relation(self.layout)))
    }
}

async fn takes_writes(direct: &mut Direct) -> Result<(), DatabaseError> {
    if direct.value("SELECT pg_is_in_recovery()").await? {
        return Err(standby().into());
    }
    match direct.value("SELECT current_setting('transaction_read_only') = 'on'").await? {
        true => Err(Error::new(ErrorKind::AccessDenied, "the database is read-only for this role")
            .with_hint("connect as a role that may write")
            .into()),
        false => Ok(()),
    }
}

fn has_rights(
    layout: &Layout,
    definitions: &TableDefinitions,
    journal: Option<&(String, bool)>,
) -> Result<(), Error> {
    let (role, owner) = (&definitions.server.role, &definitions.relation.owner);
    let lacks = match journal {
        Some((owner, false)) if definitions.relation.owned => {
            let message = format!(
                "role {role} may not use the journal {}, which belongs to {owner}",
                journal::relation(layout)
            );
            let hint = "connect as its owner; if that role never owned the table, do not trust the journal: drop \
                        it";
            return Err(Error::new(ErrorKind::AccessDenied, message).with_hint(hint));
        }
        _ if !definitions.relation.owned => {
            format!("does not own table {}, which belongs to {owner}", layout.table_name())
        }
        _ if !definitions.relation.can_create => {
            format!("may not create objects in schema {}", layout.schema)
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::AccessDenied, format!("role {role} {lacks}"))
        .with_hint("connect as the owner of the table, with the right to create objects in its schema"))
}

/// Takes the lock of the layout's schema until the session ends. All tables of a schema have one lock, because they share
/// the journal.
///
/// # Errors
/// `Busy` if another run still holds it after `patience`.
async fn take_lock(
    direct: &mut Direct,
    layout: &Layout,
    patience: Duration,
    on_wait: &mut (dyn FnMut() + Send),
) -> Result<(), DatabaseError> {
    let (key, started) = (lock_key(layout), Instant::now());
    let mut has_waited = false;
    while !direct.value::<bool>(&format!("SELECT pg_catalog.pg_try_advisory_lock({key})")).await? {
        if started.elapsed() >= patience {
            return Err(locked_by(direct, layout, key).await?.into());
        }
        if !has_waited {
            on_wait();
        }
        has_waited = true;
        sleep(ASK_EVERY).await;
    }
    Ok(())
}

/// Releases the lock at once, without waiting for the server to notice the end of the session.
async fn release_lock(direct: &mut Direct, layout: &Layout) -> Result<(), DatabaseError> {
    direct.value::<bool>(&format!("SELECT pg_catalog.pg_advisory_unlock({})", lock_key(layout))).await?;
    Ok(())
}

fn lock_key(layout: &Layout) -> i64 {
    let digest = Sha256::digest(format!("retell-vault schema {}", journal::relation(layout)));
    i64::from_be_bytes(std::array::from_fn(|at| digest[at]))
}

async fn locked_by(direct: &mut Direct, layout: &Layout, key: i64) -> Result<Error, DatabaseError> {
    let sql = format!(
        "SELECT coalesce(string_agg('process ' || pid, ', ' ORDER BY pid), 'unknown') FROM pg_catalog.pg_locks
         WHERE locktype = 'advisory' AND granted AND objsubid = 1
           AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
           AND (classid::int8 << 32 | objid::int8) = {key}"
    );
    let holder: String = direct.value(&sql).await?;
    let message = format!("another process is changing schema {} ({holder})", layout.schema);
    Ok(Error::new(ErrorKind::Busy, message).with_hint("wait until it ends, then try again"))
}
