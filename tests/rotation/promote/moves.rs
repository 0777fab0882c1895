//! From every place to every better one.

use retell_vault::config::Field;
use retell_vault::{Layout, Owner};

use crate::support::TestDb;
use crate::support::faults::unplugged;
use crate::support::promotion::*;
use crate::support::rows::{owners, value};
use crate::support::vaults::*;

const USERS: usize = 12;
const JSON: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)";

#[tokio::test]
async fn packed_records_to_columns_of_their_own() {
    let stage = Stage::on(PACKED, USERS).await;
    stage.db.exec(ADD_ALL).await;
    stage.promotes("user_profiles", &owner("newcomer")).await;
    let status: String =
        value(&stage.db, "SELECT string_agg(DISTINCT retell_integration_status, ',') FROM user_profiles WHERE user_id <> 'newcomer'").await;
    assert_eq!(status, "active");
    // a promotion is no write
    let synced: i64 =
        value(&stage.db, "SELECT count(last_retell_sync) FROM user_profiles WHERE user_id <> 'newcomer'")
            .await;
    assert_eq!(synced, 0);
}

#[tokio::test]
async fn json_records_to_columns_of_their_own_and_siblings_stay() {
    let stage = Stage::on(JSON, USERS).await;
    stage.db.exec("UPDATE user_profiles SET encrypted_agent_config = encrypted_agent_config || '{\"theirs\": [1, 2.50]}'").await;
    stage
        .db
        .exec(
            "ALTER TABLE user_profiles ADD encrypted_retell_api_key text, ADD encrypted_call_agent_id varchar(2000),
            ADD encrypted_sms_agent_id text NOT NULL DEFAULT '', ADD phone_number text NOT NULL DEFAULT '',
            ADD webhook_config json, ADD retell_integration_status text DEFAULT 'not_configured';
            COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell';
            COMMENT ON COLUMN user_profiles.webhook_config IS 'retell-vault: webhook_config of retell'",
        )
        .await;
    let vault = stage.vault(0).await;
    let (promotion, left) = promote(&vault).await.unwrap();
    assert!(promotion.complete && promotion.promoted == USERS as u64, "{promotion:?} {left:?}");
    stage.all_load().await;
    let keys: String = value(
        &stage.db,
        "SELECT string_agg(DISTINCT encrypted_agent_config ->> 'theirs' || ' ' || (SELECT string_agg(key, ',') FROM
         jsonb_object_keys(encrypted_agent_config -> 'retell_vault') AS key), ';') FROM user_profiles",
    )
    .await;
    assert_eq!(keys, "[1, 2.50] record,webhook_key");
}

/// Nothing of ours stays in the JSONB column, and all that is the application's does.
#[tokio::test]
async fn json_records_that_leave_the_column() {
    let layout = Layout::new().column(Field::named("webhook_key"), "encrypted_webhook_secret").unwrap();
    let stage = Stage::with(JSON, layout, owners(USERS)).await;
    stage
        .db
        .exec("UPDATE user_profiles SET encrypted_agent_config = encrypted_agent_config || '{\"theirs\": 1}' WHERE user_id <> 'user-1'")
        .await;
    stage
        .db
        .exec(
            "ALTER TABLE user_profiles ADD encrypted_webhook_secret text, ADD encrypted_retell_api_key text,
        ADD encrypted_call_agent_id text, ADD encrypted_sms_agent_id text, ADD phone_number text,
        ADD webhook_config jsonb, ADD retell_integration_status text;
        COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell';
        COMMENT ON COLUMN user_profiles.webhook_config IS 'retell-vault: webhook_config of retell'",
        )
        .await;
    let (promotion, left) = promote(&stage.vault(0).await).await.unwrap();
    assert!(promotion.complete && promotion.promoted == USERS as u64, "{promotion:?} {left:?}");
    stage.all_load().await;
    let left: String = value(
        &stage.db,
        "SELECT string_agg(DISTINCT encrypted_agent_config::text, ' ' ORDER BY encrypted_agent_config::text) FROM user_profiles",
    )
    .await;
    assert_eq!(left, "{\"theirs\": 1} {}");
}

