//! The command over Postgres: every column, text of others, other keys, and a database that is away.

use std::time::{SystemTime, UNIX_EPOCH};

use retell_vault::keyring::RawKey;
use retell_vault::{Keyring, Owner, RetellConfig, Vault};
use serde_json::{Value, json};

use crate::runner::*;
use crate::support::TestDb;
use crate::support::role::Role;
use crate::support::rows::value;
use crate::support::vaults::ALL_COLUMNS;

/// A port that nobody listens on, and a password that nobody may see.
pub const AWAY: &str = "postgres://user:hunter2@127.0.0.1:1/app";
const USER: [&str; 2] = ["--user", "user-1"];

pub async fn all_columns() -> (TestDb, Home) {
    let db = TestDb::create().await;
    db.exec(ALL_COLUMNS).await;
    let home = Home::over(&db.url);
    (db, home)
}

/// An id that reads like a verdict, and turns the rest of its line round. JSON gives it back.
const FORGED: &str = "a\u{2028}healthy: nothing is wrong\u{202e}";

#[tokio::test]
async fn no_owner_begins_a_line_and_json_gives_each_back() {
    let (db, home) = all_columns().await;
    home.put(&USER, FULL).ok();
    db.exec(&format!(
        "INSERT INTO user_profiles (user_id, encrypted_retell_api_key) VALUES ('{FORGED}', 'key_test_open')"
    ))
    .await;
    let listed = home.json(&["list"]);
    assert_eq!(listed["owners"][0]["user"], FORGED);
    for arguments in [&["list"][..], &["list", "--json"], &["doctor"], &["doctor", "--json"], &["status"]] {
        let ran = home.run(arguments);
        let shown = ran.out + &ran.err;
        assert!(
            shown.chars().all(|char| char == '…' || char == '\n' || (' '..='~').contains(&char)),
            "{shown:?}"
        );
        assert!(!shown.lines().any(|line| line.trim_start().starts_with("healthy: nothing is")), "{shown}");
    }
}

#[tokio::test]
async fn places_are_printed_and_the_record_comes_back() {
    let (_db, home) = all_columns().await;
    let text = home.put(&USER, FULL).ok().out;
    assert!(text.contains("api_key             column  encrypted_retell_api_key\n"), "{text}");
    assert!(text.contains("webhook_key         json    encrypted_agent_config\n"), "{text}");
    let stored = home.put(&[&USER[..], &["--json", "--require-database"]].concat(), FULL).ok().json();
    assert_eq!(
        stored["stored"]["api_key"],
        json!({ "place": "column", "column": "encrypted_retell_api_key" })
    );
    assert_eq!(
        stored["stored"]["webhook_key"],
        json!({ "place": "json", "column": "encrypted_agent_config" })
    );

    let loaded = home.json(&["get", "--user", "user-1", "--reveal"]);
    assert_eq!(loaded["config"], serde_json::from_str::<serde_json::Value>(FULL).unwrap());
    assert_eq!((&loaded["source"], &loaded["version"]), (&json!("database"), &stored["version"]));
    assert_eq!(home.json(&["list"])["owners"][0]["place"], "database");

    let status = home.json(&["status"]);
    assert_eq!(status["database"]["reachable"], true);
    assert_eq!(status["database"]["slots"].as_array().unwrap().len(), 4);
    assert_eq!(status["writes"]["phone_number"]["column"], "phone_number");
    home.run(&["delete", "--user", "user-1", "--require-database"]).ok();
    home.run(&["get", "--user", "user-1"]).fails(3, "no configuration", "check the user id");
}

