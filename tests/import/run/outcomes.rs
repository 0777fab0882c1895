//! What becomes of old values and records that are there already.

use std::sync::{Arc, Mutex};

use retell_vault::config::import::{ImportEvent, ImportOptions, Passwords};
use retell_vault::keyring::KeyState;
use retell_vault::layout::OldSource;
use retell_vault::rotation::{DestroyOptions, RotateOptions};
use retell_vault::{Error, ErrorKind, Layout, RetellConfig};

use super::support::*;
use crate::support::rows::{table, value};
use crate::support::vaults::*;

const OLD: &str = "CREATE TABLE old (user_id text PRIMARY KEY, key text, agent text)";

fn two_columns() -> Layout {
    layout([column("old", "key", "api_key"), column("old", "agent", "call_agent_id")])
}

#[tokio::test]
async fn an_owner_gets_one_record_of_all_columns_and_a_second_run_finds_nothing_to_do() {
    let scene = Scene::new(OLD, two_columns()).await;
    scene.db.exec("INSERT INTO old VALUES ('user-1', 'key_test_0001', 'agent_test_0001'), ('user-2', 'key_test_0002', ''), ('user-3', NULL, NULL)").await;
    scene.db.exec("INSERT INTO records VALUES ('user-2', '{\"theirs\": 1}')").await;
    let before = table(&scene.db, "records").await;
    let dry = scene.import_with(ImportOptions::new().dry_run()).await;
    assert_eq!(counts(&dry), [2, 0, 0, 0]);
    assert_eq!(table(&scene.db, "records").await, before);

    let report = scene.import().await;
    assert_eq!(counts(&report), [2, 2, 0, 0]);
    assert_eq!((report.progress.rows, report.progress.visited), (2, 2));
    assert!(lists(&report).iter().all(|list| list.is_empty()), "{report:?}");
    let loaded = scene.vault.load(&owner("user-1")).await.unwrap();
    assert_eq!(loaded.version.millis(), 1, "every save is newer");
    assert_eq!(
        (key(&loaded.config), text(&loaded.config, "call_agent_id").unwrap()),
        ("key_test_0001".into(), "agent_test_0001".into())
    );
    assert!(loaded.unknown.is_empty() && loaded.imported);
    assert_eq!(scene.loaded("user-2", "api_key").await.unwrap(), "key_test_0002");
    assert_eq!(scene.loaded("user-3", "api_key").await, None);

    let records = table(&scene.db, "records").await;
    assert_eq!(counts(&scene.import().await), [0, 0, 0, 2]);
    assert_eq!(table(&scene.db, "records").await, records);
}

#[tokio::test]
async fn the_first_source_gives_a_field_and_another_value_of_a_later_one_is_listed_and_stays() {
    let tables = format!("{OLD}; CREATE TABLE older (id bigserial, user_id text, key text)");
    let sources = [
        column("old", "key", "api_key"),
        column("older", "key", "api_key"),
        column("old", "agent", "call_agent_id"),
    ];
    let scene = Scene::new(&tables, layout(sources)).await;
    scene
        .db
        .exec("INSERT INTO old VALUES ('user-1', 'key_test_0001', NULL), ('user-2', NULL, 'agent_test_0002')")
        .await;
    // several rows of one owner in one source: nothing says which is right
    scene.db.exec("INSERT INTO older (user_id, key) VALUES ('user-1', 'key_test_0009'), ('user-2', 'key_test_0002'), ('user-2', 'key_test_0003'), ('user-3', 'key_test_0004'), ('user-3', 'key_test_0004')").await;
    let report = scene.import_and_clear().await;
    // equal rows of one owner are one old value
    assert_eq!(counts(&report), [3, 3, 3, 0]);
    assert_eq!(scene.loaded("user-1", "api_key").await.unwrap(), "key_test_0001");
    assert_eq!(scene.loaded("user-2", "api_key").await, None);
    assert_eq!(scene.loaded("user-3", "api_key").await.unwrap(), "key_test_0004");
    let users: Vec<_> =
        report.disagreed.iter().map(|found| (found.user.as_str(), found.reason.as_str())).collect();
    let rows = "several rows of this owner have different values";
    assert_eq!(
        users,
        [("user-1", "an earlier source has another value"), ("user-2", rows), ("user-2", rows)]
    );
    let left: Vec<String> =
        value(&scene.db, "SELECT array_agg(key ORDER BY key) FROM older WHERE key IS NOT NULL").await;
    assert_eq!(left, ["key_test_0002", "key_test_0003", "key_test_0009"]);

    // the first source is cleared: the later one must not take its place
    let again = scene.import_and_clear().await;
    assert_eq!(counts(&again), [0, 0, 0, 2]);
    assert_eq!(scene.loaded("user-1", "api_key").await.unwrap(), "key_test_0001");
    assert_eq!(
        again.disagreed[0].reason,
        "the value in the vault came from an earlier source that has been cleared"
    );
}

