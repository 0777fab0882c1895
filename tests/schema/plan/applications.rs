//! What is the application's own: types that it made, columns that it uses, rows that are for different things.

use retell_vault::Layout;
use retell_vault::config::Field;
use retell_vault::schema::{Profile, Wanted};

use super::{dump, ids, plan};
use crate::support::rows::{table, value};
use crate::support::schema::{run_steps, undo_steps};
use crate::support::vaults::{Hosts, full_config, owner};
use crate::support::*;

fn wanted() -> Wanted {
    Profile::Credentials.into()
}

const WITH_ENUM: &str = "CREATE TYPE status AS ENUM ('active', 'paused');
    CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb, retell_integration_status status);
    INSERT INTO user_profiles (user_id, retell_integration_status) VALUES ('ada', 'paused')";

/// The application breaks when its enum becomes text, so that has to be asked for.
#[tokio::test]
async fn an_enum_stays_unless_it_is_named() {
    let db = TestDb::create().await;
    db.exec(WITH_ENUM).await;
    let there = plan(&db, &Layout::new(), &wanted()).await;
    assert!(!ids(&there).contains(&"type.retell_integration_status"), "{there}");
    let note = there.notes.iter().find(|note| note.contains("--retype retell_integration_status"));
    assert!(note.is_some_and(
        |note| note.contains("status") && note.contains("integration_status is stored elsewhere")
    ));
    run_steps(&db, &there).await;
    let vault = Hosts::new().await.host(0, &db.url).build().await.unwrap();
    let stored = vault.store(&owner("ada"), &full_config(1)).await.unwrap();
    let place = stored.places.iter().find(|(field, _)| field.name() == "integration_status");
    assert_eq!(place.unwrap().1.kind(), "json");
    let status: String = value(&db, "SELECT retell_integration_status::text FROM user_profiles").await;
    assert_eq!(status, "paused");

    let db = TestDb::create().await;
    db.exec(WITH_ENUM).await;
    let (before, rows) = (dump(&db).await, table(&db, "user_profiles").await);
    let named = plan(&db, &Layout::new(), &wanted().retype("retell_integration_status")).await;
    let step = named.steps.iter().find(|step| step.id == "type.retell_integration_status").unwrap();
    let told = "functions of the application that use it as public.status may fail afterwards";
    assert!(step.rewrites && step.reason.contains(told), "{named}");
    let done = run_steps(&db, &named).await;
    undo_steps(&db, &done).await;
    assert_eq!((dump(&db).await, table(&db, "user_profiles").await), (before, rows));
}

/// Otherwise apply would stop half-way.
#[tokio::test]
async fn a_text_column_with_ciphertext_does_not_become_jsonb() {
    let create = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config text);";
    for (held, is_blocked) in
        [("U2FsdGVkX1+8h3k=", true), ("{\"voice\": 1}", false), ("", false), ("null", false)]
    {
        let db = TestDb::create().await;
        db.exec(&format!("{create} INSERT INTO user_profiles VALUES ('ada', '{held}'), ('bob', NULL)")).await;
        let plan = plan(&db, &Layout::new(), &wanted()).await;
        let blocked = plan.blocked.iter().find(|blocked| blocked.object.contains("encrypted_agent_config"));
        assert_eq!(blocked.is_some(), is_blocked, "{held} {plan}");
        assert!(blocked.is_none_or(|blocked| blocked.reason.contains("not a JSON object")));
        assert_eq!(ids(&plan).contains(&"type.encrypted_agent_config"), !is_blocked, "{held}");
        assert!(!format!("{plan}").contains("U2FsdGVk"), "no value is shown");
    }
}

/// What cannot get the new type is found before the first step, whatever the type; an empty text stands for no value.
#[tokio::test]
async fn a_value_that_cannot_be_converted_blocks_the_plan() {
    let create = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config text NOT NULL DEFAULT '',
        webhook_config text DEFAULT '', last_retell_sync text); INSERT INTO user_profiles VALUES ('bob', '', NULL, NULL),";
    let layout = || Layout::new().column(Field::named("webhook_config"), "webhook_config").unwrap();
    for (row, refused) in [
        ("'{\"voice\": 1', NULL, NULL", Some("encrypted_agent_config")),
        ("'', 'not json', NULL", Some("webhook_config")),
        ("'', NULL, 'yesterday or so'", Some("last_retell_sync")),
        ("'{\"voice\": 1}', '', '2024-07-01 12:00:00+00'", None),
    ] {
        let db = TestDb::create().await;
        db.exec(&format!("{create} ('ada', {row})")).await;
        let plan = plan(&db, &layout(), &wanted()).await;
        let blocked: Vec<_> = plan.blocked.iter().map(|blocked| blocked.object.as_str()).collect();
        let expected: Vec<_> =
            refused.iter().map(|name| format!("column public.user_profiles.{name}")).collect();
        assert_eq!(blocked, expected, "{row}");
        assert!(plan.blocked.iter().all(|blocked| blocked.reason.contains("a value that cannot become")));
        if refused.is_none() {
            let done = run_steps(&db, &plan).await;
            db.exec("INSERT INTO user_profiles (user_id) VALUES ('eva')").await;
            let config = "SELECT jsonb_agg(jsonb_build_array(encrypted_agent_config, webhook_config) ORDER BY user_id) FROM user_profiles";
            let values: serde_json::Value = value(&db, config).await;
            assert_eq!(values, serde_json::json!([[{ "voice": 1 }, null], [{}, null], [{}, null]]));
            undo_steps(&db, &done).await;
        }
    }
    // of a large table only a part is tried, which the plan says
    let db = TestDb::create().await;
    let fill = "INSERT INTO user_profiles SELECT n, '{\"a\": \"' || repeat(md5(n::text), 30) || '\"}' FROM generate_series(1, 12000) AS n";
    db.exec(&format!("{create} ('ada', '', NULL, NULL); {fill}")).await;
    let tried = async |wanted: Wanted| {
        let notes = plan(&db, &layout(), &wanted).await.notes;
        !notes.iter().any(|note| {
            note.contains("not every value of column public.user_profiles.encrypted_agent_config")
        })
    };
    assert!(!tried(wanted()).await);
    assert!(tried(wanted().look_at_every_row()).await);
}

