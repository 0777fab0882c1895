//! Loads with a recorder beside loads without one: the same vault, the same pool, the same rows.
//!
//! Uses the server that `RETELL_VAULT_TEST_PG` names, or starts a throw-away one without fsync.

#[path = "../tests/support/mod.rs"]
mod fixture;
mod support;

use fixture::vaults::{ALL_COLUMNS, Hosts, full_config};
use fixture::{Cluster, TestDb, rows};
use metrics::{NoopRecorder, set_default_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use retell_vault::{Owner, Vault};
use sqlx::Connection;
use support::{Comparison, is_wanted};

const OWNERS: usize = 1000;

async fn measure(url: &str) {
    let hosts = Hosts::new().await;
    let mut connection = sqlx::PgConnection::connect(url).await.expect("the server answers");
    sqlx::raw_sql(ALL_COLUMNS).execute(&mut connection).await.expect("the table is made");
    connection.close().await.expect("it is open");
    let vault = hosts.host(0, url).build().await.expect("the vault is built");
    let owners = rows::owners(OWNERS);
    let configs: Vec<_> = owners.iter().cloned().zip((0..OWNERS).map(full_config)).collect();
    for stored in vault.store_many(&configs).await.expect("no owner is there twice") {
        assert!(stored.expect("it is stored").degraded.is_none());
    }
    let buckets = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
    let builder =
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("duration".into()), &buckets);
    let recorder = builder.expect("there are buckets").build_recorder();
    let (mut with, mut without) = (owners.iter().cycle(), owners.iter().cycle());
    let with = async || {
        let _recorder = set_default_local_recorder(&recorder);
        load(&vault, with.next()).await;
    };
    let without = async || {
        let _recorder = set_default_local_recorder(&NoopRecorder);
        load(&vault, without.next()).await;
    };
    Comparison::new("load, metrics recorded", 1.02).run_async(1000, 20, with, without).await;
    assert!(recorder.handle().render().contains("db_client_operation_duration"), "nothing was recorded");
}

async fn load(vault: &Vault, owner: Option<&Owner>) {
    drop(vault.load(owner.expect("it goes round")).await.expect("it is there"));
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
