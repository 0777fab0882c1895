//! Plain columns by consent: what is the application's own is neither written, nor cleared, nor shown.

use retell_vault::config::{Field, IntegrationStatus};
use retell_vault::records::Loaded;
use retell_vault::records::Source;
use retell_vault::schema::{ApplyOptions, Profile};
use retell_vault::{ErrorKind, Layout, Owner, RetellConfig, Vault};
use serde_json::Value;

use crate::support::faults::*;
use crate::support::rows::value;
use crate::support::vaults::*;
use crate::support::*;

const PHONE: Field = Field::named("phone_number");
const WEBHOOK: Field = Field::named("webhook_config");
const STATUS: Field = Field::named("integration_status");

const OURS: &str = "+14155550100";
const THEIRS: &str = "+14155550199";
const HOOK: &str =
    r#"{"events": ["call_ended", "from_the_future"], "webhook_url": "https://example.com/hook"}"#;

/// Both of the names that could be anybody's are the vault's.
fn named() -> Layout {
    Layout::new().column(PHONE, "phone_number").unwrap().column(WEBHOOK, "webhook_config").unwrap()
}

/// A table, a keyring and a layout.
struct Stage {
    db: TestDb,
    hosts: Hosts,
    layout: Layout,
}

impl Stage {
    async fn on(table: &str, layout: Layout) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(table).await;
        Self { db, hosts, layout }
    }

    async fn vault(&self) -> Vault {
        self.hosts.host(0, &self.db.url).layout(self.layout.clone()).build().await.unwrap()
    }

    /// The same over a database that is out of reach.
    async fn unplugged(&self) -> Vault {
        let builder = self.hosts.host(0, DEAD_URL).layout(self.layout.clone());
        builder.timeouts(QUICK).offline_reads().build().await.unwrap()
    }

    async fn text(&self, user: &str, column: &str) -> Option<String> {
        value(&self.db, &format!("SELECT {column}::text FROM user_profiles WHERE user_id = '{user}'")).await
    }

    /// What the plain columns of the first user hold: phone number, webhook, status.
    async fn plain(&self) -> [Option<String>; 3] {
        [
            self.text("user-1", "phone_number").await,
            self.text("user-1", "webhook_config").await,
            self.text("user-1", "retell_integration_status").await,
        ]
    }

    async fn set(&self, assignments: &str) {
        self.db.exec(&format!("UPDATE user_profiles SET {assignments} WHERE user_id = 'user-1'")).await;
    }
}

