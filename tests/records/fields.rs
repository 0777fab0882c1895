//! Which fields a record has: agents without a key, fields that a layout or a newer program adds, and input that is refused.

use retell_vault::config::{Credentials, ExtraSecret, Field, FieldSpec, Values};
use retell_vault::doctor::DoctorOptions;
use retell_vault::{ErrorKind, Layout, RetellConfig, Vault};
use serde_json::Value;

use crate::support::faults::*;
use crate::support::promotion::{ADD_ALL, PACKED, promote};
use crate::support::rotation::{at_once, promote as promote_key, rotate, small};
use crate::support::rows::value;
use crate::support::vaults::*;
use crate::support::*;

const VOICE: Field = Field::named("voice_key");
const LABEL: Field = Field::named("label");
const JSON: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)";

// --- A newer program, which knows two fields more ---

/// Retell's credentials as a later version of the program knows them.
#[derive(Clone, Debug, PartialEq)]
struct Later {
    config: RetellConfig,
    voice: Option<ExtraSecret>,
    label: Option<String>,
}

const KNOWN: usize = RetellConfig::FIELDS.len();

impl Credentials for Later {
    const NAMESPACE: &'static str = RetellConfig::NAMESPACE;
    const FIELDS: &'static [FieldSpec] = &{
        let mut fields = [FieldSpec::secret("voice_key"); KNOWN + 2];
        let mut at = 0;
        while at < KNOWN {
            fields[at] = RetellConfig::FIELDS[at];
            at += 1;
        }
        fields[KNOWN] = FieldSpec::plain("label").column("retell_label");
        fields
    };

    fn to_values(&self) -> Values {
        let mut values = self.config.to_values();
        values.put_text(VOICE, self.voice.as_ref().map(|voice| voice.expose_secret()));
        values.put_text(LABEL, self.label.as_deref());
        values
    }

    fn from_values(mut values: Values) -> retell_vault::Result<Self> {
        let voice = values.take_text(VOICE)?.map(|text| text.parse()).transpose()?;
        let label = values.take_text(LABEL)?.map(|text| text.to_string());
        Ok(Self { config: RetellConfig::from_values(values)?, voice, label })
    }
}

fn later(config: RetellConfig) -> Later {
    Later { config, voice: Some(format!("{}_voice", CANARIES[0]).parse().unwrap()), label: None }
}

/// A table, and a keyring that the processes of both versions share.
struct Stage {
    db: TestDb,
    hosts: Hosts,
}

impl Stage {
    async fn on(table: &str) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(table).await;
        Self { db, hosts }
    }

    async fn older(&self) -> Vault {
        self.hosts.host(0, &self.db.url).build().await.unwrap()
    }

    async fn newer(&self) -> Vault<Later> {
        self.new_with(Layout::of::<Later>()).await
    }

    /// The newer program, for which the voice has a column of its own.
    async fn new_with_column(&self) -> Vault<Later> {
        self.new_with(Layout::of::<Later>().column(VOICE, "voice_key_enc").unwrap()).await
    }

    async fn new_with(&self, layout: Layout) -> Vault<Later> {
        let builder = self.hosts.host(1, &self.db.url).credentials::<Later>().layout(layout);
        builder.build().await.unwrap()
    }

    async fn row(&self) -> Value {
        value(&self.db, "SELECT to_jsonb(t) FROM user_profiles AS t WHERE user_id = 'user-1'").await
    }

    async fn tokens(&self) -> usize {
        self.row().await.to_string().matches("rv1.").count()
    }
}

async fn is_loaded(vault: &Vault<Later>, expected: &Later) {
    let loaded = vault.load(&owner("user-1")).await.unwrap();
    assert_eq!(&loaded.config, expected);
    assert!(loaded.unknown.is_empty() && loaded.changed_outside.is_empty() && loaded.ignored.is_empty());
}

