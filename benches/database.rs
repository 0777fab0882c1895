//! Loads and stores beside the bare statements that an application without a vault would run, on the same pool. The bare
//! rows hold four texts of 246 characters, one of them in the JSONB column, whatever the vault's rows hold.
//!
//! Uses the server that `RETELL_VAULT_TEST_PG` names, or starts a throw-away one without fsync.

#[path = "../tests/support/mod.rs"]
mod fixture;
mod support;

use fixture::vaults::{ALL_COLUMNS, Hosts, full_config, named_table, owner, wrapping_key};
use fixture::{Cluster, TestDb};
use retell_vault::connection::KeyringTable;
use retell_vault::{Layout, Owner, RetellConfig, Vault, VaultBuilder};
use serde_json::Value;
use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Row};
use support::{Comparison, is_wanted};

const OWNERS: usize = 1000;
/// Characters of a sealed text as an application without a vault would keep it.
const TEXT: usize = 246;
/// Rounds of stores by a vault that has not seen the owner, and stores in each.
const UNSEEN: (u32, u32) = (200, 20);

const SELECT: &str = "SELECT encrypted_retell_api_key, encrypted_call_agent_id, encrypted_sms_agent_id,
    encrypted_agent_config, phone_number, webhook_config, retell_integration_status FROM bare WHERE user_id = $1";
const SELECT_MANY: &str = "SELECT encrypted_retell_api_key, encrypted_call_agent_id, encrypted_sms_agent_id,
    encrypted_agent_config, phone_number, webhook_config, retell_integration_status, user_id
    FROM bare WHERE user_id = ANY($1)";
const COLUMNS: &str = "user_id, encrypted_retell_api_key, encrypted_call_agent_id, encrypted_sms_agent_id,
    encrypted_agent_config, phone_number, webhook_config, retell_integration_status, last_retell_sync";
const ON_CONFLICT: &str = "ON CONFLICT (user_id) DO UPDATE SET
    encrypted_retell_api_key = excluded.encrypted_retell_api_key,
    encrypted_call_agent_id = excluded.encrypted_call_agent_id,
    encrypted_sms_agent_id = excluded.encrypted_sms_agent_id,
    encrypted_agent_config = excluded.encrypted_agent_config, phone_number = excluded.phone_number,
    webhook_config = excluded.webhook_config, retell_integration_status = excluded.retell_integration_status,
    last_retell_sync = excluded.last_retell_sync";

/// A row as an application without a vault holds it.
struct BareRow {
    user: String,
    texts: [String; 3],
    config: Value,
    phone_number: String,
    webhook: Value,
    status: String,
}

impl BareRow {
    fn read(row: &PgRow, user: String) -> Self {
        Self {
            user,
            texts: [row.get(0), row.get(1), row.get(2)],
            config: row.get(3),
            phone_number: row.get(4),
            webhook: row.get(5),
            status: row.get(6),
        }
    }
}

async fn bare_load(pool: &PgPool, user: &str) -> BareRow {
    let row = sqlx::query(SELECT).bind(user).fetch_one(pool).await.expect("the row is there");
    BareRow::read(&row, user.to_owned())
}

async fn bare_load_many(pool: &PgPool, users: &[String]) -> Vec<BareRow> {
    let rows = sqlx::query(SELECT_MANY).bind(users).fetch_all(pool).await.expect("the rows are there");
    rows.iter().map(|row| BareRow::read(row, row.get(7))).collect()
}

async fn bare_store(pool: &PgPool, sql: &'static str, row: &BareRow) {
    let [api_key, call, sms] = &row.texts;
    let query = sqlx::query(sql).bind(&row.user).bind(api_key).bind(call).bind(sms).bind(&row.config);
    let query = query.bind(&row.phone_number).bind(&row.webhook).bind(&row.status);
    query.execute(pool).await.expect("the row is written");
}

async fn bare_store_many(pool: &PgPool, sql: &'static str, rows: &[BareRow]) {
    let texts = |text: fn(&BareRow) -> &str| rows.iter().map(text).collect::<Vec<&str>>();
    let values = |value: fn(&BareRow) -> &Value| rows.iter().map(value).collect::<Vec<&Value>>();
    let query = sqlx::query(sql).bind(texts(|row| &row.user));
    let query = query.bind(texts(|row| &row.texts[0])).bind(texts(|row| &row.texts[1]));
    let query = query.bind(texts(|row| &row.texts[2])).bind(values(|row| &row.config));
    let query = query.bind(texts(|row| &row.phone_number)).bind(values(|row| &row.webhook));
    query.bind(texts(|row| &row.status)).execute(pool).await.expect("the rows are written");
}

