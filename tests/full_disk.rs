//! The server's disk is really full: a small file system of its own, which only this test sees.
//!
//! To mount one takes a namespace, so each test runs itself again in one. Where that is not allowed, as in some
//! containers, it says so on standard error.
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fmt::{Debug, Write as _};
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString};
use retell_vault::records::{Source, Version};
use retell_vault::sync::Fallback;
use retell_vault::{ErrorKind, RetellConfig, Vault};
use support::faults::*;
use support::rotation::{completes, promote, rotate, small, until_taken_up};
use support::vaults::*;
use support::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Where the small disk is, for the test that runs on it.
const DISK: &str = "RETELL_VAULT_TEST_SMALL_DISK";
/// A new server takes about half of it.
const MOUNT: &str = r#"mount -t tmpfs -o size=120m,mode=1777 tmpfs "$RETELL_VAULT_TEST_SMALL_DISK" && "$@""#;

// --- The disk ---

/// The small disk, if this process runs on one. Else the test runs in another process that does, if that is possible.
fn small_disk(test: &str) -> Option<PathBuf> {
    if let Some(disk) = env::var_os(DISK) {
        return Some(disk.into());
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();

    let why_not = match on_disk(&disk, &["true".as_ref()]) {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(text(&output.stderr)),
        Err(error) => Some(format!("unshare of util-linux does not run: {error}")),
    };
    if let Some(why_not) = why_not {
        // not through the harness, which hides what a test prints that passes
        let line = format!("not run: {test}: no small disk can be mounted: {}\n", why_not.trim());
        io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    }
    let program = env::current_exe().unwrap();
    let output =
        on_disk(&disk, &[program.as_ref(), "--exact".as_ref(), test.as_ref(), "--nocapture".as_ref()])
            .unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    eprintln!("{said}");
    None
}

/// Runs a command in a namespace of its own. Everything in it, also a server, ends with the command.
fn on_disk(disk: &Path, command: &[&OsStr]) -> io::Result<Output> {
    // without being root one may mount only where one is the master of all users, but Postgres runs as none but ours
    let as_user: &[&str] = match fs::metadata("/proc/self").unwrap().uid() {
        0 => &[],
        _ => &["--user", "--map-current-user", "--keep-caps"],
    };
    Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(as_user)
        .args(["--", "sh", "-c", MOUNT, "sh"])
        .args(command)
        .env(DISK, disk)
        .output()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

// --- What is heard ---

/// The errors that this program logs.
#[derive(Clone, Default)]
struct Alarms(Arc<Mutex<String>>);

impl Visit for Alarms {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Alarms {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

// --- The stage ---

/// A server on the small disk; the homes lie elsewhere.
struct Stage {
    cluster: Cluster,
    hosts: Hosts,
    filler: PathBuf,
    /// What was acknowledged last, by user.
    acknowledged: BTreeMap<String, (RetellConfig, Version)>,
}

impl Stage {
    async fn new(disk: &Path) -> Self {
        let options = [
            "fsync=off",
            "min_wal_size=32MB",
            "max_wal_size=32MB",
            "checkpoint_timeout=1h",
            "autovacuum=off",
            "dynamic_shared_memory_type=posix",
        ];
        let options: Vec<&str> = options.iter().flat_map(|option| ["-c", option]).collect();
        let (cluster, hosts) = (Cluster::start_in(disk, &options).await, Hosts::new().await);
        exec(cluster.url(), &format!("{ALL_COLUMNS}; {NOTE_WRITES}")).await;
        Self { cluster, hosts, filler: disk.join("filler"), acknowledged: BTreeMap::new() }
    }

    async fn vault(&self, host: usize) -> Vault {
        self.hosts.host(host, self.cluster.url()).timeouts(QUICK).build().await.unwrap()
    }

    /// Answers with why it is in the local file.
    async fn store(&mut self, vault: &Vault, user: &str, config: RetellConfig) -> Option<String> {
        let stored = vault.store(&owner(user), &config).await.expect("with a local file a store succeeds");
        self.acknowledged.insert(user.to_owned(), (config, stored.version));
        stored.degraded.map(|degraded| degraded.to_string())
    }

    fn fill(&self) {
        let mut filler = OpenOptions::new().create(true).append(true).open(&self.filler).unwrap();
        for size in [1 << 16, 1 << 9] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(&self.filler).unwrap();
    }

    /// Everything acknowledged is in the database, and each record was written once.
    async fn all_is_there_once(&self, vault: &Vault) {
        let report = vault.sync().await.unwrap();
        assert_eq!((&report.stopped, report.dead_letters, report.blocked.len()), (&None, 0, 0), "{report:?}");
        assert_eq!(local(vault).await.pending, 0);
        let other = self.vault(1).await;
        for (user, (config, version)) in &self.acknowledged {
            let loaded = other.load(&owner(user)).await.unwrap();
            assert_eq!((loaded.source, loaded.version), (Source::Database, *version), "{user}");
            assert_eq!(loaded.config, *config, "{user}");
        }
        let url = self.cluster.url();
        let rows = number(url, "SELECT count(*) FROM user_profiles").await;
        assert_eq!(rows, i64::try_from(self.acknowledged.len()).unwrap());
        let twice =
            "SELECT count(*) FROM (SELECT FROM writes GROUP BY user_id, key HAVING count(*) > 1) AS twice";
        assert_eq!(number(url, twice).await, 0, "a record that had arrived was written again");
    }
}

/// Nearly the longest that there is, so the table soon has to grow.
fn long_config() -> RetellConfig {
    let random = Alphanumeric.sample_string(&mut rand::rng(), 1900);
    let json = format!(
        r#"{{"api_key":"key_test_{}","webhook_config":{{"webhook_url":"https://example.com/{random}","events":[]}}}}"#,
        &random[..20]
    );
    RetellConfig::from_json(&json).unwrap()
}

#[tokio::test]
async fn the_table_cannot_grow() {
    let Some(disk) = small_disk("the_table_cannot_grow") else { return };
    let alarms = Alarms::default();
    tracing::subscriber::set_global_default(alarms.clone()).unwrap();
    let mut stage = Stage::new(&disk).await;
    let vault = stage.vault(0).await;
    for n in 0..30 {
        assert_eq!(stage.store(&vault, &format!("user-{n}"), long_config()).await, None);
    }
    let (old, new) = promote(&stage.hosts).await;
    until_taken_up().await;

    stage.fill();
    // the last pages have some room
    let mut new_users = 0;
    let reason = loop {
        new_users += 1;
        assert!(new_users < 100, "the disk is not full");
        if let Some(reason) = stage.store(&vault, &format!("new-{new_users}"), long_config()).await {
            break reason;
        }
    };
    assert!(reason.contains("53100"), "{reason}");
    let mut changed = 0;
    let reason = loop {
        assert!(changed < 25, "the disk is not full");
        if let Some(reason) = stage.store(&vault, &format!("user-{changed}"), long_config()).await {
            break reason;
        }
        changed += 1;
    };
    assert!(reason.contains("53100"), "{reason}");
    assert!(alarms.0.lock().unwrap().contains("the database's disk is full"));
    let user = owner(&format!("user-{changed}"));

    let loaded = vault.load(&owner("user-29")).await.unwrap();
    assert_eq!((loaded.source, loaded.stale), (Source::Database, false));
    assert_eq!(vault.load(&user).await.unwrap().config, stage.acknowledged[&user.to_string()].0);
    assert_eq!(vault.load(&owner("absent")).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(vault.list(None, 100).await.unwrap().entries.len(), 30 + new_users);
    let status = vault.status().await.unwrap();
    let database = status.database.unwrap();
    assert!(database.reachable && !database.breaker_open, "the server answers");
    assert_eq!(status.local.unwrap().pending, 2);
    // what failed before may have left room for a few
    let stopped = loop {
        if let Some(stopped) = vault.sync().await.unwrap().stopped {
            break stopped;
        }
        changed += 1;
        assert!(changed < 29, "the disk is not full");
        stage.store(&vault, &format!("user-{changed}"), long_config()).await;
    };
    assert!(stopped.to_string().contains("53100"), "{stopped}");
    let strict = stage.hosts.host(2, stage.cluster.url()).fallback(Fallback::Refuse).build().await.unwrap();
    // so may what was pushed
    let mut fitted = 0;
    let error = loop {
        let (user, config) = (format!("strict-{fitted}"), long_config());
        match strict.store(&owner(&user), &config).await {
            Ok(stored) => stage.acknowledged.insert(user, (config, stored.version)),
            Err(error) => break error,
        };
        fitted += 1;
        assert!(fitted < 100, "the disk is not full");
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "certainly not applied");
    assert!(error.hint().contains("disk of the database server is full"), "{error:?}");
    // a checkpoint may have removed a segment of the log meanwhile
    stage.fill();
    let error = rotate(&vault, &small()).await.unwrap_err();
    assert!(error.to_string().contains("53100"), "{error}");

    stage.make_room();
    stage.all_is_there_once(&vault).await;
    let rotation = completes(&vault).await;
    assert_eq!((rotation.key, rotation.token_counts.tokens_of(old)), (new, 0));
    assert_eq!(stage.store(&vault, "user-0", long_config()).await, None);
}

/// The server cannot even note what it does: it stops with a panic, and does not come up again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_writes_cannot_grow() {
    let Some(disk) = small_disk("the_log_of_writes_cannot_grow") else { return };
    let mut stage = Stage::new(&disk).await;
    let vault = stage.vault(0).await;
    assert_eq!(stage.store(&vault, "calm", long_config()).await, None);

    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..4).map(|n| tokio::spawn(write_until(stop.clone(), vault.clone(), format!("user-{n}")))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    stage.fill();
    let more = "SELECT count(pg_logical_emit_message(false, 'more', repeat('x', 100000))) FROM generate_series(1, 20)";
    while support::cluster::run_sql(stage.cluster.url(), more).await.is_ok() {}
    until(async || local(&vault).await.pending == 4).await;
    stop.store(true, Ordering::Relaxed);
    for (n, writer) in writers.into_iter().enumerate() {
        let last = writer.await.unwrap();
        assert!(last.degraded > 0 && last.degraded < last.stores, "the panic was part of it");
        stage.acknowledged.insert(format!("user-{n}"), (last.config, last.version));
    }

    stage.make_room();
    stage.cluster.kill().await;
    stage.cluster.restart().await;
    stage.all_is_there_once(&vault).await;
}
