//! Every shape of value that an application's own encryption code left.

use std::collections::BTreeMap;

use retell_vault::config::Credentials;
use retell_vault::config::import::{FoundField, ImportOptions, ImportReport, Passwords};
use retell_vault::layout::OldSource;
use retell_vault::{Layout, RetellConfig};
use serde_json::{Value, json};

use super::support::*;
use crate::support::rows::value;
use crate::support::vaults::*;

const VALUES: &str = include_str!("../values.json");
const TABLES: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, encrypted_call_agent_id text,
        encrypted_sms_agent_id text, encrypted_agent_config jsonb, phone_number text, retell_integration_status text, webhook_config jsonb);
    CREATE TABLE user_settings (user_id text, retell_config jsonb, retell_agent_config jsonb, encrypted_api_keys jsonb,
        encrypted_retell_keys jsonb, retell_api_key text, call_agent_id text, sms_agent_id text);
    CREATE TABLE system_credentials (user_id text, api_key text, call_agent_id text, sms_agent_id text);
    CREATE TABLE tenant_credentials (user_id text, retell_api_key text, call_agent_id text, sms_agent_id text)";

/// The sources in the order in which the application reads them.
fn sources() -> Layout {
    let texts = [
        ("user_profiles", "encrypted_retell_api_key", "api_key", "carexps"),
        ("user_profiles", "encrypted_call_agent_id", "call_agent_id", "carexps"),
        ("user_profiles", "encrypted_sms_agent_id", "sms_agent_id", "carexps"),
        ("user_profiles", "phone_number", "phone_number", "plaintext"),
        ("user_profiles", "retell_integration_status", "integration_status", "plaintext"),
        ("user_settings", "retell_api_key", "api_key", "plaintext"),
        ("user_settings", "call_agent_id", "call_agent_id", "plaintext"),
        ("user_settings", "sms_agent_id", "sms_agent_id", "plaintext"),
        ("system_credentials", "api_key", "api_key", "plaintext"),
        ("system_credentials", "call_agent_id", "call_agent_id", "plaintext"),
        ("system_credentials", "sms_agent_id", "sms_agent_id", "plaintext"),
        ("tenant_credentials", "retell_api_key", "api_key", "plaintext"),
        ("tenant_credentials", "call_agent_id", "call_agent_id", "plaintext"),
        ("tenant_credentials", "sms_agent_id", "sms_agent_id", "plaintext"),
    ];
    let json = [
        ("user_profiles", "encrypted_agent_config"),
        ("user_settings", "retell_config"),
        ("user_settings", "retell_agent_config"),
        ("user_settings", "encrypted_api_keys"),
        ("user_settings", "encrypted_retell_keys"),
    ];
    let texts = texts.map(|(table, column, name, decryptor)| {
        OldSource::new(table, "user_id", column, decryptor).unwrap().field(field(name))
    });
    let json = json.map(|(table, column)| OldSource::new(table, "user_id", column, "carexps").unwrap());
    let webhook = OldSource::new("user_profiles", "user_id", "webhook_config", "plaintext").unwrap();
    layout(texts.into_iter().chain(json).chain([webhook.field(field("webhook_config"))]))
}

fn literal(stored: &Value) -> String {
    let text = match stored {
        Value::String(text) => text.clone(),
        Value::Null => return "NULL".to_owned(),
        other => other.to_string(),
    };
    format!("'{}'", text.replace('\'', "''"))
}