/// A vault and a bare table with the same rows.
struct Bench {
    pool: PgPool,
    vault: Vault,
    owners: Vec<Owner>,
    configs: Vec<(Owner, RetellConfig)>,
    users: Vec<String>,
    rows: Vec<BareRow>,
}

/// Whose rows the vault's table has.
#[derive(Clone, Copy, PartialEq)]
enum Owners {
    Texts,
    /// Integers, in a table of which a filter selects rows.
    Numbers,
}

impl Owners {
    fn id(self, number: usize) -> String {
        match self {
            Self::Texts => format!("user-{number:08}"),
            Self::Numbers => number.to_string(),
        }
    }

    fn table(self, name: &str) -> String {
        let table = ALL_COLUMNS.replace("user_profiles", name);
        match self {
            Self::Texts => table,
            Self::Numbers => table.replace(
                "user_id text PRIMARY KEY",
                "user_id integer PRIMARY KEY, provider text NOT NULL, deleted_at timestamptz",
            ),
        }
    }

    fn layout(self, name: &str) -> Layout {
        let filtered = || named_table(name).where_equals("provider", "retell")?.is_null("deleted_at");
        match self {
            Self::Texts => named_table(name),
            Self::Numbers => filtered().expect("both are names of columns"),
        }
    }
}

impl Bench {
    async fn new(builder: VaultBuilder, url: &str, options: PgPoolOptions, table: &str, of: Owners) -> Self {
        let pool = options.connect(url).await.expect("the server answers");
        let exec = async |sql: &str| {
            let script = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await;
            script.expect("the tables are made");
        };
        exec(&of.table(table)).await;
        exec(
            &ALL_COLUMNS
                .replace("user_profiles", "bare")
                .replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"),
        )
        .await;
        let vault = builder.pool(pool.clone()).layout(of.layout(table)).build().await;
        let vault = vault.expect("the vault is built");

        let users: Vec<String> = (0..OWNERS).map(|number| of.id(number)).collect();
        let owners: Vec<Owner> = users.iter().map(|user| owner(user)).collect();
        let configs: Vec<_> = owners.iter().cloned().zip((0..OWNERS).map(full_config)).collect();
        for stored in vault.store_many(&configs).await.expect("no owner is there twice") {
            assert!(stored.expect("it is stored").degraded.is_none());
        }
        let text = format!("repeat('x', {TEXT})");
        exec(&format!(
            "TRUNCATE bare; INSERT INTO bare SELECT user_id::text, full_name, {text}, {text}, {text},
             jsonb_build_object('token', {text}), phone_number, webhook_config, retell_integration_status, last_retell_sync
             FROM {table}"
        ))
        .await;
        exec("VACUUM ANALYZE bare").await;
        exec(&format!("VACUUM ANALYZE {table}")).await;
        let rows = bare_load_many(&pool, &users).await;
        assert_eq!(rows.len(), OWNERS);
        Self { pool, vault, owners, configs, users, rows }
    }

    async fn load(&self, name: &'static str) {
        let (mut ours, mut bare) = ((0..OWNERS).cycle(), (0..OWNERS).cycle());
        let load = async || drop(self.vault.load(&self.owners[next(&mut ours)]).await.expect("it is there"));
        let bare = async || drop(bare_load(&self.pool, &self.users[next(&mut bare)]).await);
        Comparison::new(name, 1.10).run_async(400, 20, load, bare).await;
    }

    /// Every store is the first of its owner that its process makes.
    async fn store_unseen(&self, hosts: &Hosts, table: &str) {
        let sql = store_sql();
        let stores = (UNSEEN.0 * UNSEEN.1) as usize;
        let mut vaults = Vec::new();
        for host in 0..stores.div_ceil(OWNERS) {
            let builder = hosts.offline(10 + host).pool(self.pool.clone()).layout(named_table(table));
            let vault = builder.build().await.expect("the vault is built");
            // it looks at the catalogue
            drop(vault.load(&owner("nobody")).await);
            vaults.push(vault);
        }
        // a local file that was made a moment ago is asked at every store
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let (mut ours, mut bare) = (0..stores, (0..OWNERS).cycle());
        let store = async || {
            let at = next(&mut ours);
            let (owner, config) = &self.configs[at % OWNERS];
            let stored = vaults[at / OWNERS].store(owner, config).await.expect("it is stored");
            assert!(stored.degraded.is_none());
        };
        let bare = async || bare_store(&self.pool, sql, &self.rows[next(&mut bare)]).await;
        Comparison::new("store, not seen", 2.2).run_async(UNSEEN.0, UNSEEN.1, store, bare).await;
    }

