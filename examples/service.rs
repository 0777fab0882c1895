//! A service that keeps the configurations of its users in a vault.
//!
//!     DATABASE_URL=postgres://… KEYRING=vault/keyring.json PASSPHRASE=… cargo run --features metrics --example service
//!
//! | variable | meaning |
//! | --- | --- |
//! | `KEYRING` | the file of the keyring, as `retell-vault init` makes it |
//! | `RETELL_VAULT_KEYRING` | without `KEYRING`: the pin of the keyring in the database, as `retell-vault init --store table` prints it |
//! | `PASSPHRASE` | opens the keyring |
//! | `LOCAL_FILE` | keeps records while the database is unreachable, and a copy of a keyring in the database; without it there is no fallback |
//! | `LISTEN` | 127.0.0.1:8080 |
//! | `SYNC_SECONDS`, `HEALTH_SECONDS` | the pauses of the background work: 30 and 15 |
//!
//! | request | answer |
//! | --- | --- |
//! | `PUT /configs/USER` with a whole configuration | stores it; 202 if it waits in the local file |
//! | `GET /configs/USER` | the configuration with masked secrets, and its version as `ETag` |
//! | `PATCH /configs/USER` with some fields and `If-Match` | changes these fields; 412 if another writer was faster, 428 without `If-Match` |
//! | `DELETE /configs/USER` | deletes it |
//! | `POST /webhooks/retell` | verifies a webhook call of Retell, finds its owner, and hands it over once; docs/WEBHOOKS.md |
//! | `GET /metrics` | docs/METRICS.md |
//! | `GET /health` | 200 if records can be stored, if only in the local file; else 503. It answers from the last background check |
//!
//! SIGTERM stops it: it accepts no more requests, finishes those that it has and the background work, synchronises, and closes.
//!
//! It trusts the user in the path, so it listens on this host only. A real service takes the user from its session.

use std::collections::HashSet;
use std::env;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use retell_vault::connection::KeyringTable;
use retell_vault::keyring::KeyringPin;
use retell_vault::records::Stored;
use retell_vault::records::{Expected, StoreOptions, Version};
use retell_vault::sync::{Maintenance, Schedule};
use retell_vault::{Error, ErrorKind, Keyring, Owner, Passphrase, RetellConfig, Vault};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let metrics = install_recorder()?;
    let vault = open_vault().await?;
    let maintenance = Arc::new(vault.maintain(schedule()?));
    let listener = TcpListener::bind(env::var("LISTEN").unwrap_or("127.0.0.1:8080".to_owned())).await?;
    println!("listening on {}", listener.local_addr()?);

    let service = axum::serve(listener, router(vault.clone(), maintenance.clone(), metrics));
    service.with_graceful_shutdown(terminated()).await?;

    maintenance.stop().await;
    let report = vault.sync().await?;
    vault.close().await;
    match report.stopped {
        None => println!("stopped, {} pushed", report.pushed),
        // it waits in the local file for the next start
        Some(error) => println!("stopped; pending records stay in the local file: {error}"),
    }
    Ok(())
}

async fn terminated() {
    signal(SignalKind::terminate()).expect("signals can be received").recv().await;
}

/// Before the vault is built, so that it can describe its metrics.
fn install_recorder() -> Result<PrometheusHandle> {
    let buckets = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
    let builder = PrometheusBuilder::new().with_recommended_naming(true);
    let builder = builder.set_buckets_for_metric(Matcher::Suffix("duration".to_owned()), &buckets)?;
    Ok(builder.install_recorder()?)
}

fn schedule() -> Result<Schedule> {
    let seconds = |name: &str, default: u64| -> Result<Duration> {
        let given = env::var(name).ok().map(|text| text.parse()).transpose()?;
        Ok(Duration::from_secs(given.unwrap_or(default)))
    };
    Ok(Schedule::new().sync_every(seconds("SYNC_SECONDS", 30)?).health_every(seconds("HEALTH_SECONDS", 15)?))
}

async fn open_vault() -> Result<Vault> {
    let (url, secret) = (env::var("DATABASE_URL")?, Passphrase::new(env::var("PASSPHRASE")?));
    let local_file = env::var("LOCAL_FILE").ok();
    let keyring = match env::var("KEYRING") {
        Ok(file) => Keyring::open(file, &secret).await?,
        Err(_) => {
            let pin = KeyringPin::from_env()?.ok_or("set KEYRING or RETELL_VAULT_KEYRING")?;
            let table = KeyringTable::postgres(&url)?;
            let table = local_file.iter().fold(table, KeyringTable::local_file);
            table.open(&pin, &secret).await?
        }
    };
    let builder = Vault::builder(keyring).postgres(url);
    let builder = local_file.iter().fold(builder, |builder, file| builder.local_file(file));
    Ok(builder.build().await?)
}

fn router(vault: Vault, maintenance: Arc<Maintenance>, metrics: PrometheusHandle) -> Router {
    let configs = put(store).get(load).patch(change).delete(delete);
    let health = get(async move || health(&maintenance));
    let metrics = get(async move || ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()));
    let webhooks = Webhooks { vault: vault.clone(), handled: Handled::default() };
    let webhooks = Router::new().route("/webhooks/retell", post(webhook)).with_state(Arc::new(webhooks));
    let router = Router::new().route("/configs/{user}", configs).with_state(vault).merge(webhooks);
    router.route("/health", health).route("/metrics", metrics)
}

// --- Requests ---

type Answer = std::result::Result<Response, Failure>;

async fn store(State(vault): State<Vault>, Path(user): Path<String>, body: String) -> Answer {
    let stored = vault.store(&Owner::user(&user)?, &RetellConfig::from_json(&body)?).await?;
    Ok(stored_answer(&stored))
}

