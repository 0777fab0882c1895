//! The command as a stranger uses it: what it prints, what it refuses, and how it exits.
#![cfg(feature = "cli")]

mod change;
mod database;
mod detect;
mod doctor;
mod evidence;
mod find;
mod fixes;
mod import;
mod key_tokens;
mod keyring;
mod keys;
mod layout;
mod ledger;
mod ledger_entries;
mod manual;
mod others_code;
mod refusals;
mod rotation;
mod runner;
mod schema;
#[path = "../support/mod.rs"]
mod support;
mod webhook;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use runner::*;
use serde_json::{Value, json};

#[test]
fn a_first_day_without_a_database() {
    let home = Home::empty();
    let made = home.run(&["init"]).ok();
    assert!(made.out.starts_with("created ") && made.out.contains("keyring.json with key "), "{}", made.out);
    assert!(made.err.starts_with("hint: back up the keyring"), "{}", made.err);
    assert_eq!(home.run(&["list"]).ok().out, "no records\n");

    let stored = home.put(&["--user", "user-1"], FULL).ok();
    assert_eq!(stored.lines().count(), 8, "{}", stored.out);
    assert!(stored.out.contains("api_key             local  "), "{}", stored.out);
    assert_eq!(stored.err, "");

    let masked = home.run(&["get", "--user", "user-1"]).ok();
    assert!(masked.out.contains("api_key             key_…4711\n"), "{}", masked.out);
    assert!(masked.out.contains("webhook_events      call_ended, from_the_future\n"), "{}", masked.out);
    assert!(masked.out.ends_with("source              local\n"), "{}", masked.out);
    let revealed = home.run(&["get", "--user", "user-1", "--reveal"]).ok();
    for secret in SECRETS {
        assert!(revealed.out.contains(secret));
    }

    assert!(home.run(&["list"]).ok().out.starts_with("user-1  "));
    assert_eq!(home.run(&["delete", "--user", "user-1"]).ok().out, "deleted user-1\n");
    home.run(&["get", "--user", "user-1"]).fails(3, "no configuration is stored", "check the user id");
    home.run(&["delete", "--user", "user-1"]).fails(3, "no configuration is stored", "check the user id");
    assert!(home.run(&["list"]).ok().out.ends_with("local  deleted\n"));
    let forgotten = home.run(&["forget", "--user", "user-1"]).ok().out;
    assert_eq!(forgotten, "erased user-1 from the local file: 1 pending, 0 copies, 0 kept aside\n");
    assert_eq!(home.run(&["list"]).ok().out, "no records\n");
}

#[test]
fn the_same_in_json() {
    let home = Home::empty();
    let made = home.json(&["init"]);
    assert_eq!(made["key"].as_str().unwrap().len(), 8);
    assert!(fs::exists(made["keyring"].as_str().unwrap()).unwrap());

    let stored = home.put(&["--user", "user-1", "--json"], FULL).ok().json();
    let local = json!({ "place": "local", "column": null });
    assert_eq!(stored["stored"]["api_key"], local);
    assert_eq!(stored["stored"].as_object().unwrap().len(), 7);
    assert_eq!((&stored["degraded"], &stored["reason"]), (&json!(false), &Value::Null));
    let version = &stored["version"];
    assert_eq!(version.as_str().unwrap().len(), 16);

    let loaded = home.json(&["get", "--user", "user-1"]);
    assert_eq!(loaded["config"]["api_key"], "key_…4711");
    assert_eq!(loaded["config"]["webhook_key"], "whsec_…4711");
    assert_eq!(
        (&loaded["source"], &loaded["stale"], &loaded["version"]),
        (&json!("local"), &json!(false), version)
    );
    let revealed = home.json(&["get", "--user", "user-1", "--reveal"]);
    assert_eq!(revealed["config"], serde_json::from_str::<Value>(FULL).unwrap());

    let listed = home.json(&["list"]);
    let entry = json!({ "user": "user-1", "tenant": null, "version": version, "place": "local",
        "state": "readable", "problem": null });
    assert_eq!(
        listed,
        json!({ "owners": [entry], "more": false, "next": null, "complete": true,
        "hidden": null })
    );

    let deleted = home.json(&["delete", "--user", "user-1"]);
    assert_eq!(deleted["deleted"], true);
    assert!(deleted["version"].as_str() > version.as_str());
    let failed = home.run(&["get", "--user", "user-1", "--json"]);
    failed.fails(3, "no configuration is stored", "check the user id");
    assert_eq!(home.json(&["list"])["owners"][0]["state"], "deleted");
    assert_eq!(home.json(&["forget", "--user", "user-1"]), json!({ "pending": 1, "replicas": 0, "kept": 0 }));
}

