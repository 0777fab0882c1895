//! `schema`: a table that lacks nearly everything gets it, and gives it back.

use std::io::{BufRead, BufReader, Read};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::runner::*;
use crate::support::TestDb;
use crate::support::rows::{table, value};

const BARE: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, full_name text)";
const ONE_COLUMN: &str =
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)";
const TWICE: &str = "CREATE TABLE user_profiles (user_id text, full_name text UNIQUE);
    INSERT INTO user_profiles VALUES ('user-1', 'old'), ('user-1', 'new'), ('user-2', 'only')";
/// The table as the catalogue has it, and what else lies in its schema.
const SHAPE: &str = "SELECT jsonb_build_object(
    'columns', (SELECT jsonb_agg(jsonb_build_array(attname, format_type(atttypid, atttypmod)) ORDER BY attname)
        FROM pg_attribute WHERE attrelid = 'user_profiles'::regclass AND attnum > 0 AND NOT attisdropped),
    'constraints', (SELECT jsonb_agg(conname ORDER BY conname) FROM pg_constraint
        WHERE conrelid = 'user_profiles'::regclass),
    'triggers', (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'user_profiles'::regclass),
    'relations', (SELECT jsonb_agg(relname ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace),
    'functions', (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace))";

async fn over(sql: &str) -> (TestDb, Home) {
    let db = TestDb::create().await;
    db.exec(sql).await;
    let home = Home::over(&db.url);
    (db, home)
}

fn plan(home: &Home, options: &[&str]) -> Value {
    home.json(&[&["schema", "plan"], options].concat())
}

