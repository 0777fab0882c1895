//! Databases and servers for tests, and a proxy that breaks connections on purpose.
//!
//! `scripts/test` starts the server that [`TestDb`] uses, and it deletes what a test
//! that was killed could not.

use std::collections::HashMap;
use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

// --- A database ---

/// A database of its own for one test, on the server that all tests share.
/// Dropping it drops the database, with everybody who is still connected.
pub struct TestDb {
    /// Where the database is, without detours.
    pub url: String,
    pub name: String,
}

impl TestDb {
    /// Makes an empty database with a random name.
    pub async fn create() -> Self {
        let name = format!("test_{:032x}", rand::random::<u128>());
        run_sql(&server_url(), &format!("CREATE DATABASE {name}")).await.expect("the database is created");
        let url = with_database(&server_url(), &name);
        Self { url, name }
    }

    /// Another database with everything that is in this one, to which nobody may be connected.
    pub async fn copy(&self) -> Self {
        let name = format!("test_{:032x}", rand::random::<u128>());
        let sql = format!("CREATE DATABASE {name} TEMPLATE {}", self.name);
        run_sql(&server_url(), &sql).await.expect("the database is copied");
        let url = with_database(&server_url(), &name);
        Self { url, name }
    }

    /// A new pool, as a process of its own would have. It connects when it is first used.
    pub fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(10).connect_lazy(&self.url).expect("our own URL is valid")
    }

    /// Runs a script of one or more statements, on a connection of its own.
    pub async fn exec(&self, sql: &str) {
        if let Err(error) = run_sql(&self.url, sql).await {
            panic!("{error}\nin: {sql}");
        }
    }

    /// The same database through PgBouncer, in transaction mode and with two connections.
    pub fn bouncer_url(&self) -> String {
        with_database(&variable("RETELL_VAULT_TEST_BOUNCER"), &self.name)
    }
}

impl Drop for TestDb {
    /// In a thread, because a runtime cannot start inside of the one that the test runs in.
    /// The test is over, so errors are of no interest.
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let drop_database = move || {
            let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            let run = async { tokio::time::timeout(LONG, run_sql(&server_url(), &sql)).await };
            let _ = runtime.block_on(run);
        };
        let _ = thread::spawn(drop_database).join();
    }
}

/// Longer than anything takes that works.
const LONG: Duration = Duration::from_secs(30);

pub async fn run_sql(url: &str, sql: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}

fn server_url() -> String {
    variable("RETELL_VAULT_TEST_PG")
}

fn variable(name: &str) -> String {
    env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run scripts/test, which starts a throw-away Postgres"))
}

fn with_database(url: &str, name: &str) -> String {
    let mut url = Url::parse(url).expect("the server's URL is valid");
    url.set_path(name);
    url.into()
}

// --- A server ---

/// A Postgres server of its own, for a test that kills it. Dropping it deletes it.
pub struct Cluster {
    folder: PathBuf,
    options: Vec<String>,
    url: String,
}

impl Cluster {
    /// Starts a new server. The options are those of `postgres`, as `&["-c", "fsync=off"]`.
    /// Without that one, what the server has confirmed survives [`Cluster::kill`] and more.
    pub async fn start(options: &[&str]) -> Self {
        let mut cluster = Self {
            folder: env::temp_dir().join(format!("cluster-{:016x}", rand::random::<u64>())),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            url: String::new(),
        };
        cluster.url = cluster.script("start").await;
        cluster
    }

    /// The database `postgres` of this server. The same for life.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// As [`TestDb::exec`], in the database `postgres`.
    pub async fn exec(&self, sql: &str) {
        if let Err(error) = run_sql(&self.url, sql).await {
            panic!("{error}\nin: {sql}");
        }
    }

    /// SIGKILL to every process of the server. When this returns, the port refuses.
    pub async fn kill(&self) {
        self.script("kill").await;
    }

