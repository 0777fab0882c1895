//! The schema moves in the middle of a rotation: it looks again and completes, or it ends with an error or
//! "not complete"; whatever is left of a record still opens.

use retell_vault::rotation::{RotateOptions, Rotation};
use retell_vault::{Error, ErrorKind};

use crate::support::rotation::*;
use crate::support::rows::owners;
use crate::support::vaults::*;

const USERS: usize = 30;

/// About a second for all.
fn slowly() -> RotateOptions {
    RotateOptions::new().batch(2).jobs(1).rate(30)
}

/// A slow rotation, and a script when some rows are done and most are not.
async fn rotate_during(stage: &Stage, script: &str) -> Result<Rotation, Error> {
    let vault = stage.vault(0).await;
    let meanwhile = async {
        assert!(vault.count_tokens().await.unwrap().tokens_of(stage.old) > 0, "it is in the middle");
        stage.db.exec(script).await;
    };
    rotate_and(&vault, &slowly(), |progress| progress.resealed >= 6, meanwhile).await
}

#[tokio::test]
async fn it_looks_again_and_completes() {
    let jsonb = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)";
    let text = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, webhook_config jsonb)";
    for (columns, script) in [
        (jsonb, "ALTER TABLE user_profiles ADD COLUMN encrypted_retell_api_key text"),
        (jsonb, "ALTER TABLE user_profiles ADD COLUMN encrypted_call_agent_id varchar(10)"),
        (jsonb, "ALTER TABLE user_profiles ADD COLUMN phone_number text"),
        (text, "ALTER TABLE user_profiles ADD COLUMN encrypted_agent_config jsonb DEFAULT '{}'"),
        (text, "ALTER TABLE user_profiles ALTER COLUMN encrypted_retell_api_key TYPE varchar(4000)"),
        (text, "ALTER TABLE user_profiles ALTER COLUMN webhook_config TYPE json"),
        (text, "ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey"),
        (text, "ALTER TABLE user_profiles DROP CONSTRAINT user_profiles_pkey, ADD COLUMN id serial PRIMARY KEY"),
        (text, "ALTER TABLE user_profiles ALTER COLUMN user_id TYPE varchar(30)"),
        // a table that was made anew and filled from the old one
        (
            text,
            "BEGIN; ALTER TABLE user_profiles RENAME TO before; CREATE TABLE user_profiles (id bigserial PRIMARY KEY,
                user_id text UNIQUE, encrypted_retell_api_key varchar, webhook_config jsonb, encrypted_call_agent_id text);
            INSERT INTO user_profiles (user_id, encrypted_retell_api_key, webhook_config) TABLE before; DROP TABLE before; COMMIT",
        ),
    ] {
        let stage = Stage::on(columns, USERS).await;
        let rotation = rotate_during(&stage, script).await.unwrap_or_else(|error| panic!("{script}: {error:?}"));
        assert!(rotation.complete, "{script}: {rotation:?}");
        assert_eq!(rotation.progress.resealed, USERS as u64, "{script}");
        stage.all_load().await;
    }
}

/// What is taken away in the middle is not there to be sealed anew. The rest of such a record is left alone,
/// so that it is whole again when the column comes back from a backup.
#[tokio::test]
async fn a_column_that_goes_and_comes_back() {
    // without the lock, a batch between the copy and the change would make the copy an older one
    let copy = "BEGIN; LOCK TABLE user_profiles; CREATE TABLE backup AS TABLE user_profiles";
    for (go, come_back) in [
        ("DROP COLUMN encrypted_agent_config", "ADD COLUMN encrypted_agent_config jsonb"),
        ("DROP COLUMN encrypted_sms_agent_id", "ADD COLUMN encrypted_sms_agent_id text"),
        ("RENAME COLUMN encrypted_call_agent_id TO moved", "RENAME COLUMN moved TO encrypted_call_agent_id"),
        (
            "ALTER COLUMN encrypted_sms_agent_id TYPE varchar(10) USING left(encrypted_sms_agent_id, 10)",
            "ALTER COLUMN encrypted_sms_agent_id TYPE text",
        ),
        (
            "ALTER COLUMN encrypted_call_agent_id TYPE bytea USING NULL",
            "ALTER COLUMN encrypted_call_agent_id TYPE text USING NULL",
        ),
    ] {
        let stage = Stage::on(ALL_COLUMNS, USERS).await;
        let script = format!("{copy}; ALTER TABLE user_profiles {go}; COMMIT");
        match rotate_during(&stage, &script).await {
            Ok(rotation) => assert!(!rotation.complete, "{go}: {rotation:?}"),
            Err(error) => assert!(!error.hint().is_empty(), "{go}: {error:?}"),
        }
        let column = go.split([' ']).find(|word| word.starts_with("encrypted_")).unwrap();
        stage
            .db
            .exec(&format!(
                "ALTER TABLE user_profiles {come_back};
                UPDATE user_profiles t SET {column} = b.{column} FROM backup b WHERE b.user_id = t.user_id"
            ))
            .await;
        stage.all_load().await;
        let vault = stage.vault(1).await;
        completes(&vault).await;
        stage.all_load().await;
    }
}

