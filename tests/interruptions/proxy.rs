//! The network fails at every message of an operation: the connection ends before it, after it or in the middle of it,
//! the message comes late, or nothing comes any more. Nothing that was acknowledged is lost, nothing is there twice,
//! and the same vault goes on working when the network is back.
//!
//! By default some of the messages are broken, others in every run.
//! `RETELL_VAULT_TEST_EVERY=1 scripts/test --test interruptions proxy:: -- --nocapture` breaks each message in each way, which takes
//! some minutes; `RETELL_VAULT_TEST_OFFSET` repeats the choice of a run.

use std::env;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retell_vault::connection::Timeouts;
use retell_vault::records::Source;
use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions};
use retell_vault::{Error, ErrorKind, Owner, Vault};

use crate::support::dump::schema_of;
use crate::support::faults::*;
use crate::support::rotation::{completes, single};
use crate::support::vaults::*;
use crate::support::*;

/// The most that a late message is late: more than a round trip, and less than a time limit.
const LATE: Duration = Duration::from_millis(50);

const FAULTS: [Fault; 6] =
    [Fault::CutBefore, Fault::CutAfter, Fault::Truncate, Fault::Delay(LATE), Fault::Silence, Fault::Stall];

/// Short, since a silent network is waited for.
const SHORT: Timeouts =
    Timeouts { connect: Duration::from_millis(300), operation: Duration::from_millis(400) };

/// How many messages there are from one that is broken to the next.
fn every(default: usize) -> usize {
    env::var("RETELL_VAULT_TEST_EVERY").map_or(default, |every| every.parse().expect("a number"))
}

/// The messages and faults to try. Every fault meets other messages.
fn choose(messages: usize, every: usize) -> Vec<(usize, Fault)> {
    let offset = env::var("RETELL_VAULT_TEST_OFFSET").map(|offset| offset.parse().expect("a number"));
    let offset: usize = offset.unwrap_or_else(|_| rand::random_range(0..every));
    let all = (1..=messages).flat_map(|message| FAULTS.map(|fault| (message, fault)));
    println!("{messages} messages, one of {every} from RETELL_VAULT_TEST_OFFSET={offset} on");
    all.skip(offset).step_by(every).collect()
}

/// Runs the cases, some at the same time, since most of them wait.
async fn in_parallel(cases: Vec<(usize, Fault)>, run: impl AsyncFn(usize, Fault)) {
    let (run, cases) = (&run, &Mutex::new(cases.into_iter()));
    let worker = async || {
        let next = || cases.lock().unwrap().next();
        while let Some((message, fault)) = next() {
            println!("message {message}, {fault:?}");
            Box::pin(run(message, fault)).await; // six at once would be too large for the stack of a test
        }
    };
    tokio::join!(worker(), worker(), worker(), worker(), worker(), worker());
}

/// In a time that is long for what takes a second.
async fn ends<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND * 2, work).await.expect("it ends")
}

// --- Records ---

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    /// There is no row.
    Create,
    /// Over a record that this process has seen.
    Update,
    /// Over a record that another process stored.
    Overwrite,
    Modify,
    StoreMany,
    Delete,
    /// A pending record over one that this process has not seen.
    Sync,
}

const OPERATIONS: [Operation; 7] = [
    Operation::Create,
    Operation::Update,
    Operation::Overwrite,
    Operation::Modify,
    Operation::StoreMany,
    Operation::Delete,
    Operation::Sync,
];

const NOTES: &str = "CREATE TABLE writes (user_id text);
    CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO writes VALUES (NEW.user_id); RETURN NULL; END $$;
    CREATE TRIGGER note_write AFTER INSERT OR UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION note_write()";

const JSON_TABLE: &str =
    "CREATE TABLE user_profiles (user_id text PRIMARY KEY, encrypted_agent_config jsonb)";

/// A database, and a vault of another host whose way to it is never broken.
struct Scene {
    db: TestDb,
    hosts: Hosts,
    other: Vault,
    cases: AtomicUsize,
}

impl Scene {
    async fn new(table: &str) -> Arc<Self> {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(table).await;
        let other = hosts.host(0, &db.url).build().await.unwrap();
        Arc::new(Self { db, hosts, other, cases: AtomicUsize::new(1) })
    }
}

/// One operation on an owner of its own, by a host of its own with a proxy of its own.
struct Case {
    scene: Arc<Scene>,
    operation: Operation,
    proxy: CutProxy,
    vault: Vault,
    owners: Vec<Owner>,
}

