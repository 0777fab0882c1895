//! Store, load, modify and delete in a transaction of the service: what is there afterwards is what the transaction did, and
//! the vault never believes anything else.

mod fates;
mod pools;
mod tables;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use retell_vault::connection::Timeouts;
use retell_vault::records::{Expected, Source, StoreOptions};
use retell_vault::{ErrorKind, RetellConfig, Vault};
use sqlx::{Acquire, PgPool, PgTransaction};

use crate::support::faults::*;
use crate::support::rows::value;
use crate::support::vaults::*;
use crate::support::*;

/// A database, a vault over it, and the pool of the service.
struct Stage {
    db: TestDb,
    hosts: Hosts,
    vault: Vault,
    pool: PgPool,
}

impl Stage {
    async fn new(table: &str) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(table).await;
        let vault = hosts.host(0, &db.url).build().await.unwrap();
        let pool = db.pool();
        Self { db, hosts, vault, pool }
    }

    async fn begin(&self) -> PgTransaction<'static> {
        self.pool.begin().await.unwrap()
    }

    /// A vault of another host.
    async fn other(&self) -> Vault {
        self.hosts.host(1, &self.db.url).build().await.unwrap()
    }
}

async fn run(transaction: &mut PgTransaction<'_>, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&mut **transaction).await.unwrap();
}

fn rename(config: &mut RetellConfig) -> retell_vault::Result<()> {
    *config = full_config("new");
    Ok(())
}

/// A clock that is wrong.
fn in_an_hour() -> u64 {
    let hour = Duration::from_secs(3600);
    (SystemTime::now() + hour).duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

#[tokio::test]
async fn a_transaction_sees_its_own_records_and_others_do_not() {
    let stage = Stage::new(ALL_COLUMNS).await;
    let (vault, user) = (&stage.vault, owner("user-1"));
    let mut transaction = stage.begin().await;
    let stored = vault.store_in(&mut transaction, &user, &full_config("old")).await.unwrap();
    assert_eq!((stored.rows, stored.replaced.len()), (1, 0));
    let loaded = vault.load_in(&mut transaction, &user).await.unwrap();
    assert_eq!((loaded.version, loaded.source, loaded.stale), (stored.version, Source::Database, false));
    assert_eq!(loaded.config, full_config("old"));
    let changed = vault.modify_in(&mut transaction, &user, rename).await.unwrap();
    assert!(changed.version > stored.version);
    assert_eq!(vault.load(&user).await.unwrap_err().kind(), ErrorKind::NotFound);
    transaction.commit().await.unwrap();
    let loaded = vault.load(&user).await.unwrap();
    assert_eq!((loaded.version, loaded.config), (changed.version, full_config("new")));
    let phone: Option<String> = value(&stage.db, "SELECT phone_number FROM user_profiles").await;
    assert_eq!(phone.as_deref(), Some("+14155550100"));

    let mut transaction = stage.begin().await;
    let deleted = vault.delete_in(&mut transaction, &user).await.unwrap();
    assert!(deleted.version > changed.version && deleted.places.is_empty());
    for error in [
        vault.load_in(&mut transaction, &user).await.map(drop).unwrap_err(),
        vault.delete_in(&mut transaction, &user).await.map(drop).unwrap_err(),
        vault.modify_in(&mut transaction, &user, rename).await.map(drop).unwrap_err(),
        vault.delete_in(&mut transaction, &owner("nobody")).await.map(drop).unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::NotFound, None));
    }
    transaction.commit().await.unwrap();
    assert_eq!(vault.load(&user).await.unwrap_err().kind(), ErrorKind::NotFound);
    let phone: Option<String> = value(&stage.db, "SELECT phone_number FROM user_profiles").await;
    assert_eq!(phone, None);
}

#[tokio::test]
async fn the_expected_record_is_the_one_that_the_transaction_sees() {
    let stage = Stage::new(ALL_COLUMNS).await;
    let (vault, user, config) = (&stage.vault, owner("user-1"), full_config("new"));
    let expect = |expected| StoreOptions::new().expect(expected);
    let ahead = stage.hosts.host(1, &stage.db.url).clock(in_an_hour).build().await.unwrap();
    let mut transaction = stage.begin().await;
    let store = ahead.store_in_with(&mut transaction, &user, &config, expect(Expected::Absent));
    let first = store.await.unwrap().version;
    let store = vault.store_in_with(&mut transaction, &user, &config, expect(Expected::Version(first)));
    let second = store.await.unwrap().version;
    assert!(second > first, "a version never goes back");
    for expected in [Expected::Absent, Expected::Version(first)] {
        let store = vault.store_in_with(&mut transaction, &user, &config, expect(expected));
        assert_eq!(store.await.unwrap_err().kind(), ErrorKind::Conflict);
    }
    transaction.commit().await.unwrap(); // a conflict does not abort it
    assert_eq!(vault.load(&user).await.unwrap().version, second);
}