#[tokio::test]
async fn other_names_tenants_and_a_pooler() {
    let db = TestDb::create().await;
    db.exec(
        r#"CREATE SCHEMA app; CREATE TABLE app."Users" (org text NOT NULL, id text, encrypted_retell_api_key text,
        UNIQUE (org, id)); INSERT INTO app."Users" VALUES ('acme', 'user-1')"#,
    )
    .await;
    let home = Home::empty_over(&db.url);
    let names =
        ["--table", "app.Users", "--user-column", "id", "--tenant-column", "org", "--pooler", "transaction"];
    let run = |args: &[&str], input: &str| home.run_with(&[&names[..], args].concat(), &[], input);
    run(&["init"], "").ok();
    let stored = run(&["put", "--user", "user-1", "--tenant", "acme", "--json"], FULL).ok().json();
    assert_eq!(stored["stored"]["call_agent_id"]["place"], "packed");
    run(&["get", "--user", "user-1", "--tenant", "zoo"], "").fails(3, "no configuration", "the tenant");
    run(&["get", "--user", "user-1"], "").fails(1, "tenant", "");
    assert_eq!(run(&["list", "--json"], "").ok().json()["owners"][0]["tenant"], "acme");
    assert_eq!(run(&["status", "--json"], "").ok().json()["database"]["transaction_pooler"], true);
}

#[tokio::test]
async fn text_of_others_is_kept_until_it_is_given_up() {
    let (db, home) = all_columns().await;
    db.exec("INSERT INTO user_profiles (user_id, encrypted_retell_api_key) VALUES ('user-1', 'key_test_canary_4711')")
        .await;
    for command in [&["get"][..], &["delete"]] {
        home.run(&[command, &USER].concat()).fails(1, "encrypted_retell_api_key", "put --replace-foreign");
    }
    home.put(&USER, FULL).fails(1, "text that the vault did not write", "put --replace-foreign");
    assert_eq!(home.json(&["list"])["owners"][0]["problem"], "foreign_value");
    let replaced = home.put(&[&USER[..], &["--replace-foreign"]].concat(), FULL).ok();
    replaced.warns("text that the vault did not write");
    home.run(&["get", "--user", "user-1"]).ok();
}