#[tokio::test]
async fn a_table_that_goes() {
    let named = || named_table("profiles");
    let columns = ALL_COLUMNS.replace("user_profiles", "profiles");
    let stage = Stage::with(&columns, named(), owners(USERS)).await;
    let error = rotate_during(&stage, "ALTER TABLE profiles RENAME TO gone").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema, "{error:?}");
    assert!(error.to_string().contains("profiles") && !error.hint().is_empty(), "{error:?}");
    stage.db.exec("ALTER TABLE gone RENAME TO profiles").await;
    stage.all_load().await;
    completes(&stage.vault(0).await).await;
    stage.all_load().await;
}

/// The default table is allowed to be missing; that it held nothing is not known then.
#[tokio::test]
async fn a_default_table_that_goes() {
    let gone = "ALTER TABLE user_profiles RENAME TO gone";
    let stage = Stage::on(ALL_COLUMNS, USERS).await;
    let error = rotate_during(&stage, gone).await.unwrap_err();
    // the local file knows which table it was used with
    assert_eq!(error.kind(), ErrorKind::Schema, "{error:?}");
    assert!(error.to_string().contains("user_profiles") && !error.hint().is_empty(), "{error:?}");
    for host in 1..3 {
        let vault = stage.vault(host).await;
        let error = vault.destroy_key(stage.old, at_once()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schema, "{error:?}");
        vault.close().await;
    }
    stage.db.exec("ALTER TABLE gone RENAME TO user_profiles").await;
    stage.all_load().await;
    completes(&stage.vault(0).await).await;
    stage.all_load().await;
}

/// A column of the layout whose type is none that a slot can have still holds what it held.
#[tokio::test]
async fn a_column_of_another_type_is_counted() {
    for (column, kind, other) in [
        ("encrypted_agent_config", "jsonb", "json"),
        ("encrypted_agent_config", "jsonb", "text"),
        ("encrypted_retell_api_key", "text", "char(9000)"),
        ("encrypted_retell_api_key", "text", "short_text"),
        ("encrypted_retell_api_key", "text", "varchar(9000)"),
    ] {
        let columns = format!(
            "CREATE DOMAIN short_text AS text; CREATE TABLE user_profiles (user_id text PRIMARY KEY, {column} {kind})"
        );
        let stage = Stage::on(&columns, USERS).await;
        let retype = |kind: &str| {
            format!("ALTER TABLE user_profiles ALTER COLUMN {column} TYPE {kind} USING {column}::{kind}")
        };
        stage.db.exec(&retype(other)).await;
        let vault = stage.vault(0).await;
        let (rotation, _) = rotate(&vault, &small()).await.unwrap();
        if !rotation.complete {
            assert!(rotation.token_counts.tokens_of(stage.old) >= 4 * USERS as u64, "{other}: {rotation:?}");
            refuses_to_destroy(&vault, stage.old, &format!("in column {column}")).await;
        } else {
            assert_eq!(rotation.progress.resealed, USERS as u64, "{other}: {rotation:?}");
        }
        stage.db.exec(&retype(kind)).await;
        stage.all_load().await;
        completes(&vault).await;
        stage.all_load().await;
    }
}
