//! Pending records and the database: every node ends with the same record, and no loser is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use retell_vault::records::Source;
use retell_vault::sync::{KeptReason, SyncReport};
use retell_vault::{ErrorKind, RetellConfig, Vault, VaultBuilder};

use crate::support::faults::*;
use crate::support::vaults::*;
use crate::support::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A clock that is wrong by so many milliseconds.
fn off_by(millis: i64) -> impl Fn() -> u64 + Send + Sync + 'static {
    move || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        now.checked_add_signed(millis).unwrap()
    }
}

async fn stage(table: &str) -> (TestDb, Hosts) {
    let (db, hosts) = (TestDb::create().await, Hosts::new().await);
    db.exec(table).await;
    (db, hosts)
}

fn unplugged_builder(hosts: &Hosts, host: usize) -> VaultBuilder {
    hosts.host(host, DEAD_URL).timeouts(QUICK)
}

/// Stores while the database of the host is out of reach and its clock wrong.
async fn store_offline(hosts: &Hosts, host: usize, clock: i64, config: &RetellConfig) {
    let vault = unplugged_builder(hosts, host).clock(off_by(clock)).build().await.unwrap();
    assert!(vault.store(&owner("user-1"), config).await.unwrap().degraded.is_some());
}

fn counts(report: &SyncReport) -> [u64; 5] {
    let SyncReport { pushed, lost, overwritten, dead_letters, .. } = report;
    [*pushed, *lost, *overwritten, *dead_letters, report.blocked.len() as u64]
}

/// What was kept, as its reason and its key.
async fn kept(vault: &Vault) -> Vec<(KeptReason, String)> {
    let kept = vault.kept(0, 100).await.unwrap();
    let key = |config: Option<RetellConfig>| {
        config.map_or("deleted".to_owned(), |config| config.api_key().unwrap().expose_secret().to_owned())
    };
    kept.into_iter().map(|kept| (kept.why, key(kept.config.unwrap()))).collect()
}

fn key(mark: impl std::fmt::Display) -> String {
    full_config(mark).api_key().unwrap().expose_secret().to_owned()
}

#[tokio::test]
async fn the_later_write_wins_whichever_way_it_came() {
    for (offline_clock, winner, loser, expected) in
        [(-MINUTE, "online", "offline", [0, 1, 0, 0, 0]), (MINUTE, "offline", "online", [1, 0, 1, 0, 0])]
    {
        let (db, hosts) = stage(ALL_COLUMNS).await;
        let other = hosts.host(1, &db.url).build().await.unwrap();
        store_offline(&hosts, 0, offline_clock, &full_config("offline")).await;
        other.store(&owner("user-1"), &full_config("online")).await.unwrap();

        let vault = hosts.host(0, &db.url).build().await.unwrap();
        assert_eq!(said(&[&vault], &owner("user-1")).await, [key(winner)], "even before the sync");
        let report = vault.sync().await.unwrap();
        assert_eq!(counts(&report), expected);
        let status = local(&vault).await;
        assert_eq!((status.pending, status.losers, status.dead_letters), (0, 1, 0));
        assert_eq!(kept(&vault).await, [(KeptReason::Loser, key(loser))]);
        assert_eq!(vault.kept(0, 1).await.unwrap()[0].config.as_ref().unwrap(), &Some(full_config(loser)));
        assert_eq!(other.load(&owner("user-1")).await.unwrap().config, full_config(winner));
        assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, full_config(winner));
        // kept for 90 days, then dropped by a sync
        for (age, left) in [(89 * DAY, 1), (91 * DAY, 0)] {
            let later = hosts.host(0, &db.url).clock(off_by(age)).build().await.unwrap();
            assert_eq!(later.sync().await.unwrap(), SyncReport::default());
            assert_eq!(kept(&vault).await.len(), left);
        }
    }
}

#[tokio::test]
async fn versions_stay_in_order_over_an_outage_even_when_the_clock_stands_still_or_goes_back() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let proxy = CutProxy::start(&db.url).await;
    let time = Arc::new(AtomicU64::new(off_by(0)()));
    let clock = time.clone();
    let builder = hosts.host(0, proxy.url()).timeouts(QUICK).clock(move || clock.load(Ordering::SeqCst));
    let vault = builder.build().await.unwrap();
    let owners: Vec<_> = (0..16).map(|n| owner(&format!("user-{n}"))).collect();
    let mut online = Vec::new();
    for owner in &owners {
        online.push(vault.store(owner, &full_config(1)).await.unwrap().version);
    }
    proxy.set(Mode::Refuse).await;
    for (n, owner) in owners.iter().enumerate() {
        if n == 8 {
            time.fetch_sub(HOUR as u64, Ordering::SeqCst);
        }
        let stored = vault.store(owner, &full_config(2)).await.unwrap();
        assert!(stored.degraded.is_some() && stored.version > online[n]);
    }
    proxy.set(Mode::Pass).await;
    // they were based on what the rows still hold: nothing was overwritten that somebody would miss
    assert_eq!(counts(&vault.sync().await.unwrap()), [16, 0, 0, 0, 0]);
    for owner in &owners {
        assert_eq!(said(&[&vault], owner).await, [key(2)]);
    }
    assert_eq!(local(&vault).await.losers, 0);
}

