//! The database itself lets only tokens into the columns made for them.

use retell_vault::schema::{Profile, RowSecurity, SchemaPlan, Step, Wanted};
use retell_vault::{Layout, Vault};

use crate::support::rows::{table, value};
use crate::support::schema::{run_steps, undo_steps};
use crate::support::supabase::{Refused, Session};
use crate::support::vaults::*;
use crate::support::*;

/// What must stand in no error.
const PLAINTEXT: &str = "key_test_canary_plaintext";
const TEXTS: [&str; 3] = ["encrypted_retell_api_key", "encrypted_call_agent_id", "encrypted_sms_agent_id"];

struct Stage {
    db: TestDb,
    hosts: Hosts,
    layout: Layout,
}

impl Stage {
    async fn on(script: &str) -> Self {
        Self::with(script, Layout::new()).await
    }

    async fn with(script: &str, layout: Layout) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(script).await;
        Self { db, hosts, layout }
    }

    async fn vault(&self) -> Vault {
        self.hosts.host(0, &self.db.url).layout(self.layout.clone()).build().await.unwrap()
    }

    async fn plan(&self) -> SchemaPlan {
        let wanted = Wanted::from(Profile::Credentials).row_security(RowSecurity::Leave);
        let vault = self.vault().await;
        let plan = vault.schema().plan(wanted).await.unwrap();
        vault.close().await;
        plan
    }

    async fn apply(&self) -> Vec<Step> {
        run_steps(&self.db, &self.plan().await).await
    }

    async fn admin(&self) -> Session {
        Session::of(&self.db, "postgres", None).await
    }

    /// Everything that guards the table.
    async fn guards(&self) -> String {
        value(
            &self.db,
            "SELECT concat_ws(E'\n',
               (SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid) || convalidated, E'\n' ORDER BY conname)
                FROM pg_constraint WHERE contype = 'c' AND conrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)),
               (SELECT string_agg(pg_get_triggerdef(oid) || tgenabled::text, E'\n' ORDER BY tgname) FROM pg_trigger WHERE NOT tgisinternal),
               (SELECT string_agg(pg_get_functiondef(oid) || coalesce(proacl::text, ''), E'\n' ORDER BY proname)
                FROM pg_proc WHERE pronamespace = 'public'::regnamespace))",
        )
        .await
    }
}

fn ids(steps: &[Step]) -> Vec<&str> {
    steps
        .iter()
        .map(|step| step.id.as_str())
        .filter(|id| id.starts_with("guard") || id.starts_with("values"))
        .collect()
}

fn is_refused(done: Result<u64, Refused>) -> Refused {
    let refused = done.expect_err("the database takes it");
    assert_eq!(refused.code, "23514", "{refused:?}");
    refused
}

const LEGACY: &str = "INSERT INTO user_profiles (user_id, encrypted_retell_api_key, encrypted_agent_config, retell_integration_status)
    VALUES ('legacy', 'key_test_canary_plaintext', '{\"retell_vault\": {\"api_key\": \"key_test_canary_plaintext\"}, \"theme\": \"dark\"}', 'pending')";

