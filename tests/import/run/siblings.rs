//! What belongs to the application stays: an import clears only what the record holds.

use retell_vault::Layout;
use retell_vault::layout::OldSource;
use serde_json::{Value, json};

use super::support::*;
use crate::support::rows::{table, value};

const OLD: &str = "CREATE TABLE old (user_id text PRIMARY KEY, config jsonb, printed json, written text)";

fn members() -> Layout {
    let plain = |column: &str| OldSource::new("old", "user_id", column, "plaintext").unwrap();
    layout(["config", "printed", "written"].map(plain))
}

async fn imported(rows: &str) -> (Scene, retell_vault::config::import::ImportReport) {
    let scene = Scene::new(OLD, members()).await;
    scene.db.exec(&format!("INSERT INTO old VALUES {rows}")).await;
    let report = scene.import_and_clear().await;
    (scene, report)
}

#[tokio::test]
async fn a_member_that_did_not_open_stays_beside_one_that_did() {
    let (scene, report) = imported(
        r#"('user-1', '{"api_key": {"openai": "sk_test_own"}, "retell_api_key": "key_test_0001"}', NULL, NULL)"#,
    )
    .await;
    assert_eq!(counts(&report), [1, 1, 1, 0], "{report:?}");
    assert_eq!(scene.loaded("user-1", "api_key").await.unwrap(), "key_test_0001");
    let left: Value = value(&scene.db, "SELECT config FROM old").await;
    assert_eq!(left, json!({ "api_key": { "openai": "sk_test_own" } }));
    assert_eq!(report.not_cleared.len(), 1, "{report:?}");
}

#[tokio::test]
async fn an_object_stays_if_a_member_of_it_was_not_imported() {
    let (scene, report) = imported(
        r#"('user-1', '{"api_key": "key_test_0001", "webhook_config": {"webhook_url": "https://example.com/hook", "secret": 7}}', NULL, NULL)"#,
    )
    .await;
    assert_eq!(scene.loaded("user-1", "api_key").await.unwrap(), "key_test_0001");
    let left: Value = value(&scene.db, "SELECT config FROM old").await;
    assert_eq!(left["webhook_config"]["secret"], 7, "{report:?}");
    assert_eq!(left.get("api_key"), None, "{report:?}");
    assert_eq!(report.not_cleared.len(), 1, "{report:?}");
}

#[tokio::test]
async fn a_text_in_the_own_column_with_other_members_is_not_replaced() {
    let source = OldSource::new("user_profiles", "user_id", "encrypted_retell_api_key", "plaintext").unwrap();
    let tables = r#"CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text);
        INSERT INTO user_profiles VALUES ('user-1', '{"retell_api_key": "key_test_0001", "stripe_key": "sk_test_own"}'),
            ('user-2', '{"retell_api_key": "key_test_0002"}')"#;
    let scene = Scene::new(tables, Layout::new().source(source).unwrap()).await;
    let before = table(&scene.db, "user_profiles").await;
    let report = scene.import_and_clear().await;
    assert_eq!(counts(&report), [1, 1, 1, 0], "{report:?}");
    assert_eq!(table(&scene.db, "user_profiles").await[0], before[0]);
    assert_eq!(scene.loaded("user-2", "api_key").await.unwrap(), "key_test_0002");
    let failed: Vec<_> = report.failed.iter().map(|found| (found.user.as_str(), found.result)).collect();
    assert_eq!(failed, [("user-1", "not_stored")]);
}

#[tokio::test]
async fn a_plain_column_that_the_application_filled_is_not_overwritten() {
    let source = |column: &str, name: &str| {
        OldSource::new("old", "user_id", column, "plaintext").unwrap().field(field(name))
    };
    let layout = [source("key", "api_key"), source("phone", "phone_number")]
        .into_iter()
        .fold(Layout::new().column(field("phone_number"), "phone_number").unwrap(), |layout, source| {
            layout.source(source).unwrap()
        });
    let tables = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, phone_number text);
        CREATE TABLE old (user_id text PRIMARY KEY, key text, phone text);
        INSERT INTO old SELECT 'user-' || n, 'key_test_000' || n, '+14155550100' FROM generate_series(1, 3) n;
        INSERT INTO user_profiles VALUES ('user-1', NULL, '+14155550199'), ('user-2', NULL, '+14155550100'), ('user-3', NULL, NULL)";
    let scene = Scene::new(tables, layout).await;
    let report = scene.import_and_clear().await;
    assert_eq!(report.progress.sealed, 2, "{report:?}");
    let rows = table(&scene.db, "user_profiles").await;
    assert_eq!(rows[0]["phone_number"], "+14155550199");
    assert_eq!(
        (&rows[1]["phone_number"], &rows[2]["phone_number"]),
        (&json!("+14155550100"), &json!("+14155550100"))
    );
    assert!(
        report.failed.iter().all(|found| (found.user.as_str(), found.result) == ("user-1", "not_stored"))
    );
    assert_eq!(report.failed.len(), 2, "{report:?}");
}