fn some(texts: [&str; 3]) -> [Option<String>; 3] {
    texts.map(|text| Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// The usual table, whose columns nobody has given to the vault.
fn unadopted() -> String {
    ALL_COLUMNS.split(';').next().unwrap().to_owned()
}

fn user() -> Owner {
    owner("user-1")
}

async fn loaded(vault: &Vault) -> Loaded {
    let loaded = vault.load(&user()).await.unwrap();
    let many = vault.load_many(&[user()]).await.remove(0).unwrap();
    assert_eq!((&many.config, &many.changed_outside), (&loaded.config, &loaded.changed_outside));
    assert_eq!((&many.ignored, many.version), (&loaded.ignored, loaded.version));
    loaded
}

/// The record as it was stored, and nothing to say about it.
async fn is_as_stored(vault: &Vault, config: &RetellConfig) {
    let loaded = loaded(vault).await;
    assert_eq!(&loaded.config, config);
    assert_eq!((loaded.changed_outside, loaded.ignored), (Vec::new(), Vec::new()));
}

async fn is_deleted(vault: &Vault) {
    assert_eq!(vault.load(&user()).await.unwrap_err().kind(), ErrorKind::NotFound);
}

async fn apply_plan(vault: &Vault) -> Vec<String> {
    let plan = vault.schema().plan(Profile::Credentials).await.unwrap();
    assert_eq!(plan.blocked, []);
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    vault.redetect().await.unwrap();
    plan.notes
}

// --- Without consent ---

/// The number is how people sign in.
const SIGN_IN: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, phone_number text NOT NULL UNIQUE,
    webhook_config jsonb, encrypted_retell_api_key text);
    INSERT INTO user_profiles VALUES ('user-1', '+14155550199', '{\"slack\": \"C4\"}'), ('user-2', '555-0104', NULL)";

#[tokio::test]
async fn the_applications_own_number_and_webhook_are_left_alone() {
    for plan_first in [false, true] {
        let stage = Stage::on(SIGN_IN, Layout::new()).await;
        let vault = stage.vault().await;
        if plan_first {
            let notes = apply_plan(&vault).await;
            assert_eq!(notes.iter().filter(|note| note.contains("may belong to the application")).count(), 2);
        }
        let theirs = async || {
            let phones =
                [stage.text("user-1", "phone_number").await, stage.text("user-2", "phone_number").await];
            assert_eq!(phones.map(Option::unwrap), [THEIRS, "555-0104"]);
            assert_eq!(stage.text("user-1", "webhook_config").await.unwrap(), "{\"slack\": \"C4\"}");
            assert_eq!(stage.text("user-2", "webhook_config").await, None);
        };
        for id in ["user-1", "user-2"] {
            for config in [small_config(1), full_config(2), small_config(3)] {
                vault.store(&owner(id), &config).await.unwrap();
                let loaded = vault.load(&owner(id)).await.unwrap();
                assert_eq!(loaded.config, config, "the person's number is not shown as Retell's");
                assert_eq!((loaded.changed_outside, loaded.ignored), (Vec::new(), Vec::new()));
                theirs().await;
            }
        }
        let configs = [(user(), full_config(4)), (owner("user-2"), full_config(4))];
        for stored in vault.store_many(&configs).await.unwrap() {
            let places = stored.unwrap().places;
            let is_sealed =
                |field| places.iter().any(|(there, place)| *there == field && place.kind() != "column");
            assert!(is_sealed(PHONE) && is_sealed(WEBHOOK), "{places:?}");
        }
        for id in ["user-1", "user-2"] {
            vault.delete(&owner(id)).await.unwrap();
        }
        theirs().await;
        assert_eq!(vault.status().await.unwrap().local.unwrap().pending, 0);
    }
}

/// What a column of the application's holds is not even looked at.
#[tokio::test]
async fn a_column_that_is_left_alone_may_hold_anything() {
    let stage = Stage::on(SIGN_IN, Layout::new()).await;
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    stage.set(&format!("webhook_config = '{deep}'")).await;
    let vault = stage.vault().await;
    vault.store(&user(), &full_config(1)).await.unwrap();
    is_as_stored(&vault, &full_config(1)).await;
}

#[tokio::test]
async fn a_number_that_must_be_there_and_be_unlike_all_others_is_never_used() {
    let layout = Layout::new().column(PHONE, "phone_number").unwrap();
    let stage = Stage::on(SIGN_IN, layout).await;
    stage
        .db
        .exec("COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell'")
        .await;
    let vault = stage.vault().await;
    vault.store(&user(), &full_config(1)).await.unwrap();
    is_as_stored(&vault, &full_config(1)).await;
    vault.store(&user(), &small_config(2)).await.unwrap();
    is_as_stored(&vault, &small_config(2)).await;
    vault.delete(&user()).await.unwrap();
    assert_eq!(stage.text("user-1", "phone_number").await.unwrap(), THEIRS);
}

// --- Consent ---

#[tokio::test]
async fn a_layout_that_names_the_columns_gives_them_to_the_vault() {
    let stage = Stage::on(ALL_COLUMNS, named()).await;
    let vault = stage.vault().await;
    assert!(vault.status().await.unwrap().database.unwrap().left_alone.is_empty());
    vault.store(&user(), &full_config(1)).await.unwrap();
    assert_eq!(stage.plain().await, some([OURS, HOOK, "active"]));
    is_as_stored(&vault, &full_config(1)).await;
    vault.delete(&user()).await.unwrap();
    assert_eq!(stage.plain().await, some(["", "", ""]));
    is_deleted(&vault).await;
}

#[tokio::test]
async fn the_columns_that_schema_apply_makes_are_the_vaults() {
    let table = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)";
    let stage = Stage::on(table, Layout::new()).await;
    let vault = stage.vault().await;
    vault.store(&user(), &full_config(1)).await.unwrap();
    apply_plan(&vault).await;
    let promotion = vault.promote(&crate::support::promotion::small(), |_| {}).await.unwrap();
    assert!(promotion.complete && promotion.promoted == 1, "{promotion:?}");
    assert_eq!(stage.plain().await, some([OURS, HOOK, "active"]));
    is_as_stored(&stage.vault().await, &full_config(1)).await;
    vault.store(&user(), &full_config(2)).await.unwrap();
    is_as_stored(&stage.vault().await, &full_config(2)).await;
    vault.delete(&user()).await.unwrap();
    assert_eq!(stage.plain().await, some(["", "", ""]));
}

