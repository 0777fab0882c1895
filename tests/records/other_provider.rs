//! Another provider's credentials beside Retell's: one keyring, one table, and neither vault touches what is the other's.

#[path = "../../examples/other_provider.rs"]
#[allow(dead_code)]
mod example;

use example::Twilio;
use retell_vault::config::{Credentials, Field, FieldSpec, Values};
use retell_vault::records::Source;
use retell_vault::records::StoreOptions;
use retell_vault::rotation::PromoteEvent;
use retell_vault::{ErrorKind, Layout, RetellConfig, Vault, VaultBuilder};
use serde_json::{Value, json};

use crate::support::faults::*;
use crate::support::rotation::{at_once, completes, primary, promote as promote_key};
use crate::support::rows::{table, value};
use crate::support::vaults::*;
use crate::support::*;

const AUTH_TOKEN: Field = Field::named("auth_token");
const API_KEY: Field = Field::named("api_key");
/// Every column of both kinds but one: the account's id goes to the JSONB column.
const MIXED: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, full_name text,
    encrypted_retell_api_key text, encrypted_call_agent_id text, encrypted_agent_config jsonb, phone_number text,
    retell_integration_status text, last_retell_sync timestamptz,
    twilio_auth_token text, twilio_phone_number text, last_twilio_sync timestamptz)";
const ONLY_COLUMNS: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY,
    encrypted_retell_api_key text, encrypted_call_agent_id text, retell_integration_status text,
    twilio_account_sid text, twilio_auth_token text, twilio_phone_number text)";
const ONLY_JSON: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)";
const TABLES: [&str; 3] = [MIXED, ONLY_COLUMNS, ONLY_JSON];

fn twilio(mark: impl std::fmt::Display) -> Twilio {
    Twilio {
        account_sid: format!("{}_{mark}", CANARIES[1]).parse().unwrap(),
        auth_token: format!("{}_{mark}", CANARIES[3]).parse().unwrap(),
        phone_number: Some("+14155550177".parse().unwrap()),
    }
}

/// A database with one table, and a keyring.
struct Stage {
    db: TestDb,
    hosts: Hosts,
}

impl Stage {
    async fn on(columns: &str) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(columns).await;
        db.exec("INSERT INTO user_profiles (user_id) VALUES ('user-1')").await;
        Self { db, hosts }
    }

    async fn retell(&self) -> Vault {
        self.hosts.host(0, &self.db.url).build().await.unwrap()
    }

    fn twilio_builder(&self, url: &str) -> VaultBuilder<Twilio> {
        let builder = self.hosts.host(1, url).credentials::<Twilio>();
        builder.local_file(self.hosts.local_file(1))
    }

    async fn twilio(&self) -> Vault<Twilio> {
        self.twilio_builder(&self.db.url).build().await.unwrap()
    }

    /// With a record of each kind.
    async fn with_both(columns: &str) -> Self {
        let stage = Self::on(columns).await;
        assert!(
            stage.retell().await.store(&owner("user-1"), &full_config(1)).await.unwrap().degraded.is_none()
        );
        assert!(stage.twilio().await.store(&owner("user-1"), &twilio(1)).await.unwrap().degraded.is_none());
        stage
    }

    async fn row(&self) -> Value {
        table(&self.db, "user_profiles").await[0].take()
    }

    /// What lies in the row of Retell's and of Twilio's.
    async fn kinds(&self) -> [Value; 2] {
        let mut row = self.row().await;
        let row = row.as_object_mut().unwrap();
        let config = row.remove("encrypted_agent_config").unwrap_or_default();
        let (of_twilio, mut of_retell): (Value, Value) = (
            row.iter()
                .filter(|(name, _)| name.contains("twilio"))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            row.iter()
                .filter(|(name, _)| !name.contains("twilio"))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        );
        of_retell["member"] = config["retell_vault"].clone();
        let mut of_twilio = of_twilio;
        of_twilio["member"] = config["twilio_vault"].clone();
        [of_retell, of_twilio]
    }

    async fn both_load(&self) {
        assert_eq!(self.retell().await.load(&owner("user-1")).await.unwrap().config, full_config(1));
        assert_eq!(self.twilio().await.load(&owner("user-1")).await.unwrap().config, twilio(1));
    }
}

// --- The example ---

