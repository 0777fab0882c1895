//! A place that the walk forgets is found by the token count: such a rotation is never called complete, and the
//! old key is not destroyed.

use retell_vault::internals::rotate_without;
use retell_vault::keyring::KeyId;
use retell_vault::records::Source;
use sqlx::{AssertSqlSafe, Connection};

use crate::support::faults::{local, sqlite, unplugged};
use crate::support::rotation::*;
use crate::support::vaults::*;

const USERS: usize = 12;

/// Leaves the place out, is not complete, does no harm; then nothing is left out.
async fn leaves_out(stage: &Stage, vault: &retell_vault::Vault, place: &str, named: &[&str]) {
    let (rotation, _) = rotate(vault, &rotate_without(small(), place)).await.unwrap();
    assert!(!rotation.complete, "{place}: {rotation:?}");
    let left: Vec<_> = rotation.token_counts.of(stage.old).map(|count| count.place.to_string()).collect();
    assert!(rotation.token_counts.tokens_of(stage.old) > 0);
    for named in named {
        assert!(left.iter().any(|left| left == named), "{named}: {left:?}");
        refuses_to_destroy(vault, stage.old, named).await;
    }
    stage.all_load().await;
    completes(vault).await;
    stage.all_load().await;
    vault.destroy_key(stage.old, at_once()).await.unwrap();
    stage.all_load().await;
}

#[tokio::test]
async fn every_column() {
    let all = [
        "encrypted_retell_api_key",
        "encrypted_call_agent_id",
        "encrypted_sms_agent_id",
        "encrypted_agent_config",
    ];
    for column in all {
        let stage = Stage::on(ALL_COLUMNS, USERS).await;
        let vault = stage.vault(0).await;
        let named = format!("column {column}");
        leaves_out(&stage, &vault, column, &[&named]).await;
    }
    for (column, kind) in [("encrypted_retell_api_key", "text"), ("encrypted_agent_config", "jsonb")] {
        let columns = format!("CREATE TABLE user_profiles (user_id text PRIMARY KEY, {column} {kind})");
        let stage = Stage::on(&columns, USERS).await;
        let vault = stage.vault(0).await;
        leaves_out(&stage, &vault, column, &[&format!("column {column}")]).await;
    }
}

/// What another process puts into the local file under the old key while this one goes on: the texts of now
/// put back once they were sealed anew.
async fn with_old_texts(stage: &Stage, table: &str, before: &[(i64, String)]) {
    let mut file = sqlite(&stage.hosts, 0).await;
    for (id, text) in before {
        let sql = format!("UPDATE {table} SET text = ? WHERE rowid = ?");
        let done = sqlx::query(AssertSqlSafe(sql)).bind(text).bind(id).execute(&mut file).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
    }
    file.close().await.unwrap();
}

async fn texts(hosts: &Hosts, table: &str) -> Vec<(i64, String)> {
    let mut file = sqlite(hosts, 0).await;
    let sql = format!("SELECT rowid, text FROM {table} ORDER BY rowid");
    let rows = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut file).await.unwrap();
    file.close().await.unwrap();
    rows
}

fn names(texts: &[(i64, String)], key: KeyId) -> usize {
    texts.iter().filter(|(_, text)| text.contains(&format!("rv1.{key}."))).count()
}

/// A table with its users in the database, and whatever a test puts into the local file, all under the old
/// key; then a new key, and what the start has sealed anew is put back.
async fn local_stage(prepare: impl AsyncFnOnce(&Hosts, &str), table: &str) -> (Stage, retell_vault::Vault) {
    let mut stage = Stage::on(ALL_COLUMNS, USERS).await;
    // under the key that is the old one below
    completes(&stage.vault(1).await).await;
    prepare(&stage.hosts, &stage.db.url).await;
    let before = texts(&stage.hosts, table).await;
    assert!(!before.is_empty(), "nothing in {table}");
    (stage.old, stage.new) = promote(&stage.hosts).await;
    completes(&stage.vault(1).await).await;
    assert_eq!(names(&before, stage.old), before.len());
    let vault = stage.vault(0).await;
    let after = texts(&stage.hosts, table).await;
    assert_eq!(names(&after, stage.new), before.len(), "the start takes it up: {after:?}");
    with_old_texts(&stage, table, &before).await;
    (stage, vault)
}

#[tokio::test]
async fn pending_records() {
    let prepare = async |hosts: &Hosts, _: &str| {
        let vault = unplugged(hosts, 0).await;
        for user in 0..3 {
            let stored = vault.store(&owner(&format!("waits-{user}")), &full_config(user)).await.unwrap();
            assert!(stored.degraded.is_some());
        }
        vault.close().await;
    };
    let (stage, vault) = local_stage(prepare, "pending").await;
    leaves_out(&stage, &vault, "pending", &["local file, pending"]).await;
    assert_eq!(vault.sync().await.unwrap().pushed, 3);
    for user in 0..3 {
        let loaded = vault.load(&owner(&format!("waits-{user}"))).await.unwrap();
        assert_eq!(loaded.config, full_config(user));
    }
}

#[tokio::test]
async fn replicas() {
    let prepare = async |hosts: &Hosts, url: &str| {
        let vault = hosts.host(0, url).offline_reads().build().await.unwrap();
        for user in 0..USERS {
            vault.load(&owner(&format!("user-{user}"))).await.unwrap();
        }
        vault.close().await;
    };
    let (stage, vault) = local_stage(prepare, "replica").await;
    leaves_out(&stage, &vault, "replica", &["local file, replica"]).await;
    vault.close().await;
    let dead = stage.hosts.host(0, crate::support::faults::DEAD_URL).timeouts(crate::support::faults::QUICK);
    let offline = dead.offline_reads().build().await.unwrap();
    for user in 0..USERS {
        let loaded = offline.load(&owner(&format!("user-{user}"))).await.unwrap();
        assert_eq!((loaded.config, loaded.source, loaded.stale), (full_config(user), Source::Local, true));
    }
}

/// Losers, dead letters and replaced texts.
#[tokio::test]
async fn kept_texts() {
    let prepare = async |hosts: &Hosts, url: &str| {
        let offline = unplugged(hosts, 0).await;
        offline.store(&owner("user-0"), &full_config("loser")).await.unwrap();
        offline.store(&owner("gone"), &full_config("dead")).await.unwrap();
        offline.close().await;
        let other = hosts.host(2, url).build().await.unwrap();
        other.store(&owner("user-0"), &full_config(0)).await.unwrap();
        crate::support::faults::exec(url, "ALTER TABLE user_profiles ADD CHECK (user_id <> 'gone')").await;
        let vault = hosts.host(0, url).build().await.unwrap();
        let report = vault.sync().await.unwrap();
        assert_eq!((report.lost, report.dead_letters), (1, 1), "{report:?}");
        vault.close().await;
    };
    let (stage, vault) = local_stage(prepare, "kept").await;
    leaves_out(&stage, &vault, "kept", &["local file, loser", "local file, dead-letter"]).await;
    let mut kept: Vec<_> =
        vault.kept(0, 10).await.unwrap().into_iter().map(|kept| kept.config.unwrap()).collect();
    kept.sort_by_key(|config| {
        config.as_ref().map(|config| config.api_key().unwrap().expose_secret().to_owned())
    });
    assert_eq!(kept, [Some(full_config("dead")), Some(full_config("loser"))]);
    let status = local(&vault).await;
    assert_eq!((status.losers, status.dead_letters), (1, 1));
}
