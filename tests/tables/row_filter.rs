//! A layout may say which rows count. No load and no store ever touches another one; rotations, counts and the destruction
//! of a key read all of them.

use retell_vault::doctor::DoctorOptions;
use retell_vault::layout::FilterValue;
use retell_vault::schema::{ApplyOptions, Profile, Wanted};
use retell_vault::{ErrorKind, Layout, Vault};
use serde_json::Value;

use crate::support::cluster::run_sql;
use crate::support::rotation::{at_once, completes, promote, refuses_to_destroy, until_taken_up};
use crate::support::rows;
use crate::support::vaults::*;
use crate::support::*;

/// One row for each provider (CASES: Retell's tokens went into Twilio's row).
const PROVIDERS: &str = "CREATE TYPE provider AS ENUM ('retell', 'twilio');
    CREATE TABLE integrations (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, organization_id integer NOT NULL,
        provider provider NOT NULL, active boolean NOT NULL DEFAULT true, label text NOT NULL DEFAULT 'main', secret text, extra jsonb,
        UNIQUE (organization_id, provider))";

fn integrations() -> Layout {
    let layout = Layout::new().table("integrations").unwrap().user_column("organization_id").unwrap();
    let layout = layout.where_equals("provider", "retell").unwrap();
    layout.column("api_key".parse().unwrap(), "secret").unwrap().config_column("extra").unwrap()
}

async fn vault(hosts: &Hosts, host: usize, db: &TestDb, layout: Layout) -> Vault {
    hosts.host(host, &db.url).layout(layout).build().await.unwrap()
}

/// Every row but Retell's, as JSON.
async fn others(db: &TestDb, condition: &str) -> Value {
    rows::table(db, &format!("(SELECT id, organization_id, provider, active, label, secret, extra FROM integrations WHERE {condition})")).await
}

#[tokio::test]
async fn only_the_row_of_the_provider_is_read_and_written() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(PROVIDERS).await;
    db.exec("INSERT INTO integrations (organization_id, provider, secret) VALUES (1, 'twilio', 'their own'), (2, 'twilio', 'and theirs')").await;
    let before = others(&db, "provider <> 'retell'").await;
    let vault = vault(&hosts, 0, &db, integrations()).await;
    assert_eq!(vault.load(&owner("1")).await.unwrap_err().kind(), ErrorKind::NotFound);
    // no row yet: one is made, with the constant
    for id in ["1", "2"] {
        assert_eq!(vault.store(&owner(id), &full_config(id)).await.unwrap().rows, 1);
    }
    let many: Vec<_> = ["1", "2"].map(|id| (owner(id), full_config(format!("again-{id}")))).into();
    assert!(vault.store_many(&many).await.unwrap().iter().all(Result::is_ok));
    for (loaded, (of, config)) in vault.load_many(&[owner("1"), owner("2")]).await.into_iter().zip(&many) {
        assert_eq!(&loaded.unwrap().config, config);
        assert_eq!(&vault.load(of).await.unwrap().config, config);
    }
    assert_eq!(vault.list(None, 10).await.unwrap().entries.len(), 2);
    // what the other rows hold is no token, and nobody's fault
    let counted = vault.count_tokens().await.unwrap();
    assert!(counted.counts.iter().all(|count| count.key.is_some()), "{counted:?}");
    let (key, _) = promote(&hosts).await;
    until_taken_up().await;
    completes(&vault).await;
    vault.destroy_key(key, at_once()).await.unwrap();
    vault.delete(&owner("1")).await.unwrap();
    assert_eq!(vault.load(&owner("1")).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(others(&db, "provider <> 'retell'").await, before, "the other provider's rows");
    let made: i64 = rows::value(&db, "SELECT count(*) FROM integrations WHERE provider = 'retell'").await;
    assert_eq!(made, 2);
}