#[tokio::test]
async fn status_says_how_a_column_is_given_to_the_vault() {
    let stage = Stage::on(&unadopted(), Layout::new()).await;
    let vault = stage.vault().await;
    vault.store(&user(), &full_config(1)).await.unwrap();
    stage.set(&format!("phone_number = '{THEIRS}'")).await;
    let left_alone = vault.status().await.unwrap().database.unwrap().left_alone;
    let fields: Vec<_> = left_alone.iter().map(|left| (left.field, left.column.as_str())).collect();
    assert_eq!(fields, [(PHONE, "phone_number"), (WEBHOOK, "webhook_config")]);
    for left in &left_alone {
        stage.db.exec(&left.adopt).await;
    }
    let vault = stage.vault().await;
    assert!(vault.status().await.unwrap().database.unwrap().left_alone.is_empty());
    // what was sealed before goes on to win, and says nothing of the column
    is_as_stored(&vault, &full_config(1)).await;
    assert_eq!(stage.plain().await, some([THEIRS, "", "active"]));
    vault.store(&user(), &full_config(2)).await.unwrap();
    assert_eq!(stage.plain().await, some([OURS, HOOK, "active"]));
    is_as_stored(&vault, &full_config(2)).await;
}

/// The record vouches for the value that it was stored with, and not for what lies in the column since before.
#[tokio::test]
async fn what_lay_in_a_column_before_it_was_given_stays_until_the_field_is_stored() {
    for delete in [false, true] {
        let stage = Stage::on(&unadopted(), Layout::new()).await;
        stage.vault().await.store(&user(), &full_config(1)).await.unwrap();
        stage.set(&format!("phone_number = '{THEIRS}'")).await;
        let stage = Stage { layout: named(), ..stage };
        let vault = stage.vault().await;
        is_as_stored(&vault, &full_config(1)).await;
        match delete {
            true => drop(vault.delete(&user()).await.unwrap()),
            false => drop(vault.store(&user(), &small_config(2)).await.unwrap()),
        }
        assert_eq!(stage.text("user-1", "phone_number").await.unwrap(), THEIRS, "delete: {delete}");
    }
}

/// A comment gives one column to one field of one kind of credentials.
#[tokio::test]
async fn another_comment_gives_nothing() {
    let stage = Stage::on(&unadopted(), Layout::new()).await;
    for comment in
        ["retell", "phone number of the person", "retell-vault: phone_number of twilio", "Retell-Vault"]
    {
        stage.db.exec(&format!("COMMENT ON COLUMN user_profiles.phone_number IS '{comment}'")).await;
        stage
            .db
            .exec("COMMENT ON COLUMN user_profiles.webhook_config IS 'retell-vault: phone_number of retell'")
            .await;
        let left_alone = stage.vault().await.status().await.unwrap().database.unwrap().left_alone;
        assert_eq!(left_alone.len(), 2, "{comment}: {left_alone:?}");
    }
}