/// What the server did not refuse leaves the transaction as it was.
#[tokio::test]
async fn a_refusal_of_the_vault_does_not_abort_the_transaction() {
    let stage = Stage::new(ALL_COLUMNS).await;
    let (vault, user) = (&stage.vault, owner("user-1"));
    stage
        .db
        .exec("INSERT INTO user_profiles (user_id, encrypted_retell_api_key) VALUES ('user-1', 'plain text')")
        .await;
    let mut transaction = stage.begin().await;
    let error = vault.store_in(&mut transaction, &user, &full_config(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ForeignValue);
    assert_eq!(vault.load_in(&mut transaction, &user).await.unwrap_err().kind(), ErrorKind::ForeignValue);
    let options = StoreOptions::new().replace_foreign();
    let stored = vault.store_in_with(&mut transaction, &user, &full_config(1), options).await.unwrap();
    assert_eq!(stored.replaced.len(), 1);
    transaction.commit().await.unwrap();
    assert_eq!(vault.load(&user).await.unwrap().config, full_config(1));
}

/// Commits a transaction that the server has aborted: it is rolled back, and the driver reports no error.
async fn commit_aborted(stage: &Stage, transaction: PgTransaction<'_>) {
    transaction.commit().await.unwrap();
    assert_eq!(number(&stage.db.url, "SELECT count(*) FROM notes").await, 0);
}

#[tokio::test]
async fn an_error_of_the_server_says_that_the_transaction_is_aborted() {
    let stage = Stage::new(&format!("{ALL_COLUMNS}; CREATE TABLE notes (a text)")).await;
    let (vault, user) = (&stage.vault, owner("user-1"));
    vault.store(&user, &full_config("old")).await.unwrap();
    let cases = [
        ("SELECT 1/0", ErrorKind::Rejected, "25P02"),
        ("SET TRANSACTION READ ONLY", ErrorKind::AccessDenied, "25006"),
        ("SET LOCAL ROLE pg_monitor", ErrorKind::AccessDenied, "42501"),
        ("SET LOCAL lock_timeout = 50; SELECT 1", ErrorKind::Busy, "55P03"),
        ("ALTER TABLE user_profiles DROP COLUMN encrypted_sms_agent_id", ErrorKind::Schema, "42703"),
    ];
    for (before, kind, sqlstate) in cases {
        let lock = match sqlstate {
            "55P03" => Some(Lock::on_all_rows(&stage.db.url).await),
            _ => None,
        };
        let mut transaction = stage.begin().await;
        run(&mut transaction, "INSERT INTO notes VALUES ('with the record')").await;
        let _ = sqlx::raw_sql(before).execute(&mut *transaction).await;
        let error = vault.store_in(&mut transaction, &user, &full_config("new")).await.unwrap_err();
        assert_eq!((error.kind(), error.sqlstate()), (kind, Some(sqlstate)), "{before}: {error}");
        assert!(error.to_string().starts_with("the transaction is aborted: "), "{error}");
        assert!(!error.to_string().contains("stored"), "{error}");
        assert_eq!(error.is_retryable(), kind == ErrorKind::Busy);
        if let Some(lock) = lock {
            lock.release().await;
        }
        commit_aborted(&stage, transaction).await;
        assert_eq!(vault.load(&user).await.unwrap().config, full_config("old"), "{before}");
    }
}

/// The plan of the table is stale once, and only for the transaction that met it.
#[tokio::test]
async fn a_changed_table_aborts_the_transaction_once() {
    let stage = Stage::new(ALL_COLUMNS).await;
    let (vault, user) = (&stage.vault, owner("user-1"));
    for (change, sqlstate) in [
        ("ALTER TABLE user_profiles DROP COLUMN encrypted_sms_agent_id", "42703"),
        ("ALTER TABLE user_profiles ADD COLUMN encrypted_sms_agent_id text", "42702"),
        ("ALTER TABLE user_profiles ALTER COLUMN encrypted_sms_agent_id TYPE varchar", "42883"),
    ] {
        vault.store(&user, &small_config("old")).await.unwrap();
        stage.db.exec(change).await;
        let mut transaction = stage.begin().await;
        let error = vault.load_in(&mut transaction, &user).await.unwrap_err();
        assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Schema, Some(sqlstate)), "{error}");
        assert!(error.to_string().starts_with("the transaction is aborted: "), "{error}");
        assert!(error.hint().starts_with("roll the transaction back and repeat it"), "{}", error.hint());
        transaction.rollback().await.unwrap();

        let mut transaction = stage.begin().await;
        assert_eq!(vault.load_in(&mut transaction, &user).await.map(drop), Ok(()), "{change}");
        vault.store_in(&mut transaction, &user, &small_config("new")).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(vault.load(&user).await.unwrap().config, small_config("new"));
    }
}

