//! `layout detect`: from a database that nobody described to a stored configuration.

use std::fs;

use serde_json::{Value, json};

use crate::runner::*;
use crate::support::TestDb;

const ORGANIZATIONS: &str = "CREATE TABLE organizations (id uuid PRIMARY KEY, name text, \"retellApiKey\" text, retell_agent_id text);
    INSERT INTO organizations VALUES ('00000000-0000-4000-8000-000000000001', 'Acme', 'key_test_detected_in_a_table', NULL)";
const OWNER: [&str; 2] = ["--user", "00000000-0000-4000-8000-000000000001"];
/// As likely as the first.
const ANOTHER: &str = "CREATE SCHEMA crm; CREATE TABLE crm.tenants (id bigint PRIMARY KEY, \"retellApiKey\" text, retell_agent_id text);
    INSERT INTO crm.tenants VALUES (1, 'key_test_detected_in_another', NULL)";
const WRITTEN: &str = r#"# The layout of retell-vault, described in docs/LAYOUT.md
# api_key: today in retellApiKey (plaintext); tokens go to encrypted_retell_api_key
[table]
name = "public.organizations"
user = "id"

[columns]
api_key = "encrypted_retell_api_key"
call_agent_id = "retell_agent_id"
sms_agent_id = "encrypted_sms_agent_id"

# Where credentials are today, for `retell-vault import scan`. If two sources have different values for one field of an owner, the
# first source wins. The order is that of the likelihood: check that the application reads its columns in this order, and swap the
# parts if it does not.

[[source]]
table = "public.organizations"
user = "id"
column = "retellApiKey"
field = "api_key"
decryptor = "plaintext"
"#;

fn layout_of(home: &Home) -> Option<String> {
    fs::read_to_string(home.path().join("layout.toml")).ok()
}

#[tokio::test]
async fn a_new_user_needs_no_manual() {
    let db = TestDb::create().await;
    db.exec(ORGANIZATIONS).await;
    let home = Home::empty_over(&db.url);
    let found = home.json(&["layout", "detect"]);
    assert!(layout_of(&home).is_none() && !home.path().exists(), "it only looks");
    assert_eq!((&found["chosen"], &found["left_out"]), (&json!(0), &json!([])));
    let candidate = &found["candidates"][0];
    assert_eq!(candidate["table"], "public.organizations");
    assert_eq!((&candidate["user"], &candidate["tenant"]), (&json!("id"), &Value::Null));
    assert_eq!(
        candidate["columns"],
        json!({ "api_key": "retellApiKey", "call_agent_id": "retell_agent_id" })
    );
    assert_eq!(candidate["holds"], "plaintext");

    let source = &found["sources"][0];
    assert_eq!((&source["column"], &source["field"]), (&json!("retellApiKey"), &json!("api_key")));
    assert_eq!((&source["decryptor"], &source["doubt"]), (&json!("plaintext"), &Value::Null));

    let written = home.run(&["layout", "detect", "--write"]).ok();
    assert!(
        written.out.contains("public.organizations.retellApiKey: api_key (plaintext)"),
        "{}",
        written.out
    );
    let scanned = home.json(&["import", "scan"]);
    assert_eq!(
        scanned["places"][0]["counts"],
        json!([{ "result": "opened", "shape": "plaintext", "count": 1 }])
    );
    assert!(written.out.contains("public.organizations (chosen)"), "{}", written.out);
    assert!(!written.out.contains("key_test"), "{}", written.out);
    assert_eq!(layout_of(&home).unwrap(), WRITTEN);
    let again = home.json(&["layout", "detect", "--write"]);
    assert_eq!(again["written"], false);

    home.run(&["init"]).ok();
    home.run(&["schema", "apply"]).ok();
    home.put(&OWNER, FULL).ok();
    let row: Value = crate::support::rows::value(&db, "SELECT to_jsonb(o) FROM organizations AS o").await;
    assert_eq!(row["retellApiKey"], "key_test_detected_in_a_table", "what is there stays");
    assert!(row["retell_agent_id"].as_str().unwrap().starts_with("rv1."));
    let found = home.json(&["layout", "detect"]);
    assert_eq!(found["candidates"][0]["columns"]["call_agent_id"], "retell_agent_id");
}

#[tokio::test]
async fn nothing_is_guessed() {
    let db = TestDb::create().await;
    let home = Home::empty_over(&db.url);
    let write = ["layout", "detect", "--write"];
    assert_eq!(home.json(&["layout", "detect"])["candidates"], json!([]));
    home.run(&write).fails(1, "no table looks like one for credentials", "layout write");

    db.exec(ORGANIZATIONS).await;
    db.exec(ANOTHER).await;
    assert_eq!(home.json(&["layout", "detect"])["chosen"], Value::Null);
    home.run(&write).fails(1, "no table leads clearly", "--table");
    home.run(&[&write[..], &["--table", "public.absent"]].concat()).fails(
        1,
        "does not exist",
        "without --table",
    );
    assert!(layout_of(&home).is_none());
    let of_one = home.json(&["layout", "detect", "--schema", "crm"]);
    assert_eq!((&of_one["chosen"], &of_one["candidates"][0]["table"]), (&json!(0), &json!("crm.tenants")));
    home.run(&[&write[..], &["--table", "crm.tenants"]].concat()).ok();
    let first = layout_of(&home).unwrap();
    assert!(first.contains("crm.tenants"), "{first}");

    let other = [&write[..], &["--table", "organizations"]].concat();
    home.run(&other).fails(1, "already there, with another layout", "--replace");
    assert_eq!(layout_of(&home).unwrap(), first);
    home.run(&[&other[..], &["--replace"]].concat()).ok();
    let second = layout_of(&home).unwrap();
    let (own, others) = second.split_at(WRITTEN.len());
    assert_eq!(own, WRITTEN);
    let why = "# not in use, because nothing shows that id of crm.tenants names the same owners as id of public.organizations";
    assert!(
        others.contains(why) && others.lines().all(|line| line.is_empty() || line.starts_with('#')),
        "{others}"
    );
}

#[tokio::test]
async fn wrong_input_is_named() {
    let db = TestDb::create().await;
    let home = Home::empty_over(&db.url);
    let detect = |args: &[&str]| home.run(&[&["layout", "detect"][..], args].concat());
    detect(&["--schema", "absent"]).fails(3, "no table in schema absent", "USAGE");
    detect(&["--user-column", "id"]).fails(2, "--user-column", "layout write");
    let alone = detect(&["--replace"]);
    assert!(alone.code == 2 && alone.err.contains("--write"), "{alone:?}");
    detect(&["--table", "a.b.c"]).fails(2, "--table", "schema.table");
    Home::empty().run(&["layout", "detect"]).fails(2, "needs a database", "DATABASE_URL");
    let away = Home::empty_over(crate::database::AWAY);
    away.run(&["layout", "detect"]).fails(1, "", "database is up");
}

/// The default table is missing, or nothing can be stored in it.
#[tokio::test]
async fn init_and_status_propose_it() {
    let db = TestDb::create().await;
    db.exec(ORGANIZATIONS).await;
    let home = Home::empty_over(&db.url);
    for command in ["init", "status"] {
        let ran = home.run(&[command]).ok();
        assert!(ran.err.contains("`retell-vault layout detect` finds the table"), "{command}: {}", ran.err);
    }
    home.run(&["layout", "detect", "--write"]).ok();
    home.run(&["schema", "apply"]).ok();
    let ran = home.run(&["status"]).ok();
    assert!(!ran.err.contains("layout detect"), "{}", ran.err);
}