/// The older program answers with what it knows, and names the rest.
async fn old_names(vault: &Vault, config: &RetellConfig, unknown: &[Field]) {
    let single = vault.load(&owner("user-1")).await.unwrap();
    let many = vault.load_many(&[owner("user-1")]).await.remove(0).unwrap();
    for loaded in [single, many] {
        assert_eq!((&loaded.config, loaded.unknown.as_slice()), (config, unknown));
        assert!(loaded.changed_outside.is_empty() && loaded.ignored.is_empty());
    }
}

#[tokio::test]
async fn the_older_program_loses_nothing_that_lies_where_it_looks() {
    for table in [PACKED, JSON, ALL_COLUMNS] {
        let stage = Stage::on(table).await;
        let (old, new) = (stage.older().await, stage.newer().await);
        let stored = Later { label: Some("front desk".to_owned()), ..later(full_config(1)) };
        new.store(&owner("user-1"), &stored).await.unwrap();
        old_names(&old, &full_config(1), &[VOICE, LABEL]).await;
        assert_eq!(old.list(None, 10).await.unwrap().entries.len(), 1);

        let (old_key, _) = promote_key(&stage.hosts).await;
        let old = stage.older().await;
        let (rotation, unreadable) = rotate(&old, &small()).await.unwrap();
        assert!(rotation.complete && unreadable.is_empty(), "{table}: {rotation:?} {unreadable:?}");
        assert!(!stage.row().await.to_string().contains(&old_key.to_string()), "{table}");
        is_loaded(&new, &stored).await;

        if table != ALL_COLUMNS {
            stage
                .db
                .exec(
                    &ADD_ALL
                        .replace("ADD encrypted_agent_config", "ADD IF NOT EXISTS encrypted_agent_config"),
                )
                .await;
            stage.db.exec("ALTER TABLE user_profiles ADD IF NOT EXISTS encrypted_retell_api_key text").await;
            let (promotion, left) = promote(&old).await.unwrap();
            assert!(
                promotion.complete && promotion.promoted == 1 && left.is_empty(),
                "{table}: {promotion:?} {left:?}"
            );
            is_loaded(&stage.newer().await, &stored).await;
            old_names(&stage.older().await, &full_config(1), &[VOICE, LABEL]).await;
        }
        assert_no_secret(stage.row().await.to_string().as_bytes(), "the row");
    }
}

#[tokio::test]
async fn the_older_program_synchronises_what_the_newer_one_left_in_the_local_file() {
    for rotated in [false, true] {
        let stage = Stage::on(ALL_COLUMNS).await;
        let stored = Later { label: Some("front desk".to_owned()), ..later(full_config(1)) };
        let builder = stage.hosts.host(0, DEAD_URL).credentials::<Later>().timeouts(QUICK);
        let offline = builder.build().await.unwrap();
        assert!(offline.store(&owner("user-1"), &stored).await.unwrap().degraded.is_some());
        offline.close().await;
        if rotated {
            promote_key(&stage.hosts).await;
        }
        let old = stage.older().await;
        old_names(&old, &full_config(1), &[VOICE, LABEL]).await;
        assert_eq!(old.sync().await.unwrap().pushed, 1);
        old_names(&old, &full_config(1), &[VOICE, LABEL]).await;
        is_loaded(&stage.newer().await, &stored).await;
    }
}

#[tokio::test]
async fn the_offline_replica_of_the_older_program_holds_everything() {
    let stage = Stage::on(JSON).await;
    let stored = Later { label: Some("front desk".to_owned()), ..later(full_config(1)) };
    stage.newer().await.store(&owner("user-1"), &stored).await.unwrap();
    let old = stage.hosts.host(0, &stage.db.url).offline_reads().build().await.unwrap();
    old.load(&owner("user-1")).await.unwrap();
    old.close().await;
    let builder = stage.hosts.host(0, DEAD_URL).credentials::<Later>().timeouts(QUICK).offline_reads();
    let upgraded = builder.build().await.unwrap();
    let loaded = upgraded.load(&owner("user-1")).await.unwrap();
    assert!(loaded.stale);
    is_loaded(&upgraded, &stored).await;
}

