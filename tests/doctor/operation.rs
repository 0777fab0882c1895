//! The server, the way to it, the local file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use retell_vault::Vault;
use retell_vault::connection::PoolerMode;
use retell_vault::doctor::{Area, DoctorOptions, Finding, Fix, Severity};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::support::Cluster;
use crate::support::doctor::{Clinic, Planted, examine};
use crate::support::faults::{exec, unplugged};
use crate::support::vaults::{ALL_COLUMNS, Hosts, full_config, owner};

async fn found(vault: &Vault) -> Vec<Finding> {
    examine(vault, &DoctorOptions::new()).await.findings
}

fn ids(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.id).collect()
}

fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

#[tokio::test]
async fn a_database_that_is_read_only_by_default() {
    let plant = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',
        current_database()); END $$";
    Clinic::new().await.finds_and_mends(&Planted { id: "read_only", plant }).await;
}

#[tokio::test]
async fn a_server_that_does_not_wait_for_its_disk() {
    for (option, is_found) in [("fsync=off", true), ("fsync=on", false)] {
        let (server, hosts) = (Cluster::start(&["-c", option]).await, Hosts::new().await);
        exec(server.url(), ALL_COLUMNS).await;
        let vault = hosts.host(0, server.url()).build().await.unwrap();
        let findings = vault.doctor(&DoctorOptions::new(), |_| {}).await.unwrap().findings;
        let found: Vec<_> = findings.iter().filter(|finding| finding.id == "fsync_off").collect();
        assert_eq!(found.len(), usize::from(is_found), "{findings:#?}");
        assert!(found.iter().all(|finding| finding.severity == Severity::Warning));
        assert_eq!(vault.status().await.unwrap().database.unwrap().fsync, Some(!is_found));
    }
}

#[tokio::test]
async fn clocks_that_differ() {
    let clinic = Clinic::new().await;
    for (seconds, severity) in
        [(-300, Severity::Warning), (300, Severity::Warning), (7200, Severity::Critical)]
    {
        let clock = move || (wall_clock().as_millis() as i64 + seconds * 1000) as u64;
        let vault = clinic.hosts.host(0, &clinic.db.url).clock(clock).build().await.unwrap();
        let findings = found(&vault).await;
        assert_eq!((ids(&findings), findings[0].severity), (vec!["clock_skew"], severity));
    }
}

#[tokio::test]
async fn a_pooler_that_nobody_told_of() {
    let clinic = Clinic::new().await;
    // a service that made its pool fit for PgBouncer, and did not say so
    let options = PgConnectOptions::from_str(&clinic.db.bouncer_url()).unwrap();
    let options = options.extra_float_digits(None).statement_cache_capacity(0);
    let vault = |mode| {
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(options.clone());
        clinic.hosts.offline(0).pool(pool).pooler(mode).build()
    };
    let unaware = vault(PoolerMode::None).await.unwrap();
    let findings = found(&unaware).await;
    assert!(ids(&findings).contains(&"pooler_not_recognised"), "{findings:#?}");
    unaware.close().await;
    let aware = vault(PoolerMode::Transaction).await.unwrap();
    let diagnosis = examine(&aware, &DoctorOptions::new()).await;
    assert!(diagnosis.findings.is_empty(), "{:#?}", diagnosis.findings);
    assert!(diagnosis.notes.iter().any(|note| note.contains("transaction pooler")), "{:?}", diagnosis.notes);
}

#[tokio::test]
async fn what_waits_in_the_local_file() {
    let clinic = Clinic::new().await;
    let offline = unplugged(&clinic.hosts, 0).await;
    offline.store(&owner("user-a"), &full_config(1)).await.unwrap();
    let findings = found(&offline).await;
    assert_eq!(ids(&findings), ["database_unreachable", "pending_records"]);
    offline.close().await;

    let vault = clinic.vault().await;
    let findings = found(&vault).await;
    assert_eq!((ids(&findings), findings[0].severity), (vec!["pending_records"], Severity::Notice));
    assert_eq!((findings[0].count, findings[0].owners.as_slice()), (Some(1), &["user-a".to_owned()][..]));
    assert_eq!(findings[0].fix, Fix::Command("retell-vault sync".to_owned()));
    vault.sync().await.unwrap();
    assert_eq!(ids(&found(&vault).await), [] as [&str; 0]);
}

#[tokio::test]
async fn what_waits_for_long_and_what_the_database_refused() {
    let clinic = Clinic::new().await;
    let long_ago = || (wall_clock() - Duration::from_secs(7200)).as_millis() as u64;
    let dead = crate::support::faults::DEAD_URL;
    let offline = clinic.hosts.host(0, dead).timeouts(crate::support::faults::QUICK).clock(long_ago);
    let offline = offline.build().await.unwrap();
    offline.store(&owner("user-a"), &full_config(1)).await.unwrap();
    offline.close().await;
    let vault = clinic.vault().await;
    let findings = found(&vault).await;
    assert_eq!((ids(&findings), findings[0].severity), (vec!["pending_records"], Severity::Warning));

    clinic.db.exec("ALTER TABLE user_profiles ADD CONSTRAINT nobody CHECK (user_id <> 'user-a')").await;
    vault.sync().await.unwrap();
    let findings = found(&vault).await;
    assert_eq!((ids(&findings), findings[0].area), (vec!["dead_letters"], Area::Operation));
    vault.forget(&owner("user-a")).await.unwrap();
    assert_eq!(ids(&found(&vault).await), [] as [&str; 0]);
}

/// Runs the command of a finding, as a shell does.
fn run(finding: &Finding) {
    let Fix::Command(command) = &finding.fix else { panic!("{finding:#?}") };
    assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
}

#[tokio::test]
async fn files_that_others_can_read_are_closed_again() {
    let clinic = Clinic::new().await;
    let vault = clinic.vault().await;
    let keyring = clinic.hosts.keyring().path().unwrap().to_owned();
    let local = clinic.hosts.local_file(0);
    let places: [(&Path, &str, u32); 4] = [
        (&keyring, "keyring_open", 0o644),
        (keyring.parent().unwrap(), "keyring_open", 0o755),
        (&local, "local_file_open", 0o640),
        (&local.with_extension("db-journal"), "local_file_open", 0o604),
    ];
    for (path, id, mode) in places {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let findings = found(&vault).await;
        assert_eq!((ids(&findings), findings[0].severity), (vec![id], Severity::Critical), "{path:?}");
        run(&findings[0]);
        assert_eq!(ids(&found(&vault).await), [] as [&str; 0], "{path:?}");
    }
}
