//! Metrics through the `metrics` facade. docs/METRICS.md lists them, and a test compares both.

use std::time::Instant;

use metrics::{Label, SharedString, Unit, counter, gauge, histogram};
use sqlx::PgPool;

use crate::observe::subject::Subject;

/// False in `absent.rs`, so that nothing is sampled for nobody.
pub(crate) const ARE_ON: bool = true;

const OPERATION_DURATION: &str = "db.client.operation.duration";
const CONNECTION_COUNT: &str = "db.client.connection.count";
const CONNECTION_MAX: &str = "db.client.connection.max";
const CONNECTION_TIMEOUTS: &str = "db.client.connection.timeouts";
const POOL_WAIT_DURATION: &str = "retell_vault.pool.wait.duration";
const BATCH_OWNERS: &str = "retell_vault.batch.owners";
const DEGRADED_WRITES: &str = "retell_vault.degraded_writes";
const DATABASE_REACHABLE: &str = "retell_vault.database.reachable";
const BREAKER_OPEN: &str = "retell_vault.breaker.open";
const LOCAL_PENDING: &str = "retell_vault.local.pending";
const LOCAL_DEAD_LETTERS: &str = "retell_vault.local.dead_letters";
const KEYRING_GENERATION: &str = "retell_vault.keyring.generation";
const PRIMARY_KEY_CREATED: &str = "retell_vault.keyring.primary_key.created";
const TOKENS: &str = "retell_vault.tokens";
const ROTATION_ROWS: &str = "retell_vault.rotation.rows";

/// Gives the recorder the unit and the meaning of every metric.
pub(crate) fn describe() {
    let histograms = [
        (OPERATION_DURATION, "Duration of a call of the vault"),
        (POOL_WAIT_DURATION, "Time that a call waited for a connection because the pool had no idle one"),
    ];
    for (name, meaning) in histograms {
        metrics::describe_histogram!(name, Unit::Seconds, meaning);
    }
    let counters = [
        (CONNECTION_TIMEOUTS, "Calls that got no connection from the pool although the server answers"),
        (BATCH_OWNERS, "Owners in calls for many owners, by their own outcome"),
        (DEGRADED_WRITES, "Writes that went to the local file instead of the database, by reason"),
    ];
    for (name, meaning) in counters {
        metrics::describe_counter!(name, Unit::Count, meaning);
    }
    let gauges = [
        (CONNECTION_COUNT, "Connections of the pool, by state"),
        (CONNECTION_MAX, "Most connections that the pool opens"),
        (DATABASE_REACHABLE, "1 if the database answered the last sample, else 0"),
        (BREAKER_OPEN, "1 from the first failure of the database until a call reaches it again, else 0"),
        (LOCAL_PENDING, "Records in the local file that are not in the database yet"),
        (LOCAL_DEAD_LETTERS, "Records in the local file that syncs no longer push"),
        (KEYRING_GENERATION, "Generation of the keyring that this process uses"),
        (TOKENS, "Tokens that the last token count found, by the state of the key that they name"),
        (ROTATION_ROWS, "Rows of the current or last rotation in this process, by state"),
    ];
    for (name, meaning) in gauges {
        metrics::describe_gauge!(name, Unit::Count, meaning);
    }
    let meaning = "When the primary key was made, in seconds since 1970";
    metrics::describe_gauge!(PRIMARY_KEY_CREATED, Unit::Seconds, meaning);
}

fn labels(subject: &Subject) -> Vec<Label> {
    let mut labels = Vec::with_capacity(5);
    labels.push(Label::from_static_parts("db.system.name", subject.system));
    if let Some(collection) = &subject.collection {
        labels.push(Label::new("db.collection.name", SharedString::from_shared(collection.clone())));
    }
    labels.push(Label::from_static_parts("retell_vault.namespace", subject.namespace));
    labels
}

fn labels_and(subject: &Subject, name: &'static str, value: &'static str) -> Vec<Label> {
    let mut labels = labels(subject);
    labels.push(Label::from_static_parts(name, value));
    labels
}

fn operation_labels(subject: &Subject, operation: &'static str, error: Option<&'static str>) -> Vec<Label> {
    let mut labels = labels_and(subject, "db.operation.name", operation);
    labels.extend(error.map(|error| Label::from_static_parts("error.type", error)));
    labels
}