#[tokio::test]
async fn what_the_vault_stored_or_deleted_is_never_overwritten() {
    let scene = Scene::new(OLD, two_columns()).await;
    scene
        .db
        .exec("INSERT INTO old SELECT 'user-' || n, 'key_test_000' || n, NULL FROM generate_series(1, 4) n")
        .await;
    let saved = |mark: &str| RetellConfig::new(format!("key_test_{mark}").parse().unwrap());
    scene.vault.store(&owner("user-1"), &saved("newer")).await.unwrap();
    scene.vault.store(&owner("user-2"), &saved("0002")).await.unwrap();
    scene.vault.store(&owner("user-3"), &saved("gone")).await.unwrap();
    scene.vault.delete(&owner("user-3")).await.unwrap();
    // another process, which has seen none of these
    let other = scene.hosts.host(1, &scene.db.url).layout(two_columns()).build().await.unwrap();
    let report =
        other.import(&Passwords::new(), &ImportOptions::new().clear_source(), |_| Ok(())).await.unwrap();
    assert_eq!(counts(&report), [1, 1, 2, 3]);
    assert_eq!(
        named(&report.disagreed).into_iter().map(|(user, _, why)| (user, why)).collect::<Vec<_>>(),
        [
            ("user-1".to_owned(), "the vault has another value, which was stored since".to_owned()),
            ("user-3".to_owned(), "the record was deleted in the vault".to_owned()),
        ]
    );
    assert_eq!(scene.loaded("user-1", "api_key").await.unwrap(), "key_test_newer");
    assert_eq!(scene.vault.load(&owner("user-3")).await.unwrap_err().kind(), ErrorKind::NotFound);
    let left: Vec<String> =
        value(&scene.db, "SELECT array_agg(user_id ORDER BY user_id) FROM old WHERE key IS NOT NULL").await;
    assert_eq!(left, ["user-1", "user-3"]);
}

#[tokio::test]
async fn a_source_that_changed_is_imported_again_until_the_vault_has_saved() {
    let scene = Scene::new(OLD, two_columns()).await;
    scene.db.exec("INSERT INTO old VALUES ('user-1', 'key_test_0001', 'agent_test_0001'), ('user-2', 'key_test_0002', NULL)").await;
    assert_eq!(counts(&scene.import().await), [2, 2, 0, 0]);
    scene.db.exec("UPDATE old SET key = 'key_test_0011', agent = NULL WHERE user_id = 'user-1'").await;
    scene.db.exec("UPDATE old SET key = 'key_test_0022' WHERE user_id = 'user-2'").await;
    // a change of another field: the record no longer comes from the source
    let agent = Some("agent_test_0002".parse().unwrap());
    let change = |config: &mut RetellConfig| {
        config.set_call_agent_id(agent.clone());
        Ok(())
    };
    scene.vault.modify(&owner("user-2"), change).await.unwrap();
    assert!(!scene.vault.load(&owner("user-2")).await.unwrap().imported);
    let report = scene.import().await;
    assert_eq!(counts(&report), [1, 1, 0, 1]);
    assert_eq!(scene.loaded("user-1", "api_key").await.unwrap(), "key_test_0011");
    assert_eq!(scene.loaded("user-2", "api_key").await.unwrap(), "key_test_0002");
    assert_eq!(named(&report.disagreed).len(), 1, "{report:?}");
    assert_eq!(report.disagreed[0].user, "user-2");
}

#[tokio::test]
async fn the_mark_of_an_import_outlives_every_rotation_and_its_root_key() {
    let scene = Scene::new(OLD, two_columns()).await;
    scene.db.exec("INSERT INTO old VALUES ('user-1', 'key_test_0001', NULL)").await;
    scene.import().await;
    scene.vault.rotate(&RotateOptions::new().new_key(), |_| {}).await.unwrap();
    let old = scene.hosts.keyring().keys().into_iter().find(|key| key.state == KeyState::Retired).unwrap();
    let force = DestroyOptions::new().force().other_hosts_synced().other_tables_counted();
    scene.vault.destroy_key(old.id, force).await.unwrap();
    assert_eq!(counts(&scene.import().await), [0, 0, 0, 1]);
    scene.db.exec("UPDATE old SET key = 'key_test_0002'").await;
    assert_eq!(counts(&scene.import().await), [1, 1, 0, 0], "it still knows what the record came from");
}