/// A store replaces the whole record, also by a program that does not know all of it.
#[tokio::test]
async fn a_store_of_the_older_program_replaces_the_record() {
    for table in [PACKED, JSON, ALL_COLUMNS] {
        for config in [full_config(1), RetellConfig::empty()] {
            let stage = Stage::on(table).await;
            let (old, new) = (stage.older().await, stage.newer().await);
            new.store(&owner("user-1"), &later(config.clone())).await.unwrap();
            old_names(&old, &config, &[VOICE]).await;
            assert!(old.store(&owner("user-1"), &full_config(2)).await.unwrap().replaced.is_empty());
            old_names(&old, &full_config(2), &[]).await;
            is_loaded(&new, &Later { config: full_config(2), voice: None, label: None }).await;
            new.store(&owner("user-1"), &later(config)).await.unwrap();
            old.delete(&owner("user-1")).await.unwrap();
            assert_eq!(new.load(&owner("user-1")).await.unwrap_err().kind(), ErrorKind::NotFound);
        }
    }
}

/// Its column keeps what the newer program put there, and says nothing to the older one.
#[tokio::test]
async fn a_plain_column_that_the_older_program_does_not_know_keeps_its_value() {
    let stage = Stage::on(&format!("{ALL_COLUMNS}; ALTER TABLE user_profiles ADD retell_label text")).await;
    let (old, new) = (stage.older().await, stage.newer().await);
    let stored = Later { config: full_config(1), voice: None, label: Some("front desk".to_owned()) };
    new.store(&owner("user-1"), &stored).await.unwrap();
    assert_eq!(stage.row().await["retell_label"], "front desk");
    old_names(&old, &full_config(1), &[LABEL]).await;
    promote_key(&stage.hosts).await;
    let old = stage.older().await;
    let (rotation, unreadable) = rotate(&old, &small()).await.unwrap();
    assert!(rotation.complete && unreadable.is_empty(), "{rotation:?} {unreadable:?}");
    assert!(rotation.progress.resealed == 1 && promote(&old).await.unwrap().0.complete);
    is_loaded(&new, &stored).await;
    // after a store of the older one it is nobody's: it counts, and is named
    old.store(&owner("user-1"), &full_config(2)).await.unwrap();
    let loaded = new.load(&owner("user-1")).await.unwrap();
    assert_eq!(
        (loaded.config.label.as_deref(), loaded.changed_outside.as_slice()),
        (Some("front desk"), &[LABEL][..])
    );
}

// --- In a column that the older program does not know ---

/// With and without a JSONB column.
const VOICE_COLUMNS: [&str; 2] = [
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, voice_key_enc text)",
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb, voice_key_enc text)",
];