    /// A clean shutdown, which disconnects everybody.
    pub async fn stop(&self) {
        self.script("stop").await;
    }

    /// Starts the server again after [`Cluster::kill`] or [`Cluster::stop`], on the same port
    /// and with the same options. Returns when it accepts connections.
    pub async fn restart(&self) {
        self.script("start").await;
    }

    /// Does not block the runtime, so a test can have load on the server meanwhile.
    async fn script(&self, command: &str) -> String {
        let output = Command::new(cluster_script())
            .arg(command)
            .arg(&self.folder)
            .args(&self.options)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("scripts/cluster runs");
        checked(output)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::process::Command::new(cluster_script())
            .arg("remove")
            .arg(&self.folder)
            .stdin(Stdio::null())
            .output();
    }
}

fn cluster_script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cluster")
}

fn checked(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/cluster failed: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

// --- A proxy ---

/// What a [`CutProxy`] does with its connections.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// Hands on everything.
    Pass,
    /// Hands on everything, until the server has answered the first request of this kind. That
    /// answer, and the connection, get lost: the request took effect and the client cannot know.
    /// Then goes back to [`Mode::Pass`].
    CutAfterRequest(Request),
    /// Accepts connections and hands on nothing, as a firewall that drops packets.
    /// What was sent meanwhile arrives when the mode changes.
    BlackHole,
    /// Closes all connections and refuses new ones, as a server that is down.
    Refuse,
    /// Hands on everything, but takes from every error where it was raised: one that a trigger raises looks like one of
    /// the server itself.
    HideRaise,
}

/// A request that [`Mode::CutAfterRequest`] waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Any protocol message that contains these bytes. Good for statements without parameters,
    /// as `COMMIT`. A statement with parameters has its SQL in a message that only prepares it.
    Message(&'static [u8]),
    /// The next execution of any prepared statement.
    Execution,
    /// The next execution of a prepared statement whose SQL contains these bytes,
    /// also if it was prepared long ago (but on a connection through this proxy).
    ExecutionOf(&'static [u8]),
}

/// A TCP proxy in front of a Postgres server or PgBouncer, for tests of faults. It runs on a
/// thread of its own, so it goes on when the test blocks. It understands no TLS.
pub struct CutProxy {
    url: String,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

/// What the connections of a proxy look at.
struct Shared {
    upstream: SocketAddr,
    mode: watch::Sender<Mode>,
    listening: watch::Sender<bool>,
    cuts: AtomicUsize,
}

impl CutProxy {
    /// Starts a proxy to the server in this URL, in [`Mode::Pass`].
    pub async fn start(url: &str) -> Self {
        let mut url = Url::parse(url).expect("the server's URL is valid");
        let upstream = (Ipv4Addr::LOCALHOST, url.port().expect("the URL has a port")).into();
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port is free");
        let address = socket.local_addr().expect("the port is bound");
        url.set_port(Some(address.port())).expect("the URL has a host");

        let shared = Arc::new(Shared {
            upstream,
            mode: watch::Sender::new(Mode::Pass),
            listening: watch::Sender::new(false),
            cuts: AtomicUsize::new(0),
        });
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        runtime.spawn(listen(socket, shared.clone()));

        let proxy = Self { url: url.into(), shared, runtime: Some(runtime) };
        proxy.set(Mode::Pass).await;
        proxy
    }

    /// The URL that was given, through this proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes the mode for old and new connections. When this returns, it is in force.
    pub async fn set(&self, mode: Mode) {
        let listens = mode != Mode::Refuse;
        self.shared.mode.send_replace(mode);
        let mut listening = self.shared.listening.subscribe();
        let wait = listening.wait_for(|listening| *listening == listens);
        let _ = tokio::time::timeout(LONG, wait).await.expect("mode is set");
    }

    /// How often [`Mode::CutAfterRequest`] has cut a connection.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for CutProxy {
    /// In the background, as a runtime must not wait inside of another one.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    async fn until(&self, wanted: impl FnMut(&Mode) -> bool) {
        let mut mode = self.mode.subscribe();
        // The sender lives as long as `self`.
        let _ = mode.wait_for(wanted).await;
    }

    async fn not_in_black_hole(&self) {
        self.until(|mode| *mode != Mode::BlackHole).await;
    }

    /// True for one message only, even if several connections match at the same time.
    fn take_cut(&self, is_it: impl FnOnce(&Request) -> bool) -> bool {
        self.mode.send_if_modified(|mode| match mode {
            Mode::CutAfterRequest(request) if is_it(request) => {
                *mode = Mode::Pass;
                true
            }
            _ => false,
        })
    }
}

/// A port that is ours but refuses connections until somebody listens.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?; // old connections do not keep us from listening again
    socket.bind(address)?;
    Ok(socket)
}

