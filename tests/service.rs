//! The example service as a real process: its answers, an outage, and how it stops.

mod support;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use retell_vault::connection::KeyringTable;
use retell_vault::keyring::KeyState;
use retell_vault::rotation::{DestroyOptions, RotateOptions};
use retell_vault::{ErrorKind, Keyring, Passphrase, Vault};
use support::vaults::*;
use support::webhook::{INDEX, signed};
use support::*;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::OnceCell;

const PASSPHRASE: &str = "only for this test of a service";

/// The example, built once for all tests.
static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();

/// Builds the example with the features of this program, so that nothing else is built anew.
async fn build() -> PathBuf {
    let arguments = ["build", "--quiet", "--offline", "--example", "service", "--features", "cli,metrics"];
    let mut cargo = Command::new(env!("CARGO"));
    // what cargo told this program; ring would be built anew for each change of it
    let told = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars().filter(|(name, _)| told(name)) {
        cargo.env_remove(name);
    }
    let built = cargo.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).status().await;
    assert!(built.unwrap().success());
    let tests = std::env::current_exe().unwrap();
    tests.ancestors().nth(2).unwrap().join("examples/service")
}

struct Service {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    address: String,
}

/// What came back.
struct Reply {
    code: u16,
    head: String,
    body: String,
}

impl Reply {
    fn etag(&self) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix("etag: "));
        line.unwrap_or_else(|| panic!("no ETag in {}", self.head))
    }
}

impl Service {
    /// With a keyring file.
    async fn start(folder: &TempDir, url: &str) -> Self {
        let mut command = Self::command(folder, url).await;
        command.env("KEYRING", folder.path().join("home/keyring.json"));
        Self::run(command).await
    }

    async fn command(folder: &TempDir, url: &str) -> Command {
        let mut command = Command::new(PROGRAM.get_or_init(build).await);
        command.env("DATABASE_URL", url).env("LISTEN", "127.0.0.1:0").env("PASSPHRASE", PASSPHRASE);
        // no sync between its start and its stop, unless a test takes minutes
        command.env("SYNC_SECONDS", "600").env("HEALTH_SECONDS", "1");
        command.env("LOCAL_FILE", folder.path().join("home/service.db"));
        command
    }

    async fn run(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = output.next_line().await.unwrap().expect("it says where it listens");
        let address = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { process, output, address }
    }

    async fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        ask(&self.address, method, path, headers, body).await.expect("the service answers")
    }

    async fn get(&self, path: &str) -> Reply {
        self.request("GET", path, "", "").await
    }

    /// Whether it can store records, and is in this state.
    async fn is_healthy(&self, state: &str) -> bool {
        let health = self.get("/health").await;
        health.code == 200 && health.body.contains(&format!(r#""status":"{state}""#))
    }

    async fn terminate(&self) {
        let pid = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    }

    /// Its last line, after it ended without an error.
    async fn ended(mut self) -> String {
        assert!(self.process.wait().await.unwrap().success());
        self.output.next_line().await.unwrap().expect("it says how it stopped")
    }
}

async fn ask(address: &str, method: &str, path: &str, headers: &str, body: &str) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole answer");
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Reply { code, head: head.replace('\r', ""), body: body.to_owned() })
}

/// A keyring that is sealed under a passphrase.
async fn home() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let keyring = Keyring::prepare(home.join("keyring.json"), &Passphrase::new(PASSPHRASE)).await.unwrap();
    Vault::builder(keyring).local_file(home.join("init.db")).init().await.unwrap().close().await;
    folder
}

fn json(mark: &str) -> String {
    full_config(mark).to_json_exposed().to_string()
}