#[tokio::test]
async fn the_older_program_moves_and_reencrypts_no_record_that_it_does_not_see_whole() {
    for table in VOICE_COLUMNS {
        let stage = Stage::on(table).await;
        let (old, new) = (stage.older().await, stage.new_with_column().await);
        let stored = later(full_config(1));
        new.store(&owner("user-1"), &stored).await.unwrap();
        assert!(stage.row().await["voice_key_enc"].as_str().unwrap().contains(".voice_key."));
        old_names(&old, &full_config(1), &[VOICE]).await;
        // another record, which the older program knows
        old.store(&owner("user-2"), &full_config(2)).await.unwrap();

        let (old_key, _) = promote_key(&stage.hosts).await;
        let (old, before) = (stage.older().await, stage.row().await);
        let (rotation, unreadable) = rotate(&old, &small()).await.unwrap();
        assert!(!rotation.complete, "{table}: {rotation:?}");
        let told: Vec<_> = unreadable.iter().map(|row| (row.owner.as_str(), row.kind)).collect();
        assert_eq!(told, [("user-1", ErrorKind::Incomplete)], "{table}");
        assert!(unreadable[0].reason.contains("voice_key"), "{unreadable:?}");
        assert_eq!(stage.row().await, before, "{table}");
        assert_eq!(old.destroy_key(old_key, at_once()).await.unwrap_err().kind(), ErrorKind::KeyInUse);

        stage.db.exec("ALTER TABLE user_profiles ADD IF NOT EXISTS encrypted_retell_api_key text, ADD encrypted_call_agent_id text").await;
        let (before, old) = (stage.row().await, stage.older().await);
        let (promotion, left) = promote(&old).await.unwrap();
        assert!(!promotion.complete, "{table}: {promotion:?}");
        let told: Vec<_> = left.iter().map(|row| (row.owner.as_str(), row.kind)).collect();
        assert_eq!(told, [("user-1", ErrorKind::Incomplete)], "{table}: {left:?}");
        assert!(left[0].reason.contains("voice_key"), "{left:?}");
        assert_eq!(stage.row().await, before, "{table}");

        is_loaded(&new, &stored).await;
        let rotation = stage.new_with_column().await.rotate(&small(), |_| {}).await.unwrap();
        assert!(rotation.complete, "{table}: {rotation:?}");
        is_loaded(&new, &stored).await;
        old_names(&old, &full_config(1), &[VOICE]).await;
        old.destroy_key(old_key, at_once()).await.unwrap();
        is_loaded(&stage.new_with_column().await, &stored).await;
    }
}

#[tokio::test]
async fn what_the_older_program_leaves_is_no_record_and_goes_with_the_next_store() {
    for table in VOICE_COLUMNS {
        for (deleted, next) in
            [(false, later(full_config(3))), (true, Later { voice: None, ..later(full_config(3)) })]
        {
            let stage = Stage::on(table).await;
            let (old, new) = (stage.older().await, stage.new_with_column().await);
            new.store(&owner("user-1"), &later(full_config(1))).await.unwrap();
            let voice = stage.row().await["voice_key_enc"].clone();
            match deleted {
                true => drop(old.delete(&owner("user-1")).await.unwrap()),
                false => drop(old.store(&owner("user-1"), &full_config(2)).await.unwrap()),
            }
            assert_eq!(
                stage.row().await["voice_key_enc"],
                voice,
                "the older program does not know the column"
            );
            match deleted {
                true => assert_eq!(new.load(&owner("user-1")).await.unwrap_err().kind(), ErrorKind::NotFound),
                false => is_loaded(&new, &Later { config: full_config(2), voice: None, label: None }).await,
            }
            doctor_names_leftovers(&new, 1).await;

            // it is re-encrypted by itself, and keeps no key in use
            let (old_key, new_key) = promote_key(&stage.hosts).await;
            let (old, new) = (stage.older().await, stage.new_with_column().await);
            let (rotation, _) = rotate(&old, &small()).await.unwrap();
            assert!(rotation.unreadable.is_empty(), "{table}: {rotation:?}");
            assert_eq!(stage.row().await["voice_key_enc"], voice);
            assert_eq!(old.destroy_key(old_key, at_once()).await.unwrap_err().kind(), ErrorKind::KeyInUse);
            let rotation = new.rotate(&small(), |_| {}).await.unwrap();
            assert!(rotation.complete && rotation.unreadable.is_empty(), "{table}: {rotation:?}");
            let reencrypted = stage.row().await["voice_key_enc"].as_str().unwrap().to_owned();
            assert!(
                reencrypted.starts_with(&format!("rv1.{new_key}.")) && reencrypted.contains(".voice_key.")
            );
            new.destroy_key(old_key, at_once()).await.unwrap();
            doctor_names_leftovers(&new, 1).await;

            new.store(&owner("user-1"), &next).await.unwrap();
            is_loaded(&new, &next).await;
            assert_eq!(stage.row().await["voice_key_enc"].is_null(), next.voice.is_none(), "{table}");
            doctor_names_leftovers(&new, 0).await;
        }
    }
}