/// The database has not got it yet, and never gets it.
#[tokio::test]
async fn what_waits_is_deleted_before_it_is_pushed() {
    for rows in ["", "INSERT INTO user_profiles (user_id) VALUES ('user-1')"] {
        let (db, hosts) = stage(ALL_COLUMNS).await;
        db.exec(rows).await;
        store_offline(&hosts, 0, 0, &full_config(1)).await;
        let proxy = CutProxy::start(&db.url).await;
        let vault = hosts.host(0, proxy.url()).timeouts(QUICK).build().await.unwrap();
        let deleted = vault.delete(&owner("user-1")).await.unwrap();
        assert!(deleted.degraded.is_none(), "{deleted:?}");
        assert_eq!(vault.delete(&owner("user-1")).await.unwrap_err().kind(), ErrorKind::NotFound);
        vault.sync().await.unwrap();
        assert_eq!(local(&vault).await.pending, 0);
        let key = "SELECT count(encrypted_retell_api_key) FROM user_profiles";
        assert_eq!(number(&db.url, key).await, 0);
        assert_eq!(said(&[&vault], &owner("user-1")).await, ["NotFound"]);
        if rows.is_empty() {
            // the deletion left nothing behind: a store in the next outage is pushed
            proxy.set(Mode::Refuse).await;
            assert!(vault.store(&owner("user-1"), &full_config(2)).await.unwrap().degraded.is_some());
            proxy.set(Mode::Pass).await;
            assert_eq!(counts(&vault.sync().await.unwrap()), [1, 0, 0, 0, 0]);
        }
    }
}

/// Nor is an earlier record of the owner that the database refused.
#[tokio::test]
async fn a_dead_letter_is_not_tried_again_after_a_deletion() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    db.exec("ALTER TABLE user_profiles ADD CONSTRAINT closed CHECK (user_id <> 'user-1')").await;
    store_offline(&hosts, 0, 0, &full_config(1)).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    assert_eq!(counts(&vault.sync().await.unwrap()), [0, 0, 0, 1, 0]);
    db.exec("ALTER TABLE user_profiles DROP CONSTRAINT closed").await;
    vault.close().await;
    store_offline(&hosts, 0, 0, &full_config(2)).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.delete(&owner("user-1")).await.unwrap();
    vault.sync().await.unwrap();
    assert_eq!(vault.retry_dead_letters(Some(&owner("user-1"))).await.unwrap(), 0);
    assert_eq!(kept(&vault).await, [(KeptReason::DeadLetter, key(1))], "an operator may look at it");
    vault.sync().await.unwrap();
    assert_eq!(said(&[&vault], &owner("user-1")).await, ["NotFound"]);
}

/// A sync holds what it read when the record is deleted: it must not push it then.
#[tokio::test]
async fn what_is_deleted_while_a_sync_goes_on_stays_deleted() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    db.exec("INSERT INTO user_profiles (user_id) VALUES ('user-0')").await;
    let unplugged = unplugged_builder(&hosts, 0).build().await.unwrap();
    for user in ["user-0", "user-1"] {
        assert!(unplugged.store(&owner(user), &full_config(1)).await.unwrap().degraded.is_some());
    }
    unplugged.close().await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let lock = Lock::on_row(&db.url, "user-0").await;
    let syncing = tokio::spawn({
        let vault = vault.clone();
        async move { vault.sync().await }
    });
    until_waiting(&db.url, 1).await;
    vault.delete(&owner("user-1")).await.unwrap();
    lock.release().await;
    syncing.await.unwrap().unwrap();
    vault.sync().await.unwrap();
    assert_eq!(said(&[&vault], &owner("user-1")).await, ["NotFound"]);
    assert_eq!(number(&db.url, "SELECT count(*) FROM user_profiles WHERE user_id = 'user-1'").await, 0);
}

#[tokio::test]
async fn a_pending_record_whose_base_was_overwritten_by_someone_else_keeps_the_loser() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let proxy = CutProxy::start(&db.url).await;
    let vault = hosts.host(0, proxy.url()).timeouts(QUICK).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config("base")).await.unwrap();
    proxy.set(Mode::Refuse).await;
    vault.store(&owner("user-1"), &full_config("pending")).await.unwrap();
    // a host whose clock is a minute late: newer than the base, older than the pending record
    let other = hosts.host(1, &db.url).clock(off_by(-MINUTE)).build().await.unwrap();
    other.store(&owner("user-1"), &full_config("elsewhere")).await.unwrap();
    vault.store(&owner("user-1"), &full_config("pending_2")).await.unwrap();
    proxy.set(Mode::Pass).await;
    let report = vault.sync().await.unwrap();
    assert_eq!(counts(&report), [1, 0, 1, 0, 0]);
    assert_eq!(kept(&vault).await, [(KeptReason::Loser, key("elsewhere"))]);
    assert_eq!(said(&[&vault, &other], &owner("user-1")).await, [key("pending_2"), key("pending_2")]);
}

/// Stores in the local file after the row was read, and says why: the disk of the server is full.
async fn store_while_the_disk_is_full(db: &TestDb, hosts: &Hosts, config: &RetellConfig) {
    db.exec(&raising("53100")).await;
    let proxy = CutProxy::start(&db.url).await;
    proxy.set(Mode::HideRaise).await;
    let vault = hosts.host(0, proxy.url()).build().await.unwrap();
    assert!(vault.store(&owner("user-1"), config).await.unwrap().degraded.is_some());
    vault.close().await;
    db.exec("DROP TRIGGER raise_it ON user_profiles; DROP FUNCTION raise_it").await;
}

