//! Tokens where the layout does not look: a key that they name is not destroyed, and nothing is called complete
//! that was not looked at.

use retell_vault::{ApplyOptions, ErrorKind, Profile, RotateOptions, Vault, Wanted};

use crate::support::role::Role;
use crate::support::rotation::*;
use crate::support::vaults::*;

const KEY: &str = "encrypted_retell_api_key";
const CLEARED: &str = "UPDATE user_profiles SET";

async fn not_looked_at(vault: &Vault) -> Vec<String> {
    let rotation = completes(vault).await;
    let estimate = vault.estimate_rotation(&RotateOptions::new()).await.unwrap();
    assert_eq!(estimate.census.not_looked_at, rotation.census.not_looked_at);
    // the application's own
    let (name, places) = rotation.census.not_looked_at.split_first().unwrap();
    assert_eq!(name, "column public.user_profiles.full_name");
    places.to_vec()
}

/// A column that was renamed, with and without an empty one under the old name, keeps its key.
#[tokio::test]
async fn a_column_under_another_name() {
    for then in ["", "ALTER TABLE user_profiles ADD COLUMN encrypted_retell_api_key text"] {
        let stage = Stage::on(ALL_COLUMNS, 10).await;
        stage.db.exec(&format!("ALTER TABLE user_profiles RENAME COLUMN {KEY} TO old_key; {then}")).await;
        let vault = stage.vault(0).await;
        // what is left in the other columns is no whole record, and stays
        rotate(&vault, &small()).await.unwrap();
        stage.db.exec("UPDATE user_profiles SET encrypted_agent_config = NULL, encrypted_call_agent_id = NULL, encrypted_sms_agent_id = NULL").await;
        assert_eq!(not_looked_at(&vault).await, ["column public.user_profiles.old_key"], "{then}");
        refuses_to_destroy(&vault, stage.old, "10 in column public.user_profiles.old_key").await;

        // with the right layout it is counted, rotated, and then the key may go
        let layout = stage.layout.clone().column(retell_vault::Field::ApiKey, "old_key").unwrap();
        let named = stage.hosts.host(1, &stage.db.url).layout(layout).build().await.unwrap();
        refuses_to_destroy(&named, stage.old, "in column old_key").await;
        stage.db.exec(&format!("{CLEARED} old_key = NULL")).await;
        vault.destroy_key(stage.old, at_once()).await.unwrap();
    }
}

/// Rows that `schema apply` moved aside, which a rollback would put back.
#[tokio::test]
async fn duplicates_that_were_moved_aside() {
    let stage = Stage::on(&ALL_COLUMNS.replace("user_id text PRIMARY KEY", "user_id text NOT NULL"), 3).await;
    stage.db.exec("INSERT INTO user_profiles SELECT * FROM user_profiles WHERE user_id = 'user-1'").await;
    let vault = stage.vault(0).await;
    let plan = vault.schema().plan(Wanted::from(Profile::Credentials).remove_duplicates()).await.unwrap();
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    let aside = "public.retell_vault_duplicates_user_profiles";
    let places = not_looked_at(&vault).await;
    assert!(places.contains(&format!("table {aside}")), "{places:?}");
    refuses_to_destroy(&vault, stage.old, &format!("1 in column {aside}.{KEY}")).await;
    stage.db.exec(&format!("DELETE FROM {aside}")).await;
    vault.destroy_key(stage.old, at_once()).await.unwrap();
}

