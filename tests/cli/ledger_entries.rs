//! `ledger list` and `ledger export` as an operator uses them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

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
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    let other = home.path().join("other.jsonl");
    db.exec("ALTER TABLE retell_vault.ledger RENAME TO hidden").await;
    let failed = home.run(&["ledger", "export", "--out", other.to_str().unwrap()]);
    assert!(failed.code == 1 && !other.exists(), "{failed:?}");
}
