//! A ledger that the application cannot change, although it owns its own table.

use std::fs;

use retell_vault::doctor::DoctorOptions;
use retell_vault::ledger::{LedgerCopies, LedgerFilter};
use retell_vault::schema::{ApplyOptions, Profile, Wanted};
use retell_vault::{ErrorKind, Vault};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::TestDb;
use crate::support::doctor::examine;
use crate::support::faults::exec;
use crate::support::role::Role;
use crate::support::vaults::*;

/// The blocks of SQL of the manual, for roles of these names. Roles are shared by all databases of a server.
fn statements(app: &str, suffix: &str) -> [String; 2] {
    let manual = fs::read_to_string("docs/LEDGER.md").unwrap();
    let rights = manual.split("## Rights").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = rights.split("```sql\n").skip(1).map(|block| {
        let block = block.split("```").next().unwrap().replace("TO app;", &format!("TO {app};"));
        let block = block.replace("retell_vault_owner", &format!("retell_vault_owner_{suffix}"));
        block.replace("retell_vault_auditor", &format!("retell_vault_auditor_{suffix}"))
    });
    blocks.collect::<Vec<_>>().try_into().unwrap()
}

async fn findings(vault: &Vault) -> Vec<&'static str> {
    let diagnosis = examine(vault, &DoctorOptions::new()).await;
    diagnosis.findings.iter().map(|finding| finding.id).collect()
}

#[tokio::test]
async fn the_manual_gives_the_ledger_an_owner_that_the_application_is_not() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let app = Role::create(
        &db,
        "ALTER TABLE user_profiles OWNER TO guest; GRANT CREATE ON SCHEMA public TO guest;
        DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO guest', current_database()); END $$",
    )
    .await;
    let vault = hosts.host(0, &app.url).build().await.unwrap();
    let plan = vault.schema().plan(Wanted::from(Profile::Credentials).vault_schema()).await.unwrap();
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    vault.begin_ledger().await.unwrap();
    vault.store(&owner("ann"), &full_config("ann")).await.unwrap();
    let rewritable = "ledger_rewritable";
    assert!(findings(&vault).await.contains(&rewritable));

    let suffix = format!("{:08x}", rand::random::<u32>());
    let [owner_of_schema, auditor] = statements(&app.name, &suffix);
    db.exec(&owner_of_schema).await;
    db.exec(&auditor).await;
    for forbidden in [
        "UPDATE retell_vault.ledger SET actor = 'mallory'",
        "DELETE FROM retell_vault.ledger",
        "TRUNCATE retell_vault.ledger",
        "ALTER TABLE retell_vault.ledger DISABLE TRIGGER ALL",
        "INSERT INTO retell_vault.removed (place, usr, role) VALUES ('x', 'ann', 'x')",
        "CREATE TABLE mine (id text); CREATE TRIGGER t AFTER DELETE ON mine EXECUTE FUNCTION retell_vault.note_removed('x', 'id')",
        "DROP SCHEMA retell_vault CASCADE",
    ] {
        let mut connection = PgConnection::connect(&app.url).await.unwrap();
        let refused = sqlx::raw_sql(AssertSqlSafe(forbidden)).execute(&mut connection).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code().map(String::from));
        assert_eq!(code.as_deref(), Some("42501"), "{forbidden}: {refused}");
    }

    // the application works as before, and an auditor may read everything
    let vault = hosts.host(1, &app.url).build().await.unwrap();
    vault.store(&owner("ben"), &full_config("ben")).await.unwrap();
    vault.store(&owner("cid"), &full_config("cid")).await.unwrap();
    exec(&app.url, "DELETE FROM user_profiles WHERE user_id = 'ben'").await;
    let found = findings(&vault).await;
    assert!(!found.iter().any(|id| *id == rewritable || id.starts_with("vault_schema")), "{found:?}");
    let auditor = Role::create(&db, &format!("GRANT retell_vault_auditor_{suffix} TO guest")).await;
    let auditor_vault = hosts.host(2, &auditor.url).build().await.unwrap();
    let found = auditor_vault.verify_ledger(&LedgerCopies::new()).await.unwrap();
    assert!(found.is_unbroken() && found.removed.len() == 1 && found.owners == 3, "{found:?}");
    let changed = auditor_vault.store(&owner("ann"), &full_config("x")).await;
    assert!(changed.is_err() || changed.unwrap().degraded.is_some());

    // a table that may not be read is named
    for (rights, table) in
        [("SELECT ON user_profiles", "ledger"), ("SELECT ON user_profiles, retell_vault.ledger", "removed")]
    {
        let weak = Role::create(
            &db,
            &format!("GRANT USAGE ON SCHEMA retell_vault TO guest; GRANT {rights} TO guest"),
        )
        .await;
        let weak = hosts.host(3, &weak.url).build().await.unwrap();
        let refused = weak.verify_ledger(&LedgerCopies::new()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AccessDenied);
        assert!(refused.to_string().contains(&format!("may not read retell_vault.{table}")), "{refused}");
        let listed = weak.list_ledger(&LedgerFilter::new()).await;
        assert_eq!(listed.is_ok(), table == "removed", "{listed:?}");
    }

    // a member of the owner that has no rights of the table's owner could plant code
    let stranger = Role::create(&db, &format!("GRANT retell_vault_owner_{suffix} TO guest")).await;
    let found = findings(&vault).await;
    assert!(found.contains(&"vault_schema_owner"), "{found:?}");
    drop((stranger, auditor));
    db.exec(&format!(
        "DROP OWNED BY retell_vault_owner_{suffix} CASCADE; DROP ROLE retell_vault_owner_{suffix};
        DROP OWNED BY retell_vault_auditor_{suffix}; DROP ROLE retell_vault_auditor_{suffix}"
    ))
    .await;
}
