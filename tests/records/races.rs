//! Many writers at once: no row too many, nothing acknowledged is lost, and the newest version stays.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retell_vault::records::Stored;
use retell_vault::records::Version;
use retell_vault::{Owner, RetellConfig, Vault};
use tokio::task::JoinSet;

use crate::support::rows::*;
use crate::support::vaults::*;
use crate::support::*;

const WITH_UNIQUE: &str = "CREATE TABLE user_profiles (user_id text PRIMARY KEY,
    encrypted_retell_api_key text, encrypted_agent_config jsonb, phone_number text);
    COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell'";
const WITHOUT_UNIQUE: &str = "CREATE TABLE user_profiles (user_id text,
    encrypted_retell_api_key text, encrypted_agent_config jsonb, phone_number text);
    COMMENT ON COLUMN user_profiles.phone_number IS 'retell-vault: phone_number of retell';
    CREATE INDEX ON user_profiles (user_id)";

const HOSTS: usize = 4;
const OWNERS: usize = 200;
const STORES: usize = 3200;
/// Callers at once on one host.
const CALLERS: usize = 8;

async fn vaults(hosts: &Hosts, db: &TestDb) -> Vec<Vault> {
    let mut vaults = Vec::new();
    for host in 0..HOSTS {
        vaults.push(hosts.host(host, &db.url).build().await.unwrap());
    }
    vaults
}

/// The newest acknowledged version of every owner, and the mark of its configuration.
#[derive(Default)]
struct Acknowledged(Mutex<HashMap<Owner, (Version, usize)>>);

impl Acknowledged {
    fn add(&self, owner: &Owner, stored: &Stored, mark: usize) {
        assert!(stored.degraded.is_none(), "{:?}", stored.degraded);
        assert!(stored.replaced.is_empty(), "{:?}", stored.replaced);
        let mut newest = self.0.lock().unwrap();
        let newest = newest.entry(owner.clone()).or_insert((stored.version, mark));
        *newest = (*newest).max((stored.version, mark));
    }

    /// Every host loads exactly the newest, one by one or in bulk.
    async fn check(&self, vaults: &[Vault], config: fn(usize) -> RetellConfig) {
        let newest = self.0.lock().unwrap().clone();
        let owners: Vec<Owner> = newest.keys().cloned().collect();
        for (n, vault) in vaults.iter().enumerate() {
            let loaded = match n {
                0 => one_by_one(vault, &owners).await,
                _ => vault.load_many(&owners).await,
            };
            for (owner, loaded) in owners.iter().zip(loaded) {
                let (loaded, (version, mark)) = (loaded.unwrap(), newest[owner]);
                assert_eq!((loaded.version, loaded.config), (version, config(mark)), "{owner}");
            }
        }
    }
}

async fn one_by_one(
    vault: &Vault,
    owners: &[Owner],
) -> Vec<retell_vault::Result<retell_vault::records::Loaded>> {
    let mut loaded = Vec::new();
    for owner in owners {
        loaded.push(vault.load(owner).await);
    }
    loaded
}

