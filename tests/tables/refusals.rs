//! The server answers, and says no: too busy, full, read-only. Reads go on, and every no has its meaning.

use std::time::{Duration, Instant};

use retell_vault::keyring::KeyId;
use retell_vault::records::{Degraded, Source};
use retell_vault::rotation::DestroyOptions;
use retell_vault::{Error, ErrorKind, Layout, Vault};

use crate::support::faults::*;
use crate::support::vaults::*;
use crate::support::*;

async fn stage(table: &str) -> (TestDb, Hosts) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    (db, hosts)
}

/// A setting that every new session of the database gets.
async fn set_for_new_sessions(db: &TestDb, setting: &str) {
    let sql =
        format!("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {setting}', current_database()); END $$");
    db.exec(&sql).await;
}

/// A role that may have so many connections, and the URL to connect as it.
async fn role(db: &TestDb, connections: u32) -> (String, String) {
    let name = format!("test_role_{:016x}", rand::random::<u64>());
    db.exec(&format!(
        "CREATE ROLE {name} LOGIN CONNECTION LIMIT {connections}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}"
    ))
    .await;
    let mut url = url::Url::parse(&db.url).unwrap();
    url.set_username(&name).unwrap();
    (url.into(), name)
}

#[tokio::test]
async fn too_many_connections() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let (url, role) = role(&db, 1).await;
    let only = connect(&url).await;
    let vault = hosts.host(0, &url).timeouts(QUICK).build().await.unwrap();
    let stored = vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    let degraded = stored.degraded.unwrap();
    assert!(
        matches!(&degraded, Degraded::Unreachable(error) if error.sqlstate() == Some("53300")),
        "{degraded:?}"
    );
    assert!(degraded.to_string().contains("53300"), "the operator is told the reason");
    drop(only);
    // then it has one connection, and no hope of a second one
    until(async || vault.sync().await.unwrap().pushed == 1).await;
    let stores: Vec<_> = (0..8).map(|n| (owner(&format!("user-{n}")), full_config(n))).collect();
    for stored in vault.store_many(&stores).await.unwrap() {
        assert_eq!(stored.unwrap().degraded, None);
    }
    assert_eq!(vault.load(&owner("user-1")).await.unwrap().source, Source::Database);
    drop(vault);
    db.exec(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_lock_that_is_held_for_too_long_is_busy_and_not_a_fallback() {
    // the server's own time-outs come first: 57014 and 55P03
    for setting in ["statement_timeout = 150", "lock_timeout = 150"] {
        let (db, hosts) = stage(ALL_COLUMNS).await;
        set_for_new_sessions(&db, setting).await;
        let vault = hosts.offline(0).pool(db.pool()).timeouts(QUICK).build().await.unwrap();
        vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
        let lock = Lock::on_table(&db.url).await;
        assert_eq!(vault.store(&owner("user-1"), &full_config(2)).await.unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!(vault.load(&owner("user-1")).await.unwrap_err().kind(), ErrorKind::Busy);
        lock.release().await;
        // nothing was written, nothing kept, and the breaker did not open
        assert_eq!(said(&[&vault], &owner("user-1")).await, [full_key(1)]);
        assert_eq!(local(&vault).await.pending, 0);
        assert!(vault.store(&owner("user-1"), &full_config(3)).await.unwrap().degraded.is_none());
    }
}

#[tokio::test]
async fn a_lock_that_is_released_in_time_is_waited_for() {
    let (db, hosts) = stage(&format!("{ALL_COLUMNS}; {NOTE_WRITES}")).await;
    set_for_new_sessions(&db, "lock_timeout = 200").await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    let lock = Lock::on_all_rows(&db.url).await;
    let store = tokio::spawn({
        let vault = vault.clone();
        async move { vault.store(&owner("user-1"), &full_config(2)).await }
    });
    until_waiting(&db.url, 1).await;
    lock.release().await;
    assert!(store.await.unwrap().unwrap().degraded.is_none());
    assert_eq!(number(&db.url, "SELECT count(*) FROM writes").await, 2);
}

#[tokio::test]
async fn a_write_that_still_waits_when_we_give_up_is_never_reported_as_failed() {
    // the service's pool has no statement time-out: the server goes on waiting without us
    let (db, hosts) = stage(&format!("{ALL_COLUMNS}; {NOTE_WRITES}")).await;
    let vault = hosts.offline(0).pool(db.pool()).timeouts(QUICK).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    let lock = Lock::on_all_rows(&db.url).await;
    let start = std::time::Instant::now();
    let stored = vault.store(&owner("user-1"), &full_config(2)).await.unwrap();
    assert!(start.elapsed() < BOUND);
    assert!(matches!(stored.degraded, Some(Degraded::OutcomeUnknown(_))), "{stored:?}");
    assert_eq!(vault.load(&owner("absent")).await.unwrap_err().kind(), ErrorKind::NotFound, "reads go on");
    lock.release().await;
    until(async || number(&db.url, "SELECT count(*) FROM writes").await > 1).await;
    let report = vault.sync().await.unwrap();
    assert_eq!((report.pushed, report.lost, report.overwritten), (1, 0, 0));
    assert_eq!(number(&db.url, "SELECT count(*) FROM writes").await, 2, "one application");
    let loaded = vault.load(&owner("user-1")).await.unwrap();
    assert_eq!(
        (loaded.config, loaded.version, loaded.source),
        (full_config(2), stored.version, Source::Database)
    );
}

fn full_key(mark: u32) -> String {
    full_config(mark).api_key().unwrap().expose_secret().to_owned()
}

#[tokio::test]
async fn conflicts_are_retried_and_a_terminated_session_is_replaced() {
    let (db, hosts) = stage(&format!("{ALL_COLUMNS}; {NOTE_WRITES}")).await;
    let proxy = CutProxy::start(&db.url).await;
    let vault = hosts.host(0, proxy.url()).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    proxy.set(Mode::HideRaise).await;
    // what nextval counts is not rolled back
    for (n, sqlstate) in ["40001", "40P01", "53200"].into_iter().enumerate() {
        db.exec(&format!(
            "DROP SEQUENCE IF EXISTS tries CASCADE; CREATE SEQUENCE tries;
            CREATE OR REPLACE FUNCTION twice_no() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN IF nextval('tries') <= 2 THEN RAISE EXCEPTION 'no' USING ERRCODE = '{sqlstate}'; END IF; RETURN NEW; END $$;
            CREATE OR REPLACE TRIGGER twice_no BEFORE UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION twice_no()"
        ))
        .await;
        assert!(vault.store(&owner("user-1"), &full_config(n)).await.unwrap().degraded.is_none());
        assert_eq!(said(&[&vault], &owner("user-1")).await, [full_key(n as u32)]);
    }
    // idle, and in the middle of a statement: 57P01
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'retell-vault'";
    assert!(number(&db.url, terminate).await > 0);
    assert!(vault.store(&owner("user-1"), &full_config(7)).await.unwrap().degraded.is_none());
    let lock = Lock::on_all_rows(&db.url).await;
    let store = tokio::spawn({
        let vault = vault.clone();
        async move { vault.store(&owner("user-1"), &full_config(8)).await }
    });
    until_waiting(&db.url, 1).await;
    // a session that is still dying answers a ping; the idle ones are gone before the one that is at work
    let idle = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'retell-vault' AND state = 'idle'";
    number(&db.url, idle).await;
    assert!(number(&db.url, terminate).await > 0);
    lock.release().await;
    assert_eq!(store.await.unwrap().unwrap().degraded, None);
    assert_eq!(said(&[&vault], &owner("user-1")).await, [full_key(8)]);
    assert_eq!(number(&db.url, "SELECT count(*) FROM writes").await, 6);
    assert_eq!(local(&vault).await.pending, 0);
}

#[tokio::test]
async fn a_role_that_may_only_read_is_an_error() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let writer = hosts.host(1, &db.url).build().await.unwrap();
    writer.store(&owner("user-1"), &full_config(1)).await.unwrap();
    unplugged(&hosts, 2).await.store(&owner("waiting"), &full_config(1)).await.unwrap();
    set_for_new_sessions(&db, "default_transaction_read_only = on").await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let error = vault.store(&owner("user-1"), &full_config(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert!(error.to_string().contains("read-only") && !error.hint().is_empty());
    assert_eq!(local(&vault).await.pending, 0);
    assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, full_config(1));
    assert!(
        vault.status().await.unwrap().database.unwrap().problem.unwrap().to_string().contains("only reads")
    );
    let syncing = hosts.host(2, &db.url).build().await.unwrap();
    assert!(syncing.sync().await.unwrap().stopped.unwrap().to_string().contains("read-only"));

    // sessions from before a failover: new ones may write, and a store and a sync find that out
    db.exec("BEGIN READ WRITE; DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET ALL', current_database()); END $$; COMMIT").await;
    assert!(vault.store(&owner("user-1"), &full_config(3)).await.unwrap().degraded.is_none());
    assert_eq!(syncing.sync().await.unwrap().pushed, 1);
}

#[tokio::test]
async fn a_standby_answers_reads_and_gets_the_writes_when_it_is_promoted() {
    let (cluster, hosts) = (Cluster::start(&["-c", "fsync=off"]).await, Hosts::new().await);
    exec(cluster.url(), ALL_COLUMNS).await;
    let vault = hosts.host(0, cluster.url()).timeouts(QUICK).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    vault.store(&owner("user-2"), &full_config(1)).await.unwrap();
    let folder: String = {
        let mut connection = connect(cluster.url()).await;
        sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await.unwrap()
    };
    cluster.stop().await;
    std::fs::write(format!("{folder}/standby.signal"), "").unwrap();
    cluster.restart().await;

    let stored = vault.store(&owner("user-1"), &full_config(2)).await.unwrap();
    assert!(stored.degraded.unwrap().to_string().contains("standby"));
    let deleted = vault.delete(&owner("user-2")).await.unwrap();
    assert!(matches!(deleted.degraded, Some(Degraded::Standby(_))), "{deleted:?}");
    // a server without a primary still answers reads: they do not have to do without it
    assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, full_config(2));
    let other = hosts.host(1, cluster.url()).build().await.unwrap();
    assert_eq!(other.load(&owner("user-1")).await.unwrap().config, full_config(1));
    for _ in 0..3 {
        assert!(!vault.load(&owner("user-1")).await.unwrap().stale);
        assert_eq!(vault.load(&owner("absent")).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert!(vault.sync().await.unwrap().stopped.is_some());
    let status = vault.status().await.unwrap();
    assert_eq!(status.local.unwrap().pending, 2);
    assert!(!status.database.unwrap().breaker_open);

    assert_eq!(number(cluster.url(), "SELECT pg_promote()::int::int8").await, 1);
    assert_eq!(vault.sync().await.unwrap().pushed, 2);
    assert_eq!(said(&[&vault, &other], &owner("user-1")).await, [full_key(2), full_key(2)]);
    assert_eq!(said(&[&vault, &other], &owner("user-2")).await, ["NotFound", "NotFound"]);
    assert!(vault.store(&owner("user-1"), &full_config(3)).await.unwrap().degraded.is_none());
}

#[tokio::test]
async fn a_full_disk_stops_writes_only() {
    // a real full disk needs a mount; the SQLSTATE is what the vault sees of it
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let proxy = CutProxy::start(&db.url).await;
    proxy.set(Mode::HideRaise).await;
    let vault = hosts.host(0, proxy.url()).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    vault.store(&owner("user-2"), &full_config(1)).await.unwrap();
    db.exec(&raising("53100")).await;
    let stored = vault.store(&owner("user-1"), &full_config(2)).await.unwrap();
    assert!(
        matches!(&stored.degraded, Some(Degraded::DiskFull(error)) if error.to_string().contains("53100")),
        "{stored:?}"
    );
    let loaded = vault.load(&owner("user-2")).await.unwrap();
    assert_eq!((loaded.source, loaded.stale), (Source::Database, false));
    let strict =
        hosts.host(1, proxy.url()).fallback(retell_vault::sync::Fallback::Refuse).build().await.unwrap();
    let error = strict.store(&owner("user-1"), &full_config(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "certainly not applied");
    assert!(vault.sync().await.unwrap().stopped.unwrap().to_string().contains("53100"));
    db.exec("DROP TRIGGER raise_it ON user_profiles").await;
    assert_eq!(vault.sync().await.unwrap().pushed, 1);
    assert_eq!(said(&[&vault], &owner("user-1")).await, [full_key(2)]);
}

/// Application code may raise any SQLSTATE. None of them is the server's state: nothing goes to the local file, the breaker
/// stays closed, and the error names the function.
#[tokio::test]
async fn what_a_trigger_raises_is_not_the_servers_state() {
    let states = [
        "08000", "08001", "08003", "08004", "08006", "08007", "08P01", "25001", "25006", "25P01", "25P02",
        "25P03", "26000", "40001", "40003", "40P01", "42702", "42703", "42P01", "42P05", "53000", "53100",
        "53200", "53300", "55P03", "57014", "57P01", "57P02", "57P03", "57P04", "57P05",
    ];
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    for sqlstate in states {
        db.exec(&format!("DROP FUNCTION IF EXISTS raise_it CASCADE; {}", raising(sqlstate))).await;
        for user in ["user-1", "user-2"] {
            let error = vault.store(&owner(user), &full_config(2)).await.unwrap_err();
            assert!(error.to_string().contains("function raise_it"), "{sqlstate}: {error}");
            let expected = if sqlstate.starts_with("42") { ErrorKind::Schema } else { ErrorKind::Rejected };
            let expected = if sqlstate == "42P05" { ErrorKind::Rejected } else { expected };
            assert_eq!(error.kind(), expected, "{sqlstate}");
        }
        let status = vault.status().await.unwrap();
        assert!(!status.database.unwrap().breaker_open, "{sqlstate}");
        assert_eq!(status.local.unwrap().pending, 0, "{sqlstate}");
    }
    assert_eq!(said(&[&vault], &owner("user-1")).await, [full_key(1)]);
}

/// What the server itself says while a trigger is at work stays what it is: here the lock of a table that the trigger writes.
#[tokio::test]
async fn a_trigger_that_waits_for_a_lock_is_tried_again() {
    let (db, hosts) = stage(&format!("{ALL_COLUMNS}; {NOTE_WRITES}")).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    set_for_new_sessions(&db, "lock_timeout = 20").await;
    let fresh = hosts.host(1, &db.url).build().await.unwrap();
    let mut holder = connect(&db.url).await;
    sqlx::raw_sql("BEGIN; LOCK TABLE writes").execute(&mut holder).await.unwrap();
    let error = fresh.store(&owner("user-1"), &full_config(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    let store = tokio::spawn(async move { fresh.store(&owner("user-1"), &full_config(3)).await });
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    store.await.unwrap().unwrap();
    assert_eq!(said(&[&vault], &owner("user-1")).await, [full_key(3)]);
}

#[tokio::test]
async fn what_the_database_refuses_for_good_is_not_kept() {
    for (sqlstate, kind) in [
        ("42501", ErrorKind::AccessDenied),
        ("P0001", ErrorKind::Rejected),
        ("22001", ErrorKind::Rejected),
        ("23514", ErrorKind::Rejected),
        ("ZZ999", ErrorKind::Rejected),
    ] {
        let (db, hosts) = stage(ALL_COLUMNS).await;
        let vault = hosts.host(0, &db.url).build().await.unwrap();
        vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
        db.exec(&raising(sqlstate)).await;
        for user in ["user-1", "user-2"] {
            let error = vault.store(&owner(user), &full_config(2)).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{sqlstate}");
        }
        assert_eq!(local(&vault).await.pending, 0);
        assert_eq!(said(&[&vault], &owner("user-1")).await, [full_key(1)]);
    }
}

/// What the application refuses by its own means is named, and the hint is about that.
#[tokio::test]
async fn who_refuses_is_named() {
    let trigger = |body: &str, function: &str| {
        format!(
            "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;
            CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION {function}()"
        )
    };
    let partitioned = ALL_COLUMNS.replacen("timestamptz);", "timestamptz) PARTITION BY RANGE (user_id);", 1)
        + "; CREATE TABLE a_to_m PARTITION OF user_profiles FOR VALUES FROM ('a') TO ('m')";
    let cases = [
        (trigger("PERFORM pg_notify('changes', repeat('x', 9000))", "tell_all"), "function tell_all", "notification", "id of the row"),
        (
            trigger("RAISE 'no'", "\"function x(y) line 3 at RAISE\""),
            "function function x(y) line 3 at RAISE, which the table calls",
            "P0001",
            "check what the function requires",
        ),
        (
            "ALTER TABLE user_profiles ADD CONSTRAINT short CHECK (length(encrypted_retell_api_key) < 9)".to_owned(),
            "constraint short",
            "a CHECK of the table",
            "condition of the constraint",
        ),
        (
            "ALTER TABLE user_profiles ADD COLUMN plan text; ALTER TABLE user_profiles ALTER COLUMN plan SET NOT NULL".to_owned(),
            "column plan",
            "23502",
            "default",
        ),
        (
            "CREATE TABLE elsewhere (LIKE user_profiles);
            CREATE RULE send AS ON INSERT TO user_profiles DO INSTEAD INSERT INTO elsewhere (user_id) VALUES (NEW.user_id)".to_owned(),
            "table user_profiles",
            "a rule",
            "pg_rules",
        ),
        (String::new(), "no partition of table user_profiles", "23514", "default partition"),
    ];
    for (sql, named, said, hint) in cases {
        let (db, hosts) = stage(if sql.is_empty() { &partitioned } else { ALL_COLUMNS }).await;
        db.exec(&sql).await;
        let vault = hosts.host(0, &db.url).build().await.unwrap();
        let error = vault.store(&owner("user-1"), &full_config(1)).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{text}");
        assert!(text.contains(named) && text.contains(said), "{text}");
        assert!(error.hint().contains(hint), "{text}: {}", error.hint());
        assert_eq!(local(&vault).await.pending, 0, "{text}");
    }
}

#[tokio::test]
async fn a_trigger_that_changes_what_is_written_does_not_cost_the_record_that_was_there() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    db.exec(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.encrypted_sms_agent_id = left(NEW.encrypted_sms_agent_id, 50); RETURN NEW; END $$;
        CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION meddle()",
    )
    .await;
    let both = [(owner("user-1"), full_config(2)), (owner("user-2"), full_config(2))];
    for (owner, config) in &both {
        let error = vault.store(owner, config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert!(error.hint().contains("trigger"));
    }
    for stored in vault.store_many(&both).await.unwrap() {
        assert_eq!(stored.unwrap_err().kind(), ErrorKind::Rejected);
    }
    assert_eq!(said(&[&vault], &owner("user-1")).await, [full_key(1)]);
    assert_eq!(said(&[&vault], &owner("user-2")).await, ["NotFound"]);
    assert_eq!(local(&vault).await.pending, 0);
}

#[tokio::test]
async fn sessions_that_the_server_ends_because_they_are_idle() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    set_for_new_sessions(&db, "idle_session_timeout = 200").await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let loaded = vault.load(&owner("user-1")).await.unwrap();
    assert_eq!((loaded.source, loaded.config), (Source::Database, full_config(1)));
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(vault.store(&owner("user-1"), &full_config(2)).await.unwrap().degraded, None);
    assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, full_config(2));
}

#[tokio::test]
async fn a_load_waits_for_a_locked_table_no_longer_than_a_store() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).timeouts(QUICK).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    let lock = Lock::on_table(&db.url).await;
    let started = Instant::now();
    assert_eq!(vault.load(&owner("user-1")).await.unwrap_err().kind(), ErrorKind::Busy);
    assert!(started.elapsed() < 3 * QUICK.operation, "{:?}", started.elapsed());
    lock.release().await;
}

/// A thousand owners do not wait one by one for a lock that all of them need.
#[tokio::test]
async fn bulk_calls_wait_for_a_locked_table_once() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).timeouts(QUICK).build().await.unwrap();
    let configs: Vec<_> = (0..200).map(|n| (owner(&format!("user-{n}")), small_config(n))).collect();
    vault.store_many(&configs).await.unwrap().into_iter().for_each(|stored| drop(stored.unwrap()));
    let owners: Vec<_> = configs.iter().map(|(owner, _)| owner.clone()).collect();
    let lock = Lock::on_table(&db.url).await;
    let started = Instant::now();
    for loaded in vault.load_many(&owners).await {
        assert_eq!(loaded.unwrap_err().kind(), ErrorKind::Busy);
    }
    for stored in vault.store_many(&configs).await.unwrap() {
        assert_eq!(stored.unwrap_err().kind(), ErrorKind::Busy);
    }
    assert!(started.elapsed() < 6 * QUICK.operation, "{:?}", started.elapsed());
    lock.release().await;
    assert!(vault.load_many(&owners).await.iter().all(Result::is_ok));
}

