//! Where the keyring lies: in the database, on standard output, in a file that others write; and how it moves and is mended.

use std::fs;

use serde_json::Value;

use crate::runner::*;
use crate::support::TestDb;

const TABLE: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)";
const USER: [&str; 2] = ["--user", "user-1"];

async fn database() -> TestDb {
    let db = TestDb::create().await;
    db.exec(TABLE).await;
    db
}

/// The value of the variable in the member `env`.
fn pin(object: &Value) -> String {
    object["env"].as_str().unwrap().strip_prefix("RETELL_VAULT_KEYRING=").unwrap().to_owned()
}

fn has_file(home: &Home, name: &str) -> bool {
    home.path().join(name).exists()
}

#[tokio::test]
async fn a_keyring_in_the_database_needs_a_url_a_secret_and_a_pin() {
    let db = database().await;
    let home = Home::empty_over(&db.url);
    let made = home.json(&["init", "--store", "table"]);
    assert!(made["keyring"].as_str().unwrap().contains("table retell_vault.keyring of 127.0.0.1"), "{made}");
    assert!(!has_file(&home, "keyring.json"));
    home.put(&USER, SMALL).ok();

    // a host without a disk
    let other = Home::empty_over(&db.url);
    other.run(&[&["get"], &USER[..]].concat()).fails(
        1,
        "keyring.json",
        "set RETELL_VAULT_KEYRING to its pin",
    );
    let first = pin(&made);
    let variable = [("RETELL_VAULT_KEYRING", first.as_str())];
    other.run_with(&["get", "--user", "user-1"], &variable, "").ok();
    // from now on its home knows
    other.json(&["get", "--user", "user-1"]);

    let added = home.json(&["key", "add"]);
    let id = added["key"]["id"].as_str().unwrap();
    let promoted = home.json(&["key", "promote", id]);
    let id_of = |pin: &str| pin.split(':').next().unwrap().to_owned();
    assert_eq!(pin(&promoted), format!("{}:3", id_of(&first)));
    other.put(&USER, SMALL).ok();
    let listed = other.json(&["key", "list"]);
    assert_eq!((pin(&listed), listed["keys"][1]["tokens"].as_u64()), (pin(&promoted), Some(2)));

    // another keyring's pin, and one that is none
    let wrong = format!("{}:1", "0".repeat(32));
    other.run_with(&["status"], &[("RETELL_VAULT_KEYRING", &wrong)], "").fails(2, "has used", "another home");
    other.run_with(&["status"], &[("RETELL_VAULT_KEYRING", "hunter2")], "").fails(
        1,
        "32 hex digits",
        "key list",
    );
    let mut away = other;
    away.database.clear();
    away.run(&["key", "list"]).fails(2, "no database is named", "DATABASE_URL");
    home.run(&["init"]).fails(1, "keyring-note.json already exists", "existing keyring");
}

#[tokio::test]
async fn a_restored_database_stops_the_command_from_sealing_until_the_keyring_is_restored() {
    let db = database().await;
    let home = Home::empty_over(&db.url);
    home.run(&["init", "--store", "table"]).ok();
    let key = home.json(&["key", "add"])["key"]["id"].as_str().unwrap().to_owned();
    db.exec("CREATE TABLE backup AS SELECT * FROM retell_vault.keyring").await;
    home.run(&["key", "promote", &key]).ok();
    home.put(&USER, SMALL).ok();

    let back = "DELETE FROM retell_vault.keyring; INSERT INTO retell_vault.keyring SELECT * FROM backup";
    db.exec(back).await;
    home.put(&USER, SMALL).fails(1, "this is an older copy", "put the newest generation");
    home.run(&["get", "--user", "user-1"]).ok();
    let shown = home.json(&["keyring", "show"]);
    assert_eq!((shown["generation"].as_u64(), shown["source"].as_str()), (Some(2), Some("table")));
    assert!(shown["problem"].as_str().unwrap().contains("generation 3"), "{shown}");

    let restored = home.json(&["keyring", "restore"]);
    assert_eq!((restored["restored"].as_bool(), pin(&restored).ends_with(":3")), (Some(true), true));
    home.put(&USER, SMALL).ok();
    assert!(home.run(&["keyring", "restore"]).ok().out.starts_with("nothing to do"));

    db.exec("DROP SCHEMA retell_vault CASCADE").await;
    home.run(&["get", "--user", "user-1"]).fails(1, "missing", "");
    home.run(&["keyring", "restore"]).ok();
    home.put(&USER, SMALL).ok();

    // a row that somebody planted
    db.exec("INSERT INTO retell_vault.keyring VALUES (9223372036854775807, 'x', '{}')").await;
    home.put(&USER, SMALL).fails(1, "not a keyring file", "");
    let removed = home.json(&["keyring", "repair"]);
    assert_eq!(removed["removed"][0].as_i64(), Some(i64::MAX));
    home.put(&USER, SMALL).ok();
    assert!(home.run(&["keyring", "repair"]).ok().out.contains("nothing to do"));
}