#[tokio::test]
async fn a_field_that_the_layout_seals_stays_out_of_its_column() {
    let layout = named().sealed(PHONE).unwrap().sealed(STATUS).unwrap();
    let stage = Stage::on(&unadopted(), layout).await;
    let theirs = format!(
        "INSERT INTO user_profiles (user_id, phone_number, retell_integration_status) VALUES ('user-1', '{THEIRS}', 'theirs')"
    );
    stage.db.exec(&theirs).await;
    let vault = stage.vault().await;
    for config in [full_config(1), small_config(2), full_config(3)] {
        vault.store(&user(), &config).await.unwrap();
        is_as_stored(&vault, &config).await;
        assert_eq!(stage.text("user-1", "phone_number").await.unwrap(), THEIRS);
        assert_eq!(stage.text("user-1", "retell_integration_status").await.unwrap(), "theirs");
    }
    vault.delete(&user()).await.unwrap();
    assert_eq!(stage.plain().await, some([THEIRS, "", "theirs"]));

    // sealing what lies in the clear needs a store by a process that still reads the column
    let before = Stage { layout: named(), ..stage };
    before.vault().await.store(&user(), &full_config(4)).await.unwrap();
    let sealing = Stage { layout: named().sealed(PHONE).unwrap(), ..before };
    let error = sealing.vault().await.load(&user()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incomplete);
    assert!(error.to_string().contains("phone_number"), "{error}");
}

// --- Changed outside ---

#[tokio::test]
async fn a_value_that_was_changed_outside_counts_and_is_named() {
    let stage = Stage::on(ALL_COLUMNS, named()).await;
    let vault = stage.vault().await;
    vault.store(&user(), &full_config(1)).await.unwrap();
    stage
        .set(&format!(
            "phone_number = '{THEIRS}', webhook_config = '{{\"webhook_url\": \"https://example.com/theirs\"}}', retell_integration_status = 'error'"
        ))
        .await;
    let there = loaded(&vault).await;
    assert_eq!(there.config.phone_number().unwrap().as_str(), THEIRS);
    assert_eq!(there.config.webhook_config().unwrap().url(), "https://example.com/theirs");
    assert_eq!(there.config.integration_status(), Some(IntegrationStatus::Error));
    assert_eq!((there.changed_outside, there.ignored), (vec![STATUS, PHONE, WEBHOOK], Vec::new()));
    assert_eq!(there.config.api_key(), full_config(1).api_key());
    // the same value written again, in another order and with white space, is no change
    stage
        .set(&format!(
            "phone_number = '{OURS}', webhook_config = '{HOOK}', retell_integration_status = 'active'"
        ))
        .await;
    is_as_stored(&vault, &full_config(1)).await;
}

#[tokio::test]
async fn a_value_that_was_emptied_outside_is_not_set_and_is_named() {
    for (emptied, webhook) in [("NULL", "NULL"), ("''", "'{}'"), ("NULL", "'null'")] {
        let stage = Stage::on(ALL_COLUMNS, named()).await;
        let vault = stage.vault().await;
        vault.store(&user(), &full_config(1)).await.unwrap();
        stage
            .set(&format!(
                "phone_number = {emptied}, webhook_config = {webhook}, retell_integration_status = {emptied}"
            ))
            .await;
        let there = loaded(&vault).await;
        assert_eq!(there.changed_outside, [STATUS, PHONE, WEBHOOK], "{emptied} {webhook}");
        assert!(there.ignored.is_empty());
        let secrets = full_config(1);
        assert_eq!(there.config.webhook_key(), secrets.webhook_key());
        assert!(there.config.phone_number().is_none() && there.config.webhook_config().is_none());
        assert!(there.config.integration_status().is_none());
        vault.store(&user(), &full_config(2)).await.unwrap();
        is_as_stored(&vault, &full_config(2)).await;
    }
}

#[tokio::test]
async fn a_value_that_was_put_there_outside_counts_and_is_named() {
    let stage = Stage::on(ALL_COLUMNS, named()).await;
    let vault = stage.vault().await;
    vault.store(&user(), &small_config(1)).await.unwrap();
    stage.set(&format!("phone_number = '{THEIRS}'")).await;
    let there = loaded(&vault).await;
    assert_eq!((there.changed_outside, there.config.phone_number().unwrap().as_str()), (vec![PHONE], THEIRS));
    vault.store(&user(), &small_config(2)).await.unwrap();
    assert_eq!(stage.plain().await, some([THEIRS, "", ""]), "a store does not clear it");
    vault.delete(&user()).await.unwrap();
    assert_eq!(stage.plain().await, some([THEIRS, "", ""]), "nor does a delete");
    is_deleted(&vault).await;
}

