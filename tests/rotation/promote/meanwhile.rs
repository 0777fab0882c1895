//! The service goes on, promotions are dropped and run twice at once: nothing is lost, and the newest wins.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use retell_vault::records::Version;
use retell_vault::rotation::RotateOptions;
use sqlx::AssertSqlSafe;

use crate::support::faults::{Lock, connect, until, until_waiting};
use crate::support::promotion::*;
use crate::support::rows::value;
use crate::support::vaults::*;

const USERS: usize = 120;
/// How many rows have been moved so far.
const MOVED: &str = "SELECT count(*) FROM user_profiles WHERE encrypted_call_agent_id IS NOT NULL";

#[tokio::test]
async fn dropped_again_and_again() {
    let stage = Stage::on(PACKED, USERS).await;
    stage.db.exec(ADD_ALL).await;
    let mut before = 0;
    for _ in 0..5 {
        let vault = stage.vault(0).await;
        promote_until(&vault, |progress| progress.promoted > 0).await;
        vault.close().await;
        // whole rows or nothing
        stage.all_load().await;
        let moved: i64 = value(&stage.db, MOVED).await;
        assert!(moved > before && moved < USERS as i64, "{before} {moved}");
        before = moved;
    }
    let (promotion, _) = promote(&stage.vault(0).await).await.unwrap();
    assert!(promotion.complete && promotion.promoted <= USERS as u64 - before as u64, "{promotion:?}");
    stage.all_load().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_at_once_and_a_rotation_between_them() {
    let stage = Stage::on(PACKED, USERS).await;
    stage.db.exec(ADD_ALL).await;
    let (one, other, third) = (stage.vault(0).await, stage.vault(1).await, stage.vault(2).await);
    crate::support::rotation::promote(&stage.hosts).await;
    let options = RotateOptions::new().batch(7).jobs(2);
    let (one, other, rotation) = tokio::join!(promote(&one), promote(&other), third.rotate(&options, |_| {}));
    let ((one, _), (other, _)) = (one.unwrap(), other.unwrap());
    assert!(one.complete && other.complete && rotation.unwrap().complete, "{one:?} {other:?}");
    assert_eq!(one.promoted + other.promoted, USERS as u64);
    stage.all_load().await;
}

/// Stores, deletes and changes of plain columns by the application, while everything moves.
#[tokio::test(flavor = "multi_thread")]
async fn writers_go_on() {
    let stage = Stage::on(PACKED, USERS).await;
    stage.db.exec(ADD_ALL).await;
    let done = AtomicBool::new(false);
    // each writer has owners of its own, so that it knows what has to be there at the end
    let writer = async |lane: usize| {
        let vault = stage.vault(lane + 1).await;
        let mut last: Vec<Option<(Version, String)>> = vec![None; USERS];
        let mut round = 0;
        while round < 2 || !done.load(Ordering::SeqCst) {
            for user in (lane..USERS / 2).step_by(4) {
                let mark = format!("{user}_{round}");
                let stored = vault.store(&stage.owners[user], &full_config(&mark)).await.unwrap();
                assert!(stored.degraded.is_none() && stored.replaced.is_empty(), "{stored:?}");
                let loaded = vault.load(&stage.owners[user]).await.unwrap();
                assert_eq!((loaded.version, loaded.config), (stored.version, full_config(&mark)));
                last[user] = Some((stored.version, mark));
            }
            round += 1;
        }
        last
    };
    let promoter = async {
        let vault = stage.vault(0).await;
        until(async || {
            let promoted = promote(&vault).await.unwrap().0;
            tokio::time::sleep(Duration::from_millis(1)).await;
            promoted.complete
        })
        .await;
        done.store(true, Ordering::SeqCst);
    };
    let (_, a, b, c, d) = tokio::join!(promoter, writer(0), writer(1), writer(2), writer(3));
    let vault = stage.vault(8).await;
    for (user, owner) in stage.owners.iter().enumerate() {
        let last = [&a, &b, &c, &d].into_iter().find_map(|lane| lane[user].clone());
        let (version, mark) = last.unwrap_or((stage.versions[user], user.to_string()));
        let loaded = vault.load(owner).await.unwrap();
        assert_eq!((loaded.version, loaded.config), (version, full_config(mark)), "{owner}");
    }
    let rows: i64 = value(&stage.db, "SELECT count(*) FROM user_profiles").await;
    assert_eq!(rows, USERS as i64);
    let forms = stage.forms("user_profiles").await;
    assert_eq!(forms.matches("encrypted_retell_api_key").count(), 1, "{forms}");
}

/// A record that is written under our hands is not overwritten with what was read before.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_row_is_met_again() {
    let stage = Stage::on(PACKED, 6).await;
    stage.db.exec(ADD_ALL).await;
    let lock = Lock::on_row(&stage.db.url, "user-2").await;
    let vault = stage.vault(0).await;
    let release = async {
        until(async || value::<i64>(&stage.db, MOVED).await == 5).await;
        lock.release().await;
    };
    let (promoted, ()) = tokio::join!(promote(&vault), release);
    let (promotion, _) = promoted.unwrap();
    assert!(promotion.complete && promotion.promoted == 6 && promotion.passes > 1, "{promotion:?}");
    stage.all_load().await;
}

