//! Root keys that change under a running vault, as an operator changes them with another process.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use retell_vault::keyring::{
    KeyId, KeyState, ProviderFuture, RawKey, Wrapping, WrappingKey, WrappingKeyProvider,
};
use retell_vault::rotation::{NewKeyStep, RotateEvent, RotateOptions};
use retell_vault::{Error, ErrorKind, Keyring, Owner, Passphrase, RetellConfig, Vault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

fn raw(byte: char) -> RawKey {
    RawKey::from_base64(&format!("{}A=", byte.to_string().repeat(42))).unwrap()
}

fn config() -> RetellConfig {
    RetellConfig::new("key_test_rotation".parse().unwrap())
}

/// A vault over the local file alone, and the keyring as an operator has it open.
async fn running(home: &Path) -> (Vault, Keyring) {
    let path = home.join("home/keyring.json");
    let prepared = Keyring::prepare(&path, &raw('A')).await.unwrap();
    let vault = Vault::builder(prepared).local_file(home.join("home/local.db")).init().await.unwrap();
    (vault, Keyring::open(&path, &raw('A')).await.unwrap())
}

/// Whether a token that names the key lies in the local file.
fn holds_token_of(home: &Path, key: KeyId) -> bool {
    let head = format!("rv1.{key}.");
    let holds = |bytes: Vec<u8>| bytes.windows(head.len()).any(|text| text == head.as_bytes());
    ["local.db", "local.db-journal"]
        .iter()
        .any(|name| fs::read(home.join("home").join(name)).is_ok_and(holds))
}

#[tokio::test]
async fn a_keyring_that_is_saved_nowhere_seals_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (path, local) = (home.path().join("home/keyring.json"), home.path().join("home/local.db"));
    let prepared = Keyring::prepare(&path, &raw('A')).await.unwrap();
    let builder = || Vault::builder(prepared.clone()).local_file(&local);
    let refused = builder().build().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Configuration);
    assert!(refused.to_string().contains("keyring.json") && refused.hint().contains("init()"), "{refused}");
    assert!(!path.exists() && !local.exists(), "nothing was begun");

    // once it is saved, every clone of it may be built with, and another process opens what it sealed
    let owner = Owner::user("user-1").unwrap();
    builder().init().await.unwrap().store(&owner, &config()).await.unwrap();
    builder().build().await.unwrap().load(&owner).await.unwrap();
    let opened = Keyring::open(&path, &raw('A')).await.unwrap();
    let vault = Vault::builder(opened.clone()).local_file(&local).build().await.unwrap();
    vault.load(&owner).await.unwrap();

    // a file that was lost is saved nowhere either
    fs::remove_file(&path).unwrap();
    for keyring in [prepared, opened] {
        let refused = Vault::builder(keyring).local_file(&local).build().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::KeyringMissing, "{refused}");
    }
    vault.load(&owner).await.unwrap();
}

#[tokio::test]
async fn a_running_vault_seals_under_the_promoted_key_and_opens_what_was_stored_before() {
    let home = tempfile::tempdir().unwrap();
    let (vault, operator) = running(home.path()).await;
    let before = Owner::user("before").unwrap();
    vault.store(&before, &config()).await.unwrap();
    let new = operator.add_key().await.unwrap().id;
    operator.promote_key(new).await.unwrap();
    let mut stores = 0;
    while !holds_token_of(home.path(), new) {
        assert!(stores < 400, "the new key never sealed");
        tokio::time::sleep(Duration::from_millis(25)).await;
        vault.store(&Owner::user(&format!("user-{stores}")).unwrap(), &config()).await.unwrap();
        stores += 1;
    }
    for user in (0..stores).map(|number| format!("user-{number}")).chain(["before".to_owned()]) {
        vault.load(&Owner::user(&user).unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn a_vault_that_cannot_follow_the_keyring_refuses_to_store_and_goes_on_loading() {
    let home = tempfile::tempdir().unwrap();
    let (vault, operator) = running(home.path()).await;
    let owner = Owner::user("user-1").unwrap();
    vault.store(&owner, &config()).await.unwrap();
    operator.rewrap(&raw('Q')).await.unwrap();
    operator.add_key().await.unwrap();
    let mut tries = 0;
    let error = loop {
        match vault.store(&owner, &config()).await {
            Err(error) => break error,
            Ok(_) => assert!(tries < 400, "it never noticed"),
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(25)).await;
    };
    assert_eq!(error.kind(), ErrorKind::KeyringLocked);
    assert!(error.hint().contains("restart"), "{error:?}");
    vault.load(&owner).await.unwrap();

    drop(vault);
    let reopened = Keyring::open(operator.path().unwrap(), &raw('Q')).await.unwrap();
    let vault = Vault::builder(reopened).local_file(home.path().join("home/local.db")).build().await.unwrap();
    vault.store(&owner, &config()).await.unwrap();
}

/// A server that keeps one wrapping key and gives it to everybody who asks.
struct KeyServer {
    address: std::net::SocketAddr,
    refuses: AtomicBool,
    /// It takes questions and answers none.
    hangs: AtomicBool,
    asked: Notify,
}

impl KeyServer {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (refuses, hangs) = (AtomicBool::new(false), AtomicBool::new(false));
        let server = Arc::new(Self { address, refuses, hangs, asked: Notify::new() });
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(client));
            }
        });
        server
    }

    async fn serve(self: Arc<Self>, mut client: TcpStream) {
        client.read_u8().await.unwrap();
        self.asked.notify_one();
        if self.hangs.load(Ordering::SeqCst) {
            client.read_u8().await.ok(); // until the client hangs up
        } else if !self.refuses.load(Ordering::SeqCst) {
            client.write_all(&[9; 32]).await.unwrap();
        }
    }
}

