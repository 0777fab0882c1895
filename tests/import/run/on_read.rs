//! A load that imports an owner without a record, until an end date.

use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use retell_vault::config::import::{Carexps, Passwords};
use retell_vault::layout::OldSource;
use retell_vault::records::Loaded;
use retell_vault::records::Source;
use retell_vault::{Error, ErrorKind, Layout, RetellConfig, Vault, VaultBuilder};
use sqlx::PgPool;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::support::*;
use crate::support::role::Role;
use crate::support::rows::{table, value};
use crate::support::vaults::*;
use crate::support::{CutProxy, Mode};

const OLD: &str = "CREATE TABLE old (user_id text PRIMARY KEY, key text, agent text)";
/// A key that an application encrypted with its built-in password.
const TEXT4: &str =
    "+zA/gMJAhQFDWCuC26DPpMUsFmvnktR4rfFWhMA=:7o+PZaz6hNRTJSEe:VH1jnKsC8t4wsJi3O4Ekyw==:1795674103908";
const MINUTE: u64 = 60_000;

fn sources() -> Layout {
    layout([column("old", "key", "api_key"), column("old", "agent", "call_agent_id")])
}

fn carexps() -> Layout {
    layout([OldSource::new("old", "user_id", "key", "carexps").unwrap().field(field("api_key"))])
}

fn tomorrow() -> SystemTime {
    SystemTime::now() + Duration::from_hours(24)
}

impl Scene {
    /// Another process, whose loads import.
    fn importer(&self, layout: Layout) -> VaultBuilder {
        self.importer_at(&self.db.url, layout)
    }

    fn importer_at(&self, url: &str, layout: Layout) -> VaultBuilder {
        self.hosts.host(1, url).layout(layout).import_on_read(Passwords::new(), tomorrow())
    }

    async fn old(&self, user: &str, key: &str) {
        self.db.exec(&format!("INSERT INTO old VALUES ('{user}', '{key}', NULL)")).await;
    }

    async fn records(&self) -> i64 {
        value(&self.db, "SELECT count(*) FROM records").await
    }
}

async fn load(vault: &Vault, user: &str) -> Result<Loaded, ErrorKind> {
    vault.load(&owner(user)).await.map_err(|error| error.kind())
}

async fn loaded_key(vault: &Vault, user: &str) -> Result<String, ErrorKind> {
    load(vault, user).await.map(|loaded| key(&loaded.config))
}

/// A clock that a test moves.
#[derive(Clone)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self(Arc::new(AtomicU64::new(now.as_millis() as u64)))
    }

    fn forward(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }

    fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn clock(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let hand = self.0.clone();
        move || hand.load(Ordering::SeqCst)
    }
}

/// Every event of the crate in this program, each on a line. Another test may meet an event first, so all hear them.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listener;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?}; ").unwrap();
    }
}

impl Subscriber for Listener {
    // a statement of a test has values in its text
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("retell_vault")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        LOG.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Listener).unwrap());
}

/// What was said about an owner, of which no other test has the name.
fn said(user: &str) -> String {
    let owner = format!("owner={user};");
    let log = LOG.lock().unwrap();
    log.iter().filter(|line| line.contains(&owner)).map(|line| format!("{line}\n")).collect()
}

fn assert_no_secret_said() {
    assert_no_secret(LOG.lock().unwrap().concat().as_bytes(), "the log");
}

#[tokio::test]
async fn a_load_imports_as_an_import_does_and_clears_nothing() {
    let scene = Scene::new(OLD, sources()).await;
    scene.db.exec("INSERT INTO old VALUES ('user-1', 'key_test_0001', 'agent_test_0001')").await;
    let before = table(&scene.db, "old").await;
    assert_eq!(loaded_key(&scene.vault, "user-1").await, Err(ErrorKind::NotFound), "off by default");

    let vault = scene.importer(sources()).build().await.unwrap();
    let loaded = load(&vault, "user-1").await.unwrap();
    assert_eq!((key(&loaded.config), loaded.source), ("key_test_0001".to_owned(), Source::Database));
    assert_eq!(text(&loaded.config, "call_agent_id").as_deref(), Some("agent_test_0001"));
    assert_eq!(loaded.version.millis(), 1, "every save is newer");
    assert!(loaded.imported && loaded.not_stored.is_none());
    assert_eq!(loaded_key(&scene.vault, "user-1").await.unwrap(), "key_test_0001", "it is stored");
    assert_eq!(table(&scene.db, "old").await, before);

    // the mark is that of an import: the next one knows the texts, and notices a change of them
    assert_eq!(counts(&scene.import().await), [0, 0, 0, 1]);
    scene.db.exec("UPDATE old SET key = 'key_test_0002'").await;
    assert_eq!(counts(&scene.import().await), [1, 1, 0, 0]);
    assert_eq!(loaded_key(&vault, "user-1").await.unwrap(), "key_test_0002");
}