/// A later write that has read the row itself is based on what it has read, and not on what the first one knew.
#[tokio::test]
async fn a_later_write_that_has_read_the_row_is_based_on_that() {
    const REMOVED: &str = "DELETE FROM user_profiles";
    const MADE_ANEW: &str =
        "DELETE FROM user_profiles; INSERT INTO user_profiles (user_id) VALUES ('user-1')";
    // what is done to the row before the later write, and after it, and whether the record may be pushed then
    for (before, after, is_pushed) in [
        (MADE_ANEW, "", true),
        (REMOVED, "", true),
        ("", "", true),
        (MADE_ANEW, REMOVED, false),
        ("", REMOVED, false),
        ("", MADE_ANEW, false),
    ] {
        let (db, hosts) = stage(ALL_COLUMNS).await;
        let proxy = CutProxy::start(&db.url).await;
        let vault = hosts.host(0, proxy.url()).timeouts(QUICK).build().await.unwrap();
        // where the row is to be removed, the first write knows nothing of it; else it knows it
        let writer = if is_pushed { &vault } else { &hosts.host(1, &db.url).build().await.unwrap() };
        writer.store(&owner("user-1"), &full_config("row")).await.unwrap();
        proxy.set(Mode::Refuse).await;
        assert!(vault.store(&owner("user-1"), &full_config("first")).await.unwrap().degraded.is_some());
        vault.close().await;
        db.exec(before).await;
        store_while_the_disk_is_full(&db, &hosts, &full_config("later")).await;
        db.exec(after).await;

        let vault = hosts.host(0, &db.url).build().await.unwrap();
        let report = vault.sync().await.unwrap();
        let (case, pushed) = (format!("{before:?}, {after:?}: {report:?}"), u64::from(is_pushed));
        assert_eq!(counts(&report), [pushed, 0, 0, 1 - pushed, 0], "{case}");
        let expected = if is_pushed { key("later") } else { "NotFound".to_owned() };
        assert_eq!(said(&[&vault], &owner("user-1")).await, [expected], "{case}");
    }
}

#[tokio::test]
async fn of_equal_versions_the_row_wins_unless_they_say_the_same() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let frozen = off_by(0)();
    // the low 16 bits are random: of enough versions at one time, two hosts have one in common
    let (ours, theirs) = tokio::join!(
        many_versions(&hosts, 0, frozen, full_config("ours")),
        many_versions(&hosts, 1, frozen, full_config("theirs"))
    );
    let (version, our_text, their_text) = ours
        .iter()
        .find_map(|(version, text)| {
            theirs.iter().find(|(v, _)| v == version).map(|(_, t)| (version, text, t))
        })
        .expect("a birthday in common");
    for (row, pushed, winner, losers) in
        [(their_text, 0, "theirs", vec![(KeptReason::Loser, key("ours"))]), (our_text, 1, "ours", vec![])]
    {
        put_pending(&hosts, 0, version, our_text).await;
        db.exec(&format!("DELETE FROM user_profiles; INSERT INTO user_profiles (user_id, encrypted_retell_api_key) VALUES ('user-1', '{row}')"))
            .await;
        let vault = hosts.host(0, &db.url).build().await.unwrap();
        vault.forget(&owner("nobody")).await.unwrap();
        let report = vault.sync().await.unwrap();
        assert_eq!((report.pushed, report.lost), (pushed, 1 - pushed));
        assert_eq!(kept(&vault).await, losers);
        assert_eq!(said(&[&vault], &owner("user-1")).await, [key(winner)]);
        assert_eq!(local(&vault).await.pending, 0);
        vault.forget(&owner("user-1")).await.unwrap();
    }
}

/// Version and text of many records of one owner, all stored at the same time.
async fn many_versions(hosts: &Hosts, host: usize, time: u64, config: RetellConfig) -> Vec<(String, String)> {
    let vault = hosts.offline(host).clock(move || time).build().await.unwrap();
    let mut file = sqlite(hosts, host).await;
    let mut texts = Vec::new();
    for _ in 0..800 {
        vault.store(&owner("user-1"), &config).await.unwrap();
        let row = sqlx::query_as("SELECT version, text FROM pending").fetch_one(&mut file).await.unwrap();
        texts.push(row);
        sqlx::query("DELETE FROM pending").execute(&mut file).await.unwrap();
    }
    texts
}

async fn put_pending(hosts: &Hosts, host: usize, version: &str, text: &str) {
    let insert = "INSERT INTO pending (tenant, user, version, text, base, at) VALUES ('', 'user-1', ?, ?, 'unknown', ?)";
    let query = sqlx::query(insert).bind(version).bind(text).bind(off_by(0)() as i64);
    query.execute(&mut sqlite(hosts, host).await).await.unwrap();
}

#[tokio::test]
async fn what_the_database_will_never_take_goes_to_the_dead_letters() {
    let users =
        "CREATE TABLE users (id text PRIMARY KEY); INSERT INTO users VALUES ('gone'), ('old'), ('deleted')";
    let (db, hosts) = stage(&format!(
        "{users}; CREATE TABLE user_profiles (user_id text PRIMARY KEY REFERENCES users, encrypted_retell_api_key text)"
    ))
    .await;
    let proxy = CutProxy::start(&db.url).await;
    let vault = hosts.host(0, proxy.url()).timeouts(QUICK).build().await.unwrap();
    for user in ["gone", "deleted"] {
        vault.store(&owner(user), &full_config(1)).await.unwrap();
    }
    proxy.set(Mode::Refuse).await;
    for user in ["gone", "never-there", "old"] {
        vault.store(&owner(user), &full_config(user)).await.unwrap();
    }
    vault.delete(&owner("deleted")).await.unwrap();
    db.exec("DELETE FROM user_profiles").await;
    proxy.set(Mode::Pass).await;

    // a row that was removed meanwhile is not made again; a foreign key refuses
    let report = vault.sync().await.unwrap();
    assert_eq!(
        counts(&report),
        [2, 0, 0, 2, 0],
        "pushed: the new user, and the tombstone that has nothing to cover"
    );
    assert_eq!(
        kept(&vault).await,
        [(KeptReason::DeadLetter, key("gone")), (KeptReason::DeadLetter, key("never-there"))]
    );
    assert_eq!(said(&[&vault], &owner("gone")).await, ["NotFound"]);
    assert_eq!(number(&db.url, "SELECT count(*) FROM user_profiles").await, 1);
    let status = local(&vault).await;
    assert_eq!((status.pending, status.dead_letters), (0, 2));
}

