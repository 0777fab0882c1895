//! `put --expect`, `set` and `unset`: what changes, what stays, and what is refused.

use serde_json::{Value, json};

use crate::database::{AWAY, all_columns};
use crate::runner::*;

const USER: [&str; 2] = ["--user", "user-1"];
const UNSET: [&str; 3] = ["unset", "--user", "user-1"];

fn get(home: &Home) -> Value {
    home.json(&["get", "--user", "user-1", "--reveal"])
}

fn version(home: &Home) -> String {
    get(home)["version"].as_str().unwrap().to_owned()
}

fn unset(home: &Home, field: &str) -> Ran {
    home.run(&[&UNSET[..], &[field]].concat())
}

fn put_expecting(home: &Home, expected: &str) -> Ran {
    home.put(&["--user", "user-1", "--json", "--expect", expected], SMALL)
}

/// The same over a database and over a local file alone.
fn a_store_is_done_only_over_what_is_expected(home: &Home) {
    let never = "0000000000000001";
    put_expecting(home, never).fails(
        4,
        "there is no record of version 0000000000000001",
        "`retell-vault get`",
    );
    home.run(&["get", "--user", "user-1"]).fails(3, "no configuration", "");

    let first = put_expecting(home, "absent").ok().json()["version"].as_str().unwrap().to_owned();
    assert_eq!(version(home), first);
    put_expecting(home, "absent").fails(4, &format!("a record already exists, with version {first}"), "get");
    assert_eq!(version(home), first);

    let second = put_expecting(home, &first).ok().json()["version"].as_str().unwrap().to_owned();
    let refused = put_expecting(home, &first);
    refused.fails(4, &format!("the record now has version {second}, not {first}"), "its version");
    assert_eq!(version(home), second);

    let deleted = home.json(&["delete", "--user", "user-1"])["version"].as_str().unwrap().to_owned();
    for gone in [&second, &deleted] {
        put_expecting(home, gone).fails(4, &format!("there is no record of version {gone}"), "get");
    }
    let third = put_expecting(home, "absent").ok().json()["version"].as_str().unwrap().to_owned();
    assert!(third > deleted);

    // what `set` and `unset` print is what can be expected next
    let set = home.set("webhook_key", "whsec_test_canary_4711\n").ok().out;
    let printed = set.strip_prefix("set webhook_key of user-1, version ").unwrap().trim_end();
    assert_eq!(printed, version(home));
    put_expecting(home, printed).ok();
    let unset = home.json(&[&UNSET[..], &["phone_number"]].concat());
    put_expecting(home, unset["version"].as_str().unwrap()).ok();
}

#[tokio::test]
async fn expectations_over_a_database() {
    let (_db, home) = all_columns().await;
    a_store_is_done_only_over_what_is_expected(&home);
}

#[test]
fn expectations_without_a_database() {
    a_store_is_done_only_over_what_is_expected(&Home::new());
}

#[tokio::test]
async fn every_field_is_set_and_unset_and_the_others_stay() {
    let (_db, home) = all_columns().await;
    home.put(&USER, FULL).ok();
    let mut expected: Value = serde_json::from_str(FULL).unwrap();
    let texts = [
        ("api_key", "key_test_changed", "api_key"),
        ("call_agent_id", "agent_test_changed", "call_agent_id"),
        ("sms_agent_id", "agent_test_changed_sms", "sms_agent_id"),
        ("webhook_key", "whsec_test_changed", "webhook_key"),
        ("phone_number", "+14155550199", "phone_number"),
        ("integration_status", "disabled", "integration_status"),
    ];
    for ((field, value, member), end) in texts.into_iter().zip(["\n", "", "\r\n"].into_iter().cycle()) {
        home.set(field, format!("{value}{end}")).ok();
        expected[member] = json!(value);
        assert_eq!(get(&home)["config"], expected, "{field}");
    }
    home.set("inbound_agent_id", "agent_test_inbound").ok();
    expected["agents"] = json!({ "inbound": "agent_test_inbound" });
    home.set("webhook_config", "\n{\"webhook_url\": \"https://example.com/other\"}\n").ok();
    expected["webhook_config"] = json!({ "webhook_url": "https://example.com/other", "events": [] });
    assert_eq!(get(&home)["config"], expected);

    let fields =
        ["inbound_agent_id", "webhook_config"].into_iter().chain(texts[1..].iter().map(|text| text.0));
    for field in fields {
        assert_eq!(unset(&home, field).ok().err, "", "{field}");
        let member = if field == "inbound_agent_id" { "agents" } else { field };
        expected.as_object_mut().unwrap().remove(member).unwrap();
        assert_eq!(get(&home)["config"], expected, "{field}");
    }
    assert_eq!(expected, json!({ "api_key": "key_test_changed" }));
}