#[tokio::test]
async fn only_the_values_of_this_owner_are_imported() {
    let tables = "CREATE TABLE old (tenant text, user_id uuid, key text, saved timestamptz)";
    let source =
        column("old", "key", "api_key").tenant_column("tenant").unwrap().time_column("saved").unwrap();
    let sources = layout([source]).tenant_column("tenant_id").unwrap();
    let scene = Scene::new(tables, layout([column("old", "key", "api_key")])).await;
    scene.db.exec("DROP TABLE records; CREATE TABLE records (tenant_id text, user_id text, encrypted_agent_config jsonb, UNIQUE (tenant_id, user_id))").await;
    let (lower, upper) = ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11");
    let row =
        |tenant: &str, key: &str| format!("INSERT INTO old VALUES ({tenant}, '{lower}', '{key}', 'epoch');");
    scene.db.exec(&[row("'one'", "key_test_one"), row("NULL", "key_test_none")].concat()).await;
    scene.db.exec("UPDATE old SET saved = '2026-01-01T00:00:00Z'").await;

    let vault = scene.importer(sources).build().await.unwrap();
    let theirs = owner(upper).in_tenant("one").unwrap();
    let loaded = vault.load(&theirs).await.unwrap();
    assert_eq!(key(&loaded.config), "key_test_one");
    assert_eq!(loaded.version.millis(), 1_767_225_600_000);
    let other = owner(lower).in_tenant("two").unwrap();
    assert_eq!(vault.load(&other).await.unwrap_err().kind(), ErrorKind::NotFound);
    let no_uuid = owner("user-1").in_tenant("one").unwrap();
    assert_eq!(vault.load(&no_uuid).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_saved_a_deleted_and_a_known_record_are_never_imported_over() {
    let scene = Scene::new(OLD, sources()).await;
    let users = ["user-1", "user-2", "user-3", "user-4"];
    for user in users {
        scene.old(user, "key_test_old").await;
    }
    let saved = RetellConfig::new("key_test_saved".parse().unwrap());
    let vault = scene.importer(sources()).build().await.unwrap();
    for (by, user) in [(&scene.vault, "user-1"), (&scene.vault, "user-2"), (&vault, "user-3")] {
        by.store(&owner(user), &saved).await.unwrap();
    }
    scene.vault.delete(&owner("user-2")).await.unwrap();
    // a row that is gone: this process knows that there was a record
    scene.db.exec("DELETE FROM records WHERE user_id = 'user-3'").await;
    let before = table(&scene.db, "records").await;
    for _ in 0..2 {
        assert_eq!(loaded_key(&vault, "user-1").await.unwrap(), "key_test_saved");
        assert_eq!(loaded_key(&vault, "user-2").await, Err(ErrorKind::NotFound));
        assert_eq!(loaded_key(&vault, "user-3").await, Err(ErrorKind::NotFound));
    }

    // no other call imports
    let fourth = owner("user-4");
    let many = vault.load_many(std::slice::from_ref(&fourth)).await;
    assert_eq!(many[0].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    let pool = PgPool::connect(&scene.db.url).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    let within = vault.load_in(&mut transaction, &fourth).await.unwrap_err();
    assert_eq!(within.kind(), ErrorKind::NotFound);
    transaction.rollback().await.unwrap();
    let changed = vault.modify(&fourth, |_| Ok(())).await.unwrap_err();
    assert_eq!(changed.kind(), ErrorKind::NotFound);
    assert_eq!(table(&scene.db, "records").await, before);
    assert_eq!(loaded_key(&vault, "user-4").await.unwrap(), "key_test_old");
}

/// The role of the service may read both tables, and write none.
#[tokio::test]
async fn a_value_that_cannot_be_stored_is_returned_and_the_answer_says_so() {
    let scene = Scene::new(OLD, sources()).await;
    scene.old("refused-1", CANARIES[0]).await;
    let role = Role::create(&scene.db, "GRANT SELECT ON old, records TO guest").await;
    listen();
    let vault = scene.importer_at(&role.url, sources()).build().await.unwrap();
    for _ in 0..2 {
        let loaded = load(&vault, "refused-1").await.unwrap();
        assert_eq!((key(&loaded.config), loaded.source), (CANARIES[0].to_owned(), Source::OldPlace));
        assert_eq!(loaded.not_stored.as_ref().map(Error::kind), Some(ErrorKind::AccessDenied));
        assert!(!loaded.imported);
        assert_no_secret(format!("{loaded:?}").as_bytes(), "the answer");
    }
    assert_eq!(scene.records().await, 0);
    let said = said("refused-1");
    assert!(said.contains("could not store what it imported"), "{said}");
    assert_no_secret_said();
}

#[tokio::test]
async fn what_is_not_imported_is_not_found_and_the_log_names_owner_and_place() {
    let tables = format!("{OLD}; CREATE TABLE older (user_id text, key text)");
    let of = |table| OldSource::new(table, "user_id", "key", "carexps").unwrap().field(field("api_key"));
    let scene = Scene::new(&tables, layout([of("old"), of("older")])).await;
    let canary = CANARIES[0];
    scene.db.exec(&format!("INSERT INTO older VALUES ('lost-1', '{canary}_1'), ('lost-1', '{canary}_2'), ('lost-2', '{canary}_3')")).await;
    scene.old("lost-2", &format!("{canary}_4")).await;
    scene.old("lost-3", TEXT4).await;
    listen();
    let wrong = Passwords::new().with("not the password".to_owned());
    let vault = scene.hosts.host(1, &scene.db.url).layout(layout([of("old"), of("older")]));
    let vault = vault.import_on_read(wrong, tomorrow()).build().await.unwrap();

    assert_eq!(loaded_key(&vault, "lost-1").await, Err(ErrorKind::NotFound));
    let first = said("lost-1");
    assert!(first.contains("several rows of this owner have different values"), "{first}");
    assert!(first.contains("older.key"), "{first}");
    // the first source wins, as in every import
    assert_eq!(loaded_key(&vault, "lost-2").await.unwrap(), format!("{canary}_4"));
    assert!(said("lost-2").contains("an earlier source has another value"), "{}", said("lost-2"));

    // loads at once wait for one attempt
    let third = owner("lost-3");
    let at_once = join_all((0..8).map(|_| vault.load(&third))).await;
    assert!(
        at_once.iter().all(|loaded| loaded.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound))
    );
    assert_eq!(said("lost-3").matches("no password opens it").count(), 1, "{}", said("lost-3"));
    for at_once in at_once {
        assert_no_secret(format!("{at_once:?}").as_bytes(), "an answer");
    }
    assert_eq!(scene.records().await, 1);

    // a public password opens it, and the log says what that means
    let public = Passwords::new().with(Carexps::BUILT_IN_PASSWORD.to_owned());
    let vault = scene.hosts.host(2, &scene.db.url).layout(layout([of("old"), of("older")]));
    let vault = vault.import_on_read(public, tomorrow()).build().await.unwrap();
    assert_eq!(loaded_key(&vault, "lost-3").await.unwrap(), "key_test_57d59082e082eb513508");
    assert!(said("lost-3").contains("others may know this old value"), "{}", said("lost-3"));
    assert!(!said("lost-3").contains("key_test_57d5"));
    assert_no_secret_said();
}

#[tokio::test]
async fn many_loads_in_two_processes_make_one_record() {
    let scene = Scene::new(OLD, sources()).await;
    let users: Vec<String> = (0..10).map(|n| format!("shared-{n}")).collect();
    for user in &users {
        scene.old(user, &format!("key_test_{user}")).await;
    }
    listen();
    let second =
        scene.hosts.host(2, &scene.db.url).layout(sources()).import_on_read(Passwords::new(), tomorrow());
    let vaults = [scene.importer(sources()).build().await.unwrap(), second.build().await.unwrap()];
    let loads = users.iter().flat_map(|user| vaults.iter().flat_map(move |vault| [(vault, user); 4]));
    let loaded = join_all(loads.map(async |(vault, user)| (user, load(vault, user).await.unwrap()))).await;
    let mut versions = std::collections::BTreeMap::new();
    for (user, loaded) in loaded {
        assert_eq!(key(&loaded.config), format!("key_test_{user}"));
        assert!(loaded.not_stored.is_none(), "{:?}", loaded.not_stored);
        assert_eq!(*versions.entry(user).or_insert(loaded.version), loaded.version);
    }
    for user in &users {
        assert_eq!(said(user).matches("a load imported this owner").count(), 1, "{}", said(user));
    }
    assert_eq!(scene.records().await, 10);
}

/// The loads found no record, and wait for the source. Meanwhile another process saves.
#[tokio::test]
async fn a_save_and_a_delete_during_a_load_win() {
    let scene = Scene::new(OLD, sources()).await;
    scene.old("user-1", "key_test_old").await;
    scene.old("user-2", "key_test_old").await;
    let vault = scene.importer(sources()).build().await.unwrap();
    let pool = PgPool::connect(&scene.db.url).await.unwrap();
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE old IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let loads = ["user-1", "user-2"].map(|user| {
        let vault = vault.clone();
        tokio::spawn(async move { loaded_key(&vault, user).await })
    });
    let waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'old'::regclass AND NOT granted";
    while value::<i64>(&scene.db, waiting).await < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let saved = RetellConfig::new("key_test_saved".parse().unwrap());
    for user in ["user-1", "user-2"] {
        scene.vault.store(&owner(user), &saved).await.unwrap();
    }
    scene.vault.delete(&owner("user-2")).await.unwrap();
    let before = table(&scene.db, "records").await;
    lock.rollback().await.unwrap();
    let [first, second] = loads;
    assert_eq!(first.await.unwrap().unwrap(), "key_test_saved");
    assert_eq!(second.await.unwrap(), Err(ErrorKind::NotFound));
    assert_eq!(table(&scene.db, "records").await, before);
}

#[tokio::test]
async fn an_unknown_owner_costs_one_more_look_in_a_minute_and_nothing_after_the_end() {
    let scene = Scene::new(OLD, sources()).await;
    let (proxy, hand) = (CutProxy::start(&scene.db.url).await, Hand::now());
    let end = hand.time() + Duration::from_millis(2 * MINUTE);
    let builder = || scene.hosts.host(1, proxy.url()).layout(sources()).clock(hand.clock());
    let plain = builder().build().await.unwrap();
    let vault = builder().import_on_read(Passwords::new(), end).build().await.unwrap();
    // other messages come between now and then, so the least counts
    let cost = async |vault: &Vault| {
        let mut least = usize::MAX;
        for n in 0..8 {
            let before = proxy.messages();
            assert_eq!(loaded_key(vault, &format!("nobody-{n}")).await, Err(ErrorKind::NotFound));
            least = least.min(proxy.messages() - before);
        }
        least
    };
    let (without, first) = (cost(&plain).await, cost(&vault).await);
    // a transaction of three statements, each with its answer
    assert!((without + 1..without + 50).contains(&first), "{without} {first}");

    assert_eq!(loaded_key(&vault, "user-1").await, Err(ErrorKind::NotFound));
    scene.db.exec("ALTER TABLE old RENAME TO away").await;
    assert_eq!(loaded_key(&vault, "user-1").await, Err(ErrorKind::NotFound), "no source was read");
    assert_eq!(loaded_key(&vault, "user-0").await, Err(ErrorKind::Schema));
    scene.db.exec("ALTER TABLE away RENAME TO old").await;
    scene.old("user-1", "key_test_0001").await;
    hand.forward(MINUTE - 1);
    assert_eq!(loaded_key(&vault, "user-1").await, Err(ErrorKind::NotFound));
    hand.forward(1);
    assert_eq!(loaded_key(&vault, "user-1").await.unwrap(), "key_test_0001");

    scene.old("user-2", "key_test_0002").await;
    hand.forward(MINUTE - 1);
    scene.old("user-3", "key_test_0003").await;
    assert_eq!(loaded_key(&vault, "user-2").await.unwrap(), "key_test_0002");
    hand.forward(1);
    assert_eq!(loaded_key(&vault, "user-3").await, Err(ErrorKind::NotFound), "the end");
    assert_eq!(scene.records().await, 2);
    // old values and their layout may be gone by then
    scene.db.exec("DROP TABLE old").await;
    let ended = scene.hosts.host(1, &scene.db.url).layout(layout([])).clock(hand.clock());
    let ended = ended.import_on_read(Passwords::new(), end).build().await.unwrap();
    assert_eq!(loaded_key(&ended, "user-1").await.unwrap(), "key_test_0001");
}

#[tokio::test]
async fn in_an_outage_nothing_is_imported() {
    let scene = Scene::new(OLD, sources()).await;
    scene.old("user-1", "key_test_0001").await;
    let proxy = CutProxy::start(&scene.db.url).await;
    let vault = scene.importer_at(proxy.url(), sources()).offline_reads().build().await.unwrap();
    proxy.set(Mode::Refuse).await;
    let down = load(&vault, "user-1").await.unwrap_err();
    assert_eq!(down, ErrorKind::Unavailable);
    assert_eq!(vault.status().await.unwrap().local.unwrap().pending, 0);
    assert_eq!(scene.records().await, 0);

    // a vault that starts in an outage looks at its sources later
    let late =
        scene.hosts.host(2, proxy.url()).layout(sources()).import_on_read(Passwords::new(), tomorrow());
    let late = late.build().await.unwrap();
    proxy.set(Mode::Pass).await;
    let up = async {
        loop {
            match loaded_key(&late, "user-1").await {
                Err(ErrorKind::Unavailable) => tokio::time::sleep(Duration::from_millis(20)).await,
                loaded => return loaded,
            }
        }
    };
    assert_eq!(up.await.unwrap(), "key_test_0001");
}

/// With one thread for such work, which is busy, a load with something to derive waits, and other loads do not.
#[test]
fn keys_are_derived_off_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    runtime.unwrap().block_on(async {
        let scene = Scene::new(OLD, carexps()).await;
        scene.old("user-1", TEXT4).await;
        scene.vault.store(&owner("user-2"), &small_config("x")).await.unwrap();
        let vault = scene.importer(carexps()).build().await.unwrap();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || released.recv());
        assert!(load(&vault, "user-2").await.is_ok());
        assert_eq!(load(&vault, "user-3").await.unwrap_err(), ErrorKind::NotFound);
        let first = owner("user-1");
        let mut loading = std::pin::pin!(vault.load(&first));
        let waits = tokio::time::timeout(Duration::from_secs(1), &mut loading).await;
        assert!(waits.is_err(), "{waits:?}");
        release.send(()).unwrap();
        assert_eq!(key(&loading.await.unwrap().config), "key_test_57d59082e082eb513508");
        busy.await.unwrap().unwrap();
    });
}

