//! Somebody else writes into our slots: forged, damaged, swapped and foreign texts. They cost their own
//! owner a store at most, and nobody else anything.

use std::time::{SystemTime, UNIX_EPOCH};

use retell_vault::records::StoreOptions;
use retell_vault::records::Stored;
use retell_vault::{ErrorKind, Owner, RetellConfig, Vault};

use crate::support::rows::*;
use crate::support::vaults::*;
use crate::support::*;

const FIELDS: [&str; 5] = ["record", "api_key", "call_agent_id", "sms_agent_id", "webhook_key"];
const ONLY_TEXT: &str =
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)";
const ONLY_JSONB: &str =
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)";
const DUPLICATES: &str = "CREATE TABLE user_profiles (n serial, user_id text, encrypted_retell_api_key text);
    INSERT INTO user_profiles (user_id) VALUES ('user-1'), ('user-1')";
const YEAR: u64 = 365 * 24 * 60 * 60 * 1000;

struct Setting {
    db: TestDb,
    hosts: Hosts,
    vault: Vault,
}

impl Setting {
    /// Two owners with a record each.
    async fn on(table: &str) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(table).await;
        let vault = hosts.host(0, &db.url).build().await.unwrap();
        let setting = Self { db, hosts, vault };
        setting.store(&full_config(1)).await;
        setting.vault.store(&owner("bystander"), &full_config("bystander")).await.unwrap();
        setting
    }

    async fn store(&self, config: &RetellConfig) -> Stored {
        self.vault.store(&owner("user-1"), config).await.unwrap()
    }

    async fn load(&self) -> Result<RetellConfig, ErrorKind> {
        let one = self.vault.load(&owner("user-1")).await.map(|loaded| loaded.config);
        let many = self.vault.load_many(&[owner("bystander"), owner("user-1")]).await.remove(1);
        let (one, many) = (one.map_err(|error| error.kind()), many.map(|loaded| loaded.config));
        assert_eq!(one, many.map_err(|error| error.kind()), "load and load_many differ");
        one
    }

    /// The text in the API key column.
    async fn text(&self) -> String {
        value(&self.db, "SELECT encrypted_retell_api_key FROM user_profiles WHERE user_id = 'user-1' LIMIT 1")
            .await
    }

    async fn replaced(&self) -> u64 {
        self.vault.status().await.unwrap().local.unwrap().replaced
    }

    /// Who has not seen it overwrites nothing that does not open; a store that is told to makes everything well, and
    /// `keeps` what was there, unless that is longer than any record.
    async fn is_replaced_when_told(&self, what: &str, keeps: bool) {
        let vault = self.hosts.host(3, &self.db.url).build().await.unwrap();
        let replaced = async || vault.status().await.unwrap().local.unwrap().replaced;
        let (before, kept) = (rows::table(&self.db, "user_profiles").await, replaced().await);
        let error = vault.store(&owner("user-1"), &full_config("refused")).await.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Unsealable, "{what}: {error}");
        assert!(error.hint().contains("--replace-unreadable"), "{what}: {error}");
        let bulk = vault.store_many(&[(owner("user-1"), full_config("refused"))]).await.unwrap().remove(0);
        assert_eq!(bulk.unwrap_err().kind(), ErrorKind::Unsealable, "{what}");
        let error = vault.delete(&owner("user-1")).await.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Unsealable, "{what}: {error}");
        assert_eq!(rows::table(&self.db, "user_profiles").await, before, "{what}: something was changed");
        assert_eq!(replaced().await, kept, "{what}");
        let options = StoreOptions::new().replace_unreadable();
        let stored = vault.store_with(&owner("user-1"), &full_config("healed"), options).await;
        let stored = stored.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(stored.degraded, None, "{what}");
        assert!(!stored.replaced.is_empty(), "{what}: nothing was reported");
        assert_eq!(replaced().await > kept, keeps, "{what}");
        self.is_well(what).await;
    }

    /// The next store makes everything well, and reports what it could not read.
    async fn heals(&self, what: &str) {
        let before = self.replaced().await;
        let stored = self.vault.store(&owner("user-1"), &full_config("healed")).await;
        let stored = stored.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(stored.degraded, None, "{what}");
        assert!(!stored.replaced.is_empty(), "{what}: nothing was reported");
        assert!(self.replaced().await > before, "{what}: nothing was kept");
        self.is_well(what).await;
    }

    async fn is_well(&self, what: &str) {
        assert_eq!(self.load().await, Ok(full_config("healed")), "{what}");
        assert!(self.store(&full_config(1)).await.replaced.is_empty(), "{what}: not healed for good");
        let other = self.hosts.host(1, &self.db.url).build().await.unwrap();
        assert_eq!(other.load(&owner("user-1")).await.unwrap().config, full_config(1), "{what}");
        self.bystander_is_well(what).await;
    }

    async fn bystander_is_well(&self, what: &str) {
        let loaded = self.vault.load(&owner("bystander")).await.unwrap();
        assert_eq!(loaded.config, full_config("bystander"), "{what}");
        let both = [owner("user-1"), owner("bystander")];
        assert_eq!(
            self.vault.load_many(&both).await.remove(1).unwrap().config,
            full_config("bystander"),
            "{what}"
        );
    }
}

fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// A version of a time.
fn version_at(millis: u64) -> String {
    format!("{:012x}ffff", millis)
}

/// A well-formed token that nobody ever sealed.
fn forged(key: &str, version: &str, field: &str) -> String {
    // 92 bytes of salt, commitment, nonce and tag, and 64 of ciphertext
    format!("rv1.{key}.{version}.{field}.{}", "A".repeat(208))
}

fn forged_record(key: &str, version: &str) -> String {
    FIELDS.map(|field| forged(key, version, field)).join(" ")
}

fn set_text(text: &str) -> String {
    format!("UPDATE user_profiles SET encrypted_retell_api_key = '{text}' WHERE user_id = 'user-1'")
}

fn set_json(record: &str) -> String {
    let field = |token: &str| token.split('.').nth(3).unwrap().to_owned();
    let object: Vec<String> =
        record.split(' ').map(|token| format!("\"{}\":\"{token}\"", field(token))).collect();
    format!(
        "UPDATE user_profiles SET encrypted_agent_config = '{{\"retell_vault\":{{{}}},\"voice\":1}}' WHERE user_id = 'user-1'",
        object.join(",")
    )
}

#[tokio::test]
async fn the_highest_version_of_all_wins_nothing() {
    let all = "f".repeat(16);
    for (table, set) in [(ONLY_TEXT, set_text as fn(&str) -> String), (ONLY_JSONB, set_json)] {
        let setting = Setting::on(table).await;
        for record in [forged_record("ffffffff", &all), forged("fffffffe", &all, "api_key")] {
            setting.db.exec(&set(&record)).await;
            setting.load().await.unwrap_err();
            setting.bystander_is_well(&record).await;
            setting.heals(&record).await;
        }
    }
    let setting = Setting::on(ONLY_JSONB).await;
    setting.db.exec(&set_json(&forged_record("ffffffff", &all))).await;
    setting.heals("JSONB").await;
    let voice: String = value(
        &setting.db,
        "SELECT encrypted_agent_config ->> 'voice' FROM user_profiles WHERE user_id = 'user-1'",
    )
    .await;
    assert_eq!(voice, "1", "the sibling stays");
}

#[tokio::test]
async fn a_forged_duplicate_hides_nothing() {
    let setting = Setting::on(DUPLICATES).await;
    let forged = forged_record("ffffffff", &"f".repeat(16));
    setting
        .db
        .exec(&format!("UPDATE user_profiles SET encrypted_retell_api_key = '{forged}' WHERE n = 2"))
        .await;
    assert_eq!(setting.load().await, Ok(full_config(1)), "the other row has the answer");
    setting.heals("a duplicate").await;
    let texts: i64 = value(
        &setting.db,
        "SELECT count(DISTINCT encrypted_retell_api_key) FROM user_profiles WHERE user_id = 'user-1'",
    )
    .await;
    assert_eq!(texts, 1);
}