#[tokio::test]
async fn a_closed_account_is_neither_read_nor_written_and_keeps_its_key_from_being_destroyed() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(
        "CREATE TABLE accounts (id bigserial PRIMARY KEY, email text NOT NULL, deleted_at timestamptz, encrypted_retell_api_key text);
         CREATE UNIQUE INDEX ON accounts (email) WHERE deleted_at IS NULL",
    )
    .await;
    let layout = Layout::new().table("accounts").unwrap().user_column("email").unwrap();
    let layout = layout.is_null("deleted_at").unwrap();
    let (a, old) = (owner("a@example.com"), small_config("closed"));
    let first = vault(&hosts, 0, &db, layout.clone()).await;
    first.store(&a, &old).await.unwrap();
    db.exec("UPDATE accounts SET deleted_at = now()").await;
    let closed = rows::table(&db, "(SELECT * FROM accounts WHERE deleted_at IS NOT NULL)").await;
    // the same process has seen the row
    assert_eq!(first.load(&a).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(first.delete(&a).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(first.store(&a, &small_config("new")).await.unwrap().rows, 1);
    assert_eq!(
        vault(&hosts, 1, &db, layout.clone()).await.load(&a).await.unwrap().config,
        small_config("new")
    );
    let untouched = rows::table(&db, "(SELECT * FROM accounts WHERE deleted_at IS NOT NULL)").await;
    assert_eq!(untouched, closed);

    // it may come back: a rotation takes it along, and the key waits for it
    let (key, _) = promote(&hosts).await;
    until_taken_up().await;
    refuses_to_destroy(&first, key, "encrypted_retell_api_key").await;
    completes(&first).await;
    first.destroy_key(key, at_once()).await.unwrap();
    db.exec("DELETE FROM accounts WHERE deleted_at IS NULL; UPDATE accounts SET deleted_at = NULL").await;
    assert_eq!(vault(&hosts, 1, &db, layout).await.load(&a).await.unwrap().config, old);
}

const UPPER: &str = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";

/// A type, a constant as the application writes it, and as the layout has it.
fn constants() -> Vec<(&'static str, &'static str, FilterValue)> {
    vec![
        ("text", "'retell'", "retell".into()),
        ("varchar(20)", "'retell'", "retell".into()),
        ("char(10)", "'retell'", "retell".into()),
        ("name", "'retell'", "retell".into()),
        ("label", "'O''Neill \\ x'", "O'Neill \\ x".into()),
        ("app.\"My Kind\"", "'retell'", "retell".into()),
        ("smallint", "3", 3.into()),
        ("integer", "-3", (-3).into()),
        ("integer", "3", 3.into()),
        ("bigint", "9000000000", 9_000_000_000.into()),
        ("positive", "3", 3.into()),
        ("boolean", "true", true.into()),
        ("boolean", "false", false.into()),
        ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", UPPER.into()),
    ]
}

async fn with_constant(kind: &str, sql: &str) -> TestDb {
    let db = TestDb::create().await;
    db.exec(&format!(
        "CREATE DOMAIN label AS text; CREATE DOMAIN positive AS bigint; CREATE SCHEMA app;
         CREATE TYPE app.\"My Kind\" AS ENUM ('retell', 'twilio');
         CREATE TABLE user_profiles (user_id text NOT NULL, kind {kind}, encrypted_retell_api_key text);
         INSERT INTO user_profiles VALUES ('a', {sql}), ('a', NULL)"
    ))
    .await;
    db
}

#[tokio::test]
async fn constants_of_every_type() {
    for (kind, sql, value) in constants() {
        let (db, hosts) = (with_constant(kind, sql).await, Hosts::new().await);
        let vault = vault(&hosts, 0, &db, Layout::new().where_equals("kind", value).unwrap()).await;
        // one row is there, the other is made
        for id in ["a", "b"] {
            assert_eq!(vault.store(&owner(id), &small_config(id)).await.unwrap().rows, 1, "{kind}");
            assert_eq!(vault.load(&owner(id)).await.unwrap().config, small_config(id));
        }
        let written = format!(
            "SELECT count(*) FROM user_profiles WHERE kind = {sql} AND encrypted_retell_api_key <> ''"
        );
        assert_eq!(rows::value::<i64>(&db, &written).await, 2, "{kind}");
        assert_eq!(rows::value::<i64>(&db, "SELECT count(*) FROM user_profiles").await, 3, "{kind}");
    }
}

/// What the server prints is known again, whatever the type: an index of the application's serves, a plan that was applied is
/// not planned again.
#[tokio::test]
async fn indexes_and_guards_of_every_type() {
    for (kind, sql, value) in constants() {
        let (db, hosts) = (with_constant(kind, sql).await, Hosts::new().await);
        let layout = Layout::new().where_equals("kind", value).unwrap();
        let vault = vault(&hosts, 0, &db, layout.clone()).await;
        let plan = vault.schema().plan(Profile::Credentials).await.unwrap();
        assert!(plan.steps.iter().any(|step| step.id == "owner.unique"), "{kind}");
        let applied = vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await;
        assert!(applied.is_ok(), "{kind} {sql} {applied:?} {plan:#?}");
        let verification = vault.schema().verify(Profile::Credentials).await.unwrap();
        assert!(verification.is_good(), "{kind} {verification:#?}");
        let again = vault.schema().plan(Profile::Credentials).await.unwrap();
        assert!(again.is_empty(), "{kind} {again}");
        assert_eq!(vault.store(&owner("new"), &small_config(1)).await.unwrap().rows, 1, "{kind}");

        let db = with_constant(kind, sql).await;
        db.exec(&format!("CREATE UNIQUE INDEX ON user_profiles (user_id) WHERE kind = {sql}")).await;
        let vault = hosts.host(1, &db.url).layout(layout).build().await.unwrap();
        assert_eq!(vault.store(&owner("new"), &small_config(1)).await.unwrap().rows, 1, "{kind}");
        let plan = vault.schema().plan(Profile::Credentials).await.unwrap();
        assert!(plan.steps.iter().all(|step| step.id != "owner.unique"), "{kind} {plan}");
    }
}

#[tokio::test]
async fn a_filter_that_the_table_cannot_have_is_an_error_and_nothing_is_written() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, kind text, number integer,
         upper_kind text GENERATED ALWAYS AS (upper(kind)) STORED, made_at timestamptz NOT NULL DEFAULT now());
         INSERT INTO user_profiles (user_id) VALUES ('a')",
    )
    .await;
    let before = rows::table(&db, "user_profiles").await;
    let layouts = [
        (Layout::new().where_equals("provider", "retell"), "has no column provider"),
        (Layout::new().where_equals("upper_kind", "RETELL"), "is generated"),
        (Layout::new().where_equals("number", "retell"), "type integer"),
        (Layout::new().where_equals("kind", 3), "type text"),
        (Layout::new().where_equals("made_at", "2026-01-01"), "type timestamp"),
        (Layout::new().where_equals("number", 3_000_000_000), "type integer"),
        (Layout::new().is_null("gone_at"), "has no column gone_at"),
        (Layout::new().is_null("made_at"), "is never null"),
        (Layout::new().is_null("upper_kind"), "is generated"),
    ];
    for (layout, reason) in layouts {
        let error = hosts.host(0, &db.url).layout(layout.unwrap()).build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let twice = Layout::new().where_equals("user_id", "a").unwrap();
    let error = hosts.host(0, &db.url).layout(twice).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("table.where"), "{error}");
    assert_eq!(rows::table(&db, "user_profiles").await, before);
}

