//! What is cleared, and what stays.

use retell_vault::config::import::{ImportOptions, Passwords};
use retell_vault::layout::OldSource;
use retell_vault::{ErrorKind, Layout};
use serde_json::{Value, json};

use super::support::*;
use crate::support::rows::{table, value};
use crate::support::vaults::*;

#[tokio::test]
async fn of_json_only_the_imported_members_go() {
    let tables = "CREATE TABLE old (user_id text PRIMARY KEY, config jsonb, printed json, written text)";
    let plain = |column: &str| OldSource::new("old", "user_id", column, "plaintext").unwrap();
    let sources = [
        plain("config").member("retell.key", field("api_key")).unwrap(),
        plain("config").member("agent", field("call_agent_id")).unwrap(),
        plain("printed"),
        plain("written"),
    ];
    let scene = Scene::new(tables, layout(sources)).await;
    scene.db.exec(r#"INSERT INTO old VALUES
        ('user-1', '{"retell": {"key": "key_test_0001", "more": 1.10}, "agent": "agent_test_0001", "theme": "dark", "n": 12345678901234567890.10}', NULL, NULL),
        ('user-2', NULL, '{"api_key": "key_test_0002", "theme": "dark"}', NULL),
        ('user-3', NULL, NULL, '{"retell_api_key": "key_test_0003", "sms_agent_id": "agent ü", "theme": "dark"}')"#).await;
    let report = scene.import_and_clear().await;
    assert_eq!(counts(&report), [3, 3, 3, 0], "{report:?}");
    let left: Value = value(
        &scene.db,
        "SELECT jsonb_agg(coalesce(config, printed::jsonb, written::jsonb) ORDER BY user_id) FROM old",
    )
    .await;
    assert_eq!(left[0]["retell"], json!({ "more": 1.10 }));
    assert_eq!((&left[0]["theme"], left[0].get("agent")), (&json!("dark"), None));
    assert_eq!(left[1], json!({ "theme": "dark" }));
    assert_eq!(left[2], json!({ "sms_agent_id": "agent ü", "theme": "dark" }), "what was not imported stays");
    let digits: String = value(&scene.db, "SELECT config->>'n' FROM old WHERE user_id = 'user-1'").await;
    assert_eq!(digits, "12345678901234567890.10", "the application's own numbers stay as they are");
}

#[tokio::test]
async fn a_column_that_is_never_null_gets_its_empty_value_and_a_unique_one_stays() {
    let tables = "CREATE TABLE old (user_id text PRIMARY KEY, key text NOT NULL, agent varchar(50) NOT NULL UNIQUE, sms text CHECK (sms <> '' AND sms IS NOT NULL))";
    let sources = [
        column("old", "key", "api_key"),
        column("old", "agent", "call_agent_id"),
        column("old", "sms", "sms_agent_id"),
    ];
    let scene = Scene::new(tables, layout(sources)).await;
    scene.db.exec("INSERT INTO old SELECT 'user-' || n, 'key_test_' || n, 'agent_test_' || n, 'agent_test_sms_canary' FROM generate_series(1, 3) n").await;
    let report = scene.import_and_clear().await;
    assert_eq!(counts(&report), [3, 3, 3, 0]);
    let reasons: Vec<_> = report.not_cleared.iter().map(|found| found.reason.as_str()).collect();
    assert_eq!(
        reasons.iter().filter(|reason| reason.contains("unique and NOT NULL")).count(),
        3,
        "{reasons:?}"
    );
    assert_eq!(reasons.iter().filter(|reason| reason.contains("old_sms_check")).count(), 3, "{reasons:?}");
    assert!(!format!("{report:?}").contains("canary"));
    let left = table(&scene.db, "old").await;
    assert_eq!(
        left[0],
        json!({ "user_id": "user-1", "key": "", "agent": "agent_test_1", "sms": "agent_test_sms_canary" })
    );
    assert_eq!(counts(&scene.import_and_clear().await), [0, 0, 0, 3]);
}

/// The layout as applications have it: the vault seals in the column that holds the old key.
fn own_column() -> Layout {
    let source = OldSource::new("user_profiles", "user_id", "encrypted_retell_api_key", "plaintext").unwrap();
    Layout::new().source(source.field(field("api_key"))).unwrap()
}

#[tokio::test]
async fn where_the_vault_seals_in_the_column_of_the_source_sealing_is_clearing() {
    let tables = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, encrypted_call_agent_id text);
        INSERT INTO user_profiles VALUES ('user-1', 'key_test_0001', NULL), ('user-2', 'key_test_0002', NULL), ('user-3', 'not a key ü', NULL), ('user-4', 'key_test_0004', 'agent_test_foreign')";
    let scene = Scene::new(tables, own_column()).await;
    scene
        .vault
        .store_with(
            &owner("user-2"),
            &small_config(2),
            retell_vault::records::StoreOptions::new().replace_foreign(),
        )
        .await
        .unwrap();
    let before = table(&scene.db, "user_profiles").await;
    let error = scene.vault.import(&Passwords::new(), &ImportOptions::new(), |_| Ok(())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.hint().contains("--clear-source"), "{error}");
    assert_eq!(table(&scene.db, "user_profiles").await, before);

    let mut own = Vec::new();
    let listener = |event: retell_vault::config::import::ImportEvent<'_>| {
        if let retell_vault::config::import::ImportEvent::OwnColumn(place) = event {
            own.push(place.to_owned());
        }
        Ok(())
    };
    let report =
        scene.vault.import(&Passwords::new(), &ImportOptions::new().clear_source(), listener).await.unwrap();
    assert_eq!(own, ["public.user_profiles.encrypted_retell_api_key"]);
    assert_eq!(counts(&report), [1, 1, 1, 0], "{report:?}");
    assert_eq!(scene.loaded("user-1", "api_key").await.unwrap(), "key_test_0001");
    assert_eq!(scene.loaded("user-2", "api_key").await.unwrap(), key(&small_config(2)));
    let after = table(&scene.db, "user_profiles").await;
    // the text of another column was not imported, so it is not replaced, and nothing is half-done
    for user in [2, 3] {
        assert_eq!(after[user], before[user]);
    }
    let failed: Vec<_> = report.failed.iter().map(|found| (found.user.as_str(), found.result)).collect();
    assert_eq!(failed, [("user-3", "beyond_limits"), ("user-4", "not_stored")]);
    assert_eq!(counts(&scene.import_and_clear().await)[..3], [0, 0, 0], "tokens are not old values");
}