/// Stores into an empty table with another keyring, by a clock that is an hour ahead.
async fn store_with_another_keyring(url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let key = RawKey::from_base64(WRAPPING_KEY).unwrap();
    let keyring = Keyring::prepare(folder.path().join("other/keyring.json"), &key).await.unwrap();
    // no database yet, which would refuse a rival
    Vault::builder(keyring.clone()).local_file(folder.path().join("other/local.db")).init().await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let vault = Vault::builder(keyring).postgres(url).clock(move || now + 3_600_000).build().await.unwrap();
    vault.store(&Owner::user("user-1").unwrap(), &RetellConfig::from_json(SMALL).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_record_under_an_unknown_key_is_kept_until_it_is_given_up() {
    let (db, home) = all_columns().await;
    home.put(&["--user", "user-0"], SMALL).ok();
    // among those of another table, as a copy of a row brings it here
    let other = TestDb::create().await;
    other.exec(ALL_COLUMNS).await;
    store_with_another_keyring(&other.url).await;
    let row: Value = value(&other, "SELECT to_jsonb(t) FROM user_profiles AS t").await;
    db.exec(&format!(
        "INSERT INTO user_profiles SELECT * FROM jsonb_populate_record(NULL::user_profiles, '{row}')"
    ))
    .await;
    home.run(&["get", "--user", "user-1"]).fails(1, "is not in the keyring", "--replace-unreadable");
    home.put(&USER, FULL).fails(1, "is not in the keyring", "--replace-unreadable");
    assert_eq!(home.json(&["list"])["owners"][1]["problem"], "unknown_key");

    home.put(&[&USER[..], &["--replace-unreadable"]].concat(), FULL).ok().warns("is not in the keyring");
    home.run(&["get", "--user", "user-1"]).ok();
    let status = home.json(&["status"]);
    assert_eq!(
        status["local"]["replaced"].as_u64().unwrap(),
        status["kept"].as_array().unwrap().len() as u64
    );
    assert_eq!(
        (&status["kept"][0]["user"], &status["kept"][0]["why"]),
        (&json!("user-1"), &json!("replaced"))
    );
    assert!(home.run(&["status"]).ok().out.contains("kept aside in the local file:\n  user-1  replaced  "));
    assert!(home.json(&["forget", "--user", "user-1"])["kept"].as_u64() > Some(0));
    assert_eq!(home.json(&["status"])["kept"], json!([]));
}

#[tokio::test]
async fn a_rival_keyring_is_refused() {
    let (db, home) = all_columns().await;
    home.put(&USER, FULL).ok();
    let mut rival = Home::empty_over(&db.url);
    rival.run(&["init"]).fails(1, "already holds tokens of another keyring", "use that keyring");
    rival.database = AWAY.to_owned();
    rival.run(&["init"]).fails(1, "cannot be reached", "init first checks");
    assert!(!rival.path().join("keyring.json").exists());
}

/// A container that is made anew without its home, as CASES has it: `init` without the database, then `put` with it.
#[tokio::test]
async fn a_keyring_made_elsewhere_stores_nothing_here_until_it_is_adopted() {
    let (db, home) = all_columns().await;
    home.put(&USER, FULL).ok();
    let mut rival = Home::new();
    rival.run(&["keyring", "adopt"]).fails(1, "needs a database", "configure both");
    rival.database = db.url.clone();
    let wrong = "holds tokens of another keyring";
    let new = ["--user", "new"];
    rival.put(&new, FULL).fails(1, wrong, "retell-vault keyring adopt");
    rival.put(&[&USER[..], &["--replace-unreadable"]].concat(), FULL).fails(1, wrong, "keyring adopt");
    rival.run(&["get", "--user", "user-1"]).fails(1, wrong, "use the keyring of this database");
    rival.run(&["rotate", "--new-key"]).fails(1, "", "");
    let status = rival.json(&["status"]);
    assert!(status["database"]["problem"].as_str().unwrap().contains(wrong), "{status}");
    assert_eq!(status["local"]["pending"], 0);
    let doctor = rival.run(&["doctor"]);
    assert!(doctor.code == 2 && doctor.out.contains("keyring adopt"), "{doctor:?}");
    home.run(&["get", "--user", "new"]).fails(3, "no configuration", "check the user id");

    assert_eq!(rival.json(&["keyring", "adopt"])["adopted"], true);
    assert_eq!(rival.json(&["keyring", "adopt"])["adopted"], false);
    rival.put(&new, FULL).ok();
    rival.run(&["get", "--user", "user-1"]).fails(1, "is not in the keyring", "--replace-unreadable");
    assert!(home.run(&["keyring", "adopt"]).ok().out.starts_with("nothing to do"));
}

/// What an application left in the columns is no trace of a rival.
#[tokio::test]
async fn init_over_text_that_is_no_token_makes_a_keyring() {
    let db = TestDb::create().await;
    db.exec(
        r#"CREATE TABLE user_profiles (user_id text PRIMARY KEY,
        encrypted_retell_api_key text NOT NULL DEFAULT '', encrypted_agent_config jsonb);
        INSERT INTO user_profiles VALUES ('a', 'key_test_0000', '[1]'), ('b', '', '{"retell_vault": {}}'),
        ('c', 'aXYuMTIz', 'null')"#,
    )
    .await;
    Home::empty_over(&db.url).run(&["init"]).ok();

    let token = r#"{"retell_vault": {"api_key": "rv1.0123abcd.0190000000000000.api_key.AAAA"}}"#;
    db.exec(&format!("UPDATE user_profiles SET encrypted_agent_config = '{token}' WHERE user_id = 'b'"))
        .await;
    Home::empty_over(&db.url).run(&["init"]).fails(1, "tokens of another keyring", "use that keyring");
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_an_error() {
    let (db, mut home) = all_columns().await;
    home.run(&["list", "--table", "absent"]).fails(1, "public.absent does not exist", "schema and table");
    home.run(&["status", "--table", "app.absent"]).fails(1, "app.absent does not exist", "schema and table");
    home.run(&["list", "--user-column", "uid"]).fails(1, "no column uid", "--user-column");
    home.run(&["get", "--user", "user-1", "--tenant", "acme"]).fails(1, "tenant", "--tenant-column");
    let absent = db.url.replace("/test_", "/absent_");
    for bad in [
        "hunter2",
        "postgres:/hunter2",
        "postgres://user:hunter2@host:port/app",
        "http://user:hunter2@host/app",
    ] {
        home.database = bad.to_owned();
        home.put(&USER, FULL).fails(1, "the database URL is not valid", "postgres://");
    }
    home.database = absent;
    home.put(&USER, FULL).fails(1, "does not exist", "last slash of the URL");
    home.database = String::new();
    assert_eq!(home.run(&["list"]).ok().out, "no records\n");
}

#[tokio::test]
async fn while_the_database_is_away_everything_goes_on_and_sync_brings_it_back() {
    let (db, mut home) = all_columns().await;
    home.put(&["--user", "user-0"], FULL).ok();
    home.database = AWAY.to_owned();

    let status = home.json(&["status"]);
    assert_eq!(
        (&status["database"]["reachable"], &status["writes"]["api_key"]["place"]),
        (&json!(false), &json!("local"))
    );
    let stored = home.put(&[&USER[..], &["--json"]].concat(), FULL).ok();
    stored.warns("kept in the local file only: the database cannot be reached");
    let stored = stored.json();
    assert_eq!((&stored["degraded"], &stored["stored"]["api_key"]["place"]), (&json!(true), &json!("local")));
    assert!(stored["reason"].as_str().unwrap().contains("cannot be reached"));
    let required = ["--user", "user-2", "--require-database"];
    home.put(&required, FULL).fails(1, "cannot be reached", "check that the database is up");

    let loaded = home.json(&["get", "--user", "user-1"]);
    assert_eq!((&loaded["source"], &loaded["stale"]), (&json!("local"), &json!(true)));
    home.run(&["get", "--user", "user-0"]).fails(1, "cannot be reached", "check that the database is up");
    let listed = home.run(&["list", "--json"]).ok();
    listed.warns("listing only the local file");
    let listed = listed.json();
    assert_eq!((&listed["complete"], &listed["owners"][0]["user"]), (&json!(false), &json!("user-1")));
    assert_eq!(listed["owners"].as_array().unwrap().len(), 1);
    let stopped = home.run(&["sync", "--json"]);
    assert_eq!((stopped.code, &stopped.json()["pushed"]), (1, &json!(0)));
    assert!(stopped.err.starts_with("error: the rest stays pending"), "{stopped:?}");

    home.database = db.url.clone();
    assert_eq!(home.json(&["status"])["local"]["pending"], 1);
    let expected = json!({ "pushed": 1, "lost": 0, "overwritten": 0, "dead_letters": 0, "blocked": [], "stopped": null });
    assert_eq!(home.json(&["sync"]), expected);
    assert!(home.run(&["sync"]).ok().out.starts_with("pushed        0  "));
    let loaded = home.json(&["get", "--user", "user-1"]);
    assert_eq!((&loaded["source"], &loaded["version"]), (&json!("database"), &stored["version"]));
    assert_eq!(home.json(&["status"])["local"]["pending"], 0);
}

#[tokio::test]
async fn a_record_that_the_database_never_takes_is_shown_after_the_sync() {
    let db = TestDb::create().await;
    db.exec(
        "CREATE TABLE users (id text PRIMARY KEY);
        CREATE TABLE user_profiles (user_id text PRIMARY KEY REFERENCES users, encrypted_retell_api_key text)",
    )
    .await;
    let mut home = Home::over(&db.url);
    home.put(&USER, FULL).fails(1, "no such owner", "create the user first");
    home.database = AWAY.to_owned();
    home.put(&USER, FULL).ok();
    home.database = db.url.clone();
    let synced = home.run(&["sync"]);
    assert_eq!(synced.code, 1);
    assert!(synced.out.contains("dead letters  1  "), "{synced:?}");
    assert!(synced.err.contains("hint: `retell-vault status` shows why"), "{synced:?}");
    assert_eq!(home.json(&["status"])["kept"][0]["why"], "dead_letter");
    let again = home.run(&["sync", "--retry-dead-letters", "--json"]);
    assert_eq!(
        (again.code, again.json()["retried"].clone(), again.json()["dead_letters"].clone()),
        (1, 1.into(), 1.into())
    );
    assert_eq!(home.run(&["sync", "--user", "user-1"]).code, 2);
    db.exec("INSERT INTO users VALUES ('user-1')").await;
    let again = home.run(&["sync", "--retry-dead-letters", "--user", "user-1"]).ok();
    assert!(again.out.contains("retried       1  ") && again.out.contains("pushed        1  "), "{again:?}");
    assert_eq!(home.json(&["status"])["kept"], json!([]));
}

#[tokio::test]
async fn a_plain_column_that_holds_rubbish_is_left_out_with_a_warning() {
    let (db, home) = all_columns().await;
    home.put(&USER, FULL).ok();
    db.exec("UPDATE user_profiles SET phone_number = 'rubbish'").await;
    let loaded = home.run(&["get", "--user", "user-1"]).ok();
    loaded.warns("phone_number is omitted");
    assert!(!loaded.out.contains("phone_number"));
}

#[tokio::test]
async fn a_database_without_room_is_a_degraded_save_and_one_without_the_table_an_error() {
    let db = TestDb::create().await;
    let home = Home::over(&db.url);
    for command in [&["put"][..], &["get"], &["delete"]] {
        let failed = home.run_with(&[command, &USER].concat(), &[], FULL);
        failed.fails(1, "table public.user_profiles does not exist", "--table");
    }
    home.run(&["list"]).fails(1, "table public.user_profiles does not exist", "--table");
    let status = home.json(&["status"]);
    assert_eq!(status["database"]["problem"], "table public.user_profiles does not exist");
    assert_eq!(status["local"]["pending"], 0);
    db.exec("CREATE TABLE user_profiles (user_id text PRIMARY KEY)").await;
    home.put(&USER, FULL).ok().warns("no column that can hold a configuration");
    home.put(&["--user", "user-2", "--require-database"], FULL).fails(1, "no column", "");
    assert_eq!(home.json(&["list"])["owners"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_list_prints_what_belongs_to_nobody_and_goes_on_after_it() {
    let (db, home) = all_columns().await;
    db.exec(
        "INSERT INTO user_profiles (user_id, encrypted_retell_api_key)
         VALUES (E'a\\tb\\x1b[2J', 'text'), ('c', 'text'), (repeat('d', 300), 'text'), ('e', 'text')",
    )
    .await;
    let first = home.json(&["list", "--limit", "1"]);
    assert_eq!((&first["owners"][0]["user"], &first["more"]), (&json!("a\tb\u{1b}[2J"), &json!(true)));
    assert_eq!(first["owners"][0]["state"], "unusable");
    let text = home.run(&["list", "--limit", "1"]).ok();
    assert!(text.out.starts_with(r#""a\tb\u{1b}[2J"  -"#), "{text:?}");
    assert!(text.out.ends_with("  unusable (invalid_id)\n") && text.lines().count() == 1, "{text:?}");
    assert_eq!(text.err, "hint: there may be more: add --after $'a\\x09b\\x1b[2J'\n");

    let users = |args: &[&str]| {
        let owners = home.json(args)["owners"].as_array().unwrap().clone();
        owners.iter().map(|owner| owner["user"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let long = "d".repeat(300);
    assert_eq!(users(&["list", "--after", "a\tb\u{1b}[2J"]), ["c", &long, "e"]);
    assert_eq!(users(&["list", "--after", &long]), ["e"]);
    assert_eq!(users(&["list", "--after", ""]).len(), 4);
    let none = home.run(&["list", "--after", "e"]).ok();
    assert_eq!(none.out, "no records\n");
}

#[tokio::test]
async fn a_list_that_rows_may_be_hidden_from_is_not_complete() {
    let (db, mut home) = all_columns().await;
    home.put(&USER, SMALL).ok();
    let guest = Role::create(
        &db,
        "ALTER TABLE user_profiles ENABLE ROW LEVEL SECURITY; GRANT SELECT, UPDATE ON user_profiles TO guest;
         CREATE POLICY one ON user_profiles USING (user_id = current_setting('app.current_user', true))",
    )
    .await;
    home.database = guest.url.clone();
    let text = home.run(&["list"]).ok();
    text.warns("row level security may hide rows of public.user_profiles");
    assert_eq!(text.out, "no records visible to this role\n");
    let listed = home.json(&["list"]);
    assert_eq!((&listed["complete"], &listed["more"]), (&json!(false), &json!(false)));
    assert!(listed["hidden"].as_str().unwrap().contains("row level security"));

    home.database = AWAY.to_owned();
    assert_eq!(home.run(&["list"]).ok().out, "no records in the local file\n");
}
