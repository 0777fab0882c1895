//! Counting by evidence: what lies where the layout does not look is found, named, and keeps its key.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::runner::*;
use crate::support::TestDb;
use crate::support::faults::{Lock, number, until, until_waiting};
use crate::support::vaults::ALL_COLUMNS;

const KEY: &str = "encrypted_retell_api_key";
const NOW: [&str; 2] = ["--force", "--other-hosts-synced"];
/// What a library with a layout of its own has: no column has a default name.
const RENAME_ALL: &str = "ALTER TABLE user_profiles RENAME encrypted_retell_api_key TO retell_api_key;
    ALTER TABLE user_profiles RENAME encrypted_call_agent_id TO call_agent;
    ALTER TABLE user_profiles RENAME encrypted_sms_agent_id TO sms_agent;
    ALTER TABLE user_profiles RENAME encrypted_agent_config TO settings";

/// Records of three owners under one key.
async fn stored() -> (TestDb, Home, String) {
    let db = TestDb::create().await;
    db.exec(ALL_COLUMNS).await;
    let home = Home::over(&db.url);
    for user in ["user-1", "user-2", "user-3"] {
        home.put(&["--user", user], FULL).ok();
    }
    let key = home.json(&["key", "list"])["keys"][0]["id"].as_str().unwrap().to_owned();
    (db, home, key)
}

/// The last line that `rotate --new-key --json` prints.
fn rotated(home: &Home) -> (Ran, Value) {
    let ran = home.run(&["rotate", "--new-key", "--json"]).ok();
    let done = serde_json::from_str(ran.lines().last().unwrap()).unwrap();
    (ran, done)
}

fn destroy(home: &Home, key: &str, more: &[&str]) -> Ran {
    home.run(&[&["key", "destroy", key], &NOW[..], more].concat())
}

/// Column, tokens and how many are in use, of what was found outside of the layout.
fn outside(answer: &Value) -> Vec<(String, u64, u64)> {
    let found = answer["outside"].as_array().unwrap().iter();
    let number = |found: &Value, name: &str| found[name].as_u64().unwrap();
    found
        .map(|found| {
            let column = found["column"].as_str().unwrap().to_owned();
            (column, number(found, "tokens"), number(found, "in_use"))
        })
        .collect()
}

/// CASES 1. The command knows default names only.
#[tokio::test]
async fn renamed_columns_keep_their_key_with_and_without_empty_ones_under_the_old_names() {
    for then in
        ["", "ALTER TABLE user_profiles ADD encrypted_retell_api_key text, ADD encrypted_agent_config jsonb"]
    {
        let (db, home, old) = stored().await;
        db.exec(&format!("{RENAME_ALL}; {then}")).await;

        let listed = home.json(&["key", "list"]);
        let column = |name: &str, tokens| (format!("public.user_profiles.{name}"), tokens, tokens);
        let found = [
            column("call_agent", 3),
            column("retell_api_key", 3),
            column("settings", 6),
            column("sms_agent", 3),
        ];
        assert_eq!((&listed["keys"][0]["tokens"], outside(&listed)), (&json!(0), found.to_vec()), "{then}");
        assert_eq!((&listed["outside_rows"], &listed["outside_every_row"]), (&json!(3), &json!(false)));
        let checked = home.run(&["key", "check"]);
        assert_eq!(checked.code, 1, "{checked:?}");
        assert!(checked.out.contains("problem: outside of the layout: 3 tokens under key"), "{checked:?}");

        let (ran, done) = rotated(&home);
        assert_eq!(
            (&done["complete"], outside(&done)),
            (&json!(true), found.to_vec()),
            "in the layout it is"
        );
        ran.warns("no rotation reaches them");
        let deep = home.run(&["key", "check", "--deep", "--json"]);
        assert_eq!((deep.code, outside(&deep.json())), (1, found.to_vec()), "{deep:?}");
        destroy(&home, &old, &[]).fails(
            1,
            "15 tokens outside of the layout still name key",
            "--not-evidence",
        );

        // every record is there
        let undo = "ALTER TABLE user_profiles DROP IF EXISTS encrypted_retell_api_key, DROP IF EXISTS encrypted_agent_config;
            ALTER TABLE user_profiles RENAME retell_api_key TO encrypted_retell_api_key;
            ALTER TABLE user_profiles RENAME call_agent TO encrypted_call_agent_id;
            ALTER TABLE user_profiles RENAME sms_agent TO encrypted_sms_agent_id;
            ALTER TABLE user_profiles RENAME settings TO encrypted_agent_config";
        db.exec(undo).await;
        for user in ["user-1", "user-2", "user-3"] {
            home.run(&["get", "--user", user]).ok();
        }
        home.run(&["rotate"]).ok();
        destroy(&home, &old, &[]).ok();
        home.run(&["get", "--user", "user-1"]).ok();
    }
}