#[test]
fn status_without_a_database() {
    let home = Home::new();
    home.put(&["--user", "user-1"], SMALL).ok();
    let status = home.json(&["status"]);
    assert_eq!((&status["database"], &status["kept"]), (&Value::Null, &json!([])));
    assert_eq!(status["writes"]["api_key"]["place"], "local");
    assert_eq!(status["local"]["pending"], 1);
    assert_eq!(status["local"]["set_aside"], json!([]));
    assert_eq!(status["keys"][0]["state"], "primary");
    let text = home.run(&["status"]).ok().out;
    assert!(text.starts_with("database  none"), "{text}");
    assert!(text.contains("records       1\n") && text.contains("  primary  since 20"), "{text}");
}

#[test]
fn a_damaged_local_file_is_set_aside_and_said_so_until_it_is_gone() {
    let home = Home::new();
    home.put(&["--user", "user-1"], SMALL).ok();
    let path = home.path().join("local.db");
    let length = fs::metadata(&path).unwrap().len();
    fs::write(&path, vec![0x5a; length as usize]).unwrap();
    home.run(&["list"]).fails(1, "it was set aside as", ".recover");
    assert_eq!(home.run(&["list"]).ok().out, "no records\n");
    assert_eq!(home.json(&["status"])["local"]["set_aside"].as_array().unwrap().len(), 1);
    assert!(home.run(&["status"]).ok().out.contains("set aside     "));
}

#[test]
fn the_configuration_comes_from_a_file_or_standard_input() {
    let home = Home::new();
    let file = home.path().join("config.json");
    fs::write(&file, FULL).unwrap();
    let file = file.to_str().unwrap();
    home.run(&["put", "--user", "user-1", "--file", file]).ok();
    home.put(&["--user", "user-2", "--file", "-"], FULL).ok();
    home.put(&["--user", "user-3"], &format!("\n  {FULL}\n\n")).ok();
    for user in ["user-1", "user-2", "user-3"] {
        assert_eq!(home.json(&["get", "--user", user])["config"]["phone_number"], "+14155550100");
    }
    // a store replaces the whole configuration
    home.put(&["--user", "user-1"], SMALL).ok();
    assert_eq!(home.json(&["get", "--user", "user-1"])["config"], json!({ "api_key": "key_…4711" }));
}

#[test]
fn lists_come_in_pages_and_say_how_to_go_on() {
    let home = Home::new();
    for (tenant, user) in [("acme", "o'neil"), ("acme", "user-2"), ("zoo", "user-1")] {
        home.put(&["--user", user, "--tenant", tenant], SMALL).ok();
    }
    let first = home.run(&["list", "--limit", "1"]).ok();
    assert_eq!(first.err, "hint: there may be more: add --after 'o'\\''neil' --after-tenant acme\n");
    assert_eq!(first.lines().count(), 1);
    let first = home.json(&["list", "--limit", "1"]);
    assert_eq!(first["next"], json!({ "after_user": "o'neil", "after_tenant": "acme" }));
    let rest = home.json(&["list", "--after", "o'neil", "--after-tenant", "acme"]);
    let users: Vec<_> = rest["owners"].as_array().unwrap().iter().map(|owner| &owner["user"]).collect();
    assert_eq!(users, ["user-2", "user-1"]);
    assert_eq!(rest["more"], false);
}

#[test]
fn a_passphrase_from_the_environment_or_a_private_file() {
    let home = Home::empty();
    const PHRASE: &str = "correct horse battery";
    let with = |phrase: &str, args: &[&str]| {
        home.run_with(args, &[("RETELL_VAULT_PASSPHRASE", phrase), ("RETELL_VAULT_WRAPPING_KEY", "")], "")
    };
    with("short", &["init"]).fails(1, "at least 12 characters", "random words");
    assert!(!home.path().join("keyring.json").exists());
    with(PHRASE, &["init"]).ok();
    with("wrong horse battery", &["list"]).fails(1, "the keyring did not open", "check the passphrase");

    let file = home.path().join("passphrase");
    fs::write(&file, format!("{PHRASE}\n")).unwrap();
    let from_file = ["list", "--passphrase-file", file.to_str().unwrap()];
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    with("", &from_file).fails(1, "is open to group or others", "chmod 600");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(with("", &from_file).ok().out, "no records\n");
    home.run(&["list"]).fails(1, "opens with a passphrase", "RETELL_VAULT_PASSPHRASE");
}
