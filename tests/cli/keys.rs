//! `key`: the life of the root keys as an operator leads it, without a database.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::runner::*;

const NEW_KEY: &str = "RETELL_VAULT_NEW_WRAPPING_KEY";
const NEW_PHRASE: &str = "RETELL_VAULT_NEW_PASSPHRASE";
const PHRASE: &str = "correct horse battery";

/// Ids and states, oldest first.
fn keys(home: &Home) -> Vec<(String, String)> {
    let status = home.json(&["status"]);
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    status["keys"].as_array().unwrap().iter().map(|key| (word(&key["id"]), word(&key["state"]))).collect()
}

fn states(home: &Home) -> Vec<String> {
    keys(home).into_iter().map(|(_, state)| state).collect()
}

fn add(home: &Home) -> String {
    home.json(&["key", "add"])["key"]["id"].as_str().unwrap().to_owned()
}

fn keyring(home: &Home) -> Vec<u8> {
    fs::read(home.path().join("keyring.json")).unwrap()
}

fn other_wrapping_key() -> String {
    WRAPPING_KEY.replace('B', "C")
}

#[test]
fn a_new_key_takes_over() {
    let home = Home::new();
    home.put(&["--user", "user-1"], FULL).ok();
    let added = home.run(&["key", "add"]).ok();
    let new = keys(&home)[1].0.clone();
    assert_eq!(added.out, format!("added key {new}: it is pending, so it opens but does not seal yet\n"));
    assert!(added.err.contains("every process on every host"), "{}", added.err);
    assert!(added.err.contains(&format!("`retell-vault key promote {new}`")), "{}", added.err);

    let promoted = home.run(&["key", "promote", &new]).ok();
    assert!(promoted.out.starts_with(&format!("key {new} is the primary key since 20")), "{}", promoted.out);
    assert!(promoted.err.contains("hint: running processes use it"), "{}", promoted.err);
    assert_eq!(states(&home), ["retired", "primary"]);
    home.put(&["--user", "user-2"], FULL).ok();
    for user in ["user-1", "user-2"] {
        assert_eq!(home.json(&["get", "--user", user])["config"]["api_key"], "key_…4711");
    }

    let spare = add(&home);
    let retired = home.run(&["key", "retire", &spare]).ok();
    assert!(retired.out.starts_with(&format!("key {spare} is retired since 20")), "{}", retired.out);
    assert_eq!(states(&home), ["retired", "primary", "retired"]);
}

#[test]
fn the_same_in_json_and_twice_is_as_good_as_once() {
    let home = Home::new();
    let added = home.json(&["key", "add"]);
    assert_eq!(added["keyring"], home.path().join("keyring.json").to_str().unwrap());
    assert_eq!(added["key"]["state"], "pending");
    assert_eq!(added["key"]["fingerprint"].as_str().unwrap().len(), 32);
    let id = added["key"]["id"].as_str().unwrap();
    let promoted = home.json(&["key", "promote", id]);
    assert_eq!((&promoted["key"]["id"], &promoted["key"]["state"]), (&json!(id), &json!("primary")));
    let before = keyring(&home);
    assert_eq!(home.json(&["key", "promote", id]), promoted);
    assert_eq!(keyring(&home), before);
    let spare = add(&home);
    let retired = home.json(&["key", "retire", &spare]);
    assert_eq!(retired["key"]["state"], "retired");
    assert_eq!(home.json(&["key", "retire", &spare]), retired);
}

#[test]
fn keys_are_changed_without_database_and_local_file() {
    let home = Home::empty_over("postgres://user:hunter2@127.0.0.1:1/app");
    home.run_with(&["init"], &[("DATABASE_URL", "")], "").ok();
    fs::remove_file(home.path().join("local.db")).unwrap();
    let id = add(&home);
    home.run(&["key", "promote", &id]).ok();
    assert!(!home.path().join("local.db").exists());
}

#[test]
fn a_key_is_named_by_the_start_of_its_id() {
    let home = Home::new();
    // seventeen keys cannot all start with another digit
    for _ in 0..16 {
        add(&home);
    }
    let ids: Vec<String> = keys(&home).into_iter().map(|(id, _)| id).collect();
    let starting = |digit: &str| ids.iter().filter(|id| id.starts_with(digit)).collect::<Vec<_>>();
    let digits: Vec<String> = (0..16).map(|digit| format!("{digit:x}")).collect();
    let shared = digits.iter().find(|digit| starting(digit).len() > 1).unwrap();
    let before = keyring(&home);
    for id in starting(shared) {
        home.run(&["key", "promote", shared]).fails(1, id, "more digits");
    }
    let absent = (0..u32::MAX).map(|id| format!("{id:08x}")).find(|id| !ids.contains(id)).unwrap();
    home.run(&["key", "promote", &absent]).fails(1, &format!("starts with {absent}"), "key list");
    for bad in ["", "xyz", "123456789", "ABC"] {
        home.run(&["key", "retire", bad]).fails(1, "1 to 8 lower-case hex digits", "key list");
    }
    assert_eq!(keyring(&home), before);

    let last = &ids[16];
    let enough = (1..=8).find(|length| starting(&last[..*length]).len() == 1).unwrap();
    home.run(&["key", "promote", &last[..enough]]).ok();
    assert_eq!(keys(&home)[16], (last.clone(), "primary".to_owned()));
}

