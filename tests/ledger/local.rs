//! Changes of the local file have entries too. They wait in the file, and a synchronisation sends them.
//!
//! `LEDGER_KILLS=200 scripts/test --test ledger local::every_acknowledged -- --nocapture` runs a longer campaign.

use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use retell_vault::Vault;
use retell_vault::ledger::{IfNotNoted, LedgerCopies, LedgerExportOptions, LedgerVerification, Reads};
use retell_vault::schema::{ApplyOptions, Profile, Wanted};
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::campaign::{Process, until_alone};
use crate::export::{export, run};
use crate::support::faults::{DEAD_URL, QUICK, connect, local, number, sqlite, unplugged};
use crate::support::role::Role;
use crate::support::vaults::*;
use crate::{Stage, variable};

const HOST: usize = 1;

/// How many entries say this of a record that waits or has waited.
async fn with_outcome(stage: &Stage, outcome: &str) -> i64 {
    let sql = "SELECT count(*) FROM retell_vault.ledger WHERE after IS NULL AND outcome =";
    number(&stage.db.url, &format!("{sql} '{outcome}'")).await
}

async fn online(stage: &Stage) -> Vault {
    stage.hosts.host(HOST, &stage.db.url).timeouts(QUICK).build().await.unwrap()
}

/// A host that stores these owners while its database is away.
async fn stored_offline(stage: &Stage, ids: &[&str]) {
    let vault = unplugged(&stage.hosts, HOST).await;
    for id in ids {
        let stored = vault.store(&owner(id), &full_config(format!("offline-{id}"))).await.unwrap();
        assert!(stored.degraded.is_some());
    }
    vault.close().await;
}

async fn synchronised(stage: &Stage) -> LedgerVerification {
    let vault = online(stage).await;
    let report = vault.sync().await.unwrap();
    assert!(report.stopped.is_none(), "{report:?}");
    assert_eq!(local(&vault).await.unsent_entries, 0);
    let found = vault.verify_ledger(&LedgerCopies::new()).await.unwrap();
    vault.close().await;
    found
}

async fn in_file(stage: &Stage, sql: &str) {
    let mut file: SqliteConnection = sqlite(&stage.hosts, HOST).await;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut file).await.expect(sql);
}

