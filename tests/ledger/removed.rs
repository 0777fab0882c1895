//! Rows that the application deletes itself are told from rows that are missing without a trace.

use std::time::Duration;

use retell_vault::doctor::DoctorOptions;
use retell_vault::ledger::{LedgerCopies, LedgerDifference};
use retell_vault::records::LoadOptions;
use retell_vault::schema::{ApplyOptions, CheckOutcome, Profile, SchemaPlan, Wanted};
use retell_vault::{Layout, Vault};
use sqlx::{Connection, PgConnection};

use crate::Stage;
use crate::support::TestDb;
use crate::support::doctor::examine;
use crate::support::faults::{exec, number, until_waiting};
use crate::support::role::Role;
use crate::support::vaults::*;

const CASCADE: &str = "CREATE TABLE accounts (id text PRIMARY KEY);
    INSERT INTO accounts SELECT user_id FROM user_profiles;
    ALTER TABLE user_profiles ADD FOREIGN KEY (user_id) REFERENCES accounts (id) ON DELETE CASCADE";

#[tokio::test]
async fn a_cascade_is_no_alarm_and_a_row_without_a_note_is_one() {
    let stage = Stage::begun().await;
    for id in ["ann", "ben", "cid", "dan", "eve"] {
        stage.store(id).await;
    }
    stage.db.exec(CASCADE).await;
    stage.db.exec("DELETE FROM accounts WHERE id IN ('ann', 'ben')").await;
    stage.db.exec("ALTER TABLE user_profiles DISABLE TRIGGER USER").await;
    stage.db.exec("DELETE FROM user_profiles WHERE user_id = 'cid'").await;
    stage.db.exec("ALTER TABLE user_profiles ENABLE TRIGGER USER").await;
    let found = stage.verify().await;
    assert_eq!(names(&found.removed), ["ann", "ben"], "{found:?}");
    assert_eq!(names(&found.vanished), ["cid"], "{found:?}");
    assert!(!found.is_unbroken());

    // an old note explains no later removal
    stage.db.exec("INSERT INTO accounts VALUES ('ann')").await;
    stage.store("ann").await;
    assert_eq!(names(&stage.verify().await.removed), ["ben"]);
    stage.db.exec("ALTER TABLE user_profiles DISABLE TRIGGER USER").await;
    stage.db.exec("DELETE FROM user_profiles WHERE user_id = 'ann'").await;
    let found = stage.verify().await;
    assert_eq!((names(&found.removed), names(&found.vanished)), (vec!["ben"], vec!["ann", "cid"]));
}

fn names(found: &[LedgerDifference]) -> Vec<&str> {
    found.iter().map(|one| one.owner.user_id().as_str()).collect()
}

/// The application's role has no right to the notes, and a deletion must not fail because something of the vault is gone.
#[tokio::test]
async fn a_deletion_by_the_application_never_fails() {
    let stage = Stage::begun().await;
    for id in ["ann", "ben", "cid"] {
        stage.store(id).await;
    }
    let role = Role::create(&stage.db, "GRANT SELECT, DELETE ON user_profiles TO guest").await;
    exec(&role.url, "DELETE FROM user_profiles WHERE user_id = 'ann'").await;
    let mut connection = PgConnection::connect(&role.url).await.unwrap();
    let refused = sqlx::query("SELECT FROM retell_vault.removed").execute(&mut connection).await;
    assert!(refused.unwrap_err().to_string().contains("permission denied"));
    assert_eq!(names(&stage.verify().await.removed), ["ann"]);
    stage.db.exec("ALTER TABLE user_profiles RENAME user_id TO customer").await;
    exec(&role.url, "DELETE FROM user_profiles WHERE customer = 'ben'").await;
    stage
        .db
        .exec("ALTER TABLE user_profiles RENAME customer TO user_id; DROP TABLE retell_vault.removed")
        .await;
    exec(&role.url, "DELETE FROM user_profiles WHERE user_id = 'cid'").await;
    let found = stage.verify().await;
    assert_eq!(names(&found.vanished), ["ann", "ben", "cid"], "{found:?}");
}

const SHARED: &str = "CREATE TYPE org AS ENUM ('one', 'two');
    CREATE TABLE integrations (user_id text, org org, provider text, retell_config text,
        UNIQUE (user_id, org, provider));
    INSERT INTO integrations SELECT u, o, p FROM unnest('{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11,ben}'::text[]) u,
        unnest('{one,two}'::org[]) o, unnest('{retell,other}'::text[]) p";

