//! SIGKILL while an import runs: an old value is there, or its record opens and the report names it.
//!
//! `RETELL_VAULT_TEST_KILLS=100` runs a longer campaign.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use rand::RngExt;
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use super::support::RECORDS;
use crate::runner::Home;
use crate::support::TestDb;
use crate::support::vaults::*;

const LAYOUT: &str = r#"
[table]
name = "records"
[[source]]
table = "old"
user = "user_id"
column = "key"
field = "api_key"
decryptor = "plaintext"
"#;
/// Fresh rows for each kill.
const ROWS: usize = 300;

#[tokio::test]
async fn a_killed_import_loses_nothing_and_the_same_command_ends_it() {
    let kills: usize = env::var("RETELL_VAULT_TEST_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let db = TestDb::create().await;
    db.exec(RECORDS).await;
    db.exec("CREATE TABLE old (user_id text PRIMARY KEY, key text)").await;
    let home = Home::over(&db.url);
    fs::write(home.path().join("layout.toml"), LAYOUT).unwrap();
    let report = home.path().join("import.jsonl");
    let run = ["import", "run", "--clear-source", "--json", "--report", report.to_str().unwrap()];
    let mut killed_within = 0;
    for round in 0..kills {
        let (first, last) = (round * ROWS, (round + 1) * ROWS - 1);
        db.exec(&format!(
            "INSERT INTO old SELECT 'user-' || n, 'key_test_' || n FROM generate_series({first}, {last}) n"
        ))
        .await;
        // small batches, so that a kill finds some done and some not
        let mut child = home.command(&[&run[..], &["--rate", "1000"]].concat());
        let mut child = child.stderr(Stdio::null()).spawn().unwrap();
        if round % 4 > 0 {
            // the first batch is done
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..250))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        killed_within += usize::from(check(&db, &home).await);
    }
    assert!(killed_within > 0, "no kill was in the midst of an import");
    home.run(&run).ok();
    assert!(!check(&db, &home).await);
    let again = home.run(&run).ok();
    let end: Value = serde_json::from_str(again.out.lines().last().unwrap()).unwrap();
    assert_eq!((&end["sealed"], &end["cleared"], &end["already"]), (&0.into(), &0.into(), &0.into()));
}

/// Whether some old values are cleared and some not. Each one that is cleared is in the report, and its record opens.
async fn check(db: &TestDb, home: &Home) -> bool {
    let mut connection = PgConnection::connect(&db.url).await.unwrap();
    let rows = sqlx::query_as::<_, (String, Option<String>)>("SELECT user_id, key FROM old");
    let (left, cleared): (Vec<_>, Vec<_>) =
        rows.fetch_all(&mut connection).await.unwrap().into_iter().partition(|(_, key)| key.is_some());
    let report = fs::read_to_string(home.path().join("import.jsonl")).unwrap_or_default();
    // a line that was being written may be cut off
    let lines = report.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let reported: HashSet<String> = lines
        .filter(|line| line["event"] == "clearing")
        .map(|line| line["user"].as_str().unwrap().to_owned())
        .collect();
    let keyring = open_keyring(home.path().join("keyring.json"));
    let layout = retell_vault::Layout::from_toml(LAYOUT).unwrap();
    let vault = retell_vault::Vault::builder(keyring).postgres(&db.url).layout(layout).build().await.unwrap();
    let owners: Vec<_> = cleared.iter().map(|(user, _)| owner(user)).collect();
    for part in owners.chunks(1_000) {
        for (owner, loaded) in part.iter().zip(vault.load_many(part).await) {
            let user = owner.user_id().as_str();
            assert_eq!(super::support::key(&loaded.unwrap().config), format!("key_test_{}", &user[5..]));
            assert!(reported.contains(user), "{user} was cleared and is not in the report");
        }
    }
    for (user, key) in &left {
        assert_eq!(key.as_deref(), Some(format!("key_test_{}", &user[5..]).as_str()));
    }
    vault.close().await;
    !left.is_empty() && !cleared.is_empty()
}
