//! Columns, grants, the owner, and what guards the columns.

use retell_vault::Layout;
use retell_vault::config::Field;
use retell_vault::doctor::{Fix, Severity};

use crate::support::doctor::{Clinic, Planted, each_is_found_and_mended};
use crate::support::role::Role;
use crate::support::rows::value;
use crate::support::vaults::{full_config, owner};

/// A layout of which every name needs quoting.
fn odd_layout() -> Layout {
    let layout = Layout::new().table(r#""Odd ""Schema"""."User's ""Profiles""""#).unwrap();
    let layout = layout.user_column("User Id").unwrap().tenant_column("Tenant\"Id").unwrap();
    let layout = layout.column(Field::named("phone_number"), "Pho\"ne").unwrap();
    layout.column(Field::named("api_key"), "Api Key").unwrap().config_column("Config's").unwrap()
}

const ODD_TABLE: &str = r#"CREATE SCHEMA "Odd ""Schema""";
    CREATE TABLE "Odd ""Schema"""."User's ""Profiles""" ("User Id" uuid NOT NULL, "Tenant""Id" uuid NOT NULL,
        "Api Key" text, UNIQUE ("Tenant""Id", "User Id"))"#;

#[tokio::test]
async fn columns_are_found_and_mended() {
    each_is_found_and_mended(&[
        Planted {
            id: "column_missing",
            plant: "ALTER TABLE user_profiles DROP COLUMN phone_number, DROP COLUMN last_retell_sync",
        },
        Planted { id: "column_missing", plant: "ALTER TABLE user_profiles DROP COLUMN encrypted_sms_agent_id" },
        Planted {
            id: "column_mistyped",
            plant: "ALTER TABLE user_profiles DROP COLUMN webhook_config; ALTER TABLE user_profiles ADD webhook_config text;
                COMMENT ON COLUMN user_profiles.webhook_config IS 'retell-vault: webhook_config of retell'",
        },
        Planted {
            id: "column_too_short",
            plant: "ALTER TABLE user_profiles ALTER COLUMN phone_number TYPE varchar(8)",
        },
    ])
    .await;
}

#[tokio::test]
async fn without_room_in_the_database_it_is_critical() {
    let clinic = Clinic::bare("CREATE TABLE user_profiles (user_id text PRIMARY KEY)", Layout::new()).await;
    let findings = clinic.finds_only("column_missing").await;
    assert!(findings.iter().all(|finding| finding.severity == Severity::Critical), "{findings:#?}");
}

#[tokio::test]
async fn guards_are_found_missing_and_put_back() {
    let drop_guards = "DO $$ DECLARE k record; BEGIN
        FOR k IN SELECT conname FROM pg_constraint WHERE conrelid = 'user_profiles'::regclass AND contype = 'c' AND conname LIKE '%api_key%'
        LOOP EXECUTE format('ALTER TABLE user_profiles DROP CONSTRAINT %I', k.conname); END LOOP; END $$";
    let clinic = Clinic::new().await;
    let findings = clinic.finds_and_mends(&Planted { id: "column_unguarded", plant: drop_guards }).await;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert!(findings[0].object.contains("encrypted_retell_api_key"), "{findings:#?}");
}

#[tokio::test]
async fn an_owner_who_may_have_two_rows() {
    let clinic = Clinic::new().await;
    let drop = "ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey";
    clinic.finds_and_mends(&Planted { id: "owner_not_unique", plant: drop }).await;
}

#[tokio::test]
async fn duplicates_go_to_a_table_beside_and_the_newest_stays() {
    let clinic = Clinic::new().await;
    let vault = clinic.vault().await;
    vault.store(&owner("user-a"), &full_config(1)).await.unwrap();
    clinic
        .db
        .exec(
            "ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey;
             CREATE TABLE older AS SELECT * FROM user_profiles",
        )
        .await;
    vault.store(&owner("user-a"), &full_config(2)).await.unwrap();
    let duplicate = "INSERT INTO user_profiles SELECT * FROM older; DROP TABLE older";
    clinic.finds_and_mends(&Planted { id: "duplicate_owners", plant: duplicate }).await;
    assert_eq!(vault.load(&owner("user-a")).await.unwrap().config, full_config(2));
    let kept: i64 = value(&clinic.db, "SELECT count(*) FROM retell_vault_duplicates_user_profiles").await;
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn a_role_without_grants_and_a_column_that_is_computed() {
    let clinic = Clinic::new().await;
    let grants = "GRANT USAGE ON SCHEMA public TO guest; GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest;
        REVOKE UPDATE ON user_profiles FROM guest;
        GRANT UPDATE (encrypted_call_agent_id, encrypted_sms_agent_id, encrypted_agent_config, phone_number, webhook_config,
            retell_integration_status, last_retell_sync) ON user_profiles TO guest";
    let role = Role::create(&clinic.db, grants).await;
    let clinic = clinic.by(&role.url);
    let findings = clinic.finds_and_mends(&Planted { id: "missing_grant", plant: "" }).await;
    assert!(
        findings[0].fix.text().contains(";\nGRANT UPDATE (\"encrypted_retell_api_key\")"),
        "{findings:#?}"
    );

    let clinic = Clinic::new().await;
    clinic
        .db
        .exec(
            "ALTER TABLE user_profiles DROP COLUMN phone_number;
             ALTER TABLE user_profiles ADD phone_number text GENERATED ALWAYS AS (upper(full_name)) STORED;
             COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell'",
        )
        .await;
    let findings = clinic.finds_only("column_generated").await;
    assert!(matches!(findings[0].fix, Fix::Advice(_)) && findings[0].object.ends_with("phone_number"));
}

#[tokio::test]
async fn odd_names_uuids_tenants_and_another_schema() {
    let clinic = Clinic::with(ODD_TABLE, odd_layout()).await;
    let table = r#""Odd ""Schema"""."User's ""Profiles""""#;
    for (id, plant) in [
        ("column_missing", format!(r#"ALTER TABLE {table} DROP COLUMN "Config's""#)),
        ("column_too_short", format!(r#"ALTER TABLE {table} ALTER COLUMN "Pho""ne" TYPE varchar(8)"#)),
        ("index_on_ciphertext", format!(r#"CREATE INDEX "Odd ""Index""" ON {table} ("Api Key")"#)),
        (
            "duplicate_index",
            format!(
                r#"CREATE INDEX "One ON ""Two""" ON {table} ("User Id"); CREATE INDEX two ON {table} ("User Id")"#
            ),
        ),
    ] {
        clinic.finds_and_mends(&Planted { id, plant: Box::leak(plant.into_boxed_str()) }).await;
    }
}