/// What an earlier statement of the call has written is not reported as failed.
#[tokio::test]
async fn a_bulk_store_that_waits_in_vain_reports_what_it_wrote() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).timeouts(QUICK).build().await.unwrap();
    let configs = |mark: &str| -> Vec<_> {
        let config = |n: usize| (owner(&format!("user-{n:03}")), small_config(format!("{mark}_{n}")));
        (0..300).map(config).collect()
    };
    vault.store_many(&configs("first")).await.unwrap().into_iter().for_each(|stored| drop(stored.unwrap()));
    let lock = Lock::on_row(&db.url, "user-299").await;
    let stored = vault.store_many(&configs("second")).await.unwrap();
    lock.release().await;
    assert!(stored[0].is_ok() && stored[249].is_ok());
    assert_eq!(stored[299].as_ref().unwrap_err().kind(), ErrorKind::Busy);
    for ((owner, config), stored) in configs("second").iter().zip(stored) {
        let is_written = vault.load(owner).await.unwrap().config == *config;
        assert_eq!(stored.is_ok(), is_written, "{owner}: {stored:?}");
    }
}

/// Whatever the server refuses, a program finds the SQLSTATE without reading the text.
#[tokio::test]
async fn every_refusal_of_the_server_has_its_sqlstate() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    for sqlstate in
        ["P0001", "22023", "23502", "23503", "23514", "42501", "42703", "0A000", "57014", "08006", "99999"]
    {
        db.exec(&format!("DROP FUNCTION IF EXISTS raise_it CASCADE; {}", raising(sqlstate))).await;
        let stores = [(owner("user-1"), full_config(1)), (owner("user-2"), full_config(1))];
        let mut errors = vec![vault.store(&stores[0].0, &stores[0].1).await.unwrap_err()];
        errors.extend(vault.store_many(&stores).await.unwrap().into_iter().map(Result::unwrap_err));
        for error in errors {
            assert_eq!(error.sqlstate(), Some(sqlstate), "{error:?}");
        }
    }
    db.exec("DROP FUNCTION raise_it CASCADE; ALTER TABLE user_profiles ADD plan text NOT NULL").await;
    let error = vault.store(&owner("user-1"), &full_config(1)).await.unwrap_err();
    assert_eq!((error.sqlstate(), error.column()), (Some("23502"), Some("plan")), "{error:?}");
    // what the vault finds out by itself comes from no statement
    assert_eq!(vault.load(&owner("absent")).await.unwrap_err().sqlstate(), None);
}

