//! A local file whose pushes are counted: an older state of it, or a copy, brings nothing back.

use std::env;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use retell_vault::Vault;
use retell_vault::connection::KeyringTable;
use retell_vault::sync::{KeptReason, SyncReport};
use sqlx::SqliteConnection;

use crate::support::TestDb;
use crate::support::faults::*;
use crate::support::role::Role;
use crate::support::vaults::*;

const CLEAR: &str = "DELETE FROM user_profiles";
const ROWS: &str = "SELECT count(*) FROM user_profiles WHERE encrypted_retell_api_key IS NOT NULL";
const COUNTED: &str = "SELECT coalesce(sum(pushes), 0)::bigint FROM retell_vault.local_files";

async fn counting_stage() -> (TestDb, Hosts) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(ALL_COLUMNS).await;
    KeyringTable::postgres(&db.url).unwrap().create(&[]).await.unwrap();
    (db, hosts)
}

/// Stores without the database.
async fn store_offline(hosts: &Hosts, host: usize, users: &[&str]) {
    let vault = hosts.offline(host).build().await.unwrap();
    for user in users {
        vault.store(&owner(user), &small_config(user)).await.unwrap();
    }
    vault.close().await;
}

/// What a new process of a host synchronises.
async fn sync(hosts: &Hosts, host: usize, url: &str) -> SyncReport {
    let vault = hosts.host(host, url).build().await.unwrap();
    let report = vault.sync().await.unwrap();
    vault.close().await;
    assert_eq!((&report.stopped, report.blocked.len()), (&None, 0), "{report:?}");
    report
}

fn pushed_and_dead(report: &SyncReport) -> (u64, u64) {
    (report.pushed, report.dead_letters)
}

/// By a process of its own: a process that closes a file loses its locks on it.
fn copy(from: &Path, to: &Path) {
    DirBuilder::new().recursive(true).mode(0o700).create(to.parent().unwrap()).unwrap();
    assert!(Command::new("cp").arg("-p").arg(from).arg(to).status().unwrap().success());
}

