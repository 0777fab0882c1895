//! The server is gone, comes back, dies in the middle: nothing that was acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use retell_vault::connection::PoolerMode;
use retell_vault::records::Source;
use retell_vault::sync::Fallback;
use retell_vault::{ErrorKind, Vault};

use crate::support::faults::*;
use crate::support::vaults::*;
use crate::support::*;

/// A database behind a proxy, with one owner who has a record and one who has none.
struct Stage {
    db: TestDb,
    hosts: Hosts,
    proxy: CutProxy,
}

impl Stage {
    async fn new(table: &str) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(table).await;
        let proxy = CutProxy::start(&db.url).await;
        Self { db, hosts, proxy }
    }

    async fn vault(&self) -> Vault {
        self.hosts.host(0, self.proxy.url()).timeouts(QUICK).build().await.unwrap()
    }

    /// Another host, whose way to the database is never blocked.
    async fn other(&self) -> Vault {
        self.hosts.host(1, &self.db.url).build().await.unwrap()
    }

    async fn writes(&self) -> i64 {
        number(&self.db.url, "SELECT count(*) FROM writes").await
    }
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start() {
    let (cluster, hosts) = (Cluster::start(&["-c", "fsync=off"]).await, Hosts::new().await);
    exec(cluster.url(), ALL_COLUMNS).await;
    cluster.stop().await;

    let vault = hosts.host(0, cluster.url()).timeouts(QUICK).build().await.unwrap();
    let stored = vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    assert!(stored.degraded.is_some());
    assert!(stored.places.iter().all(|(_, place)| place.kind() == "local"));
    let loaded = vault.load(&owner("user-1")).await.unwrap();
    assert_eq!((loaded.source, loaded.stale, &loaded.config), (Source::Local, true, &full_config(1)));
    assert_eq!(vault.load(&owner("user-2")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let status = vault.status().await.unwrap();
    assert_eq!(status.local.unwrap().pending, 1);
    assert!(!status.database.as_ref().unwrap().reachable);
    assert!(status.database.unwrap().problem.is_some());
    let report = vault.sync().await.unwrap();
    assert!(report.stopped.is_some() && report.pushed == 0);

    cluster.restart().await;
    assert_eq!(vault.sync().await.unwrap().pushed, 1);
    assert_eq!(local(&vault).await.pending, 0);
    let loaded = vault.load(&owner("user-1")).await.unwrap();
    assert_eq!((loaded.source, loaded.stale, &loaded.config), (Source::Database, false, &full_config(1)));
    assert_eq!(loaded.version, stored.version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_under_load_loses_nothing_that_was_acknowledged() {
    let (cluster, hosts) = (Cluster::start(&[]).await, Hosts::new().await);
    exec(cluster.url(), ALL_COLUMNS).await;
    let vault = hosts.host(0, cluster.url()).timeouts(QUICK).build().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..8).map(|n| tokio::spawn(write_until(stop.clone(), vault.clone(), format!("user-{n}")))).collect();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        cluster.kill().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.restart().await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.push(writer.await.unwrap());
    }

    let report = vault.sync().await.unwrap();
    assert_eq!((report.stopped, report.blocked.len(), report.dead_letters), (None, 0, 0));
    assert_eq!(report.lost, 0, "a record that this vault alone wrote lost against itself");
    assert_eq!(local(&vault).await.pending, 0);
    let other = hosts.host(1, cluster.url()).build().await.unwrap();
    for (n, last) in acknowledged.iter().enumerate() {
        let loaded = other.load(&owner(&format!("user-{n}"))).await.unwrap();
        assert_eq!(loaded.config, last.config, "user-{n} after {} stores", last.stores);
        assert_eq!(loaded.version, last.version);
        assert!(last.degraded > 0 && last.degraded < last.stores, "the outage was part of it");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_waited_for_once() {
    let stage = Stage::new(ALL_COLUMNS).await;
    let vault = stage.vault().await;
    // several connections, all of which will be dead
    let owners: Vec<_> = (0..8).map(|n| owner(&format!("user-{n}"))).collect();
    let configs: Vec<_> = owners.iter().map(|owner| (owner.clone(), full_config(1))).collect();
    vault.store_many(&configs).await.unwrap();

    stage.proxy.set(Mode::BlackHole).await;
    let start = Instant::now();
    assert!(vault.store(&owners[0], &full_config(2)).await.unwrap().degraded.is_some());
    let first = start.elapsed();
    assert!(first < BOUND, "{first:?}");
    assert!(first >= QUICK.operation, "it was given a chance to answer");

    let start = Instant::now();
    for owner in &owners[1..] {
        assert!(vault.store(owner, &full_config(2)).await.unwrap().degraded.is_some());
        assert!(vault.load(owner).await.unwrap().stale);
    }
    assert_eq!(vault.load(&owner("user-9")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(start.elapsed() < first, "14 operations with an open breaker took {:?}", start.elapsed());

    stage.proxy.set(Mode::Pass).await;
    until(async || vault.store(&owners[0], &full_config(3)).await.unwrap().degraded.is_none()).await;
    assert_eq!(vault.sync().await.unwrap().pushed, 7);
    assert_eq!(local(&vault).await.pending, 0);
    let (vault, other) = (vault, stage.other().await);
    assert_eq!(other.load(&owners[0]).await.unwrap().config, full_config(3));
    assert_eq!(vault.load(&owners[5]).await.unwrap().config, full_config(2));
}

#[tokio::test]
async fn the_breaker_closes_whatever_is_called_first() {
    // no unique constraint: here a bulk store has no statement of its own
    let stage = Stage::new("CREATE TABLE user_profiles (user_id text, encrypted_retell_api_key text)").await;
    let vault = stage.vault().await;
    let configs = [(owner("user-1"), full_config(1)), (owner("user-2"), full_config(1))];
    vault.store_many(&configs).await.unwrap();
    stage.proxy.set(Mode::Refuse).await;
    assert!(vault.store(&configs[0].0, &full_config(2)).await.unwrap().degraded.is_some());
    stage.proxy.set(Mode::Pass).await;
    until(async || {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let stored = vault.store_many(&configs).await.unwrap();
        stored.iter().all(|stored| stored.as_ref().unwrap().degraded.is_none())
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_got_lost_is_one_application() {
    let unique = format!("{ALL_COLUMNS}; {NOTE_WRITES}");
    let duplicates = unique.replace("user_id text PRIMARY KEY", "user_id text");
    let cases = [
        (&unique, PoolerMode::None, true, Request::ExecutionOf(b"UPDATE")),
        (&unique, PoolerMode::None, false, Request::ExecutionOf(b"INSERT")),
        (&duplicates, PoolerMode::None, false, Request::Message(b"COMMIT")),
        (&unique, PoolerMode::Transaction, true, Request::ExecutionOf(b"UPDATE")),
        (&unique, PoolerMode::Transaction, true, Request::Message(b"COMMIT")),
        (&duplicates, PoolerMode::Transaction, true, Request::Message(b"COMMIT")),
    ];
    for (table, mode, exists, request) in cases {
        let case = format!("{mode:?}, row exists: {exists}, {request:?}");
        let stage = Stage::new(table).await;
        if exists {
            stage.db.exec("INSERT INTO user_profiles (user_id) VALUES ('user-1')").await;
        }
        let builder = stage.hosts.host(0, stage.proxy.url()).pooler(mode);
        let vault = builder.build().await.unwrap();
        vault.store(&owner("warm-up"), &full_config(0)).await.unwrap();
        stage.db.exec("TRUNCATE writes").await;

        stage.proxy.set(Mode::CutAfterRequest(request.clone())).await;
        let stored = vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
        assert_eq!(stage.proxy.cuts(), 1, "{case}");
        assert!(stored.degraded.is_none(), "{case}: {:?}", stored.degraded);
        // cut inside of a transaction it was not applied, and is sent again; one write commits
        assert_eq!(stage.writes().await, 1, "{case}");
        let loaded = stage.other().await.load(&owner("user-1")).await.unwrap();
        assert_eq!((loaded.config, loaded.version), (full_config(1), stored.version), "{case}");
        assert_eq!(local(&vault).await.pending, 0, "{case}");
    }
}

/// `RETELL_VAULT_TEST_AMBIGUOUS=10000 scripts/test --test outages outage::ambiguous_writes -- --nocapture` runs the campaign.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambiguous_writes_are_neither_lost_nor_doubled() {
    let tries: u32 =
        std::env::var("RETELL_VAULT_TEST_AMBIGUOUS").map_or(48, |tries| tries.parse().expect("a number"));
    let unique = format!("{ALL_COLUMNS}; {NOTE_WRITES}");
    let duplicates = unique.replace("PRIMARY KEY", "");
    let kinds = [
        (&unique, PoolerMode::None, Request::ExecutionOf(b"UPDATE")),
        (&unique, PoolerMode::Transaction, Request::ExecutionOf(b"UPDATE")),
        (&unique, PoolerMode::Transaction, Request::Message(b"COMMIT")),
        (&duplicates, PoolerMode::Transaction, Request::Message(b"COMMIT")),
    ];
    // each waits for much, and has a database of its own
    let lanes = (tries / 200).clamp(1, 6);
    let kinds = (0..lanes).flat_map(|_| kinds.clone());
    let done = futures_util::stream::iter(kinds).map(async |(table, mode, request)| {
        let stage = Stage::new(table).await;
        let unknown = ambiguous_writes(&stage, mode, &request, tries / 4 / lanes).await;
        (stage.proxy.cuts(), unknown)
    });
    let done: Vec<(usize, u32)> = done.buffer_unordered(24).collect().await;
    let lost_answers: usize = done.iter().map(|(cuts, _)| cuts).sum();
    let unknown: u32 = done.iter().map(|(_, unknown)| unknown).sum();
    println!("{lost_answers} answers lost, {unknown} told as unknown, 0 writes lost or doubled");
}

/// Writes whose answers get lost: each is there once, and only a caller who was told so does not know. How many were.
async fn ambiguous_writes(stage: &Stage, mode: PoolerMode, request: &Request, tries: u32) -> u32 {
    let vault = stage.hosts.host(0, stage.proxy.url()).pooler(mode).build().await.unwrap();
    let (other, mut unknown) = (stage.other().await, 0);
    for n in 0..tries {
        let (case, owner) = (format!("{mode:?}, {request:?}, {n}"), owner(&format!("user-{}", n % 5)));
        vault.store(&owner, &full_config(n)).await.unwrap();
        let (cuts, writes) = (stage.proxy.cuts(), stage.writes().await);
        stage.proxy.set(Mode::CutAfterRequest(request.clone())).await;
        let new = small_config(n);
        let (written, after) = match n % 3 {
            0 => (vault.store(&owner, &new).await, Some(&new)),
            1 => {
                let modified = vault.modify(&owner, |config| {
                    *config = new.clone();
                    Ok(())
                });
                (modified.await, Some(&new))
            }
            _ => (vault.delete(&owner).await, None),
        };
        assert_eq!(stage.proxy.cuts(), cuts + 1, "{case}");
        let there = other.load(&owner).await.ok();
        match written {
            Ok(written) => {
                assert!(written.degraded.is_none(), "{case}: {:?}", written.degraded);
                assert_eq!(stage.writes().await, writes + 1, "{case}: once");
                assert_eq!(there.as_ref().map(|there| &there.config), after, "{case}");
                assert!(there.is_none_or(|there| there.version == written.version), "{case}");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{case}: {error}");
                assert!(stage.writes().await <= writes + 1, "{case}: once at most");
                unknown += 1;
            }
        }
        assert_eq!(local(&vault).await.pending, 0, "{case}");
    }
    unknown
}

#[tokio::test]
async fn a_write_that_was_applied_after_its_connection_died_is_recognised_by_sync() {
    let stage = Stage::new(&format!("{ALL_COLUMNS}; {NOTE_WRITES}")).await;
    let vault = stage.vault().await;
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    let lock = Lock::on_all_rows(&stage.db.url).await;
    let store = tokio::spawn({
        let vault = vault.clone();
        async move { vault.store(&owner("user-1"), &full_config(2)).await }
    });
    until_waiting(&stage.db.url, 1).await;
    stage.proxy.set(Mode::Refuse).await;
    // the server has not noticed that nobody is there any more, and applies it
    lock.release().await;
    let stored = store.await.unwrap().unwrap();
    assert!(stored.degraded.is_some());
    assert_eq!(local(&vault).await.pending, 1);
    until(async || stage.writes().await == 2).await;
    stage.proxy.set(Mode::Pass).await;
    let report = vault.sync().await.unwrap();
    assert_eq!((report.pushed, report.lost, report.overwritten), (1, 0, 0));
    assert_eq!(stage.writes().await, 2, "it was not written again");
    assert_eq!(local(&vault).await.pending, 0);
    let loaded = stage.other().await.load(&owner("user-1")).await.unwrap();
    assert_eq!((loaded.config, loaded.version), (full_config(2), stored.version));
}

#[tokio::test]
async fn without_a_fallback_a_store_fails_and_nothing_is_kept() {
    let stage = Stage::new(&format!("{ALL_COLUMNS}; {NOTE_WRITES}")).await;
    let builder = stage.hosts.host(0, stage.proxy.url()).timeouts(QUICK);
    let vault = builder.fallback(Fallback::Refuse).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();

    // sent, and no answer: the caller must not be told that nothing was written
    let lock = Lock::on_all_rows(&stage.db.url).await;
    let store = tokio::spawn({
        let vault = vault.clone();
        async move { vault.store(&owner("user-1"), &full_config(2)).await }
    });
    until_waiting(&stage.db.url, 1).await;
    stage.proxy.set(Mode::Refuse).await;
    lock.release().await;
    assert_eq!(store.await.unwrap().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    until(async || stage.writes().await == 2).await;

    // not sent
    let error = vault.store(&owner("user-2"), &full_config(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.hint().is_empty());
    assert_eq!(local(&vault).await.pending, 0);
    stage.proxy.set(Mode::Pass).await;
    until(async || vault.load(&owner("user-1")).await.is_ok()).await;
    assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, full_config(2));
}

/// The local file fails too, after an answer was lost: the caller must not be told that nothing was written.
#[tokio::test]
async fn a_local_file_that_fails_after_a_lost_answer_leaves_the_outcome_unknown() {
    for in_bulk in [false, true] {
        let stage = Stage::new(&format!("{ALL_COLUMNS}; {NOTE_WRITES}")).await;
        let vault = stage.vault().await;
        vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
        let lock = Lock::on_all_rows(&stage.db.url).await;
        let store = tokio::spawn({
            let vault = vault.clone();
            async move {
                let (owner, config) = (owner("user-1"), full_config(2));
                match in_bulk {
                    false => vault.store(&owner, &config).await,
                    true => vault.store_many(&[(owner, config)]).await.unwrap().remove(0),
                }
            }
        });
        until_waiting(&stage.db.url, 1).await;
        let file = stage.hosts.local_file(0);
        std::fs::rename(&file, file.with_extension("moved")).unwrap();
        stage.proxy.set(Mode::Refuse).await;
        lock.release().await;
        let error = store.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "in bulk: {in_bulk}, {error}");
        assert!(error.hint().contains("local.db"), "{}", error.hint());
        until(async || stage.writes().await == 2).await;
    }
}

#[tokio::test]
async fn offline_reads_say_that_they_are_stale() {
    let stage = Stage::new(ALL_COLUMNS).await;
    let builder = stage.hosts.host(0, stage.proxy.url()).timeouts(QUICK).offline_reads();
    let (vault, plain) = (builder.build().await.unwrap(), stage.other().await);
    vault.store(&owner("stored"), &full_config(1)).await.unwrap();
    plain.store(&owner("loaded"), &full_config(2)).await.unwrap();
    plain.store(&owner("unseen"), &full_config(3)).await.unwrap();
    assert!(!vault.load(&owner("loaded")).await.unwrap().stale);
    for mark in [5, 6] {
        let stored = vault.store_many(&[(owner("in bulk"), full_config(mark))]).await.unwrap().remove(0);
        assert_eq!(stored.unwrap().degraded, None);
    }

    stage.proxy.set(Mode::Refuse).await;
    for (user, mark) in [("stored", 1), ("loaded", 2), ("in bulk", 6)] {
        let loaded = vault.load(&owner(user)).await.unwrap();
        assert_eq!((loaded.source, loaded.stale, loaded.config), (Source::Local, true, full_config(mark)));
    }
    assert_eq!(vault.load(&owner("unseen")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let all = vault.load_many(&[owner("stored"), owner("unseen"), owner("loaded")]).await;
    assert!(all[0].as_ref().unwrap().stale && all[1].is_err() && all[2].as_ref().unwrap().stale);
    // a newer one from elsewhere is seen as soon as the database is back
    plain.store(&owner("stored"), &full_config(4)).await.unwrap();
    assert_eq!(vault.load(&owner("stored")).await.unwrap().config, full_config(1));
    stage.proxy.set(Mode::Pass).await;
    until(async || !vault.load(&owner("stored")).await.unwrap().stale).await;
    assert_eq!(vault.load(&owner("stored")).await.unwrap().config, full_config(4));
}

#[tokio::test]
async fn a_delete_during_an_outage_reaches_the_database() {
    let stage = Stage::new(ALL_COLUMNS).await;
    let vault = stage.vault().await;
    for user in ["user-1", "user-2"] {
        vault.store(&owner(user), &full_config(1)).await.unwrap();
    }
    stage.proxy.set(Mode::Refuse).await;
    vault.store(&owner("user-2"), &full_config(2)).await.unwrap();
    for user in ["user-1", "user-2", "never-there"] {
        assert!(vault.delete(&owner(user)).await.unwrap().degraded.is_some());
        assert_eq!(vault.load(&owner(user)).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(vault.delete(&owner(user)).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    stage.proxy.set(Mode::Pass).await;
    assert_eq!(vault.sync().await.unwrap().pushed, 3);
    assert_eq!(local(&vault).await.pending, 0);
    let other = stage.other().await;
    for user in ["user-1", "user-2", "never-there"] {
        assert_eq!(said(&[&vault, &other], &owner(user)).await, ["NotFound", "NotFound"]);
    }
    let plain =
        "SELECT count(*) FROM user_profiles WHERE phone_number IS NOT NULL OR webhook_config IS NOT NULL";
    assert_eq!(number(&stage.db.url, plain).await, 0, "the plain columns are cleared too");
    assert_eq!(number(&stage.db.url, "SELECT count(*) FROM user_profiles").await, 2, "no row for nothing");
}