async fn failed(vault: &Vault, user: &str, kind: ErrorKind) -> Error {
    let error = vault.load(&owner(user)).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    error
}

#[tokio::test]
async fn an_error_about_a_key_names_it() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    for user in ["user-1", "user-2", "user-3"] {
        vault.store(&owner(user), &small_config(user)).await.unwrap();
    }
    let key = vault.status().await.unwrap().keys[0].id;
    let (ours, other) = (format!(".{key}."), ".0123abcd.");
    db.exec(&format!(
        "UPDATE user_profiles SET encrypted_retell_api_key = replace(encrypted_retell_api_key, '{ours}', '{other}'),
            encrypted_agent_config = replace(encrypted_agent_config::text, '{ours}', '{other}')::jsonb
        WHERE user_id = 'user-1'"
    ))
    .await;
    let unknown: KeyId = "0123abcd".parse().unwrap();
    assert_eq!(failed(&vault, "user-1", ErrorKind::UnknownKey).await.key_id(), Some(unknown));
    // a row of another owner: its key is known, and opens nothing
    db.exec("DELETE FROM user_profiles WHERE user_id = 'user-2'").await;
    db.exec("UPDATE user_profiles SET user_id = 'user-2' WHERE user_id = 'user-3'").await;
    assert_eq!(failed(&vault, "user-2", ErrorKind::Unsealable).await.key_id(), Some(key));
    assert_eq!(failed(&vault, "absent", ErrorKind::NotFound).await.key_id(), None);

    let options = || DestroyOptions::new().force().other_hosts_synced();
    let error = vault.destroy_key(key, options()).await.unwrap_err();
    assert_eq!((error.kind(), error.key_id()), (ErrorKind::KeyState, Some(key)), "{error:?}");
    let keyring = hosts.keyring();
    keyring.promote_key(keyring.add_key().await.unwrap().id).await.unwrap();
    // the first vault looks at its keyring once a second
    let fresh = hosts.host(1, &db.url).build().await.unwrap();
    let error = fresh.destroy_key(key, options()).await.unwrap_err();
    assert_eq!((error.kind(), error.key_id()), (ErrorKind::KeyInUse, Some(key)), "{error:?}");
}