/// Lets all hosts store at the same time: every owner is met by several of them at once.
async fn race(vaults: &[Vault], owners: &[Owner]) -> Arc<Acknowledged> {
    let acknowledged = Arc::new(Acknowledged::default());
    let mut tasks = JoinSet::new();
    let callers = vaults.len() * CALLERS;
    for caller in 0..callers {
        let (vault, owners) = (vaults[caller % vaults.len()].clone(), owners.to_vec());
        let acknowledged = acknowledged.clone();
        tasks.spawn(async move {
            for n in 0..STORES / callers {
                // neighbours walk over the same owners at the same time
                let (owner, mark) = (&owners[(caller / 4 * 50 + n) % owners.len()], caller * STORES + n);
                let stored = vault.store(owner, &small_config(mark)).await;
                acknowledged.add(owner, &stored.unwrap(), mark);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    acknowledged
}

async fn assert_rows(db: &TestDb, per_owner: usize) {
    // the most and the fewest rows of an owner, and the most different texts
    let rows: String = value(db, "SELECT format('%s %s %s %s', count(*), min(n), max(n), max(texts)) FROM (SELECT count(*) AS n, count(DISTINCT (encrypted_retell_api_key, encrypted_agent_config)) AS texts FROM user_profiles GROUP BY user_id) AS o").await;
    assert_eq!(rows, format!("{OWNERS} {per_owner} {per_owner} 1"), "owners, fewest and most rows, texts");
}

async fn stores_race(table: &str, rows_before: usize) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    let prefill = format!(
        "INSERT INTO user_profiles (user_id) SELECT 'user-' || o FROM generate_series(0, {}) AS o, generate_series(1, {rows_before})",
        OWNERS - 1
    );
    db.exec(&prefill).await;
    let vaults = vaults(&hosts, &db).await;
    let acknowledged = race(&vaults, &owners(OWNERS)).await;
    assert_rows(&db, rows_before.max(1)).await;
    acknowledged.check(&vaults, small_config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_race_on_a_unique_constraint() {
    stores_race(WITH_UNIQUE, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_race_without_a_unique_constraint() {
    stores_race(WITHOUT_UNIQUE, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_race_over_duplicates() {
    stores_race(WITHOUT_UNIQUE, 3).await;
}

/// All at once: every caller of every host stores every owner, of which none has a row.
async fn creation_race(table: &str) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    let (vaults, owners) = (vaults(&hosts, &db).await, owners(40));
    let acknowledged = Arc::new(Acknowledged::default());
    let mut tasks = JoinSet::new();
    let together = Arc::new(tokio::sync::Barrier::new(HOSTS * 2));
    for (caller, vault) in vaults.iter().cycle().take(HOSTS * 2).cloned().enumerate() {
        let (owners, acknowledged, together) = (owners.clone(), acknowledged.clone(), together.clone());
        tasks.spawn(async move {
            for owner in &owners {
                together.wait().await;
                acknowledged.add(owner, &vault.store(owner, &full_config(caller)).await.unwrap(), caller);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let most: i64 =
        value(&db, "SELECT max(n) FROM (SELECT count(*) AS n FROM user_profiles GROUP BY user_id) AS o")
            .await;
    assert_eq!(most, 1);
    acknowledged.check(&vaults, full_config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_created_once_by_on_conflict() {
    creation_race(WITH_UNIQUE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_created_once_by_advisory_lock() {
    creation_race(WITHOUT_UNIQUE).await;
}

/// The vault cannot rely on such a constraint, and other code that takes no lock runs into it with us.
#[tokio::test]
async fn a_user_signs_up_while_the_configuration_is_stored() {
    for constraint in
        ["UNIQUE INDEX ON user_profiles (lower(user_id))", "UNIQUE INDEX ON user_profiles (user_id)"]
    {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(&format!("{WITHOUT_UNIQUE}; CREATE {constraint}")).await;
        let vault = hosts.host(0, &db.url).build().await.unwrap();
        let pool = db.pool();
        let mut sign_up = pool.begin().await.unwrap();
        let insert = "INSERT INTO user_profiles (user_id, phone_number) VALUES ('user-1', '+14155550199')";
        sqlx::query(insert).execute(&mut *sign_up).await.unwrap();
        let (owner, config) = (owner("user-1"), small_config(1));
        let commit_later = async {
            tokio::time::sleep(Duration::from_millis(300)).await; // the store waits for this row by now
            sign_up.commit().await.unwrap();
        };
        let (stored, ()) = tokio::join!(vault.store(&owner, &config), commit_later);
        assert!(stored.unwrap().degraded.is_none());
        let loaded = vault.load(&owner).await.unwrap().config;
        assert_eq!(loaded.api_key(), config.api_key());
        assert_eq!(loaded.phone_number().unwrap().as_str(), "+14155550199");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn siblings_in_the_jsonb_column_survive_their_writers_and_ours() {
    const EACH: usize = 200;
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec("CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)").await;
    let owners = owners(4);
    for owner in &owners {
        db.exec(&format!("INSERT INTO user_profiles VALUES ('{owner}', '{{\"mine\":{{\"deep\":[1]}}}}')"))
            .await;
    }
    let vaults = vaults(&hosts, &db).await;
    let acknowledged = Arc::new(Acknowledged::default());
    let mut tasks = JoinSet::new();
    for (caller, vault) in vaults.iter().take(2).cloned().enumerate() {
        let (owners, acknowledged) = (owners.clone(), acknowledged.clone());
        tasks.spawn(async move {
            for n in 0..EACH {
                let (owner, mark) = (&owners[n % owners.len()], caller * EACH + n);
                acknowledged.add(owner, &vault.store(owner, &small_config(mark)).await.unwrap(), mark);
            }
        });
    }
    let (vault, bulk) = (vaults[2].clone(), owners.clone());
    let bulk_acknowledged = acknowledged.clone();
    tasks.spawn(async move {
        for mark in 10_000..10_000 + EACH / 4 {
            let configs: Vec<_> = bulk.iter().map(|owner| (owner.clone(), small_config(mark))).collect();
            for (owner, stored) in bulk.iter().zip(vault.store_many(&configs).await.unwrap()) {
                bulk_acknowledged.add(owner, &stored.unwrap(), mark);
            }
        }
    });
    for sibling in ["voice", "speed"] {
        let (pool, owners) = (db.pool(), owners.clone());
        let add = "UPDATE user_profiles SET encrypted_agent_config = jsonb_set(encrypted_agent_config, ARRAY[$2], to_jsonb(coalesce((encrypted_agent_config ->> $2)::int, 0) + 1)) WHERE user_id = $1";
        tasks.spawn(async move {
            for n in 0..EACH * 2 {
                let owner = owners[n % owners.len()].user_id().as_str();
                sqlx::query(add).bind(owner).bind(sibling).execute(&pool).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let siblings: Vec<String> =
        value(&db, "SELECT array_agg((encrypted_agent_config - 'retell_vault')::text) FROM user_profiles")
            .await;
    let expected = format!(r#"{{"mine": {{"deep": [1]}}, "speed": {0}, "voice": {0}}}"#, EACH * 2 / 4);
    assert_eq!(siblings, vec![expected; 4]);
    acknowledged.check(&vaults, small_config).await;
}

/// Bulk writers that come from both ends, on rows that exist and on rows that do not.
async fn bulk_race(table: &str) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    let vaults = vaults(&hosts, &db).await;
    let acknowledged = Arc::new(Acknowledged::default());
    let mut tasks = JoinSet::new();
    for (caller, vault) in vaults.iter().cloned().enumerate() {
        let (mut owners, acknowledged) = (owners(100), acknowledged.clone());
        if caller % 2 == 1 {
            owners.reverse();
        }
        tasks.spawn(async move {
            for mark in (0..8).map(|round| caller * 100 + round) {
                let configs: Vec<_> =
                    owners.iter().map(|owner| (owner.clone(), small_config(mark))).collect();
                for (owner, stored) in owners.iter().zip(vault.store_many(&configs).await.unwrap()) {
                    acknowledged.add(owner, &stored.unwrap(), mark);
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let rows: i64 = value(&db, "SELECT count(*) FROM user_profiles").await;
    assert_eq!(rows, 100);
    acknowledged.check(&vaults, small_config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_stores_in_opposite_orders_do_not_fail() {
    bulk_race(WITH_UNIQUE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_stores_without_a_unique_constraint_do_not_fail() {
    bulk_race(WITHOUT_UNIQUE).await;
}