#[tokio::test]
async fn a_record_has_the_time_of_its_source() {
    let tables = "CREATE TABLE old (user_id int PRIMARY KEY, key text, at timestamptz, local timestamp, millis bigint)";
    for (name, expected) in
        [("at", 1_700_000_000_123), ("local", 1_700_000_000_123), ("millis", 1_700_000_000_123_u64)]
    {
        let source = column("old", "key", "api_key").time_column(name).unwrap();
        let scene = Scene::new(tables, layout([source])).await;
        scene.db.exec("INSERT INTO old VALUES (1, 'key_test_0001', to_timestamp(1700000000.123), to_timestamp(1700000000.123) AT TIME ZONE 'UTC', 1700000000123),
            (2, 'key_test_0002', 'infinity', 'infinity', -5), (3, 'key_test_0003', '2999-01-01', '2999-01-01', 99999999999999)").await;
        assert_eq!(counts(&scene.import().await), [3, 3, 0, 0]);
        let version = async |user: &str| scene.vault.load(&owner(user)).await.unwrap().version;
        assert_eq!(version("1").await.millis(), expected, "{name}");
        assert_eq!(version("2").await.millis(), 1, "{name}");
        let saved = scene.vault.store(&owner("3"), &small_config("later")).await.unwrap();
        assert!(saved.version > version("1").await, "{name}");
        assert_eq!(scene.loaded("3", "api_key").await.unwrap(), key(&small_config("later")));
    }
    let source = column("old", "key", "api_key").time_column("key").unwrap();
    let scene = Scene::new(tables, layout([source])).await;
    let error = scene.vault.import(&Passwords::new(), &ImportOptions::new(), |_| Ok(())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("source public.old.key"), "{error}");
}

#[tokio::test]
async fn a_value_beyond_the_limits_and_an_owner_that_cannot_be_are_listed() {
    let scene = Scene::new(OLD, two_columns()).await;
    scene.db.exec("INSERT INTO old VALUES ('user-1', repeat('k', 5000), 'agent_test_0001'), ('user-2', 'key_test_ü', NULL), (repeat('u', 300), 'key_test_0003', NULL), ('user-4', repeat('m', 3000000), NULL)").await;
    let report = scene.import().await;
    assert_eq!(counts(&report), [1, 1, 0, 0]);
    assert_eq!(scene.loaded("user-1", "call_agent_id").await.unwrap(), "agent_test_0001");
    let mut results: Vec<_> =
        report.failed.iter().map(|found| (found.user.chars().count(), found.result)).collect();
    results.sort_unstable();
    assert_eq!(results, [(6, "beyond_limits"), (6, "beyond_limits"), (300, "not_stored")]);
    assert_eq!(report.corrupt[0].user, "user-4", "it is not read as a whole");
}

#[tokio::test]
async fn several_imports_at_once_store_each_owner_once() {
    let scene = Scene::new(OLD, two_columns()).await;
    scene.db.exec("INSERT INTO old SELECT 'user-' || n, 'key_test_' || n, 'agent_test_' || n FROM generate_series(1, 400) n").await;
    scene.db.exec("INSERT INTO records SELECT user_id FROM old WHERE length(user_id) = 8").await;
    let others = [scene.hosts.host(1, &scene.db.url), scene.hosts.host(2, &scene.db.url)];
    let [one, two] = others.map(|host| host.layout(two_columns()));
    let (one, two) = (one.build().await.unwrap(), two.build().await.unwrap());
    let options = ImportOptions::new().clear_source();
    let (none, listener) = (Passwords::new(), |_: ImportEvent<'_>| Ok::<(), Error>(()));
    let (one, two) =
        tokio::join!(one.import(&none, &options, listener), two.import(&none, &options, listener));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.progress.sealed + two.progress.sealed, 400, "{:?} {:?}", one.progress, two.progress);
    assert_eq!(one.progress.cleared + two.progress.cleared, 800, "{:?} {:?}", one.progress, two.progress);
    let problems: Vec<_> = lists(&one).into_iter().chain(lists(&two)).flatten().collect();
    assert!(problems.is_empty(), "{problems:?}");
    for user in ["user-1", "user-77", "user-400"] {
        let number = user.strip_prefix("user-").unwrap();
        assert_eq!(scene.loaded(user, "api_key").await.unwrap(), format!("key_test_{number}"));
    }
    assert_eq!(
        value::<i64>(&scene.db, "SELECT count(*) FROM old WHERE key IS NOT NULL OR agent IS NOT NULL").await,
        0
    );
}

#[tokio::test]
async fn nothing_is_cleared_before_its_listener_has_agreed() {
    let scene = Scene::new(OLD, two_columns()).await;
    scene
        .db
        .exec("INSERT INTO old SELECT 'user-' || n, 'key_test_' || n, NULL FROM generate_series(1, 20) n")
        .await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let refuse = |event: ImportEvent<'_>| match event {
        ImportEvent::Clearing(values) => {
            told.lock().unwrap().extend(values.iter().map(|found| found.user.clone()));
            Err(Error::from(ErrorKind::Busy))
        }
        _ => Ok(()),
    };
    let options = ImportOptions::new().clear_source();
    let error = scene.vault.import(&Passwords::new(), &options, refuse).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert_eq!(told.lock().unwrap().len(), 20);
    assert_eq!(value::<i64>(&scene.db, "SELECT count(*) FROM old WHERE key IS NOT NULL").await, 20);
    assert_eq!(counts(&scene.import_and_clear().await), [0, 0, 20, 20]);
}

