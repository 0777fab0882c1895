//! The plan and the doctor on a large table, beside their limits; and `doctor --deep` beside a bare loop that
//! reads and opens the same tokens, with the memory of both sizes of table.
//!
//! `DOCTOR_ROWS` sets the number of rows (1,000,000). Not pinned: a deep look uses two processors.

#[path = "support/databases.rs"]
mod databases;
#[path = "../tests/support/mod.rs"]
mod fixture;
mod support;

use std::time::{Duration, Instant};

use databases::Databases;
use fixture::vaults::{ALL_COLUMNS, Hosts, full_config, owner};
use futures_util::TryStreamExt;
use retell_vault::doctor::DoctorOptions;
use retell_vault::schema::Profile;
use retell_vault::{Keyring, Vault, internals};
use sqlx::{Connection, PgConnection, Row};
use support::{Comparison, is_asked_for, is_wanted};

const BATCH: usize = 1000;
const ROUNDS: u32 = 3;
/// The small table of the comparison of memory.
const FEW: usize = 10_000;
/// What the plan and the doctor may take.
const LIMIT: Duration = Duration::from_secs(2);
/// Names the database to look at, for the child process whose memory is measured.
const CHILD: &str = "DOCTOR_BENCH_CHILD";
const HOME: &str = "DOCTOR_BENCH_HOME";

const SELECT: &str =
    "SELECT user_id, encrypted_retell_api_key, encrypted_call_agent_id, encrypted_sms_agent_id,
    encrypted_agent_config -> 'retell_vault' ->> 'webhook_key' FROM user_profiles";

fn rows() -> usize {
    std::env::var("DOCTOR_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000)
}

struct Subject {
    hosts: Hosts,
    url: String,
    rows: usize,
}

impl Subject {
    async fn new(url: &str, rows: usize) -> Self {
        let subject = Self { hosts: Hosts::new().await, url: url.to_owned(), rows };
        let mut connection = PgConnection::connect(url).await.expect("the server answers");
        sqlx::raw_sql(ALL_COLUMNS).execute(&mut connection).await.expect("made");
        let vault = subject.vault().await;
        for start in (0..rows).step_by(BATCH) {
            let numbers = start..rows.min(start + BATCH);
            let configs: Vec<_> =
                numbers.map(|number| (owner(&format!("user-{number:08}")), full_config(number))).collect();
            vault.store_many(&configs).await.expect("they are stored");
        }
        vault.close().await;
        sqlx::raw_sql("VACUUM ANALYZE user_profiles").execute(&mut connection).await.expect("vacuumed");
        subject
    }

    async fn vault(&self) -> Vault {
        self.hosts.host(0, &self.url).build().await.expect("the vault is built")
    }

    /// Reads and opens every token on one connection, one row after the other.
    async fn bare(&self, keyring: &Keyring) -> usize {
        let mut connection = PgConnection::connect(&self.url).await.expect("the server answers");
        let mut stream = sqlx::query(SELECT).fetch(&mut connection);
        let mut opened = 0;
        while let Some(row) = stream.try_next().await.expect("a row") {
            let owner = owner(row.get(0));
            for at in 1..5 {
                internals::open_token(keyring, &owner, row.get(at)).expect("it opens");
                opened += 1;
            }
        }
        opened
    }
}

async fn deep(vault: &Vault, rows: usize) {
    let mut opened = 0;
    let options = DoctorOptions::new().deep();
    let diagnosis = vault.doctor(&options, |progress| opened = progress.opened).await.expect("it ends");
    assert_eq!(opened, rows as u64, "{:?}", diagnosis.findings);
}

/// The slowest of some runs, beside a limit that is a time.
async fn within(name: &str, rows: usize, mut work: impl AsyncFnMut()) {
    let mut slowest = Duration::ZERO;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        work().await;
        slowest = slowest.max(started.elapsed());
    }
    let ratio = slowest.as_secs_f64() / LIMIT.as_secs_f64();
    println!("ratio {name}, {rows} rows: {ratio:.2} (limit 1)   {slowest:.1?} / {LIMIT:.1?}");
}

async fn compare(subject: &Subject, vault: &Vault) {
    let keyring = subject.hosts.keyring();
    let mut comparison = Comparison::new("doctor --deep, a bare loop", 2.0);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        assert_eq!(subject.bare(&keyring).await, 4 * subject.rows);
        let bare = started.elapsed();
        let started = Instant::now();
        deep(vault, subject.rows).await;
        comparison.add(started.elapsed(), bare);
    }
    let (ours, bare) = comparison.print();
    let rate = |time: f64| subject.rows as f64 / (time / 1e9);
    println!("      {:.0} rows/s / {:.0} rows/s", rate(ours), rate(bare));
}

// --- Memory ---

/// The most that this process ever had in memory, in KiB. `proc(5)`.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this bench needs Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is always there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Looks in a process of its own, which has done nothing else.
async fn peak_of(subject: &Subject) -> f64 {
    let home = subject.hosts.local_file(0);
    let output = tokio::process::Command::new(std::env::current_exe().expect("this program has a file"))
        .arg("--bench")
        .env(CHILD, &subject.url)
        .env(HOME, home.parent().expect("it lies in a folder"))
        .env("DOCTOR_ROWS", subject.rows.to_string())
        .output()
        .await
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

async fn child(url: &str) {
    let home = std::path::PathBuf::from(std::env::var_os(HOME).expect("the parent sets it"));
    let keyring = Keyring::open(home.join("keyring.json"), &fixture::vaults::wrapping_key()).await;
    let builder = Vault::builder(keyring.expect("it opens")).local_file(home.join("local.db"));
    let vault = builder.postgres(url).build().await.expect("the vault is built");
    deep(&vault, rows()).await;
    println!("{}", peak());
}

async fn memory(many: &Subject, url: &str) {
    let few = peak_of(&Subject::new(url, FEW).await).await;
    let (rows, many) = (many.rows, peak_of(many).await);
    println!(
        "ratio memory of doctor --deep: {:.2} (limit 1.1)   {many} KiB for {rows} rows / {few} KiB for {FEW}",
        many / few
    );
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
    let vault = subject.vault().await;
    if is_asked_for("plan") {
        within("plan", subject.rows, async || {
            vault.schema().plan(Profile::FullProfile).await.expect("a plan");
        })
        .await;
    }
    if is_asked_for("doctor") {
        within("doctor", subject.rows, async || {
            vault.doctor(&DoctorOptions::new(), |_| {}).await.expect("a diagnosis");
        })
        .await;
    }
    if is_asked_for("deep") {
        compare(&subject, &vault).await;
    }
    if is_asked_for("memory") {
        memory(&subject, &urls[1]).await;
    }
}
