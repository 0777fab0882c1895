//! Entries of the ledger about changes of the file.

use serde_json::Map;
use uuid::Uuid;

use super::*;
use crate::chain::entry::tests::key;
use crate::chain::entry::{Event, LedgerEntry, SealedEntry, chained};
use crate::chain::line::entry;
use crate::chain::local_event::LocalEvent;

fn event(writer: u128) -> Option<LocalEvent> {
    LocalEvent::new(key(1), Uuid::from_u128(writer), 7, Event::default(), Map::new())
}

async fn put(file: &LocalFile, owner: &str, number: u64, writer: u128) -> PutPending {
    let event = event(writer);
    file.put_pending(&record(&user(owner), number), Basis::Remembered, event.as_ref()).await.unwrap()
}

/// What waits, in its order: the writer, the number, and the detail.
async fn waiting(file: &LocalFile) -> Vec<(u128, i64, String)> {
    let entries = file.unsent(100).await.unwrap();
    let sealed = entries.iter().map(|unsent| entry(&unsent.line).unwrap().sealed().unwrap());
    let told = |sealed: SealedEntry| {
        let LedgerEntry { writer, seq, event, .. } = sealed.entry;
        (writer.as_u128(), seq, event.detail.unwrap_or_default())
    };
    sealed.map(told).collect()
}

#[tokio::test]
async fn each_handle_continues_its_own_entries_and_only_what_changed_has_one() {
    let home = Home::new();
    let (one, other) = (home.open().await, home.open().await);
    put(&one, "ann", 5, 1).await;
    put(&other, "ben", 5, 2).await;
    assert_eq!(put(&one, "ann", 4, 3).await, PutPending::Newer(version(5)), "it changes nothing");
    put(&one, "ann", 6, 4).await;
    let (ann, text) = (user("ann"), text(6));
    one.set_pending_aside(&ann, &text, KeptKind::DeadLetter, "", 1, event(5).as_ref()).await.unwrap();
    one.set_pending_aside(&ann, &text, KeptKind::DeadLetter, "", 1, event(6).as_ref()).await.unwrap();
    assert!(other.remove_pending(&user("ben"), &super::text(5), event(7).as_ref()).await.unwrap());
    assert!(!other.remove_pending(&user("ben"), &super::text(5), event(8).as_ref()).await.unwrap());
    let numbers: Vec<_> = waiting(&one).await.into_iter().map(|(writer, seq, _)| (writer, seq)).collect();
    assert_eq!(numbers, [(1, 1), (2, 1), (1, 2), (1, 3), (2, 2)]);

    // every head is over the entries before it
    let mut heads = std::collections::BTreeMap::new();
    for unsent in one.unsent(100).await.unwrap() {
        let sealed = entry(&unsent.line).unwrap().sealed().unwrap();
        let last = heads.entry(sealed.entry.writer).or_insert(crate::chain::entry::NO_HEAD);
        assert_eq!(sealed.entry.head, *last);
        *last = chained(last, &sealed.link);
        assert_eq!(unsent.head.unwrap().head, *last);
    }

    // once all of them are sent, a new writer begins; before that it goes on
    let all = one.unsent(100).await.unwrap();
    one.remove_unsent(all[3].id).await.unwrap();
    put(&other, "cid", 1, 9).await;
    put(&one, "dan", 1, 10).await;
    let numbers: Vec<_> = waiting(&one).await.into_iter().map(|(writer, seq, _)| (writer, seq)).collect();
    assert_eq!(numbers, [(2, 2), (2, 3), (10, 1)]);
}

#[tokio::test]
async fn entries_beyond_the_limit_are_counted() {
    let home = Home::new();
    let file = home.open().await;
    put(&file, "ann", 1, 1).await;
    put(&file, "ann", 2, 1).await;
    let last = "UPDATE ledger_unsent SET id = (SELECT min(id) FROM ledger_unsent) + 99999 WHERE number = 2";
    sqlx::query(last).execute(&file.inner.writer).await.unwrap();
    for number in 3..6 {
        assert_eq!(put(&file, "ann", number, 1).await, PutPending::Written);
    }
    assert_eq!(file.count_unsent().await.unwrap(), 2);
    file.remove_unsent(file.unsent(1).await.unwrap()[0].id).await.unwrap();
    put(&file, "ann", 6, 1).await;
    put(&file, "ann", 7, 1).await;
    let details: Vec<_> = waiting(&file).await.into_iter().map(|(_, seq, detail)| (seq, detail)).collect();
    let said = |detail: &str| detail.to_owned();
    assert_eq!(details, [(2, said("{}")), (3, said(r#"{"lost":3}"#)), (4, said("{}"))]);
}
