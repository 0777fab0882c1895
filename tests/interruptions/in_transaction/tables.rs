//! What a write locks, and tables in which an owner may have several rows.

use retell_vault::ErrorKind;
use retell_vault::records::{Expected, StoreOptions};

use super::{Stage, run};
use crate::support::faults::*;
use crate::support::vaults::*;

const WITHOUT_UNIQUE: &str = "CREATE TABLE user_profiles (user_id text, full_name text, encrypted_retell_api_key text, encrypted_agent_config jsonb)";

#[tokio::test]
async fn a_write_locks_the_owners_row_until_the_commit() {
    let stage = Stage::new(&format!(
        "{ALL_COLUMNS}; CREATE TABLE calls (user_id text REFERENCES user_profiles);
         INSERT INTO user_profiles (user_id) VALUES ('user-1'), ('user-2')"
    ))
    .await;
    let (vault, other, user) = (&stage.vault, stage.other().await, owner("user-1"));
    let mut transaction = stage.begin().await;
    let first = vault.store_in(&mut transaction, &user, &full_config("first")).await.unwrap();
    // reads, other owners and rows that refer to the locked one do not wait
    assert_eq!(other.load(&user).await.unwrap_err().kind(), ErrorKind::NotFound);
    other.store(&owner("user-2"), &full_config(2)).await.unwrap();
    stage.db.exec("INSERT INTO calls VALUES ('user-1')").await;

    let waiting = tokio::spawn(async move { other.store(&user, &full_config("second")).await });
    until_waiting(&stage.db.url, 1).await;
    transaction.commit().await.unwrap();
    let second = waiting.await.unwrap().unwrap();
    assert!(second.degraded.is_none() && second.version > first.version);
    assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, full_config("second"));
}

#[tokio::test]
async fn a_load_locks_nothing() {
    let stage = Stage::new(ALL_COLUMNS).await;
    let (vault, user) = (&stage.vault, owner("user-1"));
    vault.store(&user, &full_config("old")).await.unwrap();
    let mut transaction = stage.begin().await;
    vault.load_in(&mut transaction, &user).await.unwrap();
    let stored = vault.store(&user, &full_config("new")).await.unwrap();
    assert!(stored.degraded.is_none());
    assert_eq!(vault.load_in(&mut transaction, &user).await.unwrap().config, full_config("new"));
}

#[tokio::test]
async fn a_row_that_no_constraint_keeps_unique_is_created_once() {
    let stage = Stage::new(WITHOUT_UNIQUE).await;
    let (vault, other, user) = (&stage.vault, stage.other().await, owner("user-1"));
    let (mut transaction, pool) = (stage.begin().await, stage.pool.clone());
    let first = vault.store_in(&mut transaction, &user, &full_config("first")).await.unwrap();
    let waiting = tokio::spawn(async move {
        let mut transaction = pool.begin().await.unwrap();
        let options = StoreOptions::new().expect(Expected::Absent);
        let absent = other.store_in_with(&mut transaction, &user, &full_config("absent"), options).await;
        let second = other.store_in(&mut transaction, &user, &full_config("second")).await;
        transaction.commit().await.unwrap();
        (absent, second)
    });
    until_waiting(&stage.db.url, 1).await;
    transaction.commit().await.unwrap();
    let (absent, second) = waiting.await.unwrap();
    assert_eq!(absent.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(second.unwrap().version > first.version);
    assert_eq!(number(&stage.db.url, "SELECT count(*) FROM user_profiles").await, 1);
    assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, full_config("second"));
}

