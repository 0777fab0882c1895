//! The layout that is proposed for a table: where tokens would go.

use retell_vault::Layout;
use retell_vault::schema::{DetectOptions, Proposal};

use crate::support::TestDb;

const KEY: &str = "key_test_75c16db3fcfe954aa606be81";

/// The proposal for a table that is named.
async fn proposal(db: &TestDb, table: &str) -> Proposal {
    let found = Layout::detect(&db.url, &DetectOptions::new().table(table)).await.unwrap();
    found.proposal().unwrap_or_else(|| panic!("no proposal for {table}: {found:?}")).clone()
}

/// The lines of the file that name columns for values.
fn columns(proposal: &Proposal) -> Vec<String> {
    let text = proposal.layout.to_toml();
    let text = text.split("[[source]]").next().unwrap().trim_end();
    let lines = text.split("[columns]\n").nth(1).unwrap_or_default().lines();
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn tokens_go_to_no_column_that_holds_other_values_or_cannot_take_them() {
    let db = TestDb::create().await;
    db.exec("CREATE DOMAIN short AS text CHECK (length(VALUE) < 50)").await;
    // once one is named, the others are too: `schema apply` adds no others then
    let new = "api_key = \"retell_vault_api_key\"\ncall_agent_id = \"encrypted_call_agent_id\"\nsms_agent_id = \"encrypted_sms_agent_id\"";
    // the definition of the default column, its value, and the lines for columns
    for (table, column, value, expected) in [
        ("free", "text", "NULL", ""),
        ("wide", "varchar(4000)", "''", ""),
        ("old_ciphertext", "varchar(50)", "'U2FsdGVkX1cGIszlScA6kBGKBl0AaseychKvfdfSdEPRx'", new),
        ("other_text", "text", "'see the wiki'", new),
        ("narrow", "varchar(50)", "NULL", new),
        ("padded", "char(500)", "NULL", new),
        ("not_null", "text NOT NULL", "''", new),
        ("its_own", "text GENERATED ALWAYS AS (NULL::text) STORED", "DEFAULT", new),
        ("uniquely", "text UNIQUE", "NULL", new),
        ("checked", "text CHECK (encrypted_retell_api_key LIKE 'enc:%')", "NULL", new),
        ("of_a_domain", "short", "NULL", new),
        ("of_bytes", "bytea", "NULL", new),
        ("referring", "text REFERENCES free (name)", "NULL", new),
    ] {
        db.exec(&format!(
            "CREATE TABLE {table} (id serial PRIMARY KEY, name text UNIQUE, retell_api_key text, encrypted_retell_api_key {column});
             INSERT INTO {table} (retell_api_key, encrypted_retell_api_key) VALUES ('{KEY}', {value})"
        ))
        .await;
        let proposal = proposal(&db, table).await;
        assert_eq!(columns(&proposal).join("\n"), expected, "{table}: {:?}", proposal.remarks);
        let about_today = |remark: &String| {
            remark.contains(" retell_api_key") || remark.contains("encrypted_retell_api_key")
        };
        assert!(proposal.remarks.iter().any(about_today), "{table}: {:?}", proposal.remarks);
    }
    // an index on an expression is unique too
    db.exec("CREATE UNIQUE INDEX ON free (lower(encrypted_retell_api_key))").await;
    assert_eq!(columns(&proposal(&db, "free").await).join("\n"), new);
}

#[tokio::test]
async fn a_name_that_is_taken_gets_a_number() {
    let db = TestDb::create().await;
    db.exec(&format!(
        "CREATE TABLE orgs (id uuid PRIMARY KEY, retell_api_key text, encrypted_retell_api_key text, retell_vault_api_key text,
             encrypted_agent_config jsonb, retell_vault_config text, retell_integration_status text, last_retell_sync timestamptz);
         INSERT INTO orgs VALUES (gen_random_uuid(), '{KEY}', 'other', 'other', '{{\"voice\": \"a\"}}', 'other', 'active', now())"
    ))
    .await;
    let proposal = proposal(&db, "orgs").await;
    assert_eq!(
        columns(&proposal),
        [
            "api_key = \"retell_vault_api_key_2\"",
            "call_agent_id = \"encrypted_call_agent_id\"",
            "sms_agent_id = \"encrypted_sms_agent_id\"",
            "config = \"retell_vault_config_2\"",
            "sync = \"retell_vault_sync\"",
            "sealed = [\"integration_status\"]",
        ],
        "{:?}",
        proposal.remarks
    );
    let text = proposal.to_toml();
    for today in [
        "# api_key: today in retell_api_key (plaintext)",
        "encrypted_agent_config",
        "retell_integration_status",
    ] {
        assert!(text.contains(today), "{today} is in {text}");
    }
    assert_eq!(Layout::from_toml(&text).unwrap(), proposal.layout);
}

#[tokio::test]
async fn one_value_in_a_large_table_is_not_overlooked() {
    let db = TestDb::create().await;
    db.exec(&format!(
        "CREATE TABLE orgs (id serial PRIMARY KEY, retell_api_key text, encrypted_sms_agent_id text, encrypted_agent_config jsonb);
         INSERT INTO orgs (retell_api_key) SELECT '{KEY}' FROM generate_series(1, 5000);
         UPDATE orgs SET encrypted_sms_agent_id = 'other', encrypted_agent_config = '{{\"voice\": \"a\"}}' WHERE id = 4711"
    ))
    .await;
    for _ in ["without an estimate of its rows", "with one"] {
        let proposal = proposal(&db, "orgs").await;
        let expected = [
            "api_key = \"encrypted_retell_api_key\"",
            "call_agent_id = \"encrypted_call_agent_id\"",
            "sms_agent_id = \"retell_vault_sms_agent_id\"",
            "config = \"retell_vault_config\"",
        ];
        assert_eq!(columns(&proposal), expected, "{:?}", proposal.remarks);
        db.exec("ANALYZE orgs").await;
    }
}

#[tokio::test]
async fn tokens_and_empty_columns_keep_their_place() {
    let db = TestDb::create().await;
    db.exec(
        "CREATE TABLE voice (org_id uuid PRIMARY KEY, provider text NOT NULL, api_key_enc text, webhook_secret text, settings jsonb,
             retell_integration_status text);
         INSERT INTO voice VALUES (gen_random_uuid(), 'retell', 'rv1.1.cc987def.AAAA', NULL, '{\"retell_vault\": {\"record\": \"rv1.1.cc987def.AAAA\"}}', 'active'),
             (gen_random_uuid(), 'vapi', NULL, NULL, NULL, NULL)",
    )
    .await;
    let proposal = proposal(&db, "voice").await;
    let expected = ["api_key = \"api_key_enc\"", "webhook_key = \"webhook_secret\"", "config = \"settings\""];
    assert_eq!(columns(&proposal), expected, "{:?}", proposal.remarks);
}

#[tokio::test]
async fn a_name_with_a_line_break_adds_no_line_to_the_file() {
    let db = TestDb::create().await;
    db.exec(&format!(
        "CREATE TABLE orgs (id uuid PRIMARY KEY, \"retell\nrows = 'create' #_api_key\" text);
         INSERT INTO orgs VALUES (gen_random_uuid(), '{KEY}')"
    ))
    .await;
    let proposal = proposal(&db, "orgs").await;
    let text = proposal.to_toml();
    assert_eq!(Layout::from_toml(&text).unwrap(), proposal.layout, "{text}");
    assert!(text.lines().all(|line| !line.starts_with("rows")), "{text}");
}