/// A trigger that fails for a moment buries nothing, and nobody has to do anything.
#[tokio::test]
async fn what_a_trigger_refuses_for_a_moment_stays_pending() {
    let failing = |body: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;
            CREATE OR REPLACE TRIGGER fail BEFORE INSERT OR UPDATE ON user_profiles FOR EACH ROW EXECUTE FUNCTION fail()"
        )
    };
    let audit = "CREATE TABLE audit (user_id text PRIMARY KEY, at text NOT NULL); INSERT INTO audit VALUES ('user-1', ''), ('user-2', '')";
    let (db, hosts) = stage(&format!("{ALL_COLUMNS}; {audit}")).await;
    let away = unplugged(&hosts, 0).await;
    for user in ["user-1", "user-2"] {
        away.store(&owner(user), &full_config(user)).await.unwrap();
    }
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    for body in [
        "PERFORM 1 / 0",
        "RAISE 'no'",
        "RAISE 'no' USING ERRCODE = '53100'",
        "RAISE 'no' USING ERRCODE = '57P03'",
        "INSERT INTO audit VALUES (NEW.user_id, NULL)",
        "INSERT INTO audit VALUES (NEW.user_id, '')",
    ] {
        db.exec(&failing(body)).await;
        for _ in 0..6 {
            let report = vault.sync().await.unwrap();
            assert_eq!((counts(&report), &report.stopped), ([0, 0, 0, 0, 2], &None), "{body}: {report:?}");
            assert!(report.blocked[0].1.to_string().contains("function fail"), "{report:?}");
        }
        let status = vault.status().await.unwrap();
        assert!(!status.database.unwrap().breaker_open, "{body}");
        assert_eq!(status.local.unwrap().blocked, 2, "{body}");
    }
    // after several tries and a day somebody has to look; then they are tried once more
    let later = hosts.host(0, &db.url).clock(off_by(25 * HOUR)).build().await.unwrap();
    assert_eq!(counts(&later.sync().await.unwrap()), [0, 0, 0, 2, 0]);
    assert!(vault.kept(0, 1).await.unwrap()[0].reason.contains("refused 37 times"));
    db.exec("DROP TRIGGER fail ON user_profiles").await;
    assert_eq!(vault.sync().await.unwrap(), SyncReport::default());
    assert_eq!(vault.retry_dead_letters(Some(&owner("user-1"))).await.unwrap(), 1);
    assert_eq!(vault.retry_dead_letters(None).await.unwrap(), 1);
    assert_eq!(counts(&vault.sync().await.unwrap()), [2, 0, 0, 0, 0]);
    assert_eq!(kept(&vault).await, []);
    assert_eq!(said(&[&vault], &owner("user-2")).await, [key("user-2")]);
}

/// A new try never takes the place of what waits already, and what the record was based on still holds.
#[tokio::test]
async fn dead_letters_that_are_tried_again_stay_in_order() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let proxy = CutProxy::start(&db.url).await;
    let vault = hosts.host(0, proxy.url()).timeouts(QUICK).build().await.unwrap();
    for round in 0..2 {
        proxy.set(Mode::Pass).await;
        until(async || vault.store(&owner("user-1"), &full_config("row")).await.unwrap().degraded.is_none())
            .await;
        proxy.set(Mode::Refuse).await;
        vault.store(&owner("user-1"), &full_config(round)).await.unwrap();
        db.exec("DELETE FROM user_profiles").await;
        proxy.set(Mode::Pass).await;
        assert_eq!(vault.sync().await.unwrap().dead_letters, 1);
    }
    assert_eq!(vault.retry_dead_letters(None).await.unwrap(), 1, "the newest");
    assert_eq!(vault.retry_dead_letters(None).await.unwrap(), 0, "one is pending");
    assert_eq!(kept(&vault).await, [(KeptReason::DeadLetter, key(0))]);
    assert_eq!(counts(&vault.sync().await.unwrap()), [0, 0, 0, 1, 0], "its row is still gone");
    assert_eq!(number(&db.url, "SELECT count(*) FROM user_profiles").await, 0);
}

/// A row is not the one that a pending record was for, because somebody has deleted, removed or cleared it meanwhile. What
/// the pending record was based on is all that tells.
#[tokio::test]
async fn nobody_gets_the_credentials_of_a_row_that_was_there_before() {
    let row_made_anew = "DELETE FROM user_profiles; INSERT INTO user_profiles (user_id, full_name) VALUES ('user-1', 'somebody else')";
    let cleared = "UPDATE user_profiles SET encrypted_retell_api_key = NULL, encrypted_call_agent_id = NULL,
        encrypted_sms_agent_id = NULL, encrypted_agent_config = NULL";
    for meanwhile in [Some(row_made_anew), Some(cleared), None] {
        let (db, hosts) = stage(ALL_COLUMNS).await;
        let proxy = CutProxy::start(&db.url).await;
        let vault = hosts.host(0, proxy.url()).timeouts(QUICK).build().await.unwrap();
        let other = hosts.host(1, &db.url).clock(off_by(-MINUTE)).build().await.unwrap();
        vault.store(&owner("user-1"), &full_config("row")).await.unwrap();
        proxy.set(Mode::Refuse).await;
        vault.store(&owner("user-1"), &full_config("pending")).await.unwrap();
        match meanwhile {
            Some(sql) => db.exec(sql).await,
            // by a host whose clock is late: later than the row, and earlier than the pending record
            None => drop(other.delete(&owner("user-1")).await.unwrap()),
        }
        proxy.set(Mode::Pass).await;
        let report = vault.sync().await.unwrap();
        assert_eq!(counts(&report), [0, 0, 0, 1, 0], "{meanwhile:?}: {report:?}");
        assert_eq!(kept(&vault).await, [(KeptReason::DeadLetter, key("pending"))], "{meanwhile:?}");
        assert_eq!(said(&[&vault, &other], &owner("user-1")).await, ["NotFound", "NotFound"]);
    }
}