/// Sent by a role that may add entries, and cannot read them.
#[tokio::test]
async fn every_change_in_an_outage_has_an_entry_with_its_actor_and_its_end() {
    let stage = Stage::begun().await;
    let role = Role::create(&stage.db, "GRANT SELECT, INSERT, UPDATE ON user_profiles TO guest").await;
    let wanted = Wanted::from(Profile::Credentials).vault_schema().service_role(&role.name);
    let plan = stage.vault.schema().plan(wanted).await.unwrap();
    stage.vault.schema().apply(&plan, &ApplyOptions::new(), |_| {}).await.unwrap();

    let offline = unplugged(&stage.hosts, HOST).await;
    let alice = offline.as_actor("alice", Some("ticket 7"), Some("req-42"));
    for config in [full_config("first"), full_config("second")] {
        alice.store(&owner("ann"), &config).await.unwrap();
    }
    alice.store(&owner("cid"), &full_config("late")).await.unwrap();
    alice.store(&owner("dan"), &full_config("dan")).await.unwrap();
    alice.delete(&owner("dan")).await.unwrap();
    assert_eq!(local(&offline).await.unsent_entries, 5);
    assert_no_secret(&stage.hosts.files(), "the local file");
    offline.close().await;
    // newer than the one that waits
    stage.store("cid").await;

    let vault = stage.hosts.host(HOST, &role.url).timeouts(QUICK).build().await.unwrap();
    let report = vault.sync().await.unwrap();
    assert!(report.stopped.is_none() && report.lost == 1, "{report:?}");
    assert_eq!(local(&vault).await.unsent_entries, 0);
    let by_alice = "SELECT count(*) FROM retell_vault.ledger WHERE actor = 'alice' AND reason = 'ticket 7'
        AND request = 'req-42' AND outcome = 'waits' AND after IS NULL AND detail::jsonb ->> 'version' ~ '^[0-9a-f]{16}$' AND op =";
    assert_eq!(number(&stage.db.url, &format!("{by_alice} 'store'")).await, 4);
    assert_eq!(number(&stage.db.url, &format!("{by_alice} 'delete'")).await, 1);
    // the tombstone of dan had nothing to cover
    assert_eq!(with_outcome(&stage, "superseded").await, 2);
    let landed =
        "SELECT count(*) FROM retell_vault.ledger WHERE op = 'sync' AND after IS NOT NULL AND usr = 'ann'";
    assert_eq!(number(&stage.db.url, landed).await, 1);
    let before = stage.entries().await;
    vault.sync().await.unwrap();
    assert_eq!(stage.entries().await, before, "nothing is sent twice");
    vault.close().await;
    let found = stage.verify().await;
    assert!(found.is_unbroken() && found.open.is_empty(), "{found:?}");
    let (lines, _) = export(&stage.vault, LedgerExportOptions::new()).await;
    let said = run(&[], &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    assert!(said.code == 0 && !said.out.contains("open"), "{}", said.out);
    // with the copies that the host keeps of them
    let found = synchronised(&stage).await;
    assert!(found.is_unbroken() && found.anchors >= 2, "{found:?}");
}

/// A store in the database makes what waits obsolete, and a constraint makes it a dead letter.
#[tokio::test]
async fn what_never_reaches_the_database_has_an_entry_that_says_so() {
    let stage = Stage::begun().await;
    let vault = online(&stage).await;
    for id in ["ann", "ben"] {
        vault.store(&owner(id), &full_config(id)).await.unwrap();
    }
    vault.close().await;
    stored_offline(&stage, &["ann", "ben"]).await;
    let vault = online(&stage).await;
    vault.store(&owner("ann"), &full_config("newer")).await.unwrap();
    assert_eq!(local(&vault).await.pending, 1);
    vault.close().await;
    stage.db.exec("ALTER TABLE user_profiles ADD CHECK (user_id <> 'ben') NOT VALID").await;
    let found = synchronised(&stage).await;
    assert!(found.is_unbroken(), "{found:?}");
    assert_eq!((with_outcome(&stage, "superseded").await, with_outcome(&stage, "dead_letter").await), (1, 1));
    assert_eq!(with_outcome(&stage, "waits").await, 2);

    let vault = online(&stage).await;
    assert_eq!(vault.as_actor("alice", None, None).retry_dead_letters(None).await.unwrap(), 1);
    assert_eq!(vault.retry_dead_letters(None).await.unwrap(), 0);
    vault.close().await;
    assert!(synchronised(&stage).await.is_unbroken());
    assert_eq!(with_outcome(&stage, "dead_letter").await, 2);
    let again = "SELECT count(*) FROM retell_vault.ledger WHERE op = 'retry' AND actor = 'alice' AND detail = '{\"records\":1}'";
    assert_eq!(number(&stage.db.url, again).await, 1);
}

#[tokio::test]
async fn entries_that_come_twice_stand_once() {
    let stage = Stage::begun().await;
    stored_offline(&stage, &["ann", "ben", "cid"]).await;
    in_file(&stage, "CREATE TABLE again AS SELECT * FROM ledger_unsent").await;
    assert!(synchronised(&stage).await.is_unbroken());
    // as a process leaves it that is killed after it has sent them
    in_file(&stage, "INSERT INTO ledger_unsent SELECT * FROM again; DROP TABLE again").await;
    stored_offline(&stage, &["dan"]).await;
    let found = synchronised(&stage).await;
    assert!(found.is_unbroken(), "{found:?}");
    assert_eq!(with_outcome(&stage, "waits").await, 4);
}

#[tokio::test]
async fn an_entry_that_was_removed_from_the_file_or_changed_there_is_found() {
    let changes = [
        "DELETE FROM ledger_unsent WHERE id = (SELECT min(id) + 1 FROM ledger_unsent)",
        "UPDATE ledger_unsent SET line = replace(line, '\"alice\"', '\"mallory\"') WHERE line LIKE '%alice%'",
        "UPDATE ledger_unsent SET line = 'no entry' WHERE id = (SELECT min(id) FROM ledger_unsent)",
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let stage = Stage::begun().await;
        let vault = unplugged(&stage.hosts, HOST).await;
        for (actor, id) in [("anton", "ann"), ("alice", "ben"), ("anton", "cid")] {
            vault.as_actor(actor, None, None).store(&owner(id), &full_config(id)).await.unwrap();
        }
        vault.close().await;
        in_file(&stage, change).await;
        let found = synchronised(&stage).await;
        let (missing, altered) = (found.missing_entries, found.altered.len());
        assert_eq!((missing, altered), [(1, 0), (0, 1), (1, 0)][at], "{change}: {found:?}");
    }
}

/// A process that opens the copy must not continue under the numbers that the original has used since.
#[tokio::test]
async fn a_restored_file_loses_no_entry() {
    let stage = Stage::begun().await;
    // only a file that was pushed before is recognised
    stored_offline(&stage, &["zoe"]).await;
    assert!(synchronised(&stage).await.is_unbroken());
    stored_offline(&stage, &["ann", "ben"]).await;
    let copy = fs::read(stage.hosts.local_file(HOST)).unwrap();
    stored_offline(&stage, &["cid"]).await;
    assert!(synchronised(&stage).await.is_unbroken());

    fs::write(stage.hosts.local_file(HOST), copy).unwrap();
    stored_offline(&stage, &["dan"]).await;
    let found = synchronised(&stage).await;
    assert!(found.is_unbroken(), "{found:?}");
    let of = "SELECT count(*) FROM retell_vault.ledger WHERE outcome = 'waits' AND usr =";
    for id in ["ann", "ben", "cid", "dan"] {
        assert_eq!(number(&stage.db.url, &format!("{of} '{id}'")).await, 1, "{id}");
    }
    let all = "SELECT count(*) FROM retell_vault.ledger WHERE outcome = 'dead_letter' AND usr IS NULL
        AND detail::jsonb = '{\"records\": 3}'";
    assert_eq!(number(&stage.db.url, all).await, 1);
}

#[tokio::test]
async fn forget_leaves_what_the_ledger_must_have_and_keeps_no_copy_of_it() {
    let stage = Stage::begun().await;
    stored_offline(&stage, &["ann", "ben"]).await;
    let vault = unplugged(&stage.hosts, HOST).await;
    let alice = vault.as_actor("alice", None, None);
    for _ in 0..2 {
        alice.forget(&owner("ann")).await.unwrap();
    }
    assert_eq!(local(&vault).await.unsent_entries, 3);
    vault.close().await;
    let found = synchronised(&stage).await;
    assert!(found.is_unbroken(), "{found:?}");
    assert_eq!(with_outcome(&stage, "waits").await, 2);
    let forgotten =
        "SELECT count(*) FROM retell_vault.ledger WHERE op = 'forget' AND usr = 'ann' AND actor = 'alice'";
    assert_eq!(number(&stage.db.url, forgotten).await, 1);
    let mut file = sqlite(&stage.hosts, HOST).await;
    for (id, copies) in [("ann", 0), ("ben", 1)] {
        let sql = format!("SELECT count(*) FROM ledger_note WHERE line LIKE '%\"{id}\"%'");
        let there: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut file).await.unwrap();
        assert_eq!(there, copies, "{id}");
    }
}

