//! Work that changes no version has an entry when it begins and one when it ends.

use std::time::Duration;

use retell_vault::ErrorKind;
use retell_vault::rotation::{DestroyOptions, PromoteOptions, RotateOptions};
use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions, Wanted};
use serde_json::Value;

use crate::Stage;
use crate::support::faults::number;

/// The operation, outcome, actor and details of every entry without an owner, in the order of their numbers.
async fn work(stage: &Stage) -> Vec<(String, Option<String>, Option<String>, Value)> {
    let sql = "SELECT op, outcome, actor, detail::jsonb FROM retell_vault.ledger
        WHERE usr IS NULL AND op NOT IN ('void', 'closed') ORDER BY received, writer, seq";
    sqlx::query_as(sql).fetch_all(&stage.db.pool()).await.unwrap()
}

/// The same, as `operation state`.
async fn states(stage: &Stage) -> Vec<String> {
    let work = work(stage).await.into_iter();
    work.map(|(op, outcome, _, detail)| {
        let state = detail["state"].as_str().unwrap().to_owned();
        [Some(op), Some(state), outcome].into_iter().flatten().collect::<Vec<_>>().join(" ")
    })
    .collect()
}

#[tokio::test]
async fn operators_work_is_noted_with_its_counts_and_keys() {
    let stage = Stage::begun().await;
    for id in ["ann", "ben", "cid"] {
        stage.store(id).await;
    }
    let vault = stage.vault.as_actor("alice", Some("yearly"), None);
    let spare = vault.add_key().await.unwrap().id;
    vault.retire_key(spare).await.unwrap();
    let options = DestroyOptions::new().force().other_hosts_synced();
    vault.destroy_key(spare, options).await.unwrap();
    let rotation = vault.rotate(&RotateOptions::new().new_key(), |_| {}).await.unwrap();
    vault.promote(&PromoteOptions::new(), |_| {}).await.unwrap();
    let refused = vault.destroy_key(rotation.key, DestroyOptions::new()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::KeyState, "{refused}");
    let expected = [
        "key_add begun",
        "key_add ended",
        "key_retire begun",
        "key_retire ended",
        "key_destroy begun",
        "key_destroy ended",
        "rotate begun",
        "key_add begun",
        "key_add ended",
        "key_promote begun",
        "key_promote ended",
        "rotate ended",
        "promote begun",
        "promote ended",
        "key_destroy begun",
        "key_destroy ended key_state",
    ];
    assert_eq!(states(&stage).await, expected);
    let work = work(&stage).await;
    assert!(work.iter().all(|(_, _, actor, _)| actor.as_deref() == Some("alice")), "{work:?}");
    let (_, _, _, rotated) = &work[11];
    assert_eq!((&rotated["rows"], &rotated["reencrypted"]), (&3.into(), &3.into()), "{rotated}");
    assert_eq!(rotated["key"], rotation.key.to_string());
    assert!(rotated["complete"] == true && rotated["begun"].as_str().unwrap().contains('/'), "{rotated}");
    assert_eq!(work[1].3["key"], spare.to_string());
    let found = stage.verify().await;
    assert!(found.is_unbroken() && found.owners == 3, "{found:?}");
}

#[tokio::test]
async fn changes_of_the_schema_are_noted() {
    let stage = Stage::begun().await;
    let schema = stage.vault.as_actor("alice", None, None).schema();
    let plan = schema.plan(Wanted::from(Profile::FullProfile)).await.unwrap();
    let applied = schema.apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    assert!(!applied.steps.is_empty());
    let options = RollBackOptions::new().allow_data_loss();
    let undone = schema.roll_back(&options, |_| {}).await.unwrap();
    assert_eq!(
        states(&stage).await,
        ["schema_apply begun", "schema_apply ended", "schema_roll_back begun", "schema_roll_back ended"]
    );
    let work = work(&stage).await;
    assert_eq!(work[1].3["steps"], applied.steps.len(), "{work:?}");
    assert_eq!(work[3].3["steps"], undone.steps.len(), "{work:?}");
    assert!(work.iter().all(|(_, _, actor, _)| actor.as_deref() == Some("alice")), "{work:?}");
}

#[tokio::test]
async fn work_that_was_killed_has_begun_and_not_ended() {
    let stage = Stage::begun().await;
    for n in 0..40 {
        stage.store(&format!("user-{n}")).await;
    }
    let options = RotateOptions::new().new_key().batch(1).rate(1);
    let rotate = stage.vault.rotate(&options, |_| {});
    tokio::time::timeout(Duration::from_secs(6), rotate).await.unwrap_err();
    let states = states(&stage).await;
    assert!(states.contains(&"rotate begun".to_owned()), "{states:?}");
    assert!(!states.contains(&"rotate ended".to_owned()), "{states:?}");
    let found = stage.verify().await;
    assert!(found.is_unbroken(), "{found:?}");
}

#[tokio::test]
async fn nothing_begins_that_the_ledger_cannot_take() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    let keys = stage.vault.keys().len();
    stage.db.exec("DROP TABLE retell_vault.ledger").await;
    let vault = stage.hosts.host(1, &stage.db.url).build().await.unwrap();
    let primary = vault.keys()[0].id;
    let refused = [
        vault.add_key().await.map(drop),
        vault.promote_key(primary).await.map(drop),
        vault.retire_key(primary).await.map(drop),
        vault.destroy_key(primary, DestroyOptions::new()).await.map(drop),
        vault.rotate(&RotateOptions::new().new_key(), |_| {}).await.map(drop),
        vault.promote(&PromoteOptions::new(), |_| {}).await.map(drop),
        vault.schema().roll_back(&RollBackOptions::new(), |_| {}).await.map(drop),
        stage.hosts.offline(2).build().await.unwrap().add_key().await.map(drop),
    ];
    for refused in refused {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::LedgerUnavailable, "{refused}");
    }
    assert_eq!(stage.hosts.keyring().keys().len(), keys);
    // a plan that makes the table again is applied
    let plan = vault.schema().plan(Wanted::from(Profile::Credentials).vault_schema()).await.unwrap();
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
    assert_eq!(number(&stage.db.url, "SELECT count(*) FROM retell_vault.ledger").await, 1);
    assert_eq!(states(&stage).await, ["schema_apply ended"]);
    vault.add_key().await.unwrap();
}