/// The duration of one call. A timer that is dropped without an outcome belongs to a call that was cancelled: a call that its
/// caller gave up on must not be missing, for it was a slow one.
pub(crate) struct Timer<'a> {
    subject: &'a Subject,
    operation: &'static str,
    begun: Instant,
    error: Option<&'static str>,
}

impl<'a> Timer<'a> {
    pub(crate) fn start(subject: &'a Subject, operation: &'static str) -> Self {
        Self { subject, operation, begun: Instant::now(), error: Some("cancelled") }
    }

    pub(crate) fn finish(mut self, error: Option<&'static str>) {
        self.error = error;
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        let labels = operation_labels(self.subject, self.operation, self.error);
        histogram!(OPERATION_DURATION, labels).record(self.begun.elapsed());
    }
}

/// The outcomes of a call for many owners.
pub(crate) fn count_owners(
    subject: &Subject,
    operation: &'static str,
    errors: impl Iterator<Item = Option<&'static str>>,
) {
    for error in errors {
        counter!(BATCH_OWNERS, operation_labels(subject, operation, error)).increment(1);
    }
}

pub(crate) fn count_degraded(subject: &Subject, reason: &'static str) {
    counter!(DEGRADED_WRITES, labels_and(subject, "retell_vault.degraded.reason", reason)).increment(1);
}

/// Runs from now until it is dropped, if the pool has no idle connection.
pub(crate) struct PoolWait<'a> {
    waiting: Option<(&'a Subject, Instant)>,
}

impl<'a> PoolWait<'a> {
    pub(crate) fn start(subject: &'a Subject, pool: &PgPool) -> Self {
        Self { waiting: (pool.num_idle() == 0).then(|| (subject, Instant::now())) }
    }
}

impl Drop for PoolWait<'_> {
    fn drop(&mut self) {
        if let Some((subject, begun)) = self.waiting {
            histogram!(POOL_WAIT_DURATION, labels(subject)).record(begun.elapsed());
        }
    }
}

pub(crate) fn count_pool_timeout(subject: &Subject) {
    counter!(CONNECTION_TIMEOUTS, labels(subject)).increment(1);
}

pub(crate) fn set_pool(subject: &Subject, pool: &PgPool) {
    let idle = pool.num_idle() as f64;
    let used = f64::from(pool.size()) - idle;
    for (state, connections) in [("idle", idle), ("used", used.max(0.0))] {
        gauge!(CONNECTION_COUNT, labels_and(subject, "db.client.connection.state", state)).set(connections);
    }
    gauge!(CONNECTION_MAX, labels(subject)).set(f64::from(pool.options().get_max_connections()));
    // counters and their labels exist from the start, so that their first increase is seen
    counter!(CONNECTION_TIMEOUTS, labels(subject)).increment(0);
}

pub(crate) fn set_reachable(subject: &Subject, is_reachable: bool) {
    gauge!(DATABASE_REACHABLE, labels(subject)).set(f64::from(u8::from(is_reachable)));
}

pub(crate) fn set_breaker(subject: &Subject, is_open: bool) {
    gauge!(BREAKER_OPEN, labels(subject)).set(f64::from(u8::from(is_open)));
}

pub(crate) fn set_local(subject: &Subject, pending: u64, dead_letters: u64) {
    gauge!(LOCAL_PENDING, labels(subject)).set(pending as f64);
    gauge!(LOCAL_DEAD_LETTERS, labels(subject)).set(dead_letters as f64);
}

/// `created` is in milliseconds since 1970.
pub(crate) fn set_keyring(subject: &Subject, generation: u64, created: u64) {
    gauge!(KEYRING_GENERATION, labels(subject)).set(generation as f64);
    gauge!(PRIMARY_KEY_CREATED, labels(subject)).set(created as f64 / 1000.0);
}

/// Every state is set, also to 0: a state that is left out would keep its old number.
pub(crate) fn set_tokens(subject: &Subject, by_state: impl IntoIterator<Item = (&'static str, u64)>) {
    for (state, tokens) in by_state {
        gauge!(TOKENS, labels_and(subject, "retell_vault.key.state", state)).set(tokens as f64);
    }
}

pub(crate) fn set_rotation(subject: &Subject, rows: impl IntoIterator<Item = (&'static str, u64)>) {
    for (state, rows) in rows {
        gauge!(ROTATION_ROWS, labels_and(subject, "retell_vault.row.state", state)).set(rows as f64);
    }
}
