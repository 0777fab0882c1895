//! A good schema verifies; every defect is found and named; nothing of the trial stays behind.

use retell_vault::schema::{ApplyOptions, Check, CheckOutcome, Profile, Verification, Wanted};
use retell_vault::{ErrorKind, Layout, Vault};
use serde_json::Value;

use crate::support::dump::schema_of;
use crate::support::role::Role;
use crate::support::rows::{owners, table, value};
use crate::support::vaults::*;
use crate::support::*;

const BARE: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, full_name text)";

struct Stage {
    db: TestDb,
    hosts: Hosts,
    layout: Layout,
}

impl Stage {
    async fn on(sql: &str) -> Self {
        Self::with(sql, Layout::new()).await
    }

    async fn with(sql: &str, layout: Layout) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(sql).await;
        Self { db, hosts, layout }
    }

    /// A table with everything that is wanted, and three records.
    async fn current(profile: Profile) -> (Self, Vault) {
        let stage = Self::on(BARE).await;
        let vault = stage.migrated(profile).await;
        for (n, owner) in owners(3).iter().enumerate() {
            vault.store(owner, &full_config(n)).await.unwrap();
        }
        (stage, vault)
    }

    async fn vault(&self) -> Vault {
        self.vault_at(&self.db.url).await
    }

    async fn vault_at(&self, url: &str) -> Vault {
        self.hosts.host(0, url).layout(self.layout.clone()).build().await.unwrap()
    }

    async fn migrated(&self, wanted: impl Into<Wanted>) -> Vault {
        let vault = self.vault().await;
        let plan = vault.schema().plan(wanted).await.unwrap();
        vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
        vault
    }
}

async fn verify(vault: &Vault, wanted: impl Into<Wanted>) -> Verification {
    vault.schema().verify(wanted).await.unwrap()
}

/// Every check as one line.
fn lines(verification: &Verification) -> Vec<String> {
    verification.checks.iter().map(Check::to_string).collect()
}

fn skipped(verification: &Verification) -> Vec<String> {
    let skipped = |check: &&Check| matches!(check.outcome, CheckOutcome::Skipped(_));
    verification.checks.iter().filter(skipped).map(Check::to_string).collect()
}

/// Good, and nothing was left out.
fn is_proved(verification: &Verification) {
    assert!(verification.is_good() && skipped(verification).is_empty(), "{:#?}", lines(verification));
    let what: Vec<_> = verification.checks.iter().map(|check| check.what.as_str()).collect();
    for step in [
        "every step is applied",
        "store",
        "load of every field",
        "delete",
        "no row of the test owner remains",
    ] {
        assert!(what.iter().any(|what| what.starts_with(step)), "{step}: {what:?}");
    }
}

/// Not good, and one of the checks that failed names it.
fn names(verification: &Verification, words: &[&str]) {
    let failed: Vec<_> = verification.failed().map(Check::to_string).collect();
    for word in words {
        assert!(failed.iter().any(|line| line.contains(word)), "{word}: {:#?}", lines(verification));
    }
    assert!(!verification.is_good());
}

async fn rows(db: &TestDb) -> Value {
    table(db, "user_profiles").await
}

#[tokio::test]
async fn a_current_schema_is_proved_and_nothing_stays() {
    for profile in [Profile::Credentials, Profile::FullProfile] {
        let (stage, vault) = Stage::current(profile).await;
        let before =
            (rows(&stage.db).await, table(&stage.db, "retell_vault_steps").await, schema_of(&stage.db).await);
        is_proved(&verify(&vault, profile).await);
        is_proved(&verify(&vault, profile).await);
        let after =
            (rows(&stage.db).await, table(&stage.db, "retell_vault_steps").await, schema_of(&stage.db).await);
        assert!(before == after);
    }
}