/// A pending record that was based on the tombstone itself is a new one of the same owner.
#[tokio::test]
async fn who_was_deleted_may_store_again_in_an_outage() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let proxy = CutProxy::start(&db.url).await;
    let vault = hosts.host(0, proxy.url()).timeouts(QUICK).build().await.unwrap();
    vault.store(&owner("user-1"), &full_config("old")).await.unwrap();
    vault.delete(&owner("user-1")).await.unwrap();
    proxy.set(Mode::Refuse).await;
    vault.store(&owner("user-1"), &full_config("new")).await.unwrap();
    proxy.set(Mode::Pass).await;
    assert_eq!(counts(&vault.sync().await.unwrap()), [1, 0, 0, 0, 0]);
    assert_eq!(said(&[&vault], &owner("user-1")).await, [key("new")]);
}

/// A restored local file holds as pending what was pushed long ago, and deleted since.
#[tokio::test]
async fn a_restored_local_file_brings_nothing_back() {
    let gone = "DELETE FROM user_profiles WHERE user_id = 'removed';
        UPDATE user_profiles SET encrypted_retell_api_key = NULL, encrypted_call_agent_id = NULL,
        encrypted_sms_agent_id = NULL, encrypted_agent_config = NULL WHERE user_id = 'cleared'";
    let (db, hosts) = stage(ALL_COLUMNS).await;
    // the file was in use before
    hosts.host(0, &db.url).clock(off_by(-10 * DAY)).build().await.unwrap().close().await;
    let users = ["deleted", "removed", "cleared", "there"];
    for user in users {
        let vault = unplugged_builder(&hosts, 0).clock(off_by(-5 * DAY)).build().await.unwrap();
        vault.store(&owner(user), &full_config(user)).await.unwrap();
        vault.close().await;
    }
    let backup = std::fs::read(hosts.local_file(0)).unwrap();
    let vault = hosts.host(0, &db.url).clock(off_by(-5 * DAY + MINUTE)).build().await.unwrap();
    assert_eq!(vault.sync().await.unwrap().pushed, 4, "not yet old");
    vault.delete(&owner("deleted")).await.unwrap();
    db.exec(gone).await;
    vault.close().await;

    std::fs::write(hosts.local_file(0), backup).unwrap();
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    for round in 0..2 {
        let report = vault.sync().await.unwrap();
        assert_eq!(counts(&report), [u64::from(round == 0), u64::from(round == 0), 0, 2, 0], "{report:?}");
        for user in &users[..3] {
            assert_eq!(said(&[&vault], &owner(user)).await, ["NotFound"], "{user}");
        }
        assert_eq!(said(&[&vault], &owner("there")).await, [key("there")]);
        // all at once are no decision about one of them
        assert_eq!(vault.retry_dead_letters(None).await.unwrap(), 2);
    }
    vault.sync().await.unwrap();
    assert_eq!(vault.retry_dead_letters(Some(&owner("removed"))).await.unwrap(), 1);
    assert_eq!(counts(&vault.sync().await.unwrap()), [1, 0, 0, 0, 0]);
    assert_eq!(said(&[&vault], &owner("removed")).await, [key("removed")]);
}

/// A pending record belongs to the table and the rows that it was stored for.
#[tokio::test]
async fn what_waits_for_another_table_or_filter_is_not_pushed() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    db.exec("CREATE TABLE profiles (user_id text, provider text, encrypted_retell_api_key text, UNIQUE (user_id, provider))").await;
    let profiles = |provider: &str| named_table("profiles").where_equals("provider", provider).unwrap();
    let away = unplugged_builder(&hosts, 0).layout(profiles("retell")).build().await.unwrap();
    away.store(&owner("user-1"), &small_config("waits")).await.unwrap();
    away.close().await;
    for layout in [named_table("user_profiles"), named_table("profiles"), profiles("other")] {
        let vault = hosts.host(0, &db.url).layout(layout.clone()).build().await.unwrap();
        let report = vault.sync().await.unwrap();
        assert_eq!(counts(&report), [0, 0, 0, 0, 1], "{report:?}");
        assert!(
            report.blocked[0].1.to_string().contains("public.profiles by user_id where provider = 'retell'"),
            "{report:?}"
        );
        // it is not this table's answer either, and a store here does not take its place
        assert_eq!(vault.load(&owner("user-1")).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(vault.list(None, 10).await.unwrap().entries.is_empty());
        if layout != named_table("profiles") {
            vault.store(&owner("user-1"), &small_config("here")).await.unwrap();
        }
        assert_eq!((local(&vault).await.pending, local(&vault).await.blocked), (1, 1));
        vault.close().await;
        let away = unplugged_builder(&hosts, 0).layout(layout).build().await.unwrap();
        let error = away.store(&owner("user-1"), &small_config("here")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        away.close().await;
    }
    let vault = hosts.host(0, &db.url).layout(profiles("retell")).build().await.unwrap();
    assert_eq!(counts(&vault.sync().await.unwrap()), [1, 0, 0, 0, 0]);
    assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, small_config("waits"));
}

