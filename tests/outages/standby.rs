//! A streaming standby: its primary dies under load, it goes on answering reads, and is promoted.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use retell_vault::keyring::KeyId;
use retell_vault::records::Source;
use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions};
use retell_vault::sync::Fallback;
use retell_vault::{Error, ErrorKind, Owner, Vault};

use crate::support::faults::*;
use crate::support::rotation::*;
use crate::support::vaults::*;
use crate::support::*;

/// A primary, its standby, and a URL that leads to the primary first.
struct Stage {
    primary: Cluster,
    standby: Cluster,
    hosts: Hosts,
    proxy: CutProxy,
}

impl Stage {
    async fn new() -> Self {
        let primary = Cluster::start(&["-c", "fsync=off"]).await;
        exec(primary.url(), &format!("{ALL_COLUMNS}; {NOTE_WRITES}")).await;
        let (standby, hosts) = (primary.standby(&["-c", "fsync=off"]).await, Hosts::new().await);
        let confirmed = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        until(async || number(primary.url(), confirmed).await == 1).await;
        let proxy = CutProxy::start(primary.url()).await;
        Self { primary, standby, hosts, proxy }
    }

    async fn vault(&self) -> Vault {
        self.hosts.host(0, self.proxy.url()).timeouts(QUICK).build().await.unwrap()
    }

    /// Another host, which knows nothing but the standby.
    async fn reader(&self) -> Vault {
        self.hosts.host(1, self.standby.url()).build().await.unwrap()
    }
}