#[tokio::test]
async fn the_answer_in_json_is_that_of_put() {
    let (_db, home) = all_columns().await;
    home.put(&USER, SMALL).ok();
    let set = home.run_with(&["set", "--user", "user-1", "phone_number", "--json"], &[], "+14155550100\n");
    let set = set.ok().json();
    let phone = json!({ "place": "column", "column": "phone_number" });
    let key = json!({ "place": "column", "column": "encrypted_retell_api_key" });
    let stored = json!({ "api_key": key, "phone_number": phone });
    let version = version(&home);
    assert_eq!(
        set,
        json!({ "stored": stored, "degraded": false, "cause": null, "reason": null, "version": version, "rows": 1 })
    );
}

#[tokio::test]
async fn what_another_program_put_into_a_column_stays() {
    let (db, home) = all_columns().await;
    home.put(&USER, FULL).ok();
    db.exec("UPDATE user_profiles SET phone_number = '+14155550111'").await;
    home.set("integration_status", "error").ok();
    let loaded = get(&home);
    assert_eq!(loaded["config"]["phone_number"], "+14155550111");
    assert_eq!(loaded["changed_outside"], json!(["phone_number"]));
    assert_eq!(loaded["config"]["integration_status"], "error");
}

#[tokio::test]
async fn changes_at_the_same_time_all_stay() {
    let (_db, home) = all_columns().await;
    home.put(&USER, SMALL).ok();
    let roles: Vec<String> = (0..6).map(|number| format!("role{number}")).collect();
    std::thread::scope(|scope| {
        for role in &roles {
            let home = &home;
            scope.spawn(move || home.set(&format!("{role}_agent_id"), format!("agent_{role}")).ok());
        }
    });
    let agents: Value = roles.iter().map(|role| (role.clone(), json!(format!("agent_{role}")))).collect();
    assert_eq!(get(&home)["config"]["agents"], agents);
}

#[tokio::test]
async fn nothing_is_kept_in_the_local_file_during_an_outage() {
    let (db, mut home) = all_columns().await;
    home.put(&USER, FULL).ok();
    let before = version(&home);
    home.database = AWAY.to_owned();
    let up = "check that the database is up";
    home.set("api_key", "key_test_changed").fails(1, "cannot be reached", up);
    unset(&home, "phone_number").fails(1, "cannot be reached", up);
    put_expecting(&home, &before).fails(1, "cannot be reached", up);
    assert_eq!(home.json(&["status"])["local"]["pending"], 0);
    home.database = db.url.clone();
    assert_eq!(version(&home), before);
}

#[tokio::test]
async fn what_waits_in_the_local_file_is_changed_and_not_lost() {
    let (db, mut home) = all_columns().await;
    home.put(&USER, FULL).ok();
    home.database = AWAY.to_owned();
    let waiting = home.put(&[&USER[..], &["--json"]].concat(), SMALL).ok().json();
    home.database = db.url.clone();
    put_expecting(&home, "absent").fails(4, waiting["version"].as_str().unwrap(), "get");
    home.set("phone_number", "+14155550100").ok();
    let config = json!({ "api_key": SECRETS[0], "phone_number": "+14155550100" });
    let loaded = get(&home);
    assert_eq!((&loaded["config"], &loaded["source"]), (&config, &json!("database")));
    assert_eq!(home.json(&["status"])["local"]["pending"], 0);
}