/// CASES 2. `schema rollback` puts such rows back.
#[tokio::test]
async fn duplicates_that_were_moved_aside_keep_their_key() {
    let db = TestDb::create().await;
    db.exec(&ALL_COLUMNS.replace("user_id text PRIMARY KEY", "user_id text NOT NULL")).await;
    let home = Home::over(&db.url);
    home.put(&["--user", "user-1"], FULL).ok();
    db.exec("INSERT INTO user_profiles SELECT * FROM user_profiles").await;
    home.run(&["schema", "apply", "--remove-duplicates"]).ok();
    let old = home.json(&["key", "list"])["keys"][0]["id"].as_str().unwrap().to_owned();
    home.run(&["key", "check"]).ok(); // as it should be while the key is the primary one

    let (ran, done) = rotated(&home);
    let aside = "public.retell_vault_duplicates_user_profiles";
    assert!(outside(&done).contains(&(format!("{aside}.{KEY}"), 1, 1)), "{done}");
    assert_eq!(done["outside"][0]["own_table"], true);
    ran.warns(&format!("in column {aside}.{KEY}, 1 in use; no rotation reaches them"));
    let checked = home.run(&["key", "check"]);
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(checked.out.contains("or roll back its step"), "{checked:?}");
    destroy(&home, &old, &[]).fails(1, &format!("1 in column {aside}.{KEY}"), "nothing was destroyed");

    home.run(&["schema", "rollback", "--allow-data-loss"]).ok();
    home.run(&["get", "--user", "user-1"]).ok();
    home.run(&["rotate"]).ok();
    db.exec(&format!("DROP TABLE IF EXISTS {aside}")).await;
    destroy(&home, &old, &[]).ok();
    home.run(&["get", "--user", "user-1"]).ok();
}

/// A copy in the row of its owner is evidence; one in another's row, or of a part, is listed.
#[tokio::test]
async fn what_does_not_open_for_its_rows_owner_is_listed_and_hinders_nothing() {
    let (db, home, old) = stored().await;
    db.exec(&format!(
        "CREATE TABLE saved AS SELECT user_id, {KEY} AS token FROM user_profiles;
        ALTER TABLE user_profiles ADD notes text, ADD log jsonb;
        UPDATE user_profiles SET notes = (SELECT token FROM saved WHERE user_id = 'user-2') WHERE user_id = 'user-1';
        UPDATE user_profiles AS t SET log = jsonb_build_object('cut', left(s.token, 90)) FROM saved AS s
            WHERE s.user_id = t.user_id AND t.user_id = 'user-3'"
    ))
    .await;
    let (_, done) = rotated(&home);
    let (notes, log) = ("public.user_profiles.notes", "public.user_profiles.log");
    let found = vec![(log.to_owned(), 1, 0), (notes.to_owned(), 1, 0)];
    assert_eq!(outside(&done), found);
    assert_eq!(outside(&home.json(&["key", "check", "--deep"])), found);

    // in its owner's own row it may be all that is left of a record
    db.exec("UPDATE user_profiles AS t SET notes = 'was ' || s.token || '.' FROM saved AS s WHERE s.user_id = t.user_id AND t.user_id = 'user-2'").await;
    let checked = home.run(&["key", "check", "--deep", "--json"]);
    assert_eq!((checked.code, outside(&checked.json())[1].2), (1, 1), "{checked:?}");
    assert_eq!(checked.json()["findings"][0]["problem"], "outside_layout");
    destroy(&home, &old, &[]).fails(1, &format!("1 in column {notes}"), "--not-evidence TABLE.COLUMN");
    destroy(&home, &old, &["--not-evidence", "user_profiles.note"]).fails(
        1,
        "no column that can hold tokens",
        "TABLE.COLUMN",
    );
    let layout = format!("user_profiles.{KEY}");
    destroy(&home, &old, &["--not-evidence", &layout]).fails(1, "the layout names this column", "");
    assert_eq!(home.json(&["key", "list"])["keys"][0]["state"], "retired");

    let text = destroy(&home, &old, &["--not-evidence", "user_profiles.notes"]).ok().out;
    for part in [
        format!("outside of the layout (every row, 3): 1 token under key {old} in column {log}, 0 in use\n"),
        format!("2 tokens under key {old} in column {notes}, 1 in use, excluded as evidence\n"),
        "out of reach of any count: other schemas and databases; ".to_owned(),
    ] {
        assert!(text.contains(&part), "{text}");
    }
    for user in ["user-1", "user-2", "user-3"] {
        home.run(&["get", "--user", user]).ok();
    }
}