/// It may be a newer writer's: a key that this host does not know yet.
#[tokio::test]
async fn an_unknown_key_at_a_plausible_version_is_not_overwritten_unasked() {
    for (table, set) in [(ONLY_TEXT, set_text as fn(&str) -> String), (ONLY_JSONB, set_json)] {
        let setting = Setting::on(table).await;
        let record = forged_record("0badcafe", &version_at(wall_clock() + 3_600_000));
        setting.db.exec(&set(&record)).await;
        let before = rows::table(&setting.db, "user_profiles").await;
        assert_eq!(setting.load().await, Err(ErrorKind::UnknownKey));
        let error = setting.vault.store(&owner("user-1"), &full_config(2)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownKey);
        assert!(
            error.to_string().contains("0badcafe") && error.hint().contains("replace_unreadable"),
            "{error}"
        );
        let bulk = setting.vault.store_many(&[(owner("user-1"), full_config(2))]).await.unwrap().remove(0);
        assert_eq!(bulk.unwrap_err().kind(), ErrorKind::UnknownKey);
        assert_eq!(rows::table(&setting.db, "user_profiles").await, before, "nothing was changed");
        assert_eq!(setting.replaced().await, 0);

        let options = StoreOptions::new().replace_unreadable();
        let stored =
            setting.vault.store_with(&owner("user-1"), &full_config("healed"), options).await.unwrap();
        assert_eq!(stored.replaced.len(), 1);
        assert_eq!(setting.replaced().await, 1, "the old record was kept");
        setting.is_well("an unknown key").await;
    }
}