/// Staging and production have the same table. What waits is for the database that it was stored for, by whichever address.
#[tokio::test]
async fn what_waits_for_another_database_is_not_pushed() {
    let ((staging, hosts), production) = (stage(ALL_COLUMNS).await, TestDb::create().await);
    production.exec(ALL_COLUMNS).await;
    let (to_staging, to_production) =
        (CutProxy::start(&staging.url).await, CutProxy::start(&production.url).await);
    let vault = hosts.host(0, to_staging.url()).timeouts(QUICK).offline_reads().build().await.unwrap();
    vault.store(&owner("copied"), &small_config("copied")).await.unwrap();
    vault.close().await;
    // it starts in the outage: the local file knows which database is at this address
    to_staging.set(Mode::Refuse).await;
    let vault = hosts.host(0, to_staging.url()).timeouts(QUICK).offline_reads().build().await.unwrap();
    vault.store(&owner("user-1"), &small_config("waits")).await.unwrap();
    assert_eq!(said(&[&vault], &owner("copied")).await, [key("copied")]);
    vault.close().await;

    let vault = hosts.host(0, to_production.url()).timeouts(QUICK).offline_reads().build().await.unwrap();
    let report = vault.sync().await.unwrap();
    assert_eq!(counts(&report), [0, 0, 0, 0, 1], "{report:?}");
    let name = staging.url.rsplit('/').next().unwrap();
    assert!(report.blocked[0].1.to_string().contains(&format!("in database {name} of server")), "{report:?}");
    assert_eq!(said(&[&vault], &owner("user-1")).await, ["NotFound"]);
    vault.store(&owner("user-1"), &small_config("production")).await.unwrap();
    let status = local(&vault).await;
    assert_eq!((status.pending, status.blocked), (1, 1), "a store here does not take its place");
    to_production.set(Mode::Refuse).await;
    assert_eq!(
        said(&[&vault], &owner("copied")).await,
        ["Unavailable"],
        "nor is a copy this database's answer"
    );
    let error = vault.store(&owner("user-1"), &small_config("later")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    vault.close().await;

    // the same database by another address
    let vault = hosts.host(0, &staging.url).build().await.unwrap();
    assert_eq!(counts(&vault.sync().await.unwrap()), [1, 0, 0, 0, 0]);
    assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, small_config("waits"));
}

/// As before, where it was stored by an older program, or for a server that does not tell which one it is.
#[tokio::test]
async fn what_waits_for_a_database_that_nobody_knows_is_pushed() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let may = "GRANT ALL ON user_profiles TO guest; REVOKE ALL ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC";
    let role = role::Role::create(&db, may).await;
    let vault = hosts.host(0, &role.url).build().await.unwrap();
    vault.store(&owner("warm-up"), &full_config(0)).await.unwrap();
    vault.close().await;
    store_offline(&hosts, 0, 0, &full_config("waits")).await;
    let vault = hosts.host(0, &role.url).build().await.unwrap();
    assert_eq!(counts(&vault.sync().await.unwrap()), [1, 0, 0, 0, 0]);
    assert_eq!(said(&[&vault], &owner("user-1")).await, [key("waits")]);
}

/// Nothing on the server ends the statement: neither a limit of the pool nor one of the role.
#[tokio::test]
async fn an_owner_whose_push_hangs_keeps_no_other_from_being_pushed() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    db.exec("INSERT INTO user_profiles (user_id) VALUES ('user-0'), ('user-1')").await;
    let unplugged = unplugged_builder(&hosts, 0).build().await.unwrap();
    for user in ["user-0", "user-1"] {
        assert!(unplugged.store(&owner(user), &full_config(1)).await.unwrap().degraded.is_some());
    }
    unplugged.close().await;
    let vault = hosts.offline(0).pool(db.pool()).timeouts(QUICK).build().await.unwrap();
    let lock = Lock::on_row(&db.url, "user-0").await;
    let report = vault.sync().await.unwrap();
    assert_eq!((counts(&report), &report.stopped), ([1, 0, 0, 0, 1], &None), "{report:?}");
    assert_eq!(report.blocked[0].0, owner("user-0"));
    assert_eq!(said(&[&vault], &owner("user-1")).await, [key(1)]);
    lock.release().await;
    until(async || vault.sync().await.unwrap().stopped.is_none() && local(&vault).await.pending == 0).await;
    assert_eq!(local(&vault).await.dead_letters, 0);
}

/// As after a restart of the server: the pool does not know yet that its connections have ended.
#[tokio::test]
async fn a_push_over_a_connection_that_has_ended_is_repeated() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let unplugged = unplugged_builder(&hosts, 0).build().await.unwrap();
    unplugged.store(&owner("user-1"), &full_config(1)).await.unwrap();
    unplugged.close().await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    vault.load(&owner("nobody")).await.unwrap_err();
    db.exec(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'retell-vault'",
    )
    .await;
    let report = vault.sync().await.unwrap();
    assert_eq!((counts(&report), &report.stopped), ([1, 0, 0, 0, 0], &None), "{report:?}");
}

/// Whether the local file was used with a database tells what a restored file may bring back.
#[tokio::test]
async fn the_first_push_and_nothing_before_it_notes_that_the_file_was_used() {
    let used = async |hosts: &Hosts| -> i64 {
        let mut file = sqlite(hosts, 0).await;
        let noted = "SELECT count(*) FROM meta WHERE name = 'used_since'";
        sqlx::query_scalar(noted).fetch_one(&mut file).await.unwrap()
    };
    for by_sync in [true, false] {
        let (db, hosts) = stage(ALL_COLUMNS).await;
        let proxy = CutProxy::start(&db.url).await;
        proxy.set(Mode::Refuse).await;
        let build = || hosts.host(0, proxy.url()).timeouts(QUICK);
        let elsewhere = build().layout(named_table("profiles")).build().await.unwrap();
        elsewhere.store(&owner("elsewhere"), &full_config(1)).await.unwrap();
        elsewhere.close().await;
        let vault = build().build().await.unwrap();
        if !by_sync {
            vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
        }
        proxy.set(Mode::Pass).await;
        // once the breaker lets somebody through
        until(async || vault.load(&owner("nobody")).await.unwrap_err().kind() == ErrorKind::NotFound).await;
        assert_eq!(used(&hosts).await, 0);
        if by_sync {
            assert_eq!(counts(&vault.sync().await.unwrap()), [0, 0, 0, 0, 1]);
            assert_eq!(used(&hosts).await, 0, "nothing was asked");
        } else {
            let user = owner("user-1");
            let modified = vault.modify(&user, |config| {
                *config = full_config(2);
                Ok(())
            });
            assert!(modified.await.unwrap().degraded.is_none());
            assert_eq!(used(&hosts).await, 1);
        }
    }
}

