//! What there is to examine at all.

use retell_vault::doctor::{Area, DoctorOptions, Health, Severity};
use retell_vault::{Layout, Vault};

use crate::support::doctor::{Clinic, examine};
use crate::support::faults::{DEAD_URL, unplugged};
use crate::support::vaults::Hosts;

async fn only_finding(vault: &Vault) -> retell_vault::doctor::Finding {
    let diagnosis = examine(vault, &DoctorOptions::new()).await;
    assert_eq!(diagnosis.findings.len(), 1, "{:#?}", diagnosis.findings);
    assert_eq!(diagnosis.health(), Health::Critical);
    diagnosis.findings.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_clean_table_gives_no_findings() {
    let clinic = Clinic::new().await;
    assert_eq!(clinic.diagnose().await.health(), Health::Healthy);
}

#[tokio::test]
async fn without_a_database_the_host_is_examined() {
    let hosts = Hosts::new().await;
    let vault = hosts.offline(0).build().await.unwrap();
    let diagnosis = vault.doctor(&DoctorOptions::new(), |_| {}).await.unwrap();
    assert!(diagnosis.findings.is_empty(), "{:#?}", diagnosis.findings);
    assert!(diagnosis.notes.iter().any(|note| note.contains("you named no database")), "{diagnosis:?}");
}

#[tokio::test]
async fn a_database_out_of_reach_is_critical() {
    let hosts = Hosts::new().await;
    let finding = only_finding(&unplugged(&hosts, 0).await).await;
    assert_eq!((finding.id, finding.area), ("database_unreachable", Area::Operation));
    assert!(!finding.meaning.contains(DEAD_URL), "{finding:?}");
}

#[tokio::test]
async fn a_missing_table_a_view_and_an_owner_that_cannot_be_told_apart() {
    let replacements = [
        ("table_missing", ""),
        ("not_a_table", "CREATE VIEW user_profiles AS SELECT 'a'::text AS user_id"),
        ("owner_unusable", "CREATE TABLE user_profiles (user_id numeric PRIMARY KEY)"),
        ("owner_unusable", "CREATE TABLE user_profiles (id text PRIMARY KEY)"),
    ];
    for (id, replacement) in replacements {
        let clinic =
            Clinic::bare("CREATE TABLE user_profiles (user_id text PRIMARY KEY)", Layout::new()).await;
        let vault = clinic.vault().await;
        clinic.db.exec(&format!("DROP TABLE user_profiles; {replacement}")).await;
        let finding = only_finding(&vault).await;
        assert_eq!((finding.id, finding.area, finding.severity), (id, Area::Schema, Severity::Critical));
        assert!(finding.object.contains("public.user_profiles"), "{finding:?}");
    }
}
