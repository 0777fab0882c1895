//! Who does an operation, and why: entries repeat what the application says, and never a secret.

use retell_vault::{ErrorKind, Result, Vault};

use crate::Stage;
use crate::support::faults::number;
use crate::support::vaults::*;

/// The operation, actor, reason and request of every entry, in the order in which they were written.
pub(crate) async fn noted(stage: &Stage) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', op, actor, reason, request) FROM retell_vault.ledger ORDER BY received, writer, seq";
    sqlx::query_scalar(sql).fetch_all(&stage.db.pool()).await.unwrap()
}

#[tokio::test]
async fn every_entry_names_the_actor_of_its_handle_and_no_other() {
    let stage = Stage::begun().await;
    let vault = stage.vault.as_actor("alice", Some("a new customer"), Some("req-7"));
    let (ann, ben) = (owner("ann"), owner("ben"));
    vault.store(&ann, &full_config(1)).await.unwrap();
    let bob = vault.as_actor("bob", None, None);
    let change = |config: &mut retell_vault::RetellConfig| {
        config.set_call_agent_id(None);
        Ok(())
    };
    // two of them at the same time on one task
    let config = full_config(2);
    let (changed, stored) = tokio::join!(bob.modify(&ann, change), vault.store(&ben, &config));
    changed.unwrap();
    stored.unwrap();
    let many: Vec<_> = ["ann", "ben"].map(|id| (owner(id), full_config("many"))).into();
    bob.store_many(&many).await.unwrap().into_iter().for_each(|stored| drop(stored.unwrap()));
    bob.rename_owner(&ben, &owner("benjamin")).await.unwrap();
    let mut transaction = stage.db.pool().begin().await.unwrap();
    vault.store_in(&mut transaction, &ann, &full_config("in")).await.unwrap();
    bob.modify_in(&mut transaction, &ann, change).await.unwrap();
    bob.delete_in(&mut transaction, &owner("benjamin")).await.unwrap();
    transaction.commit().await.unwrap();
    bob.delete(&ann).await.unwrap();
    stage.vault.store(&ann, &full_config("nobody")).await.unwrap();
    stage.vault.as_actor(" \n", Some(""), Some("\u{200b}")).store(&ann, &full_config(3)).await.unwrap();
    let (long, lines) = ("x".repeat(1100), "alice\nbob\u{1b}[31m");
    vault.as_actor(lines, Some(&long), Some(&long)).store(&ann, &full_config(4)).await.unwrap();

    let mut noted = noted(&stage).await;
    let last = noted.pop().unwrap();
    assert_eq!(last, format!("store alice bob[31m {} {}", "x".repeat(1000), "x".repeat(200)));
    noted.sort();
    let expected = [
        "delete bob",
        "delete bob",
        "modify bob",
        "modify bob",
        "rename bob",
        "rename bob",
        "store",
        "store",
        "store alice a new customer req-7",
        "store alice a new customer req-7",
        "store alice a new customer req-7",
        "store bob",
        "store bob",
    ];
    assert_eq!(noted, expected);
    let found = stage.verify().await;
    assert!(found.is_unbroken(), "{found:?}");
}

/// The push is not the work of the actor whose call causes it.
#[tokio::test]
async fn a_record_that_waited_names_no_actor() {
    let stage = Stage::begun().await;
    stage.store("ann").await;
    stage.db.exec("ALTER TABLE retell_vault.ledger RENAME TO hidden").await;
    let alice = stage.hosts.host(1, &stage.db.url).build().await.unwrap().as_actor("alice", None, None);
    let stored = alice.store(&owner("ann"), &full_config("waits")).await.unwrap();
    assert!(stored.degraded.is_some());
    stage.db.exec("ALTER TABLE retell_vault.hidden RENAME TO ledger").await;
    let change = |config: &mut retell_vault::RetellConfig| {
        config.set_call_agent_id(None);
        Ok(())
    };
    alice.as_actor("bob", None, None).modify(&owner("ann"), change).await.unwrap();
    assert_eq!(noted(&stage).await, ["store", "sync", "modify bob"]);
}

fn refused<T: std::fmt::Debug>(result: Result<T>, text: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains(&format!("the {text} of the operation")), "{error}");
    assert!(error.hint().contains("not its value"), "{error}");
    assert_no_secret(format!("{error} {error:?} {}", error.hint()).as_bytes(), "the error");
}

/// A secret that is written or opened is found in every text, by every operation, and nothing is written then.
#[tokio::test]
async fn a_text_that_holds_a_secret_is_refused() {
    let stage = Stage::begun().await;
    let (ann, new) = (stage.store("ann").await, owner("new"));
    let (before, config) = (stage.entries().await, full_config("ann"));
    let reason = format!("it was {}_ann before", CANARIES[0]);
    let vault: Vault = stage.vault.as_actor("alice", Some(&reason), None);
    let touch = |config: &mut retell_vault::RetellConfig| {
        config.set_call_agent_id(None);
        Ok(())
    };
    refused(vault.store(&new, &config).await, "reason");
    refused(vault.load(&ann).await, "reason");
    refused(vault.modify(&ann, touch).await, "reason");
    refused(vault.delete(&ann).await, "reason");
    refused(vault.rename_owner(&ann, &new).await, "reason");
    refused(vault.load_many(std::slice::from_ref(&ann)).await.remove(0), "reason");
    refused(vault.store_many(&[(new.clone(), config.clone())]).await.unwrap().remove(0), "reason");
    let mut transaction = stage.db.pool().begin().await.unwrap();
    refused(vault.store_in(&mut transaction, &new, &config).await, "reason");
    refused(vault.load_in(&mut transaction, &ann).await, "reason");
    refused(vault.modify_in(&mut transaction, &ann, touch).await, "reason");
    transaction.commit().await.unwrap();
    let hidden = format!("{}\u{200b}_ann", CANARIES[2]);
    refused(stage.vault.as_actor(&hidden, None, None).store(&new, &config).await, "actor");
    let divided = format!("{}{}_ann", "x".repeat(190), CANARIES[1]);
    refused(stage.vault.as_actor("a", None, Some(&divided)).store(&new, &config).await, "request id");
    assert_eq!(stage.entries().await, before);
    assert_eq!(stage.vault.load(&ann).await.unwrap().config, config);
    assert_eq!(stage.vault.load(&new).await.unwrap_err().kind(), ErrorKind::NotFound);
    // another secret than those of the record is not known here
    vault.store(&ann, &small_config("other")).await.unwrap();
}

/// The table limits bytes, and a character may have four.
#[tokio::test]
async fn long_texts_of_any_alphabet_are_cut_and_stored() {
    let stage = Stage::begun().await;
    for char in ["x", "ä", "語", "🦀"] {
        let long = char.repeat(2000);
        let actor = stage.vault.as_actor(&long, Some(&long), Some(&long));
        actor.store(&owner(char), &full_config(1)).await.unwrap();
    }
    let cut = "SELECT count(*) FROM retell_vault.ledger WHERE op = 'store' AND octet_length(actor) > 196
        AND octet_length(reason) > 996 AND octet_length(request) > 196";
    assert_eq!(number(&stage.db.url, cut).await, 4);
    assert!(stage.verify().await.is_unbroken());
}