async fn listen(mut socket: TcpSocket, shared: Arc<Shared>) -> io::Result<()> {
    let address = socket.local_addr()?;
    loop {
        shared.until(|mode| *mode != Mode::Refuse).await;
        let listener = socket.listen(128)?;
        shared.listening.send_replace(true);

        let mut connections = JoinSet::new();
        tokio::select! {
            () = accept(&listener, &mut connections, &shared) => {}
            () = shared.until(|mode| *mode == Mode::Refuse) => {}
        }
        drop(listener);
        connections.shutdown().await;
        // Keeps the port, so that neither a server nor an outgoing connection takes it.
        socket = bind(address)?;
        shared.listening.send_replace(false);
    }
}

async fn accept(listener: &TcpListener, connections: &mut JoinSet<io::Result<()>>, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(serve(client, shared.clone()));
        while connections.try_join_next().is_some() {} // forgets those that have ended
    }
}

/// Both sides are closed when this returns.
async fn serve(client: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    shared.not_in_black_hole().await;
    let server = TcpStream::connect(shared.upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_in, mut client_out) = client.into_split();
    let (server_in, mut server_out) = server.into_split();
    let (mut client_in, mut server_in) = (BufReader::new(client_in), BufReader::new(server_in));

    while ask_for_encryption(&mut client_in, &mut server_out, &shared).await? {
        let answer = server_in.read_u8().await?;
        shared.not_in_black_hole().await;
        client_out.write_u8(answer).await?;
    }
    let answers = Answers::default();
    tokio::select! {
        result = hand_on_requests(client_in, server_out, &answers, &shared) => result,
        result = hand_on_answers(server_in, client_out, &answers, &shared) => result,
    }
}

/// Hands on a message of the start, which has no type. True if it asks for TLS or GSSAPI,
/// which the server answers with one byte; then the client starts anew.
async fn ask_for_encryption(
    client: &mut Reader,
    server: &mut OwnedWriteHalf,
    shared: &Shared,
) -> io::Result<bool> {
    const REQUESTS: [[u8; 4]; 2] = [80877103_u32.to_be_bytes(), 80877104_u32.to_be_bytes()];
    let message = read_message(client, 0).await?;
    shared.not_in_black_hole().await;
    server.write_all(&message).await?;
    let code = message.get(4..8).unwrap_or_default();
    Ok(REQUESTS.iter().any(|request| request == code))
}

type Reader = BufReader<OwnedReadHalf>;

/// A message of the Postgres protocol: a type byte (or none), the length of the rest, the rest.
async fn read_message(reader: &mut Reader, type_len: usize) -> io::Result<Vec<u8>> {
    let mut message = vec![0; type_len + 4];
    reader.read_exact(&mut message).await?;
    let length = message[type_len..].try_into().expect("four bytes are left");
    let length = u32::from_be_bytes(length).max(4) as usize;
    message.resize(type_len + length, 0);
    reader.read_exact(&mut message[type_len + 4..]).await?;
    Ok(message)
}

