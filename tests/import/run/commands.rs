//! The command: what it prints, and what it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::support::RECORDS;
use crate::runner::Home;
use crate::support::TestDb;
use crate::support::role::Role;
use crate::support::rows::table;

const TABLES: &str = "CREATE TABLE old (user_id text PRIMARY KEY, key text, config jsonb);
    INSERT INTO old VALUES
        ('user-1', 'key_test_canary_0001', NULL),
        ('user-2', 'key_test_canary_ü', '{\"call_agent_id\": \"agent_test_canary_2\"}'),
        ('user-3', NULL, '[\"key_test_canary_3\"]'),
        ('user-4', 'key_test_canary_0004', '{\"api_key\": \"key_test_canary_0044\"}')";
const LAYOUT: &str = r#"
[table]
name = "records"
[[source]]
table = "old"
user = "user_id"
column = "key"
field = "api_key"
decryptor = "plaintext"
[[source]]
table = "old"
user = "user_id"
column = "config"
decryptor = "plaintext"
"#;

async fn home() -> (TestDb, Home) {
    let db = TestDb::create().await;
    db.exec(RECORDS).await;
    db.exec(TABLES).await;
    let home = Home::over(&db.url);
    fs::write(home.path().join("layout.toml"), LAYOUT).unwrap();
    (db, home)
}

fn end(out: &str) -> Value {
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

#[tokio::test]
async fn a_run_ends_with_every_list_and_no_value_is_printed_or_logged() {
    let (db, home) = home().await;
    let before = (table(&db, "old").await, table(&db, "records").await);
    let dry = home.run(&["import", "run", "--dry-run", "--clear-source", "--json"]).ok();
    assert_eq!((end(&dry.out)["sealed"].clone(), end(&dry.out)["dry_run"].clone()), (json!(3), json!(true)));
    assert_eq!((table(&db, "old").await, table(&db, "records").await), before);

    let report = home.path().join("report.jsonl");
    let run = ["import", "run", "--clear-source", "--report", report.to_str().unwrap()];
    let ran = home.run(&[&run[..], &["--json"]].concat()).ok();
    let all = end(&ran.out);
    assert_eq!([&all["sealed"], &all["verified"], &all["cleared"], &all["already"]], [3, 3, 3, 0]);
    let users = |list: &str| {
        let list = all[list].as_array().unwrap().iter();
        list.map(|found| found["user"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (users("failed"), users("not_credentials"), users("disagreed")),
        (vec!["user-2".to_owned()], vec!["user-3".to_owned()], vec!["user-4".to_owned()])
    );
    for empty in ["unrecoverable", "corrupt", "not_cleared", "replace_at_provider"] {
        assert_eq!(all[empty], json!([]));
    }
    let first: Value = serde_json::from_str(ran.out.lines().next().unwrap()).unwrap();
    assert_eq!((&first["event"], &first["rows"]), (&json!("batch"), &json!(4)));

    let again = home.run(&run).ok();
    assert!(
        again.out.contains("nothing to do") && again.out.contains("another value is in the vault"),
        "{}",
        again.out
    );
    let written = fs::read_to_string(&report).unwrap();
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["event"] == "clearing").count(), 3);
    assert_eq!(lines.iter().filter(|line| line["event"] == "disagreed").count(), 2, "both runs");
    assert_eq!(fs::metadata(&report).unwrap().permissions().mode() & 0o777, 0o600);
    for text in [&written, &ran.out, &ran.err, &again.out, &again.err, &dry.out, &dry.err] {
        assert!(!text.contains("canary"), "{text}");
    }
    let got = home.json(&["get", "--user", "user-1"]);
    assert_eq!(got["imported"], json!(true), "{got}");
}

#[tokio::test]
async fn a_report_is_never_written_over_another_file() {
    let (db, home) = home().await;
    let file = home.path().join("other.txt");
    fs::write(&file, "mine\n").unwrap();
    let run = ["import", "run", "--clear-source", "--report", file.to_str().unwrap()];
    home.run(&run).fails(1, "is not a report of an earlier run", "nothing was changed");
    assert_eq!(table(&db, "records").await, json!([]));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine\n");
}

#[tokio::test]
async fn a_password_that_opens_nothing_ends_the_run_after_the_first_hundred() {
    let token = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
    let (db, home) = home().await;
    db.exec(&format!("DELETE FROM old; INSERT INTO old SELECT 'user-' || n, '{token}', NULL FROM generate_series(1, 3000) n")).await;
    let layout = LAYOUT.replacen("plaintext", "fernet", 1);
    fs::write(home.path().join("layout.toml"), layout).unwrap();
    let run = ["import", "run", "--clear-source", "--secret", "WRONG=env:WRONG"];
    let wrong = [("WRONG", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
    home.run_with(&run, &wrong, "").fails(
        1,
        "source public.old.key: none of the first values opens",
        "--secret",
    );
    assert_eq!(table(&db, "records").await, json!([]));
}

#[tokio::test]
async fn a_source_that_is_missing_or_may_not_be_read_is_named_before_anything_is_written() {
    let (db, home) = home().await;
    for (from, to) in [("\"old\"", "\"gone\""), ("\"config\"", "\"gone\"")] {
        fs::write(home.path().join("layout.toml"), LAYOUT.replace(from, to)).unwrap();
        home.run(&["import", "run"]).fails(1, "source public.", "");
    }
    fs::write(home.path().join("layout.toml"), LAYOUT).unwrap();
    let guest = Role::create(
        &db,
        "GRANT SELECT, INSERT, UPDATE ON records TO guest; GRANT SELECT (user_id, key) ON old TO guest",
    )
    .await;
    home.run(&["import", "run", "--database-url", &guest.url]).fails(1, "source public.old.", "");
    assert_eq!(table(&db, "records").await, json!([]));
    fs::write(home.path().join("layout.toml"), "[table]\nname = \"records\"\n").unwrap();
    home.run(&["import", "run"]).fails(1, "the layout names no source", "[[source]]");
    Home::new().run(&["import", "run"]).fails(2, "needs a database", "DATABASE_URL");
}
