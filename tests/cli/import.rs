//! `import scan`: from a layout file with sources to what they hold.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::runner::*;
use crate::support::TestDb;

pub const TABLES: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, updated_at timestamptz);
    CREATE TABLE user_settings (user_id uuid, retell_config jsonb);
    INSERT INTO user_profiles VALUES
        ('00000000-0000-4000-8000-000000000001', 'a2V5X3Rlc3RfNGIwYzE3NDFiNGUwNTAwZjQ2YzU=:ZmFsbGJhY2staXY=:ZmFsbGJhY2stdGFn:1'),
        ('00000000-0000-4000-8000-000000000002', 'cbc:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='),
        ('00000000-0000-4000-8000-000000000003', NULL);
    INSERT INTO user_settings VALUES
        ('00000000-0000-4000-8000-000000000001', '{\"api_key\": \"key_test_another_canary\", \"sms_agent_id\": \"\"}'),
        ('00000000-0000-4000-8000-000000000002', '{\"retell_api_key\": \"key_test_not_ascii_ü\", \"call_agent_id\": \"agent_test_0002\"}'),
        ('00000000-0000-4000-8000-000000000003', '\"{\\\"fallback_department\\\": \\\"x\\\"}\"')";
pub const LAYOUT: &str = r#"
[[source]]
table = "user_profiles"
user = "user_id"
column = "encrypted_retell_api_key"
field = "api_key"
decryptor = "carexps"

[[source]]
table = "user_settings"
user = "user_id"
column = "retell_config"
decryptor = "plaintext"
"#;
const FERNET: &str = r#"
[[source]]
table = "old"
user = "id"
column = "key"
field = "api_key"
decryptor = "fernet"
"#;
/// From the specification of Fernet.
const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
const TOKEN: &str =
    "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";

fn with_layout(db: &TestDb, layout: &str) -> Home {
    let home = Home::over(&db.url);
    fs::write(home.path().join("layout.toml"), layout).unwrap();
    home
}

#[tokio::test]
async fn a_scan_counts_what_is_there_and_names_what_is_not() {
    let db = TestDb::create().await;
    db.exec(TABLES).await;
    let home = with_layout(&db, LAYOUT);
    let before: Value = crate::support::rows::value(
        &db,
        "SELECT jsonb_agg(p) || (SELECT jsonb_agg(s) FROM user_settings s) FROM user_profiles p",
    )
    .await;
    let found = home.json(&["import", "scan"]);
    let count =
        |result: &str, shape: &str, count: u64| json!({ "result": result, "shape": shape, "count": count });
    assert_eq!(
        found["places"][0],
        json!({ "place": "public.user_profiles.encrypted_retell_api_key", "decryptor": "carexps", "rows": 2,
            "counts": [count("opened", "fallback", 1), count("unrecoverable", "cbc", 1)], "sample": "key_…46c5", "given_up": 0 })
    );
    assert_eq!(
        found["places"][1]["counts"],
        json!([
            count("beyond_limits", "plaintext", 1),
            count("not_a_credential", "json", 1),
            count("opened", "plaintext", 2)
        ])
    );
    assert_eq!(found["owners"], 2);
    let lost: Vec<_> = found["lost"].as_array().unwrap().iter().map(|lost| &lost["result"]).collect();
    assert_eq!(lost, ["unrecoverable", "beyond_limits", "not_a_credential"]);
    let one = |field: &str, place: &str| json!([{ "user": "00000000-0000-4000-8000-000000000001", "tenant": Value::Null, "field": field, "place": place }]);
    assert_eq!(found["disagreed"], one("api_key", "public.user_settings.retell_config"));
    assert_eq!(found["replace_at_provider"], one("api_key", "public.user_profiles.encrypted_retell_api_key"));

    let ran = home.run(&["import", "scan"]).ok();
    assert!(ran.out.contains("public.user_settings.retell_config (plaintext, 3 rows)"), "{}", ran.out);
    for canary in ["key_test_4b0c", "canary", "fallback_department", "agent_test_0002", "not_ascii"] {
        assert!(!format!("{ran:?}{found}").contains(canary), "{canary}: {ran:?}");
    }
    let after: Value = crate::support::rows::value(
        &db,
        "SELECT jsonb_agg(p) || (SELECT jsonb_agg(s) FROM user_settings s) FROM user_profiles p",
    )
    .await;
    assert_eq!(before, after, "it writes nothing");
}

