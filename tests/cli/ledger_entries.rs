//! `ledger list` and `ledger export` as an operator uses them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::runner::*;
use crate::support::TestDb;

const TABLE: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, encrypted_agent_config jsonb)";

/// A home with a begun ledger and one entry for `ann`.
async fn begun() -> (TestDb, Home) {
    let db = TestDb::create().await;
    db.exec(TABLE).await;
    let home = Home::over(&db.url);
    home.run(&["schema", "apply", "--vault-schema"]).ok();
    home.run(&["ledger", "begin"]).ok();
    home.put(&["--user", "ann"], SMALL).ok();
    (db, home)
}

#[tokio::test]
async fn entries_are_listed_and_no_text_of_them_steers_the_terminal() {
    let (db, home) = begun().await;
    let listed = home.run(&["ledger", "list", "--user", "ann"]).ok();
    assert!(listed.out.contains("Z  store  ann  ") && listed.out.contains("  authentic  "), "{}", listed.out);
    assert_eq!((listed.lines().count(), listed.err.as_str()), (1, ""));
    assert_eq!(home.run(&["ledger", "list", "--until", "1h"]).ok().out, "no entries\n");
    assert_eq!(home.run(&["ledger", "list", "--since", "1h", "--operation", "store"]).ok().out, listed.out);

    home.put(&["--user", "ben"], SMALL).ok();
    let first = home.run(&["ledger", "list", "--operation", "store", "--limit", "1"]).ok();
    assert!(first.out.contains("  ben  ") && first.err.contains("there are more"), "{first:?}");
    db.exec("UPDATE retell_vault.ledger SET actor = E'\\x1b[2J\\nann', at_ms = -1 WHERE usr = 'ben'").await;
    let forged = home.run(&["ledger", "list", "--user", "ben"]).ok();
    assert!(
        forged.out.contains("NOT AUTHENTIC") && forged.out.contains(r"\u{1b}[2J\u{a}ann"),
        "{}",
        forged.out
    );
    assert!(forged.out.starts_with("-1 ms  store  ben"), "{}", forged.out);
    assert!(forged.err.contains("entries that no key of this keyring made as they are: 1"), "{}", forged.err);
    let all = home.run(&["ledger", "list", "--all-places"]).ok();
    assert!(all.out.contains("  retell public.user_profiles"), "{}", all.out);
}

#[tokio::test]
async fn what_is_revealed_is_noted_before_it_is_printed() {
    let (db, home) = begun().await;
    let reads = || home.json(&["ledger", "list", "--operation", "read"])["entries"].clone();
    home.run(&["get", "--user", "ann", "--reveal", "--actor", "alice", "--reason", "ticket 7"]).ok();
    let noted = reads();
    let read = &noted[0];
    assert_eq!((noted.as_array().unwrap().len(), &read["user"]), (1, &json!("ann")), "{noted}");
    assert_eq!((&read["actor"], &read["reason"]), (&json!("alice"), &json!("ticket 7")));
    assert_eq!((&read["detail"], &read["after"]), (&json!(r#"{"fields":["api_key"]}"#), &json!(null)));
    home.run(&["get", "--user", "ann"]).ok();
    assert_eq!(reads()[0]["detail"], r#"{"count":1,"fields":["api_key"]}"#);
    home.run(&["ledger", "verify"]).ok();

    // the masked values need no ledger
    db.exec("ALTER TABLE retell_vault.ledger RENAME TO hidden").await;
    let refused = home.run(&["get", "--user", "ann", "--reveal"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");
    assert!(refused.err.contains("the read could not be noted"), "{}", refused.err);
    home.run(&["get", "--user", "ann"]).ok();
}

#[test]
fn a_reason_is_asked_for_if_the_layout_file_says_so() {
    let home = Home::new();
    home.put(&["--user", "ann"], SMALL).ok();
    fs::write(home.path().join("layout.toml"), "[ledger]\nreveal_needs_reason = true\n").unwrap();
    home.run(&["get", "--user", "ann"]).ok();
    for reason in [None, Some(" ")] {
        let mut args = vec!["get", "--user", "ann", "--reveal"];
        args.extend(reason.iter().flat_map(|reason| ["--reason", *reason]));
        let refused = home.run(&args);
        refused.fails(2, "showing a secret needs a reason", "--reason");
    }
    let revealed = home.run(&["get", "--user", "ann", "--reveal", "--reason", "ticket 7"]).ok();
    assert!(revealed.out.contains(SECRETS[0]));
}

#[tokio::test]
async fn a_refused_operation_is_listed_with_its_kind() {
    let (_db, home) = begun().await;
    let refused = home.put(&["--user", "ann", "--expect", "absent"], SMALL);
    assert_eq!(refused.code, 4, "{refused:?}");
    let listed = home.run(&["ledger", "list", "--operation", "store"]).ok();
    assert!(listed.out.contains("  store (conflict)  ann  -"), "{}", listed.out);
    home.run(&["ledger", "verify"]).ok();
}

#[tokio::test]
async fn a_time_that_is_none_is_refused_with_the_forms() {
    let home = Home::new();
    for option in ["--since", "--until"] {
        home.run(&["ledger", "list", option, "last week"]).fails(2, option, "2026-01-31T23:59:59Z");
    }
    home.run(&["ledger", "export", "--since", "7y"]).fails(2, "--since", "7d");
    home.run(&["ledger", "list", "--user", ""]).fails(2, "--user", "must not be empty");
}

#[tokio::test]
async fn an_export_goes_to_standard_output_or_to_a_new_private_file() {
    let (db, home) = begun().await;
    let printed = home.run(&["ledger", "export"]).ok();
    assert!(
        printed.out.starts_with("{\"writer\":\"") && printed.out.contains("\"usr\":\"ann\""),
        "{}",
        printed.out
    );
    let file = home.path().join("ledger.jsonl");
    let name = file.to_str().unwrap();
    let wrote = home.run(&["ledger", "export", "--out", name]).ok();
    assert!(wrote.out.starts_with(&format!("wrote {name}: entries ")), "{}", wrote.out);
    assert_eq!(fs::read_to_string(&file).unwrap(), printed.out);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    home.run(&["ledger", "verify", "--with", name]).ok();

    // an existing file stays as it is, and so does the one that a failed export began
    fs::write(&file, "mine").unwrap();
    home.run(&["ledger", "export", "--out", name]).fails(1, "cannot write", "is not overwritten");
    // a reader that leaves has a part of it at most
    let mut child = home.command(&["ledger", "export"]).spawn().unwrap();
    drop(child.stdout.take());
    let left = child.wait_with_output().unwrap();
    let said = String::from_utf8(left.stderr).unwrap();
    assert!(left.status.code() == Some(1) && said.contains("the export is not whole"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    let other = home.path().join("other.jsonl");
    db.exec("ALTER TABLE retell_vault.ledger RENAME TO hidden").await;
    let failed = home.run(&["ledger", "export", "--out", other.to_str().unwrap()]);
    assert!(failed.code == 1 && !other.exists(), "{failed:?}");
}
