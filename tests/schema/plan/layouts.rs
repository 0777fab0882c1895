//! Only what a layout uses is planned and found missing: its own names, a filter, a tenant, rows of the application.

use retell_vault::Layout;
use retell_vault::doctor::DoctorOptions;
use retell_vault::schema::{Profile, Wanted};

use super::{dump, ids, whole_plan};
use crate::support::doctor::examine;
use crate::support::rows::{table, value};
use crate::support::schema::{run_steps, undo_steps};
use crate::support::vaults::{Hosts, full_config, owner};
use crate::support::*;

fn wanted() -> Wanted {
    Profile::Credentials.into()
}

/// A table, its layout file, an owner, and the columns that the plan adds.
struct Case {
    table: &'static str,
    layout: &'static str,
    owner: (&'static str, Option<&'static str>),
    added: &'static [&'static str],
}

const CASES: [Case; 5] = [
    // one column, which has room for everything
    Case {
        table: "CREATE TABLE keys (user_id text PRIMARY KEY, key_enc text)",
        layout: "[table]\nname = 'keys'\n[columns]\napi_key = 'key_enc'",
        owner: ("ada", None),
        added: &[],
    },
    // named and missing, with a filter
    Case {
        table: "CREATE TABLE keys (org text NOT NULL, provider text NOT NULL, deleted_at timestamptz, api_key text, UNIQUE (org, provider))",
        layout: "[table]\nname = 'keys'\nuser = 'org'\nwhere = { provider = 'retell' }\nis_null = ['deleted_at']
                 [columns]\napi_key = 'key_enc'\nsync = 'synced_at'\nsealed = ['integration_status']",
        owner: ("ada", None),
        added: &["column.key_enc", "column.synced_at"],
    },
    // only the JSONB column, in rows of the application
    Case {
        table: "CREATE TABLE keys (id text PRIMARY KEY, name text NOT NULL, settings jsonb DEFAULT '{}');
            INSERT INTO keys VALUES ('ada', 'Ada')",
        layout: "[table]\nname = 'keys'\nuser = 'id'\nrows = 'existing'\n[columns]\nconfig = 'settings'",
        owner: ("ada", None),
        added: &[],
    },
    // a short column, which has no room for the other fields
    Case {
        table: "CREATE TABLE keys (user_id uuid, org text NOT NULL, key_enc varchar(2000), UNIQUE (org, user_id))",
        layout: "[table]\nname = 'keys'\ntenant = 'org'\n[columns]\napi_key = 'key_enc'",
        owner: ("4a1f0c7e-0d2b-4c5e-9f7a-000000000001", Some("acme")),
        added: &["column.encrypted_agent_config"],
    },
    // a column for a field without a default is in addition to the default ones
    Case {
        table: "CREATE TABLE keys (user_id text PRIMARY KEY, hook text, encrypted_agent_config jsonb, last_retell_sync timestamptz,
            encrypted_retell_api_key text, encrypted_call_agent_id text, phone_number text, webhook_config jsonb)",
        layout: "[table]\nname = 'keys'\n[columns]\nwebhook_key = 'hook'",
        owner: ("ada", None),
        added: &["column.encrypted_sms_agent_id", "column.retell_integration_status"],
    },
];

