//! Keys and what is sealed under them: every finding provoked, in the table and in the local file.

use std::time::Duration;

use retell_vault::Vault;
use retell_vault::doctor::{Area, DoctorOptions, DoctorProgress, Finding, Fix, Severity};
use retell_vault::keyring::KeyId;
use retell_vault::records::StoreOptions;
use retell_vault::rotation::RotateOptions;

use crate::support::faults::sqlite;
use crate::support::rotation::{Stage, at_once, completes};
use crate::support::vaults::{ALL_COLUMNS, Hosts, full_config, owner};

const COLUMNS: [&str; 3] = ["encrypted_retell_api_key", "encrypted_call_agent_id", "encrypted_sms_agent_id"];

/// What is found about keys and records. The rows are clean otherwise.
async fn found_with(vault: &Vault, options: &DoctorOptions) -> Vec<Finding> {
    let diagnosis = vault.doctor(options, |_| {}).await.unwrap();
    assert!(!format!("{diagnosis:?}").contains("rv1."), "{diagnosis:?}");
    let in_rows = |finding: &Finding| matches!(finding.area, Area::Exposure | Area::Keys);
    diagnosis.findings.into_iter().filter(in_rows).collect()
}

async fn found(vault: &Vault) -> Vec<Finding> {
    found_with(vault, &DoctorOptions::new()).await
}

fn the_one(findings: Vec<Finding>, id: &str, severity: Severity) -> Finding {
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let finding = findings.into_iter().next().unwrap();
    assert_eq!((finding.id, finding.severity), (id, severity), "{finding:#?}");
    finding
}

/// Ten users, all under the primary key.
async fn rotated() -> (Stage, Vault) {
    let stage = Stage::on(ALL_COLUMNS, 10).await;
    let vault = stage.vault(0).await;
    completes(&vault).await;
    assert_eq!(found(&vault).await, []);
    (stage, vault)
}

/// Changes the text of every token in the rows.
async fn altered(stage: &Stage, pattern: &str, by: &str, rows: &str) {
    let change = |column: &str| format!("{column} = regexp_replace({column}, '{pattern}', '{by}')");
    let columns: Vec<_> = COLUMNS.iter().map(|column| change(column)).collect();
    let json = format!("regexp_replace(encrypted_agent_config::text, '{pattern}', '{by}', 'g')::jsonb");
    let sql = format!(
        "UPDATE user_profiles SET {}, encrypted_agent_config = {json} WHERE {rows}",
        columns.join(", ")
    );
    stage.db.exec(&sql).await;
}

// --- Keys ---

#[tokio::test]
async fn tokens_under_a_retired_key_are_found_and_sealed_anew() {
    let stage = Stage::on(ALL_COLUMNS, 10).await;
    let vault = stage.vault(0).await;
    let finding = the_one(found(&vault).await, "retired_key", Severity::Warning);
    assert_eq!(finding.object, format!("table public.user_profiles, key {}", stage.old));
    assert_eq!(finding.count, Some(50));
    assert_eq!(finding.fix, Fix::Command("retell-vault rotate".to_owned()));
    vault.rotate(&RotateOptions::new(), |_| {}).await.unwrap();
    assert_eq!(found(&vault).await, []);
    let diagnosis = vault.doctor(&DoctorOptions::new(), |_| {}).await.unwrap();
    let note = format!("public.user_profiles: 50 tokens under key {}, primary", stage.new);
    assert!(diagnosis.notes.contains(&note), "{:?}", diagnosis.notes);
}

#[tokio::test]
async fn a_key_that_nobody_knows_is_found() {
    let (stage, vault) = rotated().await;
    altered(&stage, "rv1[.][0-9a-f]{8}", "rv1.deadbeef", "user_id = 'user-1'").await;
    let finding = the_one(found(&vault).await, "unknown_key", Severity::Critical);
    assert_eq!(finding.object, "table public.user_profiles, key deadbeef");
    assert_eq!(finding.count, Some(5));
}