/// The kind: whatever the type of a column is, if it can hold the text of a token it is looked at.
#[tokio::test]
async fn a_column_of_any_type_that_can_hold_text() {
    let stage = Stage::on(ALL_COLUMNS, 5).await;
    stage
        .db
        .exec(&format!(
            "CREATE DOMAIN note AS varchar(4000); CREATE TYPE pair AS (a int, b text);
            CREATE TABLE saved AS SELECT {KEY} AS token FROM user_profiles LIMIT 1;
            CREATE TABLE archived (kept_text text) INHERITS (user_profiles);
            CREATE TABLE retell_vault_copy (t text);
            INSERT INTO archived (user_id) VALUES ('archived');
            ALTER TABLE user_profiles ADD n int, ADD d timestamptz, ADD ids int[], ADD u uuid"
        ))
        .await;
    let vault = stage.vault(0).await;
    let token = "(SELECT token FROM saved)";
    let columns = [
        ("text", format!("'see ' || {token}")),
        ("varchar(2000)", token.to_owned()),
        ("char(2000)", token.to_owned()),
        ("note", token.to_owned()),
        ("text[]", format!("ARRAY['x', {token}]")),
        ("note[]", format!("ARRAY[{token}]::note[]")),
        ("json", format!("json_build_object('a', json_build_array({token}))")),
        ("jsonb", format!("jsonb_build_object('a', jsonb_build_array({token}))")),
        ("jsonb[]", format!("ARRAY[to_jsonb({token})]")),
        ("xml", format!("xmlelement(name a, {token})")),
        ("pair", format!("ROW(1, {token})::pair")),
        ("bytea", format!("convert_to({token}, 'UTF8')")),
        ("tsvector", format!("array_to_tsvector(ARRAY[{token}])")),
    ];
    completes(&vault).await;
    for (kind, value) in columns {
        stage
            .db
            .exec(&format!(
                "ALTER TABLE user_profiles ADD COLUMN odd {kind};
                {CLEARED} odd = {value} WHERE user_id = 'user-3'"
            ))
            .await;
        assert_eq!(not_looked_at(&vault).await[0], "column public.user_profiles.odd", "{kind}");
        refuses_to_destroy(&vault, stage.old, "1 in column public.user_profiles.odd").await;
        stage.db.exec("ALTER TABLE user_profiles DROP COLUMN odd CASCADE").await;
    }
    for (place, set, cleared) in [
        (
            "public.archived.kept_text",
            format!("UPDATE archived SET kept_text = {token}"),
            "TRUNCATE archived",
        ),
        (
            "public.retell_vault_copy.t",
            format!("INSERT INTO retell_vault_copy VALUES ({token})"),
            "TRUNCATE retell_vault_copy",
        ),
        (
            "public.user_profiles.encrypted_agent_config",
            format!(
                "{CLEARED} encrypted_agent_config = encrypted_agent_config || jsonb_build_object('note', {token}) WHERE user_id = 'user-1'"
            ),
            "UPDATE user_profiles SET encrypted_agent_config = encrypted_agent_config - 'note'",
        ),
    ] {
        stage.db.exec(&set).await;
        let error = vault.destroy_key(stage.old, at_once()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyInUse, "{place}: {error}");
        let column = place.rsplit('.').next().unwrap();
        assert!(error.to_string().contains(column), "{place}: {error}");
        stage.db.exec(cleared).await;
    }
    assert_eq!(
        not_looked_at(&vault).await,
        ["table public.retell_vault_copy", "table public.archived"],
        "numbers, times and ids hold no token"
    );
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    stage.all_load().await;
}

/// What may not be read was not looked at: the key stays.
#[tokio::test]
async fn a_column_that_the_role_may_not_read() {
    let stage = Stage::on(ALL_COLUMNS, 5).await;
    let columns = "user_id, encrypted_retell_api_key, encrypted_agent_config, encrypted_call_agent_id, encrypted_sms_agent_id";
    let script = format!(
        "ALTER TABLE user_profiles ADD COLUMN private text;
        GRANT UPDATE ON user_profiles TO guest; GRANT SELECT ({columns}, full_name, phone_number, webhook_config, retell_integration_status, last_retell_sync) ON user_profiles TO guest"
    );
    let role = Role::create(&stage.db, &script).await;
    let vault = stage.vault_at(0, &role.url).await;
    assert_eq!(not_looked_at(&vault).await, ["column public.user_profiles.private"]);
    let error = vault.destroy_key(stage.old, at_once()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
    assert!(error.to_string().contains("column public.user_profiles.private"), "{error}");
    stage.db.exec(&format!("GRANT SELECT ON user_profiles TO {}", role.name)).await;
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    vault.close().await;
}
