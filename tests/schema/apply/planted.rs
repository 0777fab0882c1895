//! A role that may make objects in the schema, and has no right on the table, wants a superuser to run its SQL.

use retell_vault::ErrorKind;
use retell_vault::schema::Profile;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::{BARE, Stage, apply, has_journal, migrate, plan, roll_back, value};
use crate::support::TestDb;
use crate::support::role::Role;

const MAY_CREATE: &str = "GRANT CREATE ON SCHEMA public TO guest";

/// A journal with a step to take back, and a trigger for whoever writes into it.
const JOURNAL: &str = r#"CREATE TABLE public.retell_vault_steps (seq bigint GENERATED ALWAYS AS IDENTITY, relation text,
      step text, profile text, sql text[], undo text[], concurrent boolean, rewrites boolean,
      stake_count text, stake_backup text, done boolean, at timestamptz);
    INSERT INTO public.retell_vault_steps (relation, step, profile, sql, undo, concurrent, rewrites, done)
      VALUES ('"public"."user_profiles"', 'column.x', 'credentials', '{}', '{CREATE SCHEMA planted}', false, false, true);
    CREATE FUNCTION public.plant() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN EXECUTE ''CREATE SCHEMA IF NOT EXISTS planted''; RETURN new; END';
    CREATE TRIGGER plant BEFORE INSERT ON public.retell_vault_steps FOR EACH ROW EXECUTE FUNCTION public.plant()"#;

async fn as_role(role: &Role, sql: &str) {
    let mut connection = PgConnection::connect(&role.url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}

async fn has_run(db: &TestDb) -> bool {
    value(db, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'planted')").await
}

#[tokio::test]
async fn a_planted_journal_is_not_believed() {
    let stage = Stage::on(BARE).await;
    let guest = Role::create(&stage.db, MAY_CREATE).await;
    let vault = stage.vault(0).await;
    let wanted = plan(&vault, Profile::Credentials).await;
    as_role(&guest, JOURNAL).await;
    for error in [apply(&vault, &wanted).await.unwrap_err(), roll_back(&vault).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error:?}");
        assert!(error.to_string().contains(&guest.name) && error.hint().contains("drop it"), "{error:?}");
    }
    assert!(!has_run(&stage.db).await);
    stage.db.exec("DROP TABLE retell_vault_steps").await;
    migrate(&vault, Profile::Credentials).await;
    roll_back(&vault).await.unwrap();
}

/// As `psql` runs it, which goes on after an error.
#[tokio::test]
async fn nor_does_the_script_believe_it() {
    let stage = Stage::on(BARE).await;
    let guest = Role::create(&stage.db, MAY_CREATE).await;
    let script = plan(&stage.vault(0).await, Profile::Credentials).await.script();
    as_role(&guest, JOURNAL).await;
    let mut connection = PgConnection::connect(&stage.db.url).await.unwrap();
    let mut refused = 0;
    for part in script.split("\n\n") {
        let done = sqlx::raw_sql(AssertSqlSafe(part)).execute(&mut connection).await;
        refused += usize::from(done.is_err());
    }
    assert!(refused > 5, "{refused} in {script}");
    assert!(!has_run(&stage.db).await);
    stage.db.exec("DROP TABLE retell_vault_steps").await;
    stage.db.exec(&script).await;
    assert!(plan(&stage.vault(0).await, Profile::Credentials).await.is_empty());
}

/// A function that is replaced keeps its owner, who could put other code into it later.
#[tokio::test]
async fn a_planted_function_is_not_used() {
    let functions = [
        ("retell_vault_refuse_foreign()", "trigger"),
        ("retell_vault_touch_updated_at()", "trigger"),
        ("get_complete_user_profile(text)", "jsonb"),
    ];
    for (function, result) in functions {
        let stage = Stage::on(BARE).await;
        stage.db.exec("ALTER TABLE user_profiles ADD encrypted_retell_api_key text").await;
        stage.db.exec("UPDATE user_profiles SET encrypted_retell_api_key = 'key_test_plain'").await;
        let guest = Role::create(&stage.db, MAY_CREATE).await;
        let body = "BEGIN -- retell-vault\n RETURN NULL; END";
        let sql = format!("CREATE FUNCTION public.{function} RETURNS {result} LANGUAGE plpgsql AS '{body}'");
        as_role(&guest, &sql).await;
        let vault = stage.vault(0).await;
        let error = apply(&vault, &plan(&vault, Profile::FullProfile).await).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schema, "{function}: {error:?}");
        assert!(error.to_string().contains("belongs to another role"), "{function}: {error:?}");
        assert!(error.sqlstate().is_some_and(|code| code.len() == 5), "{function}: {error:?}");
        stage.db.exec(&format!("DROP FUNCTION {function}")).await;
        migrate(&vault, Profile::FullProfile).await;
        roll_back(&vault).await.unwrap();
        assert!(!has_journal(&stage.db).await);
    }
}

/// Who may hang triggers on the journal runs code as whoever writes into it.
#[tokio::test]
async fn default_privileges_do_not_open_the_journal() {
    let stage = Stage::on(BARE).await;
    let guest =
        Role::create(&stage.db, "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO guest, PUBLIC").await;
    migrate(&stage.vault(0).await, Profile::Credentials).await;
    let open = format!(
        "SELECT count(*) FROM unnest('{{SELECT,INSERT,UPDATE,DELETE,TRIGGER}}'::text[]) AS p
         WHERE has_table_privilege('{}', 'retell_vault_steps', p)",
        guest.name
    );
    assert_eq!(value::<i64>(&stage.db, &open).await, 0);
    stage.db.exec("ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC").await;
}