/// A copy for offline reads is never older than what was pushed, and goes away where nobody asked for it any more.
#[tokio::test]
async fn what_was_pushed_is_no_longer_in_the_local_file() {
    for offline_reads in [true, false] {
        let (db, hosts) = stage(ALL_COLUMNS).await;
        let before = hosts.host(0, &db.url).offline_reads().build().await.unwrap();
        before.store(&owner("user-1"), &full_config("before")).await.unwrap();
        before.close().await;
        let away = unplugged(&hosts, 0).await;
        away.store(&owner("user-1"), &full_config("after")).await.unwrap();
        away.close().await;
        let builder = hosts.host(0, &db.url);
        let vault = if offline_reads { builder.offline_reads() } else { builder }.build().await.unwrap();
        assert_eq!(vault.sync().await.unwrap().pushed, 1);
        let status = local(&vault).await;
        assert_eq!((status.pending, status.replicas), (0, u64::from(offline_reads)));
        vault.close().await;
        let away = unplugged_builder(&hosts, 0).offline_reads().build().await.unwrap();
        let expected = if offline_reads { key("after") } else { "Unavailable".to_owned() };
        assert_eq!(said(&[&away], &owner("user-1")).await, [expected]);
    }
}

#[tokio::test]
async fn a_record_that_waited_for_more_than_30_days_is_not_pushed_any_more() {
    for (age, expected) in [(29 * DAY, [1, 0, 0, 0, 0]), (31 * DAY, [0, 0, 0, 1, 0])] {
        let (db, hosts) = stage(ALL_COLUMNS).await;
        let proxy = CutProxy::start(&db.url).await;
        let then = hosts.host(0, proxy.url()).timeouts(QUICK).clock(off_by(-age)).build().await.unwrap();
        then.store(&owner("user-1"), &full_config("row")).await.unwrap();
        proxy.set(Mode::Refuse).await;
        then.store(&owner("user-1"), &full_config("late")).await.unwrap();

        let away = hosts.host(0, proxy.url()).timeouts(QUICK).build().await.unwrap();
        assert!(away.sync().await.unwrap().stopped.is_some());
        assert_eq!(
            away.load(&owner("user-1")).await.unwrap().config,
            full_config("late"),
            "nothing is buried unasked"
        );

        let vault = hosts.host(0, &db.url).build().await.unwrap();
        assert_eq!(counts(&vault.sync().await.unwrap()), expected);
        assert_eq!(local(&vault).await.pending, 0);
        // what the database never took stays until an operator drops it
        let later = hosts.host(0, &db.url).clock(off_by(91 * DAY)).build().await.unwrap();
        later.sync().await.unwrap();
        assert_eq!(kept(&vault).await.len() as u64, expected[3]);
        later.forget(&owner("user-1")).await.unwrap();
        assert_eq!(kept(&vault).await.len(), 0);
    }
}

