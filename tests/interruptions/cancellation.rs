//! A future that is dropped at any await point leaves no half-written state and no poisoned connection.

//!
//! `RETELL_VAULT_TEST_EVERY=1 scripts/test --test interruptions cancellation:: -- --nocapture` cuts every call at every poll; without it, the
//! long ones are cut at a few.

mod calls;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use retell_vault::connection::PoolerMode;
use retell_vault::records::Expected;
use retell_vault::records::StoreOptions;
use retell_vault::{ErrorKind, Owner, RetellConfig, Vault};
use sqlx::postgres::PgPoolOptions;

use crate::support::faults::*;
use crate::support::vaults::*;
use crate::support::*;

const OPEN_TRANSACTIONS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
const ADVISORY_LOCKS: &str = "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE datname = current_database() AND locktype = 'advisory'";

/// When a future is dropped: after so many polls, at once or when it is woken again.
#[derive(Clone, Copy, Debug)]
struct Cut {
    polls: usize,
    woken: bool,
}

/// Runs a future until it is cut. `None`: it was.
async fn cut<F: Future>(cut: Cut, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = cut.polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 && !cut.woken => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Update,
    Create,
    Delete,
    Load,
    StoreMany,
    LoadMany,
    Sync,
    Rename,
    Expecting,
    Modify,
}

const OPERATIONS: [Operation; 10] = [
    Operation::Update,
    Operation::Create,
    Operation::Delete,
    Operation::Load,
    Operation::StoreMany,
    Operation::LoadMany,
    Operation::Sync,
    Operation::Rename,
    Operation::Expecting,
    Operation::Modify,
];

fn owners(user: &str) -> [Owner; 2] {
    [owner(user), owner(&format!("{user}-too"))]
}

fn pairs(user: &str, config: &RetellConfig) -> Vec<(Owner, RetellConfig)> {
    owners(user).into_iter().map(|owner| (owner, config.clone())).collect()
}

impl Operation {
    async fn prepare(self, vault: &Vault, unplugged: &Vault, user: &str) {
        match self {
            Self::Create => {}
            Self::Rename => drop(vault.store(&owners(user)[1], &full_config("new")).await.unwrap()),
            Self::Sync => drop(unplugged.store(&owner(user), &full_config("new")).await.unwrap()),
            _ => drop(vault.store_many(&pairs(user, &full_config("old"))).await.unwrap()),
        }
    }

    async fn run(self, vault: &Vault, user: &str) {
        match self {
            Self::Update | Self::Create => {
                drop(vault.store(&owner(user), &full_config("new")).await.unwrap())
            }
            Self::Delete => drop(vault.delete(&owner(user)).await.unwrap()),
            Self::Load => drop(vault.load(&owner(user)).await.unwrap()),
            Self::StoreMany => drop(vault.store_many(&pairs(user, &full_config("new"))).await.unwrap()),
            Self::LoadMany => drop(vault.load_many(&owners(user)).await),
            Self::Sync => drop(vault.sync().await.unwrap()),
            Self::Rename => {
                let [to, from] = owners(user);
                drop(vault.rename_owner(&from, &to).await.unwrap());
            }
            Self::Expecting => {
                let there = vault.load(&owner(user)).await.unwrap().version;
                let options = StoreOptions::new().expect(Expected::Version(there));
                drop(vault.store_with(&owner(user), &full_config("new"), options).await.unwrap());
            }
            Self::Modify => {
                let new = |config: &mut RetellConfig| {
                    *config = full_config("new");
                    Ok(())
                };
                drop(vault.modify(&owner(user), new).await.unwrap());
            }
        }
    }

    /// What may be there afterwards, as [`state`] says it; the first one was there before.
    fn possible(self) -> &'static [&'static str] {
        match self {
            Self::Update | Self::StoreMany | Self::Expecting | Self::Modify => &["old", "new"],
            Self::Create | Self::Rename => &["NotFound", "new"],
            Self::Delete => &["old", "NotFound"],
            Self::Load | Self::LoadMany => &["old"],
            Self::Sync => &["new"],
        }
    }
}

