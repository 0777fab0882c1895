//! The script of a whole plan, the way that people run it.

use std::io::Write;
use std::process::{Command, Stdio};

use retell_vault::Layout;
use retell_vault::schema::{Profile, SchemaPlan, Wanted};

use super::whole_plan;
use crate::support::rows::value;
use crate::support::*;

/// Duplicates, a type that must change, and legacy text in a column made for tokens.
const LEGACY: &str = "CREATE TABLE user_profiles (user_id text, note text UNIQUE, encrypted_retell_api_key character varying(60),
    encrypted_call_agent_id text, encrypted_agent_config json);
    INSERT INTO user_profiles VALUES ('a', '1', NULL, NULL, '{}'), ('a', '2', NULL, '', NULL), ('b', '3', 'key_test_legacy', NULL, NULL)";

async fn legacy() -> (TestDb, SchemaPlan) {
    let db = TestDb::create().await;
    db.exec(LEGACY).await;
    let plan = planned(&db).await;
    assert!(plan.blocked.is_empty(), "{:?}", plan.blocked);
    (db, plan)
}

async fn planned(db: &TestDb) -> SchemaPlan {
    let wanted = Wanted::from(Profile::FullProfile).remove_duplicates();
    whole_plan(&db.url, &Layout::new(), &wanted).await.unwrap()
}

/// Statement by statement, each a transaction of its own.
fn psql(db: &TestDb, script: &str) {
    let arguments = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &db.url];
    let mut child =
        Command::new("psql").args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn assert_done(db: &TestDb, plan: &SchemaPlan) {
    let again = planned(db).await;
    assert!(again.is_empty(), "{again} {:?}", again.blocked);
    let recorded: i64 = value(db, "SELECT count(*) FROM retell_vault_steps").await;
    assert_eq!(recorded as usize, plan.steps.len());
    assert_eq!(value::<i64>(db, "SELECT count(*) FROM user_profiles").await, 2);
}

#[tokio::test]
async fn in_one_transaction() {
    let (db, plan) = legacy().await;
    for _ in 0..2 {
        db.exec(&plan.script()).await;
        assert_done(&db, &plan).await;
    }
}

#[tokio::test]
async fn statement_by_statement() {
    let (db, plan) = legacy().await;
    for _ in 0..2 {
        psql(&db, &plan.script());
        assert_done(&db, &plan).await;
    }
}

/// What another session finds in its way is not what the script means.
#[tokio::test]
async fn a_search_path_full_of_traps() {
    let (db, plan) = legacy().await;
    db.exec(
        "CREATE SCHEMA traps;
         CREATE FUNCTION traps.trap(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
         CREATE OPERATOR traps.= (LEFTARG = text, RIGHTARG = text, FUNCTION = traps.trap);
         CREATE OPERATOR traps.~ (LEFTARG = text, RIGHTARG = text, FUNCTION = traps.trap);
         CREATE FUNCTION traps.trap(name, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
         CREATE OPERATOR traps.= (LEFTARG = name, RIGHTARG = text, FUNCTION = traps.trap);
         CREATE TABLE traps.pg_attribute (); CREATE TABLE traps.pg_roles (rolname text);
         CREATE DOMAIN traps.text AS pg_catalog.text CHECK (false); CREATE DOMAIN traps.timestamptz AS date CHECK (false)",
    )
    .await;
    psql(&db, &format!("SET search_path = traps, pg_catalog, public;\n{}", plan.script()));
    assert_done(&db, &plan).await;
}

#[tokio::test]
async fn the_words_say_what_it_is() {
    let (_db, plan) = legacy().await;
    let script = plan.script();
    assert!(
        script.starts_with("-- retell-vault: the schema of public.user_profiles, profile full-profile.\n")
    );
    assert!(script.contains("-- type.encrypted_agent_config rewrites the table"));
    assert!(!script.contains("INDEX CONCURRENTLY retell") && !script.contains("key_test_legacy"));
    assert!(script.trim_end().ends_with("NOTIFY pgrst, 'reload schema';"));
}