#[tokio::test]
async fn a_destroyed_key_is_found_in_rows_that_came_back() {
    let stage = Stage::on(ALL_COLUMNS, 10).await;
    stage.db.exec("CREATE TABLE backup AS SELECT * FROM user_profiles").await;
    let vault = stage.vault(0).await;
    completes(&vault).await;
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    stage
        .db
        .exec("DELETE FROM user_profiles WHERE user_id = 'user-2'; INSERT INTO user_profiles SELECT * FROM backup WHERE user_id = 'user-2'")
        .await;
    let finding = the_one(found(&vault).await, "destroyed_key", Severity::Critical);
    assert!(finding.object.ends_with(&stage.old.to_string()), "{finding:?}");
}

#[tokio::test]
async fn a_key_that_is_pending_here_and_seals_elsewhere_is_found() {
    let (stage, vault) = rotated().await;
    let pending: KeyId = stage.hosts.keyring().add_key().await.unwrap().id;
    altered(&stage, "rv1[.][0-9a-f]{8}", &format!("rv1.{pending}"), "user_id = 'user-1'").await;
    the_one(found(&vault).await, "older_keyring", Severity::Critical);
}

#[tokio::test]
async fn an_old_primary_key_is_found() {
    let (_stage, vault) = rotated().await;
    let options = DoctorOptions::new().key_age(Duration::ZERO);
    let finding = the_one(found_with(&vault, &options).await, "old_key", Severity::Warning);
    assert_eq!(finding.fix, Fix::Command("retell-vault rotate --new-key".to_owned()));
}

#[tokio::test]
async fn another_keyring_is_told_from_one_key_that_is_missing() {
    let (stage, _vault) = rotated().await;
    let others = Hosts::new().await;
    let stranger = others.host(0, &stage.db.url).build().await.unwrap();
    let finding = the_one(found(&stranger).await, "wrong_keyring", Severity::Critical);
    assert_eq!(finding.count, Some(50));
}

/// In another column in any case, in a table of ours when its key is not the primary one any more. What opens for nobody is no finding.
#[tokio::test]
async fn tokens_outside_of_the_layout_are_found() {
    let (stage, vault) = rotated().await;
    let copy = "UPDATE user_profiles AS t SET note = s.encrypted_retell_api_key FROM user_profiles AS s";
    stage
        .db
        .exec(&format!(
            "ALTER TABLE user_profiles ADD note text; {copy} WHERE s.user_id = 'user-1' AND t.user_id = 'user-2';
            CREATE TABLE retell_vault_copy AS SELECT encrypted_sms_agent_id AS token FROM user_profiles"
        ))
        .await;
    let deep = DoctorOptions::new().deep();
    for options in [&DoctorOptions::new(), &deep] {
        assert_eq!(found_with(&vault, options).await, []);
    }
    stage.db.exec(&format!("{copy} WHERE s.user_id = t.user_id AND t.user_id < 'user-4'")).await;
    for options in [&DoctorOptions::new(), &deep] {
        let finding = the_one(found_with(&vault, options).await, "outside_layout", Severity::Warning);
        assert_eq!(finding.object, "column public.user_profiles.note");
        assert_eq!(finding.count, Some(4));
    }
    stage.db.exec("UPDATE user_profiles SET note = NULL").await;
    let new = stage.hosts.keyring().add_key().await.unwrap().id;
    stage.hosts.keyring().promote_key(new).await.unwrap();
    let vault = stage.vault(0).await;
    completes(&vault).await;
    for options in [&DoctorOptions::new(), &deep] {
        let finding = the_one(found_with(&vault, options).await, "outside_layout", Severity::Warning);
        assert_eq!(finding.object, "column public.retell_vault_copy.token");
        assert_eq!(finding.count, Some(10));
    }
}

// --- Records ---

