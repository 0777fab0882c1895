//! A rotation to a new key that is interrupted anywhere and repeated makes one key.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use retell_vault::keyring::KeyState;
use retell_vault::rotation::{NewKeyStep, RotateEvent};

use crate::support::TestDb;
use crate::support::rotation::*;
use crate::support::vaults::*;

/// What a future answers with, unless it is dropped before, after so many polls.
async fn within<T>(mut polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match polls {
        0 => Poll::Ready(None),
        _ => {
            polls -= 1;
            future.as_mut().poll(context).map(Some)
        }
    })
    .await
}

#[tokio::test]
async fn dropped_anywhere_and_called_again_it_makes_one_key() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    for user in 0..12 {
        vault.store(&owner(&format!("user-{user}")), &full_config(user)).await.unwrap();
    }
    let options = single().new_key();
    let mut polls = 4;
    loop {
        let keys = vault.keys().len();
        let stopped = within(polls, vault.rotate(&options, |_| {})).await.map(Result::unwrap).is_none();
        let interrupted = hosts.keyring().keys();
        assert!(interrupted.iter().all(|key| key.state != KeyState::Pending), "both steps or none");
        let left = vault.count_tokens().await.unwrap().tokens_besides(primary(&hosts));
        if interrupted.len() > keys && left == 0 {
            break; // it has done everything, and the next one would be another rotation
        }
        assert!(stopped);
        assert!(vault.rotate(&options, |_| {}).await.unwrap().complete);
        assert_eq!(hosts.keyring().keys().len(), keys + 1, "after {polls} polls");
        polls *= 2;
    }

    // at the first wait after the promotion
    let keys = vault.keys().len();
    let promoted = AtomicBool::new(false);
    let note = |event: RotateEvent<'_>| {
        let is_promotion = matches!(event, RotateEvent::NewKey(NewKeyStep::Promoted { .. }));
        promoted.fetch_or(is_promotion, Ordering::Relaxed);
    };
    let mut rotation = Box::pin(vault.rotate(&options, note));
    poll_fn(|context| {
        assert!(rotation.as_mut().poll(context).is_pending(), "it was never stopped after the promotion");
        match promoted.load(Ordering::Relaxed) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    drop(rotation);
    assert_eq!(hosts.keyring().keys().len(), keys + 1);
    assert!(vault.count_tokens().await.unwrap().tokens_besides(primary(&hosts)) > 0);
    assert!(vault.rotate(&options, |_| {}).await.unwrap().complete);
    assert_eq!(hosts.keyring().keys().len(), keys + 1, "after the promotion");
    for user in 0..12 {
        assert_eq!(vault.load(&owner(&format!("user-{user}"))).await.unwrap().config, full_config(user));
    }
}