/// A vault without a database is where its records belong; they do not grow too old there.
#[tokio::test]
async fn what_was_stored_before_there_was_a_database_is_pushed_at_any_age() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    store_offline(&hosts, 0, -400 * DAY, &full_config("old")).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    assert_eq!(counts(&vault.sync().await.unwrap()), [1, 0, 0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_vaults_sync_one_local_file_at_once() {
    for table in [ALL_COLUMNS.to_owned(), ALL_COLUMNS.replace("PRIMARY KEY", "")] {
        let (db, hosts) = stage(&format!("{table}; {NOTE_WRITES}")).await;
        let vault = unplugged(&hosts, 0).await;
        db.exec("INSERT INTO user_profiles (user_id) SELECT 'user-' || n FROM generate_series(0, 9) AS n; TRUNCATE writes")
            .await;
        for n in 0..20 {
            vault.store(&owner(&format!("user-{n}")), &full_config(n)).await.unwrap();
        }
        let mut vaults = Vec::new();
        for _ in 0..3 {
            vaults.push(hosts.host(0, &db.url).build().await.unwrap());
        }
        let (a, b, c) = tokio::join!(vaults[0].sync(), vaults[1].sync(), vaults[2].sync());
        for report in [a, b, c].map(Result::unwrap) {
            assert_eq!((report.lost, report.overwritten, report.dead_letters), (0, 0, 0));
            assert_eq!((report.stopped, report.blocked), (None, vec![]));
        }
        assert_eq!(number(&db.url, "SELECT count(*) FROM writes").await, 20, "each was applied once");
        let status = local(&vaults[0]).await;
        assert_eq!((status.pending, status.losers, status.dead_letters), (0, 0, 0));
        for n in 0..20 {
            assert_eq!(said(&[&vaults[1]], &owner(&format!("user-{n}"))).await, [key(n)]);
        }
    }
}

#[tokio::test]
async fn hosts_with_wrong_clocks_end_with_the_same_record() {
    for clock in [-HOUR, -DAY, 23 * HOUR, DAY + MINUTE, 365 * DAY] {
        let (db, hosts) = stage(ALL_COLUMNS).await;
        let wrong = hosts.host(0, &db.url).clock(off_by(clock)).build().await.unwrap();
        let right = hosts.host(1, &db.url).build().await.unwrap();
        // online, the last store wins, whatever the clocks say
        for (n, vault) in [&wrong, &right, &wrong, &wrong, &right, &right, &wrong].into_iter().enumerate() {
            vault.store(&owner("user-1"), &full_config(n)).await.unwrap();
            assert_eq!(said(&[&wrong, &right], &owner("user-1")).await, [key(n), key(n)], "clock {clock}");
        }
        // offline, the versions decide, and the loser is kept
        drop(wrong);
        store_offline(&hosts, 0, clock, &full_config("offline")).await;
        right.store(&owner("user-1"), &full_config("online")).await.unwrap();
        let wrong = hosts.host(0, &db.url).clock(off_by(clock)).build().await.unwrap();
        let report = wrong.sync().await.unwrap();
        assert_eq!(report.pushed + report.lost, 1, "clock {clock}: {report:?}");
        let said = said(&[&wrong, &right], &owner("user-1")).await;
        assert_eq!(said[0], said[1], "clock {clock}");
        let loser = if said[0] == key("offline") { "online" } else { "offline" };
        assert!(kept(&wrong).await.iter().any(|(_, kept)| *kept == key(loser)), "clock {clock}");
        assert_eq!(local(&wrong).await.pending, 0);
        // and a host with a right clock can go on from there
        right.store(&owner("user-1"), &full_config("after")).await.unwrap();
        assert_eq!(wrong.load(&owner("user-1")).await.unwrap().config, full_config("after"));
    }
}

#[tokio::test]
async fn deleted_here_and_updated_there() {
    for (delete_clock, end) in [(-MINUTE, "updated"), (MINUTE, "NotFound")] {
        let (db, hosts) = stage(ALL_COLUMNS).await;
        let other = hosts.host(1, &db.url).build().await.unwrap();
        other.store(&owner("user-1"), &full_config("first")).await.unwrap();
        let vault = unplugged_builder(&hosts, 0).clock(off_by(delete_clock)).build().await.unwrap();
        vault.delete(&owner("user-1")).await.unwrap();
        other.store(&owner("user-1"), &full_config("updated")).await.unwrap();
        let vault = hosts.host(0, &db.url).build().await.unwrap();
        vault.sync().await.unwrap();
        let end = if end == "updated" { key(end) } else { end.to_owned() };
        assert_eq!(said(&[&vault, &other], &owner("user-1")).await, [end.clone(), end.clone()]);
        let loser = if end == "NotFound" { key("updated") } else { "deleted".to_owned() };
        assert_eq!(kept(&vault).await, [(KeptReason::Loser, loser)]);
        assert_eq!(local(&vault).await.pending, 0);
    }
}

#[tokio::test]
async fn what_sync_must_not_overwrite_stays_pending_with_a_reason() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    let stranger = Hosts::new().await;
    store_offline(&hosts, 0, -MINUTE, &full_config("pending")).await;
    let other = stranger.host(1, &db.url).build().await.unwrap();
    other.store(&owner("user-1"), &full_config("stranger")).await.unwrap();

    let vault = hosts.host(0, &db.url).build().await.unwrap();
    // all of the table is the stranger's, so nothing is pushed; after this, only what is the stranger's stands in the way
    assert!(vault.sync().await.unwrap().stopped.unwrap().to_string().contains("another keyring"));
    assert!(vault.adopt_table().await.unwrap());
    let report = vault.sync().await.unwrap();
    assert_eq!(counts(&report), [0, 0, 0, 0, 1]);
    assert_eq!(report.blocked[0].0, owner("user-1"));
    assert!(report.blocked[0].1.to_string().contains("key"), "{}", report.blocked[0].1);
    assert_eq!(other.load(&owner("user-1")).await.unwrap().config, full_config("stranger"));

    db.exec("UPDATE user_profiles SET encrypted_retell_api_key = 'sk_of_another_system'").await;
    let report = vault.sync().await.unwrap();
    assert_eq!(counts(&report), [0, 0, 0, 0, 1]);
    assert!(report.blocked[0].1.to_string().contains("encrypted_retell_api_key"), "{}", report.blocked[0].1);
    assert_eq!(vault.load(&owner("user-1")).await.unwrap_err().kind(), ErrorKind::ForeignValue);
    assert_eq!(local(&vault).await.pending, 1);

    db.exec("DELETE FROM user_profiles; INSERT INTO user_profiles (user_id) VALUES ('user-1')").await;
    assert_eq!(counts(&vault.sync().await.unwrap()), [1, 0, 0, 0, 0]);
    assert_eq!(vault.load(&owner("user-1")).await.unwrap().config, full_config("pending"));
}

#[tokio::test]
async fn forgetting_erases_the_bytes() {
    let (_db, hosts) = stage(ALL_COLUMNS).await;
    let vault = unplugged(&hosts, 0).await;
    vault.store(&owner("user-1"), &full_config(1)).await.unwrap();
    vault.store(&owner("user-2"), &full_config(2)).await.unwrap();
    let token = async || -> String {
        let sql = "SELECT substr(text, 40, 60) FROM pending WHERE user = 'user-1'";
        sqlx::query_scalar(sql).fetch_one(&mut sqlite(&hosts, 0).await).await.unwrap()
    };
    let token = token().await;
    let is_there = || hosts.files().windows(token.len()).any(|window| window == token.as_bytes());
    assert!(is_there());
    let forgotten = vault.forget(&owner("user-1")).await.unwrap();
    assert_eq!((forgotten.pending, forgotten.replicas, forgotten.kept), (1, 0, 0));
    assert!(!is_there(), "the file or its log still holds the token");
    assert_eq!(vault.load(&owner("user-1")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(said(&[&vault], &owner("user-2")).await, [key(2)]);
}

#[tokio::test]
async fn an_online_store_supersedes_what_is_pending() {
    let (db, hosts) = stage(ALL_COLUMNS).await;
    store_offline(&hosts, 0, 0, &full_config("pending")).await;
    let vault = hosts.host(0, &db.url).build().await.unwrap();
    let loaded = vault.load(&owner("user-1")).await.unwrap();
    assert_eq!((loaded.source, loaded.stale, loaded.config), (Source::Local, false, full_config("pending")));
    let stored = vault.store(&owner("user-1"), &full_config("online")).await.unwrap();
    assert!(stored.degraded.is_none() && stored.version > loaded.version);
    assert_eq!(local(&vault).await.pending, 0);
    assert_eq!(vault.sync().await.unwrap(), SyncReport::default());
    assert_eq!(said(&[&vault], &owner("user-1")).await, [key("online")]);
}