/// Two kinds of rows in one table, with an enum of tenants and a UUID in capitals: the trigger notes the rows of its layout.
#[tokio::test]
async fn a_filter_and_the_form_of_ids_are_those_of_the_ledger() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(SHARED).await;
    let layout = Layout::new().table("integrations").unwrap().tenant_column("org").unwrap();
    let layout = layout.column("api_key".parse().unwrap(), "retell_config").unwrap();
    let layout = layout.where_equals("provider", "retell").unwrap();
    let vault = hosts.host(0, &db.url).layout(layout).build().await.unwrap();
    apply(&vault).await;
    vault.begin_ledger().await.unwrap();
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    for (user, tenant) in [(uuid, "one"), (uuid, "two"), ("ben", "one")] {
        vault.store(&owner(user).in_tenant(tenant).unwrap(), &small_config(1)).await.unwrap();
    }
    db.exec("DELETE FROM integrations WHERE provider = 'other'").await;
    assert_eq!(number(&db.url, "SELECT count(*) FROM retell_vault.removed").await, 0);
    db.exec("DELETE FROM integrations WHERE org = 'one'").await;
    let found = vault.verify_ledger(&Default::default()).await.unwrap();
    assert_eq!(names(&found.removed), [uuid, "ben"], "{found:?}");
    assert!(found.is_unbroken(), "{found:?}");
    assert!(plan_of(&vault).await.is_empty());
}

/// A trigger that is gone or disabled is missed by the plan, by the verification of the schema and by the doctor.
#[tokio::test]
async fn a_trigger_that_is_gone_is_missed() {
    let stage = Stage::begun().await;
    assert!(plan_of(&stage.vault).await.is_empty());
    let trigger = "retell_vault_note_removed_user_id";
    for change in [
        format!("ALTER TABLE user_profiles DISABLE TRIGGER {trigger}"),
        format!("DROP TRIGGER {trigger} ON user_profiles"),
    ] {
        stage.db.exec(&change).await;
        let verified = stage.vault.schema().verify(Wanted::from(Profile::Credentials)).await.unwrap();
        let failed = verified.checks.iter().filter(|check| matches!(check.outcome, CheckOutcome::Failed(_)));
        let failed: Vec<_> = failed.map(|check| check.what.as_str()).collect();
        assert!(failed.contains(&"recorded step removed_rows"), "{change}: {failed:?}");
        let diagnosis = examine(&stage.vault, &DoctorOptions::new()).await;
        let is_found = diagnosis.findings.iter().any(|finding| finding.id == "removals_not_noted");
        assert!(is_found, "{change}: {diagnosis:?}");
        let plan = plan_of(&stage.vault).await;
        assert_eq!(
            plan.steps.iter().map(|step| step.id.as_str()).collect::<Vec<_>>(),
            ["removed_rows"],
            "{change}"
        );
        stage.vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
        assert!(plan_of(&stage.vault).await.is_empty(), "{change}");
        let diagnosis = examine(&stage.vault, &DoctorOptions::new()).await;
        assert!(diagnosis.findings.iter().all(|finding| finding.id != "removals_not_noted"), "{change}");
    }
}

async fn plan_of(vault: &Vault) -> SchemaPlan {
    vault.schema().plan(Wanted::from(Profile::Credentials).vault_schema()).await.unwrap()
}

async fn apply(vault: &Vault) {
    let plan = plan_of(vault).await;
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
}

/// Its version was made before that of the record that was deleted, and its row after.
#[tokio::test]
async fn a_store_that_waited_for_a_deletion_is_no_alarm() {
    let stage = Stage::begun().await;
    let ann = stage.store("ann").await;
    let host = || stage.hosts.host(1, &stage.db.url);
    let other = host().build().await.unwrap();
    let mut transaction = stage.db.pool().begin().await.unwrap();
    sqlx::raw_sql("SELECT FROM user_profiles WHERE user_id = 'ann' FOR UPDATE")
        .execute(&mut *transaction)
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let (vault, ann) = (other.clone(), ann.clone());
        async move { vault.store(&ann, &full_config("waited")).await.unwrap() }
    });
    until_waiting(&stage.db.url, 1).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let deleted = stage.vault.store_in(&mut transaction, &ann, &full_config("deleted")).await.unwrap();
    sqlx::raw_sql("DELETE FROM user_profiles").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    assert!(waiting.await.unwrap().version < deleted.version);

    let loaded = other.load_with(&ann, LoadOptions::new().fresh()).await.unwrap();
    assert_eq!(loaded.config, full_config("waited"));
    let found = stage.verify().await;
    assert!(found.is_unbroken() && found.removed.is_empty(), "{found:?}");
    // with the copies of both entries
    other.close().await;
    stage.vault.close().await;
    for host in [0, 1] {
        let vault = stage.hosts.host(host, &stage.db.url).build().await.unwrap();
        let found = vault.verify_ledger(&LedgerCopies::new()).await.unwrap();
        assert!(found.is_unbroken() && found.anchors > 0, "{found:?}");
        vault.close().await;
    }

    // what was deleted does not come back unnoticed
    stage.back_up().await;
    stage.db.exec("DELETE FROM user_profiles").await;
    let vault = host().build().await.unwrap();
    let found = vault.verify_ledger(&LedgerCopies::new()).await.unwrap();
    assert!(found.is_unbroken() && found.removed.len() == 1, "{found:?}");
    stage.db.exec("INSERT INTO user_profiles SELECT * FROM backup.profiles").await;
    let found = vault.verify_ledger(&LedgerCopies::new()).await.unwrap();
    assert_eq!(names(&found.went_back), ["ann"], "{found:?}");
}
