//! A rotation beside the bare batched UPDATE that somebody would write who has no keys, no versions and
//! no rivals: rows a second, the memory of both sizes of table, and what foreground loads feel of it.
//!
//! `ROTATION_ROWS` sets the number of rows (100,000). Not pinned: a rotation uses all processors.

#[path = "support/databases.rs"]
mod databases;
#[path = "../tests/support/mod.rs"]
mod fixture;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use databases::Databases;
use fixture::vaults::{ALL_COLUMNS, Hosts, full_config, owner};
use retell_vault::rotation::RotateOptions;
use retell_vault::{Keyring, Owner, Vault};
use serde_json::Value;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Connection, PgConnection, Row};
use support::{Comparison, is_asked_for, is_wanted};

const BATCH: usize = 1000;
const ROUNDS: u32 = 3;
/// The small table of the comparison of memory.
const FEW: usize = 10_000;
/// Names the database to rotate in, for the child process whose memory is measured.
const CHILD: &str = "ROTATION_BENCH_CHILD";

const UPDATE: &str = "UPDATE user_profiles AS t SET encrypted_retell_api_key = n.a, encrypted_call_agent_id = n.b,
    encrypted_sms_agent_id = n.c, encrypted_agent_config = n.d
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::jsonb[]) AS n (u, a, b, c, d) WHERE t.user_id = n.u";

fn rows() -> usize {
    std::env::var("ROTATION_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(100_000)
}

fn name(number: usize) -> String {
    format!("user-{number:08}")
}

// --- A table to rotate ---

struct Subject {
    hosts: Hosts,
    url: String,
    rows: usize,
}

impl Subject {
    async fn new(url: &str, rows: usize) -> Self {
        let subject = Self { hosts: Hosts::new().await, url: url.to_owned(), rows };
        let mut connection = PgConnection::connect(url).await.expect("the server answers");
        sqlx::raw_sql("DROP TABLE IF EXISTS user_profiles").execute(&mut connection).await.expect("dropped");
        sqlx::raw_sql(ALL_COLUMNS).execute(&mut connection).await.expect("made");
        let vault = subject.vault().await;
        for start in (0..rows).step_by(BATCH) {
            let numbers = start..rows.min(start + BATCH);
            let configs: Vec<_> = numbers.map(|number| (owner(&name(number)), full_config(number))).collect();
            vault.store_many(&configs).await.expect("they are stored");
        }
        vault.close().await;
        subject
    }

    async fn vault(&self) -> Vault {
        self.hosts.host(0, &self.url).build().await.expect("the vault is built")
    }

    /// Every token is under an old key from now on.
    async fn new_key(&self) {
        let keyring = self.hosts.keyring();
        let key = keyring.add_key().await.expect("a key is added");
        keyring.promote_key(key.id).await.expect("it is promoted");
        self.vacuum().await;
        // the token count waits until everybody must have noticed a new key: not part of what is measured
        tokio::time::sleep(Duration::from_millis(1600)).await;
    }

    /// Every run finds the table as the one before found it.
    async fn vacuum(&self) {
        let mut connection = PgConnection::connect(&self.url).await.expect("the server answers");
        sqlx::raw_sql("VACUUM ANALYZE user_profiles").execute(&mut connection).await.expect("vacuumed");
    }

    async fn rotate(&self, options: &RotateOptions) {
        let vault = self.vault().await;
        let before = ticks();
        let rotation = vault.rotate(options, |_| {}).await.expect("it rotates");
        assert!(rotation.complete && rotation.progress.resealed == self.rows as u64);
        let own = (ticks() - before) * 1e4 / self.rows as f64;
        println!("      a rotation takes {own:.1} µs of this process's processor time for a row");
        vault.close().await;
    }
}

/// The processor time of this process, in hundredths of a second. `proc(5)`.
fn ticks() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this bench needs Linux");
    let (_, after_name) = stat.rsplit_once(')').expect("the name is in brackets");
    let numbers = after_name.split_whitespace().skip(11).take(2);
    numbers.map(|number| number.parse::<f64>().expect("a number")).sum()
}