async fn doctor_names_leftovers(vault: &Vault<Later>, count: u64) {
    for options in [DoctorOptions::new(), DoctorOptions::new().deep()] {
        let findings = vault.doctor(&options, |_| {}).await.unwrap().findings;
        let leftovers: Vec<_> = findings.iter().filter(|finding| finding.id == "leftover_tokens").collect();
        assert_eq!(leftovers.iter().filter_map(|finding| finding.count).sum::<u64>(), count, "{findings:#?}");
        assert!(leftovers.iter().all(|finding| finding.owners == ["user-1"]));
        let broken = findings.iter().find(|finding| finding.id.ends_with("_record"));
        assert!(broken.is_none(), "{broken:?}");
    }
}

// --- Agents, and extra secrets ---

fn inbound() -> RetellConfig {
    RetellConfig::from_json(&format!(
        r#"{{"agents":{{"inbound":"{}_in","follow_up":"{}_up"}},"call_agent_id":"{0}_call"}}"#,
        CANARIES[1], CANARIES[2]
    ))
    .unwrap()
}

#[tokio::test]
async fn agents_need_no_key_of_their_own() {
    let only_sms = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_sms_agent_id text)";
    let no_column = "CREATE TABLE user_profiles (user_id text PRIMARY KEY)"; // so it is the local file
    for table in [ALL_COLUMNS, PACKED, JSON, only_sms, no_column] {
        let stage = Stage::on(table).await;
        let (vault, user) = (stage.older().await, owner("user-1"));
        for config in [inbound(), full_config(1), inbound(), small_config(2), inbound()] {
            vault.store(&user, &config).await.unwrap();
            let loaded = vault.load(&user).await.unwrap();
            assert_eq!(loaded.config, config, "{table}");
            assert!(loaded.unknown.is_empty());
        }
        let roles: Vec<_> = inbound().agents().map(|(role, _)| role.to_owned()).collect();
        assert_eq!(roles, ["call", "follow_up", "inbound"]);
        vault.store_many(&[(user.clone(), inbound())]).await.unwrap().remove(0).unwrap();
        assert_eq!(vault.load_many(std::slice::from_ref(&user)).await.remove(0).unwrap().config, inbound());
        if table != no_column {
            let row = stage.row().await;
            assert!(row.get("encrypted_retell_api_key").is_none_or(|key| table == PACKED || key.is_null()));
            assert_no_secret(row.to_string().as_bytes(), "the row");
            promote_key(&stage.hosts).await;
            let (rotation, unreadable) = rotate(&stage.older().await, &small()).await.unwrap();
            assert!(
                rotation.complete && rotation.progress.resealed == 1 && unreadable.is_empty(),
                "{table}: {unreadable:?}"
            );
        }
        assert_eq!(vault.load(&user).await.unwrap().config, inbound(), "{table}");
        vault.delete(&user).await.unwrap();
        assert_eq!(vault.load(&user).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_no_secret(&stage.hosts.files(), "the local files");
    }
}