impl Case {
    /// With a vault that has connections and has looked at the table, or with one that has done nothing yet.
    async fn prepare(scene: Arc<Scene>, operation: Operation, warm: bool) -> Self {
        let host = scene.cases.fetch_add(1, Ordering::Relaxed);
        let owners = vec![owner(&format!("user-{host}")), owner(&format!("user-{host}-too"))];
        let proxy = CutProxy::start(&scene.db.url).await;
        let builder = |url: &str| scene.hosts.host(host, url).timeouts(SHORT);
        let old: Vec<_> = owners.iter().map(|owner| (owner.clone(), full_config("old"))).collect();
        if operation != Operation::Create {
            scene.other.store_many(&old).await.unwrap();
        }
        if operation == Operation::Sync {
            let unplugged = builder(DEAD_URL).build().await.unwrap();
            unplugged.store(&owners[0], &full_config("new")).await.unwrap();
            unplugged.close().await;
        }
        let vault = builder(proxy.url()).build().await.unwrap();
        if warm {
            let own = owner(&format!("user-{host}-warm"));
            vault.store(&own, &full_config("old")).await.unwrap();
            vault.store(&own, &full_config("new")).await.unwrap();
        }
        if operation == Operation::Update {
            vault.load(&owners[0]).await.unwrap();
        }
        Self { scene, operation, proxy, vault, owners }
    }

    async fn run(&self) -> Result<(), Error> {
        let (vault, owner, config) = (&self.vault, &self.owners[0], full_config("new"));
        match self.operation {
            Operation::Create | Operation::Update | Operation::Overwrite => {
                vault.store(owner, &config).await.map(drop)
            }
            Operation::Modify => {
                let change = vault.modify(owner, |found| {
                    *found = config.clone();
                    Ok(())
                });
                change.await.map(drop)
            }
            Operation::StoreMany => {
                let all: Vec<_> = self.owners.iter().map(|owner| (owner.clone(), config.clone())).collect();
                vault.store_many(&all).await?.into_iter().try_for_each(|stored| stored.map(drop))
            }
            Operation::Delete => vault.delete(owner).await.map(drop),
            Operation::Sync => vault.sync().await.map(drop),
        }
    }

    /// What the owner may have after this answer.
    fn may_have(&self, done: &Result<(), Error>) -> Vec<String> {
        let key = |mark| full_config(mark).api_key().unwrap().expose_secret().to_owned();
        let old = match self.operation {
            Operation::Create => "NotFound".to_owned(),
            _ => key("old"),
        };
        let new = match self.operation {
            Operation::Delete => "NotFound".to_owned(),
            _ => key("new"),
        };
        match done {
            Ok(()) => vec![new],
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => vec![old, new],
            Err(error) if [ErrorKind::Unavailable, ErrorKind::Busy].contains(&error.kind()) => vec![old],
            Err(error) => panic!("{error:?}"),
        }
    }

    /// The same, in the database itself.
    async fn is_whole(&self, done: Result<(), Error>) {
        // whoever has a local file need not fail, except where the answer is about the database
        assert!(done.is_ok() || self.operation == Operation::Modify, "{done:?}");
        // a session whose client is gone may hold the row a little longer
        until(async || {
            let report = self.vault.sync().await.unwrap();
            assert_eq!(report.dead_letters, 0);
            report.stopped.is_none() && report.blocked.is_empty()
        })
        .await;
        let local = local(&self.vault).await;
        assert_eq!((local.pending, local.dead_letters), (0, 0));
        let has = said(&[&self.scene.other], &self.owners[0]).await.remove(0);
        let may_have = self.may_have(&done);
        assert!(may_have.contains(&has), "{has}, expected {may_have:?}");
        let id = &self.owners[0];
        let rows = format!("SELECT count(*) FROM user_profiles WHERE user_id = '{id}'");
        assert_eq!(number(&self.scene.db.url, &rows).await, 1, "rows of the owner");
        let writes = number(&self.scene.db.url, &rows.replace("user_profiles", "writes")).await;
        // many are written in one statement, which may run once more with the same records
        let first = i64::from(self.operation != Operation::Create);
        let again = i64::from(self.operation == Operation::StoreMany);
        assert!(writes <= 1 + first + again, "{writes} writes");
    }

    /// No connection is left in a state that the next one suffers from, and none is missing.
    async fn goes_on(&self) {
        let (vault, owner) = (&self.vault, &self.owners[0]);
        let store = async || vault.store(owner, &full_config("later")).await;
        until(async || store().await.is_ok_and(|stored| stored.degraded.is_none())).await;
        let load = |_| {
            let (vault, owner) = (vault.clone(), owner.clone());
            tokio::spawn(async move {
                loop {
                    match vault.load(&owner).await {
                        Ok(loaded) if !loaded.stale => return loaded,
                        _ => tokio::time::sleep(LATE).await,
                    }
                }
            })
        };
        for loaded in (0..12).map(load).collect::<Vec<_>>() {
            let loaded = loaded.await.unwrap();
            assert_eq!((loaded.source, loaded.config), (Source::Database, full_config("later")));
        }
        vault.close().await;
    }
}