#[tokio::test]
async fn a_restored_file_is_noticed_at_any_age_also_through_a_pooler() {
    for pooled in [false, true] {
        let (db, hosts) = counting_stage().await;
        let url = if pooled { db.bouncer_url() } else { db.url.clone() };
        let (file, backup) = (hosts.local_file(0), hosts.local_file(9));
        store_offline(&hosts, 0, &["first"]).await;
        assert_eq!(pushed_and_dead(&sync(&hosts, 0, &url).await), (1, 0), "its first push");
        store_offline(&hosts, 0, &["second", "third"]).await;
        copy(&file, &backup);
        assert_eq!(pushed_and_dead(&sync(&hosts, 0, &url).await), (2, 0));
        db.exec(CLEAR).await;

        // the records are seconds old
        copy(&backup, &file);
        assert_eq!(pushed_and_dead(&sync(&hosts, 0, &url).await), (0, 2));
        assert_eq!(number(&db.url, ROWS).await, 0);
        let vault = hosts.host(0, &url).build().await.unwrap();
        let kept = vault.kept(0, 100).await.unwrap();
        let reasons: Vec<_> =
            kept.iter().map(|kept| (kept.why, kept.reason.contains("older state"))).collect();
        assert_eq!(reasons, [(KeptReason::DeadLetter, true); 2], "{kept:?}");

        // on purpose they are pushed, and what is stored from now on is as usual
        assert_eq!(vault.retry_dead_letters(Some(&owner("second"))).await.unwrap(), 1);
        vault.close().await;
        store_offline(&hosts, 0, &["fourth"]).await;
        assert_eq!(pushed_and_dead(&sync(&hosts, 0, &url).await), (2, 0));
        assert_eq!(number(&db.url, ROWS).await, 2);
        assert_eq!(
            number(&db.url, "SELECT count(*) FROM retell_vault.local_files").await,
            2,
            "it has a new id"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_made_during_a_sync_is_behind_after_it() {
    let (db, hosts) = counting_stage().await;
    let (file, backup) = (hosts.local_file(0), hosts.local_file(9));
    db.exec("INSERT INTO user_profiles (user_id) VALUES ('b')").await;
    store_offline(&hosts, 0, &["a", "b", "c"]).await;
    let lock = Lock::on_row(&db.url, "b").await;
    let syncing = {
        let vault = hosts.host(0, &db.url).build().await.unwrap();
        tokio::spawn(async move {
            let report = vault.sync().await.unwrap();
            vault.close().await;
            report
        })
    };
    until_waiting(&db.url, 1).await;
    copy(&file, &backup);
    lock.release().await;
    assert_eq!(pushed_and_dead(&syncing.await.unwrap()), (3, 0));
    db.exec(CLEAR).await;
    copy(&backup, &file);
    assert_eq!(pushed_and_dead(&sync(&hosts, 0, &db.url).await), (0, 2), "b and c were pending in the copy");
}

#[tokio::test]
async fn of_two_copies_the_first_that_syncs_goes_on_and_the_other_keeps_its_records_as_dead_letters() {
    let (db, hosts) = counting_stage().await;
    store_offline(&hosts, 0, &["before"]).await;
    sync(&hosts, 0, &db.url).await;
    copy(&hosts.local_file(0), &hosts.local_file(1));
    store_offline(&hosts, 0, &["original"]).await;
    store_offline(&hosts, 1, &["copied"]).await;
    assert_eq!(pushed_and_dead(&sync(&hosts, 1, &db.url).await), (1, 0));
    assert_eq!(pushed_and_dead(&sync(&hosts, 0, &db.url).await), (0, 1));
    for round in 0..3 {
        for host in [0, 1] {
            store_offline(&hosts, host, &[&format!("later-{host}-{round}")]).await;
            assert_eq!(
                pushed_and_dead(&sync(&hosts, host, &db.url).await),
                (1, 0),
                "each has its own id now"
            );
        }
    }
}

/// Not a test: the process that is killed.
#[tokio::test]
async fn syncing_process() {
    let Ok(setup) = env::var("RETELL_VAULT_TEST_SYNCING") else { return };
    let [keyring, local, url] = *setup.split('|').collect::<Vec<_>>() else { panic!("{setup}") };
    let builder = Vault::builder(open_keyring(keyring)).local_file(local).postgres(url);
    drop(builder.build().await.unwrap().sync().await);
}

/// A process that is killed after the database has counted its push, and before it could note that.
async fn kill_between(db: &TestDb, hosts: &Hosts) {
    let before = number(&db.url, COUNTED).await;
    let file = hosts.local_file(0);
    let counting = Lock::by(&db.url, "BEGIN; LOCK TABLE retell_vault.local_files IN EXCLUSIVE MODE").await;
    let keyring = file.parent().unwrap().join("keyring.json");
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "vault_schema::pushes::syncing_process"])
        .env("RETELL_VAULT_TEST_SYNCING", format!("{}|{}|{}", keyring.display(), file.display(), db.url))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until_waiting(&db.url, 1).await;
    let mut noting: SqliteConnection = sqlite(hosts, 0).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut noting).await.unwrap();
    counting.release().await;
    until(async || number(&db.url, COUNTED).await > before).await;
    process.kill().unwrap();
    process.wait().unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut noting).await.unwrap();
    let noted: i64 = sqlx::query_scalar("SELECT count(*) FROM meta WHERE name = 'push_begun'")
        .fetch_one(&mut noting)
        .await
        .unwrap();
    assert_eq!(noted, 1, "the file knows only that it began");
    assert_eq!(number(&db.url, ROWS).await, 0, "and nothing was pushed yet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_between_the_count_and_its_note_leaves_a_file_that_is_usable() {
    let (db, hosts) = counting_stage().await;
    store_offline(&hosts, 0, &["a", "b"]).await;
    kill_between(&db, &hosts).await;
    kill_between_again(&db, &hosts).await;
    assert_eq!(pushed_and_dead(&sync(&hosts, 0, &db.url).await), (2, 0));
    store_offline(&hosts, 0, &["c"]).await;
    assert_eq!(pushed_and_dead(&sync(&hosts, 0, &db.url).await), (1, 0));
}

/// The same with a file that has been counted before.
async fn kill_between_again(db: &TestDb, hosts: &Hosts) {
    sync(hosts, 0, &db.url).await;
    db.exec(CLEAR).await;
    store_offline(hosts, 0, &["a", "b"]).await;
    kill_between(db, hosts).await;
}

