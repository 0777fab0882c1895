//! A proxy that breaks connections to a Postgres server on purpose, between messages and inside of them.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

/// Longer than a change of the mode takes.
const LONG: Duration = Duration::from_secs(30);

/// What a [`CutProxy`] does with its connections.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// Forwards everything.
    Pass,
    /// Forwards everything until the server has answered the first request of this kind. That answer and the connection are
    /// lost: the request took effect and the client cannot know. Then goes back to [`Mode::Pass`].
    CutAfterRequest(Request),
    /// Accepts connections and forwards nothing, like a firewall that drops packets. What was sent in between arrives when
    /// the mode changes.
    BlackHole,
    /// Closes all connections and refuses new ones, like a server that is down.
    Refuse,
    /// Forwards everything, but removes from every error where it was raised: an error of a trigger looks like one of the
    /// server itself.
    HideRaise,
    /// Counts the messages of both directions over all connections, from 1, and breaks the one with this number. Then
    /// continues as the fault says.
    BreakMessage(usize, Fault),
    /// Keeps connections open, accepts new ones, and loses everything on them, like a firewall that forgot them. They are
    /// closed when the mode changes.
    Silence,
    /// Forwards everything. A connection that [`Fault::Stall`] hit stays open until the mode changes.
    Stalled,
}

/// What [`Mode::BreakMessage`] does to its message. [`Mode::Pass`] follows, unless stated otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The connection ends, and the message is lost.
    CutBefore,
    /// The message is forwarded, and then the connection ends.
    CutAfter,
    /// Half of the message is forwarded, and then the connection ends.
    Truncate,
    /// The message is forwarded later.
    Delay(Duration),
    /// The message is lost, and [`Mode::Silence`] follows.
    Silence,
    /// The message is lost, and so is all that follows in its direction on this connection; [`Mode::Stalled`] follows.
    Stall,
}

