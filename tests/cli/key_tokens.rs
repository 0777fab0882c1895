//! `key list`, `key check` and `key destroy`: keys and the tokens that name them.

use serde_json::{Value, json};

use crate::runner::*;
use crate::support::TestDb;
use crate::support::vaults::ALL_COLUMNS;

const USER: [&str; 2] = ["--user", "user-1"];

async fn stored() -> (TestDb, Home) {
    let db = TestDb::create().await;
    db.exec(ALL_COLUMNS).await;
    let home = Home::over(&db.url);
    home.put(&USER, FULL).ok();
    (db, home)
}

fn key(home: &Home, at: usize) -> Value {
    home.json(&["key", "list"])["keys"][at].clone()
}

/// What every count says of what it did not count.
fn beside(sample: &str) -> String {
    format!(
        "not searched beyond a sample of {sample}, because the layout does not name it: column public.user_profiles.full_name\n\
         out of reach of any count: other schemas and databases; materialised views with other names; audit tables; \
         dumps, replicas and the WAL; text that is encoded, compressed or encrypted again; column defaults; local files \
         of other hosts\n"
    )
}

fn id(key: &Value) -> &str {
    key["id"].as_str().unwrap()
}

fn problems(home: &Home) -> Vec<(String, Value, u64)> {
    let ran = home.run(&["key", "check", "--json"]);
    let checked = ran.json();
    assert_eq!(
        (ran.code == 0, ran.err.is_empty()),
        (checked["ok"] == true, checked["ok"] == true),
        "{ran:?}"
    );
    let finding = |finding: &Value| {
        assert!(finding["text"].is_string() && finding["advice"].as_str().unwrap().len() > 10);
        let problem = finding["problem"].as_str().unwrap().to_owned();
        (problem, finding["key"].clone(), finding["tokens"].as_u64().unwrap())
    };
    checked["findings"].as_array().unwrap().iter().map(finding).collect()
}

#[tokio::test]
async fn keys_are_listed_with_their_tokens() {
    let (db, mut home) = stored().await;
    let first = key(&home, 0);
    assert_eq!((&first["state"], &first["tokens"]), (&json!("primary"), &json!(5)));
    assert!(first["created_at"].is_u64() && first["state_since"].is_u64());
    db.exec(
        "INSERT INTO user_profiles (user_id, encrypted_retell_api_key)
        VALUES ('other', 'rv1.0123abcd.0190000000000000.api_key.AAAA')",
    )
    .await;
    let unknown = key(&home, 1);
    assert_eq!(
        (id(&unknown), &unknown["state"], &unknown["tokens"]),
        ("0123abcd", &json!("unknown"), &json!(1))
    );
    let text = home.run(&["key", "list"]).ok().out;
    assert!(text.starts_with("key       state    created"), "{text}");
    assert!(text.contains(&format!("{}  primary  20", id(&first))), "{text}");
    let last =
        format!("0123abcd  unknown  -                     -                     1\n{}", beside("2 rows"));
    assert!(text.ends_with(&last), "{text}");
    let listed = home.json(&["key", "list"]);
    assert_eq!(listed["not_looked_at"], json!(["column public.user_profiles.full_name"]));

    home.database = "postgres://user:hunter2@127.0.0.1:1/app".to_owned();
    let away = home.run(&["key", "list"]).ok();
    away.warns("tokens could not be counted: the database cannot be reached");
    assert!(away.out.contains("Z  unknown\n"), "{away:?}");
    assert_eq!(home.json(&["key", "list"])["keys"][0]["tokens"], Value::Null);
    assert_eq!(home.json(&["key", "list"])["not_looked_at"], Value::Null);
    home.run(&["key", "check"]).fails(1, "cannot be reached", "check that the database is up");
}