#[tokio::test]
async fn a_clean_table_gets_checks_and_takes_only_tokens() {
    let stage = Stage::on(ALL_COLUMNS).await;
    let before = stage.guards().await;
    let done = stage.apply().await;
    assert_eq!(ids(&done).len(), 10, "{:?}", ids(&done));
    assert!(ids(&stage.plan().await.steps).is_empty());

    let mut admin = stage.admin().await;
    for column in TEXTS {
        for bad in [PLAINTEXT, "c29tZXRoaW5n", "rv1.", " "] {
            is_refused(
                admin
                    .run(&format!("INSERT INTO user_profiles (user_id, {column}) VALUES ('a', '{bad}')"))
                    .await,
            );
        }
    }
    for bad in
        [r#"{"retell_vault": "text"}"#, r#"{"retell_vault": {"api_key": 1}}"#, r#"{"retell_vault": ["rv1"]}"#]
    {
        is_refused(
            admin
                .run(&format!(
                    "INSERT INTO user_profiles (user_id, encrypted_agent_config) VALUES ('a', '{bad}')"
                ))
                .await,
        );
    }
    is_refused(
        admin
            .run("INSERT INTO user_profiles (user_id, retell_integration_status) VALUES ('a', 'pending')")
            .await,
    );

    // what the vault writes, and what is the application's, goes in
    let vault = stage.vault().await;
    vault.store(&owner("a"), &full_config(1)).await.unwrap();
    let siblings = "UPDATE user_profiles SET encrypted_agent_config = coalesce(encrypted_agent_config, '{}') || '{\"theme\": \"dark\"}'";
    assert_eq!(admin.run(siblings).await.unwrap(), 1);
    assert_eq!(vault.load(&owner("a")).await.unwrap().config, full_config(1));
    vault.delete(&owner("a")).await.unwrap();
    let blank = "INSERT INTO user_profiles (user_id, encrypted_retell_api_key, encrypted_agent_config) VALUES ('b', '', 'null')";
    assert_eq!(admin.run(blank).await.unwrap(), 1);

    undo_steps(&stage.db, &done).await;
    assert_eq!(stage.guards().await, before);
}

#[tokio::test]
async fn legacy_text_gets_triggers_that_let_its_rows_be_updated() {
    let stage = Stage::on(&format!("{ALL_COLUMNS}; {LEGACY}")).await;
    let before = stage.guards().await;
    let plan = stage.plan().await;
    let done = run_steps(&stage.db, &plan).await;
    let triggers = [
        "guard.encrypted_retell_api_key.trigger",
        "guard.encrypted_agent_config.trigger",
        "values.retell_integration_status.trigger",
    ];
    for id in triggers {
        assert!(ids(&done).contains(&id), "{id} is not in {:?}", ids(&done));
    }
    assert!(ids(&stage.plan().await.steps).is_empty());
    assert!(plan.notes.iter().any(|note| note.contains("encrypted_retell_api_key")), "{:?}", plan.notes);

    let mut admin = stage.admin().await;
    let unrelated = "UPDATE user_profiles SET full_name = 'Ann', encrypted_agent_config = encrypted_agent_config || '{\"theme\": \"light\"}'";
    assert_eq!(admin.run(unrelated).await.unwrap(), 1);
    for bad in [
        "UPDATE user_profiles SET encrypted_retell_api_key = 'key_test_canary_plaintext_2'",
        "INSERT INTO user_profiles (user_id, encrypted_retell_api_key) VALUES ('b', 'key_test_canary_plaintext')",
        "UPDATE user_profiles SET encrypted_agent_config = '{\"retell_vault\": {\"api_key\": \"key_test_canary_plaintext_2\"}}'",
        "UPDATE user_profiles SET retell_integration_status = 'key_test_canary_plaintext'",
    ] {
        let refused = is_refused(admin.run(bad).await);
        assert!(!refused.said.contains(PLAINTEXT), "{refused:?}");
        assert!(refused.said.contains("public.user_profiles"), "{refused:?}");
    }

    undo_steps(&stage.db, &done).await;
    assert_eq!(stage.guards().await, before);
}

#[tokio::test]
async fn a_trigger_of_the_application_cannot_slip_plaintext_in() {
    let stage = Stage::on(&format!("{ALL_COLUMNS}; {LEGACY}")).await;
    stage.apply().await;
    stage
        .db
        .exec(
            "CREATE FUNCTION leak() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN NEW.encrypted_retell_api_key := NEW.full_name; RETURN NEW; END $$;
             CREATE TRIGGER zz_leak BEFORE INSERT OR UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION leak()",
        )
        .await;
    let mut admin = stage.admin().await;
    is_refused(
        admin
            .run("INSERT INTO user_profiles (user_id, full_name) VALUES ('b', 'key_test_canary_plaintext_2')")
            .await,
    );
    is_refused(admin.run("UPDATE user_profiles SET full_name = 'key_test_canary_plaintext_2'").await);
}

#[tokio::test]
async fn checks_take_the_place_of_triggers_when_the_legacy_text_is_gone() {
    let stage = Stage::on(&format!("{ALL_COLUMNS}; {LEGACY}")).await;
    let before = stage.guards().await;
    let mut done = stage.apply().await;
    stage.db.exec("DELETE FROM user_profiles").await;
    let checks = stage.apply().await;
    assert!(ids(&checks).contains(&"guard.encrypted_retell_api_key.validate"), "{:?}", ids(&checks));
    let triggers: i64 = value(&stage.db, "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal").await;
    assert_eq!(triggers, 0);
    assert!(ids(&stage.plan().await.steps).is_empty());

    done.extend(checks);
    undo_steps(&stage.db, &done).await;
    assert_eq!(stage.guards().await, before);
}

#[tokio::test]
async fn text_that_came_after_the_plan_gets_triggers_instead() {
    let stage = Stage::on(ALL_COLUMNS).await;
    let before = stage.guards().await;
    let plan = stage.plan().await;
    stage.db.exec(LEGACY).await;
    let done = run_steps(&stage.db, &plan).await;
    let after = stage.guards().await;
    assert!(ids(&done).contains(&"guard.encrypted_retell_api_key.trigger"), "{:?}", ids(&done));
    assert!(ids(&stage.plan().await.steps).is_empty());
    undo_steps(&stage.db, &done).await;
    assert_eq!(stage.guards().await, before);
    // a script sees it too, and does no more the second time
    for _ in 0..2 {
        stage.db.exec(&plan.script()).await;
        assert_eq!(stage.guards().await, after);
    }
}

#[tokio::test]
async fn a_check_that_cannot_be_validated_gives_way_to_triggers() {
    let stage = Stage::on(&format!("{ALL_COLUMNS}; {LEGACY}")).await;
    let checks = Stage::on(ALL_COLUMNS).await.plan().await;
    let ours = checks.steps.iter().find(|step| step.id == "guard.encrypted_retell_api_key").unwrap();
    stage.db.exec(&ours.sql.join(";")).await;
    let before = stage.guards().await;
    assert!(before.contains("encrypted_retell_api_key_tokens"));
    let done = stage.apply().await;
    assert!(!stage.guards().await.contains("encrypted_retell_api_key_tokens"));
    let mut admin = stage.admin().await;
    assert_eq!(admin.run("UPDATE user_profiles SET full_name = 'Ann'").await.unwrap(), 1);
    undo_steps(&stage.db, &done).await;
    assert_eq!(stage.guards().await, before);
}

#[tokio::test]
async fn what_is_half_done_or_different_is_mended() {
    let stage = Stage::on(ALL_COLUMNS).await;
    stage.apply().await;
    let wanted = stage.guards().await;
    let name = "retell_vault_user_profiles_encrypted_retell_api_key_tokens";
    let check: String = value(
        &stage.db,
        &format!("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{name}'"),
    )
    .await;
    let replace = |definition: &str| {
        format!(
            "ALTER TABLE user_profiles DROP CONSTRAINT {name}; ALTER TABLE user_profiles ADD CONSTRAINT {name} {definition}"
        )
    };
    for (definition, steps) in [
        (format!("{check} NOT VALID"), 1),
        ("CHECK (true)".to_owned(), 2),
        (check.replacen("CHECK (", "CHECK (true OR ", 1), 2),
    ] {
        stage.db.exec(&replace(&definition)).await;
        let before = stage.guards().await;
        let done = stage.apply().await;
        assert_eq!(ids(&done).len(), steps, "{definition}");
        assert_eq!(stage.guards().await, wanted, "{definition}");
        if steps == 2 {
            undo_steps(&stage.db, &done).await;
            assert_eq!(stage.guards().await, before, "{definition}");
            stage.db.exec(&stage.plan().await.script()).await;
            assert_eq!(stage.guards().await, wanted, "{definition}");
        }
    }
}

#[tokio::test]
async fn triggers_that_do_not_guard_are_made_again() {
    let stage = Stage::on(&format!("{ALL_COLUMNS}; {LEGACY}")).await;
    stage.apply().await;
    let wanted = stage.guards().await;
    let trigger = "retell_vault_encrypted_retell_api_key_insert";
    for script in [
        format!("ALTER TABLE user_profiles DISABLE TRIGGER {trigger}"),
        format!("DROP TRIGGER {trigger} ON user_profiles"),
        "CREATE OR REPLACE FUNCTION retell_vault_refuse_foreign() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS 'BEGIN RETURN NULL; END'".to_owned(),
    ] {
        stage.db.exec(&script).await;
        let before = stage.guards().await;
        let done = stage.apply().await;
        assert!(!ids(&done).is_empty(), "{script}");
        assert_eq!(stage.guards().await, wanted, "{script}");
        undo_steps(&stage.db, &done).await;
        assert_eq!(stage.guards().await, before, "{script}");
        stage.db.exec(&stage.plan().await.script()).await;
        assert_eq!(stage.guards().await, wanted, "{script}");
    }
}

#[tokio::test]
async fn a_check_of_the_application_on_the_status_counts() {
    let stage = Stage::on(&format!(
        "{ALL_COLUMNS}; ALTER TABLE user_profiles ADD CHECK (retell_integration_status IN ('active', 'off'))"
    ))
    .await;
    assert!(!ids(&stage.plan().await.steps).contains(&"values.retell_integration_status"));
}

#[tokio::test]
async fn every_layout_is_guarded() {
    let odd = Layout::new().table(r#""My ""App""\"."User's Profiles $retell_vault$""#).unwrap();
    let odd = odd.column(retell_vault::config::Field::named("api_key"), r#"API "Key"\'s"#).unwrap();
    let odd = odd.column(retell_vault::config::Field::named("webhook_key"), &"s".repeat(63)).unwrap();
    let odd_name = r#""My ""App""\"."User's Profiles $retell_vault$""#;
    let uuid =
        Layout::new().table("app.people").unwrap().user_column("id").unwrap().tenant_column("org").unwrap();
    let parts = Layout::new().table("parts").unwrap();
    let layouts = [
        (
            odd,
            format!(r#"CREATE SCHEMA "My ""App""\"; CREATE TABLE {odd_name} (user_id text PRIMARY KEY, "API ""Key""\'s" varchar(5000), encrypted_agent_config jsonb, retell_integration_status varchar(40))"#),
            odd_name.to_owned(),
            r#""API ""Key""\'s""#,
            "user_id",
        ),
        (
            uuid,
            "CREATE SCHEMA app; CREATE TABLE app.people (id uuid, org text NOT NULL, encrypted_retell_api_key text, UNIQUE (org, id))".to_owned(),
            "app.people".to_owned(),
            "encrypted_retell_api_key",
            "id",
        ),
        (
            parts,
            "CREATE TABLE parts (user_id text PRIMARY KEY, encrypted_retell_api_key text) PARTITION BY HASH (user_id);
             CREATE TABLE part_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0)".to_owned(),
            "parts".to_owned(),
            "encrypted_retell_api_key",
            "user_id",
        ),
    ];
    for (layout, script, name, column, id) in layouts {
        let stage = Stage::with(&script, layout).await;
        let empty = table(&stage.db, &name).await;
        let tenant = if id == "id" { ", org" } else { "" };
        let values = if id == "id" { ", 'org'" } else { "" };
        let user = "00000000-0000-4000-8000-000000000001";
        let legacy =
            format!("INSERT INTO {name} ({id}{tenant}, {column}) VALUES ('{user}'{values}, '{PLAINTEXT}')");
        for has_legacy in [false, true] {
            if has_legacy {
                stage.db.exec(&legacy).await;
            }
            let done = stage.apply().await;
            assert!(!ids(&done).is_empty(), "{name}");
            assert!(
                ids(&stage.plan().await.steps).is_empty(),
                "{name}: {:?}",
                ids(&stage.plan().await.steps)
            );
            let mut admin = stage.admin().await;
            let update = format!("UPDATE {name} SET {column} = '{PLAINTEXT}_2'");
            match has_legacy {
                true => assert!(!is_refused(admin.run(&update).await).said.contains(PLAINTEXT)),
                false => drop(is_refused(admin.run(&legacy).await)),
            }
            stage.db.exec(&format!("DELETE FROM {name}")).await;
            undo_steps(&stage.db, &done).await;
        }
        assert_eq!(table(&stage.db, &name).await, empty);
        let left: i64 = value(&stage.db, "SELECT (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgparentid = 0) + (SELECT count(*) FROM pg_proc WHERE proname LIKE 'retell%')").await;
        assert_eq!(left, 0, "{name}");
    }
}