fn is_refused_by_standby<T: std::fmt::Debug>(result: Result<T, Error>, operation: &str) {
    let error = result.expect_err(operation);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{operation}: {error}");
    assert!(error.to_string().contains("is a standby"), "{operation}: {error}");
    assert!(error.hint().contains("primary"), "{operation}: {error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_dies_under_load_and_its_standby_is_promoted() {
    let stage = Stage::new().await;
    let vault = stage.vault().await;
    let calm: Vec<Owner> = (0..5).map(|n| owner(&format!("calm-{n}"))).collect();
    for (n, owner) in calm.iter().enumerate() {
        assert!(vault.store(owner, &full_config(n)).await.unwrap().degraded.is_none());
    }

    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..4).map(|n| tokio::spawn(write_until(stop.clone(), vault.clone(), format!("user-{n}")))).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    stage.primary.kill().await;
    stage.proxy.lead_to(stage.standby.url());
    until(async || vault.load(&calm[0]).await.is_ok()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for (n, writer) in writers.into_iter().enumerate() {
        let last = writer.await.unwrap();
        assert!(last.degraded > 0 && last.degraded < last.stores, "the failover was part of it");
        acknowledged.push((owner(&format!("user-{n}")), last));
    }

    // nobody has promoted it yet
    let reader = stage.reader().await;
    for (n, owner) in calm.iter().enumerate() {
        for vault in [&vault, &reader] {
            let loaded = vault.load(owner).await.unwrap();
            assert_eq!((loaded.source, loaded.stale), (Source::Database, false));
            assert_eq!(loaded.config, full_config(n));
        }
    }
    for (owner, last) in &acknowledged {
        assert_eq!(vault.load(owner).await.unwrap().config, last.config);
        // it lacks nothing that the primary had confirmed; what came later waits elsewhere
        assert!(reader.load(owner).await.unwrap().version <= last.version);
    }
    let stored = vault.store(&calm[0], &full_config("later")).await.unwrap();
    assert!(stored.degraded.unwrap().to_string().contains("is a standby"));
    assert!(reader.delete(&calm[1]).await.unwrap().degraded.unwrap().to_string().contains("is a standby"));
    for stored in vault.store_many(&[(owner("new"), full_config("new"))]).await.unwrap() {
        assert!(stored.unwrap().degraded.unwrap().to_string().contains("is a standby"));
    }
    for vault in [&vault, &reader] {
        assert!(vault.sync().await.unwrap().stopped.unwrap().to_string().contains("is a standby"));
        let status = vault.status().await.unwrap();
        let database = status.database.unwrap();
        assert!(database.reachable && !database.breaker_open);
        assert!(database.problem.unwrap().to_string().contains("is a standby"));
        assert!(status.local.unwrap().pending > 0);
    }
    let (old, new) = promote(&stage.hosts).await;
    standby_refuses_operators(&stage, &calm[2], old).await;

    assert_eq!(number(stage.standby.url(), "SELECT pg_promote()::int::int8").await, 1);
    let pushed = vault.sync().await.unwrap();
    assert_eq!((pushed.stopped, pushed.dead_letters, pushed.blocked.len()), (None, 0, 0));
    assert_eq!(reader.sync().await.unwrap().pushed, 1);
    assert_eq!(local(&vault).await.pending, 0);
    assert_eq!(vault.status().await.unwrap().database.unwrap().problem, None);
    for (owner, last) in &acknowledged {
        let loaded = reader.load(owner).await.unwrap();
        assert_eq!((loaded.version, &loaded.config), (last.version, &last.config));
    }
    assert_eq!(reader.load(&calm[0]).await.unwrap().config, full_config("later"));
    assert_eq!(vault.load(&calm[1]).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(reader.load(&owner("new")).await.unwrap().config, full_config("new"));
    let url = stage.standby.url();
    assert_eq!(number(url, "SELECT count(*) FROM user_profiles").await, 10);
    let twice =
        "SELECT count(*) FROM (SELECT FROM writes GROUP BY user_id, key HAVING count(*) > 1) AS twice";
    assert_eq!(number(url, twice).await, 0, "a record that had arrived was written again");

    until_taken_up().await;
    let rotation = completes(&vault).await;
    assert_eq!((rotation.key, rotation.token_counts.tokens_of(old)), (new, 0));
    completes(&reader).await;
    vault.destroy_key(old, at_once()).await.unwrap();
    let schema = vault.schema();
    let plan = schema.plan(Profile::FullProfile).await.unwrap();
    schema.apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    assert_eq!(vault.load(&calm[2]).await.unwrap().config, full_config(2));
}

/// Whatever changes the database and may not wait in a local file says why it is refused.
async fn standby_refuses_operators(stage: &Stage, owner: &Owner, old: KeyId) {
    let operator = &stage.reader().await;
    is_refused_by_standby(rotate(operator, &small()).await, "rotate");
    is_refused_by_standby(operator.destroy_key(old, at_once()).await, "key destroy");
    let [keyring, home] = [0, 1].map(|host| stage.hosts.local_file(host).parent().unwrap().to_owned());
    std::fs::copy(keyring.join("keyring.json"), home.join("keyring.json")).unwrap();
    let command = Command::new(env!("CARGO_BIN_EXE_retell-vault"))
        .arg("rotate")
        .env("RETELL_VAULT_HOME", home)
        .env("RETELL_VAULT_WRAPPING_KEY", STANDARD.encode([7; 32]))
        .env("DATABASE_URL", stage.standby.url())
        .output()
        .unwrap();
    let said = String::from_utf8(command.stderr).unwrap();
    assert!(!command.status.success() && said.contains("is a standby"), "{said}");
    assert!(said.contains("name the primary server") && !said.contains("is up"), "{said}");
    let schema = operator.schema();
    let plan = schema.plan(Profile::FullProfile).await.unwrap();
    assert!(!plan.is_empty());
    is_refused_by_standby(schema.apply(&plan, &ApplyOptions::new(), |_| {}).await, "schema apply");
    is_refused_by_standby(schema.roll_back(&RollBackOptions::new(), |_| {}).await, "schema rollback");
    let verified = schema.verify(Profile::FullProfile).await.unwrap();
    let tried = verified.checks.iter().find(|check| check.what.starts_with("store")).unwrap();
    assert!(format!("{:?}", tried.outcome).contains("is a standby"), "{tried:?}");
    is_refused_by_standby(
        operator.rename_owner(owner, &crate::support::vaults::owner("moved")).await,
        "move",
    );
    let strict = stage.hosts.host(2, stage.standby.url()).fallback(Fallback::Refuse).build().await.unwrap();
    is_refused_by_standby(strict.store(owner, &full_config("no")).await, "store");
    is_refused_by_standby(strict.delete(owner).await, "delete");
    assert_eq!(strict.load(owner).await.unwrap().config, full_config(2));
}
