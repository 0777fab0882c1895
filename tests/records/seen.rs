//! A store overwrites only what this process has seen: a record that was moved here, that is another owner's or that an
//! application's constraint stands for is never lost unseen.

use retell_vault::records::StoreOptions;
use retell_vault::{ErrorKind, Vault};

use crate::support::rows::*;
use crate::support::vaults::*;
use crate::support::*;

const ONLY_TEXT: &str =
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text)";
const ONLY_JSONB: &str =
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)";

struct Stage {
    db: TestDb,
    hosts: Hosts,
    vault: Vault,
}

impl Stage {
    async fn on(table: &str) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(table).await;
        let vault = hosts.host(0, &db.url).build().await.unwrap();
        Self { db, hosts, vault }
    }

    /// A process that has seen nothing yet.
    async fn fresh(&self, host: usize) -> Vault {
        self.hosts.host(host, &self.db.url).build().await.unwrap()
    }

    async fn rows(&self) -> serde_json::Value {
        table(&self.db, "user_profiles").await
    }
}

/// An owner's id moved, as with another auth provider: what lies under the new id is the record of the old one.
#[tokio::test]
async fn a_record_that_was_moved_here_is_not_overwritten() {
    for table in [ALL_COLUMNS, ONLY_TEXT, ONLY_JSONB] {
        let stage = Stage::on(table).await;
        stage.vault.store(&owner("old-id"), &full_config("old")).await.unwrap();
        stage.db.exec("UPDATE user_profiles SET user_id = 'new-id'").await;
        let before = stage.rows().await;
        for vault in [&stage.vault, &stage.fresh(1).await] {
            let store = vault.store(&owner("new-id"), &full_config("new")).await.unwrap_err();
            let bulk = vault.store_many(&[(owner("new-id"), full_config("new"))]).await.unwrap().remove(0);
            let delete = vault.delete(&owner("new-id")).await.unwrap_err();
            for error in [store, bulk.unwrap_err(), delete] {
                assert_eq!(error.kind(), ErrorKind::Unsealable, "{table}: {error}");
                assert!(
                    error.hint().contains("move the row back")
                        && error.hint().contains("--replace-unreadable")
                );
            }
            let status = vault.status().await.unwrap().local.unwrap();
            assert_eq!((status.pending, status.replaced, status.dead_letters), (0, 0, 0), "{table}");
        }
        assert_eq!(stage.rows().await, before, "{table}");
        // moved back, it is whole
        stage.db.exec("UPDATE user_profiles SET user_id = 'old-id'").await;
        assert_eq!(stage.vault.load(&owner("old-id")).await.unwrap().config, full_config("old"));
        // given up, it is kept
        stage.db.exec("UPDATE user_profiles SET user_id = 'new-id'").await;
        let options = StoreOptions::new().replace_unreadable();
        let stored = stage.vault.store_with(&owner("new-id"), &full_config("new"), options).await.unwrap();
        assert_eq!(stored.replaced.len(), 1);
        assert_eq!(stage.vault.status().await.unwrap().local.unwrap().replaced, 1);
        assert_eq!(stage.fresh(2).await.load(&owner("new-id")).await.unwrap().config, full_config("new"));
    }
}

/// Moved between a store that has seen the row and the next one of the same process: the head is another.
#[tokio::test]
async fn two_owners_that_change_places() {
    for table in [ALL_COLUMNS, ONLY_TEXT, ONLY_JSONB] {
        let stage = Stage::on(table).await;
        for user in ["one", "two"] {
            stage.vault.store(&owner(user), &full_config(user)).await.unwrap();
        }
        let swap = "UPDATE user_profiles SET user_id = CASE user_id WHEN 'one' THEN 'three' ELSE 'one' END;
            UPDATE user_profiles SET user_id = 'two' WHERE user_id = 'three'";
        stage.db.exec(swap).await;
        let before = stage.rows().await;
        let stored = &[(owner("one"), full_config("new")), (owner("two"), full_config("new"))];
        for stored in stage.vault.store_many(stored).await.unwrap() {
            assert_eq!(stored.unwrap_err().kind(), ErrorKind::Unsealable, "{table}");
        }
        assert_eq!(stage.rows().await, before, "{table}");
    }
}

/// Of several rows of an owner one is somebody else's: all are written, or none.
#[tokio::test]
async fn of_several_rows_all_are_written_or_none() {
    let table =
        "CREATE TABLE user_profiles (n serial PRIMARY KEY, user_id text, encrypted_retell_api_key text,
        encrypted_agent_config jsonb);
        INSERT INTO user_profiles (user_id) VALUES ('user-1'), ('user-1'), ('user-1'), ('user-2')";
    let others = [
        "encrypted_retell_api_key = (SELECT encrypted_retell_api_key FROM user_profiles WHERE n = 4),
         encrypted_agent_config = (SELECT encrypted_agent_config FROM user_profiles WHERE n = 4)",
        "encrypted_retell_api_key = 'the application''s'",
        "encrypted_agent_config = '[1]'",
    ];
    for (at, other) in others.into_iter().enumerate() {
        let stage = Stage::on(table).await;
        for user in ["user-1", "user-2"] {
            stage.vault.store(&owner(user), &full_config(user)).await.unwrap();
        }
        stage.vault.store(&owner("user-1"), &full_config("again")).await.unwrap();
        let written = "SELECT count(*) FROM user_profiles WHERE user_id = 'user-1' AND encrypted_retell_api_key IS NOT NULL";
        assert_eq!(value::<i64>(&stage.db, written).await, 3);
        stage.db.exec(&format!("UPDATE user_profiles SET {other} WHERE n = {}", at + 1)).await;
        let before = stage.rows().await;
        for vault in [&stage.vault, &stage.fresh(1).await] {
            let error = vault.store(&owner("user-1"), &full_config("new")).await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Unsealable | ErrorKind::ForeignValue),
                "{other}: {error}"
            );
            assert_eq!(stage.rows().await, before, "{other}");
        }
    }
}

