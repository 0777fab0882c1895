//! What the database hides, forbids, locks or changes: a clear error and nothing written, or that row alone.

use retell_vault::rotation::RotateProgress;
use retell_vault::{Error, ErrorKind, Vault};

use crate::support::faults::Lock;
use crate::support::role::Role;
use crate::support::rotation::*;
use crate::support::rows::table;
use crate::support::vaults::*;

const USERS: usize = 12;
pub const SHARED: &str = "GRANT SELECT, INSERT, UPDATE, DELETE ON user_profiles TO guest;";

/// A rotation as a role with these rights is refused and writes nothing.
pub async fn refused(script: &str) -> (Stage, Role, Error) {
    let stage = Stage::on(ALL_COLUMNS, USERS).await;
    let role = Role::create(&stage.db, script).await;
    let vault = stage.vault_at(0, &role.url).await;
    let before = table(&stage.db, "user_profiles").await;
    let error = rotate(&vault, &small()).await.unwrap_err();
    assert!(error.hint().len() > 10, "{error:?}");
    assert_eq!(table(&stage.db, "user_profiles").await, before, "{script}");
    vault.close().await;
    stage.all_load().await;
    (stage, role, error)
}

#[tokio::test]
async fn rights_that_are_missing() {
    for (script, named) in [
        ("", ""),
        ("GRANT SELECT ON user_profiles TO guest", "encrypted_"),
        (
            "GRANT SELECT ON user_profiles TO guest; GRANT UPDATE (encrypted_retell_api_key, encrypted_agent_config, encrypted_call_agent_id) ON user_profiles TO guest",
            "encrypted_sms_agent_id",
        ),
        (
            "GRANT UPDATE ON user_profiles TO guest; GRANT SELECT (user_id, encrypted_retell_api_key) ON user_profiles TO guest",
            "",
        ),
    ] {
        let (stage, role, error) = refused(script).await;
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{script}: {error:?}");
        assert!(error.to_string().contains(named), "{error:?}");
        stage.db.exec(&format!("GRANT SELECT, UPDATE ON user_profiles TO {}", role.name)).await;
        completes(&stage.vault_at(0, &role.url).await).await;
        stage.all_load().await;
    }
    let (_stage, _role, error) =
        refused(&format!("{SHARED} ALTER ROLE guest SET default_transaction_read_only = on")).await;
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error:?}");
    assert!(error.hint().contains("default_transaction_read_only"), "{error:?}");
}

fn trigger(body: &str) -> String {
    format!(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$;
        CREATE TRIGGER meddle BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION meddle()"
    )
}

/// One row that the database refuses keeps no other from being done.
#[tokio::test]
async fn a_trigger_for_one_row() {
    for body in [
        "IF NEW.user_id = 'user-7' THEN RAISE EXCEPTION 'no'; END IF;",
        "IF NEW.user_id = 'user-7' THEN NEW.encrypted_sms_agent_id := 'changed'; END IF;",
        "IF NEW.user_id = 'user-7' THEN NEW.encrypted_agent_config := NULL; END IF;",
    ] {
        let stage = Stage::on(ALL_COLUMNS, USERS).await;
        stage.db.exec(&trigger(body)).await;
        let before = stage.forms("user_profiles").await;
        let vault = stage.vault(0).await;
        let (rotation, unreadable) = rotate(&vault, &small()).await.unwrap();
        assert!(!rotation.complete, "{body}");
        assert_eq!(rotation.unreadable, [(ErrorKind::Rejected, 1)], "{body}");
        assert_eq!(unreadable[0].owner, "user-7");
        assert_eq!(rotation.progress.resealed, USERS as u64 - 1);
        assert_eq!(stage.forms("user_profiles").await, before);
        refuses_to_destroy(&vault, stage.old, "1 in column encrypted_retell_api_key").await;
        stage.all_load().await;
        stage.db.exec("DROP TRIGGER meddle ON user_profiles").await;
        completes(&vault).await;
        stage.all_load().await;
    }
}

#[tokio::test]
async fn a_trigger_for_every_row() {
    for body in ["NEW.encrypted_sms_agent_id := upper(NEW.encrypted_sms_agent_id);", "RAISE EXCEPTION 'no';"]
    {
        let stage = Stage::on(ALL_COLUMNS, 130).await;
        stage.db.exec(&trigger(body)).await;
        let before = table(&stage.db, "user_profiles").await;
        let vault = stage.vault(0).await;
        // so many in a row that it is not the rows
        let error = rotate(&vault, &small().jobs(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error:?}");
        assert!(error.hint().len() > 10, "{error:?}");
        assert_eq!(table(&stage.db, "user_profiles").await, before);
        stage.db.exec("DROP TRIGGER meddle ON user_profiles").await;
        completes(&vault).await;
        stage.all_load().await;
    }
    // one that drops the write: nothing is done, and that is what is said
    let stage = Stage::on(ALL_COLUMNS, 5).await;
    stage.db.exec(&trigger("RETURN NULL;")).await;
    let before = table(&stage.db, "user_profiles").await;
    match rotate(&stage.vault(0).await, &small()).await {
        Ok((rotation, _)) => assert!(!rotation.complete && rotation.progress.resealed == 0, "{rotation:?}"),
        Err(error) => assert!(error.hint().len() > 10, "{error:?}"),
    }
    assert_eq!(table(&stage.db, "user_profiles").await, before);
    stage.all_load().await;
}

/// The others are done meanwhile, and the row in the next pass.
async fn completes_after(lock: Lock, vault: &Vault) {
    let others_are_done =
        |progress: &RotateProgress| progress.resealed == USERS as u64 - 1 && progress.changed == 1;
    let rotation = rotate_and(vault, &single(), others_are_done, lock.release()).await.unwrap();
    assert!(rotation.complete && rotation.progress.pass > 1, "{rotation:?}");
    assert_eq!(rotation.progress.resealed, USERS as u64);
}

#[tokio::test]
async fn a_row_that_is_locked() {
    let stage = Stage::on(ALL_COLUMNS, USERS).await;
    let vault = stage.vault(0).await;
    let lock = Lock::on_row(&stage.db.url, "user-4").await;
    completes_after(lock, &vault).await;
    stage.all_load().await;
}
