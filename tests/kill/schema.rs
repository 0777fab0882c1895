//! SIGKILL at every statement of a plan: whoever applies again completes it, and the way back leads to the start.

use std::env;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use retell_vault::Vault;
use retell_vault::schema::{ApplyOptions, Profile, RollBackOptions};
use sqlx::PgConnection;

use crate::support::dump::schema_of;
use crate::support::faults::{BOUND, connect, number, until};
use crate::support::vaults::*;
use crate::support::*;

/// Makes a run stop at its nth statement that changes the schema, for as long as the test holds a lock.
/// It asks for that lock instead of waiting for it, since the run has a lock time-out.
const HANG: &str = "CREATE SCHEMA hang; CREATE SEQUENCE hang.seen;
    CREATE FUNCTION hang.here() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        IF current_setting('application_name') = 'retell-vault schema' THEN PERFORM pg_catalog.nextval('hang.seen'); END IF;
        WHILE current_setting('application_name') = 'retell-vault schema'
            AND (SELECT last_value FROM hang.seen) = 1000 AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(4711)
        LOOP PERFORM pg_catalog.pg_sleep(0.01); END LOOP; END $$";

const TRIGGER: &str = "CREATE EVENT TRIGGER hang ON ddl_command_end EXECUTE FUNCTION hang.here()";

const TABLE: &str = "CREATE TABLE user_profiles (user_id text, encrypted_retell_api_key varchar(50));
    INSERT INTO user_profiles SELECT 'user-' || n FROM generate_series(0, 99) AS n";

/// How many sessions of runs there are.
const RUNS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND application_name = 'retell-vault schema'";

async fn vault_in(folder: &Path, url: &str) -> Vault {
    let keyring = open_keyring(folder.join("keyring.json"));
    Vault::builder(keyring).postgres(url).build().await.unwrap()
}

/// Not a test: the process that is killed.
#[tokio::test]
async fn applier() {
    let Ok(setup) = env::var("RETELL_VAULT_TEST_APPLIER") else { return };
    let [folder, url, profile] = *setup.split('|').collect::<Vec<_>>() else { panic!("{setup}") };
    let schema = vault_in(Path::new(folder), url).await.schema();
    let plan = schema.plan(profile.parse::<Profile>().unwrap()).await.unwrap();
    schema.apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();
}

struct Scene {
    db: TestDb,
    hosts: Hosts,
    profile: Profile,
    before: String,
}

impl Scene {
    async fn new(profile: Profile) -> Self {
        let (db, hosts) = (TestDb::create().await, Hosts::new().await);
        db.exec(TABLE).await;
        db.exec(HANG).await;
        let before = schema_of(&db).await;
        Self { db, hosts, profile, before }
    }

    fn start(&self) -> Child {
        let local = self.hosts.local_file(0);
        let folder = local.parent().unwrap().display();
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "schema::applier"])
            .env("RETELL_VAULT_TEST_APPLIER", format!("{folder}|{}|{}", self.db.url, self.profile.as_str()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Kills a run at its nth statement. False: it had ended by itself.
    async fn kill_at(&self, nth: u64, end: End) -> bool {
        let mut holder = connect(&self.db.url).await;
        run(&mut holder, "SELECT pg_advisory_lock(4711)").await;
        run(&mut holder, &format!("SELECT setval('hang.seen', {}); {TRIGGER}", 1000 - nth)).await;
        let mut child = self.start();
        let killed = loop {
            if let Some(ended) = child.try_wait().unwrap() {
                assert!(ended.success(), "{ended}");
                break false;
            }
            if number(&self.db.url, "SELECT last_value FROM hang.seen").await >= 1000 {
                child.kill().unwrap();
                child.wait().unwrap();
                break true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        match end {
            End::LetGo => run(&mut holder, "SELECT pg_advisory_unlock(4711)").await,
            End::Terminate => {
                let sql = RUNS.replace("count(*)", "pg_terminate_backend(pid)");
                run(&mut holder, &sql).await;
            }
        }
        until(async || number(&self.db.url, RUNS).await == 0 || matches!(end, End::Terminate)).await;
        run(&mut holder, "DROP EVENT TRIGGER hang").await;
        killed
    }

    /// Applies again, and takes everything back.
    async fn completes(&self, after: &str) {
        let local = self.hosts.local_file(0);
        let vault = vault_in(local.parent().unwrap(), &self.db.url).await;
        let schema = vault.schema();
        let plan = schema.plan(self.profile).await.unwrap();
        let applied = schema.apply(&plan, &ApplyOptions::new(), |_| {}).await;
        applied.unwrap_or_else(|error| panic!("{after}: {error:?}"));
        assert!(schema.plan(self.profile).await.unwrap().is_empty(), "{after}");
        let begun = "SELECT count(*) FROM retell_vault_steps WHERE NOT done";
        assert_eq!(number(&self.db.url, begun).await, 0, "{after}");
        let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
        assert_eq!(number(&self.db.url, invalid).await, 0, "{after}");

        vault.close().await;
        self.goes_back(after).await;
    }

    /// Takes back whatever is there.
    async fn goes_back(&self, after: &str) {
        let local = self.hosts.local_file(0);
        let vault = vault_in(local.parent().unwrap(), &self.db.url).await;
        let undone = vault.schema().roll_back(&RollBackOptions::new().allow_rewrite(), |_| {}).await;
        undone.unwrap_or_else(|error| panic!("{after}: {error:?}"));
        assert_eq!(schema_of(&self.db).await, self.before, "{after}");
        vault.close().await;
    }
}

/// What becomes of the server's side of a killed run.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It completes its statement, and finds nobody to tell.
    LetGo,
    /// It dies in the middle of it.
    Terminate,
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_killed_at_any_statement_is_completed_and_taken_back() {
    let scene = Scene::new(Profile::FullProfile).await;
    // how many statements there are
    scene.db.exec(&format!("SELECT setval('hang.seen', 2000); {TRIGGER}")).await;
    assert!(scene.start().wait().unwrap().success());
    let all = number(&scene.db.url, "SELECT last_value - 2000 FROM hang.seen").await as u64;
    scene.db.exec("DROP EVENT TRIGGER hang").await;
    scene.completes("undisturbed").await;

    println!("{all} statements of the schema in one run");
    // each meets another end in another run
    let offset = rand::random::<u64>() % 6;
    for nth in 1..=all {
        let kill = nth + offset;
        let end = if kill.is_multiple_of(2) { End::LetGo } else { End::Terminate };
        assert!(scene.kill_at(nth, end).await, "statement {nth} of {all} was not met");
        let after = format!("killed at statement {nth} of {all}, {end:?}");
        match kill % 3 {
            0 => scene.goes_back(&after).await,
            _ => scene.completes(&after).await,
        }
    }
}

/// The index is there and not valid: the second run builds it anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_killed_in_the_middle_of_an_index() {
    let scene = Scene::new(Profile::Credentials).await;
    for _ in 0..2 {
        let mut report = connect(&scene.db.url).await;
        run(&mut report, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await;
        let mut child = scene.start();
        let waits = format!("{RUNS} AND wait_event = 'virtualxid'");
        until(async || number(&scene.db.url, &waits).await == 1).await;
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        // it looks by itself whether its client is still there
        let ended = until(async || number(&scene.db.url, RUNS).await == 0);
        tokio::time::timeout(BOUND, ended).await.expect("the server notices that its client is gone");
        let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
        assert_eq!(number(&scene.db.url, invalid).await, 1);
        run(&mut report, "COMMIT").await;
        scene.completes("killed while an index was built").await;
    }
}
