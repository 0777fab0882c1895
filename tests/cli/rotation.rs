//! `rotate`: a new key for everything, whatever interrupts it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::process::Child;

use retell_vault::Vault;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::runner::*;
use crate::support::TestDb;
use crate::support::role::Role;
use crate::support::rows::{owners, table};
use crate::support::vaults::{ALL_COLUMNS, full_config, open_keyring};

const ONE_COLUMN: &str =
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)";
/// A row at a time, slowly enough to be interrupted.
const SLOWLY: [&str; 7] = ["--batch", "1", "--jobs", "1", "--rate", "20", "--json"];

/// A home over a table with so many users.
async fn seeded(columns: &str, users: usize) -> (TestDb, Home) {
    let db = TestDb::create().await;
    db.exec(columns).await;
    let home = Home::over(&db.url);
    let keyring = open_keyring(home.path().join("keyring.json"));
    let vault = Vault::builder(keyring).postgres(&db.url).build().await.unwrap();
    let configs: Vec<_> =
        owners(users).into_iter().enumerate().map(|(n, owner)| (owner, full_config(n))).collect();
    for stored in vault.store_many(&configs).await.unwrap() {
        stored.unwrap();
    }
    vault.close().await;
    (db, home)
}

/// Every key with its state and its tokens, oldest first.
fn keys(home: &Home) -> Vec<(String, String, u64)> {
    let list = home.json(&["key", "list"]);
    let key = |key: &Value| {
        let word = |name: &str| key[name].as_str().unwrap().to_owned();
        (word("id"), word("state"), key["tokens"].as_u64().unwrap())
    };
    list["keys"].as_array().unwrap().iter().map(key).collect()
}

fn states(home: &Home) -> Vec<String> {
    keys(home).into_iter().map(|(_, state, _)| state).collect()
}

/// A new primary key, under which nothing is yet.
fn promote(home: &Home) -> String {
    let id = home.json(&["key", "add"])["key"]["id"].as_str().unwrap().to_owned();
    home.run(&["key", "promote", &id]).ok();
    id
}