#[test]
fn the_face_of_a_provider_is_forty_lines_and_shows_no_secret() {
    let source = include_str!("../../examples/other_provider.rs");
    let (_, face) = source.split_once("// --- What the vault must know of Twilio").unwrap();
    let (face, _) = face.split_once("// --- The end of that part").unwrap();
    assert!(face.contains("impl Credentials for Twilio") && face.contains("impl fmt::Debug for Twilio"));
    let lines = face.lines().skip(1).count();
    assert!(lines <= 40, "{lines} lines");
    let shown = format!("{:?}", twilio(1));
    assert_no_secret(shown.as_bytes(), &shown);
    assert!(shown.contains("+14155550177"));
}

#[tokio::test]
async fn the_example_runs_without_a_server_and_with_one_again_and_again() {
    let (stage, folder) = (Stage::on(MIXED).await, tempfile::tempdir().unwrap());
    for database in [None, Some(stage.db.url.as_str())] {
        let folder = folder.path().join(if database.is_some() { "with" } else { "without" });
        for _ in 0..2 {
            example::run(&folder, "user-1", database).await.unwrap();
        }
    }
    let [of_retell, of_twilio] = stage.kinds().await;
    assert!(of_retell["encrypted_retell_api_key"].as_str().unwrap().starts_with("rv1."));
    assert_eq!(of_twilio["twilio_auth_token"], Value::Null, "it was deleted");
}

// --- Side by side ---

#[tokio::test]
async fn both_kinds_lie_in_one_row_and_each_vault_opens_its_own() {
    for columns in TABLES {
        let stage = Stage::on(columns).await;
        let (retell, twilios) = (stage.retell().await, stage.twilio().await);
        let user = owner("user-1");
        twilios.store(&user, &twilio(1)).await.unwrap();
        assert_eq!(retell.load(&user).await.unwrap_err().kind(), ErrorKind::NotFound, "{columns}");
        assert!(retell.list(None, 10).await.unwrap().entries.is_empty(), "{columns}");
        retell.store(&user, &full_config(1)).await.unwrap();
        stage.both_load().await;
        let loaded = twilios.load(&user).await.unwrap();
        assert_eq!((loaded.source, loaded.unknown.len(), loaded.ignored.len()), (Source::Database, 0, 0));
        assert!(loaded.changed_outside.is_empty());
        assert_eq!(twilios.list(None, 10).await.unwrap().entries.len(), 1);
        assert_no_secret(stage.row().await.to_string().as_bytes(), "the row");
        assert_no_secret(&stage.hosts.files(), "the local files");
    }
}

#[tokio::test]
async fn what_has_no_column_lies_in_the_member_of_its_kind() {
    let stage = Stage::with_both(MIXED).await;
    let [of_retell, of_twilio] = stage.kinds().await;
    let members = |of: &Value| of["member"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&of_twilio), ["account_sid", "record"]);
    assert_eq!(
        members(&of_retell),
        ["phone_number", "record", "sms_agent_id", "webhook_config", "webhook_key"]
    );
    assert!(of_twilio["twilio_auth_token"].as_str().unwrap().starts_with("rv1."));
    assert_eq!(of_twilio["twilio_phone_number"], "+14155550177");
    assert_eq!(of_retell["phone_number"], Value::Null, "the application's own");
    // also when both are stored in bulk
    let owners = [owner("user-1"), owner("user-2")];
    let configs: Vec<_> = owners.iter().map(|owner| (owner.clone(), full_config(2))).collect();
    stage
        .retell()
        .await
        .store_many(&configs)
        .await
        .unwrap()
        .into_iter()
        .for_each(|stored| drop(stored.unwrap()));
    let credentials: Vec<_> = owners.iter().map(|owner| (owner.clone(), twilio(2))).collect();
    stage
        .twilio()
        .await
        .store_many(&credentials)
        .await
        .unwrap()
        .into_iter()
        .for_each(|stored| drop(stored.unwrap()));
    for loaded in stage.retell().await.load_many(&owners).await {
        assert_eq!(loaded.unwrap().config, full_config(2));
    }
    for loaded in stage.twilio().await.load_many(&owners).await {
        assert_eq!(loaded.unwrap().config, twilio(2));
    }
}