#[tokio::test]
async fn without_a_ledger_nothing_waits_for_it() {
    let stage = Stage::new().await;
    stored_offline(&stage, &["ann"]).await;
    let vault = unplugged(&stage.hosts, HOST).await;
    assert_eq!(local(&vault).await.unsent_entries, 0);
}

/// Sessions from before a failover: new ones may write. No store comes by that would find it out.
#[tokio::test]
async fn entries_find_their_way_after_a_failover() {
    let stage = Stage::begun().await;
    stored_offline(&stage, &["ann"]).await;
    let forgetful = unplugged(&stage.hosts, HOST).await;
    // only entries wait
    forgetful.forget(&owner("ann")).await.unwrap();
    forgetful.close().await;
    let ben = stage.store("ben").await;
    let set = |change: &str| {
        format!(
            "BEGIN READ WRITE; DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {change}', current_database()); END $$; COMMIT"
        )
    };
    stage.db.exec(&set("SET default_transaction_read_only = on")).await;
    let vault = online(&stage).await;
    let report = vault.sync().await.unwrap();
    assert!(report.stopped.unwrap().to_string().contains("read-only"));
    assert_eq!(local(&vault).await.unsent_entries, 2);
    let reader = stage.hosts.host(2, &stage.db.url).ledger_reads(Reads::Before(IfNotNoted::Refuse));
    let reader = reader.build().await.unwrap();
    reader.load(&ben).await.unwrap_err();

    stage.db.exec(&set("RESET ALL")).await;
    assert!(vault.sync().await.unwrap().stopped.is_none());
    assert_eq!(local(&vault).await.unsent_entries, 0);
    reader.load(&ben).await.unwrap();
}

