//! What a scrape of a real exporter shows, and docs/METRICS.md, the dashboard and the alerts beside it.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use retell_vault::connection::Timeouts;
use retell_vault::rotation::RotateOptions;
use retell_vault::{ErrorKind, Vault};
use sqlx::postgres::PgPoolOptions;
use support::faults::Lock;
use support::vaults::*;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Stands in every owner of these tests.
const OWNER: &str = "owner_test_canary";

fn read(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

// --- The table of the manual ---

/// A row of the table.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    kind: String,
    labels: BTreeSet<String>,
    meaning: String,
}

fn in_backticks(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// As Prometheus prints it.
fn with_underscores(name: &str) -> String {
    name.replace('.', "_")
}

/// The metrics of the manual, by their names in Prometheus.
fn manual() -> BTreeMap<String, Row> {
    let text = read("docs/METRICS.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let metric = |cells: Vec<&str>| {
        let [name, in_prometheus, kind, unit, labels, meaning] = cells[..] else { return None };
        let (name, in_prometheus) = (in_backticks(name).next()?, in_backticks(in_prometheus).next()?);
        let unit = if unit == "s" { "_seconds" } else { "" };
        let suffix = if kind == "counter" { "_total" } else { "" };
        assert_eq!(in_prometheus, format!("{}{unit}{suffix}", with_underscores(name)));
        let labels = in_backticks(labels).map(with_underscores).collect();
        let row = Row { kind: kind.to_owned(), labels, meaning: meaning.to_owned() };
        Some((in_prometheus.to_owned(), row))
    };
    let metrics: BTreeMap<_, _> = cells.filter_map(metric).collect();
    assert!(metrics.len() > 10, "the table was not read: {metrics:?}");
    metrics
}

/// The labels of every metric.
fn common_labels() -> BTreeSet<String> {
    ["db_system_name", "db_collection_name", "retell_vault_namespace"].map(str::to_owned).into()
}

// --- The calls ---

/// A call that is not measured would be missed only in an outage.
#[test]
fn every_call_of_a_vault_is_measured() {
    // it waits for connections that others use, and the other one measures
    const NOT_MEASURED: [&str; 2] = ["close", "sample_metrics"];
    let (mut measured, mut not_measured) = (BTreeSet::new(), BTreeSet::new());
    for file in fs::read_dir(format!("{}/src/vault", env!("CARGO_MANIFEST_DIR"))).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        // calls of a vault, not of its builder
        for part in text.split("impl<C: Credentials> Vault<C> {").skip(1) {
            let methods = part.split("\n}\n").next().unwrap().split("    pub async fn ").skip(1);
            for method in methods {
                let body = method.split("\n    }\n").next().unwrap();
                let name = body.split(['(', '<']).next().unwrap().to_owned();
                let passes_on = body.contains(&format!("self.{name}_with("));
                let is_measured = passes_on || body.contains("self.observed(\"");
                if is_measured { &mut measured } else { &mut not_measured }.insert(name);
            }
        }
    }
    not_measured.remove("in_memory_with"); // it makes a vault
    assert!(measured.len() > 20, "only {measured:?}");
    assert_eq!(not_measured, NOT_MEASURED.map(str::to_owned).into());
}

// --- A scrape ---

/// One sample: the name of its metric, its labels and its value.
type Sample = (String, BTreeMap<String, String>, f64);

struct Scrape {
    text: String,
    samples: Vec<Sample>,
}