/// One column of a row as it was before a later store.
async fn put_back(stage: &Stage, vault: &Vault, column: &str) {
    stage.db.exec("DROP TABLE IF EXISTS backup; CREATE TABLE backup AS SELECT * FROM user_profiles").await;
    vault.store(&owner("user-3"), &full_config("later")).await.unwrap();
    let back = format!(
        "UPDATE user_profiles AS t SET {column} = b.{column} FROM backup AS b
        WHERE t.user_id = 'user-3' AND b.user_id = 'user-3'"
    );
    stage.db.exec(&back).await;
}

#[tokio::test]
async fn two_records_in_one_row_are_found() {
    let (stage, vault) = rotated().await;
    put_back(&stage, &vault, "encrypted_agent_config").await;
    let finding = the_one(found(&vault).await, "mixed_record", Severity::Critical);
    assert_eq!((finding.count, finding.owners), (Some(1), vec!["user-3".to_owned()]));
    let options = StoreOptions::new().replace_unreadable();
    vault.store_with(&owner("user-3"), &full_config("again"), options).await.unwrap();
    assert_eq!(found(&vault).await, []);
}

/// Only who opens the record can tell that something of it is missing.
#[tokio::test]
async fn a_token_of_an_older_version_is_found() {
    let (stage, vault) = rotated().await;
    put_back(&stage, &vault, "encrypted_sms_agent_id").await;
    let finding = the_one(found(&vault).await, "leftover_tokens", Severity::Warning);
    assert_eq!((finding.count, finding.owners), (Some(1), vec!["user-3".to_owned()]));
    let deep = found_with(&vault, &DoctorOptions::new().deep()).await;
    let ids: Vec<_> = deep.iter().map(|finding| finding.id).collect();
    assert!(ids.len() == 2 && ids.contains(&"incomplete_record"), "{deep:#?}");
    let options = StoreOptions::new().replace_unreadable();
    vault.store_with(&owner("user-3"), &full_config("again"), options).await.unwrap();
    assert_eq!(found(&vault).await, []);
}

#[tokio::test]
async fn a_record_without_one_of_its_fields_is_found() {
    let (stage, vault) = rotated().await;
    let deep = DoctorOptions::new().deep();
    for column in COLUMNS {
        stage.db.exec(&format!("UPDATE user_profiles SET {column} = NULL WHERE user_id = 'user-4'")).await;
        let finding = the_one(found_with(&vault, &deep).await, "incomplete_record", Severity::Critical);
        assert_eq!(finding.owners, ["user-4"]);
        let options = StoreOptions::new().replace_unreadable();
        vault.store_with(&owner("user-4"), &full_config("again"), options).await.unwrap();
        assert_eq!(found_with(&vault, &deep).await, [], "{column}");
    }
    let without = "encrypted_agent_config #- '{retell_vault,record}'";
    stage
        .db
        .exec(&format!(
            "UPDATE user_profiles SET encrypted_agent_config = {without} WHERE user_id = 'user-4'"
        ))
        .await;
    let finding = the_one(found(&vault).await, "incomplete_record", Severity::Critical);
    assert_eq!(finding.owners, ["user-4"]);
}

#[tokio::test]
async fn versions_from_the_future_and_later_formats_are_found() {
    let (stage, vault) = rotated().await;
    altered(&stage, "(rv1[.][0-9a-f]{8})[.][0-9a-f]{16}", "\\1.fffffffffffff000", "user_id = 'user-5'").await;
    the_one(found(&vault).await, "version_ahead", Severity::Warning);
    vault.store(&owner("user-5"), &full_config("again")).await.unwrap();
    altered(&stage, "rv1[.]", "rv2.", "user_id = 'user-5'").await;
    let finding = the_one(found(&vault).await, "later_format", Severity::Critical);
    assert_eq!(finding.owners, ["user-5"]);
}

// --- Deep ---