/// What the application puts into its own column while a batch is on its way is not thrown away.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_column_that_is_set_meanwhile() {
    let stage = Stage::on(PACKED, 6).await;
    stage.db.exec(ADD_ALL).await;
    let mut application = connect(&stage.db.url).await;
    let set = "BEGIN; UPDATE user_profiles SET phone_number = '+14155559999' WHERE user_id = 'user-2'";
    sqlx::raw_sql(set).execute(&mut application).await.unwrap();
    let vault = stage.vault(0).await;
    let commit = async {
        until_waiting(&stage.db.url, 1).await;
        sqlx::raw_sql("COMMIT").execute(&mut application).await.unwrap();
    };
    let (promoted, ()) = tokio::join!(promote(&vault), commit);
    let (promotion, left) = promoted.unwrap();
    assert_eq!((promotion.complete, promotion.promoted, left.len()), (false, 6, 1), "{promotion:?}");
    let phone: String =
        value(&stage.db, "SELECT phone_number FROM user_profiles WHERE user_id = 'user-2'").await;
    assert_eq!(phone, "+14155559999");
    stage.all_load().await;
}

/// A record that is stored while a batch is on its way wins.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_stored_meanwhile() {
    let stage = Stage::on(PACKED, 6).await;
    stage.db.exec("ALTER TABLE user_profiles ADD encrypted_call_agent_id text").await;
    stage.db.exec("CREATE TABLE old AS TABLE user_profiles").await;
    let vault = stage.vault(0).await;
    let newer = vault.store(&owner("user-2"), &full_config("newer")).await.unwrap();
    // the same store again, as slow as we like
    let exchange = |from: &str, to: &str| {
        format!(
            "UPDATE {to} AS t SET encrypted_retell_api_key = f.encrypted_retell_api_key,
             encrypted_call_agent_id = f.encrypted_call_agent_id FROM {from} AS f WHERE f.user_id = t.user_id AND f.user_id = 'user-2'"
        )
    };
    stage.db.exec("CREATE TABLE newer AS TABLE user_profiles").await;
    stage.db.exec(&exchange("old", "user_profiles")).await;
    let mut other = connect(&stage.db.url).await;
    let begin = format!("BEGIN; {}", exchange("newer", "user_profiles"));
    sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut other).await.unwrap();
    let commit = async {
        until_waiting(&stage.db.url, 1).await;
        sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    };
    let (promoted, ()) = tokio::join!(promote(&vault), commit);
    assert!(promoted.unwrap().0.complete);
    let loaded = vault.load(&owner("user-2")).await.unwrap();
    assert_eq!((loaded.version, loaded.config), (newer.version, full_config("newer")));
}