#[tokio::test]
async fn a_key_that_opens_nothing_is_said_after_the_first_hundred() {
    let db = TestDb::create().await;
    db.exec(&format!("CREATE TABLE old (id int, key text); INSERT INTO old SELECT n, '{TOKEN}' FROM generate_series(1, 150) n")).await;
    let home = with_layout(&db, FERNET);
    home.run(&["import", "scan"]).fails(1, "no secret is a key for it", "--secret");
    let scan = ["import", "scan", "--json", "--secret", "WRONG=env:WRONG"];
    let wrong = [("WRONG", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
    let ran = home.run_with(&scan, &wrong, "").ok();
    ran.warns("none of the first values opens, so the other 50 rows were left out");
    assert_eq!(ran.json()["places"][0]["given_up"], 50);

    let file = home.path().join("old.key");
    fs::write(&file, format!("{KEY}\n")).unwrap();
    let from_file = format!("KEY=file:{}", file.display());
    let both = [&scan[..], &["--secret", &from_file]].concat();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    home.run_with(&both, &wrong, "").fails(
        2,
        "--secret KEY: the file is open to group or others",
        "chmod 600",
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let ran = home.run_with(&both, &wrong, "").ok();
    assert_eq!(
        ran.json()["places"][0]["counts"][0],
        json!({ "result": "opened", "shape": "fernet", "count": 150 })
    );
    assert!(!ran.err.contains("warning"), "{ran:?}");
}

#[tokio::test]
async fn a_view_limits_a_scan_to_some_rows() {
    let db = TestDb::create().await;
    db.exec("CREATE TABLE keys (id int, key text, is_active boolean)").await;
    db.exec("CREATE VIEW active AS SELECT * FROM keys WHERE is_active").await;
    db.exec("INSERT INTO keys VALUES (1, 'key_test_0001', true), (2, 'key_test_0002', false)").await;
    let layout = FERNET.replace("old", "active").replace("fernet", "plaintext");
    let found = with_layout(&db, &layout).json(&["import", "scan"]);
    assert_eq!((&found["places"][0]["rows"], &found["owners"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn wrong_input_to_a_scan_is_named() {
    let db = TestDb::create().await;
    let home = with_layout(&db, LAYOUT);
    home.run(&["import", "scan"]).fails(1, "source public.user_profiles.encrypted_retell_api_key", "");
    for secret in ["key_test_canary", "A=key_test_canary", "A=env:", "key_test_canary=env:A=b"] {
        let ran = home.run(&["import", "scan", "--secret", secret]);
        assert!(ran.code == 2 && !ran.err.contains("canary"), "{ran:?}");
    }
    home.run(&["import", "scan", "--secret", "A=env:NO_SUCH_VARIABLE"]).fails(
        2,
        "--secret A: the variable is not set",
        "",
    );
    Home::over(&db.url).run(&["import", "scan"]).fails(1, "the layout names no source", "[[source]]");
    Home::new().run(&["import", "scan"]).fails(2, "needs a database", "DATABASE_URL");
}

/// A key under 32 bytes of 5e and a nonce of twelve bytes of 11, with nonce, ciphertext and tag one after the other.
const SEALED_BYTES: &str = "1111111111111111111111114062efbf72f59d671cd28a6f4e198463f2788fee5da20bef1cfde508cace1549e5899980cb84d0a42423ce00";

#[tokio::test]
async fn bytes_are_read_as_a_ciphertext_or_as_a_text() {
    let db = TestDb::create().await;
    // some roles print bytes in the older form
    db.exec("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET bytea_output = escape', current_database()); END $$").await;
    let (nonce, rest) = SEALED_BYTES.split_at(24);
    let (sealed, tag) = rest.split_at(rest.len() - 32);
    db.exec(&format!(
        "CREATE TABLE old (id int, key bytea, iv bytea, tag bytea);
         INSERT INTO old VALUES (1, '\\x{SEALED_BYTES}'), (2, '\\x{nonce}{tag}{sealed}'), (3, '\\x{nonce}ff{rest}'), (4, '\\x1234');
         CREATE TABLE parts AS SELECT 1 AS id, '\\x{sealed}'::bytea AS key, '\\x{nonce}'::bytea AS iv, '\\x{tag}'::bytea AS tag;
         CREATE TABLE texts AS SELECT 1 AS id, 'key_test_bytes_of_text_canary'::bytea AS key UNION SELECT 2, '\\xff00' UNION SELECT 3, '{TOKEN}'"
    ))
    .await;
    let key = ("KEY", "5e".repeat(32));
    let scan = |layout: &str| {
        let args = ["import", "scan", "--json", "--secret", "KEY=env:KEY", "--secret", "FERNET=env:FERNET"];
        let variables = [(key.0, key.1.as_str()), ("FERNET", KEY)];
        let ran = with_layout(&db, layout).run_with(&args, &variables, "").ok();
        assert!(!ran.out.contains("canary"), "{}", ran.out);
        let counts = ran.json()["places"][0]["counts"].as_array().unwrap().clone();
        let count = |count: &Value| {
            format!("{} {} {}", count["result"], count["shape"], count["count"]).replace('"', "")
        };
        counts.iter().map(count).collect::<Vec<_>>()
    };
    let of = |table: &str, decryptor: &str| FERNET.replace("old", table).replace("fernet", decryptor);
    assert_eq!(scan(&of("old", "aes-gcm")), ["corrupt aes-gcm 2", "opened aes-gcm 2"]);
    let parts = of("parts", "aes-gcm") + "iv = \"iv\"\ntag = \"tag\"\n";
    assert_eq!(scan(&parts), ["opened aes-gcm 1"]);
    let texts = scan(&of("texts", "plaintext"));
    assert_eq!(texts, ["corrupt bytes 1", "opened plaintext 1", "unknown unknown 1"]);
    assert_eq!(scan(&of("texts", "fernet")), ["corrupt bytes 1", "opened fernet 1", "unknown unknown 1"]);
}

#[tokio::test]
async fn only_rows_that_count_are_read() {
    let db = TestDb::create().await;
    db.exec(
        "CREATE TYPE provider AS ENUM ('retell', 'vapi');
         CREATE TABLE old (id int, key text, kind provider, is_live boolean, rank smallint, code char(9), deleted_at timestamptz);
         INSERT INTO old VALUES (1, 'key_test_counts', 'retell', true, 7, 'it''s', NULL), (2, 'key_test_vapi', 'vapi', true, 7, 'it''s', NULL),
             (3, 'key_test_dead', 'retell', false, 7, 'it''s', NULL), (4, 'key_test_rank', 'retell', true, 8, 'it''s', NULL),
             (5, 'key_test_code', 'retell', true, 7, 'its', NULL), (6, 'key_test_gone', 'retell', true, 7, 'it''s', now()),
             (7, 'key_test_null', NULL, true, 7, 'it''s', NULL)",
    )
    .await;
    let layout = FERNET.replace("fernet", "plaintext")
        + "where = { kind = \"retell\", is_live = true, rank = 7, code = \"it's\" }\nis_null = [\"deleted_at\"]\n";
    let found = with_layout(&db, &layout).json(&["import", "scan"]);
    assert_eq!((&found["places"][0]["rows"], &found["owners"]), (&json!(1), &json!(1)));
}