#[tokio::test]
async fn a_savepoint_keeps_the_transaction_alive() {
    let stage = Stage::new(&format!("{ALL_COLUMNS}; CREATE TABLE notes (a text)")).await;
    let (vault, user) = (&stage.vault, owner("user-1"));
    vault.store(&user, &small_config("old")).await.unwrap();
    stage.db.exec("ALTER TABLE user_profiles DROP COLUMN encrypted_sms_agent_id").await;
    let mut transaction = stage.begin().await;
    run(&mut transaction, "INSERT INTO notes VALUES ('with the record')").await;
    let mut savepoint = transaction.begin().await.unwrap();
    let error = vault.store_in(&mut savepoint, &user, &small_config("new")).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("42703"));
    savepoint.rollback().await.unwrap();
    let mut savepoint = transaction.begin().await.unwrap();
    vault.store_in(&mut savepoint, &user, &small_config("new")).await.unwrap();
    savepoint.commit().await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(vault.load(&user).await.unwrap().config, small_config("new"));
    assert_eq!(number(&stage.db.url, "SELECT count(*) FROM notes").await, 1);
}

#[tokio::test]
async fn a_transaction_of_another_database_is_an_error() {
    let (stage, elsewhere) = (Stage::new(ALL_COLUMNS).await, TestDb::create().await);
    let (vault, user) = (&stage.vault, owner("user-1"));
    for again in [false, true] {
        let mut transaction = elsewhere.pool().begin().await.unwrap();
        let error = match again {
            false => vault.store_in(&mut transaction, &user, &full_config(1)).await.map(drop).unwrap_err(),
            true => vault.load_in(&mut transaction, &user).await.map(drop).unwrap_err(),
        };
        assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Schema, Some("42P01")));
        assert!(error.hint().contains("another database"), "{}", error.hint());
    }
    vault.store(&user, &full_config(1)).await.unwrap();
}

