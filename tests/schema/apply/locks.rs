//! Locks that others hold.

use std::time::{Duration, Instant};

use retell_vault::ErrorKind;
use retell_vault::schema::{ApplyOptions, Profile, SchemaEvent};
use sqlx::{AssertSqlSafe, PgConnection};

use super::{BARE, Stage, migrate, plan, roll_back, value};
use crate::support::dump::schema_of;
use crate::support::faults::connect;

/// Waits briefly for a lock, and for this long in all.
fn patience(patience: Duration) -> ApplyOptions {
    ApplyOptions::new().lock_timeout(Duration::from_millis(200)).patience(patience)
}

/// A session that is in the middle of something.
async fn session(stage: &Stage, sql: &str) -> PgConnection {
    let mut connection = connect(&stage.db.url).await;
    run(&mut connection, "SET application_name = 'a long report'").await;
    run(&mut connection, sql).await;
    connection
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

const READS: &str = "BEGIN; SELECT count(*) FROM user_profiles";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_reader_is_waited_for_and_nobody_waits_behind_us() {
    let stage = Stage::on(BARE).await;
    let vault = stage.vault(0).await;
    let wanted = plan(&vault, Profile::Credentials).await;
    let mut reader = session(&stage, READS).await;

    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let listener = move |event: SchemaEvent<'_>| {
        if let SchemaEvent::Locked(step) = event {
            tell.send(step.id.clone()).ok();
        }
    };
    // others come all the time, and see for how long they wait
    let others = async {
        let mut other = connect(&stage.db.url).await;
        let mut longest = Duration::ZERO;
        let mut locked = 0;
        while locked < 3 {
            let started = Instant::now();
            run(&mut other, "SELECT count(*) FROM user_profiles").await;
            longest = longest.max(started.elapsed());
            while told.try_recv().is_ok() {
                locked += 1;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        run(&mut reader, "COMMIT").await;
        longest
    };
    let (schema, options) = (vault.schema(), patience(Duration::from_secs(60)));
    let (applied, longest) = tokio::join!(schema.apply(&wanted, &options, listener), others);
    assert_eq!(applied.unwrap().steps.len(), wanted.steps.len());
    // the promise to everybody who uses the table
    assert!(longest < Duration::from_secs(2), "somebody waited for {longest:?}");
    assert!(longest > Duration::from_millis(100), "nobody met the lock, so nothing was shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_let_go_is_named() {
    let stage = Stage::on(BARE).await;
    let before = schema_of(&stage.db).await;
    let vault = stage.vault(0).await;
    let wanted = plan(&vault, Profile::Credentials).await;
    let mut reader = session(&stage, READS).await;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut reader).await.unwrap();
    let options = patience(Duration::from_secs(1));
    let error = vault.schema().apply(&wanted, &options, |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
    assert!(error.to_string().contains(&format!("process {pid} (a long report)")), "{error}");
    assert!(error.to_string().contains(&wanted.steps[0].id), "{error}");
    assert_eq!(schema_of(&stage.db).await, before);
    run(&mut reader, "COMMIT").await;
    vault.schema().apply(&wanted, &options, |_| {}).await.unwrap();
}

/// An index that could not be completed leaves nothing behind; what was done before it stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_kept_from_being_built() {
    let stage = Stage::on("CREATE TABLE user_profiles (user_id text PRIMARY KEY)").await;
    let before = schema_of(&stage.db).await;
    let vault = stage.vault(0).await;
    let wanted = plan(&vault, Profile::FullProfile).await;
    let at = wanted.steps.iter().position(|step| step.concurrent).expect("a concurrent step");
    // it has no lock on the table, but an old snapshot, for which the index waits at last
    let mut report = session(&stage, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await;
    let error = vault.schema().apply(&wanted, &patience(Duration::from_secs(1)), |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
    assert!(error.to_string().contains("(a long report)"), "{error}");
    assert!(error.to_string().contains(&format!("step {} (the {at} steps before it", wanted.steps[at].id)));
    let indexes =
        "SELECT count(*) FROM pg_index WHERE indrelid = 'user_profiles'::regclass AND NOT indisprimary";
    assert_eq!(value::<i64>(&stage.db, indexes).await, 0);
    run(&mut report, "COMMIT").await;
    let rest = migrate(&vault, Profile::FullProfile).await;
    assert_eq!(rest.steps.len(), wanted.steps.len() - at);
    assert!(plan(&vault, Profile::FullProfile).await.is_empty());
    roll_back(&vault).await.unwrap();
    assert_eq!(schema_of(&stage.db).await, before);
}

/// The other run is waited for, and named when it does not end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_run_is_waited_for() {
    let stage = Stage::on(BARE).await;
    let vault = stage.vault(0).await;
    let wanted = plan(&vault, Profile::Credentials).await;
    // the first run is kept from going on; so the second waits for it
    let mut reader = session(&stage, READS).await;
    let (first, second) = (vault.schema(), stage.vault(1).await.schema());
    let (long, short) = (patience(Duration::from_secs(60)), patience(Duration::from_secs(1)));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let tells = move |event: SchemaEvent<'_>| {
        if let SchemaEvent::Locked(_) = event {
            tell.send(()).ok();
        }
    };
    let mut waited = 0;
    let meanwhile = async {
        told.recv().await.unwrap();
        let waits = |event: SchemaEvent<'_>| match event {
            SchemaEvent::Waiting => waited += 1,
            other => panic!("{other:?}"),
        };
        let error = second.apply(&wanted, &short, waits).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
        assert!(error.to_string().contains("another process is changing schema public (process "), "{error}");
        run(&mut reader, "COMMIT").await;
    };
    let (applied, ()) = tokio::join!(first.apply(&wanted, &long, tells), meanwhile);
    assert_eq!(applied.unwrap().steps.len(), wanted.steps.len());
    assert_eq!(waited, 1, "it is said once");
    assert!(second.apply(&wanted, &short, |_| {}).await.unwrap().steps.is_empty());
}

/// A run whose future is dropped leaves whole steps behind, and no lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_dropped() {
    let stage = Stage::on(BARE).await;
    let before = schema_of(&stage.db).await;
    let vault = stage.vault(0).await;
    let wanted = plan(&vault, Profile::FullProfile).await;
    for stop_at in (0..wanted.steps.len()).step_by(4) {
        let (tell, told) = tokio::sync::oneshot::channel();
        let (mut tell, mut begun) = (Some(tell), 0);
        let listener = move |event: SchemaEvent<'_>| {
            if let SchemaEvent::Begins(_) = event {
                begun += 1;
                if begun > stop_at
                    && let Some(tell) = tell.take()
                {
                    tell.send(()).ok();
                }
            }
        };
        let (schema, options) = (vault.schema(), patience(Duration::from_secs(20)));
        let current = plan(&vault, Profile::FullProfile).await;
        tokio::select! {
            _ = schema.apply(&current, &options, listener) => {}
            _ = told => {}
        }
        migrate(&vault, Profile::FullProfile).await;
        assert!(plan(&vault, Profile::FullProfile).await.is_empty());
        let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
        assert_eq!(value::<i64>(&stage.db, invalid).await, 0);
        roll_back(&vault).await.unwrap();
        assert_eq!(schema_of(&stage.db).await, before, "after it was dropped at step {stop_at}");
    }
}