#[tokio::test]
async fn other_layouts() {
    let quoted = Layout::new().table("\"My App\".\"Pro\"\"files\"").unwrap();
    let quoted = quoted.user_column("User Id").unwrap().tenant_column("tenant").unwrap();
    let stages = [
        ("CREATE TABLE user_profiles (user_id uuid PRIMARY KEY, n serial)", Layout::new()),
        ("CREATE TABLE user_profiles (id bigserial PRIMARY KEY, user_id varchar(40))", Layout::new()),
        (
            "CREATE SCHEMA \"My App\"; CREATE TABLE \"My App\".\"Pro\"\"files\" (\"User Id\" uuid, tenant text NOT NULL)",
            quoted,
        ),
    ];
    for (sql, layout) in stages {
        let stage = Stage::with(sql, layout).await;
        let vault = stage.migrated(Profile::Credentials).await;
        let verification = verify(&vault, Profile::Credentials).await;
        is_proved(&verification);
    }
}

#[tokio::test]
async fn every_defect_is_named() {
    let (stage, vault) = Stage::current(Profile::FullProfile).await;
    let defects = [
        (
            "ALTER TABLE user_profiles DROP CONSTRAINT retell_vault_user_profiles_encrypted_sms_agent_id_tokens",
            vec!["guard.encrypted_sms_agent_id", "column encrypted_sms_agent_id refuses text that is not a token"],
        ),
        (
            "ALTER TABLE user_profiles DROP CONSTRAINT retell_vault_user_profiles_encrypted_agent_config_tokens",
            vec!["column encrypted_agent_config refuses text that is not a token"],
        ),
        (
            "UPDATE pg_constraint SET convalidated = false
             WHERE conname = 'retell_vault_user_profiles_encrypted_call_agent_id_tokens'",
            vec!["constraint retell_vault_user_profiles_encrypted_call_agent_id_tokens", "guard.encrypted_call_agent_id.validate"],
        ),
        ("ALTER TABLE user_profiles DISABLE TRIGGER USER", vec!["trigger retell_vault", "is disabled"]),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'retell_vault_user_profiles_department'::regclass",
            vec!["index retell_vault_user_profiles_department", "it is not valid"],
        ),
        (
            "DROP INDEX retell_vault_user_profiles_department",
            vec!["recorded step index.retell_vault_user_profiles_department", "is not applied"],
        ),
        ("ALTER TABLE user_profiles DROP COLUMN phone_number", vec!["recorded step column.phone_number", "step column.phone_number"]),
        (
            "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN NEW.encrypted_retell_api_key = upper(NEW.encrypted_retell_api_key); RETURN NEW; END $$;
             CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION meddle()",
            vec!["store of a new test owner: failed"],
        ),
    ];
    for (defect, words) in defects {
        let (stage, vault) = Stage::current(Profile::FullProfile).await;
        stage.db.exec(defect).await;
        let before = rows(&stage.db).await;
        names(&verify(&vault, Profile::FullProfile).await, &words);
        assert_eq!(rows(&stage.db).await, before, "{defect}");
    }
    // and of a wanted schema that was never applied
    let full = verify(&vault, Profile::Credentials).await;
    is_proved(&full);
    stage.db.exec("DROP TABLE user_profiles CASCADE; CREATE TABLE user_profiles (user_id text)").await;
    names(
        &verify(&vault, Profile::Credentials).await,
        &["column.encrypted_retell_api_key", "has no column that can hold"],
    );
}

/// What the journal of another table says is none of ours.
#[tokio::test]
async fn more_than_the_profile_may_be_there_and_what_is_recorded_must_be() {
    let (stage, vault) = Stage::current(Profile::FullProfile).await;
    is_proved(&verify(&vault, Profile::Credentials).await);
    stage.db.exec("ALTER TABLE user_profiles DROP COLUMN department").await;
    names(&verify(&vault, Profile::Credentials).await, &["recorded step column.department"]);
    stage.db.exec("UPDATE retell_vault_steps SET relation = 'another'").await;
    assert!(verify(&vault, Profile::Credentials).await.is_good());
}

#[tokio::test]
async fn as_a_role_with_its_grants_and_without() {
    let (stage, vault) = Stage::current(Profile::Credentials).await;
    vault.close().await;
    let grants = "GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest";
    let role = Role::create(&stage.db, grants).await;
    let vault = stage.vault_at(&role.url).await;
    let verification = verify(&vault, Profile::Credentials).await;
    assert!(verification.is_good(), "{:#?}", lines(&verification));
    assert!(
        skipped(&verification).iter().all(|line| line.contains("journal")),
        "{:?}",
        skipped(&verification)
    );
    let name = &role.name;
    for (revoke, word) in [
        (format!("REVOKE INSERT ON user_profiles FROM {name}"), "store of a new test owner"),
        (
            format!("GRANT INSERT ON user_profiles TO {name}; REVOKE UPDATE ON user_profiles FROM {name}"),
            "may not write to column",
        ),
        (
            format!("GRANT UPDATE ON user_profiles TO {name}; REVOKE SELECT ON user_profiles FROM {name}"),
            "load",
        ),
    ] {
        stage.db.exec(&revoke).await;
        names(&verify(&vault, Profile::Credentials).await, &[word]);
    }
}