/// Several rows for one owner are all written, and the answer says how many.
#[tokio::test]
async fn several_rows_that_count_are_written_together_and_counted() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(&PROVIDERS.replace(",\n        UNIQUE (organization_id, provider)", "")).await;
    db.exec("INSERT INTO integrations (organization_id, provider, label) VALUES (1, 'retell', 'a'), (1, 'retell', 'b'), (1, 'twilio', 'c')")
        .await;
    let vault = vault(&hosts, 0, &db, integrations()).await;
    for mark in [1, 2] {
        assert_eq!(vault.store(&owner("1"), &full_config(mark)).await.unwrap().rows, 2);
        assert_eq!(vault.load(&owner("1")).await.unwrap().config, full_config(mark));
    }
    assert_eq!(vault.delete(&owner("1")).await.unwrap().rows, 2);
    let other: i64 = rows::value(
        &db,
        "SELECT count(*) FROM integrations WHERE label = 'c' AND secret IS NULL AND extra IS NULL",
    )
    .await;
    assert_eq!(other, 1);
}

/// The guard, the probe, the findings and the function for callers of SQL hold for the rows that count, and let the others be.
#[tokio::test]
async fn guards_findings_and_functions_follow_the_filter() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(PROVIDERS).await;
    db.exec("INSERT INTO integrations (organization_id, provider, secret) VALUES (1, 'twilio', 'their own'), (2, 'twilio', NULL)").await;
    let before = others(&db, "provider <> 'retell'").await;
    let vault = vault(&hosts, 0, &db, integrations()).await;
    let schema = vault.schema();
    let plan = schema.plan(Profile::FullProfile).await.unwrap();
    assert!(plan.blocked.is_empty(), "{:?}", plan.blocked);
    assert!(
        plan.steps.iter().all(|step| step.id != "owner.unique"),
        "the constraint with the provider serves: {plan}"
    );
    schema.apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    let verification = schema.verify(Profile::FullProfile).await.unwrap();
    assert!(verification.is_good(), "{verification:#?}");
    assert!(schema.plan(Profile::FullProfile).await.unwrap().is_empty());
    vault.store(&owner("1"), &full_config(1)).await.unwrap();

    // the other provider's rows take what they took before, Retell's only tokens
    db.exec(
        "UPDATE integrations SET secret = 'in the clear' WHERE organization_id = 2 AND provider = 'twilio'",
    )
    .await;
    db.exec("UPDATE integrations SET secret = NULL WHERE organization_id = 2 AND provider = 'twilio'").await;
    for sql in [
        "UPDATE integrations SET secret = 'in the clear' WHERE provider = 'retell'",
        "UPDATE integrations SET provider = 'retell' WHERE organization_id = 1 AND secret = 'their own'",
        "INSERT INTO integrations (organization_id, provider, secret) VALUES (3, 'retell', 'in the clear')",
    ] {
        assert!(run_sql(&db.url, sql).await.is_err(), "{sql}");
    }
    let diagnosis = vault.doctor(&DoctorOptions::new().deep(), |_| {}).await.unwrap();
    let about_the_table = diagnosis.findings.iter().filter(|finding| finding.object.contains("integrations"));
    assert_eq!(about_the_table.map(|finding| finding.id).collect::<Vec<_>>(), [] as [&str; 0]);
    let profile: Value = rows::value(&db, "SELECT get_complete_user_profile(1)").await;
    assert_eq!(profile["provider"], "retell");
    assert!(run_sql(&db.url, "SELECT get_complete_user_profile(2)").await.is_err());
    assert_eq!(others(&db, "provider <> 'retell'").await, before);
}