fn steps(plan: &Value) -> Vec<&str> {
    plan["steps"].as_array().unwrap().iter().map(|step| step["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn planned_applied_verified_and_taken_back() {
    for profile in ["credentials", "full-profile"] {
        let (db, home) = over(BARE).await;
        let before: Value = value(&db, SHAPE).await;
        let options = ["--profile", profile];
        let planned = plan(&home, &options);
        let text = home.run(&[&["schema", "plan"], &options[..]].concat()).ok().out;
        assert!(text.starts_with(&format!("public.user_profiles, profile {profile}: ")), "{text}");
        for (at, step) in steps(&planned).iter().enumerate() {
            assert!(text.contains(&format!("\n{}. {step}: ", at + 1)), "{step} in {text}");
        }
        assert_eq!(value::<Value>(&db, SHAPE).await, before, "planning changes nothing");

        let applied = home.run(&[&["schema", "apply"], &options[..]].concat()).ok();
        assert!(applied.out.starts_with("applied ") && applied.out.ends_with("public.user_profiles\n"));
        assert!(
            applied.err.contains("plan: 1. ") && applied.err.contains("step: column."),
            "{}",
            applied.err
        );
        assert_eq!(
            home.run(&[&["schema", "plan"], &options[..]].concat()).ok().lines().next().unwrap(),
            format!("public.user_profiles, profile {profile}: nothing to do")
        );
        let again = home.json(&[&["schema", "apply"], &options[..]].concat());
        assert_eq!(again, json!({ "table": "public.user_profiles", "profile": profile, "applied": [] }));
        let verified = home.json(&[&["schema", "verify"], &options[..]].concat());
        assert_eq!(verified["good"], true, "{verified}");

        let stored = home.put(&["--user", "user-1", "--json"], FULL).ok().json();
        assert_eq!(stored["stored"]["phone_number"], json!({ "place": "column", "column": "phone_number" }));
        home.run(&["schema", "rollback"]).fails(1, "hold", "--allow-data-loss");
        let undone = home.run(&["schema", "rollback", "--allow-data-loss"]).ok();
        assert!(undone.out.starts_with("undid "), "{}", undone.out);
        assert!(undone.err.contains("backup: "), "{}", undone.err);
        db.exec(&drop_backups(&db).await).await;
        assert_eq!(value::<Value>(&db, SHAPE).await, before);
        assert_eq!(home.run(&["schema", "rollback"]).ok().out, "nothing to undo: no step is recorded\n");
        assert_eq!(home.json(&["schema", "rollback"]), json!({ "undone": [], "backups": [] }));
    }
}

async fn drop_backups(db: &TestDb) -> String {
    let sql = "SELECT coalesce(string_agg(format('DROP TABLE %I', relname), ';'), '') FROM pg_class
        WHERE relname LIKE 'retell\\_vault\\_backup\\_%' AND relkind = 'r'";
    value(db, sql).await
}

#[tokio::test]
async fn a_plan_shows_every_part_of_a_step() {
    let (_db, home) = over(BARE).await;
    let planned = plan(&home, &[]);
    assert_eq!(
        (&planned["table"], &planned["profile"]),
        (&json!("public.user_profiles"), &json!("credentials"))
    );
    assert_eq!(planned["blocked"], json!([]));
    let column = &planned["steps"].as_array().unwrap()[..];
    let column = column.iter().find(|step| step["id"] == "column.phone_number").unwrap();
    let [sql, comment] = [0, 1].map(|at| column["sql"][at].as_str().unwrap());
    assert!(comment.contains("IS 'retell-vault: phone_number of retell'"), "{column}");
    let undo = column["undo"][0].as_str().unwrap();
    assert!(sql.contains("ADD COLUMN") && undo.contains("DROP COLUMN"), "{column}");
    assert_eq!((&column["lock"], &column["rewrites"]), (&json!("ACCESS EXCLUSIVE"), &json!(false)));
    assert_eq!((&column["concurrent"], &column["instead"]), (&json!(false), &Value::Null));
    let text = home.run(&["schema", "plan"]).ok().out;
    assert!(text.contains(&format!("     {sql};\n     {comment};\n   undo:\n     {undo};\n")), "{text}");
    assert!(text.contains(", lock ACCESS EXCLUSIVE\n"), "{text}");
}

#[tokio::test]
async fn the_script_does_the_same_and_can_be_run_twice() {
    for profile in ["credentials", "full-profile"] {
        let (db, home) = over(BARE).await;
        let script = home.run(&["schema", "plan", "--profile", profile, "--sql"]).ok().out;
        for _ in 0..2 {
            // as one transaction, like an SQL editor
            db.exec(&script).await;
        }
        assert_eq!(steps(&plan(&home, &["--profile", profile])), [""; 0]);
        assert_eq!(home.json(&["schema", "verify", "--profile", profile])["good"], true);
        home.run(&["schema", "rollback"]).ok();
        assert!(!steps(&plan(&home, &["--profile", profile])).is_empty());
    }
}

#[tokio::test]
async fn what_no_step_can_mend_blocks_until_it_is_allowed() {
    let (db, home) = over(TWICE).await;
    let planned = plan(&home, &[]);
    assert_eq!(planned["blocked"].as_array().unwrap().len(), 1, "{planned}");
    let text = home.run(&["schema", "plan"]).ok().out;
    assert!(text.contains("\nblocked: ") && text.contains("remove"), "{text}");
    home.run(&["schema", "plan", "--sql"]).ok().warns("the script omits this");
    home.run(&["schema", "apply"]).fails(1, "rows", "--remove-duplicates");
    home.run(&["schema", "apply", "--remove-duplicates"]).ok();
    assert_eq!(table(&db, "user_profiles").await.as_array().unwrap().len(), 2);
    home.run(&["schema", "rollback"]).ok();
    assert_eq!(table(&db, "user_profiles").await.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_script_makes_nothing_in_the_wrong_place() {
    let (db, home) = over(BARE).await;
    let script = home.run(&["schema", "plan", "--sql"]).ok().out;
    // each statement for itself, as psql runs them
    let first = format!("{};", script.split(";\n\n-- 1. ").next().unwrap());

    db.exec("ALTER TABLE user_profiles RENAME TO people").await;
    let error = refused(&db, &first).await;
    assert!(error.contains("table public.user_profiles does not exist in database "), "{error}");
    db.exec("ALTER TABLE people RENAME TO user_profiles").await;

    db.exec("GRANT CREATE ON SCHEMA public TO pg_monitor").await;
    let error = refused(&db, &format!("SET ROLE pg_monitor; {first}")).await;
    assert!(error.contains("role pg_monitor does not own table public.user_profiles"), "{error}");
    assert!(value::<bool>(&db, "SELECT to_regclass('retell_vault_steps') IS NULL").await);
}

async fn refused(db: &TestDb, sql: &str) -> String {
    let mut connection = PgConnection::connect(&db.url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_service_role_that_cannot_be_one_is_found_before_the_first_step() {
    let (db, home) = over(BARE).await;
    let before: Value = value(&db, SHAPE).await;
    for (role, reason) in
        [("nosuch", "does not exist"), ("", "does not exist"), ("public", "is a role of users")]
    {
        let args = ["schema", "apply", "--row-security", "on", "--service-role", role];
        home.run(&args).fails(1, &format!("role {role}: it {reason}"), "--service-role");
    }
    assert_eq!(value::<Value>(&db, SHAPE).await, before);
    let planned = plan(&home, &["--service-role", "pg_monitor"]);
    assert!(planned["notes"].to_string().contains("--row-security on"), "{planned}");
    for contrary in [&["--force-row-security"][..], &["--service-role", "pg_monitor"]] {
        let args = [&["schema", "plan", "--row-security", "leave"], contrary].concat();
        home.run(&args).fails(2, "--row-security leave", "remove one of these options");
    }
}

#[tokio::test]
async fn verifying_fails_where_something_is_missing() {
    let (db, home) = over(BARE).await;
    home.run(&["schema", "apply"]).ok();
    let good = home.run(&["schema", "verify"]).ok();
    assert!(good.out.ends_with("the schema matches the plan\n"), "{}", good.out);
    db.exec("ALTER TABLE user_profiles DROP COLUMN phone_number").await;
    let bad = home.run(&["schema", "verify"]);
    assert_eq!(bad.code, 1, "{bad:?}");
    assert!(bad.out.contains("failed") && bad.out.contains("phone_number"), "{}", bad.out);
    assert!(
        bad.err.contains("error: ") && bad.err.contains("hint: `retell-vault schema plan`"),
        "{}",
        bad.err
    );
    let bad = home.run(&["schema", "verify", "--json"]);
    assert_eq!((bad.code, &bad.json()["good"]), (1, &json!(false)));
}

#[tokio::test]
async fn records_move_into_the_new_columns() {
    let (db, home) = over(ONE_COLUMN).await;
    home.put(&["--user", "user-1"], FULL).ok();
    home.put(&["--user", "user-2"], SMALL).ok();
    home.run(&["schema", "apply"]).ok();
    let before = home.json(&["get", "--user", "user-1"]);
    let promoted = home.json(&["schema", "promote", "--batch", "1"]);
    // the other record lies where it should: its key, and the record token beside it
    assert_eq!((&promoted["promoted"], &promoted["complete"]), (&json!(1), &json!(true)), "{promoted}");
    assert_eq!(home.json(&["get", "--user", "user-1"]), before);
    let rows = table(&db, "user_profiles").await;
    assert_eq!(rows[0]["phone_number"], "+14155550100", "{rows}");
    let again = home.run(&["schema", "promote"]).ok();
    assert!(again.out.starts_with("promoted           0 of 2\n"), "{}", again.out);
}

/// Killed in the middle of it: whatever was moved is whole, the rest is where it was.
#[tokio::test]
async fn a_promotion_killed_in_the_middle_is_completed_by_the_next() {
    let (db, home) = over(ONE_COLUMN).await;
    let users: Vec<_> = (0..8).map(|user| format!("user-{user}")).collect();
    for user in &users {
        home.put(&["--user", user], FULL).ok();
    }
    home.run(&["schema", "apply"]).ok();
    db.exec(
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN new; END $$;
         CREATE TRIGGER slowly BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION slowly()",
    )
    .await;
    let moved = async || value::<i64>(&db, "SELECT count(encrypted_call_agent_id) FROM user_profiles").await;
    for _ in 0..2 {
        let (mut child, before) =
            (home.command(&["schema", "promote", "--batch", "1"]).spawn().unwrap(), moved().await);
        while moved().await == before {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(moved().await < 8, "it was in the middle");
        for user in &users {
            home.run(&["get", "--user", user]).ok();
        }
    }
    let promoted = home.json(&["schema", "promote"]);
    assert_eq!(promoted["complete"], true, "{promoted}");
    assert_eq!(moved().await, 8);
    for user in &users {
        assert_eq!(home.json(&["get", "--user", user])["config"]["phone_number"], "+14155550100");
    }
}

/// The manual has the SQL for it.
#[tokio::test]
async fn tokens_come_back_from_the_backups() {
    let (db, home) = over(ONE_COLUMN).await;
    home.put(&["--user", "user-1"], FULL).ok();
    home.put(&["--user", "user-2"], SMALL).ok();
    home.run(&["schema", "apply"]).ok();
    home.run(&["schema", "promote"]).ok();
    let undone = home.run(&["schema", "rollback", "--allow-data-loss"]).ok();
    assert!(undone.err.contains("docs/SCHEMA.md"), "{}", undone.err);
    home.run(&["get", "--user", "user-1"]).fails(1, "lacks", "");
    let manual = include_str!("../../docs/SCHEMA.md");
    let blocks: Vec<_> =
        manual.split("```sql\nBEGIN;").skip(1).map(|rest| rest.split("COMMIT;").next().unwrap()).collect();
    let [tokens, plain] = blocks[..] else { panic!("two blocks of SQL") };
    db.exec(tokens).await;
    for (user, fields) in [("user-1", 5), ("user-2", 2)] {
        let packed = format!(
            "SELECT cardinality(string_to_array(encrypted_retell_api_key, ' '))::int8 FROM user_profiles WHERE user_id = '{user}'"
        );
        assert_eq!(value::<i64>(&db, &packed).await, fields, "{user}");
    }
    home.run(&["get", "--user", "user-2"]).ok();
    // the record vouches for plain values that have no column any more
    home.run(&["get", "--user", "user-1"]).fails(1, "lacks", "");
    home.run(&["schema", "apply"]).ok();
    db.exec(plain).await;
    let loaded = home.json(&["get", "--user", "user-1"]);
    assert_eq!(
        (&loaded["config"]["phone_number"], &loaded["changed_outside"]),
        (&json!("+14155550100"), &json!([]))
    );
}

#[tokio::test]
async fn what_keeps_records_in_the_local_file_is_said() {
    let (_db, home) = over(BARE).await;
    home.put(&["--user", "user-1"], SMALL).ok();
    let stays = home.run(&["schema", "promote"]);
    assert_eq!(stays.code, 1, "{stays:?}");
    stays.warns("records stay in the local file: table public.user_profiles has no column");
    home.run(&["schema", "apply"]).ok();
    home.run(&["schema", "promote"]).ok();
}

#[tokio::test]
async fn an_interrupted_run_says_so_and_the_same_command_goes_on() {
    let (db, home) = over(BARE).await;
    let mut holder = PgConnection::connect(&db.url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT * FROM user_profiles").execute(&mut holder).await.unwrap();
    for signal in [Signal::INT, Signal::TERM] {
        let rest = interrupt(&home, "apply", "waits: column.", signal);
        assert!(rest.contains("error: interrupted: 0 steps applied; "), "{rest}");
        assert!(rest.contains("hint: run the same command again to continue"), "{rest}");
    }
    let args = ["schema", "apply", "--lock-timeout", "50", "--patience", "0"];
    home.run(&args).fails(1, "column.", "");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    home.run(&args).ok();
    assert_eq!(steps(&plan(&home, &[])), [""; 0]);

    sqlx::raw_sql("BEGIN; SELECT * FROM user_profiles").execute(&mut holder).await.unwrap();
    let rest = interrupt(&home, "rollback", "waits: values.retell_integration_status: ", Signal::INT);
    assert!(rest.contains("error: interrupted: 1 step undone; the current one stays applied"), "{rest}");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    home.run(&["schema", "rollback"]).ok();
}

/// Sends the signal as soon as the command says this, and answers with what it says then.
fn interrupt(home: &Home, command: &str, says: &str, signal: Signal) -> String {
    let mut child = home.command(&["schema", command]).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with(says) {
        line.clear();
        assert_ne!(errors.read_line(&mut line).unwrap(), 0, "it ended before it said {says}");
    }
    kill_process(Pid::from_child(&child), signal).unwrap();
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    rest
}

#[tokio::test]
async fn a_pooler_is_refused_with_the_way_out() {
    let (db, mut home) = over(BARE).await;
    home.database = db.bouncer_url();
    for command in ["apply", "rollback"] {
        home.run(&["schema", command]).fails(1, "pooler", "5432");
    }
    assert!(!steps(&plan(&home, &[])).is_empty(), "a plan only reads");
}

#[tokio::test]
async fn what_does_not_exist_is_a_usage_error_or_is_named() {
    let (db, mut home) = over(BARE).await;
    let unknown = home.run(&["schema", "plan", "--profile", "everything"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("credentials, full-profile"), "{}", unknown.err);
    assert_eq!(home.run(&["schema", "plan", "--sql", "--json"]).code, 2);
    assert_eq!(home.run(&["schema", "apply", "--lock-timeout", "0"]).code, 2);
    assert_eq!(home.run(&["schema", "apply", "--row-security", "off"]).code, 2);
    db.exec("ALTER TABLE user_profiles RENAME TO people; CREATE VIEW user_profiles AS SELECT * FROM people")
        .await;
    home.run(&["schema", "plan"]).fails(1, "is not a table", "view");
    home.database = String::new();
    for command in ["plan", "apply", "verify", "rollback"] {
        home.run(&["schema", command]).fails(1, "no database is named", "--database-url");
    }
}

#[test]
fn every_command_explains_itself() {
    let home = Home::empty();
    for command in ["plan", "apply", "verify", "rollback", "promote"] {
        let help = home.run(&["schema", command, "--help"]).ok().out;
        assert!(help.contains("Exit codes:") && help.contains("DATABASE_URL"), "{help}");
    }
    let help = home.run(&["schema", "apply", "--help"]).ok().out;
    assert!(help.contains("does not ask for confirmation") && help.contains("direct connection"), "{help}");
}