#[tokio::test]
async fn an_extra_secret_needs_a_layout_that_declares_it() {
    let config = || {
        let json = format!(
            r#"{{"call_agent_id":"{}","extra":{{"voice_id":"{} with spaces"}}}}"#,
            CANARIES[1], CANARIES[0]
        );
        RetellConfig::from_json(&json).unwrap()
    };
    let declared = || Layout::new().extra_secret("voice_id").unwrap();
    let with_column = || declared().column(Field::named("voice_id"), "voice_enc").unwrap();
    for (table, layout) in [
        (ALL_COLUMNS.to_owned(), declared()),
        (format!("{ALL_COLUMNS}; ALTER TABLE user_profiles ADD voice_enc text"), with_column()),
        (PACKED.to_owned(), declared()),
        (JSON.to_owned(), with_column()),
    ] {
        let stage = Stage::on(&table).await;
        let user = owner("user-1");
        let error = stage.older().await.store(&user, &config()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("voice_id") && error.hint().contains("extra_secret"), "{error:?}");
        let many = [(user.clone(), config()), (owner("user-2"), full_config(1))];
        let stored = stage.older().await.store_many(&many).await.unwrap();
        assert_eq!(stored[0].as_ref().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(stored[1].is_ok());
        assert_eq!(stage.older().await.load(&user).await.unwrap_err().kind(), ErrorKind::NotFound);

        let vault = stage.hosts.host(1, &stage.db.url).layout(layout).build().await.unwrap();
        vault.store(&user, &config()).await.unwrap();
        let loaded = vault.load(&user).await.unwrap();
        assert_eq!((loaded.config, loaded.unknown), (config(), Vec::new()), "{table}");
        let row = stage.row().await;
        assert_no_secret(row.to_string().as_bytes(), "the row");
        assert!(row.get("voice_enc").is_none_or(|voice| voice.as_str().unwrap().contains(".voice_id.")));
        // a process whose layout does not declare it answers without it
        let without = RetellConfig::empty().with_call_agent_id(CANARIES[1].parse().unwrap());
        old_names(&stage.older().await, &without, &[Field::named("voice_id")]).await;
        vault.store(&user, &small_config(2)).await.unwrap();
        assert!(stage.row().await.get("voice_enc").is_none_or(Value::is_null));
        assert_eq!(vault.load(&user).await.unwrap().config, small_config(2));
    }
}

// --- Tokens ---

#[tokio::test]
async fn a_record_with_one_secret_is_two_tokens_and_a_deleted_one_is_one() {
    let no_json = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, encrypted_call_agent_id text)";
    let not_null = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, encrypted_agent_config jsonb NOT NULL DEFAULT '{}')";
    for (table, has_json) in
        [(ALL_COLUMNS, true), (JSON, true), (not_null, true), (PACKED, false), (no_json, false)]
    {
        let stage = Stage::on(table).await;
        let (vault, user) = (stage.older().await, owner("user-1"));
        for config in [small_config(1), full_config(2)] {
            vault.store(&user, &config).await.unwrap();
            if config == small_config(1) {
                assert_eq!(stage.tokens().await, 2, "{table}");
            }
            vault.delete(&user).await.unwrap();
            assert_eq!(stage.tokens().await, 1, "{table}");
            let row = stage.row().await;
            if has_json {
                let members = row["encrypted_agent_config"]["retell_vault"].as_object().unwrap();
                assert!(members.keys().eq(["record"]), "{table}");
                let columns =
                    ["encrypted_retell_api_key", "encrypted_call_agent_id", "encrypted_sms_agent_id"];
                assert!(columns.iter().all(|column| row[*column].is_null()), "{table}: {row}");
            }
        }
    }
}

// --- Input that is refused ---