#[tokio::test]
async fn only_what_the_layout_uses_is_planned_and_found_missing() {
    for case in CASES {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(case.table).await;
        let layout = Layout::from_toml(case.layout).unwrap();
        let (before, rows) = (dump(&db).await, table(&db, "keys").await);
        let plan = whole_plan(&db.url, &layout, &wanted()).await.unwrap();
        let of_columns = |id: &&str| id.starts_with("column.") || id.starts_with("type.");
        let added: Vec<_> = ids(&plan).into_iter().filter(of_columns).collect();
        assert_eq!(added, case.added, "{}\n{plan}", case.layout);

        let build = async |host| hosts.host(host, &db.url).layout(layout.clone()).build().await.unwrap();
        let missing: Vec<_> = examine(&build(0).await, &DoctorOptions::new()).await.findings;
        let missing = missing.iter().filter(|finding| finding.id == "column_missing");
        let named: Vec<_> =
            missing.map(|finding| format!("column.{}", finding.object.rsplit('.').next().unwrap())).collect();
        assert_eq!(named.len(), case.added.len(), "{named:?}");
        assert!(case.added.iter().all(|added| named.contains(&(*added).to_owned())), "{named:?}");

        let done = run_steps(&db, &plan).await;
        assert!(whole_plan(&db.url, &layout, &wanted()).await.unwrap().is_empty(), "{}", case.layout);
        let vault = build(1).await;
        assert_eq!(examine(&vault, &DoctorOptions::new()).await.findings, [], "{}", case.layout);
        let verification = vault.schema().verify(wanted()).await.unwrap();
        assert!(verification.is_good(), "{verification:#?}");
        let user = owner(case.owner.0);
        let user = case.owner.1.map_or(user.clone(), |tenant| user.in_tenant(tenant).unwrap());
        assert_eq!(vault.store(&user, &full_config(1)).await.unwrap().degraded, None);
        assert_eq!(vault.load(&user).await.unwrap().config, full_config(1));
        if case.layout.contains("existing") {
            vault.delete(&user).await.unwrap();
            db.exec("UPDATE keys SET settings = settings - 'retell_vault'").await;
        } else {
            db.exec("DELETE FROM keys").await;
        }
        undo_steps(&db, &done).await;
        assert_eq!((dump(&db).await, table(&db, "keys").await), (before, rows), "{}", case.layout);
    }
}

/// What gets no column is said, and named it gets one.
#[tokio::test]
async fn fields_without_a_column_are_named() {
    let db = TestDb::create().await;
    db.exec("CREATE TABLE keys (user_id text PRIMARY KEY, key_enc text)").await;
    let layout = |also: &str| {
        let text = format!("[table]\nname = 'keys'\n[columns]\napi_key = 'key_enc'\n{also}");
        Layout::from_toml(&text).unwrap()
    };
    let plan = whole_plan(&db.url, &layout(""), &wanted()).await.unwrap();
    let note = plan.notes.iter().find(|note| note.contains("the layout names the columns"));
    assert!(note.is_some_and(|note| note.contains("call_agent_id, sms_agent_id, ")), "{:?}", plan.notes);
    let named = layout("call_agent_id = 'encrypted_call_agent_id'");
    let plan = whole_plan(&db.url, &named, &wanted()).await.unwrap();
    assert!(ids(&plan).contains(&"column.encrypted_call_agent_id"), "{plan}");
    // the full profile has a column for every field
    let plan = whole_plan(&db.url, &layout(""), &Profile::FullProfile.into()).await.unwrap();
    assert!(ids(&plan).contains(&"column.encrypted_sms_agent_id"), "{plan}");
    run_steps(&db, &plan).await;
    let again = whole_plan(&db.url, &layout(""), &Profile::FullProfile.into()).await.unwrap();
    assert!(again.is_empty(), "{again}");
}

/// A column with a type of the application holds its values: neither a CHECK nor a trigger refuses them.
#[tokio::test]
async fn nothing_guards_a_column_that_stays_the_applications() {
    let db = TestDb::create().await;
    db.exec(
        "CREATE TYPE status AS ENUM ('active', 'paused'); CREATE DOMAIN settings AS jsonb;
         CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, retell_integration_status status,
             encrypted_sms_agent_id status, encrypted_agent_config settings)",
    )
    .await;
    let plan = whole_plan(&db.url, &Layout::new(), &wanted()).await.unwrap();
    for column in ["retell_integration_status", "encrypted_sms_agent_id", "encrypted_agent_config"] {
        assert!(!ids(&plan).iter().any(|id| id.contains(column)), "{column}\n{plan}");
        assert!(
            plan.notes.iter().any(|note| note.contains(column) && note.contains("unchanged")),
            "{plan:?}"
        );
    }
    run_steps(&db, &plan).await;
    db.exec(
        "INSERT INTO user_profiles (user_id, retell_integration_status, encrypted_sms_agent_id, encrypted_agent_config)
         VALUES ('ada', 'paused', 'paused', '{\"retell_vault\": 1}')",
    )
    .await;
    assert_eq!(value::<i64>(&db, "SELECT count(*) FROM user_profiles").await, 1);
}
