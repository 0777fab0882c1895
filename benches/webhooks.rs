//! A webhook call verified by the vault, beside a bare look-up by an index and one HMAC; and genuine calls while others make up
//! agents.
//!
//! Uses the server that `RETELL_VAULT_TEST_PG` names, or starts a throw-away one without fsync. `OWNERS` is how many there are:
//! 20,000 unless it is set.

#[path = "../tests/support/mod.rs"]
mod fixture;
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fixture::vaults::{Hosts, owner};
use fixture::webhook::signed;
use fixture::{Cluster, TestDb};
use retell_vault::{ErrorKind, RetellConfig, Vault};
use sqlx::{Executor, PgPool};
use support::{Comparison, is_wanted};

const TABLES: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_retell_api_key text,
        encrypted_agent_config jsonb, retell_vault_index bytea[]);
    CREATE INDEX ON user_profiles USING gin (retell_vault_index) WITH (fastupdate = off);
    CREATE INDEX ON user_profiles (user_id) WHERE retell_vault_index IS NULL;
    CREATE TABLE plain (agent_id text PRIMARY KEY, user_id text, api_key text)";
const PART: usize = 1_000;
/// Unknown ids: 100,000 a minute.
const BETWEEN_UNKNOWN: Duration = Duration::from_micros(600);

fn key(n: usize) -> String {
    format!("key_test_webhooks_{n:012}")
}

/// An owner has three.
fn agent(n: usize, role: &str) -> String {
    format!("agent_test_{role}_{n:012}")
}

fn call(agent: &str) -> String {
    let transcript = "Agent: Hello. User: Hi, I would like to change my appointment. ".repeat(30);
    format!(
        r#"{{"event":"call_ended","call":{{"agent_id":"{agent}","call_id":"call_test_1","transcript":"{transcript}"}}}}"#
    )
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_millis() as u64
}

async fn fill(vault: &Vault, pool: &PgPool, owners: usize) {
    for first in (0..owners).step_by(PART) {
        let part: Vec<_> = (first..owners.min(first + PART))
            .map(|n| {
                let config = RetellConfig::new(key(n).parse().expect("a key"));
                let config = ["call", "sms", "outbound"].into_iter().fold(config, |config, role| {
                    config.with_agent(role, agent(n, role).parse().expect("an id")).expect("a role")
                });
                (owner(&format!("user-{n}")), config)
            })
            .collect();
        for stored in vault.store_many(&part).await.expect("no owner is there twice") {
            assert!(stored.expect("it is stored").degraded.is_none());
        }
    }
    for role in ["call", "sms", "outbound"] {
        let sql =
            "INSERT INTO plain SELECT 'agent_test_' || $1 || '_' || lpad(n::text, 12, '0'), 'user-' || n,
            'key_test_webhooks_' || lpad(n::text, 12, '0') FROM generate_series(0, $2 - 1) AS n";
        sqlx::query(sql).bind(role).bind(owners as i64).execute(pool).await.expect("they are inserted");
    }
    pool.execute("VACUUM ANALYZE user_profiles, plain").await.expect("it is its own table");
    // otherwise a read has to write the dirty page that it takes the place of
    pool.execute("CHECKPOINT").await.expect("it is its own server");
}

async fn verify(vault: &Vault, n: usize) {
    let body = call(&agent(n, "call"));
    let header = signed(&key(n), body.as_bytes(), now());
    let verified = vault.verify_webhook(body.as_bytes(), &header).await.expect("it is genuine");
    assert_eq!(verified.owner.user_id().as_str(), format!("user-{n}"));
}

/// What a service does that keeps the keys in the clear.
async fn verify_bare(pool: &PgPool, n: usize) {
    let (agent, at) = (agent(n, "call"), now());
    let body = call(&agent);
    let header = signed(&key(n), body.as_bytes(), at);
    let found =
        sqlx::query_as::<_, (String, String)>("SELECT user_id, api_key FROM plain WHERE agent_id = $1");
    let (user, key) = found.bind(&agent).fetch_one(pool).await.expect("it is there");
    assert_eq!(signed(&key, body.as_bytes(), at), header);
    assert_eq!(user, format!("user-{n}"));
}

/// Sends unknown ids until it is told to stop.
async fn make_up(vault: Vault, stop: &AtomicBool) -> u64 {
    let mut sent = 0;
    let mut tick = tokio::time::interval(BETWEEN_UNKNOWN);
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let body = call(&format!("agent_test_made_up_{sent}"));
        let header = signed("key_test_made_up_000000", body.as_bytes(), now());
        let refused = vault.verify_webhook(body.as_bytes(), &header).await.expect_err("nobody has it");
        assert!(matches!(refused.kind(), ErrorKind::Unverified | ErrorKind::Busy), "{refused}");
        sent += 1;
    }
    sent
}

async fn measure(url: &str) {
    let owners = std::env::var("OWNERS").map_or(20_000, |owners| owners.parse().expect("a number of owners"));
    let hosts = Hosts::new().await;
    let pool = PgPool::connect(url).await.expect("the server answers");
    pool.execute(TABLES).await.expect("the tables are made");
    let vault = hosts.host(0, url).build().await.expect("the vault is built");
    fill(&vault, &pool, owners).await;
    let step = |n: &mut usize| {
        *n = (*n + 7_919) % owners;
        *n
    };
    let (mut ours, mut bare) = (0, 0);
    Comparison::new("verify_webhook", 1.6)
        .run_async(
            200,
            20,
            async || verify(&vault, step(&mut ours)).await,
            async || verify_bare(&pool, step(&mut bare)).await,
        )
        .await;

    // each round: genuine calls of owners who were verified before, with the flood and without
    let known = 100.min(owners);
    for n in 0..known {
        verify(&vault, n).await;
    }
    let mut comparison = Comparison::new("verify_webhook while 100,000 unknown ids a minute come", 1.2);
    // a few seconds: the first 500 unknown ids are looked up, and then 100 a second
    for _ in 0..100 {
        let quiet = all(&vault, known).await;
        let stop = AtomicBool::new(false);
        let genuine = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let time = all(&vault, known).await;
            stop.store(true, Ordering::Relaxed);
            time
        };
        let (flooded, sent) = tokio::join!(genuine, make_up(vault.clone(), &stop));
        assert!(sent > 50, "only {sent} unknown ids were sent");
        comparison.add(flooded, quiet);
    }
    comparison.print();
}

async fn all(vault: &Vault, known: usize) -> Duration {
    let start = std::time::Instant::now();
    for n in 0..known {
        verify(vault, n).await;
    }
    start.elapsed()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if !is_wanted() {
        return;
    }
    if std::env::var_os("RETELL_VAULT_TEST_PG").is_some() {
        let database = TestDb::create().await;
        measure(&database.url).await;
    } else {
        let cluster = Cluster::start(&["-c", "fsync=off"]).await;
        measure(cluster.url()).await;
    }
}