/// The kind is part of what a token is sealed for.
#[tokio::test]
async fn a_record_of_one_kind_does_not_open_as_one_of_the_other() {
    let stage = Stage::with_both(ONLY_JSON).await;
    stage
        .db
        .exec("UPDATE user_profiles SET encrypted_agent_config = jsonb_build_object('retell_vault', encrypted_agent_config -> 'twilio_vault')")
        .await;
    let error = stage.retell().await.load(&owner("user-1")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsealable | ErrorKind::Configuration), "{error:?}");
    assert_eq!(stage.twilio().await.load(&owner("user-1")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_delete_of_one_kind_leaves_the_other() {
    for columns in TABLES {
        let stage = Stage::with_both(columns).await;
        let [of_retell, _] = stage.kinds().await;
        stage.twilio().await.delete(&owner("user-1")).await.unwrap();
        let [retell_after, of_twilio] = stage.kinds().await;
        assert_eq!(retell_after, of_retell, "{columns}");
        assert_eq!(
            stage.twilio().await.load(&owner("user-1")).await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert_eq!(of_twilio["twilio_phone_number"], Value::Null);

        stage.twilio().await.store(&owner("user-1"), &twilio(1)).await.unwrap();
        let [_, of_twilio] = stage.kinds().await;
        stage.retell().await.delete(&owner("user-1")).await.unwrap();
        assert_eq!(stage.kinds().await[1], of_twilio, "{columns}");
        assert_eq!(stage.twilio().await.load(&owner("user-1")).await.unwrap().config, twilio(1));
    }
}

#[tokio::test]
async fn a_rotation_of_one_kind_leaves_the_other_and_a_key_lives_until_both_are_rotated() {
    for columns in TABLES {
        let stage = Stage::with_both(columns).await;
        let (old, new) = promote_key(&stage.hosts).await;
        let [_, of_twilio] = stage.kinds().await;
        let retell = stage.retell().await;
        let rotation = retell.rotate(&crate::support::rotation::small(), |_| {}).await.unwrap();
        assert!(rotation.unreadable.is_empty(), "{columns}: {rotation:?}");
        let [of_retell, twilio_after] = stage.kinds().await;
        assert_eq!(twilio_after, of_twilio, "{columns}");
        assert!(
            !of_retell.to_string().contains(&old.to_string())
                && of_retell.to_string().contains(&new.to_string())
        );
        stage.both_load().await;
        let error = retell.destroy_key(old, at_once()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyInUse, "{columns}: {error}");

        let rotation = stage.twilio().await.rotate(&crate::support::rotation::small(), |_| {}).await.unwrap();
        assert!(rotation.complete, "{columns}: {rotation:?}");
        let [retell_after, of_twilio] = stage.kinds().await;
        assert_eq!(retell_after, of_retell, "{columns}");
        assert!(!of_twilio.to_string().contains(&old.to_string()));
        stage.both_load().await;
        completes(&retell).await;
        assert_eq!(primary(&stage.hosts), new);
        retell.destroy_key(old, at_once()).await.unwrap();
        stage.both_load().await;
    }
}

#[tokio::test]
async fn a_promotion_of_one_kind_leaves_the_other() {
    let stage = Stage::with_both(ONLY_JSON).await;
    stage
        .db
        .exec(
            "ALTER TABLE user_profiles ADD encrypted_retell_api_key text, ADD encrypted_call_agent_id text,
            ADD twilio_account_sid text, ADD twilio_auth_token text, ADD twilio_phone_number text",
        )
        .await;
    let [of_retell, _] = stage.kinds().await;
    let promotion = stage.twilio().await.promote(&crate::support::promotion::small(), |_| {}).await.unwrap();
    assert!(promotion.complete && promotion.promoted == 1, "{promotion:?}");
    let [retell_after, of_twilio] = stage.kinds().await;
    assert_eq!(retell_after, of_retell);
    assert_eq!(
        (&of_twilio["member"], &of_twilio["twilio_phone_number"]),
        (&Value::Null, &json!("+14155550177"))
    );
    stage.both_load().await;

    let promotion = stage.retell().await.promote(&crate::support::promotion::small(), |_| {}).await.unwrap();
    assert!(promotion.complete && promotion.promoted == 1, "{promotion:?}");
    assert_eq!(stage.kinds().await[1], of_twilio);
    stage.both_load().await;
}

#[tokio::test]
async fn a_synchronisation_of_one_kind_leaves_the_other() {
    for columns in TABLES {
        let stage = Stage::with_both(columns).await;
        let offline = stage.twilio_builder(DEAD_URL).timeouts(QUICK).build().await.unwrap();
        assert!(offline.store(&owner("user-1"), &twilio(2)).await.unwrap().degraded.is_some());
        offline.close().await;
        let [of_retell, _] = stage.kinds().await;
        let twilios = stage.twilio().await;
        assert_eq!(twilios.sync().await.unwrap().pushed, 1);
        let [retell_after, of_twilio] = stage.kinds().await;
        assert_eq!(retell_after, of_retell, "{columns}");
        assert_eq!(twilios.load(&owner("user-1")).await.unwrap().config, twilio(2));

        let offline = unplugged(&stage.hosts, 0).await;
        offline.store(&owner("user-1"), &full_config(2)).await.unwrap();
        offline.close().await;
        let retell = stage.retell().await;
        assert_eq!(retell.sync().await.unwrap().pushed, 1);
        assert_eq!(stage.kinds().await[1], of_twilio, "{columns}");
        assert_eq!(retell.load(&owner("user-1")).await.unwrap().config, full_config(2));
    }
}

// --- Set up wrongly ---

/// Retell's columns, with and without the JSONB column.
const RETELL_COLUMNS: [&str; 3] = [
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)",
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, encrypted_agent_config jsonb)",
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, encrypted_call_agent_id text,
        twilio_account_sid text)",
];