#[tokio::test]
async fn a_value_that_is_none_of_its_field_is_left_out_and_is_named() {
    let stage = Stage::on(ALL_COLUMNS, named()).await;
    let vault = stage.vault().await;
    for stored in [full_config(1), small_config(2)] {
        vault.store(&user(), &stored).await.unwrap();
        stage
            .set("phone_number = '555-0104', webhook_config = '{\"slack\": \"C4\"}', retell_integration_status = 'gone'")
            .await;
        let there = loaded(&vault).await;
        assert_eq!(there.ignored, [PHONE, WEBHOOK, STATUS], "in the order of the columns");
        assert!(there.config.phone_number().is_none() && there.config.webhook_config().is_none());
        assert!(there.config.integration_status().is_none());
        assert_eq!(there.config.api_key(), stored.api_key());
        // ours are written over it; what a record does not set stays
        vault.store(&user(), &small_config(3)).await.unwrap();
        assert_eq!(stage.plain().await, some(["555-0104", "{\"slack\": \"C4\"}", "gone"]));
        vault.store(&user(), &full_config(4)).await.unwrap();
        assert_eq!(stage.plain().await, some([OURS, HOOK, "active"]));
    }
}

/// Depth and numbers that Postgres takes, and the reader of JSON does not.
#[tokio::test]
async fn json_that_cannot_be_read_is_an_error_and_not_nothing() {
    let deep = format!("{{\"a\": {}1{}}}", "[".repeat(200), "]".repeat(200));
    for kind in ["jsonb", "json"] {
        for text in [deep.as_str(), "{\"webhook_url\": \"https://example.com\", \"a\": 1e400}"] {
            let stage = Stage::on(
                &ALL_COLUMNS.replace("webhook_config jsonb", &format!("webhook_config {kind}")),
                named(),
            )
            .await;
            let vault = stage.vault().await;
            for stored in [full_config(1), small_config(2)] {
                vault.store(&user(), &stored).await.unwrap();
                stage.set(&format!("webhook_config = '{text}'")).await;
                let single = vault.load(&user()).await.map(drop).unwrap_err();
                let many = vault.load_many(&[user()]).await.remove(0).map(drop).unwrap_err();
                for error in [single, many] {
                    assert_eq!(error.kind(), ErrorKind::Malformed, "{kind}: {error:?}");
                    assert!(error.to_string().contains("webhook_config"), "{error:?}");
                    assert!(error.hint().contains("NULL"), "{error:?}");
                }
                // a store of the field puts it right
                vault.store(&user(), &full_config(3)).await.unwrap();
                is_as_stored(&vault, &full_config(3)).await;
            }
            // a delete clears what is ours beside it, and leaves it
            stage.set(&format!("webhook_config = '{text}'")).await;
            let theirs = stage.text("user-1", "webhook_config").await;
            vault.delete(&user()).await.unwrap();
            is_deleted(&vault).await;
            assert_eq!(stage.plain().await, [None, theirs, None], "{kind}");
        }
    }
}

// --- What a store and a delete clear ---

#[tokio::test]
async fn a_delete_clears_what_the_record_vouches_for_and_nothing_else() {
    let stage = Stage::on(ALL_COLUMNS, named()).await;
    let vault = stage.vault().await;
    vault.store(&user(), &full_config(1)).await.unwrap();
    stage.set(&format!("phone_number = '{THEIRS}', full_name = 'Ada'")).await;
    vault.delete(&user()).await.unwrap();
    assert_eq!(stage.plain().await, some([THEIRS, "", ""]));
    assert_eq!(stage.text("user-1", "full_name").await.unwrap(), "Ada");
    // by a process that has not seen the record, and one record later
    for (config, phone) in [(full_config(2), ""), (small_config(3), THEIRS)] {
        vault.store(&user(), &config).await.unwrap();
        if config.phone_number().is_none() {
            stage.set(&format!("phone_number = '{THEIRS}'")).await;
        }
        stage.vault().await.delete(&user()).await.unwrap();
        assert_eq!(stage.plain().await, some([phone, "", ""]));
        is_deleted(&vault).await;
    }
}