/// Counts answers by the `ReadyForQuery` that ends each. Clients may send a request before the
/// answer to the last one is complete, and it is the answer to the right one that must get lost.
struct Answers {
    /// How many there will be for what the client has sent so far.
    asked: AtomicUsize,
    /// The number of the answer that gets lost.
    cut: AtomicUsize,
}

impl Default for Answers {
    /// The first answer is that to the login.
    fn default() -> Self {
        Self { asked: AtomicUsize::new(1), cut: AtomicUsize::new(usize::MAX) }
    }
}

async fn hand_on_requests(
    mut client: Reader,
    mut server: OwnedWriteHalf,
    answers: &Answers,
    shared: &Shared,
) -> io::Result<()> {
    let mut statements = Statements::default();
    loop {
        let message = read_message(&mut client, 1).await?;
        shared.not_in_black_hole().await;
        if shared.take_cut(|request| statements.is(request, &message)) {
            let next = answers.asked.load(Ordering::SeqCst) + 1;
            answers.cut.store(next, Ordering::SeqCst);
        }
        statements.learn(&message);
        // Query, FunctionCall and Sync
        if matches!(message[0], b'Q' | b'F' | b'S') {
            answers.asked.fetch_add(1, Ordering::SeqCst);
        }
        server.write_all(&message).await?;
    }
}

/// Ends when it has waited for the whole of an answer that gets lost, so its request is done.
async fn hand_on_answers(
    mut server: Reader,
    mut client: OwnedWriteHalf,
    answers: &Answers,
    shared: &Shared,
) -> io::Result<()> {
    let mut number = 1;
    loop {
        let message = read_message(&mut server, 1).await?;
        shared.not_in_black_hole().await;
        let complete = message[0] == b'Z';
        let message = match *shared.mode.borrow() == Mode::HideRaise && message[0] == b'E' {
            true => without_origin(&message),
            false => message,
        };
        if number == answers.cut.load(Ordering::SeqCst) {
            if complete {
                shared.cuts.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
        } else {
            client.write_all(&message).await?;
        }
        number += usize::from(complete);
    }
}

/// An error without its fields W (context) and R (routine).
fn without_origin(error: &[u8]) -> Vec<u8> {
    let fields = error[5..].split(|&byte| byte == 0).filter(|field| !field.is_empty());
    let left = fields.filter(|field| !matches!(field[0], b'W' | b'R'));
    let mut rest: Vec<u8> = left.flat_map(|field| field.iter().copied().chain([0])).collect();
    rest.push(0);
    let length = u32::try_from(rest.len() + 4).expect("an error is short").to_be_bytes();
    [b"E".as_slice(), &length, &rest].concat()
}

/// The prepared statements of a connection, as SQL by name.
#[derive(Default)]
struct Statements(HashMap<Vec<u8>, Vec<u8>>);

impl Statements {
    /// From a Parse message: name, SQL, types of the parameters.
    fn learn(&mut self, message: &[u8]) {
        if message[0] == b'P' {
            let mut texts = message[5..].split(|&byte| byte == 0);
            let name = texts.next().unwrap_or_default().to_vec();
            let sql = texts.next().unwrap_or_default().to_vec();
            self.0.insert(name, sql);
        }
    }

    fn is(&self, request: &Request, message: &[u8]) -> bool {
        match request {
            Request::Message(part) => contains(message, part),
            Request::Execution => message[0] == b'B',
            Request::ExecutionOf(part) => self.executed(message).is_some_and(|sql| contains(sql, part)),
        }
    }

    /// From a Bind message: name of the portal, name of the statement, parameters.
    fn executed(&self, message: &[u8]) -> Option<&[u8]> {
        let mut texts = message[5..].split(|&byte| byte == 0);
        let name = texts.nth(1).filter(|_| message[0] == b'B')?;
        self.0.get(name).map(Vec::as_slice)
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