fn events(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn all_readable(home: &Home, users: usize) {
    for user in 0..users {
        let loaded = home.json(&["get", "--user", &format!("user-{user}")]);
        assert_eq!(loaded["config"]["phone_number"], "+14155550100");
    }
}

/// Starts it, and waits until it has sealed rows anew.
fn started(home: &Home, args: &[&str]) -> (Child, impl Read + use<>) {
    let mut child = home.command(args).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    until_under_way(&mut out);
    (child, out)
}

fn until_under_way(out: &mut impl BufRead) {
    let mut lines = out.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let under_way = |event: Value| event["event"] == "batch" && event["resealed"].as_u64() > Some(1);
    assert!(lines.any(under_way), "it ended before it was interrupted");
}

#[tokio::test]
async fn everything_goes_under_a_new_key_wherever_it_lies() {
    for columns in [ALL_COLUMNS, ONE_COLUMN] {
        let (db, mut home) = seeded(columns, 25).await;
        if columns == ALL_COLUMNS {
            let sql = r#"UPDATE user_profiles SET full_name = 'Ada', encrypted_agent_config = encrypted_agent_config || '{"theirs": 1}'"#;
            db.exec(sql).await;
        }
        home.database = "postgres://user:hunter2@127.0.0.1:1/app".to_owned();
        home.put(&["--user", "waits"], FULL).ok();
        home.database = db.url.clone();
        let before = home.json(&["get", "--user", "user-7"]);

        let rotated = home.run(&["rotate", "--new-key", "--batch", "10"]).ok();
        let held = keys(&home);
        let [(old, retired, 0), (new, primary, 107..)] = &held[..] else { panic!("{held:?}") };
        assert_eq!([retired, primary], ["retired", "primary"]);
        for step in
            [format!("step: added key {new}\n"), format!("step: promoted key {new}; key {old} is retired")]
        {
            assert!(rotated.err.contains(&step), "{}", rotated.err);
        }
        assert!(
            rotated.err.contains("back up ") && rotated.err.contains("keyring.json now: nothing else opens"),
            "{}",
            rotated.err
        );
        assert!(rotated.err.contains(&format!("key destroy {old} --other-hosts-synced`")), "{}", rotated.err);
        assert!(rotated.out.contains("re-encrypted  25 rows, 1 text of the local file\n"), "{}", rotated.out);
        assert!(rotated.out.contains(&format!("  {new}  primary  local file, pending")), "{}", rotated.out);
        assert!(!rotated.out.contains(old), "{}", rotated.out);
        let verdict = format!("\ncomplete in the layout: every token is under key {new}\n");
        assert!(rotated.out.contains(&verdict), "{}", rotated.out);

        all_readable(&home, 25);
        assert_eq!(home.json(&["get", "--user", "user-7"]), before);
        assert_eq!(home.json(&["sync"])["pushed"], 1);
        home.run(&["get", "--user", "waits"]).ok();
        assert!(home.run(&["key", "check"]).ok().out.contains("\nno problems found in the layout\n"));
        if columns == ALL_COLUMNS {
            let rows = table(&db, "user_profiles").await;
            let theirs =
                |row: &&Value| row["full_name"] == "Ada" && row["encrypted_agent_config"]["theirs"] == 1;
            assert_eq!(rows.as_array().unwrap().iter().filter(theirs).count(), 25);
        }
    }
}

#[tokio::test]
async fn the_same_in_json_with_a_line_for_every_batch() {
    let (_db, home) = seeded(ALL_COLUMNS, 25).await;
    let rotated = home.run(&["rotate", "--new-key", "--batch", "10", "--jobs", "1", "--json"]).ok();
    let events = events(&rotated.out);
    let named = |name: &'static str| events.iter().filter(move |event| event["event"] == name);
    let steps: Vec<_> = named("key").map(|event| event["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["added", "promoted"]);
    let resealed: Vec<_> = named("batch").map(|event| event["resealed"].as_u64().unwrap()).collect();
    assert_eq!(resealed, [10, 20, 25]);
    for batch in named("batch") {
        assert_eq!((&batch["pass"], &batch["rows"], &batch["changed"]), (&json!(1), &json!(25), &json!(0)));
        assert!(batch["visited"].is_u64() && batch["local"].is_u64() && batch["seconds"].is_f64(), "{batch}");
    }
    let done = events.last().unwrap();
    let new = &keys(&home)[1].0;
    assert_eq!(
        (&done["event"], &done["complete"], &done["key"]),
        (&json!("done"), &json!(true), &json!(new))
    );
    assert_eq!((&done["causes"], &done["unreadable"]), (&json!({}), &json!(0)));
    let token_counts = done["census"].as_array().unwrap();
    assert!(
        token_counts.iter().all(|count| count["key"] == json!(new) && count["place"] == "column"),
        "{done}"
    );
    assert_eq!(token_counts.iter().map(|count| count["tokens"].as_u64().unwrap()).sum::<u64>(), 125);
}

#[tokio::test]
async fn a_dry_run_tells_and_changes_nothing() {
    let (db, home) = seeded(ALL_COLUMNS, 12).await;
    let new = promote(&home);
    let keyring = || fs::read(home.path().join("keyring.json")).unwrap();
    let before = (table(&db, "user_profiles").await, keyring(), keys(&home));
    let told = home.run(&["rotate", "--dry-run", "--batch", "5"]).ok();
    assert!(told.out.starts_with(&format!("primary key  {new}\nto do        12 of 12 rows\n")), "{told:?}");
    assert!(told.out.contains("time         about ") && told.out.contains("retired"), "{told:?}");
    let told = home.json(&["rotate", "--dry-run"]);
    assert_eq!((&told["to_do"], &told["rows"], &told["key"]), (&json!(12), &json!(12), &json!(new)));
    assert_eq!((table(&db, "user_profiles").await, keyring(), keys(&home)), before);
    home.run(&["rotate"]).ok();
    assert_eq!(home.json(&["rotate", "--dry-run"])["to_do"], 0);
}

#[tokio::test]
async fn a_signal_ends_it_tidily_and_the_same_command_goes_on() {
    let (_db, home) = seeded(ALL_COLUMNS, 40).await;
    promote(&home);
    let rotate = [&["rotate"], &SLOWLY[..]].concat();
    for signal in [Signal::INT, Signal::TERM] {
        let (mut child, mut out) = started(&home, &rotate);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let (mut rest, mut errors) = (String::new(), String::new());
        out.read_to_string(&mut rest).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{errors}");
        assert!(errors.contains("error: interrupted: in pass 1, "), "{errors}");
        assert!(errors.contains("run the same command again to continue"), "{errors}");
        assert_eq!(events(&rest).last().unwrap()["event"], "interrupted");
        assert!(keys(&home).iter().all(|(_, _, tokens)| *tokens > 0), "it was in the middle");
    }
    home.run(&["rotate"]).ok();
    assert_eq!(keys(&home)[0].2, 0);
    all_readable(&home, 40);
}

#[tokio::test]
async fn every_rotation_has_one_key_of_its_own() {
    let (_db, home) = seeded(ONE_COLUMN, 5).await;
    for count in 2..4 {
        home.run(&["rotate", "--new-key"]).ok();
        assert_eq!(states(&home).len(), count);
    }
    assert_eq!(states(&home), ["retired", "retired", "primary"]);

    // killed before the promotion: the key is there and pending
    let pending = home.json(&["key", "add"])["key"]["id"].as_str().unwrap().to_owned();
    let rotated = home.run(&["rotate", "--new-key"]).ok();
    let taken = format!("step: key {pending} is pending and is promoted; no new key is created\n");
    assert!(rotated.err.contains(&taken), "{}", rotated.err);
    assert_eq!(keys(&home)[3], (pending, "primary".to_owned(), 40));
    assert_eq!(states(&home).len(), 4);
}

#[tokio::test]
async fn killed_in_the_middle_it_goes_on_with_the_key_that_it_made() {
    let (_db, home) = seeded(ALL_COLUMNS, 40).await;
    let rotate = [&["rotate", "--new-key"], &SLOWLY[..]].concat();
    for _ in 0..2 {
        let (mut child, _out) = started(&home, &rotate);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(states(&home), ["retired", "primary"]);
    }
    let new = keys(&home)[1].0.clone();
    let rotated = home.run(&["rotate", "--new-key"]).ok();
    let resumed = format!("the rotation to key {new} continues; no new key is created\n");
    assert!(rotated.err.contains(&resumed), "{}", rotated.err);
    assert_eq!(states(&home), ["retired", "primary"]);
    assert_eq!(keys(&home)[0].2, 0);
    all_readable(&home, 40);
}

#[tokio::test]
async fn what_cannot_be_opened_is_reported_and_it_is_not_complete() {
    let (db, home) = seeded(ALL_COLUMNS, 6).await;
    let body = "overlay(encrypted_call_agent_id placing \
        CASE substr(encrypted_call_agent_id, 70, 1) WHEN 'A' THEN 'B' ELSE 'A' END from 70 for 1)";
    db.exec(&format!(
        "UPDATE user_profiles SET encrypted_call_agent_id = {body} WHERE user_id = 'user-3';
        INSERT INTO user_profiles (user_id, encrypted_retell_api_key) VALUES ('plain', 'key_test_canary_4711')"
    ))
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.jsonl");
    let report = path.to_str().unwrap();
    promote(&home);
    let old = keys(&home)[0].0.clone();

    let unreported = home.run(&["rotate"]);
    assert_eq!(unreported.code, 1);
    assert!(unreported.err.contains("hint: run the same command with --report FILE"), "{unreported:?}");
    for _ in 0..2 {
        let rotated = home.run(&["rotate", "--report", report]);
        assert_eq!(rotated.code, 1);
        rotated.warns("1 unsealable");
        rotated.warns("1 foreign_value");
        let left = format!("not complete: 5 tokens left under key {old} (retired): 2 in column ");
        assert!(rotated.out.contains(&left) && !rotated.out.contains("\ncomplete in"), "{rotated:?}");
        assert!(rotated.err.contains("error: the rotation is not complete: 5 tokens are not"), "{rotated:?}");
        assert!(rotated.err.contains("put --replace-unreadable"), "{rotated:?}");

        let text = fs::read_to_string(&path).unwrap();
        let mut lines = events(&text);
        lines.sort_by_key(|line| line["owner"].to_string());
        assert_eq!(lines.len(), 2, "{text}");
        let seen = |line: &Value| [&line["owner"], &line["place"], &line["kind"]].map(Value::clone);
        assert_eq!(
            seen(&lines[0]),
            [json!("plain"), json!("encrypted_retell_api_key"), json!("foreign_value")]
        );
        assert_eq!((&lines[1]["owner"], &lines[1]["kind"]), (&json!("user-3"), &json!("unsealable")));
        assert!(!text.contains("canary"), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let done = home.run(&["rotate", "--json"]);
    let done = events(&done.out).pop().unwrap();
    assert_eq!(
        (&done["complete"], &done["causes"]),
        (&json!(false), &json!({ "unsealable": 1, "foreign_value": 1 }))
    );

    // what stands in the way of completion does not make one key after the other
    let again = home.run(&["rotate", "--new-key"]);
    assert!(again.code == 1 && again.err.contains("no new key is created"), "{again:?}");
    assert!(again.err.contains("to add a new key anyway"), "{again:?}");
    assert_eq!(states(&home), ["retired", "primary"]);
    db.exec("UPDATE user_profiles SET encrypted_retell_api_key = NULL WHERE user_id = 'plain'").await;
    home.put(&["--user", "user-3", "--replace-unreadable"], FULL).ok();
    home.run(&["forget", "--user", "user-3"]).ok();
    home.run(&["rotate", "--report", report]).ok();
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[tokio::test]
async fn a_host_whose_keyring_is_behind_is_told_to_get_the_newest() {
    let (db, home) = seeded(ALL_COLUMNS, 2).await;
    let id = home.json(&["key", "add"])["key"]["id"].as_str().unwrap().to_owned();
    // another host got the keyring before the key was promoted, and not since
    let behind = Home::empty_over(&db.url);
    fs::DirBuilder::new().mode(0o700).create(behind.path()).unwrap();
    fs::copy(home.path().join("keyring.json"), behind.path().join("keyring.json")).unwrap();
    home.run(&["key", "promote", &id]).ok();
    home.run(&["rotate"]).ok();

    let rotated = behind.run(&["rotate"]);
    assert_eq!(rotated.code, 1);
    rotated.warns("2 busy");
    assert!(rotated.err.contains("hint: copy the newest keyring to this host"), "{rotated:?}");
    assert!(!rotated.err.contains("--replace-unreadable"), "{rotated:?}");
    assert_eq!(keys(&home).last().unwrap().2, home.json(&["key", "check"])["tokens"].as_u64().unwrap());
}

#[tokio::test]
async fn what_the_local_file_holds_is_reported_too() {
    let (db, mut home) = seeded(ONE_COLUMN, 2).await;
    home.database = "postgres://user:hunter2@127.0.0.1:1/app".to_owned();
    home.put(&["--user", "waits"], FULL).ok();
    home.database = db.url.clone();
    let local = SqliteConnectOptions::new().filename(home.path().join("local.db"));
    let mut local = local.connect().await.unwrap();
    let sql = "UPDATE pending SET text = substr(text, 1, 69) || CASE substr(text, 70, 1) WHEN 'A' THEN 'B' ELSE 'A' END
        || substr(text, 71)";
    assert_eq!(sqlx::query(sql).execute(&mut local).await.unwrap().rows_affected(), 1);
    local.close().await.unwrap();

    let report = home.path().join("report.jsonl");
    let rotated = home.run(&["rotate", "--new-key", "--report", report.to_str().unwrap()]);
    assert_eq!(rotated.code, 1);
    assert!(rotated.out.contains("not complete: 8 tokens left under key "), "{rotated:?}");
    assert!(rotated.out.contains(" (retired): 8 in local file, pending\n"), "{rotated:?}");
    let [line] = &events(&fs::read_to_string(&report).unwrap())[..] else { panic!("{report:?}") };
    assert_eq!(
        [&line["owner"], &line["place"], &line["kind"]],
        [&json!("waits"), &json!("local file, pending"), &json!("unsealable")]
    );
}

#[tokio::test]
async fn a_report_takes_no_file_of_others() {
    let (db, home) = seeded(ONE_COLUMN, 3).await;
    promote(&home);
    let before = table(&db, "user_profiles").await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    fs::write(file("notes"), "{\"owner\": 1}\n").unwrap();
    fs::write(file("target"), "").unwrap();
    symlink(file("target"), file("link")).unwrap();
    let keyring = home.path().join("keyring.json");
    for (path, error) in [
        (file("notes"), "is not a report of an earlier run"),
        (file("link"), "is not a report of an earlier run"),
        (folder.path().to_owned(), "is not a report of an earlier run"),
        (keyring, "is not a report of an earlier run"),
        (file("absent/report"), "cannot write the report"),
    ] {
        let rotate = ["rotate", "--new-key", "--report", path.to_str().unwrap()];
        home.run(&rotate).fails(1, error, "nothing was changed");
    }
    assert_eq!(fs::read(file("notes")).unwrap(), b"{\"owner\": 1}\n");
    assert_eq!(table(&db, "user_profiles").await, before);
    assert_eq!(states(&home), ["retired", "primary"]);

    let full = home.run(&["rotate", "--report", "/dev/full"]);
    full.fails(1, "is not a report", "name another file");
}

#[tokio::test]
async fn a_rotation_that_cannot_begin_makes_no_key() {
    let (db, mut home) = seeded(ONE_COLUMN, 3).await;
    let reader = Role::create(&db, "GRANT SELECT ON user_profiles TO guest").await;
    home.database = reader.url.clone();
    home.run(&["rotate", "--new-key"]).fails(1, "may not write to column", "GRANT UPDATE");
    let script = "GRANT SELECT, UPDATE ON user_profiles TO guest; ALTER ROLE guest SET default_transaction_read_only = on";
    let read_only = Role::create(&db, script).await;
    home.database = read_only.url.clone();
    home.run(&["rotate", "--new-key"]).fails(1, "accepts only reads", "default_transaction_read_only");
    home.database = "postgres://user:hunter2@127.0.0.1:1/app".to_owned();
    for args in [&["rotate", "--new-key"][..], &["rotate"], &["rotate", "--dry-run"]] {
        home.run(args).fails(1, "cannot be reached", "check that the database is up");
    }
    home.database = String::new();
    home.run(&["rotate", "--new-key"]).fails(1, "no database was named", "DATABASE_URL");
    home.database = db.url.clone();
    assert_eq!(states(&home), ["primary"]);
}

#[tokio::test]
async fn a_host_whose_keyring_is_behind_makes_no_rival_key() {
    let (db, home) = seeded(ONE_COLUMN, 5).await;
    let behind = Home::empty_over(&db.url);
    fs::DirBuilder::new().mode(0o700).create(behind.path()).unwrap();
    fs::copy(home.path().join("keyring.json"), behind.path().join("keyring.json")).unwrap();
    home.run(&["rotate", "--new-key"]).ok();
    behind.run(&["rotate", "--new-key"]).fails(1, "no key was made", "newest keyring");
    assert_eq!(states(&behind), ["primary", "unknown"]);
    all_readable(&home, 5);

    // the same with a keyring that holds the new key, and does not know that it seals
    let id = home.json(&["key", "add"])["key"]["id"].as_str().unwrap().to_owned();
    fs::copy(home.path().join("keyring.json"), behind.path().join("keyring.json")).unwrap();
    home.run(&["key", "promote", &id]).ok();
    home.run(&["rotate"]).ok();
    let checked = behind.run(&["key", "check"]);
    assert!(checked.code == 1 && checked.err.contains("1 problem found"), "{}", checked.err);
    assert!(checked.out.contains("not the newest") && !checked.out.contains("key retire"), "{}", checked.out);
    behind.run(&["key", "retire", &id]).fails(1, "promoted on another host", "newest keyring");
}

#[test]
fn without_a_database_the_local_file_is_rotated() {
    let home = Home::new();
    home.put(&["--user", "user-1"], FULL).ok();
    let rotated = home.run(&["rotate", "--new-key"]).ok();
    assert!(rotated.out.contains("re-encrypted  0 rows, 1 text of the local file\n"), "{rotated:?}");
    let held = keys(&home);
    let [(old, ..), (new, state, 8)] = &held[..] else { panic!("{held:?}") };
    assert_eq!(state, "primary");
    assert!(
        rotated.out.ends_with(&format!("\ncomplete in the local file: every token is under key {new}\n")),
        "{rotated:?}"
    );
    assert!(rotated.err.contains(&format!("`retell-vault key destroy {old}`\n")), "{rotated:?}");
    home.run(&["get", "--user", "user-1"]).ok();
}

#[test]
fn a_reader_that_leaves_does_not_stop_it() {
    let home = Home::new();
    home.put(&["--user", "user-1"], FULL).ok();
    for args in [&["rotate", "--new-key", "--json"][..], &["rotate"], &["key", "list"], &["key", "check"]] {
        let mut child = home.command(args).spawn().unwrap();
        drop(child.stdout.take());
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert!(child.wait().unwrap().success(), "{args:?} {errors}");
        assert!(!errors.contains("panicked"), "{errors}");
    }
    assert_eq!(states(&home), ["retired", "primary"]);
}

#[test]
fn wrong_usage_is_refused() {
    let home = Home::new();
    for wrong in [
        &["--batch", "0"][..],
        &["--batch", "100001"],
        &["--jobs", "0"],
        &["--jobs", "65"],
        &["--rate", "0"],
        &["--rate", "-1"],
        &["--max-latency", "0"],
        &["--max-replica-lag", "0"],
        &["--max-replica-lag", "18446744073709551615"],
        &["--dry-run", "--new-key"],
        &["--dry-run", "--report", "x"],
        &["key_test_canary_4711"],
    ] {
        let ran = home.run(&[&["rotate"], wrong].concat());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{wrong:?} {ran:?}");
    }
    assert_eq!(states(&home), ["primary"]);
    let help = home.run(&["rotate", "--help"]).ok().out;
    for part in ["instead of creating a key", "Ctrl-C", "If it is any other file", "Exit codes:"] {
        assert!(help.contains(part), "{part} {help}");
    }
}
