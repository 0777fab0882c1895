//! `doctor`: its verdict is its exit code, and what it says mends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::runner::*;
use crate::support::role::Role;
use crate::support::supabase::supabase;
use crate::support::{Cluster, TestDb};

const BARE: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, full_name text)";

/// A table with everything on a server that waits for its disk, as that of the tests does not, and nothing to complain about.
async fn clean() -> (Cluster, Home) {
    let db = Cluster::start(&[]).await;
    db.exec(BARE).await;
    let home = Home::over(db.url());
    home.run(&["schema", "apply"]).ok();
    home.put(&["--user", "user-1"], FULL).ok();
    (db, home)
}

fn finding<'a>(diagnosis: &'a Value, id: &str) -> &'a Value {
    let findings = diagnosis["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["id"] == id).unwrap_or_else(|| panic!("{id} in {diagnosis}"))
}

#[tokio::test]
async fn nothing_is_found_where_nothing_is_wrong() {
    let (_db, home) = clean().await;
    for options in [&[][..], &["--deep"]] {
        let args = [&["doctor"], options].concat();
        let healthy = home.run(&args).ok();
        assert!(healthy.out.starts_with("healthy: no problems found\n"), "{}", healthy.out);
        let diagnosis = home.json(&args);
        assert_eq!((&diagnosis["health"], &diagnosis["findings"]), (&json!("healthy"), &json!([])));
        assert!(diagnosis["notes"].is_array());
    }
}

#[tokio::test]
async fn nothing_is_found_after_schema_apply_with_any_profile() {
    for profile in ["credentials", "full-profile"] {
        for options in [&[][..], &["--row-security", "on", "--force-row-security"]] {
            let db = TestDb::create().await;
            // on a server like those of Supabase, where only policies keep users apart
            if !options.is_empty() {
                supabase(&db).await;
            }
            db.exec(BARE).await;
            if !options.is_empty() {
                db.exec("REVOKE ALL ON user_profiles FROM anon").await;
            }
            let home = Home::over(&db.url);
            home.run(&[&["schema", "apply", "--profile", profile], options].concat()).ok();
            home.put(&["--user", "user-1"], FULL).ok();
            let diagnosis = home.run(&["doctor", "--deep", "--json"]).json();
            let mut findings = diagnosis["findings"].as_array().unwrap().clone();
            // true of the server of the tests
            findings.retain(|found| found["id"] != "fsync_off");
            assert!(findings.is_empty(), "{profile} {options:?}: {findings:#?}");
        }
    }
}

#[tokio::test]
async fn a_missing_protection_is_degraded_until_its_sql_has_run() {
    let (db, home) = clean().await;
    db.exec("ALTER TABLE user_profiles DROP COLUMN phone_number").await;
    let text = home.run(&["doctor"]);
    assert_eq!(text.code, 1, "{text:?}");
    assert!(
        text.out.starts_with("degraded: 1 warning\n\nwarning: column_missing (schema), "),
        "{}",
        text.out
    );
    assert_eq!(text.err, "");
    let degraded = home.run(&["doctor", "--json"]);
    assert_eq!((degraded.code, &degraded.json()["health"]), (1, &json!("degraded")));
    let diagnosis = degraded.json();
    let found = finding(&diagnosis, "column_missing");
    assert_eq!((&found["area"], &found["severity"]), (&json!("schema"), &json!("warning")));
    let object = found["object"].as_str().unwrap();
    assert!(object.contains("phone_number") && found["meaning"].is_string(), "{found}");
    assert_eq!((&found["mend"]["kind"], &found["owners"]), (&json!("sql"), &json!([])));
    let sql = found["mend"]["text"].as_str().unwrap();
    let indented = sql.replace('\n', "\n    ");
    assert!(text.out.contains(&format!("  fix it with this SQL:\n    {indented}\n")), "{}", text.out);
    db.exec(sql).await;
    home.run(&["doctor"]).ok();
}

#[tokio::test]
async fn a_leak_is_critical_and_its_value_is_not_repeated() {
    let (db, home) = clean().await;
    // the runner looks for these values in all that is printed
    db.exec(&format!(
        "ALTER TABLE user_profiles ADD COLUMN api_key text; UPDATE user_profiles SET api_key = '{}'",
        SECRETS[0]
    ))
    .await;
    for options in [&[][..], &["--deep"], &["--json"]] {
        let critical = home.run(&[&["doctor"], options].concat());
        assert_eq!(critical.code, 2, "{critical:?}");
        assert!(critical.out.contains("critical") && critical.out.contains("user-1"), "{}", critical.out);
        assert_eq!(critical.err, "");
    }
    let text = home.run(&["doctor"]).out;
    assert!(text.starts_with("critical: 1 critical finding"), "{text}");
    assert!(text.contains("counted: 1; owners: user-1\n"), "{text}");
}

#[tokio::test]
async fn where_it_cannot_look_it_is_critical_too() {
    let (_db, mut home) = clean().await;
    let other = WRAPPING_KEY.replace('B', "C");
    let locked = home.run_with(&["doctor"], &[("RETELL_VAULT_WRAPPING_KEY", &other)], "");
    locked.fails(2, "the keyring did not open", "wrapping key");
    Home::empty().run(&["doctor"]).fails(2, "keyring.json does not exist", "init");
    home.database = "postgres://user:hunter2@127.0.0.1:1/app".to_owned();
    let away = home.run(&["doctor", "--json"]);
    assert_eq!((away.code, &away.json()["health"]), (2, &json!("critical")));
}