/// The constraint is the cause, and is named: another row holds the same value in a unique column of the application's.
#[tokio::test]
async fn a_unique_constraint_of_the_applications_is_named() {
    let tables = [
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text,
         phone_number text NOT NULL DEFAULT '' CONSTRAINT one_number_each UNIQUE)",
        "CREATE TABLE user_profiles (user_id text, encrypted_retell_api_key text,
         phone_number text NOT NULL DEFAULT '' CONSTRAINT one_number_each UNIQUE)",
    ];
    for table in tables {
        let stage = Stage::on(table).await;
        stage.db.exec("INSERT INTO user_profiles (user_id) VALUES ('somebody')").await;
        let error = stage.vault.store(&owner("user-1"), &small_config(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        assert!(error.to_string().contains("one_number_each"), "{error}");
        assert_eq!(stage.vault.status().await.unwrap().local.unwrap().pending, 0);
        // who has a row is stored
        stage.vault.store(&owner("somebody"), &small_config(2)).await.unwrap();
    }
}

/// A replica that is behind, or a database that was restored: the load says that this process knows of something newer.
#[tokio::test]
async fn a_load_of_something_older_says_so() {
    for table in [ALL_COLUMNS, ONLY_TEXT, ONLY_JSONB] {
        let stage = Stage::on(table).await;
        let user = &owner("user-1");
        let first = stage.vault.store(user, &full_config(1)).await.unwrap().version;
        stage.db.exec("CREATE TABLE before AS TABLE user_profiles").await;
        let second = stage.vault.store(user, &full_config(2)).await.unwrap().version;
        let loaded = stage.vault.load(user).await.unwrap();
        assert!(!loaded.stale && loaded.seen.is_none());
        stage.db.exec("DELETE FROM user_profiles; INSERT INTO user_profiles SELECT * FROM before").await;
        let bulk = stage.vault.load_many(std::slice::from_ref(user)).await.remove(0).unwrap();
        for loaded in [stage.vault.load(user).await.unwrap(), bulk] {
            assert!(loaded.stale, "{table}");
            assert_eq!((loaded.version, loaded.seen), (first, Some(second)), "{table}");
            assert_eq!(loaded.config, full_config(1));
        }
        // a process that has not seen it cannot know, and the next store is later than both
        let loaded = stage.fresh(1).await.load(user).await.unwrap();
        assert!(!loaded.stale && loaded.seen.is_none());
        assert!(stage.vault.store(user, &full_config(3)).await.unwrap().version > second);
        assert!(!stage.vault.load(user).await.unwrap().stale);
    }
}

/// Of a UUID there is one row, in whatever form it is given: the values of a bulk store stay with their owners.
#[tokio::test]
async fn a_bulk_store_keeps_to_its_owners_in_every_form_of_a_uuid() {
    let table = "CREATE TABLE user_profiles (user_id uuid PRIMARY KEY, encrypted_retell_api_key text)";
    let stage = Stage::on(table).await;
    let ids = ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"];
    let owners = [ids[0], ids[1], "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a13"].map(owner);
    let configs = |mark: &str| -> Vec<_> {
        owners
            .iter()
            .map(|owner| (owner.clone(), full_config(format!("{mark}_{}", &owner.user_id().as_str()[30..]))))
            .collect()
    };
    for stored in stage.vault.store_many(&configs("first")).await.unwrap() {
        assert!(stored.unwrap().degraded.is_none());
    }
    // over a row that holds nothing any head may be written
    let empty =
        format!("UPDATE user_profiles SET encrypted_retell_api_key = NULL WHERE user_id = '{}'", ids[1]);
    stage.db.exec(&empty).await;
    let second = configs("second");
    for stored in stage.vault.store_many(&second).await.unwrap() {
        stored.unwrap();
    }
    for (owner, config) in second {
        assert_eq!(stage.fresh(1).await.load(&owner).await.unwrap().config, config, "{owner}");
    }
}

/// The application may keep an empty text where we put NULL: both are nothing.
#[tokio::test]
async fn a_trigger_that_prefers_an_empty_text_is_in_nobodys_way() {
    let trigger = "CREATE FUNCTION prefer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            NEW.encrypted_sms_agent_id := coalesce(NEW.encrypted_sms_agent_id, ''); RETURN NEW; END $$;
        CREATE TRIGGER prefer BEFORE INSERT OR UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION prefer()";
    let stage = Stage::on(&format!("{ALL_COLUMNS}; {trigger}")).await;
    let user = &owner("user-1");
    for config in [small_config(1), full_config(2), small_config(3), small_config(4)] {
        stage.vault.store(user, &config).await.unwrap();
        assert_eq!(stage.vault.load(user).await.unwrap().config.api_key(), config.api_key());
    }
    let text: String = value(&stage.db, "SELECT encrypted_sms_agent_id FROM user_profiles").await;
    assert_eq!(text, "");
}
