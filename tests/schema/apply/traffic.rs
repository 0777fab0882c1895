//! A plan applied under load: nobody fails, and nobody waits for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use retell_vault::Vault;
use retell_vault::schema::{ApplyOptions, Profile};
use sqlx::PgPool;
use tokio::task::JoinSet;

use super::{Stage, plan};
use crate::support::vaults::*;

const CLIENTS: usize = 16;
const ROWS: usize = 20_000;

/// What one client has seen.
#[derive(Default)]
struct Seen {
    operations: usize,
    longest: Duration,
}

impl Seen {
    async fn time<T>(&mut self, operation: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let done = operation.await;
        self.longest = self.longest.max(started.elapsed());
        self.operations += 1;
        done
    }
}

/// The application: knows nothing of the vault.
async fn application(pool: PgPool, number: usize, over: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    while !over.load(Ordering::Relaxed) {
        let id = format!("user-{}", (seen.operations * 37 + number * 1_000) % ROWS);
        let read = sqlx::query_scalar::<_, String>("SELECT full_name FROM user_profiles WHERE user_id = $1");
        seen.time(read.bind(&id).fetch_one(&pool)).await.unwrap();
        let write = sqlx::query("UPDATE user_profiles SET full_name = full_name || '.' WHERE user_id = $1");
        assert_eq!(seen.time(write.bind(&id).execute(&pool)).await.unwrap().rows_affected(), 1);
    }
    seen
}

/// A service: stores and loads through a vault.
async fn service(vault: Vault, number: usize, over: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    while !over.load(Ordering::Relaxed) {
        let (owner, config) = (owner(&format!("user-{number}")), full_config(seen.operations));
        let stored = seen.time(vault.store(&owner, &config)).await.unwrap();
        assert_eq!(stored.degraded, None);
        assert_eq!(seen.time(vault.load(&owner)).await.unwrap().config, config);
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_fails_and_nobody_waits_for_long() {
    let stage = Stage::on(&format!(
        "CREATE TABLE user_profiles (user_id text PRIMARY KEY, full_name text, encrypted_retell_api_key text);
         INSERT INTO user_profiles SELECT 'user-' || n, 'Name' FROM generate_series(0, {} - 1) AS n;
         ANALYZE user_profiles",
        ROWS
    ))
    .await;
    let (pool, vault) = (stage.db.pool(), stage.vault(0).await);
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        match number % 2 {
            0 => clients.spawn(application(pool.clone(), number, over.clone())),
            _ => clients.spawn(service(vault.clone(), number, over.clone())),
        };
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let schema = stage.vault(1).await.schema();
    let wanted = schema.plan(Profile::FullProfile).await.unwrap();
    let started = Instant::now();
    let applied = schema.apply(&wanted, &ApplyOptions::new(), |_| {}).await.unwrap();
    let took = started.elapsed();
    tokio::time::sleep(Duration::from_millis(500)).await;
    over.store(true, Ordering::Relaxed);

    let (mut operations, mut longest) = (0, Duration::ZERO);
    while let Some(seen) = clients.join_next().await {
        let seen = seen.unwrap();
        operations += seen.operations;
        longest = longest.max(seen.longest);
    }
    println!(
        "{} steps in {took:?} under {operations} operations; the longest took {longest:?}",
        applied.steps.len()
    );
    assert_eq!(applied.steps.len(), wanted.steps.len());
    assert!(plan(&vault, Profile::FullProfile).await.is_empty());
    assert!(longest < Duration::from_secs(2), "a client waited for {longest:?}");
    assert!(operations > CLIENTS * 20, "only {operations} operations: no load");
}