async fn scrape(port: u16) -> Scrape {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let lines = text.lines().filter(|line| line.contains("retell_vault_namespace="));
    Scrape { samples: lines.map(sample).collect(), text }
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> Sample {
    let (name, rest) = line.split_once('{').unwrap();
    let (labels, value) = rest.rsplit_once("} ").unwrap();
    let label = |label: &str| {
        let (name, value) = label.split_once('=').unwrap();
        (name.to_owned(), value.trim_matches('"').to_owned())
    };
    (name.to_owned(), labels.split(',').map(label).collect(), value.parse().unwrap())
}

impl Scrape {
    /// The metrics that were met, as the manual lists them.
    fn metrics(&self) -> BTreeMap<String, Row> {
        let meanings = self.text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
        let meanings: BTreeMap<_, _> = meanings.collect();
        let kinds = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let metric = |(name, kind): (&str, &str)| {
            let meaning = meanings.get(name).unwrap_or_else(|| panic!("{name} has no meaning"));
            let row =
                Row { kind: kind.to_owned(), labels: self.labels(name), meaning: (*meaning).to_owned() };
            (name.to_owned(), row)
        };
        kinds.map(metric).collect()
    }

    /// The labels of a metric besides those of every metric.
    fn labels(&self, metric: &str) -> BTreeSet<String> {
        let of_metric = self.samples.iter().filter(|(name, ..)| metric_of(name) == metric);
        let labels = of_metric.flat_map(|(_, labels, _)| labels.keys().cloned()).collect::<BTreeSet<_>>();
        let common = common_labels();
        labels.into_iter().filter(|label| label != "le" && !common.contains(label)).collect()
    }

    /// The sum of a metric's samples with these labels. An empty value: without the label.
    fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let has = |labels: &BTreeMap<String, String>| {
            wanted.iter().all(|(label, value)| labels.get(*label).map_or("", String::as_str) == *value)
        };
        let samples = self.samples.iter().filter(|(sample, labels, _)| sample == name && has(labels));
        samples.map(|(.., value)| value).sum()
    }

    fn calls(&self, operation: &str, error: &str) -> f64 {
        let labels = [("db_operation_name", operation), ("error_type", error)];
        self.sum("db_client_operation_duration_seconds_count", &labels)
    }
}

/// The metric that a sample belongs to.
fn metric_of(sample: &str) -> &str {
    let of_histogram = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| sample.strip_suffix(suffix));
    of_histogram.filter(|name| name.ends_with("_seconds")).unwrap_or(sample)
}

// --- What a service does ---

const QUICK: Timeouts = Timeouts { connect: Duration::from_millis(500), operation: Duration::from_secs(5) };

/// A recorder for the whole process, and a port to scrape it at.
async fn install_exporter() -> u16 {
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    PrometheusBuilder::new()
        .with_http_listener(address)
        .with_recommended_naming(true)
        .set_buckets_for_metric(Matcher::Suffix("duration".to_owned()), &[0.001, 0.1, 1.0])
        .unwrap()
        .install()
        .unwrap();
    address.port()
}

async fn everyday_calls(vault: &Vault, url: &str) {
    let [first, second] = ["1", "2"].map(|number| owner(&format!("{OWNER}_{number}")));
    vault.store(&first, &full_config("once")).await.unwrap();
    vault.load(&first).await.unwrap();
    vault.modify(&first, |_| Ok(())).await.unwrap();
    assert_eq!(vault.load(&second).await.unwrap_err().kind(), ErrorKind::NotFound);
    vault.store_many(&[(second.clone(), full_config("many"))]).await.unwrap();
    vault.load_many(&[first.clone(), second.clone(), owner(&format!("{OWNER}_3"))]).await;
    vault.delete(&second).await.unwrap();
    let lock = Lock::on_table(url).await;
    assert!(vault.load(&first).now_or_never().is_none(), "it waits for the server");
    lock.release().await;
    vault.rotate(&RotateOptions::new(), |_| {}).await.unwrap();
    vault.sample_metrics().await;
}

/// A store during an outage, and a sync after it. Answers with a scrape of each.
async fn outage(vault: &Vault, proxy: &CutProxy, port: u16) -> (Scrape, Scrape) {
    proxy.set(Mode::Refuse).await;
    let stored = vault.store(&owner(&format!("{OWNER}_4")), &full_config("away")).await.unwrap();
    assert_eq!(stored.degraded.map(|degraded| degraded.as_str()), Some("unreachable"));
    vault.sample_metrics().await;
    let away = scrape(port).await;
    proxy.set(Mode::Pass).await;
    vault.sample_metrics().await;
    vault.sync().await.unwrap();
    vault.sample_metrics().await;
    (away, scrape(port).await)
}

/// The service has taken the only connection of its pool.
async fn without_a_connection(db: &TestDb, hosts: &Hosts) {
    db.exec(&ALL_COLUMNS.replace("user_profiles", "clinics")).await;
    let pool = PgPoolOptions::new().max_connections(1).connect(&db.url).await.unwrap();
    let builder = hosts.offline(1).pool(pool.clone()).timeouts(QUICK).layout(named_table("clinics"));
    let vault = builder.build().await.unwrap();
    let taken = pool.acquire().await.unwrap();
    assert_eq!(vault.load(&owner(OWNER)).await.unwrap_err().kind(), ErrorKind::Busy);
    vault.sample_metrics().await;
    drop(taken);
}