/// Which whole configuration an owner has.
async fn state(vault: &Vault, owner: &Owner) -> String {
    match vault.load(owner).await {
        Ok(loaded) => {
            let mark = ["old", "new"].into_iter().find(|mark| loaded.config == full_config(mark));
            mark.expect("one whole configuration").to_owned()
        }
        Err(error) if error.kind() == ErrorKind::NotFound => "NotFound".to_owned(),
        Err(error) => panic!("{error:?}"),
    }
}

/// Cuts an operation after 0, 1, 2, … polls until it gets to its end. Every time, the vault must go on
/// as if nothing had been, on the one connection that it has.
async fn cut_everywhere(table: &str, mode: PoolerMode, operation: Operation) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy(&db.url)
        .unwrap();
    let vault = hosts.offline(0).pool(pool).pooler(mode).build().await.unwrap();
    let (unplugged, other) = (unplugged(&hosts, 0).await, hosts.host(1, &db.url).build().await.unwrap());
    for woken in [false, true] {
        let mut ended = false;
        for polls in 0..200 {
            let case = format!("{operation:?} {mode:?}, {polls} polls, woken: {woken}");
            let user = format!("user-{woken}-{polls}");
            operation.prepare(&vault, &unplugged, &user).await;
            ended = cut(Cut { polls, woken }, operation.run(&vault, &user)).await.is_some();

            // a statement that was on its way may still arrive: until the next one was answered
            let found = state(&vault, &owner(&user)).await;
            assert!(operation.possible().contains(&found.as_str()), "{case}: {found}");
            assert!(!ended || found == *operation.possible().last().unwrap(), "{case}: {found}");
            if matches!(operation, Operation::StoreMany | Operation::LoadMany) {
                let too = state(&other, &owners(&user)[1]).await;
                assert!(operation.possible().contains(&too.as_str()), "{case}: {too}");
            }
            if matches!(operation, Operation::Rename) {
                let too = state(&other, &owners(&user)[1]).await;
                assert_ne!(found, too, "{case}: one of the two has it");
            }
            let stored = vault.store(&owner(&user), &full_config("old")).await.unwrap();
            assert!(stored.degraded.is_none(), "{case}: {:?}", stored.degraded);
            assert_eq!(state(&vault, &owner(&user)).await, "old", "{case}");
            assert_eq!(state(&other, &owner(&user)).await, "old", "{case}");
            if ended {
                break;
            }
        }
        assert!(ended, "{operation:?} never got to its end");
    }
    vault.sync().await.unwrap();
    assert_eq!(local(&vault).await.pending, 0);
    until(async || number(&db.url, OPEN_TRANSACTIONS).await == 0).await;
    until(async || number(&db.url, ADVISORY_LOCKS).await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_statement_each() {
    for operation in OPERATIONS {
        cut_everywhere(ALL_COLUMNS, PoolerMode::None, operation).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_each() {
    for operation in OPERATIONS {
        cut_everywhere(ALL_COLUMNS, PoolerMode::Transaction, operation).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creation_under_an_advisory_lock() {
    let table = ALL_COLUMNS.replace("PRIMARY KEY", "");
    for mode in [PoolerMode::None, PoolerMode::Transaction] {
        cut_everywhere(&table, mode, Operation::Create).await;
        cut_everywhere(&table, mode, Operation::Sync).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_other_call() {
    // each waits for much, and has a database of its own
    futures_util::stream::iter(calls::CALLS).for_each_concurrent(8, calls::cut_call).await;
}

#[tokio::test]
async fn callers_that_give_up_on_a_locked_row_do_not_use_up_the_pool() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config("old")).await.unwrap();
    let lock = Lock::on_all_rows(&db.url).await;
    let (owner_1, config) = (owner("user-1"), full_config("new"));
    for _ in 0..12 {
        let store = vault.store(&owner_1, &config);
        assert!(tokio::time::timeout(Duration::from_millis(100), store).await.is_err());
    }
    // somebody else's row is free
    let stored = tokio::time::timeout(BOUND, vault.store(&owner("user-2"), &full_config("new"))).await;
    assert!(stored.expect("bounded").unwrap().degraded.is_none());
    lock.release().await;
    vault.store(&owner("user-1"), &full_config("old")).await.unwrap();
    assert_eq!(state(&vault, &owner("user-1")).await, "old");
}