#[tokio::test]
async fn an_old_value_stays_if_it_or_the_record_changes_before_it_is_cleared() {
    let tables = "CREATE TABLE old (user_id text PRIMARY KEY, key text); INSERT INTO old VALUES ('user-1', 'key_test_0001'), ('user-2', 'key_test_0002'), ('user-3', 'key_test_0003')";
    let scene = Scene::new(tables, layout([column("old", "key", "api_key")])).await;
    scene.import().await;
    // between the reading back and the clearing, while the listener has the values
    let url = scene.db.url.clone();
    let change = move |event: retell_vault::config::import::ImportEvent<'_>| {
        if matches!(event, retell_vault::config::import::ImportEvent::Clearing(_)) {
            let sql = "UPDATE old SET key = 'key_test_0011' WHERE user_id = 'user-1'; DELETE FROM records WHERE user_id = 'user-2'";
            let url = url.clone();
            let run = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    use sqlx::Connection;
                    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
                    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
                });
            };
            std::thread::spawn(run).join().unwrap();
        }
        Ok(())
    };
    let options = ImportOptions::new().clear_source();
    let report = scene.vault.import(&Passwords::new(), &options, change).await.unwrap();
    assert_eq!(counts(&report), [0, 0, 1, 3]);
    let left: Vec<String> =
        value(&scene.db, "SELECT array_agg(key ORDER BY key) FROM old WHERE key IS NOT NULL").await;
    assert_eq!(left, ["key_test_0002", "key_test_0011"]);
    let why: Vec<_> =
        report.not_cleared.iter().map(|found| (found.user.as_str(), found.reason.as_str())).collect();
    let changed = "the old value or the record was changed meanwhile";
    assert_eq!(why, [("user-1", changed), ("user-2", changed)]);
    assert_eq!(counts(&scene.import_and_clear().await), [2, 2, 2, 0]);
    assert_eq!(scene.loaded("user-1", "api_key").await.unwrap(), "key_test_0011");
}