#[tokio::test]
async fn a_scrape_shows_what_the_manual_lists() {
    let port = install_exporter().await;
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let proxy = CutProxy::start(&db.url).await;
    let vault = hosts.host(0, proxy.url()).timeouts(QUICK).build().await.unwrap();
    everyday_calls(&vault, &db.url).await;
    let (away, back) = outage(&vault, &proxy, port).await;
    without_a_connection(&db, &hosts).await;
    let full = scrape(port).await;

    assert_eq!(full.metrics(), manual(), "left: the exporter, right: docs/METRICS.md");
    counts_are_right(&back);
    outages_are_seen(&away, &back);
    let clinics = [("db_collection_name", "public.clinics")];
    assert!(full.sum("db_client_connection_timeouts_total", &clinics) >= 1.0, "{}", full.text);
    let used = [clinics[0], ("db_client_connection_state", "used")];
    assert_eq!(full.sum("db_client_connection_count", &used), 1.0);
    assert_eq!(full.sum("db_client_connection_max", &clinics), 1.0);
    assert!(full.sum("retell_vault_pool_wait_duration_seconds_sum", &clinics) > 0.25, "{}", full.text);
    no_label_tells_anything(&full);
}

fn counts_are_right(scrape: &Scrape) {
    assert_eq!(scrape.calls("store", ""), 2.0, "{}", scrape.text);
    assert_eq!((scrape.calls("load", ""), scrape.calls("load", "not_found")), (1.0, 1.0));
    assert_eq!(scrape.calls("load", "cancelled"), 1.0, "a call that its caller dropped");
    for operation in ["modify", "delete", "store_many", "load_many", "rotate", "sync"] {
        assert_eq!(scrape.calls(operation, ""), 1.0, "{operation}");
    }
    let owners = |operation, error| {
        let labels = [("db_operation_name", operation), ("error_type", error)];
        scrape.sum("retell_vault_batch_owners_total", &labels)
    };
    assert_eq!((owners("store_many", ""), owners("load_many", "")), (1.0, 2.0));
    assert_eq!(owners("load_many", "not_found"), 1.0);
    let rows = |state| scrape.sum("retell_vault_rotation_rows", &[("retell_vault_row_state", state)]);
    assert_eq!((rows("total"), rows("visited")), (2.0, 2.0));
    let tokens = |state| scrape.sum("retell_vault_tokens", &[("retell_vault_key_state", state)]);
    assert!(tokens("primary") > 0.0 && tokens("retired") == 0.0, "{}", scrape.text);
    assert_eq!(scrape.sum("retell_vault_keyring_generation", &[]), 1.0);
    let made = scrape.sum("retell_vault_keyring_primary_key_created_seconds", &[]);
    assert!((1.7e9..1e11).contains(&made), "{made} is no time in seconds");
}

fn outages_are_seen(away: &Scrape, back: &Scrape) {
    let state = |scrape: &Scrape| {
        let names = ["database_reachable", "breaker_open", "local_pending", "local_dead_letters"];
        names.map(|name| scrape.sum(&format!("retell_vault_{name}"), &[]))
    };
    assert_eq!(state(away), [0.0, 1.0, 1.0, 0.0], "{}", away.text);
    assert_eq!(state(back), [1.0, 0.0, 0.0, 0.0], "{}", back.text);
    let reason = [("retell_vault_degraded_reason", "unreachable")];
    assert_eq!(back.sum("retell_vault_degraded_writes_total", &reason), 1.0);
}

fn no_label_tells_anything(scrape: &Scrape) {
    assert_no_secret(scrape.text.as_bytes(), "the scrape");
    let values: BTreeSet<&str> =
        scrape.samples.iter().flat_map(|(_, labels, _)| labels.values().map(String::as_str)).collect();
    for value in values {
        // every statement has a space, and every sealed text a dot after its version
        assert!(!value.contains(' ') && !value.contains("rv1.") && !value.contains(OWNER), "{value}");
    }
}

// --- Dashboard and alerts ---

/// What an expression names: samples, and labels in braces or after `by`.
#[derive(Default)]
struct Named {
    samples: BTreeSet<String>,
    labels: BTreeSet<String>,
}

