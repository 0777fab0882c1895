//! Memory does not grow with the number of owners: the resident set after many owners beside that
//! after few, with the database and without.

#[path = "../tests/support/mod.rs"]
mod fixture;
mod support;

use fixture::vaults::{ALL_COLUMNS, Hosts, full_config, owner};
use fixture::{Cluster, TestDb};
use retell_vault::Vault;
use support::is_wanted;

/// More than the 100,000 owners whose last records the vault keeps in mind.
const FEW: usize = 105_000;
const MANY: usize = 160_000;
const LIMIT: f64 = 1.10;

/// The resident set of this process in KiB. `proc(5)`.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this bench needs Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is always there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

async fn use_owners(vault: &Vault, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let owner = owner(&format!("user-{number:08}"));
        vault.store(&owner, &full_config(number)).await.expect("it is stored");
        vault.load(&owner).await.expect("it is there");
    }
}

async fn measure(name: &str, vault: &Vault) {
    use_owners(vault, 0..FEW).await;
    let few = resident();
    use_owners(vault, FEW..MANY).await;
    let many = resident();
    let ratio = many / few;
    println!(
        "ratio memory, {name}: {ratio:.2} (limit {LIMIT})   {many} KiB after {MANY} owners / {few} KiB after {FEW}"
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if !is_wanted() {
        return;
    }
    let hosts = Hosts::new().await;
    match std::env::var_os("RETELL_VAULT_TEST_PG").is_some() {
        true => with_database(&hosts, &TestDb::create().await.url).await,
        false => with_database(&hosts, Cluster::start(&["-c", "fsync=off"]).await.url()).await,
    }
    let vault = hosts.offline(2).build().await.expect("the vault is built");
    measure("local file", &vault).await;
}

async fn with_database(hosts: &Hosts, url: &str) {
    let vault = hosts.host(1, url).build().await;
    sqlx::raw_sql(ALL_COLUMNS)
        .execute(&sqlx::PgPool::connect(url).await.expect("the server answers"))
        .await
        .expect("the table is made");
    let vault = vault.expect("the vault is built");
    measure("database", &vault).await;
}
