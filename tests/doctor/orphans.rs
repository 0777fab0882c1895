//! Rows of owners whom the application does not know any more.

use retell_vault::Layout;
use retell_vault::doctor::DoctorOptions;

use crate::support::doctor::{Clinic, Planted};
use crate::support::rows::value;

const ANNE: &str = "0190a7f0-0000-7000-8000-00000000000a";
const BERT: &str = "0190a7f0-0000-7000-8000-00000000000b";

#[tokio::test]
async fn rows_of_owners_who_are_gone_are_moved_beside() {
    for (owner_type, user_type) in [("uuid", "uuid"), ("text", "uuid"), ("uuid", "text"), ("text", "text")] {
        let table = format!(
            "CREATE TABLE user_profiles (user_id {owner_type} PRIMARY KEY, full_name text);
             CREATE SCHEMA auth; CREATE TABLE auth.users (id {user_type} PRIMARY KEY)"
        );
        let clinic = Clinic::with(&table, Layout::new()).await;
        let clinic = clinic.options(DoctorOptions::new().users_table("auth.users", "id"));
        let upper =
            if owner_type == "text" && user_type == "uuid" { ANNE.to_uppercase() } else { ANNE.to_owned() };
        clinic.db.exec(&format!("INSERT INTO auth.users VALUES ('{ANNE}')")).await;
        clinic.db.exec(&format!("INSERT INTO user_profiles (user_id) VALUES ('{upper}')")).await;
        clinic.is_clean().await;

        let plant = format!("INSERT INTO user_profiles (user_id, full_name) VALUES ('{BERT}', 'Bert')");
        let planted = Planted { id: "orphans", plant: Box::leak(plant.into_boxed_str()) };
        let findings = clinic.finds_and_mends(&planted).await;
        assert_eq!((findings[0].count, findings[0].owners.as_slice()), (Some(1), &[BERT.to_owned()][..]));
        let moved: String =
            value(&clinic.db, "SELECT full_name FROM retell_vault_backup_orphans_user_profiles").await;
        assert_eq!(moved, "Bert");
    }
}

#[tokio::test]
async fn of_a_large_table_a_sample_is_compared() {
    let clinic = Clinic::new().await.options(DoctorOptions::new().users_table("users", "id"));
    clinic
        .db
        .exec(
            "CREATE TABLE users (id text PRIMARY KEY);
             INSERT INTO user_profiles (user_id, full_name) SELECT n::text, repeat('x', 1900) FROM generate_series(1, 20000) AS n",
        )
        .await;
    let diagnosis = clinic.diagnose().await;
    let orphans = diagnosis.findings.iter().find(|finding| finding.id == "orphans").expect("it is found");
    assert!(orphans.count.unwrap() > 0 && orphans.owners.len() == 5, "{orphans:?}");
    assert!(
        diagnosis.notes.iter().any(|note| note.contains("a sample of the rows")),
        "{:?}",
        diagnosis.notes
    );
}

#[tokio::test]
async fn a_users_table_that_is_not_there_is_said() {
    let clinic = Clinic::new().await.options(DoctorOptions::new().users_table("auth.users", "id"));
    let findings = clinic.finds_only("not_examined").await;
    assert!(findings[0].meaning.contains("auth.users"), "{findings:#?}");
}