/// One column after another, in an order that takes tokens through every sort of place.
#[tokio::test]
async fn one_column_after_another() {
    let stage =
        Stage::on("CREATE TABLE user_profiles (user_id text, encrypted_sms_agent_id text)", USERS).await;
    let steps = [
        "ADD phone_number text",
        "ADD encrypted_agent_config jsonb",
        "ADD encrypted_retell_api_key text",
        "ADD webhook_config jsonb, ADD encrypted_call_agent_id text",
        "ADD retell_integration_status text, ADD PRIMARY KEY (user_id)",
    ];
    for step in steps {
        stage.db.exec(&format!("ALTER TABLE user_profiles {step}; {ADOPT}")).await;
        let newcomer = owner("newcomer");
        stage.promotes("user_profiles", &newcomer).await;
        stage.db.exec("DELETE FROM user_profiles WHERE user_id = 'newcomer'").await;
        stage.all_load().await;
    }
    let places = stage.vault(1).await.store(&owner("user-0"), &full_config(0)).await.unwrap().places;
    let packed: Vec<Field> =
        places.iter().filter(|(_, place)| place.kind() != "column").map(|(field, _)| *field).collect();
    assert_eq!(packed, [Field::named("webhook_key")]);
}

#[tokio::test]
async fn uuids_tenants_and_quoted_names() {
    let uuid = |n: usize| format!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a{n:02x}");
    let in_tenant = |n: usize| Owner::user(&uuid(n)).unwrap().in_tenant(&uuid(n % 2)).unwrap();
    let layout = Layout::new().table("\"App\".\"Pro\"\"files\"").unwrap();
    let layout = layout.user_column("user_id").unwrap().tenant_column("tenant_id").unwrap();
    let table = "CREATE SCHEMA \"App\"; CREATE TABLE \"App\".\"Pro\"\"files\" (user_id uuid, tenant_id uuid,
        encrypted_agent_config jsonb, PRIMARY KEY (tenant_id, user_id))";
    let stage = Stage::with(table, layout, (0..USERS).map(in_tenant).collect()).await;
    let add = "ALTER TABLE \"App\".\"Pro\"\"files\" ADD encrypted_retell_api_key text, ADD phone_number text";
    stage.db.exec(add).await;
    stage.promotes("\"App\".\"Pro\"\"files\"", &in_tenant(99)).await;
}

/// The table had no room when they were stored.
#[tokio::test]
async fn records_of_the_local_file() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE user_profiles (user_id text PRIMARY KEY, full_name text)").await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let mut versions = Vec::new();
    for (n, owner) in owners(USERS).iter().enumerate() {
        let stored = vault.store(owner, &full_config(n)).await.unwrap();
        assert!(stored.degraded.is_some());
        versions.push(stored.version);
    }
    let (promotion, _) = promote(&vault).await.unwrap();
    assert!(!promotion.complete && promotion.local.stopped.is_some(), "{promotion:?}");

    db.exec("ALTER TABLE user_profiles ADD encrypted_retell_api_key text").await;
    let but_the_phone = ADD_ALL.replace("ADD phone_number text,", "");
    db.exec(&but_the_phone.split(';').take(1).chain([ADOPT]).collect::<Vec<_>>().join(";")).await;
    let (promotion, _) = promote(&vault).await.unwrap();
    assert!(promotion.complete && promotion.local.pushed == USERS as u64, "{promotion:?}");
    let stage = Stage { db, hosts, layout: Layout::new(), owners: owners(USERS), versions };
    stage.all_load().await;
    stage.db.exec(&format!("ALTER TABLE user_profiles ADD phone_number text; {ADOPT}")).await;
    stage.promotes("user_profiles", &owner("newcomer")).await;
}

/// What waits for a database that is away now waits on, and the rest says why it cannot go on.
#[tokio::test]
async fn without_a_database() {
    let hosts = Hosts::new().await;
    let vault = unplugged(&hosts, 0).await;
    vault.store(&owner("user-0"), &full_config(0)).await.unwrap();
    let error = promote(&vault).await.unwrap_err();
    assert_eq!(error.kind(), retell_vault::ErrorKind::Unavailable, "{error}");
    assert_eq!(vault.load(&owner("user-0")).await.unwrap().config, full_config(0));
    let offline = hosts.offline(1).build().await.unwrap();
    let error = promote(&offline).await.unwrap_err();
    assert_eq!(error.kind(), retell_vault::ErrorKind::Configuration);
    assert!(!error.hint().is_empty());
}