#[tokio::test]
async fn a_column_is_given_to_the_vault_by_name() {
    let db = TestDb::create().await;
    let create = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb, phone_number text);
        COMMENT ON COLUMN user_profiles.phone_number IS 'theirs'";
    db.exec(create).await;
    let comment = "SELECT col_description('user_profiles'::regclass, 3)";
    let there = plan(&db, &Layout::new(), &wanted()).await;
    assert!(there.notes.iter().any(|note| note.contains("--adopt phone_number")), "{:?}", there.notes);
    let adopting = wanted().adopt("phone_number");
    let named = plan(&db, &Layout::new(), &adopting).await;
    assert!(ids(&named).contains(&"adopt.phone_number"), "{named}");
    let done = run_steps(&db, &named).await;
    assert!(plan(&db, &Layout::new(), &adopting).await.is_empty());
    let hosts = Hosts::new().await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("ada"), &full_config(1)).await.unwrap();
    assert_eq!(value::<String>(&db, "SELECT phone_number FROM user_profiles").await, "+14155550100");
    vault.delete(&owner("ada")).await.unwrap();
    undo_steps(&db, &done).await;
    assert_eq!(value::<String>(&db, comment).await, "theirs");

    for (column, is_in_the_way) in [("nickname", ""), ("webhook_config", "")] {
        let refused = plan(&db, &Layout::new(), &wanted().adopt(column)).await;
        assert!(
            refused.blocked.iter().any(|blocked| blocked.object.ends_with(column)),
            "{is_in_the_way} {refused}"
        );
    }
    let retyped = plan(&db, &Layout::new(), &wanted().retype("nickname")).await;
    assert!(retyped.blocked.iter().any(|blocked| blocked.reason.contains("does not use it")), "{retyped}");
}

/// Several rows with labels of their own are accounts, and none is moved away.
#[tokio::test]
async fn rows_that_differ_are_no_duplicates() {
    let create = "CREATE TABLE user_profiles (id serial PRIMARY KEY, user_id text, label text, encrypted_agent_config jsonb,
        seen_at timestamptz DEFAULT clock_timestamp());";
    for (labels, differ) in
        [(["'main'", "'main'"], false), (["'main'", "'sales'"], true), (["'main'", "NULL"], true)]
    {
        let db = TestDb::create().await;
        let rows = labels.map(|label| format!("('ada', {label})")).join(", ");
        db.exec(&format!("{create} INSERT INTO user_profiles (user_id, label) VALUES {rows}")).await;
        let plan = plan(&db, &Layout::new(), &wanted().remove_duplicates()).await;
        let reasons: Vec<_> = plan.blocked.iter().map(|blocked| blocked.reason.as_str()).collect();
        assert_eq!(
            reasons.iter().any(|reason| reason.contains("differ in columns of the application")),
            differ,
            "{plan}"
        );
        assert_eq!(ids(&plan).contains(&"owner.duplicates"), !differ);
    }
    // an enum, a part of another key, and whether a time is there tell rows apart too; so does a column left to the application
    let others = "CREATE TYPE kind AS ENUM ('a', 'b'); CREATE TABLE user_profiles (id serial PRIMARY KEY, user_id text, kind kind,
        provider text, gone_at timestamptz, phone_number text, encrypted_agent_config jsonb, UNIQUE (user_id, provider));
        INSERT INTO user_profiles (user_id, kind, provider, gone_at, phone_number) VALUES";
    for (one, two) in [
        ("'a', 'x', NULL, '1'", "'b', NULL, NULL, '1'"),
        ("'a', 'x', NULL, '1'", "'a', 'y', NULL, '1'"),
        ("'a', NULL, NULL, '1'", "'a', NULL, now(), '1'"),
        ("'a', NULL, NULL, '1'", "'a', NULL, NULL, '2'"),
    ] {
        let db = TestDb::create().await;
        db.exec(&format!("{others} ('ada', {one}), ('ada', {two})")).await;
        let plan = plan(&db, &Layout::new(), &wanted().remove_duplicates()).await;
        assert!(
            plan.blocked.iter().any(|blocked| blocked.reason.contains("differ in columns")),
            "{one} {two} {plan}"
        );
    }
    // rows that came after the plan are looked at again, under the lock
    let db = TestDb::create().await;
    db.exec(&format!(
        "{create} INSERT INTO user_profiles (user_id, label) VALUES ('ada', 'main'), ('ada', 'main')"
    ))
    .await;
    let plan = plan(&db, &Layout::new(), &wanted().remove_duplicates()).await;
    db.exec("INSERT INTO user_profiles (user_id, label) VALUES ('ada', 'sales')").await;
    let step = plan.steps.iter().find(|step| step.id == "owner.duplicates").unwrap();
    let guard = step.sql.iter().find(|sql| sql.starts_with("DO ")).unwrap();
    let error = cluster::run_sql(&db.url, guard).await.unwrap_err().to_string();
    assert!(error.contains("not duplicates") && !error.contains("sales"), "{error}");
    assert_eq!(value::<i64>(&db, "SELECT count(*) FROM user_profiles").await, 3);
}