#[tokio::test]
async fn tenants_and_integer_ids_come_from_tables_without_any_key() {
    let source = |column: &str, name: &str| {
        let source = OldSource::new("old", "account", column, "plaintext").unwrap().field(field(name));
        source.tenant_column("org").unwrap()
    };
    let sources = [source("key", "api_key"), source("agent", "call_agent_id")];
    let layout = layout(sources)
        .table("accounts")
        .unwrap()
        .user_column("account")
        .unwrap()
        .tenant_column("org")
        .unwrap();
    let tables = "CREATE TABLE old (account bigint, org text, key text, agent text);
        CREATE TABLE accounts (org text, account bigint, encrypted_agent_config jsonb, PRIMARY KEY (org, account))";
    let scene = Scene::new(tables, layout).await;
    scene.db.exec("INSERT INTO old SELECT n, 'org-' || (n % 3), 'key_test_' || n, NULL FROM generate_series(1, 1200) n; INSERT INTO old VALUES (7, NULL, 'key_test_no_org', NULL)").await;
    scene
        .db
        .exec("INSERT INTO accounts SELECT org, account FROM old WHERE org IS NOT NULL AND account % 2 = 0")
        .await;
    let report = scene.import_and_clear().await;
    assert_eq!(counts(&report), [1200, 1200, 1200, 0], "{:?}", report.failed.first());
    assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
    let loaded = scene.vault.load(&owner("1199").in_tenant("org-2").unwrap()).await.unwrap();
    assert_eq!(key(&loaded.config), "key_test_1199");
}

#[tokio::test]
async fn a_view_limits_an_import_to_some_rows() {
    let tables = "CREATE TABLE old (user_id text, key text, is_active boolean); CREATE VIEW active AS SELECT user_id, key FROM old WHERE is_active;
        INSERT INTO old VALUES ('user-1', 'key_test_0001', true), ('user-1', 'key_test_0009', false), ('user-2', 'key_test_0002', false)";
    let scene = Scene::new(tables, layout([column("active", "key", "api_key")])).await;
    assert_eq!(counts(&scene.import_and_clear().await), [1, 1, 1, 0]);
    assert_eq!(scene.loaded("user-1", "api_key").await.unwrap(), "key_test_0001");
    let left: Vec<String> =
        value(&scene.db, "SELECT array_agg(key ORDER BY key) FROM old WHERE key IS NOT NULL").await;
    assert_eq!(left, ["key_test_0002", "key_test_0009"]);
}

#[tokio::test]
async fn a_record_that_waits_in_the_local_file_is_not_overwritten_and_does_not_end_the_import() {
    let scene = Scene::new(OLD, two_columns()).await;
    scene
        .db
        .exec("INSERT INTO old SELECT 'user-' || n, 'key_test_000' || n, NULL FROM generate_series(1, 3) n")
        .await;
    let away = scene.hosts.host(0, "postgres://user:hunter2@127.0.0.1:1/app").layout(two_columns());
    let away = away.build().await.unwrap();
    away.store(&owner("user-2"), &small_config("newer")).await.unwrap();
    away.close().await;
    let report = scene.import().await;
    assert_eq!(report.progress.sealed, 2, "{report:?}");
    let _ = scene.vault.sync().await.unwrap();
    assert_eq!(scene.loaded("user-2", "api_key").await.unwrap(), key(&small_config("newer")));
    assert_eq!(scene.loaded("user-3", "api_key").await.unwrap(), "key_test_0003");
}