/// Not a test: the process that is killed. It stores while its database is away, then sends what waits, and again.
#[tokio::test]
async fn writer() {
    let Ok(setup) = env::var("RETELL_VAULT_TEST_WRITER") else { return };
    let [folder, url, first] = *setup.split('|').collect::<Vec<_>>() else { panic!("{setup}") };
    let folder = Path::new(folder);
    let open = async |url: &str| {
        let builder = Vault::builder(open_keyring(folder.join("keyring.json"))).postgres(url).timeouts(QUICK);
        builder.local_file(folder.join("killed.db")).build().await.unwrap()
    };
    let (away, there) = (open(DEAD_URL).await, open(url).await);
    let first: u64 = first.parse().unwrap();
    for number in first.. {
        let user = format!("user-{}", number % 3);
        let stored = away.store(&owner(&user), &full_config(number)).await.unwrap();
        println!("acknowledged store {user} {}", stored.version);
        if number % 4 == 3 {
            let report = there.sync().await.unwrap();
            assert!(report.stopped.is_none() && report.blocked.is_empty(), "{report:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_change_of_a_killed_process_has_one_entry() {
    let kills: u64 = variable("LEDGER_KILLS").unwrap_or(5);
    let stage = Stage::begun().await;
    stage.vault.close().await;
    let mut acknowledged = Vec::new();
    for kill in 0..kills {
        let process = Process::start(&stage, "local::writer", kill * 1_000_000);
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..300_000))).await;
        acknowledged.extend(process.kill());
        until_alone(&stage, 0).await;
    }
    let keyring = stage.hosts.local_file(0);
    let file = keyring.parent().unwrap().join("killed.db");
    let vault = Vault::builder(stage.hosts.keyring()).postgres(&stage.db.url).local_file(file);
    let vault = vault.build().await.unwrap();
    let report = vault.sync().await.unwrap();
    assert!(report.stopped.is_none() && report.blocked.is_empty(), "{report:?}");
    let found = vault.verify_ledger(&LedgerCopies::new()).await.unwrap();
    assert!(found.is_unbroken() && found.waiting.is_empty(), "{found:?}");
    assert_eq!(local(&vault).await.unsent_entries, 0);
    let sql = "SELECT usr, detail::jsonb ->> 'version' FROM retell_vault.ledger WHERE outcome = 'waits'";
    let mut entries: Vec<(String, String)> =
        sqlx::query_as(sql).fetch_all(&mut connect(&stage.db.url).await).await.unwrap();
    let all = entries.len();
    entries.sort();
    entries.dedup();
    assert_eq!(entries.len(), all, "no change has two entries");
    for (_, user, version) in &acknowledged {
        let change = (user.clone(), version.clone());
        assert!(entries.binary_search(&change).is_ok(), "{user} {version} was acknowledged");
    }
    // what landed had waited before
    let landed = "SELECT count(*) FROM retell_vault.ledger AS l WHERE op = 'sync' AND after IS NOT NULL AND NOT EXISTS
        (SELECT FROM retell_vault.ledger AS w WHERE w.outcome = 'waits' AND w.usr = l.usr AND w.detail::jsonb ->> 'version' = l.after)";
    assert_eq!(number(&stage.db.url, landed).await, 0);
    println!(
        "{kills} kills, {} acknowledged changes, {all} entries, {} of the ledger",
        acknowledged.len(),
        found.entries
    );
    assert!(acknowledged.len() as u64 >= kills, "the processes were at work");
}