#[test]
fn without_a_record_nothing_is_set() {
    let home = Home::new();
    for _ in 0..2 {
        home.set("api_key", SECRETS[0]).fails(3, "no configuration is stored", "`retell-vault put`");
        unset(&home, "api_key").fails(3, "no configuration is stored", "`retell-vault put`");
        // the second time over a tombstone
        home.put(&USER, SMALL).ok();
        home.run(&["delete", "--user", "user-1"]).ok();
    }
}

#[test]
fn the_last_secret_stays_and_what_is_not_set_is_told() {
    let home = Home::new();
    home.put(&USER, SMALL).ok();
    let before = version(&home);
    unset(&home, "api_key").fails(1, "no secret field is set", "to remove a record, delete it");
    assert_eq!(version(&home), before);
    unset(&home, "phone_number").ok().warns("phone_number was not set");
    assert_eq!(get(&home)["config"], json!({ "api_key": SECRETS[0] }));
}

#[test]
fn bad_values_are_refused_without_being_repeated_and_change_nothing() {
    let home = Home::new();
    home.put(&USER, FULL).ok();
    let before = version(&home);
    let (long, longer) = ("k".repeat(257), "k".repeat(257 * 1024));
    let with_user = br#"{"webhook_url":"https://user:hunter2@example.com/"}"#;
    let with_secret = br#"{"webhook_url":"https://example.com/","secret":"hunter2"}"#;
    let bad: [(&str, &[u8], &str, &str); 21] = [
        ("api_key", b"", "the value is empty", "unset"),
        ("api_key", b"\n", "the value is empty", "unset"),
        ("api_key", b"hunter2\xff", "not UTF-8", "standard input"),
        ("api_key", b"hunter2\nhunter2\n", "api_key: must be 1 to 256", ""),
        ("api_key", b" hunter2", "api_key: must be 1 to 256", ""),
        ("api_key", b"hunter2\0", "api_key: must be 1 to 256", ""),
        ("api_key", b"\"hunter2\"", "api_key: the value is JSON", "jq -r"),
        ("api_key", br#"{"api_key":"hunter2"}"#, "api_key: the value is JSON", "jq -r"),
        ("api_key", long.as_bytes(), "api_key: must be 1 to 256", ""),
        ("api_key", longer.as_bytes(), "the value is longer than 256 KiB", ""),
        ("webhook_key", long.as_bytes(), "webhook_key: must be 1 to 256", ""),
        ("inbound_agent_id", b"hunter2!", "inbound_agent_id: must be 1 to 64", ""),
        ("phone_number", b"hunter2", "phone_number: must start with +", "E.164"),
        ("integration_status", b"hunter2", "must be one of not_configured", ""),
        ("webhook_config", b"hunter2", "webhook_config is not JSON", "webhook_url"),
        ("webhook_config", b"\"https://hunter2\"", "webhook_config: must be an object", "webhook_url"),
        ("webhook_config", b"null", "webhook_url is missing", "webhook_url"),
        ("webhook_config", b"{", "webhook_config is not complete JSON", "webhook_url"),
        ("webhook_config", with_user, "webhook_url: must not hold a user name", ""),
        ("webhook_config", with_secret, "secret: has its own field", "webhook_key"),
        ("webhook_config", br#"{"webhook_url":"https://example.com/","x":1}"#, "unknown field `x`", ""),
    ];
    for (field, value, error, hint) in bad {
        home.set(field, value).fails(1, error, hint);
    }
    assert_eq!(version(&home), before);
}

#[test]
fn wrong_usage_of_set_and_unset_repeats_no_secret_and_lists_the_fields() {
    let home = Home::new();
    home.put(&USER, SMALL).ok();
    let before = version(&home);
    // not even the name of an unknown field is repeated
    for field in [
        "key_test_canary_4711",
        "api_key=hunter2",
        "hunter2_agent_id2",
        "voice_token",
        "_agent_id",
        "API_KEY",
        "",
    ] {
        home.set(field, "hunter2").fails(2, "unknown field", "the fields are api_key, call_agent_id");
        let unset = unset(&home, field);
        unset.fails(2, "unknown field", "webhook_config, integration_status");
        assert!(field.is_empty() || !unset.err.contains(&format!("{field} ")), "{unset:?}");
    }
    let usage: [&[&str]; 8] = [
        &["set"],
        &["set", "--user", "user-1"],
        &["set", "api_key"],
        &["set", "--user", "user-1", "api_key", "key_test_canary_4711"],
        &["set", "api_key", "key_test_canary_4711"],
        &["set", "--user", "user-1", "--api-key", "key_test_canary_4711"],
        &["set", "--user", "user-1", "api_key", "--value=key_test_canary_4711"],
        &["unset", "--user", "user-1"],
    ];
    let expectations = ["", "Absent", "1", "key_test_canary_4711", "01A217E67F43119D", "01a217e67f43119d0"];
    let expectations = expectations.map(|expected| ["put", "--user", "user-1", "--expect", expected]);
    for args in usage.into_iter().chain(expectations.iter().map(|args| &args[..])) {
        let ran = home.run_with(args, &[], SMALL);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?} {ran:?}");
        assert!(ran.err.starts_with("error: "), "{ran:?}");
        assert!(!args.contains(&"--expect") || !ran.err.contains("key_test"), "{ran:?}");
    }
    assert_eq!(version(&home), before);
}

#[tokio::test]
async fn a_record_of_another_owner_is_overwritten_only_when_asked() {
    let (db, home) = all_columns().await;
    home.put(&USER, FULL).ok();
    let copy = "INSERT INTO user_profiles (user_id, encrypted_retell_api_key, encrypted_call_agent_id,
        encrypted_sms_agent_id, encrypted_agent_config) SELECT 'user-2', encrypted_retell_api_key,
        encrypted_call_agent_id, encrypted_sms_agent_id, encrypted_agent_config FROM user_profiles";
    db.exec(copy).await;
    let user = ["--user", "user-2"];
    let refused = home.put(&user, SMALL);
    refused.fails(1, "does not open, so it was not overwritten", "`put --replace-unreadable`");
    let expecting = home.put(&[&user[..], &["--expect", "absent"]].concat(), SMALL);
    expecting.fails(1, "does not open", "`put --replace-unreadable`");
    home.run_with(&["set", "--user", "user-2", "api_key"], &[], "key_test_changed").fails(
        1,
        "did not open",
        "",
    );

    let replaced = home.put(&[&user[..], &["--replace-unreadable"]].concat(), SMALL).ok();
    replaced.warns("overwritten: a stored value did not open");
    home.run(&["get", "--user", "user-2"]).ok();
    assert_eq!(home.json(&["status"])["kept"][0]["why"], "replaced");
}