#[tokio::test]
async fn a_store_that_unsets_a_field_clears_ours_and_keeps_theirs() {
    for bulk in [false, true] {
        let stage = Stage::on(ALL_COLUMNS, named()).await;
        let vault = stage.vault().await;
        let store = async |config: RetellConfig| match bulk {
            false => drop(vault.store(&user(), &config).await.unwrap()),
            true => drop(vault.store_many(&[(user(), config)]).await.unwrap().remove(0).unwrap()),
        };
        store(full_config(1)).await;
        store(small_config(2)).await;
        assert_eq!(stage.plain().await, some(["", "", ""]), "bulk: {bulk}");
        is_as_stored(&vault, &small_config(2)).await;

        store(full_config(3)).await;
        stage.set(&format!("phone_number = '{THEIRS}'")).await;
        store(small_config(4)).await;
        assert_eq!(stage.plain().await, some([THEIRS, "", ""]), "bulk: {bulk}");
        let there = loaded(&vault).await;
        assert_eq!(there.changed_outside, [PHONE]);
        // given back as it was loaded, the value is the record's
        store(there.config).await;
        assert!(loaded(&vault).await.changed_outside.is_empty());
        store(small_config(5)).await;
        assert_eq!(stage.plain().await, some(["", "", ""]), "bulk: {bulk}");
    }
}

#[tokio::test]
async fn columns_that_must_not_be_null_get_what_stands_for_nothing() {
    let table = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text NOT NULL DEFAULT '',
        phone_number text NOT NULL DEFAULT '', webhook_config jsonb NOT NULL DEFAULT '{}',
        retell_integration_status text NOT NULL DEFAULT 'not_configured')";
    let nothing = || some(["", "{}", "not_configured"]).map(Option::unwrap_or_default);
    let stage = Stage::on(table, named()).await;
    let vault = stage.vault().await;
    let plain = async || stage.plain().await.map(Option::unwrap);
    vault.store(&user(), &small_config(1)).await.unwrap();
    assert_eq!(plain().await, nothing());
    is_as_stored(&vault, &small_config(1)).await;
    vault.store(&user(), &full_config(2)).await.unwrap();
    assert_eq!(stage.plain().await, some([OURS, HOOK, "active"]));
    is_as_stored(&vault, &full_config(2)).await;
    vault.store(&user(), &small_config(3)).await.unwrap();
    assert_eq!(plain().await, nothing());
    is_as_stored(&vault, &small_config(3)).await;
    vault.store(&user(), &full_config(4)).await.unwrap();
    vault.delete(&user()).await.unwrap();
    assert_eq!(plain().await, nothing());
    is_deleted(&vault).await;
}

#[tokio::test]
async fn a_status_of_not_configured_is_a_value_when_it_was_stored() {
    for null in ["", " NOT NULL DEFAULT 'not_configured'"] {
        let table = format!(
            "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text, retell_integration_status text{null})"
        );
        let stage = Stage::on(&table, Layout::new()).await;
        let vault = stage.vault().await;
        let status = async || stage.text("user-1", "retell_integration_status").await;
        let config = small_config(1).with_integration_status(IntegrationStatus::NotConfigured);
        vault.store(&user(), &config).await.unwrap();
        assert_eq!(status().await.unwrap(), "not_configured");
        is_as_stored(&vault, &config).await;
        vault.store(&user(), &small_config(2)).await.unwrap();
        // where no record vouches for it, it stands for nothing: it may stay
        assert_eq!(status().await.unwrap(), "not_configured");
        is_as_stored(&vault, &small_config(2)).await;
        // what another program puts there by default says nothing
        stage.db.exec("UPDATE user_profiles SET retell_integration_status = 'not_configured'").await;
        is_as_stored(&vault, &small_config(2)).await;
        vault.store(&user(), &config).await.unwrap();
        vault.delete(&user()).await.unwrap();
        let left = Some("not_configured".to_owned()).filter(|_| !null.is_empty());
        assert_eq!(status().await, left);
        is_deleted(&vault).await;
    }
}