// --- The bare UPDATE ---

/// One batch of what is written: keys and texts as long as the vault's.
struct Batch {
    users: Vec<String>,
    texts: [Vec<String>; 3],
    config: Vec<Value>,
}

/// The texts as they stand in the table: writing them again costs what writing others costs.
async fn batches(url: &str) -> Vec<Batch> {
    let mut connection = PgConnection::connect(url).await.expect("the server answers");
    let rows = sqlx::query(
        "SELECT user_id, encrypted_retell_api_key, encrypted_call_agent_id, encrypted_sms_agent_id,
        encrypted_agent_config FROM user_profiles ORDER BY user_id",
    );
    let rows = rows.fetch_all(&mut connection).await.expect("the rows are there");
    let batch = |rows: &[sqlx::postgres::PgRow]| Batch {
        users: rows.iter().map(|row| row.get(0)).collect(),
        texts: [1, 2, 3].map(|at| rows.iter().map(|row| row.get(at)).collect()),
        config: rows.iter().map(|row| row.get(4)).collect(),
    };
    rows.chunks(BATCH).map(batch).collect()
}

async fn bare(pool: &PgPool, batches: &[Batch]) {
    for batch in batches {
        let [a, b, c] = &batch.texts;
        let query = sqlx::query(UPDATE).bind(&batch.users).bind(a).bind(b).bind(c).bind(&batch.config);
        query.execute(pool).await.expect("the rows are written");
    }
}

/// The same over several connections, each with its part of the table.
async fn bare_parallel(pool: &PgPool, batches: &Arc<Vec<Batch>>, connections: usize) {
    let part = batches.len().div_ceil(connections);
    let mut tasks = tokio::task::JoinSet::new();
    for start in (0..batches.len()).step_by(part) {
        let (pool, batches) = (pool.clone(), batches.clone());
        let end = batches.len().min(start + part);
        tasks.spawn(async move { bare(&pool, &batches[start..end]).await });
    }
    tasks.join_all().await;
}

async fn compare(subject: &Subject, name: &'static str, limit: f64, jobs: u32, connections: usize) {
    if !is_asked_for(name) {
        return;
    }
    let pool = PgPoolOptions::new().max_connections(connections as u32).connect(&subject.url).await;
    let pool = pool.expect("the server answers");
    let batches = Arc::new(batches(&subject.url).await);
    let options = RotateOptions::new().jobs(jobs).batch(BATCH as u32);
    let mut comparison = Comparison::of_rates(name, limit);
    for _ in 0..ROUNDS {
        subject.vacuum().await;
        let started = Instant::now();
        bare_parallel(&pool, &batches, connections).await;
        let bare = started.elapsed();
        subject.new_key().await;
        let started = Instant::now();
        subject.rotate(&options).await;
        comparison.add(bare, started.elapsed());
    }
    let rate = |time: f64| subject.rows as f64 / (time / 1e9);
    let (bare, ours) = comparison.print();
    println!("      {:.0} rows/s / {:.0} rows/s, {} rows", rate(ours), rate(bare), subject.rows);
}

// --- Memory ---