#[tokio::test]
async fn a_record_needs_a_secret_and_has_at_most_64_fields() {
    let stage = Stage::on(JSON).await;
    let (vault, user) = (stage.older().await, owner("user-1"));
    let plain = RetellConfig::empty().with_phone_number("+14155550100".parse().unwrap());
    let agents = |count: usize| {
        let agent =
            |config: RetellConfig, n| config.with_agent(&format!("role_{n}"), CANARIES[1].parse().unwrap());
        (0..count).try_fold(RetellConfig::empty(), agent).unwrap()
    };
    for (config, says) in [(RetellConfig::empty(), "empty"), (plain, "empty"), (agents(65), "64")] {
        let error = vault.store(&user, &config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(says) && !error.hint().is_empty(), "{error:?}");
        let stored =
            vault.store_many(&[(owner("user-2"), small_config(2)), (user.clone(), config)]).await.unwrap();
        assert!(stored[0].is_ok());
        assert_eq!(stored[1].as_ref().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(vault.load(&user).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    vault.store(&user, &agents(64)).await.unwrap();
    assert_eq!(vault.load(&user).await.unwrap().config, agents(64));
    assert_eq!(stage.tokens().await, 2 * 65 - 65, "a token for every field, and the record token");
    let many: Vec<_> = (0..65).map(|n| format!(r#""role_{n}_agent_id":"a""#)).collect();
    assert_eq!(
        RetellConfig::from_json(&format!("{{{}}}", many.join(","))).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn a_field_twice_and_an_extra_secret_with_a_name_of_ours_are_refused() {
    for json in [
        r#"{"api_key":"key_one","api_key":"key_two"}"#,
        r#"{"inbound_agent_id":"one","agents":{"inbound":"two"}}"#,
        r#"{"api_key":"k","webhook_key":"one","webhook_config":{"secret":"two"}}"#,
        r#"{"api_key":"k","extra":{"call_agent_id":"a"}}"#,
        r#"{"api_key":"k","extra":{"inbound_agent_id":"a"}}"#,
        r#"{"api_key":"k","extra":{"record":"a"}}"#,
        r#"{"api_key":"k","voice_id":"a"}"#,
    ] {
        assert_eq!(RetellConfig::from_json(json).unwrap_err().kind(), ErrorKind::InvalidInput, "{json}");
    }
    for name in ["api_key", "webhook_key", "phone_number", "inbound_agent_id", "record", "Voice", ""] {
        assert_eq!(Layout::new().extra_secret(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        let secret = "voice_test_0000".parse().unwrap();
        let set = RetellConfig::empty().set_extra(name, Some(secret));
        assert_eq!(set.unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
    }
    let twice = Layout::new().extra_secret("voice_id").unwrap().extra_secret("voice_id");
    assert_eq!(twice.unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// Another provider's type whose table of fields is none, or whose values are not of its fields.
macro_rules! credentials {
    ($name:ident, $namespace:literal, $fields:expr, $value:expr) => {
        #[derive(Clone)]
        struct $name;

        impl Credentials for $name {
            const NAMESPACE: &'static str = $namespace;
            const FIELDS: &'static [FieldSpec] = $fields;

            fn to_values(&self) -> Values {
                let mut values = Values::new();
                let (field, text): (Field, String) = $value;
                values.put_text(field, Some(&text));
                values
            }

            fn from_values(_: Values) -> retell_vault::Result<Self> {
                Ok(Self)
            }
        }
    };
}

const TOKEN: &[FieldSpec] = &[FieldSpec::secret("token").longest(20)];
const TWICE: &[FieldSpec] = &[FieldSpec::secret("token"), FieldSpec::plain("token")];
credentials!(Twice, "test", TWICE, (Field::named("token"), "token_test".to_owned()));
credentials!(
    TooMany,
    "test",
    &[FieldSpec::secrets_ending("_token"); 65],
    (Field::named("token"), "token_test".to_owned())
);
credentials!(BadName, "Test!", TOKEN, (Field::named("token"), "token_test".to_owned()));
credentials!(Stranger, "test", TOKEN, (Field::named("stranger"), "token_test".to_owned()));
credentials!(TooLong, "test", TOKEN, (Field::named("token"), "token_test_0000000000".to_owned()));

async fn is_not_built<C: Credentials>(stage: &Stage) {
    let built = stage.hosts.host(3, &stage.db.url).credentials::<C>().build().await.map(drop);
    assert_eq!(built.unwrap_err().kind(), ErrorKind::Configuration);
}

async fn is_not_stored<C: Credentials>(stage: &Stage, credentials: C, field: &str) {
    let vault = stage.hosts.host(3, &stage.db.url).credentials::<C>().build().await.unwrap();
    let error = vault.store(&owner("user-1"), &credentials).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains(field) && !format!("{error:?}").contains("token_test"), "{error:?}");
    let stored = vault.store_many(&[(owner("user-1"), credentials)]).await.unwrap().remove(0);
    assert_eq!(stored.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(vault.load(&owner("user-1")).await.map(drop).unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_type_with_a_wrong_table_of_fields_or_with_wrong_values_is_refused() {
    let stage = Stage::on(JSON).await;
    is_not_built::<Twice>(&stage).await;
    is_not_built::<TooMany>(&stage).await;
    is_not_built::<BadName>(&stage).await;
    is_not_stored(&stage, Stranger, "stranger").await;
    is_not_stored(&stage, TooLong, "token").await;
}

// --- Values that no record can hold ---

/// Fields of every sort, with values that a careless face lets through.
#[derive(Clone, Debug)]
struct Wide(retell_vault::config::Values);

impl Credentials for Wide {
    const NAMESPACE: &'static str = "wide";
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::secret("key"),
        FieldSpec::secret("long").longest(15_000),
        FieldSpec::secrets_ending("_part").longest(11_000),
        FieldSpec::plain("name").column("wide_name"),
        FieldSpec::plain("settings").column("wide_settings").object(),
    ];

    fn to_values(&self) -> retell_vault::config::Values {
        self.0.clone()
    }

    fn from_values(values: retell_vault::config::Values) -> retell_vault::Result<Self> {
        Ok(Self(values))
    }
}

#[tokio::test]
async fn what_could_not_be_loaded_again_is_not_stored() {
    let hosts = Hosts::new().await;
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("home/wide.db");
    let vault =
        Vault::builder(hosts.keyring()).credentials::<Wide>().local_file(local).build().await.unwrap();
    let with = |change: &dyn Fn(&mut retell_vault::config::Values)| {
        let mut values = retell_vault::config::Values::new();
        values.put_text(Field::named("key"), Some("key_test_1"));
        change(&mut values);
        Wide(values)
    };
    let (name, settings) = (Field::named("name"), Field::named("settings"));
    let part = |n: usize| format!("p{n}_part").parse::<Field>().unwrap();
    let bad = [
        ("long", with(&|values| values.put_text(Field::named("long"), Some(&"x".repeat(14_000))))),
        ("key", with(&|values| values.put_text(Field::named("key"), Some(&"x".repeat(600))))),
        (
            "256 KiB",
            with(&|values| (0..40).for_each(|n| values.put_text(part(n), Some(&"x".repeat(10_000))))),
        ),
        ("name", with(&|values| values.put_json(name, Some(&serde_json::json!(8080))))),
        ("settings", with(&|values| values.put_json(settings, Some(&serde_json::json!([1]))))),
        ("settings", with(&|values| values.put_json(settings, Some(&Value::Null)))),
        ("key", with(&|values| values.put_json(Field::named("key"), Some(&Value::Null)))),
        ("not a field", with(&|values| values.put_text(Field::named("other"), Some("x")))),
    ];
    for (expected, wide) in bad {
        let error = vault.store(&owner("user-1"), &wide).await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::InvalidInput && error.to_string().contains(expected),
            "{expected}: {error}"
        );
        let many =
            vault.store_many(&[(owner("user-1"), wide), (owner("user-2"), with(&|_| {}))]).await.unwrap();
        assert!(many[0].is_err() && many[1].is_ok(), "{expected}");
    }
    let good = with(&|values| {
        values.put_text(name, Some("Ada \"B\" \u{1F600}"));
        values.put_json(settings, Some(&serde_json::json!({"b": [1.5e300, -0.25, 7], "a": null})));
        (0..15).for_each(|n| values.put_text(part(n), Some(&"\\".repeat(5_000))));
    });
    vault.store(&owner("user-1"), &good).await.unwrap();
    let loaded = vault.load(&owner("user-1")).await.unwrap();
    assert_eq!((&loaded.config.0, loaded.changed_outside), (&good.0, vec![]));
}