/// A request that [`Mode::CutAfterRequest`] waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Any protocol message that contains these bytes. Useful for statements without parameters, such as `COMMIT`. A
    /// statement with parameters has its SQL in a message that only prepares it.
    Message(&'static [u8]),
    /// The next execution of any prepared statement.
    Execution,
    /// The next execution of a prepared statement whose SQL contains these bytes, even if it was prepared long ago (but on
    /// a connection through this proxy).
    ExecutionOf(&'static [u8]),
}

/// A TCP proxy in front of a Postgres server or PgBouncer, for tests of faults. It runs in its own thread, so it continues
/// when the test blocks. It does not support TLS.
pub struct CutProxy {
    url: String,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

/// What the connections of a proxy read.
struct Shared {
    upstream: Mutex<SocketAddr>,
    mode: watch::Sender<Mode>,
    listening: watch::Sender<bool>,
    cuts: AtomicUsize,
    messages: AtomicUsize,
}

impl CutProxy {
    /// Starts a proxy to the server in this URL, in [`Mode::Pass`].
    pub async fn start(url: &str) -> Self {
        let mut url = Url::parse(url).expect("the server's URL is valid");
        let upstream = Mutex::new(server(&url));
        let socket = bind_anywhere();
        let address = socket.local_addr().expect("the port is bound");
        url.set_port(Some(address.port())).expect("the URL has a host");

        let shared = Arc::new(Shared {
            upstream,
            mode: watch::Sender::new(Mode::Pass),
            listening: watch::Sender::new(false),
            cuts: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
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

    /// New connections go to the server in this URL from now on.
    pub fn lead_to(&self, url: &str) {
        let url = Url::parse(url).expect("the server's URL is valid");
        *self.shared.upstream.lock().expect("nobody panics with it") = server(&url);
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

    /// How many messages have come to the proxy, from either side.
    pub fn messages(&self) -> usize {
        self.shared.messages.load(Ordering::SeqCst)
    }

    /// Whether [`Mode::BreakMessage`] still waits for its message.
    pub fn is_waiting(&self) -> bool {
        matches!(*self.shared.mode.borrow(), Mode::BreakMessage(..))
    }
}

impl Drop for CutProxy {
    /// In the background, because a runtime must not wait inside another one.
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

    /// The next message of a connection. In silent modes, even the end of the connection is not reported.
    async fn next(&self, reader: &mut Reader) -> io::Result<Vec<u8>> {
        let message = read_message(reader, 1).await;
        if message.is_err() {
            self.not_silent().await;
        }
        message
    }

    async fn not_silent(&self) {
        self.until(|mode| *mode != Mode::Silence).await;
    }

    /// Forwards a message, or breaks it.
    async fn hand_on(&self, message: &[u8], to: &mut OwnedWriteHalf) -> io::Result<()> {
        self.not_in_black_hole().await;
        self.messages.fetch_add(1, Ordering::SeqCst);
        let fault = self.take_fault();
        if *self.mode.borrow() == Mode::Silence {
            self.not_silent().await;
            return cut();
        }
        match fault {
            Some(Fault::CutBefore) => return cut(),
            Some(Fault::Truncate) => {
                to.write_all(&message[..message.len() / 2]).await?;
                return cut();
            }
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            Some(Fault::Stall) => {
                self.until(|mode| *mode != Mode::Stalled).await;
                return cut();
            }
            Some(Fault::CutAfter | Fault::Silence) | None => {}
        }
        to.write_all(message).await?;
        if fault == Some(Fault::CutAfter) { cut() } else { Ok(()) }
    }

    /// Counts a message of [`Mode::BreakMessage`]; returns the fault if it is the one.
    fn take_fault(&self) -> Option<Fault> {
        let mut taken = None;
        self.mode.send_if_modified(|mode| {
            let Mode::BreakMessage(left, fault) = mode else { return false };
            *left -= 1;
            if *left > 0 {
                return false;
            }
            taken = Some(*fault);
            *mode = match fault {
                Fault::Silence => Mode::Silence,
                Fault::Stall => Mode::Stalled,
                _ => Mode::Pass,
            };
            true
        });
        taken
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

fn server(url: &Url) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, url.port().expect("the URL has a port")).into()
}

/// Ends the connection.
fn cut() -> io::Result<()> {
    Err(io::ErrorKind::ConnectionReset.into())
}

/// At a free port that Linux does not use for outgoing connections: one of these would take it in the moment between two modes.
/// Servers of the tests have the ports above these: see scripts/cluster.
fn bind_anywhere() -> TcpSocket {
    let ports = std::iter::repeat_with(|| rand::random_range(10_000..20_000)).take(1_000);
    let mut sockets = ports.filter_map(|port: u16| bind((Ipv4Addr::LOCALHOST, port).into()).ok());
    sockets.next().expect("a port is free")
}

/// A port that is reserved but refuses connections until a socket listens.
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
    shared.not_silent().await;
    let upstream = *shared.upstream.lock().expect("nobody panics with it");
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_in, mut client_out) = client.into_split();
    let (server_in, mut server_out) = server.into_split();
    let (mut client_in, mut server_in) = (BufReader::new(client_in), BufReader::new(server_in));

    while ask_for_encryption(&mut client_in, &mut server_out, &shared).await? {
        let answer = server_in.read_u8().await?;
        shared.hand_on(&[answer], &mut client_out).await?;
    }
    let answers = Answers::default();
    tokio::select! {
        result = hand_on_requests(client_in, server_out, &answers, &shared) => result,
        result = hand_on_answers(server_in, client_out, &answers, &shared) => result,
    }
}

/// Forwards a message of the start, which has no type. True if it asks for TLS or GSSAPI, which the server answers with one
/// byte; then the client starts again.
async fn ask_for_encryption(
    client: &mut Reader,
    server: &mut OwnedWriteHalf,
    shared: &Shared,
) -> io::Result<bool> {
    const REQUESTS: [[u8; 4]; 2] = [80877103_u32.to_be_bytes(), 80877104_u32.to_be_bytes()];
    let message = read_message(client, 0).await?;
    shared.hand_on(&message, server).await?;
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

/// Counts answers by the `ReadyForQuery` that ends each. Clients may send a request before the answer to the last one is
/// complete, and the answer to the right one must be lost.
struct Answers {
    /// How many answers there will be for what the client has sent so far.
    asked: AtomicUsize,
    /// The number of the answer that is lost.
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
        let message = shared.next(&mut client).await?;
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
        shared.hand_on(&message, &mut server).await?;
    }
}

/// Ends after the whole of an answer that is lost, so its request is done.
async fn hand_on_answers(
    mut server: Reader,
    mut client: OwnedWriteHalf,
    answers: &Answers,
    shared: &Shared,
) -> io::Result<()> {
    let mut number = 1;
    loop {
        let message = shared.next(&mut server).await?;
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
            shared.hand_on(&message, &mut client).await?;
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