#[tokio::test]
async fn json_that_cannot_be_read_and_texts_that_are_cut_are_listed() {
    let (_, report) = imported(
        r#"('user-1', '{"api_key": "key_test_0001", "n": 1e400}', NULL, NULL),
        ('user-2', NULL, (repeat('[', 200) || repeat(']', 200))::json, NULL),
        ('user-3', ('{"api_key": "key_test_0003", "x": "' || repeat('x', 1100000) || '"}')::jsonb, NULL, NULL),
        ('user-4', NULL, NULL, '{"api_key": "key_test_0004", "x": "' || repeat('x', 1100000) || '"}'),
        ('user-5', NULL, NULL, ' {"api_key": "key_test_0005'), ('user-6', NULL, NULL, 'nothing {')"#,
    )
    .await;
    let others: Vec<_> = report.not_credentials.iter().map(|found| found.user.as_str()).collect();
    assert_eq!(others, ["user-6"], "{report:?}");
    let mut why: Vec<_> =
        report.corrupt.iter().map(|found| (found.user.as_str(), found.reason.as_str())).collect();
    why.sort_unstable();
    let (unread, long) = ("JSON that cannot be read", "longer than 1 MiB, so it is not read");
    assert_eq!(
        why,
        [("user-1", unread), ("user-2", unread), ("user-3", long), ("user-4", long), ("user-5", unread)]
    );
}

#[tokio::test]
async fn members_that_cannot_be_removed_without_a_loss_are_listed_and_stay() {
    let (scene, report) = imported(
        r#"('user-1', NULL, NULL, '{"api_key": "key_test_0001", "note": "\u0000"}'),
        ('user-2', NULL, '{"api_key": "key_test_0002", "keep": 1, "keep": 2}', NULL),
        ('user-3', '"{\"api_key\": \"key_test_0003\"}"', NULL, NULL)"#,
    )
    .await;
    assert_eq!(counts(&report), [3, 3, 0, 0], "{report:?}");
    let mut why: Vec<_> =
        report.not_cleared.iter().map(|found| (found.user.as_str(), found.reason.as_str())).collect();
    why.sort_unstable();
    let parts = ["u0000", "twice", "a text that holds JSON"];
    assert_eq!(why.len(), 3, "{why:?}");
    assert!(why.iter().zip(parts).all(|((_, reason), part)| reason.contains(part)), "{why:?}");
    let left: i64 = value(&scene.db, "SELECT count(*) FROM old WHERE old::text LIKE '%key_test%'").await;
    assert_eq!(left, 3);
}

#[tokio::test]
async fn a_value_that_a_trigger_restores_does_not_count_as_cleared() {
    let tables = "CREATE TABLE old (user_id text PRIMARY KEY, key text); INSERT INTO old VALUES ('user-1', 'key_test_0001');
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.key := OLD.key; RETURN NEW; END';
        CREATE TRIGGER keep BEFORE UPDATE ON old FOR EACH ROW EXECUTE FUNCTION keep()";
    let scene = Scene::new(tables, layout([column("old", "key", "api_key")])).await;
    let report = scene.import_and_clear().await;
    assert_eq!(counts(&report), [1, 1, 0, 0], "{report:?}");
    assert_eq!(report.not_cleared.len(), 1);
}

/// What is cleared under another name of the vault's table may be the vault's own plain value.
#[tokio::test]
async fn nothing_is_cleared_through_a_view_or_a_partition_of_the_vaults_table() {
    for place in ["shown", "people_1"] {
        let sources = [column(place, "old_key", "api_key"), column(place, "phone_number", "phone_number")];
        let layout =
            Layout::new().table("people").unwrap().column(field("phone_number"), "phone_number").unwrap();
        let layout = sources.into_iter().fold(layout, |layout, source| layout.source(source).unwrap());
        let tables = "CREATE TABLE people (user_id text PRIMARY KEY, old_key text, phone_number text, encrypted_agent_config jsonb)
                PARTITION BY RANGE (user_id);
            CREATE TABLE people_1 PARTITION OF people DEFAULT;
            CREATE VIEW inner_view AS SELECT * FROM people; CREATE VIEW shown AS SELECT * FROM inner_view;
            INSERT INTO people VALUES ('user-1', 'key_test_0001', '+14155550100')";
        let scene = Scene::new(tables, layout).await;
        let report = scene.import_and_clear().await;
        assert_eq!((report.progress.sealed, report.progress.cleared), (1, 0), "{place}: {report:?}");
        let rows = table(&scene.db, "people").await;
        assert_eq!(
            (&rows[0]["old_key"], &rows[0]["phone_number"]),
            (&json!("key_test_0001"), &json!("+14155550100"))
        );
        let reasons = named(&report.not_cleared);
        assert!(
            !reasons.is_empty() && reasons.iter().all(|(.., why)| why.contains("vault's own table")),
            "{reasons:?}"
        );
    }
}