/// The row of a case. One about three columns holds them by their names.
fn insert(user: &str, case: &Value) -> String {
    let (table, column) = (case["table"].as_str().unwrap(), case["column"].as_str().unwrap());
    let columns: Vec<&str> = column.split(", ").collect();
    // the file names the values of three columns by their fields
    let stored = |name: &str| match &case["stored"][name] {
        Value::Null => case["stored"][name.trim_start_matches("retell_")].clone(),
        stored => stored.clone(),
    };
    let value = |name: &&str| match (columns.len(), case["column_type"].as_str()) {
        (1, Some("jsonb")) => format!("'{}'", case["stored"].to_string().replace('\'', "''")),
        (1, _) => literal(&case["stored"]),
        _ => literal(&stored(name)),
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    format!("INSERT INTO {table} (user_id, {column}) VALUES ('{user}', {});", values.join(", "))
}

/// The values of a record as the file has them.
fn shown(config: &RetellConfig) -> BTreeMap<String, Value> {
    let mut values = config.to_values();
    let fields: Vec<_> = values.fields().collect();
    fields.into_iter().map(|field| (field.to_string(), values.take_json(field).unwrap().unwrap())).collect()
}

/// The name in the file of each result of one owner, with its field.
fn fates(report: &ImportReport, user: &str) -> Vec<(String, &'static str)> {
    let names = ["unrecoverable", "corrupt", "not_retell", "disagreed", "failed"];
    let of_user = |list: &Vec<FoundField>, name| {
        let found = list.iter().filter(|found| found.user == user);
        found
            .map(|found| (found.field.map_or_else(String::new, |field| field.to_string()), name))
            .collect::<Vec<_>>()
    };
    lists(report).into_iter().zip(names).flat_map(|(list, name)| of_user(list, name)).collect()
}

#[tokio::test]
async fn all_values_end_sealed_or_reported() {
    let values: Value = serde_json::from_str(VALUES).unwrap();
    let mut by_password: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for case in values["cases"].as_array().unwrap() {
        by_password.entry(case["password"].as_str().unwrap_or_default()).or_default().push(case);
    }
    let (mut sealed, mut reported) = (0, 0);
    for (password, cases) in by_password {
        let scene = Scene::new(TABLES, sources()).await;
        let rows: Vec<String> = cases.iter().map(|case| insert(case["id"].as_str().unwrap(), case)).collect();
        scene.db.exec(&rows.concat()).await;
        let passwords = Passwords::new().with(password.to_owned());
        let report = scene.vault.import(&passwords, &ImportOptions::new(), |_| Ok(())).await.unwrap();
        assert_eq!(report.progress.sealed, report.progress.verified, "{report:?}");
        for case in cases {
            let id = case["id"].as_str().unwrap();
            let fates = fates(&report, id);
            let loaded = scene.vault.load(&owner(id)).await.ok().map(|loaded| shown(&loaded.config));
            let is_rejected = case["vault_rejects"] == true;
            match case["expect"].as_object().filter(|_| !is_rejected) {
                Some(expected) => {
                    assert_eq!(json!(loaded.unwrap_or_default()), json!(expected), "{id}: {fates:?}");
                    let lost = case["lost"].as_object().cloned().unwrap_or_default();
                    let lost: Vec<_> =
                        lost.iter().map(|(field, fate)| (field.clone(), fate.as_str().unwrap())).collect();
                    assert_eq!(fates, lost, "{id}");
                    sealed += 1;
                }
                None => {
                    let fate = if is_rejected { "failed" } else { case["expect"].as_str().unwrap() };
                    let alternatives = case["expect_alt"].as_array().cloned().unwrap_or_default();
                    let is_right = |is: &str| is == fate || alternatives.contains(&json!(is));
                    assert!(fates.iter().any(|(_, is)| is_right(is)), "{id}: {fates:?} {loaded:?}");
                    assert!(is_rejected || loaded.is_none(), "{id}");
                    reported += 1;
                }
            }
        }
        // once is enough: deriving the keys takes a while
        if password.is_empty() {
            let again = scene.import().await;
            assert_eq!((again.progress.sealed, again.progress.already), (0, report.progress.sealed));
        }
    }
    assert_eq!((sealed, reported), (69, 19));
}

#[tokio::test]
async fn whole_saves_are_put_together_and_cleared_from_every_place() {
    let values: Value = serde_json::from_str(VALUES).unwrap();
    for save in values["rows"].as_array().unwrap() {
        let scene = Scene::new(TABLES, sources()).await;
        let mut user = String::new();
        for (table, columns) in save["tables"].as_object().unwrap() {
            user = columns["user_id"].as_str().unwrap().to_owned();
            let known = scene_columns(&scene, table).await;
            let columns = columns.as_object().unwrap().iter().filter(|(name, _)| known.contains(name));
            let (names, stored): (Vec<_>, Vec<_>) =
                columns.map(|(name, value)| (name.as_str(), literal(value))).unzip();
            scene
                .db
                .exec(&format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), stored.join(", ")))
                .await;
        }
        let passwords = Passwords::new().with(save["password"].as_str().unwrap_or_default().to_owned());
        let options = ImportOptions::new().clear_source();
        let report = scene.vault.import(&passwords, &options, |_| Ok(())).await.unwrap();
        let loaded = scene.vault.load(&owner(&user)).await.unwrap();
        assert_eq!(json!(shown(&loaded.config)), save["expect"], "{}: {report:?}", save["id"]);
        assert!(report.progress.cleared > 0 && report.not_cleared.is_empty(), "{report:?}");
        // what is left holds no value
        let left: String = value(&scene.db, "SELECT coalesce((SELECT string_agg(p::text, '') FROM user_profiles p), '') || coalesce((SELECT string_agg(s::text, '') FROM user_settings s), '')").await;
        for value in shown(&loaded.config).values().filter_map(Value::as_str).filter(|value| value.len() > 8)
        {
            assert!(!left.contains(value), "{}: {left}", save["id"]);
        }
        let again = scene.vault.import(&passwords, &options, |_| Ok(())).await.unwrap();
        assert_eq!(again.progress.sealed + again.progress.cleared, 0, "{again:?}");
    }
}

async fn scene_columns(scene: &Scene, table: &str) -> Vec<String> {
    let sql = format!(
        "SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0"
    );
    value(&scene.db, &sql).await
}

#[tokio::test]
async fn what_others_may_have_read_is_to_be_replaced() {
    let scene = Scene::new(TABLES, sources()).await;
    let encoded = "a2V5X3Rlc3RfNGIwYzE3NDFiNGUwNTAwZjQ2YzU=:ZmFsbGJhY2staXY=:ZmFsbGJhY2stdGFn:1";
    scene
        .db
        .exec(&format!(
            "INSERT INTO user_profiles (user_id, encrypted_retell_api_key) VALUES ('user-1', '{encoded}')"
        ))
        .await;
    scene.db.exec("INSERT INTO user_settings (user_id, retell_config) VALUES ('user-2', '{\"api_key\": \"key_test_0002\"}')").await;
    let report = scene.import().await;
    let place = "public.user_profiles.encrypted_retell_api_key";
    let exposed: Vec<_> =
        report.exposed.iter().map(|found| (found.user.as_str(), found.place.as_str())).collect();
    assert_eq!(exposed, [("user-1", place)]);
}
