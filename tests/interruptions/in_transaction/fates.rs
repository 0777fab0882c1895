//! Whatever becomes of a transaction, the next call of the same vault does what the row says.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use retell_vault::records::{Expected, StoreOptions};
use retell_vault::{Error, ErrorKind, Owner, Result, Vault};
use sqlx::{PgPool, PgTransaction};

use super::{Stage, rename};
use crate::support::faults::*;
use crate::support::vaults::*;
use crate::support::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Create,
    Overwrite,
    Expecting,
    Modify,
    Delete,
}

const CALLS: [Call; 5] = [Call::Create, Call::Overwrite, Call::Expecting, Call::Modify, Call::Delete];

impl Call {
    async fn prepare(self, vault: &Vault, owner: &Owner) {
        if self != Self::Create {
            vault.store(owner, &full_config("old")).await.unwrap();
        }
    }

    async fn run(self, vault: &Vault, transaction: &mut PgTransaction<'_>, owner: &Owner) -> Result<()> {
        match self {
            Self::Create | Self::Overwrite => {
                vault.store_in(transaction, owner, &full_config("new")).await.map(drop)
            }
            Self::Expecting => {
                let version = vault.load_in(transaction, owner).await?.version;
                let options = StoreOptions::new().expect(Expected::Version(version));
                vault.store_in_with(transaction, owner, &full_config("new"), options).await.map(drop)
            }
            Self::Modify => vault.modify_in(transaction, owner, rename).await.map(drop),
            Self::Delete => vault.delete_in(transaction, owner).await.map(drop),
        }
    }

    fn before(self) -> &'static str {
        if self == Self::Create { "NotFound" } else { "old" }
    }

    fn after(self) -> &'static str {
        if self == Self::Delete { "NotFound" } else { "new" }
    }
}

/// What the vault does first after the transaction.
#[derive(Clone, Copy, Debug)]
enum Next {
    Load,
    LoadMany,
    Store,
    Modify,
    Delete,
    Expecting,
}

const NEXT: [Next; 6] =
    [Next::Load, Next::LoadMany, Next::Store, Next::Modify, Next::Delete, Next::Expecting];