// --- Without the database ---

#[tokio::test]
async fn the_offline_replica_holds_what_the_columns_held() {
    let stage = Stage::on(ALL_COLUMNS, named()).await;
    let online = async || {
        let builder = stage.hosts.host(0, &stage.db.url).layout(stage.layout.clone()).offline_reads();
        builder.build().await.unwrap()
    };
    let vault = online().await;
    vault.store(&user(), &full_config(1)).await.unwrap();
    vault.close().await;
    let vault = stage.unplugged().await;
    let there = vault.load(&user()).await.unwrap();
    assert_eq!((there.config, there.stale, there.source), (full_config(1), true, Source::Local));
    assert!(there.changed_outside.is_empty() && there.ignored.is_empty());
    vault.close().await;

    // another host stores, and somebody changes and empties columns: a load takes that along
    let other = stage.hosts.host(1, &stage.db.url).layout(stage.layout.clone()).build().await.unwrap();
    other.store(&user(), &full_config(2)).await.unwrap();
    stage.set(&format!("phone_number = '{THEIRS}', webhook_config = NULL")).await;
    let vault = online().await;
    let there = vault.load(&user()).await.unwrap();
    vault.close().await;
    let vault = stage.unplugged().await;
    let offline = vault.load(&user()).await.unwrap();
    assert_eq!((&offline.config, offline.version), (&there.config, there.version));
    assert_eq!(offline.config.phone_number().unwrap().as_str(), THEIRS);
    assert_eq!(offline.changed_outside, [PHONE, WEBHOOK]);
    assert_eq!(offline.changed_outside, there.changed_outside);
    assert_no_secret(&stage.hosts.files(), "the local files");
    assert!(
        !String::from_utf8_lossy(&stage.hosts.files()).contains(THEIRS),
        "a replica is sealed as a whole"
    );
}

#[tokio::test]
async fn what_waited_is_synchronised_into_the_columns() {
    let stage = Stage::on(ALL_COLUMNS, named()).await;
    let vault = stage.unplugged().await;
    let status = full_config(1).with_integration_status(IntegrationStatus::NotConfigured);
    assert!(vault.store(&user(), &status).await.unwrap().degraded.is_some());
    assert_eq!(vault.load(&user()).await.unwrap().config, status);
    vault.close().await;
    assert!(!String::from_utf8_lossy(&stage.hosts.files()).contains(OURS), "what waits is sealed as a whole");
    let vault = stage.vault().await;
    assert_eq!(vault.sync().await.unwrap().pushed, 1);
    assert_eq!(stage.plain().await, some([OURS, HOOK, "not_configured"]));
    is_as_stored(&vault, &status).await;
    let row: Value = value(&stage.db, "SELECT to_jsonb(t) FROM user_profiles AS t").await;
    assert!(!row.to_string().contains(".phone_number."), "no token where the value lies in the clear");
}

#[tokio::test]
async fn a_synchronisation_clears_ours_and_keeps_theirs() {
    for delete in [false, true] {
        let stage = Stage::on(ALL_COLUMNS, named()).await;
        stage.vault().await.store(&user(), &full_config(1)).await.unwrap();
        let vault = stage.vault().await;
        assert_eq!(vault.load(&user()).await.unwrap().config, full_config(1));
        vault.close().await;
        let vault = stage.unplugged().await;
        match delete {
            true => drop(vault.delete(&user()).await.unwrap()),
            false => drop(vault.store(&user(), &small_config(2)).await.unwrap()),
        }
        vault.close().await;
        stage.set(&format!("phone_number = '{THEIRS}'")).await;
        let vault = stage.vault().await;
        let report = vault.sync().await.unwrap();
        assert_eq!(report.pushed, 1, "{report:?}");
        assert_eq!(stage.plain().await, some([THEIRS, "", ""]), "delete: {delete}");
        match delete {
            true => is_deleted(&vault).await,
            false => assert_eq!(loaded(&vault).await.changed_outside, [PHONE]),
        }
    }
}