/// The wrapping key of such a server.
struct RemoteKey(Arc<KeyServer>);

impl RemoteKey {
    async fn ask(&self) -> Result<WrappingKey, Error> {
        let refused = |_| Error::no_wrapping_key("the key server gave no key", "look at the key server");
        let mut stream = TcpStream::connect(self.0.address).await.map_err(refused)?;
        stream.write_u8(b'?').await.map_err(refused)?;
        let mut key = [0; 32];
        stream.read_exact(&mut key).await.map_err(refused)?;
        Ok(WrappingKey::new(key))
    }
}

impl WrappingKeyProvider for RemoteKey {
    fn create(&self) -> ProviderFuture<'_, (Wrapping, WrappingKey)> {
        Box::pin(async move {
            let (provider, data) = ("test".to_owned(), "key-1".to_owned());
            Ok((Wrapping::External { provider, data }, self.ask().await?))
        })
    }

    fn open<'a>(&'a self, wrapping: &'a Wrapping) -> ProviderFuture<'a, WrappingKey> {
        Box::pin(async move {
            match wrapping {
                Wrapping::External { data, .. } if data == "key-1" => self.ask().await,
                _ => Err(Error::no_wrapping_key("the key server did not wrap it", "use what did")),
            }
        })
    }
}

#[tokio::test]
async fn a_keyring_opens_with_a_key_from_the_network() {
    let home = tempfile::tempdir().unwrap();
    let (path, local) = (home.path().join("home/keyring.json"), home.path().join("home/local.db"));
    let (server, owner) = (KeyServer::start().await, Owner::user("user-1").unwrap());
    let remote = RemoteKey(server.clone());
    let prepared = Keyring::prepare(&path, &remote).await.unwrap();
    let vault = Vault::builder(prepared).local_file(&local).init().await.unwrap();
    vault.store(&owner, &config()).await.unwrap();
    let opened = Keyring::open(&path, &remote).await.unwrap();
    Vault::builder(opened.clone()).local_file(&local).build().await.unwrap().load(&owner).await.unwrap();

    // from the server to a raw key and back
    opened.rewrap(&raw('A')).await.unwrap();
    assert!(Keyring::open(&path, &remote).await.unwrap_err().to_string().contains("did not wrap it"));
    opened.rewrap(&remote).await.unwrap();
    assert_eq!(Keyring::open(&path, &raw('A')).await.unwrap_err().kind(), ErrorKind::KeyringLocked);
    Keyring::open(&path, &remote).await.unwrap();

    // what the provider says arrives, and nothing has changed
    let before = fs::read(&path).unwrap();
    server.refuses.store(true, Ordering::SeqCst);
    for error in [
        Keyring::open(&path, &remote).await.unwrap_err(),
        Keyring::prepare(home.path().join("other.json"), &remote).await.unwrap_err(),
        opened.rewrap(&remote).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::KeyringLocked);
        assert_eq!(
            (error.to_string().as_str(), error.hint()),
            ("the key server gave no key", "look at the key server")
        );
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(!home.path().join("other.json").exists());
}

