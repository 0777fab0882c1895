//! Owners of the table whose role has settings of its own, or is under the policies of the table.

use retell_vault::schema::{Profile, RollBackOptions, Wanted};
use retell_vault::{ErrorKind, Vault};

use super::{BARE, Stage, apply, migrate, plan, roll_back, value};
use crate::support::dump::schema_of;
use crate::support::role::Role;

const OWNER: &str = "ALTER TABLE user_profiles OWNER TO guest; GRANT CREATE ON SCHEMA public TO guest;";

async fn owned(stage: &Stage, also: &str) -> (Role, Vault) {
    let guest = Role::create(&stage.db, &format!("{OWNER} {also}")).await;
    let vault = stage.hosts.host(1, &guest.url).build().await.unwrap();
    (guest, vault)
}

/// What the catalogue prints depends on some of them, and some end sessions that wait.
#[tokio::test]
async fn settings_of_the_role_change_nothing() {
    for setting in [
        "quote_all_identifiers = on",
        "standard_conforming_strings = off",
        "default_transaction_isolation = serializable",
        "statement_timeout = '2s'",
        "search_path = nowhere",
    ] {
        let stage = Stage::on(BARE).await;
        let default = r#"ALTER TABLE user_profiles ADD encrypted_agent_config text DEFAULT '{"a": "x\\y"}'"#;
        stage.db.exec(default).await;
        let (guest, vault) = owned(&stage, &format!("ALTER ROLE guest SET {setting}")).await;
        let before = schema_of(&stage.db).await;
        let wanted = plan(&vault, Profile::FullProfile).await;
        let applied = vault.schema().apply(&wanted, &super::hasty().allow_rewrite(), |_| {}).await;
        applied.unwrap_or_else(|error| panic!("{setting}: {error:?}"));
        assert!(plan(&vault, Profile::FullProfile).await.is_empty(), "{setting}");
        let options = RollBackOptions::new().allow_rewrite();
        vault.schema().roll_back(&options, |_| {}).await.unwrap();
        assert_eq!(schema_of(&stage.db).await, before, "{setting}");
        vault.close().await;
        drop(guest);
    }
}

/// The server ends connections of the pool while the steps take their time.
#[tokio::test]
async fn idle_connections_that_were_closed_are_no_failure() {
    let stage = Stage::on(BARE).await;
    let (_guest, vault) = owned(&stage, "ALTER ROLE guest SET idle_session_timeout = '300ms'").await;
    let wanted = plan(&vault, Profile::Credentials).await;
    let pause = |event: retell_vault::schema::SchemaEvent<'_>| {
        if matches!(event, retell_vault::schema::SchemaEvent::Applied(step) if step.id == "values.retell_integration_status")
        {
            std::thread::sleep(std::time::Duration::from_millis(900));
        }
    };
    vault.schema().apply(&wanted, &super::hasty(), pause).await.unwrap();
    assert!(plan(&vault, Profile::Credentials).await.is_empty());
    vault.close().await;
}

/// The rows go and come back although policies that are forced hold for the owner of the table.
#[tokio::test]
async fn several_rows_of_an_owner_under_policies_that_are_forced() {
    let stage = Stage::on(BARE).await;
    let twice = "ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey; INSERT INTO user_profiles SELECT * FROM user_profiles";
    stage.db.exec(twice).await;
    let forced = "ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY; ALTER TABLE user_profiles FORCE ROW LEVEL SECURITY";
    let (_guest, vault) = owned(&stage, forced).await;
    let before = schema_of(&stage.db).await;
    let count = "SELECT count(*) FROM user_profiles";
    migrate(&vault, Wanted::from(Profile::Credentials).remove_duplicates()).await;
    assert_eq!(value::<i64>(&stage.db, count).await, 100);
    roll_back(&vault).await.unwrap();
    assert_eq!(value::<i64>(&stage.db, count).await, 200);
    assert_eq!(schema_of(&stage.db).await, before);
    vault.close().await;
}

/// Policies that are forced hide rows from the owner of the table: nothing is taken for empty that is not.
#[tokio::test]
async fn under_policies_that_are_forced() {
    let stage = Stage::on(BARE).await;
    stage.db.exec("ALTER TABLE user_profiles ADD encrypted_retell_api_key text").await;
    stage.db.exec("UPDATE user_profiles SET encrypted_retell_api_key = 'key_test_plain'").await;
    let (_guest, vault) = owned(
        &stage,
        "ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY; ALTER TABLE user_profiles FORCE ROW LEVEL SECURITY",
    )
    .await;
    let before = schema_of(&stage.db).await;
    migrate(&vault, Profile::Credentials).await;
    assert!(plan(&vault, Profile::Credentials).await.is_empty());
    let guarded = "SELECT count(DISTINCT tgname) FROM pg_trigger WHERE tgname LIKE 'retell_vault_encrypted%'";
    assert_eq!(value::<i64>(&stage.db, guarded).await, 8, "two for each column for tokens");
    stage.db.exec("UPDATE user_profiles SET phone_number = '+1415555' WHERE user_id = 'user-8'").await;
    let error = roll_back(&vault).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema, "{error:?}");
    assert!(error.to_string().contains("holds data in 1 row"), "{error}");
    let options = RollBackOptions::new().allow_data_loss();
    let undone = vault.schema().roll_back(&options, |_| {}).await.unwrap();
    let kept = format!("SELECT phone_number FROM {}", undone.backups[0]);
    assert_eq!(value::<String>(&stage.db, &kept).await, "+1415555");
    stage.db.exec(&format!("DROP TABLE {}", undone.backups[0])).await;
    assert_eq!(schema_of(&stage.db).await, before);
    vault.close().await;
}

/// What we forced ourselves can be taken back.
#[tokio::test]
async fn what_a_plan_forced_is_taken_back() {
    let stage = Stage::on(BARE).await;
    let (_guest, vault) = owned(&stage, "").await;
    let before = schema_of(&stage.db).await;
    migrate(&vault, Wanted::from(Profile::Credentials).force_row_security()).await;
    let wanted = plan(&vault, Wanted::from(Profile::FullProfile).force_row_security()).await;
    apply(&vault, &wanted).await.unwrap();
    roll_back(&vault).await.unwrap();
    assert_eq!(schema_of(&stage.db).await, before);
    vault.close().await;
}