#[tokio::test]
async fn sources_that_cannot_be_read_are_refused_at_the_start() {
    let scene = Scene::new(OLD, sources()).await;
    let role = Role::create(&scene.db, "GRANT SELECT ON records TO guest").await;
    let refused = async |builder: VaultBuilder| builder.build().await.unwrap_err();
    let fernet = OldSource::new("old", "user_id", "key", "fernet").unwrap().field(field("api_key"));
    for (builder, kind, named) in [
        (scene.importer(layout([])), ErrorKind::Configuration, "names no source"),
        (scene.importer(layout([column("old", "pin", "api_key")])), ErrorKind::Schema, "pin"),
        (scene.importer(layout([fernet])), ErrorKind::InvalidInput, "fernet"),
        (scene.importer_at(&role.url, sources()), ErrorKind::AccessDenied, "old"),
        (
            scene.hosts.offline(1).layout(sources()).import_on_read(Passwords::new(), tomorrow()),
            ErrorKind::Configuration,
            "needs a database",
        ),
    ] {
        let error = refused(builder).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }

    // a source that goes while the service runs is an error, not an owner without a record
    let vault = scene.importer(sources()).build().await.unwrap();
    scene.db.exec("ALTER TABLE old RENAME TO older").await;
    assert_eq!(load(&vault, "user-1").await.unwrap_err(), ErrorKind::Schema);
    scene
        .db
        .exec("ALTER TABLE older RENAME TO old; INSERT INTO old VALUES ('user-1', 'key_test_0001', NULL)")
        .await;
    assert_eq!(loaded_key(&vault, "user-1").await.unwrap(), "key_test_0001");
}