/// Its snapshot may be older than the row of another process.
#[tokio::test]
async fn a_snapshot_does_not_create_a_row_that_no_constraint_keeps_unique() {
    let stage = Stage::new(WITHOUT_UNIQUE).await;
    let (vault, user) = (&stage.vault, owner("user-1"));
    let mut transaction = stage.begin().await;
    run(&mut transaction, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1").await;
    let first = vault.store(&user, &full_config("first")).await.unwrap();
    let error = vault.store_in(&mut transaction, &user, &full_config("second")).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Configuration, None), "{error}");
    assert!(error.hint().contains("READ COMMITTED"), "{}", error.hint());
    transaction.commit().await.unwrap();
    assert_eq!(number(&stage.db.url, "SELECT count(*) FROM user_profiles").await, 1);
    assert_eq!(vault.load(&user).await.unwrap().version, first.version);
}

#[tokio::test]
async fn of_several_rows_all_are_written_or_none() {
    let stage = Stage::new(WITHOUT_UNIQUE).await;
    let (vault, user) = (&stage.vault, owner("user-1"));
    vault.store(&user, &full_config("old")).await.unwrap();
    stage.db.exec("INSERT INTO user_profiles (user_id, full_name) VALUES ('user-1', 'second')").await;
    let filled = "SELECT count(*) FROM user_profiles WHERE encrypted_retell_api_key IS NOT NULL";

    let mut transaction = stage.begin().await;
    assert_eq!(vault.store_in(&mut transaction, &user, &full_config("new")).await.unwrap().rows, 2);
    transaction.rollback().await.unwrap();
    assert_eq!(number(&stage.db.url, filled).await, 1);

    stage
        .db
        .exec(
            "UPDATE user_profiles SET full_name = 'first' WHERE full_name IS NULL;
             CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RETURN CASE WHEN OLD.full_name = current_setting('test.kept', true) THEN NULL ELSE NEW END; END $$;
             CREATE TRIGGER keep BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION keep();
             CREATE TABLE notes (a text)",
        )
        .await;
    // whichever row is written first
    for kept in ["SET LOCAL test.kept = 'first'", "SET LOCAL test.kept = 'second'"] {
        let mut transaction = stage.begin().await;
        run(&mut transaction, "INSERT INTO notes VALUES ('with the record')").await;
        run(&mut transaction, kept).await;
        let error = vault.store_in(&mut transaction, &user, &full_config("new")).await.unwrap_err();
        assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::AccessDenied, None), "{error}");
        transaction.commit().await.unwrap();
        assert_eq!(vault.load(&user).await.unwrap().config, full_config("old"), "{kept}");
    }
    assert_eq!(number(&stage.db.url, "SELECT count(*) FROM notes").await, 2, "the rest is there");

    stage.db.exec("DROP TRIGGER keep ON user_profiles").await;
    let mut transaction = stage.begin().await;
    vault.store_in(&mut transaction, &user, &full_config("new")).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(number(&stage.db.url, filled).await, 2);
    assert_eq!(vault.load(&user).await.unwrap().config, full_config("new"));
}

/// A load after which another writer is faster: the change runs again on what is there now.
#[tokio::test]
async fn a_change_that_another_writer_overtakes_runs_again() {
    let stage = Stage::new(ALL_COLUMNS).await;
    let (vault, other, user) = (&stage.vault, stage.other().await, owner("user-1"));
    vault.store(&user, &small_config("old")).await.unwrap();
    let mut holder = stage.begin().await;
    other.store_in(&mut holder, &user, &small_config("faster")).await.unwrap();
    let (task, pool, mut runs) = (vault.clone(), stage.pool.clone(), 0);
    let changing = tokio::spawn(async move {
        let mut transaction = pool.begin().await.unwrap();
        let done = task.modify_in(&mut transaction, &user, |config| {
            runs += 1;
            config.set_phone_number(Some("+14155550199".parse()?));
            Ok(())
        });
        done.await.unwrap();
        transaction.commit().await.unwrap();
        runs
    });
    until_waiting(&stage.db.url, 1).await;
    holder.commit().await.unwrap();
    assert_eq!(changing.await.unwrap(), 2);
    let changed = vault.load(&owner("user-1")).await.unwrap().config;
    assert_eq!(changed, small_config("faster").with_phone_number("+14155550199".parse().unwrap()));
}