/// Of several rows those that do not count are no duplicates.
#[tokio::test]
async fn rows_that_do_not_count_are_no_duplicates_and_stay() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(&PROVIDERS.replace(",\n        UNIQUE (organization_id, provider)", "")).await;
    db.exec("INSERT INTO integrations (organization_id, provider) VALUES (1, 'retell'), (1, 'twilio'), (1, 'twilio')").await;
    let vault = vault(&hosts, 0, &db, integrations()).await;
    let wanted = Wanted::from(Profile::Credentials).remove_duplicates();
    let plan = vault.schema().plan(wanted).await.unwrap();
    let ids: Vec<_> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    assert!(!ids.contains(&"owner.duplicates"), "{plan}");
    // two rows of Twilio stand in the way of no constraint that the vault needs
    assert!(plan.blocked.is_empty(), "{:?}", plan.blocked);
    assert_eq!(rows::value::<i64>(&db, "SELECT count(*) FROM integrations").await, 3);
}

/// While plaintext is left, triggers stand in for the constraint: a row that begins to count is looked at like a new one.
#[tokio::test]
async fn a_trigger_looks_at_a_row_that_begins_to_count() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(
        "CREATE TABLE user_profiles (user_id text, deleted_at timestamptz, encrypted_retell_api_key text);
         INSERT INTO user_profiles VALUES ('legacy', NULL, 'key_test_legacy'), ('gone', now(), 'key_test_gone'), ('clean', now(), NULL)",
    )
    .await;
    let vault = vault(&hosts, 0, &db, Layout::new().is_null("deleted_at").unwrap()).await;
    let plan = vault.schema().plan(Profile::Credentials).await.unwrap();
    assert!(plan.steps.iter().any(|step| step.id == "guard.encrypted_retell_api_key.trigger"), "{plan}");
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    assert!(vault.schema().plan(Profile::Credentials).await.unwrap().is_empty());
    let back = |user: &str| format!("UPDATE user_profiles SET deleted_at = NULL WHERE user_id = '{user}'");
    assert!(run_sql(&db.url, &back("gone")).await.is_err(), "plaintext would count");
    db.exec(&back("clean")).await;
    // what stood there before may be changed in other columns
    db.exec("UPDATE user_profiles SET user_id = 'renamed' WHERE user_id = 'legacy'").await;
}

/// Two layouts for different rows of one table have constraints and indexes of their own.
#[tokio::test]
async fn two_filters_over_one_table_do_not_take_each_others_place() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE user_profiles (user_id text NOT NULL, provider text NOT NULL, encrypted_retell_api_key text)").await;
    let provider = |name: &str| Layout::new().where_equals("provider", name).unwrap();
    let (one, other) =
        (vault(&hosts, 0, &db, provider("retell")).await, vault(&hosts, 1, &db, provider("other")).await);
    for vault in [&one, &other] {
        let plan = vault.schema().plan(Profile::Credentials).await.unwrap();
        vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    }
    for (vault, mark) in [(&one, 1), (&other, 2)] {
        assert!(vault.schema().plan(Profile::Credentials).await.unwrap().is_empty());
        vault.store(&owner("a"), &small_config(mark)).await.unwrap();
    }
    assert_eq!(one.load(&owner("a")).await.unwrap().config, small_config(1));
    assert_eq!(other.load(&owner("a")).await.unwrap().config, small_config(2));
}
