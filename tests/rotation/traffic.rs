//! Many rows in every layout, under traffic: no update is lost, no row becomes unreadable, no read fails.

use std::collections::HashMap;
use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use retell_vault::rotation::RotateOptions;
use retell_vault::{Layout, Owner, RetellConfig, Vault};
use tokio::task::JoinSet;

use crate::support::TestDb;
use crate::support::rotation::*;
use crate::support::vaults::*;

const ROWS: usize = 3_000;
const CALLERS: usize = 4;
const CHUNK: usize = 500;

/// Table, its columns, and whether there is a tenant column.
const TABLES: [(&str, &str, bool); 6] = [
    (
        "everything",
        "user_id text PRIMARY KEY, full_name text, encrypted_retell_api_key text, encrypted_call_agent_id text,
        encrypted_sms_agent_id text, encrypted_agent_config jsonb, phone_number text, webhook_config jsonb,
        retell_integration_status text, last_retell_sync timestamptz",
        false,
    ),
    ("only_jsonb", "user_id text PRIMARY KEY, encrypted_agent_config jsonb", false),
    ("packed", "user_id text, encrypted_retell_api_key text", false),
    (
        "two_texts",
        "id bigserial PRIMARY KEY, user_id text UNIQUE, encrypted_retell_api_key text, encrypted_call_agent_id varchar",
        false,
    ),
    (
        "tenants",
        "tenant_id text, user_id text, encrypted_retell_api_key text, encrypted_agent_config jsonb, PRIMARY KEY (tenant_id, user_id)",
        true,
    ),
    ("uuids", "user_id uuid PRIMARY KEY, encrypted_retell_api_key text NOT NULL DEFAULT ''", false),
];

fn layout(table: usize) -> Layout {
    let (name, _, tenants) = TABLES[table];
    let layout = named_table(name);
    if tenants { layout.tenant_column("tenant_id").unwrap() } else { layout }
}

fn owner_of(table: usize, number: usize) -> Owner {
    let owner = owner(&format!("00000000-0000-4000-8000-{number:012}"));
    if TABLES[table].2 { owner.in_tenant(&format!("tenant-{}", number % 7)).unwrap() } else { owner }
}

/// Table and number of an owner.
type Who = (usize, usize);

/// The last mark of everybody that was acknowledged. An owner has one writer, so the last is the newest.
struct Traffic {
    vaults: Vec<Vault>,
    rows: usize,
    acknowledged: Mutex<HashMap<Who, usize>>,
    stop: AtomicBool,
}

impl Traffic {
    fn mark(&self, who: Who) -> usize {
        self.acknowledged.lock().unwrap().get(&who).copied().unwrap_or_default()
    }

    fn anybody(&self) -> Who {
        (rand::random::<u32>() as usize % TABLES.len(), rand::random::<u32>() as usize % self.rows)
    }

    async fn write(self: Arc<Self>, writer: usize) -> usize {
        let mut calls = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let (table, number) = self.anybody();
            let number = number / CALLERS * CALLERS + writer;
            if number >= self.rows {
                continue;
            }
            calls += 1;
            let stored =
                self.vaults[table].store(&owner_of(table, number), &full_config(calls)).await.unwrap();
            assert_eq!(stored.degraded, None);
            assert!(stored.replaced.is_empty(), "{stored:?}");
            self.acknowledged.lock().unwrap().insert((table, number), calls);
        }
        calls
    }

    async fn read(self: Arc<Self>) -> usize {
        let mut calls = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let who = self.anybody();
            let before = self.mark(who);
            let loaded = self.vaults[who.0].load(&owner_of(who.0, who.1)).await.unwrap();
            assert!(mark_of(&loaded.config) >= before, "{who:?} went back");
            calls += 1;
        }
        calls
    }
}

fn mark_of(config: &RetellConfig) -> usize {
    config.api_key().unwrap().expose_secret().rsplit('_').next().unwrap().parse().unwrap()
}