#[tokio::test]
async fn a_printed_keyring_is_used_from_a_file_that_others_write_and_changed_nowhere_else() {
    let db = database().await;
    let home = Home::empty_over(&db.url);
    let printed = home.run(&["init", "--store", "print"]).ok();
    assert!(!has_file(&home, "keyring.json") && printed.err.contains("RETELL_VAULT_KEYRING="), "{printed:?}");
    let file = home.path().with_file_name("mounted.json");
    fs::write(&file, &printed.out).unwrap();
    let variable = [("RETELL_VAULT_KEYRING_FILE", file.to_str().unwrap())];
    home.run_with(&["put", "--user", "user-1"], &variable, SMALL).ok();
    home.run(&["get", "--user", "user-1", "--keyring-file", file.to_str().unwrap()]).ok();
    let refused = home.run_with(&["key", "add"], &variable, "");
    refused.fails(1, "is read-only for this process", "`retell-vault key`");
    home.run(&["init", "--service-role", "app"]).fails(2, "--service-role", "--store table");
    // its tokens are those of a keyring
    home.run(&["init", "--store", "print"]).fails(1, "already holds tokens", "use that keyring");
}

#[tokio::test]
async fn a_keyring_in_a_variable_comes_before_the_home_and_is_never_shown() {
    let db = database().await;
    let printer = Home::empty_over(&db.url);
    let text = printer.run(&["init", "--store", "print"]).ok().out;
    // the home has another keyring, which is not used
    let mut home = Home::new();
    home.database = db.url.clone();
    fs::remove_file(home.path().join("local.db")).unwrap();
    let variable = [("RETELL_VAULT_KEYRING_TEXT", text.as_str())];
    home.run_with(&["put", "--user", "user-1"], &variable, SMALL).ok();
    home.run_with(&["get", "--user", "user-1"], &variable, "").ok();
    let shown = home.run_with(&["keyring", "show", "--json"], &variable, "").ok().json();
    assert_eq!(
        (shown["source"].as_str(), shown["keyring"].as_str()),
        (Some("text"), Some("the keyring text"))
    );
    home.run_with(&["key", "add"], &variable, "").fails(
        1,
        "is read-only for this process",
        "retell-vault key",
    );
    home.run_with(&["keyring", "push"], &variable, "").fails(2, "not a file of its own", "--home");
    // an empty variable is none
    home.run_with(&["get", "--user", "user-1"], &[("RETELL_VAULT_KEYRING_TEXT", "")], "").fails(1, "", "");

    let file = home.path().join("keyring.json");
    let file = file.to_str().unwrap();
    let (sealed, both) = (&text[text.len() / 2..text.len() / 2 + 40], "only one is allowed");
    let refused = [
        home.run_with(&["key", "list", "--keyring-file", file], &variable, ""),
        home.run_with(&["key", "list"], &[variable[0], ("RETELL_VAULT_KEYRING_FILE", file)], ""),
    ];
    refused.iter().for_each(|ran| ran.fails(2, both, "remove one of them"));
    // the texts are not repeated, and neither is one that is none
    let broken = text.replacen("version", "hunter2", 1);
    let broken = home.run_with(&["key", "list"], &[("RETELL_VAULT_KEYRING_TEXT", &broken)], "");
    broken.fails(1, "the keyring text", "");
    let pinned = [variable[0], ("RETELL_VAULT_KEYRING", &format!("{}:1", "0".repeat(32)))];
    let wrong = home.run_with(&["key", "list"], &pinned, "");
    wrong.fails(1, "", "");
    for ran in refused.iter().chain([&broken, &wrong]) {
        assert!(!ran.err.contains(sealed), "{ran:?}");
    }
}

#[tokio::test]
async fn a_destroyed_key_leaves_the_database_and_the_command_says_where_it_still_is() {
    let db = database().await;
    let home = Home::empty_over(&db.url);
    home.run(&["init", "--store", "table"]).ok();
    let old = home.json(&["key", "list"])["keys"][0]["id"].as_str().unwrap().to_owned();
    home.put(&USER, SMALL).ok();
    home.run(&["rotate", "--new-key"]).ok();
    let destroyed = home.run(&["key", "destroy", &old, "--force"]).ok();
    for place in ["WAL", "dumps", "replicas", "dead rows", "replace the secret"] {
        assert!(destroyed.err.contains(place), "{place}: {destroyed:?}");
    }
    let left = "SELECT count(*) FROM retell_vault.keyring";
    assert_eq!(crate::support::faults::number(&db.url, left).await, 1);
    home.run(&["get", "--user", "user-1"]).ok();
}

#[tokio::test]
async fn a_keyring_file_moves_into_the_database_and_out_again() {
    let db = database().await;
    let home = Home::over(&db.url);
    home.put(&USER, SMALL).ok();
    let before = pin(&home.json(&["key", "list"]));
    let pushed = home.json(&["keyring", "push"]);
    assert_eq!((pushed["pushed"].as_bool(), pin(&pushed)), (Some(true), before.clone()));
    fs::remove_file(home.path().join("keyring.json")).unwrap();
    home.run(&["get", "--user", "user-1"]).ok();
    home.run(&["keyring", "push"]).fails(2, "not a file of its own", "--home");

    let file = home.path().join("backup.json");
    home.run(&["keyring", "pull", file.to_str().unwrap()]).ok();
    home.run(&["keyring", "pull", file.to_str().unwrap()]).fails(1, "cannot write", "new file");
    let shown = home.json(&["keyring", "show", "--keyring-file", file.to_str().unwrap()]);
    assert_eq!((pin(&shown), shown["source"].as_str()), (before, Some("read_only")));
}
