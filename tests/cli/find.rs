//! `find` and `index`: who has an agent, with an index and without one.

use serde_json::json;

use crate::runner::*;
use crate::support::TestDb;

const TABLE: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY)";

fn config(agent: &str) -> String {
    format!(
        r#"{{"api_key":"key_test_0000_{agent}","call_agent_id":"agent_test_{agent}","phone_number":"+14155550100"}}"#
    )
}

#[tokio::test]
async fn an_owner_is_found_with_and_without_an_index() {
    let db = TestDb::create().await;
    db.exec(TABLE).await;
    let home = Home::over(&db.url);
    home.run(&["schema", "apply"]).ok();
    for user in ["a", "b"] {
        home.put(&["--user", user], &config(user)).ok();
    }
    let find = |value: &[&str]| home.run(&[&["find"][..], value].concat());
    let refused = home.run(&["index", "build"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("schema apply"), "{}", refused.err);

    let status = || home.json(&["status"])["database"]["index"].clone();
    let told = || home.run(&["status"]).ok().out;
    assert_eq!(status(), json!(null));
    assert!(told().contains("none: `retell-vault find` reads every record"), "{}", told());

    let by_agent = ["--agent", "agent_test_b"];
    let scanned = find(&by_agent).ok();
    assert!(scanned.out.starts_with("b ") && scanned.err.contains("every record was read"), "{scanned:?}");
    assert!(!format!("{scanned:?}").contains("agent_test_b"), "{scanned:?}");
    let nobody = find(&["--agent", "agent_test_c"]);
    assert!(nobody.code == 3 && nobody.err.contains("every record was read"), "{nobody:?}");

    // the vault of the command uses a column that exists; the planner creates it on request
    home.run(&["schema", "apply", "--column", "index=retell_vault_index"]).ok();
    let of_index = |usable: bool, complete: bool| json!({ "column": "retell_vault_index", "usable": usable, "complete": complete });
    assert_eq!(status(), of_index(true, false));
    assert!(told().contains("some records are missing: run `retell-vault index build`"), "{}", told());
    let built = home.run(&["index", "build", "--json"]).ok().json();
    assert_eq!(status(), of_index(true, true));
    assert!(told().contains("retell_vault_index: complete\n"), "{}", told());
    assert_eq!(
        (&built["complete"], &built["indexed"], &built["epoch"]),
        (&json!(true), &json!(2), &json!(1))
    );
    let found = find(&by_agent).ok();
    assert!(found.out.starts_with("b ") && found.err.is_empty(), "{found:?}");
    let both = find(&["--phone", "+14155550100", "--json"]).ok().json();
    assert_eq!(both["owners"].as_array().unwrap().len(), 2);
    assert_eq!((&both["scanned"], &both["more"]), (&json!(false), &json!(false)));
    let nobody = find(&["--agent", "agent_test_c"]);
    assert!(nobody.code == 3 && !nobody.err.contains("read"), "{nobody:?}");

    let rotated = home.run(&["index", "rotate"]).ok();
    assert!(
        rotated.err.contains("back it up") && rotated.err.contains("--other-hosts-synced"),
        "{}",
        rotated.err
    );
    let rotated = home.run(&["index", "rotate", "--other-hosts-synced", "--json"]).ok().json();
    assert_eq!((&rotated["epoch"], &rotated["earlier_keys"]), (&json!(2), &json!(0)));
    assert!(find(&by_agent).ok().err.is_empty());
    assert_eq!(
        home.run(&["doctor"]).code,
        1,
        "the number belongs to two owners, and nothing guards the rest"
    );
    db.exec("DO $$ BEGIN EXECUTE (SELECT 'DROP INDEX ' || indexrelid::regclass FROM pg_index JOIN pg_class c ON c.oid = indexrelid
        JOIN pg_am a ON a.oid = c.relam WHERE amname = 'gin' AND indrelid = 'user_profiles'::regclass); END $$")
        .await;
    assert_eq!(status(), of_index(false, true));
    assert!(told().contains("cannot be used: run `retell-vault schema apply`"), "{}", told());
    // what stands on the command line is checked before anything else
    let wrong = find(&["--phone", "not a number"]);
    assert!(wrong.code == 2 && !wrong.err.contains("not a number"), "{wrong:?}");
    assert_eq!(home.run(&["find"]).code, 2);
}