async fn records(table: &str, operations: &[Operation], warm: bool, default: usize) {
    let scene = Scene::new(&format!("{table}; {NOTES}")).await;
    for &operation in operations {
        let case = Case::prepare(scene.clone(), operation, warm).await;
        let before = case.proxy.messages();
        case.run().await.unwrap();
        let messages = case.proxy.messages() - before;
        print!("{operation:?}, warm: {warm}: ");
        in_parallel(choose(messages, every(default)), async |message, fault| {
            let case = Case::prepare(scene.clone(), operation, warm).await;
            case.proxy.set(Mode::BreakMessage(message, fault)).await;
            let done = ends(case.run()).await;
            case.proxy.set(Mode::Pass).await;
            case.is_whole(done).await;
            ends(case.goes_on()).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_over_connections_that_are_open() {
    records(ALL_COLUMNS, &OPERATIONS, true, 71).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_over_new_connections() {
    records(ALL_COLUMNS, &OPERATIONS, false, 197).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_in_a_jsonb_column() {
    let stores = [Operation::Create, Operation::Update, Operation::Overwrite];
    records(JSON_TABLE, &stores, true, 71).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_is_closed_while_a_connection_is_silent() {
    let scene = Scene::new(&format!("{ALL_COLUMNS}; {NOTES}")).await;
    let case = Case::prepare(scene.clone(), Operation::Update, true).await;
    let before = case.proxy.messages();
    case.run().await.unwrap();
    for message in 1..=case.proxy.messages() - before {
        let case = Case::prepare(scene.clone(), Operation::Update, true).await;
        case.proxy.set(Mode::BreakMessage(message, Fault::Stall)).await;
        ends(case.run()).await.unwrap();
        ends(case.vault.close()).await;
    }
}

/// As a load balancer does that has no server left: it takes the connection, and closes it.
#[tokio::test]
async fn a_connection_that_is_closed_at_once_is_an_outage() {
    let scene = Scene::new(&format!("{ALL_COLUMNS}; {NOTES}")).await;
    for fault in [Fault::CutBefore, Fault::CutAfter] {
        let case = Case::prepare(scene.clone(), Operation::Create, false).await;
        case.proxy.set(Mode::BreakMessage(1, fault)).await;
        let done = case.run().await;
        case.proxy.set(Mode::Pass).await;
        case.is_whole(done).await;
    }
}

// --- Work on a whole table ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation() {
    let stage = crate::support::rotation::Stage::on(ALL_COLUMNS, 4).await;
    let undisturbed = Broken::copy(&stage.db).await;
    let vault = stage.hosts.host(0, undisturbed.proxy.url()).timeouts(SHORT).build().await.unwrap();
    assert!(vault.rotate(&single(), |_| {}).await.unwrap().complete);
    let messages = undisturbed.proxy.messages();
    let hosts = AtomicUsize::new(10);
    in_parallel(choose(messages, every(401)), async |message, fault| {
        let host = hosts.fetch_add(1, Ordering::Relaxed);
        let broken = Broken::copy(&stage.db).await;
        let vault = stage.hosts.host(host, broken.proxy.url()).timeouts(SHORT).build().await.unwrap();
        broken.during(message, fault, async || vault.rotate(&single(), |_| {}).await.map(drop)).await;
        vault.close().await;

        let vault = stage.hosts.host(host, &broken.db.url).build().await.unwrap();
        completes(&vault).await;
        for (number, loaded) in vault.load_many(&stage.owners).await.into_iter().enumerate() {
            assert_eq!(loaded.unwrap().config, full_config(number));
        }
        assert_eq!(number(&broken.db.url, "SELECT count(*) FROM user_profiles").await, 4);
        vault.close().await;
    })
    .await;
}

/// A statement over the whole table has no time limit of its own, and its connection comes from the pool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_whose_answer_never_comes() {
    let stage = crate::support::rotation::Stage::on(ALL_COLUMNS, 4).await;
    let vault = async |broken: &Broken, host| {
        let vault = stage.hosts.host(host, broken.proxy.url()).timeouts(SHORT).build().await.unwrap();
        vault.count_tokens().await.unwrap();
        vault
    };
    let undisturbed = Broken::copy(&stage.db).await;
    let warm = vault(&undisturbed, 0).await;
    let before = undisturbed.proxy.messages();
    warm.count_tokens().await.unwrap();
    let stalls = (1..=undisturbed.proxy.messages() - before).map(|message| (message, Fault::Stall));
    let hosts = AtomicUsize::new(1);
    in_parallel(stalls.step_by(every(4)).collect(), async |message, fault| {
        let broken = Broken::copy(&stage.db).await;
        let vault = vault(&broken, hosts.fetch_add(1, Ordering::Relaxed)).await;
        broken.during(message, fault, async || vault.count_tokens().await.map(drop)).await;
        let tokens: u64 = vault.count_tokens().await.unwrap().counts.iter().map(|count| count.tokens).sum();
        assert!(tokens >= 4, "{tokens}");
    })
    .await;
}

const BARE_TABLE: &str = "CREATE TABLE user_profiles (user_id text, encrypted_retell_api_key varchar(50));
    INSERT INTO user_profiles SELECT 'user-' || n FROM generate_series(0, 9) AS n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_is_applied() {
    let (template, hosts) = (TestDb::create().await, Hosts::new().await);
    template.exec(BARE_TABLE).await;
    let before = schema_of(&template).await;
    let undisturbed = Broken::copy(&template).await;
    let vault = hosts.host(0, undisturbed.proxy.url()).timeouts(SHORT).build().await.unwrap();
    apply(&vault).await.unwrap();
    let messages = undisturbed.proxy.messages();
    let next = AtomicUsize::new(1);
    in_parallel(choose(messages, every(1201)), async |message, fault| {
        let host = next.fetch_add(1, Ordering::Relaxed);
        let broken = Broken::copy(&template).await;
        let vault = hosts.host(host, broken.proxy.url()).timeouts(SHORT).build().await.unwrap();
        broken.during(message, fault, async || apply(&vault).await).await;
        vault.close().await;

        let vault = hosts.host(host, &broken.db.url).build().await.unwrap();
        apply(&vault).await.unwrap();
        let schema = vault.schema();
        assert!(schema.plan(Profile::FullProfile).await.unwrap().is_empty());
        schema.roll_back(&RollBackOptions::new().allow_rewrite(), |_| {}).await.unwrap();
        vault.close().await;
        assert_eq!(schema_of(&broken.db).await, before);
    })
    .await;
}

async fn apply(vault: &Vault) -> Result<(), Error> {
    let plan = vault.schema().plan(Profile::FullProfile).await?;
    vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.map(drop)
}

/// A copy of a database, behind a proxy.
struct Broken {
    db: TestDb,
    proxy: CutProxy,
}

impl Broken {
    async fn copy(template: &TestDb) -> Self {
        let db = template.copy().await;
        let proxy = CutProxy::start(&db.url).await;
        Self { db, proxy }
    }

    /// Breaks a message of the work, which ends, and has no other reason to fail.
    async fn during(&self, message: usize, fault: Fault, work: impl AsyncFnOnce() -> Result<(), Error>) {
        self.proxy.set(Mode::BreakMessage(message, fault)).await;
        let done = ends(work()).await;
        self.proxy.set(Mode::Pass).await;
        if let Err(error) = done {
            let kinds = [ErrorKind::Unavailable, ErrorKind::OutcomeUnknown, ErrorKind::Busy];
            assert!(kinds.contains(&error.kind()), "{error:?}");
        }
    }
}

// --- A connection without time limits ---

/// How long a session is watched before it is given up, and longer.
const WATCHED: Duration = Duration::from_secs(6);

/// A session that keeps an index from being built, and the run that builds it.
async fn while_an_index_waits(meanwhile: impl AsyncFnOnce(&Broken)) -> Result<(), Error> {
    let (template, hosts) = (TestDb::create().await, Hosts::new().await);
    template.exec(BARE_TABLE).await;
    let broken = Broken::copy(&template).await;
    let vault = hosts.host(0, broken.proxy.url()).timeouts(SHORT).build().await.unwrap();
    let reader = Lock::by(&broken.db.url, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await;
    let run = async { ends(apply(&vault)).await };
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'retell-vault schema' AND wait_event = 'virtualxid'";
    let (done, ()) = tokio::join!(run, async {
        until(async || number(&broken.db.url, waits).await == 1).await;
        meanwhile(&broken).await;
        reader.release().await;
    });
    broken.proxy.set(Mode::Pass).await;
    apply(&hosts.host(1, &broken.db.url).build().await.unwrap()).await.unwrap();
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_takes_long_is_not_cut_off() {
    while_an_index_waits(async |_| tokio::time::sleep(WATCHED).await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_network_ends_a_run_that_has_no_time_limit() {
    let done = while_an_index_waits(async |broken| {
        broken.proxy.set(Mode::Silence).await;
        tokio::time::sleep(WATCHED).await;
    });
    let error = done.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(error.hint().contains("apply again"), "{}", error.hint());
}

/// The other connections work, and say that the session has nothing to do any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_comes_ends_a_run_and_its_session() {
    let done = while_an_index_waits(async |broken| {
        broken.proxy.set(Mode::BreakMessage(1, Fault::Stall)).await;
    });
    assert_eq!(done.await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
}
