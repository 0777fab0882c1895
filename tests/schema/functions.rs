//! The functions for callers that speak only SQL: tokens only, for oneself only, and never silently.

use retell_vault::schema::{Profile, SchemaPlan, Step, Wanted};
use retell_vault::{Layout, Owner, RetellConfig, Vault};
use serde_json::{Map, Value, json};

use crate::support::rows::value;
use crate::support::schema::{run_steps, undo_steps};
use crate::support::supabase::{Refused, Session, supabase};
use crate::support::vaults::*;
use crate::support::*;

const A: &str = "00000000-0000-4000-8000-00000000000a";
const B: &str = "00000000-0000-4000-8000-00000000000b";
const FUNCTIONS: &str = "SELECT coalesce(string_agg(pg_get_functiondef(oid) || coalesce(proacl::text, ''), E'\n' ORDER BY proname), '')
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace";

struct Stage {
    db: TestDb,
    hosts: Hosts,
    layout: Layout,
    done: Vec<Step>,
}

impl Stage {
    /// A table on Supabase with the full profile.
    async fn on(table: &str, layout: Layout) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        supabase(&db).await;
        db.exec(table).await;
        let mut stage = Self { db, hosts, layout, done: Vec::new() };
        let plan = stage.plan().await;
        stage.done = run_steps(&stage.db, &plan).await;
        let left = stage.plan().await;
        assert_eq!((left.steps, left.blocked), (Vec::new(), Vec::new()));
        stage
    }

    async fn usual() -> Self {
        Self::on("CREATE TABLE user_profiles (user_id uuid PRIMARY KEY)", Layout::new()).await
    }

    async fn vault(&self) -> Vault {
        self.hosts.host(0, &self.db.url).layout(self.layout.clone()).build().await.unwrap()
    }

    async fn plan(&self) -> SchemaPlan {
        let vault = self.vault().await;
        let plan = vault.schema().plan(Wanted::from(Profile::FullProfile)).await.unwrap();
        vault.close().await;
        plan
    }

    /// The tokens of a record by their fields, as the vault seals it. The row goes.
    async fn tokens(&self, owner: &Owner, config: RetellConfig) -> Map<String, Value> {
        let vault = self.vault().await;
        vault.store(owner, &config).await.unwrap();
        vault.close().await;
        let tokens = tokens_in(&self.db, "user_profiles").await;
        self.db.exec("DELETE FROM user_profiles").await;
        tokens
    }

    async fn record(&self, owner: &Owner, mark: &str) -> String {
        packed(&self.tokens(owner, small_config(mark)).await)
    }
}

async fn tokens_in(db: &TestDb, table: &str) -> Map<String, Value> {
    let slots = format!(
        "SELECT string_agg(value, ' ') FROM {table} AS t, jsonb_each_text(to_jsonb(t) || coalesce(t.encrypted_agent_config -> 'retell_vault', '{{}}')) WHERE value LIKE 'rv1.%'"
    );
    let text: String = value(db, &slots).await;
    text.split(' ').map(|token| (token.split('.').nth(3).unwrap().to_owned(), json!(token))).collect()
}

