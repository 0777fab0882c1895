//! The doctor after a restore of the database.

use std::collections::BTreeMap;

use retell_vault::Vault;
use retell_vault::doctor::{DoctorOptions, Health, Severity};

use crate::Stage;
use crate::support::doctor::examine;
use crate::support::vaults::*;

const IDS: [&str; 4] = ["restore_unknown", "ledger_went_back", "ledger_broken", "records_went_back"];

/// The findings of this examination: their ids, with the owners that they name.
async fn found(vault: &Vault) -> BTreeMap<&'static str, Vec<String>> {
    let diagnosis = examine(vault, &DoctorOptions::new().after_restore()).await;
    let findings = diagnosis.findings.iter().filter(|finding| IDS.contains(&finding.id));
    let findings: Vec<_> = findings.collect();
    if findings.iter().any(|finding| finding.severity == Severity::Critical) {
        assert_eq!(diagnosis.health(), Health::Critical);
    }
    findings.into_iter().map(|finding| (finding.id, finding.owners.clone())).collect()
}

fn ids(found: &BTreeMap<&'static str, Vec<String>>) -> Vec<&'static str> {
    found.keys().copied().collect()
}

#[tokio::test]
async fn it_tells_what_a_restore_put_back() {
    let stage = Stage::new().await;
    assert_eq!(ids(&found(&stage.vault).await), ["restore_unknown"], "the ledger was not begun");
    stage.vault.begin_ledger().await.unwrap();
    for id in ["ann", "ben", "cid"] {
        stage.store(id).await;
    }
    stage.back_up().await;
    stage.store("ann").await;
    stage.store("new").await;
    stage.vault.delete(&owner("ben")).await.unwrap();
    stage.vault.close().await;
    let again = stage.hosts.host(0, &stage.db.url).build().await.unwrap();
    assert!(found(&again).await.is_empty(), "nothing went back");

    stage.restore().await;
    let after = found(&again).await;
    assert_eq!(ids(&after), ["ledger_went_back", "records_went_back"], "{after:?}");
    assert_eq!(after["records_went_back"], ["ann", "ben", "new"]);
    // the database agrees with itself, so a host without a copy cannot know
    let elsewhere = stage.hosts.host(7, &stage.db.url).build().await.unwrap();
    assert_eq!(ids(&found(&elsewhere).await), ["restore_unknown"]);
    // without the option nothing is verified
    let findings = examine(&again, &DoctorOptions::new()).await.findings;
    assert!(findings.iter().all(|finding| !IDS.contains(&finding.id)), "{findings:?}");
}

#[tokio::test]
async fn a_removed_entry_is_no_restore() {
    let stage = Stage::begun().await;
    for id in ["ann", "ben", "cid"] {
        stage.store(id).await;
    }
    stage.db.exec("DELETE FROM retell_vault.ledger WHERE usr = 'ben'").await;
    // a process that knows no head of it
    let elsewhere = stage.hosts.host(7, &stage.db.url).build().await.unwrap();
    let after = found(&elsewhere).await;
    assert_eq!(ids(&after), ["ledger_broken", "records_went_back", "restore_unknown"], "{after:?}");
    assert_eq!(after["records_went_back"], ["ben"]);
}
