//! Detection in a large database: its time is limited, its memory does not grow with the rows, and what it left out is said.
//!
//! `scripts/test --test detect large:: -- --ignored --nocapture` makes 2,000 tables and 10,000,000 rows.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use retell_vault::Layout;
use retell_vault::schema::{DetectOptions, Holding};
use serde_json::Value;

use crate::support::*;

/// A table with a key in few of many rows, and others with 20 columns.
async fn database(tables: usize, rows: usize) -> TestDb {
    let db = TestDb::create().await;
    let columns: Vec<String> = (0..18).map(|at| format!("value_{at} text")).collect();
    let some = |range: std::ops::Range<usize>| -> String {
        let table = |at| {
            format!(
                "CREATE TABLE things_{at} (id bigint PRIMARY KEY, config jsonb, {columns});
                 INSERT INTO things_{at} (id, value_1) VALUES (1, 'some text of a thing');",
                columns = columns.join(", ")
            )
        };
        range.map(table).collect()
    };
    for start in (0..tables).step_by(100) {
        db.exec(&some(start..(start + 100).min(tables))).await;
    }
    db.exec(&format!(
        "CREATE TABLE accounts (id bigint PRIMARY KEY, name text, retell_api_key text, retell_agent_id text, notes text);
         INSERT INTO accounts SELECT n, 'account ' || n, CASE WHEN n % 1000 = 999 THEN 'key_test_of_account_' || n END, NULL,
         repeat('a note ', 10) FROM generate_series(1, {rows}) AS n;
         ANALYZE accounts"
    ))
    .await;
    db
}

/// Runs the command, and returns its result, its time and its largest memory in KiB.
fn detect(db: &TestDb) -> (Value, Duration, u64) {
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_retell-vault"))
        .args(["layout", "detect", "--json"])
        .env("DATABASE_URL", &db.url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (status, mut most) = (format!("/proc/{}/status", child.id()), 0);
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        most = peak.and_then(|peak| peak.trim().parse().ok()).unwrap_or(most);
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    (serde_json::from_slice(&output.stdout).unwrap(), started.elapsed(), most)
}

/// The table is found, with its key in one row of a thousand.
async fn finds(tables: usize, rows: usize) {
    let small = database(10, 2_000).await;
    let large = database(tables, rows).await;
    let ((_, _, before), (found, time, after)) = (detect(&small), detect(&large));
    println!("{tables} tables, {rows} rows: {time:?}, {after} KiB; of a small database {before} KiB");
    assert_eq!(found["chosen"], 0, "{found}");
    assert_eq!(found["candidates"][0]["table"], "public.accounts");
    assert_eq!(found["candidates"][0]["columns"]["api_key"], "retell_api_key");
    assert_eq!(found["candidates"][0]["holds"], "plaintext");
    assert!(after < before * 3 + 32 * 1024, "the memory grows with the database: {before} KiB, {after} KiB");
}

#[tokio::test]
async fn a_slice() {
    finds(120, 100_000).await;
}

#[tokio::test]
#[ignore = "takes minutes to make the database"]
async fn two_thousand_tables_and_ten_million_rows() {
    finds(1_999, 10_000_000).await;
}

/// More tables than are looked at: those whose names promise least are left out, and counted.
#[tokio::test]
#[ignore = "makes 2,500 tables"]
async fn what_is_left_out_is_counted() {
    let db = database(2_500, 10_000).await;
    let found = Layout::detect(&db.url, &DetectOptions::new()).await.unwrap();
    assert_eq!(found.candidates[0].holds, Holding::Plaintext);
    assert!(found.left_out.iter().any(|what| what.starts_with("501 tables")), "{:?}", found.left_out);
}