/// As the local file holds it: tokens with one space between them.
fn packed(tokens: &Map<String, Value>) -> String {
    tokens.values().map(|token| token.as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

async fn store(session: &mut Session, user: &str, record: &str) -> Result<Option<String>, Refused> {
    store_with(session, user, record, "{}").await
}

async fn store_with(
    session: &mut Session,
    user: &str,
    record: &str,
    plain: &str,
) -> Result<Option<String>, Refused> {
    session.ask(&format!("SELECT store_retell_config('{user}', '{record}', '{plain}')")).await
}

fn code(answer: Result<Option<String>, Refused>) -> String {
    match answer {
        Ok(answer) => panic!("it was let in: {answer:?}"),
        Err(refused) => {
            assert!(!refused.said.contains("key_test") && !refused.said.contains("rv1."), "{refused:?}");
            refused.code
        }
    }
}

#[tokio::test]
async fn a_user_stores_loads_and_changes_their_own() {
    let stage = Stage::usual().await;
    let owner = owner(A);
    let old = stage.record(&owner, "one").await;
    let new = stage.record(&owner, "two").await;
    let mut user = Session::user(&stage.db, A).await;

    let version = store(&mut user, A, &old).await.unwrap().unwrap();
    assert!(old.contains(&version));
    let vault = stage.vault().await;
    assert_eq!(vault.load(&owner).await.unwrap().config, small_config("one"));

    // siblings in the JSONB column stay
    stage.db.exec("UPDATE user_profiles SET encrypted_agent_config = coalesce(encrypted_agent_config, '{}') || '{\"theme\": \"dark\"}'").await;
    store(&mut user, A, &new).await.unwrap();
    assert_eq!(vault.load(&owner).await.unwrap().config, small_config("two"));
    let profile = user.ask(&format!("SELECT get_complete_user_profile('{A}')::text")).await.unwrap().unwrap();
    let profile: Value = serde_json::from_str(&profile).unwrap();
    assert_eq!(profile["encrypted_agent_config"]["theme"], "dark");
    assert_eq!(profile["user_id"], A);
    assert!(profile["last_retell_sync"].is_string());

    assert_eq!(code(store(&mut user, A, &old).await), "55000");
    assert_eq!(code(store(&mut user, A, &new).await), "55000");
    user.run(&format!("SELECT update_retell_integration_status('{A}', 'active')")).await.unwrap();
    assert_eq!(
        value::<String>(&stage.db, "SELECT retell_integration_status FROM user_profiles").await,
        "active"
    );
    let wrong =
        user.ask(&format!("SELECT update_retell_integration_status('{A}', 'key_test_1')::text")).await;
    assert_eq!(code(wrong), "22023");
    // what the vault stores afterwards wins again
    vault.store(&owner, &small_config("three")).await.unwrap();
    assert_eq!(code(store(&mut user, A, &new).await), "55000");
    vault.close().await;
}

#[tokio::test]
async fn the_newer_of_two_at_once_wins() {
    let stage = Stage::usual().await;
    let old = stage.record(&owner(A), "one").await;
    let new = stage.record(&owner(A), "two").await;
    let (mut first, mut second) = (Session::user(&stage.db, A).await, Session::user(&stage.db, A).await);
    let vault = stage.vault().await;
    for _ in 0..30 {
        stage.db.exec("DELETE FROM user_profiles").await;
        let (one, two) = tokio::join!(store(&mut first, A, &old), store(&mut second, A, &new));
        two.unwrap();
        assert!(one.is_ok() || code(one) == "55000");
        assert_eq!(vault.load(&owner(A)).await.unwrap().config, small_config("two"));
    }
    vault.close().await;
}

#[tokio::test]
async fn nobody_else_gets_in() {
    let stage = Stage::usual().await;
    let record = stage.record(&owner(A), "one").await;
    let calls = [
        format!("SELECT store_retell_config('{A}', '{record}', '{{}}')"),
        format!("SELECT get_complete_user_profile('{A}')::text"),
        format!("SELECT update_retell_integration_status('{A}', 'active')::text"),
    ];
    for there in [false, true] {
        if there {
            store(&mut Session::user(&stage.db, A).await, A, &record).await.unwrap();
        }
        let before = crate::support::rows::table(&stage.db, "user_profiles").await;
        for call in &calls {
            for claims in [None, Some(format!(r#"{{"sub":"{A}"}}"#))] {
                let mut anon = Session::of(&stage.db, "anon", claims.as_deref()).await;
                assert_eq!(code(anon.ask(call).await), "42501", "{call}");
            }
            let refused = code(Session::user(&stage.db, B).await.ask(call).await);
            assert!(["42501", "P0002"].contains(&refused.as_str()), "{refused}: {call}");
            let refused = code(Session::of(&stage.db, "authenticated", Some("")).await.ask(call).await);
            assert!(["42501", "P0002"].contains(&refused.as_str()), "{refused}: {call}");
        }
        assert_eq!(crate::support::rows::table(&stage.db, "user_profiles").await, before);
    }
}

#[tokio::test]
async fn only_whole_records_of_tokens_are_taken() {
    let stage = Stage::usual().await;
    let one = stage.tokens(&owner(A), full_config("one")).await;
    let two = stage.tokens(&owner(A), full_config("two")).await;
    let with = |field: &str, token: &str| {
        let mut tokens = one.clone();
        tokens.insert(field.to_owned(), json!(token));
        packed(&tokens)
    };
    let (whole, token) = (packed(&one), one["api_key"].as_str().unwrap());
    let (head, body) = token.rsplit_once('.').unwrap();
    let mut incomplete = one.clone();
    incomplete.remove("record");
    // the same millisecond half of the version, a day and an hour ahead
    let ahead = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap() + 25 * 3_600_000;
    let bad = [
        String::new(),
        "key_test_1".to_owned(),
        packed(&incomplete),
        with("api_key", "key_test_canary_plaintext"),
        with("api_key", "a2V5X3Rlc3RfY2FuYXJ5"),
        with("api_key", ""),
        format!("{whole} {token}"),
        format!("{whole} "),
        format!(" {whole}"),
        whole.replacen(' ', "  ", 1),
        with("api_key", &format!("{token}\n")),
        with("api_key", &format!("{token}AAAA")),
        with("api_key", &token[..token.len() - 4]),
        with("api_key", &format!("{head}.{}", "A".repeat(17_000))),
        with("api_key", &format!("{head}.{}", "A".repeat(5))),
        with("api_key", &format!("{head}.+{}", &body[1..])),
        with("api_key", &token.replacen("rv1", "rv2", 1)),
        with("api_key", one["call_agent_id"].as_str().unwrap()),
        with("api_key", two["api_key"].as_str().unwrap()),
        with("api_key", &token.replacen(&token[4..12], "00000000", 1)),
        with("theme", &token.replacen("api_key", "9theme", 1)),
        with("theme", &token.replacen("api_key", &"x".repeat(41), 1)),
        with("phone_number", "+14155550100"),
        vec![whole.clone(); 60].join(" ").repeat(3),
        whole.replace(&token[13..29], &format!("{ahead:012x}0000")),
    ];
    let mut user = Session::user(&stage.db, A).await;
    for record in bad {
        assert_eq!(code(store(&mut user, A, &record).await), "22023", "{record}");
    }
    let bad_plain = [
        "[]",
        r#""text""#,
        r#"{"theme": "dark"}"#,
        r#"{"api_key": "key_test_canary_plaintext"}"#,
        r#"{"record": "x"}"#,
        r#"{"phone_number": 1}"#,
        r#"{"phone_number": {}}"#,
        r#"{"webhook_config": "text"}"#,
    ];
    for plain in bad_plain {
        assert_eq!(code(store_with(&mut user, A, &whole, plain).await), "22023", "{plain}");
    }
    assert_eq!(value::<i64>(&stage.db, "SELECT count(*) FROM user_profiles").await, 0);
    for null in [format!("NULL, '{whole}'"), format!("'{A}', NULL")] {
        assert_eq!(code(user.ask(&format!("SELECT store_retell_config({null}, '{{}}')")).await), "22023");
    }
}

#[tokio::test]
async fn plain_values_go_into_their_columns_and_nothing_is_cleared_unasked() {
    let stage = Stage::usual().await;
    let full = packed(&stage.tokens(&owner(A), full_config("one")).await);
    let small = stage.record(&owner(A), "two").await;
    let plain = r#"{"phone_number": "+14155550100", "integration_status": "active",
        "webhook_config": {"webhook_url": "https://example.com/hook", "events": ["call_ended", "from_the_future"]}}"#;
    let (vault, mut user) = (stage.vault().await, Session::user(&stage.db, A).await);
    store_with(&mut user, A, &full, plain).await.unwrap();
    let loaded = vault.load(&owner(A)).await.unwrap();
    assert_eq!((loaded.config, loaded.changed_outside), (full_config("one"), vec![]));
    // the record token beside the token of a column of its own, where nothing lies in the JSONB column
    assert_eq!(code(store(&mut user, A, &small).await), "55000");
    let clears = r#"{"phone_number": null, "integration_status": null, "webhook_config": null}"#;
    store_with(&mut user, A, &small, clears).await.unwrap();
    let loaded = vault.load(&owner(A)).await.unwrap();
    assert_eq!((loaded.config, loaded.changed_outside), (small_config("two"), vec![]));
    let lies: String = value(
        &stage.db,
        "SELECT regexp_replace(encrypted_retell_api_key, 'rv1[.][0-9a-f]+[.][0-9a-f]+[.]([a-z_]+)[.]\\S+', '\\1', 'g') FROM user_profiles",
    )
    .await;
    assert_eq!(lies, "api_key record");
    // a value that the record does not vouch for is shown, and named
    stage.db.exec("UPDATE user_profiles SET phone_number = '+14155550199'").await;
    assert_eq!(vault.load(&owner(A)).await.unwrap().changed_outside.len(), 1);
    vault.close().await;
}

#[tokio::test]
async fn foreign_text_in_the_row_is_not_overwritten() {
    let table = format!(
        "CREATE TABLE user_profiles (user_id uuid PRIMARY KEY, encrypted_retell_api_key text, encrypted_agent_config jsonb);
         INSERT INTO user_profiles VALUES ('{B}', 'key_test_canary_plaintext', '{{\"retell_vault\": \"x\"}}')"
    );
    let stage = Stage::on(&table, Layout::new()).await;
    stage.db.exec("DELETE FROM user_profiles").await;
    let record = stage.record(&owner(A), "one").await;
    let mut user = Session::user(&stage.db, A).await;
    for (column, foreign) in [
        ("encrypted_retell_api_key", "'key_test_canary_plaintext'"),
        ("encrypted_agent_config", "'[]'"),
        ("encrypted_agent_config", "'{\"retell_vault\": [1]}'"),
    ] {
        stage
            .db
            .exec(&format!(
                "DELETE FROM user_profiles; SET session_replication_role = replica;
                 INSERT INTO user_profiles (user_id, {column}) VALUES ('{A}', {foreign})"
            ))
            .await;
        assert_eq!(code(store(&mut user, A, &record).await), "55000", "{foreign}");
    }
}

#[tokio::test]
async fn every_layout_has_them() {
    let odd = Layout::new().table(r#""My App"."P""x""#).unwrap().user_column("p_user").unwrap();
    let odd =
        odd.column(retell_vault::config::Field::named("webhook_key"), "<<owner>> $retell_vault$").unwrap();
    let odd = odd.column(retell_vault::config::Field::named("phone_number"), "v_version").unwrap();
    let odd = odd.column(retell_vault::config::Field::named("webhook_config"), "webhook_config").unwrap();
    let tenants = Layout::new().table("app.people").unwrap().tenant_column("p_tenant").unwrap();
    let cases = [
        (
            odd,
            r#"CREATE SCHEMA "My App"; CREATE TABLE "My App"."P""x" (p_user text PRIMARY KEY, v_version text NOT NULL, webhook_config jsonb NOT NULL, encrypted_agent_config jsonb NOT NULL)"#,
            r#""My App""#,
            r#""My App"."P""x""#,
            Owner::user(A).unwrap(),
            format!("'{}'", A.to_uppercase()),
        ),
        (
            tenants,
            "CREATE SCHEMA app; CREATE TABLE app.people (user_id text, p_tenant uuid NOT NULL, UNIQUE (user_id, p_tenant))",
            "app",
            "app.people",
            Owner::user("user-1").unwrap().in_tenant(B).unwrap(),
            format!("'user-1', '{B}'"),
        ),
    ];
    for (layout, script, schema, table, owner, arguments) in cases {
        let stage = Stage::on(script, layout).await;
        let vault = stage.vault().await;
        vault.store(&owner, &full_config(1)).await.unwrap();
        let tokens = tokens_in(&stage.db, table).await;
        assert_eq!(tokens.len(), 5, "{table}");
        stage.db.exec(&format!("DELETE FROM {table}")).await;
        let mut admin = Session::of(&stage.db, "postgres", None).await;
        let plain = r#"{"phone_number": "+14155550100", "integration_status": "active",
            "webhook_config": {"webhook_url": "https://example.com/hook", "events": ["call_ended", "from_the_future"]}}"#;
        let call =
            format!("SELECT {schema}.store_retell_config({arguments}, '{}', '{plain}')", packed(&tokens));
        admin.ask(&call).await.unwrap();
        assert_eq!(code(admin.ask(&call).await), "55000");
        let loaded = vault.load(&owner).await.unwrap();
        assert_eq!((loaded.config, loaded.changed_outside), (full_config(1), vec![]), "{table}");
        vault.close().await;
        admin
            .ask(&format!("SELECT {schema}.update_retell_integration_status({arguments}, 'error')::text"))
            .await
            .unwrap();
        let profile =
            admin.ask(&format!("SELECT {schema}.get_complete_user_profile({arguments})::text")).await;
        assert!(profile.unwrap().unwrap().contains("\"error\""), "{table}");
        stage.db.exec(&format!("DELETE FROM {table}")).await;
        let gone = admin.ask(&format!("SELECT {schema}.get_complete_user_profile({arguments})::text")).await;
        assert_eq!(code(gone), "P0002");
        undo_steps(&stage.db, &stage.done).await;
    }
}

#[tokio::test]
async fn functions_of_the_application_stay_and_ours_are_mended() {
    let stage = Stage::usual().await;
    let wanted: String = value(&stage.db, FUNCTIONS).await;
    for script in [
        "GRANT EXECUTE ON FUNCTION store_retell_config(uuid, text, jsonb) TO anon",
        "GRANT EXECUTE ON FUNCTION get_complete_user_profile(uuid) TO PUBLIC",
        "REVOKE ALL ON FUNCTION get_complete_user_profile(uuid) FROM authenticated",
        "ALTER FUNCTION store_retell_config(uuid, text, jsonb) SECURITY DEFINER",
        "ALTER FUNCTION store_retell_config(uuid, text, jsonb) RESET search_path",
        "CREATE OR REPLACE FUNCTION get_complete_user_profile(p_user uuid) RETURNS jsonb LANGUAGE sql AS $$ -- retell-vault
           SELECT '{}'::jsonb $$",
    ] {
        stage.db.exec(script).await;
        let before: String = value(&stage.db, FUNCTIONS).await;
        let done = run_steps(&stage.db, &stage.plan().await).await;
        assert_eq!(done.len(), 1, "{script}");
        assert_eq!(stage.plan().await.steps, Vec::new(), "{script}");
        undo_steps(&stage.db, &done).await;
        assert_eq!(sorted(&value::<String>(&stage.db, FUNCTIONS).await), sorted(&before), "{script}");
        stage.db.exec(&stage.plan().await.script()).await;
        assert_eq!(sorted(&value::<String>(&stage.db, FUNCTIONS).await), sorted(&wanted), "{script}");
    }
    undo_steps(&stage.db, &stage.done).await;
    stage.db.exec("CREATE FUNCTION get_complete_user_profile(user_uuid uuid) RETURNS text LANGUAGE sql AS 'SELECT 1'").await;
    let plan = stage.plan().await;
    assert_eq!(plan.blocked.len(), 1, "{:?}", plan.blocked);
    assert!(!plan.steps.iter().any(|step| step.id == "function.get_complete_user_profile"));
}

/// The entries of an access list come in the order in which they were given.
fn sorted(text: &str) -> Vec<&str> {
    let mut parts: Vec<_> = text.split(['{', '}', ',']).collect();
    parts.sort_unstable();
    parts
}