#[tokio::test]
async fn a_later_format_is_not_overwritten_unasked() {
    let setting = Setting::on(ONLY_TEXT).await;
    let record = setting.text().await.replace("rv1.", "rv2.");
    setting.db.exec(&set_text(&record)).await;
    assert_eq!(setting.load().await, Err(ErrorKind::UnsupportedFormat));
    let error = setting.vault.store(&owner("user-1"), &full_config(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
    assert_eq!(setting.text().await, record);
    setting.bystander_is_well("a later format").await;
    let options = StoreOptions::new().replace_unreadable();
    let stored = setting.vault.store_with(&owner("user-1"), &full_config("healed"), options).await.unwrap();
    assert_eq!(stored.replaced.len(), 1);
    assert!(setting.replaced().await >= 1, "the old text was kept");
    setting.is_well("a later format").await;
}

/// A clock a year ahead neither blocks the owner nor wins over what others store later.
#[tokio::test]
async fn a_host_from_the_future() {
    for table in [ONLY_TEXT, ONLY_JSONB, ALL_COLUMNS, DUPLICATES] {
        let setting = Setting::on(table).await;
        let future =
            setting.hosts.host(7, &setting.db.url).clock(|| wall_clock() + YEAR).build().await.unwrap();
        let stored = future.store(&owner("user-1"), &full_config("future")).await.unwrap();
        assert!(stored.version.millis() > wall_clock() + YEAR / 2);
        assert_eq!(setting.load().await, Ok(full_config("future")), "it is the only one");
        assert_eq!(future.load(&owner("user-1")).await.unwrap().config, full_config("future"));
        setting.heals("from the future").await;
        assert_eq!(future.load(&owner("user-1")).await.unwrap().config, full_config(1));
        // a clock that is a little ahead is ordinary, and the next store goes past it
        let ahead =
            setting.hosts.host(8, &setting.db.url).clock(|| wall_clock() + 3_600_000).build().await.unwrap();
        ahead.store(&owner("user-1"), &full_config("ahead")).await.unwrap();
        assert!(setting.store(&full_config(2)).await.replaced.is_empty());
        assert_eq!(ahead.load(&owner("user-1")).await.unwrap().config, full_config(2));
        // and a clock that is behind does not keep anybody from storing
        let behind =
            setting.hosts.host(9, &setting.db.url).clock(|| wall_clock() - YEAR).build().await.unwrap();
        behind.store(&owner("user-1"), &full_config("behind")).await.unwrap();
        assert_eq!(setting.load().await, Ok(full_config("behind")));
    }
}

#[tokio::test]
async fn damaged_tokens_are_not_overwritten_unasked() {
    let setting = Setting::on(ONLY_TEXT).await;
    let good = setting.text().await;
    let middle = good.len() / 2;
    let damages = [
        (good[..middle].to_owned(), ErrorKind::Malformed),
        (format!("{good} "), ErrorKind::Malformed),
        (format!("{good} {}", good.split(' ').next().unwrap()), ErrorKind::Malformed),
        (good.replacen("api_key", "api_keys", 1), ErrorKind::Malformed),
        (good.replacen('.', ".0", 1), ErrorKind::Malformed),
        (good.to_uppercase().replace("RV1", "rv1"), ErrorKind::Malformed),
        (format!("rv1.{}", "x".repeat(1 << 20)), ErrorKind::Malformed),
        (
            format!("{}{}", &good[..good.len() - 1], if good.ends_with('A') { 'E' } else { 'A' }),
            ErrorKind::Unsealable,
        ),
        (
            good.replacen("0.api_key", "1.api_key", 1).replacen("f.api_key", "0.api_key", 1),
            ErrorKind::Incomplete,
        ),
    ];
    for (damaged, _) in damages.iter().filter(|(damaged, _)| *damaged != good) {
        setting.db.exec(&set_text(damaged)).await;
        let what: String = damaged.chars().take(60).collect();
        let kind = setting.load().await.expect_err(&what);
        let plausible = [ErrorKind::Malformed, ErrorKind::Unsealable, ErrorKind::Incomplete];
        assert!(plausible.contains(&kind), "{what}: {kind:?}");
        setting.bystander_is_well(&what).await;
        setting.is_replaced_when_told(&what, damaged.len() <= 1 << 18).await;
    }
}

/// Damage that hides the version.
#[tokio::test]
async fn what_cannot_be_dated_is_kept() {
    let setting = Setting::on(ONLY_TEXT).await;
    for damage in ["rv1.", "rv1.zzz", "rv1.00000000.0000000000000000", "rv1.xx.yy.api_key.zz!zz"] {
        setting.db.exec(&set_text(damage)).await;
        assert_eq!(setting.load().await, Err(ErrorKind::Malformed));
        setting.is_replaced_when_told(damage, true).await;
    }
}

/// A seal opens for its own owner and field only.
#[tokio::test]
async fn swapped_tokens_open_nowhere() {
    let setting = Setting::on(ALL_COLUMNS).await;
    let swaps = [
        "SET encrypted_call_agent_id = encrypted_sms_agent_id, encrypted_sms_agent_id = encrypted_call_agent_id WHERE user_id = 'user-1'",
        "SET encrypted_agent_config = jsonb_set(encrypted_agent_config, '{retell_vault,webhook_key}', to_jsonb(encrypted_retell_api_key)) WHERE user_id = 'user-1'",
        "SET encrypted_retell_api_key = encrypted_call_agent_id WHERE user_id = 'user-1'",
        "SET encrypted_call_agent_id = replace(encrypted_sms_agent_id, 'sms_agent_id', 'call_agent_id') WHERE user_id = 'user-1'",
        "AS t SET encrypted_retell_api_key = b.encrypted_retell_api_key FROM user_profiles b WHERE t.user_id = 'user-1' AND b.user_id = 'bystander'",
        "AS t SET encrypted_retell_api_key = b.encrypted_retell_api_key, encrypted_call_agent_id = b.encrypted_call_agent_id, encrypted_sms_agent_id = b.encrypted_sms_agent_id, encrypted_agent_config = b.encrypted_agent_config FROM user_profiles b WHERE t.user_id = 'user-1' AND b.user_id = 'bystander'",
    ];
    for (n, swap) in swaps.into_iter().enumerate() {
        setting.db.exec(&format!("UPDATE user_profiles {swap}")).await;
        let kind = setting.load().await.err();
        // two tokens in each other's columns are still the record: reading looks at every slot
        match n {
            0 => assert_eq!(kind, None),
            _ => assert!(
                matches!(kind, Some(ErrorKind::Unsealable | ErrorKind::Malformed | ErrorKind::Incomplete)),
                "{swap}: {kind:?}"
            ),
        }
        setting.bystander_is_well(swap).await;
        match n {
            0 => assert!(setting.store(&full_config("healed")).await.replaced.is_empty(), "{swap}"),
            // who has opened this version knows what it was
            1 => assert!(setting.store(&full_config("healed")).await.replaced.is_empty(), "{swap}"),
            _ => setting.is_replaced_when_told(swap, true).await,
        }
    }
}

#[tokio::test]
async fn tokens_of_another_tenant_or_time_open_nowhere() {
    let table = "CREATE TABLE user_profiles (org text NOT NULL, user_id text, encrypted_retell_api_key text, UNIQUE (org, user_id))";
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    let layout = retell_vault::Layout::new().tenant_column("org").unwrap();
    let vault = hosts.host(0, &db.url).layout(layout).build().await.unwrap();
    let in_tenant = |tenant: &str| -> Owner { owner("user-1").in_tenant(tenant).unwrap() };
    vault.store(&in_tenant("a"), &full_config("a")).await.unwrap();
    vault.store(&in_tenant("b"), &full_config("b")).await.unwrap();
    db.exec("CREATE TABLE before AS TABLE user_profiles").await;
    db.exec("UPDATE user_profiles t SET encrypted_retell_api_key = b.encrypted_retell_api_key FROM before b WHERE t.org = 'a' AND b.org = 'b'").await;
    assert_eq!(vault.load(&in_tenant("a")).await.unwrap_err().kind(), ErrorKind::Unsealable);
    assert_eq!(vault.load(&in_tenant("b")).await.unwrap().config, full_config("b"));
    let store = async |mark: &str| {
        let layout = retell_vault::Layout::new().tenant_column("org").unwrap();
        let vault = hosts.host(1, &db.url).layout(layout).build().await.unwrap();
        let refused = vault.store(&in_tenant("a"), &full_config(mark)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsealable);
        let options = StoreOptions::new().replace_unreadable();
        vault.store_with(&in_tenant("a"), &full_config(mark), options).await.unwrap();
    };
    store("a2").await;
    // one field of an older record, in the place of the newer one's
    db.exec(r"UPDATE user_profiles t SET encrypted_retell_api_key = replace(t.encrypted_retell_api_key, substring(t.encrypted_retell_api_key FROM 'rv1\S+\.call_agent_id\.\S+'), substring(b.encrypted_retell_api_key FROM 'rv1\S+\.call_agent_id\.\S+')) FROM before b WHERE t.org = 'a' AND b.org = 'a'").await;
    assert_eq!(vault.load(&in_tenant("a")).await.unwrap_err().kind(), ErrorKind::Incomplete);
    store("a3").await;
    assert_eq!(vault.load(&in_tenant("a")).await.unwrap().config, full_config("a3"));
    assert_eq!(vault.load(&in_tenant("b")).await.unwrap().config, full_config("b"));
}

#[tokio::test]
async fn foreign_text_is_never_overwritten_unasked() {
    for text in
        ["key_live_plaintext", "a2V5X2xpdmVfYmFzZTY0", "v1:gcm:0011:2233", " ", "rv0.x", "rv1", "\\x0011"]
    {
        let setting = Setting::on(ALL_COLUMNS).await;
        for column in ["encrypted_retell_api_key", "encrypted_sms_agent_id"] {
            setting.db.exec(&format!("UPDATE user_profiles SET encrypted_retell_api_key = NULL, encrypted_call_agent_id = NULL, encrypted_sms_agent_id = NULL, encrypted_agent_config = NULL, phone_number = '+14155550123' WHERE user_id = 'user-1'; UPDATE user_profiles SET {column} = '{text}' WHERE user_id = 'user-1'")).await;
            let before = table(&setting.db, "user_profiles").await;
            assert_eq!(setting.load().await, Err(ErrorKind::ForeignValue), "{text}");
            let error = setting.vault.store(&owner("user-1"), &full_config(2)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ForeignValue);
            assert!(
                error.to_string().contains(column) && error.hint().contains("replace_foreign"),
                "{error}"
            );
            assert!(!format!("{error} {error:?}").contains(text) || text == " " || text == "rv1");
            let bulk = [(owner("bystander"), full_config("bystander")), (owner("user-1"), full_config(2))];
            let bulk = setting.vault.store_many(&bulk).await.unwrap();
            assert!(bulk[0].is_ok(), "the others of a bulk store are stored");
            assert_eq!(bulk[1].as_ref().unwrap_err().kind(), ErrorKind::ForeignValue);
            let options = StoreOptions::new().replace_unreadable();
            let unread = setting.vault.store_with(&owner("user-1"), &full_config(2), options).await;
            assert_eq!(unread.unwrap_err().kind(), ErrorKind::ForeignValue);
            let after = table(&setting.db, "(SELECT * FROM user_profiles WHERE user_id = 'user-1')").await;
            assert!(before.as_array().unwrap().contains(&after[0]), "nothing was changed");
            setting.bystander_is_well(text).await;

            let options = StoreOptions::new().replace_foreign();
            let stored = setting.vault.store_with(&owner("user-1"), &small_config(3), options).await.unwrap();
            assert_eq!(stored.replaced.len(), 1);
            // the row had no record, so its plain values are the application's and stay
            let loaded = setting.load().await.unwrap();
            assert_eq!(loaded.phone_number().map(|number| number.as_str()), Some("+14155550123"), "{text}");
            assert_eq!(loaded.api_key(), small_config(3).api_key());
            assert_eq!(setting.replaced().await, 0, "text that is not sealed never goes to the local file");
        }
    }
}

/// A vault with another keyring that was told to go on all the same overwrites nothing.
#[tokio::test]
async fn another_keyring_does_not_overwrite_what_it_cannot_read() {
    for table in [ONLY_TEXT, ONLY_JSONB, ALL_COLUMNS] {
        let (setting, other) = (Setting::on(table).await, Hosts::new().await);
        let before = rows::table(&setting.db, "user_profiles").await;
        let stranger = other.host(0, &setting.db.url).build().await.unwrap();
        assert!(stranger.adopt_table().await.unwrap());
        let error = stranger.store(&owner("user-1"), &full_config("wrong")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownKey);
        let bulk = stranger.store_many(&[(owner("user-1"), full_config("wrong"))]).await.unwrap().remove(0);
        assert_eq!(bulk.unwrap_err().kind(), ErrorKind::UnknownKey);
        assert_eq!(stranger.delete(&owner("user-1")).await.unwrap_err().kind(), ErrorKind::UnknownKey);
        assert_eq!(rows::table(&setting.db, "user_profiles").await, before, "nothing was changed");
        assert_eq!(setting.load().await, Ok(full_config(1)));

        let options = StoreOptions::new().replace_unreadable();
        stranger.store_with(&owner("user-1"), &full_config("new"), options).await.unwrap();
        assert_eq!(stranger.load(&owner("user-1")).await.unwrap().config, full_config("new"));
    }
}

/// The sub-object `retell_vault` is ours by name only: what we never write there is not overwritten.
#[tokio::test]
async fn foreign_values_in_our_part_of_the_jsonb_column_are_not_overwritten() {
    for table in [ONLY_JSONB, ALL_COLUMNS] {
        let setting = Setting::on(table).await;
        for ours in [r#""hunter2""#, "[1]", "7", r#"{"x":"hunter2"}"#, r#"{"webhook_secret":"hunter2"}"#] {
            let set = format!(
                r#"UPDATE user_profiles SET encrypted_agent_config = '{{"voice":1,"retell_vault":{ours}}}' WHERE user_id = 'user-1'"#
            );
            setting.db.exec(&set).await;
            let before = rows::table(&setting.db, "user_profiles").await;
            let error = setting.vault.store(&owner("user-1"), &full_config(2)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ForeignValue, "{ours}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
            assert_eq!(rows::table(&setting.db, "user_profiles").await, before, "nothing was changed");
        }
        // what is left of a record in the columns beside it was a record once
        let options = StoreOptions::new().replace_foreign();
        let stored = setting.vault.store_with(&owner("user-1"), &full_config("healed"), options).await;
        if table == ALL_COLUMNS {
            assert_eq!(stored.unwrap_err().kind(), ErrorKind::Unsealable);
            let options = options.replace_unreadable();
            setting.vault.store_with(&owner("user-1"), &full_config("healed"), options).await.unwrap();
        }
        assert_eq!(setting.load().await, Ok(full_config("healed")));
        let voice: String = value(
            &setting.db,
            "SELECT encrypted_agent_config ->> 'voice' FROM user_profiles WHERE user_id = 'user-1'",
        )
        .await;
        assert_eq!(voice, "1", "siblings survive");
    }
}

/// A token of the JSONB column that names an unknown key is looked at even where it is not the API key's.
#[tokio::test]
async fn every_entry_of_the_jsonb_column_counts() {
    let setting = Setting::on(ALL_COLUMNS).await;
    setting
        .db
        .exec("UPDATE user_profiles SET encrypted_agent_config = replace(encrypted_agent_config::text, 'rv1.', 'rv1.0badcafe')::jsonb, encrypted_retell_api_key = NULL, encrypted_call_agent_id = NULL, encrypted_sms_agent_id = NULL WHERE user_id = 'user-1'")
        .await;
    setting.is_replaced_when_told("a damaged key id", true).await;
}

/// Tokens of fields that nobody has look like another kind's. From the future they are nobody's, and else an operator
/// may replace them.
#[tokio::test]
async fn forged_tokens_of_unknown_fields_block_nobody() {
    let setting = Setting::on(ONLY_TEXT).await;
    let key = setting.hosts.keyring().keys()[0].id.to_string();
    let forge =
        |version: &str| set_text(&[forged(&key, version, "zzz"), forged(&key, version, "record")].join(" "));
    setting.db.exec(&forge(&"f".repeat(16))).await;
    setting.heals("unknown fields from the future").await;
    setting.db.exec(&forge(&version_at(wall_clock() + 3_600_000))).await;
    let error = setting.vault.store(&owner("user-1"), &full_config(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    let options = retell_vault::records::StoreOptions::new().replace_unreadable();
    setting.vault.store_with(&owner("user-1"), &full_config(3), options).await.unwrap();
    assert_eq!(setting.load().await, Ok(full_config(3)));
}

/// What cannot be kept is not replaced unasked.
#[tokio::test]
async fn without_a_local_file_a_version_from_the_future_stays() {
    let setting = Setting::on(ONLY_TEXT).await;
    setting.db.exec(&set_text(&forged_record("0badcafe", &"f".repeat(16)))).await;
    let vault = Vault::builder(setting.hosts.keyring()).postgres(&setting.db.url).build().await.unwrap();
    let before = rows::table(&setting.db, "user_profiles").await;
    let error = vault.store(&owner("user-1"), &full_config(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownKey, "{error}");
    assert!(error.hint().contains("replace_unreadable"), "{error:?}");
    assert_eq!(rows::table(&setting.db, "user_profiles").await, before);
    let options = StoreOptions::new().replace_unreadable();
    vault.store_with(&owner("user-1"), &full_config("healed"), options).await.unwrap();
    assert_eq!(setting.load().await, Ok(full_config("healed")));
}