// --- Several owners, and several rows of one ---

#[tokio::test]
async fn a_bulk_store_clears_nothing_of_the_applications_either() {
    let stage = Stage::on(ALL_COLUMNS, named()).await;
    let vault = stage.vault().await;
    stage
        .db
        .exec(&format!("INSERT INTO user_profiles (user_id, phone_number) VALUES ('user-1', '{THEIRS}')"))
        .await;
    vault.store_many(&[(user(), small_config(1))]).await.unwrap().remove(0).unwrap();
    assert_eq!(stage.plain().await, some([THEIRS, "", ""]));
    vault.store_many(&[(user(), full_config(2))]).await.unwrap().remove(0).unwrap();
    assert_eq!(stage.plain().await, some([OURS, HOOK, "active"]));
    vault.store_many(&[(user(), small_config(3))]).await.unwrap().remove(0).unwrap();
    assert_eq!(stage.plain().await, some(["", "", ""]));
}

/// All rows of an owner get the record or none, and each row is asked by itself what is ours in it.
#[tokio::test]
async fn rows_of_one_owner_are_written_together_and_keep_what_is_theirs() {
    let stage = Stage::on(&ALL_COLUMNS.replace("PRIMARY KEY", ""), named()).await;
    let vault = stage.vault().await;
    let status = "SELECT string_agg(coalesce(phone_number, '-'), ' ' ORDER BY full_name) FROM user_profiles";
    let versions = "SELECT count(DISTINCT substr(encrypted_retell_api_key, 14, 16)) FROM user_profiles";
    for delete in [false, true] {
        stage.db.exec("TRUNCATE user_profiles; INSERT INTO user_profiles (user_id, full_name) VALUES ('user-1', 'a'), ('user-1', 'b')").await;
        vault.store(&user(), &full_config(1)).await.unwrap();
        stage
            .db
            .exec(&format!("UPDATE user_profiles SET phone_number = '{THEIRS}' WHERE full_name = 'b'"))
            .await;
        match delete {
            true => drop(vault.delete(&user()).await.unwrap()),
            false => drop(vault.store(&user(), &small_config(2)).await.unwrap()),
        }
        assert_eq!(value::<String>(&stage.db, status).await, format!("- {THEIRS}"));
        let left = value::<i64>(&stage.db, versions).await;
        assert_eq!(left, if delete { 0 } else { 1 });
    }
}

/// A row that the owner got later, or that another program cleared, does not hold the record that is changed.
#[tokio::test]
async fn a_change_gives_each_row_the_plain_values_of_the_record() {
    let table = ALL_COLUMNS.replace("PRIMARY KEY", "");
    for (row, seen) in [
        ("INSERT INTO user_profiles (user_id) VALUES ('user-1')", true),
        ("INSERT INTO user_profiles (user_id) VALUES ('user-1')", false),
        ("INSERT INTO user_profiles (user_id, phone_number) VALUES ('user-1', '+14155550199')", true),
    ] {
        let stage = Stage::on(&table, named()).await;
        let (vault, user) = (stage.vault().await, owner("user-1"));
        vault.store(&user, &full_config("old")).await.unwrap();
        stage.db.exec(row).await;
        let vault = if seen { vault } else { stage.vault().await };
        let change = |config: &mut RetellConfig| {
            config.set_api_key(Some("key_test_new".parse()?));
            Ok(())
        };
        assert_eq!(vault.modify(&user, change).await.unwrap().rows, 2);
        let wrong = format!(
            "SELECT count(*) FROM user_profiles WHERE phone_number IS DISTINCT FROM '{OURS}' OR webhook_config IS NULL"
        );
        assert_eq!(number(&stage.db.url, &wrong).await, 0, "{row}");
        let loaded = vault.load(&user).await.unwrap();
        assert_eq!(loaded.config.phone_number().unwrap().as_str(), OURS);
        assert!(loaded.changed_outside.is_empty(), "{:?}", loaded.changed_outside);
    }
}