#[tokio::test]
async fn a_record_moves_to_another_id() {
    let (db, home) = all_columns().await;
    home.put(&USER, FULL).ok();
    home.put(&["--user", "user-2"], SMALL).ok();
    let to = |from: &str, to: &str| home.run(&["move", "--from", from, "--to", to]);
    to("user-1", "user-2").fails(4, "user-2 already has a record", "retell-vault get");
    to("absent", "user-3").fails(3, "no configuration", "");
    assert_eq!(home.run(&["move", "--from", "user-1"]).code, 2);
    let moved = to("user-1", "user-3").ok();
    assert!(moved.out.starts_with("moved user-1 to user-3\n"), "{moved:?}");
    home.run(&["get", "--user", "user-1"]).fails(3, "", "");
    assert_eq!(
        home.json(&["get", "--user", "user-3", "--reveal"])["config"]["api_key"],
        "key_test_canary_4711"
    );

    db.exec("UPDATE user_profiles SET user_id = 'user-4' WHERE user_id = 'user-3'").await;
    home.put(&["--user", "user-4"], SMALL).fails(1, "does not open", "move --from");
    let moved = home.json(&["move", "--from", "user-3", "--to", "user-4"]);
    assert_eq!(
        (moved["rows"].clone(), moved["stored"]["api_key"]["place"].clone()),
        (json!(1), json!("column"))
    );
    home.run(&["get", "--user", "user-4"]).ok();
    Home::empty().run(&["move", "--from", "a", "--to", "b"]).fails(
        2,
        "moving a record needs a database",
        "DATABASE_URL",
    );
}