#[tokio::test]
async fn a_check_finds_what_is_wrong_and_says_what_to_do() {
    let (db, home) = stored().await;
    let checked = home.run(&["key", "check"]).ok();
    assert_eq!(
        (checked.out.as_str(), checked.err.as_str()),
        (format!("1 key, 5 tokens\nno problems found in the layout\n{}", beside("1 row")).as_str(), "")
    );

    let new = home.json(&["key", "add"])["key"]["id"].as_str().unwrap().to_owned();
    assert_eq!(problems(&home), [("pending_key".to_owned(), json!(new), 0)]);
    home.run(&["key", "promote", &new]).ok();
    let old = key(&home, 0);
    assert_eq!(problems(&home), [("retired_key".to_owned(), old["id"].clone(), 5)]);
    home.run(&["rotate"]).ok();
    assert_eq!(problems(&home), []);

    db.exec(
        "INSERT INTO user_profiles (user_id, encrypted_retell_api_key)
        VALUES ('a', 'rv1.0123abcd.0190000000000000.api_key.AAAA'), ('b', 'key_test_canary_4711')",
    )
    .await;
    let expected =
        [("unknown_key".to_owned(), json!("0123abcd"), 1), ("no_token".to_owned(), Value::Null, 1)];
    assert_eq!(problems(&home), expected);
    let checked = home.run(&["key", "check"]);
    assert_eq!(checked.code, 1);
    for part in
        ["problem: 1 token under key 0123abcd, which the keyring", "find a copy", "problem: 1 piece of text"]
    {
        assert!(checked.out.contains(part), "{checked:?}");
    }
    assert!(checked.err.starts_with("error: 2 problems found\n"), "{checked:?}");
}

#[tokio::test]
async fn a_key_is_destroyed_only_when_nothing_names_it_and_for_good() {
    let (db, home) = stored().await;
    let old = id(&key(&home, 0)).to_owned();
    let destroy = |more: &[&str]| home.run(&[&["key", "destroy", &old], more].concat());
    let all = ["--force", "--other-hosts-synced"];
    destroy(&all).fails(1, "is the primary key", "promote");
    let new = home.json(&["key", "add"])["key"]["id"].as_str().unwrap().to_owned();
    home.run(&["key", "promote", &new]).ok();
    destroy(&all).fails(1, "5 tokens still name", "");
    home.run(&["rotate"]).ok();
    destroy(&["--other-hosts-synced"]).fails(1, "has not been retired for 24 hours", "");
    destroy(&["--force"]).fails(1, "other hosts", "--other-hosts-synced");
    assert_eq!(key(&home, 0)["state"], "retired");

    let destroyed = destroy(&all).ok();
    assert!(destroyed.out.contains("this cannot be undone"), "{destroyed:?}");
    assert!(destroyed.err.contains("copies and backups of the keyring file still hold"), "{destroyed:?}");
    assert!(destroyed.err.contains("database backup from"), "{destroyed:?}");
    assert_eq!(home.json(&[&["key", "destroy", &old], &all[..]].concat())["key"]["state"], "destroyed");
    home.run(&["get", "--user", "user-1"]).ok();
    assert_eq!(problems(&home), []);

    // as from a backup of the database
    db.exec(&format!(
        "UPDATE user_profiles SET encrypted_retell_api_key = overlay(encrypted_retell_api_key placing '{old}' from 5 for 8)"
    ))
    .await;
    assert_eq!(problems(&home), [("destroyed_key".to_owned(), json!(old), 1)]);
}

#[test]
fn without_a_database_a_key_is_destroyed_after_a_rotation() {
    let home = Home::new();
    home.put(&USER, FULL).ok();
    home.run(&["rotate", "--new-key"]).ok();
    let old = id(&key(&home, 0)).to_owned();
    home.run(&["key", "destroy", &old[..8], "--force"]).ok();
    assert_eq!(key(&home, 0)["state"], "destroyed");
    home.run(&["get", "--user", "user-1"]).ok();
    for wrong in [&["key", "destroy"][..], &["key", "list", "x"], &["key", "check", "--force"]] {
        assert_eq!(home.run(wrong).code, 2);
    }
    assert!(home.run(&["key", "destroy", "--help"]).ok().out.contains("cannot be undone"));
}
