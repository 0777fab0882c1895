//! What is acknowledged outlives a crash of the server, whatever its settings and the table's say.

use retell_vault::doctor::{DoctorOptions, Severity};
use retell_vault::records::StoreOptions;
use retell_vault::{ErrorKind, Vault};

use crate::support::faults::{exec, local};
use crate::support::rows::*;
use crate::support::vaults::*;
use crate::support::*;

/// A server that waits for nothing: what no statement asks for is lost when it is killed.
const CARELESS: [&str; 4] = ["-c", "synchronous_commit=off", "-c", "autovacuum=off"];

/// Kills a careless server before it has written what nobody waited for.
async fn crash(server: &Cluster) {
    server.kill().await;
    server.restart().await;
    stop_writer(server.url()).await;
}

/// The process that writes the log of a careless server some time after each commit never does so again.
async fn stop_writer(url: &str) {
    let pid = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    let pid = faults::number(url, &format!("SELECT ({pid})::int8")).await;
    let stopped = std::process::Command::new("kill").args(["-STOP", &pid.to_string()]).status();
    assert!(stopped.unwrap().success());
}

async fn vault(hosts: &Hosts, host: usize, url: &str) -> Vault {
    hosts.host(host, url).build().await.unwrap()
}

/// SIGKILL right after every kind of write.
#[tokio::test]
async fn a_careless_server_is_killed_after_every_kind_of_write() {
    let (server, hosts) = (Cluster::start(&CARELESS).await, Hosts::new().await);
    exec(server.url(), ALL_COLUMNS).await;
    exec(server.url(), "CHECKPOINT").await;
    stop_writer(server.url()).await;
    let user = &owner("user-1");
    let loads = async |mark: &str| {
        crash(&server).await;
        let loaded = vault(&hosts, 9, server.url()).await.load(user).await;
        loaded.map(|loaded| assert_eq!(loaded.config, full_config(mark))).map_err(|error| error.kind())
    };
    // it is careless: a bare commit is lost
    exec(server.url(), "INSERT INTO user_profiles (user_id, full_name) VALUES ('bare', 'lost')").await;
    crash(&server).await;
    let bare =
        faults::number(server.url(), "SELECT count(*) FROM user_profiles WHERE user_id = 'bare'").await;
    assert_eq!(bare, 0, "this server is not careless");

    // a row that is made, one that was seen, and one that was not
    vault(&hosts, 0, server.url()).await.store(user, &full_config("made")).await.unwrap();
    assert_eq!(loads("made").await, Ok(()));
    let seen = vault(&hosts, 1, server.url()).await;
    seen.load(user).await.unwrap();
    seen.store(user, &full_config("seen")).await.unwrap();
    assert_eq!(loads("seen").await, Ok(()));
    let unseen = vault(&hosts, 2, server.url()).await;
    unseen.store(user, &full_config("unseen")).await.unwrap();
    assert_eq!(loads("unseen").await, Ok(()));
    let bulk = vault(&hosts, 3, server.url()).await;
    bulk.store_many(&[(user.clone(), full_config("bulk"))]).await.unwrap().remove(0).unwrap();
    assert_eq!(loads("bulk").await, Ok(()));
    let changed = vault(&hosts, 4, server.url()).await;
    changed
        .modify(user, |config| {
            *config = full_config("changed");
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(loads("changed").await, Ok(()));
    // what a rotation has exchanged is there before the old key is destroyed
    let keyring = hosts.keyring();
    let (old, new) = (keyring.keys()[0].id, keyring.add_key().await.unwrap().id);
    keyring.promote_key(new).await.unwrap();
    let operator = vault(&hosts, 5, server.url()).await;
    assert!(operator.rotate(&retell_vault::rotation::RotateOptions::new(), |_| {}).await.unwrap().complete);
    assert_eq!(loads("changed").await, Ok(()));
    let text: i64 = faults::number(
        server.url(),
        &format!("SELECT count(*) FROM user_profiles WHERE encrypted_retell_api_key LIKE '%{old}%'"),
    )
    .await;
    assert_eq!(text, 0, "the rotation was lost");
    vault(&hosts, 6, server.url()).await.delete(user).await.unwrap();
    assert_eq!(loads("deleted").await, Err(ErrorKind::NotFound));
}

/// What waited in the local file is gone from it only when the server has it on disk.
#[tokio::test]
async fn a_careless_server_is_killed_after_a_sync() {
    let (server, hosts) = (Cluster::start(&CARELESS).await, Hosts::new().await);
    exec(server.url(), ALL_COLUMNS).await;
    exec(server.url(), "CHECKPOINT").await;
    stop_writer(server.url()).await;
    server.kill().await;
    let vault_0 = vault(&hosts, 0, server.url()).await;
    assert!(vault_0.store(&owner("user-1"), &full_config(1)).await.unwrap().degraded.is_some());
    server.restart().await;
    stop_writer(server.url()).await;
    faults::until(async || {
        vault_0.sync().await.ok();
        local(&vault_0).await.pending == 0
    })
    .await;
    crash(&server).await;
    let loaded = vault(&hosts, 1, server.url()).await.load(&owner("user-1")).await.unwrap();
    assert_eq!(loaded.config, full_config(1));
}

/// A crash empties an UNLOGGED table. Nothing is kept there, and nothing beside it that would be stored there later.
#[tokio::test]
async fn unlogged_tables_take_no_record() {
    let partitioned = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text) PARTITION BY HASH (user_id);
        CREATE TABLE p0 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE UNLOGGED TABLE p1 PARTITION OF user_profiles FOR VALUES WITH (MODULUS 2, REMAINDER 1)";
    let unlogged = ALL_COLUMNS.replace("CREATE TABLE", "CREATE UNLOGGED TABLE");
    let cases = [
        (unlogged.as_str(), "ALTER TABLE user_profiles SET UNLOGGED", "ALTER TABLE user_profiles SET LOGGED"),
        (partitioned, "ALTER TABLE p1 SET UNLOGGED", "ALTER TABLE p1 SET LOGGED"),
    ];
    for (table, unlog, log) in cases {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(table).await;
        let vault = vault(&hosts, 0, &db.url).await;
        let user = &owner("user-1");
        let refuses = async || {
            let one = vault.store(user, &full_config(1)).await.unwrap_err();
            let with = StoreOptions::new().replace_unreadable().replace_foreign();
            let all = vault.store_with(user, &full_config(1), with).await.unwrap_err();
            let many =
                vault.store_many(&[(user.clone(), full_config(1))]).await.unwrap().remove(0).unwrap_err();
            for error in [one, all, many] {
                assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
                assert!(
                    error.to_string().contains("UNLOGGED") && error.hint().contains("SET LOGGED"),
                    "{error}"
                );
            }
            let (status, empty) = (local(&vault).await, (0, 0, 0));
            assert_eq!(
                (status.pending, status.dead_letters, status.replaced),
                empty,
                "nothing is kept locally"
            );
            let problem = vault.status().await.unwrap().database.unwrap().problem.unwrap().to_string();
            assert!(problem.contains("UNLOGGED"), "{problem}");
            let diagnosis = vault.doctor(&DoctorOptions::new(), |_| {}).await.unwrap();
            let finding =
                diagnosis.findings.iter().find(|finding| finding.id == "table_not_durable").unwrap();
            assert_eq!(finding.severity, Severity::Critical);
        };
        refuses().await;
        // as soon as the hint was followed
        db.exec(log).await;
        faults::until(async || vault.store(user, &full_config(2)).await.is_ok()).await;
        let diagnosis = vault.doctor(&DoctorOptions::new(), |_| {}).await.unwrap();
        assert!(diagnosis.findings.iter().all(|finding| finding.id != "table_not_durable"));
        // the catalogue is looked at again once a minute: here another process has just started
        db.exec(unlog).await;
        let after = hosts.host(1, &db.url).build().await.unwrap();
        assert_eq!(after.load(user).await.unwrap().config, full_config(2), "loads go on");
        assert_eq!(after.store(user, &full_config(3)).await.unwrap_err().kind(), ErrorKind::Schema);
        assert_eq!(after.delete(user).await.unwrap_err().kind(), ErrorKind::Schema);
        // what waits stays where it is
        let rows: i64 = value(&db, "SELECT count(*) FROM user_profiles").await;
        assert_eq!(rows, 1);
    }
}