#[tokio::test]
async fn an_error_about_a_column_names_it() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let column = "encrypted_retell_api_key";
    for (text, kind) in [("key_test_open", ErrorKind::ForeignValue), ("rv1.torn", ErrorKind::Malformed)] {
        db.exec(&format!(
            "DELETE FROM user_profiles; INSERT INTO user_profiles (user_id, {column}) VALUES ('user-1', '{text}')"
        ))
        .await;
        let error = failed(&vault, "user-1", kind).await;
        assert_eq!(error.column(), Some(column), "{error:?}");
        let error = vault.store(&owner("user-1"), &small_config(1)).await.unwrap_err();
        assert_eq!(error.column(), Some(column), "{error:?}");
    }
    db.exec("DELETE FROM user_profiles; INSERT INTO user_profiles (user_id, encrypted_agent_config) VALUES ('user-1', '[]')")
        .await;
    assert_eq!(
        failed(&vault, "user-1", ErrorKind::ForeignValue).await.column(),
        Some("encrypted_agent_config")
    );
    let layout = Layout::new().user_column("absent").unwrap();
    let error = hosts.host(1, &db.url).layout(layout).build().await.unwrap_err();
    assert_eq!((error.kind(), error.column()), (ErrorKind::Schema, Some("absent")), "{error:?}");
}

#[tokio::test]
async fn a_table_without_room_is_a_degraded_store_that_says_so() {
    let (db, hosts) = stage("CREATE TABLE user_profiles (user_id text PRIMARY KEY)").await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let stored = vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    assert!(matches!(stored.degraded, Some(Degraded::NoRoom(_))), "{stored:?}");
    let problem = async || vault.status().await.unwrap().database.unwrap().problem.unwrap();
    assert_eq!(problem().await.kind(), ErrorKind::Schema);
    assert_eq!(vault.sync().await.unwrap().stopped.unwrap().kind(), ErrorKind::Schema);
}

/// They may be two databases.
#[tokio::test]
async fn a_url_and_a_pool_are_not_both_taken() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    for builder in [
        hosts.offline(0).postgres(&db.url).pool(db.pool()),
        hosts.offline(0).pool(db.pool()).postgres(&db.url),
    ] {
        let error = builder.build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.hint().contains("not both"), "{error:?}");
    }
    hosts.offline(0).pool(db.pool()).build().await.unwrap();
}