#[tokio::test]
async fn a_vault_without_a_database_knows_no_transactions() {
    let db = TestDb::create().await;
    db.exec(ALL_COLUMNS).await;
    let (user, hosts) = (owner("user-1"), Hosts::new().await);
    let (in_memory, _faults) = Vault::in_memory().await.unwrap();
    for vault in [in_memory, hosts.offline(0).build().await.unwrap()] {
        let mut transaction = db.pool().begin().await.unwrap();
        for error in [
            vault.store_in(&mut transaction, &user, &full_config(1)).await.map(drop).unwrap_err(),
            vault.load_in(&mut transaction, &user).await.map(drop).unwrap_err(),
            vault.modify_in(&mut transaction, &user, rename).await.map(drop).unwrap_err(),
            vault.delete_in(&mut transaction, &user).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains("has no database"), "{error}");
        }
        transaction.commit().await.unwrap();
        assert_eq!(vault.load(&user).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn nothing_is_sealed_for_a_table_of_another_keyring() {
    let stage = Stage::new(ALL_COLUMNS).await;
    stage.vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    let strangers = Hosts::new().await;
    let stranger = strangers.host(0, &stage.db.url).build().await.unwrap();
    let mut transaction = stage.begin().await;
    let error = stranger.store_in(&mut transaction, &owner("user-2"), &full_config(2)).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::WrongKeyring, None));
    let error = stranger.load_in(&mut transaction, &owner("user-1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKeyring);
    transaction.commit().await.unwrap();
    assert_eq!(number(&stage.db.url, "SELECT count(*) FROM user_profiles").await, 1);
}

/// The transaction may hold a lock on the row, so the calls do not push what waits.
#[tokio::test]
async fn a_newer_record_that_waits_in_the_local_file() {
    for (commits, expected) in [(true, "new"), (false, "waits")] {
        let stage = Stage::new(ALL_COLUMNS).await;
        let (vault, user) = (&stage.vault, owner("user-1"));
        vault.store(&user, &full_config("old")).await.unwrap();
        let unplugged =
            stage.hosts.host(0, DEAD_URL).timeouts(QUICK).clock(in_an_hour).build().await.unwrap();
        let waits = unplugged.store(&user, &full_config("waits")).await.unwrap();
        unplugged.store(&owner("user-2"), &full_config("waits")).await.unwrap();

        let mut transaction = stage.begin().await;
        run(&mut transaction, "UPDATE user_profiles SET full_name = 'locked'").await;
        let expecting = StoreOptions::new().expect(Expected::Version(waits.version));
        for user in [&user, &owner("user-2")] {
            for error in [
                vault.load_in(&mut transaction, user).await.map(drop).unwrap_err(),
                vault.delete_in(&mut transaction, user).await.map(drop).unwrap_err(),
                vault.modify_in(&mut transaction, user, rename).await.map(drop).unwrap_err(),
                vault
                    .store_in_with(&mut transaction, user, &full_config(1), expecting)
                    .await
                    .map(drop)
                    .unwrap_err(),
            ] {
                assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Unavailable, None));
                assert!(error.hint().contains("Vault::sync"), "{}", error.hint());
            }
        }
        let stored = vault.store_in(&mut transaction, &user, &full_config("new")).await.unwrap();
        assert!(stored.version > waits.version);
        assert_eq!(vault.load_in(&mut transaction, &user).await.unwrap().config, full_config("new"));
        match commits {
            true => transaction.commit().await.unwrap(),
            false => transaction.rollback().await.unwrap(),
        }
        assert_eq!(vault.load(&user).await.unwrap().config, full_config(expected));
        let report = vault.sync().await.unwrap();
        assert_eq!((report.pushed, report.lost), if commits { (1, 1) } else { (2, 0) });
        assert_eq!(vault.load(&user).await.unwrap().config, full_config(expected));
        assert_eq!(vault.load(&owner("user-2")).await.unwrap().config, full_config("waits"));
    }
}

/// A transaction with an older snapshot than the vault.
#[tokio::test]
async fn a_snapshot_that_is_too_old_is_stale_and_takes_no_write() {
    let stage = Stage::new(ALL_COLUMNS).await;
    let (vault, user) = (&stage.vault, owner("user-1"));
    let old = vault.store(&user, &full_config("old")).await.unwrap();
    let mut transaction = stage.begin().await;
    run(&mut transaction, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1").await;
    let loaded = vault.load_in(&mut transaction, &user).await.unwrap();
    assert_eq!((loaded.version, loaded.stale), (old.version, false));
    let newer = vault.store(&user, &full_config("newer")).await.unwrap();
    let loaded = vault.load_in(&mut transaction, &user).await.unwrap();
    assert_eq!((loaded.config, loaded.version), (full_config("old"), old.version));
    assert_eq!((loaded.stale, loaded.seen), (true, Some(newer.version)));
    let error = vault.store_in(&mut transaction, &user, &full_config("new")).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Busy, Some("40001")), "{error}");
    drop(transaction);
    assert_eq!(vault.load(&user).await.unwrap().config, full_config("newer"));
}

#[tokio::test]
async fn a_network_that_is_silent_ends_the_call() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let limits = Timeouts { operation: Duration::from_millis(300), ..Timeouts::default() };
    let vault = hosts.host(0, &db.url).timeouts(limits).build().await.unwrap();
    let (proxy, user) = (CutProxy::start(&db.url).await, owner("user-1"));
    vault.store(&user, &full_config("old")).await.unwrap();
    let pool = PgPool::connect(proxy.url()).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    proxy.set(Mode::Silence).await;
    let config = full_config("new");
    let store = vault.store_in(&mut transaction, &user, &config);
    let error = tokio::time::timeout(BOUND, store).await.expect("it ends").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().starts_with("the transaction must be rolled back: "), "{error}");
    proxy.set(Mode::Pass).await;
    drop(transaction);
    assert_eq!(vault.load(&user).await.unwrap().config, full_config("old"));
    assert!(vault.store(&user, &full_config("new")).await.unwrap().degraded.is_none());
}