#[test]
fn keys_never_go_back_and_the_primary_one_stays() {
    let home = Home::new();
    let first = keys(&home)[0].0.clone();
    home.run(&["key", "retire", &first]).fails(1, "is the primary key", "`retell-vault key add`, then");
    let second = add(&home);
    home.run(&["key", "retire", &first]).fails(1, "is the primary key", &format!("key promote {second}"));
    home.run(&["key", "promote", &second]).ok();
    let before = keyring(&home);
    home.run(&["key", "promote", &first]).fails(
        1,
        "is retired, and a key never returns to an earlier state",
        "key add",
    );
    assert_eq!(keyring(&home), before);
    for wrong in [&["key"][..], &["key", "promote"], &["key", "undo"], &["key", "add", "x"]] {
        assert_eq!(home.run(wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn a_new_secret_opens_the_keyring_and_the_old_one_does_not() {
    let home = Home::new();
    home.put(&["--user", "user-1"], FULL).ok();
    let new = other_wrapping_key();
    let rewrapped = home.run_with(&["key", "rewrap"], &[(NEW_KEY, &new)], "").ok();
    assert!(
        rewrapped.out.ends_with("keyring.json now opens only with the new secret\n"),
        "{}",
        rewrapped.out
    );
    assert!(
        rewrapped.err.contains("restart them with the new secret before you change keys"),
        "{}",
        rewrapped.err
    );
    assert!(rewrapped.err.contains("backups"), "{}", rewrapped.err);
    home.run(&["get", "--user", "user-1"]).fails(1, "the keyring did not open", "wrapping key");
    let with_new = |args: &[&str], more: &[(&str, &str)]| {
        home.run_with(args, &[&[("RETELL_VAULT_WRAPPING_KEY", new.as_str())], more].concat(), "")
    };
    with_new(&["get", "--user", "user-1"], &[]).ok();

    let rewrapped = with_new(&["key", "rewrap", "--json"], &[(NEW_PHRASE, PHRASE)]).ok().json();
    assert_eq!(rewrapped["rewrapped"], true);
    let phrase = [("RETELL_VAULT_WRAPPING_KEY", ""), ("RETELL_VAULT_PASSPHRASE", PHRASE)];
    home.run_with(&["key", "add"], &phrase, "").ok();

    let file = home.path().join("new-passphrase");
    fs::write(&file, "another horse battery\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let file = file.to_str().unwrap();
    home.run_with(&["key", "rewrap", "--new-passphrase-file", file], &phrase, "").ok();
    let opened = ["RETELL_VAULT_WRAPPING_KEY"].map(|name| (name, ""));
    home.run_with(&["get", "--user", "user-1", "--passphrase-file", file], &opened, "").ok();
}

#[test]
fn a_wrong_new_secret_changes_nothing() {
    let home = Home::new();
    let before = keyring(&home);
    let rewrap = |variables: &[(&str, &str)]| home.run_with(&["key", "rewrap"], variables, "");
    rewrap(&[]).fails(2, "no new passphrase", "RETELL_VAULT_NEW_PASSPHRASE");
    rewrap(&[(NEW_KEY, ""), (NEW_PHRASE, "")]).fails(2, "no new wrapping key", "--new-passphrase-file");
    rewrap(&[(NEW_KEY, &other_wrapping_key()), (NEW_PHRASE, PHRASE)]).fails(2, NEW_PHRASE, "from now on");
    rewrap(&[(NEW_KEY, "hunter2")]).fails(1, "32 bytes in base64", "openssl rand");
    rewrap(&[(NEW_PHRASE, "hunter2")]).fails(1, "at least 12 characters", "random words");
    let file = home.path().join("new-passphrase");
    let args = ["key", "rewrap", "--new-passphrase-file", file.to_str().unwrap()];
    home.run(&args).fails(1, "does not exist", "");
    fs::write(&file, format!("{PHRASE}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    home.run(&args).fails(1, "is open to group or others", "chmod 600");
    let wrong = [("RETELL_VAULT_WRAPPING_KEY", &*other_wrapping_key()), (NEW_PHRASE, PHRASE)];
    rewrap(&wrong).fails(1, "the keyring did not open", "wrapping key");
    assert_eq!(keyring(&home), before);
    // the new names do not open, and the old ones are no new secret
    home.run_with(&["list"], &[("RETELL_VAULT_WRAPPING_KEY", ""), (NEW_KEY, WRAPPING_KEY)], "").fails(
        2,
        "no passphrase",
        "RETELL_VAULT_PASSPHRASE",
    );
}

#[test]
fn without_a_keyring_nobody_is_asked_for_a_secret() {
    let home = Home::empty();
    for args in [&["key", "add"][..], &["key", "promote", "a"], &["key", "retire", "a"], &["key", "rewrap"]] {
        home.run(args).fails(1, "keyring.json does not exist", "init");
    }
    assert!(!home.path().exists());
}

#[test]
fn of_two_at_once_one_may_be_refused_and_none_is_lost() {
    let home = Home::new();
    let path = home.path().join("keyring.json.lock");
    add(&home);
    let lock = fs::File::open(&path).unwrap();
    lock.lock().unwrap();
    let before = keyring(&home);
    home.run(&["key", "add"]).fails(1, "another process is changing the keyring", "try again");
    assert_eq!(keyring(&home), before);
    drop(lock);

    let spawned: Vec<_> = (0..6).map(|_| home.command(&["key", "add"]).spawn().unwrap()).collect();
    let ended = spawned.into_iter().map(|child| child.wait_with_output().unwrap());
    let (done, refused): (Vec<_>, Vec<_>) = ended.partition(|output| output.status.success());
    assert!(!done.is_empty());
    for output in &refused {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("another process is changing the keyring"), "{errors}");
    }
    assert_eq!(keys(&home).len(), 2 + done.len());
}