#[tokio::test]
async fn owners_are_probed_with_their_tenants() {
    let (_db, mut home) = clean().await;
    home.put(&["--user", "user-2"], SMALL).ok();
    let probed = home.run(&["doctor", "--probe", "user-1", "user-2", "--json"]);
    assert!(probed.json()["health"].is_string(), "{probed:?}");
    for wrong in [&["--probe", "user-1"][..], &["--users-table", "users"], &["--key-age", "0"]] {
        assert_eq!(home.run(&[&["doctor"], wrong].concat()).code, 2);
    }
    home.database = String::new();
    let tenants = ["doctor", "--tenant-column", "org", "--probe", "acme/user-1", "user-2"];
    home.run(&tenants).fails(2, "--probe: an owner lacks a tenant", "TENANT/USER");
    home.run(&["doctor", "--probe", "user-1", ""]).fails(2, "--probe: ", "USER");
}

#[tokio::test]
async fn an_old_key_and_a_missing_user_are_found_on_request() {
    let (db, home) = clean().await;
    db.exec("CREATE TABLE users (id text PRIMARY KEY)").await;
    let args = ["doctor", "--users-table", "users", "--users-column", "id", "--json"];
    let found = home.run(&args);
    assert_ne!(found.code, 0);
    assert!(found.out.contains("user-1"), "{}", found.out);
    db.exec("INSERT INTO users VALUES ('user-1')").await;
    home.run(&args).ok();
}

#[tokio::test]
async fn nothing_is_healthy_that_was_not_looked_at() {
    let (db, mut home) = clean().await;
    // what was said of the users is wrong, which hides nothing else
    db.exec("ALTER TABLE user_profiles DROP COLUMN phone_number").await;
    let diagnosis = home.run(&["doctor", "--users-table", "nosuch", "--users-column", "id", "--json"]).json();
    finding(&diagnosis, "not_examined");
    finding(&diagnosis, "column_missing");
    home.run(&["doctor", "--probe", "user-1", "user-1"]).fails(2, "--probe: ", "two different owners");

    // its table is known, and no database is named
    home.database = String::new();
    let degraded = home.run(&["doctor", "--json"]);
    assert_eq!(degraded.code, 1, "{degraded:?}");
    let diagnosis = degraded.json();
    let meaning = finding(&diagnosis, "not_examined")["meaning"].to_string();
    assert!(meaning.contains("public.user_profiles"), "{meaning}");
    for (option, args) in [
        ("--probe", &["doctor", "--probe", "user-1", "user-2"][..]),
        ("--users-table", &["doctor", "--users-table", "users", "--users-column", "id"]),
    ] {
        home.run(args).fails(2, &format!("{option} needs a database"), "--database-url");
    }
}

#[tokio::test]
async fn users_who_cannot_be_looked_at_are_said() {
    let (db, mut home) = clean().await;
    db.exec("CREATE TABLE users (id text PRIMARY KEY); INSERT INTO users VALUES ('user-1')").await;
    let args = ["doctor", "--users-table", "users", "--users-column", "id", "--json"];
    let said = |ran: Ran| {
        assert_ne!(ran.code, 0, "{ran:?}");
        finding(&ran.json(), "not_examined")["meaning"].to_string()
    };
    home.run(&args).ok();

    let mut holder = PgConnection::connect(db.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE users").execute(&mut holder).await.unwrap();
    let meaning = said(home.run(&args));
    assert!(meaning.contains("too long to compare the owners with public.users"), "{meaning}");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();

    let grant = "GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest";
    let role = Role::create_at(db.url(), grant).await;
    home.database = role.url.clone();
    let meaning = said(home.run(&args));
    assert!(meaning.contains("42501"), "{meaning}");
}

#[test]
fn a_command_is_right_for_a_shell_whatever_the_home_is_called() {
    let home = Home::empty();
    let folder = home.path().join("it's $(mine); \"really\"");
    let folder = folder.to_str().unwrap();
    let run = |args: &[&str]| home.run_with(args, &[("RETELL_VAULT_HOME", folder)], "");
    let in_shell = |command: &str| {
        assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
    };
    run(&["init"]).ok();
    // what keeps the vault from opening is an error with the same command
    fs::set_permissions(format!("{folder}/keyring.json"), fs::Permissions::from_mode(0o644)).unwrap();
    let refused = run(&["doctor"]);
    assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{refused:?}");
    in_shell(refused.err.split_once("\nhint: ").unwrap().1);
    run(&["doctor"]).ok();

    let previous = format!("{folder}/keyring.json.previous");
    fs::write(&previous, "").unwrap();
    fs::set_permissions(&previous, fs::Permissions::from_mode(0o644)).unwrap();
    let text = run(&["doctor"]);
    assert_eq!(text.code, 2, "{text:?}");
    let (_, command) = text.out.split_once("\n  fix it with this command:\n").unwrap();
    let command = command.lines().next().unwrap();
    let json = run(&["doctor", "--json"]).json();
    assert_eq!(command.trim_start(), finding(&json, "keyring_open")["mend"]["text"]);
    in_shell(command);
    run(&["doctor"]).ok();
}

#[test]
fn it_says_that_its_exit_codes_are_its_own() {
    let help = Home::empty().run(&["doctor", "--help"]).ok().out;
    for line in ["  0  healthy", "  1  degraded", "  2  critical"] {
        assert!(help.contains(line), "{help}");
    }
}