#[tokio::test]
async fn a_call_that_is_dropped_while_the_provider_is_asked_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (_vault, operator) = running(home.path()).await;
    let server = KeyServer::start().await;
    let remote = RemoteKey(server.clone());
    operator.rewrap(&remote).await.unwrap();
    while server.asked.notified().now_or_never().is_some() {}
    let before = fs::read(operator.path().unwrap()).unwrap();
    server.hangs.store(true, Ordering::SeqCst);
    tokio::select! {
        _ = Keyring::open(operator.path().unwrap(), &remote) => panic!("nobody answered"),
        _ = server.asked.notified() => {}
    }
    tokio::select! {
        _ = operator.rewrap(&remote) => panic!("nobody answered"),
        _ = server.asked.notified() => {}
    }
    assert_eq!(fs::read(operator.path().unwrap()).unwrap(), before);
    server.hangs.store(false, Ordering::SeqCst);
    // no lock is left behind
    operator.add_key().await.unwrap();
    let reopened = Keyring::open(operator.path().unwrap(), &remote).await.unwrap();
    assert_eq!(reopened.keys(), operator.keys());
}

#[tokio::test(flavor = "current_thread")]
async fn other_tasks_go_on_while_a_passphrase_is_stretched() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("home/keyring.json");
    let turns = Arc::new(AtomicU64::new(0));
    let counting = turns.clone();
    let others = tokio::spawn(async move {
        loop {
            counting.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let passphrase = Passphrase::new("five obviously fake test words");
    tokio::task::yield_now().await;
    let before = turns.load(Ordering::Relaxed);
    let prepared = Keyring::prepare(&path, &passphrase).await.unwrap();
    let local = home.path().join("home/local.db");
    let after_prepare = turns.load(Ordering::Relaxed);
    assert!(after_prepare > before + 10, "{before} {after_prepare}");
    Vault::builder(prepared).local_file(local).init().await.unwrap();
    let before = turns.load(Ordering::Relaxed);
    Keyring::open(&path, &passphrase).await.unwrap();
    assert!(turns.load(Ordering::Relaxed) > before + 10);
    others.abort();
}

fn states(keyring: &Keyring) -> Vec<KeyState> {
    keyring.keys().iter().map(|key| key.state).collect()
}

/// Rotates to a new key. Answers with the steps towards it.
async fn rotate_to_new_key(vault: &Vault) -> Vec<NewKeyStep> {
    let mut steps = Vec::new();
    let options = RotateOptions::new().new_key();
    let rotation = vault.rotate(&options, |event| {
        if let RotateEvent::NewKey(step) = event {
            steps.push(step);
        }
    });
    let rotation = rotation.await.unwrap();
    assert!(rotation.complete);
    let primary = vault.keys().into_iter().find(|key| key.state == KeyState::Primary).unwrap();
    assert_eq!(rotation.key, primary.id);
    steps
}

#[tokio::test]
async fn a_rotation_makes_its_key_or_takes_the_one_that_is_pending() {
    let home = tempfile::tempdir().unwrap();
    let (path, local) = (home.path().join("home/keyring.json"), home.path().join("home/local.db"));
    let (vault, operator) = running(home.path()).await;
    let (owner, old) = (Owner::user("user-1").unwrap(), operator.keys()[0].id);
    vault.store(&owner, &config()).await.unwrap();
    let steps = rotate_to_new_key(&vault).await;
    let [NewKeyStep::Added { key, .. }, NewKeyStep::Promoted { key: promoted, retired, .. }] = steps[..]
    else {
        panic!("{steps:?}")
    };
    assert_eq!((promoted, retired), (key, old));
    let reopened = Keyring::open(&path, &raw('A')).await.unwrap();
    assert_eq!(states(&reopened), [KeyState::Retired, KeyState::Primary]);
    assert_eq!(vault.count_tokens().await.unwrap().tokens_of(old), 0);

    // killed between adding and promoting
    let pending = reopened.add_key().await.unwrap().id;
    drop(vault);
    let vault = Vault::builder(reopened).local_file(&local).build().await.unwrap();
    let steps = rotate_to_new_key(&vault).await;
    let [NewKeyStep::ResumedPending { key, .. }, NewKeyStep::Promoted { key: promoted, .. }] = steps[..]
    else {
        panic!("{steps:?}")
    };
    assert_eq!((key, promoted), (pending, pending));
    assert_eq!(vault.keys().len(), 3, "no second key was made");
    vault.load(&owner).await.unwrap();
}

#[tokio::test]
async fn a_rotation_that_cannot_begin_makes_no_key() {
    let home = tempfile::tempdir().unwrap();
    let (vault, operator) = running(home.path()).await;
    drop(vault);
    // nobody listens there
    let vault = Vault::builder(operator.clone()).postgres("postgres://nobody@127.0.0.1:1/app");
    let vault = vault.build().await.unwrap();
    let mut steps = 0;
    let error = vault.rotate(&RotateOptions::new().new_key(), |_| steps += 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().starts_with("no key was made: "), "{error}");
    assert_eq!((steps, states(&operator)), (0, vec![KeyState::Primary]));
}
