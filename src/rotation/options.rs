//! How to rotate, to promote, and to destroy a key.

use std::time::Duration;

use crate::record::credentials::Credentials;

/// Batches of 1,000 are a little faster, and take and hold more.
const BATCH: u32 = 100;

/// How to rotate.
///
/// Defaults: one job, which keeps one processor of the server or of this host busy and leaves the others to the service;
/// 100 rows to a batch, which holds its locks for a millisecond or two; no rate, no pauses; to the existing primary key. The fastest setting is as many
/// jobs as there are processors, and 1,000 rows to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotateOptions {
    pub(super) batch: u32,
    pub(super) jobs: u32,
    pub(super) rate: Option<u32>,
    pub(super) max_latency: Option<Duration>,
    pub(super) max_replica_lag: Option<u64>,
    pub(crate) new_key: bool,
    /// A place that the walk leaves out, for the test that the token count notices.
    pub(crate) without: Option<String>,
}

impl Default for RotateOptions {
    fn default() -> Self {
        Self {
            batch: BATCH,
            jobs: 1,
            rate: None,
            max_latency: None,
            max_replica_lag: None,
            new_key: false,
            without: None,
        }
    }
}

impl RotateOptions {
    /// The largest batch: a statement of 100,000 rows holds its locks for seconds.
    pub const MAX_BATCH: u32 = 100_000;
    /// The most jobs: each has its own connection.
    pub const MAX_JOBS: u32 = 64;

    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows that are read and written by one statement, 1 to 100,000.
    pub fn batch(mut self, rows: u32) -> Self {
        self.batch = rows.clamp(1, Self::MAX_BATCH);
        self
    }

    /// Parts of the table that are worked on at the same time, 1 to 64. Each takes a connection. The token count at the end
    /// takes as many processors of the server.
    pub fn jobs(mut self, jobs: u32) -> Self {
        self.jobs = jobs.clamp(1, Self::MAX_JOBS);
        self
    }

    /// At most this many rows a second, over all jobs.
    pub fn rate(mut self, rows_per_second: u32) -> Self {
        self.rate = Some(rows_per_second.max(1));
        self
    }

    /// Pauses while reading one row takes longer than this.
    pub fn max_latency(mut self, limit: Duration) -> Self {
        self.max_latency = Some(limit);
        self
    }

    /// Pauses while a replica is more than this many bytes of WAL behind. The role must be allowed to
    /// see that (`pg_monitor`).
    pub fn max_replica_lag(mut self, bytes: u64) -> Self {
        self.max_replica_lag = Some(bytes);
        self
    }

    /// Creates a new key and promotes it first. An interrupted rotation does not create a second key: called again, it promotes
    /// the oldest pending key; or, if tokens are left under a retired key, it continues the rotation to the primary key. A
    /// rotation counts as done once its last token is re-encrypted, even if it was interrupted after that: the next call creates
    /// another key. [`RotateEvent::NewKey`](crate::rotation::RotateEvent::NewKey) reports each step. Back up the keyring file as
    /// soon as the key is promoted: it is the only way to open what is sealed from then on.
    ///
    /// This is for one host. With several hosts, add the key with [`Keyring::add_key`](crate::Keyring::add_key), copy the keyring
    /// file to all of them, call [`promote_key`](crate::Keyring::promote_key), and rotate without this option. An estimate and a
    /// promotion of columns ignore it.
    pub fn new_key(mut self) -> Self {
        self.new_key = true;
        self
    }

    /// With a rate, a batch is at most a twentieth of a second's worth of rows: other writers wait for one batch at most.
    pub(super) fn rows_to_a_batch(&self) -> u32 {
        self.rate.map_or(self.batch, |rate| rate.div_ceil(20).min(self.batch))
    }
}

/// How to promote.
///
/// Defaults: those of a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PromoteOptions {
    pub(super) passes: RotateOptions,
}

impl PromoteOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows that are read and written by one statement, 1 to [`RotateOptions::MAX_BATCH`].
    pub fn batch(mut self, rows: u32) -> Self {
        self.passes = self.passes.batch(rows);
        self
    }
}

/// How to build the index, and to rotate its key.
///
/// Defaults: those of a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexOptions {
    pub(super) passes: RotateOptions,
    pub(super) other_hosts_synced: bool,
}

impl IndexOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows that are read and written by one statement, 1 to [`RotateOptions::MAX_BATCH`].
    pub fn batch(mut self, rows: u32) -> Self {
        self.passes = self.passes.batch(rows);
        self
    }

    /// At most this many written rows a second.
    pub fn rate(mut self, rows_per_second: u32) -> Self {
        self.passes = self.passes.rate(rows_per_second);
        self
    }

    /// Every other host has the keyring with the newest key of the index, so [`Vault::rotate_index_key`](crate::Vault::rotate_index_key)
    /// may remove the earlier ones. A host without the newest key would find nobody from then on. Not needed for a keyring in
    /// the database, which every process reloads by itself.
    pub fn other_hosts_synced(mut self) -> Self {
        self.other_hosts_synced = true;
        self
    }
}

/// What you vouch for when a key is destroyed. By default nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DestroyOptions {
    pub(super) force: bool,
    pub(super) other_hosts_synced: bool,
    pub(super) other_tables_counted: bool,
    pub(super) not_evidence: Vec<String>,
    pub(super) kinds: Vec<&'static str>,
}

impl DestroyOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does not wait until the key has been retired for 24 hours. Use it only if every running process has read the keyring
    /// since.
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Every other host has synchronised and reloaded the keyring in which the key is retired, so no local file elsewhere
    /// names the key. Needed whenever there is a database, because several hosts may share it.
    pub fn other_hosts_synced(mut self) -> Self {
        self.other_hosts_synced = true;
        self
    }

    /// No token names the key in any other table that the local file was used with, or those tables are this one under
    /// other names.
    pub fn other_tables_counted(mut self) -> Self {
        self.other_tables_counted = true;
        self
    }

    /// What a column outside of the layout holds does not keep the key in use, and the column need not be readable. `column` is
    /// `TABLE.COLUMN` or `SCHEMA.TABLE.COLUMN`; what is found there is reported. A column of the layout cannot be named.
    pub fn not_evidence(mut self, column: impl Into<String>) -> Self {
        self.not_evidence.push(column.into());
        self
    }

    /// Another kind of credentials that shares the keyring and the table. Its tokens in text columns outside of this
    /// vault's layout keep the key in use too. Needed if its fields have the same names as those of this vault's kind: a
    /// token of a field with another name always keeps its key.
    pub fn kind<C: Credentials>(mut self) -> Self {
        self.kinds.push(C::NAMESPACE);
        self
    }
}