/// Row level security: whoever may store is told so, and whoever may not as well.
#[tokio::test]
async fn under_row_level_security() {
    let (stage, vault) = Stage::current(Profile::Credentials).await;
    vault.close().await;
    let role = Role::create(&stage.db, "GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest").await;
    stage.db.exec("ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY").await;
    let vault = stage.vault_at(&role.url).await;
    names(&verify(&vault, Profile::Credentials).await, &["store of a new test owner"]);
    stage.db.exec(&format!("CREATE POLICY all_rows ON user_profiles TO {} USING (true)", role.name)).await;
    let verification = verify(&vault, Profile::Credentials).await;
    let store = verification.checks.iter().find(|check| check.what.starts_with("store")).unwrap();
    assert_eq!(store.outcome, CheckOutcome::Passed, "{:#?}", lines(&verification));
    assert_eq!(rows(&stage.db).await.as_array().unwrap().len(), 3);
}

/// What the application wants of every row cannot be made up: it is said, and is no failure.
#[tokio::test]
async fn what_cannot_be_exercised_is_said() {
    let rules = [
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY, email text NOT NULL)",
        "CREATE TABLE users (id text PRIMARY KEY); CREATE TABLE user_profiles (user_id text PRIMARY KEY REFERENCES users)",
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY CHECK (user_id LIKE 'user-%'))",
        "CREATE TABLE user_profiles (user_id varchar(20) PRIMARY KEY)",
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY) PARTITION BY LIST (user_id);
         CREATE TABLE one PARTITION OF user_profiles FOR VALUES IN ('user-1')",
    ];
    for rule in rules {
        let stage = Stage::on(rule).await;
        let vault = stage.migrated(Profile::Credentials).await;
        let verification = verify(&vault, Profile::Credentials).await;
        let skipped = skipped(&verification);
        assert!(verification.is_good(), "{rule}: {:#?}", lines(&verification));
        assert!(
            skipped.len() == 1 && skipped[0].contains("not tested: the application's own constraints"),
            "{skipped:?}"
        );
    }
}

/// The application's triggers fire and are taken back; what they have to say goes nowhere.
#[tokio::test]
async fn triggers_of_the_application_leave_nothing() {
    let (stage, vault) = Stage::current(Profile::Credentials).await;
    stage
        .db
        .exec(
            "CREATE TABLE audit (what text);
            CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO audit VALUES (NEW.user_id); PERFORM pg_notify('audit', NEW.user_id); RETURN NULL; END $$;
            CREATE TRIGGER audit AFTER INSERT OR UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION audit()",
        )
        .await;
    let mut listener = sqlx::postgres::PgListener::connect(&stage.db.url).await.unwrap();
    listener.listen("audit").await.unwrap();
    is_proved(&verify(&vault, Profile::Credentials).await);
    assert_eq!(value::<i64>(&stage.db, "SELECT count(*) FROM audit").await, 0);
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), "user-1", "the first that is heard");
    // one that refuses is the application's own rule
    stage.db.exec(&crate::support::faults::raising("P0001")).await;
    let verification = verify(&vault, Profile::Credentials).await;
    assert!(verification.is_good() && skipped(&verification).len() == 1, "{:#?}", lines(&verification));
}

#[tokio::test]
async fn without_a_table_or_a_database() {
    let stage = Stage::on("CREATE VIEW user_profiles AS SELECT 'user-1' AS user_id").await;
    let offline = stage.hosts.offline(1).build().await.unwrap();
    let error = offline.schema().verify(Profile::Credentials).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let stage = Stage::on("CREATE TABLE another ()").await;
    let error = stage.vault().await.schema().verify(Profile::Credentials).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
}