/// Parses as much of an expression as is needed to tell samples, labels and functions apart.
fn named(expression: &str, into: &mut Named) {
    let is_name = |char: char| char.is_alphanumeric() || char == '_' || char == ':';
    let (mut rest, mut in_labels, mut after_by) = (expression, false, false);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => 2 + rest[1..].find('"').expect("the text ends"),
            _ if is_name(first) => rest.find(|char| !is_name(char)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        let next = after.trim_start().chars().next();
        match first {
            '{' => in_labels = true,
            '(' if after_by => in_labels = true,
            '}' | ')' => in_labels = false,
            // a range such as [5m]
            '[' => rest = &rest[rest.find(']').expect("the range ends")..],
            'a'..='z' if in_labels => drop(into.labels.insert(word.to_owned())),
            'a'..='z' if word == "by" => {}
            'a'..='z' if next != Some('(') && word != "or" && !after.trim_start().starts_with("by ") => {
                into.samples.insert(word.to_owned());
            }
            _ => {}
        }
        after_by = word == "by" || (after_by && word.trim().is_empty());
        rest = if first == '[' { &rest[1..] } else { after };
    }
}

fn assert_named_exist(expressions: &[String], place: &str) -> Named {
    let (metrics, mut all) = (manual(), Named::default());
    for expression in expressions {
        let mut one = Named::default();
        named(expression, &mut one);
        assert!(!one.samples.is_empty(), "{place}: no metric in {expression}");
        for sample in &one.samples {
            let metric = metrics.get(metric_of(sample));
            let metric = metric.unwrap_or_else(|| panic!("{place}: there is no {sample} for {expression}"));
            // a histogram has these samples and none of its own name
            assert_eq!(metric.kind == "histogram", metric_of(sample) != sample, "{place}: {expression}");
        }
        let of_samples = one.samples.iter().flat_map(|sample| metrics[metric_of(sample)].labels.clone());
        let mut known: BTreeSet<_> = of_samples.chain(common_labels()).collect();
        known.extend(["le", "instance"].map(str::to_owned));
        let unknown: Vec<_> = one.labels.difference(&known).collect();
        assert!(unknown.is_empty(), "{place}: {unknown:?} in {expression}");
        all.samples.extend(one.samples.iter().map(|sample| metric_of(sample).to_owned()));
    }
    all
}

#[test]
fn the_alerts_name_metrics_that_exist_and_stand_in_the_manual() {
    let text = read("docs/metrics/alerts.yml");
    let of = |member: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.trim().strip_prefix(member)).map(str::to_owned).collect()
    };
    let (alerts, expressions) = (of("- alert: "), of("expr: "));
    assert_eq!((alerts.len(), expressions.len()), (9, 9));
    assert_named_exist(&expressions, "alerts.yml");
    let manual = read("docs/METRICS.md");
    let listed: Vec<_> = manual.lines().filter_map(|line| line.strip_prefix("| `RetellVault")).collect();
    let listed: Vec<_> = listed.iter().map(|line| line.split('`').next().unwrap()).collect();
    let alerts: Vec<_> = alerts.iter().map(|alert| alert.strip_prefix("RetellVault").unwrap()).collect();
    assert_eq!(listed, alerts);
}

#[test]
fn the_dashboard_shows_every_metric() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("docs/metrics/dashboard.json")).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter();
    let targets = targets.flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions: Vec<String> =
        targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    let shown = assert_named_exist(&expressions, "dashboard.json");
    let metrics: BTreeSet<String> = manual().into_keys().collect();
    assert_eq!(shown.samples, metrics, "left: shown by the dashboard");
}

// --- Spans ---

/// Notes the fields of every span.
#[derive(Clone, Default)]
struct Fields(Arc<Mutex<String>>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Fields {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("retell_vault::observe")
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn spans_have_the_names_of_opentelemetry_and_no_owner() {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let fields = Fields::default();
    // the exporter of this process counts what another test does
    let _unrecorded = metrics::set_default_local_recorder(&metrics::NoopRecorder);
    let heard = tracing::subscriber::set_default(fields.clone());
    vault.load(&owner(OWNER)).await.unwrap_err();
    db.exec("DROP TABLE user_profiles").await;
    vault.store(&owner(OWNER), &full_config("late")).await.unwrap_err();
    drop(heard);
    let fields = fields.0.lock().unwrap().clone();
    let span = |operation: &str| {
        let common = r#"otel.kind="client"
db.system.name="postgresql""#;
        let table = r#"db.collection.name="public.user_profiles"
retell_vault.namespace="retell""#;
        format!("otel.name=\"{operation}\"\n{common}\ndb.operation.name=\"{operation}\"\n{table}\n")
    };
    let expected =
        format!("{}error.type=\"not_found\"\n{}error.type=\"schema\"\n", span("load"), span("store"));
    assert_eq!(fields.replace("db.response.status_code=\"42P01\"\n", ""), expected);
}