/// What a vault says about an owner: `old`, `new`, `next` or `NotFound`. It is never stale.
async fn state(vault: &Vault, owner: &Owner) -> &'static str {
    match vault.load(owner).await {
        Ok(loaded) => {
            assert!(!loaded.stale && loaded.seen.is_none(), "{owner}: a newer record than the row's");
            let mark = ["old", "new", "next"].into_iter().find(|mark| loaded.config == full_config(mark));
            mark.unwrap_or_else(|| panic!("{owner}: not one whole configuration: {loaded:?}"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => "NotFound",
        Err(error) => panic!("{owner}: {error:?}"),
    }
}

impl Next {
    /// `other` is a vault that has not met the owner, and so says what the row says.
    async fn agrees(self, vault: &Vault, other: &Vault, owner: &Owner) {
        let there = state(other, owner).await;
        let found = |result: Result<()>| match (result.map_err(|error: Error| error.kind()), there) {
            (Err(ErrorKind::NotFound), "NotFound") => {}
            (Ok(()), "old" | "new" | "next") => {}
            (result, there) => panic!("{owner}: {self:?} over {there}: {result:?}"),
        };
        match self {
            Self::Load => {}
            Self::LoadMany => {
                let loaded = vault.load_many(std::slice::from_ref(owner)).await.remove(0);
                found(loaded.map(|loaded| {
                    assert!(!loaded.stale, "{owner}");
                    assert_eq!(loaded.config, full_config(there));
                }));
            }
            Self::Store => {
                let stored = vault.store(owner, &full_config("next")).await.unwrap();
                assert!(stored.degraded.is_none() && stored.replaced.is_empty(), "{owner}: {stored:?}");
            }
            Self::Modify => found(
                vault
                    .modify(owner, |config| {
                        assert_eq!(*config, full_config(there));
                        *config = full_config("next");
                        Ok(())
                    })
                    .await
                    .map(drop),
            ),
            Self::Delete => found(vault.delete(owner).await.map(drop)),
            Self::Expecting => {
                let expected = match other.load(owner).await {
                    Ok(loaded) => Expected::Version(loaded.version),
                    Err(_) => Expected::Absent,
                };
                let options = StoreOptions::new().expect(expected);
                vault.store_with(owner, &full_config("next"), options).await.unwrap();
            }
        }
        let there = state(other, owner).await;
        assert_eq!(state(vault, owner).await, there, "{owner}: {self:?}");
        let stored = vault.store(owner, &full_config("next")).await.unwrap();
        assert!(stored.degraded.is_none(), "{owner}");
        assert_eq!((state(vault, owner).await, state(other, owner).await), ("next", "next"), "{owner}");
        assert_eq!(local(vault).await.pending, 0);
    }
}

#[tokio::test]
async fn committed_rolled_back_or_dropped() {
    let stage = Stage::new(ALL_COLUMNS).await;
    let other = stage.other().await;
    for (number, (call, next)) in CALLS.into_iter().flat_map(|call| NEXT.map(|next| (call, next))).enumerate()
    {
        for (fate, is_applied) in [("commit", true), ("rollback", false), ("drop", false)] {
            let owner = owner(&format!("{fate}-{call:?}-{next:?}-{number}"));
            call.prepare(&stage.vault, &owner).await;
            let mut transaction = stage.begin().await;
            call.run(&stage.vault, &mut transaction, &owner).await.unwrap();
            // the transaction has also seen what it wrote
            let seen = stage.vault.load_in(&mut transaction, &owner).await;
            assert_eq!(seen.is_ok(), call != Call::Delete);
            match fate {
                "commit" => transaction.commit().await.unwrap(),
                "rollback" => transaction.rollback().await.unwrap(),
                _ => drop(transaction),
            }
            let expected = if is_applied { call.after() } else { call.before() };
            if matches!(next, Next::Load) {
                assert_eq!(state(&stage.vault, &owner).await, expected, "{owner}");
            }
            // a dropped transaction may be rolled back a moment later
            until(async || state(&other, &owner).await == expected).await;
            next.agrees(&stage.vault, &other, &owner).await;
        }
    }
}

/// A transaction of a service behind a proxy.
struct Broken<'a> {
    stage: &'a Stage,
    other: Vault,
    proxy: CutProxy,
}

impl<'a> Broken<'a> {
    async fn over(stage: &'a Stage) -> Self {
        Self { stage, other: stage.other().await, proxy: CutProxy::start(&stage.db.url).await }
    }

    /// Runs a call and commits, while the proxy breaks the connection.
    async fn run(&self, call: Call, owner: &Owner, mode: Mode) -> Result<(), String> {
        let pool = PgPool::connect(self.proxy.url()).await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        self.proxy.set(mode).await;
        let done = match call.run(&self.stage.vault, &mut transaction, owner).await {
            Ok(()) => transaction.commit().await.map_err(|error| error.to_string()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                assert!(error.to_string().starts_with("the transaction "), "{error}");
                Err(error.to_string())
            }
        };
        self.proxy.set(Mode::Pass).await;
        // the server may notice a little later that its client is gone
        let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
        until(async || number(&self.stage.db.url, open).await == 0).await;
        done
    }
}

/// The service does not know whether the transaction was committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_the_commit_is_lost() {
    let stage = Stage::new(ALL_COLUMNS).await;
    let broken = Broken::over(&stage).await;
    for (call, next) in CALLS.into_iter().flat_map(|call| NEXT.map(|next| (call, next))) {
        let owner = owner(&format!("{call:?}-{next:?}"));
        call.prepare(&stage.vault, &owner).await;
        let commit = Mode::CutAfterRequest(Request::Message(b"COMMIT"));
        broken.run(call, &owner, commit).await.unwrap_err();
        if matches!(next, Next::Load) {
            assert_eq!(state(&stage.vault, &owner).await, call.after(), "{owner}");
        }
        next.agrees(&stage.vault, &broken.other, &owner).await;
    }
}