fn refused(error: &retell_vault::Error, context: &str) {
    assert_eq!(error.kind(), ErrorKind::Configuration, "{context}: {error:?}");
    assert!(error.hint().contains("text columns"), "{context}: {error:?}");
    assert_no_secret(format!("{error:?}").as_bytes(), "the error");
}

async fn is_refused<C: retell_vault::config::Credentials>(
    stage: &Stage,
    vault: &Vault<C>,
    config: &C,
    context: &str,
) {
    let (before, user) = (stage.row().await, owner("user-1"));
    let loaded = vault.load(&user).await.map(drop);
    refused(&loaded.expect_err("a load"), &format!("load, {context}"));
    let loaded = vault.load_many(std::slice::from_ref(&user)).await.remove(0).map(drop);
    refused(&loaded.expect_err("a bulk load"), &format!("load_many, {context}"));
    refused(&vault.store(&user, config).await.unwrap_err(), &format!("store, {context}"));
    let options = StoreOptions::new().replace_foreign();
    let stored = vault.store_with(&user, config, options).await;
    refused(&stored.unwrap_err(), &format!("store with leave to replace text, {context}"));
    let many = [(user.clone(), config.clone()), (owner("user-2"), config.clone())];
    let stored = vault.store_many(&many).await.unwrap();
    refused(stored[0].as_ref().unwrap_err(), &format!("store_many, {context}"));
    assert!(stored[1].is_ok(), "the owner without a record of the other kind, {context}");
    refused(&vault.delete(&user).await.unwrap_err(), &format!("delete, {context}"));
    let after =
        value::<Value>(&stage.db, "SELECT to_jsonb(t) FROM user_profiles t WHERE user_id = 'user-1'").await;
    assert_eq!(after, before, "{context}");
    let local = vault.status().await.unwrap().local.unwrap();
    assert_eq!((local.pending, local.losers, local.replaced, local.dead_letters), (0, 0, 0, 0), "{context}");
    stage.db.exec("DELETE FROM user_profiles WHERE user_id = 'user-2'").await;
}

#[tokio::test]
async fn two_kinds_over_one_text_column_are_refused_and_nothing_is_written() {
    for columns in RETELL_COLUMNS {
        for config in [full_config(1), small_config(1)] {
            let stage = Stage::on(columns).await;
            let retell = stage.retell().await;
            retell.store(&owner("user-1"), &config).await.unwrap();
            let layout = Layout::of::<Twilio>().column(AUTH_TOKEN, "encrypted_retell_api_key").unwrap();
            let twilios = stage.twilio_builder(&stage.db.url).layout(layout).build().await.unwrap();
            is_refused(&stage, &twilios, &twilio(1), &format!("Twilio over Retell, {columns}")).await;
            assert_eq!(retell.load(&owner("user-1")).await.unwrap().config, config);
        }
    }
}

/// Whoever says so may replace even that. The tokens are kept.
#[tokio::test]
async fn what_is_replaced_on_purpose_is_kept() {
    let (stage, user) = (Stage::on(RETELL_COLUMNS[0]).await, owner("user-1"));
    stage.retell().await.store(&user, &full_config(1)).await.unwrap();
    let layout = Layout::of::<Twilio>().column(AUTH_TOKEN, "encrypted_retell_api_key").unwrap();
    let twilios = stage.twilio_builder(&stage.db.url).layout(layout).build().await.unwrap();
    let options = StoreOptions::new().replace_unreadable();
    assert!(!twilios.store_with(&user, &twilio(1), options).await.unwrap().replaced.is_empty());
    assert!(twilios.status().await.unwrap().local.unwrap().replaced > 0);
    assert_eq!(twilios.load(&user).await.unwrap().config, twilio(1));
}