    async fn store(&self, name: &'static str, limit: f64) {
        let sql = store_sql();
        let (mut ours, mut bare) = ((0..OWNERS).cycle(), (0..OWNERS).cycle());
        let store = async || {
            let (owner, config) = &self.configs[next(&mut ours)];
            let stored = self.vault.store(owner, config).await.expect("it is stored");
            assert!(stored.degraded.is_none());
        };
        let bare = async || bare_store(&self.pool, sql, &self.rows[next(&mut bare)]).await;
        Comparison::new(name, limit).run_async(400, 20, store, bare).await;
    }

    async fn load_many(&self, name: &'static str, limit: f64) {
        let load = async || {
            let loaded = self.vault.load_many(&self.owners).await;
            assert!(loaded.iter().all(Result::is_ok));
        };
        let bare = async || assert_eq!(bare_load_many(&self.pool, &self.users).await.len(), OWNERS);
        Comparison::new(name, limit).run_async(100, 1, load, bare).await;
    }

    async fn store_many(&self, name: &'static str) {
        let sql = leaked(format!(
            "INSERT INTO bare ({COLUMNS}) SELECT *, now() FROM unnest($1::text[], $2::text[], $3::text[],
             $4::text[], $5::jsonb[], $6::text[], $7::jsonb[], $8::text[]) {ON_CONFLICT}"
        ));
        let store = async || {
            let stored = self.vault.store_many(&self.configs).await.expect("no owner is there twice");
            assert!(
                stored.iter().all(|stored| stored.as_ref().is_ok_and(|stored| stored.degraded.is_none()))
            );
        };
        let bare = async || bare_store_many(&self.pool, sql, &self.rows).await;
        Comparison::new(name, 1.50).run_async(100, 1, store, bare).await;
    }
}

/// The same statements with the keyring in the database, beside those with the same keyring in a file. Each vault has its own table.
async fn compare_keyrings(hosts: &Hosts, url: &str, file: &Bench) {
    const LIMIT: f64 = 1.05;
    let keyring_table = KeyringTable::postgres(url).expect("the URL is valid");
    keyring_table.create(&[]).await.expect("the schema is made");
    let keyring = hosts.keyring();
    keyring_table.push(&keyring).await.expect("the table is empty");
    let keyring = keyring_table.open(&keyring.pin(), &wrapping_key()).await.expect("it was pushed");
    let builder = Vault::builder(keyring).local_file(hosts.local_file(2));
    let options = PgPoolOptions::new().max_connections(4);
    let table = Bench::new(builder, url, options, "profiles_keyring", Owners::Texts).await;
    let (mut ours, mut theirs) = ((0..OWNERS).cycle(), (0..OWNERS).cycle());
    let load = async |bench: &Bench, at: usize| {
        drop(bench.vault.load(&bench.owners[at]).await.expect("it is there"));
    };
    let comparison = Comparison::new("load, keyring in the database beside a file", LIMIT);
    let in_table = async || load(&table, next(&mut ours)).await;
    comparison.run_async(1000, 20, in_table, async || load(file, next(&mut theirs)).await).await;

    let (mut ours, mut theirs) = ((0..OWNERS).cycle(), (0..OWNERS).cycle());
    let store = async |bench: &Bench, at: usize| {
        let (owner, config) = &bench.configs[at];
        assert!(bench.vault.store(owner, config).await.expect("it is stored").degraded.is_none());
    };
    let comparison = Comparison::new("store, keyring in the database beside a file", LIMIT);
    let in_table = async || store(&table, next(&mut ours)).await;
    comparison.run_async(400, 20, in_table, async || store(file, next(&mut theirs)).await).await;

    let load = async |bench: &Bench| {
        assert!(bench.vault.load_many(&bench.owners).await.iter().all(Result::is_ok));
    };
    let comparison = Comparison::new("load_many(1000), keyring in the database beside a file", LIMIT);
    comparison.run_async(100, 1, async || load(&table).await, async || load(file).await).await;

    let store = async |bench: &Bench| {
        let stored = bench.vault.store_many(&bench.configs).await.expect("no owner is there twice");
        assert!(stored.iter().all(Result::is_ok));
    };
    let comparison = Comparison::new("store_many(1000), keyring in the database beside a file", LIMIT);
    comparison.run_async(100, 1, async || store(&table).await, async || store(file).await).await;
}