#[tokio::test]
async fn what_does_not_open_is_found_by_a_deep_look_only() {
    let (stage, vault) = rotated().await;
    let deep = DoctorOptions::new().deep();
    assert_eq!(found_with(&vault, &deep).await, []);
    let copy = "UPDATE user_profiles AS t SET encrypted_retell_api_key = b.encrypted_retell_api_key,
        encrypted_call_agent_id = b.encrypted_call_agent_id, encrypted_sms_agent_id = b.encrypted_sms_agent_id,
        encrypted_agent_config = b.encrypted_agent_config
        FROM user_profiles AS b WHERE t.user_id IN ('user-6', 'user-7') AND b.user_id = 'user-8'";
    stage.db.exec(copy).await;
    assert_eq!(found(&vault).await, []);
    let finding = the_one(found_with(&vault, &deep).await, "unreadable_record", Severity::Critical);
    assert_eq!(finding.count, Some(2));
    assert_eq!(finding.owners, ["user-6", "user-7"]);
}

#[tokio::test]
async fn one_altered_character_is_found_by_a_deep_look() {
    let (stage, vault) = rotated().await;
    let alter = "UPDATE user_profiles SET encrypted_sms_agent_id = overlay(encrypted_sms_agent_id PLACING
        CASE substr(encrypted_sms_agent_id, 100, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM 100 FOR 1) WHERE user_id = 'user-9'";
    stage.db.exec(alter).await;
    assert_eq!(found(&vault).await, []);
    let findings = found_with(&vault, &DoctorOptions::new().deep()).await;
    assert_eq!(the_one(findings, "unreadable_record", Severity::Critical).owners, ["user-9"]);
}

/// A table without any key is walked along its owners, several rows of one among them.
#[tokio::test]
async fn a_deep_look_tells_how_far_it_is_and_sees_every_row() {
    for key in ["PRIMARY KEY", "NOT NULL"] {
        let stage = Stage::on(&ALL_COLUMNS.replace("PRIMARY KEY", key), 10).await;
        let vault = stage.vault(0).await;
        completes(&vault).await;
        stage
            .db
            .exec(
                "INSERT INTO user_profiles (user_id) SELECT 'empty-' || n FROM generate_series(1, 2490) AS n",
            )
            .await;
        let mut told: Vec<DoctorProgress> = Vec::new();
        vault.doctor(&DoctorOptions::new().deep(), |progress| told.push(*progress)).await.unwrap();
        let opened: Vec<u64> = told.iter().map(|progress| progress.opened).collect();
        assert_eq!(opened, [1000, 2000, 2500], "{told:?}");
        assert!(told.iter().all(|progress| progress.rows == 2500));
    }
}

// --- The local file ---

#[tokio::test]
async fn records_of_the_local_file_are_looked_at_too() {
    let hosts = Hosts::new().await;
    let vault = hosts.offline(0).build().await.unwrap();
    for user in ["one", "two"] {
        vault.store(&owner(user), &full_config(user)).await.unwrap();
    }
    let deep = DoctorOptions::new().deep();
    assert_eq!(found_with(&vault, &deep).await, []);
    let swap = sqlx::raw_sql("UPDATE pending SET user = user || '-moved'");
    swap.execute(&mut sqlite(&hosts, 0).await).await.unwrap();
    assert_eq!(found(&vault).await, []);
    let finding = the_one(found_with(&vault, &deep).await, "unreadable_record", Severity::Critical);
    assert_eq!((finding.object.as_str(), finding.count), ("local file, pending", Some(2)));

    let unknown = sqlx::raw_sql(
        "UPDATE pending SET text = replace(text, substr(text, 5, 8), 'deadbeef') WHERE user = 'one-moved'",
    );
    unknown.execute(&mut sqlite(&hosts, 0).await).await.unwrap();
    let findings = found(&vault).await;
    assert!(findings.iter().any(|finding| finding.id == "unknown_key"), "{findings:#?}");
}