/// All counts have the same members, and so has `status` what it can say without counting.
#[tokio::test]
async fn every_count_says_the_same_of_what_it_did_not_count() {
    let (_db, home, _) = stored().await;
    let elsewhere = TestDb::create().await;
    elsewhere.exec(ALL_COLUMNS).await;
    home.run(&["list", "--database-url", &elsewhere.url]).ok();
    let other = elsewhere.url.rsplit('/').next().unwrap().to_owned();
    let (_, done) = rotated(&home);
    let answers = [
        home.json(&["key", "list"]),
        home.json(&["key", "check"]),
        home.json(&["rotate", "--dry-run"]),
        done,
    ];
    for answer in &answers {
        assert_eq!(answer["not_looked_at"], json!(["column public.user_profiles.full_name"]), "{answer}");
        assert_eq!((&answer["outside"], &answer["outside_rows"]), (&json!([]), &json!(3)), "{answer}");
        let reach = answer["out_of_reach"].as_array().unwrap();
        assert!(reach[0].as_str().unwrap().contains(&other), "{answer}");
        assert!(
            reach.contains(&json!("audit tables")) && reach == answers[0]["out_of_reach"].as_array().unwrap()
        );
    }
    let deep = home.json(&["key", "check", "--deep"]);
    assert_eq!((&deep["not_looked_at"], &deep["outside_every_row"]), (&json!([]), &json!(true)));
    let status = home.json(&["status"]);
    assert_eq!(status["database"]["not_looked_at"], answers[0]["not_looked_at"]);
    assert_eq!(status["out_of_reach"], answers[0]["out_of_reach"]);
    let notes = home.run(&["doctor", "--json"]).json()["notes"].to_string();
    assert!(notes.contains("outside of the layout (a sample of 3 rows): no token"), "{notes}");
    assert!(notes.contains("out of reach of any count: "), "{notes}");
}

/// Ctrl-C while the server works or waits: nothing is destroyed, and no session of it stays.
#[tokio::test]
async fn an_interrupted_destroy_leaves_no_session_behind() {
    let (db, home, old) = stored().await;
    rotated(&home);
    let lock = Lock::by(&db.url, "BEGIN; LOCK TABLE user_profiles IN ACCESS EXCLUSIVE MODE").await;
    let child = home.command(&[&["key", "destroy", &old], &NOW[..]].concat()).spawn().unwrap();
    until_waiting(&db.url, 1).await;
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("error: interrupted\nhint: nothing was destroyed"), "{said}");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until(async || number(&db.url, waiting).await == 0).await;
    lock.release().await;
    assert_eq!(home.json(&["key", "list"])["keys"][0]["state"], "retired");
}

/// `scripts/test --test cli a_million_rows -- --ignored --nocapture`; what it printed is in docs/OPERATIONS.md.
/// `RETELL_VAULT_TEST_ROWS` sets the number of rows.
#[tokio::test]
#[ignore = "makes a table of more than two gigabytes"]
async fn a_million_rows_with_json_beside_are_searched_in_little_memory_and_can_be_interrupted() {
    let rows: u64 = std::env::var("RETELL_VAULT_TEST_ROWS").map_or(1_000_000, |rows| rows.parse().unwrap());
    let (db, home, old) = stored().await;
    db.exec("ALTER TABLE user_profiles ADD history jsonb").await;
    db.exec(&format!(
        "INSERT INTO user_profiles (user_id, full_name, history) SELECT 'many-' || n, 'somebody', (
            SELECT jsonb_object_agg('call_' || k, md5(n || '-' || k) || md5(k || '-' || n)) FROM generate_series(1, 24) AS k)
        FROM generate_series(1, {rows}) AS n"
    ))
    .await;
    db.exec("ANALYZE user_profiles").await;
    rotated(&home);
    let json = number(&db.url, "SELECT avg(octet_length(history::text))::int8 FROM user_profiles").await;
    let size = number(&db.url, "SELECT pg_total_relation_size('user_profiles') / 1000000").await;
    println!("{rows} rows, {json} bytes of JSON each, {size} MB");
    let args = [&["key", "destroy", &old], &NOW[..]].concat();

    // Ctrl-C half-way: nothing is destroyed, and no session of it stays
    let child = home.command(&args).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%json_build_object%' \
        AND pid <> pg_backend_pid()";
    until(async || number(&db.url, sessions).await > 0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    kill_process(pid, Signal::INT).unwrap();
    let said = child.wait_with_output().unwrap();
    let (code, said) = (said.status.code(), String::from_utf8(said.stderr).unwrap());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("error: interrupted\nhint: nothing was destroyed"), "{said}");
    until(async || number(&db.url, sessions).await == 0).await;

    let started = Instant::now();
    let child = home.command(&args).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let (mut most, waiting) = (0, std::thread::spawn(move || child.wait_with_output().unwrap()));
    while !waiting.is_finished() {
        let peak = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = peak
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        most = most.max(peak.unwrap_or(0u64));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (done, seconds) = (waiting.join().unwrap(), started.elapsed().as_secs_f64());
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{said}");
    println!(
        "key destroy: {seconds:.1} s, {most} kB at most; progress told {} times",
        said.matches("progress: ").count()
    );
    assert!(most < 100_000, "{most} kB");
    assert!(seconds < 6.0 || said.matches("progress: ").count() > 0, "{said}");
    let started = Instant::now();
    home.run(&["key", "list"]).ok();
    println!("key list: {:.1} s", started.elapsed().as_secs_f64());
    home.run(&["get", "--user", "user-1"]).ok();
}