/// A vault for every table, as a process of its own on a host of its own.
async fn vaults(hosts: &Hosts, db: &TestDb, host: usize) -> Vec<Vault> {
    let mut vaults = Vec::new();
    for table in 0..TABLES.len() {
        let builder = hosts.host(host * TABLES.len() + table, &db.url);
        vaults.push(builder.layout(layout(table)).build().await.unwrap());
    }
    vaults
}

async fn seed(vaults: &[Vault], rows: usize) {
    let mut seeding = JoinSet::new();
    for (table, vault) in vaults.iter().enumerate() {
        let vault = vault.clone();
        seeding.spawn(async move {
            let numbers: Vec<_> = (0..rows).collect();
            for numbers in numbers.chunks(CHUNK) {
                let configs: Vec<_> =
                    numbers.iter().map(|number| (owner_of(table, *number), full_config(0))).collect();
                for stored in vault.store_many(&configs).await.unwrap() {
                    assert_eq!(stored.unwrap().degraded, None);
                }
            }
        });
    }
    while let Some(seeded) = seeding.join_next().await {
        seeded.unwrap();
    }
}

/// Everybody has what was acknowledged last.
async fn check(vaults: &[Vault], traffic: &Traffic) {
    let numbers: Vec<_> = (0..traffic.rows).collect();
    for (table, vault) in vaults.iter().enumerate() {
        for numbers in numbers.chunks(CHUNK) {
            let owners: Vec<_> = numbers.iter().map(|number| owner_of(table, *number)).collect();
            for (number, loaded) in numbers.iter().zip(vault.load_many(&owners).await) {
                let expected = full_config(traffic.mark((table, *number)));
                assert_eq!(loaded.unwrap().config, expected, "{} {number}", TABLES[table].0);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_under_traffic() {
    let rows = env::var("RETELL_VAULT_TEST_ROWS").map_or(ROWS, |rows| rows.parse().unwrap()) / TABLES.len();
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    for (name, columns, _) in TABLES {
        db.exec(&format!("CREATE TABLE {name} ({columns})")).await;
    }
    db.exec("CREATE INDEX ON packed (user_id)").await;
    let running = vaults(&hosts, &db, 1).await;
    seed(&running, rows).await;

    let (acknowledged, stop) = (Mutex::default(), AtomicBool::new(false));
    let traffic = Arc::new(Traffic { vaults: running, rows, acknowledged, stop });
    let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
    for caller in 0..CALLERS {
        writers.spawn(traffic.clone().write(caller));
        readers.spawn(traffic.clone().read());
    }
    let (old, new) = promote(&hosts).await;
    let operators = vaults(&hosts, &db, 2).await;
    for (operator, (name, ..)) in operators.iter().zip(TABLES) {
        refuses_to_destroy(operator, old, "tokens still name key").await;
        let rotation = operator.rotate(&RotateOptions::new().batch(100), |_| {}).await.unwrap();
        assert!(rotation.complete && rotation.key == new, "{name}: {rotation:?}");
        assert!(rotation.unreadable.is_empty(), "{name}: {rotation:?}");
        assert!(rotation.progress.resealed > 0, "{name}: {rotation:?}");
    }
    traffic.stop.store(true, Ordering::Relaxed);
    for calls in writers.join_all().await.into_iter().chain(readers.join_all().await) {
        assert!(calls > 10, "a caller hardly got through");
    }
    check(&operators, &traffic).await;

    // the second after the promotion, in which a process may go on under the key before, is over
    for operator in &operators {
        assert!(operator.rotate(&RotateOptions::new(), |_| {}).await.unwrap().complete);
    }
    operators[0].destroy_key(old, at_once()).await.unwrap();
    check(&vaults(&hosts, &db, 3).await, &traffic).await;
    check(&traffic.vaults, &traffic).await;
}