#[tokio::test]
async fn it_answers_with_versions_and_masked_secrets() {
    let (db, folder) = (TestDb::create().await, home().await);
    db.exec(ALL_COLUMNS).await;
    let service = Service::start(&folder, &db.url).await;
    let user = "/configs/user-42";
    assert_eq!(service.get(user).await.code, 404);
    assert_eq!(service.request("PUT", user, "", "{}").await.code, 422);
    let stored = service.request("PUT", user, "", &json("first")).await;
    assert_eq!((stored.code, stored.body.as_str()), (200, r#"{"degraded":null}"#));
    let loaded = service.get(user).await;
    assert_eq!((loaded.code, loaded.etag()), (200, stored.etag()));
    assert_no_secret(loaded.body.as_bytes(), "an answer");

    let change = r#"{"phone_number":"+14155550199"}"#;
    let without = service.request("PATCH", user, "", change).await;
    assert_eq!(without.code, 428);
    let tag = format!("if-match: {}\r\n", loaded.etag());
    let changed = service.request("PATCH", user, &tag, change).await;
    assert_eq!(changed.code, 200, "{}", changed.body);
    assert_ne!(changed.etag(), loaded.etag());
    let late = service.request("PATCH", user, &tag, r#"{"phone_number":"+14155550111"}"#).await;
    assert_eq!(late.code, 412, "{}", late.body);
    assert!(service.get(user).await.body.contains("+14155550199"));
    let tag = format!("if-match: {}\r\n", changed.etag());
    let wrong = service.request("PATCH", user, &tag, r#"{"api_key":4711}"#).await;
    assert_eq!((wrong.code, wrong.body.contains("4711")), (422, false), "{}", wrong.body);

    until(async || service.is_healthy("ok").await).await;
    let metrics = service.get("/metrics").await.body;
    assert!(metrics.contains("db_client_operation_duration_seconds_bucket{"), "{metrics}");
    assert!(metrics.contains("retell_vault_database_reachable{"), "{metrics}");
    assert!(!metrics.contains("user-42"), "{metrics}");
    assert_eq!(service.request("DELETE", user, "", "").await.code, 200);
    assert_eq!(service.get(user).await.code, 404);
    service.terminate().await;
    assert_eq!(service.ended().await, "stopped, 0 pushed");
}

/// A request that waits for a lock, and a record that waits in the local file.
#[tokio::test]
async fn a_stop_loses_nothing() {
    let (db, folder) = (TestDb::create().await, home().await);
    db.exec(ALL_COLUMNS).await;
    let proxy = CutProxy::start(&db.url).await;
    let service = Service::start(&folder, proxy.url()).await;
    assert_eq!(service.request("PUT", "/configs/locked", "", &json("old")).await.code, 200);
    proxy.set(Mode::Refuse).await;
    let kept = service.request("PUT", "/configs/kept", "", &json("kept")).await;
    assert_eq!((kept.code, kept.body.as_str()), (202, r#"{"degraded":"unreachable"}"#));
    until(async || service.is_healthy("degraded").await).await;
    proxy.set(Mode::Pass).await;
    until(async || service.is_healthy("ok").await).await;

    let pool = db.pool();
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM user_profiles FOR UPDATE").execute(&mut *lock).await.unwrap();
    let address = service.address.clone();
    let body = json("new");
    let waiting =
        tokio::spawn(async move { ask(&address, "PUT", "/configs/locked", "", &body).await.unwrap().code });
    until(async || {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND wait_event_type = 'Lock'";
        sqlx::query_scalar::<_, i64>(waits).fetch_one(&pool).await.unwrap() > 0
    })
    .await;
    service.terminate().await;
    until(async || TcpStream::connect(&service.address).await.is_err()).await;
    // a service that does not wait for its requests pushes now
    tokio::time::sleep(Duration::from_millis(500)).await;
    let pushed = "SELECT count(*) FROM user_profiles WHERE user_id = 'kept'";
    assert_eq!(sqlx::query_scalar::<_, i64>(pushed).fetch_one(&pool).await.unwrap(), 0);
    lock.rollback().await.unwrap();
    assert_eq!(waiting.await.unwrap(), 200, "the request that it had is answered");
    assert_eq!(service.ended().await, "stopped, 1 pushed");

    let keyring = folder.path().join("home/keyring.json");
    let keyring = Keyring::open(keyring, &Passphrase::new(PASSPHRASE)).await.unwrap();
    let vault = Vault::builder(keyring).postgres(&db.url).build().await.unwrap();
    for (user, mark) in [("locked", "new"), ("kept", "kept")] {
        assert_eq!(vault.load(&owner(user)).await.unwrap().config, full_config(mark));
    }
}

// --- Replicas with the keyring in the database ---

/// Clients of each of the two services.
const CLIENTS: usize = 5;

/// Stores and loads until it is told to stop. Returns how many requests it made; every one must succeed.
async fn client(address: String, name: String, stop: Arc<AtomicBool>) -> u64 {
    let mut requests = 0;
    while !stop.load(Ordering::Relaxed) {
        // one record that only this client writes, and one that all of them write
        for (user, is_shared) in [(name.as_str(), false), ("shared", true)] {
            let path = format!("/configs/{user}");
            let stored = ask(&address, "PUT", &path, "", &json(&format!("{name}_{requests}"))).await.unwrap();
            assert_eq!(stored.code, 200, "{name} after {requests} requests: {}", stored.body);
            let loaded = ask(&address, "GET", &path, "", "").await.unwrap();
            assert_eq!(loaded.code, 200, "{name} after {requests} requests: {}", loaded.body);
            assert!(is_shared || loaded.etag() == stored.etag(), "{name} loaded another record");
            requests += 2;
        }
    }
    requests
}

/// A new key for everything, and the end of the old one, from a third place.
async fn replace_key(open: impl AsyncFn() -> Keyring, url: &str) {
    let keyring = open().await;
    let old = keyring.keys().into_iter().find(|key| key.state == KeyState::Primary).unwrap().id;
    let new = keyring.add_key().await.unwrap().id;
    keyring.promote_key(new).await.unwrap();
    let operator = Vault::builder(keyring).short_lived().postgres(url).build().await.unwrap();
    let rotated = operator.rotate(&RotateOptions::new(), |_| {}).await.unwrap();
    assert!(rotated.complete, "{rotated:?}");
    let destroy = async || match operator.destroy_key(old, DestroyOptions::new().force()).await {
        // until both services have noted the new generation
        Err(error) if error.kind() == ErrorKind::KeyInUse => false,
        destroyed => destroyed.map(|_| true).unwrap(),
    };
    until(destroy).await;
    operator.close().await;
}

/// Two replicas with an empty folder, a URL and a secret each. Keys change elsewhere, and no request of their clients fails. Then all
/// of them start again while the database is down.
///
/// `RETELL_VAULT_TEST_KEYS` is how many keys are replaced one after another.
#[tokio::test]
async fn replicas_serve_while_keys_change_elsewhere_and_start_without_the_database() {
    let changes = std::env::var("RETELL_VAULT_TEST_KEYS").map_or(1, |text| text.parse().unwrap());
    let db = TestDb::create().await;
    db.exec(ALL_COLUMNS).await;
    let proxy = CutProxy::start(&db.url).await;
    let (table, secret) = (KeyringTable::postgres(&db.url).unwrap(), Passphrase::new(PASSPHRASE));
    table.create(&[]).await.unwrap();
    let keyring = table.prepare(&secret).await.unwrap();
    Vault::builder(keyring.clone()).short_lived().postgres(&db.url).init().await.unwrap().close().await;
    let pin = keyring.pin();
    let start = async |folder: &TempDir| {
        let mut command = Service::command(folder, proxy.url()).await;
        command.env("RETELL_VAULT_KEYRING", pin.to_string()).stderr(Stdio::piped());
        command
    };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let services =
        [Service::run(start(&folders[0]).await).await, Service::run(start(&folders[1]).await).await];

    let (stop, mut clients) = (Arc::<AtomicBool>::default(), Vec::new());
    for (at, service) in services.iter().enumerate() {
        let of = |number| client(service.address.clone(), format!("client-{at}-{number}"), stop.clone());
        clients.extend((0..CLIENTS).map(of).map(tokio::spawn));
    }
    for _ in 0..changes {
        replace_key(async || table.open(&pin, &secret).await.unwrap(), &db.url).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut requests = 0;
    for client in clients {
        requests += client.await.expect("no request fails");
    }
    println!("{requests} requests during {changes} changes of the key, 0 failed");
    assert!(requests > 100, "only {requests}");
    let destroyed = table.open(&pin, &secret).await.unwrap().keys().len() - 1;
    assert_eq!(destroyed, changes);

    for service in services {
        service.terminate().await;
        assert_eq!(service.ended().await, "stopped, 0 pushed");
    }
    let hosts = "SELECT count(*) FROM retell_vault.hosts";
    assert_eq!(sqlx::query_scalar::<_, i64>(hosts).fetch_one(&db.pool()).await.unwrap(), 0);
    proxy.set(Mode::Refuse).await;
    for folder in &folders {
        let service = Service::run(start(folder).await).await;
        until(async || service.is_healthy("degraded").await).await;
        assert_eq!(service.request("PUT", "/configs/kept", "", &json("kept")).await.code, 202);
        assert_eq!(service.get("/configs/kept").await.code, 200);
        let away = service.get("/configs/shared").await;
        assert_eq!((away.code, away.body.contains("unavailable")), (503, true), "{}", away.body);
        service.terminate().await;
        assert!(service.ended().await.contains("pending records stay in the local file"));
    }
    // without the copy in its folder a replica cannot start, and says why
    let empty = tempfile::tempdir().unwrap();
    let refused = start(&empty).await.stdout(Stdio::piped()).output().await.unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(said.contains("the keyring lies in the database") && said.contains("keeps a copy"), "{said}");
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(20), "it does not come to that");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_webhook_call_is_handed_to_its_owner_once() {
    let (db, folder) = (TestDb::create().await, home().await);
    db.exec(ALL_COLUMNS).await;
    db.exec(INDEX).await;
    let mut service = Service::start(&folder, &db.url).await;
    let agent = "agent_test_of_a_webhook";
    let config = format!(r#"{{"api_key":"key_test_of_a_webhook","call_agent_id":"{agent}"}}"#);
    assert_eq!(service.request("PUT", "/configs/alice", "", &config).await.code, 200);

    let body =
        |event: &str| format!(r#"{{"event":"{event}","call":{{"agent_id":"{agent}","call_id":"c1"}}}}"#);
    let post = async |key: &str, body: &str| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let header = format!("x-retell-signature: {}\r\n", signed(key, body.as_bytes(), now));
        service.request("POST", "/webhooks/retell", &header, body).await.code
    };
    for event in ["call_started", "call_ended", "call_ended"] {
        assert_eq!(post("key_test_of_a_webhook", &body(event)).await, 204);
    }
    assert_eq!(post("key_test_of_another", &body("call_analyzed")).await, 401);
    assert_eq!(post("key_test_of_a_webhook", "{}").await, 422);
    assert_eq!(service.request("POST", "/webhooks/retell", "", &body("call_ended")).await.code, 422);
    for line in ["call_started for alice", "call_ended for alice"] {
        assert_eq!(service.output.next_line().await.unwrap().as_deref(), Some(line));
    }
    let metrics = service.get("/metrics").await.body;
    let refused = metrics
        .lines()
        .find(|line| line.contains("verify_webhook") && line.contains(r#"error_type="unverified""#));
    assert!(refused.is_some(), "{metrics}");
    assert!(!metrics.contains(agent) && !metrics.contains("alice"));
    service.terminate().await;
    assert!(service.ended().await.starts_with("stopped"), "the second call_ended was handed over");
}