async fn load(State(vault): State<Vault>, Path(user): Path<String>) -> Answer {
    let loaded = vault.load(&Owner::user(&user)?).await?;
    let headers = [(ETAG, etag(loaded.version)), (CONTENT_TYPE, "application/json".to_owned())];
    Ok((headers, loaded.config.to_json_masked()).into_response())
}

/// The version in the request guards against writers before it, and `expect` against those that come meanwhile.
async fn change(
    State(vault): State<Vault>,
    Path(user): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Answer {
    let (owner, version) = (Owner::user(&user)?, if_match(&headers)?);
    let loaded = vault.load(&owner).await?;
    if version != Some(loaded.version) {
        return Err(Error::from(ErrorKind::Conflict).into());
    }
    // a newer program stored fields that a store by this one would lose
    if !loaded.unknown.is_empty() {
        return Err(Error::from(ErrorKind::UnsupportedFormat).into());
    }
    let mut config = loaded.config;
    // the text of serde's error would repeat the value
    let change: Change = serde_json::from_str(&body).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
    change.apply(&mut config)?;
    let options = StoreOptions::new().expect(Expected::Version(loaded.version));
    let stored = vault.store_with(&owner, &config, options).await?;
    Ok(stored_answer(&stored))
}

/// The fields that a change may set. `Debug` is not derived: it would print the secrets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    api_key: Option<String>,
    call_agent_id: Option<String>,
    phone_number: Option<String>,
}

impl Change {
    fn apply(self, config: &mut RetellConfig) -> std::result::Result<(), Error> {
        if let Some(key) = self.api_key {
            config.set_api_key(Some(key.parse()?));
        }
        if let Some(id) = self.call_agent_id {
            config.set_call_agent_id(Some(id.parse()?));
        }
        if let Some(number) = self.phone_number {
            config.set_phone_number(Some(number.parse()?));
        }
        Ok(())
    }
}

async fn delete(State(vault): State<Vault>, Path(user): Path<String>) -> Answer {
    let stored = vault.delete(&Owner::user(&user)?).await?;
    Ok(stored_answer(&stored))
}

struct Webhooks {
    vault: Vault,
    handled: Handled,
}

/// The calls that were handled: Retell sends a call again if the answer is late. A real service notes them in its database, in the
/// transaction that handles the call.
type Handled = Mutex<HashSet<(Owner, String, String)>>;

/// The body is verified as it came: JSON that was parsed and printed again has another signature.
async fn webhook(State(webhooks): State<Arc<Webhooks>>, headers: HeaderMap, body: Bytes) -> Answer {
    let header = headers.get("x-retell-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let call = webhooks.vault.verify_webhook(&body, header).await?;
    let key = call.idempotency_key();
    let key = key.map(|(owner, id, event)| (owner.clone(), id.to_owned(), event.to_owned()));
    let is_new = key.is_none_or(|key| webhooks.handled.lock().expect("nothing panics in it").insert(key));
    if call.is_wanted && is_new {
        println!("{} for {}", call.event.as_deref().unwrap_or("custom function"), call.owner);
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn health(maintenance: &Maintenance) -> Response {
    let Some((_, Ok(status))) = maintenance.state().health.last else {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unknown" }))).into_response();
    };
    let (database, local) = (status.database.as_ref(), status.local.as_ref());
    let reachable = database.is_some_and(|database| database.reachable);
    // while the database is unreachable, the local file takes records; a table that cannot be used takes none
    let (code, state) = match (reachable, status.problem()) {
        (true, None) => (StatusCode::OK, "ok"),
        (false, _) if local.is_some() && status.keyring_problem.is_none() => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
    };
    let body = json!({
        "status": state,
        "problem": status.problem().map(|problem| problem.kind().as_str()),
        "pending": local.map(|local| local.pending),
        "dead_letters": local.map(|local| local.dead_letters),
    });
    (code, Json(body)).into_response()
}

// --- Answers ---

fn etag(version: Version) -> String {
    format!("\"{version}\"")
}

/// The version that the caller wants to change; `None` for text that is no version, which matches no record.
fn if_match(headers: &HeaderMap) -> std::result::Result<Option<Version>, Failure> {
    let tag = headers.get(IF_MATCH).ok_or(Failure::WithoutVersion)?;
    let version = tag.to_str().ok().map(|tag| tag.trim_matches('"'));
    Ok(version.and_then(|version| version.parse().ok()))
}

/// 202: the record is durable, and a sync will take it to the database.
fn stored_answer(stored: &Stored) -> Response {
    let code = if stored.degraded.is_some() { StatusCode::ACCEPTED } else { StatusCode::OK };
    let degraded = stored.degraded.as_ref().map(|degraded| degraded.as_str());
    (code, [(ETAG, etag(stored.version))], Json(json!({ "degraded": degraded }))).into_response()
}

enum Failure {
    Vault(Error),
    WithoutVersion,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Vault(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (code, kind, message) = match self {
            Self::Vault(error) => (code_of(error.kind()), error.kind().as_str(), error.to_string()),
            Self::WithoutVersion => {
                let message = "send the ETag of the configuration as If-Match".to_owned();
                (StatusCode::PRECONDITION_REQUIRED, "without_version", message)
            }
        };
        // no message of the vault holds a secret
        (code, Json(json!({ "error": kind, "message": message }))).into_response()
    }
}

fn code_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidInput => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::NotFound | ErrorKind::UnknownOwner => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::PRECONDITION_FAILED,
        ErrorKind::Unverified | ErrorKind::Expired => StatusCode::UNAUTHORIZED,
        // Retell sends a webhook call again
        ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::OutcomeUnknown => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorKind::Ambiguous | ErrorKind::NotIndexed | ErrorKind::IndexIncomplete => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