/// `RETELL_VAULT_TEST_EVERY=1` ends it at every message, in every way; without it, some are chosen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_ends_at_any_message() {
    let every = std::env::var("RETELL_VAULT_TEST_EVERY").map_or(13, |every| every.parse().unwrap());
    let stage = Stage::new(ALL_COLUMNS).await;
    let broken = Broken::over(&stage).await;
    let mut cases = Vec::new();
    for call in CALLS {
        let undisturbed = owner(&format!("undisturbed-{call:?}"));
        call.prepare(&stage.vault, &undisturbed).await;
        let before = broken.proxy.messages();
        broken.run(call, &undisturbed, Mode::Pass).await.unwrap();
        // a few more than there are after `BEGIN`, so that in some cases nothing is broken
        let messages = broken.proxy.messages() - before;
        let faults = [Fault::CutBefore, Fault::CutAfter, Fault::Truncate];
        cases.extend((1..=messages).flat_map(|message| faults.map(|fault| (call, message, fault))));
    }
    let offset = rand::random_range(0..every);
    println!("{} cases, one of {every} from {offset} on", cases.len());
    for (number, (call, message, fault)) in cases.into_iter().enumerate().skip(offset).step_by(every) {
        let owner = owner(&format!("{call:?}-{message}-{fault:?}"));
        call.prepare(&stage.vault, &owner).await;
        let done = broken.run(call, &owner, Mode::BreakMessage(message, fault)).await;
        let there = state(&broken.other, &owner).await;
        match done {
            Ok(()) => assert_eq!(there, call.after(), "{owner}"),
            Err(_) => assert!([call.before(), call.after()].contains(&there), "{owner}: {there}"),
        }
        NEXT[number % NEXT.len()].agrees(&stage.vault, &broken.other, &owner).await;
    }
}

/// Polls a future so often, and drops it. `woken`: only when it is woken the next time.
async fn cut<F: Future>(polls: usize, woken: bool, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 && !woken => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Cuts a call after 0, 1, 2, … polls until it gets to its end. The service then rolls back, or commits whatever is there.
async fn cut_everywhere(table: &str, rows: &str) {
    let stage = Stage::new(table).await;
    let other = stage.other().await;
    let ways = [(false, false), (false, true), (true, true)];
    for (call, (woken, commits)) in CALLS.into_iter().flat_map(|call| ways.map(|way| (call, way))) {
        let mut ended = false;
        for polls in 0..200 {
            let owner = owner(&format!("{call:?}-{woken}-{commits}-{polls}"));
            call.prepare(&stage.vault, &owner).await;
            if !rows.is_empty() && call != Call::Create {
                stage.db.exec(&rows.replace("$1", &format!("'{owner}'"))).await;
            }
            let mut transaction = stage.begin().await;
            ended = cut(polls, woken, call.run(&stage.vault, &mut transaction, &owner))
                .await
                .inspect(|done| assert_eq!(done, &Ok(()), "{owner}"))
                .is_some();
            match commits {
                true => transaction.commit().await.unwrap(),
                false => transaction.rollback().await.unwrap(),
            }
            let there = state(&other, &owner).await;
            let expected = match (commits, ended) {
                (false, _) => vec![call.before()],
                (true, true) => vec![call.after()],
                (true, false) => vec![call.before(), call.after()],
            };
            assert!(expected.contains(&there), "{owner}: {there}");
            NEXT[polls % NEXT.len()].agrees(&stage.vault, &other, &owner).await;
            if ended {
                break;
            }
        }
        assert!(ended, "{call:?} never got to its end");
    }
    let sql = "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
        WHERE datname = current_database() AND locktype = 'advisory'";
    until(async || number(&stage.db.url, sql).await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_at_every_await() {
    cut_everywhere(ALL_COLUMNS, "").await;
}

/// Several rows are written one after another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_at_every_await_with_several_rows() {
    let second = "INSERT INTO user_profiles (user_id) VALUES ($1)";
    cut_everywhere(&ALL_COLUMNS.replace("PRIMARY KEY", ""), second).await;
}