#[tokio::test]
async fn and_the_other_way_round() {
    for columns in RETELL_COLUMNS {
        let stage = Stage::on(columns).await;
        let layout = Layout::of::<Twilio>().column(AUTH_TOKEN, "encrypted_retell_api_key").unwrap();
        let twilios = stage.twilio_builder(&stage.db.url).layout(layout).build().await.unwrap();
        twilios.store(&owner("user-1"), &twilio(1)).await.unwrap();
        let context = format!("Retell over Twilio, {columns}");
        is_refused(&stage, &stage.retell().await, &full_config(1), &context).await;
        is_refused(&stage, &stage.retell().await, &small_config(1), &context).await;
        assert_eq!(twilios.load(&owner("user-1")).await.unwrap().config, twilio(1));
    }
}

/// What is damaged or forged is no other kind's: it does not open. What names an unknown key is kept from being replaced, also
/// when it names a field that nobody has.
#[tokio::test]
async fn tokens_that_no_vault_of_this_keyring_made_are_no_other_kinds() {
    let stage = Stage::on(RETELL_COLUMNS[1]).await;
    let (retell, user) = (stage.retell().await, owner("user-1"));
    let (now, key) = (retell.store(&user, &full_config(1)).await.unwrap().version, primary(&stage.hosts));
    let forge = async |key: &str, version: &str| {
        let forged = format!("rv1.{key}.{version}.auth_token.{}", "A".repeat(208));
        stage.db.exec(&format!("UPDATE user_profiles SET encrypted_retell_api_key = '{forged}'")).await;
    };
    forge("ffffffff", &now.to_string()).await;
    let error = retell.store(&user, &full_config(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownKey, "{error}");
    forge(&key.to_string(), &"f".repeat(16)).await;
    // what is left of the record lacks its api_key
    let error = retell.store(&user, &full_config(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsealable, "{error}");
    let options = StoreOptions::new().replace_unreadable();
    assert!(!retell.store_with(&user, &full_config(2), options).await.unwrap().replaced.is_empty());
    assert_eq!(retell.load(&user).await.unwrap().config, full_config(2));
}

/// A record of one's own beside it makes the other kind's tokens look like what a store left behind.
#[tokio::test]
async fn a_layout_that_moves_onto_the_others_column_is_refused_too() {
    for twilio_first in [true, false] {
        let stage = Stage::on(RETELL_COLUMNS[1]).await;
        let user = owner("user-1");
        if twilio_first {
            stage.twilio().await.store(&user, &twilio(1)).await.unwrap();
        }
        stage.retell().await.store(&user, &full_config(1)).await.unwrap();
        if !twilio_first {
            stage.twilio().await.store(&user, &twilio(1)).await.unwrap();
        }
        let before = stage.row().await;
        let layout = Layout::of::<Twilio>().column(AUTH_TOKEN, "encrypted_retell_api_key").unwrap();
        let twilios = stage.twilio_builder(&stage.db.url).layout(layout).build().await.unwrap();
        refused(&twilios.store(&user, &twilio(2)).await.unwrap_err(), "store");
        let stored = twilios.store_many(&[(user.clone(), twilio(2))]).await.unwrap().remove(0);
        refused(&stored.unwrap_err(), "store_many");
        refused(&twilios.delete(&user).await.unwrap_err(), "delete");
        let (promotion, left) = promote_all(&twilios).await;
        assert!(!promotion.complete && promotion.promoted == 0, "{promotion:?}");
        assert_eq!(left.len(), 1, "{promotion:?} {left:?}");
        let (rotation, _) =
            crate::support::rotation::rotate(&stage.retell().await, &crate::support::rotation::small())
                .await
                .unwrap();
        assert_eq!(rotation.progress.resealed, 0);
        assert_eq!(stage.row().await, before);
        stage.both_load().await;
    }
}

async fn promote_all(
    vault: &Vault<Twilio>,
) -> (retell_vault::rotation::Promotion, Vec<retell_vault::rotation::UnreadableRow>) {
    let mut left = Vec::new();
    let listener = |event: PromoteEvent<'_>| match event {
        PromoteEvent::Pass(_) => left.clear(),
        PromoteEvent::Unreadable(row) => left.push(row.clone()),
        _ => {}
    };
    let promotion = vault.promote(&crate::support::promotion::small(), listener).await.unwrap();
    (promotion, left)
}

/// A kind whose only secret has the same name as one of Retell's.
#[derive(Clone, Debug, PartialEq)]
struct Vapi(String);

impl Credentials for Vapi {
    const NAMESPACE: &'static str = "vapi";
    const FIELDS: &'static [FieldSpec] = &[FieldSpec::secret("api_key").column("vapi_api_key")];

    fn to_values(&self) -> Values {
        let mut values = Values::new();
        values.put_text(API_KEY, Some(&self.0));
        values
    }

    fn from_values(mut values: Values) -> retell_vault::Result<Self> {
        Ok(Self(values.take_text(API_KEY)?.ok_or(ErrorKind::Incomplete)?.to_string()))
    }
}

/// A kind with other fields keeps its key in any case; one with the same ones if it is named.
#[tokio::test]
async fn a_kind_with_the_same_fields_is_named_before_a_key_is_destroyed() {
    let columns = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, vapi_api_key text)";
    let stage = Stage::on(columns).await;
    let retell = stage.retell().await;
    retell.store(&owner("user-1"), &small_config(1)).await.unwrap();
    let builder = stage.hosts.host(1, &stage.db.url).credentials::<Vapi>();
    let vapi = builder.local_file(stage.hosts.local_file(1)).build().await.unwrap();
    let (user, stored) = (owner("user-1"), Vapi(format!("{}_vapi", CANARIES[0])));
    assert_eq!(vapi.store(&user, &stored).await.unwrap().degraded, None);
    let (old, _) = promote_key(&stage.hosts).await;
    crate::support::rotation::until_taken_up().await;
    completes(&retell).await;
    let named = || at_once().kind::<Vapi>();
    let error = retell.destroy_key(old, named()).await.unwrap_err();
    assert!(error.to_string().contains("2 in column public.user_profiles.vapi_api_key"), "{error}");
    assert!(vapi.rotate(&crate::support::rotation::small(), |_| {}).await.unwrap().complete);
    retell.destroy_key(old, named()).await.unwrap();
    assert_eq!(vapi.load(&user).await.unwrap().config, stored);
    assert_eq!(retell.load(&user).await.unwrap().config, small_config(1));
}