/// The most that this process ever had in memory, in KiB. `proc(5)`.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this bench needs Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is always there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Rotates in a process of its own, which has done nothing else. Answers with its peak and the seconds
/// that it took.
async fn peak_of(subject: &Subject) -> (f64, f64) {
    subject.new_key().await;
    let home = subject.hosts.local_file(0);
    let home = home.parent().expect("it lies in a folder");
    let output = tokio::process::Command::new(std::env::current_exe().expect("this program has a file"))
        .arg("--bench")
        .env(CHILD, &subject.url)
        .env("ROTATION_BENCH_HOME", home)
        .output()
        .await
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [peak, seconds] => (peak, seconds),
        _ => panic!("{text}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

async fn child(url: &str) {
    let home = std::path::PathBuf::from(std::env::var_os("ROTATION_BENCH_HOME").expect("the parent sets it"));
    let keyring = Keyring::open(home.join("keyring.json"), &fixture::vaults::wrapping_key()).await;
    let builder = Vault::builder(keyring.expect("it opens")).local_file(home.join("local.db"));
    let vault = builder.postgres(url).build().await.expect("the vault is built");
    let rotation = vault.rotate(&RotateOptions::new(), |_| {}).await.expect("it rotates");
    assert!(rotation.complete);
    println!("{} {}", peak(), rotation.progress.elapsed.as_secs_f64());
}

async fn memory(many: &Subject, url: &str) {
    if !is_asked_for("memory") {
        return;
    }
    let few = Subject::new(url, FEW).await;
    let ((few, _), rows) = (peak_of(&few).await, many.rows);
    let (many, seconds) = peak_of(many).await;
    println!(
        "ratio memory of a rotation: {:.2} (limit 1.1)   {many} KiB for {rows} rows / {few} KiB for {FEW}",
        many / few
    );
    println!("      {rows} rows in {seconds:.1} s, {:.0} rows/s", rows as f64 / seconds);
}

// --- Foreground ---

/// Loads random owners, one after the other with a pause, until told to stop: the 99th percentile.
async fn p99(vault: &Vault, rows: usize, mut done: impl FnMut() -> bool) -> f64 {
    let mut times = Vec::new();
    let mut number = 7;
    while !done() || times.len() < 500 {
        number = (number * 48_271 + 11) % rows;
        let owner: Owner = owner(&name(number));
        let started = Instant::now();
        vault.load(&owner).await.expect("it loads");
        times.push(started.elapsed().as_nanos() as f64);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    times.sort_by(f64::total_cmp);
    times[times.len() * 99 / 100]
}

async fn foreground(subject: &Subject, name: &'static str, options: RotateOptions) {
    if !is_asked_for(name) {
        return;
    }
    let vault = subject.hosts.host(1, &subject.url).build().await.expect("the vault is built");
    let mut comparison = Comparison::new(name, 4.0);
    for _ in 0..ROUNDS {
        subject.new_key().await;
        let started = Instant::now();
        let alone = p99(&vault, subject.rows, || started.elapsed() > Duration::from_secs(2)).await;
        let rotating = subject.vault().await;
        let rotation = tokio::spawn({
            let options = options.clone();
            async move { rotating.rotate(&options, |_| {}).await.expect("it rotates").complete }
        });
        let started = Instant::now();
        let beside = p99(&vault, subject.rows, || {
            rotation.is_finished() || started.elapsed() > Duration::from_secs(10)
        });
        let beside = beside.await;
        rotation.abort();
        rotation.await.ok();
        comparison.add(Duration::from_nanos(beside as u64), Duration::from_nanos(alone as u64));
    }
    comparison.print();
}

#[tokio::main]
async fn main() {
    if !is_wanted() {
        return;
    }
    if let Ok(url) = std::env::var(CHILD) {
        return child(&url).await;
    }
    let databases = Databases::make().await;
    let urls = databases.urls();
    let subject = Subject::new(&urls[0], rows()).await;
    // the fastest; the default is gentle
    let jobs = std::thread::available_parallelism().map_or(2, |count| count.get() as u32).min(4);
    compare(&subject, "rotate, rows a second of one bare connection", 0.60, jobs, 1).await;
    compare(&subject, "rotate, rows a second of as many bare connections", 0.35, jobs, jobs as usize).await;
    memory(&subject, &urls[1]).await;
    foreground(&subject, "p99 of load beside a rotation", RotateOptions::new()).await;
    foreground(&subject, "p99 of load beside a rotation as fast as can be", RotateOptions::new().jobs(jobs))
        .await;
}