fn next(numbers: &mut impl Iterator<Item = usize>) -> usize {
    numbers.next().expect("it goes round")
}

fn store_sql() -> &'static str {
    leaked(format!(
        "INSERT INTO bare ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now()) {ON_CONFLICT}"
    ))
}

fn leaked(sql: String) -> &'static str {
    sql.leak()
}

async fn measure(url: &str) {
    let hosts = Hosts::new().await;
    let options = || PgPoolOptions::new().max_connections(4);
    let bench = Bench::new(hosts.offline(1), url, options(), "profiles", Owners::Texts).await;
    let fsync: String =
        sqlx::query_scalar("SHOW fsync").fetch_one(&bench.pool).await.expect("a setting of every server");
    if std::env::args().any(|word| word == "unpinned") {
        bench.load_many("load_many(1000), unpinned", 1.20).await;
        return;
    }
    bench.load("load").await;
    match fsync.as_str() {
        "on" => bench.store("store, fsync on", 1.15).await,
        _ => bench.store("store, fsync off", 1.20).await,
    }
    bench.store_unseen(&hosts, "profiles").await;
    bench.load_many("load_many(1000)", 1.50).await;
    bench.store_many("store_many(1000)").await;
    compare_keyrings(&hosts, url, &bench).await;

    println!(
        "on a pool that does not test connections before it hands them out, so that the bare side is faster:"
    );
    let untested = options().test_before_acquire(false);
    let bench = Bench::new(hosts.offline(1), url, untested, "profiles_untested", Owners::Texts).await;
    bench.load("load, untested").await;
    bench.store("store, untested", f64::INFINITY).await;

    with_the_index(&hosts, url, &bench).await;

    let bench = Bench::new(hosts.offline(1), url, options(), "profiles_numbered", Owners::Numbers).await;
    bench.load("load, integer owner and filter").await;
    bench.store("store, integer owner and filter", 1.20).await;
    bench.load_many("load_many(1000), integer owner and filter", 1.50).await;
    bench.store_many("store_many(1000), integer owner and filter").await;
}

/// Stores with the column of the index beside stores without it, and look-ups beside a bare SELECT by the primary key.
async fn with_the_index(hosts: &Hosts, url: &str, without: &Bench) {
    let options = PgPoolOptions::new().max_connections(4).test_before_acquire(false);
    let pool = options.clone().connect(url).await.expect("the server answers");
    let column = "CREATE TABLE indexed (LIKE profiles_untested INCLUDING ALL);
        ALTER TABLE indexed ADD retell_vault_index bytea[];
        CREATE INDEX ON indexed USING gin (retell_vault_index) WITH (fastupdate = off);
        CREATE INDEX ON indexed (user_id) WHERE retell_vault_index IS NULL";
    sqlx::raw_sql(column).execute(&pool).await.expect("the table is made");
    let vault = hosts.offline(2).pool(pool.clone()).layout(named_table("indexed")).build().await;
    let vault = vault.expect("the vault is built");
    for stored in vault.store_many(&without.configs).await.expect("no owner is there twice") {
        assert!(stored.expect("it is stored").degraded.is_none());
    }
    sqlx::raw_sql("VACUUM ANALYZE indexed").execute(&pool).await.expect("it is analysed");
    let (mut with, mut plain) = ((0..OWNERS).cycle(), (0..OWNERS).cycle());
    let store = async |vault: &Vault, at: usize| {
        let (owner, config) = &without.configs[at];
        assert!(vault.store(owner, config).await.expect("it is stored").degraded.is_none());
    };
    let ours = async || store(&vault, next(&mut with)).await;
    let bare = async || store(&without.vault, next(&mut plain)).await;
    Comparison::new("store, with the index beside without", 1.10).run_async(400, 20, ours, bare).await;

    let (mut found, mut read) = ((0..OWNERS).cycle(), (0..OWNERS).cycle());
    let find = async || {
        let agent = without.configs[next(&mut found)].1.call_agent_id().expect("it has one").clone();
        assert_eq!(vault.find_by_agent(&agent).await.expect("it is found").owners.len(), 1);
    };
    let bare = async || drop(bare_load(&pool, &without.users[next(&mut read)]).await);
    Comparison::new("find_by_agent", 1.60).run_async(400, 20, find, bare).await;
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