#[tokio::test]
async fn several_processes_with_one_file_do_not_take_each_other_for_restored() {
    let (db, hosts) = counting_stage().await;
    for round in 0..5 {
        let users: Vec<String> = (0..20).map(|n| format!("user-{round}-{n}")).collect();
        store_offline(&hosts, 0, &users.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let mut vaults = Vec::new();
        for _ in 0..3 {
            vaults.push(hosts.host(0, &db.url).build().await.unwrap());
        }
        let (a, b, c) = tokio::join!(vaults[0].sync(), vaults[1].sync(), vaults[2].sync());
        for report in [a, b, c].map(Result::unwrap) {
            assert_eq!((report.stopped, report.dead_letters), (None, 0));
        }
        assert_eq!(number(&db.url, ROWS).await, 20 * (round + 1));
    }
}

#[tokio::test]
async fn a_database_that_went_back_or_lost_the_count_does_not_make_a_file_look_restored() {
    let (db, hosts) = counting_stage().await;
    store_offline(&hosts, 0, &["a"]).await;
    sync(&hosts, 0, &db.url).await;
    for (user, change) in [
        ("b", "UPDATE retell_vault.local_files SET pushes = 1, mark = 'of an older dump'"),
        ("c", "DELETE FROM retell_vault.local_files"),
        ("d", "DROP TABLE retell_vault.local_files"),
        ("e", "DROP SCHEMA retell_vault CASCADE"),
    ] {
        db.exec(change).await;
        store_offline(&hosts, 0, &[user]).await;
        assert_eq!(pushed_and_dead(&sync(&hosts, 0, &db.url).await), (1, 0), "{change}");
    }
}

#[tokio::test]
async fn a_sync_does_without_the_count_where_it_may_not_be_used() {
    let grant = "GRANT USAGE ON SCHEMA public TO guest; GRANT ALL ON user_profiles TO guest";
    let may_count =
        "GRANT USAGE ON SCHEMA retell_vault TO guest; GRANT ALL ON retell_vault.local_files TO guest";
    // runs with the rights of the role that counts
    let code = "CREATE TABLE ran (who text); GRANT ALL ON ran TO PUBLIC; CREATE FUNCTION retell_vault.code() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN INSERT INTO public.ran VALUES (current_user); RETURN NEW; END';
        CREATE TRIGGER code BEFORE INSERT ON retell_vault.local_files FOR EACH ROW EXECUTE FUNCTION retell_vault.code()";
    let taken =
        "CREATE ROLE guest_stranger LOGIN; ALTER TABLE retell_vault.local_files OWNER TO guest_stranger";
    let shared = "CREATE ROLE guest_stranger; GRANT guest_stranger TO guest; ALTER TABLE retell_vault.local_files OWNER TO guest_stranger";
    for (what, change) in [
        ("no right", String::new()),
        (
            "no right to write",
            "GRANT USAGE ON SCHEMA retell_vault TO guest; GRANT SELECT ON retell_vault.local_files TO guest"
                .to_owned(),
        ),
        ("code of others", format!("{may_count}; {code}")),
        ("another column", format!("{may_count}; ALTER TABLE retell_vault.local_files ADD shown text")),
        ("of another role", format!("{taken}; {may_count}")),
        ("of a role that others may act as", format!("{shared}; {may_count}")),
    ] {
        let (db, hosts) = counting_stage().await;
        let service = Role::create(&db, &format!("{grant}; {change}")).await;
        store_offline(&hosts, 0, &["a"]).await;
        assert_eq!(pushed_and_dead(&sync(&hosts, 0, &service.url).await), (1, 0), "{what}");
        assert_eq!(number(&db.url, COUNTED).await, 0, "{what}");
        if what == "code of others" {
            assert_eq!(number(&db.url, "SELECT count(*) FROM ran").await, 0);
        }
        if change.contains("_stranger") {
            db.exec(&format!("DROP OWNED BY {0}_stranger; DROP ROLE {0}_stranger", service.name)).await;
        }
    }
    let (db, hosts) = counting_stage().await;
    let service = Role::create(&db, &format!("{grant}; {may_count}")).await;
    store_offline(&hosts, 0, &["a"]).await;
    assert_eq!(pushed_and_dead(&sync(&hosts, 0, &service.url).await), (1, 0));
    assert_eq!(number(&db.url, COUNTED).await, 2, "before the push and after it");
}

/// `RETELL_VAULT_TEST_PUSHES=2000 scripts/test --test keys vault_schema::pushes_with -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement"]
async fn pushes_with_and_without_a_count() {
    let pushes: usize = env::var("RETELL_VAULT_TEST_PUSHES").map_or(500, |pushes| pushes.parse().unwrap());
    let mut least = [u128::MAX; 2];
    for _ in 0..5 {
        for counts in [false, true] {
            let (db, hosts) = counting_stage().await;
            if !counts {
                db.exec("DROP SCHEMA retell_vault CASCADE").await;
            }
            let users: Vec<String> = (0..pushes).map(|n| format!("user-{n}")).collect();
            store_offline(&hosts, 0, &users.iter().map(String::as_str).collect::<Vec<_>>()).await;
            let vault = hosts.host(0, &db.url).build().await.unwrap();
            let started = Instant::now();
            assert_eq!(vault.sync().await.unwrap().pushed, pushes as u64);
            let each = started.elapsed().as_micros() / pushes as u128;
            let least = &mut least[usize::from(counts)];
            *least = each.min(*least);
            println!("counts {counts}: {each} µs for each of {pushes} pushes, at least {least} µs");
        }
    }
}