/// What waits in the local file when the layout is corrected waits on.
#[tokio::test]
async fn a_pending_record_is_not_pushed_over_the_other_kind() {
    let stage = Stage::on(RETELL_COLUMNS[1]).await;
    stage.retell().await.store(&owner("user-1"), &full_config(1)).await.unwrap();
    let layout = || Layout::of::<Twilio>().column(AUTH_TOKEN, "encrypted_retell_api_key").unwrap();
    let offline = stage.twilio_builder(DEAD_URL).layout(layout()).timeouts(QUICK).build().await.unwrap();
    offline.store(&owner("user-1"), &twilio(1)).await.unwrap();
    offline.close().await;
    let before = stage.row().await;
    let twilios = stage.twilio_builder(&stage.db.url).layout(layout()).build().await.unwrap();
    let report = twilios.sync().await.unwrap();
    assert_eq!(report.pushed, 0, "{report:?}");
    assert_eq!(stage.row().await, before);
    assert_eq!(local_pending(&twilios).await, 1, "{report:?}");
    twilios.close().await;
    let twilios = stage.twilio().await;
    assert_eq!(twilios.sync().await.unwrap().pushed, 1);
    stage.both_load().await;
}

async fn local_pending(vault: &Vault<Twilio>) -> u64 {
    vault.status().await.unwrap().local.unwrap().pending
}

#[tokio::test]
async fn a_layout_or_a_local_file_of_another_kind_is_refused() {
    let stage = Stage::on(MIXED).await;
    let error =
        stage.twilio_builder(&stage.db.url).layout(Layout::new()).build().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.hint().contains("Layout::of"), "{error:?}");
    let layout = Layout::of::<Twilio>();
    let error = stage.hosts.host(0, &stage.db.url).layout(layout).build().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(Layout::new().column(AUTH_TOKEN, "x").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(Layout::of::<Twilio>().column(API_KEY, "x").unwrap_err().kind(), ErrorKind::InvalidInput);

    // the local file keeps the kind that it was first used for
    stage.retell().await.close().await;
    let builder = stage.hosts.offline(0).credentials::<Twilio>();
    let error = builder.build().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("retell") && error.hint().contains("its own local file"), "{error:?}");
    stage.twilio().await.close().await;
    let error = stage.hosts.offline(1).build().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    let config: RetellConfig = small_config(1);
    stage.retell().await.store(&owner("user-1"), &config).await.unwrap();
}
