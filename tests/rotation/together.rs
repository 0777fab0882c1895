//! Several at once, a key that changes on the way, and runs that are cut off.

use std::time::Duration;

use retell_vault::rotation::RotateOptions;

use crate::support::rotation::*;
use crate::support::rows::table;
use crate::support::vaults::*;

const USERS: usize = 60;

/// Every row is done once, whoever does it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once() {
    for columns in [ALL_COLUMNS, "CREATE TABLE user_profiles (user_id text, encrypted_retell_api_key text)"] {
        let stage = Stage::on(columns, USERS).await;
        let before = stage.forms("user_profiles").await;
        let vaults = [stage.vault(0).await, stage.vault(1).await];
        let options = small();
        let (one, other) = tokio::join!(rotate(&vaults[0], &options), rotate(&vaults[1], &options));
        let (one, other) = (one.unwrap().0, other.unwrap().0);
        assert!(one.complete && other.complete, "{one:?} {other:?}");
        assert_eq!(one.progress.resealed + other.progress.resealed, USERS as u64);
        assert_eq!(stage.forms("user_profiles").await, before);
        stage.all_load().await;
    }
}

/// Half a second and more is left when the next key comes, and the keyring is looked at once a second.
#[tokio::test]
async fn another_key_is_promoted_in_the_middle() {
    let stage = Stage::on(ALL_COLUMNS, USERS).await;
    let vault = stage.vault(0).await;
    let options = RotateOptions::new().batch(2).jobs(1).rate(30);
    let promoted = async { assert_eq!(promote(&stage.hosts).await.0, stage.new) };
    let rotation = rotate_and(&vault, &options, |progress| progress.resealed >= 4, promoted).await.unwrap();
    let newest = primary(&stage.hosts);
    assert_ne!(newest, stage.new);
    assert!(rotation.complete && rotation.key == newest, "{rotation:?}");
    assert_eq!(rotation.token_counts.keys(), [(newest, 5 * USERS as u64)]);
    for key in [stage.old, stage.new] {
        vault.destroy_key(key, at_once()).await.unwrap();
    }
    stage.all_load().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_again_and_again() {
    let stage = Stage::on(ALL_COLUMNS, USERS).await;
    let before = stage.forms("user_profiles").await;
    let vault = stage.vault(0).await;
    let mut cut_off = 0;
    // a little longer every time, so that it gets to its end
    for round in 1.. {
        let moment = Duration::from_micros(rand::random::<u64>() % (4_000 * round));
        match tokio::time::timeout(moment, rotate(&vault, &single())).await {
            Ok(rotation) => {
                assert!(rotation.unwrap().0.complete);
                break;
            }
            Err(_) => cut_off += 1,
        }
        let loaded = vault.load(&stage.owners[round as usize % USERS]).await.unwrap();
        assert_eq!(loaded.config, full_config(round as usize % USERS));
    }
    assert!(cut_off > 0);
    assert_eq!(stage.forms("user_profiles").await, before);
    stage.all_load().await;
    let done = table(&stage.db, "user_profiles").await;
    assert_eq!(completes(&vault).await.progress.resealed, 0);
    assert_eq!(table(&stage.db, "user_profiles").await, done);
}

/// Rows that come, go, and are written while it runs.
#[tokio::test]
async fn owners_who_write_and_go_meanwhile() {
    let stage = Stage::on(ALL_COLUMNS, USERS).await;
    let (vault, other) = (stage.vault(0).await, stage.vault(1).await);
    let options = RotateOptions::new().batch(2).jobs(1).rate(60);
    let meanwhile = async {
        for user in (0..USERS).step_by(3) {
            other.store(&stage.owners[user], &full_config("newer")).await.unwrap();
        }
        for user in (1..USERS).step_by(3) {
            other.delete(&stage.owners[user]).await.unwrap();
        }
        stage.db.exec("DELETE FROM user_profiles WHERE user_id = 'user-59'").await;
        other.store(&owner("new"), &full_config("new")).await.unwrap();
    };
    let rotation = rotate_and(&vault, &options, |progress| progress.resealed >= 4, meanwhile).await.unwrap();
    assert!(rotation.complete, "{rotation:?}");
    let fresh = stage.vault(2).await;
    for (user, owner) in stage.owners.iter().enumerate().take(59) {
        let loaded = fresh.load(owner).await;
        match user % 3 {
            0 => assert_eq!(loaded.unwrap().config, full_config("newer")),
            1 => assert_eq!(loaded.unwrap_err().kind(), retell_vault::ErrorKind::NotFound),
            _ => assert_eq!(loaded.unwrap().config, full_config(user)),
        }
    }
    assert_eq!(fresh.load(&owner("new")).await.unwrap().config, full_config("new"));
}

/// Who looked at the keyring just before the promotion seals under the old key for a second more. A rotation
/// that is done before that second is over has to wait for it: nothing is left after `complete`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_the_second_after_a_promotion() {
    let stage = Stage::on(ALL_COLUMNS, 3).await;
    let (operator, writer) = (stage.vault(0).await, stage.vault(1).await);
    completes(&operator).await;
    until_taken_up().await;
    writer.store(&owner("before"), &full_config(0)).await.unwrap();
    let (old, _) = promote(&stage.hosts).await;
    operator.close().await;
    let operator = stage.vault(0).await;
    let options = small();
    // after everything else is done
    let store = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        writer.store(&owner("late"), &full_config(1)).await.unwrap();
    };
    let (rotated, ()) = tokio::join!(rotate(&operator, &options), store);
    assert!(rotated.unwrap().0.complete);
    assert_eq!(operator.count_tokens().await.unwrap().tokens_of(old), 0);
    operator.destroy_key(old, at_once()).await.unwrap();
}
